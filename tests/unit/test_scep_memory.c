/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The engine without memory: exchanges are repeated, and each time a later allocation of OpenSSL,
 * SQLite or ours fails. What is answered then is a proper CertRep, or HTTP says that it will pass;
 * a certificate is complete and in the store. Once there is memory again, the same message gets
 * what it should get, once.
 *
 * Some allocations are tried, with GH_FULL=1 every one.
 */

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "failing_malloc.h"
#include "scep_world.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/key.h"

/* Rounds of one exchange and one mode where not every allocation is tried. */
#define ROUNDS 30

/* Uses of an RSA key before its blinding is renewed. */
#define BLINDING_USES 32

/** A message and what it gets when there is memory. */
typedef struct {
    const char *what;
    const scep_endpoint_t *at;
    const char *transaction;
    X509 *signer;                   /* with the client's key */
    gh_bytes_t message;
    int status;                     /* of the CertRep */
    int issues;                     /* certificates more afterwards than before */
    int names;                      /* 1: it has alternative names */
    fail_mode_t mode;
    long number;                    /* of the allocation that fails */
} attempt_t;

/** Makes the message of one round. */
typedef void prepare_fn(attempt_t *attempt, long round);

/* The store of this program need not outlive a power cut. */

int fsync(int descriptor)
{
    return 0;
}

int fdatasync(int descriptor)
{
    return 0;
}

static scep_endpoint_t onetime_endpoint, renewing_endpoint;
static long answers[SCEP_PENDING + 1], unavailable;

#define CHECK(attempt, condition)                                               \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fail_msg("%s, allocation %ld%s: not %s; %s", (attempt)->what,       \
                     (attempt)->number,                                         \
                     (attempt)->mode == FAIL_ONCE ? "" : " and all after it",   \
                     #condition, logged);                                       \
        }                                                                       \
    } while (0)

/* The store */

typedef struct {
    gh_bytes_t serial;
    apr_array_header_t *records;
} stored_t;

static apr_status_t find_certificate(gh_transaction_t *transaction, void *baton)
{
    stored_t *stored = baton;

    return gh_certificate_find(transaction, "devices", stored->serial, &stored->records, pool);
}

/** Compares subject and extensions with those of the first certificate of the same kind: nothing
 *  may be left out. */
static int says_the_same(X509 *certificate, const char *kind)
{
    static const char *first_kind, *first;
    unsigned char *subject = NULL, *extensions = NULL;
    int subject_length = i2d_X509_NAME(X509_get_subject_name(certificate), &subject);
    int extensions_length = i2d_X509_EXTENSIONS((X509_EXTENSIONS *)
                                                X509_get0_extensions(certificate), &extensions);
    const char *text;

    assert_true(subject_length > 0 && extensions_length > 0);
    text = apr_pstrcat(pool, gh_hex(pool, subject, (apr_size_t)subject_length), "/",
                       gh_hex(pool, extensions, (apr_size_t)extensions_length), NULL);
    OPENSSL_free(subject);
    OPENSSL_free(extensions);
    if (!first || strcmp(first_kind, kind) != 0) {
        first_kind = kind;
        first = apr_pstrdup(apr_pool_parent_get(pool), text);
    }
    return strcmp(first, text) == 0;
}

static void check_certificate(const attempt_t *attempt, gh_bytes_t der)
{
    X509 *certificate = gh_certificate_parse(der, pool);
    stored_t stored = { { NULL, 0 }, NULL };
    gh_result_t result;

    CHECK(attempt, certificate && EVP_PKEY_eq(X509_get0_pubkey(certificate), client_key) == 1);
    CHECK(attempt, X509_verify(certificate, X509_get0_pubkey(ca)) == 1);
    CHECK(attempt, says_the_same(certificate, attempt->what));
    CHECK(attempt, (X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1) >= 0)
                   == attempt->names);
    stored.serial = gh_certificate_serial(certificate, pool);
    assert_int_equal(gh_store_read(services.store, find_certificate, &stored, &result),
                     APR_SUCCESS);
    assert_int_equal(stored.records->nelts, 1);
    same(der, APR_ARRAY_IDX(stored.records, 0, gh_certificate_record_t *)->der);
}

