/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/store.h"

#include <string.h>
#include <time.h>

#include <apr_strings.h>

#include "store/store_backend.h"

/* The front: finds the back end by the URI's scheme and hands on. */

#define DEFAULT_CONNECTIONS 8
#define DEFAULT_QUEUE       1024
#define DEFAULT_DEADLINE    apr_time_from_sec(10)

/** Clocks that are no further apart count as one: so long may asking for the other take. */
#define SAME_CLOCK          apr_time_from_msec(100)

static const gh_store_backend_t *find_backend(const char *uri, const char **location)
{
    const gh_store_backend_t *backends[] = { &gh_store_sqlite, &gh_store_pgsql };
    apr_size_t i, length;

    for (i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        length = strlen(backends[i]->kind);
        if (strncmp(uri, backends[i]->kind, length) == 0 && uri[length] == ':') {
            *location = uri + length + 1;
            return backends[i];
        }
    }
    return NULL;
}

static apr_status_t make_store(gh_store_t **store, const char *uri,
                               const gh_store_options_t *options, apr_pool_t *p,
                               gh_result_t *result)
{
    gh_store_t *made = apr_pcalloc(p, sizeof(*made));
    const char *location;
    apr_status_t rv;

    made->backend = find_backend(uri, &location);
    if (made->backend == NULL) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                              "Write sqlite3:/absolute/path, or \"pgsql:\" and a connection string "
                              "of PostgreSQL in quotation marks.",
                              GHNO(0048) "the store is neither sqlite3: nor pgsql:");
    }
    if ((rv = made->backend->check(location, p, result)) != APR_SUCCESS) {
        return rv;
    }
    made->location = apr_pstrdup(p, location);
    made->name = made->backend->name(location, p);
    if (options != NULL) {
        made->options = *options;
    }
    if (made->options.connections <= 0) {
        made->options.connections = DEFAULT_CONNECTIONS;
    }
    if (made->options.queue <= 0) {
        made->options.queue = DEFAULT_QUEUE;
    }
    if (made->options.deadline <= 0) {
        made->options.deadline = DEFAULT_DEADLINE;
    }
    made->pool = p;
    *store = made;
    return APR_SUCCESS;
}

apr_status_t gh_store_uri_check(const char *uri, apr_pool_t *p, gh_result_t *result)
{
    gh_store_t *store;
    apr_status_t rv = make_store(&store, uri, NULL, p, result);

    if (rv == APR_SUCCESS && store->backend->refuse_secret != NULL) {
        rv = store->backend->refuse_secret(store->location, result);
    }
    return rv;
}

apr_status_t gh_store_examine(const char *uri, apr_uid_t uid, apr_gid_t gid, apr_pool_t *p,
                              gh_result_t *result)
{
    apr_pool_t *ptemp;
    gh_store_t *store;
    apr_status_t rv;

    apr_pool_create(&ptemp, p);
    rv = make_store(&store, uri, NULL, ptemp, result);
    if (rv == APR_SUCCESS && store->backend->examine != NULL) {
        rv = store->backend->examine(store, uid, gid, ptemp, result);
    }
    apr_pool_destroy(ptemp);
    return rv;
}

apr_status_t gh_store_migrate(const char *uri, apr_uid_t uid, apr_gid_t gid,
                              const gh_store_options_t *options,
                              const gh_migrations_t *migrations, apr_pool_t *p,
                              gh_result_t *result)
{
    apr_pool_t *ptemp;
    gh_store_t *store;
    apr_status_t rv;

    apr_pool_create(&ptemp, p);
    rv = make_store(&store, uri, options, ptemp, result);
    if (rv == APR_SUCCESS) {
        rv = store->backend->prepare(store, uid, gid, migrations, ptemp, result);
    }
    apr_pool_destroy(ptemp);
    return rv;
}

apr_status_t gh_store_prepare(const char *uri, apr_uid_t uid, apr_gid_t gid,
                              const gh_store_options_t *options, apr_pool_t *p,
                              gh_result_t *result)
{
    return gh_store_migrate(uri, uid, gid, options, &gh_migrations, p, result);
}

apr_status_t gh_store_open(gh_store_t **store, const char *uri, const gh_store_options_t *options,
                           apr_pool_t *p, gh_result_t *result)
{
    apr_pool_t *pool;
    gh_store_t *made = NULL;
    apr_status_t rv;

    apr_pool_create(&pool, p);
    rv = make_store(&made, uri, options, pool, result);
    if (rv == APR_SUCCESS) {
        rv = made->backend->open(made, result);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(pool);
        return rv;
    }
    *store = made;
    return APR_SUCCESS;
}

apr_status_t gh_store_read(gh_store_t *store, gh_store_work_fn *work, void *baton,
                           gh_result_t *result)
{
    return store->backend->read(store, work, baton, result);
}

apr_status_t gh_store_write(gh_store_t *store, gh_store_work_fn *work, void *baton,
                            gh_result_t *result)
{
    return store->backend->write(store, work, baton, result);
}

int gh_store_stopped(gh_store_t *store)
{
    return store->backend->stopped(store);
}

const char *gh_store_kind(const gh_store_t *store)
{
    return store->backend->kind;
}

const char *gh_store_name(const gh_store_t *store, apr_pool_t *p)
{
    return apr_pstrdup(p, store->name);
}

void gh_transaction_begin(gh_transaction_t *transaction, const gh_store_backend_t *backend,
                          void *connection, int writable)
{
    transaction->backend = backend;
    transaction->connection = connection;
    transaction->writable = writable;
    transaction->walking = 0;
    transaction->again = 0;
    transaction->changed = 0;
    transaction->failed = APR_SUCCESS;
}

