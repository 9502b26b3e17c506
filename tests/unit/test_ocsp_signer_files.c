/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* OCSP signers from files, which the parent opens, and from tokens, which each child opens. */

#include "signers_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"
#define TOKEN   "pkcs11:token=ocsp;object=signer?module-path=" SOFTHSM

static const char *key_file(const char *name, EVP_PKEY *key, const char *passphrase)
{
    const char *path = scratch_path(name);

    write_key(path, key, 0, passphrase);
    return path;
}

static ocsp_signers_t *load(ocsp_signer_config_t config, apr_array_header_t **warnings,
                            gh_result_t *result)
{
    apr_array_header_t *configs = apr_array_make(test_pool, 1, sizeof(config));
    ocsp_signers_t *signers;

    APR_ARRAY_PUSH(configs, ocsp_signer_config_t) = config;
    return load_signers(&signers, configs, warnings, apr_time_now(), result) == APR_SUCCESS
        ? signers : NULL;
}

/** PEM, PEM with a passphrase, PKCS#12; they sign from the start, before anybody follows. */
static void test_forms(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *ec = fixture_key("p256-01"), *rsa = fixture_key("rsa2048-02");
    const char *secret, *certificate, *bundle;
    ocsp_signers_t *signers;

    signers_world(now - 100 * DAY);
    secret = apr_pstrcat(test_pool, "file:", scratch_file("secret", "open sesame\n", 0600), NULL);
    certificate = signer_file("ec.pem", ec, NULL, now);
    bundle = scratch_path("rsa.p12");
    run("openssl pkcs12 -export -in '%s' -inkey '%s' -passout '%s' -out '%s'",
        signer_file("rsa.pem", rsa, NULL, now), key_file("rsa.key", rsa, NULL), secret, bundle);
    run("chmod 600 '%s'", bundle);
    signers = signers_of(from_files(certificate, key_file("ec.key", ec, NULL), NULL),
                         from_files(bundle, bundle, secret),
                         from_files(certificate, key_file("ec2.key", ec, "open sesame"), secret),
                         no_more);
    now = apr_time_now();
    assert_true(sign_something(signers, now));
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(signing(signers, 0, now)), ec), 1);
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(signing(signers, NID_sha256WithRSAEncryption,
                                                          now)), rsa), 1);
    assert_success(follow(signers, NULL, now));
    assert_success(follow(signers, process_services(0), now));
    /* past its end none is chosen */
    assert_null(signing(signers, 0, now + 31 * DAY));
    assert_int_equal(follow(signers, process_services(0), now + 31 * DAY), GH_EUNAVAILABLE);
    assert_non_null(strstr(logged, "GH0647"));
}

static void refused(const char *certificate, const char *key, const char *number)
{
    gh_result_t result;

    assert_null(load(from_files(certificate, key, NULL), NULL, &result));
    if (strcmp(result.number, number)) {
        fail_msg("%s: %s", result.number, result.message);
    }
    assert_true(*result.action);
}

/** What is wrong is said when it is loaded (VA-101). */
static void test_checked_when_loaded(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *key = fixture_key("p256-01");
    const char *path, *good, *exposed;
    apr_array_header_t *warnings;
    gh_result_t result;

    signers_world(now - 100 * DAY);
    path = key_file("signer.key", key, NULL);
    good = signer_file("good.pem", key, NULL, now);
    assert_non_null(load(from_files(good, path, NULL), &warnings, &result));
    assert_int_equal(warnings->nelts, 0);
    assert_non_null(load(from_files(signer_file("check.pem", key, "OCSPSigning", now), path, NULL),
                         &warnings, &result));
    assert_int_equal(warnings->nelts, 1);
    assert_non_null(strstr(APR_ARRAY_IDX(warnings, 0, const char *), "nocheck"));
    assert_non_null(strstr(APR_ARRAY_IDX(warnings, 0, const char *), "check.pem"));

    refused(signer_file("web.pem", key, "serverAuth", now), path, "GH0565");
    refused(signer_file("old.pem", key, NULL, now - 31 * DAY), path, "GH0566");
    refused(good, key_file("other.key", fixture_key("p384-01"), NULL), "GH0567");
    refused(scratch_path("none.pem"), path, "GH0091");
    refused(good, scratch_path("none.key"), "GH0091");
    exposed = key_file("exposed.key", key, NULL);
    run("chmod 640 '%s'", exposed);
    refused(good, exposed, "GH0100");
    /* of another CA, which has the same name */
    authority = make_root(fixture_key("p521-01"), "cn=Devices CA", now - 100 * DAY);
    refused(good, path, "GH0565");
}

static void suspect_all(ocsp_signers_t *signers)
{
    const ocsp_signer_set_t *set;
    int i;

    assert_success(ocsp_signers_acquire(signers, &set, NULL));
    for (i = 0; i < ocsp_signer_set_all(set)->nelts; ++i) {
        ocsp_signer_suspect(signers, &APR_ARRAY_IDX(ocsp_signer_set_all(set), i, ocsp_signer_t));
    }
    ocsp_signers_release(set);
}

