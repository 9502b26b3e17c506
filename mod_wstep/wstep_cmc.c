/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_cmc.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/sha.h>

#include "log.h"
#include "mod_wstep/wstep_asn1.h"
#include "status.h"
#include "x509/own.h"

static int push_number(STACK_OF(ASN1_INTEGER) *numbers, long value)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();

    if (!number || !ASN1_INTEGER_set(number, value) || sk_ASN1_INTEGER_push(numbers, number) <= 0) {
        ASN1_INTEGER_free(number);
        return 0;
    }
    return 1;
}

/** Adds a control whose one value is a SEQUENCE. */
static int push_control(WSTEP_PKI_RESPONSE *response, long id, const char *oid,
                        const ASN1_ITEM *item, void *value)
{
    WSTEP_CONTROL *control = WSTEP_CONTROL_new();
    ASN1_TYPE *type = ASN1_TYPE_pack_sequence(item, value, NULL);

    if (control) {
        ASN1_OBJECT_free(control->type);
        control->type = OBJ_txt2obj(oid, 1);
    }
    if (!control || !type || !control->type || !ASN1_INTEGER_set(control->id, id)
        || sk_ASN1_TYPE_push(control->values, type) <= 0) {
        ASN1_TYPE_free(type);
        WSTEP_CONTROL_free(control);
        return 0;
    }
    if (sk_WSTEP_CONTROL_push(response->controls, control) <= 0) {
        WSTEP_CONTROL_free(control);
        return 0;
    }
    return 1;
}

static WSTEP_OTHER_INFO *other_info(const wstep_cmc_t *response)
{
    WSTEP_OTHER_INFO *other = WSTEP_OTHER_INFO_new();
    int good = other != NULL;

    if (good && response->status == WSTEP_CMC_FAILED) {
        other->type = 0;
        other->d.fail_info = ASN1_INTEGER_new();
        good = other->d.fail_info && ASN1_INTEGER_set(other->d.fail_info, response->fail_info);
    }
    else if (good) {
        WSTEP_PEND_INFO *pending = WSTEP_PEND_INFO_new();

        other->type = 1;
        other->d.pending = pending;
        good = pending && ASN1_OCTET_STRING_set(pending->token,
                                                (const unsigned char *)response->token, -1)
               && ASN1_GENERALIZEDTIME_set(pending->when, apr_time_sec(response->when)) != NULL;
    }
    if (!good) {
        WSTEP_OTHER_INFO_free(other);
        other = NULL;
    }
    return other;
}

static int add_status(WSTEP_PKI_RESPONSE *made, const wstep_cmc_t *response)
{
    WSTEP_STATUS_INFO *info = WSTEP_STATUS_INFO_new();
    int good = 0;

    if (info) {
        info->text = ASN1_UTF8STRING_new();
        info->other = response->status == WSTEP_CMC_ISSUED ? NULL : other_info(response);
        good = info->text && ASN1_STRING_set(info->text, response->text, -1)
               && (info->other || response->status == WSTEP_CMC_ISSUED)
               && ASN1_INTEGER_set(info->status, response->status)
               && push_number(info->bodies, 1)
               && push_control(made, 1, WSTEP_OID_STATUS_INFO,
                               ASN1_ITEM_rptr(WSTEP_STATUS_INFO), info);
    }
    WSTEP_STATUS_INFO_free(info);
    return good;
}

/** Which of the certificates is the one that was issued: Windows finds it by its SHA-1. */
static int add_hash(WSTEP_PKI_RESPONSE *made, gh_bytes_t certificate)
{
    WSTEP_ADD_ATTRIBUTES *added = WSTEP_ADD_ATTRIBUTES_new();
    X509_ATTRIBUTE *attribute = NULL;
    unsigned char sha1[SHA_DIGEST_LENGTH];
    int good = 0;

    if (added && EVP_Digest(certificate.data, certificate.length, sha1, NULL, EVP_sha1(), NULL)) {
        attribute = X509_ATTRIBUTE_create_by_txt(NULL, WSTEP_OID_ISSUED_HASH,
                                                 V_ASN1_OCTET_STRING, sha1, sizeof(sha1));
    }
    if (attribute && sk_X509_ATTRIBUTE_push(added->attributes, attribute) <= 0) {
        X509_ATTRIBUTE_free(attribute);
        attribute = NULL;
    }
    good = attribute && push_number(added->certificates, 1)
           && push_control(made, 2, WSTEP_OID_ADD_ATTRIBUTES,
                           ASN1_ITEM_rptr(WSTEP_ADD_ATTRIBUTES), added);
    WSTEP_ADD_ATTRIBUTES_free(added);
    return good;
}

