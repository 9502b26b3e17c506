/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/escrow_profiles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "status.h"

#define LIST_LIMIT 1000

/** Behind all identifiers, which are hexadecimal. */
#define BEHIND_ALL "g"

#define DESCRIPTION \
    "id, profile, device, user_id, format, needs, sign, labels, uem, provider, state, reason," \
    " generation, delivery, history, created, updated, expires"
#define COLUMNS DESCRIPTION ", skeleton, recipient, completed, key_id, wrapped, sealed"

/* One more entry of the history: a text with time and state, then the generation. Of one that has
 * become long the beginning goes, up to somewhere within an entry. */
#define HISTORY(text, generation) \
    "history = CASE WHEN length(history) > 3000 THEN substr(history, 1500) ELSE history END || " \
    text " || CAST(" generation " AS TEXT) || ';'"

/* Statements name states by their numbers. */
_Static_assert(GH_ESCROW_WAITING == 1 && GH_ESCROW_COMPLETING == 2 && GH_ESCROW_QUEUED == 3
               && GH_ESCROW_DELIVERED == 4 && GH_ESCROW_FAILED == 5 && GH_ESCROW_EXPIRED == 6
               && GH_ESCROW_CANCELLED == 7, "numbers are in the schema");

static const char *const states[GH_ESCROW_STATES + 1] = {
    NULL, "waiting", "completing", "queued", "delivered", "failed", "expired", "cancelled"
};

/** Room for what HISTORY() takes. */
typedef char entry_t[40];

static const char *entry_of(entry_t entry, apr_time_t now, int state)
{
    apr_snprintf(entry, sizeof(entry_t), "@%" APR_TIME_T_FMT " %d ", now, state);
    return entry;
}

static const char *first_entry(entry_t entry, const gh_escrow_profile_record_t *record)
{
    apr_snprintf(entry, sizeof(entry_t), "@%" APR_TIME_T_FMT " %d 1;", record->created,
                 record->state);
    return entry;
}

const char *gh_escrow_state_name(int state)
{
    return state >= GH_ESCROW_WAITING && state <= GH_ESCROW_CANCELLED ? states[state] : NULL;
}

int gh_escrow_state_parse(const char *name)
{
    int i;

    for (i = GH_ESCROW_WAITING; i <= GH_ESCROW_CANCELLED; ++i) {
        if (strcmp(name, states[i]) == 0) {
            return i;
        }
    }
    return 0;
}

/** Of a statement that changes one row, if it is as it has to be. */
static apr_status_t change_one(gh_query_t *query, gh_transaction_t *transaction)
{
    apr_status_t rv = gh_execute(query);

    return rv != APR_SUCCESS ? rv
        : gh_rows_changed(transaction) == 1 ? APR_SUCCESS : APR_NOTFOUND;
}

static void bind_seal(gh_query_t *query, const gh_escrow_profile_record_t *record)
{
    gh_bind_text(query, record->key_id);
    gh_bind_bytes(query, record->wrapped);
    gh_bind_bytes(query, record->sealed);
}

apr_status_t gh_escrow_profile_insert(gh_transaction_t *transaction,
                                      const gh_escrow_profile_record_t *record)
{
    gh_query_t *query;
    entry_t entry;

    query = gh_query(transaction, "INSERT INTO escrow_profile (id, profile, device, user_id,"
                     " format, needs, skeleton, recipient, sign, labels, uem, provider, state,"
                     " generation, history, created, updated, expires, key_id, wrapped, sealed)"
                     " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14,"
                     " $15, $15, $16, $17, $18, $19)");
    gh_bind_text(query, record->id);
    gh_bind_text(query, record->profile);
    gh_bind_text(query, record->device);
    gh_bind_text(query, record->user);
    gh_bind_text(query, record->format);
    gh_bind_text(query, record->needs);
    gh_bind_bytes(query, record->skeleton);
    gh_bind_bytes(query, record->recipient);
    gh_bind_int64(query, record->sign);
    gh_bind_text(query, record->labels);
    gh_bind_text(query, record->uem);
    gh_bind_text(query, record->provider);
    gh_bind_int64(query, record->state);
    gh_bind_text(query, first_entry(entry, record));
    gh_bind_int64(query, record->created);
    gh_bind_int64(query, record->expires);
    bind_seal(query, record);
    return gh_execute(query);
}

/** What was to be delivered of the generation before is not to be any more. */
static apr_status_t end_deliveries(gh_transaction_t *transaction, const char *id, apr_time_t now)
{
    gh_query_t *query = gh_query(transaction, "UPDATE delivery SET state = 4, updated = $1"
                                 " WHERE profile = $2 AND state = 1");

    gh_bind_int64(query, now);
    gh_bind_text(query, id);
    return gh_execute(query);
}

