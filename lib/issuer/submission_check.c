/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Whether what a CA has returned is what was authorised. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "issuer/submission.h"
#include "log.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/name.h"
#include "x509/san.h"
#include "x509/usages.h"

/** Clocks of CAs that run ahead of ours. */
#define CLOCK_SKEW apr_time_from_sec(300)

/** What is compared, and room to name a difference. */
typedef struct {
    const gh_plan_t *plan;
    gh_issuer_t *issuer;
    EVP_PKEY *key;
    X509 *certificate;
    const STACK_OF(X509_EXTENSION) *asked;
    const STACK_OF(X509_EXTENSION) *given;
    char text[256];
} check_t;

/** @return what differs, or NULL */
typedef const char *check_fn(check_t *check);

/** Names a difference by what it is in this certificate. */
#define SAY(check, ...) \
    (apr_snprintf((check)->text, sizeof((check)->text), __VA_ARGS__), (check)->text)

static const char *check_form(check_t *check)
{
    apr_uint32_t flags = X509_get_extension_flags(check->certificate);
    const ASN1_INTEGER *serial = X509_get0_serialNumber(check->certificate);

    if (X509_get_version(check->certificate) != X509_VERSION_3 || (flags & EXFLAG_INVALID)) {
        return "it is not a valid certificate of version 3";
    }
    if (flags & EXFLAG_CRITICAL) {
        return "it has a critical extension that is not known here";
    }
    if (ASN1_STRING_type(serial) != V_ASN1_INTEGER || ASN1_STRING_length(serial) < 1
        || ASN1_STRING_length(serial) > 20) {
        return "its serial number is negative, or longer than 20 bytes";
    }
    return NULL;
}

static const char *check_key(check_t *check)
{
    EVP_PKEY *key = X509_get0_pubkey(check->certificate);

    return key && EVP_PKEY_eq(key, check->key) == 1
        ? NULL : "it is for another key than that of the request";
}

static const char *check_issuer(check_t *check)
{
    X509 *ca = gh_issuer_certificate(check->issuer);

    return X509_check_issued(ca, check->certificate) == X509_V_OK
        && X509_verify(check->certificate, X509_get0_pubkey(ca)) == 1
        ? NULL : "the certificate in IssuerCertificate has not signed it";
}

static const char *check_time(check_t *check)
{
    apr_time_t now = apr_time_now();

    if (gh_certificate_not_before(check->certificate) > now + CLOCK_SKEW) {
        return "it is not valid yet";
    }
    return gh_certificate_not_after(check->certificate) > now ? NULL : "it has expired";
}

static const char *check_end_entity(check_t *check)
{
    /* OpenSSL counts as none a CA that may not sign certificates */
    return X509_check_ca(check->certificate) == 0
        && !(X509_get_extension_flags(check->certificate) & EXFLAG_CA) ? NULL : "it is a CA's";
}

/** @param given 0: there is none */
static unsigned int usage_of(const STACK_OF(X509_EXTENSION) *extensions, int *given)
{
    ASN1_BIT_STRING *bits = X509V3_get_d2i(extensions, NID_key_usage, NULL, NULL);
    unsigned int usage = 0;
    int i;

    *given = bits != NULL;
    for (i = 0; bits && i < 9; ++i) {
        usage |= ASN1_BIT_STRING_get_bit(bits, i) ? 1u << i : 0;
    }
    ASN1_BIT_STRING_free(bits);
    return usage;
}

static const char *check_usage(check_t *check)
{
    int limited, given;
    unsigned int asked = usage_of(check->asked, &limited);
    unsigned int usage = usage_of(check->given, &given);

    if (usage & (GH_USAGE_KEY_CERT_SIGN | GH_USAGE_CRL_SIGN)) {
        return "its key usage is a CA's";
    }
    if (limited && !given) {
        return "it has no key usage, which permits any";
    }
    return limited && (usage & ~asked) ? "it has a key usage that was not authorised" : NULL;
}

