/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/jobs.h"

#include <stdlib.h>

#include "status.h"
#include "store/store_backend.h"

#define LIST_LIMIT 1000

/** Due for so long, and nobody has taken it. */
#define OVERDUE apr_time_from_sec(60)

#define RECORD_COLUMNS \
    "id, kind, queue, subject, payload, state, attempts, created, due, deadline, sent, reference," \
    " number, message, holder, held_until"

/* Statements name the state by its number, so that the partial index fits. */
_Static_assert(GH_JOB_OPEN == 1, "numbers are in the schema");

/** A holder, or a part of one that has several: theirs begin with his name and a slash. */
#define HELD_BY(number) \
    "(holder = " number " OR substr(holder, 1, length(" number ") + 1) = " number " || '/')"

/* There is one about the same subject that was made before. */
#define BEHIND_ANOTHER \
    "EXISTS (SELECT 1 FROM job b WHERE b.queue = job.queue AND b.subject = job.subject" \
    " AND b.state = 1 AND (b.created < job.created OR (b.created = job.created" \
    " AND b.id < job.id)))"

static gh_job_record_t *read_record(gh_query_t *query, apr_pool_t *p)
{
    gh_job_record_t *record = apr_pcalloc(p, sizeof(*record));
    int column = 0;

    record->id = gh_column_text(query, column++, p);
    record->kind = gh_column_text(query, column++, p);
    record->queue = gh_column_text(query, column++, p);
    record->subject = gh_column_text(query, column++, p);
    record->payload = gh_column_bytes(query, column++, p);
    record->state = (gh_job_state_t)gh_column_int64(query, column++);
    record->attempts = (int)gh_column_int64(query, column++);
    record->created = gh_column_int64(query, column++);
    record->due = gh_column_int64(query, column++);
    record->deadline = gh_column_int64(query, column++);
    record->sent = gh_column_int64(query, column++);
    record->reference = gh_column_text(query, column++, p);
    record->number = gh_column_text(query, column++, p);
    record->message = gh_column_text(query, column++, p);
    record->holder = gh_column_text(query, column++, p);
    record->held_until = gh_column_int64(query, column++);
    return record;
}

