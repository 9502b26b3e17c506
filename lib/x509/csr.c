/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "status.h"
#include "x509/csr.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/own.h"

#define ATTRIBUTES_MAX  32
#define EXTENSIONS_MAX  32
#define CHALLENGE_MAX   16384
#define TEXTS_MAX       64

struct gh_csr {
    X509_REQ *request;
    EVP_PKEY *key;                          /* of request */
    const char *key_kind;                   /* NULL: not accepted */
    OSSL_LIB_CTX *decoding;
    STACK_OF(X509_EXTENSION) *extensions;   /* NULL: none */
    const char *challenge;
    const char *subject;
    gh_bytes_t der;
    gh_bytes_t info_sha256;
    gh_bytes_t key_sha256;
};

static apr_status_t malformed(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "csr",
                          "send one PKCS#10 certification request (RFC 2986) in DER",
                          GHNO(0128) "the certification request is malformed: %s", what);
}

/** Steps over one element of definite length.
 *  @return its whole encoding; @param content where its contents begin */
static gh_bytes_t element(const unsigned char **at, const unsigned char *end,
                          const unsigned char **content)
{
    gh_bytes_t whole = { NULL, 0 };
    const unsigned char *data = *at;
    long length = 0;
    int tag, class;
    int form = ASN1_get_object(&data, &length, &tag, &class, end - *at);

    ERR_clear_error();
    if ((form & 0x80) != 0 || (form & 1) != 0 || length < 0 || length > end - data)
        return whole;
    *content = data;
    whole.data = *at;
    whole.length = (apr_size_t)(data + length - *at);
    *at = data + length;
    return whole;
}

/** @return 0 if there is no memory */
static int digest(gh_bytes_t *made, gh_bytes_t bytes, apr_pool_t *p)
{
    unsigned char *data = apr_palloc(p, SHA256_DIGEST_LENGTH);

    made->data = data;
    made->length = SHA256_DIGEST_LENGTH;
    return SHA256(bytes.data, bytes.length, data) != NULL;
}

/** Takes digests over what was received, not over what would be written again. */
static int take_digests(gh_csr_t *csr, apr_pool_t *p)
{
    const unsigned char *at = csr->der.data, *end = at + csr->der.length;
    const unsigned char *content = NULL, *ignored;
    gh_bytes_t info, key;

    if (element(&at, end, &content).data == NULL || at != end)
        return 0;
    at = content;
    info = element(&at, end, &content);
    if (info.data == NULL)
        return 0;
    end = info.data + info.length;
    at = content;
    if (element(&at, end, &ignored).data == NULL || element(&at, end, &ignored).data == NULL)
        return 0;
    key = element(&at, end, &ignored);
    if (key.data == NULL)
        return 0;
    return digest(&csr->info_sha256, info, p) && digest(&csr->key_sha256, key, p);
}

/** The one value of an attribute, or NULL if it has another number of them. */
static const ASN1_TYPE *single_value(X509_ATTRIBUTE *attribute)
{
    if (X509_ATTRIBUTE_count(attribute) != 1)
        return NULL;
    return X509_ATTRIBUTE_get0_type(attribute, 0);
}

static apr_status_t check_extensions(const STACK_OF(X509_EXTENSION) *extensions, apr_pool_t *p,
                                     gh_result_t *result)
{
    int count = sk_X509_EXTENSION_num(extensions);
    int i, j;

    if (count > EXTENSIONS_MAX)
        return malformed(result, "too many extensions");
    for (i = 0; i < count; i++) {
        ASN1_OBJECT *object = X509_EXTENSION_get_object(sk_X509_EXTENSION_value(extensions, i));

        for (j = 0; j < i; j++) {
            if (OBJ_cmp(object, X509_EXTENSION_get_object(
                            sk_X509_EXTENSION_value(extensions, j))) == 0)
                return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "csr.extensions",
                                      "ask for each extension once",
                                      GHNO(0129) "extension %s is requested twice",
                                      gh_oid_text(object, p));
        }
    }
    return APR_SUCCESS;
}