/** const char * elements, dotted OIDs. @return NULL if there is no such extension */
static apr_array_header_t *purposes_of(const STACK_OF(X509_EXTENSION) *extensions, apr_pool_t *p)
{
    EXTENDED_KEY_USAGE *usages = X509V3_get_d2i(extensions, NID_ext_key_usage, NULL, NULL);
    apr_array_header_t *texts;
    char text[128];
    int i;

    if (!usages) {
        return NULL;
    }
    texts = apr_array_make(p, 4, sizeof(const char *));
    for (i = 0; i < sk_ASN1_OBJECT_num(usages); ++i) {
        OBJ_obj2txt(text, sizeof(text), sk_ASN1_OBJECT_value(usages, i), 1);
        APR_ARRAY_PUSH(texts, const char *) = apr_pstrdup(p, text);
    }
    EXTENDED_KEY_USAGE_free(usages);
    return texts;
}

static const X509_EXTENSION *find(const STACK_OF(X509_EXTENSION) *extensions, const char *oid)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    int at = object ? X509v3_get_ext_by_OBJ(extensions, object, -1) : -1;

    ASN1_OBJECT_free(object);
    return at < 0 ? NULL : X509v3_get_ext(extensions, at);
}

static int same_value(const X509_EXTENSION *a, const X509_EXTENSION *b)
{
    return a && b
        && ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data((X509_EXTENSION *)a),
                                 X509_EXTENSION_get_data((X509_EXTENSION *)b)) == 0;
}

/** Windows lets them stand for extended key usages. */
static const char *check_policies(check_t *check, const apr_array_header_t *asked)
{
    const X509_EXTENSION *given = find(check->given, GH_OID_APPLICATION_POLICIES);
    CERTIFICATEPOLICIES *policies = NULL;
    const unsigned char *data;
    const ASN1_OCTET_STRING *value;
    const char *difference = NULL;
    char text[128];
    int i;

    if (!given || same_value(given, find(check->asked, GH_OID_APPLICATION_POLICIES))) {
        return NULL;
    }
    value = X509_EXTENSION_get_data((X509_EXTENSION *)given);
    data = ASN1_STRING_get0_data(value);
    policies = d2i_CERTIFICATEPOLICIES(NULL, &data, ASN1_STRING_length(value));
    if (!policies) {
        return "its application policies cannot be read";
    }
    for (i = 0; !difference && i < sk_POLICYINFO_num(policies); ++i) {
        OBJ_obj2txt(text, sizeof(text), sk_POLICYINFO_value(policies, i)->policyid, 1);
        if (!asked || !gh_texts_contain(asked, text)) {
            difference = SAY(check, "it has the application policy %.100s, which was not "
                             "authorised", text);
        }
    }
    CERTIFICATEPOLICIES_free(policies);
    return difference;
}

static const char *compare_purposes(check_t *check, apr_pool_t *p)
{
    apr_array_header_t *asked = purposes_of(check->asked, p);
    apr_array_header_t *given = purposes_of(check->given, p);
    int i;

    if (!given && X509v3_get_ext_by_NID(check->given, NID_ext_key_usage, -1) >= 0) {
        return "its extended key usage cannot be read";
    }
    if (asked && !given) {
        return "it has no extended key usage, which permits any";
    }
    for (i = 0; given && i < given->nelts; ++i) {
        const char *oid = APR_ARRAY_IDX(given, i, const char *);

        if (!asked || !gh_texts_contain(asked, oid)) {
            return SAY(check, "it has the extended key usage %.100s, which was not authorised",
                       gh_eku_name(oid));
        }
    }
    return check_policies(check, asked);
}

static const char *check_purposes(check_t *check)
{
    const char *difference;
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    difference = compare_purposes(check, p);
    apr_pool_destroy(p);
    return difference;
}

