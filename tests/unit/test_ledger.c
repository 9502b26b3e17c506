/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The ledger with a real store and a real CA: what is issued once, to whom, and what is refused. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_file_io.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "issuer/ledger.h"
#include "issuer/publisher.h"
#include "status.h"
#include "store/crls.h"
#include "x509/key.h"

static apr_pool_t *pool;
static char directory[] = "/tmp/gh-ledger-XXXXXX";
static gh_store_t *store;
static gh_issuer_t *issuer;
static apr_hash_t *issuers;
static gh_ledger_t *ledger;
static gh_profile_t *profile;
static gh_profile_t *manual;
static EVP_PKEY *device_key;

static EVP_PKEY *open_key(const char *name)
{
    gh_result_t result;
    EVP_PKEY *key = NULL;
    const char *path = apr_pstrcat(pool, directory, "/", name, NULL);

    assert_int_equal(apr_file_copy(apr_pstrcat(pool, TEST_SRCDIR "/tests/fixtures/keys/", name,
                                               NULL), path,
                                   APR_FPROT_UREAD | APR_FPROT_UWRITE, pool), APR_SUCCESS);
    assert_int_equal(gh_key_open(&key, path, NULL, pool, &result), APR_SUCCESS);
    return key;
}

static void set(gh_profile_t *target, const char *directive, int argc, const char *a, const char *b)
{
    const char *argv[] = { a, b };
    gh_result_t result;

    if (gh_profile_set(target, directive, argc, argv, pool, &result) != APR_SUCCESS) {
        fail_msg("%s: %s", directive, result.message);
    }
}

static gh_profile_t *make_profile(const char *name)
{
    gh_profile_t *made = gh_profile_create(name, NULL, pool);

    set(made, "ProfileKeyUsage", 2, "digitalSignature", "keyEncipherment");
    set(made, "ProfileExtendedKeyUsage", 1, "clientAuth", NULL);
    set(made, "ProfileValidity", 1, "30d", NULL);
    return made;
}