static apr_status_t read_one(gh_query_t *query, gh_job_record_t **record, apr_pool_t *p)
{
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        *record = read_record(query, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

/** Adds what is left of a query to an array. */
static apr_status_t read_rest(gh_query_t *query, apr_array_header_t *records, apr_pool_t *p)
{
    apr_status_t rv;

    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(records, gh_job_record_t *) = read_record(query, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

static apr_status_t read_number(gh_query_t *query, apr_int64_t *number)
{
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        *number = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}

/** Of a statement that changes one row, if it is as it has to be. */
static apr_status_t change_one(gh_query_t *query, gh_transaction_t *transaction)
{
    apr_status_t rv = gh_execute(query);

    return rv != APR_SUCCESS ? rv
        : gh_rows_changed(transaction) == 1 ? APR_SUCCESS : APR_NOTFOUND;
}

/* Making */

/** When the last one was made that is still there. @param created 0: there is none */
static apr_status_t last_about(gh_transaction_t *transaction, const gh_job_record_t *record,
                               apr_time_t *created)
{
    gh_query_t *query = gh_query(transaction, "SELECT max(created) FROM job WHERE queue = $1"
                                 " AND subject = $2");

    gh_bind_text(query, record->queue);
    gh_bind_text(query, record->subject);
    return read_number(query, created);
}

apr_status_t gh_job_insert(gh_transaction_t *transaction, const gh_job_record_t *record)
{
    apr_time_t offset = 0, last = 0, created;
    gh_query_t *query;
    apr_status_t rv = gh_store_offset(transaction, &offset);

    if (rv == APR_SUCCESS && record->behind) {
        rv = last_about(transaction, record, &last);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    created = record->created + offset;
    query = gh_query(transaction,
                     "INSERT INTO job (id, kind, queue, subject, payload, state, attempts, created,"
                     " due, deadline, sent, held_until)"
                     " VALUES ($1, $2, $3, $4, $5, 1, 0, $6, $7, $8, 0, 0)");
    gh_bind_text(query, record->id);
    gh_bind_text(query, record->kind);
    gh_bind_text(query, record->queue);
    gh_bind_text(query, record->subject);
    gh_bind_bytes(query, record->payload);
    gh_bind_int64(query, record->behind && created <= last ? last + 1 : created);
    gh_bind_int64(query, record->due + offset);
    gh_bind_int64(query, record->deadline ? record->deadline + offset : 0);
    return gh_execute(query);
}

apr_status_t gh_job_about(gh_transaction_t *transaction, const char *queue, const char *subject,
                          apr_int64_t *count)
{
    gh_query_t *query = gh_query(transaction, "SELECT count(*) FROM job WHERE queue = $1"
                                 " AND subject = $2");

    gh_bind_text(query, queue);
    gh_bind_text(query, subject);
    return read_number(query, count);
}

apr_status_t gh_job_find(gh_transaction_t *transaction, const char *id, gh_job_record_t **record,
                         apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " RECORD_COLUMNS " FROM job WHERE id = $1");

    gh_bind_text(query, id);
    return read_one(query, record, p);
}

/* Taking */

apr_status_t gh_job_claim(gh_transaction_t *transaction, const char *id, const char *holder,
                          apr_interval_time_t interval, gh_job_record_t **record, apr_pool_t *p)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "UPDATE job SET holder = $1, held_until = $2 WHERE id = $3 AND state = 1"
                     " AND (held_until <= $4 OR holder = $1) RETURNING " RECORD_COLUMNS);
    gh_bind_text(query, holder);
    gh_bind_int64(query, now + interval);
    gh_bind_text(query, id);
    gh_bind_int64(query, now);
    rv = read_one(query, record, p);
    if (rv == APR_SUCCESS) {
        (*record)->taken = now;
    }
    return rv;
}

/** Of the places, those that are kept for jobs for which a call was made: a fraction. */
#define ASKS_SHARE 4

/* What is looked for once stays as it is: PostgreSQL would otherwise run the inner part again for
 * some rows, and lock others than those it has counted. */
#define CLAIM_DUE(sent, lock) \
    "WITH free AS MATERIALIZED (SELECT id FROM job WHERE queue = $1 AND state = 1 AND " sent \
    " AND due <= $2 AND held_until <= $2 AND NOT " BEHIND_ANOTHER \
    " ORDER BY due LIMIT $3" lock ")" \
    " UPDATE job SET holder = $4, held_until = $5 WHERE id IN (SELECT id FROM free)" \
    " RETURNING " RECORD_COLUMNS

static apr_status_t claim_queue(gh_transaction_t *transaction, const char *queue,
                                const char *holder, apr_interval_time_t interval, apr_time_t now,
                                int sent, int limit, apr_array_header_t *records, apr_pool_t *p)
{
    static const char *const claims[2][2] = {
        { CLAIM_DUE("sent = 0", ""), CLAIM_DUE("sent <> 0", "") },
        { CLAIM_DUE("sent = 0", " FOR UPDATE SKIP LOCKED"),
          CLAIM_DUE("sent <> 0", " FOR UPDATE SKIP LOCKED") }
    };
    gh_query_t *query;

    if (limit <= 0) {
        return APR_SUCCESS;
    }
    query = gh_query(transaction, claims[transaction->backend->dialect->row_locks != 0][sent]);
    gh_bind_text(query, queue);
    gh_bind_int64(query, now);
    gh_bind_int64(query, limit);
    gh_bind_text(query, holder);
    gh_bind_int64(query, now + interval);
    return read_rest(query, records, p);
}

static int compare_due(const void *a, const void *b)
{
    const gh_job_record_t *one = *(gh_job_record_t *const *)a;
    const gh_job_record_t *other = *(gh_job_record_t *const *)b;

    return one->due < other->due ? -1 : one->due > other->due;
}

/** What is new has the most of the places, if there is so much of it. */
static apr_status_t claim_share(gh_transaction_t *transaction, const char *queue,
                                const char *holder, apr_interval_time_t interval, apr_time_t now,
                                int limit, int *asks, apr_array_header_t *records, apr_pool_t *p)
{
    int end = records->nelts + limit, before;
    /* of places that become free one by one, each fourth */
    int part = (limit < ASKS_SHARE ? limit + (int)(now % ASKS_SHARE) : limit) / ASKS_SHARE;
    int kept = *asks < part ? *asks : part;
    apr_status_t rv = claim_queue(transaction, queue, holder, interval, now, 0, limit - kept,
                                  records, p);

    if (rv == APR_SUCCESS) {
        before = records->nelts;
        rv = claim_queue(transaction, queue, holder, interval, now, 1,
                         *asks < end - before ? *asks : end - before, records, p);
        *asks -= records->nelts - before;
    }
    return rv == APR_SUCCESS && kept > 0
        ? claim_queue(transaction, queue, holder, interval, now, 0, end - records->nelts, records,
                      p) : rv;
}

/* First each queue gets its share, then what is left goes to those that have more. */
apr_status_t gh_job_claim_due(gh_transaction_t *transaction, const apr_array_header_t *queues,
                              const char *holder, apr_interval_time_t interval, int limit,
                              int asks, apr_array_header_t **records, apr_pool_t *p)
{
    apr_array_header_t *found = apr_array_make(p, 8, sizeof(gh_job_record_t *));
    int share = queues->nelts > 0 && limit > queues->nelts ? limit / queues->nelts : 1;
    apr_time_t now;
    apr_status_t rv;
    int round, i;

    *records = found;
    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    for (round = 0; round < 2; ++round) {
        for (i = 0; i < queues->nelts && found->nelts < limit; ++i) {
            int left = limit - found->nelts;

            rv = claim_share(transaction, APR_ARRAY_IDX(queues, i, const char *), holder, interval,
                             now, round == 0 && share < left ? share : left, &asks, found, p);
            if (rv != APR_SUCCESS) {
                return rv;
            }
        }
    }
    for (i = 0; i < found->nelts; ++i) {
        APR_ARRAY_IDX(found, i, gh_job_record_t *)->taken = now;
    }
    qsort(found->elts, (size_t)found->nelts, sizeof(gh_job_record_t *), compare_due);
    return APR_SUCCESS;
}

apr_status_t gh_job_count_due(gh_transaction_t *transaction, const apr_array_header_t *queues,
                              int limit, apr_int64_t *count)
{
    apr_int64_t number = 0;
    apr_time_t now;
    apr_status_t rv;
    int i;

    *count = 0;
    rv = gh_store_now(transaction, &now);
    for (i = 0; rv == APR_SUCCESS && i < queues->nelts; ++i) {
        gh_query_t *query = gh_query(transaction,
                                     "SELECT count(*) FROM (SELECT 1 FROM job WHERE queue = $1"
                                     " AND state = 1 AND due <= $2 AND held_until <= $2 AND NOT "
                                     BEHIND_ANOTHER " LIMIT $3) AS found");

        gh_bind_text(query, APR_ARRAY_IDX(queues, i, const char *));
        gh_bind_int64(query, now);
        gh_bind_int64(query, limit);
        rv = read_number(query, &number);
        *count += number;
    }
    return rv;
}

/* Holding */

apr_status_t gh_job_extend(gh_transaction_t *transaction, const apr_array_header_t *ids,
                           const char *holder, apr_interval_time_t interval)
{
    apr_time_t now;
    apr_status_t rv = gh_store_now(transaction, &now);
    int i;

    for (i = 0; rv == APR_SUCCESS && i < ids->nelts; ++i) {
        gh_query_t *query = gh_query(transaction, "UPDATE job SET held_until = $1 WHERE id = $2"
                                     " AND " HELD_BY("$3"));

        gh_bind_int64(query, now + interval);
        gh_bind_text(query, APR_ARRAY_IDX(ids, i, const char *));
        gh_bind_text(query, holder);
        rv = gh_execute(query);
    }
    return rv;
}

apr_status_t gh_job_release(gh_transaction_t *transaction, const char *holder)
{
    gh_query_t *query = gh_query(transaction, "UPDATE job SET holder = NULL, held_until = 0"
                                 " WHERE " HELD_BY("$1"));

    gh_bind_text(query, holder);
    return gh_execute(query);
}

apr_status_t gh_job_begin_call(gh_transaction_t *transaction, const char *id, const char *holder)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "UPDATE job SET sent = CASE WHEN sent = 0 THEN $1 ELSE sent END,"
                     " attempts = attempts + 1"
                     " WHERE id = $2 AND holder = $3 AND held_until > $1 AND state = 1");
    gh_bind_int64(query, now);
    gh_bind_text(query, id);
    gh_bind_text(query, holder);
    return change_one(query, transaction);
}

static void bind_result(gh_query_t *query, const gh_result_t *result)
{
    gh_bind_text(query, result && *result->number ? result->number : NULL);
    gh_bind_text(query, result && *result->message ? result->message : NULL);
}

apr_status_t gh_job_again(gh_transaction_t *transaction, const char *id, const char *holder,
                          apr_time_t due, int unknown, const char *reference,
                          const gh_result_t *result)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "UPDATE job SET holder = NULL, held_until = 0, due = $1,"
                     " sent = CASE WHEN CAST($2 AS BIGINT) = 0 THEN 0 ELSE sent END,"
                     " reference = CASE WHEN CAST($2 AS BIGINT) = 0 THEN $3"
                     " ELSE COALESCE($3, reference) END, number = $4, message = $5"
                     " WHERE id = $6 AND holder = $7 AND state = 1");
    gh_bind_int64(query, due);
    gh_bind_int64(query, unknown);
    gh_bind_text(query, reference);
    bind_result(query, result);
    gh_bind_text(query, id);
    gh_bind_text(query, holder);
    return change_one(query, transaction);
}

