/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a CA gateway answers. */

#include "x509_support.h"

#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "fcgi/ca/cagw_codec.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/san.h"

static struct {
    cagw_reply_t reply;
    gh_result_t result;
    gh_ca_t *root;
    X509 *certificate;
    const char *base64;
} got;

static const char *base64_of(gh_bytes_t bytes)
{
    char *text = apr_palloc(test_pool, bytes.length * 2 + 8);

    EVP_EncodeBlock((unsigned char *)text, bytes.data, (int)bytes.length);
    return text;
}

static int setup(void **state)
{
    memset(&got, 0, sizeof(got));
    gh_result_clear(&got.result);
    got.root = make_root(key_of_kind("P-256"), "CN=Elsewhere", apr_time_now());
    got.certificate = issue(got.root, subscriber(key_of_kind("RSA-2048")));
    got.base64 = base64_of(gh_certificate_der(got.certificate, test_pool));
    return 0;
}

static cagw_verdict_t answer(long status, const char *format, ...)
{
    va_list arguments;
    gh_bytes_t body;
    const char *text;

    va_start(arguments, format);
    text = apr_pvsprintf(test_pool, format, arguments);
    va_end(arguments);
    body.data = (const unsigned char *)text;
    body.length = strlen(text);
    gh_result_clear(&got.result);
    cagw_read_reply(&got.reply, status, body, 0, test_pool, &got.result);
    return got.reply.verdict;
}

#define ERROR "{\"type\":\"ErrorResponse\",\"error\":{\"code\":\"cagw-4027\"," \
              "\"message\":\"no such life\",\"details\":[{\"host\":\"ca-7.internal\"}]}}"

static void test_verdicts(void **state)
{
    static const struct {
        long status;
        const char *body;
        cagw_verdict_t verdict;
    } cases[] = {
        { 200, "{}", CAGW_DONE }, { 201, "{}", CAGW_DONE }, { 202, "{}", CAGW_DONE },
        { 200, ERROR, CAGW_REFUSED },               /* CAGW-32 */
        { 201, "{\"type\":\"errorresponse\"}", CAGW_REFUSED },
        { 200, "", CAGW_UNTOLD }, { 200, "<html>", CAGW_UNTOLD }, { 200, "[]", CAGW_UNTOLD },
        { 200, "{\"enrollment\":{", CAGW_UNTOLD }, { 204, "", CAGW_BROKEN },
        { 400, ERROR, CAGW_REFUSED }, { 409, ERROR, CAGW_REFUSED }, { 422, ERROR, CAGW_REFUSED },
        { 404, ERROR, CAGW_MISSING },
        { 501, ERROR, CAGW_UNSUPPORTED }, { 501, "", CAGW_UNSUPPORTED },
        { 401, ERROR, CAGW_MISCONFIGURED }, { 403, ERROR, CAGW_MISCONFIGURED },
        { 302, "", CAGW_MISCONFIGURED }, { 407, "", CAGW_MISCONFIGURED },
        /* of a proxy, or of another server: not the device's fault */
        { 400, "<html>", CAGW_MISCONFIGURED }, { 404, "<html>", CAGW_MISCONFIGURED },
        { 429, ERROR, CAGW_BUSY }, { 429, "", CAGW_BUSY },
        /* the gateway has failed, and may have asked its CA before */
        { 503, ERROR, CAGW_UNTOLD }, { 500, ERROR, CAGW_UNTOLD }, { 505, ERROR, CAGW_UNTOLD },
        /* somebody who does not know whether the gateway has */
        { 503, "", CAGW_BROKEN }, { 500, "", CAGW_BROKEN }, { 500, "{}", CAGW_BROKEN },
        { 502, "", CAGW_BROKEN }, { 502, ERROR, CAGW_BROKEN }, { 504, ERROR, CAGW_BROKEN },
        { 408, "", CAGW_BROKEN }, { 408, ERROR, CAGW_BROKEN },
        { 599, "{}", CAGW_BROKEN }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        assert_int_equal(answer(cases[i].status, "%s", cases[i].body), cases[i].verdict);
        assert_int_equal(got.result.number[0] == '\0', cases[i].verdict == CAGW_DONE);
    }
}

