/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a request may and may not ask for, and what becomes of it. */

#include "x509_support.h"

#include <apr_strings.h>

#include "status.h"
#include "x509/key.h"

/** The message names an extension that is not taken; with strip it is left out. */
static void test_unlisted_extensions(void **state)
{
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    gh_profile_t *stripping = make_profile("stripping", "privatessl-tls-server",
                                           "ProfileUnlistedExtensions strip", NULL);
    outcome_t outcome;

    (void)state;
    ask_der(&request, "1.3.6.1.4.1.32473.99", 1, "0500");
    outcome = apply(shipped("scep-digital-signature"), &request);
    assert_refused(outcome, "profile.extension");
    assert_non_null(strstr(outcome.result.message, "1.3.6.1.4.1.32473.99"));

    request = request_for(key_of_kind("P-256"), "cn=device");
    ask_der(&request, "1.3.6.1.4.1.32473.99", 1, "0500");
    ask(&request, "extendedKeyUsage", "clientAuth");
    /* Application policy clientAuth beyond the fixed serverAuth */
    ask_der(&request, APPLICATION, 0, "300C300A06082B06010505070302");
    outcome = apply(stripping, &request);
    assert_granted(outcome);
    assert_null(extension_by_oid(issue(ca, outcome.plan), "1.3.6.1.4.1.32473.99"));
    assert_null(extension_by_oid(issue(ca, outcome.plan), APPLICATION));
    assert_int_equal(X509_get_extended_key_usage(issue(ca, outcome.plan)), XKU_SSL_SERVER);

    /* Even then nothing that nobody may ask for. */
    request = request_for(key_of_kind("P-256"), "cn=device");
    ask(&request, "extendedKeyUsage", "codeSigning");
    assert_refused(apply(stripping, &request), "never.eku");

    request = request_for(key_of_kind("P-256"), "cn=device");
    ask_der(&request, APPLICATION, 0, "300C300A06082B06010505070302");
    assert_refused(apply(shipped("privatessl-tls-server"), &request), "profile.eku");
}

/** Key usage, basic constraints and key identifier of a request decide nothing. */
static void test_ignored_extensions(void **state)
{
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    request_t request = request_for(key_of_kind("RSA-2048"), "cn=device");
    outcome_t outcome;
    X509 *certificate;

    (void)state;
    ask(&request, "keyUsage", "critical,keyEncipherment,keyAgreement,nonRepudiation");
    ask(&request, "basicConstraints", "critical,CA:FALSE");
    ask_der(&request, "2.5.29.14", 0, "0414000102030405060708090A0B0C0D0E0F10111213");
    outcome = apply(shipped("scep-digital-signature"), &request);
    assert_granted(outcome);
    certificate = issue(ca, outcome.plan);
    assert_int_equal(X509_get_key_usage(certificate), KU_DIGITAL_SIGNATURE);
    assert_int_not_equal(ASN1_STRING_get0_data(X509_get0_subject_key_id(certificate))[19], 0x13);
    assert_int_equal(X509_get_ext_count(certificate), 6);
}

/* The "never" list: one negative test for each item, and each can be lifted by its own item only */

typedef struct {
    const char *what;
    const char *rule;
    const char *name;           /* OpenSSL's notation ... */
    const char *value;
    const char *oid;            /* ... or DER */
    const char *hex;
    const char *item;           /* lifts it; NULL: nothing does */
} never_t;

