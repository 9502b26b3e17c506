/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The engine with a real store, CA and ledger: what a client gets for what it sends. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_strings.h>
#include <apr_thread_proc.h>

#include "scep_world.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/seal.h"

static void test_enrol(void **state)
{
    scep_test_spec_t spec = { .transaction = "enrol" };
    scep_test_reply_t reply;
    X509 *certificate;

    exchange(&endpoint, &spec, request(CHALLENGE), &reply);
    assert_int_equal(reply.status, SCEP_SUCCESS);
    assert_string_equal(reply.transaction, "enrol");
    assert_memory_equal(reply.recipient_nonce.data, scep_test_nonce, 16);
    assert_int_equal(reply.cipher, NID_aes_128_cbc);
    assert_int_equal(reply.certificates->nelts, 1);
    certificate = gh_certificate_parse(APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t), pool);
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(certificate), client_key), 1);
    assert_int_equal(X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(ca)),
                     0);
    assert_string_equal(event.event, "enrol");
    assert_string_equal(event.result, "issued");
    assert_string_equal(event.profile, "test-automatic");
    assert_string_equal(event.transaction, "enrol");
    assert_string_equal(event.algorithms, "sha256/aes-128-cbc/rsaes-pkcs1-v1_5/RSA-2048");
    assert_string_equal(event.rule, "challenge.static");
    assert_string_equal(event.serial,
                        gh_hex(pool, gh_certificate_serial(certificate, pool).data,
                               gh_certificate_serial(certificate, pool).length));
}

static void test_repeat(void **state)
{
    scep_test_spec_t spec = { .transaction = "repeat" };
    gh_bytes_t first = enrolled(&endpoint, &spec);

    same(first, enrolled(&endpoint, &spec));
    assert_string_equal(event.rule, "repeat");
    /* another challenge is another request under the same transaction */
    refused(&endpoint, &spec, request("other"), SCEP_BAD_REQUEST, NULL);
    same(first, enrolled(&endpoint, &spec));
}

static void test_challenges(void **state)
{
    scep_test_spec_t spec = { .transaction = "challenge" };
    scep_endpoint_t closed, open;
    scep_test_reply_t reply;

    refused(&endpoint, &spec, request("wrong"), SCEP_BAD_REQUEST, NULL);
    refused(&endpoint, &spec, request(NULL), SCEP_BAD_REQUEST, NULL);
    refused(&endpoint, &spec, request(CHALLENGE "1"), SCEP_BAD_REQUEST, NULL);
    make_endpoint(&closed, automatic, NULL);
    refused(&closed, &spec, request(CHALLENGE), SCEP_BAD_REQUEST, "challenge.unconfigured");
    refused(&closed, &spec, request(NULL), SCEP_BAD_REQUEST, "challenge.unconfigured");
    make_endpoint(&open, automatic, gh_authoriser_none(pool));
    exchange(&open, &spec, request(NULL), &reply);
    assert_int_equal(reply.status, SCEP_SUCCESS);
}

static void test_message_types(void **state)
{
    scep_test_spec_t spec = { .transaction = "types" };
    int type;

    /* of the types that are served, those that a stranger with a right challenge gets nothing by */
    for (type = 0; type <= 255; ++type) {
        const char *rule = type == SCEP_RENEWAL_REQ ? "renewal.self-signed"
            : type == SCEP_GET_CERT || type == SCEP_GET_CRL ? "holder.unknown"
            : "message.unknown-type";

        if (type != SCEP_PKCS_REQ && type != SCEP_CERT_POLL) {
            spec.type = apr_itoa(pool, type);
            refused(&endpoint, &spec, request(CHALLENGE), SCEP_BAD_REQUEST, rule);
        }
    }
    spec.type = "PKCSReq";
    refused(&endpoint, &spec, request(CHALLENGE), SCEP_BAD_REQUEST, "message.no-type");
    spec.no_type = 1;
    refused(&endpoint, &spec, request(CHALLENGE), SCEP_BAD_REQUEST, "message.no-type");
}