apr_status_t gh_job_doubt(gh_transaction_t *transaction, const char *id, const char *holder,
                          const gh_result_t *result)
{
    gh_query_t *query;

    query = gh_query(transaction,
                     "UPDATE job SET state = 2, holder = NULL, held_until = 0, number = $1,"
                     " message = $2 WHERE id = $3 AND holder = $4 AND state = 1");
    bind_result(query, result);
    gh_bind_text(query, id);
    gh_bind_text(query, holder);
    return change_one(query, transaction);
}

apr_status_t gh_job_remove(gh_transaction_t *transaction, const char *id, const char *holder)
{
    gh_query_t *query = gh_query(transaction, "DELETE FROM job WHERE id = $1 AND holder = $2");

    gh_bind_text(query, id);
    gh_bind_text(query, holder);
    return change_one(query, transaction);
}

apr_status_t gh_job_drop(gh_transaction_t *transaction, const char *queue, const char *subject)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "DELETE FROM job WHERE queue = $1 AND subject = $2"
                     " AND held_until <= $3");
    gh_bind_text(query, queue);
    gh_bind_text(query, subject);
    gh_bind_int64(query, now);
    return gh_execute(query);
}

/* For operators */

/** Why a change of a job that nobody holds has changed nothing. */
static apr_status_t busy_or_gone(gh_transaction_t *transaction, const char *id)
{
    gh_query_t *query = gh_query(transaction, "SELECT count(*) FROM job WHERE id = $1");
    apr_int64_t count = 0;
    apr_status_t rv;

    gh_bind_text(query, id);
    rv = read_number(query, &count);
    return rv != APR_SUCCESS ? rv : count ? GH_EBUSY : APR_NOTFOUND;
}

