/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_pgsql_connection_h
#define gatehouse_store_pgsql_connection_h

#include <libpq-fe.h>

#include "store/store_backend.h"

/* One connection to PostgreSQL, used by one thread at a time, and its prepared statements. Nothing
 * here waits longer than until the connection's deadline. */

typedef struct gh_pgsql gh_pgsql_t;

/** Several times the number of statements in this folder. */
#define GH_PGSQL_STATEMENTS 256
#define GH_PGSQL_PARAMETERS 32
/** Queries of one transaction that are open at a time. */
#define GH_PGSQL_QUERIES    8

typedef struct {
    gh_query_t query;
    PGresult *result;
    int sent;
    int row;
    const char *values[GH_PGSQL_PARAMETERS];
    int lengths[GH_PGSQL_PARAMETERS];
    int formats[GH_PGSQL_PARAMETERS];
    char numbers[GH_PGSQL_PARAMETERS][24];
} gh_pgsql_query_t;

struct gh_pgsql {
    PGconn *pg;
    int lost;                       /* cannot be used any more */
    int used;                       /* has run a transaction */
    apr_interval_time_t patience;   /* for one row of a walk */
    apr_time_t deadline;            /* by gh_monotonic_now() */
    int prepared_count;
    const char *prepared[GH_PGSQL_STATEMENTS];  /* addresses of statements, in a hash table */
    gh_pgsql_query_t queries[GH_PGSQL_QUERIES];
};

/** Where to connect. */
typedef struct {
    const char **keywords;          /* of libpq, NULL at the end; the first one is connect_timeout,
                                       and there is no other */
    const char **values;
    int count;
    int hosts;                      /* that libpq tries, one after the other */
    int timeout;                    /* seconds for one of them, at most */
} gh_pgsql_target_t;

/**
 * Connects and sets the session up. All hosts together are given until the deadline, but none less
 * than two seconds; each further address of a host's name is given as much as a host.
 * @param statement_timeout for each statement; 0 for none
 * @return GH_EUNAVAILABLE with error
 */
apr_status_t gh_pgsql_connect(gh_pgsql_t **connection, const gh_pgsql_target_t *target,
                              apr_time_t deadline, apr_interval_time_t statement_timeout,
                              gh_result_t *error);

void gh_pgsql_close(gh_pgsql_t *connection);

/**
 * Sends statements without parameters and waits for the end of the last one.
 * @param tag set to its command tag, such as "COMMIT"; may be NULL
 * @param again set to 1 if the whole transaction should be run again
 */
apr_status_t gh_pgsql_command(gh_pgsql_t *connection, const char *sql, char tag[16], int *again,
                              gh_result_t *error);

/** Ends what a transaction left open. */
void gh_pgsql_end_queries(gh_pgsql_t *connection);

/* The members of the back end that concern statements. */
gh_query_t *gh_pgsql_query(gh_transaction_t *transaction, const char *sql);
void gh_pgsql_bind_int64(gh_query_t *query, apr_int64_t value);
void gh_pgsql_bind_text(gh_query_t *query, const char *value);
void gh_pgsql_bind_bytes(gh_query_t *query, gh_bytes_t value);
void gh_pgsql_bind_null(gh_query_t *query);
apr_status_t gh_pgsql_step(gh_query_t *query);
void gh_pgsql_end(gh_query_t *query);
int gh_pgsql_column_null(gh_query_t *query, int column);
apr_int64_t gh_pgsql_column_int64(gh_query_t *query, int column);
const char *gh_pgsql_column_text(gh_query_t *query, int column, apr_pool_t *p);
gh_bytes_t gh_pgsql_column_bytes(gh_query_t *query, int column, apr_pool_t *p);
void gh_pgsql_walk(gh_query_t *query);
apr_status_t gh_pgsql_script(gh_transaction_t *transaction, const char *text);

/* Between pgsql_connection.c and pgsql_query.c. */

/** Waits for the next result; NULL at the end of a statement's results.
 *  @return GH_EUNAVAILABLE if the connection was lost or the deadline passed */
apr_status_t gh_pgsql_result(gh_pgsql_t *connection, PGresult **result, gh_result_t *error);

/** Reads results to the end, which the connection needs before the next statement. Keeps the last
 *  one if all went well. @param kept may be NULL */
apr_status_t gh_pgsql_results(gh_pgsql_t *connection, PGresult **kept, int *again,
                              gh_result_t *error);

/** What a failed result means to callers; describes it in error. */
apr_status_t gh_pgsql_failure(gh_pgsql_t *connection, const PGresult *result, int *again,
                              gh_result_t *error);

/** Records that the connection was lost. @return GH_EUNAVAILABLE */
apr_status_t gh_pgsql_lost(gh_pgsql_t *connection, const char *why, gh_result_t *error);

#endif /* gatehouse_store_pgsql_connection_h */
