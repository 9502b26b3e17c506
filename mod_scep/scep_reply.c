/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_reply.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "log.h"
#include "mod_scep/scep_asn1.h"
#include "status.h"

#define NONCE_LENGTH 16

static BIO *bytes_bio(gh_bytes_t bytes)
{
    return BIO_new_mem_buf(bytes.data ? (const void *)bytes.data : "", (int)bytes.length);
}

/**
 * Encodes, if nothing has failed before either. OpenSSL 3.0 goes on when it has no memory to sort
 * the members of a SET: it leaves an error behind, and in the encoding whatever was in its buffer.
 */
static apr_status_t encode(gh_bytes_t *der, CMS_ContentInfo *cms, apr_pool_t *p)
{
    unsigned char *encoded = NULL;
    int length = i2d_CMS_ContentInfo(cms, &encoded);
    apr_status_t rv = APR_EGENERAL;

    if (length > 0 && ERR_peek_error() == 0) {
        der->data = apr_pmemdup(p, encoded, (apr_size_t)length);
        der->length = (apr_size_t)length;
        rv = APR_SUCCESS;
    }
    OPENSSL_free(encoded);
    return rv;
}

/** An envelope for who knows the challenge (RFC 8894 3.2.2, RFC 3211). */
static CMS_ContentInfo *encrypt_by_password(BIO *in, const EVP_CIPHER *cipher,
                                            const char *password)
{
    CMS_ContentInfo *cms = CMS_EnvelopedData_create(cipher);
    unsigned char *copy = (unsigned char *)OPENSSL_strdup(password);
    apr_size_t length = strlen(password);

    if (!cms || !copy || CMS_set_detached(cms, 0) != 1
        || !CMS_add0_recipient_password(cms, -1, NID_id_alg_PWRI_KEK, -1, copy,
                                        (ossl_ssize_t)length, NULL)) {
        OPENSSL_clear_free(copy, length);
        CMS_ContentInfo_free(cms);
        return NULL;
    }
    if (CMS_final(cms, in, NULL, CMS_BINARY) != 1) {
        CMS_ContentInfo_free(cms);
        return NULL;
    }
    return cms;
}

static CMS_ContentInfo *encrypt_to_signer(BIO *in, const scep_message_t *message)
{
    STACK_OF(X509) *recipients = sk_X509_new_null();
    CMS_ContentInfo *cms = NULL;

    if (recipients && sk_X509_push(recipients, message->signer)) {
        cms = CMS_encrypt_ex(recipients, in, message->cipher, CMS_BINARY, message->decoding,
                             NULL);
    }
    sk_X509_free(recipients);
    return cms;
}

/** The certificates, encrypted to the client. */
static apr_status_t make_envelope(gh_bytes_t *der, const scep_reply_t *reply,
                                  const scep_message_t *message, apr_pool_t *p)
{
    CMS_ContentInfo *cms = NULL;
    BIO *in;
    gh_bytes_t certificates;
    apr_status_t rv = reply->crl.length
        ? scep_crl_only(&certificates, reply->crl, p)
        : scep_certs_only(&certificates, reply->certificates, p);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (message->needs_password && !reply->password) {
        return APR_EINVAL;
    }
    in = bytes_bio(certificates);
    if (in) {
        cms = message->needs_password
            ? encrypt_by_password(in, message->cipher, reply->password)
            : encrypt_to_signer(in, message);
    }
    rv = cms ? encode(der, cms, p) : APR_EGENERAL;
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return rv;
}

static int add_attribute(CMS_SignerInfo *si, scep_attribute_t attribute, int type,
                         const void *data, apr_size_t length)
{
    return CMS_signed_add1_attr_by_txt(si, scep_attribute_oid(attribute), type, data,
                                       (int)length) == 1;
}

static int add_number(CMS_SignerInfo *si, scep_attribute_t attribute, int number)
{
    char text[12];

    apr_snprintf(text, sizeof(text), "%d", number);
    return add_attribute(si, attribute, V_ASN1_PRINTABLESTRING, text, strlen(text));
}

