/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What has become of calls whose answers were lost: the CA's events tell. */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_service.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"

/** What a page has; hosted gateways give no more. */
#define PAGE_SIZE 50

/** A list of events that has no end is none. */
#define PAGES_MAX 10000

/** Clocks that differ from ours. */
#define CLOCK_SKEW apr_time_from_sec(300)

/** Those that are lost at the same time are searched for together. */
#define GATHER apr_time_from_msec(50)

struct ca_search {
    ca_service_t *service;
    ca_wanted_t *waiting;           /* for the next search */
    int gathering;

    ca_wanted_t *wanted;            /* by this one; NULL: there is none at work */
    apr_time_t from;
    apr_time_t until;
    int pages;
    const char *cursor;             /* in pool */
    apr_pool_t *pool;               /* of the search */
    apr_pool_t *page;               /* of the page */

    /* of the page that is being read */
    cagw_outcome_t *outcome;
    cagw_events_t events;
    apr_array_header_t *keys;       /* gh_bytes_t, of the events */
    apr_status_t rv;
    gh_result_t result;
};

static void ask(ca_search_t *search);

ca_search_t *ca_search_create(ca_service_t *service, apr_pool_t *p)
{
    ca_search_t *search = apr_pcalloc(p, sizeof(*search));

    search->service = service;
    return search;
}

static void begin(void *baton)
{
    ca_search_t *search = baton;
    ca_wanted_t *one;

    search->gathering = 0;
    if (search->wanted || !search->waiting) {
        return;
    }
    search->wanted = search->waiting;
    search->waiting = NULL;
    search->from = search->wanted->from;
    search->until = search->wanted->until;
    for (one = search->wanted; one; one = one->next) {
        search->from = one->from < search->from ? one->from : search->from;
        search->until = one->until > search->until ? one->until : search->until;
    }
    search->pages = 0;
    search->cursor = NULL;
    apr_pool_create_unmanaged_ex(&search->pool, NULL, NULL);
    ask(search);
}

static void gather(ca_search_t *search)
{
    if (search->waiting && !search->wanted && !search->gathering) {
        search->gathering = 1;
        framework_at(search->service->issuer->worker->framework, apr_time_now() + GATHER, begin,
                     search);
    }
}

void ca_search_add(ca_search_t *search, ca_wanted_t *wanted)
{
    wanted->found = apr_array_make(wanted->pool, 1, sizeof(X509 *));
    wanted->revoked = apr_array_make(wanted->pool, 1, sizeof(X509 *));
    wanted->next = search->waiting;
    search->waiting = wanted;
    gather(search);
}

static void end(ca_search_t *search, cagw_verdict_t verdict, const gh_result_t *result)
{
    ca_wanted_t *one = search->wanted, *next;

    search->wanted = NULL;
    for (; one; one = next) {
        next = one->next;
        one->verdict = verdict;
        one->result = *result;
        one->done(one);
    }
    apr_pool_destroy(search->pool);
    gather(search);
}

static void drop(apr_array_header_t *certificates, X509 *certificate)
{
    int i;

    for (i = 0; i < certificates->nelts; ++i) {
        X509 **place = &APR_ARRAY_IDX(certificates, i, X509 *);

        if (X509_cmp(*place, certificate) == 0) {
            *place = APR_ARRAY_IDX(certificates, certificates->nelts - 1, X509 *);
            apr_array_pop(certificates);
            return;
        }
    }
}

/** What was revoked is not found any more; the last event counts. */
static void take(ca_wanted_t *wanted, const cagw_event_t *event)
{
    drop(wanted->found, event->certificate);
    drop(wanted->revoked, event->certificate);
    if (X509_up_ref(event->certificate) == 1) {
        APR_ARRAY_PUSH(event->revoked ? wanted->revoked : wanted->found, X509 *)
            = gh_own_certificate(wanted->pool, event->certificate);
    }
}

static void match(ca_search_t *search)
{
    ca_wanted_t *one;
    int i;

    for (i = 0; i < search->events.events->nelts; ++i) {
        const cagw_event_t *event = APR_ARRAY_IDX(search->events.events, i, cagw_event_t *);
        const gh_bytes_t *key = &APR_ARRAY_IDX(search->keys, i, gh_bytes_t);

        for (one = search->wanted; one; one = one->next) {
            if (key->length == one->key_sha256.length
                && !memcmp(key->data, one->key_sha256.data, key->length)
                && (!event->time || event->time >= one->from - CLOCK_SKEW)) {
                take(one, event);
            }
        }
    }
}

static void read_page(void *baton)
{
    ca_search_t *search = baton;
    int i;

    search->rv = cagw_read_events(&search->events, &search->outcome->reply, search->page,
                                  &search->result);
    if (search->rv != APR_SUCCESS) {
        return;
    }
    search->keys = apr_array_make(search->page, 50, sizeof(gh_bytes_t));
    for (i = 0; i < search->events.events->nelts; ++i) {
        X509 *certificate = APR_ARRAY_IDX(search->events.events, i, cagw_event_t *)->certificate;

        APR_ARRAY_PUSH(search->keys, gh_bytes_t) = gh_key_sha256(X509_get0_pubkey(certificate),
                                                                 search->page);
    }
}

static void page_read(void *baton)
{
    ca_search_t *search = baton;
    const cagw_events_t *events = &search->events;
    int more = 0;

    if (search->rv == APR_SUCCESS) {
        match(search);
        more = events->more && (!events->latest || events->latest <= search->until + CLOCK_SKEW);
        if (more && (++search->pages > PAGES_MAX
                     || (search->cursor && !strcmp(search->cursor, events->cursor)))) {
            search->rv = gh_result_fail(&search->result, APR_EINVAL, GH_FAILURE_UNAVAILABLE,
                                        "cagw.events", "Look into the gateway's log.",
                                        GHNO(0832) "the events of the CA of issuer %s have no end",
                                        search->service->issuer->name);
        }
    }
    if (more) {
        search->cursor = apr_pstrdup(search->pool, events->cursor);
    }
    apr_pool_destroy(search->page);
    if (search->rv == APR_SUCCESS && more) {
        ask(search);
    }
    else {
        end(search, search->rv == APR_SUCCESS ? CAGW_DONE : CAGW_BROKEN, &search->result);
    }
}

static void answered(void *baton, cagw_outcome_t *outcome)
{
    ca_search_t *search = baton;

    /* once, however many search for something by it */
    framework_queue_note(search->service->issuer->queue, outcome->alive || outcome->stopped,
                         outcome->verdict == CAGW_BUSY ? outcome->retry_after : 0);
    search->outcome = outcome;
    if (outcome->verdict == CAGW_DONE) {
        framework_blocking(search->service->issuer->worker->framework, read_page, page_read,
                           search);
    }
    else {
        search->result = outcome->result;
        end(search, outcome->verdict, &search->result);
    }
}

static void ask(ca_search_t *search)
{
    apr_pool_create(&search->page, search->pool);
    gh_result_clear(&search->result);
    cagw_call_events(&search->service->gateway,
                     search->cursor ? 0 : search->from - CLOCK_SKEW, search->cursor, PAGE_SIZE, 0,
                     answered, search, search->page);
}
