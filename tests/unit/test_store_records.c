/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <string.h>

#include <apr_strings.h>

/* Every function of the records, on both back ends. */

/** What most works here need: a test's pool and one thing to take along. */
typedef struct {
    apr_pool_t *p;
    void *given;
    void *found;
    apr_int64_t number;
} work_t;

static void expect(gh_store_t *store, gh_store_work_fn *work, void *baton, apr_status_t expected)
{
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_store_write(store, work, baton, &result), expected);
}

static void assert_bytes(gh_bytes_t a, gh_bytes_t b)
{
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.data, b.data, b.length);
}

/* Issuers */

static apr_status_t register_other(gh_transaction_t *transaction, void *baton)
{
    unsigned char key[32] = { 9 };
    gh_bytes_t key_sha256 = { key, sizeof(key) };

    return gh_issuer_register(transaction, "devices", key_sha256, bytes_of("other"));
}

static apr_status_t register_later(gh_transaction_t *transaction, void *baton)
{
    unsigned char key[32] = { 5 };
    gh_bytes_t key_sha256 = { key, sizeof(key) };

    return gh_issuer_register(transaction, "later", key_sha256, bytes_of("later"));
}

static apr_status_t register_renewed(gh_transaction_t *transaction, void *baton)
{
    unsigned char key[32] = { 1, 2, 3 };
    gh_bytes_t key_sha256 = { key, sizeof(key) };

    return gh_issuer_register(transaction, "devices", key_sha256, bytes_of("renewed"));
}

static apr_status_t issuer_certificate(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_query_t *query = gh_query(transaction, "SELECT certificate FROM issuer WHERE name = $1");
    gh_bytes_t bytes;
    apr_status_t rv;

    gh_bind_text(query, "devices");
    if ((rv = gh_step(query)) == APR_SUCCESS) {
        bytes = gh_column_bytes(query, 0, w->p);
        w->found = apr_pstrmemdup(w->p, (const char *)bytes.data, bytes.length);
        rv = gh_execute(query);
    }
    return rv;
}

static void test_issuer(void **state)
{
    store_test_t *test = *state;
    work_t w = { .p = test->p };

    must_write(test->store, register_devices, NULL);
    must_write(test->store, register_devices, NULL);
    expect(test->store, register_other, NULL, GH_ECONFLICT);
    must_read(test->store, issuer_certificate, &w);
    assert_string_equal(w.found, "certificate");
    must_write(test->store, register_renewed, NULL);
    must_read(test->store, issuer_certificate, &w);
    assert_string_equal(w.found, "renewed");
}

/* Certificates */

static apr_status_t insert_certificate(gh_transaction_t *transaction, void *baton)
{
    return gh_certificate_insert(transaction, baton);
}

static apr_status_t find_certificate(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_certificate_record_t *record = w->given;

    return gh_certificate_find(transaction, record->issuer, record->serial,
                               (apr_array_header_t **)&w->found, w->p);
}

static gh_certificate_record_t *find_one(store_test_t *test, gh_certificate_record_t *record)
{
    work_t w = { .p = test->p, .given = record };
    apr_array_header_t *found;

    must_read(test->store, find_certificate, &w);
    found = w.found;
    assert_int_equal(found->nelts, 1);
    return APR_ARRAY_IDX(found, 0, gh_certificate_record_t *);
}

