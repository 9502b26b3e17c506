/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificates with a key that the CA behind a gateway makes. */

#include "ca_world.h"

#include <apr_strings.h>
#include <jansson.h>
#include <openssl/pkcs12.h>

#include "fcgi/ca/cagw_made.h"
#include "status.h"
#include "x509/key.h"
#include "x509/plan.h"

static struct {
    cagw_outcome_t *outcome;
    cagw_made_t *made;
    gh_submission_t *submission;
    const char *password;           /* that the gateway was told */
    EVP_PKEY *key;                  /* of what it answers */
    X509 *certificate;
    X509 *besides;
} got;

static int setup(void **state)
{
    gh_enrolment_outcome_t outcome;

    memset(&got, 0, sizeof(got));
    ca_setup(state);
    assert_success(ask_slow("made", world.profile, &outcome));
    got.submission = take_submission(outcome.id, CA_HOLDER);
    got.key = fixture_key("rsa2048-03");
    got.certificate = give(&(given_t) { .key = got.key });
    return 0;
}

/** Member of a member of what was asked. */
static const char *asked(const char *first, const char *second, const char *third)
{
    json_t *json = json_loadb((const char *)play.body.data, play.body.length, 0, NULL);
    const json_t *member = json_object_get(json, first);
    const char *text;

    member = second ? json_object_get(member, second) : member;
    member = third ? json_object_get(member, third) : member;
    text = json_is_string(member) ? apr_pstrdup(test_pool, json_string_value(member)) : NULL;
    json_decref(json);
    return text;
}

/** A PKCS#12 under the password that the gateway was told; or another one. */
static const char *make_body(const char *body, int looked_up)
{
    STACK_OF(X509) *others = sk_X509_new_null();
    gh_bytes_t bytes;
    unsigned char *der = NULL;
    PKCS12 *made;

    got.password = asked("requiredFormat", "protection", "password");
    assert_non_null(got.password);
    if (*body == '{') {
        sk_X509_free(others);
        return body;
    }
    sk_X509_push(others, world.ca);
    if (got.besides) {
        sk_X509_push(others, got.besides);
    }
    made = PKCS12_create(!strcmp(body, "LOCKED") ? "another" : got.password, "issued", got.key,
                         got.besides ? NULL : got.certificate, others, 0, 0, 2048, 2048, 0);
    assert_non_null(made);
    bytes.length = (apr_size_t)i2d_PKCS12(made, &der);
    bytes.data = apr_pmemdup(test_pool, der, bytes.length);
    OPENSSL_free(der);
    PKCS12_free(made);
    sk_X509_free(others);
    return apr_psprintf(test_pool, "{\"enrollment\":{\"id\":\"7\",\"body\":\"%s\"}}",
                        ca_base64(bytes));
}

static void done(void *baton, cagw_outcome_t *outcome, cagw_made_t *made)
{
    got.outcome = outcome;
    got.made = made;
}

static void enrol(ca_answer_t answer)
{
    cagw_enrolment_t enrolment;

    memset(&enrolment, 0, sizeof(enrolment));
    enrolment.profile = "mdmws-p12-digital-signature";
    enrolment.subject = "CN=device,O=Example";
    ca_make_body = make_body;
    play.calls = 0;
    play.answers[0] = answer;
    cagw_call_enrol_made(&play.service.gateway, world.issuer, &enrolment,
                         got.submission->plan, done, NULL, test_pool);
    assert_int_equal(play.calls, 1);
}

static void refused(cagw_verdict_t verdict, const char *number)
{
    assert_null(got.made);
    assert_int_equal(got.outcome->verdict, verdict);
    assert_string_equal(got.outcome->result.number, number);
    assert_null(strstr(got.outcome->result.message, got.password));
    assert_null(strstr(got.outcome->result.cause, got.password));
}

static void test_made(void **state)
{
    const char *first;

    enrol((ca_answer_t) SAYS(200, "PKCS12"));
    assert_int_equal(got.outcome->verdict, CAGW_DONE);
    assert_non_null(got.made);
    assert_int_equal(EVP_PKEY_eq(got.made->key, got.key), 1);
    assert_int_equal(X509_cmp(got.made->certificate, got.certificate), 0);
    assert_int_equal(got.made->chain->nelts, 1);
    assert_string_equal(asked("requiredFormat", "format", NULL), "PKCS12");
    assert_null(asked("csr", NULL, NULL));
    /* each has a password of its own, which nobody guesses */
    assert_int_equal(strlen(got.password), 32);
    first = got.password;
    enrol((ca_answer_t) SAYS(200, "PKCS12"));
    assert_string_not_equal(got.password, first);
}

static void test_not_usable(void **state)
{
    enrol((ca_answer_t) SAYS(200, "LOCKED"));
    refused(CAGW_UNTOLD, "GH0829");
    enrol((ca_answer_t) SAYS(200, "{\"enrollment\":{\"body\":\"AAAA\"}}"));
    refused(CAGW_UNTOLD, "GH0829");
    /* a key beside a certificate for another one */
    got.besides = give(&(given_t) { .key = fixture_key("rsa2048-04") });
    enrol((ca_answer_t) SAYS(200, "PKCS12"));
    refused(CAGW_UNTOLD, "GH0829");
}

/* It is held to what was authorised, as one for a device's key is. */
static void test_other_than_authorised(void **state)
{
    static const given_t wrong[] = {
        { .purposes = "serverAuth" }, { .usage = "keyCertSign" }, { .subject = "CN=administrator" },
        { .names = "DNS:admin.example.com" }, { .end = -10 }
    };
    given_t given = { .issuer = "CN=Somebody Else" };
    apr_size_t i;

    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); ++i) {
        given_t one = wrong[i];

        one.key = got.key;
        got.certificate = give(&one);
        enrol((ca_answer_t) SAYS(200, "PKCS12"));
        refused(CAGW_UNTOLD, "GH0780");
    }
    given.key = got.key;
    given.signer = fixture_key("rsa2048-04");
    got.certificate = give(&given);
    enrol((ca_answer_t) SAYS(200, "PKCS12"));
    refused(CAGW_UNTOLD, "GH0780");
}

static void test_weak_key(void **state)
{
    got.key = gh_own_key(test_pool, EVP_RSA_gen(1024));
    got.certificate = give(&(given_t) { .key = got.key });
    enrol((ca_answer_t) SAYS(200, "PKCS12"));
    refused(CAGW_UNTOLD, "GH1095");
}

static void test_other_ends(void **state)
{
    enrol((ca_answer_t) SAYS(400, ERROR));
    refused(CAGW_REFUSED, "GH0822");
    enrol((ca_answer_t) SAYS(200, "{\"enrollment\":{\"status\":\"REJECTED\"}}"));
    refused(CAGW_REFUSED, "GH1093");
    enrol((ca_answer_t) SAYS(202, "{\"enrollment\":{\"id\":\"7\"}}"));
    refused(CAGW_UNTOLD, "GH1094");
    enrol((ca_answer_t) SAYS(429, ERROR));
    refused(CAGW_BUSY, "GH0825");
    enrol((ca_answer_t) SAYS(503, ERROR));
    refused(CAGW_UNTOLD, "GH0826");
    enrol((ca_answer_t) { 0 });
    refused(CAGW_BROKEN, "GH0999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_made, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_not_usable, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_other_than_authorised, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_weak_key, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_other_ends, setup, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
