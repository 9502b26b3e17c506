/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* An RA whose certificates live for six seconds, of which three lie ahead: it is replaced in time,
 * while the process runs, and nothing is done with one that has expired. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_strings.h>
#include <apr_thread_proc.h>

#include "scep_world.h"
#include "store/housekeeping.h"
#include "x509/ca.h"

#define VALIDITY "6s"

static scep_engine_t *another(const scep_services_t *with)
{
    scep_engine_t *made = scep_engine_create(with, gate_for(32), pool);

    assert_int_equal(scep_engine_add_issuer(made, issuer, ra_profile, pool), APR_SUCCESS);
    return made;
}

/** The RA that is announced. @return NULL with a 503 */
static X509 *announced(scep_engine_t *by)
{
    scep_response_t response;

    scep_engine_certificates(by, &endpoint, &everything, &response, pool);
    if (response.status != 200) {
        assert_int_equal(response.status, 503);
        return NULL;
    }
    return gh_certificate_parse(
        APR_ARRAY_IDX(scep_test_certificates(response.body, pool), 0, gh_bytes_t), pool);
}

static int expired(X509 *certificate)
{
    return gh_certificate_not_after(certificate) <= apr_time_now();
}

static void wait_for_end(X509 *certificate)
{
    while (!expired(certificate)) {
        apr_sleep(50000);
    }
}

/** @param to whom the message is encrypted; @param signer set to who answered */
static void enrol(scep_engine_t *by, const char *transaction, X509 *to, scep_test_reply_t *reply,
                  X509 **signer)
{
    scep_test_spec_t spec = { .transaction = transaction };
    scep_response_t response;

    send_to(by, &endpoint,
            scep_test_message(&spec, request(CHALLENGE), client_key, client, to, pool), &response);
    assert_int_equal(response.status, 200);
    assert_true(scep_test_reply(reply, response.body, client_key, client, pool));
    assert_true(reply->verified);
    *signer = reply->signer;
}

static void test_replaced(void **state)
{
    X509 *first = announced(engine), *next = first, *signer;
    scep_engine_t *second = another(&services);
    scep_test_reply_t reply;

    while (X509_cmp(first, next) == 0) {
        assert_false(expired(first));
        apr_sleep(50000);
        next = announced(engine);
        assert_non_null(next);
    }
    /* before the first one expired, and early enough for a client that just asked */
    assert_true(gh_certificate_not_after(first) > apr_time_now());
    assert_true(gh_certificate_not_after(next) > gh_certificate_not_after(first));
    assert_int_equal(X509_cmp(announced(second), next), 0);
    /* who has asked for GetCACert before is served, by the RA that it knows */
    enrol(engine, "to-first", first, &reply, &signer);
    assert_int_equal(reply.status, SCEP_SUCCESS);
    assert_int_equal(X509_cmp(signer, first), 0);
    enrol(second, "to-first-elsewhere", first, &reply, &signer);
    assert_int_equal(reply.status, SCEP_SUCCESS);
    /* not after its end, by processes that have its key still */
    wait_for_end(first);
    enrol(engine, "to-expired", first, &reply, &signer);
    assert_int_equal(reply.status, SCEP_FAILURE);
    assert_int_equal(reply.fail_info, SCEP_BAD_MESSAGE_CHECK);
    assert_string_equal(event.rule, "message.recipient");
    assert_false(expired(signer));
    enrol(engine, "to-next", announced(engine), &reply, &signer);
    assert_int_equal(reply.status, SCEP_SUCCESS);
}

static int has(const apr_array_header_t *recipients, X509 *certificate)
{
    int i;

    for (i = 0; i < recipients->nelts; ++i) {
        if (X509_cmp(APR_ARRAY_IDX(recipients, i, scep_recipient_t).certificate, certificate)
            == 0) {
            return 1;
        }
    }
    return 0;
}

/** Keys that a request holds on to: they stay, but what expires among them decrypts no longer. */
static void test_held(void **state)
{
    scep_ra_t *own = scep_ra_create(issuer, ra_profile, &services, pool);
    const scep_ra_keys_t *first, *next;
    X509 *old;

    assert_int_equal(scep_ra_acquire(own, &first, NULL), APR_SUCCESS);
    old = first->current->certificate;
    do {
        assert_false(expired(old));
        apr_sleep(50000);
        assert_int_equal(scep_ra_acquire(own, &next, NULL), APR_SUCCESS);
        scep_ra_release(next);
    } while (next == first);
    assert_int_equal(scep_ra_acquire(own, &next, NULL), APR_SUCCESS);
    assert_true(next->generation > first->generation);
    assert_true(has(scep_ra_recipients(next, pool), old));
    wait_for_end(old);
    assert_false(has(scep_ra_recipients(next, pool), old));
    assert_true(has(scep_ra_recipients(next, pool), next->current->certificate));
    scep_ra_release(next);
    scep_ra_release(first);
}

