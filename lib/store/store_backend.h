/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_backend_h
#define gatehouse_store_backend_h

#include "status.h"
#include "store/dialect.h"
#include "store/migrations.h"
#include "store/store.h"

/* What the files of this folder share. Nobody else includes it, but unit tests. */

typedef struct gh_store_backend gh_store_backend_t;

struct gh_store {
    const gh_store_backend_t *backend;
    const char *location;           /* path (SQLite) or connection string (PostgreSQL) */
    const char *name;               /* for messages */
    gh_store_options_t options;     /* every member set */
    apr_pool_t *pool;
    void *data;                     /* the back end's */
};

struct gh_transaction {
    const gh_store_backend_t *backend;
    void *connection;
    int writable;
    int walking;                    /* a statement delivers row by row: no other one may begin */
    int again;                      /* failed so that the whole work should be run again */
    apr_int64_t changed;
    apr_status_t failed;            /* first failure of a statement; nothing runs after it */
    gh_result_t error;              /* meaningful if failed */
};

/** The beginning of every back end's query. */
struct gh_query {
    gh_transaction_t *transaction;
    const char *sql;
    int active;
    int walks;                      /* delivers row by row */
    int bound;                      /* parameters bound so far */
};

struct gh_store_backend {
    const char *kind;
    const gh_dialect_t *dialect;

    apr_status_t (*check)(const char *location, apr_pool_t *p, gh_result_t *result);
    /** Refuses a location that holds a secret; NULL: none can. */
    apr_status_t (*refuse_secret)(const char *location, gh_result_t *result);
    const char *(*name)(const char *location, apr_pool_t *p);
    apr_status_t (*prepare)(gh_store_t *store, apr_uid_t uid, apr_gid_t gid,
                            const gh_migrations_t *migrations, apr_pool_t *p,
                            gh_result_t *result);
    /** Looks whether prepare() could do its work; NULL: nothing can be said before. */
    apr_status_t (*examine)(gh_store_t *store, apr_uid_t uid, apr_gid_t gid, apr_pool_t *p,
                            gh_result_t *result);
    apr_status_t (*open)(gh_store_t *store, gh_result_t *result);
    apr_status_t (*read)(gh_store_t *store, gh_store_work_fn *work, void *baton,
                         gh_result_t *result);
    apr_status_t (*write)(gh_store_t *store, gh_store_work_fn *work, void *baton,
                          gh_result_t *result);
    int (*stopped)(gh_store_t *store);

    /** Runs a text of several statements without parameters or rows. */
    apr_status_t (*script)(gh_transaction_t *transaction, const char *text);

    gh_query_t *(*query)(gh_transaction_t *transaction, const char *sql);
    void (*bind_int64)(gh_query_t *query, apr_int64_t value);
    void (*bind_text)(gh_query_t *query, const char *value);
    void (*bind_bytes)(gh_query_t *query, gh_bytes_t value);
    void (*bind_null)(gh_query_t *query);
    apr_status_t (*step)(gh_query_t *query);
    void (*end)(gh_query_t *query);
    int (*column_null)(gh_query_t *query, int column);
    apr_int64_t (*column_int64)(gh_query_t *query, int column);
    const char *(*column_text)(gh_query_t *query, int column, apr_pool_t *p);
    gh_bytes_t (*column_bytes)(gh_query_t *query, int column, apr_pool_t *p);

    /** Makes a statement that was not stepped yet deliver row by row, without a deadline for the
     *  whole of it. */
    void (*walk)(gh_query_t *query);
};

extern const gh_store_backend_t gh_store_sqlite;
extern const gh_store_backend_t gh_store_pgsql;

/** gh_store_prepare() with other migrations than those of this version. */
apr_status_t gh_store_migrate(const char *uri, apr_uid_t uid, apr_gid_t gid,
                              const gh_store_options_t *options,
                              const gh_migrations_t *migrations, apr_pool_t *p,
                              gh_result_t *result);

/** Makes ready to call work within a transaction. */
void gh_transaction_begin(gh_transaction_t *transaction, const gh_store_backend_t *backend,
                          void *connection, int writable);

/** Keeps the first failure of a transaction, which error describes. @return status */
apr_status_t gh_transaction_fail(gh_transaction_t *transaction, apr_status_t status);

/**
 * Lets transactions that make a certificate other than good, or good again, take turns up to their
 * end: a CRL holds everything up to a change number, so a smaller one must not become visible
 * later.
 */
apr_status_t gh_take_status_turn(gh_transaction_t *transaction);

/** Lets transactions that count challenges take turns up to their end, so that two of them do not
 *  make the last one both. */
apr_status_t gh_take_challenge_turn(gh_transaction_t *transaction);

/** Fails a transaction that met a change of another one in a way that asks for the whole work to be
 *  run again. @return the failure, which work has to return */
apr_status_t gh_transaction_again(gh_transaction_t *transaction);

/** What the caller of work gets, once work has returned rv: work cannot hide that a statement
 *  failed, as its transaction cannot be committed. */
apr_status_t gh_transaction_outcome(const gh_transaction_t *transaction, apr_status_t rv,
                                    gh_result_t *result);

/** For back ends: a query begins, and has ended. */
void gh_query_begin(gh_query_t *query, gh_transaction_t *transaction, const char *sql);
void gh_query_finish(gh_query_t *query);

/** For back ends: why no query may begin now. @return APR_SUCCESS if one may */
apr_status_t gh_query_permitted(gh_transaction_t *transaction);

/** Begins a walk through many rows: from now on this is the transaction's only statement, until
 *  it ended. */
void gh_query_walk(gh_query_t *query);

/** A clock that nobody sets, in microseconds. */
apr_time_t gh_monotonic_now(void);

#endif /* gatehouse_store_backend_h */
