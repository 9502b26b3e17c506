/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/asn1t.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "x509/key.h"
#include "x509/name.h"
#include "x509/own.h"
#include "x509/plan.h"

struct gh_plan {
    apr_pool_t *p;
    X509_PUBKEY *key;
    EVP_PKEY *own_key;
    X509_NAME *subject;
    STACK_OF(X509_EXTENSION) *extensions;
    const char *subject_text;
    const char *sans;
    const char *note;
    gh_bytes_t key_sha256;
    apr_interval_time_t validity;
    int no_locations;
    int is_ca;
};

/* CertificationRequestInfo (RFC 2986 4.1): OpenSSL has the type, and no way into it. */

typedef struct {
    ASN1_INTEGER *version;
    X509_NAME *subject;
    X509_PUBKEY *key;
    STACK_OF(X509_ATTRIBUTE) *attributes;
} request_info_t;

ASN1_SEQUENCE(request_info_t) = {
    ASN1_SIMPLE(request_info_t, version, ASN1_INTEGER),
    ASN1_SIMPLE(request_info_t, subject, X509_NAME),
    ASN1_SIMPLE(request_info_t, key, X509_PUBKEY),
    ASN1_IMP_SET_OF_OPT(request_info_t, attributes, X509_ATTRIBUTE, 0)
} static_ASN1_SEQUENCE_END(request_info_t)

#define REQUEST_INFO ASN1_ITEM_rptr(request_info_t)

/** Length of the validity that stands before the DER. */
#define VALIDITY_SIZE 8
#define NO_LOCATIONS  ((apr_uint64_t)1 << 63)

gh_plan_t *gh_plan_create(apr_pool_t *p)
{
    gh_plan_t *plan = apr_pcalloc(p, sizeof(*plan));

    plan->p = p;
    plan->extensions = gh_own_extensions(p, sk_X509_EXTENSION_new_null());
    plan->subject = gh_own_name(p, X509_NAME_new());
    plan->subject_text = "";
    plan->sans = "[]";
    return plan;
}

static apr_status_t take_key(gh_plan_t *plan, X509_PUBKEY *key)
{
    unsigned char *der = NULL;
    unsigned char *digest = apr_palloc(plan->p, SHA256_DIGEST_LENGTH);
    int length, good;

    if (key == NULL)
        return APR_EINVAL;
    plan->key = gh_own_public_key(plan->p, key);
    length = i2d_X509_PUBKEY(key, &der);
    good = length > 0 && SHA256(der, (size_t)length, digest) != NULL;
    OPENSSL_free(der);
    if (!good)
        return APR_EINVAL;
    plan->key_sha256.data = digest;
    plan->key_sha256.length = SHA256_DIGEST_LENGTH;
    return APR_SUCCESS;
}

apr_status_t gh_plan_set_key(gh_plan_t *plan, EVP_PKEY *key)
{
    X509_PUBKEY *public_key = NULL;

    X509_PUBKEY_set(&public_key, key);
    plan->own_key = key;
    return take_key(plan, public_key);
}

apr_status_t gh_plan_set_public_key(gh_plan_t *plan, const X509_PUBKEY *key)
{
    return take_key(plan, gh_public_key_copy(key));
}

apr_status_t gh_plan_set_subject(gh_plan_t *plan, const X509_NAME *subject)
{
    plan->subject = gh_own_name(plan->p, X509_NAME_dup(subject));
    if (plan->subject == NULL)
        return APR_ENOMEM;
    plan->subject_text = gh_name_text(plan->subject, plan->p);
    return APR_SUCCESS;
}

/** Notes what others ask a plan for. */
static apr_status_t note_extension(gh_plan_t *plan, const X509_EXTENSION *extension)
{
    switch (OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)extension))) {
    case NID_basic_constraints: {
        BASIC_CONSTRAINTS *constraints =
            gh_extension_value(extension, ASN1_ITEM_rptr(BASIC_CONSTRAINTS));

        if (constraints == NULL)
            return APR_EINVAL;
        plan->is_ca = constraints->ca != 0;
        BASIC_CONSTRAINTS_free(constraints);
        break;
    }
    case NID_subject_alt_name: {
        GENERAL_NAMES *names = gh_extension_value(extension, ASN1_ITEM_rptr(GENERAL_NAMES));

        if (names == NULL)
            return APR_EINVAL;
        plan->sans = gh_san_json(names, plan->p);
        GENERAL_NAMES_free(names);
        break;
    }
    default:
        break;
    }
    return APR_SUCCESS;
}

