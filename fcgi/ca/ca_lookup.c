/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Where the events of a CA have a gap: the gateway is asked for the status of each certificate that
 * is good or held here, so that no revocation is lost with what could not be read. A worker that
 * ends amid it leaves the job to the next one, which begins anew.
 */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_service.h"
#include "issuer/events_gap.h"
#include "log.h"
#include "status.h"
#include "text.h"

/** Certificates of one transaction. */
#define BATCH 64

/** Calls at a time: it is not urgent enough to be in the way of devices. */
#define CALLS 4

/** A certificate of which the gateway says nothing now is asked for again, so often. */
#define TRIES 5
#define TRY_WAIT apr_time_from_sec(2)

/** In a row of which nothing is said: it is the gateway that is in trouble, not certificates. */
#define ROW_MAX 16

/** Certificates of which nothing is said, that are told of one by one. */
#define UNTOLD_TOLD 10

typedef struct lookup lookup_t;

typedef struct {
    lookup_t *lookup;
    gh_events_word_t word;
    apr_array_header_t *spellings;  /* of the serial number */
    int spelling;
    int tries;
    int answered;                   /* the word is to be taken up */
    int missing;
} one_t;

struct lookup {
    ca_service_t *service;
    framework_job_t *job;
    gh_events_feed_t feed;
    gh_audit_event_t audit;
    apr_time_t begun;
    const char *status;             /* which are walked through */
    gh_bytes_t after;               /* serial number; in the pool of the job */
    int asked, missing, changed;
    int untold;                     /* of these the gateway says nothing, though it answers */
    int row;                        /* of them, the last ones */
    int closed;
    int cannot;                     /* 1: an operator has to do something */
    gh_result_t why;                /* number empty: nothing is the matter */
    apr_time_t due;

    /* of a batch */
    apr_pool_t *pool;
    apr_array_header_t *ones;       /* one_t * */
    int next;
    int calls;                      /* that are not over */
    int changed_now;
    apr_status_t rv;
};

static void ask(void *baton);
static void fill(lookup_t *lookup);

static framework_t *framework_of(const lookup_t *lookup)
{
    return lookup->service->issuer->worker->framework;
}

/* The end */

static apr_status_t end_work(gh_transaction_t *transaction, void *baton)
{
    lookup_t *lookup = baton;
    const char *id = framework_job_record(lookup->job)->id;
    const char *holder = framework_job_holder(lookup->job);
    apr_status_t rv;

    if (lookup->untold && !lookup->why.number[0]) {
        /* the others are known now; the gap stays open */
        gh_result_fail(&lookup->why, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, "events.lookup", NULL,
                       GHNO(1512) "of %d of %d certificates the gateway does not say what they "
                       "are", lookup->untold, lookup->asked);
        lookup->cannot = 1;
    }
    if (lookup->cannot) {
        return gh_job_doubt(transaction, id, holder, &lookup->why);
    }
    if (lookup->why.number[0]) {
        return gh_job_again(transaction, id, holder, lookup->due, 0, NULL, &lookup->why);
    }
    rv = gh_job_remove(transaction, id, holder);
    return rv == APR_SUCCESS
        ? gh_events_gaps_close(transaction, lookup->feed.issuer, lookup->begun, &lookup->closed,
                               lookup->pool) : rv;
}

static void end(void *baton)
{
    lookup_t *lookup = baton;

    lookup->rv = gh_store_write(framework_store(framework_of(lookup)), end_work, lookup, NULL);
}

static void ended(void *baton)
{
    lookup_t *lookup = baton;
    const gh_log_t *log = lookup->service->gateway.log;

    if (lookup->cannot) {
        gh_log(log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1321) "issuer %s: the gateway cannot be "
               "asked for what its events do not tell: %s: %s; have the events mended, then run "
               "gatehousectl issuer sync", lookup->feed.issuer, lookup->why.number,
               lookup->why.message);
    }
    else if (!lookup->why.number[0] && lookup->rv == APR_SUCCESS && lookup->asked) {
        gh_log(log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(1320) "issuer %s: the gateway was asked for "
               "%d certificates, since its events have a gap: %d have another status now, %d are "
               "not known there", lookup->feed.issuer, lookup->asked, lookup->changed,
               lookup->missing);
    }
    framework_job_over(lookup->job);
}

static void finish(lookup_t *lookup)
{
    framework_blocking(framework_of(lookup), end, ended, lookup);
}

/* The store */

static apr_status_t store_work(gh_transaction_t *transaction, void *baton)
{
    lookup_t *lookup = baton;
    apr_status_t rv = APR_SUCCESS;
    int i, changed;

    lookup->changed_now = 0;
    for (i = 0; i < lookup->ones->nelts && rv == APR_SUCCESS; ++i) {
        const one_t *one = APR_ARRAY_IDX(lookup->ones, i, const one_t *);

        if (one->answered) {
            rv = gh_events_take_word(transaction, &lookup->feed, &one->word, &changed,
                                     lookup->pool);
            lookup->changed_now += changed;
        }
    }
    return rv;
}

