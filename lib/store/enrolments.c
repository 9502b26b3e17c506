/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/enrolments.h"

#include <string.h>

#include "status.h"

#define LIST_LIMIT 1000

/* The columns that read_record() expects; the last two only of full records. */
#define RECORD_COLUMNS \
    "id, lookup_key, state, protocol, tenant, issuer, profile, transaction_id, signer_sha256," \
    " subject, request_sha256, location, client, username, rule, message, decided_by, serial," \
    " created, updated, question"
#define FULL_COLUMNS RECORD_COLUMNS ", request, plan"

static const struct {
    gh_enrolment_state_t state;
    const char *name;
} state_names[] = {
    { GH_ENROLMENT_WAITING, "waiting" },
    { GH_ENROLMENT_APPROVED, "approved" },
    { GH_ENROLMENT_DENIED, "denied" },
    { GH_ENROLMENT_SUBMITTED, "submitted" },
    { GH_ENROLMENT_ISSUED, "issued" },
    { GH_ENROLMENT_REJECTED, "rejected" },
    { GH_ENROLMENT_RETRY, "retry" },
    { GH_ENROLMENT_IN_DOUBT, "in-doubt" },
    { GH_ENROLMENT_CONFIRMING, "confirming" }
};

#define STATES (sizeof(state_names) / sizeof(state_names[0]))

/* Statements name these states by their numbers, for partial indexes. */
_Static_assert(GH_ENROLMENT_APPROVED == 2 && GH_ENROLMENT_DENIED == 3 && GH_ENROLMENT_ISSUED == 5
               && GH_ENROLMENT_REJECTED == 6, "numbers are in the schema");

const char *gh_enrolment_state_name(gh_enrolment_state_t state)
{
    apr_size_t i;

    for (i = 0; i < STATES; i++) {
        if (state_names[i].state == state) {
            return state_names[i].name;
        }
    }
    return "unknown";
}

apr_status_t gh_enrolment_state_parse(gh_enrolment_state_t *state, const char *name)
{
    apr_size_t i;

    for (i = 0; i < STATES; i++) {
        if (strcmp(state_names[i].name, name) == 0) {
            *state = state_names[i].state;
            return APR_SUCCESS;
        }
    }
    return APR_EINVAL;
}

static gh_enrolment_record_t *read_record(gh_query_t *query, int full, apr_pool_t *p)
{
    gh_enrolment_record_t *record = apr_pcalloc(p, sizeof(*record));
    int column = 0;

    record->id = gh_column_text(query, column++, p);
    record->key = gh_column_bytes(query, column++, p);
    record->state = (gh_enrolment_state_t)gh_column_int64(query, column++);
    record->protocol = gh_column_text(query, column++, p);
    record->tenant = gh_column_text(query, column++, p);
    record->issuer = gh_column_text(query, column++, p);
    record->profile = gh_column_text(query, column++, p);
    record->transaction = gh_column_text(query, column++, p);
    record->signer_sha256 = gh_column_bytes(query, column++, p);
    record->subject = gh_column_text(query, column++, p);
    record->request_sha256 = gh_column_bytes(query, column++, p);
    record->location = gh_column_text(query, column++, p);
    record->client = gh_column_text(query, column++, p);
    record->user = gh_column_text(query, column++, p);
    record->rule = gh_column_text(query, column++, p);
    record->message = gh_column_text(query, column++, p);
    record->decided_by = gh_column_text(query, column++, p);
    record->serial = gh_column_bytes(query, column++, p);
    record->created = gh_column_int64(query, column++);
    record->updated = gh_column_int64(query, column++);
    record->question = gh_column_text(query, column++, p);
    if (full) {
        record->request = gh_column_bytes(query, column++, p);
        record->plan = gh_column_bytes(query, column++, p);
    }
    return record;
}

#define INSERT_RECORD \
    "INSERT INTO enrolment (" FULL_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10," \
    " $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)"

static void bind_record(gh_query_t *query, const gh_enrolment_record_t *record)
{
    gh_bind_text(query, record->id);
    gh_bind_bytes(query, record->key);
    gh_bind_int64(query, record->state);
    gh_bind_text(query, record->protocol);
    gh_bind_text(query, record->tenant);
    gh_bind_text(query, record->issuer);
    gh_bind_text(query, record->profile);
    gh_bind_text(query, record->transaction);
    gh_bind_bytes(query, record->signer_sha256);
    gh_bind_text(query, record->subject);
    gh_bind_bytes(query, record->request_sha256);
    gh_bind_text(query, record->location);
    gh_bind_text(query, record->client);
    gh_bind_text(query, record->user);
    gh_bind_text(query, record->rule);
    gh_bind_text(query, record->message);
    gh_bind_text(query, record->decided_by);
    gh_bind_bytes(query, record->serial);
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->updated);
    gh_bind_text(query, record->question);
    gh_bind_bytes(query, record->request);
    gh_bind_bytes(query, record->plan);
}

apr_status_t gh_enrolment_insert(gh_transaction_t *transaction,
                                 const gh_enrolment_record_t *record)
{
    gh_query_t *query = gh_query(transaction, INSERT_RECORD);

    bind_record(query, record);
    return gh_execute(query);
}

apr_status_t gh_enrolment_insert_new(gh_transaction_t *transaction,
                                     const gh_enrolment_record_t *record)
{
    gh_query_t *query = gh_query(transaction,
                                 INSERT_RECORD " ON CONFLICT (lookup_key) DO NOTHING");
    apr_status_t rv;

    bind_record(query, record);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? APR_SUCCESS : APR_EEXIST;
}

