/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/escrow_events.h"

#include "status.h"
#include "store/store_backend.h"

#define COLUMNS \
    "id, event_key, device, user_id, email, rule, provider, state, reason, created, updated"

#define LIMIT 1000

apr_status_t gh_escrow_event_insert(gh_transaction_t *transaction,
                                    const gh_escrow_event_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction, "INSERT INTO escrow_event (" COLUMNS ")"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
    gh_bind_text(query, record->id);
    gh_bind_text(query, record->key);
    gh_bind_text(query, record->device);
    gh_bind_text(query, record->user);
    gh_bind_text(query, record->email);
    gh_bind_text(query, record->rule);
    gh_bind_text(query, record->provider);
    gh_bind_int64(query, record->state);
    gh_bind_text(query, record->reason);
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->updated);
    return gh_execute(query);
}

static gh_escrow_event_record_t *read_record(gh_query_t *query, apr_pool_t *p)
{
    gh_escrow_event_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->id = gh_column_text(query, 0, p);
    record->key = gh_column_text(query, 1, p);
    record->device = gh_column_text(query, 2, p);
    record->user = gh_column_text(query, 3, p);
    record->email = gh_column_text(query, 4, p);
    record->rule = gh_column_text(query, 5, p);
    record->provider = gh_column_text(query, 6, p);
    record->state = (gh_escrow_event_state_t)gh_column_int64(query, 7);
    record->reason = gh_column_text(query, 8, p);
    record->created = gh_column_int64(query, 9);
    record->updated = gh_column_int64(query, 10);
    return record;
}

static apr_status_t read_one(gh_query_t *query, gh_escrow_event_record_t **record, apr_pool_t *p)
{
    apr_status_t rv = gh_step(query);

    *record = NULL;
    if (rv == APR_SUCCESS) {
        *record = read_record(query, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

static apr_status_t read_all(gh_query_t *query, apr_array_header_t **records, apr_pool_t *p)
{
    apr_status_t rv;

    *records = apr_array_make(p, 4, sizeof(gh_escrow_event_record_t *));
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*records, gh_escrow_event_record_t *) = read_record(query, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_escrow_event_find(gh_transaction_t *transaction, const char *id,
                                  gh_escrow_event_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_event"
                                 " WHERE id = $1");

    gh_bind_text(query, id);
    return read_one(query, record, p);
}

apr_status_t gh_escrow_event_find_key(gh_transaction_t *transaction, const char *key,
                                      gh_escrow_event_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_event"
                                 " WHERE event_key = $1");

    gh_bind_text(query, key);
    return read_one(query, record, p);
}

apr_status_t gh_escrow_event_latest(gh_transaction_t *transaction, const char *device,
                                    const char *user, gh_escrow_event_record_t **record,
                                    apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_event"
                                 " WHERE device = $1 AND user_id = $2 AND state <> 4"
                                 " ORDER BY created DESC, id DESC LIMIT 1");

    gh_bind_text(query, device);
    gh_bind_text(query, user);
    return read_one(query, record, p);
}

apr_status_t gh_escrow_event_move(gh_transaction_t *transaction, const char *id,
                                  gh_escrow_event_state_t from, gh_escrow_event_state_t to,
                                  const char *reason, apr_time_t now)
{
    gh_query_t *query = gh_query(transaction, "UPDATE escrow_event SET state = $1, reason = $2,"
                                 " updated = $3 WHERE id = $4 AND state = $5");
    apr_status_t rv;

    gh_bind_int64(query, to);
    gh_bind_text(query, reason);
    gh_bind_int64(query, now);
    gh_bind_text(query, id);
    gh_bind_int64(query, from);
    rv = gh_execute(query);
    return rv == APR_SUCCESS && gh_rows_changed(transaction) != 1 ? APR_NOTFOUND : rv;
}

apr_status_t gh_escrow_event_restart(gh_transaction_t *transaction, const char *id,
                                     const gh_escrow_event_record_t *record)
{
    gh_query_t *query = gh_query(transaction, "UPDATE escrow_event SET state = 1, reason = NULL,"
                                 " rule = $1, email = $2, provider = $3, updated = $4"
                                 " WHERE id = $5 AND state > 2");
    apr_status_t rv;

    gh_bind_text(query, record->rule);
    gh_bind_text(query, record->email);
    gh_bind_text(query, record->provider);
    gh_bind_int64(query, record->updated);
    gh_bind_text(query, id);
    rv = gh_execute(query);
    return rv == APR_SUCCESS && gh_rows_changed(transaction) != 1 ? APR_NOTFOUND : rv;
}

apr_status_t gh_escrow_event_enrolling(gh_transaction_t *transaction, int limit,
                                       apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_event"
                                 " WHERE state = 2 ORDER BY updated, id LIMIT $1");

    gh_bind_int64(query, limit);
    return read_all(query, records, p);
}

apr_status_t gh_escrow_event_list(gh_transaction_t *transaction, int state, int limit,
                                  apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_event"
                                 " WHERE CAST($1 AS BIGINT) = 0 OR state = $1"
                                 " ORDER BY id DESC LIMIT $2");

    gh_bind_int64(query, state);
    gh_bind_int64(query, limit ? limit : LIMIT);
    return read_all(query, records, p);
}

apr_status_t gh_escrow_event_purge(gh_transaction_t *transaction, apr_time_t before)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_event WHERE state > 2"
                                 " AND updated < $1 AND EXISTS (SELECT 1 FROM escrow_event n"
                                 " WHERE n.device = escrow_event.device"
                                 " AND n.user_id = escrow_event.user_id AND n.state = 3"
                                 " AND n.created > escrow_event.created)");

    gh_bind_int64(query, before);
    return gh_execute(query);
}

/* Keys */

