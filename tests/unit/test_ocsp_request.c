/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* OCSP requests: what is read of them, what is refused, and the many ways in which they come in the
 * path of a GET. */

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "ocsp_world.h"
#include "status.h"

#define NONCE_OID "1.3.6.1.5.5.7.48.1.2"
#define ACCEPTABLE_OID "1.3.6.1.5.5.7.48.1.4"
#define PREFERRED_OID "1.3.6.1.5.5.7.48.1.8"

static world_ca_t *ca;
static ocsp_request_t *request;
static ocsp_status_t ocsp;
static gh_result_t result;

static int setup(void **state)
{
    (void)state;
    ca = world_ca("Requests", "p256-01");
    return 0;
}

static apr_status_t parse(gh_bytes_t der)
{
    return ocsp_request_parse(&request, der, 5, &ocsp, test_pool, &result);
}

static void assert_malformed(gh_bytes_t der)
{
    assert_int_equal(parse(der), APR_EINVAL);
    assert_int_equal(ocsp, OCSP_MALFORMED_REQUEST);
    assert_int_equal(strlen(result.number), GH_NUMBER_LENGTH);
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_digests(void **state)
{
    const EVP_MD *digests[] = { EVP_sha1(), EVP_sha224(), EVP_sha256(), EVP_sha384(),
                                EVP_sha512() };
    unsigned char expected[EVP_MAX_MD_SIZE];
    size_t i;

    for (i = 0; i < sizeof(digests) / sizeof(digests[0]); ++i) {
        assert_success(parse(world_request(ca, digests[i], world_serial(0x1234), NULL)));
        assert_int_equal(request->count, 1);
        assert_int_equal(request->ids[0].digest, EVP_MD_get_type(digests[i]));
        X509_NAME_digest(X509_get_subject_name(ca->certificate), digests[i], expected, NULL);
        assert_int_equal(request->ids[0].name_hash.length, EVP_MD_get_size(digests[i]));
        assert_memory_equal(request->ids[0].name_hash.data, expected,
                            request->ids[0].name_hash.length);
        X509_pubkey_digest(ca->certificate, digests[i], expected, NULL);
        assert_memory_equal(request->ids[0].key_hash.data, expected,
                            request->ids[0].key_hash.length);
        assert_int_equal(request->ids[0].serial.length, 2);
        assert_memory_equal(request->ids[0].serial.data, "\x12\x34", 2);
        assert_int_equal(request->has_nonce, 0);
        assert_int_equal(request->is_signed, 0);
        assert_null(request->requestor);
    }
    assert_success(parse(world_request(ca, EVP_md5(), world_serial(1), NULL)));
    assert_int_equal(request->ids[0].digest, NID_undef);
}

static void test_serials(void **state)
{
    static const unsigned char long_one[21] = { 1 };
    static const gh_bytes_t twenty = { long_one, 20 }, more = { long_one, 21 };
    world_request_t asking = world_asking();
    OCSP_CERTID *id;
    ASN1_INTEGER *serial;

    assert_success(parse(world_request(ca, NULL, twenty, NULL)));
    assert_int_equal(request->ids[0].serial.length, 20);
    assert_success(parse(world_request(ca, NULL, more, NULL)));
    assert_int_equal(request->ids[0].serial.length, 0);
    assert_success(parse(world_request(ca, NULL, world_serial(0), NULL)));
    assert_int_equal(request->ids[0].serial.length, 1);
    assert_int_equal(request->ids[0].serial.data[0], 0);
    assert_success(parse(world_request(ca, NULL, world_serial(0x80), NULL)));
    assert_int_equal(request->ids[0].serial.length, 1);

    world_ask(&asking, ca, world_serial(7));
    id = OCSP_onereq_get0_id(OCSP_request_onereq_get0(asking.request, 0));
    OCSP_id_get0_info(NULL, NULL, NULL, &serial, id);
    ASN1_INTEGER_set(serial, -7);
    assert_success(parse(world_asked(&asking)));
    assert_int_equal(request->ids[0].serial.length, 0);
}

static void test_several(void **state)
{
    world_request_t asking = world_asking(), none = world_asking(), many = world_asking();
    int i;

    for (i = 0; i < 5; ++i) {
        world_ask(&asking, ca, world_serial((apr_uint64_t)i + 1));
    }
    assert_success(parse(world_asked(&asking)));
    assert_int_equal(request->count, 5);
    for (i = 0; i < 5; ++i) {
        assert_int_equal(request->ids[i].serial.data[0], i + 1);
    }
    for (i = 0; i < 6; ++i) {
        world_ask(&many, ca, world_serial((apr_uint64_t)i + 1));
    }
    assert_int_equal(parse(world_asked(&many)), APR_EINVAL);
    assert_int_equal(ocsp, OCSP_UNAUTHORIZED);
    assert_malformed(world_asked(&none));
}

static void test_malformed_der(void **state)
{
    gh_bytes_t good = world_request(ca, NULL, world_serial(1), "0123456789abcdef"), bad;
    unsigned char *copy = apr_palloc(test_pool, good.length + 1);
    apr_size_t i;

    memcpy(copy, good.data, good.length);
    copy[good.length] = 0;
    bad.data = copy;
    bad.length = good.length + 1;
    assert_malformed(bad);
    for (i = 0; i < good.length; ++i) {
        bad.length = i;
        assert_malformed(bad);
    }
    bad.length = OCSP_REQUEST_MAX + 1;
    bad.data = apr_pcalloc(test_pool, bad.length);
    assert_malformed(bad);
}

static void test_version(void **state)
{
    OCSP_ASKING *asking;
    unsigned char *der = NULL;
    gh_bytes_t plain = world_request(ca, NULL, world_serial(1), NULL), bytes;
    int version;

    for (version = 0; version < 2; ++version) {
        const unsigned char *at = plain.data;

        asking = d2i_OCSP_ASKING(NULL, &at, (long)plain.length);
        asking->tbs->version = ASN1_INTEGER_new();
        ASN1_INTEGER_set(asking->tbs->version, version);
        der = NULL;
        bytes.length = (apr_size_t)i2d_OCSP_ASKING(asking, &der);
        bytes.data = apr_pmemdup(test_pool, der, bytes.length);
        OPENSSL_free(der);
        OCSP_ASKING_free(asking);
        if (version == 0) {
            assert_success(parse(bytes));
        }
        else {
            assert_malformed(bytes);
        }
    }
}

static gh_bytes_t with_extension(const char *oid, int critical, const char *hex)
{
    world_request_t asking = world_asking();

    world_ask(&asking, ca, world_serial(1));
    world_ask_extension(&asking, oid, critical, hex);
    return world_asked(&asking);
}

static void test_nonces(void **state)
{
    static const int lengths[] = { 1, 16, 32, 127, 128, 129, 300 };
    unsigned char nonce[300];
    world_request_t twice = world_asking();
    size_t i;

    RAND_bytes(nonce, sizeof(nonce));
    nonce[0] = 0x55;
    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); ++i) {
        world_request_t asking = world_asking();
        gh_bytes_t der;

        asking.nonce = nonce;
        asking.nonce_length = lengths[i];
        world_ask(&asking, ca, world_serial(1));
        der = world_asked(&asking);
        if (lengths[i] > 128) {
            assert_malformed(der);
            continue;
        }
        assert_success(parse(der));
        assert_int_equal(request->has_nonce, 1);
        assert_true(request->nonce.length > (apr_size_t)lengths[i]);
        assert_memory_equal(request->nonce.data + request->nonce.length - lengths[i], nonce,
                            (size_t)lengths[i]);

        /* without the OCTET STRING */
        der = with_extension(NONCE_OID, 0, gh_hex(test_pool, nonce, (apr_size_t)lengths[i]));
        assert_success(parse(der));
        assert_int_equal(request->nonce.length, lengths[i]);
        assert_memory_equal(request->nonce.data, nonce, (size_t)lengths[i]);
    }
    assert_malformed(with_extension(NONCE_OID, 0, ""));
    assert_malformed(with_extension(NONCE_OID, 0, "0400"));
    assert_malformed(with_extension(NONCE_OID, 0, gh_hex(test_pool, nonce, 129)));
    assert_success(parse(with_extension(NONCE_OID, 1, "040155")));

    world_ask(&twice, ca, world_serial(1));
    world_ask_extension(&twice, NONCE_OID, 0, "040155");
    world_ask_extension(&twice, NONCE_OID, 0, "040166");
    assert_malformed(world_asked(&twice));
}

