/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "audit.h"

/* Enrolments, leases, sealed keys, settings and audit rows, and what statements do, on both back
 * ends. */

typedef struct {
    apr_pool_t *p;
    const char *id;
    gh_bytes_t key;
    gh_enrolment_record_t *record;
    apr_array_header_t *records;
    int state;
    int limit;
    apr_int64_t number;
    const char *text;
} work_t;

static apr_status_t try_write(store_test_t *test, gh_store_work_fn *work, void *baton)
{
    gh_result_t result;

    gh_result_clear(&result);
    return gh_store_write(test->store, work, baton, &result);
}

static apr_status_t find(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return w->key.data != NULL
        ? gh_enrolment_find_key(transaction, w->key, &w->record, w->p)
        : gh_enrolment_find(transaction, w->id, &w->record, w->p);
}

typedef struct {
    const char *id;
    gh_enrolment_state_t from, to;
    const char *decided_by, *message;
    gh_bytes_t serial;
} move_t;

static apr_status_t move(gh_transaction_t *transaction, void *baton)
{
    move_t *m = baton;

    return gh_enrolment_move(transaction, m->id, m->from, m->to, m->decided_by, m->message,
                             m->serial, 77);
}

static apr_status_t retire(gh_transaction_t *transaction, void *baton)
{
    return gh_enrolment_retire(transaction, baton, 99);
}

static void test_enrolment(void **state)
{
    store_test_t *test = *state;
    gh_enrolment_record_t *record = enrolment_of(1, test->p), *found;
    work_t w = { .p = test->p, .id = record->id };
    move_t m = { record->id, GH_ENROLMENT_WAITING, GH_ENROLMENT_APPROVED, "operator", NULL,
                 { NULL, 0 } };

    assert_int_equal(try_write(test, find, &w), APR_NOTFOUND);
    must_write(test->store, insert_enrolment, record);
    record->id = gh_ordered_id(apr_time_now(), test->p);
    assert_int_equal(try_write(test, insert_enrolment, record), GH_ECONFLICT);

    must_read(test->store, find, &w);
    found = w.record;
    assert_string_equal(found->id, w.id);
    assert_memory_equal(found->key.data, record->key.data, 32);
    assert_int_equal(found->state, GH_ENROLMENT_WAITING);
    assert_string_equal(found->protocol, "scep");
    assert_string_equal(found->tenant, "acme");
    assert_string_equal(found->issuer, "devices");
    assert_string_equal(found->profile, record->profile);
    assert_string_equal(found->transaction, record->transaction);
    assert_memory_equal(found->signer_sha256.data, record->signer_sha256.data, 32);
    assert_string_equal(found->subject, "CN=device");
    assert_memory_equal(found->request_sha256.data, record->request_sha256.data, 32);
    assert_memory_equal(found->request.data, "request", found->request.length);
    assert_memory_equal(found->plan.data, "plan", found->plan.length);
    assert_string_equal(found->location, record->location);
    assert_string_equal(found->client, record->client);
    assert_null(found->user);
    assert_string_equal(found->rule, "onetime");
    assert_null(found->message);
    assert_null(found->serial.data);
    assert_int_equal(found->created, record->created);

    must_write(test->store, move, &m);
    assert_int_equal(try_write(test, move, &m), APR_NOTFOUND);
    m.from = GH_ENROLMENT_APPROVED;
    m.to = GH_ENROLMENT_ISSUED;
    m.decided_by = NULL;
    assert_int_equal(try_write(test, move, &m), APR_EINVAL);     /* issued needs a serial */
    m.serial = bytes_of("serial");
    m.message = "done";
    must_write(test->store, move, &m);
    w.key = record->key;
    must_read(test->store, find, &w);
    found = w.record;
    assert_int_equal(found->state, GH_ENROLMENT_ISSUED);
    assert_string_equal(found->decided_by, "operator");
    assert_string_equal(found->message, "done");
    assert_memory_equal(found->serial.data, "serial", 6);
    assert_int_equal(found->plan.length, 0);
    assert_int_equal(found->updated, 77);

    must_write(test->store, retire, (void *)w.id);
    assert_int_equal(try_write(test, find, &w), APR_NOTFOUND);
    must_write(test->store, insert_enrolment, record);
}

