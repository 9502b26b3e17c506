/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/crls.h"

apr_status_t gh_crl_insert(gh_transaction_t *transaction, const gh_crl_record_t *record)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO crl (issuer, number, this_update, next_update, change_seq,"
                     " entries, der) VALUES ($1, $2, $3, $4, $5, $6, $7)");
    gh_bind_text(query, record->issuer);
    gh_bind_int64(query, record->number);
    gh_bind_int64(query, record->this_update);
    gh_bind_int64(query, record->next_update);
    gh_bind_int64(query, record->change);
    gh_bind_int64(query, record->entries);
    gh_bind_bytes(query, record->der);
    return gh_execute(query);
}

apr_status_t gh_crl_newest(gh_transaction_t *transaction, const char *issuer, int with_der,
                           gh_crl_record_t **record, apr_pool_t *p)
{
    gh_crl_record_t *found;
    gh_query_t *query;
    apr_status_t rv;

    if (with_der) {
        query = gh_query(transaction,
                         "SELECT issuer, number, this_update, next_update, change_seq, entries, der"
                         " FROM crl WHERE issuer = $1 ORDER BY number DESC LIMIT 1");
    }
    else {
        query = gh_query(transaction,
                         "SELECT issuer, number, this_update, next_update, change_seq, entries"
                         " FROM crl WHERE issuer = $1 ORDER BY number DESC LIMIT 1");
    }
    gh_bind_text(query, issuer);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    found = apr_pcalloc(p, sizeof(*found));
    found->issuer = gh_column_text(query, 0, p);
    found->number = gh_column_int64(query, 1);
    found->this_update = gh_column_int64(query, 2);
    found->next_update = gh_column_int64(query, 3);
    found->change = gh_column_int64(query, 4);
    found->entries = gh_column_int64(query, 5);
    if (with_der) {
        found->der = gh_column_bytes(query, 6, p);
    }
    gh_query_end(query);
    *record = found;
    return APR_SUCCESS;
}

apr_status_t gh_crl_purge(gh_transaction_t *transaction, const char *issuer, int count)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "DELETE FROM crl WHERE issuer = $1 AND number <="
                     " (SELECT max(number) FROM crl WHERE issuer = $1) - CAST($2 AS BIGINT)");
    gh_bind_text(query, issuer);
    gh_bind_int64(query, count);
    return gh_execute(query);
}