static const never_t never[] = {
    { "OCSPSigning", "never.eku", "extendedKeyUsage", "OCSPSigning", NULL, NULL, "OCSPSigning" },
    { "timeStamping", "never.eku", "extendedKeyUsage", "clientAuth,timeStamping", NULL, NULL,
      "timeStamping" },
    { "anyExtendedKeyUsage", "never.eku", "extendedKeyUsage", "anyExtendedKeyUsage", NULL, NULL,
      "anyExtendedKeyUsage" },
    { "codeSigning", "never.eku", "extendedKeyUsage", "codeSigning", NULL, NULL, "codeSigning" },
    { "Microsoft individual code signing", "never.eku", "extendedKeyUsage", "msCodeInd", NULL, NULL,
      "codeSigning" },
    { "Microsoft commercial code signing", "never.eku", "extendedKeyUsage", "msCodeCom", NULL, NULL,
      "codeSigning" },
    { "kernel mode code signing", "never.eku", "extendedKeyUsage", "1.3.6.1.4.1.311.61.1.1", NULL,
      NULL, "codeSigning" },
    { "smart-card logon", "never.eku", "extendedKeyUsage", "serverAuth,msSmartcardLogin", NULL,
      NULL, "smartcardLogon" },
    { "PKINIT client", "never.eku", "extendedKeyUsage", "1.3.6.1.5.2.3.4", NULL, NULL,
      "pkinitClient" },
    { "PKINIT KDC", "never.eku", "extendedKeyUsage", "1.3.6.1.5.2.3.5", NULL, NULL, "pkinitKDC" },
    { "certificate request agent", "never.eku", "extendedKeyUsage", "1.3.6.1.4.1.311.20.2.1", NULL,
      NULL, "certificateRequestAgent" },
    { "any application policy as a usage", "never.eku", "extendedKeyUsage",
      "1.3.6.1.4.1.311.10.12.1", NULL, NULL, "anyExtendedKeyUsage" },
    { "key recovery agent", "never.eku", "extendedKeyUsage", "1.3.6.1.4.1.311.21.6", NULL, NULL,
      "1.3.6.1.4.1.311.21.6" },
    { "CMC registration authority", "never.eku", "extendedKeyUsage", "1.3.6.1.5.5.7.3.28", NULL,
      NULL, "1.3.6.1.5.5.7.3.28" },
    { "application policy OCSPSigning", "never.application-policy", NULL, NULL, APPLICATION,
      "300C300A06082B06010505070309", "OCSPSigning" },
    { "application policy timeStamping", "never.application-policy", NULL, NULL, APPLICATION,
      "300C300A06082B06010505070308", "timeStamping" },
    { "application policy codeSigning", "never.application-policy", NULL, NULL, APPLICATION,
      "300C300A06082B06010505070303", "codeSigning" },
    { "application policy codeSigning behind another", "never.application-policy", NULL, NULL,
      APPLICATION, "3018300A06082B06010505070302300A06082B06010505070303", "codeSigning" },
    { "any application policy", "never.application-policy", NULL, NULL, APPLICATION,
      "300E300C060A2B0601040182370A0C01", "anyExtendedKeyUsage" },
    { "application policy anyExtendedKeyUsage", "never.application-policy", NULL, NULL, APPLICATION,
      "300830060604551D2500", "anyExtendedKeyUsage" },
    { "application policy smart-card logon", "never.application-policy", NULL, NULL, APPLICATION,
      "300E300C060A2B060104018237140202", "smartcardLogon" },
    { "application policy request agent", "never.application-policy", NULL, NULL, APPLICATION,
      "300E300C060A2B060104018237140201", "certificateRequestAgent" },
    { "application policy PKINIT client", "never.application-policy", NULL, NULL, APPLICATION,
      "300B300906072B060105020304", "pkinitClient" },
    { "application policy PKINIT KDC", "never.application-policy", NULL, NULL, APPLICATION,
      "300B300906072B060105020305", "pkinitKDC" },
    { "UPN", "never.upn", "subjectAltName",
      "DNS:device.example.com,otherName:msUPN;UTF8:administrator@example.com", NULL, NULL, "UPN" },
    { "SID other name", "never.sid", "subjectAltName",
      "otherName:1.3.6.1.4.1.311.25.2;UTF8:S-1-5-21-1-2-3-500", NULL, NULL, "SID" },
    { "SID URI", "never.sid", "subjectAltName",
      "URI:tag:microsoft.com,,2022-09-14:sid:S-1-5-21-1-2-3-500", NULL, NULL, "SID" },
    { "SID URI in other letters and escapes", "never.sid", "subjectAltName",
      "URI:TAG:microsoft%2ecom%2C2022-09-14:SID:S-1-5-21-1-2-3-500", NULL, NULL, "SID" },
    { "SID extension", "never.sid", NULL, NULL, SID,
      "3024A022060A2B060104018237190201A0140412" "532D312D352D32312D312D322D332D353030", "SID" },
    { "Kerberos principal", "never.other-name", "subjectAltName",
      "otherName:1.3.6.1.5.2.2;UTF8:administrator", NULL, NULL, "1.3.6.1.5.2.2" },
    { "object GUID", "never.other-name", "subjectAltName",
      "otherName:1.3.6.1.4.1.311.25.1;UTF8:x", NULL, NULL, "1.3.6.1.4.1.311.25.1" },
    { "CA certificate", "never.ca", "basicConstraints", "critical,CA:TRUE", NULL, NULL, NULL },
    { "CA certificate with path length", "never.ca", "basicConstraints", "CA:TRUE,pathlen:0", NULL,
      NULL, NULL },
    { "path length without CA", "never.ca", NULL, NULL, "2.5.29.19", "3003020100", NULL },
    { "keyCertSign", "never.ca", "keyUsage", "critical,digitalSignature,keyCertSign", NULL, NULL,
      NULL },
    { "cRLSign", "never.ca", "keyUsage", "cRLSign", NULL, NULL, NULL },
    { NULL, NULL, NULL, NULL, NULL, NULL, NULL }
};

