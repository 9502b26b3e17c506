/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* RA keys whose certificates are revoked or held, and keys that another process has made a moment
 * ago. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <dlfcn.h>

#include <apr_atomic.h>
#include <apr_strings.h>

#include "scep_world.h"
#include "x509/ca.h"

/** Within which time a process that is asked all the while notices a revocation. */
#define NOTICED apr_time_from_msec(2500)

/** What a process says that has no key and can make none. */
#define NO_KEY "GH0210: issuer devices has no RA key, SCEP answers 503: GH0030: there is no " \
               "issuer devices in this configuration. Configure the issuer again, or deny what " \
               "waits for it."

static int counter;

static volatile apr_uint32_t reads;

/** Stands before that of the library, and counts. */
apr_status_t gh_store_read(gh_store_t *store, gh_store_work_fn *work, void *baton,
                           gh_result_t *result)
{
    static apr_status_t (*real)(gh_store_t *, gh_store_work_fn *, void *, gh_result_t *);

    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "gh_store_read");
    }
    apr_atomic_inc32(&reads);
    return real(store, work, baton, result);
}

static scep_engine_t *another(const scep_services_t *with)
{
    scep_engine_t *made = scep_engine_create(with, gate_for(32), pool);

    assert_int_equal(scep_engine_add_issuer(made, issuer, ra_profile, pool), APR_SUCCESS);
    return made;
}

