/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_sqlite_connection_h
#define gatehouse_store_sqlite_connection_h

#include <sqlite3.h>

#include "store/store_backend.h"

/* One connection to an SQLite database, used by one thread at a time, and its statements. */

typedef struct gh_sqlite gh_sqlite_t;

typedef struct {
    gh_query_t query;
    sqlite3_stmt *statement;
    int stepped;
    int writes;                     /* once stepped */
} gh_sqlite_query_t;

/** A power of two, several times the number of statements in this folder. */
#define GH_SQLITE_STATEMENTS 256

struct gh_sqlite {
    sqlite3 *db;                    /* NULL while closed */
    int wal_pages;                  /* in the write-ahead log after the last commit here */
    int broken;                     /* to be closed before it is used again */
    int wrote;                      /* a statement that may write was run; cleared by who asks */
    int active;                     /* statements that began and have not ended */
    apr_time_t busy_until;
    gh_sqlite_query_t none;         /* stands for a statement that could not be made */
    gh_sqlite_query_t *extra[8];    /* of statements needed twice at a time */
    int extra_count;
    int cached;
    gh_sqlite_query_t cache[GH_SQLITE_STATEMENTS];
};

typedef enum {
    GH_SQLITE_READER,
    GH_SQLITE_WRITER
} gh_sqlite_role_t;

/** Opens a database that exists. Nothing is kept from a failure. */
apr_status_t gh_sqlite_open(gh_sqlite_t *connection, const char *path, gh_sqlite_role_t role,
                            gh_result_t *error);

/** @param checkpoint 0: leaves the write-ahead log alone even if this was the last connection */
void gh_sqlite_close(gh_sqlite_t *connection, int checkpoint);

/** Ends what a transaction left open. */
void gh_sqlite_end_queries(gh_sqlite_t *connection);

/** Runs a literal without parameters or rows (BEGIN, COMMIT, ...). */
apr_status_t gh_sqlite_control(gh_sqlite_t *connection, const char *sql, gh_result_t *error);

/** What an SQLite result means to callers; describes it in error. */
apr_status_t gh_sqlite_failure(gh_sqlite_t *connection, int rc, gh_result_t *error);

/* The members of the back end that concern statements. */
gh_query_t *gh_sqlite_query(gh_transaction_t *transaction, const char *sql);
void gh_sqlite_bind_int64(gh_query_t *query, apr_int64_t value);
void gh_sqlite_bind_text(gh_query_t *query, const char *value);
void gh_sqlite_bind_bytes(gh_query_t *query, gh_bytes_t value);
void gh_sqlite_bind_null(gh_query_t *query);
apr_status_t gh_sqlite_step(gh_query_t *query);
void gh_sqlite_end(gh_query_t *query);
int gh_sqlite_column_null(gh_query_t *query, int column);
apr_int64_t gh_sqlite_column_int64(gh_query_t *query, int column);
const char *gh_sqlite_column_text(gh_query_t *query, int column, apr_pool_t *p);
gh_bytes_t gh_sqlite_column_bytes(gh_query_t *query, int column, apr_pool_t *p);
void gh_sqlite_walk(gh_query_t *query);
apr_status_t gh_sqlite_script(gh_transaction_t *transaction, const char *text);

#endif /* gatehouse_store_sqlite_connection_h */