static request_t request_with(const never_t *item)
{
    request_t request = request_for(key_of_kind("P-256"), "cn=device");

    if (item->name == NULL) {
        ask_der(&request, item->oid, 0, item->hex);
    }
    else if (strstr(item->value, ",,") != NULL) {
        /* A comma in a URI cannot be written in OpenSSL's notation. */
        ask_der(&request, "2.5.29.17", 0,
                "303586337461673A6D6963726F736F66742E636F6D2C323032322D30392D31343A7369643A"
                "532D312D352D32312D312D322D332D353030");
    }
    else {
        ask(&request, item->name, item->value);
    }
    return request;
}

static void test_never(void **state)
{
    static const char *const items[] = {
        "OCSPSigning", "timeStamping", "anyExtendedKeyUsage", "codeSigning", "smartcardLogon",
        "pkinitClient", "pkinitKDC", "certificateRequestAgent", "UPN", "SID",
        "1.3.6.1.4.1.311.21.6", "1.3.6.1.5.5.7.3.28", "1.3.6.1.5.2.2", "1.3.6.1.4.1.311.25.1",
    };
    const gh_profile_t *profile = shipped("scep-digital-signature");
    const never_t *item;
    size_t i;

    (void)state;
    for (item = never; item->what != NULL; item++) {
        request_t request = request_with(item);
        outcome_t outcome = apply(profile, &request);

        if (outcome.rv != GH_EREFUSED || strcmp(outcome.result.rule, item->rule) != 0)
            fail_msg("%s: %s %s", item->what, outcome.result.rule, outcome.result.message);
        for (i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
            gh_profile_context_t context = { .allowances = allowing(items[i]) };
            int lifts = item->item != NULL && strcmp(items[i], item->item) == 0;

            request = request_with(item);
            outcome = apply_with(profile, &request, &context);
            if ((outcome.rv == APR_SUCCESS) != lifts)
                fail_msg("%s with %s: %s", item->what, items[i], outcome.result.message);
        }
    }
}

/** Names of accounts are no attributes of a subject either. */
static void test_never_in_subject(void **state)
{
    static const char *const subjects[] = {
        "1.3.6.1.4.1.311.20.2.3=administrator@example.com,cn=device",
        "cn=device,1.3.6.1.4.1.311.25.2.1=S-1-5-21-1-2-3-500",
    };
    static const char *const rules[] = { "never.upn", "never.sid" };
    const gh_profile_t *profile = shipped("scep-digital-signature");
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        request_t request = request_for(key_of_kind("P-256"), subjects[i]);
        outcome_t outcome = apply(profile, &request);

        assert_int_equal(outcome.rv, GH_EREFUSED);
        assert_string_equal(outcome.result.rule, rules[i]);
    }
}

