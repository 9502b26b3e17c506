/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a UEM tells, and who is believed. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_escrow/escrow_event.h"
#include "status.h"

#define DEVICE  "F90F1ABD-b914-4895-9b59-82e8aecf0e66"
#define USER    "fe13e814-7415-4fce-9f47-de5a55bfe57a"

static apr_pool_t *pool;
static gh_result_t result;

static int set_up(void **state)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    return 0;
}

static gh_bytes_t bytes_of(const char *text)
{
    gh_bytes_t bytes = { (const unsigned char *)text, strlen(text) };

    return bytes;
}

static escrow_event_t *read_text(const char *text)
{
    escrow_event_t *event;

    gh_result_clear(&result);
    return escrow_event_read(&event, bytes_of(text), pool, &result) == APR_SUCCESS ? event : NULL;
}

static escrow_event_t *event_of(const char *email, const char *name)
{
    return read_text(apr_psprintf(pool, "{\"EventId\": 148, \"DeviceUUID\": \"" DEVICE "\", "
                                  "\"EnrollmentUserUUID\": \"" USER "\", "
                                  "\"EnrollmentEmailAddress\": \"%s\", "
                                  "\"EnrollmentUserName\": \"%s\", \"EventTime\": \"now\"}",
                                  email, name));
}

static void reading(void **state)
{
    escrow_event_t *event = event_of("Ada.L@Example.COM", "ada");

    assert_string_equal(event->id, "148");
    assert_string_equal(event->device, "f90f1abd-b914-4895-9b59-82e8aecf0e66");
    assert_string_equal(event->email, "Ada.L@example.com");
    assert_string_equal(escrow_event_key(event, pool),
                        "148/f90f1abd-b914-4895-9b59-82e8aecf0e66/" USER "/now");
    assert_string_equal(read_text("{\"EventId\": \"148\"}")->id, "148");
    assert_null(read_text("{}")->id);
    assert_null(read_text("{\"EventId\": 1.5}")->id);
    assert_null(read_text("{\"EventId\": 1, \"EventId\": 2}"));
    assert_null(read_text("[]"));
    assert_null(read_text("{\"EventId\":"));
}

static apr_status_t check(const char *email)
{
    apr_array_header_t *domains = apr_array_make(pool, 2, sizeof(const char *));

    APR_ARRAY_PUSH(domains, const char *) = "Example.com";
    APR_ARRAY_PUSH(domains, const char *) = "*.corp.example";
    gh_result_clear(&result);
    return escrow_event_check_mail(email, domains, &result);
}

static void addresses(void **state)
{
    static const char *const bad[] = {
        "ada", "@example.com", "ada@", "ada@@example.com", "a b@example.com", "ada@example..com",
        ".ada@example.com", "ada.@example.com", "ada@.example.com", "ada@example.com.",
        "\"ada\"@example.com", "ada@example.com\n", "ada@ex\xc3\xa4mple.com", "a,b@example.com"
    };
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); ++i) {
        assert_int_equal(check(bad[i]), APR_EINVAL);
    }
    assert_int_equal(check(NULL), APR_EINVAL);
    assert_int_equal(check("ada+mail@example.com"), APR_SUCCESS);
    assert_int_equal(check("ada@mail.corp.example"), APR_SUCCESS);
    assert_int_equal(check("ada@corp.example"), GH_EREFUSED);
    assert_int_equal(check("ada@xcorp.example"), GH_EREFUSED);
    assert_int_equal(check("ada@mail.example.com"), GH_EREFUSED);
    assert_int_equal(check("ada@example.org"), GH_EREFUSED);
    assert_int_equal(escrow_event_check_mail("ada@example.com", NULL, &result), GH_EREFUSED);
}

static void subjects(void **state)
{
    gh_provide_rule_t rule = { .event = "148", .issuer = "mail", .signing = "p", .bits = 2048,
                               .subject = "cn=<user>,o=Example" };
    gh_provide_rule_t made;

    assert_int_equal(escrow_event_rule(&made, &rule, event_of("a@example.com", "ada,o=Evil"), pool,
                                       &result), APR_SUCCESS);
    assert_string_equal(made.subject, "cn=ada\\,o\\=Evil,o=Example");
    rule.subject = "cn=<email>,o=<nothing>";
    assert_int_equal(escrow_event_rule(&made, &rule, event_of("a@example.com", "ada"), pool,
                                       &result), APR_EINVAL);
    assert_string_equal(result.number, "GH1292");
}

/* as openssl dgst -sha256 -hmac gives it */
#define SECRET  "Jefe-Jefe-Jefe-Jefe"
#define BODY    "what do ya want for nothing?"
#define HEX     "3d130ab485fcadc54cf6d4101d0bd5eaa913b7f5d29559e205ee52a0d586f4ec"
#define BASE64  "PRMKtIX8rcVM9tQQHQvV6qkTt/XSlVniBe5SoNWG9Ow="

static int authentic(const char *header, const char *body)
{
    return escrow_event_authentic(header, bytes_of(body), bytes_of(SECRET), pool);
}

static void signatures(void **state)
{
    gh_bytes_t none = { NULL, 0 };

    assert_true(authentic(HEX, BODY));
    assert_true(authentic("sha256=" HEX, BODY));
    assert_true(authentic(BASE64, BODY));
    assert_false(authentic(HEX, BODY "!"));
    assert_false(authentic("", BODY));
    assert_false(authentic("sha256=", BODY));
    assert_false(authentic("00" HEX, BODY));
    assert_false(escrow_event_authentic(HEX, bytes_of(BODY), none, pool));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading),
        cmocka_unit_test(addresses),
        cmocka_unit_test(subjects),
        cmocka_unit_test(signatures),
    };

    return cmocka_run_group_tests_name("escrow events", tests, set_up, NULL);
}