static void test_certificate(void **state)
{
    store_test_t *test = *state;
    gh_certificate_record_t *record = certificate_of(1, test->p), *found, query;
    work_t w = { .p = test->p };
    gh_result_t result;

    record->enrolment = gh_random_id(test->p);
    must_write(test->store, insert_certificate, record);
    assert_int_equal(gh_store_write(test->store, insert_certificate, record, &result),
                     GH_ECONFLICT);
    assert_int_equal(result.failure, GH_FAILURE_CONFLICT);

    found = find_one(test, record);
    assert_string_equal(found->issuer, "devices");
    assert_bytes(found->serial, record->serial);
    assert_int_equal(found->status, GH_STATUS_GOOD);
    assert_int_equal(found->reason, GH_REASON_NONE);
    assert_int_equal(found->revoked_at, 0);
    assert_int_equal(found->not_before, record->not_before);
    assert_int_equal(found->not_after, record->not_after);
    assert_true(found->change > 0);
    assert_string_equal(found->subject, record->subject);
    assert_string_equal(found->sans, record->sans);
    assert_string_equal(found->profile, record->profile);
    assert_string_equal(found->enrolment, record->enrolment);
    assert_bytes(found->sha256, record->sha256);
    assert_bytes(found->key_sha256, record->key_sha256);
    assert_bytes(found->der, record->der);

    query = *record;
    query.issuer = NULL;
    find_one(test, &query);
    query.issuer = "nobody";
    w.given = &query;
    must_read(test->store, find_certificate, &w);
    assert_int_equal(((apr_array_header_t *)w.found)->nelts, 0);

    query = *certificate_of(2, test->p);
    query.issuer = "nobody";
    expect(test->store, insert_certificate, &query, APR_NOTFOUND);
    query = *certificate_of(3, test->p);
    query.sha256.length = 31;
    expect(test->store, insert_certificate, &query, APR_EINVAL);
}

typedef struct {
    gh_certificate_record_t *record;
    gh_status_t status;
    int reason;
    apr_time_t now;
    int changed;
    apr_int64_t last;
} change_t;

static apr_status_t change_status(gh_transaction_t *transaction, void *baton)
{
    change_t *c = baton;

    return gh_certificate_set_status(transaction, c->record->issuer, c->record->serial, c->status,
                                     c->reason, c->now + 5, c->now, &c->changed);
}

static apr_status_t last_change(gh_transaction_t *transaction, void *baton)
{
    change_t *c = baton;

    return gh_certificate_last_change(transaction, c->record->issuer, &c->last);
}

static apr_status_t read_status(gh_transaction_t *transaction, void *baton)
{
    change_t *c = baton;

    return gh_certificate_status(transaction, c->record->issuer, c->record->serial, &c->status);
}

/* One certificate through the states, in this order. */
static void test_status(void **state)
{
    const apr_time_t t = apr_time_from_sec(5000);
    const struct {
        gh_status_t status;
        int reason;
        apr_time_t now;
        apr_status_t expected;
        int changed;
        apr_time_t revoked_at;      /* afterwards */
    } steps[] = {
        { GH_STATUS_GOOD, GH_REASON_NONE, t, APR_SUCCESS, 0, 0 },
        { GH_STATUS_HELD, 6, t + 1, APR_SUCCESS, 1, t + 1 },
        { GH_STATUS_HELD, 6, t + 2, APR_SUCCESS, 0, t + 1 },
        { GH_STATUS_GOOD, GH_REASON_NONE, t + 3, APR_SUCCESS, 1, 0 },
        { GH_STATUS_HELD, 6, t + 4, APR_SUCCESS, 1, t + 4 },
        { GH_STATUS_REVOKED, 0, t + 5, APR_SUCCESS, 1, t + 4 },
        { GH_STATUS_REVOKED, GH_REASON_NONE, t + 6, APR_SUCCESS, 0, t + 4 },
        { GH_STATUS_REVOKED, 4, t + 7, APR_SUCCESS, 0, t + 4 },
        { GH_STATUS_REVOKED, 1, t + 8, APR_SUCCESS, 1, t + 4 },
        { GH_STATUS_REVOKED, 1, t + 9, APR_SUCCESS, 0, t + 4 },
        { GH_STATUS_REVOKED, 3, t + 9, APR_SUCCESS, 0, t + 4 },
        { GH_STATUS_HELD, 6, t + 9, GH_EREFUSED, 0, t + 4 },
        { GH_STATUS_GOOD, GH_REASON_NONE, t + 9, GH_EREFUSED, 0, t + 4 }
    };
    store_test_t *test = *state;
    gh_certificate_record_t *record = certificate_of(10, test->p), *found;
    apr_int64_t before = 0;
    change_t c = { .record = record };
    apr_size_t i;

    must_write(test->store, insert_certificate, record);
    must_read(test->store, last_change, &c);
    assert_int_equal(c.last, 0);
    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        c.status = steps[i].status;
        c.reason = steps[i].reason;
        c.now = steps[i].now;
        c.changed = -1;
        expect(test->store, change_status, &c, steps[i].expected);
        assert_int_equal(c.changed, steps[i].changed);
        found = find_one(test, record);
        assert_int_equal(found->revoked_at, steps[i].revoked_at);
        must_read(test->store, last_change, &c);
        if (steps[i].changed) {
            assert_int_equal(found->status, steps[i].status);
            assert_int_equal(found->change, c.last);
            assert_int_equal(found->invalid_from,
                             found->status == GH_STATUS_GOOD ? 0 : steps[i].now + 5);
            assert_true(c.last > before);
        }
        else {
            assert_int_equal(c.last, before);
        }
        before = c.last;
    }
    assert_int_equal(found->reason, 1);
    must_read(test->store, read_status, &c);
    assert_int_equal(c.status, GH_STATUS_REVOKED);

    c.record = certificate_of(11, test->p);
    expect(test->store, read_status, &c, APR_NOTFOUND);
    expect(test->store, change_status, &c, APR_NOTFOUND);
    must_write(test->store, insert_certificate, c.record);
    c.status = GH_STATUS_REVOKED;
    c.now = c.record->not_after + 1;
    expect(test->store, change_status, &c, GH_EREFUSED);
}

