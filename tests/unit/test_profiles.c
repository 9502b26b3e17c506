/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Every shipped profile, and profiles as such. */

#include "x509_support.h"

#include <apr_strings.h>

#include "profile_expectations.h"
#include "status.h"
#include "x509/key.h"

/* The table */

static apr_uint32_t expected_usage(const char *usages, int ec)
{
    apr_uint32_t usage = 0;

    for (; *usages != '\0'; usages++) {
        switch (*usages) {
        case 'D': usage |= KU_DIGITAL_SIGNATURE; break;
        case 'N': usage |= KU_NON_REPUDIATION; break;
        case 'K': usage |= ec ? KU_KEY_AGREEMENT : KU_KEY_ENCIPHERMENT; break;
        case 'E': usage |= ec ? 0 : KU_DATA_ENCIPHERMENT; break;
        case 'A': usage |= ec ? KU_KEY_AGREEMENT : 0; break;
        case 'C': usage |= KU_KEY_CERT_SIGN; break;
        case 'R': usage |= KU_CRL_SIGN; break;
        default: fail();
        }
    }
    return usage;
}

static const char *expected_eku_oid(char eku)
{
    switch (eku) {
    case 'S': return "1.3.6.1.5.5.7.3.1";
    case 'C': return "1.3.6.1.5.5.7.3.2";
    case 'X': return "1.3.6.1.5.5.7.3.3";
    case 'M': return "1.3.6.1.5.5.7.3.4";
    case 'O': return "1.3.6.1.5.5.7.3.9";
    case 'L': return "1.3.6.1.4.1.311.20.2.2";
    case '*': return "2.5.29.37.0";
    default: fail(); return NULL;
    }
}

static void check_eku(X509 *certificate, const char *expected)
{
    int critical = 0;
    size_t i;
    EXTENDED_KEY_USAGE *ekus = extension_of(certificate, NID_ext_key_usage, &critical);

    if (expected[0] == '\0') {
        assert_null(ekus);
        assert_int_equal(critical, -1);
        return;
    }
    assert_non_null(ekus);
    assert_int_equal(critical, 0);
    assert_int_equal(sk_ASN1_OBJECT_num(ekus), (int)strlen(expected));
    for (i = 0; expected[i] != '\0'; i++) {
        ASN1_OBJECT *wanted = OBJ_txt2obj(expected_eku_oid(expected[i]), 1);
        int j, found = 0;

        for (j = 0; j < sk_ASN1_OBJECT_num(ekus); j++)
            found |= OBJ_cmp(wanted, sk_ASN1_OBJECT_value(ekus, j)) == 0;
        assert_true(found);
        ASN1_OBJECT_free(wanted);
    }
    EXTENDED_KEY_USAGE_free(ekus);
}

/** What every subscriber certificate has. */
static void check_common(X509 *certificate, const gh_ca_t *ca, int days)
{
    int critical = 0;
    BASIC_CONSTRAINTS *constraints = extension_of(certificate, NID_basic_constraints, &critical);
    ASN1_BIT_STRING *usage = extension_of(certificate, NID_key_usage, &critical);

    assert_non_null(constraints);
    assert_int_equal(constraints->ca, 0);
    assert_null(constraints->pathlen);
    assert_int_equal(critical, 1);
    assert_non_null(usage);
    assert_int_equal(X509_get_version(certificate), X509_VERSION_3);
    assert_int_equal(ASN1_OCTET_STRING_cmp(
                         X509_get0_authority_key_id(certificate),
                         X509_get0_subject_key_id(gh_ca_certificate(ca))), 0);
    assert_int_equal(ASN1_STRING_length(X509_get0_subject_key_id(certificate)), 20);
    assert_true(gh_certificate_not_after(certificate) - gh_certificate_not_before(certificate)
                == apr_time_from_sec(86400) * days);
    assert_int_equal(X509_verify(certificate, X509_get0_pubkey(gh_ca_certificate(ca))), 1);
    BASIC_CONSTRAINTS_free(constraints);
    ASN1_BIT_STRING_free(usage);
}

