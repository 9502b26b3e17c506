/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "x509/profile_rules.h"
#include "x509/usages.h"

#define VALIDITY_DEFAULT (apr_time_from_sec(86400) * 365)

const char *const gh_profile_key_kinds[] = {
    "RSA-2048", "RSA-3072", "RSA-4096", "P-256", "P-384", "P-521", NULL
};

#define ALL_KEYS ((1u << 6) - 1)

void gh_profile_reset_subject(gh_profile_t *profile, apr_pool_t *p)
{
    profile->subject.take_all = 1;
    profile->subject.take = apr_array_make(p, 1, sizeof(const char *));
    profile->subject.require = apr_array_make(p, 1, sizeof(const char *));
    profile->subject.set = apr_array_make(p, 1, sizeof(gh_set_rule_t));
    profile->subject.template = NULL;
}

void gh_profile_reset_san(gh_profile_t *profile, apr_pool_t *p)
{
    profile->san.take = (1u << GH_SAN_TYPES) - 1;
    profile->san.require = 0;
    profile->san.set = apr_array_make(p, 1, sizeof(gh_set_rule_t));
    profile->san.from_cn = 0;
}

gh_profile_t *gh_profile_create(const char *name, const gh_profile_t *base, apr_pool_t *p)
{
    gh_profile_t *profile;

    if (!gh_name_valid(name))
        return NULL;
    if (base != NULL) {
        profile = apr_pmemdup(p, base, sizeof(*base));
        /* Lists are replaced by their directives, except these, which grow. */
        profile->subject.set = apr_array_copy(p, base->subject.set);
        profile->san.set = apr_array_copy(p, base->san.set);
        profile->complete = 0;
    }
    else {
        profile = apr_pcalloc(p, sizeof(*profile));
        profile->eku = apr_array_make(p, 1, sizeof(const char *));
        profile->request_extensions = apr_array_make(p, 1, sizeof(const char *));
        profile->policies = apr_array_make(p, 1, sizeof(const char *));
        profile->keys = ALL_KEYS;
        profile->validity = VALIDITY_DEFAULT;
        profile->path_length = -1;
        profile->modes = GH_MODE_CSR;
        gh_profile_reset_subject(profile, p);
        gh_profile_reset_san(profile, p);
    }
    profile->name = apr_pstrdup(p, name);
    profile->aliases = apr_array_make(p, 1, sizeof(const char *));
    return profile;
}

/* Completion: what is wrong with a profile as a whole, and what all its certificates have */

static X509_EXTENSION *make_basic_constraints(const gh_profile_t *profile)
{
    BASIC_CONSTRAINTS *constraints = BASIC_CONSTRAINTS_new();
    X509_EXTENSION *extension = NULL;

    if (constraints == NULL)
        return NULL;
    constraints->ca = profile->ca ? 0xff : 0;
    if (profile->path_length < 0
        || ((constraints->pathlen = ASN1_INTEGER_new()) != NULL
            && ASN1_INTEGER_set(constraints->pathlen, profile->path_length)))
        extension = X509V3_EXT_i2d(NID_basic_constraints, 1, constraints);
    BASIC_CONSTRAINTS_free(constraints);
    return extension;
}

unsigned int gh_profile_map_usage(unsigned int usage, int ec)
{
    if (!ec)
        return usage & ~GH_USAGE_KEY_AGREEMENT;
    if (usage & GH_USAGE_KEY_ENCIPHERMENT)
        usage |= GH_USAGE_KEY_AGREEMENT;
    return usage & ~(GH_USAGE_KEY_ENCIPHERMENT | GH_USAGE_DATA_ENCIPHERMENT);
}

/** @param fits set to 0 if keys of that kind cannot be certified by this profile */
static X509_EXTENSION *make_key_usage(const gh_profile_t *profile, int ec, int *fits)
{
    unsigned int usage = gh_profile_map_usage(profile->key_usage, ec);
    ASN1_BIT_STRING *bits;
    X509_EXTENSION *extension;
    int i;

    *fits = profile->strict ? usage == profile->key_usage
        : usage != 0 || profile->key_usage == 0;
    if (!*fits || usage == 0 || (bits = ASN1_BIT_STRING_new()) == NULL)
        return NULL;
    for (i = 0; i < GH_USAGE_BITS; i++) {
        if (usage & (1u << i))
            ASN1_BIT_STRING_set_bit(bits, i, 1);
    }
    extension = X509V3_EXT_i2d(NID_key_usage, 1, bits);
    ASN1_BIT_STRING_free(bits);
    return extension;
}

