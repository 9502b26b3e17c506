/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* How a feed of events gets past what cannot be read. */

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "fcgi/ca/ca_passing.h"

#define SECONDS(n) apr_time_from_sec(n)
#define NOW SECONDS(1000000)

/** Plays a gateway whose events at some seconds cannot be read. @return how many pages were asked
 *  for until something was taken up; 0: nothing was */
static int play(ca_passing_t *passing, apr_time_t last, apr_time_t bad, apr_time_t other)
{
    int calls;

    for (calls = 1; calls < 200; ++calls) {
        apr_time_t start = ca_passing_time(passing, NOW);
        apr_time_t from = start ? start : last;

        /* a page of one event is bad if the next event is */
        if ((bad >= from && (other < from || bad <= other)) || other == from) {
            if (ca_passing_failed(passing, last, 0) == CA_PASSING_NOT) {
                return 0;
            }
        }
        else if (ca_passing_read(passing)) {
            return calls;
        }
    }
    fail_msg("it does not end");
    return 0;
}

static void test_passed(void **state)
{
    static const int distances[] = { 1, 2, 3, 7, 60, 3600, 86400, 900000 };
    ca_passing_t passing;
    apr_size_t i;

    for (i = 0; i < sizeof(distances) / sizeof(distances[0]); ++i) {
        apr_time_t last = NOW - SECONDS(distances[i]) - SECONDS(5);
        apr_time_t bad = last + SECONDS(distances[i]);

        ca_passing_init(&passing);
        assert_true(play(&passing, last, bad, 0) > 0);
        assert_int_equal(passing.probing, 1);
        assert_int_equal(passing.asked, bad + SECONDS(1));
        assert_true(passing.bad >= last && passing.bad <= bad);
        ca_passing_passed(&passing);
        assert_int_equal(ca_passing_time(&passing, NOW), 0);
        assert_int_equal(passing.size, 1);
        assert_int_equal(ca_passing_read(&passing), 1);
        assert_int_equal(passing.size, 2);
    }
}

/* Less is asked for before anything is passed */
static void test_smaller_pages(void **state)
{
    ca_passing_t passing;

    ca_passing_init(&passing);
    assert_int_equal(passing.size, CA_PASSING_PAGE);
    assert_int_equal(ca_passing_failed(&passing, NOW, 0), CA_PASSING_LATER);
    assert_int_equal(ca_passing_failed(&passing, NOW, 0), CA_PASSING_ON);
    assert_int_equal(passing.size, 1);
    assert_int_equal(passing.probing, 0);
    assert_int_equal(ca_passing_read(&passing), 1);
    assert_int_equal(passing.size, 2);
}

/* Where nothing can be read the gateway is out: nothing is passed */
static void test_nothing_can_be_read(void **state)
{
    ca_passing_t passing;

    ca_passing_init(&passing);
    while (!passing.probing) {
        ca_passing_failed(&passing, NOW - SECONDS(600), 0);
    }
    assert_int_equal(ca_passing_time(&passing, NOW), NOW);
    assert_int_equal(ca_passing_failed(&passing, NOW - SECONDS(600), 0), CA_PASSING_NOT);
    assert_int_equal(passing.probing, 0);
}

/* An outage that ends while it is looked whether anything can be read: the page is tried once more,
 * and nothing is passed */
static void test_an_outage_that_ends(void **state)
{
    ca_passing_t passing;

    ca_passing_init(&passing);
    while (!passing.probing) {
        ca_passing_failed(&passing, NOW - SECONDS(600), 0);
    }
    assert_int_equal(ca_passing_time(&passing, NOW), NOW);
    assert_int_equal(ca_passing_read(&passing), 0);
    assert_int_equal(ca_passing_time(&passing, NOW), 0);
    assert_int_equal(passing.size, 1);
    assert_int_equal(ca_passing_read(&passing), 1);
    assert_int_equal(passing.probing, 0);
    assert_int_equal(passing.sure, 0);
    /* and it fails as any other does, from the beginning */
    assert_int_equal(ca_passing_failed(&passing, NOW, 0), CA_PASSING_LATER);

    /* one that still cannot be read is passed then */
    ca_passing_init(&passing);
    while (!passing.probing) {
        ca_passing_failed(&passing, NOW - SECONDS(600), 0);
    }
    ca_passing_time(&passing, NOW);
    ca_passing_read(&passing);
    assert_int_equal(ca_passing_failed(&passing, NOW - SECONDS(600), 0), CA_PASSING_ON);
    assert_int_equal(passing.probing, 1);
    assert_int_equal(passing.all, 0);
    assert_int_equal(ca_passing_time(&passing, NOW), NOW - SECONDS(599));
}

/* A gateway that is slow is asked for less; it takes long until that counts as what never comes */
static void test_late(void **state)
{
    ca_passing_t passing;
    int i;

    ca_passing_init(&passing);
    for (i = 0; i < 10; ++i) {
        assert_int_equal(ca_passing_late(&passing), 0);
    }
    assert_int_equal(passing.size, 1);
    assert_int_equal(passing.probing, 0);
    assert_int_equal(ca_passing_read(&passing), 1);
    for (i = 1; !ca_passing_late(&passing); ++i) {
        assert_true(i < 1000);
    }
    assert_true(i >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passed),
        cmocka_unit_test(test_smaller_pages),
        cmocka_unit_test(test_nothing_can_be_read),
        cmocka_unit_test(test_an_outage_that_ends),
        cmocka_unit_test(test_late)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