/** Takes ownership of an extension. */
static apr_status_t push_extension(gh_plan_t *plan, X509_EXTENSION *extension)
{
    apr_status_t rv = extension != NULL ? note_extension(plan, extension) : APR_ENOMEM;

    if (rv == APR_SUCCESS && sk_X509_EXTENSION_push(plan->extensions, extension) <= 0)
        rv = APR_ENOMEM;
    if (rv != APR_SUCCESS)
        X509_EXTENSION_free(extension);
    return rv;
}

apr_status_t gh_plan_add_extension(gh_plan_t *plan, const X509_EXTENSION *extension)
{
    return push_extension(plan, X509_EXTENSION_dup(extension));
}

apr_status_t gh_plan_add_value(gh_plan_t *plan, int nid, int critical, void *value)
{
    if (value == NULL)
        return APR_ENOMEM;
    return push_extension(plan, X509V3_EXT_i2d(nid, critical, value));
}

void gh_plan_set_validity(gh_plan_t *plan, apr_interval_time_t validity)
{
    plan->validity = validity;
}

void gh_plan_set_locations(gh_plan_t *plan, int locations)
{
    plan->no_locations = !locations;
}

void gh_plan_set_note(gh_plan_t *plan, const char *note)
{
    plan->note = note;
}

EVP_PKEY *gh_plan_key(const gh_plan_t *plan)
{
    return plan->key != NULL ? X509_PUBKEY_get0(plan->key) : NULL;
}

X509_PUBKEY *gh_plan_public_key(const gh_plan_t *plan)
{
    return plan->key;
}

EVP_PKEY *gh_plan_own_key(const gh_plan_t *plan)
{
    return plan->own_key;
}

const X509_NAME *gh_plan_subject(const gh_plan_t *plan)
{
    return plan->subject;
}

const char *gh_plan_subject_text(const gh_plan_t *plan)
{
    return plan->subject_text;
}

const char *gh_plan_sans(const gh_plan_t *plan)
{
    return plan->sans;
}

const char *gh_plan_note(const gh_plan_t *plan)
{
    return plan->note;
}

gh_bytes_t gh_plan_key_sha256(const gh_plan_t *plan)
{
    return plan->key_sha256;
}

const STACK_OF(X509_EXTENSION) *gh_plan_extensions(const gh_plan_t *plan)
{
    return plan->extensions;
}

apr_interval_time_t gh_plan_validity(const gh_plan_t *plan)
{
    return plan->validity;
}

int gh_plan_has_locations(const gh_plan_t *plan)
{
    return !plan->no_locations;
}

int gh_plan_is_ca(const gh_plan_t *plan)
{
    return plan->is_ca;
}

/* For the store */

/** The extensions as an extensionRequest attribute. */
static X509_ATTRIBUTE *extension_request(const STACK_OF(X509_EXTENSION) *extensions)
{
    unsigned char *der = NULL;
    int length = i2d_X509_EXTENSIONS(extensions, &der);
    X509_ATTRIBUTE *attribute = NULL;

    if (length > 0)
        attribute = X509_ATTRIBUTE_create_by_NID(NULL, NID_ext_req, V_ASN1_SEQUENCE, der, length);
    OPENSSL_free(der);
    return attribute;
}

static request_info_t *info_make(const gh_plan_t *plan)
{
    request_info_t *info = (request_info_t *)ASN1_item_new(REQUEST_INFO);
    X509_ATTRIBUTE *attribute = extension_request(plan->extensions);

    if (info == NULL || attribute == NULL || plan->key == NULL)
        goto failed;
    X509_NAME_free(info->subject);
    X509_PUBKEY_free(info->key);
    info->subject = X509_NAME_dup(plan->subject);
    info->key = gh_public_key_copy(plan->key);
    info->attributes = sk_X509_ATTRIBUTE_new_null();
    if (info->subject == NULL || info->key == NULL || info->attributes == NULL
        || !ASN1_INTEGER_set_int64(info->version, 0)
        || sk_X509_ATTRIBUTE_push(info->attributes, attribute) <= 0)
        goto failed;
    return info;

failed:
    X509_ATTRIBUTE_free(attribute);
    ASN1_item_free((ASN1_VALUE *)info, REQUEST_INFO);
    return NULL;
}

