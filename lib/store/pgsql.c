/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/pgsql_connection.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "log.h"
#include "store/slots.h"

/* The PostgreSQL back end: a few connections per process, opened when they are first needed. */

/* After a failed attempt to connect nobody tries for this long. */
#define BREAK_TIME          apr_time_from_sec(1)
/* How often work is run that others' changes make impossible to commit. */
#define ATTEMPTS            8
#define RETRY_SLEEP         2000
/* A migration may wait for another process's, and take long on large tables. */
#define MIGRATION_TIME      apr_time_from_sec(1800)
/* One host is given so many seconds to connect, unless the connection string says another time. */
#define CONNECT_TIMEOUT     5
/* A rollback is given this long, even if the deadline has passed. */
#define ROLLBACK_TIME       apr_time_from_sec(1)

#define BEGIN_READING       "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
#define BEGIN_WRITING       "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

typedef struct {
    const char *name;               /* for messages */
    const gh_log_t *log;
    apr_interval_time_t deadline;
    gh_pgsql_target_t target;
    gh_slots_t *slots;
    int connections_count;
    gh_pgsql_t **connections;       /* by slot; NULL while closed */

    pthread_mutex_t mutex;          /* guards what follows */
    int down;                       /* the last attempt to connect failed */
    int silent;                     /* nor do connections get an answer that are there */
    int trying;                     /* somebody finds out whether it still is */
    apr_time_t closed_until;
} gh_pgsql_store_t;

/** The libpq's parse of a connection string; its own messages may quote a password. */
static PQconninfoOption *parse(const char *location, gh_result_t *result)
{
    PQconninfoOption *parsed = PQconninfoParse(location, NULL);

    if (parsed == NULL) {
        gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                       "Write \"pgsql:host=... dbname=... user=...\" with keywords of libpq, "
                       "values with spaces in single quotes.",
                       GHNO(0085) "the connection string after pgsql: cannot be parsed");
    }
    return parsed;
}

static apr_status_t pgsql_check(const char *location, apr_pool_t *p, gh_result_t *result)
{
    PQconninfoOption *parsed = parse(location, result);

    if (parsed == NULL) {
        return APR_EINVAL;
    }
    PQconninfoFree(parsed);
    return APR_SUCCESS;
}

/** The configuration may be read by more people than the database, and is printed by tools. */
static apr_status_t pgsql_refuse_secret(const char *location, gh_result_t *result)
{
    PQconninfoOption *parsed = PQconninfoParse(location, NULL), *option;
    const char *keyword = NULL;
    apr_status_t rv = APR_SUCCESS;

    for (option = parsed; option != NULL && option->keyword != NULL; option++) {
        /* the libpq marks what is not to be shown with '*' */
        if (option->val != NULL && option->val[0] != '\0' && option->dispchar[0] == '*') {
            keyword = option->keyword;
        }
    }
    if (keyword != NULL) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, NULL,
                            "Put it into a file for httpd's user only, and name that with "
                            "passfile=, or use a service file.",
                            GHNO(0441) "the connection string after pgsql: has a secret in it, %s=",
                            keyword);
    }
    PQconninfoFree(parsed);
    return rv;
}

static const char *pgsql_name(const char *location, apr_pool_t *p)
{
    const char *shown[] = { "host", "hostaddr", "port", "dbname", "user", "service" };
    PQconninfoOption *parsed = PQconninfoParse(location, NULL), *option;
    const char *name = "pgsql:";
    apr_size_t i;

    for (option = parsed; option != NULL && option->keyword != NULL; option++) {
        for (i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
            if (option->val != NULL && strcmp(option->keyword, shown[i]) == 0) {
                name = apr_pstrcat(p, name, name[6] ? " " : "", option->keyword, "=",
                                   option->val, NULL);
            }
        }
    }
    PQconninfoFree(parsed);
    return name;
}

static int count_of_list(const char *list)
{
    int count = 1;

    while ((list = strchr(list, ',')) != NULL) {
        ++list;
        ++count;
    }
    return count;
}

