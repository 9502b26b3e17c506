/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_h
#define gatehouse_store_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <apr_user.h>

#include "log.h"
#include "result.h"
#include "text.h"

/*
 * The store: the only state that processes and nodes share. Two back ends, SQLite and PostgreSQL,
 * behind typed statements that are always prepared and always bound.
 *
 * SQL here is one dialect for both: parameters are $1, $2, ... in the order in which they first
 * appear, INSERT ... ON CONFLICT and RETURNING are available, times are microseconds since 1970 in
 * 64-bit integers, binary columns hold bytes. Where the two differ, dialect.h has it.
 *
 * Work is done in functions that the store calls within a transaction. A function may be called
 * again from its beginning (serialisation failure), so it must not keep anything from a failed run.
 * It must not do anything slow: no signature, no file, no network.
 */

typedef struct gh_store gh_store_t;

/** An open transaction, valid within the function it was given to, on that thread only. */
typedef struct gh_transaction gh_transaction_t;

/** A statement being bound or stepped through, of one transaction. */
typedef struct gh_query gh_query_t;

typedef struct {
    const gh_log_t *log;
    int connections;                /* readers (SQLite) or connections (PostgreSQL) per process;
                                       0: 8 */
    int queue;                      /* most writes waiting per process; 0: 1024 */
    apr_interval_time_t deadline;   /* for one read or write, waiting included; 0: 10 s */
} gh_store_options_t;

/**
 * What a caller does in a transaction.
 * @return APR_SUCCESS to commit; anything else rolls back and is what gh_store_read() or
 *         gh_store_write() returns
 */
typedef apr_status_t gh_store_work_fn(gh_transaction_t *transaction, void *baton);

/**
 * Checks what a configuration says, without opening it: "sqlite3:/absolute/path" or
 * "pgsql:CONNINFO" without a password.
 * @return APR_SUCCESS or APR_EINVAL
 */
apr_status_t gh_store_uri_check(const char *uri, apr_pool_t *p, gh_result_t *result);

/**
 * Makes the store ready for the processes that will open it: creates it, runs missing migrations
 * under a lock, flushes what an earlier crash left behind, lifts a write stop (see GH_ESTOPPED),
 * and gives the files to uid and gid if these are not -1. Holds nothing open afterwards, so that a
 * parent may fork.
 * A newer schema than this version knows is GH_ECORRUPT; old data is kept by every migration.
 */
apr_status_t gh_store_prepare(const char *uri, apr_uid_t uid, apr_gid_t gid,
                              const gh_store_options_t *options, apr_pool_t *p,
                              gh_result_t *result);

/**
 * Looks whether gh_store_prepare() with the same uid and gid could make the store ready, as far as
 * folder and files of SQLite tell. Makes and changes nothing. PostgreSQL need not be reachable.
 * @return APR_SUCCESS; otherwise as gh_store_prepare() would
 */
apr_status_t gh_store_examine(const char *uri, apr_uid_t uid, apr_gid_t gid, apr_pool_t *p,
                              gh_result_t *result);

/**
 * Opens a store that gh_store_prepare() made ready. Call it after the fork: a store is never
 * carried into a child. Closed by a cleanup of p, which finishes what is queued.
 * PostgreSQL need not be reachable yet.
 */
apr_status_t gh_store_open(gh_store_t **store, const char *uri, const gh_store_options_t *options,
                           apr_pool_t *p, gh_result_t *result);

/**
 * Runs work in a read transaction (one snapshot). Thread-safe.
 * @return what work returned; GH_EUNAVAILABLE, GH_ECORRUPT or GH_EBUSY with result set
 */
apr_status_t gh_store_read(gh_store_t *store, gh_store_work_fn *work, void *baton,
                           gh_result_t *result);

/**
 * Runs work in a write transaction and returns when it is durable (SQLite: on the writer thread, in
 * one transaction with other callers' work; if one of them fails, the others are run again without
 * it). Thread-safe.
 * @return what work returned (nothing was written unless APR_SUCCESS); GH_EUNAVAILABLE,
 *         GH_EUNKNOWN, GH_ECORRUPT, GH_ESTOPPED, or GH_EBUSY when the queue is full or the deadline
 *         passed before work began
 */
apr_status_t gh_store_write(gh_store_t *store, gh_store_work_fn *work, void *baton,
                            gh_result_t *result);

/** @return 1 if writes were stopped after a failed flush (also by another process of this node) */
int gh_store_stopped(gh_store_t *store);

/** @return "sqlite3" or "pgsql" */
const char *gh_store_kind(const gh_store_t *store);

/** The store as messages may show it, without a password, in p. */
const char *gh_store_name(const gh_store_t *store, apr_pool_t *p);

/* Statements, for the record functions in this folder. */

/**
 * Begins a statement. The text must be a literal: statements are kept prepared by its address.
 * A failure is kept and returned by gh_step(), so that binding needs no checks. Once a statement
 * has failed, also for a unique key, nothing more runs in the transaction, and it cannot be
 * committed.
 */
gh_query_t *gh_query(gh_transaction_t *transaction, const char *sql);

/* Bind the next parameter, in order. Text and bytes must live until the query has ended. */
void gh_bind_int64(gh_query_t *query, apr_int64_t value);
void gh_bind_text(gh_query_t *query, const char *value);
void gh_bind_bytes(gh_query_t *query, gh_bytes_t value);    /* data NULL binds NULL */
void gh_bind_null(gh_query_t *query);

/**
 * The next row.
 * @return APR_SUCCESS for a row, APR_EOF at the end (for statements without rows at once);
 *         GH_ECONFLICT for a unique key; others as gh_store_write(). After anything but APR_SUCCESS
 *         the query has ended.
 */
apr_status_t gh_step(gh_query_t *query);

/** Ends a query that was not read to its end. Harmless for one that has ended. */
void gh_query_end(gh_query_t *query);

/** Steps a statement that returns no row. @return APR_SUCCESS instead of APR_EOF */
apr_status_t gh_execute(gh_query_t *query);

/** Rows that the last executed INSERT, UPDATE or DELETE of the transaction changed. */
apr_int64_t gh_rows_changed(gh_transaction_t *transaction);

/* Columns of the current row, from 0. Text and bytes are copied into p. */
int gh_column_null(gh_query_t *query, int column);
apr_int64_t gh_column_int64(gh_query_t *query, int column);         /* 0 for NULL */
const char *gh_column_text(gh_query_t *query, int column, apr_pool_t *p);   /* NULL for NULL */
gh_bytes_t gh_column_bytes(gh_query_t *query, int column, apr_pool_t *p);   /* data NULL for NULL */

/**
 * The next number of the order of changes. Numbers grow; some may be missing, and on PostgreSQL
 * one may become visible after a larger one.
 */
apr_status_t gh_next_change(gh_transaction_t *transaction, apr_int64_t *change);

/** The clock that leases are timed by: the database's, in microseconds since 1970. */
apr_status_t gh_store_now(gh_transaction_t *transaction, apr_time_t *now);

/** How far that clock is before the one of this process, in microseconds; 0 for what may as well be
 *  the time that asking has taken. */
apr_status_t gh_store_offset(gh_transaction_t *transaction, apr_time_t *offset);

#endif /* gatehouse_store_h */
