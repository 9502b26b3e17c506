/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_message.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

#include "mod_scep/scep_algorithm.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"

#define NONCE_MAX 64
#define ATTRIBUTES_MAX 64

static apr_status_t free_outer(void *data)
{
    CMS_ContentInfo_free(data);
    return APR_SUCCESS;
}

/** What is no fault of the client's. */
static apr_status_t lacks_memory(gh_result_t *result)
{
    return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "memory",
                          "Give the machine more memory, or let httpd run fewer children and "
                          "threads.",
                          GHNO(0548) "there is not enough memory to read the message");
}

/** @param lacking set to 1 if it may be for a lack of memory that nothing is returned */
static CMS_ContentInfo *parse_content_info(gh_bytes_t der, OSSL_LIB_CTX *decoding, int *lacking,
                                           apr_pool_t *p)
{
    const unsigned char *at = der.data;
    CMS_ContentInfo *cms = CMS_ContentInfo_new_ex(decoding, NULL);

    if (cms && d2i_CMS_ContentInfo(&cms, &at, (long)der.length)) {
        apr_pool_cleanup_register(p, cms, free_outer, apr_pool_cleanup_null);
        if (at != der.data + der.length) {
            cms = NULL;
        }
    }
    else {
        CMS_ContentInfo_free(cms);
        cms = NULL;
    }
    *lacking |= gh_openssl_lacked_memory();
    return cms;
}

/* Signed attributes */

/** The one value of an attribute, if there is one and it has that type. */
static const ASN1_STRING *single_value(X509_ATTRIBUTE *attribute, int type)
{
    ASN1_TYPE *value;

    if (X509_ATTRIBUTE_count(attribute) != 1) {
        return NULL;
    }
    value = X509_ATTRIBUTE_get0_type(attribute, 0);
    if (!value || ASN1_TYPE_get(value) != type) {
        return NULL;
    }
    return value->value.asn1_string;
}

/** A PrintableString as text, if it consists of printable ASCII. */
static const char *printable(const ASN1_STRING *string, int max, apr_pool_t *p)
{
    const unsigned char *data;
    int i, length;

    if (!string) {
        return NULL;
    }
    data = ASN1_STRING_get0_data(string);
    length = ASN1_STRING_length(string);
    if (length < 1 || length > max) {
        return NULL;
    }
    for (i = 0; i < length; ++i) {
        if (data[i] < 0x20 || data[i] > 0x7e) {
            return NULL;
        }
    }
    return apr_pstrmemdup(p, (const char *)data, (apr_size_t)length);
}

/** A messageType: decimal digits without leading zero, 0 to 255; -1 for everything else. */
static int message_type(const char *text)
{
    long number;

    if (!text || text[0] < '0' || text[0] > '9' || strlen(text) > 3
        || strspn(text, "0123456789") != strlen(text)) {
        return -1;
    }
    number = strtol(text, NULL, 10);
    return number <= 255 && (text[0] != '0' || text[1] == '\0') ? (int)number : -1;
}

static void take_attribute(scep_message_t *message, scep_attribute_t which,
                           X509_ATTRIBUTE *attribute, apr_pool_t *p)
{
    const ASN1_STRING *nonce;

    switch (which) {
    case SCEP_ATTRIBUTE_MESSAGE_TYPE:
        message->type = message_type(printable(single_value(attribute, V_ASN1_PRINTABLESTRING),
                                               3, p));
        break;
    case SCEP_ATTRIBUTE_TRANSACTION_ID:
        message->transaction = printable(single_value(attribute, V_ASN1_PRINTABLESTRING),
                                         SCEP_TRANSACTION_MAX, p);
        break;
    case SCEP_ATTRIBUTE_SENDER_NONCE:
        nonce = single_value(attribute, V_ASN1_OCTET_STRING);
        if (nonce && ASN1_STRING_length(nonce) >= 1 && ASN1_STRING_length(nonce) <= NONCE_MAX) {
            message->sender_nonce.length = (apr_size_t)ASN1_STRING_length(nonce);
            message->sender_nonce.data = apr_pmemdup(p, ASN1_STRING_get0_data(nonce),
                                                     message->sender_nonce.length);
        }
        break;
    default:
        break;
    }
}

