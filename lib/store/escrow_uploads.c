/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/escrow_uploads.h"

#include "status.h"

#define COLUMNS "id, device, user_id, digest, provider, created, expires, receipt"

apr_status_t gh_escrow_upload_put(gh_transaction_t *transaction,
                                  const gh_escrow_upload_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction, "INSERT INTO escrow_upload (" COLUMNS ")"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
                     " ON CONFLICT (device, user_id) DO UPDATE SET id = excluded.id,"
                     " digest = excluded.digest, provider = excluded.provider,"
                     " created = excluded.created, expires = excluded.expires,"
                     " receipt = excluded.receipt");
    gh_bind_text(query, record->id);
    gh_bind_text(query, record->device);
    gh_bind_text(query, record->user);
    gh_bind_bytes(query, record->digest);
    gh_bind_text(query, record->provider);
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->expires);
    gh_bind_text(query, record->receipt);
    return gh_execute(query);
}

static apr_status_t read_one(gh_query_t *query, gh_escrow_upload_record_t **record, apr_pool_t *p)
{
    apr_status_t rv = gh_step(query);

    *record = NULL;
    if (rv == APR_SUCCESS) {
        gh_escrow_upload_record_t *found = apr_pcalloc(p, sizeof(*found));

        found->id = gh_column_text(query, 0, p);
        found->device = gh_column_text(query, 1, p);
        found->user = gh_column_text(query, 2, p);
        found->digest = gh_column_bytes(query, 3, p);
        found->provider = gh_column_text(query, 4, p);
        found->created = gh_column_int64(query, 5);
        found->expires = gh_column_int64(query, 6);
        found->receipt = gh_column_text(query, 7, p);
        gh_query_end(query);
        *record = found;
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

apr_status_t gh_escrow_upload_find(gh_transaction_t *transaction, const char *id,
                                   gh_escrow_upload_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_upload"
                                 " WHERE id = $1");

    gh_bind_text(query, id);
    return read_one(query, record, p);
}

apr_status_t gh_escrow_upload_of_pair(gh_transaction_t *transaction, const char *device,
                                      const char *user, gh_escrow_upload_record_t **record,
                                      apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_upload"
                                 " WHERE device = $1 AND user_id = $2");

    gh_bind_text(query, device);
    gh_bind_text(query, user);
    return read_one(query, record, p);
}

apr_status_t gh_escrow_upload_remove_pair(gh_transaction_t *transaction, const char *device,
                                          const char *user)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_upload WHERE device = $1"
                                 " AND user_id = $2");

    gh_bind_text(query, device);
    gh_bind_text(query, user);
    return gh_execute(query);
}

apr_status_t gh_escrow_upload_purge(gh_transaction_t *transaction, apr_time_t now, int limit,
                                    apr_int64_t *count)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_upload WHERE id IN"
                                 " (SELECT id FROM escrow_upload WHERE expires <= $1 LIMIT $2)");
    apr_status_t rv;

    gh_bind_int64(query, now);
    gh_bind_int64(query, limit);
    rv = gh_execute(query);
    *count = rv == APR_SUCCESS ? gh_rows_changed(transaction) : 0;
    return rv;
}
