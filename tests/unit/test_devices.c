/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Registered devices: which requests a registration grants, and how often. */

#include "challenge_support.h"

#include <apr_strings.h>

#include "status.h"

static void test_device_names(void **state)
{
    gh_authoriser_t *device = gh_authoriser_device(test_pool);
    gh_device_spec_t spec = spec_of("R1.Example.com");
    const char *another = "is another host than";

    spec.password = bytes("open sesame");
    assert_null(add_device(&spec));
#define ASK(...) &(asked_t){ .challenge = "open sesame", __VA_ARGS__ }
    granted(device, ASK(.subject = "CN=r1.example.com"));
    granted(device, ASK(.subject = "CN=R1.EXAMPLE.COM,O=Example"));
    granted(device, ASK(.subject = "O=Example", .name = "r1.example.com"));
    granted(device, ASK(.subject = "O=Example", .san = "DNS:R1.example.com"));
    granted(device, ASK(.subject = "1.2.840.113549.1.9.2=r1.example.com"));
    granted(device, ASK(.subject = "CN=r1.example.com", .san = "DNS:r1.example.com",
                        .name = "R1.example.com"));
    refused(device, ASK(.subject = "O=Example"), "names no host");
    refused(device, ASK(.subject = "CN=r2.example.com"), "device r2.example.com is not registered");
    refused(device, ASK(.subject = "CN=r1.example.com", .san = "DNS:r2.example.com"), another);
    refused(device, ASK(.subject = "CN=r1.example.com",
                        .san = "DNS:r1.example.com,DNS:www.example.com"), another);
    refused(device, ASK(.subject = "CN=r1.example.com", .san = "DNS:*.example.com"), another);
    refused(device, ASK(.subject = "CN=admin", .name = "r1.example.com"), another);
    refused(device, ASK(.subject = "CN=r1.example.com,CN=admin"), another);
    refused(device, ASK(.subject = "CN=r1.example.com", .name = "r2.example.com"), another);
    refused(device, ASK(.subject = "CN=r1.example.com", .san = "email:a@example.com"),
            "more than host names and addresses");
    refused(device, ASK(.subject = "CN=r1.example.com", .san = "URI:https://a.example/"),
            "more than host names and addresses");
    refused(device, ASK(.subject = "CN=r1.example.com", .san = "otherName:1.2.3;UTF8:x"),
            "more than host names and addresses");
    refused(device, ASK(.subject = "CN=r1.example.com", .san = "IP:192.0.2.1"),
            "no registered address");
    /* free text that nothing relies on */
    granted(device, ASK(.subject = "CN=r1.example.com,serialNumber=FTX1", .address = "192.0.2.1"));
#undef ASK
}

static void test_device_password(void **state)
{
    gh_authoriser_t *device = gh_authoriser_device(test_pool);
    gh_device_spec_t spec = spec_of("pw.example.com");
    asked_t asked = { .subject = "CN=pw.example.com" };
    gh_enrolment_request_t request;
    gh_grant_t grant;
    gh_result_t result;
    const char *password;

    spec.generate = 1;
    password = add_device(&spec);
    assert_int_equal(strlen(password), 40);
    refused(device, &asked, "and the request has none");
    asked.challenge = "";
    refused(device, &asked, "and the request has none");
    asked.challenge = apr_pstrcat(test_pool, password, "0", NULL);
    refused(device, &asked, "has another password");
    asked.challenge = password;
    request = request_of(&asked);
    assert_success(check(device, &request, &grant, &result));
    assert_string_equal(grant.rule, "challenge.device");
    assert_int_equal(grant.secret_bits, 160);
    assert_success(consume(&grant));
    assert_success(consume(&grant));
    granted(device, &asked);

    request.sealer = other_sealer;
    assert_int_equal(check(device, &request, &grant, &result), GH_EREFUSED);
    request.sealer = NULL;
    assert_int_equal(check(device, &request, &grant, &result), GH_EUNAVAILABLE);
    request.sealer = sealer;
    request.tenant = "beta";
    assert_int_equal(check(device, &request, &grant, &result), GH_EREFUSED);
    assert_non_null(strstr(result.cause, "is not registered"));

    /* the strength of what people choose is not known */
    spec = spec_of("chosen.example.com");
    spec.password = bytes(password);
    add_device(&spec);
    asked.subject = "CN=chosen.example.com";
    request = request_of(&asked);
    assert_success(check(device, &request, &grant, &result));
    assert_int_equal(grant.secret_bits, 0);
}