/** A key of a file that has failed once, for want of memory, is tried again. */
static void test_suspect(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *key = fixture_key("p256-01");
    ocsp_signer_services_t *services;
    ocsp_signers_t *signers;

    signers_world(now - 100 * DAY);
    services = process_services(0);
    signers = signers_of(from_files(signer_file("s.pem", key, NULL, now),
                                    key_file("s.key", key, NULL), NULL),
                         enrolled("RSA-2048", shipped("basic-ocsp")), no_more);
    now = apr_time_now();
    assert_success(follow(signers, services, now));
    suspect_all(signers);
    assert_null(signing(signers, 0, now));
    assert_success(follow(signers, services, now));
    assert_true(sign_something(signers, now));
    assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(signing(signers, 0, now)), key), 1);
    assert_non_null(signing(signers, NID_sha256WithRSAEncryption, now));
    assert_non_null(strstr(logged, "GH0644"));
    assert_non_null(strstr(logged, "GH0646"));
}

/* Tokens */

static void make_token(EVP_PKEY *key)
{
    const char *conf = apr_psprintf(test_pool, "directories.tokendir = %s/tokens\n"
                                    "objectstore.backend = file\nlog.level = ERROR\n",
                                    scratch_folder());

    setenv("SOFTHSM2_CONF", scratch_file("softhsm2.conf", conf, 0600), 1);
    run("mkdir -p '%s/tokens'", scratch_folder());
    run("softhsm2-util --init-token --free --label ocsp --so-pin 12345678 --pin 4711-secret "
        ">/dev/null 2>&1");
    run("softhsm2-util --import '%s' --token ocsp --label signer --id 01 --pin 4711-secret "
        ">/dev/null 2>&1", key_file("token.key", key, NULL));
}

static void move_token(const char *from, const char *to)
{
    run("mv '%s/%s' '%s/%s'", scratch_folder(), from, scratch_folder(), to);
}

static int turns, in_turn;

static void begin_turn(void)
{
    ++turns;
    ++in_turn;
}

static void end_turn(void)
{
    --in_turn;
}

/** Each runs in a process of its own, as a child of httpd: a failure ends it with its line. */
#define MUST(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "line %d: %s\n%s", __LINE__, #condition, logged);       \
            _exit(1);                                                               \
        }                                                                           \
    } while (0)

static void in_child(void (*check)(ocsp_signers_t *, ocsp_signer_services_t *),
                     ocsp_signers_t *signers)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        ocsp_signer_services_t *services = process_services(0);

        services->turn_begin = begin_turn;
        services->turn_end = end_turn;
        check(signers, services);
        MUST(in_turn == 0);
        ocsp_signers_close(signers);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/** A token that is away when a child starts, and comes back; then a key that fails for once. */
static void wait_for_token(ocsp_signers_t *signers, ocsp_signer_services_t *services)
{
    apr_time_t now = apr_time_now();
    int i;

    for (i = 0; i < 100; ++i) {
        MUST(follow(signers, services, now + i * SECOND) == GH_EUNAVAILABLE);
    }
    /* after 1, 2, 4, 8, 16 seconds, then every 30 */
    MUST(turns >= 5 && turns <= 9);
    MUST(!sign_something(signers, now));
    MUST(strstr(logged, "GH0645") && strstr(logged, "GH0647") && !strstr(logged, "GH0646"));

    move_token("away", "tokens");
    /* a clock that was set back does not stop it */
    MUST(follow(signers, services, now - HOUR) == APR_SUCCESS);
    MUST(sign_something(signers, now - HOUR));
    MUST(strstr(logged, "GH0646") && strstr(logged, "GH0648"));

    suspect_all(signers);
    MUST(!sign_something(signers, now));
    MUST(follow(signers, services, now) == APR_SUCCESS);
    MUST(sign_something(signers, now));
    MUST(strstr(logged, "GH0644"));
}

static void test_token(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *key = fixture_key("p256-01");
    const char *pin;
    gh_result_t result;
    ocsp_signers_t *signers;

    signers_world(now - 100 * DAY);
    make_token(key);
    pin = apr_pstrcat(test_pool, "file:", scratch_file("pin", "4711-secret\n", 0600), NULL);
    signers = load(from_files(signer_file("token.pem", key, NULL, now - 2 * DAY), TOKEN, pin), NULL,
                   &result);
    assert_non_null(signers);
    move_token("tokens", "away");
    in_child(wait_for_token, signers);
}

static int signs_with(ocsp_signers_t *signers, int type, apr_time_t now)
{
    X509 *certificate = signing(signers, 0, now);

    return certificate && EVP_PKEY_get_base_id(X509_get0_pubkey(certificate)) == type
        && sign_something(signers, now);
}

