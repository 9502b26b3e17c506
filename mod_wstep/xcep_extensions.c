/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/xcep_extensions.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/asn1t.h>
#include <openssl/x509v3.h>

#include "x509/profile_rules.h"
#include "x509/usages.h"

/** CertificateTemplate (MS-WCCE 2.2.2.7.7.2). */
typedef struct {
    ASN1_OBJECT *id;
    ASN1_INTEGER *major;
    ASN1_INTEGER *minor;
} template_t;

ASN1_SEQUENCE(template_t) = {
    ASN1_SIMPLE(template_t, id, ASN1_OBJECT),
    ASN1_SIMPLE(template_t, major, ASN1_INTEGER),
    ASN1_OPT(template_t, minor, ASN1_INTEGER)
} static_ASN1_SEQUENCE_END(template_t)

static gh_bytes_t encode(const ASN1_VALUE *value, const ASN1_ITEM *item, apr_pool_t *p)
{
    unsigned char *der = NULL;
    int length = ASN1_item_i2d(value, &der, item);
    gh_bytes_t bytes = { NULL, 0 };

    if (length > 0) {
        bytes.data = apr_pmemdup(p, der, (apr_size_t)length);
        bytes.length = (apr_size_t)length;
    }
    OPENSSL_free(der);
    return bytes;
}

static void add(apr_array_header_t *extensions, const char *oid, int critical, gh_bytes_t value)
{
    xcep_extension_t extension = { oid, critical, value };

    if (value.length) {
        APR_ARRAY_PUSH(extensions, xcep_extension_t) = extension;
    }
}

static gh_bytes_t encode_template(const xcep_template_t *template, apr_pool_t *p)
{
    template_t value = { OBJ_txt2obj(template->oid, 1), ASN1_INTEGER_new(), ASN1_INTEGER_new() };
    gh_bytes_t bytes = { NULL, 0 };

    if (value.id && value.major && value.minor && ASN1_INTEGER_set(value.major, template->major)
        && ASN1_INTEGER_set(value.minor, template->minor)) {
        bytes = encode((const ASN1_VALUE *)&value, ASN1_ITEM_rptr(template_t), p);
    }
    ASN1_OBJECT_free(value.id);
    ASN1_INTEGER_free(value.major);
    ASN1_INTEGER_free(value.minor);
    return bytes;
}

/** Templates of version 1 are told by their name. */
static gh_bytes_t encode_name(const xcep_template_t *template, apr_pool_t *p)
{
    ASN1_BMPSTRING *name = ASN1_BMPSTRING_new();
    gh_bytes_t bytes = { NULL, 0 };

    if (name && ASN1_mbstring_copy((ASN1_STRING **)&name, (const unsigned char *)template->name, -1,
                                   MBSTRING_UTF8, B_ASN1_BMPSTRING) > 0) {
        bytes = encode((const ASN1_VALUE *)name, ASN1_ITEM_rptr(ASN1_BMPSTRING), p);
    }
    ASN1_BMPSTRING_free(name);
    return bytes;
}

static gh_bytes_t encode_usage(unsigned int usage, apr_pool_t *p)
{
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    gh_bytes_t bytes = { NULL, 0 };
    int i, good = bits != NULL;

    for (i = 0; good && i < GH_USAGE_BITS; ++i) {
        good = !(usage & 1u << i) || ASN1_BIT_STRING_set_bit(bits, i, 1);
    }
    if (good) {
        bytes = encode((const ASN1_VALUE *)bits, ASN1_ITEM_rptr(ASN1_BIT_STRING), p);
    }
    ASN1_BIT_STRING_free(bits);
    return bytes;
}

static void add_extended(apr_array_header_t *extensions, X509_EXTENSION *extension, apr_pool_t *p)
{
    const ASN1_OCTET_STRING *value = extension ? X509_EXTENSION_get_data(extension) : NULL;
    gh_bytes_t bytes = { NULL, 0 };

    if (value) {
        bytes.length = (apr_size_t)ASN1_STRING_length(value);
        bytes.data = apr_pmemdup(p, ASN1_STRING_get0_data(value), bytes.length);
    }
    add(extensions, "2.5.29.37", value && X509_EXTENSION_get_critical(extension), bytes);
}

const apr_array_header_t *xcep_extensions_make(const xcep_template_t *template,
                                               const gh_profile_t *profile, apr_pool_t *p)
{
    apr_array_header_t *extensions = apr_array_make(p, 3, sizeof(xcep_extension_t));
    unsigned int usage = gh_profile_key_usage(profile);

    if (template->schema > 1) {
        add(extensions, GH_OID_TEMPLATE, 0, encode_template(template, p));
    }
    else {
        add(extensions, GH_OID_TEMPLATE_NAME, 0, encode_name(template, p));
    }
    if (usage) {
        add(extensions, "2.5.29.15", 1, encode_usage(usage, p));
    }
    if (profile->eku_extension) {
        add_extended(extensions, profile->eku_extension, p);
    }
    else if (profile->eku_mode == GH_EKU_REQUEST && template->extended_usages
             && template->extended_usages->nelts) {
        X509_EXTENSION *made = gh_profile_make_eku(template->extended_usages,
                                                   profile->eku_critical);

        add_extended(extensions, made, p);
        X509_EXTENSION_free(made);
    }
    return extensions;
}

static int lists(const apr_array_header_t *oids, const ASN1_OBJECT *object)
{
    char text[128];
    int i, length = OBJ_obj2txt(text, sizeof(text), object, 1);

    for (i = 0; length > 0 && length < (int)sizeof(text) && i < oids->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(oids, i, const char *), text)) {
            return 1;
        }
    }
    return 0;
}

int xcep_usages_match(const gh_profile_t *profile, const apr_array_header_t *oids)
{
    EXTENDED_KEY_USAGE *usages;
    int i, good;

    if (profile->eku_mode == GH_EKU_REQUEST) {
        good = oids && oids->nelts;
        for (i = 0; good && i < oids->nelts; ++i) {
            good = !gh_never_eku(APR_ARRAY_IDX(oids, i, const char *));
        }
        return good;
    }
    if (!oids) {
        return 1;
    }
    usages = profile->eku_extension ? X509V3_EXT_d2i(profile->eku_extension) : NULL;
    good = usages && sk_ASN1_OBJECT_num(usages) == oids->nelts;
    for (i = 0; good && i < sk_ASN1_OBJECT_num(usages); ++i) {
        good = lists(oids, sk_ASN1_OBJECT_value(usages, i));
    }
    EXTENDED_KEY_USAGE_free(usages);
    return good;
}
