/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * What searches tell of lost answers: with gateways whose clock is another one, whose events come
 * late, cannot be read or are too many. The gateway and the loop are played here.
 */

#include "x509_support.h"

#include <stdlib.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_service.h"
#include "status.h"
#include "x509/key.h"

#define SECONDS(n) apr_time_from_sec(n)
#define PAGE 50
#define EVENTS_MAX 2000000

/** An event at the gateway, in the order of its feed. key: 0 nobody's, -1 cannot be read */
typedef struct {
    apr_time_t time;
    int key;
} event_t;

/** What the loop has to call, in its order; time does not pass. */
typedef struct {
    framework_timer_fn *fn;
    void *baton;
} due_t;

static struct {
    ca_service_t service;
    ca_issuer_t issuer;
    ca_worker_t worker;
    ca_search_t *search;
    event_t *events;
    int count;
    due_t due[256];
    int first, last;
    int paused;
    int stopping;
    int calls;
    int turns;
    int dead, alive;                /* notes */
    int bad;                        /* so many calls are answered with: */
    cagw_verdict_t verdict;
    int bad_alive;
    int epoch;                      /* positions of another one are not taken any more */
    int from, size;                 /* the page that was asked for */
    X509 *certificates[3];
    apr_pool_t *pool;
} play;

/* The loop */

static void later(framework_timer_fn *fn, void *baton)
{
    play.due[play.last++ % 256] = (due_t) { fn, baton };
    assert_true(play.last - play.first < 256);
}

static void loop(void)
{
    while (play.first < play.last) {
        due_t due = play.due[play.first++ % 256];

        due.fn(due.baton);
    }
}

void framework_at(framework_t *framework, apr_time_t when, framework_timer_fn *fn, void *baton)
{
    later(fn, baton);
}

void framework_queue_turn(framework_queue_t *queue, framework_timer_fn *fn, void *baton)
{
    ++play.turns;
    later(fn, baton);
}

void framework_blocking(framework_t *framework, void (*work)(void *baton),
                        void (*done)(void *baton), void *baton)
{
    work(baton);
    later(done, baton);
}

void framework_queue_note(framework_queue_t *queue, int alive, apr_time_t retry_after)
{
    ++*(alive ? &play.alive : &play.dead);
}

int framework_queue_paused(const framework_queue_t *queue)
{
    return play.paused;
}

int framework_stopping(const framework_t *framework)
{
    return play.stopping;
}

void ca_service_note(ca_service_t *service, const cagw_outcome_t *outcome)
{
}

/* The gateway */

void cagw_call_events(const cagw_gateway_t *gateway, apr_time_t start, const char *cursor, int size,
                      apr_interval_time_t timeout, cagw_done_fn *done, void *baton, apr_pool_t *p)
{
    cagw_outcome_t *outcome = apr_pcalloc(p, sizeof(*outcome));

    ++play.calls;
    outcome->alive = 1;
    outcome->verdict = CAGW_DONE;
    if (play.bad || (cursor && atoi(cursor) / EVENTS_MAX != play.epoch)) {
        play.bad -= play.bad > 0;
        outcome->verdict = play.verdict;
        outcome->alive = play.bad_alive;
    }
    play.from = cursor ? atoi(cursor) % EVENTS_MAX : 0;
    while (!cursor && play.from < play.count && play.events[play.from].time < start) {
        ++play.from;
    }
    play.size = size;
    done(baton, outcome);
}

apr_status_t cagw_read_events(cagw_events_t *page, const cagw_reply_t *reply, apr_pool_t *p,
                              gh_result_t *result)
{
    int i;

    memset(page, 0, sizeof(*page));
    page->events = apr_array_make(p, PAGE, sizeof(cagw_event_t *));
    for (i = play.from; i < play.count && i < play.from + play.size; ++i) {
        const event_t *one = &play.events[i];
        cagw_event_t *event;

        page->latest = one->time > page->latest ? one->time : page->latest;
        if (one->key < 0) {
            page->skipped_from = page->skipped++ ? page->skipped_from : one->time;
            page->skipped_until = one->time;
        }
        else if (one->key) {
            event = apr_pcalloc(p, sizeof(*event));
            event->certificate = play.certificates[one->key];
            event->time = one->time;
            APR_ARRAY_PUSH(page->events, cagw_event_t *) = event;
        }
    }
    page->more = i < play.count;
    page->cursor = apr_itoa(p, i + play.epoch * EVENTS_MAX);
    return APR_SUCCESS;
}

