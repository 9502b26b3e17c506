/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Who is granted what: one-time challenges with bindings, device managers, and several providers at
 * one location. */

#include "challenge_support.h"

#include <apr_strings.h>
#include <openssl/evp.h>

#include "status.h"
#include "store/certificates.h"
#include "x509/key.h"
#include "x509/san.h"

/* Sets of alternative names */

static const char *normal(const char *first, const char *second)
{
    apr_array_header_t *texts = apr_array_make(test_pool, 2, sizeof(const char *));
    GENERAL_NAMES *names;
    gh_result_t result;
    const char *json;

    APR_ARRAY_PUSH(texts, const char *) = first;
    if (second) {
        APR_ARRAY_PUSH(texts, const char *) = second;
    }
    gh_result_clear(&result);
    return gh_san_read(&names, texts, test_pool, &result) == APR_SUCCESS
        && gh_san_normal(&json, names, test_pool, &result) == APR_SUCCESS
        ? json : apr_pstrdup(test_pool, result.number);
}

static void test_sets_of_names(void **state)
{
    assert_string_equal(normal("dns:B.example", "DNS:a.EXAMPLE"),
                        "[\"DNS:a.example\",\"DNS:b.example\"]");
    assert_string_equal(normal("DNS:a.example", "DNS:A.example"), "[\"DNS:a.example\"]");
    assert_string_equal(normal("IP:2001:DB8:0::1", "ip:192.0.2.1"),
                        "[\"IP:192.0.2.1\",\"IP:2001:db8::1\"]");
    assert_string_equal(normal("email:a@b.example", "URI:https://a.example/"),
                        "[\"URI:https://a.example/\",\"email:a@b.example\"]");
    assert_string_equal(normal("UPN:u@example.com", "dirName:CN=a,O=b"),
                        "[\"UPN:u@example.com\",\"dirName:CN=a,O=b\"]");
    assert_string_equal(normal("DNS:", NULL), "GH0127");
    assert_string_equal(normal("DNS:not a name", NULL), "GH0127");
    assert_string_equal(normal("IP:300.1.1.1", NULL), "GH0127");
    assert_string_equal(normal("otherName:1.2.3", NULL), "GH0127");
    assert_string_equal(normal("a.example", NULL), "GH0457");
}

static void test_names_that_cannot_be_compared(void **state)
{
    asked_t asked = { "CN=a", "otherName:1.2.3.4;UTF8:x,DNS:a.example", NULL, NULL, NULL };
    GENERAL_NAMES *names;
    gh_result_t result;
    const char *json;

    assert_success(gh_csr_sans(csr_of(&asked), &names, test_pool, &result));
    assert_int_equal(gh_san_normal(&json, names, test_pool, &result), GH_EREFUSED);
    assert_string_equal(result.number, "GH0455");
    asked.san = NULL;
    assert_success(gh_csr_sans(csr_of(&asked), &names, test_pool, &result));
    assert_null(names);
    assert_success(gh_san_normal(&json, names, test_pool, &result));
    assert_string_equal(json, "[]");
}

/* One-time challenges */

/* @param san NULL: any; "": none */
static const char *make_challenge(const char *subject, const char *san, const char *other_san)
{
    gh_challenge_spec_t spec = { .tenant = "acme", .issuer = "devices", .profile = "test",
                                 .node = "n", .actor = "tester", .protocol = "ctl" };
    apr_array_header_t *sans = apr_array_make(test_pool, 2, sizeof(const char *));
    gh_challenge_made_t made;
    gh_result_t result;

    spec.subject = subject;
    spec.sans = san ? sans : NULL;
    if (san && *san) {
        APR_ARRAY_PUSH(sans, const char *) = san;
    }
    if (other_san) {
        APR_ARRAY_PUSH(sans, const char *) = other_san;
    }
    assert_success(gh_challenge_new(store, &spec, &made, test_pool, &result));
    return made.challenge;
}

