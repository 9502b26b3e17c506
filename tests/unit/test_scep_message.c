/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/provider.h>

#include "decoding_support.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_reply.h"
#include "scep_builder.h"
#include "status.h"
#include "x509/key.h"

static apr_pool_t *pool;
static EVP_PKEY *client_key, *other_key, *ca_key;
static X509 *client, *ca, *ra, *old_ra;
static apr_array_header_t *recipients, *authorities;
static gh_bytes_t csr;
static OSSL_PROVIDER *providers[2];
static OSSL_LIB_CTX *decoding;

static int setup(void **state)
{
    EVP_PKEY *ra_key, *old_key;

    apr_initialize();
    /* the client of these tests can do what is refused */
    providers[0] = OSSL_PROVIDER_load(NULL, "default");
    providers[1] = OSSL_PROVIDER_load(NULL, "legacy");
    if (!providers[0] || !providers[1] || apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return 1;
    }
    client_key = scep_test_key("rsa2048-01", pool);
    other_key = scep_test_key("rsa2048-02", pool);
    ca_key = scep_test_key("rsa2048-03", pool);
    ra_key = scep_test_key("rsa2048-04", pool);
    old_key = scep_test_key("rsa2048-05", pool);
    client = scep_test_certificate(client_key, "client", NULL, NULL, 0, pool);
    ca = scep_test_certificate(ca_key, "Test CA", NULL, NULL, 1, pool);
    ra = scep_test_certificate(ra_key, "Test RA", ca_key, ca, 0, pool);
    old_ra = scep_test_certificate(old_key, "Older test RA", ca_key, ca, 0, pool);
    recipients = apr_array_make(pool, 2, sizeof(scep_recipient_t));
    APR_ARRAY_PUSH(recipients, scep_recipient_t) = (scep_recipient_t){ ra, ra_key };
    APR_ARRAY_PUSH(recipients, scep_recipient_t) = (scep_recipient_t){ old_ra, old_key };
    authorities = apr_array_make(pool, 1, sizeof(X509 *));
    APR_ARRAY_PUSH(authorities, X509 *) = ca;
    csr = scep_test_csr(client_key, "client", "secret", NULL, pool);
    return 0;
}