static apr_status_t list_certificates(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_certificate_list(transaction, w->given, (apr_array_header_t **)&w->found, w->p);
}

/** Lists; the serial numbers' last two digits as one text. */
static const char *list_of(store_test_t *test, gh_certificate_filter_t *filter)
{
    work_t w = { .p = test->p, .given = filter };
    apr_array_header_t *found;
    gh_certificate_record_t *record;
    const char *text = "", *serial;
    int i;

    must_read(test->store, list_certificates, &w);
    found = w.found;
    for (i = 0; i < found->nelts; i++) {
        record = APR_ARRAY_IDX(found, i, gh_certificate_record_t *);
        assert_int_equal(record->der.length, 0);
        serial = gh_hex(test->p, record->serial.data, record->serial.length);
        text = apr_pstrcat(test->p, text, i ? " " : "", serial + strlen(serial) - 2, NULL);
    }
    return text;
}

static void test_list(void **state)
{
    store_test_t *test = *state;
    gh_certificate_filter_t filter = { .profile = "list" };
    gh_certificate_record_t *record;
    change_t c = { .now = apr_time_from_sec(5000) };
    int i;

    for (i = 20; i < 26; i++) {
        record = certificate_of(i, test->p);
        record->profile = "list";
        record->not_after = apr_time_from_sec(i == 22 || i == 23 ? 6000 : 9000);
        must_write(test->store, insert_certificate, record);
        if (i >= 23 && i <= 24) {
            c.record = record;
            c.status = i == 23 ? GH_STATUS_REVOKED : GH_STATUS_HELD;
            c.reason = i == 23 ? 4 : 6;
            must_write(test->store, change_status, &c);
        }
    }
    assert_string_equal(list_of(test, &filter), "20 21 22 23 24 25");
    filter.now = apr_time_from_sec(7000);
    filter.status = "good";
    assert_string_equal(list_of(test, &filter), "20 21 25");
    filter.status = "held";
    assert_string_equal(list_of(test, &filter), "24");
    filter.status = "revoked";
    assert_string_equal(list_of(test, &filter), "23");
    filter.status = "expired";
    assert_string_equal(list_of(test, &filter), "22");
    filter.status = NULL;
    filter.limit = 2;
    assert_string_equal(list_of(test, &filter), "20 21");
    filter.after_issuer = "devices";
    filter.after_serial = certificate_of(21, test->p)->serial;
    assert_string_equal(list_of(test, &filter), "22 23");
    filter.issuer = "devices";
    assert_string_equal(list_of(test, &filter), "22 23");
    filter.issuer = NULL;
    record = certificate_of(21, test->p);
    record->issuer = "later";
    record->profile = "list";
    must_write(test->store, register_later, NULL);
    must_write(test->store, insert_certificate, record);
    filter.limit = 5;
    assert_string_equal(list_of(test, &filter), "22 23 24 25 21");
    filter.after_issuer = "later";
    assert_string_equal(list_of(test, &filter), "");
    filter.after_issuer = "earlier";
    assert_string_equal(list_of(test, &filter), "21");
    filter.limit = 0;
    filter.issuer = "devices";
    filter.after_issuer = NULL;
    filter.subject = "cn=DEVICE 24";
    assert_string_equal(list_of(test, &filter), "24");
    filter.subject = "Acme_100%";
    assert_string_equal(list_of(test, &filter), "20 21 22 23 24 25");
    filter.subject = "Acme?100";
    assert_string_equal(list_of(test, &filter), "");
    filter.subject = "device%O";
    assert_string_equal(list_of(test, &filter), "");
    filter.subject = NULL;
    filter.issuer = "nobody";
    assert_string_equal(list_of(test, &filter), "");
}

