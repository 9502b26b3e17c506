/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Parts of the framework of workers by themselves. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>

#include "fcgi/backoff.h"
#include "fcgi/breaker.h"
#include "fcgi/bucket.h"
#include "fcgi/listener.h"
#include "fcgi/timers.h"

#define SECOND apr_time_from_sec(1)
#define NOW apr_time_from_sec(1000)

static void test_backoff(void **state)
{
    int attempt, i, different = 0;

    (void)state;
    for (attempt = 0; attempt < 40; ++attempt) {
        apr_interval_time_t whole = attempt < 2 ? 2 * SECOND
            : attempt < 9 ? (2 * SECOND) << (attempt - 1) : 300 * SECOND;
        apr_interval_time_t before = 0;

        whole = whole < 300 * SECOND ? whole : 300 * SECOND;
        for (i = 0; i < 50; ++i) {
            apr_interval_time_t pause = backoff_pause(attempt, 2 * SECOND, 300 * SECOND);

            assert_in_range(pause, whole / 2, whole);
            different += pause != before;
            before = pause;
        }
    }
    assert_true(different > 1900);
    assert_int_equal(backoff_jitter(0), 0);
}

static void test_bucket(void **state)
{
    bucket_t bucket;
    int i;

    (void)state;
    bucket_init(&bucket, 10, 5);
    for (i = 0; i < 5; ++i) {
        assert_int_equal(bucket_take(&bucket, NOW), NOW);
    }
    for (i = 1; i <= 20; ++i) {
        assert_int_equal(bucket_take(&bucket, NOW), NOW + i * SECOND / 10);
    }
    /* a pause gives back no more than the burst */
    for (i = 0; i < 5; ++i) {
        assert_int_equal(bucket_take(&bucket, NOW + 100 * SECOND), NOW + 100 * SECOND);
    }
    assert_int_equal(bucket_take(&bucket, NOW + 100 * SECOND), NOW + 100 * SECOND + SECOND / 10);
    bucket_init(&bucket, 0, 0);
    for (i = 0; i < 1000; ++i) {
        assert_int_equal(bucket_take(&bucket, NOW), NOW);
    }
    bucket_init(&bucket, 0.5, 0);
    assert_int_equal(bucket_take(&bucket, NOW), NOW);
    assert_int_equal(bucket_take(&bucket, NOW), NOW + 2 * SECOND);
}

static void test_breaker_opens(void **state)
{
    breaker_t breaker;
    apr_time_t now = NOW;
    int i;

    (void)state;
    breaker_init(&breaker, 3, 10 * SECOND, 30 * SECOND);
    for (i = 0; i < 2; ++i) {
        assert_int_equal(breaker_note(&breaker, 0, now), 0);
    }
    assert_int_equal(breaker_note(&breaker, 1, now), 0);
    for (i = 0; i < 2; ++i) {
        assert_int_equal(breaker_note(&breaker, 0, now), 0);
    }
    assert_int_equal(breaker_room(&breaker, now), -1);
    assert_int_equal(breaker_note(&breaker, 0, now), 1);
    assert_int_equal(breaker_enter(&breaker, now), 0);
    assert_int_equal(breaker_until(&breaker, now), now + 10 * SECOND);
    /* what was begun before counts neither way */
    assert_int_equal(breaker_note(&breaker, 0, now + SECOND), 0);
    now += 10 * SECOND;
    assert_int_equal(breaker_room(&breaker, now), 1);
    assert_int_equal(breaker_enter(&breaker, now), 1);
    assert_int_equal(breaker_enter(&breaker, now), 0);
    assert_true(breaker_until(&breaker, now) > now);
    assert_int_equal(breaker_note(&breaker, 0, now), 0);
    assert_int_equal(breaker_until(&breaker, now), now + 20 * SECOND);
    now += 20 * SECOND;
    assert_int_equal(breaker_enter(&breaker, now), 1);
    assert_int_equal(breaker_note(&breaker, 0, now), 0);
    assert_int_equal(breaker_until(&breaker, now), now + 30 * SECOND);
    now += 30 * SECOND;
    assert_int_equal(breaker_enter(&breaker, now), 1);
    assert_int_equal(breaker_note(&breaker, 1, now), -1);
    assert_int_equal(breaker_room(&breaker, now), -1);
}

static void test_breaker_forgets_a_trial(void **state)
{
    breaker_t breaker;

    (void)state;
    breaker_init(&breaker, 1, SECOND, SECOND);
    assert_int_equal(breaker_note(&breaker, 0, NOW), 1);
    assert_int_equal(breaker_enter(&breaker, NOW + SECOND), 1);
    assert_int_equal(breaker_enter(&breaker, NOW + 2 * SECOND), 0);
    assert_int_equal(breaker_enter(&breaker, NOW + 600 * SECOND), 1);
}

