/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/sqlite_connection.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "log.h"

/* How long a connection waits for programs that do not know the gate: a shell, a backup. */
#define BUSY_TIMEOUT    apr_time_from_sec(5)
#define BUSY_SLEEP      2000

static int wait_while_busy(void *data, int count)
{
    gh_sqlite_t *connection = data;
    apr_time_t now = gh_monotonic_now();

    if (count == 0) {
        connection->busy_until = now + BUSY_TIMEOUT;
    }
    else if (now >= connection->busy_until) {
        return 0;
    }
    usleep(BUSY_SLEEP);
    return 1;
}

static int note_wal_pages(void *data, sqlite3 *db, const char *name, int pages)
{
    gh_sqlite_t *connection = data;

    connection->wal_pages = pages;
    return SQLITE_OK;
}

/*
 * Caches are small on purpose: the system's page cache holds the database once for all
 * connections and processes. Replacing SQLite's own hook turns its automatic checkpoints off, which
 * would hide a failed flush.
 */
static int configure(gh_sqlite_t *connection, gh_sqlite_role_t role)
{
    sqlite3 *db = connection->db;
    int persist = 1, rc;

    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_handler(db, wait_while_busy, connection);
    sqlite3_wal_hook(db, note_wal_pages, connection);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);

    rc = sqlite3_exec(db, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                          " PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 16777216;",
                      NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, role == GH_SQLITE_WRITER
                              ? "PRAGMA cache_size = -512"
                              : "PRAGMA cache_size = -128; PRAGMA query_only = ON",
                          NULL, NULL, NULL);
    }
    return rc;
}