/** An attribute that stands there twice is as good as absent. */
static void read_attributes(scep_message_t *message, apr_pool_t *p)
{
    int seen[SCEP_ATTRIBUTES] = { 0 };
    int i, count = CMS_signed_get_attr_count(message->signer_info);
    const char *names = "";

    for (i = 0; i < count && i < ATTRIBUTES_MAX; ++i) {
        X509_ATTRIBUTE *attribute = CMS_signed_get_attr(message->signer_info, i);
        const ASN1_OBJECT *object = X509_ATTRIBUTE_get0_object(attribute);
        scep_attribute_t which = scep_attribute_find(object);

        if (which == SCEP_ATTRIBUTES) {
            continue;
        }
        names = apr_pstrcat(p, names, *names ? " " : "", scep_attribute_name(which), NULL);
        if (seen[which]++) {
            if (which == SCEP_ATTRIBUTE_MESSAGE_TYPE) {
                message->type = -1;
            }
            else if (which == SCEP_ATTRIBUTE_TRANSACTION_ID) {
                message->transaction = NULL;
            }
            else if (which == SCEP_ATTRIBUTE_SENDER_NONCE) {
                message->sender_nonce.length = 0;
            }
            continue;
        }
        take_attribute(message, which, attribute, p);
    }
    message->attributes = names;
}

/* The signer */

static void read_signer(scep_message_t *message, unsigned allow, apr_pool_t *p)
{
    X509_ALGOR *digest = NULL, *signature = NULL;
    unsigned char *spki = NULL;
    unsigned char sha256[SHA256_DIGEST_LENGTH];
    int length;

    /* sets the certificate that issuer and serial, or key identifier, name among those enclosed */
    CMS_set1_signers_certs(message->outer, NULL, 0);
    CMS_SignerInfo_get0_algs(message->signer_info, NULL, &message->signer, &digest, &signature);
    message->digest_name = scep_algorithm_name(digest->algorithm, p);
    message->digest = scep_algorithm_digest(digest->algorithm, signature->algorithm, allow);
    if (!message->signer) {
        return;
    }
    message->signer_key = X509_get0_pubkey(message->signer);
    if (!message->signer_key) {
        return;
    }
    message->signer_kind = gh_key_kind(message->signer_key);
    message->needs_password = EVP_PKEY_get_base_id(message->signer_key) == EVP_PKEY_EC;
    length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(message->signer), &spki);
    if (length > 0 && EVP_Digest(spki, (size_t)length, sha256, NULL, EVP_sha256(), NULL)) {
        message->signer_sha256.data = apr_pmemdup(p, sha256, sizeof(sha256));
        message->signer_sha256.length = sizeof(sha256);
    }
    OPENSSL_free(spki);
}

/* The envelope */

/** Content cipher: CMS_* has no accessor for it before it is decrypted. */
static int read_cipher(scep_message_t *message, gh_bytes_t der, unsigned allow, apr_pool_t *p)
{
    const unsigned char *at = der.data;
    SCEP_ENVELOPE_INFO *info = d2i_SCEP_ENVELOPE_INFO(NULL, &at, (long)der.length);
    int understood = 0;

    if (info) {
        const X509_ALGOR *algorithm = info->envelope->encrypted->algorithm;
        message->cipher_name = scep_algorithm_name(algorithm->algorithm, p);
        message->cipher = scep_algorithm_cipher(algorithm->algorithm, allow);
        understood = !info->envelope->originator && info->envelope->encrypted->content;
        SCEP_ENVELOPE_INFO_free(info);
    }
    return understood;
}

static const X509_ALGOR *transport_of(CMS_RecipientInfo *info)
{
    X509_ALGOR *algorithm = NULL;

    return CMS_RecipientInfo_type(info) == CMS_RECIPINFO_TRANS
                   && CMS_RecipientInfo_ktri_get0_algs(info, NULL, NULL, &algorithm)
               ? algorithm : NULL;
}