/** The same again, in the context that httpd's children use. */
static int setup_decoding(void **state)
{
    if (setup(state)) {
        return 1;
    }
    decoding = decoding_context(pool);
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

/** All steps as the engine takes them; stops at the first failure. */
static apr_status_t process(gh_bytes_t der, unsigned allow, scep_message_t **message,
                            gh_bytes_t *content, gh_result_t *result)
{
    const scep_recipient_t *recipient;
    apr_status_t rv;

    gh_result_clear(result);
    rv = scep_message_read(message, der, allow, decoding, pool, result);
    if (rv == APR_SUCCESS) {
        rv = scep_message_verify(*message, result);
    }
    if (rv == APR_SUCCESS) {
        rv = scep_message_admit(*message, recipients, authorities, &recipient, result);
    }
    if (rv == APR_SUCCESS) {
        rv = scep_message_open(*message, recipient, content, pool);
    }
    assert_int_equal(ERR_peek_error(), 0);
    return rv;
}

static void accepts(const scep_test_spec_t *spec, unsigned allow, const char *algorithms)
{
    scep_message_t *message;
    gh_bytes_t content;
    gh_result_t result;

    if (process(build(spec), allow, &message, &content, &result) != APR_SUCCESS) {
        fail_msg("%s %s (%s)", result.number, result.message, algorithms);
    }
    assert_string_equal(message->algorithms, algorithms);
    assert_int_equal(content.length, csr.length);
    assert_memory_equal(content.data, csr.data, csr.length);
}

static void refuses(const scep_test_spec_t *spec, unsigned allow, gh_failure_t failure,
                    const char *rule)
{
    scep_message_t *message;
    gh_bytes_t content;
    gh_result_t result;

    if (process(build(spec), allow, &message, &content, &result) != GH_EREFUSED) {
        fail_msg("not refused by %s: %s", rule, result.message);
    }
    assert_int_equal(result.failure, failure);
    assert_string_equal(result.rule, rule);
    assert_true(*result.number);
    assert_true(*result.action);
}

static void test_proper(void **state)
{
    scep_test_spec_t spec = { .type = NULL };
    scep_message_t *message;
    gh_bytes_t content;
    gh_result_t result;

    assert_int_equal(process(build(&spec), 0, &message, &content, &result), APR_SUCCESS);
    assert_int_equal(message->type, SCEP_PKCS_REQ);
    assert_string_equal(message->transaction, "transaction-1");
    assert_int_equal(message->sender_nonce.length, 16);
    assert_memory_equal(message->sender_nonce.data, scep_test_nonce, 16);
    assert_int_equal(message->signer_sha256.length, 32);
    assert_memory_equal(message->signer_sha256.data, gh_key_sha256(client_key, pool).data, 32);
    assert_string_equal(message->algorithms, "sha256/aes-128-cbc/rsaes-pkcs1-v1_5/RSA-2048");
    assert_int_equal(content.length, csr.length);
    assert_memory_equal(content.data, csr.data, csr.length);
}

static void test_accepted_algorithms(void **state)
{
    accepts(&(scep_test_spec_t){ .digest = EVP_sha384(), .cipher = EVP_aes_192_cbc() }, 0,
            "sha384/aes-192-cbc/rsaes-pkcs1-v1_5/RSA-2048");
    accepts(&(scep_test_spec_t){ .digest = EVP_sha512(), .cipher = EVP_aes_256_cbc() }, 0,
            "sha512/aes-256-cbc/rsaes-pkcs1-v1_5/RSA-2048");
    accepts(&(scep_test_spec_t){ .oaep = EVP_sha1() }, 0, "sha256/aes-128-cbc/rsaes-oaep/RSA-2048");
    accepts(&(scep_test_spec_t){ .oaep = EVP_sha256() }, 0,
            "sha256/aes-128-cbc/rsaes-oaep/RSA-2048");
    accepts(&(scep_test_spec_t){ .oaep = EVP_sha384() }, 0,
            "sha256/aes-128-cbc/rsaes-oaep/RSA-2048");
    accepts(&(scep_test_spec_t){ .oaep = EVP_sha512() }, 0,
            "sha256/aes-128-cbc/rsaes-oaep/RSA-2048");
    accepts(&(scep_test_spec_t){ .digest = EVP_sha1() }, SCEP_ALLOW_SHA1,
            "sha1/aes-128-cbc/rsaes-pkcs1-v1_5/RSA-2048");
    accepts(&(scep_test_spec_t){ .cipher = EVP_des_ede3_cbc() }, SCEP_ALLOW_3DES,
            "sha256/des-ede3-cbc/rsaes-pkcs1-v1_5/RSA-2048");
    accepts(&(scep_test_spec_t){ .signer_key_id = 1, .recipient_key_id = 1 }, 0,
            "sha256/aes-128-cbc/rsaes-pkcs1-v1_5/RSA-2048");
}

static void test_refused_algorithms(void **state)
{
    unsigned all = SCEP_ALLOW_3DES | SCEP_ALLOW_SHA1;

    refuses(&(scep_test_spec_t){ .digest = EVP_sha1() }, SCEP_ALLOW_3DES, GH_FAILURE_ALGORITHM,
            "message.digest");
    refuses(&(scep_test_spec_t){ .digest = EVP_md5() }, all, GH_FAILURE_ALGORITHM,
            "message.digest");
    refuses(&(scep_test_spec_t){ .digest = EVP_sha224() }, all, GH_FAILURE_ALGORITHM,
            "message.digest");
    refuses(&(scep_test_spec_t){ .cipher = EVP_des_ede3_cbc() }, SCEP_ALLOW_SHA1,
            GH_FAILURE_ALGORITHM, "message.cipher");
    refuses(&(scep_test_spec_t){ .cipher = EVP_camellia_128_cbc() }, all, GH_FAILURE_ALGORITHM,
            "message.cipher");
    refuses(&(scep_test_spec_t){ .cipher = EVP_des_cbc() }, all, GH_FAILURE_ALGORITHM,
            "message.cipher");
    refuses(&(scep_test_spec_t){ .cipher = EVP_rc2_cbc() }, all, GH_FAILURE_ALGORITHM,
            "message.cipher");
    refuses(&(scep_test_spec_t){ .oaep = EVP_sha224() }, all, GH_FAILURE_ALGORITHM,
            "message.transport");
    refuses(&(scep_test_spec_t){ .authenticated = 1 }, all, GH_FAILURE_ALGORITHM,
            "message.envelope-type");
    refuses(&(scep_test_spec_t){ .password_recipient = 1 }, all, GH_FAILURE_ALGORITHM,
            "message.recipient-type");
    refuses(&(scep_test_spec_t){ .password_recipient = 1, .second_recipient = ra }, all,
            GH_FAILURE_ALGORITHM, "message.recipient-type");
}

static void test_attributes(void **state)
{
    refuses(&(scep_test_spec_t){ .no_transaction = 1 }, 0, GH_FAILURE_REQUEST,
            "message.transaction");
    refuses(&(scep_test_spec_t){ .transaction = "" }, 0, GH_FAILURE_REQUEST, "message.transaction");
    refuses(&(scep_test_spec_t){ .transaction = "a\nb" }, 0, GH_FAILURE_REQUEST,
            "message.transaction");
    refuses(&(scep_test_spec_t){ .transaction = "\x7f" }, 0, GH_FAILURE_REQUEST,
            "message.transaction");
    refuses(&(scep_test_spec_t){ .transaction = apr_psprintf(pool, "%0257d", 1) }, 0,
            GH_FAILURE_REQUEST, "message.transaction");
    refuses(&(scep_test_spec_t){ .utf8_transaction = 1 }, 0, GH_FAILURE_REQUEST,
            "message.transaction");
    refuses(&(scep_test_spec_t){ .twice = SCEP_ATTRIBUTE_TRANSACTION_ID + 1 }, 0,
            GH_FAILURE_REQUEST, "message.transaction");
    refuses(&(scep_test_spec_t){ .no_nonce = 1 }, 0, GH_FAILURE_REQUEST, "message.nonce");
    refuses(&(scep_test_spec_t){ .twice = SCEP_ATTRIBUTE_SENDER_NONCE + 1 }, 0, GH_FAILURE_REQUEST,
            "message.nonce");
    accepts(
        &(scep_test_spec_t){ .transaction = apr_psprintf(pool, "%0256d", 1), .nonce_length = 64 },
        0, "sha256/aes-128-cbc/rsaes-pkcs1-v1_5/RSA-2048");
    accepts(&(scep_test_spec_t){ .nonce_length = 1 }, 0,
            "sha256/aes-128-cbc/rsaes-pkcs1-v1_5/RSA-2048");
}

static int type_of(const scep_test_spec_t *spec)
{
    scep_message_t *message;
    gh_result_t result;

    assert_int_equal(scep_message_read(&message, build(spec), 0, decoding, pool, &result),
                     APR_SUCCESS);
    return message->type;
}

static void test_types(void **state)
{
    static const char *const odd[] = { "019", "19 ", " 19", "+19",     "-19",  "1.9", "0x13",
                                       "",    "256", "999", "PKCSReq", "19\n", "00",  "1900" };
    apr_size_t i;

    assert_int_equal(type_of(&(scep_test_spec_t){ .type = "0" }), 0);
    assert_int_equal(type_of(&(scep_test_spec_t){ .type = "20" }), 20);
    assert_int_equal(type_of(&(scep_test_spec_t){ .type = "255" }), 255);
    assert_int_equal(type_of(&(scep_test_spec_t){ .no_type = 1 }), -1);
    assert_int_equal(type_of(&(scep_test_spec_t){ .twice = SCEP_ATTRIBUTE_MESSAGE_TYPE + 1 }), -1);
    for (i = 0; i < sizeof(odd) / sizeof(odd[0]); ++i) {
        if (type_of(&(scep_test_spec_t){ .type = odd[i] }) != -1) {
            fail_msg("\"%s\"", odd[i]);
        }
    }
}

static void test_structure(void **state)
{
    refuses(&(scep_test_spec_t){ .two_signers = 1 }, 0, GH_FAILURE_REQUEST, "message.signers");
    refuses(&(scep_test_spec_t){ .no_signer_certificate = 1 }, 0, GH_FAILURE_REQUEST,
            "message.signer");
    refuses(&(scep_test_spec_t){ .no_content = 1 }, 0, GH_FAILURE_REQUEST, "message.content");
    refuses(&(scep_test_spec_t){ .plain_content = 1 }, 0, GH_FAILURE_REQUEST, "message.envelope");
    refuses(&(scep_test_spec_t){ .second_recipient = old_ra }, 0, GH_FAILURE_INTEGRITY,
            "message.recipient");
    refuses(&(scep_test_spec_t){ .second_recipient = ra }, 0, GH_FAILURE_INTEGRITY,
            "message.recipient");
    refuses(&(scep_test_spec_t){ .second_recipient = client }, 0, GH_FAILURE_INTEGRITY,
            "message.recipient");
    /* some clients encrypt to everything that GetCACert gives */
    accepts(&(scep_test_spec_t){ .second_recipient = ca }, 0,
            "sha256/aes-128-cbc/rsaes-pkcs1-v1_5/RSA-2048");
    refuses(&(scep_test_spec_t){ .wrong_key = other_key }, 0, GH_FAILURE_INTEGRITY,
            "message.signature");
}

static void test_signer_keys(void **state)
{
    static const struct {
        const char *key;
        const char *type;
        const char *rule;
    } cases[] = {
        { "rsa1024-01", NULL, "message.key" }, { "p256-01", "20", "message.key-transport" },
        { "p384-01", "21", "message.key-transport" }, { "p521-01", "22", "message.key-transport" }
    };
    scep_test_spec_t spec = { .type = NULL };
    scep_message_t *message;
    gh_bytes_t content;
    gh_result_t result;
    apr_size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        EVP_PKEY *key = scep_test_key(cases[i].key, pool);
        X509 *certificate = scep_test_certificate(key, "client", NULL, NULL, 0, pool);
        gh_bytes_t der;

        spec.type = cases[i].type;
        der = scep_test_message(&spec, csr, key, certificate, ra, pool);
        assert_int_equal(process(der, 0, &message, &content, &result), GH_EREFUSED);
        assert_int_equal(result.failure, GH_FAILURE_ALGORITHM);
        assert_string_equal(result.rule, cases[i].rule);
    }
}

