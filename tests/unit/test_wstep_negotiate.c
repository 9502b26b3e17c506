/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Tokens of HTTP Negotiate: what they bring, and how it is encrypted. The tokens are files of the
 * fuzz corpus. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "mod_wstep/wstep_negotiate.h"

#define CORPUS TEST_SRCDIR "/tests/fuzz/corpus/wstep_negotiate/"

static unsigned char bytes[WSTEP_NEGOTIATE_SIZE_MAX + 1];
static wstep_negotiate_t negotiate;

static apr_size_t load(const char *name)
{
    char path[1024];
    apr_size_t length;
    FILE *file;

    snprintf(path, sizeof(path), CORPUS "%s", name);
    file = fopen(path, "rb");
    assert_non_null(file);
    length = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    assert_true(length > 0);
    return length;
}

static wstep_negotiate_kind_t kind_of(const char *name)
{
    gh_bytes_t token = { bytes, load(name) };

    wstep_negotiate_read(&negotiate, token);
    return negotiate.kind;
}

static void test_tickets(void **state)
{
    static const struct {
        const char *name;
        long ticket, session;
    } cases[] = {
        { "spnego", 18, 18 }, { "bare", 18, 18 }, { "ms-frame", 18, 18 }, { "response", 18, 18 },
        { "rc4-ticket", 23, 18 }, { "3des-session", 18, 16 }, { "des", 3, 3 },
        { "curl", 18, 18 }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        assert_int_equal(kind_of(cases[i].name), WSTEP_NEGOTIATE_KERBEROS);
        assert_int_equal(negotiate.ticket, cases[i].ticket);
        assert_int_equal(negotiate.session, cases[i].session);
    }
}

static void test_others(void **state)
{
    assert_int_equal(kind_of("ntlm"), WSTEP_NEGOTIATE_NTLM);
    assert_int_equal(kind_of("ntlm-spnego"), WSTEP_NEGOTIATE_NTLM);
    assert_int_equal(kind_of("ntlm-response"), WSTEP_NEGOTIATE_NTLM);
    /* a ticket may follow, of which there is nothing to be seen yet */
    assert_int_equal(kind_of("later"), WSTEP_NEGOTIATE_OTHER);
    assert_int_equal(kind_of("empty"), WSTEP_NEGOTIATE_OTHER);
    assert_int_equal(kind_of("check"), WSTEP_NEGOTIATE_OTHER);
    assert_int_equal(kind_of("other"), WSTEP_NEGOTIATE_OTHER);
}

static void test_malformed(void **state)
{
    gh_bytes_t token = { bytes, 0 };
    apr_size_t length;

    assert_int_equal(kind_of("trailing"), WSTEP_NEGOTIATE_MALFORMED);
    assert_int_equal(kind_of("ap-reply"), WSTEP_NEGOTIATE_MALFORMED);
    assert_int_equal(kind_of("bare-request"), WSTEP_NEGOTIATE_MALFORMED);
    wstep_negotiate_read(&negotiate, token);
    assert_int_equal(negotiate.kind, WSTEP_NEGOTIATE_MALFORMED);
    length = load("spnego");
    /* cut anywhere, it is no ticket */
    for (token.length = 1; token.length < length; ++token.length) {
        wstep_negotiate_read(&negotiate, token);
        assert_int_equal(negotiate.kind, WSTEP_NEGOTIATE_MALFORMED);
    }
    token.length = sizeof(bytes);
    wstep_negotiate_read(&negotiate, token);
    assert_int_equal(negotiate.kind, WSTEP_NEGOTIATE_MALFORMED);
}

static void test_encryption(void **state)
{
    long type;

    for (type = -2; type < 40; ++type) {
        wstep_encryption_t expected = (type >= 17 && type <= 20) || type == 25 || type == 26
            ? WSTEP_ENCRYPTION_GOOD
            : type == 16 || type == 23 ? WSTEP_ENCRYPTION_OLD : WSTEP_ENCRYPTION_REFUSED;

        assert_int_equal(wstep_negotiate_encryption(type), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tickets), cmocka_unit_test(test_others),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_encryption)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
