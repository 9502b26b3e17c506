/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_explain.h"

#include <string.h>
#include <time.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "log.h"
#include "mod_scep/scep_algorithm.h"
#include "mod_scep/scep_asn1.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

#define ALL_ALLOWED (SCEP_ALLOW_3DES | SCEP_ALLOW_SHA1)

/* longer ones take quadratic time to convert (CVE-2023-2650) */
#define OID_BYTES_MAX 32

/* what is listed of a message; the rest is counted by its rules */
#define LIST_MAX 256

const char *scep_type_name(int type)
{
    switch (type) {
    case SCEP_CERT_REP:
        return "CertRep";
    case SCEP_RENEWAL_REQ:
        return "RenewalReq";
    case SCEP_UPDATE_REQ:
        return "UpdateReq";
    case SCEP_PKCS_REQ:
        return "PKCSReq";
    case SCEP_CERT_POLL:
        return "CertPoll";
    case SCEP_GET_CERT:
        return "GetCert";
    case SCEP_GET_CRL:
        return "GetCRL";
    default:
        return "unknown";
    }
}

const char *scep_status_name(int status)
{
    switch (status) {
    case SCEP_SUCCESS:
        return "SUCCESS";
    case SCEP_FAILURE:
        return "FAILURE";
    case SCEP_PENDING:
        return "PENDING";
    default:
        return "unknown";
    }
}

const char *scep_fail_info_name(int fail_info)
{
    static const char *const names[] = {
        "badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId"
    };

    return fail_info >= SCEP_BAD_ALG && fail_info <= SCEP_BAD_CERT_ID ? names[fail_info]
                                                                      : "unknown";
}

/* Pieces */

static scep_explained_algorithm_t name_object(const ASN1_OBJECT *object, apr_pool_t *p)
{
    scep_explained_algorithm_t named = { scep_algorithm_name(object, p), "unknown" };
    char text[OID_BYTES_MAX * 4];

    if (OBJ_length(object) > 0 && OBJ_length(object) <= OID_BYTES_MAX
        && OBJ_obj2txt(text, sizeof(text), object, 1) > 0) {
        named.oid = apr_pstrdup(p, text);
    }
    return named;
}

static const char *hex_of(const ASN1_STRING *string, apr_pool_t *p)
{
    int length = ASN1_STRING_length(string);
    const char *hex;

    if (length == 0) {
        return "00";
    }
    hex = gh_hex(p, ASN1_STRING_get0_data(string), (apr_size_t)length);
    return ASN1_STRING_type(string) == V_ASN1_NEG_INTEGER ? apr_pstrcat(p, "-", hex, NULL) : hex;
}

static scep_explained_identifier_t identify(const X509_NAME *issuer, const ASN1_INTEGER *serial,
                                            const ASN1_OCTET_STRING *key_id, apr_pool_t *p)
{
    scep_explained_identifier_t identifier = { NULL, NULL, NULL };

    if (issuer) {
        identifier.issuer = gh_name_text(issuer, p);
    }
    if (serial) {
        identifier.serial = hex_of(serial, p);
    }
    if (key_id) {
        identifier.key_id = hex_of(key_id, p);
    }
    return identifier;
}

static int value_bytes(const X509_ATTRIBUTE *attribute)
{
    int i, count = X509_ATTRIBUTE_count(attribute), bytes = 0;

    for (i = 0; i < count; ++i) {
        int length = i2d_ASN1_TYPE(X509_ATTRIBUTE_get0_type((X509_ATTRIBUTE *)attribute, i), NULL);
        bytes += length > 0 ? length : 0;
    }
    return bytes;
}

static scep_explained_attribute_t describe_attribute(X509_ATTRIBUTE *attribute, apr_pool_t *p)
{
    const ASN1_OBJECT *object = X509_ATTRIBUTE_get0_object(attribute);
    scep_attribute_t which = scep_attribute_find(object);
    scep_explained_algorithm_t named = name_object(object, p);
    scep_explained_attribute_t made = { named.name, named.oid, X509_ATTRIBUTE_count(attribute),
                                        value_bytes(attribute), 0 };

    if (which != SCEP_ATTRIBUTES) {
        made.name = scep_attribute_name(which);
    }
    return made;
}

