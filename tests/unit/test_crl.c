/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* CRLs. */

#include "x509_support.h"

#include <sys/resource.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include "status.h"
#include "store/certificates.h"
#include "x509/key.h"

#define DAY     apr_time_from_sec(86400)

static X509_CRL *read_crl(gh_bytes_t der)
{
    const unsigned char *data = der.data;
    X509_CRL *crl = d2i_X509_CRL(NULL, &data, (long)der.length);

    assert_non_null(crl);
    assert_ptr_equal(data, der.data + der.length);
    return crl;
}

static gh_crl_builder_t *begin_crl(const gh_ca_t *ca, apr_int64_t number, apr_time_t now)
{
    gh_crl_builder_t *builder = NULL;

    assert_success(gh_crl_begin(&builder, ca, number, now, now + 7 * DAY, test_pool, NULL));
    return builder;
}

static X509_CRL *finish_crl(gh_crl_builder_t *builder)
{
    gh_bytes_t der;

    assert_success(gh_crl_finish(builder, &der, test_pool, NULL));
    return read_crl(der);
}

static void test_empty_crl(void **state)
{
    apr_time_t now = apr_time_from_sec(apr_time_sec(apr_time_now()));
    size_t i;

    (void)state;
    for (i = 0; i < KEY_KINDS; i++) {
        EVP_PKEY *key = key_of_kind(key_kinds[i]);
        const gh_ca_t *root = make_root(key, "cn=Root,o=Example", now);
        X509_CRL *crl = finish_crl(begin_crl(root, 4711, now));
        ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
        AUTHORITY_KEYID *authority = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL,
                                                          NULL);

        assert_int_equal(X509_CRL_get_version(crl), X509_CRL_VERSION_2);
        assert_int_equal(X509_CRL_verify(crl, key), 1);
        assert_int_equal(X509_CRL_get_signature_nid(crl),
                         X509_get_signature_nid(gh_ca_certificate(root)));
        assert_int_equal(X509_NAME_cmp(X509_CRL_get_issuer(crl),
                                       X509_get_subject_name(gh_ca_certificate(root))), 0);
        assert_null(X509_CRL_get_REVOKED(crl));
        assert_int_equal(ASN1_INTEGER_get(number), 4711);
        assert_int_equal(ASN1_OCTET_STRING_cmp(
                             authority->keyid,
                             X509_get0_subject_key_id(gh_ca_certificate(root))), 0);
        assert_int_equal(sk_X509_EXTENSION_num(X509_CRL_get0_extensions(crl)), 2);
        ASN1_INTEGER_free(number);
        AUTHORITY_KEYID_free(authority);
        X509_CRL_free(crl);
    }
}

static void test_reasons(void **state)
{
    static const char *const names[] = {
        "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
        "cessationOfOperation", "certificateHold", NULL, NULL, "privilegeWithdrawn", "aACompromise"
    };
    apr_time_t now = apr_time_from_sec(apr_time_sec(apr_time_now()));
    const gh_ca_t *root = make_root(key_of_kind("P-256"), "cn=Root", now);
    gh_crl_builder_t *builder = begin_crl(root, 1, now);
    X509_CRL *crl;
    int reason, entry = 0;

    (void)state;
    for (reason = GH_REASON_NONE; reason <= 11; reason++) {
        unsigned char bytes[2] = { 0x80, (unsigned char)(reason + 1) };
        gh_bytes_t serial = { bytes, 2 };
        int valid = reason < 0 || (reason < 11 && names[reason] != NULL);

        assert_int_equal(gh_crl_add(builder, serial, now - DAY, reason,
                                    reason == 1 ? now - 3 * DAY : 0),
                         valid ? APR_SUCCESS : APR_EINVAL);
        if (reason >= 0 && reason < 11 && names[reason] != NULL) {
            assert_string_equal(gh_reason_name(reason), names[reason]);
            assert_int_equal(gh_reason_parse(names[reason]), reason);
        }
    }
    crl = finish_crl(builder);
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), 10);
    for (reason = GH_REASON_NONE; reason <= 10; reason++) {
        X509_REVOKED *revoked;
        ASN1_ENUMERATED *value;
        ASN1_GENERALIZEDTIME *date;
        unsigned char *der = NULL;
        int critical;

        if (reason >= 0 && names[reason] == NULL)
            continue;
        revoked = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), entry++);
        /* A serial of which the first bit is set stays positive. */
        assert_int_equal(i2d_ASN1_INTEGER(X509_REVOKED_get0_serialNumber(revoked), &der), 5);
        assert_int_equal(der[2], 0);
        assert_int_equal(der[3], 0x80);
        assert_int_equal(der[4], reason + 1);
        OPENSSL_free(der);
        value = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, &critical, NULL);
        date = X509_REVOKED_get_ext_d2i(revoked, NID_invalidity_date, NULL, NULL);
        if (reason <= 0) {
            assert_null(value);
            assert_int_equal(critical, -1);
        }
        else {
            assert_int_equal(ASN1_ENUMERATED_get(value), reason);
            assert_int_equal(critical, 0);
        }
        assert_int_equal(date != NULL, reason == 1);
        if (date != NULL)
            assert_int_equal(ASN1_STRING_type(date), V_ASN1_GENERALIZEDTIME);
        ASN1_ENUMERATED_free(value);
        ASN1_GENERALIZEDTIME_free(date);
    }
    X509_CRL_free(crl);
    assert_int_equal(gh_reason_parse("KEYCOMPROMISE"), 1);
    assert_int_equal(gh_reason_parse("removeFromCRL"), -2);
    assert_int_equal(gh_reason_parse("because"), -2);
    assert_null(gh_reason_name(GH_REASON_NONE));
    assert_null(gh_reason_name(7));
    assert_null(gh_reason_name(11));
}

