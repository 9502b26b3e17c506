/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* log, result, text, secret, audit: what everything else stands on. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <jansson.h>

#include "audit.h"
#include "log.h"
#include "result.h"
#include "status.h"
#include "text.h"

static apr_pool_t *pool;

static void test_equal_secret(void **state)
{
    assert_true(gh_equal_secret("secret", 6, "secret", 6));
    assert_false(gh_equal_secret("secret", 6, "secreT", 6));
    assert_false(gh_equal_secret("secret", 6, "secretsecret", 12));
    assert_false(gh_equal_secret("secretsecret", 12, "secret", 6));
    assert_false(gh_equal_secret("a", 1, "", 0));
    assert_true(gh_equal_secret("", 0, "", 0));
}

static void test_hex(void **state)
{
    static const struct {
        const char *text;
        const char *hex;        /* NULL: refused */
    } cases[] = {
        { "00ff", "00ff" }, { "AB:cd:01", "abcd01" }, { "a b", "ab" }, { "", NULL },
        { "abc", NULL }, { "0x12", NULL }, { "zz", NULL }, { ":", NULL },
    };
    gh_bytes_t bytes;
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        apr_status_t rv = gh_hex_parse(&bytes, cases[i].text, pool);

        if (cases[i].hex) {
            assert_int_equal(rv, APR_SUCCESS);
            assert_string_equal(gh_hex(pool, bytes.data, bytes.length), cases[i].hex);
        }
        else {
            assert_int_equal(rv, APR_EINVAL);
        }
    }
}

static void test_serial(void **state)
{
    gh_bytes_t serial;

    assert_int_equal(gh_serial_parse(&serial, "00:01:FF", pool), APR_SUCCESS);
    assert_string_equal(gh_hex(pool, serial.data, serial.length), "01ff");
    assert_int_equal(gh_serial_parse(&serial, "fff", pool), APR_SUCCESS);
    assert_string_equal(gh_hex(pool, serial.data, serial.length), "0fff");
    assert_int_equal(gh_serial_parse(&serial, "0000", pool), APR_SUCCESS);
    assert_int_equal(serial.length, 1);
    assert_int_equal(gh_serial_parse(&serial, "0102030405060708090a0b0c0d0e0f1011121314", pool),
                     APR_SUCCESS);
    assert_int_equal(gh_serial_parse(&serial, "0102030405060708090a0b0c0d0e0f101112131415", pool),
                     APR_EINVAL);
    assert_int_equal(gh_serial_parse(&serial, "", pool), APR_EINVAL);
}

static void test_duration(void **state)
{
    static const struct {
        const char *text;
        apr_int64_t msec;       /* -1: refused */
    } cases[] = {
        { "500ms", 500 }, { "10s", 10000 }, { "5m", 300000 }, { "24h", 86400000 },
        { "7d", 604800000 }, { "2w", 1209600000 }, { "1y", APR_INT64_C(31536000000) },
        { "P1DT2H3M4S", 93784000 }, { "pt30s", 30000 }, { "0s", 0 }, { "10", -1 }, { "", -1 },
        { "-1s", -1 }, { "s", -1 }, { "1 s", -1 }, { "9999999999999y", -1 }, { "P", -1 },
        { "P1M", -1 }, { "1sx", -1 },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        apr_interval_time_t duration = 0;
        apr_status_t rv = gh_duration_parse(&duration, cases[i].text);

        if (cases[i].msec < 0) {
            assert_int_equal(rv, APR_EINVAL);
        }
        else {
            assert_int_equal(rv, APR_SUCCESS);
            assert_int_equal(duration / 1000, cases[i].msec);
        }
    }
}