typedef struct {
    const char *issuer;
    apr_time_t not_after_min;
    int count;
    apr_int64_t last;
    int stop_at;
    gh_transaction_t *transaction;  /* to be misused by the callback; or NULL */
} walk_t;

static apr_status_t see_revoked(const gh_certificate_record_t *record, void *baton)
{
    walk_t *walk = baton;
    apr_int64_t number = 0;
    apr_size_t i;

    for (i = 0; i < record->serial.length; i++) {
        number = number << 8 | record->serial.data[i];
    }
    if (number <= walk->last || record->status == GH_STATUS_GOOD || record->revoked_at == 0
        || record->not_after <= walk->not_after_min) {
        return APR_EGENERAL;
    }
    walk->last = number;
    if (walk->transaction != NULL) {
        return gh_next_change(walk->transaction, &number);
    }
    return ++walk->count == walk->stop_at ? APR_EINTR : APR_SUCCESS;
}

static apr_status_t each_revoked(gh_transaction_t *transaction, void *baton)
{
    walk_t *walk = baton;

    walk->count = 0;
    walk->last = 0;
    if (walk->transaction != NULL) {
        walk->transaction = transaction;
    }
    return gh_certificate_each_revoked(transaction, walk->issuer, walk->not_after_min,
                                       see_revoked, walk);
}

static void test_each_revoked(void **state)
{
    store_test_t *test = *state;
    gh_certificate_record_t *record;
    change_t c = { .now = apr_time_from_sec(5000), .status = GH_STATUS_REVOKED, .reason = 0 };
    walk_t walk = { .issuer = "devices", .not_after_min = apr_time_from_sec(8000000) };
    gh_result_t result;
    int i;

    for (i = 30; i < 40; i++) {
        record = certificate_of(i, test->p);
        record->not_after = apr_time_from_sec(8000000 + i - 32);
        must_write(test->store, insert_certificate, record);
        c.record = record;
        if (i != 35) {
            must_write(test->store, change_status, &c);
        }
    }
    must_read(test->store, each_revoked, &walk);
    assert_int_equal(walk.count, 6);
    walk.issuer = "nobody";
    must_read(test->store, each_revoked, &walk);
    assert_int_equal(walk.count, 0);
    walk.issuer = "devices";
    walk.stop_at = 3;
    assert_int_equal(gh_store_read(test->store, each_revoked, &walk, &result), APR_EINTR);
    assert_int_equal(walk.count, 3);
    walk.stop_at = 0;
    walk.transaction = (gh_transaction_t *)&walk;
    assert_int_equal(gh_store_read(test->store, each_revoked, &walk, &result), APR_EINVAL);
    assert_string_equal(result.number, "GH0049");
    walk.transaction = NULL;
    must_read(test->store, each_revoked, &walk);
    assert_int_equal(walk.count, 6);
}

/* Challenges */

static apr_status_t insert_challenge(gh_transaction_t *transaction, void *baton)
{
    return gh_challenge_insert(transaction, baton);
}

static apr_status_t find_challenge(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_challenge_find(transaction, *(gh_bytes_t *)w->given,
                             (gh_challenge_record_t **)&w->found, w->p);
}

static apr_status_t consume_challenge(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_challenge_consume(transaction, w->given, "enrolment", w->number);
}

static apr_status_t purge_challenges(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_challenge_purge(transaction, w->number, &w->number);
}