apr_status_t gh_job_retry(gh_transaction_t *transaction, const char *id)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "UPDATE job SET state = 1, due = $1, attempts = 0,"
                     " sent = CASE WHEN state = 1 THEN sent ELSE 0 END,"
                     " reference = CASE WHEN state = 1 THEN reference ELSE NULL END,"
                     " holder = NULL, held_until = 0,"
                     " deadline = CASE WHEN deadline = 0 THEN 0 ELSE $1 + deadline - created END,"
                     " created = CASE WHEN deadline = 0 THEN created ELSE $1 END"
                     " WHERE id = $2 AND held_until <= $1");
    gh_bind_int64(query, now);
    gh_bind_text(query, id);
    rv = change_one(query, transaction);
    return rv == APR_NOTFOUND ? busy_or_gone(transaction, id) : rv;
}

apr_status_t gh_job_cancel(gh_transaction_t *transaction, const char *id)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "DELETE FROM job WHERE id = $1 AND held_until <= $2");
    gh_bind_text(query, id);
    gh_bind_int64(query, now);
    rv = change_one(query, transaction);
    return rv == APR_NOTFOUND ? busy_or_gone(transaction, id) : rv;
}

apr_status_t gh_job_list(gh_transaction_t *transaction, const char *queue, int limit,
                         apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query;

    *records = apr_array_make(p, 8, sizeof(gh_job_record_t *));
    if (queue == NULL) {
        query = gh_query(transaction, "SELECT " RECORD_COLUMNS " FROM job"
                         " ORDER BY created DESC, id LIMIT $1");
    }
    else {
        query = gh_query(transaction, "SELECT " RECORD_COLUMNS " FROM job WHERE queue = $1"
                         " ORDER BY created DESC, id LIMIT $2");
        gh_bind_text(query, queue);
    }
    gh_bind_int64(query, limit > 0 ? limit : LIST_LIMIT);
    return read_rest(query, *records, p);
}

apr_status_t gh_job_list_without(gh_transaction_t *transaction, const char *kind, int limit,
                                 apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " RECORD_COLUMNS " FROM job WHERE kind <> $1"
                                 " ORDER BY created DESC, id LIMIT $2");

    *records = apr_array_make(p, 8, sizeof(gh_job_record_t *));
    gh_bind_text(query, kind);
    gh_bind_int64(query, limit > 0 ? limit : LIST_LIMIT);
    return read_rest(query, *records, p);
}

apr_status_t gh_job_counts(gh_transaction_t *transaction, const char *queue,
                           gh_job_counts_t *counts)
{
    gh_query_t *query;
    apr_time_t now;
    apr_status_t rv;

    if ((rv = gh_store_now(transaction, &now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction,
                     "SELECT sum(CASE WHEN state = 1 THEN 1 ELSE 0 END),"
                     " sum(CASE WHEN state = 1 AND due <= $1 AND held_until <= $2 THEN 1"
                     " ELSE 0 END), sum(CASE WHEN state = 2 THEN 1 ELSE 0 END), min(created)"
                     " FROM job WHERE queue = $3");
    gh_bind_int64(query, now - OVERDUE);
    gh_bind_int64(query, now);
    gh_bind_text(query, queue);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        counts->open = gh_column_int64(query, 0);
        counts->overdue = gh_column_int64(query, 1);
        counts->doubt = gh_column_int64(query, 2);
        counts->oldest = gh_column_int64(query, 3);
        gh_query_end(query);
    }
    return rv;
}
