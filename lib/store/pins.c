/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/pins.h"

#include "status.h"
#include "store/housekeeping.h"

#define VERSION "pins.version"

static apr_status_t changed(gh_transaction_t *transaction)
{
    apr_pool_t *p;
    const char *id;
    apr_status_t rv = apr_pool_create(&p, NULL);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    id = gh_random_id(p);
    rv = id ? gh_setting_put(transaction, VERSION, id) : APR_EGENERAL;
    apr_pool_destroy(p);
    return rv;
}

apr_status_t gh_pins_version(gh_transaction_t *transaction, const char **version, apr_pool_t *p)
{
    apr_status_t rv = gh_setting_get(transaction, VERSION, version, p);

    if (rv == APR_NOTFOUND) {
        *version = "";
        rv = APR_SUCCESS;
    }
    return rv;
}

apr_status_t gh_pin_put(gh_transaction_t *transaction, const gh_pin_record_t *record)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "INSERT INTO pin (thumbprint, role, label, created, created_by, expires)"
                     " VALUES ($1, $2, $3, $4, $5, $6)"
                     " ON CONFLICT (thumbprint, role) DO UPDATE SET label = excluded.label,"
                     " expires = excluded.expires");
    gh_bind_text(query, record->thumbprint);
    gh_bind_text(query, record->role);
    gh_bind_text(query, record->label);
    gh_bind_int64(query, record->created);
    gh_bind_text(query, record->created_by);
    gh_bind_int64(query, record->expires);
    rv = gh_execute(query);
    return rv == APR_SUCCESS ? changed(transaction) : rv;
}

apr_status_t gh_pin_remove(gh_transaction_t *transaction, const char *thumbprint,
                           const char *role)
{
    gh_query_t *query = gh_query(transaction,
                                 "DELETE FROM pin WHERE thumbprint = $1"
                                 " AND (CAST($2 AS TEXT) IS NULL OR role = $2)");
    apr_status_t rv;

    gh_bind_text(query, thumbprint);
    gh_bind_text(query, role);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) > 0 ? changed(transaction) : APR_NOTFOUND;
}

apr_status_t gh_pin_list(gh_transaction_t *transaction, apr_array_header_t **records,
                         apr_pool_t *p)
{
    gh_query_t *query;
    apr_status_t rv;

    *records = apr_array_make(p, 16, sizeof(gh_pin_record_t *));
    query = gh_query(transaction,
                     "SELECT thumbprint, role, label, created, created_by, expires, last_used"
                     " FROM pin ORDER BY thumbprint, role");
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        gh_pin_record_t *record = apr_pcalloc(p, sizeof(*record));

        record->thumbprint = gh_column_text(query, 0, p);
        record->role = gh_column_text(query, 1, p);
        record->label = gh_column_text(query, 2, p);
        record->created = gh_column_int64(query, 3);
        record->created_by = gh_column_text(query, 4, p);
        record->expires = gh_column_int64(query, 5);
        record->last_used = gh_column_int64(query, 6);
        APR_ARRAY_PUSH(*records, gh_pin_record_t *) = record;
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_pin_used(gh_transaction_t *transaction, const char *thumbprint, apr_time_t now)
{
    gh_query_t *query = gh_query(transaction,
                                 "UPDATE pin SET last_used = $1"
                                 " WHERE thumbprint = $2 AND last_used < $1");

    gh_bind_int64(query, now);
    gh_bind_text(query, thumbprint);
    return gh_execute(query);
}

/* Endpoints */

apr_status_t gh_endpoint_put(gh_transaction_t *transaction, const gh_endpoint_record_t *record)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "INSERT INTO escrow_endpoint (name, generation, chain, key_id, wrapped,"
                     " sealed, updated, updated_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
                     " ON CONFLICT (name) DO UPDATE SET generation = excluded.generation,"
                     " chain = excluded.chain, key_id = excluded.key_id,"
                     " wrapped = excluded.wrapped, sealed = excluded.sealed,"
                     " updated = excluded.updated, updated_by = excluded.updated_by"
                     " WHERE escrow_endpoint.generation + 1 = excluded.generation");
    gh_bind_text(query, record->name);
    gh_bind_int64(query, record->generation);
    gh_bind_bytes(query, record->chain);
    gh_bind_text(query, record->key_id);
    gh_bind_bytes(query, record->wrapped);
    gh_bind_bytes(query, record->sealed);
    gh_bind_int64(query, record->updated);
    gh_bind_text(query, record->updated_by);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? changed(transaction) : GH_ECONFLICT;
}

#define ENDPOINT_COLUMNS \
    "name, generation, chain, key_id, wrapped, sealed, updated, updated_by"

static gh_endpoint_record_t *read_endpoint(gh_query_t *query, apr_pool_t *p)
{
    gh_endpoint_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->name = gh_column_text(query, 0, p);
    record->generation = gh_column_int64(query, 1);
    record->chain = gh_column_bytes(query, 2, p);
    record->key_id = gh_column_text(query, 3, p);
    record->wrapped = gh_column_bytes(query, 4, p);
    record->sealed = gh_column_bytes(query, 5, p);
    record->updated = gh_column_int64(query, 6);
    record->updated_by = gh_column_text(query, 7, p);
    return record;
}

apr_status_t gh_endpoint_find(gh_transaction_t *transaction, const char *name,
                              gh_endpoint_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " ENDPOINT_COLUMNS
                                 " FROM escrow_endpoint WHERE name = $1");
    apr_status_t rv;

    gh_bind_text(query, name);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    *record = read_endpoint(query, p);
    gh_query_end(query);
    return APR_SUCCESS;
}

apr_status_t gh_endpoint_list(gh_transaction_t *transaction, apr_array_header_t **records,
                              apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " ENDPOINT_COLUMNS
                                 " FROM escrow_endpoint ORDER BY name");
    apr_status_t rv;

    *records = apr_array_make(p, 2, sizeof(gh_endpoint_record_t *));
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*records, gh_endpoint_record_t *) = read_endpoint(query, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}
