/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * What has become of calls whose answers were lost: the CA's events tell. What was read of them is
 * kept as a list of pages, each with the digests of the keys in it, so that a search reads what is
 * new and what concerns it, and one that is broken off goes on where it stood.
 */

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "fcgi/ca/ca_service.h"
#include "log.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"

/** What a page has; hosted gateways give no more. */
#define PAGE_SIZE 50

/** A list of events that has no end is none. */
#define PAGES_MAX 10000

/** Pages that are kept; with PAGE_SIZE keys of 32 bytes about 1.6 KiB each. Of more the first ones
 *  are dropped. */
#define KEPT_MAX 20000

/** A search begins so much earlier than it has to, so that the next one, of a gateway whose clock
 *  is another second off, need not read all anew. */
#define EARLY apr_time_from_sec(60)

#define DIGEST 32

/** Clocks that differ from ours, as far as that is not known. */
#define CLOCK_SKEW apr_time_from_sec(300)

/** The gateway begins anew with what is wanted, if what was read ends so long before that. */
#define FAR_BEHIND apr_time_from_sec(1800)

/** A certificate for the same key that is older than the call by that is of another one. */
#define OF_ANOTHER_DAY apr_time_from_sec(86400)

/** Those that are lost at the same time are searched for together. */
#define GATHER apr_time_from_msec(50)

/** A page that does not come is asked for again, so often in a row. */
#define TRIES 6
#define TRY_WAIT apr_time_from_msec(500)
#define TRY_WAIT_MAX apr_time_from_sec(10)

typedef struct {
    const char *cursor;             /* NULL: the first one */
    unsigned char *keys;            /* SHA-256 of each */
    int count;
    int room;                       /* for so many */
    int unread;                     /* events whose certificate cannot be read */
    apr_time_t unread_from;         /* the first and the last of these; 0: not known */
    apr_time_t unread_until;
    apr_time_t latest;              /* of its events; 0: they do not say */
    apr_time_t read;                /* when, by the gateway's clock */
} page_t;

struct ca_search {
    ca_service_t *service;
    ca_wanted_t *waiting;           /* for the next search */
    int gathering;

    apr_pool_t *kept;               /* of what was read; NULL: nothing */
    apr_array_header_t *pages;      /* page_t; the last one may go on */
    apr_time_t start;               /* of the first */
    int cut;                        /* 1: pages before start were dropped */

    ca_wanted_t *wanted;            /* by this one; NULL: there is none at work */
    apr_time_t from;
    char *marked;                   /* which pages to read again; in pool */
    int at;                         /* the page that is read */
    int read;                       /* new pages */
    int tries;
    int alive;                      /* the gateway itself has answered the last call */
    apr_pool_t *pool;               /* of the search */
    apr_pool_t *page;               /* of the page */

    /* of the page that is being read */
    cagw_outcome_t *outcome;
    cagw_events_t events;
    apr_array_header_t *keys;       /* gh_bytes_t, of the events */
    apr_status_t rv;
    gh_result_t result;
};

static void ask(void *baton);
static void gather(ca_search_t *search);

ca_search_t *ca_search_create(ca_service_t *service, apr_pool_t *p)
{
    ca_search_t *search = apr_pcalloc(p, sizeof(*search));

    search->service = service;
    return search;
}

static framework_t *framework_of(const ca_search_t *search)
{
    return search->service->issuer->worker->framework;
}

/** How much earlier the gateway dates what happens now; by its clock, if that is behind ours. */
static apr_interval_time_t earlier(const ca_search_t *search)
{
    return search->service->clock < 0 ? -search->service->clock : 0;
}

/** How much later it dates that. */
static apr_interval_time_t later(const ca_search_t *search)
{
    return search->service->clock > 0 ? search->service->clock : 0;
}

static framework_queue_t *queue_of(const ca_search_t *search)
{
    return search->service->issuer->queue;
}

/* What was read */

static page_t *page_of(const ca_search_t *search, int number)
{
    return &APR_ARRAY_IDX(search->pages, number, page_t);
}

static int last_of(const ca_search_t *search)
{
    return search->pages->nelts - 1;
}

static void forget(ca_search_t *search, apr_time_t start)
{
    if (search->kept) {
        apr_pool_destroy(search->kept);
    }
    apr_pool_create_unmanaged_ex(&search->kept, NULL, NULL);
    search->pages = apr_array_make(search->kept, 64, sizeof(page_t));
    memset(apr_array_push(search->pages), 0, sizeof(page_t));
    search->start = start;
}