static void test_breaker_holds(void **state)
{
    breaker_t breaker;

    (void)state;
    breaker_init(&breaker, 0, 0, 0);
    breaker_hold(&breaker, NOW + 7 * SECOND, NOW);
    assert_int_equal(breaker_enter(&breaker, NOW), 0);
    breaker_hold(&breaker, NOW + SECOND, NOW);
    assert_int_equal(breaker_until(&breaker, NOW), NOW + 7 * SECOND);
    assert_int_equal(breaker_enter(&breaker, NOW + 7 * SECOND), 1);
    assert_int_equal(breaker_enter(&breaker, NOW + 7 * SECOND), 1);
    breaker_hold(&breaker, NOW + 86400 * SECOND, NOW);
    assert_int_equal(breaker_until(&breaker, NOW), NOW + 300 * SECOND);
    assert_int_equal(breaker_enter(&breaker, NOW + 300 * SECOND), 1);
}

static char called[64];

static void note(void *baton)
{
    strncat(called, baton, 1);
}

static void note_too(void *baton)
{
    note(baton);
}

static void test_timers(void **state)
{
    static char letters[] = "abcdefgh";
    apr_pool_t *p;
    timers_t *timers;
    int i;

    (void)state;
    apr_pool_create(&p, NULL);
    timers = timers_create(p);
    assert_int_equal(timers_run(timers, NOW), 0);
    for (i = 7; i >= 0; --i) {
        timers_add(timers, NOW + i / 2 * SECOND, i % 2 ? note : note_too, letters + i);
    }
    called[0] = '\0';
    assert_int_equal(timers_run(timers, NOW - 1), NOW);
    assert_string_equal(called, "");
    assert_int_equal(timers_run(timers, NOW), NOW + SECOND);
    assert_string_equal(called, "ba");
    timers_hurry(timers, note_too);
    assert_int_equal(timers_run(timers, NOW), NOW + SECOND);
    assert_int_equal(strlen(called), 5);
    assert_null(strpbrk(called + 2, "dfh"));
    assert_int_equal(timers_run(timers, NOW + 10 * SECOND), 0);
    assert_string_equal(called + 5, "dfh");
    apr_pool_destroy(p);
}

static void test_requests(void **state)
{
    static const struct {
        const char *path, *query, *id, *queue;
        apr_interval_time_t wait;
    } good[] = {
        { "/enrolments/abc", "wait=5000", "abc", "", 5 * SECOND },
        { "/enrolments/a-b_1", "wait=1&issuer=devices", "a-b_1", "devices", 1000 },
        { "/enrolments/abc", "issuer=d", "abc", "d", 0 },
        { "/enrolments/abc", "issuer=webhook:a-b", "abc", "webhook:a-b", 0 },
        { "/enrolments/abc", "", "abc", "", 0 },
        { "/enrolments/abc", NULL, "abc", "", 0 },
        { "/enrolments/abc", "wait=599999999", "abc", "", -1 },
    };
    static const char *const bad[][2] = {
        { NULL, "" }, { "", "" }, { "/", "" }, { "/enrolments", "" }, { "/enrolments/", "" },
        { "/enrolments/a/b", "" }, { "/enrolments/../x", "" }, { "/enrolment/abc", "" },
        { "/enrolments/a%20b", "" },
        { "/enrolments/12345678901234567890123456789012345678901234567890123456789012345", "" },
        { "/enrolments/abc", "wait=" }, { "/enrolments/abc", "wait=-1" },
        { "/enrolments/abc", "wait=1s" }, { "/enrolments/abc", "wai=1" },
        { "/enrolments/abc", "issuer=" }, { "/enrolments/abc", "issuer=a/b" },
        { "/enrolments/abc", "issuer=:a" }, { "/enrolments/abc", "issuer=a:" },
        { "/enrolments/abc", "issuer=a:b:c" },
        { "/enrolments/abc", "wait=1&other=2" }, { "/enrolments/abc", "&" },
    };
    listener_request_t request;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(good) / sizeof(good[0]); ++i) {
        memset(&request, 'x', sizeof(request));
        if (good[i].wait < 0) {
            assert_int_equal(listener_parse(&request, good[i].path, good[i].query), 0);
            continue;
        }
        assert_int_equal(listener_parse(&request, good[i].path, good[i].query), 1);
        assert_string_equal(request.id, good[i].id);
        assert_string_equal(request.queue, good[i].queue);
        assert_int_equal(request.wait, good[i].wait);
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        assert_int_equal(listener_parse(&request, bad[i][0], bad[i][1]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_bucket),
        cmocka_unit_test(test_breaker_opens),
        cmocka_unit_test(test_breaker_forgets_a_trial),
        cmocka_unit_test(test_breaker_holds),
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_requests),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