/* One round */

/** @return the certificate, empty if none was given */
static gh_bytes_t read_answer(const attempt_t *attempt, const scep_response_t *response)
{
    gh_bytes_t certificate = { NULL, 0 };
    scep_test_reply_t reply;

    if (response->status != 200) {
        CHECK(attempt, response->status == 500
                       || (response->status == 503 && response->retry_after > 0));
        assert_string_equal(response->content_type, "text/plain");
        assert_memory_equal(response->body.data, "GH", 2);
        ++unavailable;
        return certificate;
    }
    assert_string_equal(response->content_type, "application/x-pki-message");
    CHECK(attempt, scep_test_reply(&reply, response->body, client_key, attempt->signer, pool));
    CHECK(attempt, reply.verified && reply.type == SCEP_CERT_REP);
    CHECK(attempt, reply.status == SCEP_FAILURE || reply.status == attempt->status);
    CHECK(attempt, reply.has_content == (reply.status == SCEP_SUCCESS));
    CHECK(attempt, !reply.transaction || strcmp(reply.transaction, attempt->transaction) == 0);
    if (reply.status == SCEP_SUCCESS) {
        CHECK(attempt, reply.transaction);
        CHECK(attempt, reply.recipient_nonce.length == 16
                       && memcmp(reply.recipient_nonce.data, scep_test_nonce, 16) == 0);
        CHECK(attempt, reply.certificates && reply.certificates->nelts == 1);
        certificate = APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t);
        check_certificate(attempt, certificate);
    }
    ++answers[reply.status];
    return certificate;
}

/** Sends the message, with its allocation failing. @return how many allocations there were */
static long send_without(const attempt_t *attempt, scep_response_t *response)
{
    scep_request_t with = {
        .client = "192.0.2.1", .id = "0123", .log = &everything, .event = &event
    };
    long count;

    *logged = '\0';
    memset(&event, 0, sizeof(event));
    failing_malloc_begin(attempt->mode, attempt->number);
    scep_engine_operate(engine, attempt->at, attempt->message, &with, response, pool);
    count = failing_malloc_end();
    CHECK(attempt, ERR_peek_error() == 0);
    CHECK(attempt, !strstr(logged, CHALLENGE));
    return count;
}

/** A key that did not sign is tried again by the process before it is used again. */
static void mend_issuer(void)
{
    gh_result_t result;

    if (!gh_issuer_usable(issuer)) {
        assert_int_equal(gh_issuer_child_init(issuer, pool, &result), APR_SUCCESS);
    }
}

static long run_round(const attempt_t *attempt)
{
    apr_int64_t before = certificates_stored();
    gh_bytes_t first, second;
    scep_response_t response;
    long count;

    count = send_without(attempt, &response);
    first = read_answer(attempt, &response);
    mend_issuer();
    send_to(engine, attempt->at, attempt->message, &response);
    CHECK(attempt, response.status == 200);
    second = read_answer(attempt, &response);
    CHECK(attempt, certificates_stored() == before + attempt->issues);
    CHECK(attempt, attempt->status != SCEP_SUCCESS || second.data);
    if (first.data) {
        same(first, second);
    }
    return count;
}

/** Runs one exchange in a pool of its own. @return how many allocations there were */
static long prepare_and_run(prepare_fn *prepare, fail_mode_t mode, long number, long round)
{
    apr_pool_t *world = pool;
    attempt_t attempt = { .mode = mode, .number = number };
    long count;

    apr_pool_create(&pool, world);
    prepare(&attempt, round);
    count = run_round(&attempt);
    apr_pool_destroy(pool);
    pool = world;
    return count;
}

