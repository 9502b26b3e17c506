/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the pages that make challenges are made of: the text of NDES, configuration profiles, and
 * the number of challenges that somebody may have. */

#include "challenge_support.h"

#include <apr_strings.h>

#include "mod_scep/scep_ndes.h"
#include "mod_scep/scep_profile.h"
#include "status.h"
#include "x509/key.h"

/* NDES */

/** ASCII of a page: each character is followed by a zero byte. */
static const char *text_of(gh_bytes_t page)
{
    char *text = apr_pcalloc(test_pool, page.length);
    apr_size_t i;

    assert_true(page.length > 2 && page.length % 2 == 0);
    assert_memory_equal(page.data, "\xff\xfe", 2);
    for (i = 2; i < page.length; i += 2) {
        assert_true(page.data[i] && !page.data[i + 1]);
        text[i / 2 - 1] = (char)page.data[i];
    }
    return text;
}

static void test_pages(void **state)
{
    const char *password = "0123456789ABCDEF0123456789ABCDEF";
    const char *text;
    gh_bytes_t page;

    assert_success(scep_ndes_password(&page, password, bytes("abc"), test_pool));
    text = text_of(page);
    assert_non_null(strstr(text, "The enrollment challenge password is: <B> "
                                 "0123456789ABCDEF0123456789ABCDEF </B>"));
    /* SHA-256 of "abc": FIPS 180-4, example B.1 of FIPS 180-2 */
    assert_non_null(strstr(text, "for the CA certificate is: <B> BA7816BF 8F01CFEA 414140DE "
                                 "5DAE2223 B00361A3 96177A9C B410FF61 F20015AD </B>"));
    /* readers take the first hexadecimal number behind these words */
    assert_non_null(strstr(text, "challenge password"));
    assert_true(strstr(text, "challenge password") > strstr(text, "F20015AD"));
    text = text_of(scep_ndes_full(test_pool));
    assert_non_null(strstr(text, "The password cache is full."));
    assert_null(strstr(text, "password is"));
    text = text_of(scep_ndes_denied(test_pool));
    assert_non_null(strstr(text, "You do not have sufficient permission to enroll with SCEP."));
    assert_null(strstr(text, "password is"));
}

/* Configuration profiles */

static apr_status_t subject_of(const char **subject, int count, const scep_profile_value_t *values,
                               gh_result_t *result)
{
    apr_array_header_t *array = apr_array_make(test_pool, 4, sizeof(scep_profile_value_t));
    int i;

    for (i = 0; i < count; ++i) {
        APR_ARRAY_PUSH(array, scep_profile_value_t) = values[i];
    }
    gh_result_clear(result);
    return scep_profile_subject(subject, array, test_pool, result);
}

static void test_subjects(void **state)
{
    const scep_profile_value_t good[] = { { "CN", "a, b+c" }, { "O", "Example" } };
    const scep_profile_value_t empty = { "CN", "" }, country = { "C", "Germany" };
    scep_profile_value_t many[20];
    char *text = apr_pcalloc(test_pool, 65);
    const char *subject;
    gh_result_t result;
    int i;

    assert_success(subject_of(&subject, 2, good, &result));
    assert_string_equal(subject, "CN=a\\, b\\+c,O=Example");
    assert_int_equal(subject_of(&subject, 1, &empty, &result), APR_EINVAL);
    assert_int_equal(subject_of(&subject, 1, &country, &result), APR_EINVAL);
    assert_string_equal(result.number, "GH0502");
    /* each is allowed, all together would be cut */
    memset(text, 'x', 64);
    for (i = 0; i < 20; ++i) {
        many[i] = (scep_profile_value_t){ "OU", text };
    }
    assert_success(subject_of(&subject, 10, many, &result));
    assert_int_equal(subject_of(&subject, 20, many, &result), APR_EINVAL);
    assert_string_equal(result.number, "GH0503");
}

static scep_profile_t profile_of(const char *organization)
{
    scep_profile_t made = {
        .url = "http://pki.example.com/scep/a/b/c", .tenant = "a", .issuer = "b", .profile = "c",
        .organization = organization, .subject = "CN=a", .challenge = "secret", .key_size = 2048,
        .key_usage = SCEP_PROFILE_SIGN, .authority = gh_own_certificate(test_pool, X509_new()),
        .chain = apr_array_make(test_pool, 1, sizeof(X509 *))
    };

    X509_set_version(made.authority, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(made.authority), 0);
    X509_gmtime_adj(X509_getm_notAfter(made.authority), 3600);
    X509_set_pubkey(made.authority, fixture_key("p256-01"));
    X509_sign(made.authority, fixture_key("p256-01"), EVP_sha256());
    return made;
}

