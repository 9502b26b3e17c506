/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/sqlite.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

/* The SQLite back end: a writer thread, and a few connections that threads read with. */

/* A read for a request takes microseconds, and a connection a hundred kilobytes. Only where reads
 * take long (a CRL is made) are there more connections than these, and no longer than they are
 * used. */
#define KEPT_READERS 2

typedef struct {
    const char *path;
    gh_writer_t *writer;
    gh_slots_t *slots;
    int readers_count;
    gh_sqlite_t **readers;          /* by slot; NULL until first used */
} gh_sqlite_store_t;

static apr_status_t sqlite_check(const char *location, apr_pool_t *p, gh_result_t *result)
{
    if (location[0] != '/' || location[strlen(location) - 1] == '/'
        || strlen(location) >= PATH_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                              "Write the whole path: sqlite3:/var/lib/gatehouse/gatehouse.db",
                              GHNO(0071) "sqlite3: needs the absolute path of a file, not \"%s\"",
                              location);
    }
    return APR_SUCCESS;
}

static const char *sqlite_name(const char *location, apr_pool_t *p)
{
    return apr_pstrcat(p, "sqlite3:", location, NULL);
}

/* SQLite is told not to follow links, since the folder belongs to the user httpd runs as. */
apr_status_t gh_sqlite_path(const char **path, const char *location, apr_pool_t *p,
                            gh_result_t *result)
{
    const char *slash = strrchr(location, '/');
    const char *folder = slash == location ? "/" : apr_pstrmemdup(p, location, slash - location);
    char real[PATH_MAX];

    if (realpath(folder, real) == NULL) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                              "Make the folder (mkdir), give it to the user httpd runs as (chown) "
                              "and nobody else (chmod 750).",
                              GHNO(0072) "the database's folder %s does not exist or cannot be "
                              "entered", folder);
    }
    *path = apr_pstrcat(p, strcmp(real, "/") == 0 ? "" : real, slash, NULL);
    return APR_SUCCESS;
}

static void close_reader(gh_sqlite_store_t *sqlite, int slot)
{
    if (sqlite->readers[slot] != NULL) {
        gh_sqlite_close(sqlite->readers[slot], 0);
        free(sqlite->readers[slot]);
        sqlite->readers[slot] = NULL;
    }
}

static apr_status_t sqlite_close(void *data)
{
    gh_sqlite_store_t *sqlite = data;
    int i;

    for (i = 0; i < sqlite->readers_count; i++) {
        close_reader(sqlite, i);
    }
    gh_writer_stop(sqlite->writer);
    return APR_SUCCESS;
}

static apr_status_t sqlite_open(gh_store_t *store, gh_result_t *result)
{
    gh_sqlite_store_t *sqlite = apr_pcalloc(store->pool, sizeof(*sqlite));
    apr_status_t rv;

    rv = gh_sqlite_path(&sqlite->path, store->location, store->pool, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    sqlite->readers_count = store->options.connections;
    sqlite->readers = apr_pcalloc(store->pool,
                                  sqlite->readers_count * sizeof(*sqlite->readers));
    rv = gh_slots_create(&sqlite->slots, sqlite->readers_count, KEPT_READERS,
                         store->options.queue, store->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_writer_start(&sqlite->writer, sqlite->path, store, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    store->data = sqlite;
    apr_pool_cleanup_register(store->pool, sqlite, sqlite_close, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

/** The connection of a slot, open. */
static apr_status_t open_reader(gh_sqlite_store_t *sqlite, int slot, gh_result_t *error)
{
    gh_sqlite_t *reader = sqlite->readers[slot];

    if (reader == NULL) {
        reader = sqlite->readers[slot] = calloc(1, sizeof(*reader));
        if (reader == NULL) {
            return gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL, NULL,
                                  GHNO(0073) "no memory for a connection to the store");
        }
    }
    if (reader->broken) {
        gh_sqlite_close(reader, 0);
    }
    return reader->db != NULL ? APR_SUCCESS
                              : gh_sqlite_open(reader, sqlite->path, GH_SQLITE_READER, error);
}

static apr_status_t sqlite_read(gh_store_t *store, gh_store_work_fn *work, void *baton,
                                gh_result_t *result)
{
    gh_sqlite_store_t *sqlite = store->data;
    apr_time_t deadline = gh_monotonic_now() + store->options.deadline;
    gh_transaction_t transaction;
    gh_sqlite_t *reader;
    gh_result_t error;
    apr_status_t rv;
    int slot;

    if ((rv = gh_slots_take(sqlite->slots, deadline, &slot, result)) != APR_SUCCESS) {
        return rv;
    }
    rv = open_reader(sqlite, slot, &error);
    reader = sqlite->readers[slot];
    if (rv == APR_SUCCESS) {
        rv = gh_sqlite_control(reader, "BEGIN", &error);
    }
    if (rv != APR_SUCCESS) {
        if (result != NULL) {
            *result = error;
        }
        goto cleanup;
    }
    gh_transaction_begin(&transaction, store->backend, reader, 0);
    rv = work(&transaction, baton);
    gh_sqlite_end_queries(reader);
    rv = gh_transaction_outcome(&transaction, rv, result);
    if (!sqlite3_get_autocommit(reader->db)
        && gh_sqlite_control(reader, "ROLLBACK", &error) != APR_SUCCESS) {
        reader->broken = 1;
    }

cleanup:
    if (slot >= KEPT_READERS) {
        close_reader(sqlite, slot);
    }
    gh_slots_give(sqlite->slots, slot);
    return rv;
}

static apr_status_t sqlite_write(gh_store_t *store, gh_store_work_fn *work, void *baton,
                                 gh_result_t *result)
{
    return gh_writer_run(((gh_sqlite_store_t *)store->data)->writer, work, baton, result);
}

static int sqlite_stopped(gh_store_t *store)
{
    return gh_writer_stopped(((gh_sqlite_store_t *)store->data)->writer);
}

const gh_store_backend_t gh_store_sqlite = {
    .kind = "sqlite3",
    .dialect = &gh_dialect_sqlite,
    .check = sqlite_check,
    .name = sqlite_name,
    .prepare = gh_sqlite_prepare,
    .examine = gh_sqlite_examine,
    .open = sqlite_open,
    .read = sqlite_read,
    .write = sqlite_write,
    .stopped = sqlite_stopped,
    .script = gh_sqlite_script,
    .query = gh_sqlite_query,
    .bind_int64 = gh_sqlite_bind_int64,
    .bind_text = gh_sqlite_bind_text,
    .bind_bytes = gh_sqlite_bind_bytes,
    .bind_null = gh_sqlite_bind_null,
    .step = gh_sqlite_step,
    .end = gh_sqlite_end,
    .column_null = gh_sqlite_column_null,
    .column_int64 = gh_sqlite_column_int64,
    .column_text = gh_sqlite_column_text,
    .column_bytes = gh_sqlite_column_bytes,
    .walk = gh_sqlite_walk
};
