/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a request asks for in its extensions: understood, checked, sorted. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "status.h"
#include "x509/profile_rules.h"
#include "x509/usages.h"

/** Most usages or policies that one extension may list. */
#define USAGES_MAX 32
/** Of elements in the value of an extension that is copied. */
#define NESTING_MAX 32

/* Certificate template of version 2 ([MS-WCCE] 2.2.2.7.7.2). */

typedef struct {
    ASN1_OBJECT *id;
    ASN1_INTEGER *major;
    ASN1_INTEGER *minor;
} certificate_template_t;

ASN1_SEQUENCE(certificate_template_t) = {
    ASN1_SIMPLE(certificate_template_t, id, ASN1_OBJECT),
    ASN1_OPT(certificate_template_t, major, ASN1_INTEGER),
    ASN1_OPT(certificate_template_t, minor, ASN1_INTEGER)
} static_ASN1_SEQUENCE_END(certificate_template_t)

/** Everything that the functions below need. */
typedef struct {
    gh_requested_t *requested;
    const gh_profile_t *profile;
    const gh_allowances_t *allowances;
    const gh_given_names_t *given;      /* or NULL */
    apr_pool_t *p;
    gh_result_t *result;
} reader_t;

static apr_status_t malformed(const reader_t *reader, const char *what)
{
    return GH_REFUSE(reader->result, "profile.extension", "correct the request",
                     GHNO(0143) "the requested extension %s is malformed or empty", what);
}

static apr_status_t refuse_ca(const reader_t *reader, const char *what)
{
    return GH_REFUSE(reader->result, "never.ca",
                     "ask without it; CA certificates are made by profiles for them",
                     GHNO(0144) "no request may ask for %s", what);
}

/** The usage a request asks for gives it nothing, and is refused if it would make a CA. */
static apr_status_t read_key_usage(const reader_t *reader, const X509_EXTENSION *extension)
{
    ASN1_BIT_STRING *bits = gh_extension_value(extension, ASN1_ITEM_rptr(ASN1_BIT_STRING));
    unsigned int usage = 0;
    int i;

    if (bits == NULL)
        return malformed(reader, "keyUsage");
    for (i = 0; i < GH_USAGE_BITS; i++) {
        if (ASN1_BIT_STRING_get_bit(bits, i))
            usage |= 1u << i;
    }
    ASN1_BIT_STRING_free(bits);
    if (usage & (GH_USAGE_KEY_CERT_SIGN | GH_USAGE_CRL_SIGN) && !reader->profile->ca)
        return refuse_ca(reader, "key usage keyCertSign or cRLSign");
    reader->requested->key_usage_given = 1;
    reader->requested->key_usage = usage;
    return APR_SUCCESS;
}

static apr_status_t read_basic_constraints(const reader_t *reader, const X509_EXTENSION *extension)
{
    BASIC_CONSTRAINTS *constraints = gh_extension_value(extension,
                                                        ASN1_ITEM_rptr(BASIC_CONSTRAINTS));
    int ca;

    if (constraints == NULL)
        return malformed(reader, "basicConstraints");
    ca = constraints->ca != 0 || constraints->pathlen != NULL;
    BASIC_CONSTRAINTS_free(constraints);
    if (ca && !reader->profile->ca)
        return refuse_ca(reader, "a CA certificate");
    return APR_SUCCESS;
}

static apr_status_t read_key_identifier(const reader_t *reader, const X509_EXTENSION *extension)
{
    ASN1_OCTET_STRING *identifier = gh_extension_value(extension,
                                                       ASN1_ITEM_rptr(ASN1_OCTET_STRING));

    if (identifier == NULL)
        return malformed(reader, "subjectKeyIdentifier");
    ASN1_OCTET_STRING_free(identifier);
    return APR_SUCCESS;
}

static apr_status_t read_san(const reader_t *reader, const X509_EXTENSION *extension)
{
    GENERAL_NAMES *names = gh_own_general_names(
        reader->p, gh_extension_value(extension, ASN1_ITEM_rptr(GENERAL_NAMES)));
    int i, count = names != NULL ? sk_GENERAL_NAME_num(names) : 0;

    if (count < 1)
        return malformed(reader, "subjectAltName");
    if (count > GH_SAN_MAX)
        return GH_REFUSE(reader->result, "profile.san", "ask for fewer names",
                         GHNO(0145) "the request has more than %d subject alternative names",
                         GH_SAN_MAX);
    for (i = 0; i < count; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        apr_status_t rv = gh_never_check_name(name, reader->allowances, reader->p, reader->result);

        if (rv == APR_SUCCESS)
            rv = gh_san_check(name, reader->result);
        if (rv != APR_SUCCESS)
            return rv;
    }
    reader->requested->san = names;
    return APR_SUCCESS;
}