static X509_EXTENSION *make_policies(const apr_array_header_t *oids)
{
    CERTIFICATEPOLICIES *policies = CERTIFICATEPOLICIES_new();
    X509_EXTENSION *extension;
    int i;

    for (i = 0; policies != NULL && i < oids->nelts; i++) {
        POLICYINFO *policy = POLICYINFO_new();

        if (policy == NULL || sk_POLICYINFO_push(policies, policy) <= 0) {
            POLICYINFO_free(policy);
            break;
        }
        policy->policyid = OBJ_txt2obj(APR_ARRAY_IDX(oids, i, const char *), 1);
    }
    extension = policies != NULL && i == oids->nelts
        ? X509V3_EXT_i2d(NID_certificate_policies, 0, policies) : NULL;
    CERTIFICATEPOLICIES_free(policies);
    return extension;
}

static X509_EXTENSION *make_no_check(void)
{
    ASN1_NULL *null = ASN1_NULL_new();
    X509_EXTENSION *extension = X509V3_EXT_i2d(NID_id_pkix_OCSP_noCheck, 0, null);

    ASN1_NULL_free(null);
    return extension;
}

X509_EXTENSION *gh_profile_make_eku(const apr_array_header_t *oids, int critical)
{
    EXTENDED_KEY_USAGE *usages = EXTENDED_KEY_USAGE_new();
    X509_EXTENSION *extension;
    int i;

    for (i = 0; usages != NULL && i < oids->nelts; i++) {
        ASN1_OBJECT *object = OBJ_txt2obj(APR_ARRAY_IDX(oids, i, const char *), 1);

        if (object == NULL || sk_ASN1_OBJECT_push(usages, object) <= 0) {
            ASN1_OBJECT_free(object);
            break;
        }
    }
    extension = usages != NULL && i == oids->nelts
        ? X509V3_EXT_i2d(NID_ext_key_usage, critical, usages) : NULL;
    EXTENDED_KEY_USAGE_free(usages);
    return extension;
}

/** What contradicts itself. @return NULL if nothing does */
static const char *contradiction(const gh_profile_t *profile)
{
    int signs_certificates = (profile->key_usage & GH_USAGE_KEY_CERT_SIGN) != 0;
    int ocsp = gh_texts_contain(profile->eku, GH_OID_OCSP_SIGNING);
    int i;

    if (!profile->key_usage_given)
        return "ProfileKeyUsage is missing";
    if (profile->ca && !signs_certificates)
        return "a CA needs key usage keyCertSign";
    if (!profile->ca && (signs_certificates || (profile->key_usage & GH_USAGE_CRL_SIGN)))
        return "key usages keyCertSign and cRLSign belong to CAs only (RFC 5280 4.2.1.9)";
    if (profile->ca && ocsp)
        return "a CA certificate with OCSPSigning could answer for its siblings";
    if (profile->ocsp_no_check && !ocsp)
        return "ProfileOCSPNoCheck needs extended key usage OCSPSigning";
    if (profile->policies->nelts > 0
        && gh_texts_contain(profile->request_extensions, GH_OID_CERTIFICATE_POLICIES))
        return "policies are either fixed or taken from requests";
    if ((profile->modes & GH_MODE_P12) && !(profile->keys & 1u))
        return "mode p12 makes keys of kind RSA-2048, which ProfileKeys does not list";
    for (i = 0; profile->eku_mode == GH_EKU_FIXED && i < profile->eku->nelts; i++) {
        const char *item = gh_never_eku(APR_ARRAY_IDX(profile->eku, i, const char *));

        if (item != NULL && profile->key_usage != 0
            && (strcmp(item, "codeSigning") == 0 || strcmp(item, "OCSPSigning") == 0
                || strcmp(item, "timeStamping") == 0)
            && !(profile->key_usage & (GH_USAGE_DIGITAL_SIGNATURE | GH_USAGE_NON_REPUDIATION)))
            return "an extended key usage for signing needs key usage digitalSignature";
    }
    return NULL;
}

static void collect_expressions(gh_profile_t *profile, apr_pool_t *p)
{
    int i;

    profile->expressions = apr_array_make(p, 1, sizeof(const char *));
    for (i = 0; i < profile->subject.set->nelts; i++)
        APR_ARRAY_PUSH(profile->expressions, const char *) =
            APR_ARRAY_IDX(profile->subject.set, i, gh_set_rule_t).expression;
    for (i = 0; i < profile->san.set->nelts; i++)
        APR_ARRAY_PUSH(profile->expressions, const char *) =
            APR_ARRAY_IDX(profile->san.set, i, gh_set_rule_t).expression;
}