static void test_extensions(void **state)
{
    assert_success(parse(with_extension("1.2.3.4", 0, "0500")));
    assert_malformed(with_extension("1.2.3.4", 1, "0500"));
    /* SEQUENCE { id-pkix-ocsp-basic }, another one, none, and no sequence */
    assert_success(parse(with_extension(ACCEPTABLE_OID, 0, "300b06092b0601050507300101")));
    assert_success(parse(with_extension(ACCEPTABLE_OID, 1, "300b06092b0601050507300101")));
    assert_malformed(with_extension(ACCEPTABLE_OID, 0, "300b06092b0601050507300102"));
    assert_malformed(with_extension(ACCEPTABLE_OID, 0, "3000"));
    assert_malformed(with_extension(ACCEPTABLE_OID, 0, "0500"));
}

static void test_single_extensions(void **state)
{
    static const struct {
        const char *oid;
        int critical;
        int good;
    } cases[] = {
        { "1.2.3.4", 0, 1 }, { "1.2.3.4", 1, 0 }, { "1.3.6.1.5.5.7.48.1.7", 1, 1 }
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        world_request_t asking = world_asking();
        ASN1_OBJECT *object = OBJ_txt2obj(cases[i].oid, 1);
        ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
        X509_EXTENSION *extension;

        ASN1_OCTET_STRING_set(octets, (const unsigned char *)"\x05\x00", 2);
        extension = X509_EXTENSION_create_by_OBJ(NULL, object, cases[i].critical, octets);
        world_ask(&asking, ca, world_serial(1));
        OCSP_ONEREQ_add_ext(OCSP_request_onereq_get0(asking.request, 0), extension, -1);
        X509_EXTENSION_free(extension);
        ASN1_OCTET_STRING_free(octets);
        ASN1_OBJECT_free(object);
        if (cases[i].good) {
            assert_success(parse(world_asked(&asking)));
        }
        else {
            assert_malformed(world_asked(&asking));
        }
    }
}