/** Between decryption and a verified request, nothing can be told apart. */
static void test_uniform_failure(void **state)
{
    scep_test_spec_t spec = { .transaction = "uniform" };
    gh_bytes_t garbage = { (const unsigned char *)"not a request", 13 };
    gh_bytes_t broken = request(CHALLENGE);
    gh_bytes_t contents[5];
    scep_test_reply_t first, reply;
    int i;

    ((unsigned char *)broken.data)[broken.length - 3] ^= 1;
    contents[0] = garbage;
    contents[1] = broken;
    contents[2] = scep_test_csr(other_key, "client", CHALLENGE, NULL, pool);
    contents[3] = scep_test_csr(client_key, "client", CHALLENGE, EVP_sha1(), pool);
    contents[4] = scep_test_issuer_and_subject(X509_get_subject_name(ca), "client", pool);
    exchange(&endpoint, &spec, contents[0], &first);
    assert_int_equal(first.status, SCEP_FAILURE);
    assert_int_equal(first.fail_info, SCEP_BAD_MESSAGE_CHECK);
    for (i = 1; i < 5; ++i) {
        exchange(&endpoint, &spec, contents[i], &reply);
        assert_int_equal(reply.status, SCEP_FAILURE);
        assert_int_equal(reply.fail_info, SCEP_BAD_MESSAGE_CHECK);
        assert_string_equal(reply.fail_text, first.fail_text);
        assert_string_equal(event.rule, "message.open");
    }
    spec.type = "20";
    exchange(&endpoint, &spec, request(CHALLENGE), &reply);
    assert_string_equal(reply.fail_text, first.fail_text);
}

static void test_fail_infos(void **state)
{
    gh_bytes_t csr = request(CHALLENGE);
    scep_test_spec_t spec = { .transaction = "infos" };
    X509 *stranger = scep_test_certificate(other_key, "RA of somebody", NULL, NULL, 0, pool);
    scep_response_t response;
    scep_test_reply_t reply;

    refused(&endpoint, &(scep_test_spec_t){ .digest = EVP_sha1() }, csr, SCEP_BAD_ALG,
            "message.digest");
    refused(&endpoint, &(scep_test_spec_t){ .digest = EVP_md5() }, csr, SCEP_BAD_ALG,
            "message.digest");
    refused(&endpoint, &(scep_test_spec_t){ .cipher = EVP_des_ede3_cbc() }, csr, SCEP_BAD_ALG,
            "message.cipher");
    refused(&endpoint, &(scep_test_spec_t){ .authenticated = 1 }, csr, SCEP_BAD_ALG,
            "message.envelope-type");
    refused(&endpoint, &(scep_test_spec_t){ .wrong_key = other_key }, csr, SCEP_BAD_MESSAGE_CHECK,
            "message.signature");
    refused(&endpoint, &(scep_test_spec_t){ .no_transaction = 1 }, csr, SCEP_BAD_REQUEST,
            "message.transaction");
    refused(&endpoint, &(scep_test_spec_t){ .no_nonce = 1 }, csr, SCEP_BAD_REQUEST,
            "message.nonce");
    send_to(engine, &endpoint, scep_test_message(&spec, csr, client_key, client, stranger, pool),
            &response);
    assert_true(scep_test_reply(&reply, response.body, client_key, client, pool));
    assert_int_equal(reply.fail_info, SCEP_BAD_MESSAGE_CHECK);
    assert_string_equal(event.rule, "message.recipient");
}

static void test_legacy(void **state)
{
    scep_endpoint_t legacy = endpoint;
    scep_test_spec_t spec = { .transaction = "legacy", .digest = EVP_sha1(),
                              .cipher = EVP_des_ede3_cbc() };
    scep_test_reply_t reply;

    legacy.allow = SCEP_ALLOW_3DES | SCEP_ALLOW_SHA1;
    exchange(&legacy, &spec, scep_test_csr(client_key, "client", CHALLENGE, EVP_sha1(), pool),
             &reply);
    assert_int_equal(reply.status, SCEP_SUCCESS);
    assert_int_equal(reply.cipher, NID_des_ede3_cbc);
    assert_int_equal(reply.digest, NID_sha1);
    /* that 3DES is allowed does not make it the answer to AES */
    spec.transaction = "modern";
    spec.cipher = EVP_aes_256_cbc();
    spec.digest = EVP_sha512();
    spec.oaep = EVP_sha256();
    exchange(&legacy, &spec, request(CHALLENGE), &reply);
    assert_int_equal(reply.status, SCEP_SUCCESS);
    assert_int_equal(reply.cipher, NID_aes_256_cbc);
    assert_int_equal(reply.digest, NID_sha512);
}

static void test_reply_chain(void **state)
{
    scep_endpoint_t with = endpoint;
    scep_test_spec_t spec = { .transaction = "chain" };
    scep_test_reply_t reply;

    with.reply_chain = SCEP_REPLY_ISSUER;
    exchange(&with, &spec, request(CHALLENGE), &reply);
    assert_int_equal(reply.status, SCEP_SUCCESS);
    assert_int_equal(reply.certificates->nelts, 2);
    same(APR_ARRAY_IDX(reply.certificates, 1, gh_bytes_t), gh_issuer_certificate_der(issuer));
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(gh_certificate_parse(
        APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t), pool)), client_key), 1);
}

