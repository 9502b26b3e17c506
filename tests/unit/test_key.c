/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Keys from files and tokens, and secrets sealed for the store. */

#include "x509_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>

#include "status.h"
#include "x509/key.h"
#include "x509/seal.h"

/* Kinds */

static void test_kinds(void **state)
{
    static const int digests[] = { NID_sha256, NID_sha256, NID_sha512, NID_sha256, NID_sha384,
                                   NID_sha512 };
    size_t i;

    (void)state;
    for (i = 0; i < KEY_KINDS; i++) {
        EVP_PKEY *key = key_of_kind(key_kinds[i]);

        assert_string_equal(gh_key_kind(key), key_kinds[i]);
        assert_int_equal(EVP_MD_get_type(gh_key_digest(key)), digests[i]);
        assert_success(gh_key_try(key, NULL));
    }
    assert_null(gh_key_kind(NULL));
}

static void test_generate(void **state)
{
    static const char *const quick[] = { "RSA-2048", "P-256", "P-384", "P-521" };
    static const char *const wrong[] = { "", "RSA-1024", "RSA-2047", "RSA", "P-192", "secp256k1",
                                         "Ed25519", "rsa-2048" };
    EVP_PKEY *key;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(quick) / sizeof(quick[0]); i++) {
        assert_success(gh_key_generate(&key, quick[i], test_pool, NULL));
        assert_string_equal(gh_key_kind(key), quick[i]);
    }
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(gh_key_generate(&key, wrong[i], test_pool, NULL), APR_EINVAL);
        assert_null(key);
    }
}

static EVP_PKEY *ec_key(const char *group, const char *encoding)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM parameters[3];
    EVP_PKEY *key = NULL;

    parameters[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)group, 0);
    parameters[1] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING,
                                                     (char *)encoding, 0);
    parameters[2] = OSSL_PARAM_construct_end();
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_params(context, parameters), 1);
    assert_int_equal(EVP_PKEY_generate(context, &key), 1);
    EVP_PKEY_CTX_free(context);
    return gh_own_key(test_pool, key);
}

/** An RSA public key with any numbers. */
static EVP_PKEY *rsa_public(const BIGNUM *n, unsigned long e)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    BIGNUM *exponent = BN_new();
    OSSL_PARAM *parameters;
    EVP_PKEY *key = NULL;

    BN_set_word(exponent, e);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent);
    parameters = OSSL_PARAM_BLD_to_param(builder);
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters), 1);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EVP_PKEY_CTX_free(context);
    BN_free(exponent);
    return gh_own_key(test_pool, key);
}

/** Reads a key back from its SubjectPublicKeyInfo, as it comes in a request. */
static EVP_PKEY *as_received(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    const unsigned char *at;
    int length = i2d_PUBKEY(key, &der);
    EVP_PKEY *received;

    assert_true(length > 0);
    at = der;
    received = d2i_PUBKEY(NULL, &at, length);
    OPENSSL_free(der);
    return gh_own_key(test_pool, received);
}