static void read_recipients(scep_message_t *message, apr_pool_t *p)
{
    STACK_OF(CMS_RecipientInfo) *infos = CMS_get0_RecipientInfos(message->envelope);
    int i;

    message->recipients = infos ? sk_CMS_RecipientInfo_num(infos) : 0;
    for (i = 0; i < message->recipients; ++i) {
        const X509_ALGOR *transport = transport_of(sk_CMS_RecipientInfo_value(infos, i));

        if (!transport) {
            ++message->other_recipients;
        }
        if (i == 0) {
            message->transport_name = transport ? scep_algorithm_transport_name(transport, p)
                                                : "not-key-transport";
        }
    }
}

static void read_envelope(scep_message_t *message, unsigned allow, int *lacking, apr_pool_t *p)
{
    ASN1_OCTET_STRING **content = CMS_get0_content(message->outer);
    gh_bytes_t der;

    if (!content || !*content || ASN1_STRING_length(*content) < 1) {
        return;
    }
    der.data = ASN1_STRING_get0_data(*content);
    der.length = (apr_size_t)ASN1_STRING_length(*content);
    /* opened with a key of our own, which lives in the default context */
    message->envelope = parse_content_info(der, NULL, lacking, p);
    if (!message->envelope) {
        return;
    }
    switch (OBJ_obj2nid(CMS_get0_type(message->envelope))) {
    case NID_pkcs7_enveloped:
        message->enveloped = read_cipher(message, der, allow, p);
        read_recipients(message, p);
        break;
    case NID_id_smime_ct_authEnvelopedData:
        message->authenticated_envelope = 1;
        message->cipher_name = "authEnvelopedData";
        break;
    default:
        break;
    }
}

static const char *or_none(const char *name)
{
    return name ? name : "-";
}

apr_status_t scep_message_read(scep_message_t **out, gh_bytes_t der, unsigned allow,
                               OSSL_LIB_CTX *decoding, apr_pool_t *p, gh_result_t *result)
{
    static const char *const action = "Send a DER encoded pkiMessage (RFC 8894 3.2).";
    STACK_OF(CMS_SignerInfo) *infos;
    scep_message_t *message;
    int lacking = 0;

    *out = NULL;
    if (der.length == 0) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "message.empty", action,
                              GHNO(0185) "the message is empty");
    }
    if (der.length > SCEP_MESSAGE_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "message.size", action,
                              GHNO(0186) "the message has more than %d bytes", SCEP_MESSAGE_MAX);
    }
    message = apr_pcalloc(p, sizeof(*message));
    message->type = -1;
    message->decoding = decoding;
    message->outer = parse_content_info(der, decoding, &lacking, p);
    if (lacking) {
        return lacks_memory(result);
    }
    if (!message->outer) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "message.der", action,
                              GHNO(0187) "the message is not one CMS ContentInfo and nothing else");
    }
    if (OBJ_obj2nid(CMS_get0_type(message->outer)) != NID_pkcs7_signed) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "message.type", action,
                              GHNO(0188) "the message is not CMS SignedData");
    }
    infos = CMS_get0_SignerInfos(message->outer);
    message->signer_infos = infos ? sk_CMS_SignerInfo_num(infos) : 0;
    if (message->signer_infos == 1) {
        message->signer_info = sk_CMS_SignerInfo_value(infos, 0);
        read_attributes(message, p);
        read_signer(message, allow, p);
    }
    read_envelope(message, allow, &lacking, p);
    message->algorithms = apr_psprintf(p, "%s/%s/%s/%s", or_none(message->digest_name),
                                       or_none(message->cipher_name),
                                       or_none(message->transport_name),
                                       scep_algorithm_key_name(message->signer_key, p));
    if (gh_openssl_lacked_memory() || lacking) {
        return lacks_memory(result);
    }
    *out = message;
    return APR_SUCCESS;
}

/* Rules */

