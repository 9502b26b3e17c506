/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Messages in whatever form they were captured. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "mod_scep/scep_capture.h"
#include "mod_scep/scep_explain.h"
#include "scep_builder.h"

#define SECRET "seeded-secret-0815"

static apr_pool_t *pool;
static EVP_PKEY *client_key;
static X509 *client, *ra;
static gh_bytes_t csr;

static int setup(void **state)
{
    apr_initialize();
    if (apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return 1;
    }
    client_key = scep_test_key("rsa2048-01", pool);
    client = scep_test_certificate(client_key, "client", NULL, NULL, 0, pool);
    ra = scep_test_certificate(scep_test_key("rsa2048-04", pool), "Test RA", NULL, NULL, 0, pool);
    csr = scep_test_csr(client_key, "client", SECRET, NULL, pool);
    return 0;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

static gh_bytes_t build(const scep_test_spec_t *spec)
{
    return scep_test_message(spec, csr, client_key, client, ra, pool);
}

static gh_bytes_t text_bytes(const char *text)
{
    return (gh_bytes_t){ (const unsigned char *)text, strlen(text) };
}

static const char *base64(gh_bytes_t der)
{
    char *text = apr_palloc(pool, der.length * 4 / 3 + 8);

    EVP_EncodeBlock((unsigned char *)text, der.data, (int)der.length);
    return text;
}

/** Every character of a set as "%XX". */
static const char *escape(const char *text, const char *set)
{
    char *escaped = apr_palloc(pool, strlen(text) * 3 + 1);
    char *to = escaped;

    for (; *text; ++text) {
        if (strchr(set, *text)) {
            to += apr_snprintf(to, 4, "%%%02X", (unsigned char)*text);
        }
        else {
            *to++ = *text;
        }
    }
    *to = '\0';
    return escaped;
}

/** Lines of 64 characters behind an indent. */
static const char *wrapped(const char *text, const char *indent, const char *end)
{
    const char *all = "";

    while (*text) {
        apr_size_t length = strlen(text) < 64 ? strlen(text) : 64;
        all = apr_pstrcat(pool, all, indent, apr_pstrmemdup(pool, text, length), end, NULL);
        text += length;
    }
    return all;
}

/* Forms */

static void captured(const char *text, gh_bytes_t der, const char *form, const char *path)
{
    scep_capture_t capture;
    gh_result_t result;

    gh_result_clear(&result);
    if (scep_capture_read(&capture, text_bytes(text), pool, &result) != APR_SUCCESS) {
        fail_msg("%s %s: %.200s", result.number, result.message, text);
    }
    assert_string_equal(capture.form, form);
    assert_int_equal(capture.der.length, der.length);
    assert_memory_equal(capture.der.data, der.data, der.length);
    if (path) {
        assert_non_null(capture.path);
        assert_string_equal(capture.path, path);
    }
    else {
        assert_null(capture.path);
    }
    assert_int_equal(ERR_peek_error(), 0);
}

/** A message whose base64 has "+" and padding, so that escaping matters. */
static gh_bytes_t awkward(void)
{
    scep_test_spec_t spec = { .transaction = "t" };
    int i;

    for (i = 1; i < 64; ++i) {
        gh_bytes_t der;
        const char *text;

        spec.nonce_length = i;
        der = build(&spec);
        text = base64(der);
        if (strchr(text, '+') && strchr(text, '/') && strchr(text, '=')) {
            return der;
        }
    }
    fail_msg("no such message");
    return csr;
}

static void test_forms(void **state)
{
    gh_bytes_t der = awkward();
    const char *text = base64(der);
    scep_capture_t capture;

    assert_int_equal(scep_capture_read(&capture, der, pool, NULL), APR_SUCCESS);
    assert_string_equal(capture.form, "DER");
    assert_ptr_equal(capture.der.data, der.data);
    captured(text, der, "base64", NULL);
    captured(wrapped(text, "", "\n"), der, "base64", NULL);
    captured(wrapped(text, "    ", " \r\n"), der, "base64", NULL);
    captured(escape(text, "+/="), der, "base64", NULL);
    captured(apr_pstrcat(pool, "-----BEGIN PKCS7-----\n", wrapped(text, "", "\n"),
                         "-----END PKCS7-----\n", NULL), der, "PEM", NULL);
    captured(apr_pstrcat(pool, "a line before\n-----BEGIN CMS-----\n", wrapped(text, "", "\n"),
                         "-----END CMS-----\n", NULL), der, "PEM", NULL);
}

static void test_urls(void **state)
{
    gh_bytes_t der = awkward();
    const char *text = base64(der);
    const char *states[] = {
        text, escape(text, "+/="), escape(text, "="), escape(wrapped(text, "", "\n"), "+/=\n"),
        apr_pstrmemdup(pool, text, strcspn(text, "=")), NULL, NULL
    };
    char *blanks = apr_pstrdup(pool, text);         /* a plus sign that was decoded */
    char *plus;
    int i;

    for (plus = blanks; (plus = strchr(plus, '+')) != NULL;) {
        *plus = ' ';
    }
    states[5] = blanks;
    for (i = 0; states[i]; ++i) {
        const char *query = apr_pstrcat(pool, "operation=PKIOperation&message=", states[i], NULL);
        const char *other = apr_pstrcat(pool, "x=1&message=", states[i], "&operation=PKIOperation",
                                        NULL);

        captured(query, der, "URL", NULL);
        captured(other, der, "URL", NULL);
        captured(apr_pstrcat(pool, "message=", states[i], NULL), der, "URL", NULL);
        captured(apr_pstrcat(pool, "http://pki.example:8080/scep/acme/devices/mobile?", query, "\n",
                             NULL), der, "URL", "/scep/acme/devices/mobile");
        captured(apr_pstrcat(pool, "/scep/acme/devices/mobile/cgi-bin/pkiclient.exe?", other, NULL),
                 der, "URL", "/scep/acme/devices/mobile");
        captured(apr_pstrcat(pool, "/certsrv/mscep?", query, NULL), der, "URL", NULL);
        captured(apr_pstrcat(pool, "192.0.2.1 - - [20/Nov/2026:10:00:00 +0000] \"GET "
                             "/scep/acme/devices/mobile/pkiclient.exe?", query,
                             " HTTP/1.1\" 200 1234 \"-\" \"agent\"\n", NULL),
                 der, "URL", "/scep/acme/devices/mobile");
        captured(apr_pstrcat(pool, "{\"uri\":\"/scep/a/b/c?", other, "\",\"status\":200}", NULL),
                 der, "URL", "/scep/a/b/c");
    }
    captured(apr_pstrcat(pool, "/scep/a/b/c?operation=PKIOperation&message=", escape(text, "+/="),
                         " 200 1234", NULL), der, "URL", "/scep/a/b/c");
}

/** @param number expected */
static void not_captured(gh_bytes_t input, const char *number)
{
    scep_explanation_t *explanation;
    scep_capture_t capture;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = scep_capture_read(&capture, input, pool, &result);
    if (rv == APR_SUCCESS) {
        rv = scep_explain(&explanation, capture.der, pool, &result);
    }
    assert_int_equal(rv, APR_EINVAL);
    assert_string_equal(result.number, number);
    assert_true(*result.action);
    assert_null(strstr(result.message, SECRET));
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_no_message(void **state)
{
    scep_test_spec_t proper = { .type = NULL };
    gh_bytes_t der = build(&proper);
    gh_bytes_t longer = { apr_pcalloc(pool, der.length + 1), der.length + 1 };
    unsigned char noise[300];
    unsigned i;

    for (i = 0; i < sizeof(noise); ++i) {
        noise[i] = (unsigned char)(i * 7 + 1);
    }
    memcpy((unsigned char *)longer.data, der.data, der.length);
    not_captured(text_bytes(""), "GH0420");
    not_captured(text_bytes("\n\n"), "GH0420");
    not_captured(text_bytes(SECRET), "GH0420");
    not_captured(text_bytes("The message cannot be read: " SECRET "\n"), "GH0420");
    not_captured((gh_bytes_t){ noise, sizeof(noise) }, "GH0420");
    not_captured((gh_bytes_t){ (const unsigned char *)apr_pcalloc(pool, SCEP_CAPTURE_MAX + 1),
                               SCEP_CAPTURE_MAX + 1 }, "GH0420");
    not_captured(text_bytes("-----BEGIN PRIVATE KEY-----\nc2VlZGVk\n-----END PRIVATE KEY-----\n"),
                 "GH0421");
    not_captured(text_bytes("-----BEGIN PKCS7-----\n" SECRET "\n"), "GH0420");
    not_captured(text_bytes("/scep/a/b/c?operation=GetCACaps&message=" SECRET), "GH0422");
    not_captured(text_bytes("/scep/a/b/c?operation=PKIOperation&message=" SECRET), "GH0216");
    not_captured(text_bytes("/scep/a/b/c?operation=PKIOperation&message=" SECRET " 200"),
                 "GH0216");
    not_captured((gh_bytes_t){ der.data, der.length - 1 }, "GH0423");
    not_captured(longer, "GH0423");
    not_captured(text_bytes(apr_pstrmemdup(pool, base64(der), 1000)), "GH0423");
    not_captured(text_bytes("MIIBAAAA"), "GH0423");
}

/** What some clients write to files. */
static void test_bare_envelope(void **state)
{
    scep_test_spec_t proper = { .type = NULL };
    const ASN1_OCTET_STRING *content;
    scep_explanation_t *explanation;

    assert_int_equal(scep_explain(&explanation, build(&proper), pool, NULL), APR_SUCCESS);
    content = *CMS_get0_content(explanation->message->outer);
    not_captured((gh_bytes_t){ ASN1_STRING_get0_data(content),
                               (apr_size_t)ASN1_STRING_length(content) }, "GH0427");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_no_message),
        cmocka_unit_test(test_bare_envelope),
    };

    return cmocka_run_group_tests_name("scep capture", tests, setup, teardown);
}
