/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/mdm_requests.h"

#include "status.h"
#include "store/store_backend.h"

/** A key that is being handed out for so long is in the hands of a process that has died. */
#define CLAIM_MAX apr_time_from_sec(30)

#define COLUMNS \
    "id, mode, tenant, digital_id, requester, device, subject, sans, transaction_id, created," \
    " expires, enrolment, key_size, fetched"

apr_status_t gh_mdm_request_insert(gh_transaction_t *transaction,
                                   const gh_mdm_request_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO mdm_request (id, mode, tenant, digital_id, requester, device,"
                     " subject, sans, transaction_id, created, expires, key_size)"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)");
    gh_bind_text(query, record->id);
    gh_bind_text(query, record->mode);
    gh_bind_text(query, record->tenant);
    gh_bind_text(query, record->digital_id);
    gh_bind_text(query, record->requester);
    gh_bind_text(query, record->device);
    gh_bind_text(query, record->subject);
    gh_bind_text(query, record->sans);
    gh_bind_text(query, record->transaction);
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->expires);
    gh_bind_int64(query, record->key_size);
    return gh_execute(query);
}

static gh_mdm_request_record_t *read_record(gh_query_t *query, apr_pool_t *p)
{
    gh_mdm_request_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->id = gh_column_text(query, 0, p);
    record->mode = gh_column_text(query, 1, p);
    record->tenant = gh_column_text(query, 2, p);
    record->digital_id = gh_column_text(query, 3, p);
    record->requester = gh_column_text(query, 4, p);
    record->device = gh_column_text(query, 5, p);
    record->subject = gh_column_text(query, 6, p);
    record->sans = gh_column_text(query, 7, p);
    record->transaction = gh_column_text(query, 8, p);
    record->created = gh_column_int64(query, 9);
    record->expires = gh_column_int64(query, 10);
    record->enrolment = gh_column_text(query, 11, p);
    record->key_size = (int)gh_column_int64(query, 12);
    record->fetched = gh_column_int64(query, 13);
    return record;
}

