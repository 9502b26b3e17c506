/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "challenge_support.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#include "status.h"

#define ENROLMENT "0123456789abcdef0123456789abcdef"

static apr_pool_t *long_lived;
static char folder[] = "/tmp/gatehouse-challenges-XXXXXX";
gh_store_t *store;
gh_sealer_t *sealer, *other_sealer;
gh_profile_t *profile;

static gh_sealer_t *make_sealer(const char *name, const char *digits)
{
    const char *path = apr_pstrcat(long_lived, folder, "/", name, NULL);
    FILE *file = fopen(path, "w");
    gh_sealer_t *made;
    gh_result_t result;

    fputs(digits, file);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
    assert_success(gh_sealer_open(&made, apr_pstrcat(long_lived, "file:", path, NULL), long_lived,
                                  &result));
    return made;
}

static void set(const char *directive, const char *value)
{
    gh_result_t result;

    assert_success(gh_profile_set(profile, directive, 1, &value, long_lived, &result));
}

int challenge_set_up(void **state)
{
    gh_store_options_t options = {0};
    gh_result_t result;
    const char *uri;

    x509_group_setup(state);
    apr_pool_create(&long_lived, NULL);
    assert_non_null(mkdtemp(folder));
    uri = apr_pstrcat(long_lived, "sqlite3:", folder, "/store.db", NULL);
    assert_success(gh_store_prepare(uri, (apr_uid_t)-1, (apr_gid_t)-1, &options, long_lived,
                                    &result));
    assert_success(gh_store_open(&store, uri, &options, long_lived, &result));
    sealer = make_sealer("one",
                         "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    other_sealer = make_sealer("two",
                               "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    profile = gh_profile_create("test", NULL, long_lived);
    set("ProfileKeyUsage", "digitalSignature");
    set("ProfileExtendedKeyUsage", "clientAuth");
    set("ProfileValidity", "30d");
    assert_success(gh_profile_complete(profile, long_lived, &result));
    return 0;
}

int challenge_tear_down(void **state)
{
    char command[64];

    apr_snprintf(command, sizeof(command), "rm -rf %s", folder);
    apr_pool_destroy(long_lived);
    return x509_group_teardown(state) | system(command);
}

gh_csr_t *csr_of(const asked_t *asked)
{
    request_t request = request_for(fixture_key("rsa2048-02"), asked->subject);
    X509_REQ *built;
    gh_bytes_t der;
    gh_csr_t *csr;
    gh_result_t result;

    request.challenge = asked->challenge && *asked->challenge ? asked->challenge : NULL;
    if (asked->san) {
        ask(&request, "subjectAltName", asked->san);
    }
    built = build_request(&request);
    if (asked->name) {
        assert_true(X509_REQ_add1_attr_by_NID(built, NID_pkcs9_unstructuredName, MBSTRING_UTF8,
                                              (const unsigned char *)asked->name, -1));
    }
    if (asked->address) {
        assert_true(X509_REQ_add1_attr_by_NID(built, NID_pkcs9_unstructuredAddress, MBSTRING_UTF8,
                                              (const unsigned char *)asked->address, -1));
    }
    assert_true(X509_REQ_sign(built, request.key, EVP_sha256()) > 0);
    der = request_der(built);
    assert_success(gh_csr_parse(&csr, der.data, der.length, NULL, test_pool, &result));
    return csr;
}

gh_enrolment_request_t request_of(const asked_t *asked)
{
    gh_enrolment_request_t request = {0};

    request.protocol = "scep";
    request.location = "/scep/acme/devices/test";
    request.tenant = "acme";
    request.issuer = "devices";
    request.profile = profile;
    request.transaction = "t";
    request.csr = csr_of(asked);
    request.signer_sha256 = gh_csr_key_sha256(request.csr);
    request.challenge = asked->challenge;
    request.sealer = sealer;
    return request;
}

apr_status_t check(gh_authoriser_t *authoriser, const gh_enrolment_request_t *request,
                          gh_grant_t *grant, gh_result_t *result)
{
    memset(grant, 0, sizeof(*grant));
    gh_result_clear(result);
    return authoriser->check(authoriser, store, request, grant, test_pool, result);
}

void granted(gh_authoriser_t *authoriser, const asked_t *asked)
{
    gh_enrolment_request_t request = request_of(asked);
    gh_grant_t grant;
    gh_result_t result;

    if (check(authoriser, &request, &grant, &result) != APR_SUCCESS) {
        fail_msg("%s: %s: %s", asked->subject, result.message, result.cause);
    }
}

/* Whatever the cause, the requester is told the same. */
void refused(gh_authoriser_t *authoriser, const asked_t *asked, const char *cause)
{
    static const char *const messages[] = {
        "the one-time challenge is not accepted", "no device registration grants the request"
    };
    gh_enrolment_request_t request = request_of(asked);
    gh_grant_t grant;
    gh_result_t result;

    assert_int_equal(check(authoriser, &request, &grant, &result), GH_EREFUSED);
    assert_int_equal(result.failure, GH_FAILURE_DENIED);
    assert_string_equal(result.message,
                        messages[!strcmp(authoriser->name, "device")]);
    if (!strstr(result.cause, cause)) {
        fail_msg("\"%s\" is not in \"%s\"", cause, result.cause);
    }
}

typedef struct {
    const gh_grant_t *grant;
} consume_t;

static apr_status_t consume_work(gh_transaction_t *transaction, void *baton)
{
    const gh_grant_t *grant = ((consume_t *)baton)->grant;

    return grant->consume(transaction, grant->consume_baton, ENROLMENT, apr_time_now());
}

apr_status_t consume(const gh_grant_t *grant)
{
    consume_t baton = { grant };
    gh_result_t result;

    assert_non_null(grant->consume);
    return gh_store_write(store, consume_work, &baton, &result);
}

gh_device_spec_t spec_of(const char *fqdn)
{
    gh_device_spec_t spec = { .tenant = "acme", .fqdn = fqdn, .node = "n", .actor = "tester",
                              .protocol = "ctl" };

    return spec;
}

gh_bytes_t bytes(const char *text)
{
    gh_bytes_t made = { (const unsigned char *)text, strlen(text) };

    return made;
}

const char *add_device(const gh_device_spec_t *spec)
{
    gh_device_record_t record;
    const char *password;
    gh_result_t result;

    if (gh_device_register(store, sealer, spec, &record, &password, test_pool, &result)
        != APR_SUCCESS) {
        fail_msg("%s: %s", spec->fqdn, result.message);
    }
    return password;
}
