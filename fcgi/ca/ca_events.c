/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The events of a CA elsewhere, for all that looks at the store: what it has issued and revoked
 * without us is known here. One process of all nodes reads the feed of an issuer, as long as it
 * holds the lease; where it stands is in the store, so that another goes on there.
 */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_passing.h"
#include "fcgi/ca/ca_service.h"
#include "issuer/events_gap.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "x509/ca.h"

#define RULE "events"

#define CALL_TIMEOUT apr_time_from_sec(5)
#define LEASE apr_time_from_sec(8)

/** Extended so often, also when there is nothing to read; and looked at by others. */
#define LEASE_WAIT apr_time_from_sec(2)

/** After an error, and after one that only an operator can mend. */
#define ERROR_WAIT apr_time_from_sec(5)
#define LONG_WAIT apr_time_from_sec(600)

/** After a page that cannot be read where others can, and where none can. */
#define PROBE_WAIT apr_time_from_sec(1)
#define NOTHING_WAIT apr_time_from_sec(60)

/** Bad events that are told of one by one, of a page. */
#define SKIPPED_TOLD 5

typedef struct {
    ca_service_t *service;
    gh_events_feed_t feed;
    gh_audit_event_t audit;
    const char *lease;              /* its name */
    char problem[GH_NUMBER_LENGTH + 2];
    ca_passing_t passing;
    ca_passing_t before;            /* the page that is taken up */
    gh_events_gap_t gap;
    gh_result_t unreadable;         /* why it is passed over */

    /* of a page */
    apr_pool_t *pool;
    apr_time_t due;                 /* of the next one */
    int held;
    int had;                        /* the time before, too */
    gh_events_position_t position;
    apr_time_t start;               /* of the page; 0: the position says */
    gh_bytes_t page;
    gh_events_outcome_t outcome;
    apr_status_t rv;
    gh_result_t result;
} feed_t;

static void next(void *baton);

static framework_t *framework_of(const feed_t *feed)
{
    return feed->service->issuer->worker->framework;
}

static void later(feed_t *feed, apr_interval_time_t wait)
{
    apr_time_t now = apr_time_now();

    if (feed->pool) {
        apr_pool_destroy(feed->pool);
        feed->pool = NULL;
        feed->due = now + wait;
    }
    framework_at(framework_of(feed), feed->due < now + LEASE_WAIT ? feed->due : now + LEASE_WAIT,
                 next, feed);
}

/** Told once, until it is another or over. */
static void tell(feed_t *feed, const gh_result_t *result)
{
    if (strcmp(feed->problem, result->number)) {
        apr_cpystrn(feed->problem, result->number, sizeof(feed->problem));
        gh_log(feed->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0849) "the events of "
               "the CA of issuer %s cannot be taken up: %s: %s%s%s", feed->feed.issuer,
               result->number, result->message, *result->action ? "; " : "", result->action);
    }
}

static void fail(feed_t *feed, const gh_result_t *result, apr_interval_time_t wait)
{
    tell(feed, result);
    later(feed, wait);
}

/** What is there cannot be read. */
static void unreadable(feed_t *feed, const gh_result_t *result)
{
    apr_time_t start = feed->service->issuer->events.start;
    apr_time_t last = feed->position.last > feed->position.from ? feed->position.last
        : feed->position.from;

    if (!feed->passing.probing) {
        feed->unreadable = *result;
    }
    tell(feed, result);
    switch (ca_passing_failed(&feed->passing, last, start
                              ? start : gh_certificate_not_before(feed->feed.ca))) {
    case CA_PASSING_ON:
        later(feed, PROBE_WAIT);
        break;
    case CA_PASSING_LATER:
        later(feed, ERROR_WAIT);
        break;
    default:
        later(feed, NOTHING_WAIT);
    }
}

/* The lease */

static apr_status_t lease_work(gh_transaction_t *transaction, void *baton)
{
    feed_t *feed = baton;
    apr_status_t rv = gh_lease_take(transaction, feed->lease, framework_process(framework_of(feed)),
                                    LEASE);

    feed->held = rv == APR_SUCCESS;
    return rv == GH_EREFUSED ? APR_SUCCESS : rv;
}