/* CAGW-35 */
static void test_retry_after(void **state)
{
    gh_bytes_t empty = { (const unsigned char *)"", 0 };

    cagw_read_reply(&got.reply, 503, empty, 1, test_pool, &got.result);
    assert_int_equal(got.reply.verdict, CAGW_BUSY);
    answer(503, "%s", ERROR);
    cagw_read_reply(&got.reply, 503, (gh_bytes_t) { (const unsigned char *)ERROR, strlen(ERROR) },
                    1, test_pool, &got.result);
    assert_int_equal(got.reply.verdict, CAGW_BUSY);
    /* time-outs and faults are what they are */
    cagw_read_reply(&got.reply, 504, empty, 1, test_pool, &got.result);
    assert_int_equal(got.reply.verdict, CAGW_BROKEN);
}

/* CAGW-31: code and message are told, what is behind the gateway is not */
static void test_error(void **state)
{
    answer(400, "%s", ERROR);
    assert_string_equal(got.reply.code, "cagw-4027");
    assert_string_equal(got.reply.message, "no such life");
    assert_non_null(strstr(got.reply.details, "ca-7.internal"));
    assert_string_equal(got.result.message,
                        "the CA gateway refuses: cagw-4027: no such life (HTTP 400)");
    assert_null(strstr(got.result.message, "internal"));
    assert_null(strstr(got.result.cause, "internal"));
    answer(400, "{\"type\":\"ErrorResponse\",\"error\":{\"code\":7,\"message\":\"a\\u0000b\"}}");
    assert_null(got.reply.code);
    assert_null(got.reply.message);
    answer(400, "{\"type\":\"ErrorResponse\",\"error\":"
           "{\"code\":\"c\\n\",\"message\":\"\\u00e4\"}}");
    assert_string_equal(got.reply.code, "c?");
    assert_string_equal(got.reply.message, "??");
}

/* CAGW-39 */
static void test_role(void **state)
{
    answer(403, "%s", ERROR);
    assert_non_null(strstr(got.result.action, "integrator"));
    assert_string_equal(got.result.number, "GH0827");
    answer(401, "%s", ERROR);
    assert_string_equal(got.result.number, "GH0828");
}

static apr_status_t enrolled(cagw_enrolled_t *one, cagw_format_t format)
{
    assert_int_equal(got.reply.verdict, CAGW_DONE);
    return cagw_read_enrolled(one, &got.reply, format, test_pool, &got.result);
}

#define ENROLLMENT(members) "{\"type\":\"EnrollmentResponse\",\"later\":{\"a\":[1]}," \
                            "\"enrollment\":{\"x\":null," members "}}"

/* CAGW-11, CAGW-36 */
static void test_enrolled(void **state)
{
    cagw_enrolled_t one;

    answer(200, ENROLLMENT("\"id\":\"7\",\"status\":\"NEWER\",\"serialNumber\":\"0ABC\","
                           "\"body\":\"%s\""), got.base64);
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_int_equal(X509_cmp(one.certificate, got.certificate), 0);
    assert_string_equal(one.id, "7");
    assert_string_equal(one.serial, "0ABC");
    assert_int_equal(one.chain->nelts, 0);
    assert_int_equal(one.refused, 0);
    /* the guides' form */
    answer(201, "{\"body\":\"%s\"}", got.base64);
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_int_equal(X509_cmp(one.certificate, got.certificate), 0);
}

static void test_chain(void **state)
{
    cagw_enrolled_t one;
    const char *root = base64_of(gh_certificate_der(gh_ca_certificate(got.root), test_pool));

    answer(200, ENROLLMENT("\"body\":\"%s\",\"chain\":[{\"certificateData\":\"%s\"}]"), got.base64,
           root);
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_int_equal(one.chain->nelts, 1);
    assert_int_equal(X509_cmp(APR_ARRAY_IDX(one.chain, 0, X509 *), gh_ca_certificate(got.root)), 0);
    /* a chain with a gap is none */
    answer(200, ENROLLMENT("\"body\":\"%s\",\"chain\":[{\"certificateData\":\"%s\"},{}]"),
           got.base64, root);
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_int_equal(one.chain->nelts, 0);
}