/* Approval and polls */

static void poll_spec(scep_test_spec_t *spec, const char *transaction)
{
    memset(spec, 0, sizeof(*spec));
    spec->type = "20";
    spec->transaction = transaction;
}

static const char *waiting_id(const char *transaction)
{
    scep_test_spec_t spec = { .transaction = transaction };
    gh_enrolment_outcome_t outcome;
    scep_test_reply_t reply;
    gh_result_t result;

    exchange(&manual_endpoint, &spec, request(CHALLENGE), &reply);
    assert_int_equal(reply.status, SCEP_PENDING);
    assert_string_equal(event.result, "pending");
    assert_int_equal(gh_ledger_poll(services.ledger, "scep", "acme", "devices", "test-manual",
                                    transaction, gh_key_sha256(client_key, pool), &outcome, pool,
                                    &result),
                     APR_SUCCESS);
    return outcome.id;
}

static void decide(const char *id, int approve, const char *reason)
{
    gh_audit_event_t decision = { .event = approve ? "approve" : "deny" };
    apr_array_header_t *events;
    gh_result_t result;

    assert_int_equal(
        gh_ledger_decide(services.store, id, approve, "tester", reason, &decision, pool, &result),
        APR_SUCCESS);
    assert_int_equal(gh_ledger_issue_approved(services.ledger, &events, pool, &result),
                     APR_SUCCESS);
}

static void test_approval(void **state)
{
    gh_bytes_t names = scep_test_issuer_and_subject(X509_get_subject_name(ca), "client", pool);
    const char *id = waiting_id("approval");
    scep_test_spec_t spec, again = { .transaction = "approval" };
    scep_test_reply_t reply, repeated;

    poll_spec(&spec, "approval");
    exchange(&manual_endpoint, &spec, names, &reply);
    assert_int_equal(reply.status, SCEP_PENDING);
    assert_string_equal(event.event, "poll");
    exchange(&manual_endpoint, &again, request(CHALLENGE), &reply);
    assert_int_equal(reply.status, SCEP_PENDING);
    decide(id, 1, NULL);
    exchange(&manual_endpoint, &spec, names, &reply);
    assert_int_equal(reply.status, SCEP_SUCCESS);
    exchange(&manual_endpoint, &again, request(CHALLENGE), &repeated);
    assert_int_equal(repeated.status, SCEP_SUCCESS);
    same(APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t),
         APR_ARRAY_IDX(repeated.certificates, 0, gh_bytes_t));
}

static void test_denial(void **state)
{
    gh_bytes_t names = scep_test_issuer_and_subject(X509_get_subject_name(ca), "client", pool);
    const char *id = waiting_id("denial");
    scep_test_spec_t spec, again = { .transaction = "denial" };
    scep_test_reply_t reply;

    decide(id, 0, "not one of ours");
    poll_spec(&spec, "denial");
    exchange(&manual_endpoint, &spec, names, &reply);
    assert_int_equal(reply.status, SCEP_FAILURE);
    assert_int_equal(reply.fail_info, SCEP_BAD_REQUEST);
    assert_non_null(strstr(reply.fail_text, "not one of ours"));
    refused(&manual_endpoint, &again, request(CHALLENGE), SCEP_BAD_REQUEST, "enrolment.denied");
}

static void test_polls(void **state)
{
    gh_bytes_t names = scep_test_issuer_and_subject(X509_get_subject_name(ca), "client", pool);
    gh_bytes_t foreign = scep_test_issuer_and_subject(X509_get_subject_name(other), "client", pool);
    scep_test_spec_t spec;
    scep_response_t response;
    scep_test_reply_t reply;

    waiting_id("polls");
    poll_spec(&spec, "unknown");
    refused(&manual_endpoint, &spec, names, SCEP_BAD_CERT_ID, NULL);
    poll_spec(&spec, "polls");
    refused(&manual_endpoint, &spec, foreign, SCEP_BAD_CERT_ID, "poll.issuer");
    /* of another endpoint */
    refused(&endpoint, &spec, names, SCEP_BAD_CERT_ID, NULL);
    /* by a stranger who knows the transaction */
    send_to(engine, &manual_endpoint, scep_test_message(&spec, names, other_key, other, ra, pool),
            &response);
    assert_true(scep_test_reply(&reply, response.body, other_key, other, pool));
    assert_int_equal(reply.fail_info, SCEP_BAD_CERT_ID);
}