static void test_every_profile(void **state)
{
    apr_hash_t *profiles = read_profiles();
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    size_t i;
    int ec;

    (void)state;
    assert_int_equal(EXPECTATIONS, 79);
    assert_int_equal(apr_hash_count(profiles), 79);
    for (i = 0; i < EXPECTATIONS; i++) {
        const expectation_t *expected = &expectations[i];
        gh_profile_t *profile = apr_hash_get(profiles, expected->name, APR_HASH_KEY_STRING);

        if (profile == NULL)
            fail_msg("there is no profile %s", expected->name);
        for (ec = 0; ec < 2; ec++) {
            EVP_PKEY *key = key_of_kind(ec ? "P-384" : "RSA-2048");
            request_t request = request_for(key, "cn=device.example.com,o=Example");
            outcome_t outcome;
            X509 *certificate;

            if (strchr(expected->usages, 'C') != NULL || expected->ekus[0] == 'O') {
                sk_X509_EXTENSION_free(request.extensions);
                continue;
            }
            outcome = apply(profile, &request);
            if (outcome.rv != APR_SUCCESS)
                fail_msg("%s: %s", expected->name, outcome.result.message);
            certificate = issue(ca, outcome.plan);
            if (X509_get_key_usage(certificate) != expected_usage(expected->usages, ec))
                fail_msg("%s: key usage is %x", expected->name, X509_get_key_usage(certificate));
            check_eku(certificate, expected->ekus[0] == '?' ? "" : expected->ekus);
            check_common(certificate, ca, expected->days);
            assert_true(X509_get_ext_by_NID(certificate, NID_crl_distribution_points, -1) >= 0);
        }
    }
}

/** Requests with an EKU, for profiles that take them and those that do not. */
static void test_eku_from_request(void **state)
{
    apr_hash_t *profiles = read_profiles();
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    size_t i;

    (void)state;
    for (i = 0; i < EXPECTATIONS; i++) {
        const expectation_t *expected = &expectations[i];
        request_t request;
        outcome_t outcome;

        if (strncmp(expected->name, "basic-", 6) == 0)
            continue;
        request = request_for(key_of_kind("P-256"), "cn=device.example.com");
        ask(&request, "extendedKeyUsage", "critical,serverAuth,1.3.6.1.4.1.32473.7");
        outcome = apply(apr_hash_get(profiles, expected->name, APR_HASH_KEY_STRING), &request);
        if (expected->ekus[0] == '?') {
            EXTENDED_KEY_USAGE *ekus;
            int critical;

            assert_granted(outcome);
            ekus = extension_of(issue(ca, outcome.plan), NID_ext_key_usage, &critical);
            assert_int_equal(sk_ASN1_OBJECT_num(ekus), 2);
            assert_int_equal(critical, 0);
            EXTENDED_KEY_USAGE_free(ekus);
        }
        else {
            assert_refused(outcome, "profile.eku");
            /* The offending usage is named, the permitted one is not. */
            assert_non_null(strstr(outcome.result.message,
                                   strchr(expected->ekus, 'S') != NULL ? "32473" : "serverAuth"));
        }
    }
}

/** A usage that the profile gives anyway may be asked for. */
static void test_eku_given_anyway(void **state)
{
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    outcome_t outcome;

    (void)state;
    ask(&request, "extendedKeyUsage", "clientAuth");
    outcome = apply(shipped("intune-digital-signature-key-encipherment-clientauth"), &request);
    assert_granted(outcome);

    request = request_for(key_of_kind("P-256"), "cn=card");
    ask(&request, "extendedKeyUsage", "msSmartcardLogin,anyExtendedKeyUsage");
    outcome = apply(shipped("smartcard-piv-authentication"), &request);
    assert_granted(outcome);
}

/* Extensions: name, value, which sets take it */


static const struct {
    const char *oid;
    const char *hex;
    const char *sets;
} requestable[] = {
    { POLICIES, "300B3009060760860148016502", "ACP" },
    { APPLICATION, "300C300A06082B06010505070302", "AC" },
    { CAPABILITIES, "300D300B060960864801650304012A", "A" },
    /* an arc above 2^32 */
    { TEMPLATE_V2, "301606112B0601040182371508" "8FFFFFFFFF7F8301020164", "A" },
    { TEMPLATE_V1, "1E0E004D0061006300680069006E0065", "A" },
    { PIV, "0101FF", "D" },
    { "1.3.6.1.4.1.32473.99", "0500", "" },
    { "2.5.29.35", "30003000", "" },
    { NULL, NULL, NULL }
};

