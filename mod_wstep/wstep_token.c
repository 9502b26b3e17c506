/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_token.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/cms.h>
#include <openssl/err.h>

#include "log.h"
#include "mod_wstep/wstep_asn1.h"
#include "mod_wstep/wstep_token_private.h"
#include "status.h"
#include "x509/key.h"
#include "x509/own.h"
#include "x509/usages.h"

/** Of a CMC request: one of the new key, one of an old certificate or an agent. */
#define SIGNERS_MAX 2
#define CERTIFICATES_MAX 16

apr_status_t wstep_token_malformed(gh_result_t *result, const char *what)
{
    ERR_clear_error();
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "token",
                          "Send PKCS#10, a renewal in CMS around it, or a CMC request, in DER.",
                          GHNO(1414) "the request is malformed: %s", what);
}

static apr_status_t free_cms(void *data)
{
    CMS_ContentInfo_free(data);
    return APR_SUCCESS;
}

static apr_status_t bad_signature(gh_result_t *result, const char *what)
{
    ERR_clear_error();
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTEGRITY, "token.signature",
                          "Sign it with the new key, and with that of the certificate that is "
                          "renewed or of the enrolment agent, by SHA-256 or better.",
                          GHNO(1415) "a signature of the request is not accepted: %s", what);
}

/* PKCS#10 */

static apr_status_t read_pkcs10(wstep_token_t *token, gh_bytes_t der, OSSL_LIB_CTX *decoding,
                                apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = gh_csr_parse(&token->csr, der.data, der.length, decoding, p, result);

    /* certreq signs with SHA-1 unless told otherwise; that is proof of possession, no more */
    if (rv == APR_SUCCESS) {
        rv = gh_csr_verify(token->csr, 1, result);
    }
    if (rv == APR_SUCCESS) {
        rv = wstep_token_take_csr(token, p, result);
    }
    return rv;
}

/* Signatures */

/** Digests that a signature of somebody else than the new key must have. */
static int digest_is_strong(const X509_ALGOR *digest)
{
    int nid = OBJ_obj2nid(digest->algorithm);

    return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512;
}

/** A certificate around the new key, to verify a signature with whose signer is named by the key's
 *  identifier alone. */
static X509 *key_holder(const gh_csr_t *csr, apr_pool_t *p)
{
    X509 *holder = gh_own_certificate(p, X509_new());

    return holder && X509_set_pubkey(holder, gh_csr_key(csr)) ? holder : NULL;
}

static int same_key(const X509 *certificate, const gh_csr_t *csr)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);

    return key && EVP_PKEY_eq(key, gh_csr_key(csr)) == 1;
}

/** The signed contentType must be that of the content (RFC 5652 11.1). Without signed attributes
 *  the content has to be data (RFC 5652 5.3). */
static int content_type_matches(CMS_ContentInfo *cms, CMS_SignerInfo *si)
{
    const ASN1_OBJECT *type;

    if (CMS_signed_get_attr_count(si) < 1) {
        return OBJ_obj2nid(CMS_get0_eContentType(cms)) == NID_pkcs7_data;
    }
    type = CMS_signed_get0_data_by_OBJ(si, OBJ_nid2obj(NID_pkcs9_contentType), -3,
                                       V_ASN1_OBJECT);
    return type && OBJ_cmp(type, CMS_get0_eContentType(cms)) == 0;
}

typedef struct {
    int possession;                 /* signatures by the new key */
    X509 *other;                    /* who else has signed */
    int others;
} signers_t;