/** What the connection string says of the time to connect. That it is without end is not heard. */
static void take_option(gh_pgsql_target_t *target, const PQconninfoOption *option)
{
    apr_int64_t seconds;
    int number;

    if (strcmp(option->keyword, "connect_timeout") == 0) {
        seconds = apr_atoi64(option->val);
        target->timeout = seconds > 0 && seconds < INT_MAX ? (int)seconds : CONNECT_TIMEOUT;
    }
    if (strcmp(option->keyword, "host") == 0 || strcmp(option->keyword, "hostaddr") == 0) {
        number = count_of_list(option->val);
        target->hosts = number > target->hosts ? number : target->hosts;
    }
}

/** Connection parameters: ours that the connection string does not set, then the string's. */
static apr_status_t parameters(gh_pgsql_target_t *target, const char *location, apr_pool_t *p,
                               gh_result_t *result)
{
    const char *const ours[][2] = {
        { "connect_timeout", "" },
        { "tcp_user_timeout", "10000" },
        { "keepalives_idle", "30" },
        { "fallback_application_name", "gatehouse" }
    };
    apr_array_header_t *keywords = apr_array_make(p, 16, sizeof(const char *));
    apr_array_header_t *values = apr_array_make(p, 16, sizeof(const char *));
    PQconninfoOption *parsed = parse(location, result), *option;
    apr_size_t i;

    if (parsed == NULL) {
        return APR_EINVAL;
    }
    target->hosts = 1;
    target->timeout = CONNECT_TIMEOUT;
    for (i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        APR_ARRAY_PUSH(keywords, const char *) = ours[i][0];
        APR_ARRAY_PUSH(values, const char *) = ours[i][1];
    }
    for (option = parsed; option->keyword != NULL; option++) {
        if (option->val != NULL) {
            take_option(target, option);
        }
        if (option->val != NULL && strcmp(option->keyword, "connect_timeout") != 0) {
            APR_ARRAY_PUSH(keywords, const char *) = apr_pstrdup(p, option->keyword);
            APR_ARRAY_PUSH(values, const char *) = apr_pstrdup(p, option->val);
        }
    }
    PQconninfoFree(parsed);
    APR_ARRAY_PUSH(keywords, const char *) = "client_encoding";
    APR_ARRAY_PUSH(values, const char *) = "UTF8";
    target->count = keywords->nelts;
    APR_ARRAY_PUSH(keywords, const char *) = NULL;
    APR_ARRAY_PUSH(values, const char *) = NULL;
    target->keywords = (const char **)keywords->elts;
    target->values = (const char **)values->elts;
    return APR_SUCCESS;
}

static apr_status_t pgsql_close(void *data)
{
    gh_pgsql_store_t *pgsql = data;
    int i;

    for (i = 0; i < pgsql->connections_count; i++) {
        gh_pgsql_close(pgsql->connections[i]);
    }
    pthread_mutex_destroy(&pgsql->mutex);
    return APR_SUCCESS;
}

static apr_status_t pgsql_open(gh_store_t *store, gh_result_t *result)
{
    gh_pgsql_store_t *pgsql = apr_pcalloc(store->pool, sizeof(*pgsql));
    apr_status_t rv;

    pgsql->name = store->name;
    pgsql->log = store->options.log;
    pgsql->deadline = store->options.deadline;
    pgsql->connections_count = store->options.connections;
    pgsql->connections = apr_pcalloc(store->pool,
                                     pgsql->connections_count * sizeof(*pgsql->connections));
    if ((rv = parameters(&pgsql->target, store->location, store->pool,
                         result)) != APR_SUCCESS
        || (rv = gh_slots_create(&pgsql->slots, pgsql->connections_count,
                                  pgsql->connections_count, store->options.queue,
                                 store->pool)) != APR_SUCCESS) {
        return rv;
    }
    pthread_mutex_init(&pgsql->mutex, NULL);
    apr_pool_cleanup_register(store->pool, pgsql, pgsql_close, apr_pool_cleanup_null);
    store->data = pgsql;
    return APR_SUCCESS;
}

