/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <string.h>

#include "status.h"
#include "store/pins.h"

/* Pins and TLS certificates of endpoints, on both back ends. */

typedef struct {
    const char *thumbprint;
    const char *role;
    apr_time_t now;
    const char *version;
    apr_array_header_t *list;
    gh_endpoint_record_t *endpoint;
    apr_pool_t *p;
} work_t;

static apr_status_t put(gh_transaction_t *transaction, void *baton)
{
    return gh_pin_put(transaction, baton);
}

static apr_status_t remove_one(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_pin_remove(transaction, w->thumbprint, w->role);
}

static apr_status_t use(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_pin_used(transaction, w->thumbprint, w->now);
}

static apr_status_t list(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    apr_status_t rv = gh_pins_version(transaction, &w->version, w->p);

    return rv == APR_SUCCESS ? gh_pin_list(transaction, &w->list, w->p) : rv;
}

static apr_status_t put_endpoint(gh_transaction_t *transaction, void *baton)
{
    return gh_endpoint_put(transaction, baton);
}

static apr_status_t find_endpoint(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    apr_status_t rv = gh_pins_version(transaction, &w->version, w->p);

    return rv == APR_SUCCESS ? gh_endpoint_find(transaction, "api", &w->endpoint, w->p) : rv;
}

static void expect(store_test_t *test, gh_store_work_fn *work, void *baton, apr_status_t expected)
{
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_store_write(test->store, work, baton, &result), expected);
}

static gh_pin_record_t *pin(work_t *w, int i)
{
    return APR_ARRAY_IDX(w->list, i, gh_pin_record_t *);
}

static void test_pins(void **state)
{
    store_test_t *test = *state;
    gh_pin_record_t record = { "sha256:aa", "uem", "a label", 1000, "root", 0, 0 };
    work_t w = { .p = test->p };
    const char *version;

    expect(test, list, &w, APR_SUCCESS);
    assert_string_equal(w.version, "");
    assert_int_equal(w.list->nelts, 0);
    expect(test, put, &record, APR_SUCCESS);
    record.role = "provider";
    record.label = NULL;
    record.expires = 5000;
    expect(test, put, &record, APR_SUCCESS);
    expect(test, list, &w, APR_SUCCESS);
    assert_int_equal(w.list->nelts, 2);
    assert_string_equal(pin(&w, 0)->role, "provider");
    assert_null(pin(&w, 0)->label);
    assert_int_equal(pin(&w, 0)->expires, 5000);
    assert_string_equal(pin(&w, 1)->label, "a label");
    assert_string_equal(pin(&w, 1)->created_by, "root");
    version = w.version;
    /* that it was used is no change, and does not go back */
    w.thumbprint = "sha256:aa";
    w.now = 7000;
    expect(test, use, &w, APR_SUCCESS);
    w.now = 6000;
    expect(test, use, &w, APR_SUCCESS);
    expect(test, list, &w, APR_SUCCESS);
    assert_string_equal(w.version, version);
    assert_int_equal(pin(&w, 0)->last_used, 7000);
    assert_int_equal(pin(&w, 1)->last_used, 7000);
    /* the same again changes what it says */
    record.created_by = "somebody else";
    record.expires = 9000;
    expect(test, put, &record, APR_SUCCESS);
    expect(test, list, &w, APR_SUCCESS);
    assert_string_not_equal(w.version, version);
    assert_int_equal(w.list->nelts, 2);
    assert_int_equal(pin(&w, 0)->expires, 9000);
    assert_string_equal(pin(&w, 0)->created_by, "root");
    w.role = "uem";
    expect(test, remove_one, &w, APR_SUCCESS);
    expect(test, remove_one, &w, APR_NOTFOUND);
    w.role = NULL;
    expect(test, remove_one, &w, APR_SUCCESS);
    expect(test, list, &w, APR_SUCCESS);
    assert_int_equal(w.list->nelts, 0);
}

static void test_endpoints(void **state)
{
    store_test_t *test = *state;
    const gh_bytes_t bytes = { (const unsigned char *)"\0\1\2", 3 };
    gh_endpoint_record_t record = { "api", 1, bytes, "k1", bytes, bytes, 1000, "admin" };
    work_t w = { .p = test->p };
    const char *version;

    expect(test, find_endpoint, &w, APR_NOTFOUND);
    expect(test, put_endpoint, &record, APR_SUCCESS);
    /* of two who change it at the same time, one does */
    expect(test, put_endpoint, &record, GH_ECONFLICT);
    expect(test, find_endpoint, &w, APR_SUCCESS);
    version = w.version;
    record.generation = 2;
    record.key_id = "k2";
    expect(test, put_endpoint, &record, APR_SUCCESS);
    expect(test, find_endpoint, &w, APR_SUCCESS);
    assert_string_not_equal(w.version, version);
    assert_int_equal(w.endpoint->generation, 2);
    assert_string_equal(w.endpoint->key_id, "k2");
    assert_int_equal(w.endpoint->sealed.length, 3);
    assert_memory_equal(w.endpoint->chain.data, bytes.data, 3);
}

int run_pin_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_endpoints)
    };

    return cmocka_run_group_tests_name("pins, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("pins, PostgreSQL", tests, open_pgsql, close_store);
}