static apr_status_t sort_signer(signers_t *signers, wstep_token_t *token, CMS_ContentInfo *cms,
                                CMS_SignerInfo *si, apr_pool_t *p, gh_result_t *result)
{
    X509_ALGOR *digest = NULL, *signature = NULL;
    X509 *signer = NULL, *holder;

    CMS_SignerInfo_get0_algs(si, NULL, &signer, &digest, &signature);
    if (!content_type_matches(cms, si)) {
        return bad_signature(result, "the signed contentType is not that of the content");
    }
    if (!signer) {
        holder = key_holder(token->csr, p);
        if (!holder) {
            return bad_signature(result, "the new key cannot be used");
        }
        CMS_SignerInfo_set1_signer_cert(si, holder);
        ++signers->possession;
        return APR_SUCCESS;
    }
    if (!gh_key_kind(X509_get0_pubkey(signer))) {
        return bad_signature(result, "the signer's key is of a kind that is not accepted");
    }
    if (!digest_is_strong(digest)) {
        return bad_signature(result, "its digest is weak");
    }
    if (token->kind == WSTEP_TOKEN_CMC && !token->renewed && same_key(signer, token->csr)) {
        /* a certificate that the client has made for the new key alone says nothing else */
        ++signers->possession;
        return APR_SUCCESS;
    }
    ++signers->others;
    signers->other = signer;
    return APR_SUCCESS;
}

/** Exactly the signers that the form has: nobody unknown vouches for anything. */
static apr_status_t verify_signers(wstep_token_t *token, CMS_ContentInfo *cms, apr_pool_t *p,
                                   gh_result_t *result)
{
    STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
    STACK_OF(X509) *certificates;
    int i, count = infos ? sk_CMS_SignerInfo_num(infos) : 0;
    signers_t signers = { 0, NULL, 0 };
    apr_status_t rv = APR_SUCCESS;

    if (count < 1 || count > (token->kind == WSTEP_TOKEN_CMC ? SIGNERS_MAX : 1)) {
        return bad_signature(result, "there are none, or more than this form has");
    }
    certificates = CMS_get1_certs(cms);
    i = certificates ? sk_X509_num(certificates) : 0;
    sk_X509_pop_free(certificates, X509_free);
    if (i > CERTIFICATES_MAX) {
        return wstep_token_malformed(result, "it encloses more than 16 certificates");
    }
    CMS_set1_signers_certs(cms, NULL, 0);
    for (i = 0; i < count && rv == APR_SUCCESS; ++i) {
        rv = sort_signer(&signers, token, cms, sk_CMS_SignerInfo_value(infos, i), p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (signers.possession > 1 || signers.others > 1
        || (token->kind == WSTEP_TOKEN_RENEWAL && signers.others != 1)) {
        return bad_signature(result, "it is not by the keys that this form is signed with");
    }
    if (CMS_verify(cms, NULL, NULL, NULL, NULL, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) != 1) {
        return bad_signature(result, "it does not verify");
    }
    if (signers.other && X509_up_ref(signers.other)) {
        token->signer = gh_own_certificate(p, signers.other);
    }
    return APR_SUCCESS;
}

/** Who says that he renews a certificate has signed with it, and with nothing else (MS-WCCE
 *  3.2.1.4.3.1.2). */
static apr_status_t check_renewed(const wstep_token_t *token, gh_result_t *result)
{
    if (!token->renewed) {
        return APR_SUCCESS;
    }
    if (token->signer && X509_cmp(token->renewed, token->signer) == 0) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "token.renewed",
                          "Sign the request with the certificate that is to be renewed.",
                          GHNO(1416) "the certificate that is named as renewed is not the one that "
                          "has signed the request");
}

/* CMC */

static int is_type(const ASN1_OBJECT *object, const char *oid)
{
    char text[GH_OID_SIZE];

    return gh_oid_copy(text, object) && !strcmp(text, oid);
}

static apr_status_t take_control(wstep_token_t *token, const WSTEP_CONTROL *control,
                                 apr_array_header_t *values, apr_pool_t *p, gh_result_t *result)
{
    char oid[GH_OID_SIZE];

    if (!gh_oid_copy(oid, control->type)) {
        return wstep_token_malformed(result, "a control has an object identifier of unreasonable "
                                             "length");
    }
    if (!strcmp(oid, WSTEP_OID_TRANSACTION) || !strcmp(oid, WSTEP_OID_SENDER_NONCE)
        || !strcmp(oid, WSTEP_OID_DATA_RETURN)) {
        return APR_SUCCESS;
    }
    if (!strcmp(oid, WSTEP_OID_REG_INFO)) {
        return wstep_token_take_reg_info(control, values, p, result);
    }
    if (!strcmp(oid, WSTEP_OID_ADD_ATTRIBUTES)) {
        return wstep_token_take_added(token, control, values, p, result);
    }
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "token.control",
                          "Leave it out; extensions are asked for in the PKCS#10 request.",
                          GHNO(1417) "the control %s of a CMC request is not served", oid);
}