/** What a process has that can read RA keys but make none. */
static scep_services_t reading(void)
{
    scep_services_t reader = services;

    reader.ledger = gh_ledger_create(services.store, apr_hash_make(pool), "node2", NULL, pool);
    return reader;
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

static void set_status(X509 *certificate, gh_status_t status, int reason)
{
    gh_audit_event_t change;
    gh_result_t result;

    memset(&change, 0, sizeof(change));
    change.id = gh_random_id(pool);
    if (gh_revocation_set(services.store, "devices", gh_certificate_serial(certificate, pool),
                          status, reason, 0, &change, 1, pool, &result) != APR_SUCCESS) {
        fail_msg("%s", result.message);
    }
}

/** Asks until something else than this RA is announced. @return that, NULL for a 503 */
static X509 *successor(scep_engine_t *by, X509 *of)
{
    apr_time_t end = apr_time_now() + NOTICED;
    X509 *next;

    do {
        assert_true(apr_time_now() < end);
        apr_sleep(20000);
        next = announced(by);
    } while (next && X509_cmp(next, of) == 0);
    return next;
}

/** @param to whom the message is encrypted */
static void enrol(scep_engine_t *by, X509 *to, scep_test_reply_t *reply)
{
    scep_test_spec_t spec = { .transaction = apr_psprintf(pool, "status-%d", ++counter) };
    scep_response_t response;

    send_to(by, &endpoint,
            scep_test_message(&spec, request(CHALLENGE), client_key, client, to, pool), &response);
    assert_int_equal(response.status, 200);
    assert_true(scep_test_reply(reply, response.body, client_key, client, pool));
    assert_true(reply->verified);
}

static void accepted(scep_engine_t *by, X509 *to)
{
    scep_test_reply_t reply;

    enrol(by, to, &reply);
    if (reply.status != SCEP_SUCCESS) {
        fail_msg("%s", reply.fail_text);
    }
    assert_int_equal(X509_cmp(reply.signer, to), 0);
}

static void turned_away(scep_engine_t *by, X509 *to)
{
    scep_test_reply_t reply;

    enrol(by, to, &reply);
    assert_int_equal(reply.status, SCEP_FAILURE);
    assert_int_equal(reply.fail_info, SCEP_BAD_MESSAGE_CHECK);
    assert_string_equal(event.rule, "message.recipient");
    assert_int_not_equal(X509_cmp(reply.signer, to), 0);
}

/** A compromised RA key is replaced by revoking its certificate; nobody may use it any more. */
static void test_revoked(void **state)
{
    scep_engine_t *second = another(&services);
    X509 *first = announced(engine), *next;

    assert_int_equal(X509_cmp(announced(second), first), 0);
    accepted(engine, first);
    set_status(first, GH_STATUS_REVOKED, 1);
    next = successor(engine, first);
    assert_non_null(next);
    assert_int_equal(X509_cmp(successor(second, first), next), 0);
    turned_away(engine, first);
    turned_away(second, first);
    accepted(engine, next);
    accepted(second, next);
    /* a process that starts now does not take it up either */
    second = another(&services);
    assert_int_equal(X509_cmp(announced(second), next), 0);
    turned_away(second, first);
}

/** One that is held has a successor at once, which stays; when it is released it decrypts again. */
static void test_held(void **state)
{
    X509 *first = announced(engine), *next;

    set_status(first, GH_STATUS_HELD, 6);
    next = successor(engine, first);
    assert_non_null(next);
    turned_away(engine, first);
    set_status(first, GH_STATUS_GOOD, GH_REASON_NONE);
    apr_sleep(NOTICED);
    assert_int_equal(X509_cmp(announced(engine), next), 0);
    accepted(engine, first);
    accepted(engine, next);
}

/** An older one that is revoked is no reason to make a new one, and opens nothing any more. */
static void test_older_revoked(void **state)
{
    X509 *first = announced(engine), *next;

    set_status(first, GH_STATUS_HELD, 6);
    next = successor(engine, first);
    set_status(first, GH_STATUS_GOOD, GH_REASON_NONE);
    apr_sleep(NOTICED);
    accepted(engine, first);
    set_status(first, GH_STATUS_REVOKED, 4);
    apr_sleep(NOTICED);
    assert_int_equal(X509_cmp(announced(engine), next), 0);
    turned_away(engine, first);
    accepted(engine, next);
}

/** Without a successor there is no answer, rather than one by a revoked key. */
static void test_none_left(void **state)
{
    scep_services_t reader = reading();
    scep_engine_t *alone = another(&reader);
    X509 *first = announced(alone), *last = first, *next;
    scep_test_spec_t spec = { .transaction = "none-left" };
    scep_response_t response;
    apr_time_t end;
    const char *line;

    *logged = '\0';
    /* older ones, of other tests, do as long as nobody revokes them */
    for (next = first; next; next = successor(alone, last)) {
        last = next;
        set_status(last, GH_STATUS_REVOKED, 1);
    }
    send_to(alone, &endpoint,
            scep_test_message(&spec, request(CHALLENGE), client_key, client, first, pool),
            &response);
    assert_int_equal(response.status, 503);
    line = strstr(logged, "GH0210");
    assert_non_null(line);
    assert_memory_equal(line, NO_KEY, strlen(NO_KEY));
    assert_null(strstr(line + 1, "GH0210"));
    /* another process that can makes the next one */
    assert_non_null(successor(engine, first));
    for (end = apr_time_now() + NOTICED; apr_time_now() < end && !announced(alone);) {
        apr_sleep(20000);
    }
    assert_int_equal(X509_cmp(announced(alone), announced(engine)), 0);
}

/** What a client encrypts to the RA that one process has just announced is opened by another that
 *  has not looked at the store since. */
static void test_made_elsewhere(void **state)
{
    int round;

    for (round = 0; round < 10; ++round) {
        scep_engine_t *first = another(&services);
        X509 *old = announced(first), *next;
        apr_time_t begin = apr_time_now();

        set_status(old, GH_STATUS_REVOKED, 4);
        next = announced(another(&services));
        assert_non_null(next);
        assert_int_not_equal(X509_cmp(next, old), 0);
        if (apr_time_now() - begin > apr_time_from_msec(900)) {
            continue;       /* it took so long to make the key that the first one looks anyway */
        }
        accepted(first, next);
        return;
    }
    fail_msg("keys are made too slowly on this machine");
}

/** Who sends what nobody can open does not make the process ask the store for each. */
static void test_strangers(void **state)
{
    enum { MESSAGES = 30 };
    X509 *strange = scep_test_certificate(other_key, "other", NULL, NULL, 0, pool);
    apr_time_t begin;
    int i;

    assert_non_null(announced(engine));
    begin = apr_time_now();
    apr_atomic_set32(&reads, 0);
    for (i = 0; i < MESSAGES; ++i) {
        turned_away(engine, strange);
    }
    /* ten times a second for strangers, once for itself */
    assert_true(apr_atomic_read32(&reads) > 0);
    assert_true(apr_atomic_read32(&reads)
                <= 2 + (apr_time_now() - begin) / apr_time_from_msec(90));
    assert_true(apr_atomic_read32(&reads) < MESSAGES
                || apr_time_now() - begin > apr_time_from_sec(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_older_revoked),
        cmocka_unit_test(test_none_left),
        cmocka_unit_test(test_made_elsewhere),
        cmocka_unit_test(test_strangers)
    };

    return cmocka_run_group_tests(tests, scep_world_setup, scep_world_teardown);
}