static void test_requested_extensions(void **state)
{
    apr_hash_t *profiles = read_profiles();
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    size_t i;
    int j, taken = 0;

    (void)state;
    for (i = 0; i < EXPECTATIONS; i++) {
        const expectation_t *expected = &expectations[i];

        if (strncmp(expected->name, "basic-", 6) == 0)
            continue;
        for (j = 0; requestable[j].oid != NULL; j++) {
            request_t request = request_for(key_of_kind("P-256"), "cn=device.example.com");
            outcome_t outcome;
            X509_EXTENSION *extension;
            long length;
            unsigned char *wanted;
            int application = strcmp(requestable[j].oid, APPLICATION) == 0;

            /* Policies that repeat a fixed usage are taken, others go beyond it. */
            if (application && expected->ekus[0] != '?' && strchr(expected->ekus, 'C') == NULL) {
                sk_X509_EXTENSION_free(request.extensions);
                continue;
            }
            ask_der(&request, requestable[j].oid, 1, requestable[j].hex);
            outcome = apply(apr_hash_get(profiles, expected->name, APR_HASH_KEY_STRING), &request);
            if (strchr(requestable[j].sets, expected->set) == NULL
                || requestable[j].sets[0] == '\0') {
                assert_refused(outcome, "profile.extension");
                continue;
            }
            if (outcome.rv != APR_SUCCESS)
                fail_msg("%s %s: %s", expected->name, requestable[j].oid, outcome.result.message);
            if (strchr(expected->usages, 'C') != NULL)
                continue;
            extension = extension_by_oid(issue(ca, outcome.plan), requestable[j].oid);
            assert_non_null(extension);
            assert_int_equal(X509_EXTENSION_get_critical(extension), 0);
            wanted = OPENSSL_hexstr2buf(requestable[j].hex, &length);
            assert_int_equal(ASN1_STRING_length(X509_EXTENSION_get_data(extension)), length);
            assert_memory_equal(ASN1_STRING_get0_data(X509_EXTENSION_get_data(extension)), wanted,
                                length);
            OPENSSL_free(wanted);
            taken++;
        }
    }
    assert_true(taken > 100);
}

/* Profiles as such */

static void test_properties(void **state)
{
    apr_hash_t *profiles = read_profiles();
    size_t i;
    int aliases = 0;

    (void)state;
    for (i = 0; i < EXPECTATIONS; i++) {
        const expectation_t *expected = &expectations[i];
        const gh_profile_t *profile = apr_hash_get(profiles, expected->name, APR_HASH_KEY_STRING);
        const apr_array_header_t *names = gh_profile_aliases(profile);
        int basic = strncmp(expected->name, "basic-", 6) == 0;
        int privileged = basic || strchr(expected->usages, 'C') != NULL
            || strpbrk(expected->ekus, "XOL*") != NULL;

        assert_string_equal(gh_profile_name(profile), expected->name);
        assert_int_equal(gh_profile_is_internal(profile), basic);
        assert_int_equal(gh_profile_is_privileged(profile), privileged);
        assert_int_equal(gh_profile_needs_approval(profile), 0);
        assert_int_equal(gh_profile_fits_ra(profile),
                         strchr(expected->usages, 'D') != NULL
                         && strchr(expected->usages, 'K') != NULL);
        assert_int_equal(gh_profile_allows_mode(profile, "p12"), expected->p12);
        assert_int_equal(gh_profile_allows_mode(profile, "csr"), 1);
        assert_int_equal(names->nelts, expected->alias != NULL);
        if (expected->alias != NULL) {
            assert_string_equal(APR_ARRAY_IDX(names, 0, const char *), expected->alias);
            assert_null(apr_hash_get(profiles, expected->alias, APR_HASH_KEY_STRING));
            aliases++;
        }
    }
    assert_int_equal(aliases, 6);
}

/** No request reaches a profile of the CA's own. */
static void test_internal_profiles(void **state)
{
    static const char *const internal[] = { "basic-ca-root", "basic-ca-subord", "basic-ocsp" };
    size_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        request_t request = request_for(key_of_kind("P-256"), "cn=device");

        assert_refused(apply(shipped(internal[i]), &request), "profile.internal");
    }
}

static void test_ocsp_signer(void **state)
{
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    gh_plan_t *plan = NULL;
    X509 *certificate;

    (void)state;
    assert_success(gh_profile_apply_own(&plan, shipped("basic-ocsp"), key_of_kind("P-256"),
                                        "cn=OCSP", test_pool, NULL));
    certificate = issue(ca, plan);
    check_common(certificate, ca, 30);
    assert_int_equal(X509_get_ext_by_NID(certificate, NID_crl_distribution_points, -1), -1);
    check_eku(certificate, "O");
    assert_int_equal(X509_get_key_usage(certificate), KU_DIGITAL_SIGNATURE);
    assert_non_null(extension_by_oid(certificate, "1.3.6.1.5.5.7.48.1.5"));
}

