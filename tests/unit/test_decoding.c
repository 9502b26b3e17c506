/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Requests parsed in the context that decodes fast are what they are in the default one. */

#include "x509_support.h"

#include <apr_strings.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>

#include "decoding_support.h"
#include "status.h"
#include "x509/decoding.h"
#include "x509/key.h"

static OSSL_LIB_CTX *context;

/* The context lives as long as one test, as test_pool is emptied after it. */
static int open_context(void **state)
{
    (void)state;
    context = decoding_context(test_pool);
    return 0;
}

static apr_status_t parse(gh_csr_t **csr, gh_bytes_t der, OSSL_LIB_CTX *in)
{
    gh_result_t result;

    return gh_csr_parse(csr, der.data, der.length, in, test_pool, &result);
}

static void assert_same(gh_bytes_t one, gh_bytes_t other)
{
    assert_int_equal(one.length, other.length);
    assert_memory_equal(one.data, other.data, one.length);
}

static void test_kinds(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < KEY_KINDS; i++) {
        request_t request = request_for(key_of_kind(key_kinds[i]), "cn=device");
        gh_csr_t *csr, *usual;
        gh_bytes_t der;

        ask(&request, "subjectAltName", "DNS:device.example.com");
        der = request_der(build_request(&request));
        assert_success(parse(&usual, der, NULL));
        assert_success(parse(&csr, der, context));
        assert_string_equal(gh_csr_key_kind(csr), key_kinds[i]);
        assert_success(gh_csr_verify(csr, 0, NULL));
        assert_int_equal(EVP_PKEY_eq(gh_csr_key(csr), gh_csr_key(usual)), 1);
        assert_same(gh_key_sha256(gh_csr_key(csr), test_pool),
                    gh_key_sha256(gh_csr_key(usual), test_pool));
        assert_same(gh_csr_key_sha256(csr), gh_csr_key_sha256(usual));
        assert_int_equal(ERR_peek_error(), 0);
    }
}

static void test_bad_signature(void **state)
{
    int i;

    (void)state;
    for (i = 0; i < KEY_KINDS; i++) {
        request_t request = request_for(key_of_kind(key_kinds[i]), "cn=device");
        gh_bytes_t der = request_der(build_request(&request));
        unsigned char *changed = apr_pmemdup(test_pool, der.data, der.length);
        gh_csr_t *csr;

        changed[der.length - 3] ^= 1;
        der.data = changed;
        assert_success(parse(&csr, der, context));
        assert_int_equal(gh_csr_verify(csr, 0, NULL), GH_EREFUSED);
    }
}

/* RSASSA-PSS over a request with an ordinary RSA key. */
static void test_pss_signature(void **state)
{
    EVP_PKEY *key = key_of_kind("RSA-2048");
    request_t spec = request_for(key, "cn=device");
    X509_REQ *request = build_request(&spec);
    EVP_MD_CTX *sign = EVP_MD_CTX_new();
    EVP_PKEY_CTX *parameters;
    gh_csr_t *csr;

    (void)state;
    assert_int_equal(EVP_DigestSignInit(sign, &parameters, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING), 1);
    assert_true(X509_REQ_sign_ctx(request, sign) > 0);
    EVP_MD_CTX_free(sign);
    assert_success(parse(&csr, request_der(request), context));
    assert_success(gh_csr_verify(csr, 0, NULL));
}

/* Kinds of key that nobody may have are not known here at all. */
static void test_other_kinds(void **state)
{
    EVP_PKEY *keys[] = {
        EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), EVP_PKEY_Q_keygen(NULL, NULL, "ED448")
    };
    size_t i;

    (void)state;
    for (i = 0; i < 2; i++) {
        X509_REQ *request = X509_REQ_new();
        gh_csr_t *csr;

        assert_non_null(keys[i]);
        assert_int_equal(X509_REQ_set_pubkey(request, keys[i]), 1);
        assert_true(X509_REQ_sign(request, keys[i], NULL) > 0);
        assert_success(parse(&csr, request_der(request), NULL));
        assert_null(gh_csr_key_kind(csr));
        if (context != NULL) {
            assert_int_equal(parse(&csr, request_der(request), context), APR_EINVAL);
            assert_null(csr);
        }
        X509_REQ_free(request);
        EVP_PKEY_free(keys[i]);
    }
}

static void count(OSSL_DECODER *decoder, void *baton)
{
    (void)decoder;
    ++*(int *)baton;
}

/* What the context is for: few decoders to look through, in keys of the default provider's kind. */
static void test_filter(void **state)
{
    request_t request = request_for(key_of_kind("RSA-2048"), "cn=device");
    int here = 0, usual = 0;
    EVP_MD *digest;
    gh_csr_t *csr;

    (void)state;
    if (context == NULL) {
        gh_decoding_t *none;

        assert_int_equal(gh_decoding_create(&none, test_pool), APR_ENOTIMPL);
        return;
    }
    OSSL_DECODER_do_all_provided(context, count, &here);
    OSSL_DECODER_do_all_provided(NULL, count, &usual);
    assert_int_equal(here, 2);
    assert_true(usual > 20);
    assert_success(parse(&csr, request_der(build_request(&request)), context));
    assert_string_equal(
        OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(gh_csr_key(csr))), "gatehouse");
    digest = EVP_MD_fetch(context, "SHA512", NULL);
    assert_non_null(digest);
    EVP_MD_free(digest);
}

/* Who asks for FIPS gets what the default context has, and no way round it. */
static void test_fips(void **state)
{
    gh_decoding_t *decoding;
    apr_status_t rv;

    (void)state;
    assert_int_equal(EVP_default_properties_enable_fips(NULL, 1), 1);
    rv = gh_decoding_create(&decoding, test_pool);
    assert_int_equal(EVP_default_properties_enable_fips(NULL, 0), 1);
    assert_int_equal(rv, APR_ENOTIMPL);
    assert_null(decoding);
    assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kinds, open_context, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_bad_signature, open_context, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_pss_signature, open_context, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_other_kinds, open_context, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_filter, open_context, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_fips, open_context, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