/** Requests may be signed with an EC key: the reply is encrypted with the challenge then. */
static void test_elliptic_signer(void **state)
{
    static const char *const keys[] = { "p256-01", "p384-01", "p521-01" };
    scep_reply_t reply = { .status = SCEP_SUCCESS };
    scep_test_spec_t spec = { .type = NULL };
    scep_message_t *message;
    gh_bytes_t content, der;
    gh_result_t result;
    apr_size_t i;

    reply.certificates = apr_array_make(pool, 1, sizeof(gh_bytes_t));
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); ++i) {
        EVP_PKEY *key = scep_test_key(keys[i], pool);
        X509 *certificate = scep_test_certificate(key, "client", NULL, NULL, 0, pool);

        der = scep_test_message(&spec, csr, key, certificate, ra, pool);
        assert_int_equal(process(der, 0, &message, &content, &result), APR_SUCCESS);
        assert_true(message->needs_password);
        assert_int_not_equal(scep_reply_make(&der, &reply, message,
                                             &APR_ARRAY_IDX(recipients, 0, scep_recipient_t),
                                             pool, &result), APR_SUCCESS);
    }
}

static void test_recipients(void **state)
{
    scep_test_spec_t spec = { .type = NULL };
    scep_message_t *message;
    gh_bytes_t content;
    gh_result_t result;

    assert_int_equal(process(scep_test_message(&spec, csr, client_key, client, old_ra, pool), 0,
                             &message, &content, &result),
                     APR_SUCCESS);
    assert_int_equal(process(scep_test_message(&spec, csr, client_key, client, ca, pool), 0,
                             &message, &content, &result),
                     GH_EREFUSED);
    assert_string_equal(result.rule, "message.recipient");
    assert_int_equal(result.failure, GH_FAILURE_INTEGRITY);
}