static apr_status_t read_pki_data(wstep_token_t *token, const ASN1_OCTET_STRING *content,
                                  OSSL_LIB_CTX *decoding, apr_pool_t *p, gh_result_t *result)
{
    const unsigned char *at = ASN1_STRING_get0_data(content);
    const unsigned char *end = at + ASN1_STRING_length(content);
    WSTEP_PKI_DATA *data = d2i_WSTEP_PKI_DATA(NULL, &at, end - at);
    apr_array_header_t *values = apr_array_make(p, 4, sizeof(wstep_value_t));
    const WSTEP_TAGGED_PKCS10 *tagged;
    apr_status_t rv = APR_SUCCESS;
    gh_bytes_t der;
    int i;

    if (!data || at != end || sk_WSTEP_TAGGED_REQUEST_num(data->requests) != 1
        || sk_ASN1_TYPE_num(data->messages) > 0 || sk_ASN1_TYPE_num(data->others) > 0
        || sk_WSTEP_CONTROL_num(data->controls) > WSTEP_VALUES_MAX) {
        rv = wstep_token_malformed(result, "the content is not PKIData with one PKCS#10 request");
        goto cleanup;
    }
    tagged = sk_WSTEP_TAGGED_REQUEST_value(data->requests, 0)->d.pkcs10;
    if (tagged->request->type != V_ASN1_SEQUENCE) {
        rv = wstep_token_malformed(result, "the request in PKIData is not PKCS#10");
        goto cleanup;
    }
    der.data = ASN1_STRING_get0_data(tagged->request->value.sequence);
    der.length = (apr_size_t)ASN1_STRING_length(tagged->request->value.sequence);
    rv = read_pkcs10(token, der, decoding, p, result);
    apr_array_cat(values, token->values);
    for (i = 0; rv == APR_SUCCESS && i < sk_WSTEP_CONTROL_num(data->controls); ++i) {
        rv = take_control(token, sk_WSTEP_CONTROL_value(data->controls, i), values, p, result);
    }
    token->values = values;

cleanup:
    WSTEP_PKI_DATA_free(data);
    return rv;
}

/** The new private key for the vault, in an unsigned attribute of a signer. */
static apr_status_t take_archived_key(wstep_token_t *token, CMS_ContentInfo *cms, apr_pool_t *p,
                                      gh_result_t *result)
{
    STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
    int i, j;

    for (i = 0; i < sk_CMS_SignerInfo_num(infos); ++i) {
        CMS_SignerInfo *si = sk_CMS_SignerInfo_value(infos, i);

        for (j = 0; j < CMS_unsigned_get_attr_count(si); ++j) {
            X509_ATTRIBUTE *attribute = CMS_unsigned_get_attr(si, j);
            const ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(attribute, 0);

            if (!is_type(X509_ATTRIBUTE_get0_object(attribute), WSTEP_OID_ARCHIVED_KEY)) {
                continue;
            }
            if (token->archived_key.length || X509_ATTRIBUTE_count(attribute) != 1
                || value->type != V_ASN1_SEQUENCE) {
                return wstep_token_malformed(result, "not exactly one archived key");
            }
            token->archived_key.length = (apr_size_t)ASN1_STRING_length(value->value.sequence);
            token->archived_key.data = apr_pmemdup(
                p, ASN1_STRING_get0_data(value->value.sequence), token->archived_key.length);
        }
    }
    return APR_SUCCESS;
}