static void test_device_single_use(void **state)
{
    gh_authoriser_t *device = gh_authoriser_device(test_pool);
    gh_device_spec_t without = spec_of("once.example.com");
    gh_device_spec_t with = spec_of("once-too.example.com");
    asked_t asked[] = {
        { .subject = "CN=once.example.com" },
        { .subject = "CN=once-too.example.com", .challenge = "open sesame" }
    };
    int i;

    add_device(&without);
    with.password = bytes("open sesame");
    with.single_use = 1;
    add_device(&with);
    for (i = 0; i < 2; ++i) {
        gh_enrolment_request_t request = request_of(&asked[i]);
        gh_grant_t first, second;
        gh_result_t result;

        assert_success(check(device, &request, &first, &result));
        assert_success(check(device, &request, &second, &result));
        assert_int_equal(first.secret_bits, 0);
        assert_success(consume(&first));
        assert_int_equal(consume(&second), GH_EREFUSED);
        refused(device, &asked[i], "has used its registration already");
    }
}

static void test_device_bindings(void **state)
{
    gh_authoriser_t *device = gh_authoriser_device(test_pool);
    gh_device_spec_t spec = spec_of("bound.example.com");
    const char *subject = "CN=bound.example.com,serialNumber=FTX1";
    const char *named = "has another address than the request names";
    asked_t asked = { .subject = subject, .address = "192.0.2.7" };
    gh_enrolment_request_t request;
    gh_grant_t grant;
    gh_result_t result;

    spec.address = "192.0.2.7";
    spec.serial_number = "FTX1";
    spec.issuer = "devices";
    spec.profile = "test";
    add_device(&spec);
    granted(device, &asked);
    granted(device, &(asked_t){ .subject = subject, .san = "IP:192.0.2.7" });
    granted(device, &(asked_t){ .subject = subject, .san = "IP:192.0.2.7,DNS:bound.example.com",
                                .address = "192.0.2.7" });
    refused(device, &(asked_t){ .subject = subject }, "and the request names none");
    refused(device, &(asked_t){ .subject = subject, .san = "IP:192.0.2.8" }, named);
    refused(device, &(asked_t){ .subject = subject, .san = "IP:192.0.2.8",
                                .address = "192.0.2.7" }, named);
    refused(device, &(asked_t){ .subject = subject, .san = "IP:192.0.2.7",
                                .address = "192.0.2.8" }, named);
    refused(device, &(asked_t){ .subject = subject, .san = "IP:192.0.2.7",
                                .address = "nonsense" }, named);
    refused(device, &(asked_t){ "CN=bound.example.com", .address = "192.0.2.7" },
            "has a registered serial number");
    refused(device, &(asked_t){ "CN=bound.example.com,serialNumber=FTX2", .address = "192.0.2.7" },
            "another serial number");
    refused(device, &(asked_t){ "CN=bound.example.com,serialNumber=FTX1,serialNumber=FTX2",
                                .address = "192.0.2.7" }, "another serial number");
    request = request_of(&asked);
    request.issuer = "other";
    assert_int_equal(check(device, &request, &grant, &result), GH_EREFUSED);
    assert_non_null(strstr(result.cause, "another issuer or profile"));
    request.issuer = "devices";
    request.profile = gh_profile_create("another", NULL, test_pool);
    assert_int_equal(check(device, &request, &grant, &result), GH_EREFUSED);
    assert_non_null(strstr(result.cause, "another issuer or profile"));
}