/** Reads a list of usages. @return NULL if it is malformed, empty or too long */
static apr_array_header_t *usage_list(const X509_EXTENSION *extension, apr_pool_t *p)
{
    EXTENDED_KEY_USAGE *usages = gh_extension_value(extension, ASN1_ITEM_rptr(EXTENDED_KEY_USAGE));
    int i, count = usages != NULL ? sk_ASN1_OBJECT_num(usages) : 0;
    apr_array_header_t *list = NULL;
    char oid[GH_OID_SIZE];

    if (count >= 1 && count <= USAGES_MAX) {
        list = apr_array_make(p, count, sizeof(const char *));
        for (i = 0; list != NULL && i < count; i++) {
            if (gh_oid_copy(oid, sk_ASN1_OBJECT_value(usages, i)))
                APR_ARRAY_PUSH(list, const char *) = apr_pstrdup(p, oid);
            else
                list = NULL;
        }
    }
    EXTENDED_KEY_USAGE_free(usages);
    return list;
}

static int is_fixed(const gh_profile_t *profile, const char *oid)
{
    return profile->eku_mode == GH_EKU_FIXED && gh_texts_contain(profile->eku, oid);
}

static apr_status_t read_eku(const reader_t *reader, const X509_EXTENSION *extension)
{
    const gh_profile_t *profile = reader->profile;
    apr_array_header_t *list = usage_list(extension, reader->p);
    apr_status_t rv;
    int i;

    if (list == NULL)
        return malformed(reader, "extKeyUsage");
    for (i = 0; i < list->nelts; i++) {
        const char *oid = APR_ARRAY_IDX(list, i, const char *);

        /* What the profile gives anyway is not asked for. */
        if (is_fixed(profile, oid))
            continue;
        rv = gh_never_check_usage(oid, "never.eku", reader->allowances, reader->result);
        if (rv != APR_SUCCESS)
            return rv;
        if (profile->eku_mode != GH_EKU_REQUEST && !profile->strip_unlisted)
            return GH_REFUSE(reader->result, "profile.eku",
                             "ask for no extended key usage, or use a profile that takes it",
                             GHNO(0146) "profile %s does not take extended key usage %s from a "
                             "request", profile->name, gh_eku_name(oid));
    }
    if (profile->eku_mode == GH_EKU_REQUEST) {
        reader->requested->eku = list;
        reader->requested->eku_extension =
            gh_own_extension(reader->p, gh_profile_make_eku(list, profile->eku_critical));
        if (reader->requested->eku_extension == NULL)
            return malformed(reader, "extKeyUsage");
    }
    return APR_SUCCESS;
}

/**
 * Application policies mean to Windows what extended key usages mean to everybody.
 * @param beyond set to 1 if they go beyond usages that the profile fixes, and may not be copied
 */
static apr_status_t read_application_policies(const reader_t *reader,
                                              const X509_EXTENSION *extension, int *beyond)
{
    CERTIFICATEPOLICIES *policies = gh_extension_value(extension,
                                                       ASN1_ITEM_rptr(CERTIFICATEPOLICIES));
    int i, count = policies != NULL ? sk_POLICYINFO_num(policies) : 0;
    apr_status_t rv = APR_SUCCESS;
    char oid[GH_OID_SIZE];

    if (count < 1 || count > USAGES_MAX)
        rv = malformed(reader, "application policies");
    for (i = 0; rv == APR_SUCCESS && i < count; i++) {
        if (!gh_oid_copy(oid, sk_POLICYINFO_value(policies, i)->policyid)) {
            rv = malformed(reader, "application policies");
            break;
        }
        if (is_fixed(reader->profile, oid))
            continue;
        rv = gh_never_check_usage(oid, "never.application-policy", reader->allowances,
                                  reader->result);
        if (reader->profile->eku_mode == GH_EKU_FIXED)
            *beyond = 1;
        if (rv == APR_SUCCESS && *beyond && !reader->profile->strip_unlisted)
            rv = GH_REFUSE(reader->result, "profile.eku",
                           "ask for no application policies beyond the profile's usages",
                           GHNO(0147) "application policy %s goes beyond the extended key usages "
                           "that profile %s fixes", gh_eku_name(oid), reader->profile->name);
    }
    CERTIFICATEPOLICIES_free(policies);
    return rv;
}