static void run_mode(const char *what, prepare_fn *prepare, fail_mode_t mode)
{
    static long round;
    const char *full = getenv("GH_FULL");
    long all, step, number, count;

    /* what is made once is there from the first time on */
    prepare_and_run(prepare, FAIL_ONCE, LONG_MAX, ++round);
    all = prepare_and_run(prepare, FAIL_ONCE, LONG_MAX, ++round);
    assert_true(all > ROUNDS);
    step = full && strcmp(full, "1") == 0 ? 1 : all / ROUNDS;
    for (number = 1; ; number += step) {
        count = prepare_and_run(prepare, mode, number, ++round);
        if (count < number) {
            break;
        }
    }
    print_message("%s: %ld allocations, every %ld. failed; so far %ld times success, %ld failure, "
                  "%ld pending, %ld unavailable\n", what, all, step, answers[SCEP_SUCCESS],
                  answers[SCEP_FAILURE], answers[SCEP_PENDING], unavailable);
}

static void run_both(const char *what, prepare_fn *prepare)
{
    run_mode(what, prepare, FAIL_ONCE);
    run_mode(what, prepare, FAIL_FROM_THERE);
}

/* Exchanges */

static void prepare(attempt_t *attempt, const char *what, const scep_endpoint_t *at, long round)
{
    attempt->what = what;
    attempt->at = at;
    attempt->transaction = apr_psprintf(pool, "%s-%ld", what, round);
    attempt->signer = client;
}

static void make_message(attempt_t *attempt, const char *type, gh_bytes_t content)
{
    scep_test_spec_t spec = { .type = type, .transaction = attempt->transaction };

    attempt->message = scep_test_message(&spec, content, client_key, attempt->signer, ra, pool);
}

static void prepare_enrolment(attempt_t *attempt, long round)
{
    gh_challenge_spec_t spec = { .tenant = "acme", .issuer = "devices",
                                 .profile = "test-automatic", .node = "node1",
                                 .actor = "tester", .protocol = "ctl" };
    gh_challenge_made_t made;
    gh_result_t result;

    prepare(attempt, "enrol", &onetime_endpoint, round);
    attempt->status = SCEP_SUCCESS;
    attempt->issues = 1;
    assert_int_equal(gh_challenge_new(services.store, &spec, &made, pool, &result), APR_SUCCESS);
    make_message(attempt, "19", request(made.challenge));
}

/** The challenge is good for one certificate, whatever happens on the way. */
static void test_enrolment(void **state)
{
    run_both("enrol", prepare_enrolment);
}

/** A request with a subject of several values in one part, and alternative names. */
static gh_bytes_t request_with_names(const char *names)
{
    X509_REQ *asked = X509_REQ_new();
    X509_NAME *subject = X509_REQ_get_subject_name(asked);
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    unsigned char *encoded = NULL;
    gh_bytes_t der;
    int length;

    assert_true(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                           (const unsigned char *)"client", -1, -1, 0));
    assert_true(X509_NAME_add_entry_by_txt(subject, "UID", MBSTRING_UTF8,
                                           (const unsigned char *)"4711", -1, -1, -1));
    sk_X509_EXTENSION_push(extensions,
                           X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names));
    sk_X509_EXTENSION_push(extensions,
                           X509V3_EXT_conf_nid(NULL, NULL, NID_key_usage, "digitalSignature"));
    assert_true(X509_REQ_add_extensions(asked, extensions));
    assert_true(X509_REQ_add1_attr_by_NID(asked, NID_pkcs9_challengePassword, MBSTRING_ASC,
                                          (const unsigned char *)CHALLENGE, -1));
    assert_true(X509_REQ_set_pubkey(asked, client_key));
    assert_true(X509_REQ_sign(asked, client_key, EVP_sha256()));
    length = i2d_X509_REQ(asked, &encoded);
    assert_true(length > 0);
    der.data = apr_pmemdup(pool, encoded, (apr_size_t)length);
    der.length = (apr_size_t)length;
    OPENSSL_free(encoded);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(asked);
    return der;
}

static void prepare_names(attempt_t *attempt, long round)
{
    prepare(attempt, "names", &endpoint, round);
    attempt->names = 1;
    attempt->status = SCEP_SUCCESS;
    attempt->issues = 1;
    make_message(attempt, "19", request_with_names("DNS:a.example.com,DNS:b.example.com,"
                                                   "email:client@example.com,IP:192.0.2.7"));
}