static apr_status_t list(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_enrolment_list(transaction, w->state, w->limit, &w->records, w->p);
}

/* What is there already is no failure: the transaction goes on. */
static apr_status_t insert_twice(gh_transaction_t *transaction, void *baton)
{
    gh_enrolment_record_t record = *(gh_enrolment_record_t *)baton;
    apr_status_t rv = gh_enrolment_insert_new(transaction, &record);

    if (rv == APR_SUCCESS) {
        record.id = "0123456789abcdef0123456789abcdef";
        rv = gh_enrolment_insert_new(transaction, &record);
        rv = rv == APR_EEXIST ? gh_setting_put(transaction, "twice", "yes") : APR_EGENERAL;
    }
    return rv;
}

static apr_status_t claim(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_enrolment_claim_approved(transaction, w->text, w->number, w->limit, &w->records,
                                       w->p);
}

static apr_status_t count_approved(gh_transaction_t *transaction, void *baton)
{
    return gh_enrolment_count_approved(transaction, &((work_t *)baton)->number);
}

static void test_claim(void **state)
{
    store_test_t *test = *state;
    gh_enrolment_record_t *record;
    work_t w = { .p = test->p, .text = "node 1", .number = apr_time_from_sec(60), .limit = 2 };
    int i;

    for (i = 0; i < 3; i++) {
        record = enrolment_of(100 + i, test->p);
        record->state = GH_ENROLMENT_APPROVED;
        record->created = apr_time_from_sec(1000000000) + i;
        must_write(test->store, insert_enrolment, record);
    }
    w.state = GH_ENROLMENT_APPROVED;
    must_read(test->store, list, &w);
    assert_int_equal(w.records->nelts, 2);
    record = APR_ARRAY_IDX(w.records, 0, gh_enrolment_record_t *);
    assert_int_equal(record->created, apr_time_from_sec(1000000000) + 2);
    assert_null(record->request.data);
    w.state = 0;
    w.limit = 0;
    must_read(test->store, list, &w);
    assert_true(w.records->nelts >= 3);

    w.limit = 2;
    must_write(test->store, claim, &w);
    assert_int_equal(w.records->nelts, 2);
    record = APR_ARRAY_IDX(w.records, 0, gh_enrolment_record_t *);
    assert_memory_equal(record->plan.data, "plan", 4);
    must_read(test->store, count_approved, &w);
    assert_int_equal(w.number, 1);
    w.text = "node 2";
    w.number = 1000;
    must_write(test->store, claim, &w);
    assert_int_equal(w.records->nelts, 1);
    usleep(20000);
    must_write(test->store, claim, &w);         /* a claim lapses */
    assert_int_equal(w.records->nelts, 1);
}

static void test_insert_new(void **state)
{
    store_test_t *test = *state;
    gh_enrolment_record_t *record = enrolment_of(150, test->p), *found;
    work_t w = { .p = test->p, .key = record->key, .limit = 2 };
    apr_int64_t before, after;
    int i;

    must_read(test->store, count_enrolments, &before);
    must_write(test->store, insert_twice, record);
    must_read(test->store, count_enrolments, &after);
    assert_int_equal(after, before + 1);
    must_read(test->store, find, &w);
    assert_string_equal(((gh_enrolment_record_t *)w.record)->id, record->id);

    for (i = 0; i < 3; i++) {           /* newest first, in the far future to be alone */
        record = enrolment_of(160 + i, test->p);
        record->created = apr_time_from_sec(90000000000) + apr_time_from_sec(i == 1 ? 9 : i);
        record->id = gh_ordered_id(record->created, test->p);
        must_write(test->store, insert_enrolment, record);
    }
    must_read(test->store, list, &w);
    assert_int_equal(w.records->nelts, 2);
    found = APR_ARRAY_IDX(w.records, 0, gh_enrolment_record_t *);
    assert_int_equal(found->created, apr_time_from_sec(90000000009));
    found = APR_ARRAY_IDX(w.records, 1, gh_enrolment_record_t *);
    assert_int_equal(found->created, apr_time_from_sec(90000000002));
}

