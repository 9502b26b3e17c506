/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ocsp_crl_support.h"

#include <apr_strings.h>
#include <openssl/pem.h>

#define DEFAULT_TIME apr_time_from_sec(1789980000)

static void set_time(X509_CRL *crl, apr_time_t when, int next)
{
    ASN1_TIME *time = ASN1_TIME_set(NULL, apr_time_sec(when));

    assert_non_null(time);
    assert_int_equal(next ? X509_CRL_set1_nextUpdate(crl, time)
                          : X509_CRL_set1_lastUpdate(crl, time), 1);
    ASN1_TIME_free(time);
}

static void add_extension(X509_CRL *crl, const char *name, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_nconf(NULL, NULL, name, value);

    assert_non_null(extension);
    assert_int_equal(X509_CRL_add_ext(crl, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void add_number(X509_CRL *crl, int nid, const char *hex, int critical)
{
    BIGNUM *big = NULL;
    ASN1_INTEGER *number;

    assert_true(BN_hex2bn(&big, hex) > 0);
    number = BN_to_ASN1_INTEGER(big, NULL);
    assert_int_equal(X509_CRL_add1_ext_i2d(crl, nid, number, critical, 0), 1);
    ASN1_INTEGER_free(number);
    BN_free(big);
}

static void add_revoked(X509_CRL *crl, const revoked_t *entry, apr_time_t default_time)
{
    X509_REVOKED *revoked = X509_REVOKED_new();
    ASN1_TIME *time = ASN1_TIME_set(NULL, apr_time_sec(entry->at ? entry->at : default_time));
    ASN1_INTEGER *serial;
    BIGNUM *number = NULL;

    assert_true(BN_hex2bn(&number, entry->serial) > 0);
    serial = BN_to_ASN1_INTEGER(number, NULL);
    assert_int_equal(X509_REVOKED_set_serialNumber(revoked, serial), 1);
    assert_int_equal(X509_REVOKED_set_revocationDate(revoked, time), 1);
    if (entry->reason > 0) {
        ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();

        assert_int_equal(ASN1_ENUMERATED_set(reason, entry->reason), 1);
        assert_int_equal(X509_REVOKED_add1_ext_i2d(revoked, NID_crl_reason, reason, 0, 0), 1);
        ASN1_ENUMERATED_free(reason);
    }
    assert_int_equal(X509_CRL_add0_revoked(crl, revoked), 1);
    ASN1_INTEGER_free(serial);
    ASN1_TIME_free(time);
    BN_free(number);
}

static gh_bytes_t encode(X509_CRL *crl, int pem)
{
    gh_bytes_t bytes;
    unsigned char *data = NULL;
    BIO *bio;
    char *text;
    long length;

    if (!pem) {
        bytes.length = (apr_size_t)i2d_X509_CRL(crl, &data);
        bytes.data = apr_pmemdup(test_pool, data, bytes.length);
        OPENSSL_free(data);
        return bytes;
    }
    bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509_CRL(bio, crl), 1);
    length = BIO_get_mem_data(bio, &text);
    bytes.data = apr_pmemdup(test_pool, text, (apr_size_t)length);
    bytes.length = (apr_size_t)length;
    BIO_free(bio);
    return bytes;
}

gh_bytes_t make_crl(const gh_ca_t *ca, const crl_t *what, const revoked_t *entries, int count)
{
    X509_CRL *crl = X509_CRL_new();
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(gh_ca_certificate(ca)));
    gh_bytes_t bytes;
    int i;

    if (what->issuer) {
        X509_NAME_free(name);
        name = X509_NAME_new();
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                   (const unsigned char *)what->issuer, -1, -1, 0);
    }
    X509_CRL_set_version(crl, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(crl, name);
    X509_NAME_free(name);
    set_time(crl, what->this_update, 0);
    if (what->next_update) {
        set_time(crl, what->next_update, 1);
    }
    if (what->number) {
        add_number(crl, NID_crl_number, what->number, 0);
    }
    if (what->base) {
        add_number(crl, NID_delta_crl, what->base, 1);
    }
    if (what->scope) {
        add_extension(crl, "issuingDistributionPoint", what->scope);
    }
    if (what->critical) {
        add_extension(crl, what->critical, "critical,DER:0500");
    }
    if (what->expired_on_crl) {
        add_extension(crl, "2.5.29.60", "ASN1:GENERALIZEDTIME:20200101000000Z");
    }
    for (i = 0; i < count; ++i) {
        add_revoked(crl, &entries[i], DEFAULT_TIME);
    }
    X509_CRL_sort(crl);
    assert_true(X509_CRL_sign(crl, fixture_key(what->signer ? what->signer : "p256-01"),
                              what->digest ? what->digest : EVP_sha256()) > 0);
    bytes = encode(crl, what->pem);
    X509_CRL_free(crl);
    return bytes;
}
