/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Who may sign OCSP answers, who of several does, and sets that change while they are used. */

#include <pthread.h>

#include <apr_strings.h>

#include "mod_ocsp/ocsp_signer_private.h"
#include "ocsp_world.h"
#include "status.h"

#define SECOND apr_time_from_sec(1)
#define SWAPS 2000

static world_ca_t *ca;
static EVP_PKEY *ec, *rsa;
static gh_result_t result;

static int setup(void **state)
{
    (void)state;
    ca = world_ca("Signers", "rsa2048-01");
    ec = fixture_key("p256-01");
    rsa = fixture_key("rsa2048-02");
    return 0;
}

static apr_status_t check(X509 *certificate, EVP_PKEY *key, const char **warning)
{
    return ocsp_signer_check(ca->certificate, certificate, key, apr_time_now(), warning, test_pool,
                             &result);
}

static void test_checks(void **state)
{
    apr_time_t now = apr_time_now();
    world_ca_t *stranger = world_ca("Stranger", "rsa2048-03");
    world_ca_t *namesake = world_ca("Signers", "rsa2048-03");
    static const struct {
        world_signer_t how;
        int good;
        const char *warning;
    } cases[] = {
        { { NULL, NULL, 0, 0, 0 }, 1, NULL },
        { { NULL, "-", 0, 0, 0 }, 1, NULL },
        { { NULL, "digitalSignature,keyCertSign", 0, 0, 0 }, 1, NULL },
        { { NULL, NULL, 1, 0, 0 }, 1, "nocheck" },
        { { "-", NULL, 0, 0, 0 }, 0, NULL },
        { { "clientAuth", NULL, 0, 0, 0 }, 0, NULL },
        { { "anyExtendedKeyUsage", NULL, 0, 0, 0 }, 0, NULL },
        { { NULL, "keyEncipherment", 0, 0, 0 }, 0, NULL }
    };
    world_signer_t old = { NULL, NULL, 0, now - 100 * SECOND, now - 10 * SECOND };
    world_signer_t young = { NULL, NULL, 0, now + 100 * SECOND, 0 };
    const char *warning;
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        apr_status_t rv = check(world_signer(ca, ec, &cases[i].how), ec, &warning);

        if ((rv == APR_SUCCESS) != cases[i].good || !warning != !cases[i].warning) {
            fail_msg("case %d: %d, %s", (int)i, rv, warning ? warning : "no warning");
        }
        assert_true(!warning || strstr(warning, cases[i].warning));
    }
    assert_int_equal(check(world_signer(ca, ec, &old), ec, &warning), APR_EINVAL);
    assert_string_equal(result.number, "GH0566");
    assert_success(check(world_signer(ca, ec, &young), ec, &warning));
    assert_non_null(warning);
    assert_int_equal(check(world_signer(stranger, ec, NULL), ec, &warning), APR_EINVAL);
    assert_int_equal(check(world_signer(namesake, ec, NULL), ec, &warning), APR_EINVAL);
    assert_int_equal(check(world_signer(ca, ec, NULL), rsa, &warning), APR_EINVAL);
    assert_string_equal(result.number, "GH0567");
    assert_success(check(world_signer(ca, ec, NULL), NULL, &warning));
    assert_success(check(ca->certificate, ca->key, &warning));
    assert_null(warning);
}

static const ocsp_signer_set_t *acquire(ocsp_signers_t *signers)
{
    const ocsp_signer_set_t *set;

    assert_success(ocsp_signers_acquire(signers, &set, &result));
    return set;
}