apr_status_t gh_transaction_fail(gh_transaction_t *transaction, apr_status_t status)
{
    if (transaction->failed == APR_SUCCESS) {
        transaction->failed = status;
    }
    return transaction->failed;
}

apr_status_t gh_transaction_again(gh_transaction_t *transaction)
{
    if (transaction->failed == APR_SUCCESS) {
        transaction->again = 1;
        gh_transaction_fail(transaction, GH_EUNAVAILABLE);
        gh_result_fail(&transaction->error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                       "Try again.",
                       GHNO(0050) "others change the same rows all the time");
    }
    return transaction->failed;
}

apr_status_t gh_transaction_outcome(const gh_transaction_t *transaction, apr_status_t rv,
                                    gh_result_t *result)
{
    if (transaction->failed == APR_SUCCESS) {
        return rv;
    }
    if (rv == APR_SUCCESS || rv == transaction->failed) {
        rv = transaction->failed;
        if (result != NULL) {
            *result = transaction->error;
        }
    }
    return rv;
}

gh_query_t *gh_query(gh_transaction_t *transaction, const char *sql)
{
    return transaction->backend->query(transaction, sql);
}

void gh_bind_int64(gh_query_t *query, apr_int64_t value)
{
    query->transaction->backend->bind_int64(query, value);
}

void gh_bind_text(gh_query_t *query, const char *value)
{
    if (value == NULL) {
        gh_bind_null(query);
        return;
    }
    query->transaction->backend->bind_text(query, value);
}

void gh_bind_bytes(gh_query_t *query, gh_bytes_t value)
{
    if (value.data == NULL) {
        gh_bind_null(query);
        return;
    }
    query->transaction->backend->bind_bytes(query, value);
}

void gh_bind_null(gh_query_t *query)
{
    query->transaction->backend->bind_null(query);
}

apr_status_t gh_step(gh_query_t *query)
{
    return query->transaction->backend->step(query);
}

void gh_query_end(gh_query_t *query)
{
    query->transaction->backend->end(query);
}

void gh_query_walk(gh_query_t *query)
{
    query->walks = 1;
    query->transaction->walking = 1;
    query->transaction->backend->walk(query);
}

void gh_query_begin(gh_query_t *query, gh_transaction_t *transaction, const char *sql)
{
    query->transaction = transaction;
    query->sql = sql;
    query->active = 1;
    query->walks = 0;
    query->bound = 0;
}

void gh_query_finish(gh_query_t *query)
{
    if (query->walks) {
        query->walks = 0;
        query->transaction->walking = 0;
    }
    query->active = 0;
}

apr_status_t gh_query_permitted(gh_transaction_t *transaction)
{
    if (transaction->failed == APR_SUCCESS && transaction->walking) {
        gh_transaction_fail(transaction, APR_EINVAL);
        gh_result_fail(&transaction->error, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                       "This is a fault of Gatehouse: report it.",
                       GHNO(0049) "a statement was begun within a walk through rows");
    }
    return transaction->failed;
}

apr_status_t gh_execute(gh_query_t *query)
{
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_int64_t gh_rows_changed(gh_transaction_t *transaction)
{
    return transaction->changed;
}

int gh_column_null(gh_query_t *query, int column)
{
    return query->transaction->backend->column_null(query, column);
}

apr_int64_t gh_column_int64(gh_query_t *query, int column)
{
    return query->transaction->backend->column_int64(query, column);
}

const char *gh_column_text(gh_query_t *query, int column, apr_pool_t *p)
{
    return query->transaction->backend->column_text(query, column, p);
}

gh_bytes_t gh_column_bytes(gh_query_t *query, int column, apr_pool_t *p)
{
    return query->transaction->backend->column_bytes(query, column, p);
}

apr_status_t gh_next_change(gh_transaction_t *transaction, apr_int64_t *change)
{
    const gh_dialect_t *dialect = transaction->backend->dialect;
    gh_query_t *query;
    apr_status_t rv;

    if (dialect->count_change != NULL
        && (rv = gh_execute(gh_query(transaction, dialect->count_change))) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, dialect->next_change);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        *change = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}

static apr_status_t take_turn(gh_transaction_t *transaction, const char *lock)
{
    gh_query_t *query;
    apr_status_t rv;

    if (lock == NULL) {
        return APR_SUCCESS;
    }
    query = gh_query(transaction, lock);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        gh_query_end(query);
    }
    return rv;
}

apr_status_t gh_take_status_turn(gh_transaction_t *transaction)
{
    return take_turn(transaction, transaction->backend->dialect->status_lock);
}

apr_status_t gh_take_challenge_turn(gh_transaction_t *transaction)
{
    return take_turn(transaction, transaction->backend->dialect->challenge_lock);
}

apr_status_t gh_store_now(gh_transaction_t *transaction, apr_time_t *now)
{
    const char *sql = transaction->backend->dialect->now;
    gh_query_t *query;
    apr_status_t rv;

    if (sql == NULL) {
        *now = apr_time_now();
        return APR_SUCCESS;
    }
    query = gh_query(transaction, sql);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        *now = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}

apr_status_t gh_store_offset(gh_transaction_t *transaction, apr_time_t *offset)
{
    apr_time_t before = apr_time_now(), now;
    apr_status_t rv = gh_store_now(transaction, &now);

    *offset = now - before;
    if (*offset > -SAME_CLOCK && *offset < SAME_CLOCK) {
        *offset = 0;
    }
    return rv;
}

apr_time_t gh_monotonic_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}