static int value_parses(const X509_EXTENSION *extension, const ASN1_ITEM *item)
{
    ASN1_VALUE *value = gh_extension_value(extension, item);

    ASN1_item_free(value, item);
    return value != NULL;
}

static int is_text_value(const X509_EXTENSION *extension)
{
    ASN1_TYPE *value = gh_extension_value(extension, ASN1_ITEM_rptr(ASN1_ANY));
    int good = value != NULL
        && (value->type == V_ASN1_BMPSTRING || value->type == V_ASN1_UTF8STRING
            || value->type == V_ASN1_PRINTABLESTRING || value->type == V_ASN1_IA5STRING)
        && ASN1_STRING_length(value->value.asn1_string) > 0;

    ASN1_TYPE_free(value);
    return good;
}

static int capabilities_parse(const X509_EXTENSION *extension)
{
    const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data((X509_EXTENSION *)extension);
    const unsigned char *bytes = ASN1_STRING_get0_data(data);
    const unsigned char *end = bytes + ASN1_STRING_length(data);
    X509_ALGORS *algorithms = d2i_X509_ALGORS(NULL, &bytes, end - bytes);
    int good = algorithms != NULL && bytes == end;

    sk_X509_ALGOR_pop_free(algorithms, X509_ALGOR_free);
    return good;
}

/** SIZE (1..MAX), RFC 5280 4.2.1.4 */
static int has_policies(const X509_EXTENSION *extension)
{
    CERTIFICATEPOLICIES *policies = gh_extension_value(extension,
                                                       ASN1_ITEM_rptr(CERTIFICATEPOLICIES));
    int good = policies != NULL && sk_POLICYINFO_num(policies) > 0;

    CERTIFICATEPOLICIES_free(policies);
    return good;
}

static int has_names(const X509_EXTENSION *extension)
{
    GENERAL_NAMES *names = gh_extension_value(extension, ASN1_ITEM_rptr(GENERAL_NAMES));
    int good = names != NULL && sk_GENERAL_NAME_num(names) > 0;

    GENERAL_NAMES_free(names);
    return good;
}

/** Certificates are DER: no indefinite lengths (X.690 10.1), which OpenSSL reads. */
static int has_definite_lengths(const unsigned char *at, long length, int depth)
{
    while (length > 0) {
        const unsigned char *content = at;
        long content_length;
        int tag, class, form = ASN1_get_object(&content, &content_length, &tag, &class, length);

        if ((form & 0x80) || (form & 0x01) || depth > NESTING_MAX)
            return 0;
        if ((form & V_ASN1_CONSTRUCTED)
            && !has_definite_lengths(content, content_length, depth + 1))
            return 0;
        length -= (long)(content - at) + content_length;
        at = content + content_length;
    }
    return 1;
}

/** Checks that the value of an extension which is copied as it is has the form it should have. */
static int copied_value_is_good(const X509_EXTENSION *extension, const char *oid)
{
    const ASN1_OCTET_STRING *data = X509_EXTENSION_get_data((X509_EXTENSION *)extension);

    if (!has_definite_lengths(ASN1_STRING_get0_data(data), ASN1_STRING_length(data), 0))
        return 0;
    if (strcmp(oid, GH_OID_CERTIFICATE_POLICIES) == 0
        || strcmp(oid, GH_OID_APPLICATION_POLICIES) == 0)
        return has_policies(extension);
    if (strcmp(oid, GH_OID_SMIME_CAPABILITIES) == 0)
        return capabilities_parse(extension);
    if (strcmp(oid, GH_OID_TEMPLATE) == 0)
        return value_parses(extension, ASN1_ITEM_rptr(certificate_template_t));
    if (strcmp(oid, GH_OID_TEMPLATE_NAME) == 0)
        return is_text_value(extension);
    if (strcmp(oid, GH_OID_SID) == 0)
        return has_names(extension);
    return value_parses(extension, ASN1_ITEM_rptr(ASN1_ANY));
}

