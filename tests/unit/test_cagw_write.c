/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a CA gateway is asked. */

#include "x509_support.h"

#include <apr_strings.h>
#include <jansson.h>
#include <openssl/pem.h>

#include "fcgi/ca/cagw_codec.h"
#include "store/certificates.h"
#include "x509/name.h"
#include "x509/san.h"

static struct {
    cagw_enrolment_t enrolment;
    cagw_spelling_t spelling;
    gh_result_t result;
    json_t *json;
} asked;

static int setup(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "CN=a.example");

    memset(&asked, 0, sizeof(asked));
    cagw_spelling_default(&asked.spelling);
    asked.enrolment.profile = "theirs";
    asked.enrolment.request = request_der(build_request(&request));
    return 0;
}

static int teardown(void **state)
{
    json_decref(asked.json);
    return x509_test_teardown(state);
}

static apr_status_t try_write(void)
{
    gh_bytes_t body;
    apr_status_t rv;

    gh_result_clear(&asked.result);
    rv = cagw_write_enrolment(&body, &asked.enrolment, &asked.spelling, test_pool, &asked.result);
    if (rv == APR_SUCCESS) {
        json_decref(asked.json);
        asked.json = json_loadb((const char *)body.data, body.length, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(asked.json);
        assert_null(memchr(body.data, '\n', body.length));
    }
    return rv;
}

static const char *text(const char *path, ...)
{
    json_t *at = asked.json;
    va_list names;
    const char *name;

    va_start(names, path);
    for (name = path; name; name = va_arg(names, const char *)) {
        at = json_is_array(at) ? json_array_get(at, (size_t)(*name - '0'))
            : json_object_get(at, name);
    }
    va_end(names);
    return json_is_string(at) ? json_string_value(at) : NULL;
}

#define OPTIONAL "optionalCertificateRequestDetails"

static GENERAL_NAMES *names_of(const char *first, ...)
{
    apr_array_header_t *texts = apr_array_make(test_pool, 8, sizeof(const char *));
    GENERAL_NAMES *names;
    va_list rest;
    const char *one;

    va_start(rest, first);
    for (one = first; one; one = va_arg(rest, const char *)) {
        APR_ARRAY_PUSH(texts, const char *) = one;
    }
    va_end(rest);
    assert_success(gh_san_read(&names, texts, test_pool, NULL));
    return names;
}

/* CAGW-11, CAGW-13: nothing but what is configured */
static void test_plain(void **state)
{
    char *written;
    const char *csr;

    assert_success(try_write());
    assert_string_equal(text("profileId", NULL), "theirs");
    assert_string_equal(text("requiredFormat", "format", NULL), "X509");
    csr = text("csr", NULL);
    assert_memory_equal(csr, "MI", 2);
    assert_null(strpbrk(csr, "\r\n -"));
    assert_int_equal(json_object_size(asked.json), 3);
    written = json_dumps(asked.json, 0);
    assert_null(strstr(written, "protection"));
    free(written);
}

static void test_armour_is_taken_off(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "CN=a.example");
    X509_REQ *built = build_request(&request);
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem, *whole;
    const char *csr;

    asked.enrolment.request = request_der(built);
    assert_success(try_write());
    csr = apr_pstrdup(test_pool, text("csr", NULL));
    assert_int_equal(PEM_write_bio_X509_REQ(bio, built), 1);
    asked.enrolment.request.length = (apr_size_t)BIO_get_mem_data(bio, &pem);
    whole = apr_pstrmemdup(test_pool, pem, asked.enrolment.request.length);
    asked.enrolment.request.data = (const unsigned char *)whole;
    BIO_free(bio);
    assert_success(try_write());
    assert_string_equal(text("csr", NULL), csr);
}

static void test_no_request(void **state)
{
    gh_bytes_t whole = asked.enrolment.request;

    asked.enrolment.request.length = 0;
    assert_int_equal(try_write(), APR_EINVAL);
    assert_string_equal(asked.result.number, "GH0821");
    asked.enrolment.request.data = whole.data;
    asked.enrolment.request.length = whole.length - 1;
    assert_int_equal(try_write(), APR_EINVAL);
}

static void test_all_members(void **state)
{
    apr_table_t *variables = apr_table_make(test_pool, 2);
    apr_table_t *properties = apr_table_make(test_pool, 2);

    apr_table_setn(variables, "First Name", "PKI");
    apr_table_setn(variables, "Last Name", "Test");
    apr_table_setn(properties, "requesterEmail", "pki@example");
    asked.enrolment.subject = "CN=a.example,O=Acme";
    asked.enrolment.previous_subject = "CN=old";
    asked.enrolment.sans_from_csr = 1;
    asked.enrolment.include_ca = 1;
    asked.enrolment.variables = variables;
    asked.enrolment.properties = properties;
    asked.enrolment.properties_prefix = "tracking.";
    assert_success(try_write());
    assert_string_equal(text(OPTIONAL, "subjectDn", NULL), "CN=a.example,O=Acme");
    assert_true(json_is_true(json_object_get(json_object_get(asked.json, OPTIONAL),
                                             "useSANFromCSR")));
    assert_true(json_is_true(json_object_get(asked.json, "includeCa")));
    assert_string_equal(text("previousSubjectDn", NULL), "CN=old");
    assert_string_equal(text("subjectVariables", "0", "type", NULL), "First Name");
    assert_string_equal(text("subjectVariables", "1", "value", NULL), "Test");
    /* CAGW-37 */
    assert_string_equal(text("properties", "tracking.requesterEmail", NULL), "pki@example");
}