/** Names of hosts are the same in any case. */
static int same_name(GENERAL_NAME *a, GENERAL_NAME *b)
{
    if (a->type == GEN_DNS && b->type == GEN_DNS) {
        return ASN1_STRING_length(a->d.dNSName) == ASN1_STRING_length(b->d.dNSName)
            && strncasecmp((const char *)ASN1_STRING_get0_data(a->d.dNSName),
                           (const char *)ASN1_STRING_get0_data(b->d.dNSName),
                           (size_t)ASN1_STRING_length(a->d.dNSName)) == 0;
    }
    return GENERAL_NAME_cmp(a, b) == 0;
}

static int has_name(const GENERAL_NAMES *names, GENERAL_NAME *name)
{
    int i;

    for (i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
        if (same_name(sk_GENERAL_NAME_value(names, i), name)) {
            return 1;
        }
    }
    return 0;
}

static const char *check_names(check_t *check)
{
    int critical;
    GENERAL_NAMES *asked = X509V3_get_d2i(check->asked, NID_subject_alt_name, NULL, NULL);
    GENERAL_NAMES *given = X509V3_get_d2i(check->given, NID_subject_alt_name, &critical, NULL);
    const char *difference = NULL;
    int i;

    /* -1: there is none; -2: several */
    if (!given && critical != -1) {
        difference = "its alternative names cannot be read";
    }
    for (i = 0; !difference && i < sk_GENERAL_NAME_num(given); ++i) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(given, i);
        gh_san_type_t type = gh_san_type(name);

        if (!asked || !has_name(asked, name)) {
            difference = SAY(check, "it has an alternative name (%s) that was not authorised",
                             type == GH_SAN_TYPES ? "of another type" : gh_san_type_name(type));
        }
    }
    GENERAL_NAMES_free(asked);
    GENERAL_NAMES_free(given);
    return difference;
}

/** The security identifier of an account is a name as well. */
static const char *check_identifier(check_t *check)
{
    const X509_EXTENSION *given = find(check->given, GH_OID_SID);

    return !given || same_value(given, find(check->asked, GH_OID_SID))
        ? NULL : "it has a security identifier that was not authorised";
}

static const char *check_subject(check_t *check)
{
    const X509_NAME *subject = X509_get_subject_name(check->certificate);

    if (gh_issuer_has_name(check->issuer, subject)
        && X509_NAME_cmp(subject, gh_plan_subject(check->plan)) != 0) {
        return "its subject is the name of a CA or of its RA";
    }
    if (gh_issuer_config(check->issuer)->any_subject
        || X509_NAME_cmp(subject, gh_plan_subject(check->plan)) == 0) {
        return NULL;
    }
    return "it has another subject than was authorised; if the CA may choose it, say "
           "IssuerSubject any";
}

apr_status_t gh_submission_check_made(const gh_plan_t *plan, gh_issuer_t *issuer, EVP_PKEY *key,
                                      X509 *certificate, gh_result_t *result)
{
    static check_fn *const checks[] = {
        check_form, check_key, check_issuer, check_time, check_end_entity, check_usage,
        check_purposes, check_names, check_identifier, check_subject
    };
    check_t check = {
        .plan = plan, .issuer = issuer, .key = key, .certificate = certificate,
        .asked = gh_plan_extensions(plan),
        .given = X509_get0_extensions(certificate)
    };
    const char *difference = NULL;
    apr_size_t i;

    for (i = 0; !difference && i < sizeof(checks) / sizeof(checks[0]); ++i) {
        difference = checks[i](&check);
    }
    ERR_clear_error();
    if (!difference) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTEGRITY, "submission.certificate",
                          "Compare the profile here with that of the CA, and look which "
                          "certificate it has issued.",
                          GHNO(0780) "issuer %s has returned a certificate that is not what was "
                          "asked for: %s", gh_issuer_name(issuer), difference);
}

apr_status_t gh_submission_check(const gh_submission_t *submission, gh_issuer_t *issuer,
                                 X509 *certificate, gh_result_t *result)
{
    return gh_submission_check_made(submission->plan, issuer, gh_plan_key(submission->plan),
                                    certificate, result);
}