static void test_malformed(void **state)
{
    gh_bytes_t good = build(&(scep_test_spec_t){ .type = NULL });
    unsigned char *copy = apr_palloc(pool, SCEP_MESSAGE_MAX + 2);
    gh_bytes_t bytes = { copy, 0 };
    scep_message_t *message;
    gh_result_t result;
    apr_size_t i;

    gh_result_clear(&result);
    assert_int_equal(scep_message_read(&message, bytes, 0, decoding, pool, &result), APR_EINVAL);
    assert_int_equal(result.failure, GH_FAILURE_MALFORMED);
    memcpy(copy, good.data, good.length);
    copy[good.length] = 0;
    bytes.length = good.length + 1;
    assert_int_equal(scep_message_read(&message, bytes, 0, decoding, pool, &result), APR_EINVAL);
    bytes.length = SCEP_MESSAGE_MAX + 1;
    assert_int_equal(scep_message_read(&message, bytes, 0, decoding, pool, &result), APR_EINVAL);
    assert_string_equal(result.rule, "message.size");
    for (i = 0; i < good.length; i += 1 + i / 16) {
        bytes.length = i;
        assert_int_equal(scep_message_read(&message, bytes, 0, decoding, pool, &result),
                         APR_EINVAL);
        assert_null(message);
    }
    assert_int_equal(scep_message_read(&message, csr, 0, decoding, pool, &result), APR_EINVAL);
    assert_int_equal(ERR_peek_error(), 0);
}

