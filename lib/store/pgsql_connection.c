/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/pgsql_connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "log.h"

/* The server ends a transaction whose client has frozen, so that its locks go. */
#define IDLE_IN_TRANSACTION_FACTOR 3
/* The libpq does not wait for less, in seconds. */
#define SHARE_MIN 2

static void ignore_notice(void *data, const PGresult *result)
{
}

apr_status_t gh_pgsql_lost(gh_pgsql_t *connection, const char *why, gh_result_t *error)
{
    connection->lost = 1;
    return gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                          "Check that PostgreSQL runs and can be reached; Gatehouse connects again "
                          "by itself.",
                          GHNO(0078) "the connection to PostgreSQL was lost: %.*s",
                          (int)strcspn(why, "\n"), why);
}

/** Waits until the socket can be read, or written if there is something left to send. */
static apr_status_t wait_for_socket(gh_pgsql_t *connection, int unsent, gh_result_t *error)
{
    apr_time_t left = connection->deadline - gh_monotonic_now();
    struct pollfd wait;
    int rc;

    wait.fd = PQsocket(connection->pg);
    wait.events = unsent ? POLLIN | POLLOUT : POLLIN;
    wait.revents = 0;
    rc = left > 0 ? poll(&wait, 1, (int)(left / 1000) + 1) : 0;
    if (rc == 0) {
        return gh_pgsql_lost(connection, "it did not answer in time", error);
    }
    if (rc < 0 && errno != EINTR) {
        return gh_pgsql_lost(connection, strerror(errno), error);
    }
    if (rc > 0 && !PQconsumeInput(connection->pg)) {
        return gh_pgsql_lost(connection, PQerrorMessage(connection->pg), error);
    }
    return APR_SUCCESS;
}

apr_status_t gh_pgsql_result(gh_pgsql_t *connection, PGresult **result, gh_result_t *error)
{
    apr_status_t rv;
    int unsent;

    while ((unsent = PQflush(connection->pg)) > 0 || PQisBusy(connection->pg)) {
        if ((rv = wait_for_socket(connection, unsent > 0, error)) != APR_SUCCESS) {
            return rv;
        }
    }
    if (unsent < 0) {
        return gh_pgsql_lost(connection, PQerrorMessage(connection->pg), error);
    }
    *result = PQgetResult(connection->pg);
    return APR_SUCCESS;
}

static int begins(const char *state, const char *class)
{
    return strncmp(state, class, strlen(class)) == 0;
}

static apr_status_t data_failure(const char *state, const char *message, gh_result_t *error)
{
    if (strcmp(state, "23505") == 0) {
        return gh_result_fail(error, GH_ECONFLICT, GH_FAILURE_CONFLICT, NULL, NULL,
                              GHNO(0079) "the store has such a row already: %s", message);
    }
    return gh_result_fail(error, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                          "This is a fault of Gatehouse: report it.",
                          GHNO(0080) "the store refused a value (SQLSTATE %s): %s", state, message);
}

static apr_status_t server_failure(const char *state, const char *message, gh_result_t *error)
{
    if (begins(state, "42") || begins(state, "3D") || begins(state, "3F")
        || begins(state, "XX00")) {
        return gh_result_fail(error, GH_ECORRUPT, GH_FAILURE_INTERNAL, NULL,
                              "Check that the role may create tables in the database's schema, and "
                              "that the schema is this version's; start httpd to bring it up to "
                              "date.",
                              GHNO(0081) "the database has not the expected schema (SQLSTATE %s): "
                              "%s", state, message);
    }
    return gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                          "See PostgreSQL's log.",
                          GHNO(0082) "PostgreSQL cannot serve now (SQLSTATE %s): %s", state,
                          message);
}

apr_status_t gh_pgsql_failure(gh_pgsql_t *connection, const PGresult *result, int *again,
                              gh_result_t *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL || message == NULL) {
        return gh_pgsql_lost(connection, PQresultErrorMessage(result), error);
    }
    /* connection exceptions; shut down, crashed, starting, idle for too long; became a standby */
    if ((begins(state, "08") && strcmp(state, "08P01") != 0) || begins(state, "57P0")
        || strcmp(state, "25P03") == 0
        || strcmp(state, "25006") == 0) {
        return gh_pgsql_lost(connection, message, error);
    }
    /* serialisation failure, deadlock; a prepared statement that a migration made useless */
    if (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0) {
        *again = 1;
    }
    if (strcmp(state, "0A000") == 0 || strcmp(state, "26000") == 0) {
        *again = 1;
        connection->lost = 1;
    }
    if (begins(state, "22") || begins(state, "23") || strcmp(state, "08P01") == 0) {
        return data_failure(state, message, error);
    }
    return server_failure(state, message, error);
}

