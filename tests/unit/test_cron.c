/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_pools.h>

#include "cron.h"
#include "text.h"

static apr_time_t at(const char *text)
{
    apr_time_t time = 0;

    assert_int_equal(gh_time_parse(&time, text), APR_SUCCESS);
    return time;
}

static void expect(const char *expression, const char *after, const char *next)
{
    apr_pool_t *p;
    gh_cron_t cron;

    apr_pool_create(&p, NULL);
    assert_null(gh_cron_parse(&cron, expression));
    assert_string_equal(gh_time_text(p, gh_cron_next(&cron, at(after))), next);
    apr_pool_destroy(p);
}

static void test_next(void **state)
{
    expect("0 0/15 * * * ?", "2026-11-29T20:14:59Z", "2026-11-29T20:15:00Z");
    expect("0 0/15 * * * ?", "2026-11-29T20:15:00Z", "2026-11-29T20:30:00Z");
    expect("0 0/15 * * * ?", "2026-12-31T23:46:00Z", "2027-01-01T00:00:00Z");
    expect("* * * * * ?", "2026-11-29T20:15:00Z", "2026-11-29T20:15:01Z");
    expect("*/20 * * ? * *", "2026-11-29T20:15:40Z", "2026-11-29T20:16:00Z");
    expect("5,10-12 30 9-17/4 ? * MON-FRI", "2026-11-27T17:30:12Z", "2026-11-30T09:30:05Z");
    expect("5,10-12 30 9-17/4 ? * MON-FRI", "2026-11-30T09:30:05Z", "2026-11-30T09:30:10Z");
    /* over the end: Friday to Monday; November 29, 2026 is a Sunday */
    expect("0 0 0 ? * FRI-MON", "2026-11-30T00:00:00Z", "2026-12-04T00:00:00Z");
    expect("0 0 0 ? * 1", "2026-11-24T00:00:00Z", "2026-11-29T00:00:00Z");
    expect("0 0 0 29 2 ?", "2026-11-29T00:00:00Z", "2028-02-29T00:00:00Z");
    expect("0 0 12 31 jan,DEC ?", "2026-02-01T00:00:00Z", "2026-12-31T12:00:00Z");
    expect("  0\t0  6 * * * ", "2026-11-29T06:00:00Z", "2026-11-30T06:00:00Z");
}

static void test_never(void **state)
{
    gh_cron_t cron;

    assert_null(gh_cron_parse(&cron, "0 0 0 31 2 ?"));
    assert_int_equal(gh_cron_next(&cron, at("2026-11-29T00:00:00Z")), 0);
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "", "0", "0 0/15 * * *", "0 0/15 * * * ? 2027", "0 0/15 * * * ? *", "60 0 * * * ?",
        "0 60 * * * ?", "0 0 24 * * ?", "0 0 0 0 * ?", "0 0 0 32 * ?", "0 0 0 1 13 ?",
        "0 0 0 ? * 8", "0 0 0 ? * 0", "0 0 0 ? * ?", "0 0 0 1 * 1", "? 0 0 * * ?", "0 0/0 * * * ?",
        "0 0/61 * * * ?", "0 1- * * * ?", "0 -1 * * * ?", "0 1,,2 * * * ?", "0 1, * * * ?",
        "0 ,1 * * * ?", "0 a * * * ?", "0 0 0 L * ?", "0 0 0 ? * 6#3", "0 0 0 15W * ?",
        "0 0 0 ?5 * *", "0 */ * * * ?", "0 100 * * * ?", "0 0 0 ? FOO MON", "0 0 0 ? * MON-",
        "0 0 0 * * ?x"
    };
    gh_cron_t cron;
    apr_size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        if (!gh_cron_parse(&cron, bad[i])) {
            fail_msg("taken: %s", bad[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_refused),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