apr_status_t gh_sqlite_open(gh_sqlite_t *connection, const char *path, gh_sqlite_role_t role,
                            gh_result_t *error)
{
    apr_status_t rv;
    int rc;

    memset(connection, 0, sizeof(*connection));
    rc = sqlite3_open_v2(path, &connection->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (rc == SQLITE_OK) {
        rc = configure(connection, role);
    }
    if (rc != SQLITE_OK) {
        rv = gh_sqlite_failure(connection, rc, error);
        gh_sqlite_close(connection, 0);
        return rv;
    }
    return APR_SUCCESS;
}

void gh_sqlite_close(gh_sqlite_t *connection, int checkpoint)
{
    int i;

    if (connection->db == NULL) {
        return;
    }
    gh_sqlite_end_queries(connection);
    for (i = 0; i < GH_SQLITE_STATEMENTS; i++) {
        sqlite3_finalize(connection->cache[i].statement);
    }
    if (!checkpoint) {
        sqlite3_db_config(connection->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    sqlite3_close(connection->db);
    memset(connection, 0, sizeof(*connection));
}

static apr_status_t constraint_failure(sqlite3 *db, int rc, gh_result_t *error)
{
    if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY
        || rc == SQLITE_CONSTRAINT_ROWID) {
        return gh_result_fail(error, GH_ECONFLICT, GH_FAILURE_CONFLICT, NULL, NULL,
                              GHNO(0051) "the store has such a row already: %s",
                              sqlite3_errmsg(db));
    }
    return gh_result_fail(error, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                          "This is a fault of Gatehouse: report it.",
                          GHNO(0052) "the store refused a value: %s", sqlite3_errmsg(db));
}

static apr_status_t io_failure(sqlite3 *db, int rc, gh_result_t *error)
{
    switch (rc) {
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
    case SQLITE_IOERR_WRITE:
    case SQLITE_IOERR_TRUNCATE:
    case SQLITE_IOERR_CLOSE:
        return gh_result_fail(error, GH_ESTOPPED, GH_FAILURE_UNAVAILABLE, NULL,
                              "Check the disk and the system's log, then stop and start httpd.",
                              GHNO(0053) "a write to the disk failed (SQLite %d, system error %d)",
                              rc, sqlite3_system_errno(db));
    case SQLITE_IOERR_CORRUPTFS:
    case SQLITE_IOERR_DATA:
        return gh_result_fail(error, GH_ECORRUPT, GH_FAILURE_INTERNAL, NULL,
                              "Check the disk, then restore the database from a backup.",
                              GHNO(0054) "the file system gives wrong data (SQLite %d)", rc);
    default:
        return gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                              "Check the disk and the system's log.",
                              GHNO(0055) "the database cannot be read (SQLite %d, system error %d)",
                              rc, sqlite3_system_errno(db));
    }
}

apr_status_t gh_sqlite_failure(gh_sqlite_t *connection, int rc, gh_result_t *error)
{
    sqlite3 *db = connection->db;

    switch (rc & 0xff) {
    case SQLITE_CONSTRAINT:
        return constraint_failure(db, rc, error);
    case SQLITE_IOERR:
        connection->broken = 1;
        return io_failure(db, rc, error);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return gh_result_fail(error, GH_EBUSY, GH_FAILURE_UNAVAILABLE, NULL,
                              "End the program that keeps the database locked (a shell with an "
                              "open transaction, a backup).",
                              GHNO(0056) "another program keeps the database locked (SQLite %d)",
                              rc);
    case SQLITE_FULL:
        return gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                              "Free space on the disk of the database.",
                              GHNO(0057) "no space is left for the database");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        connection->broken = 1;
        return gh_result_fail(error, GH_ECORRUPT, GH_FAILURE_INTERNAL, NULL,
                              "Restore the database from a backup.",
                              GHNO(0058) "the database is damaged: %s", sqlite3_errmsg(db));
    case SQLITE_ERROR:
    case SQLITE_MISMATCH:
    case SQLITE_SCHEMA:
        return gh_result_fail(error, GH_ECORRUPT, GH_FAILURE_INTERNAL, NULL,
                              "Start httpd of the version whose store this is; if it is, report "
                              "this.",
                              GHNO(0059) "the database has not the expected schema: %s",
                              db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_TOOBIG:
        return gh_result_fail(error, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                              "This is a fault of Gatehouse: report it.",
                              GHNO(0061) "a statement has wrong parameters (SQLite %d)", rc);
    default:
        connection->broken = 1;
        return gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                              "Check that the database exists and that it and its folder are "
                              "readable and writable for the user httpd runs as.",
                              GHNO(0060) "the database cannot be opened or written: %s",
                              db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
    }
}

static gh_query_t *no_query(gh_transaction_t *transaction, const char *sql)
{
    gh_sqlite_t *connection = transaction->connection;

    gh_query_begin(&connection->none.query, transaction, sql);
    return &connection->none.query;
}

static apr_status_t fail(gh_transaction_t *transaction, int rc)
{
    gh_sqlite_t *connection = transaction->connection;

    if (transaction->failed != APR_SUCCESS) {
        return transaction->failed;
    }
    return gh_transaction_fail(transaction,
                               gh_sqlite_failure(connection, rc, &transaction->error));
}

/** A place for a statement; NULL if there is no memory. The cache is never filled to the brim, so
 *  that the search for a free place ends. */
static gh_sqlite_query_t *find_place(gh_sqlite_t *connection, const char *sql)
{
    apr_size_t i = ((apr_size_t)sql >> 3) * 2654435761u % GH_SQLITE_STATEMENTS;
    gh_sqlite_query_t *found, **extra;

    while (connection->cache[i].statement != NULL && connection->cache[i].query.sql != sql) {
        i = (i + 1) % GH_SQLITE_STATEMENTS;
    }
    found = &connection->cache[i];
    if (found->statement != NULL && !found->query.active) {
        return found;
    }
    if (found->statement == NULL && connection->cached < GH_SQLITE_STATEMENTS * 3 / 4) {
        connection->cached++;
        return found;
    }
    if (connection->extra_count == sizeof(connection->extra) / sizeof(connection->extra[0])) {
        return NULL;
    }
    extra = &connection->extra[connection->extra_count];
    if ((*extra = calloc(1, sizeof(**extra))) != NULL) {
        connection->extra_count++;
    }
    return *extra;
}

gh_query_t *gh_sqlite_query(gh_transaction_t *transaction, const char *sql)
{
    gh_sqlite_t *connection = transaction->connection;
    gh_sqlite_query_t *place;
    const char *rest;
    int rc;

    if (gh_query_permitted(transaction) != APR_SUCCESS) {
        return no_query(transaction, sql);
    }
    if ((place = find_place(connection, sql)) == NULL) {
        fail(transaction, SQLITE_NOMEM);
        return no_query(transaction, sql);
    }
    if (place->statement == NULL) {
        rc = sqlite3_prepare_v3(connection->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                &place->statement, &rest);
        if (rc != SQLITE_OK || *rest != '\0') {
            if (place >= connection->cache
                && place < connection->cache + GH_SQLITE_STATEMENTS) {
                connection->cached--;
            }
            sqlite3_finalize(place->statement);
            place->statement = NULL;
            fail(transaction, rc != SQLITE_OK ? rc : SQLITE_ERROR);
            return no_query(transaction, sql);
        }
    }
    gh_query_begin(&place->query, transaction, sql);
    place->stepped = 0;
    connection->active++;
    return &place->query;
}

static void bound(gh_query_t *query, int rc)
{
    if (rc != SQLITE_OK) {
        fail(query->transaction, rc);
    }
}

/** @return the statement to bind the next parameter of, or NULL if there is no use in it */
static sqlite3_stmt *binding(gh_query_t *query)
{
    gh_sqlite_query_t *place = (gh_sqlite_query_t *)query;

    query->bound++;
    return query->active ? place->statement : NULL;
}

void gh_sqlite_bind_int64(gh_query_t *query, apr_int64_t value)
{
    sqlite3_stmt *statement = binding(query);

    if (statement != NULL) {
        bound(query, sqlite3_bind_int64(statement, query->bound, value));
    }
}

void gh_sqlite_bind_text(gh_query_t *query, const char *value)
{
    sqlite3_stmt *statement = binding(query);

    if (statement != NULL) {
        bound(query, sqlite3_bind_text64(statement, query->bound, value, strlen(value),
                                         SQLITE_STATIC, SQLITE_UTF8));
    }
}

void gh_sqlite_bind_bytes(gh_query_t *query, gh_bytes_t value)
{
    sqlite3_stmt *statement = binding(query);

    if (statement != NULL) {
        bound(query, sqlite3_bind_blob64(statement, query->bound, value.data, value.length,
                                         SQLITE_STATIC));
    }
}

void gh_sqlite_bind_null(gh_query_t *query)
{
    sqlite3_stmt *statement = binding(query);

    if (statement != NULL) {
        bound(query, sqlite3_bind_null(statement, query->bound));
    }
}

apr_status_t gh_sqlite_step(gh_query_t *query)
{
    gh_sqlite_query_t *place = (gh_sqlite_query_t *)query;
    gh_transaction_t *transaction = query->transaction;
    gh_sqlite_t *connection = transaction->connection;
    apr_status_t rv;
    int rc = SQLITE_MISUSE;

    if (transaction->failed == APR_SUCCESS && query->active && place->statement != NULL
        && (place->stepped
            || sqlite3_bind_parameter_count(place->statement) == query->bound)) {
        if (!place->stepped) {
            place->stepped = 1;
            place->writes = !sqlite3_stmt_readonly(place->statement);
            connection->wrote |= place->writes;
        }
        rc = sqlite3_step(place->statement);
    }
    if (rc == SQLITE_ROW) {
        return APR_SUCCESS;
    }
    rv = rc == SQLITE_DONE ? APR_EOF : fail(transaction, rc);
    gh_sqlite_end(query);
    return rv;
}

void gh_sqlite_end(gh_query_t *query)
{
    gh_sqlite_query_t *place = (gh_sqlite_query_t *)query;
    gh_sqlite_t *connection = query->transaction->connection;

    if (!query->active) {
        return;
    }
    if (place->statement != NULL) {
        sqlite3_reset(place->statement);
        sqlite3_clear_bindings(place->statement);
        if (place->stepped && place->writes) {
            query->transaction->changed = sqlite3_changes(connection->db);
        }
    }
    if (query != &connection->none.query) {
        connection->active--;
    }
    gh_query_finish(query);
}

void gh_sqlite_end_queries(gh_sqlite_t *connection)
{
    int i;

    for (i = 0; i < GH_SQLITE_STATEMENTS && connection->active > 0; i++) {
        if (connection->cache[i].query.active) {
            gh_sqlite_end(&connection->cache[i].query);
        }
    }
    while (connection->extra_count > 0) {
        gh_sqlite_query_t *extra = connection->extra[--connection->extra_count];

        if (extra->query.active) {
            gh_sqlite_end(&extra->query);
        }
        sqlite3_finalize(extra->statement);
        free(extra);
    }
}

int gh_sqlite_column_null(gh_query_t *query, int column)
{
    return sqlite3_column_type(((gh_sqlite_query_t *)query)->statement, column) == SQLITE_NULL;
}

apr_int64_t gh_sqlite_column_int64(gh_query_t *query, int column)
{
    return sqlite3_column_int64(((gh_sqlite_query_t *)query)->statement, column);
}

const char *gh_sqlite_column_text(gh_query_t *query, int column, apr_pool_t *p)
{
    sqlite3_stmt *statement = ((gh_sqlite_query_t *)query)->statement;
    const unsigned char *text = sqlite3_column_text(statement, column);

    return text ? apr_pstrmemdup(p, (const char *)text,
                                 sqlite3_column_bytes(statement, column)) : NULL;
}

gh_bytes_t gh_sqlite_column_bytes(gh_query_t *query, int column, apr_pool_t *p)
{
    sqlite3_stmt *statement = ((gh_sqlite_query_t *)query)->statement;
    const void *data = sqlite3_column_blob(statement, column);
    gh_bytes_t bytes = { NULL, 0 };

    if (sqlite3_column_type(statement, column) != SQLITE_NULL) {
        bytes.length = sqlite3_column_bytes(statement, column);
        bytes.data = apr_pmemdup(p, data ? data : "", bytes.length ? bytes.length : 1);
    }
    return bytes;
}

/* SQLite always delivers row by row. */
void gh_sqlite_walk(gh_query_t *query)
{
}

apr_status_t gh_sqlite_script(gh_transaction_t *transaction, const char *text)
{
    gh_sqlite_t *connection = transaction->connection;
    int rc;

    if (transaction->failed != APR_SUCCESS) {
        return transaction->failed;
    }
    connection->wrote = 1;
    rc = sqlite3_exec(connection->db, text, NULL, NULL, NULL);
    return rc == SQLITE_OK ? APR_SUCCESS : fail(transaction, rc);
}

apr_status_t gh_sqlite_control(gh_sqlite_t *connection, const char *sql, gh_result_t *error)
{
    gh_transaction_t transaction;
    gh_query_t *query;
    apr_status_t rv;

    gh_transaction_begin(&transaction, &gh_store_sqlite, connection, 1);
    query = gh_sqlite_query(&transaction, sql);
    rv = gh_sqlite_step(query);
    if (rv == APR_SUCCESS) {
        gh_sqlite_end(query);
    }
    if (transaction.failed != APR_SUCCESS) {
        *error = transaction.error;
        return transaction.failed;
    }
    return APR_SUCCESS;
}
