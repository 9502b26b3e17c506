/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_scep/scep_url.h"

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

/** Another endpoint of the same names. */
static void test_intune(void **state)
{
    static const char *const good[] = {
        "/scep/acme/devices/profile/intune", "/scep/acme/devices/profile/intune/",
        "/scep/acme/devices/profile/intune/pkiclient.exe", "/scep/acme/devices/profile/intune/nop"
    };
    scep_url_t url;
    apr_size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); ++i) {
        assert_int_equal(scep_url_parse(&url, good[i], pool), APR_SUCCESS);
        assert_int_equal(url.intune, 1);
        assert_string_equal(scep_url_path(&url, pool), good[0]);
    }
    assert_int_equal(scep_url_parse(&url, "/scep/acme/devices/profile/", pool), APR_SUCCESS);
    assert_int_equal(url.intune, 0);
}

static void test_paths(void **state)
{
    static const char *const good[] = {
        "/scep/acme/devices/profile", "/scep/acme/devices/profile/",
        "/scep/acme/devices/profile/nop", "/scep/acme/devices/profile/nop/",
        "/scep/acme/devices/profile/pkiclient.exe", "/scep/acme/devices/profile/pkiclient.exe/",
        "/scep/acme/devices/profile/cgi-bin/pkiclient.exe",
        "/scep/acme/devices/profile/mscep.dll/pkiclient.exe",
        "/scep/acme/devices/profile/nop/pkiclient.exe", NULL
    };
    static const char *const bad[] = {
        "", "/", "/scep", "/scep/", "/scep/acme", "/scep/acme/devices", "/scep/acme/devices/",
        "/SCEP/acme/devices/profile", "/Scep/acme/devices/profile", "/scepx/acme/devices/profile",
        "/scep//acme/devices/profile", "/scep/acme//devices/profile", "//scep/acme/devices/profile",
        "/scep/acme/devices/profile//", "/scep/acme/devices/profile/x",
        "/scep/acme/devices/profile/NOP", "/scep/acme/devices/profile/nopx",
        "/scep/acme/devices/profile/nop/nop", "/scep/acme/devices/profile/nop//",
        "/scep/acme/devices/profile/nop/x", "/scep/acme/devices/profile/PKIClient.exe",
        "/scep/acme/devices/profile/pkiclient.exe/x", "/scep/acme/devices/profile/mscep.dll",
        "/scep/acme/devices/profile/cgi-bin", "/scep/acme/devices/profile/cgi-bin/",
        "/scep/acme/devices/profile/Intune", "/scep/acme/devices/profile/intunex",
        "/scep/acme/devices/profile/intune//", "/scep/acme/devices/profile/intune/intune",
        "/scep/acme/devices/profile/nop/intune", "/scep/acme/devices/profile/mdm",
        "/scep/acme/devices/intune", "/scep/acme/devices/mdm", "/scep/acme/devices/mdm/",
        "/scep/acme/devices/../profile", "/scep/acme/dev ices/profile",
        "/scep/ac.me/devices/profile",
        "/scep/acme/devices/profil\xc3\xa9", "/scep/acme/devices/profile;x", NULL
    };
    scep_url_t url;
    int i;

    for (i = 0; good[i]; ++i) {
        if (scep_url_parse(&url, good[i], pool) != APR_SUCCESS) {
            fail_msg("%s is refused", good[i]);
        }
        assert_string_equal(url.tenant, "acme");
        assert_string_equal(url.issuer, "devices");
        assert_string_equal(url.profile, "profile");
        assert_string_equal(scep_url_path(&url, pool), "/scep/acme/devices/profile");
    }
    for (i = 0; bad[i]; ++i) {
        if (scep_url_parse(&url, bad[i], pool) != APR_NOTFOUND) {
            fail_msg("%s is accepted", bad[i]);
        }
    }
}

static void test_names(void **state)
{
    char name[70];
    scep_url_t url;

    assert_int_equal(scep_url_parse(&url, "/scep/A-z_0~9/o~ca/p", pool), APR_SUCCESS);
    assert_string_equal(url.tenant, "A-z_0~9");
    memset(name, 'n', sizeof(name));
    name[64] = '\0';
    assert_int_equal(scep_url_parse(&url, apr_pstrcat(pool, "/scep/t/i/", name, NULL), pool),
                     APR_SUCCESS);
    assert_int_equal(scep_url_parse(&url, apr_pstrcat(pool, "/scep/t/i/n", name, NULL), pool),
                     APR_NOTFOUND);
}