static apr_status_t take_extensions(gh_csr_t *csr, X509_ATTRIBUTE *attribute, apr_pool_t *p,
                                    gh_result_t *result)
{
    const ASN1_TYPE *value = single_value(attribute);
    const unsigned char *data, *end;

    if (csr->extensions != NULL)
        return malformed(result, "more than one extensionRequest attribute");
    if (value == NULL || value->type != V_ASN1_SEQUENCE)
        return malformed(result, "extensionRequest is not one SEQUENCE");
    data = ASN1_STRING_get0_data(value->value.sequence);
    end = data + ASN1_STRING_length(value->value.sequence);
    csr->extensions = gh_own_extensions(p, d2i_X509_EXTENSIONS(NULL, &data, end - data));
    if (csr->extensions == NULL || data != end)
        return malformed(result, "the value of extensionRequest cannot be parsed");
    return check_extensions(csr->extensions, p, result);
}

static int is_text(int type)
{
    return type == V_ASN1_PRINTABLESTRING || type == V_ASN1_UTF8STRING || type == V_ASN1_T61STRING
        || type == V_ASN1_BMPSTRING || type == V_ASN1_UNIVERSALSTRING || type == V_ASN1_IA5STRING;
}

static apr_status_t take_challenge(gh_csr_t *csr, X509_ATTRIBUTE *attribute, apr_pool_t *p,
                                   gh_result_t *result)
{
    const ASN1_TYPE *value = single_value(attribute);
    unsigned char *utf8 = NULL;
    apr_status_t rv = APR_SUCCESS;
    int length;

    if (csr->challenge != NULL || value == NULL)
        return malformed(result, "not exactly one challengePassword");
    if (!is_text(value->type) || ASN1_STRING_length(value->value.asn1_string) > CHALLENGE_MAX)
        return malformed(result, "challengePassword is no text, or longer than 16384 bytes");
    length = ASN1_STRING_to_UTF8(&utf8, value->value.asn1_string);
    if (length < 0 || memchr(utf8, '\0', (size_t)length) != NULL)
        rv = malformed(result, "challengePassword is not text");
    else
        csr->challenge = gh_copy_secret(p, utf8, (apr_size_t)length);
    OPENSSL_clear_free(utf8, length > 0 ? (size_t)length : 0);
    /* The copy within the parsed request is not needed any more. */
    OPENSSL_cleanse(value->value.asn1_string->data,
                    (size_t)ASN1_STRING_length(value->value.asn1_string));
    return rv;
}

static apr_status_t take_attributes(gh_csr_t *csr, apr_pool_t *p, gh_result_t *result)
{
    int i, count = X509_REQ_get_attr_count(csr->request);
    apr_status_t rv = APR_SUCCESS;

    if (count > ATTRIBUTES_MAX)
        return malformed(result, "too many attributes");
    for (i = 0; i < count && rv == APR_SUCCESS; i++) {
        X509_ATTRIBUTE *attribute = X509_REQ_get_attr(csr->request, i);

        switch (OBJ_obj2nid(X509_ATTRIBUTE_get0_object(attribute))) {
        case NID_ext_req:
        case NID_ms_ext_req:
            rv = take_extensions(csr, attribute, p, result);
            break;
        case NID_pkcs9_challengePassword:
            rv = take_challenge(csr, attribute, p, result);
            break;
        default:
            break;
        }
    }
    return rv;
}

apr_status_t gh_csr_parse(gh_csr_t **csr, const unsigned char *der, apr_size_t length,
                          OSSL_LIB_CTX *decoding, apr_pool_t *p, gh_result_t *result)
{
    gh_csr_t *made;
    const unsigned char *at;
    apr_status_t rv;

    *csr = NULL;
    if (length == 0 || length > GH_CSR_MAX)
        return malformed(result, length == 0 ? "empty" : "larger than 65536 bytes");
    made = apr_pcalloc(p, sizeof(*made));
    made->der.data = (const unsigned char *)gh_copy_secret(p, der, length);
    made->der.length = length;
    if (!take_digests(made, p))
        return malformed(result, "not a DER SEQUENCE of the length given, or bytes behind it");
    at = made->der.data;
    made->decoding = decoding;
    made->request = gh_own_request(p, (X509_REQ *)ASN1_item_d2i_ex(
                                          NULL, &at, (long)length, ASN1_ITEM_rptr(X509_REQ),
                                          decoding, NULL));
    ERR_clear_error();
    if (made->request == NULL || at != made->der.data + length)
        return malformed(result, "it cannot be parsed");
    made->key = X509_REQ_get0_pubkey(made->request);
    ERR_clear_error();
    if (made->key == NULL)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "csr.key",
                              "use an RSA or EC key",
                              GHNO(0130) "the public key of the request cannot be read");
    made->key_kind = gh_key_kind(made->key);
    rv = take_attributes(made, p, result);
    ERR_clear_error();
    if (rv != APR_SUCCESS)
        return rv;
    made->subject = gh_name_text(X509_REQ_get_subject_name(made->request), p);
    *csr = made;
    return APR_SUCCESS;
}