static void take_lease(void *baton)
{
    feed_t *feed = baton;
    gh_store_t *store = framework_store(framework_of(feed));

    feed->rv = gh_store_write(store, lease_work, feed, &feed->result);
    if (feed->rv == APR_SUCCESS && feed->held) {
        feed->rv = gh_events_position(store, feed->feed.issuer, &feed->position, feed->pool,
                                      &feed->result);
    }
}

static apr_status_t release_work(gh_transaction_t *transaction, void *baton)
{
    const feed_t *feed = baton;

    return gh_lease_release(transaction, feed->lease, framework_process(framework_of(feed)));
}

static void give_back(void *baton)
{
    const feed_t *feed = baton;

    gh_store_write(framework_store(framework_of(feed)), release_work, (void *)feed, NULL);
}

static void given_back(void *baton)
{
    feed_t *feed = baton;

    apr_pool_destroy(feed->pool);
}

/* A page */

static void take_page(void *baton)
{
    feed_t *feed = baton;

    feed->rv = gh_events_take(framework_store(framework_of(feed)), &feed->feed,
                              (const char *)feed->page.data, feed->page.length, &feed->outcome,
                              feed->pool, &feed->result);
}

static void tell_skipped(const feed_t *feed)
{
    const apr_array_header_t *skipped = feed->outcome.skipped;
    int i;

    for (i = 0; i < skipped->nelts && i < SKIPPED_TOLD; ++i) {
        const gh_events_skipped_t *one = APR_ARRAY_IDX(skipped, i, const gh_events_skipped_t *);

        gh_log(feed->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0850) "event %d of %d "
               "of a page of the CA of issuer %s is skipped, one of %d: %s: %s; %s", one->position,
               feed->outcome.events, feed->feed.issuer, skipped->nelts, one->number, one->message,
               one->action);
    }
}

static void tell_gap(const feed_t *feed)
{
    const gh_events_gap_t *gap = &feed->gap;

    gh_log(feed->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1317) "what the CA of "
           "issuer %s tells of the time from %s to %s cannot be read and is passed over: %s: %s; "
           "the gateway is asked for each certificate now that is known of this CA and not "
           "revoked; have its operator mend the events, then run gatehousectl issuer sync for "
           "those that are not known", feed->feed.issuer, gh_time_text(feed->pool, gap->from),
           gh_time_text(feed->pool, gap->to), feed->unreadable.number, feed->unreadable.message);
}

static void page_taken(void *baton)
{
    feed_t *feed = baton;
    const gh_events_outcome_t *outcome = &feed->outcome;

    if (feed->rv == APR_EINVAL || feed->rv == APR_ENOSPC) {
        feed->passing = feed->before;
        unreadable(feed, &feed->result);
        return;
    }
    if (feed->rv != APR_SUCCESS) {
        fail(feed, &feed->result, ERROR_WAIT);
        return;
    }
    tell_skipped(feed);
    if (feed->feed.gap) {
        tell_gap(feed);
        ca_passing_passed(&feed->passing);
    }
    if (outcome->added || outcome->changed) {
        gh_log(feed->service->gateway.log, GH_LOG_INFO, APR_SUCCESS, GHNO(0851) "events of the CA "
               "of issuer %s: %d certificates are new, %d have changed", feed->feed.issuer,
               outcome->added, outcome->changed);
    }
    if (feed->problem[0]) {
        feed->problem[0] = '\0';
        gh_log(feed->service->gateway.log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0852) "the events of "
               "the CA of issuer %s are taken up again", feed->feed.issuer);
    }
    /* a page that leads to itself is the last */
    later(feed, outcome->more && outcome->cursor
          && (!feed->position.cursor || strcmp(outcome->cursor, feed->position.cursor))
          ? 0 : feed->service->issuer->events.wait);
}