static void test_names(void **state)
{
    static const char *const expected[][2] = {
        { "dNSName", "a.example" }, { "rfc822Name", "a@example.com" }, { "iPAddress", "192.0.2.1" },
        { "uniformResourceIdentifier", "urn:a:b" }, { "registeredID", "1.2.3" },
        { "UserPrincipalName", "a@corp.example" }, { "directoryName", "CN=a,O=b" }
    };
    char index[2] = "0";
    int i;

    asked.enrolment.sans = names_of("DNS:a.example", "email:a@example.com", "IP:192.0.2.1",
                                    "URI:urn:a:b", "RID:1.2.3", "UPN:a@corp.example",
                                    "dirName:CN=a,O=b", NULL);
    assert_success(try_write());
    for (i = 0; i < 7; ++i) {
        index[0] = (char)('0' + i);
        assert_string_equal(text("subjectAltNames", index, "type", NULL), expected[i][0]);
        assert_string_equal(text("subjectAltNames", index, "value", NULL), expected[i][1]);
    }
    assert_null(text("subjectAltNames", "7", "type", NULL));
    asked.enrolment.sans = names_of("IP:2001:db8::1", NULL);
    assert_success(try_write());
    assert_string_equal(text("subjectAltNames", "0", "value", NULL), "2001:db8::1");
}

/* A name that has no type of its own goes as DER */
static void test_other_name(void **state)
{
    static const unsigned char der[] = {
        0xa0, 0x0a, 0x06, 0x03, 0x2a, 0x03, 0x04, 0xa0, 0x03, 0x0c, 0x01, 'x'
    };
    const unsigned char *at = der;
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();

    sk_GENERAL_NAME_push(names, d2i_GENERAL_NAME(NULL, &at, sizeof(der)));
    asked.enrolment.sans = names;
    assert_success(try_write());
    assert_string_equal(text("subjectAltNames", "0", "type", NULL), "otherName");
    assert_string_equal(text("subjectAltNames", "0", "der", NULL), "oAoGAyoDBKADDAF4");
    assert_null(text("subjectAltNames", "0", "value", NULL));
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
}

static void test_long_subject(void **state)
{
    char *subject = apr_pcalloc(test_pool, 1100);

    memset(subject, 'a', 1050);
    memcpy(subject, "CN=", 3);
    asked.enrolment.subject = subject;
    assert_int_equal(try_write(), APR_EINVAL);
    assert_non_null(strstr(asked.result.message, "too long"));
}

/* CAGW-12: the password is there for a PKCS#12, and only for that */
static void test_formats(void **state)
{
    asked.enrolment.password = "pass/word \xc3\xa4";
    asked.enrolment.format = CAGW_AS_PEM;
    assert_success(try_write());
    assert_string_equal(text("requiredFormat", "format", NULL), "PEM");
    assert_null(json_object_get(json_object_get(asked.json, "requiredFormat"), "protection"));
    asked.enrolment.format = CAGW_AS_PKCS12;
    assert_success(try_write());
    assert_string_equal(text("requiredFormat", "format", NULL), "PKCS12");
    assert_string_equal(text("requiredFormat", "protection", "type", NULL), "PasswordProtection");
    assert_string_equal(text("requiredFormat", "protection", "password", NULL),
                        "pass/word \xc3\xa4");
    asked.enrolment.password = NULL;
    assert_int_equal(try_write(), APR_EINVAL);
    assert_non_null(strstr(asked.result.message, "password"));
}

/* CAGW-14 */
static void test_validity(void **state)
{
    assert_string_equal(cagw_duration(apr_time_from_sec(30 * 86400), test_pool), "P30D");
    assert_string_equal(cagw_duration(apr_time_from_sec(129600), test_pool), "PT129600S");
    asked.enrolment.not_before = apr_time_from_sec(1767225600);
    asked.enrolment.not_after = apr_time_from_sec(1798761600);
    assert_success(try_write());
    assert_string_equal(text(OPTIONAL, "validityPeriod", NULL),
                        "2026-01-01T00:00:00Z/2027-01-01T00:00:00Z");
    asked.spelling.validity = "validity_period";
    asked.enrolment.not_before = 0;
    asked.enrolment.duration = "P30D";
    assert_success(try_write());
    assert_string_equal(text(OPTIONAL, "validity_period", NULL), "P30D");
    assert_null(text(OPTIONAL, "validityPeriod", NULL));
}

