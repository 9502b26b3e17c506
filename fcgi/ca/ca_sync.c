/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * All events of a CA from the beginning, for an operator who has asked for it: what the store lacks
 * is taken up. The feed, which may be read meanwhile, stands where it stands. A worker that ends
 * amid it leaves the job to the next one, which begins anew; nothing is taken up twice.
 */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_service.h"
#include "issuer/events_gap.h"
#include "issuer/gateway_sync.h"
#include "log.h"
#include "status.h"

#define PAGE_SIZE 50
#define CALL_TIMEOUT apr_time_from_sec(20)

/** A page that does not come is asked for again, so often in a row. */
#define TRIES 5
#define TRY_WAIT apr_time_from_sec(2)
#define TRY_WAIT_MAX apr_time_from_sec(30)

/** Skipped events that are told of one by one. */
#define SKIPPED_TOLD 20

typedef struct {
    ca_service_t *service;
    framework_job_t *job;
    gh_events_feed_t feed;
    gh_audit_event_t audit;
    gh_gateway_sync_t state;
    apr_time_t since;
    const char *cursor;             /* in one of the two pools */
    int tries;
    apr_status_t rv;

    /* of a page; the one before has the cursor */
    apr_pool_t *pools[2];
    int turn;
    gh_bytes_t page;
    gh_events_outcome_t outcome;
} sync_t;

static void ask(void *baton);

static framework_t *framework_of(const sync_t *sync)
{
    return sync->service->issuer->worker->framework;
}

static apr_pool_t *page_pool(const sync_t *sync)
{
    return sync->pools[sync->turn];
}

/* The store */

/** What was in them is known now. */
static apr_status_t close_gaps(gh_transaction_t *transaction, const sync_t *sync)
{
    gh_events_gaps_t gaps;
    apr_status_t rv = gh_events_gaps(transaction, sync->state.issuer, &gaps, page_pool(sync));
    int closed;

    return rv == APR_SUCCESS && gaps.open && sync->since <= gaps.from
        ? gh_events_gaps_close(transaction, sync->state.issuer, sync->state.begun, &closed,
                               page_pool(sync)) : rv;
}

static apr_status_t note_work(gh_transaction_t *transaction, void *baton)
{
    const sync_t *sync = baton;
    const char *id = framework_job_record(sync->job)->id;
    apr_status_t rv = APR_SUCCESS;

    if (sync->state.over) {
        rv = gh_job_remove(transaction, id, framework_job_holder(sync->job));
    }
    if (rv == APR_SUCCESS && sync->state.over && !sync->state.failure.number[0]) {
        rv = close_gaps(transaction, sync);
    }
    return rv == APR_SUCCESS
        ? gh_gateway_sync_put(transaction, &sync->state, page_pool(sync)) : rv;
}

static apr_status_t note(const sync_t *sync)
{
    return gh_store_write(framework_store(framework_of(sync)), note_work, (void *)sync, NULL);
}

static void finish_work(void *baton)
{
    sync_t *sync = baton;
    int changed = 0;

    if (!sync->state.failure.number[0]
        && gh_events_settle(framework_store(framework_of(sync)), &sync->feed, &changed,
                            page_pool(sync), &sync->state.failure) == APR_SUCCESS) {
        sync->state.changed += changed;
    }
    sync->state.over = 1;
    sync->rv = note(sync);
}

static void finished(void *baton)
{
    sync_t *sync = baton;
    const gh_gateway_sync_t *state = &sync->state;
    const gh_log_t *log = sync->service->gateway.log;

    if (state->failure.number[0]) {
        gh_log(log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1079) "the certificates of the CA of issuer "
               "%s were not taken up to the end: %s: %s; after %d events %d certificates are new, "
               "%d have changed", state->issuer, state->failure.number, state->failure.message,
               state->events, state->added, state->changed);
    }
    else {
        gh_log(log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(1080) "all of %d events of the CA of issuer "
               "%s were looked at: %d certificates are new, %d have changed; %d events were "
               "skipped", state->events, state->issuer, state->added, state->changed,
               state->skipped);
    }
    framework_job_over(sync->job);
}

static void finish(sync_t *sync)
{
    framework_blocking(framework_of(sync), finish_work, finished, sync);
}

/* Pages */

static void take_page(void *baton)
{
    sync_t *sync = baton;

    sync->rv = gh_events_take(framework_store(framework_of(sync)), &sync->feed,
                              (const char *)sync->page.data, sync->page.length, &sync->outcome,
                              page_pool(sync), &sync->state.failure);
    if (sync->rv == APR_SUCCESS) {
        gh_gateway_sync_t *state = &sync->state;

        ++state->pages;
        state->events += sync->outcome.events;
        state->added += sync->outcome.added;
        state->changed += sync->outcome.changed;
        state->unchanged += sync->outcome.unchanged;
        state->skipped += sync->outcome.skipped->nelts;
        note(sync);
    }
}

static void let_go(void *baton)
{
    const sync_t *sync = baton;

    framework_job_over(sync->job);
}