/** @return 1 if this thread may try to connect */
static int may_connect(gh_pgsql_store_t *pgsql)
{
    int may;

    pthread_mutex_lock(&pgsql->mutex);
    may = !pgsql->down || (!pgsql->trying && gh_monotonic_now() >= pgsql->closed_until);
    if (may && pgsql->down) {
        pgsql->trying = 1;
    }
    pthread_mutex_unlock(&pgsql->mutex);
    return may;
}

static void note_connect(gh_pgsql_store_t *pgsql, apr_status_t rv, const gh_result_t *error)
{
    int was_down;

    pthread_mutex_lock(&pgsql->mutex);
    was_down = pgsql->down;
    pgsql->down = rv != APR_SUCCESS;
    pgsql->silent = pgsql->silent && pgsql->down;
    pgsql->trying = 0;
    pgsql->closed_until = gh_monotonic_now() + BREAK_TIME;
    pthread_mutex_unlock(&pgsql->mutex);

    if (rv != APR_SUCCESS && !was_down) {
        gh_log(pgsql->log, GH_LOG_ERROR, APR_SUCCESS, "%s: %s", error->number, error->message);
    }
    else if (rv == APR_SUCCESS && was_down) {
        gh_log(pgsql->log, GH_LOG_NOTICE, APR_SUCCESS,
               GHNO(0086) "%s can be reached again", pgsql->name);
    }
}

static int is_silent(gh_pgsql_store_t *pgsql)
{
    int silent;

    pthread_mutex_lock(&pgsql->mutex);
    silent = pgsql->silent;
    pthread_mutex_unlock(&pgsql->mutex);
    return silent;
}

/** A transaction that does not even begin: from now on one at a time waits for the server. */
static void note_silence(gh_pgsql_store_t *pgsql, const gh_result_t *error)
{
    int was_down;

    pthread_mutex_lock(&pgsql->mutex);
    was_down = pgsql->down;
    pgsql->down = 1;
    pgsql->silent = 1;
    if (!was_down) {
        pgsql->closed_until = 0;
    }
    pthread_mutex_unlock(&pgsql->mutex);
    if (!was_down) {
        gh_log(pgsql->log, GH_LOG_ERROR, APR_SUCCESS, "%s: %s", error->number, error->message);
    }
}

static apr_status_t connect_slot(gh_pgsql_store_t *pgsql, int slot, apr_time_t deadline,
                                 gh_result_t *error)
{
    apr_status_t rv;

    if (!may_connect(pgsql)) {
        return gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                              "Check that PostgreSQL runs; Gatehouse tries again every second.",
                              GHNO(0087) "PostgreSQL could not be reached a moment ago");
    }
    rv = gh_pgsql_connect(&pgsql->connections[slot], &pgsql->target, deadline, pgsql->deadline,
                          error);
    note_connect(pgsql, rv, error);
    if (rv == APR_SUCCESS) {
        pgsql->connections[slot]->patience = pgsql->deadline;
    }
    return rv;
}

static void drop(gh_pgsql_store_t *pgsql, int slot)
{
    gh_pgsql_close(pgsql->connections[slot]);
    pgsql->connections[slot] = NULL;
}

/** Begins a transaction on a slot's connection; one that broke while idle is replaced. A firewall
 *  that forgot it gives no sign: half of the time is kept for a new one. */
static apr_status_t begin(gh_pgsql_store_t *pgsql, int slot, int writable, apr_time_t deadline,
                          gh_result_t *error)
{
    const char *sql = writable ? BEGIN_WRITING : BEGIN_READING;
    gh_pgsql_t *connection = pgsql->connections[slot];
    apr_time_t now = gh_monotonic_now();
    apr_status_t rv;
    int again = 0;

    if (connection != NULL && !is_silent(pgsql)) {
        connection->deadline = now + (deadline - now) / 2;
        rv = gh_pgsql_command(connection, sql, NULL, &again, error);
        if (rv == APR_SUCCESS || !connection->lost) {
            connection->deadline = deadline;
            return rv;
        }
        if (gh_monotonic_now() >= connection->deadline) {
            note_silence(pgsql, error);
        }
    }
    drop(pgsql, slot);
    if ((rv = connect_slot(pgsql, slot, deadline, error)) != APR_SUCCESS) {
        return rv;
    }
    rv = gh_pgsql_command(pgsql->connections[slot], sql, NULL, &again, error);
    if (rv != APR_SUCCESS) {
        drop(pgsql, slot);
    }
    return rv;
}