static void test_states(void **state)
{
    gh_enrolment_state_t parsed;
    int i;

    for (i = GH_ENROLMENT_WAITING; i <= GH_ENROLMENT_CONFIRMING; i++) {
        assert_int_equal(gh_enrolment_state_parse(&parsed, gh_enrolment_state_name(i)),
                         APR_SUCCESS);
        assert_int_equal(parsed, i);
    }
    assert_string_equal(gh_enrolment_state_name(GH_ENROLMENT_IN_DOUBT), "in-doubt");
    assert_int_equal(gh_enrolment_state_parse(&parsed, "Issued"), APR_EINVAL);
}

typedef struct {
    const char *holder;
    apr_interval_time_t interval;
} lease_t;

static apr_status_t take(gh_transaction_t *transaction, void *baton)
{
    lease_t *lease = baton;

    return gh_lease_take(transaction, "crl devices", lease->holder, lease->interval);
}

static apr_status_t release(gh_transaction_t *transaction, void *baton)
{
    return gh_lease_release(transaction, "crl devices", ((lease_t *)baton)->holder);
}

static void test_lease(void **state)
{
    store_test_t *test = *state;
    lease_t a = { "a", apr_time_from_sec(60) }, b = { "b", apr_time_from_sec(60) };

    assert_int_equal(try_write(test, take, &a), APR_SUCCESS);
    assert_int_equal(try_write(test, take, &b), GH_EREFUSED);
    assert_int_equal(try_write(test, take, &a), APR_SUCCESS);
    assert_int_equal(try_write(test, release, &b), APR_SUCCESS);
    assert_int_equal(try_write(test, take, &b), GH_EREFUSED);
    assert_int_equal(try_write(test, release, &a), APR_SUCCESS);
    b.interval = 20000;
    assert_int_equal(try_write(test, take, &b), APR_SUCCESS);
    usleep(40000);
    assert_int_equal(try_write(test, take, &a), APR_SUCCESS);
    assert_int_equal(try_write(test, take, &b), GH_EREFUSED);
}

static apr_status_t insert_key(gh_transaction_t *transaction, void *baton)
{
    return gh_sealed_key_insert(transaction, baton);
}

static apr_status_t list_keys(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_sealed_key_list(transaction, "scep-ra", w->text, &w->records, w->p);
}

static void test_sealed_key(void **state)
{
    store_test_t *test = *state;
    gh_sealed_key_record_t record = {
        .purpose = "scep-ra", .issuer = "devices", .sealed = bytes_of("sealed"),
        .certificate = bytes_of("certificate"), .not_before = 5, .not_after = 6
    };
    gh_sealed_key_record_t *found;
    work_t w = { .p = test->p, .text = "devices" };

    must_read(test->store, list_keys, &w);
    assert_int_equal(w.records->nelts, 0);
    for (record.generation = 1; record.generation <= 2; record.generation++) {
        record.id = gh_random_id(test->p);
        must_write(test->store, insert_key, &record);
    }
    record.id = gh_random_id(test->p);
    record.generation = 2;
    assert_int_equal(try_write(test, insert_key, &record), GH_ECONFLICT);
    must_read(test->store, list_keys, &w);
    assert_int_equal(w.records->nelts, 2);
    found = APR_ARRAY_IDX(w.records, 0, gh_sealed_key_record_t *);
    assert_int_equal(found->generation, 2);
    assert_string_equal(found->purpose, "scep-ra");
    assert_string_equal(found->issuer, "devices");
    assert_memory_equal(found->sealed.data, "sealed", found->sealed.length);
    assert_memory_equal(found->certificate.data, "certificate", found->certificate.length);
    assert_int_equal(found->not_before, 5);
    assert_int_equal(found->not_after, 6);
    w.text = "other";
    must_read(test->store, list_keys, &w);
    assert_int_equal(w.records->nelts, 0);
}

static apr_status_t put(gh_transaction_t *transaction, void *baton)
{
    return gh_setting_put(transaction, "name", baton);
}

static apr_status_t get(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_setting_get(transaction, "name", &w->text, w->p);
}

static void test_setting(void **state)
{
    store_test_t *test = *state;
    work_t w = { .p = test->p };

    assert_int_equal(try_write(test, get, &w), APR_NOTFOUND);
    must_write(test->store, put, (void *)"one");
    must_write(test->store, put, (void *)"zw\303\266lf");
    must_read(test->store, get, &w);
    assert_string_equal(w.text, "zw\303\266lf");
}

