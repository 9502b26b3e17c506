/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Thumbprints as people paste them, sets of pins and their files. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_escrow/escrow_header.h"
#include "mod_escrow/escrow_pins.h"

#define SHA1   "0d63640b7f3a9c51e2b84d06f1a7c3950e8b2d4f"
#define SHA256 "5f0a63d1c2b79e480d1f3a5c6e8b9d0f1a2c3e4b5d6f708192a3b4c5d6e7f801"
#define LATER  apr_time_from_sec(4000000000)

static apr_pool_t *pool;

static int setup(void **state)
{
    (void)state;
    apr_initialize();
    return apr_pool_create(&pool, NULL) != APR_SUCCESS;
}

static int teardown(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

static const char *parsed(const char *text, apr_size_t length, int *bare)
{
    gh_thumbprint_t thumbprint;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_thumbprint_parse(&thumbprint, text, length, bare, &result) != APR_SUCCESS) {
        assert_string_equal(result.number, "GH1147");
        return NULL;
    }
    return gh_thumbprint_text(&thumbprint, pool);
}

#define PARSED(text, bare) parsed(text, sizeof(text) - 1, bare)

static void test_forms(void **state)
{
    int bare;

    (void)state;
    assert_string_equal(PARSED("sha256:" SHA256, &bare), "sha256:" SHA256);
    assert_false(bare);
    assert_string_equal(PARSED("SHA1:0D63640B7F3A9C51E2B84D06F1A7C3950E8B2D4F", &bare),
                        "sha1:" SHA1);
    assert_false(bare);
    assert_string_equal(PARSED(SHA1, &bare), "sha1:" SHA1);
    assert_true(bare);
    assert_string_equal(PARSED(SHA256, &bare), "sha256:" SHA256);
    assert_null(PARSED("sha1:" SHA256, NULL));
    assert_null(PARSED("sha256:" SHA1, NULL));
    assert_null(PARSED("", NULL));
    assert_null(PARSED(SHA1 "0", NULL));
    assert_null(PARSED(SHA256 "00", NULL));
    assert_null(PARSED("g" SHA1, NULL));
    assert_null(PARSED("md5:0d63640b7f3a9c51e2b84d06f1a7c395", NULL));
}

static void test_pasted(void **state)
{
    (void)state;
    assert_string_equal(PARSED("\xe2\x80\x8e" SHA1 "\0", NULL), "sha1:" SHA1);
    assert_string_equal(PARSED("\0\0\xef\xbb\xbf" SHA1 "\xe2\x80\x8b\r\n", NULL), "sha1:" SHA1);
    assert_string_equal(PARSED("\xe2\x80\x8f 0D:63:64:0b 7f 3a 9c 51\te2 b8 4d 06 f1 a7 c3 95 "
                               "0e 8b 2d\xc2\xa0" "4f ", NULL), "sha1:" SHA1);
    assert_string_equal(PARSED("\xe2\x80\x8esha256:" SHA256 "\xe2\x80\xac", NULL),
                        "sha256:" SHA256);
    /* what is not known to be invisible is not left out */
    assert_null(PARSED("\xe2\x80\x90" SHA1, NULL));
    assert_null(PARSED("-" SHA1, NULL));
}

static escrow_client_t client_of(const char *sha256, const char *sha1)
{
    escrow_client_t client;

    memset(&client, 0, sizeof(client));
    if (sha256) {
        gh_thumbprint_parse(&client.sha256, sha256, strlen(sha256), NULL, NULL);
    }
    if (sha1) {
        gh_thumbprint_parse(&client.sha1, sha1, strlen(sha1), NULL, NULL);
    }
    return client;
}

static apr_status_t read_text(escrow_pins_t **pins, const char *text, int with_roles, int *bare,
                              gh_result_t *result)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };

    gh_result_clear(result);
    return escrow_pins_parse(pins, bytes, "/etc/pins", with_roles, bare, NULL, pool, result);
}

