/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_file_io.h>
#include <apr_general.h>
#include <apr_strings.h>

#include "mod_gatehouse/gatehouse_values.h"
#include "x509/profile.h"

static apr_pool_t *pool;

static void test_public_url(void **state)
{
    static const char *const right[] = {
        "http://pki.example.com", "https://pki.example.com", "http://pki.example.com:8080",
        "http://pki.example.com/pki", "http://192.0.2.1", "http://[2001:db8::1]:8080",
    };
    static const char *const wrong[] = {
        "", "/", "pki.example.com", "ftp://pki.example.com", "HTTP//pki", "http://", "http:///crl",
        "http://pki.example.com/", "http://pki.example.com/pki/", "http://pki.example.com?x",
        "http://pki.example.com#x", "http://user@pki.example.com", "http://u:p@pki.example.com",
        "http://pki.example.com/a b", "http://pki.example.com/\n",
        "http://pki.example.com/\xc3\xa4",
        "http://pki.example.com/<x>", "http://pki.example.com/\"",
    };
    size_t i;

    for (i = 0; i < sizeof(right) / sizeof(right[0]); ++i) {
        assert_null(gatehouse_public_url_fault(right[i], pool));
    }
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); ++i) {
        assert_non_null(gatehouse_public_url_fault(wrong[i], pool));
    }
}

static void test_node(void **state)
{
    assert_true(gatehouse_node_valid("web1.example.com"));
    assert_true(gatehouse_node_valid("a"));
    assert_true(gatehouse_node_valid("0123456789012345678901234567890123456789012345678901234567"
                                     "890123"));
    assert_false(gatehouse_node_valid("0123456789012345678901234567890123456789012345678901234567"
                                      "8901234"));
    assert_false(gatehouse_node_valid(""));
    assert_false(gatehouse_node_valid("a b"));
    assert_false(gatehouse_node_valid("a:1"));
    assert_false(gatehouse_node_valid("a\n"));
}

static void test_path_covers(void **state)
{
    static const struct {
        const char *prefix, *path;
        int covers;
    } cases[] = {
        { "/scep", "/scep", 1 },
        { "/scep", "/scep/acme/devices/x", 1 },
        { "/scep/acme", "/scep/acme/devices/x", 1 },
        { "/scep/", "/scep/acme", 1 },
        { "/", "/scep/acme", 1 },
        { "/scep", "/scepter/acme", 0 },
        { "/scep/acm", "/scep/acme/devices/x", 0 },
        { "/scep/acme/", "/scep/acme", 0 },
        { "/scep/acme", "/scep", 0 },
        { "/Scep", "/scep/acme", 0 },
        { "", "/scep", 0 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        assert_int_equal(gatehouse_path_covers(cases[i].prefix, cases[i].path), cases[i].covers);
    }
}

static void test_path_file(void **state)
{
    static const char *const wrong[] = {
        "", "/", "/crl", "/crl/", "/crl/devices", "/crl/devices.", "/crl/.crl", "/a.crl/devices",
    };
    const char *name, *extension;
    size_t i;

    assert_true(gatehouse_path_file("/crl/devices.crl", pool, &name, &extension));
    assert_string_equal(name, "devices");
    assert_string_equal(extension, "crl");
    assert_true(gatehouse_path_file("devices.pem", pool, &name, &extension));
    assert_string_equal(name, "devices");
    assert_true(gatehouse_path_file("/a.b/c.d.e", pool, &name, &extension));
    assert_string_equal(name, "c.d");
    assert_string_equal(extension, "e");
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); ++i) {
        assert_false(gatehouse_path_file(wrong[i], pool, &name, &extension));
    }
}

static void test_crl_max_age(void **state)
{
    apr_time_t now = apr_time_from_sec(1700000000);

    /* a revocation is in the CRL after the delay: nobody may keep an older one longer than that */
    assert_int_equal(gatehouse_crl_max_age(now, now + apr_time_from_sec(7 * 86400),
                                           apr_time_from_sec(60)), 60);
    assert_int_equal(gatehouse_crl_max_age(now, now + apr_time_from_sec(100),
                                           apr_time_from_sec(60)), 50);
    assert_int_equal(gatehouse_crl_max_age(now, now + apr_time_from_sec(1),
                                           apr_time_from_sec(60)), 0);
    assert_int_equal(gatehouse_crl_max_age(now, now, apr_time_from_sec(60)), 0);
    assert_int_equal(gatehouse_crl_max_age(now, now - apr_time_from_sec(100),
                                           apr_time_from_sec(60)), 0);
    assert_int_equal(gatehouse_crl_max_age(now, now + apr_time_from_sec(100), 0), 0);
}

static void test_printable(void **state)
{
    assert_string_equal(gatehouse_printable(pool, "abc-123", 128), "abc-123");
    assert_string_equal(gatehouse_printable(pool, "a\r\nb\x7f\xc3\xa4", 128), "a??b???");
    assert_string_equal(gatehouse_printable(pool, "abcdef", 3), "abc");
    assert_string_equal(gatehouse_printable(pool, "", 3), "");
}

/* httpd knows the directives of profiles from a table of its own, which has to be the library's. */
static void test_profile_directives(void **state)
{
    const gh_profile_directive_t *directive = gh_profile_directives();
    const char *row = "gatehouse_set_profile, NULL, RSRC_CONF,";
    apr_file_t *file;
    apr_finfo_t info;
    char *source, *next;
    int count = 0, rows = 0;

    assert_int_equal(apr_file_open(&file, TEST_SRCDIR "/mod_gatehouse/mod_gatehouse.c",
                                   APR_FOPEN_READ, 0, pool), APR_SUCCESS);
    assert_int_equal(apr_file_info_get(&info, APR_FINFO_SIZE, file), APR_SUCCESS);
    source = apr_pcalloc(pool, info.size + 1);
    assert_int_equal(apr_file_read_full(file, source, info.size, NULL), APR_SUCCESS);
    apr_file_close(file);
    for (; directive->name; ++directive) {
        const char *text = apr_psprintf(pool, "AP_INIT_TAKE_ARGV(\"%s\", %s", directive->name, row);

        if (!strstr(source, text)) {
            fail_msg("mod_gatehouse.c has no row for %s", directive->name);
        }
        ++count;
    }
    for (next = source; (next = strstr(next, row)); ++next) {
        ++rows;
    }
    assert_true(count > 10);
    assert_int_equal(rows, count);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_public_url),
        cmocka_unit_test(test_node),
        cmocka_unit_test(test_path_covers),
        cmocka_unit_test(test_path_file),
        cmocka_unit_test(test_crl_max_age),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_profile_directives),
    };
    int failed;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