static void test_challenge(void **state)
{
    store_test_t *test = *state;
    gh_challenge_record_t record = {
        .id = gh_random_id(test->p), .sha256 = digest_of(50, test->p), .set = "", .tenant = "acme",
        .issuer = "devices", .profile = "p", .created = 100, .expires = 200
    };
    gh_challenge_record_t *found;
    work_t w = { .p = test->p, .given = &record.sha256 };

    expect(test->store, find_challenge, &w, APR_NOTFOUND);
    must_write(test->store, insert_challenge, &record);
    expect(test->store, insert_challenge, &record, GH_ECONFLICT);
    must_read(test->store, find_challenge, &w);
    found = w.found;
    assert_string_equal(found->id, record.id);
    assert_bytes(found->sha256, record.sha256);
    assert_string_equal(found->set, "");
    assert_string_equal(found->tenant, "acme");
    assert_string_equal(found->issuer, "devices");
    assert_string_equal(found->profile, "p");
    assert_null(found->subject);
    assert_int_equal(found->created, 100);
    assert_int_equal(found->expires, 200);
    assert_int_equal(found->used_at, 0);

    w.given = (void *)gh_random_id(test->p);
    expect(test->store, consume_challenge, &w, GH_EREFUSED);
    w.given = (void *)record.id;
    w.number = 200;
    expect(test->store, consume_challenge, &w, GH_EREFUSED);
    w.number = 199;
    expect(test->store, consume_challenge, &w, APR_SUCCESS);
    expect(test->store, consume_challenge, &w, GH_EREFUSED);
    w.given = &record.sha256;
    must_read(test->store, find_challenge, &w);
    found = w.found;
    assert_int_equal(found->used_at, 199);
    assert_string_equal(found->used_by, "enrolment");

    w.number = 200;
    must_write(test->store, purge_challenges, &w);
    assert_int_equal(w.number, 0);
    w.number = 201;
    must_write(test->store, purge_challenges, &w);
    assert_int_equal(w.number, 1);
}

/* CRLs */

static apr_status_t insert_crl(gh_transaction_t *transaction, void *baton)
{
    return gh_crl_insert(transaction, baton);
}

static apr_status_t newest_crl(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_crl_newest(transaction, w->given, (int)w->number, (gh_crl_record_t **)&w->found,
                         w->p);
}

static apr_status_t purge_crls(gh_transaction_t *transaction, void *baton)
{
    return gh_crl_purge(transaction, "devices", 2);
}

static apr_status_t count_crls(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "SELECT count(*), min(number) FROM crl");
    apr_status_t rv = gh_step(query);

    if (rv == APR_SUCCESS) {
        *(apr_int64_t *)baton = gh_column_int64(query, 0) * 100 + gh_column_int64(query, 1);
        gh_query_end(query);
    }
    return rv;
}

static void test_crl(void **state)
{
    store_test_t *test = *state;
    gh_crl_record_t record = {
        .issuer = "devices", .this_update = 5, .next_update = 6, .change = 7, .entries = 8,
        .der = bytes_of("crl")
    };
    gh_crl_record_t *found;
    work_t w = { .p = test->p, .given = (void *)"devices", .number = 1 };
    apr_int64_t count;

    expect(test->store, newest_crl, &w, APR_NOTFOUND);
    for (record.number = 1; record.number <= 12; record.number++) {
        must_write(test->store, insert_crl, &record);
    }
    record.number = 12;
    expect(test->store, insert_crl, &record, GH_ECONFLICT);
    must_read(test->store, newest_crl, &w);
    found = w.found;
    assert_string_equal(found->issuer, "devices");
    assert_int_equal(found->number, 12);
    assert_int_equal(found->this_update, 5);
    assert_int_equal(found->next_update, 6);
    assert_int_equal(found->change, 7);
    assert_int_equal(found->entries, 8);
    assert_bytes(found->der, record.der);
    w.number = 0;
    must_read(test->store, newest_crl, &w);
    assert_int_equal(((gh_crl_record_t *)w.found)->der.length, 0);
    must_write(test->store, purge_crls, NULL);
    must_read(test->store, count_crls, &count);
    assert_int_equal(count, 211);
}

int run_record_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_issuer),
        cmocka_unit_test(test_certificate),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_each_revoked),
        cmocka_unit_test(test_challenge),
        cmocka_unit_test(test_crl)
    };

    return cmocka_run_group_tests_name("records, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("records, PostgreSQL", tests, open_pgsql, close_store);
}
