/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificates that a CA signs. */

#include "x509_support.h"

#include <pthread.h>
#include <stdlib.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/sha.h>

#include "status.h"
#include "x509/key.h"

#define DAY     apr_time_from_sec(86400)

static int signature_digest(X509 *certificate)
{
    int digest = NID_undef;

    assert_int_equal(X509_get_signature_info(certificate, &digest, NULL, NULL, NULL), 1);
    return digest;
}

/** Each kind of key as root, as issuing CA and as subscriber; digests go by the signer's key. */
static void test_kinds(void **state)
{
    static const int digests[] = { NID_sha256, NID_sha256, NID_sha512, NID_sha256, NID_sha384,
                                   NID_sha512 };
    apr_time_t now = apr_time_now();
    size_t i, j, k;

    (void)state;
    for (i = 0; i < KEY_KINDS; i++) {
        const gh_ca_t *root = make_root(key_of_kind(key_kinds[i]), "cn=Root,o=Example", now);

        assert_int_equal(signature_digest(gh_ca_certificate(root)), digests[i]);
        for (j = 0; j < KEY_KINDS; j++) {
            const gh_ca_t *issuing = make_issuing(root, key_of_kind(key_kinds[j]),
                                                  "cn=Issuing,o=Example", now);

            assert_int_equal(signature_digest(gh_ca_certificate(issuing)), digests[i]);
            for (k = 0; k < KEY_KINDS; k++) {
                X509 *certificate = issue_at(issuing, subscriber(key_of_kind(key_kinds[k])), now);

                assert_int_equal(signature_digest(certificate), digests[j]);
                assert_int_equal(verify_chain(certificate, issuing, root, NULL, now), X509_V_OK);
                assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(certificate),
                                             key_of_kind(key_kinds[k])), 1);
            }
        }
    }
}

static gh_bytes_t public_key_der(X509 *certificate)
{
    gh_bytes_t der = { NULL, 0 };
    unsigned char *data = NULL, *copy;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &data);

    assert_true(length > 0);
    copy = apr_pmemdup(test_pool, data, (apr_size_t)length);
    OPENSSL_free(data);
    der.data = copy;
    der.length = (apr_size_t)length;
    return der;
}

/** The key in the certificate is the key that was asked for, bit by bit, also where it ends with
 *  zero bits; and so are the digests that name it. */
static void test_public_keys(void **state)
{
    const gh_ca_t *root = make_root(key_of_kind("P-256"), "cn=Root", apr_time_now());
    int i, even = 0;

    (void)state;
    for (i = 0; i < 40; i++) {
        EVP_PKEY *key;
        gh_plan_t *plan, *again;
        gh_bytes_t bytes, der, sha256;
        unsigned char digest[SHA256_DIGEST_LENGTH];

        assert_success(gh_key_generate(&key, i % 2 ? "P-256" : "P-384", test_pool, NULL));
        plan = subscriber(key);
        der = public_key_der(issue_at(root, plan, apr_time_now()));
        sha256 = gh_key_sha256(key, test_pool);
        SHA256(der.data, der.length, digest);
        assert_memory_equal(digest, sha256.data, 32);
        assert_memory_equal(gh_plan_key_sha256(plan).data, sha256.data, 32);
        assert_success(gh_plan_encode(&bytes, plan, test_pool, NULL));
        assert_success(gh_plan_decode(&again, bytes, test_pool, NULL));
        assert_memory_equal(gh_plan_key_sha256(again).data, sha256.data, 32);
        even += !(der.data[der.length - 1] & 1);
    }
    assert_true(even > 0);
}

/* Content */

static void assert_key_identifier(X509 *certificate)
{
    const ASN1_OCTET_STRING *identifier = X509_get0_subject_key_id(certificate);
    const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(certificate);
    unsigned char digest[SHA256_DIGEST_LENGTH];

    SHA256(ASN1_STRING_get0_data(bits), (size_t)ASN1_STRING_length(bits), digest);
    assert_int_equal(ASN1_STRING_length(identifier), 20);
    assert_memory_equal(ASN1_STRING_get0_data(identifier), digest, 20);
}

