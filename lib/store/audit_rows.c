/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/housekeeping.h"

#include <stdlib.h>

#include "audit.h"

apr_status_t gh_audit_insert(gh_transaction_t *transaction, const struct gh_audit_event *event,
                             const char *line, int logged)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO audit (time, request, node, event, issuer, serial, line, logged)"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    gh_bind_int64(query, event->time);
    gh_bind_text(query, event->id);
    gh_bind_text(query, event->node);
    gh_bind_text(query, event->event);
    gh_bind_text(query, event->issuer);
    gh_bind_text(query, event->serial);
    gh_bind_text(query, line);
    gh_bind_int64(query, logged ? 1 : 0);
    return gh_execute(query);
}

typedef struct {
    apr_int64_t id;
    const char *line;
} audit_row_t;

static int oldest_first(const void *a, const void *b)
{
    const audit_row_t *left = a, *right = b;

    return left->id < right->id ? -1 : left->id > right->id;
}

/* The condition stands twice: PostgreSQL checks the outer one again once it has the row's lock. */
apr_status_t gh_audit_take_unlogged(gh_transaction_t *transaction, int limit,
                                    apr_array_header_t **lines, apr_pool_t *p)
{
    apr_array_header_t *rows = apr_array_make(p, 8, sizeof(audit_row_t));
    gh_query_t *query;
    audit_row_t *row;
    apr_status_t rv;
    int i;

    query = gh_query(transaction,
                     "UPDATE audit SET logged = 1 WHERE logged = 0 AND id IN (SELECT id FROM audit"
                     " WHERE logged = 0 ORDER BY id LIMIT $1) RETURNING id, line");
    gh_bind_int64(query, limit);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        row = apr_array_push(rows);
        row->id = gh_column_int64(query, 0);
        row->line = gh_column_text(query, 1, p);
    }
    if (rv != APR_EOF) {
        return rv;
    }
    qsort(rows->elts, rows->nelts, sizeof(audit_row_t), oldest_first);
    *lines = apr_array_make(p, rows->nelts, sizeof(const char *));
    for (i = 0; i < rows->nelts; i++) {
        APR_ARRAY_PUSH(*lines, const char *) = APR_ARRAY_IDX(rows, i, audit_row_t).line;
    }
    return APR_SUCCESS;
}

apr_status_t gh_audit_count_unlogged(gh_transaction_t *transaction, apr_int64_t *count)
{
    gh_query_t *query = gh_query(transaction, "SELECT count(*) FROM audit WHERE logged = 0");
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        *count = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}