static void test_time(void **state)
{
    apr_time_t time;

    assert_int_equal(gh_time_parse(&time, "2026-11-20T15:04:05Z"), APR_SUCCESS);
    assert_string_equal(gh_time_text(pool, time), "2026-11-20T15:04:05Z");
    assert_int_equal(gh_time_parse(&time, "2024-11-06T13:00Z"), APR_SUCCESS);
    assert_int_equal(time, apr_time_from_sec(1730898000));
    assert_int_equal(gh_time_parse(&time, "2038-01-19T03:14:08.123Z"), APR_SUCCESS);
    assert_string_equal(gh_time_text(pool, time), "2038-01-19T03:14:08Z");
    assert_int_equal(gh_time_parse(&time, "2026-11-20T15:04:05+00:00"), APR_SUCCESS);
    assert_string_equal(gh_time_text(pool, time), "2026-11-20T15:04:05Z");
    assert_int_equal(gh_time_parse(&time, "2026-11-20T15:04:05.5+0130"), APR_SUCCESS);
    assert_string_equal(gh_time_text(pool, time), "2026-11-20T13:34:05Z");
    assert_int_equal(gh_time_parse(&time, "2026-11-20T15:04-01:00"), APR_SUCCESS);
    assert_string_equal(gh_time_text(pool, time), "2026-11-20T16:04:00Z");
    assert_int_equal(gh_time_parse(&time, "2026-11-20T15:04:05"), APR_EINVAL);
    assert_int_equal(gh_time_parse(&time, "2026-11-20T15:04:05+1"), APR_EINVAL);
    assert_int_equal(gh_time_parse(&time, "2026-11-20T15:04:05+15:00"), APR_EINVAL);
    assert_int_equal(gh_time_parse(&time, "2026-11-20 15:04:05"), APR_EINVAL);
    assert_int_equal(gh_time_parse(&time, "2026-13-20T15:04:05Z"), APR_EINVAL);
    assert_int_equal(gh_time_parse(&time, ""), APR_EINVAL);
    assert_string_equal(gh_time_text(pool, 0), "");
}

static void test_names(void **state)
{
    assert_true(gh_wildcard_match("scep-*", "scep-digital-signature"));
    assert_true(gh_wildcard_match("*", ""));
    assert_true(gh_wildcard_match("a*b*c", "aXXbYYbc"));
    assert_false(gh_wildcard_match("scep-*", "wstep-x"));
    assert_false(gh_wildcard_match("a", "ab"));
    assert_true(gh_name_valid("org~ca_1-x"));
    assert_false(gh_name_valid(""));
    assert_false(gh_name_valid("a/b"));
    assert_false(gh_name_valid("a.b"));
    assert_true(gh_name_valid("0123456789012345678901234567890123456789012345678901234567890123"));
    assert_false(gh_name_valid("0123456789012345678901234567890123456789012345678901234567890123"
                               "4"));
}

static void test_result(void **state)
{
    gh_result_t result;

    assert_int_equal(gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge",
                                    "Do that.", "GH9999: said \"%s\"", "a\nb\x1b"), GH_EREFUSED);
    assert_string_equal(result.number, "GH9999");
    assert_string_equal(result.message, "said \"a?b?\"");
    assert_string_equal(result.action, "Do that.");
    assert_string_equal(result.rule, "challenge");
    assert_int_equal(result.failure, GH_FAILURE_DENIED);
    assert_int_equal(gh_result_fail(NULL, APR_EGENERAL, GH_FAILURE_INTERNAL, NULL, NULL, "x"),
                     APR_EGENERAL);
}

