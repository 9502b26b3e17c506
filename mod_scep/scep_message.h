/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_message_h
#define mod_scep_scep_message_h

#include <apr_pools.h>
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "mod_scep/scep_asn1.h"
#include "result.h"
#include "text.h"

/*
 * One pkiMessage of a client (RFC 8894 3.2): SignedData around EnvelopedData.
 *
 * Three steps, each only after the one before: read what it says, verify the signature over it,
 * open the envelope.
 */

typedef struct scep_message scep_message_t;

/** Largest message read, checked before anything is decoded. */
#define SCEP_MESSAGE_MAX 65536

/** Rule of the refusal of a message that is not encrypted to the RA. */
#define SCEP_RULE_RECIPIENT "message.recipient"

/** Rule of the one failure between decryption and a verified request. */
#define SCEP_RULE_OPEN "message.open"

/** Most recipients of one envelope: some clients encrypt to all certificates of GetCACert. */
#define SCEP_RECIPIENTS_MAX 8

/** Longest transactionID. */
#define SCEP_TRANSACTION_MAX 256

/** Legacy algorithms that a location may allow. */
#define SCEP_ALLOW_3DES 1
#define SCEP_ALLOW_SHA1 2

/** Members that could not be read are NULL, empty or -1. Everything is owned by the pool. */
struct scep_message {
    int type;                       /* messageType 0 to 255, or -1 */
    const char *transaction;        /* transactionID */
    gh_bytes_t sender_nonce;
    X509 *signer;                   /* the client's own certificate; proves nothing but its key */
    EVP_PKEY *signer_key;
    gh_bytes_t signer_sha256;       /* of its SubjectPublicKeyInfo */
    const EVP_MD *digest;           /* of the signature, if allowed here */
    const EVP_CIPHER *cipher;       /* of the content, if allowed here */
    const char *algorithms;         /* "sha256/aes-128-cbc/rsaes-oaep/RSA-2048" */
    const char *attributes;         /* names of the SCEP attributes that it has, for diagnosis */

    OSSL_LIB_CTX *decoding;
    CMS_ContentInfo *outer;
    CMS_SignerInfo *signer_info;
    int signer_infos;
    CMS_ContentInfo *envelope;
    int recipients;
    int other_recipients;           /* those that are not for key transport */
    const char *digest_name;
    const char *cipher_name;
    const char *transport_name;
    const char *signer_kind;        /* gh_key_kind(), NULL for a key that is not accepted */
    int enveloped;                  /* the content is EnvelopedData, of which all was understood */
    int needs_password;             /* the signer's key (EC) takes no key transport: a reply can be
                                       encrypted with the client's secret only */
    int authenticated_envelope;     /* the content is AuthEnvelopedData */
    int verified;
};

/** A key that messages may be encrypted to, with its certificate. */
typedef struct {
    X509 *certificate;
    EVP_PKEY *key;
} scep_recipient_t;

/**
 * Reads a message without believing it.
 * @param allow SCEP_ALLOW_*
 * @param decoding library context to parse it in, which outlives it (see x509/decoding.h); NULL:
 *        the default one
 * @return APR_SUCCESS if it is SignedData, whatever else may be wrong with it;
 *         APR_EINVAL (MALFORMED) if no reply to it can be made; GH_EUNAVAILABLE for lack of memory
 */
apr_status_t scep_message_read(scep_message_t **message, gh_bytes_t der, unsigned allow,
                               OSSL_LIB_CTX *decoding, apr_pool_t *p, gh_result_t *result);

/**
 * Applies the rules for what is outside the envelope, cheap ones first, and verifies the signature
 * with the key of the enclosed certificate. Issuer, dates and extensions of that
 * are not looked at.
 * @return GH_EREFUSED with failure REQUEST, ALGORITHM or INTEGRITY; GH_EUNAVAILABLE for lack of
 *         memory
 */
apr_status_t scep_message_verify(scep_message_t *message, gh_result_t *result);

/** The refusal of a message whose type is not served. @return GH_EREFUSED with failure REQUEST */
apr_status_t scep_message_refuse_type(const scep_message_t *message, gh_result_t *result);

/**
 * Checks that the envelope is one that may be opened here: by key transport only, to exactly one of
 * ours and otherwise to nobody but CAs that GetCACert gives, algorithms allowed. Tells only what
 * the message shows in clear.
 * @param recipients  scep_recipient_t elements, newest first
 * @param authorities X509 * elements: the issuer and what is above it
 * @param recipient   the one it is for
 * @return GH_EREFUSED with failure REQUEST, ALGORITHM or INTEGRITY
 */
apr_status_t scep_message_admit(const scep_message_t *message,
                                const apr_array_header_t *recipients,
                                const apr_array_header_t *authorities,
                                const scep_recipient_t **recipient, gh_result_t *result);

/**
 * Opens the envelope of an admitted message. All failures are alike, and nothing is said about
 * them: whoever can tell them apart can decrypt with our key.
 * @param content overwritten by a cleanup of p
 * @return APR_SUCCESS or APR_EACCES
 */
apr_status_t scep_message_open(const scep_message_t *message, const scep_recipient_t *recipient,
                               gh_bytes_t *content, apr_pool_t *p);

#endif /* mod_scep_scep_message_h */