static apr_status_t insert_audit(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_audit_event_t event = { .time = 5, .id = "request", .event = "revoke", .serial = "ab" };

    return gh_audit_insert(transaction, &event, w->text, (int)w->number);
}

static apr_status_t take_unlogged(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;

    return gh_audit_take_unlogged(transaction, 3, &w->records, w->p);
}

static apr_status_t count_unlogged(gh_transaction_t *transaction, void *baton)
{
    return gh_audit_count_unlogged(transaction, &((work_t *)baton)->number);
}

static void test_audit(void **state)
{
    store_test_t *test = *state;
    work_t w = { .p = test->p };
    int i;

    for (i = 0; i < 8; i++) {
        w.text = apr_psprintf(test->p, "{\"event\":\"%d\"}\n", i);
        w.number = i % 2;
        must_write(test->store, insert_audit, &w);
    }
    must_read(test->store, count_unlogged, &w);
    assert_int_equal(w.number, 4);
    must_write(test->store, take_unlogged, &w);
    assert_int_equal(w.records->nelts, 3);
    for (i = 0; i < 3; i++) {
        assert_string_equal(APR_ARRAY_IDX(w.records, i, const char *),
                            apr_psprintf(test->p, "{\"event\":\"%d\"}\n", 2 * i));
    }
    must_write(test->store, take_unlogged, &w);
    assert_int_equal(w.records->nelts, 1);
    must_write(test->store, take_unlogged, &w);
    assert_int_equal(w.records->nelts, 0);
}

/* Work runs on the writer's thread, where an assertion could not jump out. */
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            w->text = #condition; \
            return APR_EGENERAL; \
        } \
    } while (0)

static apr_status_t round_trip(gh_transaction_t *transaction, void *baton)
{
    work_t *w = baton;
    gh_bytes_t bytes = { (const unsigned char *)"\0a\0\377", 4 }, got;
    gh_bytes_t empty = { (const unsigned char *)"", 0 };
    gh_query_t *query;

    query = gh_query(transaction,
                     "INSERT INTO enrolment (id, state, protocol, issuer, profile, created,"
                     " updated, signer_sha256, request_sha256, request, tenant, subject)"
                     " VALUES ($1, $2, $3, $3, $3, $4, $5, $6, $7, $8, $9, $10)"
                     " RETURNING created, updated, signer_sha256, request_sha256, request, tenant,"
                     " subject");
    gh_bind_text(query, gh_random_id(w->p));
    gh_bind_int64(query, 3);
    gh_bind_text(query, "p");
    gh_bind_int64(query, APR_INT64_MAX - 1);
    gh_bind_int64(query, APR_INT64_MIN + 1);
    gh_bind_bytes(query, bytes);
    gh_bind_bytes(query, empty);
    gh_bind_null(query);
    gh_bind_text(query, "");
    gh_bind_text(query, NULL);
    CHECK(gh_step(query) == APR_SUCCESS);
    CHECK(gh_column_int64(query, 0) == APR_INT64_MAX - 1);
    CHECK(gh_column_int64(query, 1) == APR_INT64_MIN + 1);
    got = gh_column_bytes(query, 2, w->p);
    CHECK(got.length == 4 && memcmp(got.data, bytes.data, 4) == 0);
    got = gh_column_bytes(query, 3, w->p);
    CHECK(got.data != NULL && got.length == 0);
    got = gh_column_bytes(query, 4, w->p);
    CHECK(got.data == NULL && gh_column_null(query, 4));
    CHECK(strcmp(gh_column_text(query, 5, w->p), "") == 0);
    CHECK(gh_column_text(query, 6, w->p) == NULL);
    CHECK(gh_step(query) == APR_EOF);
    CHECK(gh_rows_changed(transaction) == 1);
    gh_query_end(query);

    query = gh_query(transaction, "UPDATE enrolment SET message = 'x' WHERE state = $1");
    gh_bind_int64(query, 99);
    CHECK(gh_execute(query) == APR_SUCCESS && gh_rows_changed(transaction) == 0);
    return APR_SUCCESS;
}