static char *write_file(const char *content, mode_t mode)
{
    char *path = apr_pstrdup(pool, "/tmp/gh-test-secret-XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static void test_secret(void **state)
{
    gh_result_t result;
    gh_bytes_t secret;
    char *path = write_file("pass/word\n", 0600);

    assert_int_equal(gh_secret_load(&secret, apr_pstrcat(pool, "file:", path, NULL), pool, &result),
                     APR_SUCCESS);
    assert_int_equal(secret.length, 9);
    assert_memory_equal(secret.data, "pass/word", 9);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(gh_secret_load(&secret, apr_pstrcat(pool, "file:", path, NULL), pool, &result),
                     APR_EACCES);
    assert_null(strstr(result.message, "pass/word"));
    unlink(path);
    assert_int_not_equal(gh_secret_load(&secret, apr_pstrcat(pool, "file:", path, NULL), pool,
                                        &result), APR_SUCCESS);

    path = write_file("#!/bin/sh\nprintf 'from program\\r\\n'\n", 0700);
    assert_int_equal(gh_secret_load(&secret, apr_pstrcat(pool, "exec:", path, NULL), pool, &result),
                     APR_SUCCESS);
    assert_memory_equal(secret.data, "from program", 13);
    unlink(path);
    path = write_file("#!/bin/sh\necho half\nexit 3\n", 0700);
    assert_int_not_equal(gh_secret_load(&secret, apr_pstrcat(pool, "exec:", path, NULL), pool,
                                        &result), APR_SUCCESS);
    unlink(path);
    path = write_file("\n", 0600);
    assert_int_equal(gh_secret_load(&secret, apr_pstrcat(pool, "file:", path, NULL), pool, &result),
                     APR_EINVAL);
    unlink(path);
    assert_int_equal(gh_secret_load(&secret, "hunter2", pool, &result), APR_EINVAL);
    assert_null(strstr(result.message, "hunter2"));
}

static void test_audit_line(void **state)
{
    gh_audit_event_t event = {0};
    char *huge = apr_palloc(pool, 20000);
    const char *line;
    json_t *object;

    memset(huge, 1, 19999);
    huge[19999] = '\0';
    event.time = apr_time_from_sec(1700000000);
    event.event = "enrol";
    event.subject = "CN=caf\xc3\xa9 \xff \xc3";
    event.message = huge;
    event.client = huge;
    line = gh_audit_line(&event, pool);
    assert_true(strlen(line) <= GH_AUDIT_LINE_MAX);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    object = json_loads(line, 0, NULL);
    assert_non_null(object);
    assert_string_equal(json_string_value(json_object_get(object, "time")), "2023-11-14T22:13:20Z");
    assert_string_equal(json_string_value(json_object_get(object, "subject")),
                        "CN=caf\xc3\xa9 ? ?");
    assert_null(json_object_get(object, "serial"));
    json_decref(object);
}

/* One line for two places, unless the event was changed in between. */
static void test_audit_line_keep(void **state)
{
    gh_audit_event_t event = { .time = 5, .event = "enrol", .serial = "01" };
    const char *line = gh_audit_line_keep(&event, pool), *other;

    assert_ptr_equal(gh_audit_line(&event, pool), line);
    assert_non_null(strstr(line, "\"serial\":\"01\""));
    event.serial = apr_pstrdup(pool, event.serial);
    assert_ptr_equal(gh_audit_line(&event, pool), line);
    event.serial = NULL;
    event.result = "failed";
    other = gh_audit_line(&event, pool);
    assert_null(strstr(other, "serial"));
    assert_non_null(strstr(other, "\"result\":\"failed\""));
}

static void test_ordered_id(void **state)
{
    apr_time_t now = apr_time_from_sec(1700000000);
    const char *first = gh_ordered_id(now, pool), *again = gh_ordered_id(now, pool);
    const char *later = gh_ordered_id(now + apr_time_from_msec(1), pool);

    assert_int_equal(strlen(first), 32);
    assert_int_equal(strspn(first, "0123456789abcdef"), 32);
    assert_memory_equal(first, "018bcfe56800", 12);
    assert_memory_equal(again, first, 12);
    assert_string_not_equal(again, first);
    assert_true(strcmp(later, first) > 0 && strcmp(later, again) > 0);
}

static int set_up(void **state)
{
    apr_initialize();
    return apr_pool_create(&pool, NULL);
}

static int tear_down(void **state)
{
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_secret),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_serial),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_result),
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_audit_line),
        cmocka_unit_test(test_audit_line_keep),
        cmocka_unit_test(test_ordered_id),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
