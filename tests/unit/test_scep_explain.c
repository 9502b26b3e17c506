/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a message is said to be, and which rules it breaks. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include "mod_scep/scep_asn1.h"
#include "mod_scep/scep_explain.h"
#include "mod_scep/scep_reply.h"
#include "scep_builder.h"
#include "x509/ca.h"

#define SECRET "seeded-secret-0815"
#define BOTH (SCEP_ALLOW_3DES | SCEP_ALLOW_SHA1)

static apr_pool_t *pool;
static EVP_PKEY *client_key, *ca_key, *ra_key;
static X509 *client, *ca, *ra, *old_ra;
static apr_array_header_t *recipients, *authorities;
static gh_bytes_t csr;
static OSSL_PROVIDER *providers[2];

static int setup(void **state)
{
    apr_initialize();
    /* what is refused has to be made first */
    providers[0] = OSSL_PROVIDER_load(NULL, "default");
    providers[1] = OSSL_PROVIDER_load(NULL, "legacy");
    if (!providers[0] || !providers[1] || apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return 1;
    }
    client_key = scep_test_key("rsa2048-01", pool);
    ca_key = scep_test_key("rsa2048-03", pool);
    ra_key = scep_test_key("rsa2048-04", pool);
    client = scep_test_certificate(client_key, "client", NULL, NULL, 0, pool);
    ca = scep_test_certificate(ca_key, "Test CA", NULL, NULL, 1, pool);
    ra = scep_test_certificate(ra_key, "Test RA", ca_key, ca, 0, pool);
    old_ra = scep_test_certificate(scep_test_key("rsa2048-05", pool), "Older RA", ca_key, ca, 0,
                                   pool);
    recipients = apr_array_make(pool, 1, sizeof(scep_recipient_t));
    APR_ARRAY_PUSH(recipients, scep_recipient_t) = (scep_recipient_t){ ra, NULL };
    authorities = apr_array_make(pool, 1, sizeof(X509 *));
    APR_ARRAY_PUSH(authorities, X509 *) = ca;
    csr = scep_test_csr(client_key, "client", SECRET, NULL, pool);
    return 0;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    OSSL_PROVIDER_unload(providers[1]);
    OSSL_PROVIDER_unload(providers[0]);
    apr_terminate();
    return 0;
}

static gh_bytes_t build(const scep_test_spec_t *spec)
{
    return scep_test_message(spec, csr, client_key, client, ra, pool);
}

/* Messages */

static scep_explanation_t *explain(gh_bytes_t der)
{
    scep_explanation_t *explanation;
    gh_result_t result;

    gh_result_clear(&result);
    if (scep_explain(&explanation, der, pool, &result) != APR_SUCCESS) {
        fail_msg("%s %s", result.number, result.message);
    }
    assert_int_equal(ERR_peek_error(), 0);
    return explanation;
}

static const scep_explained_recipient_t *recipient_at(const scep_explanation_t *explanation, int i)
{
    assert_true(i < explanation->recipients->nelts);
    return &APR_ARRAY_IDX(explanation->recipients, i, scep_explained_recipient_t);
}

static void test_request(void **state)
{
    scep_test_spec_t proper = { .type = NULL };
    scep_explanation_t *explanation = explain(build(&proper));
    const scep_explained_recipient_t *recipient = recipient_at(explanation, 0);
    gh_bytes_t serial = gh_certificate_serial(ra, pool);

    assert_int_equal(explanation->what, SCEP_EXPLAINED_REQUEST);
    assert_int_equal(explanation->message->type, SCEP_PKCS_REQ);
    assert_int_equal(explanation->signature, 1);
    assert_null(explanation->signature_problem);
    assert_string_equal(explanation->digest.name, "sha256");
    assert_string_equal(explanation->digest.oid, "2.16.840.1.101.3.4.2.1");
    assert_string_equal(explanation->signature_algorithm.name, "rsaEncryption");
    assert_string_equal(explanation->cipher.name, "aes-128-cbc");
    assert_true(explanation->encrypted > (int)csr.length);
    assert_true(explanation->signing_time > apr_time_now() - apr_time_from_sec(60));
    assert_string_equal(explanation->signer.issuer, "CN=client");
    assert_int_equal(explanation->certificates->nelts, 1);
    assert_int_equal(X509_cmp(APR_ARRAY_IDX(explanation->certificates, 0, X509 *), client), 0);
    assert_int_equal(explanation->pki_status, -1);
    assert_int_equal(explanation->recipients->nelts, 1);
    assert_string_equal(recipient->type, "key transport");
    assert_string_equal(recipient->identifier.issuer, "CN=Test CA");
    assert_string_equal(recipient->identifier.serial, gh_hex(pool, serial.data, serial.length));
    assert_string_equal(recipient->transport.name, "rsaEncryption");
    assert_true(recipient->accepted);
    assert_null(recipient->oaep_digest);
    assert_true(scep_explained_is(recipient, ra));
    assert_false(scep_explained_is(recipient, old_ra));
}