/** Whatever bit is changed, no content comes out. */
static void test_flipped(void **state)
{
    gh_bytes_t good = build(&(scep_test_spec_t){ .type = NULL });
    unsigned char *copy = apr_pmemdup(pool, good.data, good.length);
    gh_bytes_t bytes = { copy, good.length };
    scep_message_t *message;
    gh_bytes_t content;
    gh_result_t result;
    apr_size_t i;
    int accepted = 0;

    for (i = 0; i < good.length; i += 3) {
        copy[i] ^= (unsigned char)(1 << (i % 8));
        if (process(bytes, 0, &message, &content, &result) == APR_SUCCESS) {
            /* what no signature covers: names and dates of the enclosed certificate, versions */
            assert_int_equal(content.length, csr.length);
            assert_memory_equal(content.data, csr.data, csr.length);
            ++accepted;
        }
        copy[i] = good.data[i];
    }
    assert_true(accepted < (int)(good.length / 3 / 3));
}

/** A wrapped key or content that was tampered with fails in one way only. */
static void test_uniform_opening(void **state)
{
    gh_bytes_t der = build(&(scep_test_spec_t){ .type = NULL });
    const scep_recipient_t *recipient;
    scep_message_t *message;
    ASN1_OCTET_STRING **inner;
    gh_bytes_t content;
    gh_result_t result;
    unsigned char *data;
    int i, length, failed = 0;

    for (i = 0; i < 40; ++i) {
        assert_int_equal(scep_message_read(&message, der, 0, decoding, pool, &result), APR_SUCCESS);
        assert_int_equal(scep_message_admit(message, recipients, authorities, &recipient, &result),
                         APR_SUCCESS);
        /* of the encrypted content */
        inner = CMS_get0_content(message->envelope);
        length = ASN1_STRING_length(*inner);
        data = (unsigned char *)ASN1_STRING_get0_data(*inner);
        data[length - 1 - i * 16] ^= 1;
        if (scep_message_open(message, recipient, &content, pool) != APR_SUCCESS) {
            assert_null(content.data);
            ++failed;
        }
    }
    assert_true(failed >= 1);
    assert_int_equal(ERR_peek_error(), 0);
}

/* Replies */