static void test_values(void **state)
{
    store_test_t *test = *state;
    work_t w = { .p = test->p };

    if (try_write(test, round_trip, &w) != APR_SUCCESS) {
        fail_msg("%s", w.text);
    }
}

/* Two statements of one text at a time, and numbers that grow. */
static apr_status_t two_at_once(gh_transaction_t *transaction, void *baton)
{
    static const char sql[] = "SELECT number FROM (SELECT 1 AS number UNION ALL SELECT 2) AS two"
                              " ORDER BY number";
    work_t *w = baton;
    gh_query_t *first = gh_query(transaction, sql), *second = gh_query(transaction, sql);
    apr_int64_t before, after;

    CHECK(gh_step(first) == APR_SUCCESS && gh_column_int64(first, 0) == 1);
    CHECK(gh_step(second) == APR_SUCCESS && gh_column_int64(second, 0) == 1);
    CHECK(gh_step(second) == APR_SUCCESS && gh_column_int64(second, 0) == 2);
    CHECK(gh_step(first) == APR_SUCCESS && gh_column_int64(first, 0) == 2);
    CHECK(gh_step(second) == APR_EOF);
    CHECK(gh_next_change(transaction, &before) == APR_SUCCESS);
    CHECK(gh_next_change(transaction, &after) == APR_SUCCESS && after > before);
    return APR_SUCCESS;
}

static void test_two_at_once(void **state)
{
    store_test_t *test = *state;
    work_t w = { .p = test->p };

    if (try_write(test, two_at_once, &w) != APR_SUCCESS) {
        fail_msg("%s", w.text);
    }
}

static apr_status_t put_and_fail(gh_transaction_t *transaction, void *baton)
{
    apr_status_t rv = gh_setting_put(transaction, "name", "not kept");

    return rv == APR_SUCCESS ? APR_EINTR : rv;
}

/* A work that hides that a statement failed. */
static apr_status_t hide_conflict(gh_transaction_t *transaction, void *baton)
{
    gh_setting_put(transaction, "name", "not kept");
    gh_enrolment_insert(transaction, baton);
    gh_setting_put(transaction, "name", "not kept");
    return APR_SUCCESS;
}

static apr_status_t wrong_count(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "SELECT 1 FROM setting WHERE name = $1");

    return gh_step(query);
}

static apr_status_t no_such_table(gh_transaction_t *transaction, void *baton)
{
    return gh_execute(gh_query(transaction, "DELETE FROM nothing"));
}

static void test_rollback(void **state)
{
    store_test_t *test = *state;
    gh_enrolment_record_t *record = enrolment_of(200, test->p);
    work_t w = { .p = test->p };
    gh_result_t result;

    must_write(test->store, put, (void *)"kept");
    assert_int_equal(try_write(test, put_and_fail, NULL), APR_EINTR);
    must_write(test->store, insert_enrolment, record);
    assert_int_equal(try_write(test, hide_conflict, record), GH_ECONFLICT);
    assert_int_equal(try_write(test, wrong_count, NULL), APR_EINVAL);
    assert_int_equal(gh_store_write(test->store, no_such_table, NULL, &result), GH_ECORRUPT);
    assert_int_equal(result.status, GH_ECORRUPT);
    assert_int_equal(gh_store_write(test->store, no_such_table, NULL, NULL), GH_ECORRUPT);
    must_read(test->store, get, &w);
    assert_string_equal(w.text, "kept");
}

static void test_read_only(void **state)
{
    store_test_t *test = *state;
    work_t w = { .p = test->p };
    gh_result_t result;

    must_write(test->store, put, (void *)"kept");
    assert_int_not_equal(gh_store_read(test->store, put, (void *)"not kept", &result),
                         APR_SUCCESS);
    must_read(test->store, get, &w);
    assert_string_equal(w.text, "kept");
}

int run_ledger_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_enrolment),
        cmocka_unit_test(test_claim),
        cmocka_unit_test(test_insert_new),
        cmocka_unit_test(test_lease),
        cmocka_unit_test(test_sealed_key),
        cmocka_unit_test(test_setting),
        cmocka_unit_test(test_audit),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_rollback),
        cmocka_unit_test(test_read_only)
    };

    return cmocka_run_group_tests_name("ledger, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("ledger, PostgreSQL", tests, open_pgsql, close_store);
}