static void test_pem(void **state)
{
    BIO *bio = BIO_new(BIO_s_mem());
    cagw_enrolled_t one;
    char *at, *text, *escaped;
    long length;

    PEM_write_bio_X509(bio, got.certificate);
    length = BIO_get_mem_data(bio, &at);
    text = apr_pstrmemdup(test_pool, at, (apr_size_t)length);
    BIO_free(bio);
    escaped = apr_pcalloc(test_pool, (apr_size_t)length * 2 + 1);
    for (at = escaped; *text; ++text) {
        if (*text == '\n') {
            *at++ = '\\';
            *at++ = 'n';
        }
        else {
            *at++ = *text;
        }
    }
    answer(200, ENROLLMENT("\"body\":\"%s\""), escaped);
    assert_success(enrolled(&one, CAGW_AS_PEM));
    assert_int_equal(X509_cmp(one.certificate, got.certificate), 0);
    /* and where DER was asked for */
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_int_equal(X509_cmp(one.certificate, got.certificate), 0);
}

static gh_bytes_t make_pkcs12(const char *password, int iterations)
{
    PKCS12 *made = PKCS12_create(password, "issued", key_of_kind("RSA-2048"), got.certificate, NULL,
                                 0, 0, 2048, -1, 0);
    gh_bytes_t bytes = { NULL, 0 };
    unsigned char *der = NULL;

    assert_int_equal(PKCS12_set_mac(made, password, -1, NULL, 0, iterations, NULL), 1);
    bytes.length = (apr_size_t)i2d_PKCS12(made, &der);
    bytes.data = apr_pmemdup(test_pool, der, bytes.length);
    OPENSSL_free(der);
    PKCS12_free(made);
    return bytes;
}

/* CAGW-12, CAGW-06 */
static void test_pkcs12(void **state)
{
    static const char password[] = "pass / w\xc3\xb6rd";
    apr_array_header_t *chain;
    cagw_enrolled_t one;
    EVP_PKEY *key;
    X509 *certificate;

    answer(200, ENROLLMENT("\"body\":\"%s\""), base64_of(make_pkcs12(password, 2048)));
    assert_success(enrolled(&one, CAGW_AS_PKCS12));
    assert_null(one.certificate);
    assert_success(cagw_open_pkcs12(&key, &certificate, &chain, one.pkcs12, password, test_pool,
                                    &got.result));
    assert_int_equal(X509_cmp(certificate, got.certificate), 0);
    assert_int_equal(EVP_PKEY_eq(key, key_of_kind("RSA-2048")), 1);
    assert_int_equal(cagw_open_pkcs12(&key, &certificate, &chain, one.pkcs12, "wrong", test_pool,
                                      &got.result), APR_EINVAL);
    assert_null(strstr(got.result.message, "wrong"));
    one.pkcs12.length--;
    assert_int_equal(cagw_open_pkcs12(&key, &certificate, &chain, one.pkcs12, password, test_pool,
                                      &got.result), APR_EINVAL);
}

static void test_pkcs12_of_endless_work(void **state)
{
    gh_bytes_t bytes = make_pkcs12("p", 1);
    apr_array_header_t *chain;
    const unsigned char *at = bytes.data;
    PKCS12 *made = d2i_PKCS12(NULL, &at, (long)bytes.length);
    const ASN1_INTEGER *iterations;
    unsigned char *der = NULL;
    EVP_PKEY *key;
    X509 *certificate;

    /* one iteration is not written; so it is made with two, and changed */
    PKCS12_set_mac(made, "p", -1, NULL, 0, 2, NULL);
    PKCS12_get0_mac(NULL, NULL, NULL, &iterations, made);
    ASN1_INTEGER_set((ASN1_INTEGER *)iterations, 2000000000);
    bytes.length = (apr_size_t)i2d_PKCS12(made, &der);
    bytes.data = der;
    assert_int_equal(cagw_open_pkcs12(&key, &certificate, &chain, bytes, "p", test_pool,
                                      &got.result), APR_EINVAL);
    OPENSSL_free(der);
    PKCS12_free(made);
}