static apr_status_t list_work(gh_transaction_t *transaction, void *baton)
{
    lookup_t *lookup = baton;
    gh_certificate_filter_t filter = {
        .issuer = lookup->feed.issuer, .status = lookup->status, .now = apr_time_now(),
        .after_serial = lookup->after,
        .after_issuer = lookup->after.length ? lookup->feed.issuer : NULL, .limit = BATCH
    };
    gh_events_gaps_t gaps;
    apr_array_header_t *records;
    apr_status_t rv = gh_events_gaps(transaction, lookup->feed.issuer, &gaps, lookup->pool);
    int i;

    lookup->ones = apr_array_make(lookup->pool, BATCH, sizeof(one_t *));
    if (rv != APR_SUCCESS || !gaps.open) {
        /* another job has looked since */
        lookup->status = "held";
        return rv;
    }
    rv = gh_certificate_list(transaction, &filter, &records, lookup->pool);
    for (i = 0; rv == APR_SUCCESS && i < records->nelts; ++i) {
        one_t *one = apr_pcalloc(lookup->pool, sizeof(*one));

        one->lookup = lookup;
        one->word.known = APR_ARRAY_IDX(records, i, gh_certificate_record_t *);
        one->spellings = cagw_serial_spellings(one->word.known->serial, lookup->pool);
        APR_ARRAY_PUSH(lookup->ones, one_t *) = one;
    }
    return rv;
}

static void list(void *baton)
{
    lookup_t *lookup = baton;

    lookup->rv = gh_store_read(framework_store(framework_of(lookup)), list_work, lookup,
                               &lookup->why);
}

static void listed(void *baton)
{
    lookup_t *lookup = baton;

    if (lookup->rv != APR_SUCCESS) {
        lookup->due = framework_job_next(lookup->job, 0);
        finish(lookup);
    }
    else if (lookup->ones->nelts > 0) {
        ask(lookup);
    }
    else if (!strcmp(lookup->status, "good")) {
        lookup->status = "held";
        lookup->after.length = 0;
        fill(lookup);
    }
    else {
        finish(lookup);
    }
}

static void fill(lookup_t *lookup)
{
    apr_pool_clear(lookup->pool);
    lookup->next = 0;
    framework_blocking(framework_of(lookup), list, listed, lookup);
}

static void store(void *baton)
{
    lookup_t *lookup = baton;

    lookup->rv = gh_store_write(framework_store(framework_of(lookup)), store_work, lookup,
                                &lookup->why);
}

static void stored(void *baton)
{
    lookup_t *lookup = baton;
    const one_t *last = APR_ARRAY_IDX(lookup->ones, lookup->ones->nelts - 1, const one_t *);
    apr_pool_t *p = framework_job_pool(lookup->job);

    if (lookup->rv != APR_SUCCESS) {
        lookup->due = framework_job_next(lookup->job, 0);
        finish(lookup);
        return;
    }
    lookup->changed += lookup->changed_now;
    lookup->after.data = apr_pmemdup(p, last->word.known->serial.data,
                                     last->word.known->serial.length);
    lookup->after.length = last->word.known->serial.length;
    fill(lookup);
}

/* Calls */

/** Nothing more is asked: what has come is not lost, since it is asked for again. */
static void stop(lookup_t *lookup, const gh_result_t *why, apr_time_t due, int cannot)
{
    if (!lookup->cannot) {
        lookup->why = *why;
        lookup->due = due;
        lookup->cannot = cannot;
    }
    lookup->next = lookup->ones->nelts;
}

static void call(void *baton);

/** One certificate of which the gateway says nothing must not hide the others. */
static void pass(one_t *one, const gh_result_t *why)
{
    lookup_t *lookup = one->lookup;
    gh_bytes_t serial = one->word.known->serial;

    if (++lookup->row >= ROW_MAX) {
        stop(lookup, why, framework_job_next(lookup->job, 0), why->status == GH_EREFUSED);
        return;
    }
    ++lookup->asked;
    if (++lookup->untold <= UNTOLD_TOLD) {
        gh_log(lookup->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1511) "issuer %s: "
               "the gateway does not say whether certificate %s is revoked: %s: %s",
               lookup->feed.issuer, gh_hex(lookup->pool, serial.data, serial.length), why->number,
               why->message);
    }
}

static void take(one_t *one, cagw_outcome_t *outcome)
{
    lookup_t *lookup = one->lookup;
    cagw_certificate_t certificate;

    if (cagw_read_certificate(&certificate, &outcome->reply, lookup->pool, &outcome->result)
        != APR_SUCCESS) {
        pass(one, &outcome->result);
        return;
    }
    lookup->row = 0;
    one->word.time = certificate.revoked_at;
    one->word.reason = certificate.reason;
    one->answered = certificate.status == CAGW_STATUS_IS_REVOKED
        || certificate.status == CAGW_STATUS_IS_HELD || certificate.status == CAGW_STATUS_IS_NORMAL;
    one->word.status = certificate.status == CAGW_STATUS_IS_REVOKED ? GH_STATUS_REVOKED
        : certificate.status == CAGW_STATUS_IS_HELD ? GH_STATUS_HELD : GH_STATUS_GOOD;
    if (one->word.status == one->word.known->status) {
        one->answered = 0;
    }
    ++lookup->asked;
}

