/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Digital IDs: names, templates, and what no value may do. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_scep/scep_digital.h"
#include "mod_scep/scep_url.h"
#include "x509/name.h"

static apr_pool_t *pool;

static int setup(void **state)
{
    apr_initialize();
    return apr_pool_create(&pool, NULL) != APR_SUCCESS;
}

static int teardown(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

static void test_names(void **state)
{
    static const char *const good[] = {
        "abcd", "Mobile Devices", "a_b-c 1", "0123",
        "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd", NULL
    };
    static const char *const bad[] = {
        "", "abc", " abcd", "abcd ", "ab/cd", "ab.cd", "ab~cd", "ab\tcd", "b\xc3\xa4ume", "ab:cd",
        "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcde", NULL
    };
    int i;

    for (i = 0; good[i]; ++i) {
        assert_true(scep_digital_name_valid(good[i]));
    }
    for (i = 0; bad[i]; ++i) {
        assert_false(scep_digital_name_valid(bad[i]));
    }
}

static void test_paths(void **state)
{
    static const char *const good[] = {
        "/scep/acme/Mobile Devices/mdm", "/scep/acme/Mobile Devices/mdm/",
        "/scep/acme/Mobile Devices/mdm/nop", "/scep/acme/Mobile Devices/mdm/pkiclient.exe", NULL
    };
    static const char *const bad[] = {
        "/scep/acme/Mobile Devices", "/scep/acme/Mobile Devices/", "/scep/acme/abc/mdm",
        "/scep/acme/Mobile Devices/MDM", "/scep/acme/Mobile Devices/mdmx",
        "/scep/acme/Mobile Devices/mdm/x", "/scep//Mobile Devices/mdm", "/scep/ac me/Mobile/mdm",
        "/scep/acme/Mobile Devices/mdm//", "/scep", "", "/scep/acme/devices/mdm/mdm", NULL
    };
    scep_url_mdm_t url;
    scep_url_t other;
    int i;

    for (i = 0; good[i]; ++i) {
        assert_int_equal(scep_url_parse_mdm(&url, good[i], pool), APR_SUCCESS);
        assert_string_equal(url.tenant, "acme");
        assert_string_equal(url.digital_id, "Mobile Devices");
        assert_int_equal(scep_url_parse(&other, good[i], pool), APR_NOTFOUND);
    }
    for (i = 0; bad[i]; ++i) {
        assert_int_equal(scep_url_parse_mdm(&url, bad[i], pool), APR_NOTFOUND);
    }
}

static void test_checks(void **state)
{
    static const char *const good[] = {
        "cn=<firstname> <lastname>", "cn=<device:lower>,ou=<group:default=Staff>", "uid=<a>+cn=<b>",
        "c=<country:upper>,cn=<cn>", "cn=<a:upper:default=b c>", NULL
    };
    static const char *const bad[] = {
        "cn=device", "", "<a>", "cn=<a", "cn=a>", "cn=<>", "cn=<a b>", "cn=<a:title>",
        "cn=<a:default=>", "nonsense=<a>", "cn=<a>,", "cn=<a:upper:lower>", NULL
    };
    int i;

    for (i = 0; good[i]; ++i) {
        assert_null(scep_digital_check_rdn(good[i], pool));
    }
    for (i = 0; bad[i]; ++i) {
        assert_non_null(scep_digital_check_rdn(bad[i], pool));
    }
    assert_null(scep_digital_check_parent("ou=Devices,o=Example,c=DE", pool));
    assert_non_null(scep_digital_check_parent("Devices", pool));
    assert_non_null(scep_digital_check_parent("", pool));
    assert_null(scep_digital_check_name("email", "<mail>", pool));
    assert_null(scep_digital_check_name("DNS", "<host>.example", pool));
    assert_non_null(scep_digital_check_name("dirname", "cn=<a>", pool));
    assert_non_null(scep_digital_check_name("email", "<mail", pool));
    assert_non_null(scep_digital_check_name("email", "", pool));
}

/* Filling */

static scep_digital_t digital_of(const char *rdn, const char *parent)
{
    scep_digital_t digital = { .name = "Test", .rdn = rdn, .parent = parent };

    digital.names = apr_array_make(pool, 2, sizeof(scep_digital_name_t));
    return digital;
}

static void add_name(scep_digital_t *digital, const char *type, const char *text)
{
    scep_digital_name_t name = { type, text };

    APR_ARRAY_PUSH(digital->names, scep_digital_name_t) = name;
}

/* @return the subject, or the number of the refusal */
static const char *made(const scep_digital_t *digital, const char *name, const char *value)
{
    apr_table_t *values = apr_table_make(pool, 2);
    apr_array_header_t *sans;
    const char *subject, *normal;
    gh_result_t result;

    gh_result_clear(&result);
    apr_table_set(values, name, value);
    return scep_digital_make(&subject, &sans, &normal, digital, values, pool, &result)
               == APR_SUCCESS ? subject : apr_pstrcat(pool, result.number, " ", result.message,
                                                      NULL);
}

static void test_subjects(void **state)
{
    scep_digital_t digital = digital_of("cn=<name>", "ou=Devices,o=Example");

    assert_string_equal(made(&digital, "name", "Anna"), "CN=Anna,OU=Devices,O=Example");
    assert_string_equal(made(&digital, "NAME", "Anna"), "CN=Anna,OU=Devices,O=Example");
    digital = digital_of("cn=<name:upper>,uid=<name:lower>", NULL);
    assert_string_equal(made(&digital, "name", "Anna"), "CN=ANNA,UID=anna");
    digital = digital_of("cn=<name>,ou=<group:default=Staff, all>", NULL);
    assert_string_equal(made(&digital, "name", "a"), "CN=a,OU=Staff\\, all");
    assert_true(!strncmp(made(&digital, "group", "x"), "GH0988", 6));
    assert_non_null(strstr(made(&digital, "group", "x"), "<name>"));
    assert_non_null(strstr(made(&digital, "name", ""), "<name>"));
    assert_true(!strncmp(made(&digital, "other", "x"), "GH0989", 6));
    assert_true(!strncmp(made(&digital, "name", "a\nb"), "GH0990", 6));
    assert_true(!strncmp(made(&digital, "name", apr_psprintf(pool, "%0257d", 0)), "GH0990", 6));
    /* longer than a common name may be */
    assert_true(!strncmp(made(&digital, "name", apr_psprintf(pool, "%0100d", 0)), "GH0991", 6));
}

/* Whatever a value is, it is the value of the one attribute, all of it. */
static void test_injection(void **state)
{
    static const char *const values[] = {
        "a,ou=Admins", "a+ou=Admins", "a\\,ou=Admins", "a\\", "\\", "\\2c", "a\"b", "\"a,b\"",
        "a<b>", "<name>", "a;b", "#0403", "#", " a ", "  ", "a=b", "a\\+b", "a/b", "cn=x,o=y",
        "\xc3\xa4,o=\xc3\xb6", NULL
    };
    scep_digital_t digital = digital_of("cn=<name>", "o=Example");
    int i;

    for (i = 0; values[i]; ++i) {
        const char *subject = made(&digital, "name", values[i]);
        X509_NAME *name;
        unsigned char *text;
        int length;

        assert_int_equal(gh_name_parse(&name, subject, pool, NULL), APR_SUCCESS);
        assert_int_equal(X509_NAME_entry_count(name), 2);
        assert_int_equal(X509_NAME_ENTRY_set(X509_NAME_get_entry(name, 1)), 1);
        length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, 1)));
        assert_int_equal(length, strlen(values[i]));
        assert_memory_equal(text, values[i], (size_t)length);
        OPENSSL_free(text);
    }
}

