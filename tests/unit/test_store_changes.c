/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "status_support.h"

#include <string.h>

#include <apr_strings.h>

/* What followers read from the store, on both back ends. */

#define MANY 600

typedef struct {
    gh_changes_place_t after, reached;
    const char *issuer;
    int limit;
    int more;
    int count;
    apr_int64_t change;
    gh_bytes_t last;                /* serial number that was delivered last */
    gh_known_t known;               /* of the last */
    int states[4];
    int in_order;
    apr_pool_t *p;
} follow_t;

static apr_status_t take(void *baton, const gh_known_certificate_t *certificate)
{
    follow_t *follow = baton;

    if (follow->last.data != NULL && follow->last.length == certificate->serial.length
        && memcmp(follow->last.data, certificate->serial.data, follow->last.length) >= 0) {
        follow->in_order = 0;
    }
    follow->last.data = apr_pmemdup(follow->p, certificate->serial.data,
                                    certificate->serial.length);
    follow->last.length = certificate->serial.length;
    follow->known = certificate->known;
    follow->states[certificate->known.state]++;
    follow->count++;
    return APR_SUCCESS;
}

static void begin(follow_t *follow)
{
    follow->count = 0;
    follow->last.data = NULL;
    follow->in_order = 1;
    memset(follow->states, 0, sizeof(follow->states));
}

static apr_status_t walk(gh_transaction_t *transaction, void *baton)
{
    follow_t *follow = baton;

    begin(follow);
    return gh_changes_walk(transaction, follow->issuer, take, follow, &follow->change);
}

static apr_status_t since(gh_transaction_t *transaction, void *baton)
{
    follow_t *follow = baton;

    begin(follow);
    return gh_changes_since(transaction, follow->issuer, &follow->after, follow->limit, take,
                            follow, &follow->reached, &follow->more);
}

/** @return how many were delivered */
static int more_since(store_test_t *test, follow_t *follow)
{
    must_read(test->store, since, follow);
    assert_true(follow->reached.status >= follow->after.status);
    assert_true(follow->reached.issued >= follow->after.issued);
    follow->after = follow->reached;
    return follow->count;
}

static void test_walk(void **state)
{
    store_test_t *test = *state;
    follow_t follow = { .issuer = "devices", .limit = 100, .p = test->p };

    must_read(test->store, walk, &follow);
    assert_int_equal(follow.count, 0);
    assert_int_equal(follow.change, 0);
    must_write(test->store, register_devices, NULL);
    must_write(test->store, register_others, NULL);
    issue(test, "devices", 1, MANY);
    issue(test, "others", 5000, 3);
    set_status(test, 10, GH_STATUS_REVOKED, 1);
    set_status(test, 11, GH_STATUS_HELD, 6);
    set_status(test, 12, GH_STATUS_HELD, 6);
    set_status(test, 12, GH_STATUS_GOOD, GH_REASON_NONE);
    must_read(test->store, walk, &follow);
    assert_int_equal(follow.count, MANY);
    assert_true(follow.in_order);
    assert_int_equal(follow.states[GH_KNOWN_GOOD], MANY - 2);
    assert_int_equal(follow.states[GH_KNOWN_REVOKED], 1);
    assert_int_equal(follow.states[GH_KNOWN_HELD], 1);
    assert_true(follow.change >= MANY + 3 + 4);
    follow.issuer = "others";
    must_read(test->store, walk, &follow);
    assert_int_equal(follow.count, 3);
    follow.issuer = "nobody";
    must_read(test->store, walk, &follow);
    assert_int_equal(follow.count, 0);
}

/** Goes on where test_walk() has ended. */
static void test_since(void **state)
{
    store_test_t *test = *state;
    follow_t follow = { .issuer = "devices", .limit = 100, .p = test->p };
    apr_int64_t before;

    must_read(test->store, walk, &follow);
    follow.after.status = follow.after.issued = before = follow.change;
    assert_int_equal(more_since(test, &follow), 0);
    assert_int_equal(follow.more, 0);
    assert_int_equal(follow.after.status, before);
    assert_int_equal(follow.after.issued, before);

    issue(test, "devices", MANY + 1, 1);
    assert_int_equal(more_since(test, &follow), 1);
    assert_int_equal(follow.known.state, GH_KNOWN_GOOD);
    assert_int_equal(follow.known.version, 0);
    assert_int_equal(follow.known.reason, GH_REASON_NONE);
    assert_int_equal(more_since(test, &follow), 0);

    set_status(test, MANY + 1, GH_STATUS_HELD, 6);
    assert_int_equal(more_since(test, &follow), 1);
    assert_int_equal(follow.known.state, GH_KNOWN_HELD);
    assert_int_equal(follow.known.reason, 6);
    assert_int_equal(follow.known.revoked_at, REVOKED_AT);
    before = follow.known.version;
    assert_true(before > 0);
    set_status(test, MANY + 1, GH_STATUS_GOOD, GH_REASON_NONE);
    assert_int_equal(more_since(test, &follow), 1);
    assert_int_equal(follow.known.state, GH_KNOWN_GOOD);
    assert_int_equal(follow.known.revoked_at, 0);
    assert_true(follow.known.version > before);

    /* of others nothing is seen, and nothing has to be looked at again */
    before = follow.after.issued;
    issue(test, "others", 6000, 2);
    assert_int_equal(more_since(test, &follow), 0);
    assert_true(follow.after.issued > before);
}

static void test_limit(void **state)
{
    store_test_t *test = *state;
    follow_t follow = { .issuer = "devices", .limit = 7, .p = test->p };
    int i, rounds = 0, seen = 0;

    must_read(test->store, walk, &follow);
    follow.after.status = follow.after.issued = follow.change;
    issue(test, "devices", 2 * MANY, 25);
    for (i = 0; i < 10; i++) {
        set_status(test, 100 + i, GH_STATUS_REVOKED, 1);
    }
    memset(follow.states, 0, sizeof(follow.states));
    do {
        seen += more_since(test, &follow);
        assert_true(follow.count <= 2 * follow.limit);
        rounds++;
    } while (follow.more);
    assert_int_equal(seen, 35);
    assert_int_equal(rounds, 4);
    assert_int_equal(more_since(test, &follow), 0);
}

static apr_status_t stop_at_second(void *baton, const gh_known_certificate_t *certificate)
{
    return ++*(int *)baton == 2 ? APR_EGENERAL : APR_SUCCESS;
}

static apr_status_t stopped_walk(gh_transaction_t *transaction, void *baton)
{
    apr_int64_t change;

    return gh_changes_walk(transaction, "devices", stop_at_second, baton, &change);
}

static void test_callback_ends_walk(void **state)
{
    store_test_t *test = *state;
    gh_result_t result;
    int count = 0;

    gh_result_clear(&result);
    assert_int_equal(gh_store_read(test->store, stopped_walk, &count, &result), APR_EGENERAL);
    assert_int_equal(count, 2);
}

int run_changes_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_since),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_callback_ends_walk)
    };

    return cmocka_run_group_tests_name("changes, sqlite", tests, open_sqlite, close_store)
         + cmocka_run_group_tests_name("changes, pgsql", tests, open_pgsql, close_store);
}
