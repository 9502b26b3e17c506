/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * The engine without memory: requests are repeated, and each time a later allocation of OpenSSL or
 * ours fails. What is answered then is right in all it says, or it is an error that will pass. Once
 * there is memory again, the same request gets the right answer.
 *
 * Some allocations are tried, with GH_FULL=1 every one.
 */

#include <limits.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "failing_malloc.h"
#include "ocsp_engine_support.h"

/* Rounds of one request and one mode where not every allocation is tried. */
#define ROUNDS 150

#define CERTIFICATES_MAX 3

/** A request, and what is said when there is memory. */
typedef struct {
    const char *what;
    gh_bytes_t der;
    const char *nonce;              /* NULL: none */
    int algorithm;                  /* NID of the signature, 0: any */
    int count;
    int statuses[CERTIFICATES_MAX];
    int cached;                     /* the answer may come from the cache */
} question_t;

static long right, errors;

#define CHECK(question, number, condition)                                              \
    do {                                                                                \
        if (!(condition)) {                                                             \
            fail_msg("%s, allocation %ld: not %s; %s", (question)->what, (number),      \
                     #condition, result.number);                                        \
        }                                                                               \
    } while (0)

static void check_nonce(const question_t *question, long number, OCSP_BASICRESP *basic)
{
    gh_bytes_t nonce = nonce_of(basic);

    if (!question->nonce) {
        CHECK(question, number, !nonce.data);
        return;
    }
    CHECK(question, number, nonce.length == strlen(question->nonce) + 2);
    CHECK(question, number, !memcmp(nonce.data + 2, question->nonce, nonce.length - 2));
}

/** All that an answer says. */
static void check_answer(const question_t *question, long number)
{
    OCSP_BASICRESP *basic;
    int algorithm, i;

    if (answer.ocsp != OCSP_SUCCESSFUL) {
        CHECK(question, number,
              answer.ocsp == OCSP_TRY_LATER || answer.ocsp == OCSP_INTERNAL_ERROR);
        assert_error(answer.ocsp);
        ++errors;
        return;
    }
    basic = world_read(answer.der, ca);
    CHECK(question, number, OCSP_resp_count(basic) == question->count);
    for (i = 0; i < question->count; ++i) {
        world_single_t said = world_single(basic, i);

        CHECK(question, number, said.status == question->statuses[i]);
        CHECK(question, number, said.next_update == said.this_update + 3600 * SECOND);
        CHECK(question, number, (said.status == V_OCSP_CERTSTATUS_REVOKED)
                                == (said.revoked_at != 0));
    }
    CHECK(question, number, answer.count == question->count);
    algorithm = OBJ_obj2nid(OCSP_resp_get0_tbs_sigalg(basic)->algorithm);
    /* the other signer takes the place of one that cannot sign */
    CHECK(question, number, !question->algorithm || algorithm == question->algorithm
          || (number != LONG_MAX && algorithm == NID_ecdsa_with_SHA256));
    check_nonce(question, number, basic);
    ++right;
}

/** @return how many allocations there were */
static long ask_without(const question_t *question, fail_mode_t mode, long number)
{
    apr_time_t now = apr_time_now();
    long count;

    if (!question->cached) {
        make_engine(0);
    }
    memset(&answer, 0, sizeof(answer));
    failing_malloc_begin(mode, number);
    ocsp_engine_answer(engine, endpoint, question->der, now, &answer, test_pool, &result);
    count = failing_malloc_end();
    CHECK(question, number, ERR_peek_error() == 0);
    check_answer(question, number);
    return count;
}

/* A signer that could not sign is put aside until its process tries it again. */
static void mend(void)
{
    world_authority(ca, NULL);
    endpoint = world_endpoint(ca, NULL);
}

static void try_all(const question_t *question)
{
    static const fail_mode_t modes[] = { FAIL_ONCE, FAIL_FROM_THERE };
    const char *full = getenv("GH_FULL");
    long all, step, number, failed;
    size_t i;

    /* what is made once is there from the first time on */
    ask_without(question, FAIL_ONCE, LONG_MAX);
    all = ask_without(question, FAIL_ONCE, LONG_MAX);
    step = (full && !strcmp(full, "1")) || all < ROUNDS ? 1 : all / ROUNDS;
    for (i = 0; i < sizeof(modes) / sizeof(modes[0]); ++i) {
        right = errors = 0;
        for (number = 1; number <= all; number += step) {
            ask_without(question, modes[i], number);
            failed = errors;
            mend();
            ask_without(question, FAIL_ONCE, LONG_MAX);
            CHECK(question, number, errors == failed);
        }
        print_message("%s: %ld allocations, every %ld. failed: %ld errors, %ld right answers\n",
                      question->what, all, step, errors, right);
        assert_true(question->cached || errors > 0);
    }
}

static gh_bytes_t preferring(const char *nonce, const char *oid_hex, int count)
{
    world_request_t asking = world_asking();
    int i;

    if (nonce) {
        asking.nonce = (const unsigned char *)nonce;
        asking.nonce_length = (int)strlen(nonce);
    }
    for (i = 1; i <= count; ++i) {
        world_ask(&asking, ca, world_serial((apr_uint64_t)i));
    }
    if (oid_hex) {
        world_ask_extension(&asking, "1.3.6.1.5.5.7.48.1.8", 0, oid_hex);
    }
    return world_asked(&asking);
}

static void test_good(void **state)
{
    question_t question = { "good", preferring(NULL, NULL, 1), NULL, 0, 1,
                            { V_OCSP_CERTSTATUS_GOOD }, 0 };

    try_all(&question);
}

static void test_nonce(void **state)
{
    static const char nonce[] = "0123456789abcdef0123456789abcdef";
    question_t question = { "nonce", preferring(nonce, NULL, 1), nonce,
                            0, 1, { V_OCSP_CERTSTATUS_GOOD }, 0 };

    try_all(&question);
}

/* PreferredSignatureAlgorithms of sha256WithRSAEncryption */
static void test_rsa(void **state)
{
    static const char nonce[] = "0123456789abcdef";
    question_t question = { "rsa", preferring(nonce, "3011300f300d06092a864886f70d01010b0500", 1),
                            nonce, NID_sha256WithRSAEncryption, 1, { V_OCSP_CERTSTATUS_GOOD }, 0 };

    try_all(&question);
}

static void test_several(void **state)
{
    question_t question = { "several", preferring(NULL, NULL, 3), NULL, 0, 3,
                            { V_OCSP_CERTSTATUS_GOOD, V_OCSP_CERTSTATUS_REVOKED,
                              V_OCSP_CERTSTATUS_REVOKED }, 0 };

    try_all(&question);
}

static void test_revoked(void **state)
{
    question_t question = { "revoked", world_request(ca, EVP_sha256(), world_serial(2), NULL), NULL,
                            0, 1, { V_OCSP_CERTSTATUS_REVOKED }, 0 };

    try_all(&question);
}

static void test_cached(void **state)
{
    question_t question = { "cached", preferring(NULL, NULL, 1), NULL, 0, 1,
                            { V_OCSP_CERTSTATUS_GOOD }, 1 };

    try_all(&question);
    assert_int_equal(answer.origin, OCSP_FROM_CACHE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_nonce, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_rsa, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_several, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_revoked, engine_setup, engine_teardown),
        cmocka_unit_test_setup_teardown(test_cached, engine_setup, engine_teardown)
    };

    /* what automake takes for "skipped" */
    return failing_malloc_available()
        ? cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown) : 77;
}
