/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/pgsql_connection.h"

#include <limits.h>
#include <string.h>

#include <apr_strings.h>

#include "log.h"

/*
 * Statements. Parameters: numbers as text, so that the server may infer any integer type; bytes in
 * binary form. Results in binary form: integers in network byte order, text and bytes as they are.
 */

/* The connection's last query stands for one that could not be made. */
#define NO_QUERY (GH_PGSQL_QUERIES - 1)

static apr_status_t fault(gh_transaction_t *transaction, const char *what)
{
    if (transaction->failed == APR_SUCCESS) {
        gh_transaction_fail(transaction, APR_EINVAL);
        gh_result_fail(&transaction->error, APR_EINVAL, GH_FAILURE_INTERNAL, NULL,
                       "This is a fault of Gatehouse: report it.",
                       GHNO(0084) "a statement cannot be run: %s", what);
    }
    return transaction->failed;
}

gh_query_t *gh_pgsql_query(gh_transaction_t *transaction, const char *sql)
{
    gh_pgsql_t *connection = transaction->connection;
    gh_pgsql_query_t *place;
    int i = NO_QUERY;

    if (gh_query_permitted(transaction) == APR_SUCCESS) {
        for (i = 0; i < NO_QUERY && connection->queries[i].query.active; i++) {
            continue;
        }
        if (i == NO_QUERY) {
            fault(transaction, "too many at a time");
        }
    }
    place = &connection->queries[i];
    place->sent = 0;
    place->row = 0;
    gh_query_begin(&place->query, transaction, sql);
    return &place->query;
}

/** @return the number of the parameter to bind, or -1 if there is no use in it */
static int bind_value(gh_query_t *query, const char *value, apr_size_t length, int format)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;
    int i = query->bound++;

    if (i >= GH_PGSQL_PARAMETERS || length > INT_MAX) {
        fault(query->transaction, "too many or too long parameters");
        return -1;
    }
    place->values[i] = value;
    place->lengths[i] = (int)length;
    place->formats[i] = format;
    return i;
}

void gh_pgsql_bind_int64(gh_query_t *query, apr_int64_t value)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;
    int i = bind_value(query, NULL, 0, 0);

    if (i >= 0) {
        apr_snprintf(place->numbers[i], sizeof(place->numbers[i]), "%" APR_INT64_T_FMT, value);
        place->values[i] = place->numbers[i];
    }
}

void gh_pgsql_bind_text(gh_query_t *query, const char *value)
{
    bind_value(query, value, 0, 0);
}

void gh_pgsql_bind_bytes(gh_query_t *query, gh_bytes_t value)
{
    bind_value(query, (const char *)value.data, value.length, 1);
}

void gh_pgsql_bind_null(gh_query_t *query)
{
    bind_value(query, NULL, 0, 0);
}

/** Keeps a failure of the connection in the transaction. */
static apr_status_t keep(gh_transaction_t *transaction, apr_status_t rv, int again)
{
    if (rv != APR_SUCCESS) {
        transaction->again |= again;
        gh_transaction_fail(transaction, rv);
    }
    return rv;
}

static apr_status_t not_sent(gh_transaction_t *transaction)
{
    gh_pgsql_t *connection = transaction->connection;

    return keep(transaction, gh_pgsql_lost(connection, PQerrorMessage(connection->pg),
                                           &transaction->error), 0);
}

/** Where a statement stands among the prepared ones, or the place for it. */
static int find_place(const gh_pgsql_t *connection, const char *sql)
{
    apr_size_t i = ((apr_size_t)sql >> 3) * 2654435761u % GH_PGSQL_STATEMENTS;

    while (connection->prepared[i] != NULL && connection->prepared[i] != sql) {
        i = (i + 1) % GH_PGSQL_STATEMENTS;
    }
    return (int)i;
}

/** @param name set to that of the prepared statement */
static apr_status_t prepare(gh_transaction_t *transaction, const char *sql, char name[16])
{
    gh_pgsql_t *connection = transaction->connection;
    int place = find_place(connection, sql);
    apr_status_t rv;
    int again = 0;

    apr_snprintf(name, 16, "gatehouse%d", place);
    if (connection->prepared[place] != NULL) {
        return APR_SUCCESS;
    }
    if (connection->prepared_count >= GH_PGSQL_STATEMENTS * 3 / 4) {
        return fault(transaction, "too many statements");
    }
    if (!PQsendPrepare(connection->pg, name, sql, 0, NULL)) {
        return not_sent(transaction);
    }
    rv = gh_pgsql_results(connection, NULL, &again, &transaction->error);
    if (rv == APR_SUCCESS) {
        connection->prepared[place] = sql;
        connection->prepared_count++;
    }
    return keep(transaction, rv, again);
}

static int changes_rows(PGresult *result)
{
    const char *tag = PQcmdStatus(result);

    return strncmp(tag, "INSERT", 6) == 0 || strncmp(tag, "UPDATE", 6) == 0
        || strncmp(tag, "DELETE", 6) == 0;
}

