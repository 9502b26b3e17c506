/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "directory/descriptor.h"
#include "directory/directory.h"
#include "status.h"

/* What needs no server; tests/http/test_directory.py has one. */

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

static gh_directory_config_t *config_of(const char *url)
{
    gh_directory_config_t *config = apr_pcalloc(pool, sizeof(*config));
    apr_array_header_t *urls = apr_array_make(pool, 2, sizeof(const char *));

    APR_ARRAY_PUSH(urls, const char *) = url;
    config->name = "test";
    config->urls = urls;
    config->base = "dc=example,dc=com";
    return config;
}

static void assert_refused(const gh_directory_config_t *config, const char *because)
{
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_directory_check(config, pool, &result), APR_EINVAL);
    assert_string_equal(result.number, "GH1404");
    assert_non_null(strstr(result.message, because));
}

static void test_check(void **state)
{
    gh_directory_config_t *config = config_of("ldaps://dc1.example.com");
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_directory_check(config, pool, &result), APR_SUCCESS);
    config->bind = "cn=reader";
    assert_refused(config, "no password");
    config->password.data = (const unsigned char *)"x";
    config->password.length = 1;
    assert_int_equal(gh_directory_check(config, pool, &result), APR_SUCCESS);
    config->starttls = 1;
    assert_refused(config, "StartTLS");
    config->starttls = 0;
    APR_ARRAY_PUSH((apr_array_header_t *)config->urls, const char *) = "ldap://dc2.example.com";
    assert_refused(config, "some URLs");
    config = config_of("ldap://dc1.example.com:3268");
    assert_int_equal(gh_directory_check(config, pool, &result), APR_SUCCESS);
    config->bind = "cn=reader";
    config->password.data = (const unsigned char *)"x";
    config->password.length = 1;
    assert_refused(config, "in clear");
    config->starttls = 1;
    assert_int_equal(gh_directory_check(config, pool, &result), APR_SUCCESS);
    config->referrals = 11;
    assert_refused(config, "referrals");
    config->referrals = 10;
    config->base = "nonsense";
    assert_refused(config, "search base");
    assert_refused(config_of("http://dc1.example.com"), "URL");
    assert_refused(config_of("ldap://dc1.example.com/dc=example"), "nothing more");
}

static void test_escape(void **state)
{
    assert_string_equal(gh_directory_escape("alice", pool), "alice");
    assert_string_equal(gh_directory_escape("*)(uid=\\", pool), "\\2a\\29\\28uid=\\5c");
    assert_string_equal(gh_directory_escape("J\xc3\xbcrg\n", pool), "J\\c3\\bcrg\\0a");
}

static void test_sid(void **state)
{
    static const unsigned char bytes[] = {
        1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 0xdc, 0xf4, 0xdc, 0x3b, 0x83, 0x3d, 0x2b, 0x46,
        0x82, 0x8b, 0xa6, 0x28, 0x00, 0x02, 0x00, 0x00
    };
    gh_bytes_t sid = { bytes, sizeof(bytes) };

    assert_string_equal(gh_directory_sid_text(sid, pool),
                        "S-1-5-21-1004336348-1177238915-682003330-512");
    sid.length--;
    assert_null(gh_directory_sid_text(sid, pool));
    sid.length = 7;
    assert_null(gh_directory_sid_text(sid, pool));
    sid.length = 8;
    assert_null(gh_directory_sid_text(sid, pool));
}

static void test_member(void **state)
{
    apr_array_header_t *groups = apr_array_make(pool, 1, sizeof(const char *));
    gh_directory_account_t account = { .groups = groups };

    APR_ARRAY_PUSH(groups, const char *) = "cn=PKI Users,cn=Users,dc=example,dc=com";
    assert_true(gh_directory_is_member(&account, "CN=pki users, CN=Users, DC=Example, DC=com",
                                       pool));
    assert_false(gh_directory_is_member(&account, "CN=PKI,CN=Users,DC=Example,DC=com", pool));
    assert_false(gh_directory_is_member(&account, "PKI Users", pool));
}

/* Descriptors are files of the fuzz corpus; the one who asks is S-1-5-21-1. */

static gh_bytes_t load(const char *name)
{
    const char *path = apr_pstrcat(pool, TEST_SRCDIR "/tests/fuzz/corpus/directory_descriptor/",
                                   name, NULL);
    unsigned char *data = apr_palloc(pool, 4096);
    gh_bytes_t bytes = { data, 0 };
    FILE *file = fopen(path, "rb");

    assert_non_null(file);
    bytes.length = fread(data, 1, 4096, file);
    fclose(file);
    return bytes;
}

static void test_descriptors(void **state)
{
    static const struct {
        const char *name;
        int enroll, autoenroll, stranger;
    } cases[] = {
        { "empty", 0, 0, 0 }, { "enroll", 1, 0, 0 }, { "both", 1, 1, 0 }, { "all", 1, 1, 1 },
        { "denied", 0, 1, 1 }, { "read", 0, 0, 0 }, { "inherit", 0, 0, 0 }, { "none", 0, 0, 0 },
        { "callback", 0, 0, 1 }, { "short", 0, 0, 0 }
    };
    static const unsigned char own[] = { 1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0 };
    static const unsigned char other[] = { 1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 2, 0, 0, 0 };
    apr_array_header_t *sids = apr_array_make(pool, 1, sizeof(gh_bytes_t));
    apr_size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        gh_bytes_t descriptor = load(cases[i].name);

        apr_array_clear(sids);
        APR_ARRAY_PUSH(sids, gh_bytes_t) = (gh_bytes_t){ own, sizeof(own) };
        assert_int_equal(gh_directory_grants(descriptor, sids, GH_DIRECTORY_ENROLL),
                         cases[i].enroll);
        assert_int_equal(gh_directory_grants(descriptor, sids, GH_DIRECTORY_AUTOENROLL),
                         cases[i].autoenroll);
        APR_ARRAY_IDX(sids, 0, gh_bytes_t) = (gh_bytes_t){ other, sizeof(other) };
        assert_int_equal(gh_directory_grants(descriptor, sids, GH_DIRECTORY_ENROLL),
                         cases[i].stranger);
        /* cut anywhere, it gives nothing */
        for (; descriptor.length > 0; --descriptor.length) {
            gh_bytes_t cut = { descriptor.data, descriptor.length - 1 };

            assert_int_equal(gh_directory_grants(cut, sids, GH_DIRECTORY_ENROLL), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_escape),
        cmocka_unit_test(test_sid),
        cmocka_unit_test(test_member),
        cmocka_unit_test(test_descriptors)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