/** The one row of a query that has request and sealed behind the other columns. */
static apr_status_t read_whole(gh_query_t *query, gh_mdm_request_record_t **record, apr_pool_t *p)
{
    apr_status_t rv = gh_step(query);

    *record = NULL;
    if (rv == APR_SUCCESS) {
        *record = read_record(query, p);
        (*record)->request = gh_column_bytes(query, 14, p);
        (*record)->sealed = gh_column_bytes(query, 15, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

apr_status_t gh_mdm_request_find(gh_transaction_t *transaction, const char *id,
                                 gh_mdm_request_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS ", request, sealed"
                                 " FROM mdm_request WHERE id = $1");

    gh_bind_text(query, id);
    return read_whole(query, record, p);
}

apr_status_t gh_mdm_request_find_transaction(gh_transaction_t *transaction, const char *tenant,
                                             const char *requester, const char *id,
                                             gh_mdm_request_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS ", request, sealed"
                                 " FROM mdm_request WHERE tenant = $1 AND requester = $2"
                                 " AND transaction_id = $3");

    gh_bind_text(query, tenant);
    gh_bind_text(query, requester);
    gh_bind_text(query, id);
    return read_whole(query, record, p);
}

apr_status_t gh_mdm_request_bind(gh_transaction_t *transaction, const char *id,
                                 const char *enrolment)
{
    gh_query_t *query = gh_query(transaction, "UPDATE mdm_request SET enrolment = $1"
                                 " WHERE id = $2 AND enrolment IS NULL");
    apr_status_t rv;

    gh_bind_text(query, enrolment);
    gh_bind_text(query, id);
    rv = gh_execute(query);
    return rv == APR_SUCCESS && gh_rows_changed(transaction) != 1 ? GH_EREFUSED : rv;
}

apr_status_t gh_mdm_request_set_key(gh_transaction_t *transaction, const char *id,
                                    gh_bytes_t key_sha256, gh_bytes_t request,
                                    gh_bytes_t sealed)
{
    gh_query_t *query = gh_query(transaction, "UPDATE mdm_request SET key_sha256 = $1,"
                                 " request = $2, sealed = $3"
                                 " WHERE id = $4 AND mode = 'p12' AND request IS NULL");
    apr_status_t rv;

    gh_bind_bytes(query, key_sha256);
    gh_bind_bytes(query, request);
    gh_bind_bytes(query, sealed);
    gh_bind_text(query, id);
    rv = gh_execute(query);
    return rv == APR_SUCCESS && gh_rows_changed(transaction) != 1 ? APR_NOTFOUND : rv;
}

apr_status_t gh_mdm_request_made(gh_transaction_t *transaction, gh_bytes_t key_sha256,
                                 int *made)
{
    gh_query_t *query = gh_query(transaction, "SELECT 1 FROM mdm_request WHERE key_sha256 = $1"
                                 " LIMIT 1");
    apr_status_t rv;

    gh_bind_bytes(query, key_sha256);
    rv = gh_step(query);
    *made = rv == APR_SUCCESS;
    if (rv == APR_SUCCESS) {
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_mdm_request_claim(gh_transaction_t *transaction, const char *id)
{
    gh_query_t *query;
    apr_time_t now;
    apr_int64_t count = 0;
    apr_status_t rv = gh_store_now(transaction, &now);

    if (rv == APR_SUCCESS) {
        query = gh_query(transaction, "UPDATE mdm_request SET fetched = $1 WHERE id = $2"
                         " AND sealed IS NOT NULL AND (fetched = 0 OR fetched < $3)");
        gh_bind_int64(query, now);
        gh_bind_text(query, id);
        gh_bind_int64(query, now - CLAIM_MAX);
        rv = gh_execute(query);
        count = gh_rows_changed(transaction);
    }
    if (rv != APR_SUCCESS || count) {
        return rv;
    }
    query = gh_query(transaction, "SELECT COUNT(*) FROM mdm_request WHERE id = $1"
                     " AND sealed IS NOT NULL");
    gh_bind_text(query, id);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv;
    }
    count = gh_column_int64(query, 0);
    gh_query_end(query);
    return count ? GH_EBUSY : APR_NOTFOUND;
}

apr_status_t gh_mdm_request_release(gh_transaction_t *transaction, const char *id)
{
    gh_query_t *query = gh_query(transaction, "UPDATE mdm_request SET fetched = 0 WHERE id = $1"
                                 " AND sealed IS NOT NULL");

    gh_bind_text(query, id);
    return gh_execute(query);
}

apr_status_t gh_mdm_request_erase(gh_transaction_t *transaction, const char *id, apr_time_t now)
{
    gh_query_t *query = gh_query(transaction, "UPDATE mdm_request SET sealed = NULL, fetched = $1"
                                 " WHERE id = $2 AND sealed IS NOT NULL");

    gh_bind_int64(query, now);
    gh_bind_text(query, id);
    return gh_execute(query);
}

apr_status_t gh_mdm_request_of_enrolment(gh_transaction_t *transaction, const char *enrolment,
                                         const char **mode, const char **device, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT mode, device FROM mdm_request"
                                 " WHERE enrolment = $1");
    apr_status_t rv;

    gh_bind_text(query, enrolment);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        *mode = gh_column_text(query, 0, p);
        *device = gh_column_text(query, 1, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

apr_status_t gh_mdm_request_list(gh_transaction_t *transaction, const char *tenant,
                                 const char *device, const char *subject, int limit,
                                 apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query;
    apr_status_t rv;

    *records = apr_array_make(p, 4, sizeof(gh_mdm_request_record_t *));
    if (device) {
        query = gh_query(transaction, "SELECT " COLUMNS " FROM mdm_request WHERE tenant = $1"
                         " AND device = $2 ORDER BY created DESC, id DESC LIMIT $3");
    }
    else {
        query = gh_query(transaction, "SELECT " COLUMNS " FROM mdm_request WHERE tenant = $1"
                         " AND subject = $2 ORDER BY created DESC, id DESC LIMIT $3");
    }
    gh_bind_text(query, tenant);
    gh_bind_text(query, device ? device : subject);
    gh_bind_int64(query, limit);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*records, gh_mdm_request_record_t *) = read_record(query, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_mdm_request_purge(gh_transaction_t *transaction, apr_time_t before,
                                  apr_time_t keys_before)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM mdm_request WHERE enrolment IS NULL"
                                 " AND expires < $1");
    apr_status_t rv;

    gh_bind_int64(query, before);
    rv = gh_execute(query);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "UPDATE mdm_request SET sealed = NULL WHERE sealed IS NOT NULL"
                     " AND expires < $1");
    gh_bind_int64(query, keys_before);
    return gh_execute(query);
}