static void test_file(void **state)
{
    escrow_client_t by_both = client_of(SHA256, SHA1), by_sha1 = client_of(NULL, SHA1);
    escrow_pins_t *pins;
    gh_result_t result;
    int bare;

    (void)state;
    assert_int_equal(read_text(&pins, "# ours\n\n" SHA256 " provider,uem a label\r\n"
                               "0d63640b 7f3a9c51 e2b84d06 f1a7c395 0e8b2d4f admin"
                               " expires=2030-01-01T00:00:00Z\n", 1, &bare, &result), APR_SUCCESS);
    assert_int_equal(bare, 1);
    assert_int_equal(escrow_pins_count(pins), 2);
    assert_non_null(escrow_pins_find(pins, &by_both, ESCROW_ROLE_PROVIDER, LATER));
    assert_non_null(escrow_pins_find(pins, &by_both, ESCROW_ROLE_UEM, LATER));
    assert_null(escrow_pins_find(pins, &by_sha1, ESCROW_ROLE_UEM, 0));
    assert_non_null(escrow_pins_find(pins, &by_both, ESCROW_ROLE_ADMIN, 0));
    assert_non_null(escrow_pins_find(pins, &by_sha1, ESCROW_ROLE_ANY, 0));
    assert_null(escrow_pins_find(pins, &by_sha1, ESCROW_ROLE_ADMIN, LATER));
}

static void test_bad_file(void **state)
{
    escrow_pins_t *pins;
    gh_result_t result;

    (void)state;
    assert_int_equal(read_text(&pins, SHA1 "\nno thumbprint\n", 0, NULL, &result), APR_EINVAL);
    assert_string_equal(result.number, "GH1159");
    assert_non_null(strstr(result.message, "line 2 of /etc/pins"));
    assert_int_equal(read_text(&pins, SHA1 " everybody\n", 1, NULL, &result), APR_EINVAL);
    assert_int_equal(read_text(&pins, SHA1 "\n", 1, NULL, &result), APR_EINVAL);
    assert_int_equal(read_text(&pins, SHA1 " uem expires=soon\n", 1, NULL, &result), APR_EINVAL);
    assert_int_equal(read_text(&pins, "", 1, NULL, &result), APR_SUCCESS);
    assert_int_equal(escrow_pins_count(pins), 0);
}

/* While httpd runs, a line that is bad lets nobody in, and ends nobody else. */
static void test_bad_lines_are_left_out(void **state)
{
    static const char text[] = SHA256 " everybody\n" SHA256 " uem\n" SHA1 " admin expires=soon\n";
    escrow_client_t good = client_of(SHA256, NULL), bad = client_of(NULL, SHA1);
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };
    escrow_skipped_t skipped;
    escrow_pins_t *pins;
    gh_result_t result;
    const char *many = "";
    int i;

    (void)state;
    gh_result_clear(&result);
    assert_int_equal(escrow_pins_parse(&pins, bytes, "/etc/pins", 1, NULL, &skipped, pool,
                                       &result), APR_SUCCESS);
    assert_non_null(escrow_pins_find(pins, &good, ESCROW_ROLE_UEM, 0));
    assert_null(escrow_pins_find(pins, &good, ESCROW_ROLE_PROVIDER | ESCROW_ROLE_ADMIN, 0));
    assert_null(escrow_pins_find(pins, &bad, ESCROW_ROLE_ANY, 0));
    assert_int_equal(skipped.count, 2);
    assert_non_null(strstr(APR_ARRAY_IDX(skipped.said, 1, const char *), "line 3 of /etc/pins"));
    escrow_pins_skipped(&skipped, 1, pool, &result);
    assert_string_equal(result.number, "GH1159");
    assert_non_null(strstr(result.message, "line 1 of /etc/pins"));
    assert_non_null(strstr(result.message, "and 1 more"));
    for (i = 0; i < 20; i++) {
        many = apr_pstrcat(pool, many, "nobody\n", NULL);
    }
    bytes.data = (const unsigned char *)many;
    bytes.length = strlen(many);
    assert_int_equal(escrow_pins_parse(&pins, bytes, "/etc/pins", 1, NULL, &skipped, pool,
                                       &result), APR_SUCCESS);
    assert_int_equal(skipped.count, 20);
    assert_int_equal(skipped.said->nelts, ESCROW_SKIPPED_SAID);
}

