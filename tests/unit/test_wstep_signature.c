/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Signed messages, right ones and wrapped ones: the corpus of the fuzz target, and changes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_wstep/wstep_signature.h"
#include "x509/own.h"

#define CORPUS TEST_SRCDIR "/tests/fuzz/corpus/wstep_signature/"
#define SKEW apr_time_from_sec(100LL * 366 * 24 * 3600)

static apr_pool_t *pool;
static gh_result_t result;

static int setup(void **state)
{
    apr_initialize();
    wstep_xml_initialise();
    return apr_pool_create(&pool, NULL) != APR_SUCCESS || !wstep_signature_initialise();
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

static const char *corpus(const char *name)
{
    gh_file_t file;

    assert_int_equal(gh_file_read(&file, apr_pstrcat(pool, CORPUS, name, NULL), pool, &result),
                     APR_SUCCESS);
    return (const char *)file.bytes.data;
}

static apr_status_t verify(const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };
    wstep_user_token_t token;
    wstep_soap_t soap;
    X509 *signer = NULL;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = wstep_soap_read(&soap, bytes, pool, &result);
    if (rv == APR_SUCCESS) {
        rv = wstep_security_read(&token, soap.security, apr_time_now(), SKEW, pool, &result);
    }
    if (rv == APR_SUCCESS) {
        rv = wstep_signature_verify(&signer, &soap, &token, pool, &result);
        assert_true((rv == APR_SUCCESS) == (signer != NULL));
    }
    return rv;
}

/** @param to what the first occurrence becomes */
static const char *change(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);

    assert_non_null(at);
    return apr_pstrcat(pool, apr_pstrmemdup(pool, text, (apr_size_t)(at - text)), to,
                       at + strlen(from), NULL);
}

static void refuse(const char *text, const char *number)
{
    assert_int_not_equal(verify(text), APR_SUCCESS);
    if (strcmp(result.number, number)) {
        fail_msg("%s: %s instead of %s", result.number, result.message, number);
    }
}

static void test_good(void **state)
{
    static const char *const names[] = { "rsa", "headers", "curve", "sha512" };
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
        if (verify(corpus(names[i])) != APR_SUCCESS) {
            fail_msg("%s: %s: %s", names[i], result.number, result.message);
        }
    }
}

static void test_wrapped(void **state)
{
    refuse(corpus("body-alone"), "GH1485");
    refuse(corpus("wrapped-in-header"), "GH1485");
    refuse(corpus("wrapped-in-object"), "GH1485");
    refuse(corpus("wrapped-in-request"), "GH1485");
    refuse(corpus("wrapped-whole-envelope"), "GH1486");
    refuse(corpus("wrapped-same-id"), "GH1486");
    refuse(corpus("wrapped-xml-id"), "GH1486");
    refuse(corpus("wrapped-second-signature"), "GH1353");
}

static void test_changed(void **state)
{
    const char *good = corpus("headers");

    refuse(change(good, "/Issue<", "/Renew<"), "GH1487");
    refuse(change(good, "<u:Created>2", "<u:Created> 2"), "GH1487");
    refuse(change(good, "<SignatureValue>", "<SignatureValue>AAAA"), "GH1487");
    refuse(change(good, "<DigestValue>", "<DigestValue>AAAA"), "GH1487");
    refuse(change(good, "rsa-sha256", "rsa-sha512"), "GH1487");
    refuse(change(good, "rsa-sha256", "ecdsa-sha256"), "GH1487");
    refuse(change(good, "rsa-sha256", "hmac-sha256"), "GH1485");
    refuse(change(good, "http://www.w3.org/2001/04/xmlenc#sha256",
                  "http://www.w3.org/2000/09/xmldsig#sha1"), "GH1485");
    refuse(change(good, "u:Id=\"_1\"", "Id=\"_1\""), "GH1485");
    refuse(change(good, "u:Id=\"_1\"", "u:ID=\"_1\""), "GH1485");
    refuse(change(good, "URI=\"#_1\"", "URI=\"\""), "GH1485");
    refuse(change(good, "URI=\"#_1\"", "URI=\"#xpointer(id('_1'))\""), "GH1485");
    refuse(change(good, "URI=\"#_1\"", "URI=\"#_1\" Type=\"x\""), "GH1485");
    refuse(change(good, "<KeyInfo>", "<KeyInfo><KeyName>x</KeyName>"), "GH1485");
    /* no part of what is signed */
    assert_int_equal(verify(change(good, "<a:MessageID>", "<a:MessageID >")), APR_SUCCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_wrapped),
        cmocka_unit_test(test_changed)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