/** The certificate policy of each eSIM role. */
static void test_esim_policies(void **state)
{
    static const char *const roles[][2] = {
        { "esim-delivery-auth", "2.23.146.1.2.1.4" },
        { "esim-delivery-binding", "2.23.146.1.2.1.5" },
        { "esim-delivery-tls-server", "2.23.146.1.2.1.3" },
        { "esim-discovery-auth", "2.23.146.1.2.1.7" },
        { "esim-discovery-tls-server", "2.23.146.1.2.1.6" },
    };
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        request_t request = request_for(key_of_kind("P-256"), "cn=device");
        outcome_t outcome = apply(shipped(roles[i][0]), &request);
        CERTIFICATEPOLICIES *policies;
        char oid[64];
        int critical;

        assert_granted(outcome);
        policies = extension_of(issue(ca, outcome.plan), NID_certificate_policies, &critical);
        assert_int_equal(critical, 0);
        assert_int_equal(sk_POLICYINFO_num(policies), 1);
        OBJ_obj2txt(oid, sizeof(oid), sk_POLICYINFO_value(policies, 0)->policyid, 1);
        assert_string_equal(oid, roles[i][1]);
        CERTIFICATEPOLICIES_free(policies);
    }
}

static void test_wrong_directives(void **state)
{
    static const char *const wrong[] = {
        "ProfileUnknown on",
        "ProfileAlias", "ProfileAlias a/b",
        "ProfileKeyUsage", "ProfileKeyUsage signing", "ProfileKeyUsage none digitalSignature",
        "ProfileKeyUsageMapping", "ProfileKeyUsageMapping loose",
        "ProfileExtendedKeyUsage", "ProfileExtendedKeyUsage web",
        "ProfileExtendedKeyUsage critical",
        "ProfileExtendedKeyUsage none serverAuth", "ProfileExtendedKeyUsage request serverAuth",
        "ProfileExtendedKeyUsage 1.2.x",
        "ProfileRequestExtensions", "ProfileRequestExtensions keyUsage",
        "ProfileRequestExtensions 2.5.29.15", "ProfileRequestExtensions 2.5.29.19",
        "ProfileRequestExtensions 2.5.29.17", "ProfileRequestExtensions 2.5.29.37",
        "ProfileRequestExtensions 2.5.29.30", "ProfileRequestExtensions 1.3.6.1.5.5.7.1.1",
        "ProfileRequestExtensions none sid",
        "ProfileUnlistedExtensions ignore",
        "ProfileKeys", "ProfileKeys RSA-1024", "ProfileKeys P-192", "ProfileKeys Ed25519",
        "ProfileValidity", "ProfileValidity 365", "ProfileValidity 0d", "ProfileValidity 1d 2d",
        "ProfileValidity 101y", "ProfileValidity -1d",
        "ProfileBasicConstraints", "ProfileBasicConstraints ca pathlen=",
        "ProfileBasicConstraints 1",
        "ProfileBasicConstraints ca pathlen=-1", "ProfileBasicConstraints leaf pathlen=0",
        "ProfilePolicies", "ProfilePolicies high", "ProfilePolicies 1.2.3.",
        "ProfileOCSPNoCheck yes", "ProfileLocations", "ProfileLocations none",
        "ProfileSubject", "ProfileSubject drop cn", "ProfileSubject take",
        "ProfileSubject take shoe",
        "ProfileSubject require", "ProfileSubject set", "ProfileSubject set cn",
        "ProfileSubject set cn \"\"", "ProfileSubject set shoe 43", "ProfileSubject template",
        "ProfileSubject template \"cn=<shoe>\"", "ProfileSubject template \"cn=<cn\"",
        "ProfileSubject template \"cn=<cn.10>\"", "ProfileSubject template \"<cn>\"",
        "ProfileSubject template \"cn>=x\"", "ProfileSubject reset all",
        "ProfileSubjectAltName", "ProfileSubjectAltName take", "ProfileSubjectAltName take fax",
        "ProfileSubjectAltName set other x", "ProfileSubjectAltName set dns",
        "ProfileSubjectAltName require *", "ProfileSubjectAltName from-cn yes",
        "ProfileApproval maybe", "ProfileModes", "ProfileModes pfx", "ProfileInternal 1",
        NULL
    };
    int i;

    (void)state;
    for (i = 0; wrong[i] != NULL; i++) {
        apr_hash_t *profiles = apr_hash_make(test_pool);
        gh_result_t result;
        const char *text = apr_psprintf(test_pool, "<CertificateProfile p>\n%s\n", wrong[i]);

        gh_result_clear(&result);
        if (read_profile_text(profiles, text, &result) != APR_EINVAL)
            fail_msg("accepted: %s", wrong[i]);
        assert_true(result.message[0] != '\0');
    }
}