/* The other operations, and what is no message */

static void test_caps(void **state)
{
    scep_endpoint_t legacy = endpoint;
    scep_response_t response;

    scep_engine_caps(&endpoint, &response, pool);
    assert_int_equal(response.status, 200);
    assert_string_equal(response.content_type, "text/plain");
    assert_string_equal((const char *)response.body.data,
                        "AES\nPOSTPKIOperation\nSHA-256\nSHA-512\nSCEPStandard\n");
    legacy.allow = SCEP_ALLOW_3DES | SCEP_ALLOW_SHA1;
    scep_engine_caps(&legacy, &response, pool);
    assert_string_equal((const char *)response.body.data,
                        "AES\nPOSTPKIOperation\nSHA-256\nSHA-512\nSCEPStandard\nDES3\nSHA-1\n");
}

static void test_ca_certificates(void **state)
{
    scep_engine_t *second = scep_engine_create(&services, gate_for(1), pool);
    scep_response_t response, repeated;
    apr_array_header_t *certificates;

    scep_engine_certificates(engine, &endpoint, &everything, &response, pool);
    assert_string_equal(response.content_type, "application/x-x509-ca-ra-cert");
    certificates = scep_test_certificates(response.body, pool);
    assert_int_equal(certificates->nelts, 2);
    same(APR_ARRAY_IDX(certificates, 1, gh_bytes_t), gh_issuer_certificate_der(issuer));
    assert_int_equal(X509_check_issued(ca, ra), X509_V_OK);
    assert_int_equal(X509_get_key_usage(ra), KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(ra), X509_get0_pubkey(ca)), 0);
    /* another process has the same RA */
    assert_int_equal(scep_engine_add_issuer(second, issuer, ra_profile, pool), APR_SUCCESS);
    scep_engine_certificates(second, &endpoint, &everything, &repeated, pool);
    same(response.body, repeated.body);
}

static void test_other_sealing_key(void **state)
{
    const char *sealing = write_private("other-sealing", apr_psprintf(pool, "%064d\n", 8));
    scep_services_t wrong = services;
    scep_response_t response;
    scep_engine_t *second;
    gh_sealer_t *sealer;
    gh_result_t result;

    assert_int_equal(
        gh_sealer_open(&sealer, apr_pstrcat(pool, "file:", sealing, NULL), pool, &result),
        APR_SUCCESS);
    wrong.sealer = sealer;
    second = scep_engine_create(&wrong, gate_for(1), pool);
    assert_int_equal(scep_engine_add_issuer(second, issuer, ra_profile, pool), APR_SUCCESS);
    scep_engine_certificates(second, &endpoint, &everything, &response, pool);
    assert_int_equal(response.status, 503);
    assert_true(response.retry_after > 0);
    send_to(second, &endpoint,
            scep_test_message(&(scep_test_spec_t){ .type = NULL }, request(CHALLENGE), client_key,
                              client, ra, pool),
            &response);
    assert_int_equal(response.status, 503);
    assert_string_equal(response.content_type, "text/plain");
}

static void test_no_message(void **state)
{
    gh_bytes_t garbage = { (const unsigned char *)"garbage", 7 };
    gh_bytes_t empty = { NULL, 0 };
    scep_response_t response;

    send_to(engine, &endpoint, garbage, &response);
    assert_int_equal(response.status, 400);
    assert_string_equal(response.content_type, "text/plain");
    assert_memory_equal(response.body.data, "GH", 2);
    assert_int_equal(response.body.data[response.body.length - 1], '\n');
    assert_string_equal(event.result, "refused");
    send_to(engine, &endpoint, empty, &response);
    assert_int_equal(response.status, 400);
    send_to(engine, &endpoint, request(CHALLENGE), &response);
    assert_int_equal(response.status, 400);
}

static void test_too_many(void **state)
{
    scep_engine_t *full = scep_engine_create(&services, gate_for(0), pool);
    scep_response_t response;

    assert_int_equal(scep_engine_add_issuer(full, issuer, ra_profile, pool), APR_SUCCESS);
    send_to(full, &endpoint, request(CHALLENGE), &response);
    assert_int_equal(response.status, 503);
    assert_int_equal(response.retry_after, 1);
}

/* The same message on several connections at once, with a challenge that is good for one of them */

typedef struct {
    const scep_endpoint_t *at;
    gh_bytes_t message;
    scep_response_t response;
    apr_pool_t *pool;
} parallel_t;

