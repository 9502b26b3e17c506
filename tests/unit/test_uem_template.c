/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Templates of what is said to a UEM: no value gets out of its place. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "fcgi/uem/uem_template.h"
#include "fcgi/uem/uem_token.h"
#include "status.h"

static apr_pool_t *pool;
static json_t *labels;

static int setup(void **state)
{
    (void)state;
    apr_pool_create(&pool, NULL);
    labels = json_pack("{s:s, s:s, s:s, s:i}", "group", "a b/c?d&e=\"f\"<g>\\h", "line",
                       "x\r\nInjected: yes", "umlaut", "\xc3\xa4", "number", 7);
    return labels == NULL;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(labels);
    apr_pool_destroy(pool);
    return 0;
}

static const char *expand(const char *text, uem_place_t place)
{
    static const unsigned char document[] = { 0, 0xff, 'd', '"' };
    uem_values_t values = {
        .profile = "11111111-2222-3333-4444-555555555555", .device = "device 1", .user = "user",
        .delivery = "0123", .labels = labels, .document = { document, sizeof(document) },
        .document_type = "application/pkcs7-mime"
    };
    uem_template_t *one;
    gh_result_t result;
    gh_bytes_t made;

    gh_result_clear(&result);
    if (uem_template_parse(&one, text, place, 1, pool, &result) != APR_SUCCESS
        || uem_template_expand(&made, one, &values, pool, &result) != APR_SUCCESS) {
        assert_string_not_equal(result.number, "");
        return apr_pstrdup(pool, result.number);
    }
    return apr_pstrmemdup(pool, (const char *)made.data, made.length);
}

static void test_places(void **state)
{
    (void)state;
    assert_string_equal(expand("/a/{{profile.uuid}}/{{device.uuid}}?x={{labels.group}}",
                               UEM_IN_URL),
                        "/a/11111111-2222-3333-4444-555555555555/device%201"
                        "?x=a%20b%2Fc%3Fd%26e%3D%22f%22%3Cg%3E%5Ch");
    assert_string_equal(expand("/{{labels.line}}", UEM_IN_URL), "/x%0D%0AInjected%3A%20yes");
    assert_string_equal(expand("{\"u\":\"{{labels.group}}\",\"l\":\"{{labels.line}}\"}",
                               UEM_IN_JSON),
                        "{\"u\":\"a b/c?d&e=\\\"f\\\"<g>\\\\h\",\"l\":\"x\\r\\nInjected: yes\"}");
    assert_string_equal(expand("<a b=\"{{labels.group}}\">{{labels.umlaut}}</a>", UEM_IN_XML),
                        "<a b=\"a b/c?d&amp;e=&quot;f&quot;&lt;g&gt;\\h\">\xc3\xa4</a>");
    assert_string_equal(expand("a {{user.uuid}} {{labels.umlaut}}", UEM_IN_HEADER),
                        "a user \xc3\xa4");
    assert_string_equal(expand("{{document.type}}:{{document.base64}}", UEM_IN_JSON),
                        "application/pkcs7-mime:AP9kIg==");
    assert_string_equal(expand("plain", UEM_IN_TEXT), "plain");
    assert_string_equal(expand("", UEM_IN_TEXT), "");
    assert_string_equal(expand("}} { {a}", UEM_IN_TEXT), "}} { {a}");
}

static void test_values_that_cannot_stand_there(void **state)
{
    (void)state;
    assert_string_equal(expand("{{labels.line}}", UEM_IN_HEADER), "GH1244");
    assert_string_equal(expand("{{labels.absent}}", UEM_IN_JSON), "GH1244");
    assert_string_equal(expand("{{labels.number}}", UEM_IN_JSON), "GH1244");
}

static void test_templates_that_are_refused(void **state)
{
    static const struct {
        const char *text;
        uem_place_t place;
        const char *number;
    } cases[] = {
        { "{{nothing}}", UEM_IN_JSON, "GH1242" },
        { "{{profile.uuid", UEM_IN_JSON, "GH1242" },
        { "{{}}", UEM_IN_JSON, "GH1242" },
        { "{{labels.}}", UEM_IN_JSON, "GH1242" },
        { "{{labels.a b}}", UEM_IN_JSON, "GH1242" },
        { "x{{document}}", UEM_IN_TEXT, "GH1242" },
        { "{{document}}", UEM_IN_URL, "GH1242" },
        { "/a b", UEM_IN_URL, "GH1243" },
        { "/\xc3\xa4", UEM_IN_URL, "GH1243" },
        { "a\nb", UEM_IN_HEADER, "GH1243" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        assert_string_equal(expand(cases[i].text, cases[i].place), cases[i].number);
    }
}

static void test_documents_where_there_are_none(void **state)
{
    uem_template_t *one;
    gh_result_t result;

    (void)state;
    gh_result_clear(&result);
    assert_int_equal(uem_template_parse(&one, "abc {{document.base64}}", UEM_IN_JSON, 0, pool,
                                        &result), APR_EINVAL);
    assert_string_equal(result.number, "GH1242");
    assert_non_null(strstr(result.message, "\"{{document.base64}}\" at character 5"));
}

static void test_body_of_bytes(void **state)
{
    static const unsigned char document[] = { 0, 1, 2 };
    uem_values_t values = { .document = { document, sizeof(document) } };
    uem_template_t *one;
    gh_bytes_t made;

    (void)state;
    assert_int_equal(uem_template_parse(&one, "{{document}}", UEM_IN_TEXT, 1, pool, NULL),
                     APR_SUCCESS);
    assert_int_equal(uem_template_expand(&made, one, &values, pool, NULL), APR_SUCCESS);
    assert_int_equal(made.length, sizeof(document));
    assert_memory_equal(made.data, document, sizeof(document));
}

static void test_types(void **state)
{
    (void)state;
    assert_int_equal(uem_place_of_type("application/json"), UEM_IN_JSON);
    assert_int_equal(uem_place_of_type("application/vnd.x+json; charset=utf-8"), UEM_IN_JSON);
    assert_int_equal(uem_place_of_type("text/xml"), UEM_IN_XML);
    assert_int_equal(uem_place_of_type("application/x-apple-aspen-config"), UEM_IN_TEXT);
}

static void test_tokens(void **state)
{
    static const char good[] = "{\"access_token\":\"abc\",\"token_type\":\"bearer\","
                               "\"expires_in\":60}";
    static const char bad[] = "{\"error\":\"invalid_client\"}";
    gh_bytes_t body = { (const unsigned char *)good, sizeof(good) - 1 };
    uem_token_t token;
    gh_result_t result;

    (void)state;
    gh_result_clear(&result);
    assert_int_equal(uem_token_read(&token, 200, body, pool, &result), APR_SUCCESS);
    assert_string_equal(token.token, "abc");
    assert_int_equal(token.lifetime, apr_time_from_sec(60));
    assert_int_equal(uem_token_read(&token, 201, body, pool, &result), GH_EUNAVAILABLE);
    body.data = (const unsigned char *)bad;
    body.length = sizeof(bad) - 1;
    assert_int_equal(uem_token_read(&token, 401, body, pool, &result), GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH1245");
    assert_non_null(strstr(result.message, "HTTP status 401, invalid_client"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_values_that_cannot_stand_there),
        cmocka_unit_test(test_templates_that_are_refused),
        cmocka_unit_test(test_documents_where_there_are_none),
        cmocka_unit_test(test_body_of_bytes),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_tokens),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, setup, teardown);
}
