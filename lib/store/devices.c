/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/devices.h"

#include "status.h"

#define LIST_LIMIT 1000

#define COLUMNS \
    "id, tenant, fqdn, issuer, profile, secret_mac, secret_bits, single_use, address," \
    " serial_number, created, used_at, used_by"

apr_status_t gh_device_insert(gh_transaction_t *transaction, const gh_device_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO device (id, tenant, fqdn, issuer, profile, secret_mac,"
                     " secret_bits, single_use, address, serial_number, created)"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
    gh_bind_text(query, record->id);
    gh_bind_text(query, record->tenant);
    gh_bind_text(query, record->fqdn);
    gh_bind_text(query, record->issuer);
    gh_bind_text(query, record->profile);
    gh_bind_bytes(query, record->secret_mac);
    gh_bind_int64(query, record->secret_bits);
    gh_bind_int64(query, record->single_use);
    gh_bind_text(query, record->address);
    gh_bind_text(query, record->serial_number);
    gh_bind_int64(query, record->created);
    return gh_execute(query);
}

static gh_device_record_t *read_row(gh_query_t *query, apr_pool_t *p)
{
    gh_device_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->id = gh_column_text(query, 0, p);
    record->tenant = gh_column_text(query, 1, p);
    record->fqdn = gh_column_text(query, 2, p);
    record->issuer = gh_column_text(query, 3, p);
    record->profile = gh_column_text(query, 4, p);
    record->secret_mac = gh_column_bytes(query, 5, p);
    record->secret_bits = (int)gh_column_int64(query, 6);
    record->single_use = (int)gh_column_int64(query, 7);
    record->address = gh_column_text(query, 8, p);
    record->serial_number = gh_column_text(query, 9, p);
    record->created = gh_column_int64(query, 10);
    record->used_at = gh_column_int64(query, 11);
    record->used_by = gh_column_text(query, 12, p);
    return record;
}

apr_status_t gh_device_find(gh_transaction_t *transaction, const char *tenant, const char *fqdn,
                            gh_device_record_t **record, apr_pool_t *p)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "SELECT " COLUMNS " FROM device WHERE tenant = $1 AND fqdn = $2");
    gh_bind_text(query, tenant);
    gh_bind_text(query, fqdn);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    *record = read_row(query, p);
    gh_query_end(query);
    return APR_SUCCESS;
}

apr_status_t gh_device_list(gh_transaction_t *transaction, const char *tenant, const char *fqdn,
                            const char *id, int limit, apr_array_header_t **records,
                            apr_pool_t *p)
{
    gh_query_t *query;
    apr_status_t rv;

    *records = apr_array_make(p, 8, sizeof(gh_device_record_t *));
    query = gh_query(transaction,
                     "SELECT " COLUMNS " FROM device"
                     " WHERE (CAST($1 AS TEXT) IS NULL OR tenant = $1)"
                     " AND (CAST($2 AS TEXT) IS NULL OR fqdn = $2)"
                     " AND (CAST($3 AS TEXT) IS NULL OR id = $3)"
                     " ORDER BY tenant, fqdn LIMIT $4");
    gh_bind_text(query, tenant);
    gh_bind_text(query, fqdn);
    gh_bind_text(query, id);
    gh_bind_int64(query, limit > 0 ? limit : LIST_LIMIT);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*records, gh_device_record_t *) = read_row(query, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

/* One statement checks and uses, so that nothing can come between. */
apr_status_t gh_device_use(gh_transaction_t *transaction, const char *id, const char *enrolment,
                           apr_time_t now)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "UPDATE device SET used_at = $1, used_by = $2"
                     " WHERE id = $3 AND (single_use = 0 OR used_at = 0)");
    gh_bind_int64(query, now);
    gh_bind_text(query, enrolment);
    gh_bind_text(query, id);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? APR_SUCCESS : GH_EREFUSED;
}

apr_status_t gh_device_remove(gh_transaction_t *transaction, const char *id)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM device WHERE id = $1");
    apr_status_t rv;

    gh_bind_text(query, id);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? APR_SUCCESS : APR_NOTFOUND;
}