/** A server that answered with an error has not committed; one that did not answer may have. */
static apr_status_t commit(gh_pgsql_t *connection, int *again, gh_result_t *error)
{
    char tag[16] = "";
    apr_status_t rv = gh_pgsql_command(connection, "COMMIT", tag, again, error);

    if (rv == APR_SUCCESS && strcmp(tag, "COMMIT") != 0) {
        return gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL, "Try again.",
                              GHNO(0088) "PostgreSQL rolled the transaction back");
    }
    if (rv == GH_EUNAVAILABLE && connection->lost && !*again) {
        return gh_result_fail(error, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, NULL,
                              "Look whether it was done before doing it again.",
                              GHNO(0089) "PostgreSQL did not say whether the transaction was "
                              "committed");
    }
    return rv;
}

/** Ends the open transaction. @return what the caller of work gets */
static apr_status_t end(gh_pgsql_t *connection, gh_transaction_t *transaction, apr_status_t rv,
                        int *again, gh_result_t *result)
{
    gh_result_t error;
    apr_status_t ended;
    int ignored = 0;

    gh_pgsql_end_queries(connection);
    rv = gh_transaction_outcome(transaction, rv, result);
    *again = transaction->again;
    if (connection->lost) {
        if (rv == APR_SUCCESS && transaction->writable) {
            rv = gh_pgsql_lost(connection, "a walk through rows was not ended", result);
        }
        return rv;
    }
    if (rv == APR_SUCCESS && transaction->writable) {
        ended = commit(connection, again, &error);
        if (ended != APR_SUCCESS && result != NULL) {
            *result = error;
        }
        return ended;
    }
    connection->deadline = gh_monotonic_now() + ROLLBACK_TIME;
    if (gh_pgsql_command(connection, "ROLLBACK", NULL, &ignored, &error) != APR_SUCCESS) {
        connection->lost = 1;
    }
    return rv;
}

static apr_status_t attempt(gh_store_t *store, int slot, int writable, apr_time_t deadline,
                            gh_store_work_fn *work, void *baton, int *again, gh_result_t *result)
{
    gh_pgsql_store_t *pgsql = store->data;
    gh_transaction_t transaction;
    gh_pgsql_t *connection;
    gh_result_t error;
    apr_status_t rv;

    *again = 0;
    if ((rv = begin(pgsql, slot, writable, deadline, &error)) != APR_SUCCESS) {
        if (result != NULL) {
            *result = error;
        }
        return rv;
    }
    connection = pgsql->connections[slot];
    gh_transaction_begin(&transaction, store->backend, connection, writable);
    rv = work(&transaction, baton);
    rv = end(connection, &transaction, rv, again, result);
    if (connection->lost) {
        drop(pgsql, slot);
    }
    return rv;
}

static apr_status_t run(gh_store_t *store, int writable, gh_store_work_fn *work, void *baton,
                        gh_result_t *result)
{
    gh_pgsql_store_t *pgsql = store->data;
    apr_time_t deadline = gh_monotonic_now() + store->options.deadline;
    unsigned int seed = (unsigned int)deadline;
    int slot, again, attempts = 0;
    apr_status_t rv;

    if ((rv = gh_slots_take(pgsql->slots, deadline, &slot, result)) != APR_SUCCESS) {
        return rv;
    }
    for (;;) {
        rv = attempt(store, slot, writable, deadline, work, baton, &again, result);
        if (!again || ++attempts == ATTEMPTS || gh_monotonic_now() >= deadline) {
            break;
        }
        usleep(RETRY_SLEEP + rand_r(&seed) % (RETRY_SLEEP * attempts));
    }
    gh_slots_give(pgsql->slots, slot);
    return rv;
}

static apr_status_t pgsql_read(gh_store_t *store, gh_store_work_fn *work, void *baton,
                               gh_result_t *result)
{
    return run(store, 0, work, baton, result);
}