/** What is lifted is issued as it was asked for, if the profile takes it. */
static void test_lifted_sid(void **state)
{
    static const char hex[] = "3024A022060A2B060104018237190201A0140412"
        "532D312D352D32312D312D322D332D353030";
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    gh_profile_context_t context = { .allowances = allowing("sid") };
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    outcome_t outcome;

    (void)state;
    ask_der(&request, SID, 1, hex);
    outcome = apply_with(shipped("scep-digital-signature"), &request, &context);
    assert_granted(outcome);
    assert_non_null(extension_by_oid(issue(ca, outcome.plan), SID));

    /* Lifted, but not among what the profile takes. */
    request = request_for(key_of_kind("P-256"), "cn=device");
    ask_der(&request, SID, 1, hex);
    outcome = apply_with(shipped("privatessl-tls-client"), &request, &context);
    assert_refused(outcome, "profile.extension");
}

static void test_allowances(void **state)
{
    static const char *const wrong[] = { "", "code signing", "CA", "keyCertSign", "2.5.29.19",
                                         "2.5.29.15", "1", "1.2.", "1..2", "9.9.9", "*" };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        apr_array_header_t *items = apr_array_make(test_pool, 1, sizeof(const char *));
        gh_allowances_t *allowances = NULL;
        gh_result_t result;

        gh_result_clear(&result);
        APR_ARRAY_PUSH(items, const char *) = wrong[i];
        assert_int_equal(gh_allowances_make(&allowances, items, test_pool, &result), APR_EINVAL);
        assert_null(allowances);
    }
}

/* Malformed and excessive values */

static void test_malformed_extensions(void **state)
{
    static const struct {
        const char *oid;
        const char *hex;
    } malformed[] = {
        { "2.5.29.37", "3000" },                        /* empty EKU (CVE-2026-40097's class) */
        { "2.5.29.37", "" },
        { "2.5.29.37", "0500" },
        { "2.5.29.37", "300A06082B060105050703023000" }, /* bytes behind it */
        { "2.5.29.37", "30080608FFFFFFFFFFFFFFFF" },
        { "2.5.29.15", "3000" },
        { "2.5.29.19", "0101FF" },
        { "2.5.29.14", "3000" },
        { "2.5.29.17", "3000" },
        { "2.5.29.17", "0500" },
        { POLICIES, "3000300000" },
        { APPLICATION, "3000" },
        { APPLICATION, "06082B06010505070302" },
        { TEMPLATE_V2, "3000" },
        { TEMPLATE_V2, "0500" },
        { TEMPLATE_V1, "3000" },
        { TEMPLATE_V1, "1E00" },
        { CAPABILITIES, "0500" },
        { NULL, NULL }
    };
    const gh_profile_t *profile = shipped("scep-digital-signature");
    int i;

    (void)state;
    for (i = 0; malformed[i].oid != NULL; i++) {
        request_t request = request_for(key_of_kind("P-256"), "cn=device");
        outcome_t outcome;

        ask_der(&request, malformed[i].oid, 0, malformed[i].hex);
        outcome = apply(profile, &request);
        if (outcome.rv != GH_EREFUSED)
            fail_msg("%s %s was accepted", malformed[i].oid, malformed[i].hex);
        assert_string_equal(outcome.result.rule, "profile.extension");
    }
}

static void test_san_values(void **state)
{
    static const char *const wrong[] = {
        "30058203610062",               /* NUL within a DNS name */
        "30058203612062",               /* blank */
        "3005820361C362",               /* not ASCII */
        "30028200",                     /* empty */
        "30058203612E2E",               /* empty label */
        "3006820461640D0A",             /* line end */
        "300581036140FF",               /* e-mail that is not ASCII */
        "300681046140" "4062",          /* e-mail with two @ */
        "3005810361" "4000",            /* e-mail with NUL */
        "3006860461626364",             /* URI without a scheme */
        "30058603613A0A",               /* URI with a line end */
        "30058703010203",               /* address of three bytes */
        "30078705" "0102030405",        /* address of five bytes */
        "3004A4023000",                 /* empty directory name */
        "3004A3023000",                 /* x400Address */
        "300AA508A10613046E616D65",     /* ediPartyName */
        "30078205" "61626300FF",        /* NUL at the end */
        NULL
    };
    const gh_profile_t *profile = shipped("scep-digital-signature");
    char *many = apr_pstrdup(test_pool, "DNS:a");
    request_t request;
    outcome_t outcome;
    int i;

    (void)state;
    for (i = 0; wrong[i] != NULL; i++) {
        request = request_for(key_of_kind("P-256"), "cn=device");
        ask_der(&request, "2.5.29.17", 0, wrong[i]);
        outcome = apply(profile, &request);
        if (outcome.rv != GH_EREFUSED)
            fail_msg("subjectAltName %s was accepted", wrong[i]);
    }
    for (i = 1; i < 65; i++)
        many = apr_pstrcat(test_pool, many, ",DNS:a", NULL);
    request = request_for(key_of_kind("P-256"), "cn=device");
    ask(&request, "subjectAltName", many);
    assert_refused(apply(profile, &request), "profile.san");
    request = request_for(key_of_kind("P-256"), "cn=device");
    ask(&request, "subjectAltName", many + 6);          /* 64 of them */
    assert_granted(apply(profile, &request));
}

