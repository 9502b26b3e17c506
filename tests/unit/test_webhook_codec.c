/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What is said to webhooks, and what they say. */

#include "x509_support.h"

#include <apr_strings.h>
#include <jansson.h>

#include "fcgi/webhook/webhook_codec.h"
#include "status.h"

static gh_bytes_t text_of(const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };

    return bytes;
}

static void test_sign(void **state)
{
    /* RFC 4231 4.2 */
    static const unsigned char key[20] = {
        0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b,
        0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b
    };
    gh_bytes_t secret = { key, sizeof(key) };

    assert_string_equal(webhook_sign(secret, text_of("Hi There"), test_pool),
                        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
}

static void test_read(void **state)
{
    static const struct {
        const char *body;
        int rv, allow;
        const char *reason;
    } cases[] = {
        { "{\"allow\":true}", APR_SUCCESS, 1, NULL },
        { "{\"allow\":true,\"error\":{\"message\":\"x\"}}", APR_SUCCESS, 1, NULL },
        { "{\"allow\":false}", APR_SUCCESS, 0, NULL },
        { "{\"allow\":false,\"error\":{\"code\":\"c\",\"message\":\"m\"}}", APR_SUCCESS, 0,
          "m (c)" },
        { "{\"allow\":false,\"error\":{\"message\":\"a\\nb\"}}", APR_SUCCESS, 0, "a b" },
        { "{\"allow\":false,\"error\":{\"code\":\"c\"}}", APR_SUCCESS, 0, "c" },
        { "{\"allow\":false,\"error\":\"m\"}", APR_SUCCESS, 0, NULL },
        { "{}", GH_EUNAVAILABLE, 0, NULL },
        { "", GH_EUNAVAILABLE, 0, NULL },
        { "{\"allow\":1}", GH_EUNAVAILABLE, 0, NULL },
        { "{\"allow\":\"true\"}", GH_EUNAVAILABLE, 0, NULL },
        { "[true]", GH_EUNAVAILABLE, 0, NULL },
        { "{\"allow\":false,\"allow\":true}", GH_EUNAVAILABLE, 0, NULL },
        { "{\"allow\":true} x", GH_EUNAVAILABLE, 0, NULL },
    };
    webhook_answer_t answer;
    gh_result_t result;
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        gh_result_clear(&result);
        assert_int_equal(webhook_read(&answer, text_of(cases[i].body), test_pool, &result),
                         cases[i].rv);
        assert_int_equal(answer.allow, cases[i].allow);
        if (cases[i].reason) {
            assert_string_equal(answer.reason, cases[i].reason);
        }
        else {
            assert_null(answer.reason);
        }
    }
}

static const char *member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void test_write(void **state)
{
    gh_profile_t *profile = make_profile("test-hook", NULL, "ProfileKeyUsage digitalSignature",
                                         "ProfileSubjectAltName take dns email",
                                         "ProfileValidity 30d", NULL);
    request_t content = request_for(fixture_key("rsa2048-01"), "cn=device,o=Example");
    gh_profile_context_t context = {0};
    gh_enrolment_record_t record = {
        .tenant = "acme", .issuer = "devices", .profile = "test-hook", .transaction = "1234"
    };
    gh_asked_t asked = { .record = &record };
    gh_result_t result;
    gh_bytes_t body;
    json_t *json, *request;
    gh_csr_t *csr;

    gh_result_clear(&result);
    ask(&content, "subjectAltName", "DNS:device.example.com,email:device@example.com");
    content.challenge = "seeded \"challenge\"";
    csr = make_csr(&content);
    assert_success(gh_profile_apply(&asked.plan, profile, csr, &context, test_pool, &result));
    asked.request = gh_csr_der(csr);
    assert_success(webhook_write(&body, &asked, apr_time_from_sec(1000000000), test_pool,
                                 &result));
    json = json_loadb((const char *)body.data, body.length, 0, NULL);
    assert_non_null(json);
    assert_string_equal(member(json, "timestamp"), "2001-09-09T01:46:40Z");
    assert_string_equal(member(json, "scepChallenge"), "seeded \"challenge\"");
    assert_string_equal(member(json, "scepTransactionID"), "1234");
    assert_string_equal(member(json, "provisionerName"), "acme/devices/test-hook");
    request = json_object_get(json, "x509CertificateRequest");
    assert_string_equal(member(request, "publicKeyAlgorithm"), "RSA");
    assert_string_equal(member(json_object_get(request, "subject"), "commonName"), "device");
    assert_string_equal(json_string_value(json_array_get(json_object_get(
                            json_object_get(request, "subject"), "organization"), 0)), "Example");
    assert_string_equal(json_string_value(json_array_get(json_object_get(request, "dnsNames"), 0)),
                        "device.example.com");
    assert_string_equal(json_string_value(json_array_get(json_object_get(
                            request, "emailAddresses"), 0)), "device@example.com");
    assert_null(json_object_get(request, "uris"));
    assert_int_equal(gh_base64_decode(member(request, "raw"), test_pool).length,
                     asked.request.length);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_sign, x509_test_teardown),
        cmocka_unit_test_teardown(test_read, x509_test_teardown),
        cmocka_unit_test_teardown(test_write, x509_test_teardown),
    };

    return cmocka_run_group_tests_name("webhook_codec", tests, x509_group_setup,
                                       x509_group_teardown);
}