static void test_texts_that_xml_cannot_have(void **state)
{
    static const char *const bad[] = { "a\001b", "a\nb", "a\177b", "\377\376", "\303", NULL };
    scep_profile_t made = profile_of("M\303\274ller & <Sons>");
    gh_bytes_t plist;
    gh_result_t result;
    int i;

    scep_profile_prepare();
    assert_success(scep_profile_write(&plist, &made, test_pool, &result));
    assert_non_null(strstr(apr_pstrmemdup(test_pool, (const char *)plist.data, plist.length),
                           "<string>M\303\274ller &amp; &lt;Sons&gt;</string>"));
    for (i = 0; bad[i]; ++i) {
        made.organization = bad[i];
        assert_int_equal(scep_profile_write(&plist, &made, test_pool, &result), APR_EINVAL);
        assert_string_equal(result.number, "GH0504");
    }
    made.organization = NULL;
    made.subject = "no name";
    assert_int_equal(scep_profile_write(&plist, &made, test_pool, &result), APR_EINVAL);
}

/* How many challenges */

static gh_challenge_spec_t spec_for(const char *actor)
{
    gh_challenge_spec_t spec = { .tenant = "acme", .issuer = "devices", .profile = "test",
                                 .typed = 1, .most = 2, .actor = actor, .protocol = "ndes",
                                 .node = "n", .lifetime = apr_time_from_sec(60) };

    return spec;
}

static const char *make(const gh_challenge_spec_t *spec, apr_status_t expected)
{
    gh_challenge_made_t made;
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_challenge_new(store, spec, &made, test_pool, &result), expected);
    if (expected != APR_SUCCESS) {
        assert_string_equal(result.number, "GH0492");
        assert_int_equal(result.failure, GH_FAILURE_CONFLICT);
    }
    return made.challenge;
}

static apr_status_t expire(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "UPDATE challenge SET expires = $1");

    gh_bind_int64(query, apr_time_now());
    return gh_execute(query);
}

static void test_number_of_challenges(void **state)
{
    gh_challenge_spec_t spec = spec_for("one"), other = spec_for("two");
    gh_authoriser_t *onetime = gh_authoriser_onetime(NULL, test_pool);
    asked_t asked = { "CN=a", NULL, NULL, NULL, NULL };
    gh_enrolment_request_t request;
    const char *challenge;
    gh_grant_t grant;
    gh_result_t result;

    challenge = make(&spec, APR_SUCCESS);
    assert_int_equal(strlen(challenge), 32);
    assert_int_equal(strspn(challenge, "0123456789ABCDEF"), 32);
    make(&spec, APR_SUCCESS);
    make(&spec, GH_EREFUSED);
    /* others do not count: of another user, page, endpoint or set */
    make(&other, APR_SUCCESS);
    other = spec_for("one");
    other.protocol = "http";
    make(&other, APR_SUCCESS);
    other = spec_for("one");
    other.set = "printers";
    make(&other, APR_SUCCESS);
    other = spec_for("one");
    other.profile = "other";
    make(&other, APR_SUCCESS);
    make(&spec, GH_EREFUSED);
    /* one that was used makes room */
    asked.challenge = challenge;
    request = request_of(&asked);
    assert_success(check(onetime, &request, &grant, &result));
    assert_success(consume(&grant));
    make(&spec, APR_SUCCESS);
    make(&spec, GH_EREFUSED);
    /* and so do those that expired */
    assert_success(gh_store_write(store, expire, NULL, &result));
    make(&spec, APR_SUCCESS);
    make(&spec, APR_SUCCESS);
    make(&spec, GH_EREFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_pages, x509_test_teardown),
        cmocka_unit_test_teardown(test_subjects, x509_test_teardown),
        cmocka_unit_test_teardown(test_texts_that_xml_cannot_have, x509_test_teardown),
        cmocka_unit_test_teardown(test_number_of_challenges, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, challenge_set_up, challenge_tear_down);
}