static void test_root(void **state)
{
    apr_time_t now = apr_time_from_sec(apr_time_sec(apr_time_now()));
    X509 *root = gh_ca_certificate(make_root(key_of_kind("P-384"), "cn=Root,o=Example", now));

    (void)state;
    assert_int_equal(X509_get_version(root), X509_VERSION_3);
    assert_int_equal(X509_NAME_cmp(X509_get_subject_name(root), X509_get_issuer_name(root)), 0);
    assert_int_equal(X509_check_ca(root), 1);
    assert_int_equal(X509_get_pathlen(root), -1);
    assert_int_equal(X509_get_key_usage(root),
                     KU_DIGITAL_SIGNATURE | KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_key_identifier(root);
    /* basicConstraints, keyUsage, subjectKeyIdentifier and nothing else */
    assert_int_equal(X509_get_ext_count(root), 3);
    assert_int_equal(gh_certificate_not_before(root), now - apr_time_from_sec(300));
    assert_int_equal(gh_certificate_not_after(root) - gh_certificate_not_before(root), 7300 * DAY);
    assert_int_equal(gh_key_matches(key_of_kind("P-384"), root), 1);
}

static const char *first_uri(const GENERAL_NAME *name)
{
    assert_int_equal(name->type, GEN_URI);
    return apr_pstrmemdup(test_pool,
                          (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
                          (apr_size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier));
}

static void test_issuing(void **state)
{
    apr_time_t now = apr_time_now();
    const gh_ca_t *root = make_root(key_of_kind("P-384"), "cn=Root,o=Example", now);
    X509 *issuing = gh_ca_certificate(make_issuing(root, key_of_kind("RSA-3072"), "cn=Issuing",
                                                   now));
    CRL_DIST_POINTS *points = extension_of(issuing, NID_crl_distribution_points, NULL);
    AUTHORITY_INFO_ACCESS *access = extension_of(issuing, NID_info_access, NULL);
    int critical;

    (void)state;
    assert_int_equal(X509_check_ca(issuing), 1);
    assert_int_equal(X509_get_pathlen(issuing), 0);
    assert_key_identifier(issuing);
    assert_int_equal(ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(issuing),
                                           X509_get0_subject_key_id(gh_ca_certificate(root))), 0);
    assert_null(X509_get0_authority_issuer(issuing));
    assert_int_equal(sk_DIST_POINT_num(points), 1);
    assert_string_equal(first_uri(sk_GENERAL_NAME_value(
                            sk_DIST_POINT_value(points, 0)->distpoint->name.fullname, 0)),
                        "http://pki.example.com/crl/root.crl");
    assert_int_equal(sk_ACCESS_DESCRIPTION_num(access), 1);
    assert_int_equal(OBJ_obj2nid(sk_ACCESS_DESCRIPTION_value(access, 0)->method),
                     NID_ad_ca_issuers);
    assert_string_equal(first_uri(sk_ACCESS_DESCRIPTION_value(access, 0)->location),
                        "http://pki.example.com/ca/root.cer");
    assert_int_equal(gh_certificate_not_after(issuing) - gh_certificate_not_before(issuing),
                     3650 * DAY);
    assert_null(extension_of(issuing, NID_ext_key_usage, &critical));
    CRL_DIST_POINTS_free(points);
    AUTHORITY_INFO_ACCESS_free(access);
}

/** AIA has an OCSP address exactly when there is a responder. */
static void test_urls(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *key = key_of_kind("P-256");
    X509 *root = gh_ca_certificate(make_root(key, "cn=Root", now));
    gh_ca_urls_t urls = { "http://x/crl,with;signs=1", NULL, "http://x/ocsp", DAY };
    gh_plan_t *plan = subscriber(key);
    AUTHORITY_INFO_ACCESS *access;
    CRL_DIST_POINTS *points;
    X509 *certificate;
    gh_ca_t *ca;

    (void)state;
    assert_success(gh_ca_create(&ca, root, key, &urls, test_pool, NULL));
    certificate = issue_at(ca, subscriber(key), now + 2 * DAY);
    access = extension_of(certificate, NID_info_access, NULL);
    assert_int_equal(sk_ACCESS_DESCRIPTION_num(access), 1);
    assert_int_equal(OBJ_obj2nid(sk_ACCESS_DESCRIPTION_value(access, 0)->method), NID_ad_OCSP);
    points = extension_of(certificate, NID_crl_distribution_points, NULL);
    assert_string_equal(first_uri(sk_GENERAL_NAME_value(
                            sk_DIST_POINT_value(points, 0)->distpoint->name.fullname, 0)),
                        "http://x/crl,with;signs=1");
    assert_int_equal(apr_time_sec(gh_certificate_not_before(certificate)),
                     apr_time_sec(now + DAY));
    AUTHORITY_INFO_ACCESS_free(access);
    CRL_DIST_POINTS_free(points);

    gh_plan_set_locations(plan, 0);
    certificate = issue_at(ca, plan, now + 2 * DAY);
    assert_null(extension_of(certificate, NID_info_access, NULL));
    assert_null(extension_of(certificate, NID_crl_distribution_points, NULL));

    assert_success(gh_ca_create(&ca, root, key, NULL, test_pool, NULL));
    certificate = issue_at(ca, subscriber(key), now);
    assert_null(extension_of(certificate, NID_info_access, NULL));
    assert_null(extension_of(certificate, NID_crl_distribution_points, NULL));
}

/** authorityKeyIdentifier is what the CA's certificate says, however that was computed. */
static void test_foreign_key_identifier(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *key = key_of_kind("P-256");
    X509 *root = X509_dup(gh_ca_certificate(make_root(key, "cn=Root", now)));
    ASN1_OCTET_STRING *identifier = ASN1_OCTET_STRING_new();
    gh_ca_t *ca;
    X509 *certificate;

    (void)state;
    gh_own_certificate(test_pool, root);
    ASN1_OCTET_STRING_set(identifier, (const unsigned char *)"odd", 3);
    X509_EXTENSION_free(X509_delete_ext(root, X509_get_ext_by_NID(
                                            root, NID_subject_key_identifier, -1)));
    assert_int_equal(X509_add1_ext_i2d(root, NID_subject_key_identifier, identifier, 0, 0), 1);
    ASN1_OCTET_STRING_free(identifier);
    assert_true(X509_sign(root, key, EVP_sha256()) > 0);
    root = gh_certificate_parse(gh_certificate_der(root, test_pool), test_pool);
    assert_success(gh_ca_create(&ca, root, key, NULL, test_pool, NULL));
    certificate = issue_at(ca, subscriber(key), now);
    assert_int_equal(ASN1_STRING_length(X509_get0_authority_key_id(certificate)), 3);
    assert_int_equal(verify_chain(certificate, NULL, ca, NULL, now), X509_V_OK);
}

/* Validity */

static void test_clamp(void **state)
{
    apr_time_t now = apr_time_from_sec(apr_time_sec(apr_time_now()));
    EVP_PKEY *key = key_of_kind("P-256");
    const gh_ca_t *root = make_root(key, "cn=Root", now);
    apr_time_t end = gh_certificate_not_after(gh_ca_certificate(root));
    gh_plan_t *plan = subscriber(key);
    gh_result_t result;
    X509 *certificate;

    (void)state;
    /* Well before the CA's end: the whole year. At its end: cut to the second. */
    certificate = issue_at(root, plan, end - 366 * DAY);
    assert_true(gh_certificate_not_after(certificate) == end - DAY - apr_time_from_sec(300));
    certificate = issue_at(root, plan, end - 365 * DAY + apr_time_from_sec(301));
    assert_true(gh_certificate_not_after(certificate) == end);
    certificate = issue_at(root, plan, end - apr_time_from_sec(1));
    assert_true(gh_certificate_not_after(certificate) == end);
    assert_int_equal(gh_ca_issue(&certificate, root, plan, end, test_pool, &result), GH_EREFUSED);
    assert_int_equal(result.failure, GH_FAILURE_TIME);
    assert_null(certificate);
    /* notBefore never lies before the CA's own. */
    certificate = issue_at(root, plan, now);
    assert_true(gh_certificate_not_before(certificate) == now - apr_time_from_sec(300));
    certificate = issue_at(root, plan, now - apr_time_from_sec(200));
    assert_true(gh_certificate_not_before(certificate) == now - apr_time_from_sec(300));
    assert_int_equal(gh_ca_issue(&certificate, root, plan, now - apr_time_from_sec(302), test_pool,
                                 &result), GH_EREFUSED);
    /* A very short life is not over before it begins. */
    gh_plan_set_validity(plan, apr_time_from_sec(60));
    certificate = issue_at(root, plan, now + DAY);
    assert_true(gh_certificate_not_after(certificate) > now + DAY);
    assert_true(gh_certificate_not_after(certificate) - gh_certificate_not_before(certificate)
                == apr_time_from_sec(60));
}

/** RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050. */
static void test_time_forms(void **state)
{
    static const apr_int64_t year_2050 = 2524608000;
    EVP_PKEY *key = key_of_kind("P-256");
    gh_plan_t *plan = subscriber(key);
    const gh_ca_t *root = make_root(key, "cn=Root",
                                    apr_time_from_sec(year_2050 - 10 * 365 * 86400));
    X509 *certificate;

    (void)state;
    gh_plan_set_validity(plan, DAY);
    certificate = issue_at(root, plan, apr_time_from_sec(year_2050 - 86400 + 299));
    assert_int_equal(ASN1_STRING_type(X509_get0_notAfter(certificate)), V_ASN1_UTCTIME);
    assert_int_equal(apr_time_sec(gh_certificate_not_after(certificate)), year_2050 - 1);
    certificate = issue_at(root, plan, apr_time_from_sec(year_2050 - 86400 + 300));
    assert_int_equal(ASN1_STRING_type(X509_get0_notAfter(certificate)), V_ASN1_GENERALIZEDTIME);
    assert_int_equal(ASN1_STRING_type(X509_get0_notBefore(certificate)), V_ASN1_UTCTIME);
}

/* Serial numbers */

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

/** Positive, 16 octets, never twice, and every bit below the sign random. */
static void test_serials(void **state)
{
    enum { COUNT = 2000 };
    static unsigned char all[COUNT][16];
    const gh_ca_t *root = make_root(key_of_kind("P-256"), "cn=Root", apr_time_now());
    gh_plan_t *plan = subscriber(key_of_kind("P-256"));
    int ones[128] = { 0 };
    int i, bit;

    (void)state;
    for (i = 0; i < COUNT; i++) {
        X509 *certificate = NULL;
        gh_bytes_t serial;
        unsigned char *der = NULL;

        assert_success(gh_ca_issue(&certificate, root, plan, apr_time_now(), test_pool, NULL));
        serial = gh_certificate_serial(certificate, test_pool);
        assert_int_equal(serial.length, 16);
        assert_int_equal(i2d_ASN1_INTEGER(X509_get_serialNumber(certificate), &der), 18);
        assert_int_equal(der[2] & 0x80, 0);
        OPENSSL_free(der);
        memcpy(all[i], serial.data, 16);
        for (bit = 0; bit < 128; bit++)
            ones[bit] += serial.data[bit / 8] >> (7 - bit % 8) & 1;
    }
    assert_int_equal(ones[0], 0);
    for (bit = 1; bit < 128; bit++)
        assert_in_range(ones[bit], COUNT / 2 - 200, COUNT / 2 + 200);
    qsort(all, COUNT, 16, by_bytes);
    for (i = 1; i < COUNT; i++)
        assert_memory_not_equal(all[i - 1], all[i], 16);
}

static void test_serial_forms(void **state)
{
    X509 *certificate = gh_own_certificate(test_pool, X509_new());

    (void)state;
    assert_int_equal(gh_certificate_serial(certificate, test_pool).length, 1);
    assert_int_equal(gh_certificate_serial(certificate, test_pool).data[0], 0);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 0x80);
    assert_int_equal(gh_certificate_serial(certificate, test_pool).length, 1);
    assert_int_equal(gh_certificate_serial(certificate, test_pool).data[0], 0x80);
}