static void test_attributes(void **state)
{
    scep_test_spec_t spec = { .twice = SCEP_ATTRIBUTE_TRANSACTION_ID + 1 };
    scep_explanation_t *explanation = explain(build(&spec));
    int i, found = 0;

    for (i = 0; i < explanation->attributes->nelts; ++i) {
        const scep_explained_attribute_t *one = &APR_ARRAY_IDX(explanation->attributes, i,
                                                               scep_explained_attribute_t);
        if (strcmp(one->name, "transactionID") == 0) {
            assert_string_equal(one->oid, "2.16.840.1.113733.1.9.7");
            assert_int_equal(one->values, 2);
            assert_int_equal(one->bytes, 2 * (2 + (int)strlen("transaction-1")));
            found |= 1;
        }
        found |= strcmp(one->name, "messageType") == 0 ? 2 : 0;
        found |= strcmp(one->name, "messageDigest") == 0 && one->bytes == 34 ? 4 : 0;
    }
    assert_int_equal(found, 7);
}

static void test_dialects(void **state)
{
    scep_test_spec_t oaep = { .oaep = EVP_sha256() };
    scep_test_spec_t refused = { .oaep = EVP_sha224() };
    scep_test_spec_t old = { .cipher = EVP_des_ede3_cbc(), .digest = EVP_sha1() };
    scep_test_spec_t ids = { .signer_key_id = 1, .recipient_key_id = 1 };
    scep_test_spec_t password = { .password_recipient = 1, .second_recipient = ra };
    scep_explanation_t *explanation = explain(build(&oaep));

    assert_string_equal(recipient_at(explanation, 0)->transport.name, "rsaesOaep");
    assert_string_equal(recipient_at(explanation, 0)->oaep_digest, "sha256");
    assert_string_equal(recipient_at(explanation, 0)->oaep_mask, "mgf1");
    assert_string_equal(recipient_at(explanation, 0)->oaep_mask_digest, "sha256");
    assert_int_equal(recipient_at(explanation, 0)->oaep_label, 0);
    explanation = explain(build(&refused));
    assert_string_equal(recipient_at(explanation, 0)->oaep_digest, "sha224");
    assert_false(recipient_at(explanation, 0)->accepted);
    explanation = explain(build(&old));
    assert_string_equal(explanation->digest.name, "sha1");
    assert_string_equal(explanation->cipher.name, "des-ede3-cbc");
    assert_string_equal(explanation->cipher.oid, "1.2.840.113549.3.7");
    explanation = explain(build(&ids));
    assert_non_null(explanation->signer.key_id);
    assert_null(explanation->signer.serial);
    assert_non_null(recipient_at(explanation, 0)->identifier.key_id);
    assert_null(recipient_at(explanation, 0)->identifier.issuer);
    assert_true(scep_explained_is(recipient_at(explanation, 0), ra));
    explanation = explain(build(&password));
    assert_int_equal(explanation->recipients->nelts, 2);
    /* a SET in DER is in the order of its encodings */
    assert_string_equal(recipient_at(explanation, 0)->type, "key transport");
    assert_string_equal(recipient_at(explanation, 1)->type, "password");
    assert_false(scep_explained_is(recipient_at(explanation, 1), ra));
}

static void test_signatures(void **state)
{
    scep_test_spec_t proper = { .type = NULL };
    scep_test_spec_t wrong = { .wrong_key = ca_key };
    scep_test_spec_t unnamed = { .no_signer_certificate = 1 };
    scep_test_spec_t two = { .two_signers = 1 };
    gh_bytes_t der = build(&proper);
    unsigned char *changed = apr_pmemdup(pool, der.data, der.length);
    scep_explanation_t *explanation = explain(build(&wrong));
    const ASN1_OCTET_STRING *content;
    apr_size_t at;

    assert_int_equal(explanation->signature, 0);
    assert_non_null(strstr(explanation->signature_problem, "not made with the key"));
    explanation = explain(build(&unnamed));
    assert_int_equal(explanation->signature, -1);
    assert_non_null(strstr(explanation->signature_problem, "not enclosed"));
    assert_null(explanation->message->signer);
    assert_non_null(explanation->signer.serial);
    explanation = explain(build(&two));
    assert_int_equal(explanation->signature, -1);
    /* a byte of the encrypted content, which is the end of the signed one */
    content = *CMS_get0_content(explain(der)->message->outer);
    for (at = 0; memcmp(der.data + at, ASN1_STRING_get0_data(content),
                        (size_t)ASN1_STRING_length(content)) != 0; ++at) {
    }
    changed[at + (apr_size_t)ASN1_STRING_length(content) - 1] ^= 1;
    explanation = explain((gh_bytes_t){ changed, der.length });
    assert_int_equal(explanation->signature, 0);
    assert_non_null(strstr(explanation->signature_problem, "something has changed it"));
}