static void take(feed_t *feed, cagw_outcome_t *outcome)
{
    cagw_events_t page;

    feed->before = feed->passing;
    /* what is no page does not tell from where on events can be read */
    if (feed->passing.probing
        && cagw_read_events(&page, &outcome->reply, feed->pool, &outcome->result) != APR_SUCCESS) {
        unreadable(feed, &outcome->result);
    }
    else if (feed->passing.probing && page.latest && page.latest < feed->start) {
        /* the gateway has not begun its page where it was asked to */
        gh_result_fail(&feed->result, GH_EREFUSED, GH_FAILURE_UNAVAILABLE, "events",
                       "Have the gateway's operator mend the events; then gatehousectl issuer sync "
                       "takes up what is missing.",
                       GHNO(1318) "a page of events cannot be read, and cannot be passed: the "
                       "gateway does not begin at a time that it is given");
        ca_passing_passed(&feed->passing);
        fail(feed, &feed->result, LONG_WAIT);
    }
    else if (ca_passing_read(&feed->passing)) {
        feed->gap.from = feed->passing.bad;
        feed->gap.to = feed->start;
        feed->feed.gap = feed->passing.probing ? &feed->gap : NULL;
        feed->page.data = apr_pmemdup(feed->pool, outcome->body.data, outcome->body.length);
        feed->page.length = outcome->body.length;
        framework_blocking(framework_of(feed), take_page, page_taken, feed);
    }
    else {
        later(feed, 0);
    }
}

/**
 * Whether it may be due to what was asked for. That the gateway is out is found out when nothing
 * else can be read either; where it does not answer itself it has too much to do, for all we know.
 * A position that it does not take any more is passed like an event.
 */
static int is_unreadable(feed_t *feed, const cagw_outcome_t *outcome)
{
    if (outcome->verdict == CAGW_UNTOLD || outcome->verdict == CAGW_BROKEN) {
        return outcome->alive || ca_passing_late(&feed->passing);
    }
    return outcome->verdict == CAGW_REFUSED && feed->position.cursor && !feed->start;
}

static void answered(void *baton, cagw_outcome_t *outcome)
{
    feed_t *feed = baton;

    if (outcome->stopped) {
        framework_blocking(framework_of(feed), give_back, given_back, feed);
    }
    else if (outcome->verdict == CAGW_DONE) {
        take(feed, outcome);
    }
    else if (is_unreadable(feed, outcome)) {
        unreadable(feed, &outcome->result);
    }
    else {
        fail(feed, &outcome->result, outcome->verdict == CAGW_UNSUPPORTED
             || outcome->verdict == CAGW_MISSING || outcome->verdict == CAGW_REFUSED
             ? LONG_WAIT : ERROR_WAIT);
    }
}

static void lease_taken(void *baton)
{
    feed_t *feed = baton;
    apr_time_t now = apr_time_now();
    int had = feed->had;

    if (!had) {
        ca_passing_init(&feed->passing);
    }
    feed->had = feed->rv == APR_SUCCESS && feed->held;
    if (feed->rv != APR_SUCCESS) {
        fail(feed, &feed->result, ERROR_WAIT);
    }
    else if (!feed->held) {
        later(feed, LEASE_WAIT);
    }
    else if (feed->due > now && feed->due <= now + LONG_WAIT && had) {
        /* further ahead only where the clock was set back */
        later(feed, feed->due - now);
    }
    else {
        feed->start = ca_passing_time(&feed->passing, now);
        if (!feed->start) {
            feed->start = feed->position.from;
        }
        if (!feed->start && !feed->position.cursor) {
            feed->start = feed->service->issuer->events.start;
        }
        cagw_call_events(&feed->service->gateway, feed->start,
                         feed->start ? NULL : feed->position.cursor, feed->passing.size,
                         CALL_TIMEOUT, answered, feed, feed->pool);
    }
}

static void next(void *baton)
{
    feed_t *feed = baton;

    apr_pool_create_unmanaged_ex(&feed->pool, NULL, NULL);
    gh_result_clear(&feed->result);
    feed->held = 0;
    feed->feed.gap = NULL;
    framework_blocking(framework_of(feed), take_lease, lease_taken, feed);
}

void ca_events_start(ca_service_t *service, apr_pool_t *p)
{
    const ca_issuer_t *issuer = service->issuer;
    feed_t *feed;

    if (!issuer->events.on) {
        return;
    }
    feed = apr_pcalloc(p, sizeof(*feed));
    feed->service = service;
    feed->lease = apr_pstrcat(p, "events/", issuer->name, NULL);
    feed->audit.node = framework_node(issuer->worker->framework);
    feed->audit.protocol = "internal";
    feed->audit.user = CA_WORKER;
    feed->feed.issuer = issuer->name;
    feed->feed.ca = gh_issuer_certificate(issuer->issuer);
    feed->feed.serials_only = issuer->events.serials_only;
    feed->feed.audit = &feed->audit;
    ca_passing_init(&feed->passing);
    framework_at(issuer->worker->framework, apr_time_now(), next, feed);
}
