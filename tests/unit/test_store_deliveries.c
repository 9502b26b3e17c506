/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <string.h>

#include <apr_strings.h>

#include "escrow/delivering.h"
#include "store/jobs.h"

/* What a worker stores of a profile, with the end of its job, on both back ends. */

#define HOLDER "node/worker/1"

typedef struct {
    store_test_t *test;
    const char *id;                 /* of the profile, and of its job */
    gh_escrow_profile_record_t *profile;
    apr_array_header_t *credentials;
    apr_int64_t generation;
    const char *delivery;
    gh_delivering_end_t end;
    gh_job_record_t *job;
    apr_array_header_t *records;
} work_t;

#define WORK(name, call) \
    static apr_status_t name(gh_transaction_t *t, void *baton) \
    { \
        work_t *w = baton; \
        apr_pool_t *p = w->test->p; \
\
        (void)p; \
        return call; \
    }

static const gh_bytes_t document = { (const unsigned char *)"document", 8 };

WORK(read_it, gh_delivering_read(t, w->id, w->generation, &w->profile, &w->credentials, p))
WORK(complete, gh_delivering_completed(t, w->profile, w->delivery, document, apr_time_now()))
WORK(delivered, gh_delivering_delivered(t, w->profile, &w->end, p))
WORK(failed, gh_delivering_failed(t, w->profile, &w->end, p))
WORK(again, gh_delivering_again(t, w->profile, &w->end))
WORK(wait_again, gh_delivering_wait(t, w->profile, apr_time_from_sec(60), &w->end, p))
WORK(claim, gh_job_claim(t, w->id, HOLDER, apr_time_from_sec(60), &w->job, p))
WORK(find_job, gh_job_find(t, w->id, &w->job, p))
WORK(find_profile, gh_escrow_profile_find(t, w->id, &w->profile, p))
WORK(list, gh_delivery_list(t, w->id, 10, &w->records, p))
WORK(renew, gh_escrow_profile_begin(t, w->id, &w->generation, apr_time_now()))

static apr_status_t try(gh_store_work_fn *work, work_t *w)
{
    return gh_store_write(w->test->store, work, w, NULL);
}

static apr_status_t add(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;
    apr_pool_t *p = w->test->p;
    gh_bytes_t bytes = { (const unsigned char *)"x", 1 }, payload = { bytes.data, 1 };
    gh_escrow_profile_record_t profile = {
        .id = w->id, .profile = gh_random_id(p), .device = "device", .user = "user",
        .format = "text", .needs = "signing", .skeleton = bytes, .recipient = bytes, .uem = "mdm",
        .provider = "test", .state = GH_ESCROW_COMPLETING, .generation = 1,
        .created = apr_time_now(), .updated = apr_time_now(), .expires = apr_time_now()
    };
    gh_job_record_t job = {
        .id = w->id, .kind = GH_ESCROW_DELIVER, .queue = "uem:mdm", .subject = w->id,
        .payload = payload, .created = apr_time_now(), .due = apr_time_now()
    };
    apr_status_t rv = gh_escrow_profile_insert(t, &profile);

    return rv == APR_SUCCESS ? gh_job_insert(t, &job) : rv;
}

/** A profile that is to be completed, whose job is held here. */
static work_t begin(void **state)
{
    work_t w = { .test = *state, .generation = 1 };

    w.id = gh_ordered_id(apr_time_now(), w.test->p);
    w.delivery = gh_ordered_id(apr_time_now(), w.test->p);
    w.end.job = w.id;
    w.end.holder = HOLDER;
    assert_int_equal(try(add, &w), APR_SUCCESS);
    assert_int_equal(try(claim, &w), APR_SUCCESS);
    assert_int_equal(try(read_it, &w), APR_SUCCESS);
    assert_int_equal(w.profile->state, GH_ESCROW_COMPLETING);
    return w;
}

static gh_delivery_record_t *only_delivery(work_t *w)
{
    assert_int_equal(try(list, w), APR_SUCCESS);
    assert_int_equal(w->records->nelts, 1);
    return APR_ARRAY_IDX(w->records, 0, gh_delivery_record_t *);
}