/* Rules */

/** The rules of a verdict, each with a blank behind it. */
static const char *rules(const apr_array_header_t *findings, scep_verdict_t verdict)
{
    const char *all = "";
    int i;

    for (i = 0; i < findings->nelts; ++i) {
        const scep_finding_t *one = &APR_ARRAY_IDX(findings, i, scep_finding_t);
        if (one->verdict == verdict) {
            all = apr_pstrcat(pool, all, one->rule, " ", NULL);
            if (verdict == SCEP_RULE_BROKEN) {
                assert_string_equal(one->result.rule, one->rule);
                assert_true(*one->result.number && *one->result.action);
            }
        }
    }
    return all;
}

static void judged(const scep_test_spec_t *spec, unsigned allow, int known, const char *broken,
                   const char *unknown)
{
    scep_destination_t destination = { allow, known ? recipients : NULL,
                                       known ? authorities : NULL };
    apr_array_header_t *findings;
    scep_verdict_t verdict = scep_explain_rules(&findings, explain(build(spec)), &destination,
                                                pool);

    assert_string_equal(rules(findings, SCEP_RULE_BROKEN), broken);
    assert_string_equal(rules(findings, SCEP_RULE_UNKNOWN), unknown);
    assert_int_equal(verdict, *broken ? SCEP_RULE_BROKEN
                              : *unknown ? SCEP_RULE_UNKNOWN : SCEP_RULE_KEPT);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_rules(void **state)
{
    scep_test_spec_t proper = { .type = NULL };
    scep_test_spec_t old = { .cipher = EVP_des_ede3_cbc(), .digest = EVP_sha1() };
    scep_test_spec_t never = { .cipher = EVP_des_cbc(), .digest = EVP_md5(),
                               .oaep = EVP_sha224() };
    scep_test_spec_t bare = { .no_type = 1, .no_transaction = 1, .no_nonce = 1 };

    judged(&proper, 0, 1, "", "");
    judged(&proper, 0, 0, "", "message.recipient ");
    judged(&old, 0, 1, "message.digest message.cipher ", "");
    judged(&old, BOTH, 1, "", "");
    judged(&old, SCEP_ALLOW_3DES, 1, "message.digest ", "");
    judged(&never, BOTH, 1, "message.digest message.cipher message.transport ", "");
    judged(&never, BOTH, 0, "message.digest message.cipher message.transport ",
           "message.recipient ");
    judged(&bare, 0, 1, "message.no-type message.transaction message.nonce ",
           "message.unknown-type ");
    judged(&(scep_test_spec_t){ .type = "18" }, 0, 1, "message.unknown-type ", "");
    judged(&(scep_test_spec_t){ .type = "17" }, 0, 1, "", "");
    judged(&(scep_test_spec_t){ .type = "20" }, 0, 1, "", "");
    judged(&(scep_test_spec_t){ .wrong_key = ca_key }, 0, 1, "message.signature ", "");
    judged(&(scep_test_spec_t){ .second_recipient = ca }, 0, 1, "", "");
    judged(&(scep_test_spec_t){ .second_recipient = client }, 0, 1, "message.recipient ", "");
    judged(&(scep_test_spec_t){ .authenticated = 1 }, 0, 1, "message.envelope-type ",
           "message.envelope message.cipher message.recipient-type message.recipient "
           "message.transport ");
    judged(&(scep_test_spec_t){ .plain_content = 1 }, 0, 1, "message.envelope ",
           "message.cipher message.recipient-type message.recipient message.transport ");
    judged(&(scep_test_spec_t){ .no_signer_certificate = 1 }, 0, 1, "message.signer ",
           "message.key message.key-transport message.digest message.content message.signature ");
}

static void test_other_recipient(void **state)
{
    scep_destination_t destination = { 0, recipients, authorities };
    scep_test_spec_t proper = { .type = NULL };
    apr_array_header_t *findings;
    gh_bytes_t der = scep_test_message(&proper, csr, client_key, client, old_ra, pool);
    int i;

    assert_int_equal(scep_explain_rules(&findings, explain(der), &destination, pool),
                     SCEP_RULE_BROKEN);
    assert_string_equal(rules(findings, SCEP_RULE_BROKEN), "message.recipient ");
    for (i = 0; i < findings->nelts; ++i) {
        const scep_finding_t *one = &APR_ARRAY_IDX(findings, i, scep_finding_t);
        if (one->verdict == SCEP_RULE_BROKEN) {
            assert_string_equal(one->result.number, "GH0202");
            assert_true(*one->result.action);
        }
    }
}

/* Answers */

static gh_bytes_t answer(const scep_reply_t *reply)
{
    scep_test_spec_t proper = { .type = NULL };
    scep_recipient_t keys = { ra, ra_key };
    scep_message_t *message;
    gh_bytes_t der;

    assert_int_equal(scep_message_read(&message, build(&proper), 0, NULL, pool, NULL),
                     APR_SUCCESS);
    assert_int_equal(scep_reply_make(&der, reply, message, &keys, pool, NULL), APR_SUCCESS);
    return der;
}

static void test_replies(void **state)
{
    apr_array_header_t *certificates = apr_array_make(pool, 1, sizeof(gh_bytes_t));
    scep_reply_t success = { .status = SCEP_SUCCESS, .certificates = certificates };
    scep_reply_t pending = { .status = SCEP_PENDING };
    scep_reply_t failure = { .status = SCEP_FAILURE, .fail_info = SCEP_BAD_TIME,
                             .fail_text = "GH9999: too late" };
    scep_explanation_t *explanation;
    scep_destination_t destination = { 0, recipients, authorities };
    apr_array_header_t *findings;

    APR_ARRAY_PUSH(certificates, gh_bytes_t) = gh_certificate_der(client, pool);
    explanation = explain(answer(&success));
    assert_int_equal(explanation->what, SCEP_EXPLAINED_REPLY);
    assert_int_equal(explanation->pki_status, SCEP_SUCCESS);
    assert_int_equal(explanation->fail_info, -1);
    assert_int_equal(explanation->signature, 1);
    assert_int_equal(X509_cmp(explanation->message->signer, ra), 0);
    assert_true(scep_explained_is(recipient_at(explanation, 0), client));
    assert_string_equal(explanation->cipher.name, "aes-128-cbc");
    assert_int_equal(explanation->recipient_nonce.length, 16);
    assert_memory_equal(explanation->recipient_nonce.data, scep_test_nonce, 16);
    assert_int_equal(scep_explain_rules(&findings, explanation, &destination, pool),
                     SCEP_RULE_KEPT);
    assert_int_equal(findings->nelts, 0);
    explanation = explain(answer(&pending));
    assert_int_equal(explanation->pki_status, SCEP_PENDING);
    assert_int_equal(explanation->signature, 1);
    assert_int_equal(explanation->recipients->nelts, 0);
    explanation = explain(answer(&failure));
    assert_int_equal(explanation->pki_status, SCEP_FAILURE);
    assert_int_equal(explanation->fail_info, SCEP_BAD_TIME);
    assert_string_equal(scep_fail_info_name(explanation->fail_info), "badTime");
    assert_string_equal(explanation->fail_text, "GH9999: too late");
}

/** A CertRep as others send it: with no content at all. */
static void test_reply_without_content(void **state)
{
    scep_test_spec_t spec = { .type = "3", .no_content = 1 };
    scep_explanation_t *explanation = explain(build(&spec));

    assert_int_equal(explanation->what, SCEP_EXPLAINED_REPLY);
    assert_int_equal(explanation->signature, 1);
    assert_int_equal(explanation->pki_status, -1);
}

static gh_bytes_t ca_answer(void)
{
    apr_array_header_t *certificates = apr_array_make(pool, 2, sizeof(gh_bytes_t));
    gh_bytes_t der;

    APR_ARRAY_PUSH(certificates, gh_bytes_t) = gh_certificate_der(ra, pool);
    APR_ARRAY_PUSH(certificates, gh_bytes_t) = gh_certificate_der(ca, pool);
    assert_int_equal(scep_certs_only(&der, certificates, pool), APR_SUCCESS);
    return der;
}

static void check_ca_answer(const scep_explanation_t *explanation)
{
    assert_int_equal(explanation->certificates->nelts, 2);
    assert_int_equal(X509_cmp(APR_ARRAY_IDX(explanation->certificates, 0, X509 *), ra), 0);
    assert_int_equal(X509_cmp(APR_ARRAY_IDX(explanation->certificates, 1, X509 *), ca), 0);
}

static void test_ca_answers(void **state)
{
    gh_bytes_t plain = ca_answer();
    BIO *in = BIO_new_mem_buf(plain.data, (int)plain.length);
    CMS_ContentInfo *cms = CMS_sign(ca, ca_key, NULL, in, CMS_BINARY | CMS_NOSMIMECAP);
    scep_explanation_t *explanation = explain(plain);
    unsigned char *der = NULL;
    int length = i2d_CMS_ContentInfo(cms, &der);

    assert_int_equal(explanation->what, SCEP_EXPLAINED_CERTIFICATES);
    check_ca_answer(explanation);
    explanation = explain(gh_certificate_der(ca, pool));
    assert_int_equal(explanation->what, SCEP_EXPLAINED_CERTIFICATES);
    assert_int_equal(explanation->certificates->nelts, 1);
    assert_true(length > 0);
    explanation = explain((gh_bytes_t){ der, (apr_size_t)length });
    assert_int_equal(explanation->what, SCEP_EXPLAINED_NEXT_CERTIFICATES);
    assert_int_equal(explanation->signature, 1);
    check_ca_answer(explanation);
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
}

/* Requests without a message */

static void test_csr(void **state)
{
    scep_destination_t strict = { 0, NULL, NULL }, all = { BOTH, NULL, NULL };
    scep_explanation_t *explanation = explain(csr);
    apr_array_header_t *findings;
    unsigned char *changed = apr_pmemdup(pool, csr.data, csr.length);

    assert_int_equal(explanation->what, SCEP_EXPLAINED_CSR);
    assert_null(explanation->message);
    assert_int_equal(explanation->signature, 1);
    assert_string_equal(gh_csr_subject_text(explanation->csr), "CN=client");
    assert_int_equal(explanation->csr_attributes->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(explanation->csr_attributes, 0,
                                      scep_explained_attribute_t).name, "challengePassword");
    assert_int_equal(scep_explain_rules(&findings, explanation, &strict, pool), SCEP_RULE_KEPT);
    assert_string_equal(rules(findings, SCEP_RULE_KEPT), "csr.key csr.digest csr.signature ");
    explanation = explain(scep_test_csr(client_key, "client", NULL, EVP_sha1(), pool));
    assert_int_equal(explanation->signature, 1);
    assert_int_equal(scep_explain_rules(&findings, explanation, &strict, pool), SCEP_RULE_BROKEN);
    assert_string_equal(rules(findings, SCEP_RULE_BROKEN), "csr.digest ");
    assert_int_equal(scep_explain_rules(&findings, explanation, &all, pool), SCEP_RULE_KEPT);
    changed[csr.length - 1] ^= 1;
    explanation = explain((gh_bytes_t){ changed, csr.length });
    assert_int_equal(explanation->signature, 0);
    assert_int_equal(scep_explain_rules(&findings, explanation, &all, pool), SCEP_RULE_BROKEN);
    assert_string_equal(rules(findings, SCEP_RULE_BROKEN), "csr.signature ");
}

/** Whatever is changed, there is an answer. */
static void test_damaged(void **state)
{
    scep_destination_t destination = { 0, recipients, authorities };
    scep_test_spec_t oaep = { .oaep = EVP_sha256() };
    scep_reply_t failure = { .status = SCEP_FAILURE, .fail_text = "x" };
    gh_bytes_t messages[4];
    apr_pool_t *all = pool;
    unsigned explained = 0, refused = 0;
    int i;

    messages[0] = build(&oaep);
    messages[1] = answer(&failure);
    messages[2] = csr;
    messages[3] = ca_answer();
    for (i = 0; i < 4; ++i) {
        gh_bytes_t der = messages[i];
        apr_size_t at;

        for (at = 0; at < der.length; ++at) {
            unsigned char *changed;
            scep_explanation_t *explanation;
            apr_array_header_t *findings;
            gh_result_t result;

            apr_pool_create(&pool, all);
            changed = apr_pmemdup(pool, der.data, der.length);
            changed[at] ^= (unsigned char)(1u << at % 8);
            if (scep_explain(&explanation, (gh_bytes_t){ changed, der.length }, pool, &result)
                == APR_SUCCESS) {
                scep_explain_rules(&findings, explanation, &destination, pool);
                ++explained;
            }
            else {
                assert_true(*result.number);
                ++refused;
            }
            assert_int_equal(ERR_peek_error(), 0);
            apr_pool_destroy(pool);
            pool = all;
        }
    }
    assert_true(explained > 100 && refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_signatures),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_other_recipient),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_reply_without_content),
        cmocka_unit_test(test_ca_answers),
        cmocka_unit_test(test_csr),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests_name("scep explain", tests, setup, teardown);
}