static void test_contradictions(void **state)
{
    static const char *const wrong[] = {
        "ProfileValidity 1d\n",
        "ProfileKeyUsage digitalSignature\nProfileBasicConstraints ca\n",
        "ProfileKeyUsage keyCertSign\n",
        "ProfileKeyUsage digitalSignature cRLSign\n",
        "ProfileKeyUsage keyCertSign\nProfileBasicConstraints ca\n"
        "ProfileExtendedKeyUsage OCSPSigning\n",
        "ProfileKeyUsage digitalSignature\nProfileOCSPNoCheck on\n",
        "ProfileKeyUsage keyEncipherment\nProfileExtendedKeyUsage codeSigning\n",
        "ProfileKeyUsage digitalSignature\nProfilePolicies 1.2.3\n"
        "ProfileRequestExtensions certificatePolicies\n",
        "ProfileKeyUsage digitalSignature\nProfileModes p12\nProfileKeys P-256\n",
        NULL
    };
    int i;

    (void)state;
    for (i = 0; wrong[i] != NULL; i++) {
        apr_hash_t *profiles = apr_hash_make(test_pool);
        gh_result_t result;
        const char *text = apr_pstrcat(test_pool, "<CertificateProfile p>\n", wrong[i],
                                       "</CertificateProfile>\n", NULL);

        gh_result_clear(&result);
        if (read_profile_text(profiles, text, &result) != APR_EINVAL)
            fail_msg("accepted: %s", wrong[i]);
    }
}

/** A derived profile has everything of its base but the name and the aliases. */
static void test_inheritance(void **state)
{
    gh_profile_t *profile = make_profile("own", "intune-digital-signature-key-encipherment",
                                         "ProfileApproval manual", "ProfileAlias mine", NULL);

    (void)state;
    assert_int_equal(gh_profile_needs_approval(profile), 1);
    assert_int_equal(gh_profile_fits_ra(profile), 1);
    assert_int_equal(gh_profile_aliases(profile)->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(gh_profile_aliases(profile), 0, const char *), "mine");
    assert_null(gh_profile_create("a b", NULL, test_pool));
    assert_null(gh_profile_create("", NULL, test_pool));
}

/** The table that httpd, manual and guards use. */
static void test_directive_table(void **state)
{
    const gh_profile_directive_t *directive;
    int count = 0;

    (void)state;
    for (directive = gh_profile_directives(); directive->name != NULL; directive++, count++) {
        assert_true(strncmp(directive->name, "Profile", 7) == 0);
        assert_true(strlen(directive->usage) > 5);
    }
    assert_int_equal(count, 18);
}

/* Keys */

static void test_keys(void **state)
{
    static const char *const kinds[] = { "RSA-2048", "RSA-3072", "RSA-4096", "P-256", "P-384",
                                         "P-521" };
    const gh_profile_t *all = shipped("scep-digital-signature");
    size_t i;

    (void)state;
    for (i = 0; i < 6; i++) {
        gh_profile_t *only = make_profile("own", "scep-digital-signature",
                                          apr_pstrcat(test_pool, "ProfileKeys ", kinds[i], NULL),
                                          NULL);
        size_t j;

        for (j = 0; j < 6; j++) {
            request_t request = request_for(key_of_kind(kinds[j]), "cn=device");
            outcome_t outcome = apply(only, &request);

            assert_int_equal(gh_profile_allows_key(only, kinds[j]), i == j);
            assert_int_equal(gh_profile_allows_key(all, kinds[j]), 1);
            if (i == j) {
                assert_granted(outcome);
            }
            else {
                assert_refused(outcome, "profile.key");
                assert_int_equal(outcome.result.failure, GH_FAILURE_ALGORITHM);
            }
        }
    }
    assert_int_equal(gh_profile_allows_key(all, "RSA-1024"), 0);
    assert_int_equal(gh_profile_allows_key(all, NULL), 0);
}

