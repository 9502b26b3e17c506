/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "mod_wstep/wstep_token_private.h"
#include "status.h"
#include "x509/key.h"
#include "x509/own.h"
#include "x509/usages.h"

#define ATTRIBUTES_MAX 64
#define TEXT_MAX 1024
/** Of a version of a template. */
#define VERSION_MAX 0x7fffffff

/** A string as text, in p; NULL if it is empty, too long, or has control characters. */
static const char *text_of(const ASN1_STRING *string, int max, apr_pool_t *p)
{
    unsigned char *utf8 = NULL;
    int i, length = string ? ASN1_STRING_to_UTF8(&utf8, string) : -1;
    const char *text = NULL;

    for (i = 0; i < length && utf8[i] >= 0x20 && utf8[i] != 0x7f; ++i) {
        continue;
    }
    if (length >= 0 && i == length && length <= max) {
        text = apr_pstrmemdup(p, (const char *)utf8, (apr_size_t)length);
    }
    OPENSSL_free(utf8);
    ERR_clear_error();
    return text;
}

static int push_value(apr_array_header_t *values, const char *name, const char *value)
{
    wstep_value_t *pushed;

    if (!name || !*name || !value || values->nelts >= WSTEP_VALUES_MAX) {
        return 0;
    }
    pushed = apr_array_push(values);
    pushed->name = name;
    pushed->value = value;
    return 1;
}

static apr_status_t take_name_value(const ASN1_TYPE *value, apr_array_header_t *values,
                                    apr_pool_t *p, gh_result_t *result)
{
    WSTEP_NAME_VALUE *pair = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(WSTEP_NAME_VALUE), value);
    int good = pair && push_value(values, text_of(pair->name, TEXT_MAX, p),
                                  text_of(pair->value, TEXT_MAX * 4, p));

    WSTEP_NAME_VALUE_free(pair);
    return good ? APR_SUCCESS : wstep_token_malformed(result, "a name/value pair is none");
}

static apr_status_t take_client_info(wstep_token_t *token, const ASN1_TYPE *value, apr_pool_t *p,
                                     gh_result_t *result)
{
    WSTEP_CLIENT_INFO *info = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(WSTEP_CLIENT_INFO), value);

    if (!info) {
        return wstep_token_malformed(result, "the attribute with the client's information is none");
    }
    token->client_machine = text_of(info->machine, TEXT_MAX, p);
    token->client_user = text_of(info->user, TEXT_MAX, p);
    token->client_process = text_of(info->process, TEXT_MAX, p);
    WSTEP_CLIENT_INFO_free(info);
    return APR_SUCCESS;
}

static apr_status_t take_renewed(wstep_token_t *token, const ASN1_TYPE *value, apr_pool_t *p,
                                 gh_result_t *result)
{
    X509 *renewed = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(X509), value);

    if (!renewed || token->renewed) {
        X509_free(renewed);
        return wstep_token_malformed(result, "the renewed certificate is none, or one of several");
    }
    token->renewed = gh_own_certificate(p, renewed);
    return APR_SUCCESS;
}

/** What is not known is left alone: it gives nothing. */
static apr_status_t take_attribute(wstep_token_t *token, X509_ATTRIBUTE *attribute,
                                   apr_array_header_t *values, apr_pool_t *p, gh_result_t *result)
{
    int i, count = X509_ATTRIBUTE_count(attribute);
    apr_status_t rv = APR_SUCCESS;
    char oid[GH_OID_SIZE];

    if (!gh_oid_copy(oid, X509_ATTRIBUTE_get0_object(attribute)) || count > WSTEP_VALUES_MAX) {
        return wstep_token_malformed(result, "an attribute is too large");
    }
    for (i = 0; i < count && rv == APR_SUCCESS; ++i) {
        const ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(attribute, i);

        if (!strcmp(oid, WSTEP_OID_OS_VERSION) && value->type == V_ASN1_IA5STRING) {
            token->os_version = text_of(value->value.ia5string, TEXT_MAX, p);
        }
        else if (value->type != V_ASN1_SEQUENCE) {
            continue;
        }
        else if (!strcmp(oid, WSTEP_OID_NAME_VALUE)) {
            rv = take_name_value(value, values, p, result);
        }
        else if (!strcmp(oid, WSTEP_OID_CLIENT_INFO)) {
            rv = take_client_info(token, value, p, result);
        }
        else if (!strcmp(oid, WSTEP_OID_RENEWED)) {
            rv = take_renewed(token, value, p, result);
        }
    }
    return rv;
}