static apr_status_t read_one(gh_query_t *query, gh_enrolment_record_t **record, apr_pool_t *p)
{
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        *record = read_record(query, 1, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

apr_status_t gh_enrolment_find(gh_transaction_t *transaction, const char *id,
                               gh_enrolment_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction,
                                 "SELECT " FULL_COLUMNS " FROM enrolment WHERE id = $1");

    gh_bind_text(query, id);
    return read_one(query, record, p);
}

apr_status_t gh_enrolment_find_key(gh_transaction_t *transaction, gh_bytes_t key,
                                   gh_enrolment_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction,
                                 "SELECT " FULL_COLUMNS " FROM enrolment WHERE lookup_key = $1");

    gh_bind_bytes(query, key);
    return read_one(query, record, p);
}

apr_status_t gh_enrolment_move(gh_transaction_t *transaction, const char *id,
                               gh_enrolment_state_t from, gh_enrolment_state_t to,
                               const char *decided_by, const char *message, gh_bytes_t serial,
                               apr_time_t now)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "UPDATE enrolment SET state = CAST($1 AS BIGINT),"
                     " plan = CASE WHEN CAST($1 AS BIGINT) = 5 THEN NULL ELSE plan END,"
                     " request = CASE WHEN CAST($1 AS BIGINT) IN (3, 5, 6) THEN NULL"
                     " ELSE request END,"
                     " decided_by = COALESCE($2, decided_by), message = COALESCE($3, message),"
                     " serial = COALESCE($4, serial), updated = $5,"
                     " claimed_by = NULL, claimed_until = 0 WHERE id = $6 AND state = $7");
    gh_bind_int64(query, to);
    gh_bind_text(query, decided_by);
    gh_bind_text(query, message);
    gh_bind_bytes(query, serial);
    gh_bind_int64(query, now);
    gh_bind_text(query, id);
    gh_bind_int64(query, from);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    return gh_rows_changed(transaction) == 1 ? APR_SUCCESS : APR_NOTFOUND;
}

apr_status_t gh_enrolment_retire(gh_transaction_t *transaction, const char *id, apr_time_t now)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "UPDATE enrolment SET lookup_key = NULL, updated = $1 WHERE id = $2");
    gh_bind_int64(query, now);
    gh_bind_text(query, id);
    return gh_execute(query);
}

/** Reads what is left of a query into an array. */
static apr_status_t read_all(gh_query_t *query, int full, apr_array_header_t **records,
                             apr_pool_t *p)
{
    apr_array_header_t *found = apr_array_make(p, 8, sizeof(gh_enrolment_record_t *));
    apr_status_t rv;

    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(found, gh_enrolment_record_t *) = read_record(query, full, p);
    }
    *records = found;
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

/* Nearly all rows are issued, and ids are in the order of time; the others have an index of their
 * own. */
apr_status_t gh_enrolment_list(gh_transaction_t *transaction, int state, int limit,
                               apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query;

    if (state == 0) {
        query = gh_query(transaction,
                         "SELECT " RECORD_COLUMNS " FROM enrolment"
                         " ORDER BY id DESC LIMIT $1");
    }
    else if (state == GH_ENROLMENT_ISSUED) {
        query = gh_query(transaction,
                         "SELECT " RECORD_COLUMNS " FROM enrolment WHERE +state = 5"
                         " ORDER BY id DESC LIMIT $1");
    }
    else {
        query = gh_query(transaction,
                         "SELECT " RECORD_COLUMNS " FROM enrolment WHERE state = $1"
                         " AND state <> 5 ORDER BY created DESC, id LIMIT $2");
        gh_bind_int64(query, state);
    }
    gh_bind_int64(query, limit > 0 ? limit : LIST_LIMIT);
    return read_all(query, 0, records, p);
}

/* The conditions stand twice: PostgreSQL checks the outer ones again once it has the row's lock. */
apr_status_t gh_enrolment_claim_approved(gh_transaction_t *transaction, const char *holder,
                                         apr_interval_time_t interval, int limit,
                                         apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "UPDATE enrolment SET claimed_by = $1, claimed_until = $2"
                     " WHERE state = 2 AND claimed_until <= $3 AND id IN"
                     " (SELECT id FROM enrolment WHERE state = 2 AND claimed_until <= $3"
                     " ORDER BY created LIMIT $4) RETURNING " FULL_COLUMNS);
    gh_bind_text(query, holder);
    gh_bind_int64(query, now + interval);
    gh_bind_int64(query, now);
    gh_bind_int64(query, limit);
    return read_all(query, 1, records, p);
}

apr_status_t gh_enrolment_claim_one(gh_transaction_t *transaction, const char *id,
                                    const char *holder, apr_interval_time_t interval,
                                    gh_enrolment_record_t **record, apr_pool_t *p)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "UPDATE enrolment SET claimed_by = $1, claimed_until = $2 WHERE id = $3"
                     " AND state = 2 AND claimed_until <= $4 RETURNING " FULL_COLUMNS);
    gh_bind_text(query, holder);
    gh_bind_int64(query, now + interval);
    gh_bind_text(query, id);
    gh_bind_int64(query, now);
    return read_one(query, record, p);
}

apr_status_t gh_enrolment_count_approved(gh_transaction_t *transaction, apr_int64_t *count)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "SELECT count(*) FROM enrolment WHERE state = 2 AND claimed_until <= $1");
    gh_bind_int64(query, now);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        *count = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}