/** @param stack may be NULL; freed */
static void take_certificates(apr_array_header_t *certificates, STACK_OF(X509) *stack,
                              apr_pool_t *p)
{
    X509 *certificate;

    while (stack && (certificate = sk_X509_shift(stack)) != NULL) {
        if (certificates->nelts >= LIST_MAX) {
            X509_free(certificate);
            continue;
        }
        APR_ARRAY_PUSH(certificates, X509 *) = gh_own_certificate(p, certificate);
    }
    sk_X509_free(stack);
    ERR_clear_error();
}

/* The signer */

/** The one value of a signed attribute that is there once. @return NULL if it is not */
static const ASN1_STRING *attribute_value(const CMS_SignerInfo *info, const ASN1_OBJECT *object,
                                          int type)
{
    return CMS_signed_get0_data_by_OBJ(info, object, -3, type);
}

static const ASN1_STRING *scep_value(const CMS_SignerInfo *info, scep_attribute_t which, int type)
{
    ASN1_OBJECT *object = OBJ_txt2obj(scep_attribute_oid(which), 1);
    const ASN1_STRING *value = object ? attribute_value(info, object, type) : NULL;

    ASN1_OBJECT_free(object);
    return value;
}

/** @return a number of up to three digits, or -1 */
static int number_value(const CMS_SignerInfo *info, scep_attribute_t which)
{
    const ASN1_STRING *value = scep_value(info, which, V_ASN1_PRINTABLESTRING);
    const unsigned char *data = value ? ASN1_STRING_get0_data(value) : NULL;
    int i, number = 0, length = value ? ASN1_STRING_length(value) : 0;

    if (length < 1 || length > 3) {
        return -1;
    }
    for (i = 0; i < length; ++i) {
        if (data[i] < '0' || data[i] > '9') {
            return -1;
        }
        number = number * 10 + data[i] - '0';
    }
    return number;
}

static apr_time_t time_value(const CMS_SignerInfo *info)
{
    const ASN1_OBJECT *object = OBJ_nid2obj(NID_pkcs9_signingTime);
    const ASN1_STRING *value = attribute_value(info, object, V_ASN1_UTCTIME);
    struct tm parts;

    if (!value) {
        value = attribute_value(info, object, V_ASN1_GENERALIZEDTIME);
    }
    return value && ASN1_TIME_to_tm(value, &parts) == 1 ? apr_time_from_sec(timegm(&parts)) : 0;
}

static void read_reply(scep_explanation_t *made, apr_pool_t *p)
{
    const CMS_SignerInfo *info = made->message->signer_info;
    const ASN1_STRING *value;

    made->pki_status = number_value(info, SCEP_ATTRIBUTE_PKI_STATUS);
    made->fail_info = number_value(info, SCEP_ATTRIBUTE_FAIL_INFO);
    value = scep_value(info, SCEP_ATTRIBUTE_FAIL_INFO_TEXT, V_ASN1_UTF8STRING);
    if (value) {
        made->fail_text = apr_pstrmemdup(p, (const char *)ASN1_STRING_get0_data(value),
                                         (apr_size_t)ASN1_STRING_length(value));
    }
}

static void read_signer(scep_explanation_t *made, apr_pool_t *p)
{
    CMS_SignerInfo *info = made->message->signer_info;
    X509_ALGOR *digest = NULL, *signature = NULL;
    ASN1_OCTET_STRING *key_id = NULL;
    ASN1_INTEGER *serial = NULL;
    X509_NAME *issuer = NULL;
    const ASN1_STRING *nonce;
    int i, count = CMS_signed_get_attr_count(info);

    CMS_SignerInfo_get0_algs(info, NULL, NULL, &digest, &signature);
    made->digest = name_object(digest->algorithm, p);
    made->signature_algorithm = name_object(signature->algorithm, p);
    CMS_SignerInfo_get0_signer_id(info, &key_id, &issuer, &serial);
    made->signer = identify(issuer, serial, key_id, p);
    for (i = 0; i < count && i < LIST_MAX; ++i) {
        APR_ARRAY_PUSH(made->attributes, scep_explained_attribute_t) =
            describe_attribute(CMS_signed_get_attr(info, i), p);
    }
    nonce = scep_value(info, SCEP_ATTRIBUTE_RECIPIENT_NONCE, V_ASN1_OCTET_STRING);
    if (nonce) {
        made->recipient_nonce.data = ASN1_STRING_get0_data(nonce);
        made->recipient_nonce.length = (apr_size_t)ASN1_STRING_length(nonce);
    }
    made->signing_time = time_value(info);
    ERR_clear_error();
}