static void test_alternative_names(void **state)
{
    scep_digital_t digital = digital_of("cn=<name>", NULL);
    apr_table_t *values = apr_table_make(pool, 2);
    const apr_array_header_t *variables;
    apr_array_header_t *sans;
    const char *subject, *normal;
    gh_result_t result;

    add_name(&digital, "email", "<mail>");
    add_name(&digital, "dns", "<name:lower>.<domain:default=example>");
    variables = scep_digital_variables(&digital, pool);
    assert_int_equal(variables->nelts, 3);
    assert_string_equal(APR_ARRAY_IDX(variables, 1, scep_digital_variable_t).name, "mail");
    assert_true(APR_ARRAY_IDX(variables, 1, scep_digital_variable_t).required);
    assert_false(APR_ARRAY_IDX(variables, 2, scep_digital_variable_t).required);

    apr_table_set(values, "name", "Host");
    gh_result_clear(&result);
    assert_int_not_equal(scep_digital_make(&subject, &sans, &normal, &digital, values, pool,
                                           &result), APR_SUCCESS);
    assert_string_equal(result.number, "GH0988");
    assert_non_null(strstr(result.message, "<mail>"));
    apr_table_set(values, "mail", "a@b.example");
    assert_int_equal(scep_digital_make(&subject, &sans, &normal, &digital, values, pool, &result),
                     APR_SUCCESS);
    assert_string_equal(normal, "[\"DNS:host.example\",\"email:a@b.example\"]");
    assert_int_equal(sans->nelts, 2);
    apr_table_set(values, "name", "no host");
    assert_int_not_equal(scep_digital_make(&subject, &sans, &normal, &digital, values, pool,
                                           &result), APR_SUCCESS);
    assert_string_equal(result.number, "GH0992");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_subjects),
        cmocka_unit_test(test_injection),
        cmocka_unit_test(test_alternative_names),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