static void test_names(void **state)
{
    run_both("names", prepare_names);
}

/** What no request may bring about is not overlooked either. */
static void prepare_never(attempt_t *attempt, long round)
{
    prepare(attempt, "never", &endpoint, round);
    attempt->status = SCEP_FAILURE;
    make_message(attempt, "19", request_with_names("DNS:a.example.com,otherName:"
                                                   "msUPN;UTF8:admin@example.com"));
}

static void test_never(void **state)
{
    run_both("never", prepare_never);
}

static void prepare_repeat(attempt_t *attempt, long round)
{
    scep_response_t response;

    prepare_enrolment(attempt, round);
    send_to(engine, attempt->at, attempt->message, &response);
    assert_int_equal(response.status, 200);
    attempt->issues = 0;
}

static void test_repeat(void **state)
{
    run_both("repeat", prepare_repeat);
}

static void prepare_renewal(attempt_t *attempt, long round)
{
    scep_test_spec_t first = { .transaction = apr_psprintf(pool, "first-%ld", round) };

    prepare(attempt, "renew", &renewing_endpoint, round);
    attempt->status = SCEP_SUCCESS;
    attempt->issues = 1;
    attempt->signer = gh_certificate_parse(enrolled(&endpoint, &first), pool);
    make_message(attempt, "17", request(NULL));
}

/** A certificate has one live successor. */
static void test_renewal(void **state)
{
    run_both("renew", prepare_renewal);
}

static void prepare_refusal(attempt_t *attempt, long round)
{
    prepare(attempt, "refuse", &endpoint, round);
    attempt->status = SCEP_FAILURE;
    make_message(attempt, "19", request("wrong"));
}

static void test_refusal(void **state)
{
    run_both("refuse", prepare_refusal);
}

static void prepare_waiting(attempt_t *attempt, long round)
{
    prepare(attempt, "wait", &manual_endpoint, round);
    attempt->status = SCEP_PENDING;
    make_message(attempt, "19", request(CHALLENGE));
}

static void test_waiting(void **state)
{
    run_both("wait", prepare_waiting);
}

static void prepare_poll(attempt_t *attempt, long round)
{
    scep_response_t response;

    prepare_waiting(attempt, round);
    send_to(engine, attempt->at, attempt->message, &response);
    assert_int_equal(response.status, 200);
    make_message(attempt, "20", scep_test_issuer_and_subject(X509_get_subject_name(ca), "client",
                                                             pool));
}

static void test_poll(void **state)
{
    run_both("poll", prepare_poll);
}

