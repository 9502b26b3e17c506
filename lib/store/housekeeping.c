/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/housekeeping.h"

#include <string.h>

#include "status.h"

/* Leases, sealed keys and settings; audit rows are in audit_rows.c. */

apr_status_t gh_lease_take(gh_transaction_t *transaction, const char *name, const char *holder,
                           apr_interval_time_t interval)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "INSERT INTO lease (name, holder, expires) VALUES ($1, $2, $3)"
                     " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder,"
                     " expires = excluded.expires"
                     " WHERE lease.holder = excluded.holder OR lease.expires <= $4");
    gh_bind_text(query, name);
    gh_bind_text(query, holder);
    gh_bind_int64(query, now + interval);
    gh_bind_int64(query, now);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? APR_SUCCESS : GH_EREFUSED;
}

apr_status_t gh_lease_release(gh_transaction_t *transaction, const char *name, const char *holder)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM lease WHERE name = $1 AND holder = $2");

    gh_bind_text(query, name);
    gh_bind_text(query, holder);
    return gh_execute(query);
}

apr_status_t gh_lease_release_all(gh_transaction_t *transaction, const char *holder)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM lease WHERE holder = $1");

    gh_bind_text(query, holder);
    return gh_execute(query);
}

apr_status_t gh_sealed_key_insert(gh_transaction_t *transaction,
                                  const gh_sealed_key_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO sealed_key (id, purpose, issuer, generation, sealed, certificate,"
                     " not_before, not_after) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    gh_bind_text(query, record->id);
    gh_bind_text(query, record->purpose);
    gh_bind_text(query, record->issuer);
    gh_bind_int64(query, record->generation);
    gh_bind_bytes(query, record->sealed);
    gh_bind_bytes(query, record->certificate);
    gh_bind_int64(query, record->not_before);
    gh_bind_int64(query, record->not_after);
    return gh_execute(query);
}

apr_status_t gh_sealed_key_list(gh_transaction_t *transaction, const char *purpose,
                                const char *issuer, apr_array_header_t **records, apr_pool_t *p)
{
    apr_array_header_t *found = apr_array_make(p, 2, sizeof(gh_sealed_key_record_t *));
    gh_sealed_key_record_t *record;
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "SELECT id, purpose, issuer, generation, sealed, certificate, not_before,"
                     " not_after FROM sealed_key WHERE purpose = $1 AND issuer = $2"
                     " ORDER BY generation DESC");
    gh_bind_text(query, purpose);
    gh_bind_text(query, issuer);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        record = apr_pcalloc(p, sizeof(*record));
        record->id = gh_column_text(query, 0, p);
        record->purpose = gh_column_text(query, 1, p);
        record->issuer = gh_column_text(query, 2, p);
        record->generation = gh_column_int64(query, 3);
        record->sealed = gh_column_bytes(query, 4, p);
        record->certificate = gh_column_bytes(query, 5, p);
        record->not_before = gh_column_int64(query, 6);
        record->not_after = gh_column_int64(query, 7);
        APR_ARRAY_PUSH(found, gh_sealed_key_record_t *) = record;
    }
    *records = found;
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

#define KEY_REQUEST_COLUMNS "enrolment, purpose, issuer, generation, sealed"

apr_status_t gh_key_request_insert(gh_transaction_t *transaction,
                                   const gh_key_request_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction, "INSERT INTO key_request (" KEY_REQUEST_COLUMNS ")"
                     " VALUES ($1, $2, $3, $4, $5)");
    gh_bind_text(query, record->enrolment);
    gh_bind_text(query, record->purpose);
    gh_bind_text(query, record->issuer);
    gh_bind_int64(query, record->generation);
    gh_bind_bytes(query, record->sealed);
    return gh_execute(query);
}

static apr_status_t read_key_request(gh_query_t *query, gh_key_request_record_t **record,
                                     apr_pool_t *p)
{
    gh_key_request_record_t *found;
    apr_status_t rv = gh_step(query);

    if (rv != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    found = apr_pcalloc(p, sizeof(*found));
    found->enrolment = gh_column_text(query, 0, p);
    found->purpose = gh_column_text(query, 1, p);
    found->issuer = gh_column_text(query, 2, p);
    found->generation = gh_column_int64(query, 3);
    found->sealed = gh_column_bytes(query, 4, p);
    gh_query_end(query);
    *record = found;
    return APR_SUCCESS;
}

apr_status_t gh_key_request_find(gh_transaction_t *transaction, const char *purpose,
                                 const char *issuer, gh_key_request_record_t **record,
                                 apr_pool_t *p)
{
    gh_query_t *query;

    query = gh_query(transaction, "SELECT " KEY_REQUEST_COLUMNS " FROM key_request"
                     " WHERE purpose = $1 AND issuer = $2");
    gh_bind_text(query, purpose);
    gh_bind_text(query, issuer);
    return read_key_request(query, record, p);
}

apr_status_t gh_key_request_of(gh_transaction_t *transaction, const char *enrolment,
                               gh_key_request_record_t **record, apr_pool_t *p)
{
    gh_query_t *query;

    query = gh_query(transaction, "SELECT " KEY_REQUEST_COLUMNS " FROM key_request"
                     " WHERE enrolment = $1");
    gh_bind_text(query, enrolment);
    return read_key_request(query, record, p);
}

apr_status_t gh_key_request_remove(gh_transaction_t *transaction, const char *enrolment)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM key_request WHERE enrolment = $1");

    gh_bind_text(query, enrolment);
    return gh_execute(query);
}

apr_status_t gh_setting_get(gh_transaction_t *transaction, const char *name, const char **value,
                            apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT value FROM setting WHERE name = $1");
    apr_status_t rv;

    gh_bind_text(query, name);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    *value = gh_column_text(query, 0, p);
    gh_query_end(query);
    return APR_SUCCESS;
}

apr_status_t gh_setting_put(gh_transaction_t *transaction, const char *name, const char *value)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO setting (name, value) VALUES ($1, $2)"
                     " ON CONFLICT (name) DO UPDATE SET value = excluded.value");
    gh_bind_text(query, name);
    gh_bind_text(query, value);
    return gh_execute(query);
}

apr_status_t gh_setting_list(gh_transaction_t *transaction, const char *beginning,
                             const char *after, int limit, apr_array_header_t **names,
                             apr_array_header_t **values, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT name, value FROM setting"
                                 " WHERE substr(name, 1, CAST($1 AS INTEGER)) = $2 AND name > $3"
                                 " ORDER BY name LIMIT $4");
    apr_status_t rv;

    *names = apr_array_make(p, 16, sizeof(const char *));
    *values = apr_array_make(p, 16, sizeof(const char *));
    gh_bind_int64(query, (apr_int64_t)strlen(beginning));
    gh_bind_text(query, beginning);
    gh_bind_text(query, after ? after : "");
    gh_bind_int64(query, limit);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*names, const char *) = gh_column_text(query, 0, p);
        APR_ARRAY_PUSH(*values, const char *) = gh_column_text(query, 1, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_setting_remove(gh_transaction_t *transaction, const char *name)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM setting WHERE name = $1");

    gh_bind_text(query, name);
    return gh_execute(query);
}