static void test_delivered(void **state)
{
    work_t w = begin(state);

    assert_int_equal(try(complete, &w), APR_SUCCESS);
    assert_int_equal(try(complete, &w), APR_NOTFOUND);
    assert_int_equal(try(read_it, &w), APR_SUCCESS);
    assert_int_equal(w.profile->state, GH_ESCROW_QUEUED);
    assert_string_equal(w.profile->delivery, w.delivery);
    assert_int_equal(w.profile->completed.length, document.length);
    w.end.attempts = 2;
    w.end.status = 201;
    assert_int_equal(try(delivered, &w), APR_SUCCESS);
    assert_int_equal(only_delivery(&w)->state, GH_DELIVERY_DELIVERED);
    assert_int_equal(only_delivery(&w)->attempts, 2);
    assert_int_equal(try(find_job, &w), APR_NOTFOUND);
    assert_int_equal(try(find_profile, &w), APR_SUCCESS);
    assert_int_equal(w.profile->state, GH_ESCROW_DELIVERED);
    assert_null(w.profile->completed.data);
    assert_int_equal(try(read_it, &w), APR_NOTFOUND);
}

static void test_again_and_failed(void **state)
{
    work_t w = begin(state);
    gh_result_t why;

    gh_result_clear(&why);
    gh_result_fail(&why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL, NULL, "GH9999: no answer");
    assert_int_equal(try(complete, &w), APR_SUCCESS);
    assert_int_equal(try(read_it, &w), APR_SUCCESS);
    w.end.why = &why;
    w.end.due = apr_time_now();
    assert_int_equal(try(again, &w), APR_SUCCESS);
    assert_int_equal(only_delivery(&w)->state, GH_DELIVERY_OPEN);
    assert_string_equal(only_delivery(&w)->number, "GH9999");
    /* it is not held any more: nothing is stored */
    assert_int_equal(try(failed, &w), APR_NOTFOUND);
    assert_int_equal(only_delivery(&w)->state, GH_DELIVERY_OPEN);
    assert_int_equal(try(claim, &w), APR_SUCCESS);
    assert_int_equal(try(failed, &w), APR_SUCCESS);
    assert_int_equal(only_delivery(&w)->state, GH_DELIVERY_FAILED);
    assert_int_equal(try(find_profile, &w), APR_SUCCESS);
    assert_int_equal(w.profile->state, GH_ESCROW_FAILED);
    assert_string_equal(w.profile->reason, "GH9999: no answer");
}

/* What comes meanwhile has a job of its own: the outcome of this one changes it no more. */
static void test_replaced_meanwhile(void **state)
{
    work_t w = begin(state);

    assert_int_equal(try(complete, &w), APR_SUCCESS);
    assert_int_equal(try(read_it, &w), APR_SUCCESS);
    assert_int_equal(try(renew, &w), APR_SUCCESS);
    assert_int_equal(w.generation, 2);
    assert_int_equal(try(delivered, &w), APR_SUCCESS);
    assert_int_equal(try(find_job, &w), APR_NOTFOUND);
    assert_int_equal(try(find_profile, &w), APR_SUCCESS);
    assert_int_equal(w.profile->state, GH_ESCROW_COMPLETING);
    w.generation = 1;
    assert_int_equal(try(read_it, &w), APR_NOTFOUND);
}

static void test_credentials_are_gone(void **state)
{
    work_t w = begin(state);

    assert_int_equal(try(wait_again, &w), APR_SUCCESS);
    assert_int_equal(try(find_job, &w), APR_NOTFOUND);
    assert_int_equal(try(find_profile, &w), APR_SUCCESS);
    assert_int_equal(w.profile->state, GH_ESCROW_WAITING);
}

int run_delivery_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delivered),
        cmocka_unit_test(test_again_and_failed),
        cmocka_unit_test(test_replaced_meanwhile),
        cmocka_unit_test(test_credentials_are_gone)
    };

    return cmocka_run_group_tests_name("deliveries, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("deliveries, PostgreSQL", tests, open_pgsql, close_store);
}