/* Extensions */

static apr_status_t take_template_name(wstep_token_t *token, const X509_EXTENSION *extension,
                                       apr_pool_t *p, gh_result_t *result)
{
    ASN1_TYPE *value = gh_extension_value(extension, ASN1_ITEM_rptr(ASN1_ANY));

    if (value && (value->type == V_ASN1_BMPSTRING || value->type == V_ASN1_UTF8STRING
                  || value->type == V_ASN1_PRINTABLESTRING || value->type == V_ASN1_IA5STRING)) {
        token->template_name = text_of(value->value.asn1_string, 255, p);
    }
    ASN1_TYPE_free(value);
    return token->template_name && *token->template_name
        ? APR_SUCCESS : wstep_token_malformed(result, "the name of the template is none");
}

static int version_of(const ASN1_INTEGER *number, int *version)
{
    apr_int64_t value = -1;

    if (!number) {
        return 1;
    }
    if (ASN1_INTEGER_get_int64(&value, number) != 1 || value < 0 || value > VERSION_MAX) {
        return 0;
    }
    *version = (int)value;
    return 1;
}

static apr_status_t take_template(wstep_token_t *token, const X509_EXTENSION *extension,
                                  apr_pool_t *p, gh_result_t *result)
{
    WSTEP_TEMPLATE_ID *id = gh_extension_value(extension, ASN1_ITEM_rptr(WSTEP_TEMPLATE_ID));
    char oid[GH_OID_SIZE];
    int good = id && gh_oid_copy(oid, id->id) && version_of(id->major, &token->template_major)
               && version_of(id->minor, &token->template_minor);

    WSTEP_TEMPLATE_ID_free(id);
    if (!good) {
        return wstep_token_malformed(result, "the template is not an OID with a version");
    }
    token->template_oid = apr_pstrdup(p, oid);
    return APR_SUCCESS;
}

static apr_status_t take_key_usage(wstep_token_t *token, const X509_EXTENSION *extension,
                                   gh_result_t *result)
{
    ASN1_BIT_STRING *bits = gh_extension_value(extension, ASN1_ITEM_rptr(ASN1_BIT_STRING));
    int i;

    if (!bits) {
        return wstep_token_malformed(result, "keyUsage is none");
    }
    for (i = 0; i < GH_USAGE_BITS; ++i) {
        if (ASN1_BIT_STRING_get_bit(bits, i)) {
            token->key_usage |= 1u << i;
        }
    }
    ASN1_BIT_STRING_free(bits);
    return APR_SUCCESS;
}

static apr_status_t take_extensions(wstep_token_t *token, apr_pool_t *p, gh_result_t *result)
{
    const STACK_OF(X509_EXTENSION) *extensions = gh_csr_extensions(token->csr);
    int i, count = extensions ? sk_X509_EXTENSION_num(extensions) : 0;
    apr_status_t rv = APR_SUCCESS;
    char oid[GH_OID_SIZE];

    for (i = 0; i < count && rv == APR_SUCCESS; ++i) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);

        if (!gh_oid_copy(oid, X509_EXTENSION_get_object(extension))) {
            rv = wstep_token_malformed(result, "an extension has an unreasonably long OID");
        }
        else if (!strcmp(oid, WSTEP_OID_TEMPLATE_NAME)) {
            rv = take_template_name(token, extension, p, result);
        }
        else if (!strcmp(oid, WSTEP_OID_TEMPLATE)) {
            rv = take_template(token, extension, p, result);
        }
        else if (!strcmp(oid, "2.5.29.15")) {
            rv = take_key_usage(token, extension, result);
        }
    }
    return rv;
}

