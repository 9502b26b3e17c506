/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a CA elsewhere may return, and what is never handed out. */

#include "submission_support.h"

#include <apr_strings.h>

#include "status.h"

static gh_submission_t *submission;

static int setup(void **state)
{
    gh_enrolment_outcome_t outcome;

    submission_setup(state);
    assert_success(ask_slow("check", world.profile, &outcome));
    submission = take_submission(outcome.id, "worker");
    return 0;
}

static void accepted(const given_t *given)
{
    gh_result_clear(&world.result);
    if (gh_submission_check(submission, world.issuer, give(given), &world.result) != APR_SUCCESS) {
        fail_msg("%s", world.result.message);
    }
}

static void refused(const given_t *given, const char *why)
{
    gh_result_clear(&world.result);
    assert_int_equal(gh_submission_check(submission, world.issuer, give(given), &world.result),
                     GH_EREFUSED);
    assert_int_equal(world.result.failure, GH_FAILURE_INTEGRITY);
    assert_string_equal(world.result.number, "GH0780");
    if (!strstr(world.result.message, why)) {
        fail_msg("\"%s\" says nothing of \"%s\"", world.result.message, why);
    }
}

static void test_as_asked(void **state)
{
    accepted(&(given_t) { 0 });
    /* less than was authorised, where that does not mean more */
    accepted(&(given_t) { .usage = "digitalSignature" });
    accepted(&(given_t) { .purposes = "clientAuth" });
    accepted(&(given_t) { .names = "" });
    accepted(&(given_t) { .names = "email:device@example.com,DNS:Device.Example.COM" });
    accepted(&(given_t) { .more = { "basicConstraints", "critical,CA:FALSE" } });
    accepted(&(given_t) { .more = { "2.5.29.32", "DER:3006300406022a03" } });
    accepted(&(given_t) { .begin = 240 });
}

static void test_key_and_issuer(void **state)
{
    refused(&(given_t) { .key = fixture_key("rsa2048-02") }, "another key");
    refused(&(given_t) { .key = fixture_key("p256-01") }, "another key");
    refused(&(given_t) { .signer = fixture_key("p256-01") }, "IssuerCertificate");
    refused(&(given_t) { .issuer = "CN=Other CA" }, "IssuerCertificate");
    refused(&(given_t) { .issuer = "CN=Other CA", .signer = fixture_key("p256-01") },
            "IssuerCertificate");
}

static void test_form(void **state)
{
    refused(&(given_t) { .version = 1, .usage = "", .purposes = "", .names = "" }, "version 3");
    refused(&(given_t) { .serial = -5 }, "serial number");
    refused(&(given_t) { .more = { "1.2.3.4.5", "critical,DER:0500" } }, "critical extension");
    accepted(&(given_t) { .more = { "1.2.3.4.5", "DER:0500" } });
}

static void test_time(void **state)
{
    refused(&(given_t) { .begin = 3000 }, "not valid yet");
    refused(&(given_t) { .begin = -3600, .end = -60 }, "expired");
}

static void test_ca(void **state)
{
    refused(&(given_t) { .more = { "basicConstraints", "critical,CA:TRUE" } }, "a CA's");
    refused(&(given_t) { .usage = "digitalSignature,keyCertSign" }, "CA's");
    refused(&(given_t) { .usage = "digitalSignature,cRLSign" }, "CA's");
}

static void test_usage(void **state)
{
    refused(&(given_t) { .usage = "" }, "no key usage");
    refused(&(given_t) { .usage = "digitalSignature,nonRepudiation" }, "key usage that was not");
    refused(&(given_t) { .usage = "keyAgreement,decipherOnly" }, "key usage that was not");
    refused(&(given_t) { .purposes = "" }, "no extended key usage");
    refused(&(given_t) { .purposes = "clientAuth,serverAuth" }, "serverAuth");
    refused(&(given_t) { .purposes = "OCSPSigning" }, "OCSP");
    refused(&(given_t) { .purposes = "clientAuth,anyExtendedKeyUsage" }, "any");
    refused(&(given_t) { .purposes = "clientAuth,1.3.6.1.4.1.311.20.2.2" },
            "extended key usage");
    refused(&(given_t) { .more = { "extendedKeyUsage", "serverAuth" } }, "version 3");
}

/* Windows lets application policies stand for extended key usages. */
static void test_application_policies(void **state)
{
    /* clientAuth */
    accepted(&(given_t) { .more = { APPLICATION, "DER:300c300a06082b06010505070302" } });
    /* codeSigning */
    refused(&(given_t) { .more = { APPLICATION, "DER:300c300a06082b06010505070303" } },
            "application policy");
    refused(&(given_t) { .more = { APPLICATION, "DER:3001" } }, "application policies");
}

static void test_names(void **state)
{
    refused(&(given_t) { .names = "DNS:other.example.com" }, "alternative name (dns)");
    refused(&(given_t) { .names = "DNS:device.example.com,DNS:*.example.com" },
            "alternative name (dns)");
    refused(&(given_t) { .names = "email:admin@example.com" }, "alternative name (email)");
    refused(&(given_t) { .names = "IP:192.0.2.1" }, "alternative name (ip)");
    refused(&(given_t) { .names = "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:admin@example.com" },
            "alternative name (upn)");
    refused(&(given_t) { .more = { SID, "DER:3003020101" } }, "security identifier");
}

static void test_subject(void **state)
{
    accepted(&(given_t) { .subject = "cn=DEVICE,o=example" });
    refused(&(given_t) { .subject = "CN=other,O=Example" }, "another subject");
    refused(&(given_t) { .subject = "CN=device" }, "another subject");
    gh_issuer_config(world.issuer)->any_subject = 1;
    accepted(&(given_t) { .subject = "CN=other,O=Example" });
    refused(&(given_t) { .subject = "CN=Slow CA,O=Elsewhere" }, "name of a CA");
    refused(&(given_t) { .subject = "CN=slow SCEP RA" }, "name of a CA");
    /* the rest still counts */
    refused(&(given_t) { .subject = "CN=other", .names = "DNS:other.example.com" },
            "alternative name");
}

/* A profile that limits no usage: the CA may, but does not get to choose purposes. */
static void test_unlimited(void **state)
{
    gh_enrolment_outcome_t outcome;

    world.profile = make_profile("test-free", NULL, "ProfileSubjectAltName take dns email",
                                 "ProfileKeyUsage none", "ProfileValidity 30d", NULL);
    assert_success(ask_slow("free", world.profile, &outcome));
    submission = take_submission(outcome.id, "worker");
    accepted(&(given_t) { .usage = "digitalSignature", .purposes = "" });
    accepted(&(given_t) { .usage = "", .purposes = "" });
    refused(&(given_t) { .purposes = "clientAuth" }, "clientAuth");
    refused(&(given_t) { .usage = "keyCertSign", .purposes = "" }, "CA's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_as_asked, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_key_and_issuer, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_form, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_time, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_ca, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_usage, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_application_policies, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_subject, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_unlimited, setup, x509_test_teardown)
    };

    return cmocka_run_group_tests_name("check of submissions", tests, x509_group_setup,
                                       x509_group_teardown);
}