apr_status_t gh_escrow_event_key_insert(gh_transaction_t *transaction, const char *event,
                                        const gh_escrow_event_key_record_t *record)
{
    gh_query_t *query = gh_query(transaction, "INSERT INTO escrow_event_key (event, purpose,"
                                 " request, key_id, wrapped, sealed)"
                                 " VALUES ($1, $2, $3, $4, $5, $6)");

    gh_bind_text(query, event);
    gh_bind_int64(query, record->purpose);
    gh_bind_bytes(query, record->request);
    gh_bind_text(query, record->key_id);
    gh_bind_bytes(query, record->wrapped);
    gh_bind_bytes(query, record->sealed);
    return gh_execute(query);
}

apr_status_t gh_escrow_event_keys(gh_transaction_t *transaction, const char *event,
                                  apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT purpose, request, key_id, wrapped, sealed,"
                                 " enrolment FROM escrow_event_key WHERE event = $1"
                                 " ORDER BY purpose");
    apr_status_t rv;

    *records = apr_array_make(p, 2, sizeof(gh_escrow_event_key_record_t *));
    gh_bind_text(query, event);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        gh_escrow_event_key_record_t *record = apr_pcalloc(p, sizeof(*record));

        record->purpose = (gh_escrow_purpose_t)gh_column_int64(query, 0);
        record->request = gh_column_bytes(query, 1, p);
        record->key_id = gh_column_text(query, 2, p);
        record->wrapped = gh_column_bytes(query, 3, p);
        record->sealed = gh_column_bytes(query, 4, p);
        record->enrolment = gh_column_text(query, 5, p);
        APR_ARRAY_PUSH(*records, gh_escrow_event_key_record_t *) = record;
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_escrow_event_key_bind(gh_transaction_t *transaction, const char *event,
                                      gh_escrow_purpose_t purpose, const char *enrolment)
{
    gh_query_t *query = gh_query(transaction, "UPDATE escrow_event_key SET enrolment = $1"
                                 " WHERE event = $2 AND purpose = $3 AND enrolment IS NULL");
    apr_status_t rv;

    gh_bind_text(query, enrolment);
    gh_bind_text(query, event);
    gh_bind_int64(query, purpose);
    rv = gh_execute(query);
    return rv == APR_SUCCESS && gh_rows_changed(transaction) != 1 ? GH_EREFUSED : rv;
}

apr_status_t gh_escrow_event_key_remove(gh_transaction_t *transaction, const char *event)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM escrow_event_key WHERE event = $1");

    gh_bind_text(query, event);
    return gh_execute(query);
}

/* Credentials. Both know when one is to be renewed: with a fifth of its life left, or 30 days. */

#define THIRTY_DAYS "2592000000000"

#define REVOKED \
    " EXISTS (SELECT 1 FROM enrolment e JOIN issuer i ON i.name = e.issuer" \
    " JOIN certificate_status s ON s.issuer = i.id AND s.serial = e.serial" \
    " WHERE e.id = c.enrolment AND s.status <> 0)"

apr_status_t gh_escrow_event_has(gh_transaction_t *transaction, const char *user,
                                 const char *device, gh_escrow_purpose_t purpose, const char *email,
                                 apr_time_t now, const char **holder, apr_pool_t *p)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction, "SELECT c.device FROM escrow_credential c WHERE c.user_id = $1"
                     " AND c.purpose = $2 AND lower(c.email) = lower($3)"
                     " AND (CAST($4 AS TEXT) IS NULL OR c.device = $4)"
                     " AND c.expires > $5 AND (c.not_after - $5 > (c.not_after - c.not_before) / 5"
                     "      OR c.not_after - $5 > " THIRTY_DAYS ")"
                     " AND NOT" REVOKED " ORDER BY c.not_after DESC, c.id LIMIT 1");
    gh_bind_text(query, user);
    gh_bind_int64(query, purpose);
    gh_bind_text(query, email);
    gh_bind_text(query, device);
    gh_bind_int64(query, now);
    *holder = NULL;
    rv = gh_step(query);
    if (rv == APR_SUCCESS) {
        *holder = gh_column_text(query, 0, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_escrow_event_due(gh_transaction_t *transaction, apr_time_t now,
                                 apr_time_t after_end, const char *after_id, int limit,
                                 apr_array_header_t **due, apr_pool_t *p)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction, "SELECT c.id, c.device, c.user_id, c.sha256, c.not_after"
                     " FROM escrow_credential c"
                     " WHERE c.purpose < 3 AND c.origin = 'provider' AND c.not_after < $1"
                     " AND c.expires > $2"
                     " AND c.not_after - $2 <= (c.not_after - c.not_before) / 5"
                     " AND (c.not_after > $3 OR (c.not_after = $3 AND c.id > $4))"
                     " AND NOT EXISTS (SELECT 1 FROM escrow_event v WHERE v.user_id = c.user_id"
                     "                 AND v.state < 3)"
                     " ORDER BY c.not_after, c.id LIMIT $5");
    gh_bind_int64(query, now + APR_INT64_C(2592000000000));
    gh_bind_int64(query, now);
    gh_bind_int64(query, after_end);
    gh_bind_text(query, after_id);
    gh_bind_int64(query, limit);
    *due = apr_array_make(p, 4, sizeof(gh_escrow_due_t *));
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        gh_escrow_due_t *one = apr_pcalloc(p, sizeof(*one));

        one->id = gh_column_text(query, 0, p);
        one->device = gh_column_text(query, 1, p);
        one->user = gh_column_text(query, 2, p);
        one->sha256 = gh_column_bytes(query, 3, p);
        one->not_after = gh_column_int64(query, 4);
        APR_ARRAY_PUSH(*due, gh_escrow_due_t *) = one;
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}