static void test_preferred(void **state)
{
    /* sha256WithRSAEncryption with NULL; an unknown one; ecdsa-with-SHA256, key on P-256 */
    assert_success(parse(with_extension(
        PREFERRED_OID, 0,
        "303d300f300d06092a864886f70d01010b05003007300506032a03043021300a"
        "06082a8648ce3d040302301306072a8648ce3d020106082a8648ce3d030107"
        "")));
    assert_int_equal(request->preferred_count, 2);
    assert_int_equal(request->preferred[0], NID_sha256WithRSAEncryption);
    assert_int_equal(request->preferred[1], NID_ecdsa_with_SHA256);
    assert_malformed(with_extension(PREFERRED_OID, 0, "0500"));
    assert_malformed(with_extension(PREFERRED_OID, 0, "30020500"));
}

static void test_requestor(void **state)
{
    world_request_t asking = world_asking();

    world_ask(&asking, ca, world_serial(1));
    OCSP_request_set1_name(asking.request, X509_get_subject_name(ca->certificate));
    assert_success(parse(world_asked(&asking)));
    assert_string_equal(request->requestor, "CN=Requests");
}

/* GET */

static apr_status_t from_path(gh_bytes_t *der, const char *path)
{
    return ocsp_request_from_path(der, path, 1000, test_pool, &result);
}

static void assert_decodes(const char *path, gh_bytes_t expected)
{
    gh_bytes_t der;

    if (from_path(&der, path) != APR_SUCCESS) {
        fail_msg("%s: %s", path, result.message);
    }
    assert_int_equal(der.length, expected.length);
    assert_memory_equal(der.data, expected.data, expected.length);
}

/** Replaces characters of base64. */
static const char *written(const char *base64, const char *slash, const char *plus,
                           const char *equals)
{
    char *text = apr_pcalloc(test_pool, strlen(base64) * 3 + 1), *to = text;

    for (; *base64; ++base64) {
        char plain[2] = { *base64, '\0' };
        const char *piece = *base64 == '/' ? slash : *base64 == '+' ? plus
            : *base64 == '=' ? equals : plain;

        to = apr_cpystrn(to, piece, 4);
    }
    return text;
}

static void test_path(void **state)
{
    static const char *const slashes[] = { "/", "%2F", "%2f", "_" };
    static const char *const pluses[] = { "+", "%2B", "%2b", "-", "%20" };
    static const char *const ends[] = { "=", "%3D", "%3d", "" };
    size_t length, s, q, e;

    for (length = 1; length < 100; ++length) {
        unsigned char bytes[100], base64[200];
        gh_bytes_t expected = { bytes, length };

        RAND_bytes(bytes, sizeof(bytes));
        bytes[0] = 0x30;
        if (length % 3 == 0) {
            memset(bytes + length / 2, 0xff, 6);    /* slashes in a row */
        }
        EVP_EncodeBlock(base64, bytes, (int)length);
        for (s = 0; s < 4; ++s) {
            for (q = 0; q < 5; ++q) {
                for (e = 0; e < 4; ++e) {
                    const char *text = written((const char *)base64, slashes[s], pluses[q],
                                               ends[e]);

                    assert_decodes(text, expected);
                    assert_decodes(apr_pstrcat(test_pool, "//", text, NULL), expected);
                }
            }
        }
    }
}