/* Subject and names */

static const char *sans_of(outcome_t outcome)
{
    assert_granted(outcome);
    return gh_plan_sans(outcome.plan);
}

static void test_san_types(void **state)
{
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    gh_profile_context_t context = { .allowances = allowing("UPN") };
    request_t request = request_for(key_of_kind("P-256"), "cn=device");
    outcome_t outcome;
    GENERAL_NAMES *names;
    int critical;

    (void)state;
    ask(&request, "subjectAltName",
        "DNS:*.example.com,email:a@example.com,IP:192.0.2.1,IP:2001:db8::1,"
        "URI:https://example.com/x,RID:1.2.3,otherName:msUPN;UTF8:a@example.com,"
        "otherName:1.3.6.1.5.5.7.8.7;IA5:_x.example.com");
    outcome = apply_with(shipped("scep-digital-signature"), &request, &context);
    assert_string_equal(sans_of(outcome),
                        "[\"DNS:*.example.com\",\"email:a@example.com\",\"IP:192.0.2.1\","
                        "\"IP:2001:db8::1\",\"URI:https://example.com/x\",\"RID:1.2.3\","
                        "\"UPN:a@example.com\",\"otherName:1.3.6.1.5.5.7.8.7\"]");
    names = extension_of(issue(ca, outcome.plan), NID_subject_alt_name, &critical);
    assert_int_equal(sk_GENERAL_NAME_num(names), 8);
    assert_int_equal(critical, 0);
    GENERAL_NAMES_free(names);
}

static void test_empty_subject(void **state)
{
    const gh_ca_t *ca = make_root(key_of_kind("P-256"), "cn=CA", apr_time_now());
    request_t request = request_for(key_of_kind("P-256"), "");
    outcome_t outcome = apply(shipped("scep-digital-signature"), &request);
    GENERAL_NAMES *names;
    int critical = 0;

    (void)state;
    assert_refused(outcome, "profile.subject");
    request = request_for(key_of_kind("P-256"), "");
    ask(&request, "subjectAltName", "DNS:device.example.com");
    outcome = apply(shipped("scep-digital-signature"), &request);
    assert_granted(outcome);
    names = extension_of(issue(ca, outcome.plan), NID_subject_alt_name, &critical);
    assert_int_equal(critical, 1);
    GENERAL_NAMES_free(names);
}

static void test_supply_san(void **state)
{
    request_t request = request_for(key_of_kind("P-256"),
                                    "cn=a.example.com,cn=B.example.com,cn=192.0.2.1,o=Example");
    outcome_t outcome;

    (void)state;
    ask(&request, "subjectAltName", "DNS:b.example.com,IP:192.0.2.1");
    outcome = apply(shipped("privatessl-tls-server-supply-san"), &request);
    assert_string_equal(sans_of(outcome),
                        "[\"DNS:b.example.com\",\"IP:192.0.2.1\",\"DNS:a.example.com\"]");

    request = request_for(key_of_kind("P-256"), "cn=a.example.com");
    outcome = apply(shipped("privatessl-tls-client-server-supply-san"), &request);
    assert_string_equal(sans_of(outcome), "[\"DNS:a.example.com\"]");

    request = request_for(key_of_kind("P-256"), "cn=a.example.com");
    outcome = apply(shipped("privatessl-tls-server"), &request);
    assert_string_equal(sans_of(outcome), "[]");

    request = request_for(key_of_kind("P-256"), "cn=Some Body");
    assert_refused(apply(shipped("privatessl-tls-server-supply-san"), &request), "profile.san");
}

