/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/certificates.h"

#include <string.h>

#include "status.h"

apr_status_t gh_issuer_register(gh_transaction_t *transaction, const char *name,
                                gh_bytes_t key_sha256, gh_bytes_t certificate)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "INSERT INTO issuer (name, key_sha256, certificate, created)"
                     " VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING");
    gh_bind_text(query, name);
    gh_bind_bytes(query, key_sha256);
    gh_bind_bytes(query, certificate);
    gh_bind_int64(query, now);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }

    /* a renewed certificate of the same key takes the old one's place */
    query = gh_query(transaction,
                     "UPDATE issuer SET certificate = $1 WHERE name = $2 AND key_sha256 = $3");
    gh_bind_bytes(query, certificate);
    gh_bind_text(query, name);
    gh_bind_bytes(query, key_sha256);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? APR_SUCCESS : GH_ECONFLICT;
}

apr_status_t gh_issuer_key(gh_transaction_t *transaction, const char *name,
                           gh_bytes_t *key_sha256, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT key_sha256 FROM issuer WHERE name = $1");
    apr_status_t rv;

    gh_bind_text(query, name);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    *key_sha256 = gh_column_bytes(query, 0, p);
    gh_query_end(query);
    return APR_SUCCESS;
}

apr_status_t gh_issuer_note_worker(gh_transaction_t *transaction, const char *name, int by_worker)
{
    gh_query_t *query = gh_query(transaction, "UPDATE issuer SET by_worker = $1 WHERE name = $2");

    gh_bind_int64(query, by_worker);
    gh_bind_text(query, name);
    return gh_execute(query);
}

apr_status_t gh_issuer_by_worker(gh_transaction_t *transaction, const char *name, int *by_worker)
{
    gh_query_t *query = gh_query(transaction, "SELECT by_worker FROM issuer WHERE name = $1");
    apr_status_t rv;

    gh_bind_text(query, name);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    *by_worker = gh_column_int64(query, 0) != 0;
    gh_query_end(query);
    return APR_SUCCESS;
}