/** A process that cannot make keys takes those that others make. */
static void test_taken_over(void **state)
{
    scep_services_t reader = services;
    scep_engine_t *second;
    X509 *first, *seen;
    int i;

    reader.ledger = gh_ledger_create(services.store, apr_hash_make(pool), "node2", NULL, pool);
    second = another(&reader);
    first = announced(engine);
    assert_non_null(first);
    for (i = 0; i < 100; ++i) {
        assert_false(expired(announced(engine)));
        seen = announced(second);
        assert_non_null(seen);
        assert_false(expired(seen));
        if (expired(first)) {
            break;
        }
        apr_sleep(50000);
    }
    assert_true(expired(first));
    assert_int_not_equal(X509_cmp(seen, first), 0);
}

static apr_status_t lease_work(gh_transaction_t *transaction, void *baton)
{
    return baton ? gh_lease_take(transaction, "own:scep-ra:devices", baton, apr_time_from_sec(60))
                 : gh_lease_release(transaction, "own:scep-ra:devices", "somebody else");
}

static void set_lease(const char *holder)
{
    gh_result_t result;

    assert_int_equal(gh_store_write(services.store, lease_work, (void *)holder, &result),
                     APR_SUCCESS);
}

/** While another process makes the next key, none is made here, and the old one serves. */
static void test_made_by_one(void **state)
{
    X509 *first = announced(engine);
    apr_time_t renewal = gh_certificate_not_before(first)
        + (gh_certificate_not_after(first) - gh_certificate_not_before(first)) / 3 * 2;

    /* one that has just been made */
    while (renewal < apr_time_now() + apr_time_from_msec(500)) {
        apr_sleep(50000);
        first = announced(engine);
        renewal = gh_certificate_not_before(first)
            + (gh_certificate_not_after(first) - gh_certificate_not_before(first)) / 3 * 2;
    }
    set_lease("somebody else");
    while (apr_time_now() < renewal + apr_time_from_msec(300)) {
        apr_sleep(50000);
        assert_int_equal(X509_cmp(announced(engine), first), 0);
    }
    set_lease(NULL);
    while (X509_cmp(announced(engine), first) == 0) {
        assert_false(expired(first));
        apr_sleep(50000);
    }
}

/** Without a successor there is no answer after the end, and one again as soon as may be. */
static void test_no_successor(void **state)
{
    scep_services_t reader = services;
    X509 *last = announced(engine);
    scep_engine_t *alone;
    scep_response_t response;
    scep_test_spec_t spec = { .transaction = "no-successor" };
    int i;

    reader.ledger = gh_ledger_create(services.store, apr_hash_make(pool), "node2", NULL, pool);
    alone = another(&reader);
    last = announced(alone);
    assert_non_null(last);
    *logged = '\0';
    while (!expired(last)) {
        X509 *now = announced(alone);
        assert_true(now != NULL || expired(last));
        apr_sleep(50000);
    }
    assert_null(announced(alone));
    send_to(alone, &endpoint,
            scep_test_message(&spec, request(CHALLENGE), client_key, client, last, pool),
            &response);
    assert_int_equal(response.status, 503);
    /* said once with the key that was left, once without */
    assert_non_null(strstr(logged, "GH0268"));
    assert_null(strstr(strstr(logged, "GH0268") + 1, "GH0268"));
    assert_non_null(strstr(logged, "GH0210"));
    assert_non_null(announced(engine));
    for (i = 0; i < 60 && announced(alone) == NULL; ++i) {
        apr_sleep(50000);
    }
    assert_non_null(announced(alone));
}

/* Threads that use keys while they are replaced */

typedef struct {
    int wrong;
    volatile int stop;
} beside_t;

static void *APR_THREAD_FUNC use_keys(apr_thread_t *thread, void *data)
{
    beside_t *beside = data;
    scep_response_t response;
    apr_pool_t *p;

    while (!beside->stop) {
        apr_pool_create_unmanaged_ex(&p, NULL, NULL);
        scep_engine_certificates(engine, &endpoint, &everything, &response, p);
        beside->wrong += response.status != 200 || response.body.length < 500;
        apr_pool_destroy(p);
        apr_sleep(500);
    }
    return NULL;
}

static void test_replaced_under_load(void **state)
{
    enum { THREADS = 4 };
    X509 *first = announced(engine);
    beside_t beside = { 0, 0 };
    apr_thread_t *threads[THREADS];
    apr_status_t rv;
    int i;

    for (i = 0; i < THREADS; ++i) {
        assert_int_equal(apr_thread_create(&threads[i], NULL, use_keys, &beside, pool),
                         APR_SUCCESS);
    }
    wait_for_end(first);
    beside.stop = 1;
    for (i = 0; i < THREADS; ++i) {
        apr_thread_join(&rv, threads[i]);
    }
    assert_int_equal(beside.wrong, 0);
    assert_int_not_equal(X509_cmp(announced(engine), first), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_taken_over),
        cmocka_unit_test(test_made_by_one),
        cmocka_unit_test(test_no_successor),
        cmocka_unit_test(test_replaced_under_load)
    };

    ra_validity = VALIDITY;
    return cmocka_run_group_tests(tests, scep_world_setup, scep_world_teardown);
}