static apr_time_t latest_of(const ca_search_t *search)
{
    apr_time_t latest = 0;
    int i;

    for (i = search->pages->nelts - 1; i >= 0 && !latest; --i) {
        latest = page_of(search, i)->latest;
    }
    return latest;
}

/** Whether what could not be read may be of that time. @param until 0: that is open */
static int is_unread_in(const page_t *page, apr_time_t from, apr_time_t until)
{
    return page->unread && (!page->unread_until || page->unread_until >= from)
        && (!until || page->unread_from <= until);
}

/** What is in those pages is not known any more. All are dropped if it cannot be told of what time
 *  that was. */
static void drop_old(ca_search_t *search, int count)
{
    page_t *first = page_of(search, 0), *old;
    apr_time_t latest = 0;
    int i;

    for (i = 0; i < count && first[i].latest; ++i) {
        latest = first[i].latest > latest ? first[i].latest : latest;
    }
    if (i < count) {
        forget(search, search->start);
        return;
    }
    /* to the end, where goes_on() finds their memory */
    old = apr_pmemdup(search->pool, first, (apr_size_t)count * sizeof(page_t));
    memmove(first, first + count, (apr_size_t)(search->pages->nelts - count) * sizeof(page_t));
    search->pages->nelts -= count;
    memcpy(first + search->pages->nelts, old, (apr_size_t)count * sizeof(page_t));
    search->start = latest + apr_time_from_sec(1);
    search->cut = 1;
}

/** What was so new when it was read that the feed, which lags, may have got more of that time since
 *  is read anew. */
static void forget_new(ca_search_t *search)
{
    apr_interval_time_t lag = search->service->issuer->lag + GATHER;
    int i;

    for (i = 0; i < last_of(search); ++i) {
        if (page_of(search, i)->read < page_of(search, i)->latest + lag) {
            search->pages->nelts = i + 1;
            return;
        }
    }
}

/** Pages that were read before, and have what is wanted, or something that could not be read. */
static void mark(ca_search_t *search)
{
    apr_hash_t *keys = apr_hash_make(search->pool);
    const ca_wanted_t *one;
    int i, k;

    for (one = search->wanted; one; one = one->next) {
        apr_hash_set(keys, one->key_sha256.data, DIGEST, one);
    }
    search->marked = apr_pcalloc(search->pool, (apr_size_t)search->pages->nelts);
    for (i = 0; i < last_of(search); ++i) {
        const page_t *page = page_of(search, i);

        search->marked[i] = is_unread_in(page, search->from - CLOCK_SKEW, 0);
        for (k = 0; k < page->count && !search->marked[i]; ++k) {
            search->marked[i] = apr_hash_get(keys, page->keys + k * DIGEST, DIGEST) != NULL;
        }
    }
}

/** The next one to read, from that on; the last one always is. */
static void go_on(ca_search_t *search, int from)
{
    search->at = from;
    while (search->at < last_of(search) && !search->marked[search->at]) {
        ++search->at;
    }
}

/* Beginning and end */

/** Whoever wants to know what was in pages that were dropped must not hold up all others. */
static void end_old(ca_search_t *search)
{
    ca_wanted_t *one = search->waiting, *next;

    search->waiting = NULL;
    for (; one; one = next) {
        next = one->next;
        if (search->cut && one->from - earlier(search) - CLOCK_SKEW < search->start) {
            one->verdict = CAGW_BROKEN;
            gh_result_fail(&one->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "cagw.events",
                           "Look at the CA whether there is a certificate, then gatehousectl "
                           "enrolment retry or cancel.",
                           GHNO(1514) "there are too many events since the CA of issuer %s was "
                           "called", search->service->issuer->name);
            one->done(one);
        }
        else {
            one->next = search->wanted;
            search->wanted = one;
        }
    }
}

