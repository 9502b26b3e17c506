/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Credentials that were made here are made anew before they expire. */

#include <string.h>

#include <apr_strings.h>

#include "escrow/provide_private.h"
#include "log.h"
#include "status.h"

/** So many are looked at, and added, in one transaction: more follow in the next round. */
#define LOOKED_AT 200
#define ADDED 50

/** As long as one process has it, others do not look. */
#define LEASE apr_time_from_sec(20)

#define DAY apr_time_from_sec(86400)

typedef struct {
    gh_provide_permits_fn *permits;
    void *baton;
    const char *node;
    const char *holder;
    apr_time_t now;
    const gh_provide_place_t *place;
    gh_provide_place_t next;
    int added;
    apr_hash_t *users;              /* for whom one was added */
    gh_result_t *result;
    apr_pool_t *pool;
} renew_t;

static apr_status_t note(gh_transaction_t *transaction, const renew_t *renew,
                         const gh_escrow_event_record_t *record)
{
    gh_audit_event_t event = {0};

    event.time = renew->now;
    event.id = gh_random_id(renew->pool);
    event.node = renew->node;
    event.event = "provide";
    event.protocol = "internal";
    event.transaction = record->id;
    event.rule = RULE;
    event.result = "pending";
    event.message = apr_psprintf(renew->pool, "device %s, user %s, %s: a credential is renewed",
                                 record->device, record->user, record->email);
    return gh_audit_insert(transaction, &event, gh_audit_line(&event, renew->pool), 0);
}

/* A renewal that fails is tried again the next day. */
static apr_status_t add(gh_transaction_t *transaction, renew_t *renew, const gh_escrow_due_t *due)
{
    gh_escrow_event_record_t *before;
    gh_escrow_event_record_t *same;
    gh_escrow_event_record_t record;
    gh_provide_rule_t rule;
    apr_status_t rv = gh_escrow_event_latest(transaction, due->device, due->user, &before,
                                             renew->pool);

    if (rv == APR_SUCCESS) {
        rv = gh_provide_rule_read(&rule, before->rule, renew->pool, renew->result);
    }
    if (rv != APR_SUCCESS || !renew->permits(renew->baton, &rule, before->email)) {
        return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    record = *before;
    record.id = gh_ordered_id(renew->now, renew->pool);
    record.key = apr_psprintf(renew->pool, "renewal/%s/%s/%" APR_TIME_T_FMT, due->user,
                              gh_hex(renew->pool, due->sha256.data, due->sha256.length),
                              renew->now / DAY);
    record.state = GH_ESCROW_EVENT_KEYS;
    record.reason = NULL;
    record.created = record.updated = renew->now;
    rv = record.id ? gh_escrow_event_find_key(transaction, record.key, &same, renew->pool)
                   : GH_EUNAVAILABLE;
    if (rv != APR_NOTFOUND) {
        return rv;
    }
    rv = gh_provide_insert(transaction, &record);
    if (rv == APR_SUCCESS) {
        rv = note(transaction, renew, &record);
    }
    if (rv == APR_SUCCESS) {
        apr_hash_set(renew->users, due->user, APR_HASH_KEY_STRING, due);
        ++renew->added;
    }
    return rv;
}

static apr_status_t renew_work(gh_transaction_t *transaction, void *baton)
{
    renew_t *renew = baton;
    apr_array_header_t *due = NULL;
    apr_status_t rv = gh_lease_take(transaction, "escrow-renewal", renew->holder, LEASE);
    int i;

    renew->added = 0;
    renew->users = apr_hash_make(renew->pool);
    memset(&renew->next, 0, sizeof(renew->next));
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_event_due(transaction, renew->now, renew->place->not_after,
                                 renew->place->id, LOOKED_AT, &due, renew->pool);
    }
    for (i = 0; rv == APR_SUCCESS && i < due->nelts && renew->added < ADDED; ++i) {
        const gh_escrow_due_t *one = APR_ARRAY_IDX(due, i, gh_escrow_due_t *);

        if (!apr_hash_get(renew->users, one->user, APR_HASH_KEY_STRING)) {
            rv = add(transaction, renew, one);
        }
        renew->next.not_after = one->not_after;
        apr_cpystrn(renew->next.id, one->id, sizeof(renew->next.id));
    }
    if (rv == APR_SUCCESS && (i < due->nelts || due->nelts >= LOOKED_AT)) {
        renew->next.more = 1;
    }
    else {
        memset(&renew->next, 0, sizeof(renew->next));
    }
    return rv;
}

apr_status_t gh_provide_renew(gh_store_t *store, gh_provide_permits_fn *permits, void *baton,
                              gh_provide_place_t *place, const char *holder, const char *node,
                              int *added, apr_pool_t *p, gh_result_t *result)
{
    renew_t renew = {
        .permits = permits, .baton = baton, .node = node, .now = apr_time_now(),
        .holder = holder, .place = place, .result = result, .pool = p
    };
    apr_status_t rv = gh_store_write(store, renew_work, &renew, result);

    *added = rv == APR_SUCCESS ? renew.added : 0;
    if (rv == APR_SUCCESS || rv == GH_EREFUSED) {
        *place = renew.next;
    }
    if (rv == GH_EREFUSED) {
        gh_result_clear(result);
        rv = APR_SUCCESS;
    }
    return rv;
}