static void test_refused_kinds(void **state)
{
    EVP_PKEY *good = key_of_kind("RSA-2048");
    BIGNUM *n = NULL, *e = NULL;
    int bits[] = { 512, 1024, 2047, 2049, 3071, 4095, 8192 };
    size_t i;

    (void)state;
    assert_null(gh_key_kind(fixture_key("rsa1024-01")));
    assert_int_equal(EVP_PKEY_get_bn_param(good, OSSL_PKEY_PARAM_RSA_N, &n), 1);
    assert_string_equal(gh_key_kind(rsa_public(n, 65537)), "RSA-2048");
    assert_null(gh_key_kind(rsa_public(n, 65535)));
    assert_null(gh_key_kind(rsa_public(n, 3)));
    assert_null(gh_key_kind(rsa_public(n, 1)));
    assert_null(gh_key_kind(rsa_public(n, 65538)));
    BN_clear_bit(n, 0);
    assert_null(gh_key_kind(rsa_public(n, 65537)));
    e = BN_new();
    for (i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        BN_rand(e, bits[i], BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD);
        assert_null(gh_key_kind(rsa_public(e, 65537)));
    }
    BN_free(e);
    BN_free(n);

    assert_null(gh_key_kind(ec_key("secp256k1", "named_curve")));
    assert_null(gh_key_kind(ec_key("prime192v1", "named_curve")));
    assert_null(gh_key_kind(ec_key("secp224r1", "named_curve")));
    assert_null(gh_key_kind(ec_key("brainpoolP256r1", "named_curve")));
    assert_string_equal(gh_key_kind(as_received(ec_key("P-256", "named_curve"))), "P-256");
    assert_null(gh_key_kind(as_received(ec_key("P-256", "explicit"))));
    assert_null(gh_key_kind(gh_own_key(test_pool, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"))));
    assert_null(gh_key_kind(gh_own_key(test_pool, EVP_PKEY_Q_keygen(NULL, NULL, "X25519"))));
    ERR_clear_error();
}

/* Files */

static void test_pem(void **state)
{
    const char *secret = apr_pstrcat(test_pool, "file:",
                                     scratch_file("pass", "a secret\n", 0600), NULL);
    const char *wrong = apr_pstrcat(test_pool, "file:", scratch_file("wrong", "another", 0600),
                                    NULL);
    const char *path = scratch_path("key.pem");
    gh_result_t result;
    EVP_PKEY *key;
    size_t i;
    int traditional;

    (void)state;
    for (i = 0; i < KEY_KINDS; i++) {
        EVP_PKEY *original = key_of_kind(key_kinds[i]);

        for (traditional = 0; traditional < 2; traditional++) {
            write_key(path, original, traditional, NULL);
            assert_success(gh_key_open(&key, path, NULL, test_pool, NULL));
            assert_int_equal(EVP_PKEY_eq(key, original), 1);
            /* A passphrase that is not needed does no harm. */
            assert_success(gh_key_open(&key, path, secret, test_pool, NULL));

            write_key(path, original, traditional, "a secret");
            assert_success(gh_key_open(&key, path, secret, test_pool, NULL));
            assert_int_equal(EVP_PKEY_eq(key, original), 1);
            assert_int_equal(gh_key_open(&key, path, NULL, test_pool, &result), APR_EINVAL);
            assert_non_null(strstr(result.message, "no passphrase is configured"));
            assert_null(key);
            assert_int_equal(gh_key_open(&key, path, wrong, test_pool, &result), APR_EINVAL);
            assert_non_null(strstr(result.message, "does not open"));
            assert_null(strstr(result.message, "another"));
        }
    }
}

static void test_file_errors(void **state)
{
    const char *path = scratch_path("key.pem");
    const char *modes[] = { "0640", "0604", "0660", "0610", "0601", "0644" };
    gh_result_t result;
    EVP_PKEY *key;
    size_t i;

    (void)state;
    write_key(path, key_of_kind("P-256"), 0, NULL);
    for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(chmod(path, (mode_t)strtol(modes[i], NULL, 8)), 0);
        assert_int_equal(gh_key_open(&key, path, NULL, test_pool, &result), APR_EACCES);
        assert_non_null(strstr(result.message, "chmod 600"));
    }
    assert_int_equal(chmod(path, 0400), 0);
    assert_success(gh_key_open(&key, path, NULL, test_pool, NULL));

    assert_int_equal(gh_key_open(&key, scratch_path("none"), NULL, test_pool, &result), APR_ENOENT);
    assert_non_null(strstr(result.message, "No such file"));
    assert_int_equal(gh_key_open(&key, scratch_folder(), NULL, test_pool, &result), APR_EINVAL);
    assert_int_equal(gh_key_open(&key, scratch_file("empty", "", 0600), NULL, test_pool, &result),
                     APR_EINVAL);
    assert_int_equal(gh_key_open(&key, scratch_file("text", "no key\n", 0600), NULL, test_pool,
                                 &result), APR_EINVAL);
    assert_int_equal(gh_key_open(&key, scratch_file("pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n"
                                                    "-----END PRIVATE KEY-----\n", 0600),
                                 NULL, test_pool, &result), APR_EINVAL);
    write_key(scratch_path("weak.pem"), fixture_key("rsa1024-01"), 0, NULL);
    assert_int_equal(gh_key_open(&key, scratch_path("weak.pem"), NULL, test_pool, &result),
                     APR_EINVAL);
    assert_int_equal(result.failure, GH_FAILURE_ALGORITHM);
    write_key(scratch_path("ed.pem"),
              gh_own_key(test_pool, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")), 0, NULL);
    assert_int_equal(gh_key_open(&key, scratch_path("ed.pem"), NULL, test_pool, &result),
                     APR_EINVAL);
    assert_int_equal(result.failure, GH_FAILURE_ALGORITHM);
}

static void write_pkcs12(const char *path, EVP_PKEY *key, X509 *certificate, const char *passphrase)
{
    PKCS12 *pkcs12 = PKCS12_create(passphrase, "name", key, certificate, NULL, 0, 0, 0, 0, 0);
    FILE *file = fopen(path, "w");

    assert_non_null(pkcs12);
    assert_int_equal(i2d_PKCS12_fp(file, pkcs12), 1);
    fclose(file);
    PKCS12_free(pkcs12);
    assert_int_equal(chmod(path, 0600), 0);
}

static void test_pkcs12(void **state)
{
    const char *secret = apr_pstrcat(test_pool, "file:", scratch_file("pass", "a secret", 0600),
                                     NULL);
    const char *path = scratch_path("key.p12");
    gh_result_t result;
    size_t i;

    (void)state;
    for (i = 0; i < KEY_KINDS; i++) {
        EVP_PKEY *original = key_of_kind(key_kinds[i]), *key;
        const gh_ca_t *ca = make_root(original, "cn=Root", apr_time_now());
        X509 *certificate;

        write_pkcs12(path, original, gh_ca_certificate(ca), "a secret");
        assert_success(gh_key_open(&key, path, secret, test_pool, NULL));
        assert_int_equal(EVP_PKEY_eq(key, original), 1);
        assert_success(gh_certificate_open(&certificate, path, secret, test_pool, NULL));
        assert_int_equal(X509_cmp(certificate, gh_ca_certificate(ca)), 0);
        assert_int_equal(gh_key_matches(key, certificate), 1);
        assert_int_equal(gh_key_open(&key, path, NULL, test_pool, &result), APR_EINVAL);
        assert_int_equal(gh_certificate_open(&certificate, path, NULL, test_pool, &result),
                         APR_EINVAL);
        assert_int_equal(chmod(path, 0640), 0);
        assert_int_equal(gh_certificate_open(&certificate, path, secret, test_pool, &result),
                         APR_EACCES);
        assert_int_equal(gh_key_open(&key, path, secret, test_pool, &result), APR_EACCES);
    }
}

static void test_certificates(void **state)
{
    const char *path = scratch_path("chain.pem");
    const gh_ca_t *root = make_root(key_of_kind("P-256"), "cn=Root", apr_time_now());
    const gh_ca_t *issuing = make_issuing(root, key_of_kind("P-384"), "cn=Issuing", apr_time_now());
    FILE *file = fopen(path, "w");
    apr_array_header_t *chain;
    gh_result_t result;
    X509 *first;

    (void)state;
    assert_int_equal(PEM_write_X509(file, gh_ca_certificate(issuing)), 1);
    assert_int_equal(PEM_write_X509(file, gh_ca_certificate(root)), 1);
    fclose(file);
    assert_int_equal(chmod(path, 0644), 0);
    assert_success(gh_certificates_open(&chain, path, test_pool, NULL));
    assert_int_equal(chain->nelts, 2);
    assert_int_equal(X509_cmp(APR_ARRAY_IDX(chain, 1, X509 *), gh_ca_certificate(root)), 0);
    assert_success(gh_certificate_open(&first, path, NULL, test_pool, NULL));
    assert_int_equal(X509_cmp(first, gh_ca_certificate(issuing)), 0);
    assert_int_equal(gh_key_matches(key_of_kind("P-384"), first), 1);
    assert_int_equal(gh_key_matches(key_of_kind("P-256"), first), 0);
    assert_int_equal(gh_key_matches(key_of_kind("RSA-2048"), first), 0);

    /* A broken certificate is not passed over. */
    file = fopen(path, "a");
    fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", file);
    fclose(file);
    assert_int_equal(gh_certificates_open(&chain, path, test_pool, &result), APR_EINVAL);
    assert_non_null(strstr(result.message, "certificate 3"));
    assert_int_equal(gh_certificates_open(&chain, scratch_file("none", "none\n", 0644), test_pool,
                                          &result), APR_EINVAL);
    /* A key beside it: then the file is a secret. */
    file = fopen(scratch_path("both.pem"), "w");
    PEM_write_X509(file, gh_ca_certificate(root));
    PEM_write_PrivateKey(file, key_of_kind("P-256"), NULL, NULL, 0, NULL, NULL);
    fclose(file);
    assert_int_equal(chmod(scratch_path("both.pem"), 0644), 0);
    assert_int_equal(gh_certificate_open(&first, scratch_path("both.pem"), NULL, test_pool,
                                         &result), APR_EACCES);
    assert_int_equal(chmod(scratch_path("both.pem"), 0600), 0);
    assert_success(gh_certificate_open(&first, scratch_path("both.pem"), NULL, test_pool, NULL));
}

/* A certificate is no secret, in whatever form; what is neither says so. */
static void test_certificate_in_der(void **state)
{
    const gh_ca_t *root = make_root(key_of_kind("P-256"), "cn=Root", apr_time_now());
    gh_bytes_t der = gh_certificate_der(gh_ca_certificate(root), test_pool);
    const char *path = scratch_path("root.der");
    FILE *file = fopen(path, "w");
    gh_result_t result;
    X509 *certificate;

    (void)state;
    assert_int_equal(fwrite(der.data, 1, der.length, file), der.length);
    fclose(file);
    assert_int_equal(chmod(path, 0644), 0);
    assert_success(gh_certificate_open(&certificate, path, NULL, test_pool, NULL));
    assert_int_equal(X509_cmp(certificate, gh_ca_certificate(root)), 0);

    file = fopen(path, "a");
    fputs("more", file);
    fclose(file);
    assert_int_equal(gh_certificate_open(&certificate, path, NULL, test_pool, &result),
                     APR_EINVAL);
    assert_string_equal(result.number, "GH0101");
    assert_null(certificate);
}

static void test_encode(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < KEY_KINDS; i++) {
        EVP_PKEY *original = key_of_kind(key_kinds[i]), *key;
        gh_bytes_t der, longer;

        assert_success(gh_key_encode(&der, original, test_pool, NULL));
        assert_success(gh_key_decode(&key, der, test_pool, NULL));
        assert_int_equal(EVP_PKEY_eq(key, original), 1);
        assert_memory_equal(gh_key_sha256(key, test_pool).data,
                            gh_key_sha256(original, test_pool).data, 32);
        longer.data = memcpy(apr_pcalloc(test_pool, der.length + 1), der.data, der.length);
        longer.length = der.length + 1;
        assert_int_equal(gh_key_decode(&key, longer, test_pool, NULL), APR_EINVAL);
        der.length--;
        assert_int_equal(gh_key_decode(&key, der, test_pool, NULL), APR_EINVAL);
    }
}

static void test_write(void **state)
{
    const char *path = scratch_path("new.pem"), *encrypted = scratch_path("encrypted.pem");
    const char *secret = apr_pstrcat(test_pool, "file:", scratch_file("pass", "a secret", 0600),
                                     NULL);
    gh_bytes_t passphrase = { (const unsigned char *)"a secret", 8 };
    EVP_PKEY *original = key_of_kind("P-256"), *key;
    gh_result_t result;
    struct stat info;
    mode_t mask = umask(0);

    (void)state;
    assert_success(gh_key_write(original, path, NULL, test_pool, NULL));
    umask(mask);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_success(gh_key_open(&key, path, NULL, test_pool, NULL));
    assert_int_equal(EVP_PKEY_eq(key, original), 1);
    /* Never over an existing file. */
    assert_true(APR_STATUS_IS_EEXIST(gh_key_write(original, path, NULL, test_pool, &result)));
    assert_true(APR_STATUS_IS_ENOENT(gh_key_write(original, scratch_path("no/folder"), NULL,
                                                  test_pool, &result)));
    assert_success(gh_key_write(original, encrypted, &passphrase, test_pool, NULL));
    assert_int_equal(gh_key_open(&key, encrypted, NULL, test_pool, NULL), APR_EINVAL);
    assert_success(gh_key_open(&key, encrypted, secret, test_pool, NULL));
    assert_int_equal(EVP_PKEY_eq(key, original), 1);
}

/* Sealing */

#define SEAL_KEY "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

#define OTHER_KEY "ff112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static gh_sealer_t *sealer_of(const char *name, const char *content)
{
    gh_sealer_t *sealer = NULL;

    assert_success(gh_sealer_open(&sealer, apr_pstrcat(test_pool, "file:",
                                                       scratch_file(name, content, 0600), NULL),
                                  test_pool, NULL));
    return sealer;
}

static void test_seal(void **state)
{
    gh_sealer_t *sealer = sealer_of("key", SEAL_KEY "\n");
    gh_sealer_t *other = sealer_of("other", OTHER_KEY);
    gh_bytes_t data = { (const unsigned char *)"secret", 6 };
    gh_bytes_t sealed, again, opened;
    apr_size_t i;

    (void)state;
    assert_success(gh_seal(&sealed, sealer, data, "scep-ra/devices/1", test_pool, NULL));
    assert_success(gh_seal(&again, sealer, data, "scep-ra/devices/1", test_pool, NULL));
    assert_int_equal(sealed.length, again.length);
    assert_memory_not_equal(sealed.data + 9, again.data + 9, sealed.length - 9);
    assert_success(gh_unseal(&opened, sealer, sealed, "scep-ra/devices/1", test_pool, NULL));
    assert_int_equal(opened.length, 6);
    assert_memory_equal(opened.data, "secret", 6);
    /* Another context, another key, any changed bit, any missing byte */
    assert_int_equal(gh_unseal(&opened, sealer, sealed, "scep-ra/devices/2", test_pool, NULL),
                     APR_EACCES);
    assert_int_equal(gh_unseal(&opened, other, sealed, "scep-ra/devices/1", test_pool, NULL),
                     APR_EACCES);
    for (i = 0; i < sealed.length; i++) {
        unsigned char *copy = apr_pmemdup(test_pool, sealed.data, sealed.length);
        gh_bytes_t changed = { copy, sealed.length };

        copy[i] ^= 1;
        assert_int_equal(gh_unseal(&opened, sealer, changed, "scep-ra/devices/1", test_pool, NULL),
                         APR_EACCES);
        changed.data = sealed.data;
        changed.length = i;
        assert_int_equal(gh_unseal(&opened, sealer, changed, "scep-ra/devices/1", test_pool, NULL),
                         APR_EACCES);
        assert_null(opened.data);
    }
    data.length = 0;
    assert_success(gh_seal(&sealed, sealer, data, "", test_pool, NULL));
    assert_success(gh_unseal(&opened, sealer, sealed, "", test_pool, NULL));
    assert_int_equal(opened.length, 0);
}

static void test_sealing_keys(void **state)
{
    static const char *const wrong[] = { "0011", SEAL_KEY "00", "zz" SEAL_KEY, "00:" SEAL_KEY };
    gh_sealer_t *sealer;
    gh_result_t result;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(gh_sealer_open(&sealer,
                                        apr_pstrcat(test_pool, "file:",
                                                    scratch_file("key", wrong[i], 0600), NULL),
                                        test_pool, &result), APR_EINVAL);
        assert_null(strstr(result.message, "0011"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_kinds, x509_test_teardown),
        cmocka_unit_test_teardown(test_generate, x509_test_teardown),
        cmocka_unit_test_teardown(test_refused_kinds, x509_test_teardown),
        cmocka_unit_test_teardown(test_pem, x509_test_teardown),
        cmocka_unit_test_teardown(test_file_errors, x509_test_teardown),
        cmocka_unit_test_teardown(test_pkcs12, x509_test_teardown),
        cmocka_unit_test_teardown(test_certificates, x509_test_teardown),
        cmocka_unit_test_teardown(test_certificate_in_der, x509_test_teardown),
        cmocka_unit_test_teardown(test_encode, x509_test_teardown),
        cmocka_unit_test_teardown(test_write, x509_test_teardown),
        cmocka_unit_test_teardown(test_seal, x509_test_teardown),
        cmocka_unit_test_teardown(test_sealing_keys, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