/** Whether the messageDigest attribute is that of the content (RFC 5652 11.2).
 *  @param content NULL: none */
static int digest_fits(const scep_explanation_t *made, const ASN1_OCTET_STRING *content)
{
    const ASN1_STRING *value = attribute_value(made->message->signer_info,
                                               OBJ_nid2obj(NID_pkcs9_messageDigest),
                                               V_ASN1_OCTET_STRING);
    const EVP_MD *type = EVP_get_digestbyname(made->digest.name);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length;

    return value && type
           && EVP_Digest(content ? ASN1_STRING_get0_data(content) : (const unsigned char *)"",
                         content ? (size_t)ASN1_STRING_length(content) : 0, digest, &length, type,
                         NULL) == 1
           && (int)length == ASN1_STRING_length(value)
           && memcmp(digest, ASN1_STRING_get0_data(value), length) == 0;
}

/** Is the signature valid, whatever the rules say of its algorithms? */
static void examine_signature(scep_explanation_t *made)
{
    const scep_message_t *message = made->message;
    ASN1_OCTET_STRING **place = CMS_get0_content(message->outer);
    const ASN1_OCTET_STRING *content = place ? *place : NULL;
    BIO *nothing;

    made->signature = -1;
    if (message->signer_infos != 1) {
        made->signature_problem = "there is not one signature";
    }
    else if (!message->signer) {
        made->signature_problem = "the certificate of the signer is not enclosed";
    }
    else if (!content && message->type != SCEP_CERT_REP) {
        made->signature_problem = "the signed content is not enclosed";
    }
    else {
        /* a CertRep without certificates has no content (RFC 8894 3.3.2) */
        nothing = content ? NULL : BIO_new_mem_buf("", 0);
        made->signature = CMS_verify(message->outer, NULL, NULL, nothing, NULL,
                                     CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) == 1;
        BIO_free(nothing);
    }
    if (made->signature == 0) {
        made->signature_problem = digest_fits(made, content)
            ? "it was not made with the key of the enclosed certificate"
            : "the content is not the one that was signed: something has changed it";
    }
    ERR_clear_error();
}

/* The envelope */

/** What is left out has its default, which is SHA-1 (RFC 8017 A.2.1). */
static const char *digest_name(const X509_ALGOR *algorithm, apr_pool_t *p)
{
    return algorithm ? scep_algorithm_name(algorithm->algorithm, p) : "sha1";
}

static void read_oaep(scep_explained_recipient_t *made, const X509_ALGOR *transport, apr_pool_t *p)
{
    RSA_OAEP_PARAMS *oaep = NULL;
    X509_ALGOR *mask = NULL;

    if (OBJ_obj2nid(transport->algorithm) != NID_rsaesOaep || !transport->parameter
        || ASN1_TYPE_get(transport->parameter) != V_ASN1_SEQUENCE) {
        return;
    }
    oaep = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_OAEP_PARAMS), transport->parameter);
    if (!oaep) {
        return;
    }
    made->oaep_digest = digest_name(oaep->hashFunc, p);
    made->oaep_mask = "mgf1";
    made->oaep_mask_digest = "sha1";
    if (oaep->maskGenFunc) {
        made->oaep_mask = scep_algorithm_name(oaep->maskGenFunc->algorithm, p);
        if (oaep->maskGenFunc->parameter
            && ASN1_TYPE_get(oaep->maskGenFunc->parameter) == V_ASN1_SEQUENCE) {
            mask = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(X509_ALGOR),
                                             oaep->maskGenFunc->parameter);
        }
        made->oaep_mask_digest = mask ? digest_name(mask, p) : "unknown";
    }
    if (oaep->pSourceFunc && oaep->pSourceFunc->parameter
        && ASN1_TYPE_get(oaep->pSourceFunc->parameter) == V_ASN1_OCTET_STRING) {
        made->oaep_label = ASN1_STRING_length(oaep->pSourceFunc->parameter->value.octet_string);
    }
    X509_ALGOR_free(mask);
    RSA_OAEP_PARAMS_free(oaep);
}