static apr_status_t read_other(const reader_t *reader, X509_EXTENSION *extension)
{
    const gh_profile_t *profile = reader->profile;
    char oid[GH_OID_SIZE];
    apr_status_t rv = APR_SUCCESS;
    int beyond = 0;

    if (!gh_oid_copy(oid, X509_EXTENSION_get_object(extension)))
        return malformed(reader, "with an unreasonably long object identifier");
    if (strcmp(oid, GH_OID_SID) == 0 && !gh_never_is_lifted(reader->allowances, GH_OID_SID))
        return GH_REFUSE(reader->result, "never.sid",
                         "leave it out, or list SID with GatehouseAllowRequest at this location",
                         GHNO(0148) "no request may bring a security identifier (%s) here",
                         oid);
    if (strcmp(oid, GH_OID_APPLICATION_POLICIES) == 0)
        rv = read_application_policies(reader, extension, &beyond);
    if (rv != APR_SUCCESS || beyond)
        return rv;
    if (!gh_texts_contain(profile->request_extensions, oid)) {
        if (profile->strip_unlisted)
            return APR_SUCCESS;
        return GH_REFUSE(reader->result, "profile.extension",
                         "leave it out, or use a profile that takes it from requests",
                         GHNO(0149) "profile %s does not take extension %s from a request",
                         profile->name, oid);
    }
    if (!copied_value_is_good(extension, oid))
        return malformed(reader, oid);
    APR_ARRAY_PUSH(reader->requested->copied, X509_EXTENSION *) = extension;
    return APR_SUCCESS;
}

/** Whether something else stands in the place of what the request asks for. */
static int is_replaced(const reader_t *reader, X509_EXTENSION *extension)
{
    const gh_given_names_t *given = reader->given;
    ASN1_OBJECT *object = X509_EXTENSION_get_object(extension);
    char oid[GH_OID_SIZE];

    if (given == NULL)
        return 0;
    if (given->instead && (OBJ_obj2nid(object) == NID_subject_alt_name
                           || (gh_oid_copy(oid, object) && strcmp(oid, GH_OID_SID) == 0)))
        return 1;
    if (given->extensions == NULL)
        return 0;
    if (X509v3_get_ext_by_OBJ(given->extensions, object, -1) >= 0)
        return 1;
    /* application policies mean to Windows what extended key usages do, and count first */
    return X509v3_get_ext_by_NID(given->extensions, NID_ext_key_usage, -1) >= 0
        && gh_oid_copy(oid, object) && strcmp(oid, GH_OID_APPLICATION_POLICIES) == 0;
}

/** What nobody may ask for is not to be had by what stands in the place of a request either. */
static apr_status_t check_given(const reader_t *reader)
{
    int at = reader->given != NULL && reader->given->extensions != NULL
        ? X509v3_get_ext_by_NID(reader->given->extensions, NID_ext_key_usage, -1) : -1;
    const apr_array_header_t *list;
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (at < 0)
        return APR_SUCCESS;
    list = usage_list(sk_X509_EXTENSION_value(reader->given->extensions, at), reader->p);
    if (list == NULL)
        return malformed(reader, "extKeyUsage");
    for (i = 0; i < list->nelts && rv == APR_SUCCESS; i++) {
        const char *oid = APR_ARRAY_IDX(list, i, const char *);

        if (!is_fixed(reader->profile, oid))
            rv = gh_never_check_usage(oid, "never.eku", reader->allowances, reader->result);
    }
    return rv;
}

static apr_status_t read_extension(const reader_t *reader, X509_EXTENSION *extension)
{
    if (is_replaced(reader, extension))
        return APR_SUCCESS;
    switch (OBJ_obj2nid(X509_EXTENSION_get_object(extension))) {
    case NID_key_usage:
        return read_key_usage(reader, extension);
    case NID_basic_constraints:
        return read_basic_constraints(reader, extension);
    case NID_subject_key_identifier:
        return read_key_identifier(reader, extension);
    case NID_subject_alt_name:
        return read_san(reader, extension);
    case NID_ext_key_usage:
        return read_eku(reader, extension);
    default:
        return read_other(reader, extension);
    }
}

apr_status_t gh_profile_read_request(gh_requested_t *requested, const gh_profile_t *profile,
                                     const gh_csr_t *csr, const gh_profile_context_t *context,
                                     apr_pool_t *p, gh_result_t *result)
{
    const reader_t reader = {
        requested, profile, context != NULL ? context->allowances : NULL,
        context != NULL ? context->given : NULL, p, result
    };
    const STACK_OF(X509_EXTENSION) *extensions = gh_csr_extensions(csr);
    int i, count = extensions != NULL ? sk_X509_EXTENSION_num(extensions) : 0;
    apr_status_t rv = APR_SUCCESS;

    memset(requested, 0, sizeof(*requested));
    requested->copied = apr_array_make(p, 4, sizeof(X509_EXTENSION *));
    for (i = 0; i < count && rv == APR_SUCCESS; i++)
        rv = read_extension(&reader, sk_X509_EXTENSION_value(extensions, i));
    if (rv == APR_SUCCESS)
        rv = check_given(&reader);
    ERR_clear_error();
    return rv;
}