static void begin(void *baton)
{
    ca_search_t *search = baton;
    ca_wanted_t *one;

    search->gathering = 0;
    if (search->wanted || !search->waiting) {
        return;
    }
    apr_pool_create_unmanaged_ex(&search->pool, NULL, NULL);
    if (search->kept && search->pages->nelts > KEPT_MAX) {
        drop_old(search, KEPT_MAX / 2);
    }
    end_old(search);
    if (!search->wanted) {
        apr_pool_destroy(search->pool);
        gather(search);
        return;
    }
    search->from = search->wanted->from;
    for (one = search->wanted; one; one = one->next) {
        search->from = one->from < search->from ? one->from : search->from;
    }
    search->from -= earlier(search);
    if (!search->kept || search->from - CLOCK_SKEW < search->start
        || (latest_of(search) && latest_of(search) < search->from - FAR_BEHIND)) {
        forget(search, search->from - CLOCK_SKEW - EARLY);
        search->cut = 0;
    }
    forget_new(search);
    mark(search);
    search->read = 0;
    search->tries = 0;
    go_on(search, 0);
    ask(search);
}

static void gather(ca_search_t *search)
{
    if (search->waiting && !search->wanted && !search->gathering) {
        search->gathering = 1;
        framework_at(framework_of(search), apr_time_now() + GATHER, begin, search);
    }
}

void ca_search_add(ca_search_t *search, ca_wanted_t *wanted)
{
    wanted->found = apr_array_make(wanted->pool, 1, sizeof(X509 *));
    wanted->revoked = apr_array_make(wanted->pool, 1, sizeof(X509 *));
    wanted->unread = 0;
    wanted->next = search->waiting;
    search->waiting = wanted;
    gather(search);
}

/** Whether something may be ours and could not be read. */
static int is_unread(const ca_search_t *search, const ca_wanted_t *wanted)
{
    apr_time_t from = wanted->from - earlier(search) - CLOCK_SKEW;
    apr_time_t until = wanted->until ? wanted->until + later(search) + CLOCK_SKEW : 0;
    int i;

    for (i = 0; i < search->pages->nelts; ++i) {
        if (is_unread_in(page_of(search, i), from, until)) {
            return 1;
        }
    }
    return 0;
}

static void end(ca_search_t *search, cagw_verdict_t verdict, const gh_result_t *result)
{
    ca_wanted_t *one = search->wanted, *next;

    search->wanted = NULL;
    for (; one; one = next) {
        next = one->next;
        one->verdict = verdict;
        one->result = *result;
        one->unread = verdict == CAGW_DONE && is_unread(search, one);
        one->done(one);
    }
    apr_pool_destroy(search->pool);
    gather(search);
}

/* A page */

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

/** The key is what counts. Clocks tell only what is of another day. */
static int is_of_another(const ca_search_t *search, const ca_wanted_t *wanted,
                         const cagw_event_t *event)
{
    return event->time
        && event->time < wanted->from - earlier(search) - CLOCK_SKEW - OF_ANOTHER_DAY;
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
                && !is_of_another(search, one, event)) {
                take(one, event);
            }
        }
    }
}