apr_status_t gh_escrow_profile_replace(gh_transaction_t *transaction,
                                       const gh_escrow_profile_record_t *record)
{
    gh_query_t *query;
    entry_t entry;
    apr_status_t rv;

    if ((rv = end_deliveries(transaction, record->id, record->updated)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "UPDATE escrow_profile SET format = $1, needs = $2,"
                     " skeleton = $3, recipient = $4, sign = $5, labels = $6, uem = $7,"
                     " provider = $8, state = $9, generation = generation + 1, "
                     HISTORY("$10", "generation + 1") ", reason = NULL, completed = NULL,"
                     " delivery = NULL, updated = $11, expires = $12, key_id = $13,"
                     " wrapped = $14, sealed = $15 WHERE id = $16");
    gh_bind_text(query, record->format);
    gh_bind_text(query, record->needs);
    gh_bind_bytes(query, record->skeleton);
    gh_bind_bytes(query, record->recipient);
    gh_bind_int64(query, record->sign);
    gh_bind_text(query, record->labels);
    gh_bind_text(query, record->uem);
    gh_bind_text(query, record->provider);
    gh_bind_int64(query, record->state);
    gh_bind_text(query, entry_of(entry, record->updated, record->state));
    gh_bind_int64(query, record->updated);
    gh_bind_int64(query, record->expires);
    bind_seal(query, record);
    gh_bind_text(query, record->id);
    return change_one(query, transaction);
}

/* Reading */

static gh_escrow_profile_record_t *read_description(gh_query_t *query, apr_pool_t *p)
{
    gh_escrow_profile_record_t *record = apr_pcalloc(p, sizeof(*record));
    int column = 0;

    record->id = gh_column_text(query, column++, p);
    record->profile = gh_column_text(query, column++, p);
    record->device = gh_column_text(query, column++, p);
    record->user = gh_column_text(query, column++, p);
    record->format = gh_column_text(query, column++, p);
    record->needs = gh_column_text(query, column++, p);
    record->sign = (int)gh_column_int64(query, column++);
    record->labels = gh_column_text(query, column++, p);
    record->uem = gh_column_text(query, column++, p);
    record->provider = gh_column_text(query, column++, p);
    record->state = (gh_escrow_state_t)gh_column_int64(query, column++);
    record->reason = gh_column_text(query, column++, p);
    record->generation = gh_column_int64(query, column++);
    record->delivery = gh_column_text(query, column++, p);
    record->history = gh_column_text(query, column++, p);
    record->created = gh_column_int64(query, column++);
    record->updated = gh_column_int64(query, column++);
    record->expires = gh_column_int64(query, column++);
    return record;
}

static apr_status_t read_one(gh_query_t *query, gh_escrow_profile_record_t **record,
                             apr_pool_t *p)
{
    apr_status_t rv = gh_step(query);

    *record = NULL;
    if (rv == APR_SUCCESS) {
        *record = read_description(query, p);
        (*record)->skeleton = gh_column_bytes(query, 18, p);
        (*record)->recipient = gh_column_bytes(query, 19, p);
        (*record)->completed = gh_column_bytes(query, 20, p);
        (*record)->key_id = gh_column_text(query, 21, p);
        (*record)->wrapped = gh_column_bytes(query, 22, p);
        (*record)->sealed = gh_column_bytes(query, 23, p);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

static apr_status_t read_all(gh_query_t *query, apr_array_header_t **records, apr_pool_t *p)
{
    apr_status_t rv;

    *records = apr_array_make(p, 4, sizeof(gh_escrow_profile_record_t *));
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        APR_ARRAY_PUSH(*records, gh_escrow_profile_record_t *) = read_description(query, p);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

apr_status_t gh_escrow_profile_find(gh_transaction_t *transaction, const char *id,
                                    gh_escrow_profile_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_profile"
                                 " WHERE id = $1");

    gh_bind_text(query, id);
    return read_one(query, record, p);
}

apr_status_t gh_escrow_profile_of(gh_transaction_t *transaction, const char *profile,
                                  const char *device, const char *user,
                                  gh_escrow_profile_record_t **record, apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " COLUMNS " FROM escrow_profile"
                                 " WHERE device = $1 AND user_id = $2 AND profile = $3");

    gh_bind_text(query, device);
    gh_bind_text(query, user);
    gh_bind_text(query, profile);
    return read_one(query, record, p);
}

apr_status_t gh_escrow_profile_pair(gh_transaction_t *transaction, const char *device,
                                    const char *user, apr_array_header_t **records,
                                    apr_pool_t *p)
{
    gh_query_t *query = gh_query(transaction, "SELECT " DESCRIPTION " FROM escrow_profile"
                                 " WHERE device = $1 AND user_id = $2 ORDER BY id");

    gh_bind_text(query, device);
    gh_bind_text(query, user);
    return read_all(query, records, p);
}

apr_status_t gh_escrow_profile_list(gh_transaction_t *transaction,
                                    const gh_escrow_profile_filter_t *filter,
                                    apr_array_header_t **records, apr_pool_t *p)
{
    gh_query_t *query;

    query = filter->device
        ? gh_query(transaction, "SELECT " DESCRIPTION " FROM escrow_profile"
                   " WHERE id < $1 AND state BETWEEN $2 AND $3 AND device = $4"
                   " AND (user_id = $5 OR $5 = '') ORDER BY id DESC LIMIT $6")
        : gh_query(transaction, "SELECT " DESCRIPTION " FROM escrow_profile"
                   " WHERE id < $1 AND state BETWEEN $2 AND $3 AND (user_id = $4 OR $4 = '')"
                   " ORDER BY id DESC LIMIT $5");
    gh_bind_text(query, filter->after ? filter->after : BEHIND_ALL);
    gh_bind_int64(query, filter->state ? filter->state : GH_ESCROW_WAITING);
    gh_bind_int64(query, filter->state ? filter->state : GH_ESCROW_CANCELLED);
    if (filter->device) {
        gh_bind_text(query, filter->device);
    }
    gh_bind_text(query, filter->user ? filter->user : "");
    gh_bind_int64(query, filter->limit > 0 ? filter->limit : LIST_LIMIT);
    return read_all(query, records, p);
}

/* Changing */

apr_status_t gh_escrow_profile_lock(gh_transaction_t *transaction, const char *id)
{
    gh_query_t *query = gh_query(transaction, "UPDATE escrow_profile SET updated = updated"
                                 " WHERE id = $1");

    gh_bind_text(query, id);
    return change_one(query, transaction);
}

apr_status_t gh_escrow_profile_move(gh_transaction_t *transaction, const char *id,
                                    apr_int64_t generation, gh_escrow_state_t from,
                                    gh_escrow_state_t to, const char *reason, apr_time_t now)
{
    gh_query_t *query;
    entry_t entry;

    query = gh_query(transaction, "UPDATE escrow_profile SET state = $1, reason = $2, updated = $3,"
                     " " HISTORY("$4", "generation")
                     " WHERE id = $5 AND generation = $6 AND state = $7");
    gh_bind_int64(query, to);
    gh_bind_text(query, reason);
    gh_bind_int64(query, now);
    gh_bind_text(query, entry_of(entry, now, to));
    gh_bind_text(query, id);
    gh_bind_int64(query, generation);
    gh_bind_int64(query, from);
    return change_one(query, transaction);
}

apr_status_t gh_escrow_profile_queue(gh_transaction_t *transaction, const char *id,
                                     apr_int64_t generation, gh_bytes_t completed,
                                     const char *delivery, apr_time_t now)
{
    gh_query_t *query;
    entry_t entry;

    query = gh_query(transaction, "UPDATE escrow_profile SET state = 3, completed = $1,"
                     " delivery = $2, updated = $3, " HISTORY("$4", "generation")
                     " WHERE id = $5 AND generation = $6 AND state = 2");
    gh_bind_bytes(query, completed);
    gh_bind_text(query, delivery);
    gh_bind_int64(query, now);
    gh_bind_text(query, entry_of(entry, now, GH_ESCROW_QUEUED));
    gh_bind_text(query, id);
    gh_bind_int64(query, generation);
    return change_one(query, transaction);
}

apr_status_t gh_escrow_profile_begin(gh_transaction_t *transaction, const char *id,
                                     apr_int64_t *generation, apr_time_t now)
{
    gh_query_t *query;
    entry_t entry;
    apr_status_t rv;

    if ((rv = end_deliveries(transaction, id, now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "UPDATE escrow_profile SET state = 2,"
                     " generation = generation + 1, reason = NULL, completed = NULL,"
                     " delivery = NULL, updated = $1, " HISTORY("$2", "generation + 1")
                     " WHERE id = $3 RETURNING generation");
    gh_bind_int64(query, now);
    gh_bind_text(query, entry_of(entry, now, GH_ESCROW_COMPLETING));
    gh_bind_text(query, id);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        *generation = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv == APR_EOF ? APR_NOTFOUND : rv;
}

apr_status_t gh_escrow_profile_wait(gh_transaction_t *transaction, const char *id,
                                    apr_time_t expires, apr_time_t now)
{
    gh_query_t *query;
    entry_t entry;
    apr_status_t rv;

    if ((rv = end_deliveries(transaction, id, now)) != APR_SUCCESS) {
        return rv;
    }
    query = gh_query(transaction, "UPDATE escrow_profile SET state = 1,"
                     " generation = generation + 1, reason = NULL, completed = NULL,"
                     " delivery = NULL, updated = $1, " HISTORY("$2", "generation + 1")
                     ", expires = $3 WHERE id = $4");
    gh_bind_int64(query, now);
    gh_bind_text(query, entry_of(entry, now, GH_ESCROW_WAITING));
    gh_bind_int64(query, expires);
    gh_bind_text(query, id);
    return change_one(query, transaction);
}

apr_status_t gh_escrow_profile_cancel(gh_transaction_t *transaction, const char *id,
                                      apr_time_t now)
{
    gh_query_t *query;
    entry_t entry;
    apr_status_t rv;

    query = gh_query(transaction, "UPDATE escrow_profile SET state = 7, completed = NULL,"
                     " updated = $1, " HISTORY("$2", "generation")
                     " WHERE id = $3 AND state <> 7");
    gh_bind_int64(query, now);
    gh_bind_text(query, entry_of(entry, now, GH_ESCROW_CANCELLED));
    gh_bind_text(query, id);
    rv = change_one(query, transaction);
    return rv == APR_SUCCESS ? end_deliveries(transaction, id, now) : rv;
}

apr_status_t gh_escrow_profile_expire(gh_transaction_t *transaction, apr_time_t now, int limit,
                                      apr_array_header_t **expired, apr_pool_t *p)
{
    gh_query_t *query;
    entry_t entry;

    query = gh_query(transaction, "UPDATE escrow_profile SET state = 6, updated = $1, "
                     HISTORY("$2", "generation") " WHERE id IN (SELECT id FROM escrow_profile"
                     " WHERE state = 1 AND expires <= $1 LIMIT $3) AND state = 1"
                     " RETURNING " DESCRIPTION);
    gh_bind_int64(query, now);
    gh_bind_text(query, entry_of(entry, now, GH_ESCROW_EXPIRED));
    gh_bind_int64(query, limit);
    return read_all(query, expired, p);
}

apr_status_t gh_escrow_profile_purge(gh_transaction_t *transaction, apr_time_t before, int limit,
                                     apr_int64_t *count)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction, "DELETE FROM escrow_profile WHERE id IN"
                     " (SELECT id FROM escrow_profile WHERE state > 4 AND updated <= $1 LIMIT $2)"
                     " AND state > 4");
    gh_bind_int64(query, before);
    gh_bind_int64(query, limit);
    rv = gh_execute(query);
    *count = rv == APR_SUCCESS ? gh_rows_changed(transaction) : 0;
    if (rv == APR_SUCCESS) {        /* of those, and of notices, which have no profile */
        query = gh_query(transaction, "DELETE FROM delivery WHERE id IN"
                         " (SELECT d.id FROM delivery d WHERE d.state <> 1 AND d.updated <= $1"
                         " AND NOT EXISTS (SELECT 1 FROM escrow_profile o WHERE o.id = d.profile)"
                         " LIMIT $2)");
        gh_bind_int64(query, before);
        gh_bind_int64(query, limit);
        rv = gh_execute(query);
    }
    return rv;
}

apr_status_t gh_escrow_count(gh_transaction_t *transaction, gh_escrow_counts_t *counts)
{
    gh_query_t *query = gh_query(transaction, "SELECT state, count(*) FROM escrow_profile"
                                 " GROUP BY state");
    apr_status_t rv;

    memset(counts, 0, sizeof(*counts));
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        apr_int64_t state = gh_column_int64(query, 0);

        if (state >= GH_ESCROW_WAITING && state <= GH_ESCROW_CANCELLED) {
            counts->states[state] = gh_column_int64(query, 1);
        }
    }
    if (rv != APR_EOF) {
        return rv;
    }
    query = gh_query(transaction, "SELECT (SELECT count(*) FROM escrow_credential),"
                     " (SELECT count(*) FROM escrow_upload)");
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        counts->credentials = gh_column_int64(query, 0);
        counts->pairs = gh_column_int64(query, 1);
        gh_query_end(query);
    }
    return rv;
}

int gh_escrow_history_next(const char **history, gh_escrow_change_t *change)
{
    while (*history && **history) {
        const char *at = *history, *end = strchr(at, ';');
        long long time, generation;
        int state;

        *history = end ? end + 1 : at + strlen(at);
        if (end && sscanf(at, "@%lld %d %lld", &time, &state, &generation) == 3
            && gh_escrow_state_name(state)) {
            change->time = (apr_time_t)time;
            change->state = state;
            change->generation = (apr_int64_t)generation;
            return 1;
        }
    }
    return 0;
}