/* What a CA must be, and what it may sign */

static X509 *altered(X509 *original, EVP_PKEY *key, int nid, const char *value)
{
    X509 *copy = X509_dup(original);
    int at = X509_get_ext_by_NID(copy, nid, -1);

    X509_EXTENSION_free(X509_delete_ext(copy, at));
    if (value != NULL) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

        assert_non_null(extension);
        assert_int_equal(X509_add_ext(copy, extension, -1), 1);
        X509_EXTENSION_free(extension);
    }
    assert_true(X509_sign(copy, key, EVP_sha256()) > 0);
    gh_own_certificate(test_pool, copy);
    return gh_certificate_parse(gh_certificate_der(copy, test_pool), test_pool);
}

static void test_ca_requirements(void **state)
{
    EVP_PKEY *key = key_of_kind("P-256");
    X509 *root = gh_ca_certificate(make_root(key, "cn=Root", apr_time_now()));
    X509 *leaf = issue_at(make_root(key, "cn=Root", apr_time_now()), subscriber(key),
                          apr_time_now());
    gh_crl_builder_t *builder;
    gh_result_t result;
    X509 *certificate;
    gh_ca_t *ca;

    (void)state;
    assert_int_equal(gh_ca_create(&ca, leaf, key, NULL, test_pool, &result), APR_EINVAL);
    assert_null(ca);
    assert_int_equal(gh_ca_create(&ca, root, key_of_kind("P-384"), NULL, test_pool, &result),
                     APR_EINVAL);
    assert_string_equal(result.rule, "ca.key");
    assert_int_equal(gh_ca_create(&ca, altered(root, key, NID_basic_constraints, NULL), key, NULL,
                                  test_pool, &result), APR_EINVAL);
    assert_int_equal(gh_ca_create(&ca, altered(root, key, NID_basic_constraints, "CA:FALSE"), key,
                                  NULL, test_pool, &result), APR_EINVAL);
    assert_int_equal(gh_ca_create(&ca, altered(root, key, NID_key_usage,
                                               "digitalSignature,cRLSign"), key, NULL, test_pool,
                                  &result), APR_EINVAL);
    assert_string_equal(result.number, "GH0167");
    /* Without keyUsage it may do everything (RFC 5280 6.1.4 (n)). */
    assert_success(gh_ca_create(&ca, altered(root, key, NID_key_usage, NULL), key, NULL,
                                test_pool, &result));
    issue_at(ca, subscriber(key), apr_time_now());
    assert_success(gh_crl_begin(&builder, ca, 1, apr_time_now(), apr_time_now() + DAY, test_pool,
                                &result));
    /* Without cRLSign it issues and makes no CRLs. */
    assert_success(gh_ca_create(&ca, altered(root, key, NID_key_usage, "keyCertSign"), key, NULL,
                                test_pool, &result));
    issue_at(ca, subscriber(key), apr_time_now());
    assert_int_equal(gh_crl_begin(&builder, ca, 1, apr_time_now(), apr_time_now() + DAY, test_pool,
                                  &result), GH_EUNAVAILABLE);
    /* Without a key it can be looked at only. */
    assert_success(gh_ca_create(&ca, root, NULL, NULL, test_pool, &result));
    assert_ptr_equal(gh_ca_certificate(ca), root);
    assert_int_equal(gh_ca_issue(&certificate, ca, subscriber(key), apr_time_now(), test_pool,
                                 &result), GH_EUNAVAILABLE);
    assert_int_equal(gh_crl_begin(&builder, ca, 1, apr_time_now(), apr_time_now() + DAY, test_pool,
                                  &result), GH_EUNAVAILABLE);
}