static apr_status_t release_work(gh_transaction_t *transaction, void *baton)
{
    const sync_t *sync = baton;

    return gh_job_again(transaction, framework_job_record(sync->job)->id,
                        framework_job_holder(sync->job), framework_job_time(sync->job), 0,
                        NULL, NULL);
}

static void release(void *baton)
{
    gh_store_write(framework_store(framework_of(baton)), release_work, baton, NULL);
}

static void tell_skipped(const sync_t *sync)
{
    const apr_array_header_t *skipped = sync->outcome.skipped;
    int before = sync->state.skipped - skipped->nelts;
    int i;

    for (i = 0; i < skipped->nelts && before + i < SKIPPED_TOLD; ++i) {
        const gh_events_skipped_t *one = APR_ARRAY_IDX(skipped, i, const gh_events_skipped_t *);

        gh_log(sync->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1081) "event %d of "
               "the CA of issuer %s is skipped: %s: %s; %s",
               sync->state.events - sync->outcome.events + one->position, sync->state.issuer,
               one->number, one->message, one->action);
    }
}

static void page_taken(void *baton)
{
    sync_t *sync = baton;
    const gh_events_outcome_t *outcome = &sync->outcome;

    if (sync->rv != APR_SUCCESS) {
        finish(sync);
        return;
    }
    tell_skipped(sync);
    /* a page that leads to itself is the last */
    if (!outcome->more || !outcome->cursor
        || (sync->cursor && !strcmp(outcome->cursor, sync->cursor))) {
        finish(sync);
        return;
    }
    if (framework_stopping(framework_of(sync))) {
        framework_blocking(framework_of(sync), release, let_go, sync);
        return;
    }
    sync->cursor = outcome->cursor;
    sync->turn = !sync->turn;
    apr_pool_clear(page_pool(sync));
    framework_at(framework_of(sync), apr_time_now(), ask, sync);
}

/** A page that has not come. */
static void again(sync_t *sync, const cagw_outcome_t *outcome)
{
    apr_time_t now = apr_time_now(), when = now + TRY_WAIT;
    int later = outcome->verdict == CAGW_BUSY || outcome->verdict == CAGW_BROKEN
        || outcome->verdict == CAGW_UNTOLD || outcome->verdict == CAGW_NOT_SENT;

    if (!later || ++sync->tries >= TRIES) {
        sync->state.failure = outcome->result;
        finish(sync);
        return;
    }
    if (outcome->retry_after > when) {
        when = outcome->retry_after < now + TRY_WAIT_MAX ? outcome->retry_after
                                                         : now + TRY_WAIT_MAX;
    }
    framework_at(framework_of(sync), when, ask, sync);
}

static void answered(void *baton, cagw_outcome_t *outcome)
{
    sync_t *sync = baton;

    ca_service_note(sync->service, outcome);
    if (outcome->stopped) {
        framework_blocking(framework_of(sync), release, let_go, sync);
    }
    else if (outcome->verdict == CAGW_DONE) {
        sync->tries = 0;
        sync->page.data = apr_pmemdup(page_pool(sync), outcome->body.data, outcome->body.length);
        sync->page.length = outcome->body.length;
        framework_blocking(framework_of(sync), take_page, page_taken, sync);
    }
    else {
        again(sync, outcome);
    }
}

static void ask(void *baton)
{
    sync_t *sync = baton;

    cagw_call_events(&sync->service->gateway, sync->cursor ? 0 : sync->since, sync->cursor,
                     PAGE_SIZE, CALL_TIMEOUT, answered, sync, page_pool(sync));
}

static void fill(sync_t *sync)
{
    const ca_issuer_t *issuer = sync->service->issuer;
    const gh_job_record_t *record = framework_job_record(sync->job);
    apr_pool_t *p = framework_job_pool(sync->job);

    sync->since = apr_time_from_sec(apr_strtoi64(apr_pstrmemdup(p, (const char *)
                                                                record->payload.data,
                                                                record->payload.length),
                                                 NULL, 10));
    sync->audit.node = framework_node(framework_of(sync));
    sync->audit.protocol = "internal";
    sync->audit.user = CA_WORKER;
    sync->feed.issuer = issuer->name;
    sync->feed.ca = gh_issuer_certificate(issuer->issuer);
    sync->feed.serials_only = issuer->events.serials_only;
    sync->feed.audit = &sync->audit;
    sync->feed.later = gh_events_later_create(p);
    sync->state.issuer = issuer->name;
    sync->state.job = record->id;
    sync->state.begun = framework_job_time(sync->job);
    gh_result_clear(&sync->state.failure);
}

void ca_sync(void *baton, framework_job_t *job)
{
    apr_pool_t *p = framework_job_pool(job);
    sync_t *sync = apr_pcalloc(p, sizeof(*sync));

    sync->service = baton;
    sync->job = job;
    apr_pool_create(&sync->pools[0], p);
    apr_pool_create(&sync->pools[1], p);
    fill(sync);
    ask(sync);
}
