/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "status_support.h"

#include <pthread.h>
#include <string.h>

/* On PostgreSQL the number of a change may become visible after higher ones: nothing is missed. */

static const unsigned char ours[32] = "an authority";

typedef struct {
    store_test_t *test;
    apr_int64_t number;
    int revoke;                     /* 1: the certificate is revoked; 0: it is added */
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int has_number;
    int may_commit;
    apr_status_t rv;
} slow_t;

static void set(slow_t *slow, int *flag)
{
    pthread_mutex_lock(&slow->mutex);
    *flag = 1;
    pthread_cond_broadcast(&slow->condition);
    pthread_mutex_unlock(&slow->mutex);
}

static void wait_until(slow_t *slow, const int *flag)
{
    pthread_mutex_lock(&slow->mutex);
    while (!*flag) {
        pthread_cond_wait(&slow->condition, &slow->mutex);
    }
    pthread_mutex_unlock(&slow->mutex);
}

static apr_status_t change_slowly(gh_transaction_t *transaction, void *baton)
{
    slow_t *slow = baton;
    apr_pool_t *p;
    apr_status_t rv;
    int changed;

    apr_pool_create(&p, NULL);
    rv = slow->revoke
             ? gh_certificate_set_status(transaction, "devices",
                                         certificate_of(slow->number, p)->serial,
                                         GH_STATUS_REVOKED, 1, 0, REVOKED_AT, &changed)
             : gh_certificate_insert(transaction, certificate_of(slow->number, p));
    set(slow, &slow->has_number);
    wait_until(slow, &slow->may_commit);
    apr_pool_destroy(p);
    return rv;
}

static void *run_slowly(void *baton)
{
    slow_t *slow = baton;
    gh_result_t result;

    slow->rv = gh_store_write(slow->test->store, change_slowly, slow, &result);
    return NULL;
}

static void must_follow(store_test_t *test, gh_view_t *view)
{
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_view_follow(view, test->store, test->p, &result) != APR_SUCCESS) {
        fail_msg("follow: %s %s", result.number, result.message);
    }
}

static gh_known_state_t state_of(store_test_t *test, gh_view_t *view, apr_int64_t number)
{
    gh_known_t known;

    gh_view_find(view, certificate_of(number, test->p)->serial, &known, NULL);
    return known.state;
}

static void build(store_test_t *test, const char *folder, int whole)
{
    gh_result_t result;

    assert_int_equal(gh_view_build_from_store(folder, "devices", ours, test->store, "devices",
                                              whole, test->p, &result), APR_SUCCESS);
}

/**
 * One transaction takes a number and commits after others that have higher ones, of which a view,
 * or an index, has been made already.
 * @param rebuild 1: index and view are made meanwhile; 0: the view follows meanwhile
 */
static void come_late(store_test_t *test, int revoke, int rebuild, apr_int64_t number)
{
    const char *folder = new_folder(test->p);
    gh_view_t *view = gh_view_create(folder, "devices", ours, GH_SOURCE_STORE, "devices", test->p);
    slow_t slow = { .test = test, .number = number, .revoke = revoke };
    gh_view_t *other;
    pthread_t thread;
    int i;

    pthread_mutex_init(&slow.mutex, NULL);
    pthread_cond_init(&slow.condition, NULL);
    if (revoke) {
        issue(test, "devices", number, 1);
    }
    build(test, folder, 1);
    must_follow(test, view);
    assert_int_equal(pthread_create(&thread, NULL, run_slowly, &slow), 0);
    wait_until(&slow, &slow.has_number);
    for (i = 1; i < 6; i++) {
        issue(test, "devices", number + 10 * i, 10);
        if (!rebuild) {
            must_follow(test, view);
            assert_int_equal(state_of(test, view, number + 10 * i), GH_KNOWN_GOOD);
        }
    }
    if (rebuild) {
        build(test, folder, rebuild == 1);
        view = gh_view_create(folder, "devices", ours, GH_SOURCE_STORE, "devices", test->p);
        must_follow(test, view);
    }
    assert_int_equal(state_of(test, view, number), revoke ? GH_KNOWN_GOOD : GH_KNOWN_NOT);
    set(&slow, &slow.may_commit);
    pthread_join(thread, NULL);
    assert_int_equal(slow.rv, APR_SUCCESS);

    /* the next round sees it; so does one that begins now */
    must_follow(test, view);
    assert_int_equal(state_of(test, view, number), revoke ? GH_KNOWN_REVOKED : GH_KNOWN_GOOD);
    other = gh_view_create(folder, "devices", ours, GH_SOURCE_STORE, "devices", test->p);
    must_follow(test, other);
    assert_int_equal(state_of(test, other, number), revoke ? GH_KNOWN_REVOKED : GH_KNOWN_GOOD);
}

static void test_late_certificate(void **state)
{
    must_write(((store_test_t *)*state)->store, register_devices, NULL);
    come_late(*state, 0, 0, 1000);
    come_late(*state, 0, 1, 2000);
    come_late(*state, 0, 2, 3000);
}

static void test_late_revocation(void **state)
{
    come_late(*state, 1, 0, 4000);
    come_late(*state, 1, 1, 5000);
    come_late(*state, 1, 2, 6000);
}

int run_late_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late_certificate),
        cmocka_unit_test(test_late_revocation)
    };

    return cmocka_run_group_tests_name("late numbers, pgsql", tests, open_pgsql, close_store);
}
