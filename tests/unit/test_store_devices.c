/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <pthread.h>
#include <string.h>

#include <apr_strings.h>

#include "store/devices.h"

/* Device registrations, on both back ends: every member, and a single use under many threads. */

#define THREADS 50

typedef struct {
    apr_pool_t *p;
    const char *tenant;
    const char *fqdn;
    const char *id;
    int limit;
    apr_time_t now;
    gh_device_record_t *found;
    apr_array_header_t *list;
} work_t;

static apr_status_t insert(gh_transaction_t *transaction, void *baton)
{
    return gh_device_insert(transaction, baton);
}

static apr_status_t find(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_device_find(transaction, w->tenant, w->fqdn, &w->found, w->p);
}

static apr_status_t list(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_device_list(transaction, w->tenant, w->fqdn, w->id, w->limit, &w->list, w->p);
}

static apr_status_t use(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_device_use(transaction, w->id, "enrolment", w->now);
}

static apr_status_t remove_one(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_device_remove(transaction, w->id);
}

static void expect(store_test_t *test, gh_store_work_fn *work, void *baton, apr_status_t expected)
{
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_store_write(test->store, work, baton, &result), expected);
}

static void test_device(void **state)
{
    store_test_t *test = *state;
    gh_device_record_t plain = {
        .id = gh_random_id(test->p), .tenant = "acme", .fqdn = "b.example", .created = 100
    };
    gh_device_record_t full = {
        .id = gh_random_id(test->p), .tenant = "acme", .fqdn = "a.example", .issuer = "devices",
        .profile = "p", .secret_mac = digest_of(1, test->p), .secret_bits = 160, .single_use = 1,
        .address = "192.0.2.1", .serial_number = "FTX1", .created = 101
    };
    gh_device_record_t twin = plain;
    work_t w = { .p = test->p, .tenant = "acme", .fqdn = "b.example", .now = 200 };

    expect(test, find, &w, APR_NOTFOUND);
    must_write(test->store, insert, &plain);
    must_write(test->store, insert, &full);
    twin.id = gh_random_id(test->p);
    expect(test, insert, &twin, GH_ECONFLICT);
    twin.tenant = "beta";
    must_write(test->store, insert, &twin);

    must_read(test->store, find, &w);
    assert_string_equal(w.found->id, plain.id);
    assert_null(w.found->issuer);
    assert_null(w.found->profile);
    assert_null(w.found->secret_mac.data);
    assert_int_equal(w.found->secret_bits, 0);
    assert_int_equal(w.found->single_use, 0);
    assert_null(w.found->address);
    assert_null(w.found->serial_number);
    assert_int_equal(w.found->created, 100);
    assert_int_equal(w.found->used_at, 0);
    assert_null(w.found->used_by);
    w.fqdn = "a.example";
    must_read(test->store, find, &w);
    assert_string_equal(w.found->tenant, "acme");
    assert_string_equal(w.found->fqdn, "a.example");
    assert_string_equal(w.found->issuer, "devices");
    assert_string_equal(w.found->profile, "p");
    assert_int_equal(w.found->secret_mac.length, 32);
    assert_memory_equal(w.found->secret_mac.data, full.secret_mac.data, 32);
    assert_int_equal(w.found->secret_bits, 160);
    assert_int_equal(w.found->single_use, 1);
    assert_string_equal(w.found->address, "192.0.2.1");
    assert_string_equal(w.found->serial_number, "FTX1");

    w.id = full.id;
    expect(test, use, &w, APR_SUCCESS);
    expect(test, use, &w, GH_EREFUSED);
    must_read(test->store, find, &w);
    assert_int_equal(w.found->used_at, 200);
    assert_string_equal(w.found->used_by, "enrolment");
    w.id = plain.id;
    expect(test, use, &w, APR_SUCCESS);
    expect(test, use, &w, APR_SUCCESS);
    expect(test, remove_one, &w, APR_SUCCESS);
    expect(test, remove_one, &w, APR_NOTFOUND);
    expect(test, use, &w, GH_EREFUSED);
}

static void test_list(void **state)
{
    store_test_t *test = *state;
    work_t w = { .p = test->p };

    /* what the test before has left: beta's twin of b.example, and a.example */
    must_read(test->store, list, &w);
    assert_int_equal(w.list->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(w.list, 0, gh_device_record_t *)->fqdn, "a.example");
    assert_string_equal(APR_ARRAY_IDX(w.list, 1, gh_device_record_t *)->tenant, "beta");
    w.id = APR_ARRAY_IDX(w.list, 1, gh_device_record_t *)->id;
    must_read(test->store, list, &w);
    assert_int_equal(w.list->nelts, 1);
    w.tenant = "acme";
    must_read(test->store, list, &w);
    assert_int_equal(w.list->nelts, 0);
    w = (work_t){ .p = test->p, .fqdn = "b.example" };
    must_read(test->store, list, &w);
    assert_int_equal(w.list->nelts, 1);
    w = (work_t){ .p = test->p, .limit = 1 };
    must_read(test->store, list, &w);
    assert_int_equal(w.list->nelts, 1);
}

typedef struct {
    gh_store_t *store;
    const char *id;
    int number;
    apr_status_t status;
} thread_t;

static apr_status_t enrol(gh_transaction_t *transaction, void *baton)
{
    thread_t *thread = baton;
    apr_pool_t *p;
    apr_status_t rv;

    apr_pool_create(&p, NULL);
    rv = gh_device_use(transaction, thread->id, apr_itoa(p, thread->number), 100);
    if (rv == APR_SUCCESS) {
        rv = gh_enrolment_insert(transaction, enrolment_of(5000 + thread->number, p));
    }
    apr_pool_destroy(p);
    return rv;
}

static void *enrol_main(void *data)
{
    thread_t *thread = data;
    gh_result_t result;

    gh_result_clear(&result);
    thread->status = gh_store_write(thread->store, enrol, thread, &result);
    return NULL;
}

static void test_device_once(void **state)
{
    store_test_t *test = *state;
    gh_device_record_t record = {
        .id = gh_random_id(test->p), .tenant = "acme", .fqdn = "once.example", .single_use = 1,
        .created = 1
    };
    pthread_t ids[THREADS];
    thread_t threads[THREADS];
    apr_int64_t before, after;
    int i, won = 0;

    must_write(test->store, insert, &record);
    must_read(test->store, count_enrolments, &before);
    for (i = 0; i < THREADS; i++) {
        threads[i] = (thread_t){ test->store, record.id, i, -1 };
        pthread_create(&ids[i], NULL, enrol_main, &threads[i]);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        won += threads[i].status == APR_SUCCESS;
        assert_true(threads[i].status == APR_SUCCESS || threads[i].status == GH_EREFUSED);
    }
    assert_int_equal(won, 1);
    must_read(test->store, count_enrolments, &after);
    assert_int_equal(after, before + 1);
}

int run_device_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_device_once)
    };

    return cmocka_run_group_tests_name("devices, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("devices, PostgreSQL", tests, open_pgsql, close_store);
}