static apr_status_t check_attributes(const scep_message_t *message, gh_result_t *result)
{
    if (message->signer_infos != 1) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "message.signers",
                              "Sign the message once, with the key of the request.",
                              GHNO(0189) "the message has %d signatures instead of one",
                              message->signer_infos);
    }
    if (!message->transaction) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "message.transaction",
                              "Sign a transactionID attribute: a PrintableString of 1 to 256 "
                              "characters.",
                              GHNO(0190) "the transactionID is absent, empty, repeated or not "
                                         "printable");
    }
    if (message->sender_nonce.length == 0) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "message.nonce",
                              "Sign a senderNonce attribute: an OCTET STRING of 16 bytes.",
                              GHNO(0191) "the senderNonce is absent, repeated or not of 1 to 64 "
                                         "bytes");
    }
    return APR_SUCCESS;
}

apr_status_t scep_message_refuse_type(const scep_message_t *message, gh_result_t *result)
{
    if (message->type < 0) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "message.no-type",
                              "Sign a messageType attribute: a PrintableString with a number.",
                              GHNO(0224) "the messageType is absent, repeated or not a number");
    }
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "message.unknown-type",
                          "Use what GetCACaps offers.",
                          GHNO(0225) "messageType %d is not served here", message->type);
}

static apr_status_t check_signer(const scep_message_t *message, gh_result_t *result)
{
    if (!message->signer) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "message.signer",
                              "Enclose the signer's certificate in the message.",
                              GHNO(0192) "the message does not enclose the certificate of its "
                                         "signer");
    }
    if (!message->signer_kind || !message->signer_sha256.data) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "message.key",
                              "Use an RSA key of 2048, 3072 or 4096 bits.",
                              GHNO(0193) "the signer's key is not accepted (%s)",
                              message->algorithms);
    }
    if (message->needs_password && message->type != SCEP_PKCS_REQ
        && message->type != SCEP_RENEWAL_REQ) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "message.key-transport",
                              "Use an RSA key of 2048, 3072 or 4096 bits.",
                              GHNO(0194) "the signer's key (%s) cannot be encrypted to, so the "
                                         "reply could not be read",
                              message->signer_kind);
    }
    if (!message->digest) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "message.digest",
                              "Sign with SHA-256, SHA-384 or SHA-512; SCEPAllow sha1 admits SHA-1 "
                              "at one location.",
                              GHNO(0195) "the digest or signature algorithm is not accepted (%s)",
                              message->algorithms);
    }
    return APR_SUCCESS;
}

/** Whether the signed contentType is that of the content (RFC 5652 11.1): CMS_verify() only sees
 *  that there is one. */
static int content_type_matches(const scep_message_t *message)
{
    const ASN1_OBJECT *type = CMS_signed_get0_data_by_OBJ(
        message->signer_info, OBJ_nid2obj(NID_pkcs9_contentType), -3, V_ASN1_OBJECT);

    return type && OBJ_cmp(type, CMS_get0_eContentType(message->outer)) == 0;
}

apr_status_t scep_message_verify(scep_message_t *message, gh_result_t *result)
{
    ASN1_OCTET_STRING **content;
    apr_status_t rv = check_attributes(message, result);

    if (rv == APR_SUCCESS) {
        rv = check_signer(message, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    content = CMS_get0_content(message->outer);
    if (!content || !*content) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "message.content",
                              "Enclose the pkcsPKIEnvelope in the message.",
                              GHNO(0196) "the message has no content");
    }
    if (CMS_verify(message->outer, NULL, NULL, NULL, NULL,
                   CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) != 1
        || !content_type_matches(message)) {
        if (gh_openssl_lacked_memory()) {
            return lacks_memory(result);
        }
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTEGRITY, "message.signature",
                              "Sign the message with the key of the enclosed certificate; see "
                              "whether something on the way changes it.",
                              GHNO(0197) "the signature of the message is not valid");
    }
    message->verified = 1;
    return APR_SUCCESS;
}

/** What the recipients of an envelope are to us. */
typedef struct {
    int ours;
    int authorities;
    const scep_recipient_t *recipient;
    const X509_ALGOR *transport;
} recipients_t;