apr_status_t wstep_token_take_csr(wstep_token_t *token, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *values = apr_array_make(p, 4, sizeof(wstep_value_t));
    int i, count = gh_csr_attribute_count(token->csr);
    apr_status_t rv = APR_SUCCESS;

    for (i = 0; i < count && rv == APR_SUCCESS; ++i) {
        rv = take_attribute(token, gh_csr_attribute(token->csr, i), values, p, result);
    }
    token->values = values;
    return rv == APR_SUCCESS ? take_extensions(token, p, result) : rv;
}

/* Controls */

/** Hexadecimal digits behind a percent sign, and blanks for +, as in a URL. */
static char *decoded(char *text)
{
    char *to = text, *from;

    for (from = text; *from; ++from) {
        int high, low;

        if (*from == '%' && from[1] && from[2]) {
            high = OPENSSL_hexchar2int((unsigned char)from[1]);
            low = OPENSSL_hexchar2int((unsigned char)from[2]);
            if (high >= 0 && low >= 0 && (high || low)) {
                *to++ = (char)(high << 4 | low);
                from += 2;
                continue;
            }
        }
        *to++ = *from == '+' ? ' ' : *from;
    }
    *to = '\0';
    return text;
}

apr_status_t wstep_token_take_reg_info(const WSTEP_CONTROL *control, apr_array_header_t *values,
                                       apr_pool_t *p, gh_result_t *result)
{
    const ASN1_TYPE *value = sk_ASN1_TYPE_num(control->values) == 1
        ? sk_ASN1_TYPE_value(control->values, 0) : NULL;
    char *text, *pair, *last = NULL, *equals;
    int length;

    if (!value || value->type != V_ASN1_OCTET_STRING) {
        return wstep_token_malformed(result, "regInfo is not one OCTET STRING");
    }
    length = ASN1_STRING_length(value->value.octet_string);
    text = apr_pstrmemdup(p, (const char *)ASN1_STRING_get0_data(value->value.octet_string),
                          (apr_size_t)length);
    if (length > TEXT_MAX * 8 || strlen(text) != (size_t)length) {
        return wstep_token_malformed(result, "regInfo is too long, or no text");
    }
    for (pair = apr_strtok(text, "&", &last); pair; pair = apr_strtok(NULL, "&", &last)) {
        equals = strchr(pair, '=');
        if (!equals) {
            return wstep_token_malformed(result, "regInfo is not name=value&name=value");
        }
        *equals = '\0';
        if (!push_value(values, decoded(pair), decoded(equals + 1))) {
            return wstep_token_malformed(result, "regInfo has an empty name, or too many");
        }
    }
    return APR_SUCCESS;
}

apr_status_t wstep_token_take_added(wstep_token_t *token, const WSTEP_CONTROL *control,
                                    apr_array_header_t *values, apr_pool_t *p,
                                    gh_result_t *result)
{
    const ASN1_TYPE *value = sk_ASN1_TYPE_num(control->values) == 1
        ? sk_ASN1_TYPE_value(control->values, 0) : NULL;
    WSTEP_ADD_ATTRIBUTES *added = value
        ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(WSTEP_ADD_ATTRIBUTES), value) : NULL;
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (!added || sk_X509_ATTRIBUTE_num(added->attributes) > ATTRIBUTES_MAX) {
        rv = wstep_token_malformed(result, "the control that adds attributes is none");
    }
    for (i = 0; rv == APR_SUCCESS && i < sk_X509_ATTRIBUTE_num(added->attributes); ++i) {
        rv = take_attribute(token, sk_X509_ATTRIBUTE_value(added->attributes, i), values, p,
                            result);
    }
    WSTEP_ADD_ATTRIBUTES_free(added);
    return rv;
}