static const char *recipient_type(CMS_RecipientInfo *info)
{
    switch (CMS_RecipientInfo_type(info)) {
    case CMS_RECIPINFO_TRANS:
        return "key transport";
    case CMS_RECIPINFO_AGREE:
        return "key agreement";
    case CMS_RECIPINFO_KEK:
        return "key encryption key";
    case CMS_RECIPINFO_PASS:
        return "password";
    default:
        return "other";
    }
}

static void read_recipient(scep_explained_recipient_t *made, CMS_RecipientInfo *info, apr_pool_t *p)
{
    ASN1_OCTET_STRING *key_id = NULL;
    ASN1_INTEGER *serial = NULL;
    X509_ALGOR *transport = NULL;
    X509_NAME *issuer = NULL;

    memset(made, 0, sizeof(*made));
    made->info = info;
    made->type = recipient_type(info);
    if (CMS_RecipientInfo_type(info) != CMS_RECIPINFO_TRANS) {
        return;
    }
    if (CMS_RecipientInfo_ktri_get0_signer_id(info, &key_id, &issuer, &serial)) {
        made->identifier = identify(issuer, serial, key_id, p);
    }
    if (CMS_RecipientInfo_ktri_get0_algs(info, NULL, NULL, &transport)) {
        made->transport = name_object(transport->algorithm, p);
        made->accepted = scep_algorithm_transport_allowed(transport);
        read_oaep(made, transport, p);
    }
}

static void read_envelope(scep_explanation_t *made, apr_pool_t *p)
{
    STACK_OF(CMS_RecipientInfo) *infos = CMS_get0_RecipientInfos(made->message->envelope);
    const ASN1_OCTET_STRING *content = *CMS_get0_content(made->message->outer);
    const unsigned char *at = ASN1_STRING_get0_data(content);
    SCEP_ENVELOPE_INFO *info;
    int i;

    for (i = 0; infos && i < sk_CMS_RecipientInfo_num(infos) && i < LIST_MAX; ++i) {
        read_recipient(&APR_ARRAY_PUSH(made->recipients, scep_explained_recipient_t),
                       sk_CMS_RecipientInfo_value(infos, i), p);
    }
    info = d2i_SCEP_ENVELOPE_INFO(NULL, &at, ASN1_STRING_length(content));
    if (info) {
        made->cipher = name_object(info->envelope->encrypted->algorithm->algorithm, p);
        if (info->envelope->encrypted->content) {
            made->encrypted = ASN1_STRING_length(info->envelope->encrypted->content);
        }
        SCEP_ENVELOPE_INFO_free(info);
    }
    ERR_clear_error();
}

int scep_explained_is(const scep_explained_recipient_t *recipient, X509 *certificate)
{
    int is = CMS_RecipientInfo_type(recipient->info) == CMS_RECIPINFO_TRANS
             && CMS_RecipientInfo_ktri_cert_cmp(recipient->info, certificate) == 0;

    ERR_clear_error();
    return is;
}

/* All of it */

static void explain_signed(scep_explanation_t *made, apr_pool_t *p)
{
    scep_message_t *message = made->message;
    int inner = message->envelope ? OBJ_obj2nid(CMS_get0_type(message->envelope)) : NID_undef;

    take_certificates(made->certificates, CMS_get1_certs(message->outer), p);
    if (message->signer_infos == 0) {
        made->what = SCEP_EXPLAINED_CERTIFICATES;
        return;
    }
    if (message->signer_info) {
        read_signer(made, p);
    }
    examine_signature(made);
    if (message->type == SCEP_CERT_REP) {
        made->what = SCEP_EXPLAINED_REPLY;
        read_reply(made, p);
    }
    else if (inner == NID_pkcs7_signed && message->attributes && !*message->attributes) {
        /* RFC 8894 4.7.1: certs-only, signed by the CA of now */
        made->what = SCEP_EXPLAINED_NEXT_CERTIFICATES;
        made->certificates->nelts = 0;
        take_certificates(made->certificates, CMS_get1_certs(message->envelope), p);
    }
    if (inner == NID_pkcs7_enveloped || inner == NID_id_smime_ct_authEnvelopedData) {
        read_envelope(made, p);
    }
    ERR_clear_error();
}

