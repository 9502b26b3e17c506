/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/deliveries.h"

#include "status.h"

#define COLUMNS \
    "id, profile, kind, uem, state, attempts, status, number, message, created, updated"

apr_status_t gh_delivery_insert(gh_transaction_t *transaction, const gh_delivery_record_t *record)
{
    gh_query_t *query = gh_query(transaction,
                                 "INSERT INTO delivery (id, profile, kind, uem, state, created,"
                                 " updated) VALUES ($1, $2, $3, $4, 1, $5, $6)");

    gh_bind_text(query, record->id);
    gh_bind_text(query, record->profile);
    gh_bind_text(query, record->kind);
    gh_bind_text(query, record->uem);
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->created);
    return gh_execute(query);
}

static gh_delivery_record_t *read_record(gh_query_t *query, apr_pool_t *p)
{
    gh_delivery_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->id = gh_column_text(query, 0, p);
    record->profile = gh_column_text(query, 1, p);
    record->kind = gh_column_text(query, 2, p);
    record->uem = gh_column_text(query, 3, p);
    record->state = (gh_delivery_state_t)gh_column_int64(query, 4);
    record->attempts = (int)gh_column_int64(query, 5);
    record->status = (int)gh_column_int64(query, 6);
    record->number = gh_column_text(query, 7, p);
    record->message = gh_column_text(query, 8, p);
    record->created = gh_column_int64(query, 9);
    record->updated = gh_column_int64(query, 10);
    return record;
}

apr_status_t gh_delivery_find(gh_transaction_t *transaction, const char *id,
                              gh_delivery_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM delivery WHERE id = $1");
    apr_status_t rv;

    *record = NULL;
    gh_bind_text(query, id);
    rv = gh_step(query);
    if (rv == APR_SUCCESS) {
        *record = read_record(query, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

apr_status_t gh_delivery_list(gh_transaction_t *transaction, const char *profile, int limit,
                              apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM delivery WHERE profile = $1"
                                 " ORDER BY id DESC LIMIT $2");
    apr_status_t rv;

    *records = apr_array_make(p, 4, sizeof(gh_delivery_record_t *));
    gh_bind_text(query, profile);
    gh_bind_int64(query, limit);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*records, gh_delivery_record_t *) = read_record(query, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_delivery_note(gh_transaction_t *transaction, const char *id,
                              gh_delivery_state_t state, int attempts, int status,
                              const gh_result_t *why, apr_time_t now)
{
    gh_query_t *query = gh_query(transaction,
                                 "UPDATE delivery SET state = $1, attempts = $2, status = $3,"
                                 " number = $4, message = $5, updated = $6"
                                 " WHERE id = $7 AND state = 1");

    gh_bind_int64(query, state);
    gh_bind_int64(query, attempts);
    gh_bind_int64(query, status);
    if (why && why->number[0]) {
        gh_bind_text(query, why->number);
        gh_bind_text(query, why->message);
    }
    else {
        gh_bind_null(query);
        gh_bind_null(query);
    }
    gh_bind_int64(query, now);
    gh_bind_text(query, id);
    return gh_execute(query);
}

apr_status_t gh_delivery_cancel(gh_transaction_t *transaction, const char *profile,
                                apr_time_t now)
{
    gh_query_t *query = gh_query(transaction, "UPDATE delivery SET state = 4, updated = $1"
                                 " WHERE profile = $2 AND state = 1");

    gh_bind_int64(query, now);
    gh_bind_text(query, profile);
    return gh_execute(query);
}

apr_status_t gh_delivery_trim(gh_transaction_t *transaction, const char *profile, int keep)
{
    gh_query_t *query = gh_query(transaction,
                                 "DELETE FROM delivery WHERE profile = $1 AND state <> 1"
                                 " AND id NOT IN (SELECT id FROM delivery WHERE profile = $2"
                                 " ORDER BY id DESC LIMIT $3)");

    gh_bind_text(query, profile);
    gh_bind_text(query, profile);
    gh_bind_int64(query, keep);
    return gh_execute(query);
}