static void again(one_t *one, const cagw_outcome_t *outcome)
{
    lookup_t *lookup = one->lookup;

    if (outcome->verdict == CAGW_MISSING && one->spelling + 1 < one->spellings->nelts) {
        ++one->spelling;
        ++lookup->calls;
        framework_at(framework_of(lookup), apr_time_now(), call, one);
    }
    else if (outcome->verdict == CAGW_MISSING) {
        ++lookup->asked;
        ++lookup->missing;
        lookup->row = 0;
    }
    else if (outcome->verdict == CAGW_UNSUPPORTED) {
        stop(lookup, &outcome->result, 0, 1);
    }
    else if (outcome->verdict == CAGW_REFUSED) {
        pass(one, &outcome->result);
    }
    else if (++one->tries >= TRIES && outcome->alive
             && (outcome->verdict == CAGW_UNTOLD || outcome->verdict == CAGW_BROKEN)) {
        pass(one, &outcome->result);
    }
    else if (outcome->stopped || one->tries >= TRIES) {
        stop(lookup, &outcome->result,
             outcome->stopped ? framework_job_time(lookup->job)
             : framework_job_next(lookup->job, outcome->retry_after), 0);
    }
    else {
        ++lookup->calls;
        framework_at(framework_of(lookup), apr_time_now() + TRY_WAIT, call, one);
    }
}

static void called(void *baton, cagw_outcome_t *outcome)
{
    one_t *one = baton;
    lookup_t *lookup = one->lookup;

    framework_queue_note(lookup->service->issuer->queue, outcome->alive || outcome->stopped,
                         outcome->verdict == CAGW_BUSY ? outcome->retry_after : 0);
    ca_service_note(lookup->service, outcome);
    if (outcome->verdict == CAGW_DONE) {
        take(one, outcome);
    }
    else {
        again(one, outcome);
    }
    --lookup->calls;
    ask(lookup);
}

/** In its turn under the rate of the queue. */
static void call_now(void *baton)
{
    one_t *one = baton;
    lookup_t *lookup = one->lookup;
    framework_queue_t *queue = lookup->service->issuer->queue;
    gh_result_t why;

    gh_result_clear(&why);
    if (framework_stopping(framework_of(lookup))) {
        gh_result_fail(&why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "events.lookup", NULL,
                       GHNO(1319) "the worker ends");
        stop(lookup, &why, framework_job_time(lookup->job), 0);
    }
    if (lookup->why.number[0]) {
        --lookup->calls;
        ask(lookup);
    }
    else if (!framework_queue_enter(queue)) {
        framework_at(framework_of(lookup), apr_time_now() + framework_queue_pause(queue),
                     call_now, one);
    }
    else {
        one->word.asked = apr_time_now();
        cagw_call_certificate(&lookup->service->gateway,
                              APR_ARRAY_IDX(one->spellings, one->spelling, const char *), called,
                              one, lookup->pool);
    }
}

static void call(void *baton)
{
    one_t *one = baton;

    framework_queue_turn(one->lookup->service->issuer->queue, call_now, one);
}

/** Calls that may be made now; when all of a batch have ended, what they have told is stored. */
static void ask(void *baton)
{
    lookup_t *lookup = baton;

    while (lookup->calls < CALLS && lookup->next < lookup->ones->nelts) {
        ++lookup->calls;
        framework_at(framework_of(lookup), apr_time_now(), call,
                     APR_ARRAY_IDX(lookup->ones, lookup->next++, one_t *));
    }
    if (lookup->calls > 0) {
        return;
    }
    if (lookup->why.number[0]) {
        finish(lookup);
    }
    else {
        framework_blocking(framework_of(lookup), store, stored, lookup);
    }
}

void ca_lookup(void *baton, framework_job_t *job)
{
    apr_pool_t *p = framework_job_pool(job);
    lookup_t *lookup = apr_pcalloc(p, sizeof(*lookup));

    lookup->service = baton;
    lookup->job = job;
    lookup->audit.node = framework_node(framework_of(lookup));
    lookup->audit.protocol = "internal";
    lookup->audit.user = CA_WORKER;
    lookup->feed.issuer = lookup->service->issuer->name;
    lookup->feed.ca = gh_issuer_certificate(lookup->service->issuer->issuer);
    lookup->feed.audit = &lookup->audit;
    lookup->begun = framework_job_time(job);
    lookup->status = "good";
    gh_result_clear(&lookup->why);
    apr_pool_create(&lookup->pool, p);
    fill(lookup);
}