/** Digest of a signature algorithm whose parameters say it (RSASSA-PSS).
 *  @return NID_undef if they are malformed or digest and mask digest differ */
static int pss_digest(const X509_ALGOR *algorithm)
{
    const void *value = NULL;
    int type = V_ASN1_UNDEF, nid = NID_undef;
    RSA_PSS_PARAMS *parameters = NULL;
    X509_ALGOR *mask = NULL;

    X509_ALGOR_get0(NULL, &type, &value, algorithm);
    if (type == V_ASN1_SEQUENCE)
        parameters = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_PSS_PARAMS),
                                               algorithm->parameter);
    if (parameters == NULL)
        return NID_undef;
    /* Absent fields mean SHA-1 (RFC 4055 3.1). */
    if (parameters->hashAlgorithm == NULL) {
        nid = NID_sha1;
    }
    else {
        nid = OBJ_obj2nid(parameters->hashAlgorithm->algorithm);
        if (parameters->maskGenAlgorithm != NULL)
            mask = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(X509_ALGOR),
                                             parameters->maskGenAlgorithm->parameter);
        if (mask == NULL || OBJ_obj2nid(mask->algorithm) != nid)
            nid = NID_undef;
    }
    X509_ALGOR_free(mask);
    RSA_PSS_PARAMS_free(parameters);
    return nid;
}

static int digest_is_accepted(const X509_REQ *request, int weak_digest)
{
    const X509_ALGOR *algorithm = NULL;
    int nid = X509_REQ_get_signature_nid(request);
    int digest_nid = NID_undef;

    if (nid == NID_rsassaPss) {
        X509_REQ_get0_signature(request, NULL, &algorithm);
        digest_nid = pss_digest(algorithm);
    }
    else if (!OBJ_find_sigid_algs(nid, &digest_nid, NULL)) {
        return 0;
    }
    return digest_nid == NID_sha256 || digest_nid == NID_sha384 || digest_nid == NID_sha512
        || (weak_digest && digest_nid == NID_sha1);
}

apr_status_t gh_csr_make(gh_bytes_t *der, const gh_plan_t *plan, EVP_PKEY *key, apr_pool_t *p,
                         gh_result_t *result)
{
    X509_REQ *request = gh_own_request(p, X509_REQ_new());
    unsigned char *encoded = NULL;
    int length = -1;

    if (request != NULL && X509_REQ_set_version(request, X509_REQ_VERSION_1)
        && X509_REQ_set_subject_name(request, (X509_NAME *)gh_plan_subject(plan))
        && X509_REQ_set_pubkey(request, key)
        && X509_REQ_add_extensions(request,
                                   (STACK_OF(X509_EXTENSION) *)gh_plan_extensions(plan))
        && X509_REQ_sign(request, key, gh_key_digest(key)) > 0)
        length = i2d_X509_REQ(request, &encoded);
    if (length <= 0)
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "csr.make", NULL,
                                 GHNO(0784) "cannot make a certification request");
    *der = gh_own_bytes(p, encoded, (apr_size_t)length, 0);
    return APR_SUCCESS;
}