static void *APR_THREAD_FUNC run_parallel(apr_thread_t *thread, void *data)
{
    parallel_t *one = data;
    gh_audit_event_t own = { .event = NULL };
    scep_request_t with = { .client = "192.0.2.1", .id = "0123", .event = &own };

    scep_engine_operate(engine, one->at, one->message, &with, &one->response, one->pool);
    return NULL;
}

static void test_parallel(void **state)
{
    enum { THREADS = 8 };
    scep_test_spec_t spec = { .transaction = "parallel" };
    gh_challenge_spec_t wanted = { .tenant = "acme", .issuer = "devices",
                                   .profile = "test-automatic", .node = "node1",
                                   .actor = "tester", .protocol = "ctl" };
    gh_challenge_made_t made;
    scep_endpoint_t onetime;
    gh_result_t result;
    gh_bytes_t message;
    apr_thread_t *threads[THREADS];
    parallel_t all[THREADS];
    scep_test_reply_t reply;
    gh_bytes_t first = { NULL, 0 };
    apr_status_t rv;
    int i;

    make_endpoint(&onetime, automatic, gh_authoriser_onetime(NULL, pool));
    assert_int_equal(gh_challenge_new(services.store, &wanted, &made, pool, &result),
                     APR_SUCCESS);
    message = scep_test_message(&spec, request(made.challenge), client_key, client, ra, pool);
    for (i = 0; i < THREADS; ++i) {
        all[i].at = &onetime;
        all[i].message = message;
        apr_pool_create_unmanaged_ex(&all[i].pool, NULL, NULL);
        assert_int_equal(apr_thread_create(&threads[i], NULL, run_parallel, &all[i], pool),
                         APR_SUCCESS);
    }
    for (i = 0; i < THREADS; ++i) {
        apr_thread_join(&rv, threads[i]);
        assert_int_equal(all[i].response.status, 200);
        assert_true(scep_test_reply(&reply, all[i].response.body, client_key, client, pool));
        if (reply.status != SCEP_SUCCESS) {
            fail_msg("%s", reply.fail_text);
        }
        if (i == 0) {
            first = APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t);
        }
        same(first, APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t));
        apr_pool_destroy(all[i].pool);
    }
}

/** Refuses, as a one-time challenge does that another connection has used up just now. */
static apr_status_t check_too_late(const gh_authoriser_t *authoriser, gh_store_t *store,
                                   const gh_enrolment_request_t *asked, gh_grant_t *grant,
                                   apr_pool_t *p, gh_result_t *result)
{
    parallel_t *first = authoriser->data;

    run_parallel(NULL, first);
    assert_int_equal(first->response.status, 200);
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "test", NULL, "used");
}

static void test_granted_meanwhile(void **state)
{
    scep_test_spec_t spec = { .transaction = "meanwhile" };
    gh_bytes_t message = scep_test_message(&spec, request(CHALLENGE), client_key, client, ra, pool);
    parallel_t first = { &endpoint, message, { 0, NULL, { NULL, 0 }, 0 }, pool };
    gh_authoriser_t too_late = { "too-late", &first, check_too_late };
    scep_endpoint_t late;
    scep_response_t response;
    scep_test_reply_t one, other_reply;

    make_endpoint(&late, automatic, &too_late);
    send_to(engine, &late, message, &response);
    assert_true(scep_test_reply(&one, first.response.body, client_key, client, pool));
    assert_true(scep_test_reply(&other_reply, response.body, client_key, client, pool));
    assert_int_equal(other_reply.status, SCEP_SUCCESS);
    assert_string_equal(event.rule, "repeat");
    same(APR_ARRAY_IDX(one.certificates, 0, gh_bytes_t),
         APR_ARRAY_IDX(other_reply.certificates, 0, gh_bytes_t));
}

static void test_no_secret_logged(void **state)
{
    assert_true(*logged);
    assert_null(strstr(logged, CHALLENGE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enrol),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_message_types),
        cmocka_unit_test(test_uniform_failure),
        cmocka_unit_test(test_fail_infos),
        cmocka_unit_test(test_legacy),
        cmocka_unit_test(test_reply_chain),
        cmocka_unit_test(test_approval),
        cmocka_unit_test(test_denial),
        cmocka_unit_test(test_polls),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_ca_certificates),
        cmocka_unit_test(test_other_sealing_key),
        cmocka_unit_test(test_no_message),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_granted_meanwhile),
        cmocka_unit_test(test_no_secret_logged)
    };

    return cmocka_run_group_tests(tests, scep_world_setup, scep_world_teardown);
}