static void test_roles_last_as_long_as_the_longest(void **state)
{
    escrow_client_t client = client_of(SHA256, NULL);
    escrow_pins_t *pins = escrow_pins_make(pool);

    (void)state;
    escrow_pins_add(pins, &client.sha256, ESCROW_ROLE_UEM, 100);
    escrow_pins_add(pins, &client.sha256, ESCROW_ROLE_PROVIDER, 0);
    escrow_pins_add(pins, &client.sha256, ESCROW_ROLE_UEM, 50);
    assert_non_null(escrow_pins_find(pins, &client, ESCROW_ROLE_UEM, 99));
    assert_null(escrow_pins_find(pins, &client, ESCROW_ROLE_UEM, 100));
    assert_non_null(escrow_pins_find(pins, &client, ESCROW_ROLE_PROVIDER, LATER));
    assert_null(escrow_pins_find(pins, &client, ESCROW_ROLE_ADMIN, 0));
}

static void test_times(void **state)
{
    escrow_client_t client = client_of(SHA256, NULL);

    (void)state;
    assert_int_equal(escrow_client_time(&client, LATER), 0);
    client.not_before = apr_time_from_sec(100);
    client.not_after = apr_time_from_sec(200);
    assert_int_equal(escrow_client_time(&client, apr_time_from_sec(100) - 1), -1);
    assert_int_equal(escrow_client_time(&client, apr_time_from_sec(100)), 0);
    assert_int_equal(escrow_client_time(&client, apr_time_from_sec(201) - 1), 0);
    assert_int_equal(escrow_client_time(&client, apr_time_from_sec(201)), 1);
}

static void test_headers_without_certificate(void **state)
{
    static const char *const none[] = { "", "-", "(null)" };
    static const char *const bad[] = { ":", "::", ":AAAA:", ":AAAA:, :AAAA:", "-----BEGIN%2",
                                       "Hash=00", "Hash=\"" SHA256, "By=a", "%00",
                                       "-----BEGIN CERTIFICATE----- AAAA" };
    escrow_client_t client;
    gh_result_t result;
    apr_size_t i;
    int format;

    (void)state;
    for (format = ESCROW_HEADER_RFC9440; format <= ESCROW_HEADER_ALB; ++format) {
        for (i = 0; i < sizeof(none) / sizeof(none[0]); ++i) {
            assert_int_equal(escrow_header_read(&client, (escrow_header_format_t)format, none[i],
                                                pool, &result), APR_ENOENT);
        }
        for (i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
            gh_result_clear(&result);
            assert_int_equal(escrow_header_read(&client, (escrow_header_format_t)format, bad[i],
                                                pool, &result), APR_EINVAL);
            assert_string_equal(result.number, "GH1152");
        }
    }
}

static void test_header_digests(void **state)
{
    escrow_client_t client;
    gh_result_t result;

    (void)state;
    assert_int_equal(escrow_header_read(&client, ESCROW_HEADER_HAPROXY, SHA1, pool, &result),
                     APR_SUCCESS);
    assert_string_equal(gh_thumbprint_text(escrow_client_thumbprint(&client), pool),
                        "sha1:" SHA1);
    /* the last element is what the nearest proxy says */
    assert_int_equal(escrow_header_read(&client, ESCROW_HEADER_XFCC,
                                        "By=x;Hash=00,By=\"a,b\";Subject=\"CN=\\\"q\\\"\";Hash="
                                        SHA256, pool, &result), APR_SUCCESS);
    assert_string_equal(gh_thumbprint_text(escrow_client_thumbprint(&client), pool),
                        "sha256:" SHA256);
    assert_int_equal(client.not_after, 0);
    assert_int_equal(escrow_header_read(&client, ESCROW_HEADER_XFCC, "Hash=" SHA256 ", Hash="
                                        SHA256, pool, &result), APR_EINVAL);
    assert_int_equal(escrow_header_read(&client, ESCROW_HEADER_XFCC, "Hash=" SHA256 ";Hash="
                                        SHA256, pool, &result), APR_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_pasted),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_bad_file),
        cmocka_unit_test(test_bad_lines_are_left_out),
        cmocka_unit_test(test_roles_last_as_long_as_the_longest),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_headers_without_certificate),
        cmocka_unit_test(test_header_digests)
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