/** A relying party that checks CRLs of the whole chain. */
static void test_revocation(void **state)
{
    apr_time_t now = apr_time_now();
    const gh_ca_t *root = make_root(key_of_kind("P-384"), "cn=Root", now);
    const gh_ca_t *issuing = make_issuing(root, key_of_kind("P-256"), "cn=Issuing", now);
    X509 *good = issue_at(issuing, subscriber(key_of_kind("P-256")), now);
    X509 *revoked = issue_at(issuing, subscriber(key_of_kind("P-256")), now);
    gh_crl_builder_t *builder = begin_crl(issuing, 7, now - DAY);
    STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();

    (void)state;
    assert_success(gh_crl_add(builder, gh_certificate_serial(revoked, test_pool), now - DAY, 4, 0));
    sk_X509_CRL_push(crls, finish_crl(builder));
    assert_int_equal(verify_chain(good, issuing, root, crls, now), X509_V_ERR_UNABLE_TO_GET_CRL);
    sk_X509_CRL_push(crls, finish_crl(begin_crl(root, 1, now - DAY)));
    assert_int_equal(verify_chain(good, issuing, root, crls, now), X509_V_OK);
    assert_int_equal(verify_chain(revoked, issuing, root, crls, now), X509_V_ERR_CERT_REVOKED);
    assert_int_equal(verify_chain(good, issuing, root, crls, now + 8 * DAY),
                     X509_V_ERR_CRL_HAS_EXPIRED);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
}

static void test_crl_limits(void **state)
{
    apr_time_t now = apr_time_now();
    const gh_ca_t *root = make_root(key_of_kind("P-256"), "cn=Root", now);
    gh_crl_builder_t *builder;
    unsigned char long_serial[21];
    gh_bytes_t serial = { long_serial, 21 };

    (void)state;
    memset(long_serial, 1, sizeof(long_serial));
    assert_int_equal(gh_crl_begin(&builder, root, 1, now, now, test_pool, NULL), GH_EUNAVAILABLE);
    assert_int_equal(gh_crl_begin(&builder, root, -1, now, now + DAY, test_pool, NULL),
                     GH_EUNAVAILABLE);
    builder = begin_crl(root, 1, now);
    assert_int_equal(gh_crl_add(builder, serial, now, 0, 0), APR_EINVAL);
    serial.length = 0;
    assert_int_equal(gh_crl_add(builder, serial, now, 0, 0), APR_EINVAL);
    serial.length = 20;
    assert_success(gh_crl_add(builder, serial, now, 0, 0));
    X509_CRL_free(finish_crl(builder));
}

/** A CRL of 250,000 entries: about ten megabytes, made in little time and memory. */
static void test_large_crl(void **state)
{
    enum { ENTRIES = 250000 };
    apr_time_t now = apr_time_from_sec(apr_time_sec(apr_time_now()));
    const gh_ca_t *root = make_root(key_of_kind("P-256"), "cn=Root", now);
    gh_crl_builder_t *builder = begin_crl(root, 1, now);
    struct rusage before, after;
    clock_t start = clock();
    double seconds;
    long kilobytes;
    gh_bytes_t der;
    X509_CRL *crl;
    X509_REVOKED *entry = NULL;
    ASN1_INTEGER *wanted = ASN1_INTEGER_new();
    int i;

    (void)state;
    getrusage(RUSAGE_SELF, &before);
    for (i = 0; i < ENTRIES; i++) {
        unsigned char bytes[16] = { 0x40, (unsigned char)(i >> 16), (unsigned char)(i >> 8),
                                    (unsigned char)i, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
        gh_bytes_t serial = { bytes, sizeof(bytes) };

        assert_success(gh_crl_add(builder, serial, now - DAY, i % 6, 0));
    }
    assert_success(gh_crl_finish(builder, &der, test_pool, NULL));
    seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    getrusage(RUSAGE_SELF, &after);
    kilobytes = after.ru_maxrss - before.ru_maxrss;
    print_message("250,000 entries: %lu bytes, %.2f s, %ld kB\n", (unsigned long)der.length,
                  seconds, kilobytes);
    assert_in_range(der.length, 9000000, 16000000);
    assert_true(seconds < 10);
#ifndef __SANITIZE_ADDRESS__
    assert_true(kilobytes < 100000);
#endif

    crl = read_crl(der);
    assert_int_equal(X509_CRL_verify(crl, key_of_kind("P-256")), 1);
    assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), ENTRIES);
    ASN1_STRING_set(wanted, "\x40\x01\x02\x03\5\6\7\x8\x9\xa\xb\xc\xd\xe\xf\x10", 16);
    assert_int_equal(X509_CRL_get0_by_serial(crl, &entry, wanted), 1);
    ASN1_INTEGER_free(wanted);
    X509_CRL_free(crl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First, since it measures how much memory grows. */
        cmocka_unit_test_teardown(test_large_crl, x509_test_teardown),
        cmocka_unit_test_teardown(test_empty_crl, x509_test_teardown),
        cmocka_unit_test_teardown(test_reasons, x509_test_teardown),
        cmocka_unit_test_teardown(test_revocation, x509_test_teardown),
        cmocka_unit_test_teardown(test_crl_limits, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