static void test_usage_mapping(void **state)
{
    gh_profile_t *strict = make_profile("strict", "scep-digital-signature-key-encipherment",
                                        "ProfileKeyUsageMapping strict", NULL);
    gh_profile_t *agree = make_profile("agree", NULL, "ProfileKeyUsage keyAgreement", NULL);
    gh_profile_t *data = make_profile("data", NULL, "ProfileKeyUsage dataEncipherment", NULL);
    gh_profile_t *none = make_profile("none", NULL, "ProfileKeyUsage none", NULL);
    request_t request = request_for(key_of_kind("P-256"), "cn=device");

    (void)state;
    assert_refused(apply(strict, &request), "profile.key-usage");
    request = request_for(key_of_kind("RSA-2048"), "cn=device");
    assert_granted(apply(strict, &request));
    request = request_for(key_of_kind("RSA-2048"), "cn=device");
    assert_refused(apply(agree, &request), "profile.key-usage");
    request = request_for(key_of_kind("P-256"), "cn=device");
    assert_granted(apply(agree, &request));
    request = request_for(key_of_kind("P-256"), "cn=device");
    assert_refused(apply(data, &request), "profile.key-usage");
    request = request_for(key_of_kind("P-256"), "cn=device");
    assert_granted(apply(none, &request));
}

/* A request may ask for the key usage of the profile, as it is for its kind of key, or for none. */
static void test_requested_usage(void **state)
{
    static const struct {
        const char *kind;
        const char *asked;
        const char *note;               /* where another one is ignored */
    } cases[] = {
        { "RSA-2048", "030205a0", NULL },
        { "RSA-2048", "03020780", "asked for key usage digitalSignature, got digitalSignature "
                                  "keyEncipherment" },
        { "RSA-2048", "030204b0", "asked for key usage digitalSignature keyEncipherment "
                                  "dataEncipherment, got digitalSignature keyEncipherment" },
        { "P-256", "03020388", NULL },
        { "P-256", "030205a0", "asked for key usage digitalSignature keyEncipherment, got "
                               "digitalSignature keyAgreement" },
    };
    gh_profile_t *match = make_profile("match", "scep-digital-signature-key-encipherment",
                                       "ProfileRequestedKeyUsage match", NULL);
    gh_profile_t *ignore = make_profile("ignore", "scep-digital-signature-key-encipherment",
                                        "ProfileRequestedKeyUsage match",
                                        "ProfileRequestedKeyUsage ignore", NULL);
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        request_t request = request_for(key_of_kind(cases[i].kind), "cn=device");
        outcome_t outcome;
        ask_der(&request, "2.5.29.15", 1, cases[i].asked);
        outcome = apply(match, &request);
        if (cases[i].note == NULL) {
            assert_granted(outcome);
            continue;
        }
        assert_refused(outcome, "profile.key-usage");
        request = request_for(key_of_kind(cases[i].kind), "cn=device");
        ask_der(&request, "2.5.29.15", 1, cases[i].asked);
        assert_granted(outcome = apply(ignore, &request));
        assert_string_equal(gh_plan_note(outcome.plan), cases[i].note);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_every_profile, x509_test_teardown),
        cmocka_unit_test_teardown(test_eku_from_request, x509_test_teardown),
        cmocka_unit_test_teardown(test_eku_given_anyway, x509_test_teardown),
        cmocka_unit_test_teardown(test_requested_extensions, x509_test_teardown),
        cmocka_unit_test_teardown(test_properties, x509_test_teardown),
        cmocka_unit_test_teardown(test_internal_profiles, x509_test_teardown),
        cmocka_unit_test_teardown(test_ocsp_signer, x509_test_teardown),
        cmocka_unit_test_teardown(test_esim_policies, x509_test_teardown),
        cmocka_unit_test_teardown(test_wrong_directives, x509_test_teardown),
        cmocka_unit_test_teardown(test_contradictions, x509_test_teardown),
        cmocka_unit_test_teardown(test_inheritance, x509_test_teardown),
        cmocka_unit_test_teardown(test_directive_table, x509_test_teardown),
        cmocka_unit_test_teardown(test_keys, x509_test_teardown),
        cmocka_unit_test_teardown(test_usage_mapping, x509_test_teardown),
        cmocka_unit_test_teardown(test_requested_usage, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