/* CAGW-21 */
static void test_pending(void **state)
{
    cagw_enrolled_t one;

    answer(202, ENROLLMENT("\"id\":\"e-1\",\"status\":\"ACCEPTED\""));
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_null(one.certificate);
    assert_string_equal(one.id, "e-1");
    answer(200, ENROLLMENT("\"id\":12,\"body\":null,\"serialNumber\":\"0a\""));
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_string_equal(one.id, "12");
    assert_string_equal(one.serial, "0a");
    answer(200, ENROLLMENT("\"id\":\"e\",\"body\":\"\""));
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_null(one.certificate);
    answer(200, ENROLLMENT("\"id\":\"e\",\"status\":\"rejected\""));
    assert_success(enrolled(&one, CAGW_AS_X509));
    assert_int_equal(one.refused, 1);
}

/* Answers after which nobody knows what was done */
static void test_not_enrolled(void **state)
{
    static const char *const bodies[] = {
        "{}", "{\"enrollment\":[]}", "{\"enrollment\":{}}", "{\"enrollment\":{\"body\":5}}",
        "{\"enrollment\":{\"body\":\"AAAA\",\"id\":\"1\"}}", "{\"enrollment\":{\"body\":\"***\"}}",
        "{\"enrollment\":{\"body\":\"-----BEGIN CERTIFICATE-----\\nAAAA\"}}",
        "{\"enrollment\":{\"serialNumber\":\"no\"}}", "{\"enrollment\":{\"id\":\"\"}}",
        "{\"enrollment\":{\"body\":\"a\\u0000b\"}}"
    };
    cagw_enrolled_t one;
    apr_size_t i;

    for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); ++i) {
        answer(200, "%s", bodies[i]);
        assert_int_equal(enrolled(&one, CAGW_AS_X509), APR_EINVAL);
        assert_string_equal(got.result.number, "GH0829");
    }
    answer(200, "{\"enrollment\":{\"body\":\"AAAA\"}}");
    got.result.number[0] = '\0';
    assert_success(enrolled(&one, CAGW_AS_PKCS12));
}

static void test_certificate(void **state)
{
    cagw_certificate_t one;

    answer(200, "{\"type\":\"CertificateResponse\",\"certificate\":{\"status\":\"Suspended\","
           "\"serialNumber\":\"0A\",\"certificateData\":\"%s\"},\"chain\":[]}", got.base64);
    assert_success(cagw_read_certificate(&one, &got.reply, test_pool, &got.result));
    assert_int_equal(X509_cmp(one.certificate, got.certificate), 0);
    assert_int_equal(one.status, CAGW_STATUS_IS_HELD);
    assert_string_equal(one.serial, "0A");
    assert_int_equal(one.reason, GH_REASON_NONE);
    answer(200, "{\"certificate\":{\"status\":\"revoked\","
           "\"revocationInfo\":{\"reason\":\"caCompromise\"}}}");
    assert_success(cagw_read_certificate(&one, &got.reply, test_pool, &got.result));
    assert_int_equal(one.status, CAGW_STATUS_IS_REVOKED);
    assert_int_equal(one.reason, 2);
    assert_null(one.certificate);
    /* one connector leaves the status out, others may have new ones */
    answer(200, "{\"certificate\":{\"certificateData\":\"%s\"}}", got.base64);
    assert_success(cagw_read_certificate(&one, &got.reply, test_pool, &got.result));
    assert_int_equal(one.status, CAGW_STATUS_UNKNOWN);
    answer(200, "{\"certificate\":{\"status\":\"quarantined\"}}");
    assert_success(cagw_read_certificate(&one, &got.reply, test_pool, &got.result));
    assert_int_equal(one.status, CAGW_STATUS_UNKNOWN);
    answer(200, "{\"certificate\":{\"certificateData\":\"AAAA\"}}");
    assert_int_equal(cagw_read_certificate(&one, &got.reply, test_pool, &got.result), APR_EINVAL);
    answer(200, "{}");
    assert_int_equal(cagw_read_certificate(&one, &got.reply, test_pool, &got.result), APR_EINVAL);
}

/* CAGW-22 */
static void test_action(void **state)
{
    int rejected;

    answer(200, "{\"type\":\"ActionResponse\",\"action\":{\"status\":\"COMPLETED\","
           "\"compromiseDate\":\"2026-01-02T03:04:05.678901Z\"}}");
    assert_success(cagw_read_action(&rejected, &got.reply, &got.result));
    assert_int_equal(rejected, 0);
    answer(202, "{\"action\":{\"status\":\"accepted\"}}");
    assert_success(cagw_read_action(&rejected, &got.reply, &got.result));
    assert_int_equal(rejected, 0);
    answer(200, "{\"action\":{\"status\":\"REJECTED\"}}");
    assert_success(cagw_read_action(&rejected, &got.reply, &got.result));
    assert_int_equal(rejected, 1);
    answer(200, "{\"action\":{}}");
    assert_int_equal(cagw_read_action(&rejected, &got.reply, &got.result), APR_EINVAL);
}