static void test_onetime_bindings(void **state)
{
    gh_authoriser_t *onetime = gh_authoriser_onetime(NULL, test_pool);
    const char *any = make_challenge(NULL, NULL, NULL);
    const char *subject = make_challenge("CN=a,O=Example", NULL, NULL);
    const char *sans = make_challenge(NULL, "DNS:A.example", "IP:192.0.2.1");
    const char *both = make_challenge("CN=a", "DNS:a.example", NULL);
    const char *none = make_challenge(NULL, "", NULL);
    const char *other = "was made for other alternative names";
    const char *two = "IP:192.0.2.1,DNS:a.Example";

    granted(onetime, &(asked_t){ "CN=x", "DNS:x.example", .challenge = any });
    granted(onetime, &(asked_t){ "CN=a,O=Example", "DNS:x.example", .challenge = subject });
    refused(onetime, &(asked_t){ "CN=a", NULL, .challenge = subject },
            "was made for another subject");
    granted(onetime, &(asked_t){ "CN=x", two, .challenge = sans });
    refused(onetime, &(asked_t){ "CN=x", NULL, .challenge = sans }, other);
    refused(onetime, &(asked_t){ "CN=x", "DNS:a.example", .challenge = sans }, other);
    refused(onetime, &(asked_t){ "CN=x", apr_pstrcat(test_pool, two, ",DNS:b.example", NULL),
                                 .challenge = sans }, other);
    refused(onetime, &(asked_t){ "CN=x", "IP:192.0.2.2,DNS:a.example", .challenge = sans }, other);
    refused(onetime, &(asked_t){ "CN=x",
                                 apr_pstrcat(test_pool, two, ",otherName:1.2.3;UTF8:x", NULL),
                                 .challenge = sans }, other);
    granted(onetime, &(asked_t){ "CN=a", "DNS:a.example", .challenge = both });
    refused(onetime, &(asked_t){ "CN=b", "DNS:a.example", .challenge = both },
            "was made for another subject");
    refused(onetime, &(asked_t){ "CN=a", "DNS:b.example", .challenge = both }, other);
    granted(onetime, &(asked_t){ "CN=a", NULL, .challenge = none });
    refused(onetime, &(asked_t){ "CN=a", "DNS:a.example", .challenge = none }, other);
    refused(onetime, &(asked_t){ "CN=a", NULL, .challenge = "0123" }, "is unknown");
}

static void test_onetime_grant(void **state)
{
    gh_authoriser_t *onetime = gh_authoriser_onetime(NULL, test_pool);
    asked_t asked = { "CN=a", NULL, .challenge = make_challenge(NULL, NULL, NULL) };
    gh_enrolment_request_t request = request_of(&asked);
    gh_grant_t grant, again;
    gh_result_t result;

    assert_success(check(onetime, &request, &grant, &result));
    assert_success(check(onetime, &request, &again, &result));
    assert_string_equal(grant.rule, "challenge.onetime");
    assert_int_equal(grant.secret_bits, 128);
    assert_success(consume(&grant));
    assert_int_equal(consume(&again), GH_EREFUSED);
    refused(onetime, &asked, "has been used already");
}

static void test_challenges_that_cannot_be_made(void **state)
{
    gh_challenge_spec_t spec = { .tenant = "acme", .issuer = "devices", .profile = "test" };
    apr_array_header_t *sans = apr_array_make(test_pool, 2, sizeof(const char *));
    gh_challenge_made_t made;
    gh_result_t result;

    spec.subject = "nonsense";
    assert_int_equal(gh_challenge_new(store, &spec, &made, test_pool, &result), APR_EINVAL);
    spec.subject = NULL;
    spec.sans = sans;
    APR_ARRAY_PUSH(sans, const char *) = "DNS:a b";
    assert_int_equal(gh_challenge_new(store, &spec, &made, test_pool, &result), APR_EINVAL);
    assert_null(made.challenge);
}

/* Managers */

static X509 *make_certificate(const char *key_name, const char *cn, long from, long until)
{
    X509 *certificate = gh_own_certificate(test_pool, X509_new());
    X509_NAME *name = X509_get_subject_name(certificate);
    EVP_PKEY *key = fixture_key(key_name);
    static long number;

    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 4711 + ++number);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_gmtime_adj(X509_getm_notBefore(certificate), from);
    X509_gmtime_adj(X509_getm_notAfter(certificate), until);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    return certificate;
}

typedef struct {
    gh_certificate_record_t record;
    gh_status_t status;
} stored_t;