static void test_device_registrations(void **state)
{
    gh_device_spec_t spec = spec_of("reg.example.com");
    gh_device_record_t record, first;
    const char *password;
    gh_result_t result;
    asked_t asked = { .subject = "CN=reg.example.com" };
    gh_enrolment_request_t request;
    gh_grant_t grant;
    int i;
    const struct {
        gh_device_spec_t spec;
        const char *number;
    } wrong[] = {
        { { .tenant = "acme", .fqdn = "*.example.com" }, "GH0474" },
        { { .tenant = "acme", .fqdn = "a b" }, "GH0474" },
        { { .tenant = "acme", .fqdn = "" }, "GH0474" },
        { { .tenant = "acme", .fqdn = "a.example.com", .address = "192.0.2" }, "GH0475" },
        { { .tenant = "acme", .fqdn = "a.example.com", .serial_number = "" }, "GH0476" },
        { { .tenant = "acme", .fqdn = "a.example.com", .serial_number = "\xc3\xa4" }, "GH0476" },
        { { .tenant = "acme", .fqdn = "a.example.com", .password = bytes("short") }, "GH0477" },
        { { .tenant = "acme", .fqdn = "a.example.com", .password = bytes("line\nline") },
          "GH0477" }
    };

    for (i = 0; i < (int)(sizeof(wrong) / sizeof(wrong[0])); ++i) {
        assert_int_equal(gh_device_register(store, sealer, &wrong[i].spec, &record, &password,
                                            test_pool, &result), APR_EINVAL);
        assert_string_equal(result.number, wrong[i].number);
    }
    spec.generate = 1;
    assert_int_equal(gh_device_register(store, NULL, &spec, &record, &password, test_pool,
                                        &result), GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH0472");
    spec.generate = 0;
    assert_success(gh_device_register(store, sealer, &spec, &first, &password, test_pool,
                                      &result));
    assert_null(password);
    assert_int_equal(gh_device_register(store, sealer, &spec, &record, &password, test_pool,
                                        &result), GH_ECONFLICT);
    assert_string_equal(result.number, "GH0478");

    /* what was granted before a registration was removed is not good any more */
    request = request_of(&asked);
    assert_success(check(gh_authoriser_device(test_pool), &request, &grant, &result));
    assert_success(gh_device_unregister(store, &first, "n", "tester", "ctl", test_pool, &result));
    assert_int_equal(gh_device_unregister(store, &first, "n", "tester", "ctl", test_pool, &result),
                     APR_NOTFOUND);
    assert_success(gh_device_register(store, sealer, &spec, &record, &password, test_pool,
                                      &result));
    assert_int_equal(consume(&grant), GH_EREFUSED);
}

static void test_keyed_digests(void **state)
{
    unsigned char one[GH_SEAL_MAC_SIZE], other[GH_SEAL_MAC_SIZE];
    gh_result_t result;

    assert_success(gh_sealer_mac(one, sealer, "device/a", bytes("secret"), &result));
    assert_success(gh_sealer_mac(other, sealer, "device/a", bytes("secret"), &result));
    assert_memory_equal(one, other, sizeof(one));
    assert_success(gh_sealer_mac(other, sealer, "device/b", bytes("secret"), &result));
    assert_memory_not_equal(one, other, sizeof(one));
    assert_success(gh_sealer_mac(other, sealer, "device/", bytes("asecret"), &result));
    assert_memory_not_equal(one, other, sizeof(one));
    assert_success(gh_sealer_mac(other, other_sealer, "device/a", bytes("secret"), &result));
    assert_memory_not_equal(one, other, sizeof(one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_device_names, x509_test_teardown),
        cmocka_unit_test_teardown(test_device_password, x509_test_teardown),
        cmocka_unit_test_teardown(test_device_single_use, x509_test_teardown),
        cmocka_unit_test_teardown(test_device_bindings, x509_test_teardown),
        cmocka_unit_test_teardown(test_device_registrations, x509_test_teardown),
        cmocka_unit_test_teardown(test_keyed_digests, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, challenge_set_up, challenge_tear_down);
}