apr_status_t gh_pgsql_results(gh_pgsql_t *connection, PGresult **kept, int *again,
                              gh_result_t *error)
{
    PGresult *result, *last = NULL;
    apr_status_t rv, failed = APR_SUCCESS;

    while ((rv = gh_pgsql_result(connection, &result, error)) == APR_SUCCESS && result != NULL) {
        switch (PQresultStatus(result)) {
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
        case PGRES_SINGLE_TUPLE:
            break;
        default:
            if (failed == APR_SUCCESS) {
                failed = gh_pgsql_failure(connection, result, again, error);
            }
        }
        PQclear(last);
        last = result;
    }
    if (failed == APR_SUCCESS) {
        failed = rv;
    }
    if (failed == APR_SUCCESS && last == NULL) {
        failed = gh_pgsql_lost(connection, "it gave no result", error);
    }
    if (failed != APR_SUCCESS || kept == NULL) {
        PQclear(last);
        last = NULL;
    }
    if (kept != NULL) {
        *kept = last;
    }
    return failed;
}

apr_status_t gh_pgsql_command(gh_pgsql_t *connection, const char *sql, char tag[16], int *again,
                              gh_result_t *error)
{
    PGresult *result;
    apr_status_t rv;

    if (!PQsendQuery(connection->pg, sql)) {
        return gh_pgsql_lost(connection, PQerrorMessage(connection->pg), error);
    }
    rv = gh_pgsql_results(connection, &result, again, error);
    if (rv == APR_SUCCESS) {
        if (tag != NULL) {
            apr_cpystrn(tag, PQcmdStatus(result), 16);
        }
        PQclear(result);
    }
    return rv;
}

/* What was acknowledged is durable, whatever the server's default is. */
static apr_status_t set_session(gh_pgsql_t *connection, apr_interval_time_t statement_timeout,
                                gh_result_t *error)
{
    char sql[512];
    int again;

    apr_snprintf(sql, sizeof(sql),
                 "SET client_min_messages = warning; SET statement_timeout = %d;"
                 " SET idle_in_transaction_session_timeout = %d;"
                 " SELECT set_config('synchronous_commit', 'on', false)"
                 " WHERE current_setting('synchronous_commit') = 'off'",
                 (int)apr_time_as_msec(statement_timeout),
                 (int)apr_time_as_msec(statement_timeout * IDLE_IN_TRANSACTION_FACTOR));
    return gh_pgsql_command(connection, sql, NULL, &again, error);
}

/* The libpq goes from a host that is silent to the next only where it waits itself, not for those
 * who poll. */
static PGconn *connect_within(const gh_pgsql_target_t *target, apr_interval_time_t left)
{
    const char **values = malloc((target->count + 1) * sizeof(*values));
    int share = (int)(apr_time_sec(left) / target->hosts);
    char timeout[16];
    PGconn *pg;

    if (values == NULL) {
        return NULL;
    }
    if (share > target->timeout) {
        share = target->timeout;
    }
    apr_snprintf(timeout, sizeof(timeout), "%d", share < SHARE_MIN ? SHARE_MIN : share);
    memcpy(values, target->values, (target->count + 1) * sizeof(*values));
    values[0] = timeout;
    pg = PQconnectdbParams(target->keywords, values, 0);
    free(values);
    return pg;
}

apr_status_t gh_pgsql_connect(gh_pgsql_t **connection, const gh_pgsql_target_t *target,
                              apr_time_t deadline, apr_interval_time_t statement_timeout,
                              gh_result_t *error)
{
    gh_pgsql_t *made = calloc(1, sizeof(*made));
    apr_interval_time_t left = deadline - gh_monotonic_now();
    const char *why = "no memory";
    apr_status_t rv;

    if (made != NULL && left > 0) {
        made->deadline = deadline;
        made->pg = connect_within(target, left);
    }
    if (made == NULL || PQstatus(made->pg) != CONNECTION_OK) {
        if (left <= 0) {
            why = "it did not answer in time";
        }
        else if (made != NULL && made->pg != NULL) {
            why = PQerrorMessage(made->pg);
        }
        rv = gh_result_fail(error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                            "Check that PostgreSQL runs, and the connection string of "
                            "GatehouseStore.",
                            GHNO(0083) "PostgreSQL cannot be reached: %.*s",
                            (int)strcspn(why, "\n"), why);
        gh_pgsql_close(made);
        return rv;
    }
    PQsetNoticeReceiver(made->pg, ignore_notice, NULL);
    PQsetnonblocking(made->pg, 1);
    if ((rv = set_session(made, statement_timeout, error)) != APR_SUCCESS) {
        gh_pgsql_close(made);
        return rv;
    }
    *connection = made;
    return APR_SUCCESS;
}

void gh_pgsql_close(gh_pgsql_t *connection)
{
    int i;

    if (connection == NULL) {
        return;
    }
    for (i = 0; i < GH_PGSQL_QUERIES; i++) {
        PQclear(connection->queries[i].result);
    }
    PQfinish(connection->pg);
    free(connection);
}