/* CAGW-27, CAGW-28 */
static void test_events(void **state)
{
    cagw_events_t page;

    answer(200, "{\"type\":\"CertificateEventsResponse\",\"morePages\":true,"
           "\"nextPageIndex\":\"Mg==\",\"events\":["
           "{\"action\":\"issued\",\"eventDate\":\"2026-01-01T00:00Z\",\"certificate\":\"%s\"},"
           "{\"action\":\"issued\",\"serialNumber\":\"12\\u0001zz\",\"certificate\":\"AAAA\"},"
           "{\"action\":\"issued\",\"eventDate\":\"yesterday\",\"certificate\":\"%s\"},"
           "\"nothing\","
           "{\"action\":\"Revoked\",\"eventDate\":\"2026-01-02T00:00:00.123456789Z\","
           "\"certificate\":\"%s\"},{\"action\":\"issued\",\"serialNumber\":\"0a\"},"
           "{\"action\":\"anotherOne\",\"certificate\":\"%s\"}]}", got.base64, got.base64,
           got.base64, got.base64);
    assert_success(cagw_read_events(&page, &got.reply, test_pool, &got.result));
    /* a date that is none hides no certificate; an event without certificate may be anybody's */
    assert_int_equal(page.events->nelts, 4);
    assert_int_equal(page.skipped, 3);
    assert_int_equal(page.skipped_from, 0);
    assert_int_equal(page.skipped_until, page.latest);
    assert_int_equal(APR_ARRAY_IDX(page.events, 1, cagw_event_t *)->time, 0);
    assert_int_equal(page.more, 1);
    assert_string_equal(page.cursor, "Mg==");
    assert_int_equal(APR_ARRAY_IDX(page.events, 0, cagw_event_t *)->revoked, 0);
    assert_int_equal(APR_ARRAY_IDX(page.events, 0, cagw_event_t *)->time,
                     apr_time_from_sec(1767225600));
    assert_int_equal(APR_ARRAY_IDX(page.events, 2, cagw_event_t *)->revoked, 1);
    assert_int_equal(page.latest / APR_USEC_PER_SEC, 1767312000);
    assert_int_equal(APR_ARRAY_IDX(page.events, 3, cagw_event_t *)->time, 0);
}

/* What cannot be read is of its own time, not of that of the page */
static void test_when_skipped(void **state)
{
    cagw_events_t page;

    answer(200, "{\"events\":["
           "{\"action\":\"issued\",\"eventDate\":\"2026-01-03T00:00:00Z\","
           "\"certificate\":\"AAAA\"},"
           "{\"action\":\"issued\",\"eventDate\":\"2026-01-02T00:00:00Z\","
           "\"certificate\":\"AAAA\"},"
           "{\"action\":\"issued\",\"eventDate\":\"2026-01-04T00:00:00Z\","
           "\"certificate\":\"%s\"}]}", got.base64);
    assert_success(cagw_read_events(&page, &got.reply, test_pool, &got.result));
    assert_int_equal(page.skipped, 2);
    assert_int_equal(page.skipped_from, apr_time_from_sec(1767312000));
    assert_int_equal(page.skipped_until, apr_time_from_sec(1767312000 + 86400));
    assert_int_equal(page.latest, apr_time_from_sec(1767312000 + 2 * 86400));
}

static void test_ends_of_events(void **state)
{
    cagw_events_t page;

    answer(200, "{\"events\":[],\"morePages\":false,\"nextPageIndex\":\"9\"}");
    assert_success(cagw_read_events(&page, &got.reply, test_pool, &got.result));
    assert_int_equal(page.more, 0);
    assert_string_equal(page.cursor, "9");
    /* a page that says that more are there, but not where, is the last */
    answer(200, "{\"events\":[],\"morePages\":true,\"nextPageIndex\":null}");
    assert_success(cagw_read_events(&page, &got.reply, test_pool, &got.result));
    assert_int_equal(page.more, 0);
    answer(200, "{\"events\":{}}");
    assert_int_equal(cagw_read_events(&page, &got.reply, test_pool, &got.result), APR_EINVAL);
}