apr_status_t gh_csr_verify(gh_csr_t *csr, int weak_digest, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;

    /* First what is cheap: an enormous key would make the check expensive. */
    if (csr->key_kind == NULL)
        rv = gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "csr.key",
                            "use RSA with 2048, 3072 or 4096 bits, or P-256, P-384 or P-521",
                            GHNO(0131) "the key of the request is of a kind that is not accepted");
    else if (!digest_is_accepted(csr->request, weak_digest))
        rv = gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "csr.digest",
                            "sign the request with SHA-256, SHA-384 or SHA-512",
                            GHNO(0132) "the request is signed with %s, which is not accepted",
                            gh_csr_signature_algorithm(csr));
    else if (X509_REQ_verify_ex(csr->request, csr->key, csr->decoding, NULL) != 1)
        rv = gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTEGRITY, "csr.signature",
                            "sign the request with the key it is for",
                            GHNO(0133) "the signature of the request does not verify with its key");
    ERR_clear_error();
    return rv;
}

gh_bytes_t gh_csr_der(const gh_csr_t *csr)
{
    return csr->der;
}

gh_bytes_t gh_csr_info_sha256(const gh_csr_t *csr)
{
    return csr->info_sha256;
}

gh_bytes_t gh_csr_key_sha256(const gh_csr_t *csr)
{
    return csr->key_sha256;
}

EVP_PKEY *gh_csr_key(const gh_csr_t *csr)
{
    return csr->key;
}

const char *gh_csr_key_kind(const gh_csr_t *csr)
{
    return csr->key_kind;
}

const X509_NAME *gh_csr_subject(const gh_csr_t *csr)
{
    return X509_REQ_get_subject_name(csr->request);
}

const char *gh_csr_subject_text(const gh_csr_t *csr)
{
    return csr->subject;
}

const STACK_OF(X509_EXTENSION) *gh_csr_extensions(const gh_csr_t *csr)
{
    return csr->extensions;
}

int gh_csr_attribute_count(const gh_csr_t *csr)
{
    return X509_REQ_get_attr_count(csr->request);
}

X509_ATTRIBUTE *gh_csr_attribute(const gh_csr_t *csr, int index)
{
    return X509_REQ_get_attr(csr->request, index);
}

const char *gh_csr_challenge(const gh_csr_t *csr)
{
    return csr->challenge;
}

/** @return 0 if it is no text */
static int push_text(apr_array_header_t *texts, int type, const ASN1_STRING *value, apr_pool_t *p)
{
    unsigned char *utf8 = NULL;
    int length = -1;

    if (is_text(type) && texts->nelts < TEXTS_MAX)
        length = ASN1_STRING_to_UTF8(&utf8, value);
    if (length >= 0 && memchr(utf8, '\0', (size_t)length) == NULL)
        APR_ARRAY_PUSH(texts, const char *) = apr_pstrmemdup(p, (char *)utf8, (apr_size_t)length);
    else
        length = -1;
    OPENSSL_free(utf8);
    ERR_clear_error();
    return length >= 0;
}

apr_array_header_t *gh_csr_texts(const gh_csr_t *csr, int nid, apr_pool_t *p)
{
    apr_array_header_t *texts = apr_array_make(p, 2, sizeof(const char *));
    X509_NAME *subject = X509_REQ_get_subject_name(csr->request);
    int at = -1, i;

    while ((at = X509_REQ_get_attr_by_NID(csr->request, nid, at)) >= 0) {
        X509_ATTRIBUTE *attribute = X509_REQ_get_attr(csr->request, at);

        for (i = 0; i < X509_ATTRIBUTE_count(attribute); i++) {
            const ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(attribute, i);

            /* first the type: only a string has a string */
            if (!is_text(value->type)
                || !push_text(texts, value->type, value->value.asn1_string, p))
                return NULL;
        }
    }
    at = -1;
    while ((at = X509_NAME_get_index_by_NID(subject, nid, at)) >= 0) {
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));

        if (!push_text(texts, ASN1_STRING_type(value), value, p))
            return NULL;
    }
    return texts;
}

const char *gh_csr_signature_algorithm(const gh_csr_t *csr)
{
    int nid = X509_REQ_get_signature_nid(csr->request);

    return nid != NID_undef ? OBJ_nid2ln(nid) : "an unknown algorithm";
}

X509_PUBKEY *gh_csr_public_key(const gh_csr_t *csr)
{
    return X509_REQ_get_X509_PUBKEY(csr->request);
}