static void test_choice(void **state)
{
    apr_time_t now = apr_time_now() / SECOND * SECOND;
    world_signer_t first = { NULL, NULL, 0, now - 50 * SECOND, now + 50 * SECOND };
    world_signer_t second = { NULL, NULL, 0, now + 10 * SECOND, now + 500 * SECOND };
    static const int prefer_rsa[] = { NID_sha1WithRSAEncryption, NID_sha256WithRSAEncryption };
    static const int prefer_none[] = { NID_sha1WithRSAEncryption, NID_ecdsa_with_SHA384 };
    ocsp_signers_t *signers = world_signers(ca, world_signer(ca, ec, &first), ec,
                                            world_signer(ca, rsa, &second), rsa, NULL);
    const ocsp_signer_set_t *set = acquire(signers);
    const ocsp_signer_t *one;

    one = ocsp_signer_choose(set, NULL, 0, now);
    assert_non_null(one);
    assert_int_equal(one->algorithm, NID_ecdsa_with_SHA256);
    assert_string_equal(one->kind, "P-256");
    assert_int_equal(one->verified, 0);
    assert_int_equal(one->not_after, first.not_after);
    assert_ptr_equal(ocsp_signer_choose(set, prefer_rsa, 2, now), one);
    assert_int_equal(ocsp_signer_choose(set, prefer_rsa, 2, now + 10 * SECOND)->algorithm,
                     NID_sha256WithRSAEncryption);
    assert_int_equal(ocsp_signer_choose(set, prefer_rsa, 2, now + 10 * SECOND)->verified, 1);
    assert_ptr_equal(ocsp_signer_choose(set, prefer_none, 2, now + 10 * SECOND), one);
    assert_string_equal(ocsp_signer_choose(set, NULL, 0, now + 50 * SECOND)->kind, "RSA-2048");
    assert_null(ocsp_signer_choose(set, NULL, 0, now + 500 * SECOND));
    assert_null(ocsp_signer_choose(set, NULL, 0, now - 51 * SECOND));
    ocsp_signer_suspect(signers, one);
    assert_null(ocsp_signer_choose(set, NULL, 0, now));
    assert_string_equal(ocsp_signer_choose(set, NULL, 0, now + 10 * SECOND)->kind, "RSA-2048");
    ocsp_signers_release(set);
}

/** A signer does not outlive its CA. */
static void test_ends_with_the_ca(void **state)
{
    world_signer_t how = { NULL, NULL, 0, 0, apr_time_now() + 3650 * (86400 * SECOND) };
    ocsp_signers_t *signers = world_signers(ca, world_signer(ca, ec, &how), ec, NULL);
    const ocsp_signer_set_t *set = acquire(signers);

    assert_int_equal(ocsp_signer_choose(set, NULL, 0, apr_time_now())->not_after,
                     gh_certificate_not_after(ca->certificate));
    ocsp_signers_release(set);
}

static void test_none(void **state)
{
    ocsp_signers_t *signers = ocsp_signers_make("nobody", ca->certificate, test_pool);
    apr_array_header_t *list = apr_array_make(test_pool, 1, sizeof(ocsp_signer_t));
    EVP_PKEY *small = fixture_key("rsa1024-01");
    ocsp_signer_t *one = apr_array_push(list);
    const ocsp_signer_set_t *set;
    ocsp_signer_set_t *made;

    assert_int_equal(ocsp_signers_acquire(signers, &set, &result), GH_EUNAVAILABLE);
    memset(one, 0, sizeof(*one));
    one->certificate = world_signer(ca, small, NULL);
    one->key = small;
    assert_int_equal(ocsp_signer_set_make(&made, ca->certificate, list, &result), APR_EINVAL);
    one->certificate = world_signer(ca, ec, NULL);
    one->key = ec;
    one->digest = EVP_sha1();
    assert_int_equal(ocsp_signer_set_make(&made, ca->certificate, list, &result), APR_EINVAL);
}

/* Sets that are swapped while others use them */

static ocsp_signers_t *swapped;
static volatile int ended;

static void *use(void *data)
{
    long *uses = data;

    while (!ended) {
        const ocsp_signer_set_t *set;
        const ocsp_signer_t *signer;

        if (ocsp_signers_acquire(swapped, &set, NULL) != APR_SUCCESS) {
            continue;
        }
        signer = ocsp_signer_choose(set, NULL, 0, apr_time_now());
        *uses += signer && X509_get0_serialNumber(signer->certificate)
            && EVP_PKEY_get_bits(signer->key) == 256;
        ocsp_signers_release(set);
    }
    return NULL;
}

static void test_swaps(void **state)
{
    apr_array_header_t *list = apr_array_make(test_pool, 1, sizeof(ocsp_signer_t));
    ocsp_signer_t *one = apr_array_push(list);
    pthread_t threads[3];
    long uses[3] = { 0 };
    int i;

    memset(one, 0, sizeof(*one));
    one->certificate = world_signer(ca, ec, NULL);
    one->key = ec;
    swapped = ocsp_signers_make("swapped", ca->certificate, test_pool);
    ended = 0;
    for (i = 0; i < 3; ++i) {
        assert_int_equal(pthread_create(&threads[i], NULL, use, &uses[i]), 0);
    }
    for (i = 0; i < SWAPS; ++i) {
        ocsp_signer_set_t *set;

        assert_success(ocsp_signer_set_make(&set, ca->certificate, list, &result));
        ocsp_signers_replace(swapped, set);
    }
    ended = 1;
    for (i = 0; i < 3; ++i) {
        pthread_join(threads[i], NULL);
        assert_true(uses[i] > 0);
    }
    ocsp_signers_replace(swapped, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_checks, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_choice, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_ends_with_the_ca, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_none, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_swaps, setup, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