/* CAGW-08, CAGW-09 */
static void test_cas(void **state)
{
    apr_array_header_t *cas;
    cagw_ca_t one;
    const char *root = base64_of(gh_certificate_der(gh_ca_certificate(got.root), test_pool));

    answer(200, "{\"type\":\"CAListResponse\",\"caList\":[{\"id\":\"acme~devices\",\"name\":\"D\","
           "\"properties\":{\"connector-name\":\"com.example.ca\",\"type\":\"X\"},\"chain\":[]},"
           "{\"name\":\"without id\"},{\"id\":\"CA3\"}]}");
    assert_success(cagw_read_cas(&cas, &got.reply, test_pool, &got.result));
    assert_int_equal(cas->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(cas, 0, cagw_ca_t *)->id, "acme~devices");
    assert_string_equal(APR_ARRAY_IDX(cas, 0, cagw_ca_t *)->connector, "com.example.ca");
    assert_null(APR_ARRAY_IDX(cas, 1, cagw_ca_t *)->name);
    answer(200, "{\"ca\":{\"id\":\"CA3\",\"certificate\":{\"certificateData\":\"%s\"},"
           "\"chain\":[{\"certificateData\":\"%s\"}]}}", root, root);
    assert_success(cagw_read_ca(&one, &got.reply, test_pool, &got.result));
    assert_int_equal(X509_cmp(one.certificate, gh_ca_certificate(got.root)), 0);
    assert_int_equal(one.chain->nelts, 1);
    answer(200, "{\"ca\":{}}");
    assert_int_equal(cagw_read_ca(&one, &got.reply, test_pool, &got.result), APR_EINVAL);
    answer(200, "{}");
    assert_int_equal(cagw_read_cas(&cas, &got.reply, test_pool, &got.result), APR_EINVAL);
}

static void test_ca_status_and_properties(void **state)
{
    apr_array_header_t *values;
    const char *status;
    int up;

    answer(200, "{\"type\":\"CAStatusResponse\",\"status\":\"up\"}");
    assert_success(cagw_read_ca_status(&up, &status, &got.reply, test_pool, &got.result));
    assert_int_equal(up, 1);
    answer(200, "{\"status\":\"OUT_OF_SERVICE\"}");
    assert_success(cagw_read_ca_status(&up, &status, &got.reply, test_pool, &got.result));
    assert_int_equal(up, 0);
    assert_string_equal(status, "OUT_OF_SERVICE");
    answer(200, "{}");
    assert_int_equal(cagw_read_ca_status(&up, &status, &got.reply, test_pool, &got.result),
                     APR_EINVAL);
    answer(200, "{\"type\":\"CAPropertiesResponse\",\"CAPropertiesInformation\":{\"properties\":"
           "{\"defaultPolicyOIDs\":[\"1.1.1.1\",5],\"one\":\"x\"}}}");
    assert_success(cagw_read_ca_property(&values, &got.reply, "defaultPolicyOIDs", test_pool,
                                         &got.result));
    assert_int_equal(values->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(values, 0, const char *), "1.1.1.1");
    assert_success(cagw_read_ca_property(&values, &got.reply, "one", test_pool, &got.result));
    assert_int_equal(values->nelts, 1);
    assert_success(cagw_read_ca_property(&values, &got.reply, "none", test_pool, &got.result));
    assert_int_equal(values->nelts, 0);
}

/* CAGW-30: how they are written is not told, so each likely way is understood */
static void test_capabilities(void **state)
{
    answer(200, "{\"capabilities\":{\"RevokeAction\":true,\"HoldAction\":false}}");
    assert_int_equal(cagw_read_capability(&got.reply, "revokeaction"), 1);
    assert_int_equal(cagw_read_capability(&got.reply, "HoldAction"), 0);
    assert_int_equal(cagw_read_capability(&got.reply, "Recover"), -1);
    answer(200, "{\"capabilities\":[\"RevokeAction\"]}");
    assert_int_equal(cagw_read_capability(&got.reply, "RevokeAction"), 1);
    assert_int_equal(cagw_read_capability(&got.reply, "HoldAction"), 0);
    answer(200, "{\"capabilities\":[{\"name\":\"HoldAction\",\"value\":false}]}");
    assert_int_equal(cagw_read_capability(&got.reply, "HoldAction"), 0);
    answer(200, "{}");
    assert_int_equal(cagw_read_capability(&got.reply, "HoldAction"), -1);
}