static void approve(const char *transaction)
{
    gh_audit_event_t decision = { .event = "approve" };
    gh_enrolment_outcome_t outcome;
    apr_array_header_t *events;
    gh_result_t result;

    assert_int_equal(gh_ledger_poll(services.ledger, "scep", "acme", "devices", "test-manual",
                                    transaction, gh_key_sha256(client_key, pool), &outcome, pool,
                                    &result),
                     APR_SUCCESS);
    assert_int_equal(gh_ledger_decide(services.store, outcome.id, 1, "tester", NULL, &decision,
                                      pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_ledger_issue_approved(services.ledger, &events, pool, &result),
                     APR_SUCCESS);
}

static void prepare_approved(attempt_t *attempt, long round)
{
    prepare_poll(attempt, round);
    approve(attempt->transaction);
    attempt->status = SCEP_SUCCESS;
}

static void test_approved(void **state)
{
    run_both("approved", prepare_approved);
}

/** @return 1 if it got a certificate */
static int send_disturbed(fail_mode_t mode, long number)
{
    static long round;
    attempt_t attempt = { .mode = mode, .number = number };
    scep_response_t response;
    gh_result_t result;

    prepare_enrolment(&attempt, --round);
    send_without(&attempt, &response);
    if (!gh_issuer_usable(issuer)) {
        gh_issuer_child_init(issuer, pool, &result);
    }
    return read_answer(&attempt, &response).data != NULL;
}

/** A key that is disturbed signs nothing that goes out, and comes to itself. */
static void disturb(fail_mode_t mode)
{
    long before = unavailable;
    int number, i;

    for (number = 1; number <= 6; ++number) {
        for (i = 0; i < BLINDING_USES; ++i) {
            send_disturbed(mode, number);
        }
        for (i = 0; i < BLINDING_USES && !send_disturbed(FAIL_NEVER, 0); ++i) {
        }
    }
    assert_true(unavailable > before);
    enrolled(&endpoint, &(scep_test_spec_t){ .transaction = mode == FAIL_BLINDING ? "ra" : "ca" });
}

static void test_disturbed_ra(void **state)
{
    disturb(FAIL_BLINDING);
}

static void test_disturbed_ca(void **state)
{
    disturb(FAIL_CA_BLINDING);
}

/** @return 1 if a CRL was made */
static int make_disturbed_crl(const gh_ca_t *signer, int number)
{
    static const gh_bytes_t serial = { (const unsigned char *)"\x07", 1 };
    apr_time_t now = apr_time_now();
    gh_crl_builder_t *builder;
    const unsigned char *at;
    gh_result_t result;
    gh_bytes_t der;
    apr_status_t rv;
    X509_CRL *crl;

    assert_int_equal(gh_crl_begin(&builder, signer, 1, now, now + apr_time_from_sec(3600), pool,
                                  &result),
                     APR_SUCCESS);
    assert_int_equal(gh_crl_add(builder, serial, now, 1, 0), APR_SUCCESS);
    failing_malloc_begin(FAIL_BLINDING, number);
    rv = gh_crl_finish(builder, &der, pool, &result);
    failing_malloc_end();
    if (rv != APR_SUCCESS) {
        assert_int_equal(rv, GH_EUNAVAILABLE);
        return 0;
    }
    at = der.data;
    crl = d2i_X509_CRL(NULL, &at, (long)der.length);
    assert_int_equal(X509_CRL_verify(crl, X509_get0_pubkey(ca)), 1);
    X509_CRL_free(crl);
    return 1;
}

/** A CRL that does not verify would be served until the next one is due. */
static void test_disturbed_crl(void **state)
{
    EVP_PKEY *key = scep_test_key("rsa2048-03", pool);
    int number, i, made = 0, failed = 0;
    gh_result_t result;
    gh_ca_t *signer;

    assert_int_equal(gh_ca_create(&signer, ca, key, NULL, pool, &result), APR_SUCCESS);
    for (number = 1; number <= 6; ++number) {
        for (i = 0; i < 2 * BLINDING_USES; ++i) {
            ++*(make_disturbed_crl(signer, number) ? &made : &failed);
        }
    }
    assert_true(made > 0 && failed > 0);
}

/** Everything above was in the same process, with the same engine. */
static void test_afterwards(void **state)
{
    scep_test_spec_t spec = { .transaction = "afterwards" };

    assert_true(answers[SCEP_SUCCESS] > 0 && answers[SCEP_PENDING] > 0 && unavailable > 0);
    enrolled(&endpoint, &spec);
}

static int set_up(void **state)
{
    static const gh_renewal_policy_t renewal = {
        .revoke_old = GH_RENEWAL_KEEP_OLD, .same_key = 1
    };

    if (scep_world_setup(state) != 0) {
        return 1;
    }
    make_endpoint(&onetime_endpoint, automatic, gh_authoriser_onetime(NULL, pool));
    renewing_endpoint = endpoint;
    renewing_endpoint.renewal = &renewal;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enrolment),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_poll),
        cmocka_unit_test(test_approved),
        cmocka_unit_test(test_disturbed_ra),
        cmocka_unit_test(test_disturbed_ca),
        cmocka_unit_test(test_disturbed_crl),
        cmocka_unit_test(test_afterwards)
    };

    /* what automake takes for "skipped" */
    return failing_malloc_available() ? cmocka_run_group_tests(tests, set_up, scep_world_teardown)
                                      : 77;
}