static void make_ca(void)
{
    gh_profile_t *root = gh_profile_create("test-root", NULL, pool);
    EVP_PKEY *key = open_key("rsa2048-01.pem");
    gh_issuer_config_t *config;
    gh_result_t result;
    gh_plan_t *plan;
    X509 *certificate;
    char *path = apr_pstrcat(pool, directory, "/ca.pem", NULL);
    FILE *file;

    set(root, "ProfileKeyUsage", 2, "keyCertSign", "cRLSign");
    set(root, "ProfileBasicConstraints", 1, "ca", NULL);
    set(root, "ProfileInternal", 1, "on", NULL);
    set(root, "ProfileValidity", 1, "10y", NULL);
    assert_int_equal(gh_profile_complete(root, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_profile_apply_own(&plan, root, key, "CN=Test CA", pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_ca_self_sign(&certificate, plan, key, 0, apr_time_now(), pool, &result),
                     APR_SUCCESS);
    file = fopen(path, "w");
    PEM_write_X509(file, certificate);
    fclose(file);

    issuer = gh_issuer_create("devices", &gh_issuer_local, pool);
    config = gh_issuer_config(issuer);
    config->certificate = path;
    config->key = apr_pstrcat(pool, directory, "/rsa2048-01.pem", NULL);
    config->public_url = "http://pki.example.com";
    config->crl_delay = apr_time_from_sec(2);
    assert_int_equal(gh_issuer_load(issuer, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_issuer_child_init(issuer, pool, &result), APR_SUCCESS);
}

static apr_status_t register_work(gh_transaction_t *transaction, void *baton)
{
    return gh_issuer_register(transaction, "devices", gh_issuer_key_sha256(issuer),
                              gh_issuer_certificate_der(issuer));
}

static int set_up(void **state)
{
    gh_store_options_t options = {0};
    gh_result_t result;
    const char *uri;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    assert_non_null(mkdtemp(directory));
    make_ca();
    device_key = open_key("rsa2048-02.pem");
    profile = make_profile("test-auto");
    assert_int_equal(gh_profile_complete(profile, pool, &result), APR_SUCCESS);
    manual = make_profile("test-manual");
    set(manual, "ProfileApproval", 1, "manual", NULL);
    assert_int_equal(gh_profile_complete(manual, pool, &result), APR_SUCCESS);
    uri = apr_pstrcat(pool, "sqlite3:", directory, "/store.db", NULL);
    assert_int_equal(gh_store_prepare(uri, (apr_uid_t)-1, (apr_gid_t)-1, &options, pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_store_open(&store, uri, &options, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_store_write(store, register_work, NULL, &result), APR_SUCCESS);
    issuers = apr_hash_make(pool);
    apr_hash_set(issuers, "devices", APR_HASH_KEY_STRING, issuer);
    ledger = gh_ledger_create(store, issuers, "node1", NULL, pool);
    return 0;
}

static int tear_down(void **state)
{
    char command[64];

    apr_snprintf(command, sizeof(command), "rm -rf %s", directory);
    apr_pool_destroy(pool);
    apr_terminate();
    return system(command);
}

static const gh_csr_t *make_csr(const char *name)
{
    X509_REQ *request = X509_REQ_new();
    X509_NAME *subject = X509_NAME_new();
    unsigned char *der = NULL;
    gh_result_t result;
    gh_csr_t *csr;
    int length;

    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                               0);
    X509_REQ_set_subject_name(request, subject);
    X509_REQ_set_pubkey(request, device_key);
    assert_true(X509_REQ_sign(request, device_key, EVP_sha256()) > 0);
    length = i2d_X509_REQ(request, &der);
    assert_int_equal(gh_csr_parse(&csr, der, (apr_size_t)length, NULL, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_csr_verify(csr, 0, &result), APR_SUCCESS);
    OPENSSL_free(der);
    X509_NAME_free(subject);
    X509_REQ_free(request);
    return csr;
}

static gh_enrolment_request_t make_request(const gh_profile_t *wanted, const char *name,
                                           const char *transaction, const char *challenge)
{
    gh_enrolment_request_t request = {0};

    request.protocol = "scep";
    request.location = "/scep/acme/devices/test";
    request.tenant = "acme";
    request.issuer = "devices";
    request.profile = wanted;
    request.transaction = transaction;
    request.csr = make_csr(name);
    request.signer_sha256 = gh_csr_key_sha256(request.csr);
    request.challenge = challenge;
    request.client = "192.0.2.1";
    return request;
}

static apr_array_header_t *authorisers(gh_authoriser_t *one)
{
    apr_array_header_t *array = apr_array_make(pool, 1, sizeof(gh_authoriser_t *));

    if (one) {
        APR_ARRAY_PUSH(array, gh_authoriser_t *) = one;
    }
    return array;
}

static gh_authoriser_t *static_authoriser(void)
{
    gh_bytes_t secret = { (const unsigned char *)"open sesame", 11 };

    return gh_authoriser_static(secret, pool);
}

static apr_status_t enrol(gh_enrolment_request_t *request, gh_authoriser_t *authoriser,
                          gh_enrolment_outcome_t *outcome, gh_result_t *result)
{
    gh_audit_event_t *event = apr_pcalloc(pool, sizeof(*event));
    gh_authorisation_t *authorisation;
    apr_status_t rv;

    gh_result_clear(result);
    event->time = apr_time_now();
    event->event = "enrol";
    rv = gh_authorise(&authorisation, request, authorisers(authoriser), store, pool, result);
    if (rv == APR_SUCCESS) {
        rv = gh_ledger_enrol(ledger, authorisation, request, event, outcome, pool, result);
    }
    return rv;
}

static void test_refusals_leave_nothing(void **state)
{
    gh_enrolment_request_t request = make_request(profile, "refused", "t-refused", "wrong");
    gh_enrolment_outcome_t outcome;
    gh_result_t result;

    assert_int_equal(enrol(&request, static_authoriser(), &outcome, &result), GH_EREFUSED);
    assert_int_equal(result.failure, GH_FAILURE_DENIED);
    assert_string_equal(result.rule, "challenge.static");
    assert_null(strstr(result.message, "sesame"));
    request.challenge = NULL;
    assert_int_equal(enrol(&request, static_authoriser(), &outcome, &result), GH_EREFUSED);
    assert_string_equal(result.rule, "challenge.missing");
    assert_int_equal(enrol(&request, NULL, &outcome, &result), GH_EREFUSED);
    assert_string_equal(result.rule, "challenge.unconfigured");
    assert_int_equal(gh_ledger_repeat(ledger, &request, &outcome, pool, &result), APR_NOTFOUND);
}

static void test_issue_and_repeat(void **state)
{
    gh_enrolment_request_t request = make_request(profile, "one", "t-one", "open sesame");
    gh_enrolment_request_t other = make_request(profile, "two", "t-one", "open sesame");
    gh_enrolment_outcome_t outcome;
    gh_enrolment_outcome_t again;
    gh_result_t result;

    assert_int_equal(gh_ledger_repeat(ledger, &request, &outcome, pool, &result), APR_NOTFOUND);
    assert_int_equal(enrol(&request, static_authoriser(), &outcome, &result), APR_SUCCESS);
    assert_int_equal(outcome.state, GH_ENROLMENT_ISSUED);
    assert_true(outcome.certificate.length > 0);
    assert_int_equal(gh_ledger_repeat(ledger, &request, &again, pool, &result), APR_SUCCESS);
    assert_int_equal(again.certificate.length, outcome.certificate.length);
    assert_memory_equal(again.certificate.data, outcome.certificate.data,
                        outcome.certificate.length);
    /* Without asking first: the key conflicts, and the first certificate is the answer. */
    assert_int_equal(enrol(&request, static_authoriser(), &again, &result), APR_SUCCESS);
    assert_memory_equal(again.serial.data, outcome.serial.data, outcome.serial.length);
    assert_int_equal(gh_ledger_repeat(ledger, &other, &again, pool, &result), GH_EREFUSED);
    assert_int_equal(result.failure, GH_FAILURE_CONFLICT);
    /* Somebody else with the same transaction ID is a stranger. */
    other.signer_sha256 = gh_csr_info_sha256(other.csr);
    assert_int_equal(gh_ledger_repeat(ledger, &other, &again, pool, &result), APR_NOTFOUND);
    assert_int_equal(gh_ledger_poll(ledger, "scep", "acme", "devices", "test-auto", "t-one",
                                    other.signer_sha256, &again, pool, &result), APR_NOTFOUND);
    assert_int_equal(gh_ledger_poll(ledger, "scep", "acme", "devices", "test-auto", "t-one",
                                    request.signer_sha256, &again, pool, &result), APR_SUCCESS);
    assert_int_equal(again.state, GH_ENROLMENT_ISSUED);
}

static void test_authorisation_is_bound(void **state)
{
    gh_enrolment_request_t request = make_request(profile, "bound", "t-bound", "open sesame");
    gh_enrolment_request_t other = make_request(profile, "other", "t-bound", "open sesame");
    gh_audit_event_t event = {0};
    gh_enrolment_outcome_t outcome;
    gh_authorisation_t *authorisation;
    gh_result_t result;

    assert_int_equal(gh_authorise(&authorisation, &request, authorisers(static_authoriser()), store,
                                  pool, &result), APR_SUCCESS);
    assert_int_equal(gh_ledger_enrol(ledger, authorisation, &other, &event, &outcome, pool,
                                     &result), GH_EREFUSED);
    other = request;
    other.location = "/scep/acme/devices/elsewhere";
    assert_int_equal(gh_ledger_enrol(ledger, authorisation, &other, &event, &outcome, pool,
                                     &result), GH_EREFUSED);
    other = request;
    other.profile = manual;
    assert_int_equal(gh_ledger_enrol(ledger, authorisation, &other, &event, &outcome, pool,
                                     &result), GH_EREFUSED);
}

/* One-time challenges */

typedef struct {
    gh_enrolment_request_t request;
    apr_status_t rv;
} racer_t;

static gh_authorisation_t *racing_authorisation[32];

static void *APR_THREAD_FUNC race(apr_thread_t *thread, void *data)
{
    racer_t *racer = data;
    gh_audit_event_t event = {0};
    gh_enrolment_outcome_t outcome;
    apr_pool_t *p;
    gh_result_t result;
    long index = strtol(racer->request.transaction + 5, NULL, 10);

    apr_pool_create(&p, NULL);
    event.time = apr_time_now();
    event.event = "enrol";
    racer->rv = gh_ledger_enrol(ledger, racing_authorisation[index], &racer->request, &event,
                                &outcome, p, &result);
    return NULL;
}

static void test_onetime(void **state)
{
    gh_authoriser_t *onetime = gh_authoriser_onetime(NULL, pool);
    gh_enrolment_request_t request;
    gh_enrolment_outcome_t outcome;
    gh_challenge_spec_t spec = { .tenant = "acme", .issuer = "devices", .profile = "test-auto",
                                 .node = "n", .actor = "tester", .protocol = "ctl" };
    gh_challenge_made_t made;
    apr_thread_t *threads[32];
    racer_t racers[32];
    gh_result_t result;
    int issued = 0;
    int i;

    assert_int_equal(gh_challenge_new(store, &spec, &made, pool, &result), APR_SUCCESS);
    assert_int_equal(strlen(made.challenge), 40);
    request = make_request(manual, "elsewhere", "t-elsewhere", made.challenge);
    assert_int_equal(enrol(&request, onetime, &outcome, &result), GH_EREFUSED);
    assert_non_null(strstr(result.cause, "another endpoint"));
    for (i = 0; i < 32; ++i) {
        racers[i].request = make_request(profile, apr_psprintf(pool, "race-%d", i),
                                         apr_psprintf(pool, "race-%d", i), made.challenge);
        assert_int_equal(gh_authorise(&racing_authorisation[i], &racers[i].request,
                                      authorisers(onetime), store, pool, &result), APR_SUCCESS);
    }
    for (i = 0; i < 32; ++i) {
        apr_thread_create(&threads[i], NULL, race, &racers[i], pool);
    }
    for (i = 0; i < 32; ++i) {
        apr_status_t ignored;

        apr_thread_join(&ignored, threads[i]);
        issued += racers[i].rv == APR_SUCCESS;
        assert_true(racers[i].rv == APR_SUCCESS || racers[i].rv == GH_EREFUSED);
    }
    assert_int_equal(issued, 1);
    request = make_request(profile, "late", "t-late", made.challenge);
    assert_int_equal(enrol(&request, onetime, &outcome, &result), GH_EREFUSED);
    assert_non_null(strstr(result.cause, "used already"));

    spec.subject = "CN=named";
    assert_int_equal(gh_challenge_new(store, &spec, &made, pool, &result), APR_SUCCESS);
    request = make_request(profile, "unnamed", "t-unnamed", made.challenge);
    assert_int_equal(enrol(&request, onetime, &outcome, &result), GH_EREFUSED);
    request = make_request(profile, "named", "t-named", made.challenge);
    assert_int_equal(enrol(&request, onetime, &outcome, &result), APR_SUCCESS);

    spec.subject = NULL;
    spec.lifetime = 1;
    assert_int_equal(gh_challenge_new(store, &spec, &made, pool, &result), APR_SUCCESS);
    request = make_request(profile, "expired", "t-expired", made.challenge);
    assert_int_equal(enrol(&request, onetime, &outcome, &result), GH_EREFUSED);
    assert_non_null(strstr(result.cause, "expired"));
}

static void test_approval(void **state)
{
    gh_enrolment_request_t yes = make_request(manual, "yes", "t-yes", "open sesame");
    gh_enrolment_request_t no = make_request(manual, "no", "t-no", "open sesame");
    gh_enrolment_outcome_t outcome;
    apr_array_header_t *events;
    const char *yes_id;
    const char *no_id;
    gh_audit_event_t event = {0};
    gh_result_t result;

    assert_int_equal(enrol(&yes, static_authoriser(), &outcome, &result), APR_SUCCESS);
    assert_int_equal(outcome.state, GH_ENROLMENT_WAITING);
    assert_int_equal(outcome.certificate.length, 0);
    yes_id = outcome.id;
    assert_int_equal(enrol(&no, static_authoriser(), &outcome, &result), APR_SUCCESS);
    no_id = outcome.id;
    assert_int_equal(gh_ledger_issue_approved(ledger, &events, pool, &result), APR_SUCCESS);
    assert_int_equal(events->nelts, 0);

    assert_int_equal(gh_ledger_decide(store, yes_id, 1, "op", NULL, &event, pool, &result),
                     APR_SUCCESS);
    memset(&event, 0, sizeof(event));
    assert_int_equal(gh_ledger_decide(store, no_id, 0, "op", "unknown device", &event, pool,
                                      &result), APR_SUCCESS);
    memset(&event, 0, sizeof(event));
    assert_int_equal(gh_ledger_decide(store, no_id, 1, "op", NULL, &event, pool, &result),
                     GH_EREFUSED);
    assert_int_equal(gh_ledger_decide(store, "00000000000000000000000000000000", 1, "op", NULL,
                                      &event, pool, &result), APR_NOTFOUND);
    assert_int_equal(gh_ledger_issue_approved(ledger, &events, pool, &result), APR_SUCCESS);
    assert_int_equal(events->nelts, 1);
    assert_int_equal(gh_ledger_repeat(ledger, &yes, &outcome, pool, &result), APR_SUCCESS);
    assert_int_equal(outcome.state, GH_ENROLMENT_ISSUED);
    assert_true(outcome.certificate.length > 0);
    assert_int_equal(gh_ledger_repeat(ledger, &no, &outcome, pool, &result), APR_SUCCESS);
    assert_int_equal(outcome.state, GH_ENROLMENT_DENIED);
    assert_string_equal(outcome.message, "unknown device");
}

static void decide(const char *id, int approve)
{
    gh_audit_event_t event = {0};
    gh_result_t result;

    assert_int_equal(gh_ledger_decide(store, id, approve, "op", NULL, &event, pool, &result),
                     APR_SUCCESS);
}

static void test_one_stuck_approval_holds_up_nobody(void **state)
{
    gh_enrolment_request_t stuck = make_request(manual, "stuck", "t-stuck", "open sesame");
    gh_enrolment_request_t good = make_request(manual, "good", "t-good", "open sesame");
    gh_enrolment_outcome_t outcome;
    apr_array_header_t *events;
    gh_result_t result;

    stuck.issuer = "gone";
    assert_int_equal(enrol(&stuck, static_authoriser(), &outcome, &result), APR_SUCCESS);
    decide(outcome.id, 1);
    assert_int_equal(enrol(&good, static_authoriser(), &outcome, &result), APR_SUCCESS);
    decide(outcome.id, 1);
    assert_int_equal(gh_ledger_issue_approved(ledger, &events, pool, &result), GH_EUNAVAILABLE);
    assert_int_equal(events->nelts, 1);
    assert_int_equal(gh_ledger_repeat(ledger, &good, &outcome, pool, &result), APR_SUCCESS);
    assert_int_equal(outcome.state, GH_ENROLMENT_ISSUED);
    assert_int_equal(gh_ledger_repeat(ledger, &stuck, &outcome, pool, &result), APR_SUCCESS);
    assert_int_equal(outcome.state, GH_ENROLMENT_APPROVED);
}

static X509_CRL *current_crl(gh_publisher_t *publisher, const gh_crl_t **crl)
{
    const unsigned char *der;

    assert_int_equal(gh_publisher_crl(publisher, "devices", crl, pool), APR_SUCCESS);
    der = (*crl)->der.data;
    return d2i_X509_CRL(NULL, &der, (long)(*crl)->der.length);
}

static apr_status_t change_status(gh_bytes_t serial, gh_status_t status, int reason,
                                  gh_result_t *result)
{
    gh_audit_event_t event = {0};

    return gh_revocation_set(store, "devices", serial, status, reason, 0, &event, 1, pool, result);
}

static void test_revocation_and_crl(void **state)
{
    gh_publisher_t *publisher = gh_publisher_create(store, issuers, "node1", NULL, pool);
    gh_enrolment_request_t request = make_request(profile, "revoke", "t-revoke", "open sesame");
    gh_enrolment_request_t second = make_request(profile, "second", "t-second", "open sesame");
    gh_enrolment_outcome_t outcome;
    gh_enrolment_outcome_t other;
    const gh_crl_t *first;
    const gh_crl_t *crl;
    X509_REVOKED *entry;
    X509_CRL *parsed;
    ASN1_INTEGER *serial;
    gh_result_t result;

    assert_int_equal(gh_publisher_crl(publisher, "devices", &crl, pool), APR_NOTFOUND);
    assert_int_equal(enrol(&request, static_authoriser(), &outcome, &result), APR_SUCCESS);
    assert_int_equal(enrol(&second, static_authoriser(), &other, &result), APR_SUCCESS);
    assert_int_equal(gh_publisher_run(publisher, &result), APR_SUCCESS);
    X509_CRL_free(current_crl(publisher, &first));
    assert_int_equal(first->number, 1);

    /* At once after the first, then not before the delay has passed. */
    assert_int_equal(change_status(outcome.serial, GH_STATUS_REVOKED, 1, &result), APR_SUCCESS);
    assert_int_equal(gh_publisher_run(publisher, &result), APR_SUCCESS);
    parsed = current_crl(publisher, &crl);
    assert_int_equal(crl->number, 2);
    serial = BN_to_ASN1_INTEGER(BN_bin2bn(outcome.serial.data, (int)outcome.serial.length, NULL),
                                NULL);
    assert_int_equal(X509_CRL_get0_by_serial(parsed, &entry, serial), 1);
    assert_int_equal(X509_CRL_verify(parsed, X509_get0_pubkey(gh_issuer_certificate(issuer))), 1);
    X509_CRL_free(parsed);
    ASN1_INTEGER_free(serial);
    assert_int_equal(change_status(other.serial, GH_STATUS_HELD, GH_REASON_NONE, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_publisher_run(publisher, &result), APR_SUCCESS);
    X509_CRL_free(current_crl(publisher, &crl));
    assert_int_equal(crl->number, 2);
    apr_sleep(apr_time_from_msec(2200));
    assert_int_equal(gh_publisher_run(publisher, &result), APR_SUCCESS);
    parsed = current_crl(publisher, &crl);
    assert_int_equal(crl->number, 3);
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(parsed)), 2);
    X509_CRL_free(parsed);
    /* What a request holds stays whole. */
    assert_int_equal(first->number, 1);
    assert_int_equal(first->der.data[0], 0x30);

    assert_int_equal(change_status(outcome.serial, GH_STATUS_GOOD, GH_REASON_NONE, &result),
                     GH_EREFUSED);
    assert_non_null(strstr(result.message, "revoked"));
    assert_int_equal(change_status(other.serial, GH_STATUS_GOOD, GH_REASON_NONE, &result),
                     APR_SUCCESS);
    assert_int_equal(change_status(other.serial, GH_STATUS_REVOKED, 8, &result), GH_EREFUSED);
    assert_int_equal(change_status(other.serial, GH_STATUS_REVOKED, 6, &result), GH_EREFUSED);
    other.serial.length = 3;
    assert_int_equal(change_status(other.serial, GH_STATUS_REVOKED, 0, &result), APR_NOTFOUND);
}

/* A key that has failed is not used again before it was tried anew. */
static void test_suspected_key(void **state)
{
    gh_enrolment_request_t request = make_request(profile, "suspect", "t-suspect", "open sesame");
    gh_enrolment_outcome_t outcome;
    gh_result_t result;

    assert_true(gh_issuer_usable(issuer));
    gh_issuer_suspect(issuer);
    assert_false(gh_issuer_usable(issuer));
    assert_int_equal(enrol(&request, static_authoriser(), &outcome, &result), GH_EUNAVAILABLE);
    assert_int_equal(gh_ledger_repeat(ledger, &request, &outcome, pool, &result), APR_NOTFOUND);
    assert_int_equal(gh_issuer_child_init(issuer, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_issuer_child_init(issuer, pool, &result), APR_SUCCESS);
    assert_true(gh_issuer_usable(issuer));
    assert_int_equal(enrol(&request, static_authoriser(), &outcome, &result), APR_SUCCESS);
    assert_int_equal(outcome.state, GH_ENROLMENT_ISSUED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_leave_nothing),
        cmocka_unit_test(test_issue_and_repeat),
        cmocka_unit_test(test_authorisation_is_bound),
        cmocka_unit_test(test_onetime),
        cmocka_unit_test(test_approval),
        cmocka_unit_test(test_one_stuck_approval_holds_up_nobody),
        cmocka_unit_test(test_revocation_and_crl),
        cmocka_unit_test(test_suspected_key),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