static void test_operations(void **state)
{
    static const struct {
        const char *args;
        apr_status_t status;
        scep_operation_t operation;
        const char *message;
    } cases[] = {
        { "operation=GetCACaps", APR_SUCCESS, SCEP_GET_CA_CAPS, NULL },
        { "operation=GetCACert&message=ca", APR_SUCCESS, SCEP_GET_CA_CERT, "ca" },
        { "message=0&operation=GetCACert", APR_SUCCESS, SCEP_GET_CA_CERT, "0" },
        { "x=1&operation=PKIOperation&&message=AA%3D%3D&y", APR_SUCCESS, SCEP_PKI_OPERATION,
          "AA%3D%3D" },
        { "operation=PKI%4fperation&message=", APR_SUCCESS, SCEP_PKI_OPERATION, "" },
        { NULL, APR_EINVAL, 0, NULL },
        { "", APR_EINVAL, 0, NULL },
        { "operation", APR_EINVAL, 0, NULL },
        { "operation=", APR_EINVAL, 0, NULL },
        { "Operation=GetCACaps", APR_EINVAL, 0, NULL },
        { "operation=getcacaps", APR_EINVAL, 0, NULL },
        { "operation=GetCACapsX", APR_EINVAL, 0, NULL },
        { "operation=GetCACaps%00", APR_EINVAL, 0, NULL },
        { "operation=GetCACaps%", APR_EINVAL, 0, NULL },
        { "operation=GetCACaps%4", APR_EINVAL, 0, NULL },
        { "operation=GetCACaps+", APR_EINVAL, 0, NULL },
        { "operation=GetNextCACert", APR_SUCCESS, SCEP_GET_NEXT_CA_CERT, NULL },
        { "operation=GetNextCACerts", APR_EINVAL, 0, NULL },
        { "operation=GetCACaps&operation=GetCACaps", APR_EINVAL, 0, NULL },
        { "operation=PKIOperation&message=a&message=b", APR_EINVAL, 0, NULL },
        { "message=a", APR_EINVAL, 0, NULL }
    };
    scep_query_t query;
    gh_result_t result;
    apr_size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        gh_result_clear(&result);
        if (scep_query_parse(&query, cases[i].args, pool, &result) != cases[i].status) {
            fail_msg("%s: %s", cases[i].args, result.message);
        }
        if (cases[i].status != APR_SUCCESS) {
            assert_int_equal(result.failure, GH_FAILURE_MALFORMED);
            assert_true(*result.number);
            continue;
        }
        assert_int_equal(query.operation, cases[i].operation);
        assert_int_equal(query.message != NULL, cases[i].message != NULL);
        if (cases[i].message) {
            assert_string_equal(query.message, cases[i].message);
        }
    }
}

static void test_long_query(void **state)
{
    char *args = apr_palloc(pool, 300000);
    scep_query_t query;
    gh_result_t result;

    memset(args, 'A', 299999);
    memcpy(args, "operation=PKIOperation&message=", 31);
    args[299999] = '\0';
    assert_int_equal(scep_query_parse(&query, args, pool, &result), APR_EINVAL);
}

/* fb ff fe 3e 3f: base64 with plus and slash */
static void test_messages(void **state)
{
    static const struct {
        const char *message;
        int length;         /* -1: refused */
    } cases[] = {
        { "%2B%2F%2F%2BPj8%3D", 5 }, { "%2b%2f%2f%2bPj8%3d", 5 }, { "+//+Pj8=", 5 },
        { "+//+Pj8%3D", 5 },
        { "%20//%20Pj8=", 5 }, { " // Pj8=", 5 }, { "+//+Pj8", 5 }, { "+//%0A+Pj8%3D%0A", 5 },
        { "+//%0D%0A+Pj8=%0d%0a", 5 }, { "%2B//+%09Pj8=", 5 },
        { "", -1 }, { "%0A", -1 }, { "=", -1 }, { "====", -1 }, { "-__-Pj8=", -1 },
        { "+//+Pj8==", -1 },
        { "+//+Pj8=+", -1 }, { "+//+Pj8=A", -1 }, { "+//+P", -1 }, { "+//+Pj8%3", -1 },
        { "+//+Pj8%", -1 },
        { "+//+Pj8%00", -1 }, { "+//+Pj%C3%A9", -1 }, { "+//+P%25j8=", -1 }, { "+//+=Pj8", -1 },
        { "%zz//", -1 }
    };
    static const unsigned char expected[] = { 0xfb, 0xff, 0xfe, 0x3e, 0x3f };
    scep_query_t query = { SCEP_PKI_OPERATION, NULL };
    gh_bytes_t message;
    gh_result_t result;
    apr_size_t i;

    assert_int_equal(scep_query_message(&message, &query, pool, &result), APR_EINVAL);
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        query.message = cases[i].message;
        if (scep_query_message(&message, &query, pool, &result)
            != (cases[i].length < 0 ? APR_EINVAL : APR_SUCCESS)) {
            fail_msg("\"%s\"", cases[i].message);
        }
        if (cases[i].length >= 0) {
            assert_int_equal(message.length, cases[i].length);
            assert_memory_equal(message.data, expected, sizeof(expected));
        }
        else {
            assert_int_equal(message.length, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_intune),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_operations),
        cmocka_unit_test(test_long_query),
        cmocka_unit_test(test_messages)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