static apr_status_t send_query(gh_query_t *query)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;
    gh_transaction_t *transaction = query->transaction;
    gh_pgsql_t *connection = transaction->connection;
    apr_status_t rv;
    char name[16];
    int again = 0;

    if ((rv = prepare(transaction, query->sql, name)) != APR_SUCCESS) {
        return rv;
    }
    if (!PQsendQueryPrepared(connection->pg, name, query->bound, place->values, place->lengths,
                             place->formats, 1)) {
        return not_sent(transaction);
    }
    place->sent = 1;
    place->row = -1;
    if (query->walks) {
        return PQsetSingleRowMode(connection->pg) ? APR_SUCCESS : not_sent(transaction);
    }
    rv = gh_pgsql_results(connection, &place->result, &again, &transaction->error);
    if (rv == APR_SUCCESS && changes_rows(place->result)) {
        transaction->changed = apr_atoi64(PQcmdTuples(place->result));
    }
    return keep(transaction, rv, again);
}

/** The next result of a walk, which is a row. */
static apr_status_t next_of_walk(gh_query_t *query)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;
    gh_transaction_t *transaction = query->transaction;
    gh_pgsql_t *connection = transaction->connection;
    apr_status_t rv;
    int again = 0;

    PQclear(place->result);
    place->result = NULL;
    connection->deadline = gh_monotonic_now() + connection->patience;
    rv = gh_pgsql_result(connection, &place->result, &transaction->error);
    if (rv != APR_SUCCESS) {
        return keep(transaction, rv, 0);
    }
    switch (PQresultStatus(place->result)) {
    case PGRES_SINGLE_TUPLE:
        place->row = 0;
        return APR_SUCCESS;
    case PGRES_TUPLES_OK:
        PQclear(place->result);
        place->result = NULL;
        place->sent = 0;
        rv = gh_pgsql_result(connection, &place->result, &transaction->error);
        return rv == APR_SUCCESS ? APR_EOF : keep(transaction, rv, 0);
    default:
        rv = gh_pgsql_failure(connection, place->result, &again, &transaction->error);
        connection->lost = 1;
        return keep(transaction, rv, again);
    }
}

apr_status_t gh_pgsql_step(gh_query_t *query)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;
    gh_transaction_t *transaction = query->transaction;
    apr_status_t rv = transaction->failed;

    if (rv == APR_SUCCESS && !query->active) {
        rv = fault(transaction, "it has ended");
    }
    if (rv == APR_SUCCESS && !place->sent) {
        rv = send_query(query);
    }
    if (rv == APR_SUCCESS && query->walks) {
        rv = next_of_walk(query);
    }
    else if (rv == APR_SUCCESS && ++place->row >= PQntuples(place->result)) {
        rv = APR_EOF;
    }
    if (rv != APR_SUCCESS) {
        gh_pgsql_end(query);
    }
    return rv;
}

void gh_pgsql_end(gh_query_t *query)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;

    if (!query->active) {
        return;
    }
    if (query->walks && place->sent) {
        /* rows are still to come: a new connection costs less than reading them */
        ((gh_pgsql_t *)query->transaction->connection)->lost = 1;
    }
    PQclear(place->result);
    place->result = NULL;
    gh_query_finish(query);
}

void gh_pgsql_end_queries(gh_pgsql_t *connection)
{
    int i;

    for (i = 0; i < GH_PGSQL_QUERIES; i++) {
        gh_pgsql_end(&connection->queries[i].query);
    }
}

int gh_pgsql_column_null(gh_query_t *query, int column)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;

    return PQgetisnull(place->result, place->row, column);
}

apr_int64_t gh_pgsql_column_int64(gh_query_t *query, int column)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;
    const unsigned char *value
        = (const unsigned char *)PQgetvalue(place->result, place->row, column);
    int length = PQgetlength(place->result, place->row, column);
    apr_uint64_t number = 0;
    int i;

    if (value == NULL || length == 0 || length > 8) {
        return 0;
    }
    number = value[0] & 0x80 && length > 1 ? ~(apr_uint64_t)0 : 0;
    for (i = 0; i < length; i++) {
        number = number << 8 | value[i];
    }
    return (apr_int64_t)number;
}

const char *gh_pgsql_column_text(gh_query_t *query, int column, apr_pool_t *p)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;

    if (gh_pgsql_column_null(query, column)) {
        return NULL;
    }
    return apr_pstrmemdup(p, PQgetvalue(place->result, place->row, column),
                          PQgetlength(place->result, place->row, column));
}

gh_bytes_t gh_pgsql_column_bytes(gh_query_t *query, int column, apr_pool_t *p)
{
    gh_pgsql_query_t *place = (gh_pgsql_query_t *)query;
    gh_bytes_t bytes = { NULL, 0 };

    if (!gh_pgsql_column_null(query, column)) {
        bytes.length = PQgetlength(place->result, place->row, column);
        bytes.data = apr_pmemdup(p, PQgetvalue(place->result, place->row, column),
                                 bytes.length ? bytes.length : 1);
    }
    return bytes;
}

/* The time that a walk takes depends on what is done with each row. */
void gh_pgsql_walk(gh_query_t *query)
{
    gh_transaction_t *transaction = query->transaction;
    gh_pgsql_t *connection = transaction->connection;
    apr_status_t rv;
    int again = 0;

    if (transaction->failed == APR_SUCCESS) {
        rv = gh_pgsql_command(connection, "SET LOCAL statement_timeout = 0", NULL, &again,
                              &transaction->error);
        keep(transaction, rv, again);
    }
}

apr_status_t gh_pgsql_script(gh_transaction_t *transaction, const char *text)
{
    gh_pgsql_t *connection = transaction->connection;
    apr_status_t rv;
    int again = 0;

    if (transaction->failed != APR_SUCCESS) {
        return transaction->failed;
    }
    rv = gh_pgsql_command(connection, text, NULL, &again, &transaction->error);
    return keep(transaction, rv, again);
}