static void describe_extensions(scep_explanation_t *made, apr_pool_t *p)
{
    const STACK_OF(X509_EXTENSION) *extensions = gh_csr_extensions(made->csr);
    int i;

    for (i = 0; extensions && i < sk_X509_EXTENSION_num(extensions); ++i) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(extensions, i);
        scep_explained_algorithm_t named = name_object(X509_EXTENSION_get_object(extension), p);
        scep_explained_attribute_t one = { named.name, named.oid, 1,
            ASN1_STRING_length(X509_EXTENSION_get_data(extension)),
            X509_EXTENSION_get_critical(extension) };

        APR_ARRAY_PUSH(made->csr_extensions, scep_explained_attribute_t) = one;
    }
}

/** @param request parsed for its attributes; what they say is in the gh_csr_t only */
static void explain_csr(scep_explanation_t *made, X509_REQ *request, apr_pool_t *p)
{
    int i, count = X509_REQ_get_attr_count(request);

    made->what = SCEP_EXPLAINED_CSR;
    for (i = 0; i < count && i < LIST_MAX; ++i) {
        APR_ARRAY_PUSH(made->csr_attributes, scep_explained_attribute_t) =
            describe_attribute(X509_REQ_get_attr(request, i), p);
    }
    describe_extensions(made, p);
    made->signature = X509_REQ_verify(request, gh_csr_key(made->csr)) == 1;
    if (!made->signature) {
        made->signature_problem = "it was not made with the key of the request";
    }
    ERR_clear_error();
}

static X509_REQ *parse_request(gh_bytes_t der)
{
    const unsigned char *at = der.data;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)der.length);

    ERR_clear_error();
    return request;
}

/** What is no SignedData: a request or a certificate. @param result says why it is no message */
static apr_status_t explain_bare(scep_explanation_t *made, gh_bytes_t der, apr_pool_t *p,
                                 gh_result_t *result)
{
    X509_REQ *request = parse_request(der);
    X509 *certificate = gh_certificate_parse(der, p);
    apr_status_t rv;

    if (request) {
        rv = gh_csr_parse(&made->csr, der.data, der.length, NULL, p, result);
        if (rv == APR_SUCCESS) {
            explain_csr(made, request, p);
            gh_result_clear(result);
        }
        X509_REQ_free(request);
        return rv;
    }
    if (!certificate) {
        return result->status;
    }
    gh_result_clear(result);
    made->what = SCEP_EXPLAINED_CERTIFICATES;
    APR_ARRAY_PUSH(made->certificates, X509 *) = certificate;
    return APR_SUCCESS;
}

/** Some clients write to files what they have taken out of the message. */
static int is_envelope(gh_bytes_t der)
{
    const unsigned char *at = der.data;
    SCEP_ENVELOPE_INFO *info = d2i_SCEP_ENVELOPE_INFO(NULL, &at, (long)der.length);
    int is = info && OBJ_obj2nid(info->type) == NID_pkcs7_enveloped;

    SCEP_ENVELOPE_INFO_free(info);
    ERR_clear_error();
    return is;
}

apr_status_t scep_explain(scep_explanation_t **explanation, gh_bytes_t der, apr_pool_t *p,
                          gh_result_t *result)
{
    scep_explanation_t *made = apr_pcalloc(p, sizeof(*made));
    gh_result_t local;
    apr_status_t rv;

    *explanation = NULL;
    result = result ? result : &local;
    gh_result_clear(result);
    made->der = der;
    made->signature = -1;
    made->pki_status = -1;
    made->fail_info = -1;
    made->attributes = apr_array_make(p, 8, sizeof(scep_explained_attribute_t));
    made->recipients = apr_array_make(p, 2, sizeof(scep_explained_recipient_t));
    made->certificates = apr_array_make(p, 2, sizeof(X509 *));
    made->csr_attributes = apr_array_make(p, 2, sizeof(scep_explained_attribute_t));
    made->csr_extensions = apr_array_make(p, 4, sizeof(scep_explained_attribute_t));
    rv = scep_message_read(&made->message, der, ALL_ALLOWED, NULL, p, result);
    if (rv == APR_SUCCESS) {
        explain_signed(made, p);
    }
    else if (strcmp(result->rule, "message.der") == 0) {
        rv = explain_bare(made, der, p, result);
    }
    else if (is_envelope(der)) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "message.bare-envelope",
                            "Capture what was sent or received: the SignedData around it says who "
                            "it is from and what it is.",
                            GHNO(0427) "this is the envelope of a message without the signed part "
                                       "around it");
    }
    if (rv == APR_SUCCESS) {
        *explanation = made;
    }
    return rv;
}