static void test_bad_paths(void **state)
{
    static const char *const bad[] = {
        "", "/", "M", "MFE=MFE=", "MFE===", "MF=", "MFEw?x=1", "MFEw%00MFE", "MFEw%41MFEw",
        "MFEw%", "MFEw%2", "MFEw MFEw", "MFEw%0AMFEw", "MFEw\xc3\xa4MFE", "MFEw#MFE", "=", "====",
        "MFEwM", "MFEw%2EMFE"
    };
    char *large = apr_palloc(test_pool, 6001);
    gh_bytes_t der;
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        if (from_path(&der, bad[i]) != APR_EINVAL) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
        assert_string_equal(result.number, "GH0571");
    }
    memset(large, 'A', 6000);
    large[1336] = '\0';
    assert_int_equal(from_path(&der, large), APR_ENOSPC);
    large[1332] = '\0';
    assert_success(from_path(&der, large));
    assert_int_equal(der.length, 999);
    large[1332] = 'A';
    large[6000] = '\0';
    assert_int_equal(from_path(&der, large), APR_ENOSPC);
}

/* Signed requests */

static gh_bytes_t signed_request(X509 *certificate, EVP_PKEY *key, int flags, int spoil)
{
    world_request_t asking = world_asking();
    gh_bytes_t der;

    world_ask(&asking, ca, world_serial(1));
    assert_int_equal(OCSP_request_sign(asking.request, certificate, key, EVP_sha256(), NULL,
                                       (unsigned long)flags), 1);
    der = world_asked(&asking);
    if (spoil) {
        /* the serial number that is asked for */
        unsigned char *at = memchr(der.data, 0x02, der.length);

        while (at[1] != 1 || at[2] != 1) {
            at = memchr(at + 1, 0x02, der.length - (apr_size_t)(at + 1 - der.data));
        }
        at[2] = 2;
    }
    return der;
}

static void test_signed(void **state)
{
    EVP_PKEY *key = fixture_key("p256-01");
    world_signer_t client = { "clientAuth", NULL, 1, 0, 0 };
    world_signer_t old = { "clientAuth", NULL, 1, apr_time_now() - apr_time_from_sec(9999),
                           apr_time_now() - apr_time_from_sec(999) };
    world_ca_t *stranger = world_ca("Stranger", "rsa2048-03");
    X509_STORE *trust = X509_STORE_new();
    struct {
        gh_bytes_t der;
        ocsp_status_t expected;
    } cases[] = {
        { signed_request(world_signer(ca, key, &client), key, 0, 0), OCSP_SUCCESSFUL },
        { signed_request(world_signer(ca, key, &client), key, 0, 1), OCSP_UNAUTHORIZED },
        { signed_request(world_signer(ca, key, &old), key, 0, 0), OCSP_UNAUTHORIZED },
        { signed_request(world_signer(stranger, key, &client), key, 0, 0), OCSP_UNAUTHORIZED },
        { signed_request(world_signer(ca, key, &client), key, OCSP_NOCERTS, 0),
          OCSP_UNAUTHORIZED }
    };
    size_t i;

    X509_STORE_add_cert(trust, ca->certificate);
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        apr_status_t rv;

        assert_success(parse(cases[i].der));
        assert_int_equal(request->is_signed, 1);
        assert_string_equal(request->requestor, "CN=Responder");
        rv = ocsp_request_verify(request, trust, &ocsp, test_pool, &result);
        if (ocsp != cases[i].expected) {
            fail_msg("case %d: %d, %s", (int)i, ocsp, result.message);
        }
        assert_int_equal(rv, ocsp == OCSP_SUCCESSFUL ? APR_SUCCESS : GH_EREFUSED);
        assert_int_equal(ERR_peek_error(), 0);
    }
    X509_STORE_free(trust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_digests, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_serials, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_several, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_malformed_der, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_version, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_nonces, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_extensions, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_single_extensions, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_preferred, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_requestor, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_path, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_bad_paths, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_signed, setup, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
