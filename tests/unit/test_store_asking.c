/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include "store/jobs.h"
#include "text.h"

/* Which jobs are taken first: new ones, and those that ask what became of a call. */

typedef struct {
    apr_pool_t *p;
    apr_array_header_t *queues;
    int limit;
    int asks;
    apr_array_header_t *records;
} work_t;

static apr_status_t insert(gh_transaction_t *t, void *baton)
{
    return gh_job_insert(t, baton);
}

static apr_status_t claim_some(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;

    return gh_job_claim_due(t, w->queues, "one", apr_time_from_sec(3600), w->limit, w->asks,
                            &w->records, w->p);
}

static apr_status_t mark_sent(gh_transaction_t *t, void *baton)
{
    gh_query_t *query = gh_query(t, "UPDATE job SET sent = 1 WHERE id = $1");

    gh_bind_text(query, baton);
    return gh_execute(query);
}

/** @return how many of those that were taken ask what became of a call */
static int take_some(store_test_t *test, work_t *w, int limit, int asks, int expected)
{
    int asking = 0, i;

    w->limit = limit;
    w->asks = asks;
    must_write(test->store, claim_some, w);
    assert_int_equal(w->records->nelts, expected);
    for (i = 0; i < w->records->nelts; i++) {
        asking += APR_ARRAY_IDX(w->records, i, gh_job_record_t *)->sent != 0;
    }
    return asking;
}

/* Those that ask have a part of the places, also of such that become free one by one; and no more
 * of them than they are told */
static void test_those_that_ask(void **state)
{
    store_test_t *test = *state;
    apr_time_t now = apr_time_now() - apr_time_from_sec(100);
    work_t w = { .p = test->p };
    int asking = 0, i;

    for (i = 0; i < 100; i++) {
        gh_job_record_t job = {
            .id = gh_ordered_id(apr_time_now(), test->p), .kind = "enrol", .queue = "asking",
            .created = now + i, .due = now + i
        };

        job.subject = job.id;
        must_write(test->store, insert, &job);
        if (i < 60) {
            must_write(test->store, mark_sent, (void *)job.id);
        }
    }
    w.queues = apr_array_make(test->p, 1, sizeof(const char *));
    APR_ARRAY_PUSH(w.queues, const char *) = "asking";
    /* a part, though they are due longest */
    assert_int_equal(take_some(test, &w, 8, 8, 8), 2);
    assert_int_equal(take_some(test, &w, 8, 1, 8), 1);
    assert_int_equal(take_some(test, &w, 4, 0, 4), 0);
    /* what became free one by one: 20 places, of 23 new ones that are left */
    for (i = 0; i < 20; i++) {
        asking += take_some(test, &w, 1, 1, 1);
    }
    assert_true(asking < 20);
    /* without new ones they get all, as far as they may */
    take_some(test, &w, 64, 0, 3 + asking);
    assert_int_equal(take_some(test, &w, 16, 12, 12), 12);
    assert_int_equal(take_some(test, &w, 64, 64, 60 - 15 - asking), 60 - 15 - asking);
}

int run_asking_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_those_that_ask)
    };

    return cmocka_run_group_tests_name("those that ask, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("those that ask, PostgreSQL", tests, open_pgsql,
                                      close_store);
}