static apr_status_t insert_work(gh_transaction_t *transaction, void *baton)
{
    stored_t *stored = baton;
    apr_status_t rv = gh_issuer_register(transaction, "devices", stored->record.key_sha256,
                                         stored->record.der);

    return rv == APR_SUCCESS ? gh_certificate_insert(transaction, &stored->record) : rv;
}

static apr_status_t status_work(gh_transaction_t *transaction, void *baton)
{
    stored_t *stored = baton;
    int changed;

    return gh_certificate_set_status(transaction, "devices", stored->record.serial, stored->status,
                                     GH_REASON_NONE, 0, apr_time_now(), &changed);
}

static void test_managers(void **state)
{
    apr_array_header_t *managers = apr_array_make(test_pool, 3, sizeof(X509 *));
    X509 *good = make_certificate("rsa2048-03", "manager", -60, 3600);
    X509 *expired = make_certificate("rsa2048-03", "old manager", -3600, -60);
    X509 *early = make_certificate("rsa2048-03", "next manager", 60, 3600);
    X509 *stranger = make_certificate("rsa2048-03", "manager", -60, 3600);
    gh_authoriser_t *manager = gh_authoriser_manager(managers, test_pool);
    gh_enrolment_request_t request = request_of(&(asked_t){ .subject = "CN=device" });
    gh_grant_t grant;
    gh_result_t result;
    const struct {
        X509 *signer;
        const char *cause;
        int final;
    } refusals[] = {
        { NULL, "no manager", 0 }, { stranger, "no manager", 0 },
        { expired, "expired or not yet valid", 1 }, { early, "expired or not yet valid", 1 }
    };
    int i;

    APR_ARRAY_PUSH(managers, X509 *) = expired;
    APR_ARRAY_PUSH(managers, X509 *) = good;
    APR_ARRAY_PUSH(managers, X509 *) = early;
    request.signer = good;
    assert_success(check(manager, &request, &grant, &result));
    assert_string_equal(grant.rule, "manager");
    assert_string_equal(grant.message, "signed by device manager CN=manager");
    assert_null(grant.consume);
    assert_int_equal(grant.secret_bits, 0);
    for (i = 0; i < 4; ++i) {
        request.signer = refusals[i].signer;
        assert_int_equal(check(manager, &request, &grant, &result), GH_EREFUSED);
        assert_string_equal(result.rule, "manager");
        assert_string_equal(result.number, "GH0473");
        assert_non_null(strstr(result.cause, refusals[i].cause));
        assert_int_equal(grant.final, refusals[i].final);
    }
}

static void test_revoked_manager(void **state)
{
    apr_array_header_t *managers = apr_array_make(test_pool, 1, sizeof(X509 *));
    X509 *manager = make_certificate("rsa2048-03", "manager", -60, 3600);
    gh_authoriser_t *authoriser = gh_authoriser_manager(managers, test_pool);
    gh_enrolment_request_t request = request_of(&(asked_t){ .subject = "CN=device" });
    unsigned char digest[EVP_MAX_MD_SIZE];
    stored_t stored = {
        .record = {
            .issuer = "devices", .serial = gh_certificate_serial(manager, test_pool),
            .reason = GH_REASON_NONE, .not_before = apr_time_now(),
            .not_after = apr_time_now() + apr_time_from_sec(3600), .subject = "CN=manager",
            .sans = "[]", .profile = "test", .der = gh_certificate_der(manager, test_pool)
        }
    };
    gh_grant_t grant;
    gh_result_t result;
    int i;

    APR_ARRAY_PUSH(managers, X509 *) = manager;
    request.signer = manager;
    EVP_Digest(stored.record.der.data, stored.record.der.length, digest, NULL, EVP_sha256(), NULL);
    stored.record.sha256 = (gh_bytes_t){ digest, 32 };
    stored.record.key_sha256 = stored.record.sha256;
    assert_success(gh_store_write(store, insert_work, &stored, &result));
    for (i = 0; i < 3; ++i) {
        const gh_status_t states[] = { GH_STATUS_HELD, GH_STATUS_GOOD, GH_STATUS_REVOKED };

        assert_success(check(authoriser, &request, &grant, &result));
        stored.status = states[i];
        assert_success(gh_store_write(store, status_work, &stored, &result));
        if (states[i] != GH_STATUS_GOOD) {
            assert_int_equal(check(authoriser, &request, &grant, &result), GH_EREFUSED);
            assert_non_null(strstr(result.cause, "revoked or held"));
            assert_int_equal(grant.final, 1);
            stored.status = GH_STATUS_GOOD;
            if (states[i] == GH_STATUS_HELD) {
                assert_success(gh_store_write(store, status_work, &stored, &result));
            }
        }
    }
}