/** PKIResponse (RFC 5272 3.2.2). */
static apr_status_t make_content(gh_bytes_t *content, const wstep_cmc_t *response, apr_pool_t *p)
{
    WSTEP_PKI_RESPONSE *made = WSTEP_PKI_RESPONSE_new();
    unsigned char *der = NULL;
    int length = -1;

    if (made && add_status(made, response)
        && (response->status != WSTEP_CMC_ISSUED || add_hash(made, response->certificate))) {
        length = i2d_WSTEP_PKI_RESPONSE(made, &der);
    }
    WSTEP_PKI_RESPONSE_free(made);
    if (length <= 0) {
        return APR_EGENERAL;
    }
    *content = gh_own_bytes(p, der, (apr_size_t)length, 0);
    return APR_SUCCESS;
}

/** Certificates are encoded as they came: their keys may as well be read fast. */
static int add_certificate(CMS_ContentInfo *cms, gh_bytes_t der, OSSL_LIB_CTX *decoding)
{
    const unsigned char *at = der.data;
    X509 *certificate = X509_new_ex(decoding, NULL);

    if (certificate && !d2i_X509(&certificate, &at, (long)der.length)) {
        certificate = NULL;
    }

    /* one that is there already is no failure */
    if (certificate && CMS_add1_cert(cms, certificate) != 1
        && ERR_GET_REASON(ERR_peek_last_error()) != CMS_R_CERTIFICATE_ALREADY_PRESENT) {
        X509_free(certificate);
        return 0;
    }
    ERR_clear_error();
    X509_free(certificate);
    return certificate != NULL;
}

static int add_certificates(CMS_ContentInfo *cms, const wstep_cmc_t *response)
{
    const apr_array_header_t *chain = response->chain;
    int i, good = !response->certificate.length
                  || add_certificate(cms, response->certificate, response->decoding);

    for (i = 0; good && chain && i < chain->nelts; ++i) {
        good = add_certificate(cms, APR_ARRAY_IDX(chain, i, gh_bytes_t), response->decoding);
    }
    return good;
}

static apr_status_t encode(gh_bytes_t *der, CMS_ContentInfo *cms, apr_pool_t *p)
{
    unsigned char *encoded = NULL;
    int length = i2d_CMS_ContentInfo(cms, &encoded);

    /* OpenSSL 3.0 goes on when it has no memory to sort the members of a SET */
    if (length <= 0 || ERR_peek_error() != 0) {
        OPENSSL_free(encoded);
        return APR_EGENERAL;
    }
    *der = gh_own_bytes(p, encoded, (apr_size_t)length, 0);
    return APR_SUCCESS;
}

apr_status_t wstep_cmc_make(gh_bytes_t *der, const wstep_cmc_t *response, X509 *certificate,
                            EVP_PKEY *key, apr_pool_t *p, gh_result_t *result)
{
    unsigned int flags = CMS_BINARY | CMS_NOSMIMECAP;
    ASN1_OBJECT *type = OBJ_txt2obj(WSTEP_OID_PKI_RESPONSE, 1);
    CMS_ContentInfo *cms = NULL;
    CMS_SignerInfo *si = NULL;
    gh_bytes_t content;
    BIO *in = NULL;
    apr_status_t rv;

    memset(der, 0, sizeof(*der));
    ERR_clear_error();
    rv = type ? make_content(&content, response, p) : APR_ENOMEM;
    if (rv == APR_SUCCESS) {
        rv = APR_EGENERAL;
        in = BIO_new_mem_buf(content.data, (int)content.length);
        cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | flags);
    }
    if (in && cms && CMS_set1_eContentType(cms, type)) {
        si = CMS_add1_signer(cms, certificate, key, EVP_sha256(), flags);
    }
    if (si && add_certificates(cms, response)
        && CMS_final(cms, in, NULL, flags) == 1 && CMS_SignerInfo_verify(si) == 1) {
        rv = encode(der, cms, p);
    }
    if (rv != APR_SUCCESS) {
        rv = gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "cmc.sign",
                               "Look at the errors before this one, or answer with certificates "
                               "alone.",
                               GHNO(1429) "a CMC response cannot be made and signed");
    }
    BIO_free(in);
    CMS_ContentInfo_free(cms);
    ASN1_OBJECT_free(type);
    return rv;
}

apr_status_t wstep_cmc_certificates(gh_bytes_t *der, const wstep_cmc_t *response, apr_pool_t *p,
                                    gh_result_t *result)
{
    CMS_ContentInfo *cms;
    apr_status_t rv = APR_EGENERAL;

    memset(der, 0, sizeof(*der));
    ERR_clear_error();
    cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | CMS_DETACHED);
    if (cms && add_certificates(cms, response)) {
        rv = encode(der, cms, p);
    }
    CMS_ContentInfo_free(cms);
    if (rv != APR_SUCCESS) {
        rv = gh_result_openssl(result, rv, GH_FAILURE_INTERNAL, NULL,
                               "Report this with the log lines around it.",
                               GHNO(1430) "the certificates of an answer cannot be put together");
    }
    return rv;
}