static apr_status_t pgsql_write(gh_store_t *store, gh_store_work_fn *work, void *baton,
                                gh_result_t *result)
{
    return run(store, 1, work, baton, result);
}

/* PostgreSQL itself stops after a failed flush, and recovers from its log. */
static int pgsql_stopped(gh_store_t *store)
{
    return 0;
}

static apr_status_t migrate(gh_store_t *store, gh_pgsql_t *connection,
                            const gh_migrations_t *migrations, apr_pool_t *p, gh_result_t *error)
{
    const char *encoding = PQparameterStatus(connection->pg, "server_encoding");
    gh_transaction_t transaction;
    apr_status_t rv;
    int again = 0;

    if (encoding == NULL || strcmp(encoding, "UTF8") != 0) {
        return gh_result_fail(error, GH_ECORRUPT, GH_FAILURE_INTERNAL, NULL,
                              "Make the database anew: createdb -E UTF8 -T template0 NAME.",
                              GHNO(0090) "the database has the encoding %s, not UTF8",
                              encoding ? encoding : "unknown");
    }
    rv = gh_pgsql_command(connection, BEGIN_WRITING, NULL, &again, error);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    gh_transaction_begin(&transaction, store->backend, connection, 1);
    rv = gh_migrations_run(&transaction, migrations, apr_time_now(), p, error);
    return end(connection, &transaction, rv, &again, error);
}

/** Mostly there is nothing to do, and no reason to wait for a silent server as for a migration.
 *  @return APR_SUCCESS if all migrations have been run */
static apr_status_t look(gh_store_t *store, gh_pgsql_t *connection,
                         const gh_migrations_t *migrations, gh_result_t *error)
{
    gh_transaction_t transaction;
    apr_status_t rv;
    int again = 0;

    rv = gh_pgsql_command(connection, BEGIN_READING, NULL, &again, error);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    gh_transaction_begin(&transaction, store->backend, connection, 0);
    rv = gh_migrations_check(&transaction, migrations, error);
    return end(connection, &transaction, rv, &again, error);
}

static apr_status_t pgsql_prepare(gh_store_t *store, apr_uid_t uid, apr_gid_t gid,
                                  const gh_migrations_t *migrations, apr_pool_t *p,
                                  gh_result_t *result)
{
    gh_pgsql_target_t target = { .count = 0 };
    gh_pgsql_t *connection = NULL;
    gh_result_t error;
    apr_status_t rv;

    if ((rv = parameters(&target, store->location, p, result)) != APR_SUCCESS) {
        return rv;
    }
    rv = gh_pgsql_connect(&connection, &target, gh_monotonic_now() + store->options.deadline, 0,
                          &error);
    if (rv == APR_SUCCESS) {
        rv = look(store, connection, migrations, &error);
        if (rv != APR_SUCCESS && !connection->lost) {
            connection->deadline = gh_monotonic_now() + MIGRATION_TIME;
            rv = migrate(store, connection, migrations, p, &error);
        }
        gh_pgsql_close(connection);
    }
    if (rv != APR_SUCCESS && result != NULL) {
        *result = error;
    }
    return rv;
}

const gh_store_backend_t gh_store_pgsql = {
    .kind = "pgsql",
    .dialect = &gh_dialect_pgsql,
    .check = pgsql_check,
    .refuse_secret = pgsql_refuse_secret,
    .name = pgsql_name,
    .prepare = pgsql_prepare,
    .open = pgsql_open,
    .read = pgsql_read,
    .write = pgsql_write,
    .stopped = pgsql_stopped,
    .script = gh_pgsql_script,
    .query = gh_pgsql_query,
    .bind_int64 = gh_pgsql_bind_int64,
    .bind_text = gh_pgsql_bind_text,
    .bind_bytes = gh_pgsql_bind_bytes,
    .bind_null = gh_pgsql_bind_null,
    .step = gh_pgsql_step,
    .end = gh_pgsql_end,
    .column_null = gh_pgsql_column_null,
    .column_int64 = gh_pgsql_column_int64,
    .column_text = gh_pgsql_column_text,
    .column_bytes = gh_pgsql_column_bytes,
    .walk = gh_pgsql_walk
};
