/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Keys on tokens, which each process opens for itself. */

#include "x509_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#include "status.h"
#include "x509/key.h"

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"

/** Puts a key onto a token. */
static void import_key(const char *label, const char *pin, const char *object, const char *kind,
                       const char *id)
{
    const char *path = scratch_path(apr_pstrcat(test_pool, object, ".pem", NULL));

    write_key(path, key_of_kind(kind), 0, NULL);
    run("softhsm2-util --import '%s' --token '%s' --label '%s' --id %s --pin %s "
        ">/dev/null 2>&1", path, label, object, id, pin);
}

static void init_token(const char *label, const char *pin)
{
    const char *conf = apr_psprintf(test_pool, "directories.tokendir = %s/tokens\n"
                                    "objectstore.backend = file\nlog.level = ERROR\n",
                                    scratch_folder());

    setenv("SOFTHSM2_CONF", scratch_file("softhsm2.conf", conf, 0600), 1);
    run("mkdir -p '%s/tokens'", scratch_folder());
    run("softhsm2-util --init-token --free --label '%s' --so-pin 12345678 --pin %s "
        ">/dev/null 2>&1", label, pin);
}

/** Runs a check in a process of its own, as a child of httpd would open its token. */
static void in_child(int (*check)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(check());
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define TOKEN_URI(object) "pkcs11:token=ca;object=" object "?module-path=" SOFTHSM

/* Steps of a child are numbered, so that a failure says where. */
#define STEP(number, condition)                                                 \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "step %d: %s\n", number, result.message);           \
            return number;                                                      \
        }                                                                       \
    } while (0)

static int check_token(void)
{
    static const char *const objects[] = { "rsa2048", "rsa3072", "rsa4096", "p256", "p384",
                                           "p521" };
    const char *pin = apr_pstrcat(test_pool, "file:", scratch_path("pin"), NULL);
    gh_result_t result;
    EVP_PKEY *key;
    size_t i;

    gh_result_clear(&result);
    for (i = 0; i < KEY_KINDS; i++) {
        const char *uri = apr_pstrcat(test_pool, "pkcs11:token=ca;object=", objects[i],
                                      "?module-path=" SOFTHSM, NULL);
        const char *in_uri = apr_pstrcat(test_pool, uri, "&pin-source=file:", scratch_path("pin"),
                                         NULL);
        EVP_PKEY *original = key_of_kind(key_kinds[i]);
        const gh_ca_t *ca;
        X509 *certificate;

        STEP(10 + (int)i, gh_key_open(&key, uri, pin, test_pool, &result) == APR_SUCCESS);
        STEP(20 + (int)i, strcmp(gh_key_kind(key), key_kinds[i]) == 0);
        STEP(30 + (int)i, gh_key_try(key, &result) == APR_SUCCESS);
        ca = make_root(original, "cn=Root", apr_time_now());
        STEP(40 + (int)i, gh_key_matches(key, gh_ca_certificate(ca)));
        STEP(50 + (int)i, gh_ca_create((gh_ca_t **)&ca, gh_ca_certificate(ca), key, NULL,
                                       test_pool, &result) == APR_SUCCESS);
        certificate = gh_ca_certificate(make_issuing(ca, key_of_kind("P-256"), "cn=Issuing",
                                                     apr_time_now()));
        STEP(60 + (int)i, X509_verify(certificate, original) == 1);
        STEP(70 + (int)i, gh_key_open(&key, in_uri, NULL, test_pool, &result) == APR_SUCCESS);
        STEP(80 + (int)i, gh_key_try(key, &result) == APR_SUCCESS);
    }
    return 0;
}

/** A wrong PIN, a wrong object, a missing PIN: each says what to do and harms no other key. */
static int check_token_errors(void)
{
    const char *pin = apr_pstrcat(test_pool, "file:", scratch_path("pin"), NULL);
    gh_result_t result;
    EVP_PKEY *good, *key;

    gh_result_clear(&result);
    STEP(1, gh_key_open(&good, TOKEN_URI("p256"), pin, test_pool, &result) == APR_SUCCESS);
    STEP(2, gh_key_open(&key, TOKEN_URI("p999"), pin, test_pool, &result) == GH_EUNAVAILABLE);
    STEP(3, strcmp(result.rule, "key.token") == 0 && key == NULL);
    STEP(4, gh_key_open(&key, "pkcs11:token=other;object=p256?module-path=" SOFTHSM, pin,
                        test_pool, &result) == GH_EUNAVAILABLE);
    STEP(5, gh_key_try(good, &result) == APR_SUCCESS);
    STEP(6, gh_key_open(&key, "pkcs11:token=ca;object=p256?module-path=/nonexistent.so", pin,
                        test_pool, &result) == APR_EINVAL);
    STEP(7, gh_key_try(good, &result) == APR_SUCCESS);
    STEP(8, gh_key_open(&good, TOKEN_URI("p384"), pin, test_pool, &result) == APR_SUCCESS);
    return 0;
}