static void keep(ca_search_t *search)
{
    page_t *page = page_of(search, search->at);
    int count = search->keys->nelts, i;

    page->unread = search->events.skipped;
    page->unread_from = search->events.skipped_from;
    page->unread_until = search->events.skipped_until;
    page->latest = search->events.latest;
    page->read = apr_time_now() + search->service->clock;
    if (count > page->room) {
        /* the last page is read often, until it is full */
        page->room = count > PAGE_SIZE ? count : PAGE_SIZE;
        page->keys = apr_palloc(search->kept, (apr_size_t)page->room * DIGEST);
    }
    for (i = 0; i < count; ++i) {
        memcpy(page->keys + i * DIGEST, APR_ARRAY_IDX(search->keys, i, gh_bytes_t).data, DIGEST);
    }
    page->count = count;
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

/** While nothing is tried at the gateway a search does not go on trying, either. */
static int is_last_try(const ca_search_t *search)
{
    return search->tries + 1 >= TRIES || framework_stopping(framework_of(search))
        || framework_queue_paused(queue_of(search));
}

/** A page that has not come; what was read before is not lost. */
static void again(ca_search_t *search, cagw_verdict_t verdict, apr_time_t retry_after)
{
    apr_interval_time_t wait = TRY_WAIT << search->tries;
    apr_time_t now = apr_time_now(), when;

    apr_pool_destroy(search->page);
    if (is_last_try(search)) {
        if (search->alive && page_of(search, search->at)->cursor) {
            /* a position of which the gateway makes no page any more: all is read anew */
            forget(search, search->start);
        }
        end(search, verdict, &search->result);
        return;
    }
    ++search->tries;
    when = now + (wait < TRY_WAIT_MAX ? wait : TRY_WAIT_MAX);
    if (retry_after > when) {
        when = retry_after < now + TRY_WAIT_MAX ? retry_after : now + TRY_WAIT_MAX;
    }
    framework_at(framework_of(search), when, ask, search);
}

/** @return 1 if there is another page behind the last one that may concern this search */
static int goes_on(ca_search_t *search)
{
    const cagw_events_t *events = &search->events;
    unsigned char *keys;
    page_t *page;
    int room;

    /* to the end, whatever the dates are: they are of a clock that may be wrong */
    if (!events->more) {
        return 0;
    }
    if (++search->read > PAGES_MAX
        || (page_of(search, search->at)->cursor
            && !strcmp(page_of(search, search->at)->cursor, events->cursor))) {
        search->rv = gh_result_fail(&search->result, APR_EINVAL, GH_FAILURE_UNAVAILABLE,
                                    "cagw.events", "Look into the gateway's log.",
                                    GHNO(0832) "the events of the CA of issuer %s have no end",
                                    search->service->issuer->name);
        return 0;
    }
    page = apr_array_push(search->pages);
    keys = page->keys;              /* of one that was forgotten, if there is its place */
    room = page->room;
    memset(page, 0, sizeof(*page));
    page->keys = keys;
    page->room = room;
    page->cursor = apr_pstrdup(search->kept, events->cursor);
    return 1;
}

static void page_read(void *baton)
{
    ca_search_t *search = baton;
    int more;

    if (search->rv != APR_SUCCESS) {
        again(search, CAGW_BROKEN, 0);
        return;
    }
    search->tries = 0;
    match(search);
    keep(search);
    more = search->at < last_of(search) || goes_on(search);
    apr_pool_destroy(search->page);
    if (search->rv == APR_SUCCESS && more && framework_queue_paused(queue_of(search))) {
        search->rv = gh_result_fail(&search->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                                    "cagw.events", NULL,
                                    GHNO(1513) "the events of the CA of issuer %s are read to the "
                                    "end when the gateway is called again",
                                    search->service->issuer->name);
    }
    if (search->rv == APR_SUCCESS && more) {
        go_on(search, search->at + 1);
        ask(search);
    }
    else {
        end(search, search->rv == APR_SUCCESS ? CAGW_DONE : CAGW_BROKEN, &search->result);
    }
}

static void answered(void *baton, cagw_outcome_t *outcome)
{
    ca_search_t *search = baton;

    /* once, however many search for something by it, and however often it was tried */
    if (outcome->alive || outcome->stopped || outcome->verdict == CAGW_BUSY
        || is_last_try(search)) {
        framework_queue_note(queue_of(search), outcome->alive || outcome->stopped,
                             outcome->verdict == CAGW_BUSY ? outcome->retry_after : 0);
    }
    search->alive = outcome->alive;
    if (outcome->alive) {           /* by its clock */
        ca_service_note(search->service, outcome);
    }
    search->outcome = outcome;
    if (outcome->verdict == CAGW_DONE) {
        framework_blocking(framework_of(search), read_page, page_read, search);
        return;
    }
    search->result = outcome->result;
    if (outcome->verdict == CAGW_UNSUPPORTED || outcome->verdict == CAGW_MISSING
        || outcome->verdict == CAGW_REFUSED) {
        if (page_of(search, search->at)->cursor) {
            /* a position that it does not take any more: all is read anew */
            forget(search, search->start);
            outcome->verdict = CAGW_BROKEN;
        }
        end(search, outcome->verdict, &search->result);
    }
    else {
        again(search, outcome->verdict, outcome->retry_after);
    }
}

static void ask_now(void *baton)
{
    ca_search_t *search = baton;
    const char *cursor = page_of(search, search->at)->cursor;

    apr_pool_create(&search->page, search->pool);
    gh_result_clear(&search->result);
    cagw_call_events(&search->service->gateway, cursor ? 0 : search->start, cursor, PAGE_SIZE, 0,
                     answered, search, search->page);
}

static void ask(void *baton)
{
    ca_search_t *search = baton;

    framework_queue_turn(queue_of(search), ask_now, search);
}