static apr_status_t expand(void *baton, const char *expression, apr_pool_t *p, const char **value)
{
    (void)p;
    if (strcmp(expression, "%{REMOTE_USER}") != 0)
        return APR_EGENERAL;
    *value = baton;
    return APR_SUCCESS;
}

static void test_subject_rules(void **state)
{
    gh_profile_t *profile = make_profile("own", "scep-digital-signature",
                                         "ProfileSubject take CN ou serialNumber",
                                         "ProfileSubject require cn O",
                                         "ProfileSubject set o \"%{REMOTE_USER}\"",
                                         "ProfileSubjectAltName take dns ip",
                                         "ProfileSubjectAltName set email %{REMOTE_USER}",
                                         "ProfileSubjectAltName require email", NULL);
    gh_profile_context_t context = { .expand = expand, .expand_baton = (void *)"a@example.com" };
    request_t request = request_for(key_of_kind("P-256"),
                                    "cn=device+serialNumber=1,ou=Unit,l=Town,o=Evil,c=DE");
    outcome_t outcome;

    (void)state;
    ask(&request, "subjectAltName", "DNS:d.example.com,URI:https://x.example.com,email:b@x.org");
    outcome = apply_with(profile, &request, &context);
    assert_granted(outcome);
    assert_string_equal(gh_plan_subject_text(outcome.plan),
                        "SERIALNUMBER=1+CN=device,OU=Unit,O=a@example.com");
    assert_string_equal(gh_plan_sans(outcome.plan),
                        "[\"DNS:d.example.com\",\"email:a@example.com\"]");
    assert_int_equal(gh_profile_expressions(profile)->nelts, 2);

    /* Without a value, or with an empty one, nothing is issued. */
    request = request_for(key_of_kind("P-256"), "cn=device");
    assert_refused(apply(profile, &request), "profile.expression");
    context.expand_baton = (void *)"";
    request = request_for(key_of_kind("P-256"), "cn=device");
    assert_refused(apply_with(profile, &request, &context), "profile.expression");
    /* A value that cannot be an attribute. */
    context.expand_baton = (void *)"line\nbreak";
    request = request_for(key_of_kind("P-256"), "cn=device");
    assert_refused(apply_with(profile, &request, &context), "profile.subject");
    /* A value that is no e-mail address. */
    context.expand_baton = (void *)"nobody";
    request = request_for(key_of_kind("P-256"), "cn=device");
    assert_refused(apply_with(profile, &request, &context), "profile.san");
    /* A required attribute is missing. */
    context.expand_baton = (void *)"a@example.com";
    request = request_for(key_of_kind("P-256"), "ou=Unit");
    assert_refused(apply_with(profile, &request, &context), "profile.subject");
}

static void test_subject_template(void **state)
{
    gh_profile_t *profile = make_profile("own", "scep-digital-signature",
                                         "ProfileSubject template "
                                         "\"cn=<G> <sn>+uid=<cn.2>,ou=<ou>,"
                                         "o=Example\\\\, Ltd,c=DE\"",
                                         NULL);
    request_t request = request_for(key_of_kind("P-256"),
                                    "cn=Second,cn=First,g=Jane\\, ou\\=Admins,sn=\\#Doe,ou=A+ou=B");
    outcome_t outcome = apply(profile, &request);

    (void)state;
    assert_granted(outcome);
    /* No value can add an attribute. Within an RDN the order is DER's. */
    assert_string_equal(gh_plan_subject_text(outcome.plan),
                        "UID=Second+CN=Jane\\, ou=Admins #Doe,OU=A,O=Example\\, Ltd,C=DE");
    request = request_for(key_of_kind("P-256"), "cn=First,g=Jane,sn=Doe,ou=A");
    outcome = apply(profile, &request);
    assert_refused(outcome, "profile.subject");
    assert_non_null(strstr(outcome.result.message, "cn.2"));

    profile = make_profile("own", "scep-digital-signature",
                           "ProfileSubject template \"cn=<FirstName> <LastName>,c=DE\"", NULL);
    request = request_for(key_of_kind("P-256"), "g=PKI,sn=Test");
    outcome = apply(profile, &request);
    assert_granted(outcome);
    assert_string_equal(gh_plan_subject_text(outcome.plan), "CN=PKI Test,C=DE");
}