/** Two issuers on two tokens, each with its own PIN. */
static int check_two_tokens(void)
{
    const char *pin = apr_pstrcat(test_pool, "file:", scratch_path("pin"), NULL);
    const char *other = apr_pstrcat(test_pool, "file:", scratch_path("other-pin"), NULL);
    gh_result_t result;
    EVP_PKEY *first, *second;

    gh_result_clear(&result);
    STEP(1, gh_key_open(&first, TOKEN_URI("p256"), pin, test_pool, &result) == APR_SUCCESS);
    STEP(2, gh_key_open(&second, "pkcs11:token=other;object=second?module-path=" SOFTHSM, other,
                        test_pool, &result) == APR_SUCCESS);
    STEP(3, gh_key_try(first, &result) == APR_SUCCESS);
    STEP(4, gh_key_try(second, &result) == APR_SUCCESS);
    STEP(5, EVP_PKEY_eq(second, key_of_kind("P-384")) == 1);
    return 0;
}

static int check_token_pins(void)
{
    const char *wrong = apr_pstrcat(test_pool, "file:", scratch_path("wrong"), NULL);
    gh_result_t result;
    EVP_PKEY *key;

    gh_result_clear(&result);
    STEP(1, gh_key_open(&key, TOKEN_URI("p256"), NULL, test_pool, &result) == APR_EINVAL);
    STEP(2, strstr(result.action, "passphrase=") != NULL);
    STEP(3, gh_key_open(&key, TOKEN_URI("p256"), wrong, test_pool, &result) == GH_EREFUSED);
    STEP(4, strstr(result.message, "1111-wrong") == NULL);
    STEP(5, gh_key_open(&key, "pkcs11:token=ca;object=p256?module-path=/nonexistent.so",
                        apr_pstrcat(test_pool, "file:", scratch_path("pin"), NULL), test_pool,
                        &result) == GH_EUNAVAILABLE);
    STEP(6, gh_key_open(&key, TOKEN_URI("p256"),
                        apr_pstrcat(test_pool, "file:", scratch_path("pin"), NULL), test_pool,
                        &result) == APR_SUCCESS);
    return 0;
}

/** A token that was opened by the parent and may not be opened here: the trial signature tells. */
static int check_token_access(void)
{
    const char *pin = apr_pstrcat(test_pool, "file:", scratch_path("pin"), NULL);
    gh_result_t result;
    EVP_PKEY *key;
    int status;
    pid_t pid;

    gh_result_clear(&result);
    STEP(1, gh_key_open(&key, TOKEN_URI("p256"), pin, test_pool, &result) == APR_SUCCESS);
    /* The token is gone for the process that is forked now. */
    run("rm -rf '%s/tokens'", scratch_folder());
    pid = fork();
    if (pid == 0)
        _exit(gh_key_try(key, &result) == GH_EUNAVAILABLE
              && strcmp(result.number, "GH0096") == 0 ? 0 : 1);
    STEP(2, waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}

static void test_tokens(void **state)
{
    (void)state;
    init_token("ca", "4711-secret");
    import_key("ca", "4711-secret", "rsa2048", "RSA-2048", "01");
    import_key("ca", "4711-secret", "rsa3072", "RSA-3072", "02");
    import_key("ca", "4711-secret", "rsa4096", "RSA-4096", "03");
    import_key("ca", "4711-secret", "p256", "P-256", "04");
    import_key("ca", "4711-secret", "p384", "P-384", "05");
    import_key("ca", "4711-secret", "p521", "P-521", "06");
    scratch_file("pin", "4711-secret\n", 0600);
    scratch_file("wrong", "1111-wrong\n", 0600);
    in_child(check_token);
    in_child(check_token_errors);
    init_token("other", "0815-secret");
    import_key("other", "0815-secret", "second", "P-384", "07");
    scratch_file("other-pin", "0815-secret", 0600);
    in_child(check_two_tokens);
    in_child(check_token_pins);
    in_child(check_token_access);
}

static void test_token_uris(void **state)
{
    static const char *const wrong[] = {
        "pkcs11:object=ca?pin-value=4711", "pkcs11:object=ca;pin-value=4711",
        "pkcs11:object=ca?PIN-VALUE=4711", "pkcs11:object", "pkcs11:object=ca;slot-id=1",
        "pkcs11:object=ca?module-path=relative.so", "pkcs11:object=ca?module-path=%2",
        "pkcs11:object=ca?module-path=/a%00b", "pkcs11:object=ca?module-name=softhsm",
        "pkcs11:object=ca?pin-source=pin", "pkcs11:object=ca?pin-source=|relative",
    };
    gh_result_t result;
    EVP_PKEY *key;
    size_t i;

    (void)state;
    assert_int_equal(gh_key_is_token("pkcs11:object=x"), 1);
    assert_int_equal(gh_key_is_token("PKCS11:object=x"), 1);
    assert_int_equal(gh_key_is_token("/etc/pkcs11:object=x"), 0);
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (gh_key_open(&key, wrong[i], NULL, test_pool, &result) != APR_EINVAL)
            fail_msg("accepted: %s", wrong[i]);
        assert_null(strstr(result.message, "4711"));
        if (strcasestr(wrong[i], "pin-value") != NULL)
            assert_string_equal(result.rule, "key.pin");
    }
    /* A PIN file that others may read is no better than a key file. */
    assert_int_not_equal(gh_key_open(&key, apr_pstrcat(test_pool, "pkcs11:object=ca?pin-source=",
                                                       scratch_file("pin", "4711", 0644), NULL),
                                     NULL, test_pool, &result), APR_SUCCESS);
    assert_null(strstr(result.message, "4711"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_tokens, x509_test_teardown),
        cmocka_unit_test_teardown(test_token_uris, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