/* Tests */

static void tell(apr_time_t time, int key)
{
    assert_true(play.count < EVENTS_MAX);
    play.events[play.count++] = (event_t) { time, key };
}

/** Events of others, one a second. */
static void tell_others(apr_time_t from, int seconds)
{
    int i;

    for (i = 0; i < seconds; ++i) {
        tell(from + SECONDS(i), 0);
    }
}

static void done(ca_wanted_t *wanted)
{
    wanted->baton = wanted;
}

static ca_wanted_t *want(int key, apr_time_t sent)
{
    ca_wanted_t *wanted = apr_pcalloc(play.pool, sizeof(*wanted));

    wanted->key_sha256 = gh_key_sha256(X509_get0_pubkey(play.certificates[key]), play.pool);
    wanted->from = sent;
    wanted->until = sent + SECONDS(120);
    wanted->pool = play.pool;
    wanted->done = done;
    ca_search_add(play.search, wanted);
    return wanted;
}

static ca_wanted_t *search_for(int key, apr_time_t sent)
{
    ca_wanted_t *wanted = want(key, sent);

    loop();
    assert_ptr_equal(wanted->baton, wanted);
    return wanted;
}

static int found(const ca_wanted_t *wanted)
{
    return wanted->verdict == CAGW_DONE ? wanted->found->nelts : -1;
}

static int setup(void **state)
{
    static const char *const keys[] = { "p256-01", "rsa2048-01", "rsa2048-02" };
    int i;

    memset(&play, 0, sizeof(play));
    apr_pool_create(&play.pool, test_pool);
    play.events = malloc(EVENTS_MAX * sizeof(event_t));
    assert_non_null(play.events);
    play.issuer.name = "corporate";
    play.issuer.worker = &play.worker;
    play.issuer.lag = SECONDS(60);
    play.service.issuer = &play.issuer;
    for (i = 0; i < 3; ++i) {
        play.certificates[i] = X509_new();
        assert_int_equal(X509_set_pubkey(play.certificates[i], fixture_key(keys[i])), 1);
        ASN1_INTEGER_set(X509_get_serialNumber(play.certificates[i]), i + 1);
    }
    play.search = ca_search_create(&play.service, play.pool);
    return 0;
}

static int teardown(void **state)
{
    int i;

    for (i = 0; i < 3; ++i) {
        X509_free(play.certificates[i]);
    }
    free(play.events);
    return x509_test_teardown(state);
}

static void test_found_or_not(void **state)
{
    apr_time_t now = apr_time_now();

    tell_others(now - SECONDS(600), 300);
    tell(now - SECONDS(299), 1);
    tell_others(now - SECONDS(298), 298);
    assert_int_equal(found(search_for(1, now - SECONDS(300))), 1);
    assert_int_equal(found(search_for(2, now - SECONDS(300))), 0);
    /* each call under the rate of the issuer */
    assert_int_equal(play.turns, play.calls);
}

/* The gateway's clock is ten minutes ahead of ours, or behind: known, or not known yet */
static void test_other_clocks(void **state)
{
    static const int clocks[] = { 600, -600, 7200, -7200 };
    apr_size_t i;

    for (i = 0; i < sizeof(clocks) / sizeof(clocks[0]); ++i) {
        apr_time_t now = apr_time_now(), theirs = now + SECONDS(clocks[i]);

        play.count = 0;
        play.search = ca_search_create(&play.service, play.pool);
        play.service.clock = SECONDS(clocks[i]);
        tell_others(theirs - SECONDS(900), 800);
        tell(theirs - SECONDS(100), 1);
        tell_others(theirs - SECONDS(99), 99);
        assert_int_equal(found(search_for(1, now - SECONDS(101))), 1);
    }
    play.service.clock = 0;
}