static apr_status_t read_signed(wstep_token_t *token, CMS_ContentInfo *cms,
                                OSSL_LIB_CTX *decoding, apr_pool_t *p, gh_result_t *result)
{
    ASN1_OCTET_STRING **content = CMS_get0_content(cms);
    apr_status_t rv;
    gh_bytes_t der;

    if (!content || !*content || ASN1_STRING_length(*content) < 1) {
        return wstep_token_malformed(result, "its content is not in it");
    }
    if (is_type(CMS_get0_eContentType(cms), WSTEP_OID_PKI_DATA)) {
        token->kind = WSTEP_TOKEN_CMC;
        rv = read_pki_data(token, *content, decoding, p, result);
    }
    else if (OBJ_obj2nid(CMS_get0_eContentType(cms)) == NID_pkcs7_data) {
        token->kind = WSTEP_TOKEN_RENEWAL;
        der.data = ASN1_STRING_get0_data(*content);
        der.length = (apr_size_t)ASN1_STRING_length(*content);
        rv = read_pkcs10(token, der, decoding, p, result);
    }
    else {
        return wstep_token_malformed(result, "it is signed, but neither PKCS#10 nor CMC");
    }
    if (rv == APR_SUCCESS) {
        rv = verify_signers(token, cms, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = check_renewed(token, result);
    }
    if (rv == APR_SUCCESS && token->kind == WSTEP_TOKEN_CMC) {
        rv = take_archived_key(token, cms, p, result);
    }
    return rv;
}

/** @return 1 for SEQUENCE { OBJECT IDENTIFIER ..., of ContentInfo; PKCS#10 has a SEQUENCE there */
static int is_content_info(gh_bytes_t der)
{
    const unsigned char *at = der.data;
    long length = 0;
    int tag = 0, class = 0;
    int form = ASN1_get_object(&at, &length, &tag, &class, (long)der.length);

    ERR_clear_error();
    return !(form & 0x80) && tag == V_ASN1_SEQUENCE && at < der.data + der.length
           && *at == V_ASN1_OBJECT;
}

apr_status_t wstep_token_read(wstep_token_t **token, gh_bytes_t der, OSSL_LIB_CTX *decoding,
                              apr_pool_t *p, gh_result_t *result)
{
    wstep_token_t *made = apr_pcalloc(p, sizeof(*made));
    const unsigned char *at = der.data;
    CMS_ContentInfo *cms;
    apr_status_t rv;

    *token = NULL;
    made->template_major = made->template_minor = -1;
    made->values = apr_array_make(p, 4, sizeof(wstep_value_t));
    if (der.length == 0 || der.length > WSTEP_TOKEN_DER_MAX) {
        return wstep_token_malformed(result, "it is empty, or larger than 65536 bytes");
    }
    if (!is_content_info(der)) {
        made->kind = WSTEP_TOKEN_PKCS10;
        rv = read_pkcs10(made, der, decoding, p, result);
    }
    else {
        cms = CMS_ContentInfo_new_ex(decoding, NULL);
        if (!cms || !d2i_CMS_ContentInfo(&cms, &at, (long)der.length)) {
            CMS_ContentInfo_free(cms);
            return wstep_token_malformed(result, "it is no CMS message");
        }
        apr_pool_cleanup_register(p, cms, free_cms, apr_pool_cleanup_null);
        if (at != der.data + der.length || OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed) {
            return wstep_token_malformed(result, "it is not SignedData and nothing else");
        }
        rv = read_signed(made, cms, decoding, p, result);
    }
    ERR_clear_error();
    if (rv == APR_SUCCESS) {
        *token = made;
    }
    return rv;
}

const char *wstep_token_value(const wstep_token_t *token, const char *name)
{
    const char *found = NULL;
    int i;

    for (i = 0; i < token->values->nelts; ++i) {
        const wstep_value_t *value = &APR_ARRAY_IDX(token->values, i, wstep_value_t);

        if (strcasecmp(value->name, name)) {
            continue;
        }
        if (found && strcmp(found, value->value)) {
            return NULL;
        }
        found = value->value;
    }
    return found;
}
