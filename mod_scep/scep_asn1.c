/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_asn1.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>

#define OID_BYTES_MAX 32

ASN1_SEQUENCE(SCEP_ENCRYPTED_CONTENT) = {
    ASN1_SIMPLE(SCEP_ENCRYPTED_CONTENT, type, ASN1_OBJECT),
    ASN1_SIMPLE(SCEP_ENCRYPTED_CONTENT, algorithm, X509_ALGOR),
    ASN1_IMP_OPT(SCEP_ENCRYPTED_CONTENT, content, ASN1_OCTET_STRING_NDEF, 0)
} static_ASN1_SEQUENCE_END(SCEP_ENCRYPTED_CONTENT)

ASN1_SEQUENCE(SCEP_ENVELOPE) = {
    ASN1_SIMPLE(SCEP_ENVELOPE, version, ASN1_INTEGER),
    ASN1_IMP_SEQUENCE_OF_OPT(SCEP_ENVELOPE, originator, ASN1_ANY, 0),
    ASN1_SET_OF(SCEP_ENVELOPE, recipients, ASN1_ANY),
    ASN1_SIMPLE(SCEP_ENVELOPE, encrypted, SCEP_ENCRYPTED_CONTENT),
    ASN1_IMP_SET_OF_OPT(SCEP_ENVELOPE, attributes, ASN1_ANY, 1)
} static_ASN1_SEQUENCE_END(SCEP_ENVELOPE)

ASN1_SEQUENCE(SCEP_ENVELOPE_INFO) = {
    ASN1_SIMPLE(SCEP_ENVELOPE_INFO, type, ASN1_OBJECT),
    ASN1_EXP(SCEP_ENVELOPE_INFO, envelope, SCEP_ENVELOPE, 0)
} ASN1_SEQUENCE_END(SCEP_ENVELOPE_INFO)

IMPLEMENT_ASN1_FUNCTIONS(SCEP_ENVELOPE_INFO)

ASN1_SEQUENCE(SCEP_ISSUER_AND_SUBJECT) = {
    ASN1_SIMPLE(SCEP_ISSUER_AND_SUBJECT, issuer, X509_NAME),
    ASN1_SIMPLE(SCEP_ISSUER_AND_SUBJECT, subject, X509_NAME)
} ASN1_SEQUENCE_END(SCEP_ISSUER_AND_SUBJECT)

IMPLEMENT_ASN1_FUNCTIONS(SCEP_ISSUER_AND_SUBJECT)

ASN1_SEQUENCE(SCEP_ISSUER_AND_SERIAL) = {
    ASN1_SIMPLE(SCEP_ISSUER_AND_SERIAL, issuer, X509_NAME),
    ASN1_SIMPLE(SCEP_ISSUER_AND_SERIAL, serial, ASN1_INTEGER)
} ASN1_SEQUENCE_END(SCEP_ISSUER_AND_SERIAL)

IMPLEMENT_ASN1_FUNCTIONS(SCEP_ISSUER_AND_SERIAL)

/* certs-only: the certificates are declared a sequence, under the tag of the set, so that encoding
 * keeps their order */

typedef struct {
    ASN1_OBJECT *type;
} SCEP_NO_CONTENT;

typedef struct {
    ASN1_INTEGER *version;
    STACK_OF(X509_ALGOR) *digests;
    SCEP_NO_CONTENT *content;
    STACK_OF(ASN1_TYPE) *certificates;
    STACK_OF(ASN1_TYPE) *crls;
    STACK_OF(ASN1_TYPE) *signers;
} SCEP_CERTIFICATES;

typedef struct {
    ASN1_OBJECT *type;
    SCEP_CERTIFICATES *certificates;
} SCEP_CERTIFICATES_INFO;

ASN1_SEQUENCE(SCEP_NO_CONTENT) = {
    ASN1_SIMPLE(SCEP_NO_CONTENT, type, ASN1_OBJECT)
} static_ASN1_SEQUENCE_END(SCEP_NO_CONTENT)

ASN1_SEQUENCE(SCEP_CERTIFICATES) = {
    ASN1_SIMPLE(SCEP_CERTIFICATES, version, ASN1_INTEGER),
    ASN1_SET_OF(SCEP_CERTIFICATES, digests, X509_ALGOR),
    ASN1_SIMPLE(SCEP_CERTIFICATES, content, SCEP_NO_CONTENT),
    ASN1_IMP_SEQUENCE_OF_OPT(SCEP_CERTIFICATES, certificates, ASN1_ANY, 0),
    ASN1_IMP_SEQUENCE_OF_OPT(SCEP_CERTIFICATES, crls, ASN1_ANY, 1),
    ASN1_SET_OF(SCEP_CERTIFICATES, signers, ASN1_ANY)
} static_ASN1_SEQUENCE_END(SCEP_CERTIFICATES)

ASN1_SEQUENCE(SCEP_CERTIFICATES_INFO) = {
    ASN1_SIMPLE(SCEP_CERTIFICATES_INFO, type, ASN1_OBJECT),
    ASN1_EXP(SCEP_CERTIFICATES_INFO, certificates, SCEP_CERTIFICATES, 0)
} static_ASN1_SEQUENCE_END(SCEP_CERTIFICATES_INFO)