static void sort_recipient(recipients_t *sorted, CMS_RecipientInfo *info,
                           const apr_array_header_t *recipients,
                           const apr_array_header_t *authorities)
{
    int i;

    for (i = 0; i < recipients->nelts; ++i) {
        const scep_recipient_t *one = &APR_ARRAY_IDX(recipients, i, scep_recipient_t);
        if (CMS_RecipientInfo_ktri_cert_cmp(info, one->certificate) == 0) {
            sorted->recipient = one;
            sorted->transport = transport_of(info);
            ++sorted->ours;
            return;
        }
    }
    for (i = 0; i < authorities->nelts; ++i) {
        if (CMS_RecipientInfo_ktri_cert_cmp(info, APR_ARRAY_IDX(authorities, i, X509 *)) == 0) {
            ++sorted->authorities;
            return;
        }
    }
}

apr_status_t scep_message_admit(const scep_message_t *message,
                                const apr_array_header_t *recipients,
                                const apr_array_header_t *authorities,
                                const scep_recipient_t **recipient, gh_result_t *result)
{
    recipients_t sorted = { 0, 0, NULL, NULL };
    int i;

    *recipient = NULL;
    if (message->authenticated_envelope) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "message.envelope-type",
                              "Encrypt with AES-CBC in EnvelopedData.",
                              GHNO(0198) "AuthEnvelopedData is not accepted");
    }
    if (!message->enveloped) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "message.envelope",
                              "Send the request in EnvelopedData (RFC 8894 3.1).",
                              GHNO(0199) "the content of the message is not EnvelopedData");
    }
    if (!message->cipher) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "message.cipher",
                              "Encrypt with AES-128-CBC or better; SCEPAllow 3des admits triple "
                              "DES at one location.",
                              GHNO(0200) "the content cipher is not accepted (%s)",
                              message->algorithms);
    }
    if (message->other_recipients) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "message.recipient-type",
                              "Encrypt to the RA certificate that GetCACert gives, by RSA key "
                              "transport.",
                              GHNO(0201) "%d of the recipients of the envelope are not by key "
                                         "transport",
                              message->other_recipients);
    }
    for (i = 0; i < message->recipients && i < SCEP_RECIPIENTS_MAX; ++i) {
        sort_recipient(&sorted, sk_CMS_RecipientInfo_value(
                           CMS_get0_RecipientInfos(message->envelope), i), recipients, authorities);
    }
    if (sorted.ours != 1 || sorted.ours + sorted.authorities != message->recipients) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTEGRITY, SCEP_RULE_RECIPIENT,
                              "Ask for GetCACert again and encrypt to the RA certificate, which is "
                              "the first one.",
                              GHNO(0202) "of %d recipients of the envelope, %d are the RA of this "
                                         "issuer and %d its CAs",
                              message->recipients, sorted.ours, sorted.authorities);
    }
    if (!scep_algorithm_transport_allowed(sorted.transport)) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "message.transport",
                              "Use RSA key transport: PKCS#1 v1.5, or OAEP with SHA-1 or SHA-2.",
                              GHNO(0203) "the key transport is not accepted (%s)",
                              message->algorithms);
    }
    *recipient = sorted.recipient;
    return APR_SUCCESS;
}

static apr_status_t cleanse(void *data)
{
    gh_bytes_t *bytes = data;

    OPENSSL_cleanse((void *)bytes->data, bytes->length);
    return APR_SUCCESS;
}

apr_status_t scep_message_open(const scep_message_t *message, const scep_recipient_t *recipient,
                               gh_bytes_t *content, apr_pool_t *p)
{
    BIO *out = BIO_new(BIO_s_mem());
    apr_status_t rv = APR_EACCES;
    gh_bytes_t *copy;
    char *data;
    long length;

    memset(content, 0, sizeof(*content));
    /* With the certificate given, OpenSSL goes on with a random key if the wrapped one is bad. */
    if (out && CMS_decrypt(message->envelope, recipient->key, recipient->certificate, NULL, out,
                           CMS_BINARY) == 1) {
        length = BIO_get_mem_data(out, &data);
        if (length > 0) {
            copy = apr_palloc(p, sizeof(*copy));
            copy->data = apr_pmemdup(p, data, (apr_size_t)length);
            copy->length = (apr_size_t)length;
            apr_pool_cleanup_register(p, copy, cleanse, apr_pool_cleanup_null);
            *content = *copy;
            rv = APR_SUCCESS;
        }
    }
    ERR_clear_error();
    BIO_free(out);
    return rv;
}
