/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/certificates.h"

#include <string.h>

#include "status.h"
#include "store/store_backend.h"

/* Certificates whose status changes, and the lists of those that are not good. */

/* RFC 5280 5.3.1 */
#define REASON_UNSPECIFIED      0
#define REASON_KEY_COMPROMISE   1

/* How many rows of a walk share memory before it is used again. */
#define ROWS_PER_POOL 256

typedef struct {
    gh_status_t status;
    int reason;
    apr_time_t revoked_at;
    apr_time_t not_after;
} state_t;

static apr_status_t read_state(gh_transaction_t *transaction, const char *issuer,
                               gh_bytes_t serial, state_t *state)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "SELECT s.status, s.reason, s.revoked_at, s.not_after FROM issuer i"
                     " JOIN certificate_status s ON s.issuer = i.id"
                     " WHERE i.name = $1 AND s.serial = $2");
    gh_bind_text(query, issuer);
    gh_bind_bytes(query, serial);
    if ((rv = gh_step(query)) != APR_SUCCESS) {
        return rv == APR_EOF ? APR_NOTFOUND : rv;
    }
    state->status = (gh_status_t)gh_column_int64(query, 0);
    state->reason = (int)gh_column_int64(query, 1);
    state->revoked_at = gh_column_int64(query, 2);
    state->not_after = gh_column_int64(query, 3);
    gh_query_end(query);
    return APR_SUCCESS;
}

static int no_reason(int reason)
{
    return reason == GH_REASON_NONE || reason == REASON_UNSPECIFIED;
}

/** The one change that a revoked certificate admits: its key turned out to be compromised. */
static int raises_reason(const state_t *state, int reason)
{
    return no_reason(state->reason) && reason == REASON_KEY_COMPROMISE;
}

/** @return 1 if nothing is to be changed: to revoke or hold again is no fault */
static int already_so(const state_t *state, gh_status_t status, int reason)
{
    return state->status == status
        && (status != GH_STATUS_REVOKED || !raises_reason(state, reason));
}

static int permitted(const state_t *state, gh_status_t status, int reason)
{
    switch (state->status) {
    case GH_STATUS_GOOD:
        return status == GH_STATUS_HELD || status == GH_STATUS_REVOKED;
    case GH_STATUS_HELD:
        return status == GH_STATUS_GOOD || status == GH_STATUS_REVOKED;
    case GH_STATUS_REVOKED:
        return status == GH_STATUS_REVOKED && raises_reason(state, reason);
    }
    return 0;
}

/*
 * The update names the state that was read: on PostgreSQL another transaction may have changed it
 * in between, and then this one is run again.
 */
apr_status_t gh_certificate_set_status(gh_transaction_t *transaction, const char *issuer,
                                       gh_bytes_t serial, gh_status_t status, int reason,
                                       apr_time_t invalid_from, apr_time_t now, int *changed)
{
    gh_query_t *query;
    apr_int64_t change;
    state_t state;
    apr_status_t rv;

    *changed = 0;
    if ((rv = gh_take_status_turn(transaction)) != APR_SUCCESS
        || (rv = read_state(transaction, issuer, serial, &state)) != APR_SUCCESS) {
        return rv;
    }
    if (already_so(&state, status, reason)) {
        return APR_SUCCESS;
    }
    if (!permitted(&state, status, reason) || state.not_after < now) {
        return GH_EREFUSED;
    }
    if ((rv = gh_next_change(transaction, &change)) != APR_SUCCESS) {
        return rv;
    }

    /* X.509 7.3: the revocation date of a certificate that was held is that of the hold */
    query = gh_query(transaction,
                     "UPDATE certificate_status SET status = $1, reason = $2, revoked_at = $3,"
                     " invalid_from = $4, change_seq = $5, touched = 1 WHERE serial = $6"
                     " AND issuer = (SELECT id FROM issuer WHERE name = $7)"
                     " AND status = $8 AND reason = $9");
    gh_bind_int64(query, status);
    gh_bind_int64(query, status == GH_STATUS_GOOD ? GH_REASON_NONE : reason);
    gh_bind_int64(query, status == GH_STATUS_GOOD ? 0
                         : state.status == GH_STATUS_GOOD ? now : state.revoked_at);
    gh_bind_int64(query, status == GH_STATUS_GOOD ? 0 : invalid_from);
    gh_bind_int64(query, change);
    gh_bind_bytes(query, serial);
    gh_bind_text(query, issuer);
    gh_bind_int64(query, state.status);
    gh_bind_int64(query, state.reason);
    if ((rv = gh_execute(query)) != APR_SUCCESS) {
        return rv;
    }
    if (gh_rows_changed(transaction) != 1) {
        return gh_transaction_again(transaction);
    }
    *changed = 1;
    return APR_SUCCESS;
}

apr_status_t gh_certificate_status(gh_transaction_t *transaction, const char *issuer,
                                   gh_bytes_t serial, gh_status_t *status)
{
    state_t state;
    apr_status_t rv = read_state(transaction, issuer, serial, &state);

    if (rv == APR_SUCCESS) {
        *status = state.status;
    }
    return rv;
}

static void read_entry(gh_query_t *query, const char *issuer, gh_certificate_record_t *record,
                       apr_pool_t *p)
{
    memset(record, 0, sizeof(*record));
    record->issuer = issuer;
    record->serial = gh_column_bytes(query, 0, p);
    record->status = (gh_status_t)gh_column_int64(query, 1);
    record->reason = (int)gh_column_int64(query, 2);
    record->revoked_at = gh_column_int64(query, 3);
    record->invalid_from = gh_column_int64(query, 4);
    record->not_after = gh_column_int64(query, 5);
}

apr_status_t gh_certificate_each_revoked(gh_transaction_t *transaction, const char *issuer,
                                         apr_time_t not_after_min, gh_revoked_fn *each,
                                         void *baton)
{
    gh_certificate_record_t record;
    gh_query_t *query;
    apr_pool_t *p;
    apr_status_t rv;
    int rows = 0;

    query = gh_query(transaction,
                     "SELECT serial, status, reason, revoked_at, invalid_from, not_after"
                     " FROM certificate_status WHERE issuer = (SELECT id FROM issuer"
                     " WHERE name = $1) AND status <> 0 AND not_after > $2 ORDER BY serial");
    gh_bind_text(query, issuer);
    gh_bind_int64(query, not_after_min);
    gh_query_walk(query);

    apr_pool_create(&p, NULL);
    while ((rv = gh_step(query)) == APR_SUCCESS) {
        if (++rows % ROWS_PER_POOL == 0) {
            apr_pool_clear(p);
        }
        read_entry(query, issuer, &record, p);
        if ((rv = each(&record, baton)) != APR_SUCCESS) {
            gh_query_end(query);
            goto cleanup;
        }
    }
    if (rv == APR_EOF) {
        rv = APR_SUCCESS;
    }

cleanup:
    apr_pool_destroy(p);
    return rv;
}

apr_status_t gh_certificate_last_change(gh_transaction_t *transaction, const char *issuer,
                                        apr_int64_t *change)
{
    gh_query_t *query;
    apr_status_t rv;

    query = gh_query(transaction,
                     "SELECT max(change_seq) FROM certificate_status WHERE issuer ="
                     " (SELECT id FROM issuer WHERE name = $1) AND touched = 1");
    gh_bind_text(query, issuer);
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        *change = gh_column_int64(query, 0);
        gh_query_end(query);
    }
    return rv;
}
