/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* PKCS#10 requests. */

#include "x509_support.h"

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

#include "status.h"
#include "x509/key.h"

static apr_status_t parse(gh_csr_t **csr, gh_bytes_t der, gh_result_t *result)
{
    gh_result_clear(result);
    return gh_csr_parse(csr, der.data, der.length, NULL, test_pool, result);
}

static void assert_malformed(X509_REQ *request, const char *why)
{
    gh_result_t result;
    gh_csr_t *csr;

    assert_int_equal(parse(&csr, request_der(request), &result), APR_EINVAL);
    assert_null(csr);
    assert_int_equal(result.failure, GH_FAILURE_MALFORMED);
    if (strstr(result.message, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", result.message, why);
}

static void test_content(void **state)
{
    static const char *const kinds[] = { "RSA-2048", "RSA-3072", "RSA-4096", "P-256", "P-384",
                                         "P-521" };
    size_t i;

    (void)state;
    for (i = 0; i < 6; i++) {
        EVP_PKEY *key = key_of_kind(kinds[i]);
        request_t request = request_for(key, "cn=device+serialNumber=1,o=Example,c=DE");
        unsigned char expected[SHA256_DIGEST_LENGTH];
        unsigned char *info = NULL;
        X509_REQ *built;
        gh_csr_t *csr = NULL;
        gh_result_t result;
        gh_bytes_t der;
        int length;

        ask(&request, "subjectAltName", "DNS:device.example.com");
        ask(&request, "keyUsage", "digitalSignature");
        request.challenge = "open sesame";
        built = build_request(&request);
        der = request_der(built);
        assert_success(parse(&csr, der, &result));
        assert_success(gh_csr_verify(csr, 0, &result));
        assert_string_equal(gh_csr_subject_text(csr), "SERIALNUMBER=1+CN=device,O=Example,C=DE");
        assert_string_equal(gh_csr_challenge(csr), "open sesame");
        assert_int_equal(sk_X509_EXTENSION_num(gh_csr_extensions(csr)), 2);
        assert_int_equal(EVP_PKEY_eq(gh_csr_key(csr), key), 1);
        assert_int_equal(gh_csr_der(csr).length, der.length);
        assert_memory_equal(gh_csr_der(csr).data, der.data, der.length);
        length = i2d_re_X509_REQ_tbs(built, &info);
        SHA256(info, (size_t)length, expected);
        OPENSSL_free(info);
        assert_int_equal(gh_csr_info_sha256(csr).length, 32);
        assert_memory_equal(gh_csr_info_sha256(csr).data, expected, 32);
        assert_memory_equal(gh_csr_key_sha256(csr).data, gh_key_sha256(key, test_pool).data, 32);
        assert_string_equal(gh_csr_signature_algorithm(csr),
                            i < 3 ? "sha256WithRSAEncryption" : "ecdsa-with-SHA256");
    }
}

static void test_without_attributes(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "");
    gh_csr_t *csr = make_csr(&request);

    (void)state;
    assert_null(gh_csr_extensions(csr));
    assert_null(gh_csr_challenge(csr));
    assert_string_equal(gh_csr_subject_text(csr), "");
}

/** Nothing before, nothing behind, nothing missing, and a bound that comes before any parsing. */
static void test_length(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    gh_bytes_t der = request_der(build_request(&request));
    unsigned char *copy = apr_pcalloc(test_pool, GH_CSR_MAX + 10);
    gh_bytes_t changed = { copy, 0 };
    gh_result_t result;
    gh_csr_t *csr;

    (void)state;
    memcpy(copy, der.data, der.length);
    for (changed.length = 0; changed.length < der.length; changed.length++)
        assert_int_equal(parse(&csr, changed, &result), APR_EINVAL);
    assert_success(parse(&csr, changed, &result));
    changed.length++;
    assert_int_equal(parse(&csr, changed, &result), APR_EINVAL);
    changed.length = GH_CSR_MAX + 1;
    assert_int_equal(parse(&csr, changed, &result), APR_EINVAL);
    assert_non_null(strstr(result.message, "65536"));
    changed.data = NULL;
    changed.length = 0;
    assert_int_equal(parse(&csr, changed, &result), APR_EINVAL);
}

/** Indefinite lengths are BER, and digests over what was received would not be clear. */
static void test_indefinite_length(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    gh_bytes_t der = request_der(build_request(&request));
    unsigned char *copy = apr_pcalloc(test_pool, der.length + 4);
    gh_bytes_t changed = { copy, 0 };
    apr_size_t header = der.data[1] == 0x81 ? 3 : der.data[1] == 0x82 ? 4 : 2;
    gh_result_t result;
    gh_csr_t *csr;

    (void)state;
    copy[0] = 0x30;
    copy[1] = 0x80;
    memcpy(copy + 2, der.data + header, der.length - header);
    changed.length = der.length - header + 4;
    assert_int_equal(parse(&csr, changed, &result), APR_EINVAL);
}

static void test_challenges(void **state)
{
    static const struct {
        int type;
        const char *bytes;
        int length;
        const char *expected;       /* NULL: refused */
    } forms[] = {
        { V_ASN1_PRINTABLESTRING, "abc", 3, "abc" },
        { V_ASN1_UTF8STRING, "M\xc3\xbcller", 7, "M\xc3\xbcller" },
        { V_ASN1_T61STRING, "M\xfcller", 6, "M\xc3\xbcller" },
        { V_ASN1_BMPSTRING, "\0M\0\xfc", 4, "M\xc3\xbc" },
        { V_ASN1_UNIVERSALSTRING, "\0\0\0M\0\0\0\xfc", 8, "M\xc3\xbc" },
        { V_ASN1_IA5STRING, "a~b", 3, "a~b" },
        { V_ASN1_UTF8STRING, "a\0b", 3, NULL },
        { V_ASN1_UTF8STRING, "\xff\xfe", 2, NULL },
        { V_ASN1_OCTET_STRING, "abc", 3, NULL },
        { V_ASN1_INTEGER, "\1", 1, NULL },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        request_t request = request_for(key_of_kind("P-256"), "cn=device");
        X509_REQ *built = build_request(&request);
        gh_result_t result;
        gh_csr_t *csr;
        apr_status_t rv;

        assert_true(X509_REQ_add1_attr_by_NID(built, NID_pkcs9_challengePassword, forms[i].type,
                                              (const unsigned char *)forms[i].bytes,
                                              forms[i].length));
        assert_true(X509_REQ_sign(built, request.key, EVP_sha256()) > 0);
        rv = parse(&csr, request_der(built), &result);
        if (forms[i].expected == NULL) {
            assert_int_equal(rv, APR_EINVAL);
            continue;
        }
        assert_int_equal(rv, APR_SUCCESS);
        assert_string_equal(gh_csr_challenge(csr), forms[i].expected);
        /* Reading the challenge does not touch what was signed. */
        assert_success(gh_csr_verify(csr, 0, &result));
    }
    ERR_clear_error();
}

/** Challenges of Intune are kilobytes. */
static void test_long_challenge(void **state)
{
    char *challenge = apr_palloc(test_pool, 16386);
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    X509_REQ *built = build_request(&request);
    gh_result_t result;
    gh_csr_t *csr;

    (void)state;
    memset(challenge, 'x', 16385);
    challenge[16385] = '\0';
    assert_true(X509_REQ_add1_attr_by_NID(built, NID_pkcs9_challengePassword, V_ASN1_UTF8STRING,
                                          (unsigned char *)challenge, 16384));
    assert_true(X509_REQ_sign(built, request.key, EVP_sha256()) > 0);
    assert_success(parse(&csr, request_der(built), &result));
    assert_int_equal(strlen(gh_csr_challenge(csr)), 16384);

    built = build_request(&(request_t){ request.key, "cn=device", NULL, NULL, NULL });
    assert_true(X509_REQ_add1_attr_by_NID(built, NID_pkcs9_challengePassword, V_ASN1_UTF8STRING,
                                          (unsigned char *)challenge, 16385));
    assert_malformed(built, "16384");
    assert_null(strstr(result.message, "xxxx"));
}

/** A request with a second attribute of that number in PKCS #9, which OpenSSL would not add. */
static gh_bytes_t with_second(unsigned char number, int type, const unsigned char *bytes,
                              int length)
{
    static const unsigned char placeholder[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09,
                                                 0x08 };
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    X509_REQ *built;
    gh_bytes_t der;
    unsigned char *at;

    request.challenge = "once";
    ask(&request, "subjectAltName", "DNS:device.example.com");
    built = build_request(&request);
    assert_true(X509_REQ_add1_attr_by_NID(built, NID_pkcs9_unstructuredAddress, type, bytes,
                                          length));
    der = request_der(built);
    at = memmem(der.data, der.length, placeholder, sizeof(placeholder));
    assert_non_null(at);
    at[8] = number;
    return der;
}

static void assert_duplicate(gh_bytes_t der, const char *why)
{
    gh_result_t result;
    gh_csr_t *csr;

    assert_int_equal(parse(&csr, der, &result), APR_EINVAL);
    assert_non_null(strstr(result.message, why));
}

static void test_duplicates(void **state)
{
    static const unsigned char empty[] = { 0x30, 0x00 };
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    gh_result_t result;
    X509_REQ *built;
    gh_csr_t *csr;

    (void)state;
    assert_duplicate(with_second(7, V_ASN1_UTF8STRING, (const unsigned char *)"twice", 5),
                     "challengePassword");
    assert_duplicate(with_second(14, V_ASN1_SEQUENCE, empty, 2), "extensionRequest");
    built = build_request(&request);
    assert_true(X509_REQ_add1_attr_by_NID(built, NID_ext_req, V_ASN1_SEQUENCE, empty, 2));
    assert_true(X509_REQ_add1_attr_by_NID(built, NID_ms_ext_req, V_ASN1_SEQUENCE, empty, 2));
    assert_malformed(built, "extensionRequest");
    request = request_for(key_of_kind("P-256"), "cn=device");
    ask(&request, "keyUsage", "digitalSignature");
    ask(&request, "keyUsage", "keyEncipherment");
    assert_int_equal(parse(&csr, request_der(build_request(&request)), &result), APR_EINVAL);
    assert_non_null(strstr(result.message, "2.5.29.15"));
    assert_string_equal(result.rule, "csr.extensions");
}

/** An attribute has one value, and that value is what it should be. */
static void test_attribute_values(void **state)
{
    static const unsigned char garbage[] = { 0x30, 0x03, 0x01, 0x02, 0x03 };
    static const unsigned char behind[] = { 0x30, 0x02, 0x30, 0x00 };
    X509_REQ *built = build_request(&(request_t){ key_of_kind("P-256"), "cn=x", NULL, NULL, NULL });
    X509_ATTRIBUTE *attribute;
    char *many;
    int i;

    (void)state;
    assert_true(X509_REQ_add1_attr_by_NID(built, NID_ext_req, V_ASN1_SEQUENCE, garbage, 5));
    assert_malformed(built, "extensionRequest");
    built = build_request(&(request_t){ key_of_kind("P-256"), "cn=x", NULL, NULL, NULL });
    assert_true(X509_REQ_add1_attr_by_NID(built, NID_ext_req, V_ASN1_SEQUENCE, behind, 4));
    assert_malformed(built, "extensionRequest");
    built = build_request(&(request_t){ key_of_kind("P-256"), "cn=x", NULL, NULL, NULL });
    assert_true(X509_REQ_add1_attr_by_NID(built, NID_ext_req, V_ASN1_UTF8STRING, garbage, 5));
    assert_malformed(built, "extensionRequest");

    /* Two values in one attribute */
    built = build_request(&(request_t){ key_of_kind("P-256"), "cn=x", NULL, NULL, NULL });
    attribute = X509_ATTRIBUTE_create_by_NID(NULL, NID_pkcs9_challengePassword, V_ASN1_UTF8STRING,
                                             "a", 1);
    assert_true(X509_ATTRIBUTE_set1_data(attribute, V_ASN1_UTF8STRING, "b", 1));
    assert_true(X509_REQ_add1_attr(built, attribute));
    X509_ATTRIBUTE_free(attribute);
    assert_malformed(built, "challengePassword");

    /* Others are not ours to judge, except their number. */
    built = build_request(&(request_t){ key_of_kind("P-256"), "cn=x", NULL, NULL, NULL });
    for (i = 0; i < 33; i++) {
        many = apr_psprintf(test_pool, "1.3.6.1.4.1.32473.%d", i);
        assert_true(X509_REQ_add1_attr_by_txt(built, many, V_ASN1_UTF8STRING,
                                              (const unsigned char *)"x", 1));
    }
    assert_malformed(built, "too many attributes");
}

static void test_too_many_extensions(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    int i;

    (void)state;
    for (i = 0; i < 33; i++)
        ask_der(&request, apr_psprintf(test_pool, "1.3.6.1.4.1.32473.%d", i), 0, "0500");
    assert_malformed(build_request(&request), "too many extensions");
}

/* Proof of possession */

static void test_bad_signature(void **state)
{
    request_t request = request_for(key_of_kind("RSA-2048"), "cn=device");
    gh_bytes_t der = request_der(build_request(&request));
    unsigned char *copy = apr_pmemdup(test_pool, der.data, der.length);
    gh_bytes_t changed = { copy, der.length };
    gh_result_t result;
    X509_REQ *built;
    gh_csr_t *csr;

    (void)state;
    copy[der.length - 1] ^= 1;
    assert_success(parse(&csr, changed, &result));
    assert_int_equal(gh_csr_verify(csr, 1, &result), GH_EREFUSED);
    assert_int_equal(result.failure, GH_FAILURE_INTEGRITY);

    /* Signed by another key of the same kind, and by one of another kind */
    request = request_for(key_of_kind("RSA-2048"), "cn=device");
    built = build_request(&request);
    assert_true(X509_REQ_sign(built, fixture_key("rsa2048-02"), EVP_sha256()) > 0);
    assert_success(parse(&csr, request_der(built), &result));
    assert_int_equal(gh_csr_verify(csr, 0, &result), GH_EREFUSED);
    assert_int_equal(result.failure, GH_FAILURE_INTEGRITY);
    assert_true(X509_REQ_sign(built, key_of_kind("P-256"), EVP_sha256()) > 0);
    assert_success(parse(&csr, request_der(built), &result));
    assert_int_equal(gh_csr_verify(csr, 0, &result), GH_EREFUSED);
    assert_int_equal(result.failure, GH_FAILURE_INTEGRITY);
}

static void test_digests(void **state)
{
    static const struct {
        const char *digest;
        int accepted;           /* 2: as a weak one only */
    } digests[] = {
        { "SHA256", 1 }, { "SHA384", 1 }, { "SHA512", 1 }, { "SHA1", 2 }, { "MD5", 0 },
        { "SHA224", 0 }, { "MD4", 0 },
    };
    static const char *const kinds[] = { "RSA-2048", "P-256" };
    size_t i, k;

    (void)state;
    for (k = 0; k < 2; k++) {
        for (i = 0; i < sizeof(digests) / sizeof(digests[0]); i++) {
            request_t request = request_for(key_of_kind(kinds[k]), "cn=device");
            gh_result_t result;
            X509_REQ *built;
            gh_csr_t *csr;
            const EVP_MD *digest = EVP_get_digestbyname(digests[i].digest);

            built = build_request(&request);
            if (digest == NULL || X509_REQ_sign(built, request.key, digest) <= 0) {
                /* Not even OpenSSL makes such a signature. */
                ERR_clear_error();
                assert_int_equal(digests[i].accepted, 0);
                continue;
            }
            assert_success(parse(&csr, request_der(built), &result));
            assert_int_equal(gh_csr_verify(csr, 0, &result),
                             digests[i].accepted == 1 ? APR_SUCCESS : GH_EREFUSED);
            if (digests[i].accepted != 1)
                assert_int_equal(result.failure, GH_FAILURE_ALGORITHM);
            assert_int_equal(gh_csr_verify(csr, 1, &result),
                             digests[i].accepted ? APR_SUCCESS : GH_EREFUSED);
        }
    }
}

/** RSASSA-PSS says its digest in parameters. */
static void test_pss(void **state)
{
    static const struct {
        const char *digest;
        const char *mask;
        apr_status_t strong;
        apr_status_t weak;
    } cases[] = {
        { "SHA256", "SHA256", APR_SUCCESS, APR_SUCCESS },
        { "SHA512", "SHA512", APR_SUCCESS, APR_SUCCESS },
        { "SHA1", "SHA1", GH_EREFUSED, APR_SUCCESS },
        { "SHA256", "SHA1", GH_EREFUSED, GH_EREFUSED },
        { "SHA224", "SHA224", GH_EREFUSED, GH_EREFUSED },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        request_t request = request_for(key_of_kind("RSA-2048"), "cn=device");
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_PKEY_CTX *parameters = NULL;
        gh_result_t result;
        X509_REQ *built;
        gh_csr_t *csr;

        built = build_request(&request);
        assert_int_equal(EVP_DigestSignInit_ex(context, &parameters, cases[i].digest, NULL, NULL,
                                               request.key, NULL), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(parameters, cases[i].mask, NULL), 1);
        assert_true(X509_REQ_sign_ctx(built, context) > 0);
        EVP_MD_CTX_free(context);
        assert_success(parse(&csr, request_der(built), &result));
        assert_int_equal(gh_csr_verify(csr, 0, &result), cases[i].strong);
        assert_int_equal(gh_csr_verify(csr, 1, &result), cases[i].weak);
    }
}

static void test_refused_keys(void **state)
{
    request_t request = request_for(fixture_key("rsa1024-01"), "cn=device");
    gh_result_t result;
    gh_csr_t *csr;

    (void)state;
    assert_success(parse(&csr, request_der(build_request(&request)), &result));
    assert_int_equal(gh_csr_verify(csr, 1, &result), GH_EREFUSED);
    assert_int_equal(result.failure, GH_FAILURE_ALGORITHM);
    assert_string_equal(result.rule, "csr.key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_content, x509_test_teardown),
        cmocka_unit_test_teardown(test_without_attributes, x509_test_teardown),
        cmocka_unit_test_teardown(test_length, x509_test_teardown),
        cmocka_unit_test_teardown(test_indefinite_length, x509_test_teardown),
        cmocka_unit_test_teardown(test_challenges, x509_test_teardown),
        cmocka_unit_test_teardown(test_long_challenge, x509_test_teardown),
        cmocka_unit_test_teardown(test_duplicates, x509_test_teardown),
        cmocka_unit_test_teardown(test_attribute_values, x509_test_teardown),
        cmocka_unit_test_teardown(test_too_many_extensions, x509_test_teardown),
        cmocka_unit_test_teardown(test_bad_signature, x509_test_teardown),
        cmocka_unit_test_teardown(test_digests, x509_test_teardown),
        cmocka_unit_test_teardown(test_pss, x509_test_teardown),
        cmocka_unit_test_teardown(test_refused_keys, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