static int add_attributes(CMS_SignerInfo *si, const scep_reply_t *reply,
                          const scep_message_t *message)
{
    unsigned char nonce[NONCE_LENGTH];

    if (RAND_bytes(nonce, sizeof(nonce)) != 1
        || !add_number(si, SCEP_ATTRIBUTE_MESSAGE_TYPE, SCEP_CERT_REP)
        || !add_number(si, SCEP_ATTRIBUTE_PKI_STATUS, reply->status)
        || !add_attribute(si, SCEP_ATTRIBUTE_SENDER_NONCE, V_ASN1_OCTET_STRING, nonce,
                          sizeof(nonce))) {
        return 0;
    }
    if (message->transaction
        && !add_attribute(si, SCEP_ATTRIBUTE_TRANSACTION_ID, V_ASN1_PRINTABLESTRING,
                          message->transaction, strlen(message->transaction))) {
        return 0;
    }
    if (message->sender_nonce.length
        && !add_attribute(si, SCEP_ATTRIBUTE_RECIPIENT_NONCE, V_ASN1_OCTET_STRING,
                          message->sender_nonce.data, message->sender_nonce.length)) {
        return 0;
    }
    if (reply->status != SCEP_FAILURE) {
        return 1;
    }
    return add_number(si, SCEP_ATTRIBUTE_FAIL_INFO, reply->fail_info)
           && (!reply->fail_text
               || add_attribute(si, SCEP_ATTRIBUTE_FAIL_INFO_TEXT, V_ASN1_UTF8STRING,
                                reply->fail_text, strlen(reply->fail_text)));
}

/**
 * Signs. signatureAlgorithm is rsaEncryption, as OpenSSL has it and strongSwan wants it. Where
 * there is no envelope, the content is there and empty: certmonger refuses a message whose content
 * is absent as one whose content is elsewhere.
 */
static apr_status_t sign(gh_bytes_t *der, const scep_reply_t *reply, gh_bytes_t content,
                         const scep_message_t *message, const scep_recipient_t *ra, apr_pool_t *p,
                         gh_result_t *result)
{
    unsigned flags = CMS_BINARY | CMS_NOSMIMECAP;
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | flags);
    BIO *in = bytes_bio(content);
    CMS_SignerInfo *si;
    apr_status_t rv = APR_EGENERAL;

    if (!cms || !in) {
        goto cleanup;
    }
    si = CMS_add1_signer(cms, ra->certificate, ra->key,
                         message->digest ? message->digest : EVP_sha256(), CMS_PARTIAL | flags);
    if (!si || !add_attributes(si, reply, message)) {
        goto cleanup;
    }
    /* verified for the reasons that sign_certificate() in ca.c has */
    if (CMS_final(cms, in, NULL, flags) != 1 || CMS_SignerInfo_verify(si) != 1) {
        rv = gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.sign",
                               "Look at the errors before this one.",
                               GHNO(0204) "the RA's key does not sign");
        goto cleanup;
    }
    rv = encode(der, cms, p);

cleanup:
    BIO_free(in);
    CMS_ContentInfo_free(cms);
    return rv;
}

apr_status_t scep_reply_sign(gh_bytes_t *der, gh_bytes_t content, const scep_recipient_t *ra,
                             apr_pool_t *p)
{
    unsigned flags = CMS_BINARY | CMS_NOSMIMECAP;
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL | flags);
    BIO *in = bytes_bio(content);
    CMS_SignerInfo *si = NULL;
    apr_status_t rv = APR_EGENERAL;

    memset(der, 0, sizeof(*der));
    ERR_clear_error();
    if (cms && in) {
        si = CMS_add1_signer(cms, ra->certificate, ra->key, EVP_sha256(), flags);
    }
    if (si && CMS_final(cms, in, NULL, flags) == 1 && CMS_SignerInfo_verify(si) == 1) {
        rv = encode(der, cms, p);
    }
    BIO_free(in);
    CMS_ContentInfo_free(cms);
    return rv;
}

apr_status_t scep_reply_make(gh_bytes_t *der, const scep_reply_t *reply,
                             const scep_message_t *message, const scep_recipient_t *ra,
                             apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t envelope = { NULL, 0 };
    apr_status_t rv;

    memset(der, 0, sizeof(*der));
    ERR_clear_error();
    if (reply->status == SCEP_SUCCESS) {
        rv = make_envelope(&envelope, reply, message, p);
        if (rv != APR_SUCCESS) {
            return gh_result_openssl(result, GH_EREFUSED, GH_FAILURE_ALGORITHM, "reply.encrypt",
                                     "Use an RSA key of 2048, 3072 or 4096 bits.",
                                     GHNO(0205) "the certificate cannot be encrypted to the "
                                     "signer's key");
        }
    }
    rv = sign(der, reply, envelope, message, ra, p, result);
    if (rv == APR_EGENERAL) {
        rv = gh_result_openssl(result, rv, GH_FAILURE_INTERNAL, NULL,
                               "Report this with the log lines around it.",
                               GHNO(0206) "the reply cannot be made");
    }
    return rv;
}