/* An event that comes behind others that are dated after it */
static void test_late_events(void **state)
{
    apr_time_t now = apr_time_now();

    tell_others(now - SECONDS(50), 30);
    tell_others(now - SECONDS(40), 40);
    tell_others(now - SECONDS(40), 40);
    assert_int_equal(found(search_for(1, now - SECONDS(45))), 0);
    /* it takes a place in the middle */
    memmove(play.events + 11, play.events + 10, (size_t)(play.count++ - 10) * sizeof(event_t));
    play.events[10] = (event_t) { now - SECONDS(40), 1 };
    assert_int_equal(found(search_for(1, now - SECONDS(45))), 1);
}

/* What cannot be read is of its own time, not of that of its page */
static void test_unread(void **state)
{
    apr_time_t now = apr_time_now(), monday = now - SECONDS(3 * 86400);

    tell(monday, -1);
    tell(now - SECONDS(3000), 0);
    tell(now - SECONDS(2000), 0);
    assert_int_equal(search_for(1, now - SECONDS(2500))->unread, 0);
    assert_int_equal(search_for(1, monday - SECONDS(5))->unread, 1);
    /* nor is it ours when it came long after nothing could come of the call any more */
    assert_int_equal(search_for(1, monday - SECONDS(3600))->unread, 0);
    tell(now - SECONDS(1000), -1);
    assert_int_equal(search_for(1, now - SECONDS(1001))->unread, 1);
}

/* What was read is kept, whoever asks, and however the clock seems to change by a second */
static void test_kept(void **state)
{
    apr_time_t now = apr_time_now();
    int before;

    tell_others(now - SECONDS(20000), 19000);
    search_for(1, now - SECONDS(10000));
    before = play.calls;
    assert_true(before > 100);
    play.service.clock = -SECONDS(2);
    assert_int_equal(found(search_for(1, now - SECONDS(10001))), 0);
    assert_true(play.calls < before + 4);
    play.service.clock = 0;
}

/* A position of which the gateway makes no page any more */
static void test_position_forgotten(void **state)
{
    apr_time_t now = apr_time_now();

    tell_others(now - SECONDS(5000), 4000);
    tell(now - SECONDS(900), 1);
    assert_int_equal(found(search_for(1, now - SECONDS(4000))), 1);
    ++play.epoch;
    play.verdict = CAGW_UNTOLD;
    play.bad_alive = 1;
    assert_int_equal(found(search_for(1, now - SECONDS(4000))), -1);
    assert_int_equal(found(search_for(1, now - SECONDS(4000))), 1);
}

/* One search opens no breaker, and does not go on while it is open */
static void test_breaker(void **state)
{
    apr_time_t now = apr_time_now();
    int before;

    tell_others(now - SECONDS(500), 400);
    play.bad = 1000;
    play.verdict = CAGW_BROKEN;
    assert_int_equal(found(search_for(1, now - SECONDS(300))), -1);
    assert_int_equal(play.dead, 1);
    assert_int_equal(play.calls, 6);
    play.paused = 1;
    before = play.calls;
    assert_int_equal(found(search_for(1, now - SECONDS(300))), -1);
    assert_int_equal(play.calls, before + 1);
    assert_int_equal(play.dead, 2);
    play.bad = 0;
    play.paused = 0;
    assert_int_equal(found(search_for(1, now - SECONDS(300))), 0);
}

/* More events than are kept: who asks for what was dropped is told so, and holds nobody up */
static void test_too_many(void **state)
{
    apr_time_t now = apr_time_now(), long_ago = now - SECONDS(2000000);
    ca_wanted_t *old, *late;
    int tries, calls;

    tell_others(long_ago, 1300000);
    for (tries = 0; tries < 6; ++tries) {
        old = search_for(1, long_ago + SECONDS(600));
        if (old->verdict != CAGW_BROKEN || !strcmp(old->result.number, "GH1514")) {
            break;
        }
    }
    assert_string_equal(old->result.number, "GH1514");
    tell(long_ago + SECONDS(1300001), 2);
    calls = play.calls;
    old = want(1, long_ago + SECONDS(600));
    late = want(2, long_ago + SECONDS(1300000));
    loop();
    assert_int_equal(old->verdict, CAGW_BROKEN);
    assert_int_equal(found(late), 1);
    assert_true(play.calls < calls + 6100);
    calls = play.calls;
    assert_int_equal(found(search_for(2, long_ago + SECONDS(1300000))), 1);
    assert_true(play.calls < calls + 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_found_or_not, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_clocks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unread, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_position_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(test_breaker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_many, setup, teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
