/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <pthread.h>
#include <string.h>

#include <apr_strings.h>

#include "issuer/remote.h"
#include "store/jobs.h"

/* What the store knows of issuers behind a worker, on both back ends: which they are, keys that
 * wait for certificates, certificates that the CA has told of, changes of status as jobs. */

typedef struct {
    apr_pool_t *p;
    int by_worker;
    const char *name;
    gh_key_request_record_t *found;
    gh_certificate_record_t *certificate;
    apr_array_header_t *records;
    gh_status_t status;
    int changed;
} work_t;

static apr_status_t note_worker(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;

    return gh_issuer_note_worker(t, "devices", w->by_worker);
}

static apr_status_t ask_worker(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;

    return gh_issuer_by_worker(t, w->name, &w->by_worker);
}

static void test_by_worker(void **state)
{
    store_test_t *test = *state;
    work_t w = { .p = test->p, .name = "devices" };

    assert_int_equal(gh_store_read(test->store, ask_worker, &w, NULL), APR_NOTFOUND);
    must_write(test->store, register_devices, NULL);
    must_read(test->store, ask_worker, &w);
    assert_int_equal(w.by_worker, 0);
    w.by_worker = 1;
    must_write(test->store, note_worker, &w);
    must_write(test->store, register_devices, NULL);
    w.by_worker = 0;
    must_read(test->store, ask_worker, &w);
    assert_int_equal(w.by_worker, 1);
}

static apr_status_t insert_request(gh_transaction_t *t, void *baton)
{
    return gh_key_request_insert(t, baton);
}

static apr_status_t find_request(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;

    return gh_key_request_find(t, "scep-ra", "devices", &w->found, w->p);
}

static apr_status_t request_of(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;

    return gh_key_request_of(t, w->name, &w->found, w->p);
}

static apr_status_t remove_request(gh_transaction_t *t, void *baton)
{
    return gh_key_request_remove(t, baton);
}

static void test_key_request(void **state)
{
    store_test_t *test = *state;
    gh_key_request_record_t record = {
        .enrolment = gh_random_id(test->p), .purpose = "scep-ra", .issuer = "devices",
        .generation = 3, .sealed = bytes_of("sealed")
    };
    work_t w = { .p = test->p, .name = record.enrolment };

    assert_int_equal(gh_store_read(test->store, find_request, &w, NULL), APR_NOTFOUND);
    must_write(test->store, insert_request, &record);
    record.enrolment = gh_random_id(test->p);
    assert_int_equal(gh_store_write(test->store, insert_request, &record, NULL), GH_ECONFLICT);
    must_read(test->store, find_request, &w);
    assert_string_equal(w.found->enrolment, w.name);
    assert_int_equal(w.found->generation, 3);
    assert_memory_equal(w.found->sealed.data, "sealed", 6);
    w.found = NULL;
    must_read(test->store, request_of, &w);
    assert_string_equal(w.found->purpose, "scep-ra");
    assert_string_equal(w.found->issuer, "devices");
    must_write(test->store, remove_request, (void *)w.name);
    must_write(test->store, remove_request, (void *)w.name);
    assert_int_equal(gh_store_read(test->store, request_of, &w, NULL), APR_NOTFOUND);
}

static apr_status_t insert_certificate(gh_transaction_t *t, void *baton)
{
    return gh_certificate_insert(t, baton);
}

static apr_status_t adopt(gh_transaction_t *t, void *baton)
{
    return gh_certificate_adopt(t, baton);
}

static apr_status_t find_certificate(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;

    return gh_certificate_find(t, "devices", w->certificate->serial, &w->records, w->p);
}

static void test_adopt(void **state)
{
    store_test_t *test = *state;
    gh_certificate_record_t *record = certificate_of(70, test->p);
    work_t w = { .p = test->p, .certificate = record };
    const gh_certificate_record_t *found;

    record->profile = "";
    assert_int_equal(gh_store_write(test->store, adopt, record, NULL), APR_NOTFOUND);
    must_write(test->store, insert_certificate, record);
    record->enrolment = gh_random_id(test->p);
    record->profile = "scep-digital-signature";
    record->sha256 = digest_of(71, test->p);
    assert_int_equal(gh_store_write(test->store, adopt, record, NULL), APR_NOTFOUND);
    record->sha256 = digest_of(70, test->p);
    must_write(test->store, adopt, record);
    must_read(test->store, find_certificate, &w);
    found = APR_ARRAY_IDX(w.records, 0, gh_certificate_record_t *);
    assert_string_equal(found->enrolment, record->enrolment);
    assert_string_equal(found->profile, "scep-digital-signature");
    /* another enrolment does not get it */
    assert_int_equal(gh_store_write(test->store, adopt, record, NULL), APR_NOTFOUND);
}

/* Status: several at once, each change is told, in the order in which they were made. */

#define ROUNDS 20

typedef struct {
    store_test_t *test;
    gh_certificate_record_t *certificate;
    gh_status_t to;
    int changes;
    int failed;
    pthread_t id;
} changer_t;

static apr_status_t change(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;

    return gh_remote_set_status(t, "devices", w->certificate->serial, w->status,
                                w->status == GH_STATUS_HELD ? 6 : GH_REASON_NONE, 0, 7,
                                &w->changed, w->p);
}

/* One holds it, the other one releases it. */
static void *change_main(void *data)
{
    changer_t *changer = data;
    work_t w = { .certificate = changer->certificate, .status = changer->to };
    int i;
    apr_status_t rv;

    for (i = 0; i < ROUNDS; i++) {
        apr_pool_create(&w.p, NULL);
        rv = gh_store_write(changer->test->store, change, &w, NULL);
        changer->failed += rv != APR_SUCCESS && rv != GH_EREFUSED;
        changer->changes += rv == APR_SUCCESS && w.changed;
        apr_pool_destroy(w.p);
    }
    return NULL;
}

static apr_status_t list_jobs(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;

    return gh_job_list(t, "devices", 0, &w->records, w->p);
}

static void test_status_in_order(void **state)
{
    store_test_t *test = *state;
    gh_certificate_record_t *record = certificate_of(80, test->p);
    changer_t changers[2] = {
        { .test = test, .certificate = record, .to = GH_STATUS_HELD },
        { .test = test, .certificate = record, .to = GH_STATUS_GOOD }
    };
    work_t w = { .p = test->p };
    int i;

    must_write(test->store, insert_certificate, record);
    for (i = 0; i < 2; i++) {
        pthread_create(&changers[i].id, NULL, change_main, &changers[i]);
    }
    for (i = 0; i < 2; i++) {
        pthread_join(changers[i].id, NULL);
    }
    assert_int_equal(changers[0].failed + changers[1].failed, 0);
    must_read(test->store, list_jobs, &w);
    assert_int_equal(w.records->nelts, changers[0].changes + changers[1].changes);
    assert_true(w.records->nelts > 0);
    /* newest first: they take turns, beginning with a hold */
    for (i = 0; i < w.records->nelts; i++) {
        const gh_job_record_t *job = APR_ARRAY_IDX(w.records, w.records->nelts - 1 - i,
                                                   gh_job_record_t *);

        assert_string_equal(job->kind, i % 2 ? GH_REMOTE_RELEASE : GH_REMOTE_HOLD);
    }
}

int run_remote_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_worker),
        cmocka_unit_test(test_key_request),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_status_in_order)
    };

    return cmocka_run_group_tests_name("remote, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("remote, PostgreSQL", tests, open_pgsql, close_store);
}