static void test_extensions(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "CN=a");

    ask(&request, "extendedKeyUsage", "critical,1.3.6.1.5.5.7.3.8");
    ask(&request, "keyUsage", "digitalSignature");
    ask(&request, "basicConstraints", "CA:FALSE");
    ask(&request, "subjectAltName", "DNS:a.example");
    asked.enrolment.extensions = request.extensions;
    assert_success(try_write());
    assert_string_equal(text(OPTIONAL, "extensions", "0", "oid", NULL), "2.5.29.37");
    assert_string_equal(text(OPTIONAL, "extensions", "0", "value", NULL), "1.3.6.1.5.5.7.3.8");
    assert_true(json_is_true(json_object_get(json_array_get(json_object_get(json_object_get(
        asked.json, OPTIONAL), "extensions"), 0), "critical")));
    assert_string_equal(text(OPTIONAL, "extensions", "1", "oid", NULL), "2.5.29.15");
    assert_string_equal(text(OPTIONAL, "extensions", "1", "value", NULL), "AwIHgA==");
    /* what a CA refuses in a request, and names, are not among them */
    assert_null(text(OPTIONAL, "extensions", "2", "oid", NULL));
}

static void test_forbidden_extensions_only(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "CN=a");

    ask(&request, "subjectKeyIdentifier", "00:11");
    asked.enrolment.extensions = request.extensions;
    assert_success(try_write());
    assert_null(json_object_get(asked.json, OPTIONAL));
}

static json_t *action_of(cagw_action_t action, int reason, const char *comment, int crl)
{
    gh_bytes_t body;

    assert_success(cagw_write_action(&body, action, reason, comment, crl, test_pool, NULL));
    json_decref(asked.json);
    asked.json = json_loadb((const char *)body.data, body.length, 0, NULL);
    return json_object_get(asked.json, "action");
}

/* CAGW-22, CAGW-23, CAGW-26: issueCrl is a text, and only there when wanted */
static void test_actions(void **state)
{
    json_t *action = action_of(CAGW_REVOKE, 1, "lost", 1);

    assert_string_equal(json_string_value(json_object_get(action, "type")), "RevokeAction");
    assert_string_equal(json_string_value(json_object_get(action, "reason")), "keyCompromise");
    assert_string_equal(json_string_value(json_object_get(action, "comment")), "lost");
    assert_string_equal(json_string_value(json_object_get(action, "issueCrl")), "true");
    action = action_of(CAGW_HOLD, 6, NULL, 0);
    assert_string_equal(json_string_value(json_object_get(action, "type")), "HoldAction");
    assert_string_equal(json_string_value(json_object_get(action, "reason")), "certificateHold");
    assert_int_equal(json_object_size(action), 2);
    action = action_of(CAGW_RELEASE, 6, NULL, 0);
    assert_string_equal(json_string_value(json_object_get(action, "type")), "UnholdAction");
    assert_int_equal(json_object_size(action), 1);
    action = action_of(CAGW_REVOKE, GH_REASON_NONE, NULL, 0);
    assert_int_equal(json_object_size(action), 1);
}

/* CAGW-25 */
static void test_reasons(void **state)
{
    static const char *const names[] = {
        "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
        "cessationOfOperation", "certificateHold", NULL, "removeFromCRL", "privilegeWithdrawn",
        "aACompromise"
    };
    int i;

    for (i = 0; i <= 10; ++i) {
        if (names[i]) {
            assert_string_equal(cagw_reason_name(i), names[i]);
            assert_int_equal(cagw_reason_parse(names[i]), i);
        }
    }
    assert_null(cagw_reason_name(7));
    assert_null(cagw_reason_name(11));
    assert_int_equal(cagw_reason_parse("caCompromise"), 2);
    assert_int_equal(cagw_reason_parse("somethingNew"), GH_REASON_NONE);
    assert_int_equal(cagw_reason_parse(NULL), GH_REASON_NONE);
}

static void test_serials(void **state)
{
    static const unsigned char bytes[] = { 0x0a, 0xbc, 0x01 }, plain[] = { 0x11 };
    gh_bytes_t serial = { bytes, sizeof(bytes) };
    apr_array_header_t *spellings = cagw_serial_spellings(serial, test_pool);

    assert_int_equal(spellings->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(spellings, 0, const char *), "0abc01");
    assert_string_equal(APR_ARRAY_IDX(spellings, 1, const char *), "ABC01");
    serial.data = plain;
    serial.length = 1;
    assert_int_equal(cagw_serial_spellings(serial, test_pool)->nelts, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_armour_is_taken_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_request, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_subject, setup, teardown),
        cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_validity, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extensions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forbidden_extensions_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_actions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reasons, setup, teardown),
        cmocka_unit_test_setup_teardown(test_serials, setup, teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