static void read_back(const scep_reply_t *reply, const scep_test_spec_t *spec, unsigned allow,
                      scep_test_reply_t *seen)
{
    const scep_recipient_t *current = &APR_ARRAY_IDX(recipients, 0, scep_recipient_t);
    scep_message_t *message;
    gh_result_t result;
    gh_bytes_t der;

    assert_int_equal(scep_message_read(&message, build(spec), allow, decoding, pool, &result),
                     APR_SUCCESS);
    assert_int_equal(scep_reply_make(&der, reply, message, current, pool, &result), APR_SUCCESS);
    assert_true(scep_test_reply(seen, der, client_key, client, pool));
    assert_true(seen->verified);
    assert_int_equal(seen->type, SCEP_CERT_REP);
    assert_int_equal(seen->status, reply->status);
    assert_int_equal(seen->signature, NID_rsaEncryption);
    assert_int_equal(X509_cmp(seen->signer, ra), 0);
    assert_int_equal(seen->sender_nonce.length, 16);
    assert_true(seen->content_present);         /* certmonger wants it, also empty */
}

static void test_reply_success(void **state)
{
    apr_array_header_t *certificates = apr_array_make(pool, 3, sizeof(gh_bytes_t));
    scep_reply_t reply = { .status = SCEP_SUCCESS, .certificates = certificates };
    scep_test_reply_t seen;
    unsigned char *encoded[3] = { NULL, NULL, NULL };
    X509 *order[3] = { client, ca, ra };
    int i;

    for (i = 0; i < 3; ++i) {
        int length = i2d_X509(order[i], &encoded[i]);
        APR_ARRAY_PUSH(certificates, gh_bytes_t) = (gh_bytes_t){ encoded[i], (apr_size_t)length };
    }
    read_back(&reply, &(scep_test_spec_t){ .cipher = EVP_aes_256_cbc(), .digest = EVP_sha512() }, 0,
              &seen);
    assert_string_equal(seen.transaction, "transaction-1");
    assert_int_equal(seen.recipient_nonce.length, 16);
    assert_memory_equal(seen.recipient_nonce.data, scep_test_nonce, 16);
    assert_int_equal(seen.fail_info, -1);
    assert_int_equal(seen.cipher, NID_aes_256_cbc);
    assert_int_equal(seen.digest, NID_sha512);
    assert_int_equal(seen.certificates->nelts, 3);
    for (i = 0; i < 3; ++i) {
        gh_bytes_t got = APR_ARRAY_IDX(seen.certificates, i, gh_bytes_t);
        gh_bytes_t put = APR_ARRAY_IDX(certificates, i, gh_bytes_t);
        assert_int_equal(got.length, put.length);
        assert_memory_equal(got.data, put.data, put.length);
        OPENSSL_free(encoded[i]);
    }
}

static void test_reply_others(void **state)
{
    scep_reply_t failure = { .status = SCEP_FAILURE,
                             .fail_info = SCEP_BAD_ALG,
                             .fail_text = "GH0000: no" };
    scep_reply_t pending = { .status = SCEP_PENDING };
    scep_test_reply_t seen;

    read_back(&failure, &(scep_test_spec_t){ .digest = EVP_md5() }, 0, &seen);
    assert_int_equal(seen.fail_info, SCEP_BAD_ALG);
    assert_string_equal(seen.fail_text, "GH0000: no");
    assert_false(seen.has_content);
    assert_int_equal(seen.digest, NID_sha256);
    read_back(&failure, &(scep_test_spec_t){ .no_transaction = 1, .no_nonce = 1 }, 0, &seen);
    assert_null(seen.transaction);
    assert_int_equal(seen.recipient_nonce.length, 0);
    read_back(&pending, &(scep_test_spec_t){ .nonce_length = 20 }, 0, &seen);
    assert_false(seen.has_content);
    assert_int_equal(seen.fail_info, -1);
    assert_null(seen.fail_text);
    assert_int_equal(seen.recipient_nonce.length, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proper),
        cmocka_unit_test(test_accepted_algorithms),
        cmocka_unit_test(test_refused_algorithms),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_signer_keys),
        cmocka_unit_test(test_elliptic_signer),
        cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_uniform_opening),
        cmocka_unit_test(test_reply_success),
        cmocka_unit_test(test_reply_others)
    };

    return cmocka_run_group_tests_name("default context", tests, setup, teardown)
        + cmocka_run_group_tests_name("decoding context", tests, setup_decoding, teardown);
}