apr_status_t gh_profile_complete(gh_profile_t *profile, apr_pool_t *p, gh_result_t *result)
{
    const char *error = contradiction(profile);

    if (error != NULL)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "profile.contradiction",
                              "correct the profile",
                              GHNO(0138) "profile %s: %s", profile->name, error);
    ERR_clear_error();
    collect_expressions(profile, p);
    profile->basic_constraints = gh_own_extension(p, make_basic_constraints(profile));
    profile->usage_rsa = gh_own_extension(p, make_key_usage(profile, 0, &profile->usage_rsa_fits));
    profile->usage_ec = gh_own_extension(p, make_key_usage(profile, 1, &profile->usage_ec_fits));
    profile->eku_extension = profile->eku_mode != GH_EKU_FIXED ? NULL
        : gh_own_extension(p, gh_profile_make_eku(profile->eku, profile->eku_critical));
    profile->policies_extension = profile->policies->nelts == 0 ? NULL
        : gh_own_extension(p, make_policies(profile->policies));
    profile->no_check_extension = !profile->ocsp_no_check ? NULL
        : gh_own_extension(p, make_no_check());
    if (profile->basic_constraints == NULL
        || (profile->usage_rsa == NULL && profile->usage_ec == NULL && profile->key_usage != 0)
        || (profile->eku_mode == GH_EKU_FIXED && profile->eku_extension == NULL)
        || (profile->policies->nelts > 0 && profile->policies_extension == NULL)
        || (profile->ocsp_no_check && profile->no_check_extension == NULL))
        return gh_result_openssl(result, APR_EINVAL, GH_FAILURE_INTERNAL, "profile.contradiction",
                                 "check key usage, mapping and policies",
                                 GHNO(0139) "profile %s: its extensions cannot be made, or fit no "
                                 "kind of key", profile->name);
    profile->complete = 1;
    return APR_SUCCESS;
}

/* Questions */

const char *gh_profile_name(const gh_profile_t *profile)
{
    return profile->name;
}

const apr_array_header_t *gh_profile_aliases(const gh_profile_t *profile)
{
    return profile->aliases;
}

int gh_profile_needs_approval(const gh_profile_t *profile)
{
    return profile->approval;
}

int gh_profile_is_internal(const gh_profile_t *profile)
{
    return profile->internal;
}

int gh_profile_is_privileged(const gh_profile_t *profile)
{
    int i;

    if (profile->ca || profile->internal)
        return 1;
    for (i = 0; profile->eku_mode == GH_EKU_FIXED && i < profile->eku->nelts; i++) {
        if (gh_never_eku(APR_ARRAY_IDX(profile->eku, i, const char *)) != NULL)
            return 1;
    }
    return 0;
}

int gh_profile_fits_ra(const gh_profile_t *profile)
{
    const unsigned int both = GH_USAGE_DIGITAL_SIGNATURE | GH_USAGE_KEY_ENCIPHERMENT;

    return (profile->key_usage & both) == both && !profile->ca;
}

int gh_profile_fits_ocsp(const gh_profile_t *profile)
{
    int signs = profile->key_usage == 0 || (profile->key_usage & GH_USAGE_DIGITAL_SIGNATURE) != 0;

    return !profile->ca && signs && profile->eku_mode == GH_EKU_FIXED
        && gh_texts_contain(profile->eku, GH_OID_OCSP_SIGNING);
}

unsigned int gh_profile_key_usage(const gh_profile_t *profile)
{
    return gh_profile_map_usage(profile->key_usage, 0);
}

int gh_profile_allows_key(const gh_profile_t *profile, const char *kind)
{
    int i;

    for (i = 0; kind != NULL && gh_profile_key_kinds[i] != NULL; i++) {
        if (strcasecmp(gh_profile_key_kinds[i], kind) == 0)
            return (profile->keys & (1u << i)) != 0;
    }
    return 0;
}

int gh_profile_allows_mode(const gh_profile_t *profile, const char *mode)
{
    unsigned int bit = strcmp(mode, "p12") == 0 ? GH_MODE_P12
        : strcmp(mode, "csr") == 0 ? GH_MODE_CSR : 0;

    return (profile->modes & bit) != 0;
}

const apr_array_header_t *gh_profile_expressions(const gh_profile_t *profile)
{
    return profile->expressions;
}