/** Where a token goes away, the next signer takes over. */
static void use_the_other(ocsp_signers_t *signers, ocsp_signer_services_t *services)
{
    apr_time_t now = apr_time_now();

    MUST(follow(signers, services, now) == APR_SUCCESS && turns == 1);
    MUST(signs_with(signers, EVP_PKEY_EC, now));
    move_token("tokens", "away");
    MUST(!sign_something(signers, now));
    MUST(signs_with(signers, EVP_PKEY_RSA, now));
    MUST(follow(signers, services, now) == GH_EUNAVAILABLE);
    MUST(strstr(logged, "GH0644") && strstr(logged, "GH0645") && !strstr(logged, "GH0647"));
    MUST(signs_with(signers, EVP_PKEY_RSA, now));
    MUST(follow(signers, services, now + 90 * SECOND) == GH_EUNAVAILABLE && turns >= 3);
    MUST(signs_with(signers, EVP_PKEY_RSA, now));
}

/** SoftHSM finds its objects again only in a new process. */
static void use_the_token(ocsp_signers_t *signers, ocsp_signer_services_t *services)
{
    apr_time_t now = apr_time_now();

    MUST(signs_with(signers, EVP_PKEY_RSA, now));
    MUST(follow(signers, services, now) == APR_SUCCESS);
    MUST(signs_with(signers, EVP_PKEY_EC, now));
}

static void test_token_and_file(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *key = fixture_key("p256-01"), *rsa = fixture_key("rsa2048-02");
    ocsp_signers_t *signers;
    const char *pin;

    signers_world(now - 100 * DAY);
    make_token(key);
    pin = apr_pstrcat(test_pool, "file:", scratch_file("pin", "4711-secret\n", 0600), NULL);
    signers = signers_of(from_files(signer_file("token.pem", key, NULL, now), TOKEN, pin),
                         from_files(signer_file("rsa.pem", rsa, NULL, now),
                                    key_file("rsa.key", rsa, NULL), NULL), no_more);
    in_child(use_the_other, signers);
    move_token("away", "tokens");
    in_child(use_the_token, signers);
}

static void meet_refusal(ocsp_signers_t *signers, ocsp_signer_services_t *services)
{
    apr_time_t now = apr_time_now();
    int i;

    for (i = 0; i < 100; i += 10) {
        MUST(follow(signers, services, now + i * SECOND) == GH_EREFUSED);
    }
    MUST(turns == 1);
    MUST(strstr(logged, "GH0184") && !strstr(logged, "1111-wrong"));
}

static void hear_of_refusal(ocsp_signers_t *signers, ocsp_signer_services_t *services)
{
    MUST(follow(signers, services, apr_time_now()) == GH_EREFUSED);
    MUST(strstr(logged, "GH0640") && !strstr(logged, "GH0184"));
}

/** A PIN that was refused is tried by one process, once: tokens count the failures. */
static void test_refused_pin(void **state)
{
    apr_time_t now = apr_time_now();
    EVP_PKEY *key = fixture_key("p256-01");
    const char *pin;
    ocsp_signers_t *signers;

    signers_world(now - 100 * DAY);
    make_token(key);
    pin = apr_pstrcat(test_pool, "file:", scratch_file("pin", "1111-wrong\n", 0600), NULL);
    signers = signers_of(from_files(signer_file("token.pem", key, NULL, now), TOKEN, pin), no_more);
    in_child(meet_refusal, signers);
    in_child(hear_of_refusal, signers);
}

static void meet_another_key(ocsp_signers_t *signers, ocsp_signer_services_t *services)
{
    MUST(follow(signers, services, apr_time_now()) == APR_EINVAL);
    MUST(strstr(logged, "GH0641"));
    MUST(signing(signers, 0, apr_time_now()) == NULL);
}

static void test_another_key_on_the_token(void **state)
{
    apr_time_t now = apr_time_now();
    const char *pin;

    signers_world(now - 100 * DAY);
    make_token(fixture_key("p256-01"));
    pin = apr_pstrcat(test_pool, "file:", scratch_file("pin", "4711-secret\n", 0600), NULL);
    in_child(meet_another_key,
             signers_of(from_files(signer_file("other.pem", fixture_key("rsa2048-02"), NULL, now),
                                   TOKEN, pin), no_more));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_forms, x509_test_teardown),
        cmocka_unit_test_teardown(test_checked_when_loaded, x509_test_teardown),
        cmocka_unit_test_teardown(test_suspect, x509_test_teardown),
        cmocka_unit_test_teardown(test_token, x509_test_teardown),
        cmocka_unit_test_teardown(test_token_and_file, x509_test_teardown),
        cmocka_unit_test_teardown(test_refused_pin, x509_test_teardown),
        cmocka_unit_test_teardown(test_another_key_on_the_token, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