apr_status_t gh_plan_encode(gh_bytes_t *bytes, const gh_plan_t *plan, apr_pool_t *p,
                            gh_result_t *result)
{
    request_info_t *info = info_make(plan);
    unsigned char *der = NULL, *out;
    apr_uint64_t validity = (apr_uint64_t)plan->validity | (plan->no_locations ? NO_LOCATIONS : 0);
    int i, length = -1;

    if (info != NULL)
        length = ASN1_item_i2d((ASN1_VALUE *)info, &der, REQUEST_INFO);
    ASN1_item_free((ASN1_VALUE *)info, REQUEST_INFO);
    if (length <= 0)
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "plan", NULL,
                                 GHNO(0134) "cannot encode the plan of a certificate");
    out = apr_palloc(p, (apr_size_t)length + VALIDITY_SIZE);
    for (i = 0; i < VALIDITY_SIZE; i++)
        out[i] = (unsigned char)(validity >> (8 * (VALIDITY_SIZE - 1 - i)));
    memcpy(out + VALIDITY_SIZE, der, (apr_size_t)length);
    OPENSSL_free(der);
    bytes->data = out;
    bytes->length = (apr_size_t)length + VALIDITY_SIZE;
    return APR_SUCCESS;
}

/** Fills a plan from what was stored. @return 0 if it is not what gh_plan_encode() writes */
static int take_info(gh_plan_t *plan, const request_info_t *info)
{
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    X509_ATTRIBUTE *attribute = sk_X509_ATTRIBUTE_value(info->attributes, 0);
    const ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(attribute, 0);
    const unsigned char *data;
    int i, done;

    if (sk_X509_ATTRIBUTE_num(info->attributes) != 1 || value == NULL
        || value->type != V_ASN1_SEQUENCE
        || OBJ_obj2nid(X509_ATTRIBUTE_get0_object(attribute)) != NID_ext_req)
        return 0;
    data = ASN1_STRING_get0_data(value->value.sequence);
    extensions = d2i_X509_EXTENSIONS(NULL, &data, ASN1_STRING_length(value->value.sequence));
    done = extensions != NULL && gh_plan_set_public_key(plan, info->key) == APR_SUCCESS
        && gh_plan_key(plan) != NULL && gh_plan_set_subject(plan, info->subject) == APR_SUCCESS;
    for (i = 0; done && i < sk_X509_EXTENSION_num(extensions); i++)
        done = gh_plan_add_extension(plan, sk_X509_EXTENSION_value(extensions, i)) == APR_SUCCESS;
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return done;
}

apr_status_t gh_plan_decode(gh_plan_t **plan, gh_bytes_t bytes, apr_pool_t *p, gh_result_t *result)
{
    gh_plan_t *made = gh_plan_create(p);
    request_info_t *info = NULL;
    const unsigned char *data;
    apr_uint64_t validity = 0;
    int i, done = 0;

    *plan = NULL;
    if (bytes.length > VALIDITY_SIZE && bytes.length <= 1024 * 1024) {
        for (i = 0; i < VALIDITY_SIZE; i++)
            validity = validity << 8 | bytes.data[i];
        data = bytes.data + VALIDITY_SIZE;
        info = (request_info_t *)ASN1_item_d2i(NULL, &data, (long)(bytes.length - VALIDITY_SIZE),
                                               REQUEST_INFO);
        done = info != NULL && data == bytes.data + bytes.length && take_info(made, info);
    }
    ASN1_item_free((ASN1_VALUE *)info, REQUEST_INFO);
    ERR_clear_error();
    if (!done)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "plan",
                              "deny the enrolment, and let the device ask again",
                              GHNO(0135) "what is stored of an enrolment cannot be read");
    made->validity = (apr_interval_time_t)(validity & ~NO_LOCATIONS);
    made->no_locations = (validity & NO_LOCATIONS) != 0;
    *plan = made;
    return APR_SUCCESS;
}