/** String types are those of RFC 5280, whatever a client sent. */
static void test_string_types(void **state)
{
    const gh_profile_t *profile = shipped("scep-digital-signature");
    request_t request = request_for(key_of_kind("P-256"), "cn=placeholder");
    gh_plan_t *plan = NULL;
    X509_NAME *name = X509_NAME_new();
    X509_REQ *req;
    gh_bytes_t der;
    gh_csr_t *csr = NULL;
    static const int types[] = { V_ASN1_PRINTABLESTRING, V_ASN1_UTF8STRING, V_ASN1_IA5STRING,
                                 V_ASN1_UTF8STRING };
    int i;

    (void)state;
    assert_true(X509_NAME_add_entry_by_NID(name, NID_countryName, V_ASN1_UTF8STRING,
                                           (const unsigned char *)"DE", 2, -1, 0));
    assert_true(X509_NAME_add_entry_by_NID(name, NID_organizationName, V_ASN1_T61STRING,
                                           (const unsigned char *)"M\xfcller", 6, -1, 0));
    assert_true(X509_NAME_add_entry_by_NID(name, NID_pkcs9_emailAddress, V_ASN1_UTF8STRING,
                                           (const unsigned char *)"a@b.c", 5, -1, 0));
    assert_true(X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING,
                                           (const unsigned char *)"plain", 5, -1, 0));
    req = build_request(&request);
    assert_true(X509_REQ_set_subject_name(req, name));
    assert_true(X509_REQ_sign(req, request.key, EVP_sha256()) > 0);
    der = request_der(req);
    assert_success(gh_csr_parse(&csr, der.data, der.length, NULL, test_pool, NULL));
    assert_success(gh_profile_apply(&plan, profile, csr, NULL, test_pool, NULL));
    for (i = 0; i < 4; i++)
        assert_int_equal(ASN1_STRING_type(X509_NAME_ENTRY_get_data(
                             X509_NAME_get_entry(gh_plan_subject(plan), i))), types[i]);
    X509_NAME_free(name);

    /* A country of three letters is no country. */
    name = X509_NAME_new();
    assert_true(X509_NAME_add_entry_by_NID(name, NID_countryName, V_ASN1_UTF8STRING,
                                           (const unsigned char *)"DEU", 3, -1, 0));
    assert_true(X509_REQ_set_subject_name(req, name));
    assert_true(X509_REQ_sign(req, request.key, EVP_sha256()) > 0);
    der = request_der(req);
    assert_success(gh_csr_parse(&csr, der.data, der.length, NULL, test_pool, NULL));
    assert_int_equal(gh_profile_apply(&plan, profile, csr, NULL, test_pool, NULL), GH_EREFUSED);
    X509_NAME_free(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_unlisted_extensions, x509_test_teardown),
        cmocka_unit_test_teardown(test_ignored_extensions, x509_test_teardown),
        cmocka_unit_test_teardown(test_never_in_subject, x509_test_teardown),
        cmocka_unit_test_teardown(test_never, x509_test_teardown),
        cmocka_unit_test_teardown(test_lifted_sid, x509_test_teardown),
        cmocka_unit_test_teardown(test_allowances, x509_test_teardown),
        cmocka_unit_test_teardown(test_malformed_extensions, x509_test_teardown),
        cmocka_unit_test_teardown(test_san_values, x509_test_teardown),
        cmocka_unit_test_teardown(test_san_types, x509_test_teardown),
        cmocka_unit_test_teardown(test_empty_subject, x509_test_teardown),
        cmocka_unit_test_teardown(test_supply_san, x509_test_teardown),
        cmocka_unit_test_teardown(test_subject_rules, x509_test_teardown),
        cmocka_unit_test_teardown(test_subject_template, x509_test_teardown),
        cmocka_unit_test_teardown(test_string_types, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