static gh_plan_t *ca_plan(const char *profile, EVP_PKEY *key, const char *subject)
{
    request_t request = request_for(key, subject);
    gh_plan_t *plan = NULL;

    ask(&request, "basicConstraints", "critical,CA:TRUE");
    ask(&request, "keyUsage", "critical,keyCertSign,cRLSign");
    assert_success(gh_profile_apply(&plan, apr_hash_get(read_profiles(), profile,
                                                        APR_HASH_KEY_STRING),
                                    make_csr(&request), NULL, test_pool, NULL));
    assert_int_equal(gh_plan_is_ca(plan), 1);
    return plan;
}

/** Subordinate CAs come from a root; an issuing CA of path length 0 refuses. */
static void test_path_length(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *key = key_of_kind("P-256");
    const gh_ca_t *root = make_root(key, "cn=Root", now);
    const gh_ca_t *issuing = make_issuing(root, key, "cn=Issuing", now);
    gh_plan_t *azure = ca_plan("azure-firewall-ca-subord", key_of_kind("RSA-4096"), "cn=Firewall");
    gh_plan_t *proxy = ca_plan("tlsproxy-ca-subord", key_of_kind("RSA-4096"), "cn=Proxy");
    gh_result_t result;
    X509 *certificate;
    gh_ca_t *firewall;

    (void)state;
    assert_int_equal(gh_ca_issue(&certificate, issuing, azure, now, test_pool, &result),
                     GH_EREFUSED);
    assert_string_equal(result.rule, "ca.path-length");
    assert_int_equal(gh_ca_issue(&certificate, issuing, proxy, now, test_pool, &result),
                     GH_EREFUSED);
    certificate = issue_at(root, proxy, now);
    assert_int_equal(X509_get_pathlen(certificate), 0);
    assert_int_equal(X509_get_extended_key_usage(certificate), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    certificate = issue_at(root, azure, now);
    assert_int_equal(X509_get_pathlen(certificate), 1);
    assert_int_equal(verify_chain(certificate, NULL, root, NULL, now), X509_V_OK);
    /* Under path length 1 there is room for 0, not for 1. */
    assert_success(gh_ca_create(&firewall, certificate, key_of_kind("RSA-4096"), NULL, test_pool,
                                NULL));
    assert_int_equal(gh_ca_issue(&certificate, firewall, azure, now, test_pool, &result),
                     GH_EREFUSED);
    certificate = issue_at(firewall, proxy, now);
    assert_int_equal(verify_chain(certificate, firewall, root, NULL, now), X509_V_OK);
    /* Only a CA signs itself. */
    assert_int_equal(gh_ca_self_sign(&certificate, subscriber(key), key, 0, now, test_pool,
                                     &result), GH_EREFUSED);
}

/* Threads */

typedef struct {
    const gh_ca_t *ca;
    const gh_plan_t *plan;
    int failures;
} work_t;

static void *issue_many(void *data)
{
    work_t *work = data;
    apr_pool_t *p = NULL;
    int i;

    apr_pool_create(&p, NULL);
    for (i = 0; i < 100; i++) {
        X509 *certificate = NULL;

        if (gh_ca_issue(&certificate, work->ca, work->plan, apr_time_now(), p, NULL) != APR_SUCCESS
            || X509_verify(certificate, X509_get0_pubkey(gh_ca_certificate(work->ca))) != 1)
            work->failures++;
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

static void test_threads(void **state)
{
    enum { THREADS = 8 };
    const gh_ca_t *root = make_root(key_of_kind("P-256"), "cn=Root", apr_time_now());
    gh_plan_t *plan = subscriber(key_of_kind("P-256"));
    pthread_t threads[THREADS];
    work_t work[THREADS];
    int i;

    (void)state;
    for (i = 0; i < THREADS; i++) {
        work[i] = (work_t){ root, plan, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, issue_many, &work[i]), 0);
    }
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(work[i].failures, 0);
    }
}

/* Reading */

static void test_parse(void **state)
{
    X509 *root = gh_ca_certificate(make_root(key_of_kind("P-256"), "cn=Root", apr_time_now()));
    gh_bytes_t der = gh_certificate_der(root, test_pool), changed;
    unsigned char *copy = apr_pcalloc(test_pool, der.length + 1);

    (void)state;
    memcpy(copy, der.data, der.length);
    changed.data = copy;
    changed.length = der.length + 1;
    assert_null(gh_certificate_parse(changed, test_pool));
    for (changed.length = 0; changed.length < der.length; changed.length++)
        assert_null(gh_certificate_parse(changed, test_pool));
    assert_int_equal(X509_cmp(gh_certificate_parse(changed, test_pool), root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_kinds, x509_test_teardown),
        cmocka_unit_test_teardown(test_public_keys, x509_test_teardown),
        cmocka_unit_test_teardown(test_root, x509_test_teardown),
        cmocka_unit_test_teardown(test_issuing, x509_test_teardown),
        cmocka_unit_test_teardown(test_urls, x509_test_teardown),
        cmocka_unit_test_teardown(test_foreign_key_identifier, x509_test_teardown),
        cmocka_unit_test_teardown(test_clamp, x509_test_teardown),
        cmocka_unit_test_teardown(test_time_forms, x509_test_teardown),
        cmocka_unit_test_teardown(test_serials, x509_test_teardown),
        cmocka_unit_test_teardown(test_serial_forms, x509_test_teardown),
        cmocka_unit_test_teardown(test_ca_requirements, x509_test_teardown),
        cmocka_unit_test_teardown(test_path_length, x509_test_teardown),
        cmocka_unit_test_teardown(test_threads, x509_test_teardown),
        cmocka_unit_test_teardown(test_parse, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