/* 2.16.840.1.113733.1.9.2 to .7 and 1.3.6.1.5.5.7.24.1 */
static const struct {
    const char *name;
    const char *oid;
    unsigned char length;
    unsigned char bytes[10];
} scep_attributes[SCEP_ATTRIBUTES] = {
    { "messageType", "2.16.840.1.113733.1.9.2", 10,
      { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x02 } },
    { "pkiStatus", "2.16.840.1.113733.1.9.3", 10,
      { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x03 } },
    { "failInfo", "2.16.840.1.113733.1.9.4", 10,
      { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x04 } },
    { "senderNonce", "2.16.840.1.113733.1.9.5", 10,
      { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x05 } },
    { "recipientNonce", "2.16.840.1.113733.1.9.6", 10,
      { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x06 } },
    { "transactionID", "2.16.840.1.113733.1.9.7", 10,
      { 0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x45, 0x01, 0x09, 0x07 } },
    { "failInfoText", "1.3.6.1.5.5.7.24.1", 8,
      { 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x18, 0x01 } }
};

const char *scep_attribute_oid(scep_attribute_t attribute)
{
    return scep_attributes[attribute].oid;
}

const char *scep_attribute_name(scep_attribute_t attribute)
{
    return scep_attributes[attribute].name;
}

scep_attribute_t scep_attribute_find(const ASN1_OBJECT *object)
{
    const unsigned char *data = OBJ_get0_data(object);
    size_t length = OBJ_length(object);
    int i;

    for (i = 0; i < SCEP_ATTRIBUTES; ++i) {
        if (length == scep_attributes[i].length
            && memcmp(data, scep_attributes[i].bytes, length) == 0) {
            break;
        }
    }
    return (scep_attribute_t)i;
}

static int push(STACK_OF(ASN1_TYPE) *stack, gh_bytes_t der)
{
    ASN1_STRING *string = ASN1_STRING_type_new(V_ASN1_SEQUENCE);
    ASN1_TYPE *type = ASN1_TYPE_new();

    if (!string || !type || !ASN1_STRING_set(string, der.data, (int)der.length)) {
        ASN1_STRING_free(string);
        ASN1_TYPE_free(type);
        return 0;
    }
    ASN1_TYPE_set(type, V_ASN1_SEQUENCE, string);
    if (!sk_ASN1_TYPE_push(stack, type)) {
        ASN1_TYPE_free(type);
        return 0;
    }
    return 1;
}

/** @param list of which nothing is copied; NULL: left out */
static apr_status_t fill(STACK_OF(ASN1_TYPE) **stack, const apr_array_header_t *list)
{
    int i;

    if (!list) {
        return APR_SUCCESS;
    }
    *stack = sk_ASN1_TYPE_new_null();
    if (!*stack) {
        return APR_ENOMEM;
    }
    for (i = 0; i < list->nelts; ++i) {
        gh_bytes_t one = APR_ARRAY_IDX(list, i, gh_bytes_t);

        if (one.length < 2 || one.data[0] != (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED)) {
            return APR_EINVAL;
        }
        if (!push(*stack, one)) {
            return APR_ENOMEM;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t degenerate(gh_bytes_t *der, const apr_array_header_t *certificates,
                               const apr_array_header_t *crls, apr_pool_t *p)
{
    const ASN1_ITEM *item = ASN1_ITEM_rptr(SCEP_CERTIFICATES_INFO);
    SCEP_CERTIFICATES_INFO *info;
    unsigned char *encoded = NULL;
    apr_status_t rv = APR_ENOMEM;
    int length;

    memset(der, 0, sizeof(*der));
    info = (SCEP_CERTIFICATES_INFO *)ASN1_item_new(item);
    if (!info || !ASN1_INTEGER_set(info->certificates->version, 1)) {
        goto cleanup;
    }
    info->type = OBJ_nid2obj(NID_pkcs7_signed);
    info->certificates->content->type = OBJ_nid2obj(NID_pkcs7_data);
    rv = fill(&info->certificates->certificates, certificates);
    if (rv == APR_SUCCESS) {
        rv = fill(&info->certificates->crls, crls);
    }
    if (rv != APR_SUCCESS) {
        goto cleanup;
    }
    length = ASN1_item_i2d((const ASN1_VALUE *)info, &encoded, item);
    if (length <= 0) {
        rv = APR_ENOMEM;
        goto cleanup;
    }
    der->data = apr_pmemdup(p, encoded, (apr_size_t)length);
    der->length = (apr_size_t)length;

cleanup:
    if (rv != APR_SUCCESS) {
        ERR_clear_error();
    }
    OPENSSL_free(encoded);
    ASN1_item_free((ASN1_VALUE *)info, item);
    return rv;
}

apr_status_t scep_certs_only(gh_bytes_t *der, const apr_array_header_t *certificates,
                             apr_pool_t *p)
{
    return degenerate(der, certificates, NULL, p);
}

apr_status_t scep_crl_only(gh_bytes_t *der, gh_bytes_t crl, apr_pool_t *p)
{
    apr_array_header_t *crls = apr_array_make(p, 1, sizeof(gh_bytes_t));

    APR_ARRAY_PUSH(crls, gh_bytes_t) = crl;
    return degenerate(der, NULL, crls, p);
}

const char *scep_algorithm_name(const ASN1_OBJECT *object, apr_pool_t *p)
{
    int nid = OBJ_obj2nid(object);
    char text[OID_BYTES_MAX * 4];

    if (nid != NID_undef) {
        return OBJ_nid2ln(nid);
    }
    if (OBJ_length(object) == 0 || OBJ_length(object) > OID_BYTES_MAX
        || OBJ_obj2txt(text, sizeof(text), object, 1) <= 0) {
        return "unknown";
    }
    return apr_pstrdup(p, text);
}