/* CAGW-10 */
static void test_profiles(void **state)
{
    apr_table_t *variables = apr_table_make(test_pool, 1);
    GENERAL_NAMES *names = NULL;
    apr_array_header_t *profiles, *texts = apr_array_make(test_pool, 1, sizeof(const char *));
    cagw_enrolment_t enrolment;
    cagw_profile_t one;

    memset(&enrolment, 0, sizeof(enrolment));
    answer(200, "{\"profiles\":[{\"id\":\"a\",\"name\":\"A\"},{\"name\":\"no id\"}]}");
    assert_success(cagw_read_profiles(&profiles, &got.reply, test_pool, &got.result));
    assert_int_equal(profiles->nelts, 1);
    assert_success(cagw_check_profile(APR_ARRAY_IDX(profiles, 0, cagw_profile_t *), &enrolment,
                                      test_pool, &got.result));
    answer(200, "{\"profile\":{\"id\":\"b\",\"subjectVariableRequirements\":[{\"name\":\"cn\","
           "\"required\":true},{\"name\":\"o\",\"required\":false},{\"name\":\"ou\"}],"
           "\"subjectAltNameRequirements\":[{\"type\":\"dnsName\",\"required\":true},"
           "{\"type\":\"UserPrincipleName\",\"required\":false},"
           "{\"type\":\"aNewOne\",\"required\":true}]}}");
    assert_success(cagw_read_profile(&one, &got.reply, test_pool, &got.result));
    assert_int_equal(cagw_check_profile(&one, &enrolment, test_pool, &got.result), GH_EREFUSED);
    assert_non_null(strstr(got.result.message, "subject variable \"cn\""));
    apr_table_setn(variables, "cn", "x");
    enrolment.variables = variables;
    assert_int_equal(cagw_check_profile(&one, &enrolment, test_pool, &got.result), GH_EREFUSED);
    assert_non_null(strstr(got.result.message, "alternative name \"dnsName\""));
    enrolment.sans_from_csr = 1;
    assert_success(cagw_check_profile(&one, &enrolment, test_pool, &got.result));
    enrolment.sans_from_csr = 0;
    APR_ARRAY_PUSH(texts, const char *) = "DNS:a.example";
    assert_success(gh_san_read(&names, texts, test_pool, NULL));
    enrolment.sans = names;
    assert_success(cagw_check_profile(&one, &enrolment, test_pool, &got.result));
}

/* CAGW-15; seconds that are zero are left out by some */
static void test_intervals(void **state)
{
    apr_time_t start, end;

    assert_success(cagw_interval_parse(&start, &end, "2024-11-06T13:00Z/2025-11-06T13:00:30Z"));
    assert_int_equal(start, apr_time_from_sec(1730898000));
    assert_int_equal(end, apr_time_from_sec(1762434030));
    assert_success(cagw_interval_parse(&start, &end,
                                       "2024-11-06T13:00:00.1Z/2024-11-06T13:01:00.123456789Z"));
    assert_int_equal(cagw_interval_parse(&start, &end, "2024-11-06T13:00Z"), APR_EINVAL);
    assert_int_equal(cagw_interval_parse(&start, &end, "2024-11-06T13:00Z/P1Y"), APR_EINVAL);
    assert_int_equal(cagw_interval_parse(&start, &end, "2024-11-06T13:00Z/2024-11-06T13:00Z"),
                     APR_EINVAL);
    assert_int_equal(cagw_interval_parse(&start, &end, "/"), APR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_verdicts, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_retry_after, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_error, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_role, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_enrolled, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_chain, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_pem, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_pkcs12, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_pkcs12_of_endless_work, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_pending, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_not_enrolled, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_certificate, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_action, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_when_skipped, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_ends_of_events, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_cas, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_ca_status_and_properties, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_capabilities, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_profiles, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_intervals, setup, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