/* Several at one location */

static apr_status_t authorise(const gh_enrolment_request_t *request, gh_authoriser_t *one,
                              gh_authoriser_t *two, gh_authoriser_t *three, gh_result_t *result)
{
    apr_array_header_t *all = apr_array_make(test_pool, 3, sizeof(gh_authoriser_t *));
    gh_authorisation_t *authorisation;
    apr_status_t rv;

    APR_ARRAY_PUSH(all, gh_authoriser_t *) = one;
    APR_ARRAY_PUSH(all, gh_authoriser_t *) = two;
    APR_ARRAY_PUSH(all, gh_authoriser_t *) = three;
    gh_result_clear(result);
    rv = gh_authorise(&authorisation, request, all, store, test_pool, result);
    if (rv == APR_SUCCESS) {
        result->rule = gh_authorisation_rule(authorisation);
    }
    return rv;
}

static void test_several(void **state)
{
    apr_array_header_t *managers = apr_array_make(test_pool, 1, sizeof(X509 *));
    gh_authoriser_t *manager = gh_authoriser_manager(managers, test_pool);
    gh_authoriser_t *onetime = gh_authoriser_onetime(NULL, test_pool);
    gh_authoriser_t *device = gh_authoriser_device(test_pool);
    gh_device_spec_t spec = spec_of("several.example.com");
    asked_t asked = { "CN=several.example.com", NULL, .challenge = "open sesame" };
    gh_enrolment_request_t request;
    gh_result_t result;

    spec.password = bytes("open sesame");
    add_device(&spec);
    request = request_of(&asked);
    request.signer = make_certificate("rsa2048-03", "expired", -3600, -60);
    assert_success(authorise(&request, manager, onetime, device, &result));
    assert_string_equal(result.rule, "challenge.device");

    asked.challenge = make_challenge(NULL, NULL, NULL);
    request.challenge = asked.challenge;
    assert_success(authorise(&request, manager, onetime, device, &result));
    assert_string_equal(result.rule, "challenge.onetime");

    request.challenge = "wrong";
    assert_int_equal(authorise(&request, manager, onetime, device, &result), GH_EREFUSED);
    assert_string_equal(result.number, "GH0470");
    assert_string_equal(result.rule, "challenge");
    assert_string_equal(result.message, "nothing that this location takes grants the request");
    assert_string_equal(result.cause, "manager: its signer is no manager; onetime: GH0024: the "
                        "one-time challenge is unknown; device: device several.example.com has "
                        "another password");

    /* one that cannot tell: it may later */
    request.sealer = NULL;
    assert_int_equal(authorise(&request, onetime, device, manager, &result), GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH0472");
    request.sealer = sealer;

    /* a manager that may not sign any more is not helped by a secret */
    APR_ARRAY_PUSH(managers, X509 *) = request.signer;
    request.challenge = "open sesame";
    assert_int_equal(authorise(&request, manager, onetime, device, &result), GH_EREFUSED);
    assert_string_equal(result.number, "GH0473");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_sets_of_names, x509_test_teardown),
        cmocka_unit_test_teardown(test_names_that_cannot_be_compared, x509_test_teardown),
        cmocka_unit_test_teardown(test_onetime_bindings, x509_test_teardown),
        cmocka_unit_test_teardown(test_onetime_grant, x509_test_teardown),
        cmocka_unit_test_teardown(test_challenges_that_cannot_be_made, x509_test_teardown),
        cmocka_unit_test_teardown(test_managers, x509_test_teardown),
        cmocka_unit_test_teardown(test_revoked_manager, x509_test_teardown),
        cmocka_unit_test_teardown(test_several, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, challenge_set_up, challenge_tear_down);
}
