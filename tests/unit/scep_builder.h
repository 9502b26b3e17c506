/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_scep_builder_h
#define tests_unit_scep_builder_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "text.h"

/* What a SCEP client does, right and wrong; for tests. Failures of OpenSSL abort. */

/** A key from tests/fixtures/keys, by file name without ".pem". */
EVP_PKEY *scep_test_key(const char *name, apr_pool_t *p);

/** @param issuer_key NULL: self-signed; @param ca 1: basicConstraints and keyUsage of a CA */
X509 *scep_test_certificate(EVP_PKEY *key, const char *cn, EVP_PKEY *issuer_key, X509 *issuer,
                            int ca, apr_pool_t *p);

/** DER of a PKCS#10 request. @param challenge may be NULL */
gh_bytes_t scep_test_csr(EVP_PKEY *key, const char *cn, const char *challenge, const EVP_MD *digest,
                         apr_pool_t *p);

/** DER of an IssuerAndSubject. */
gh_bytes_t scep_test_issuer_and_subject(const X509_NAME *issuer, const char *cn, apr_pool_t *p);

/** How a message differs from a proper one; zero is proper. */
typedef struct {
    const char *type;               /* NULL: "19" */
    const char *transaction;        /* NULL: "transaction-1" */
    const EVP_MD *digest;           /* NULL: SHA-256 */
    const EVP_CIPHER *cipher;       /* NULL: AES-128-CBC */
    const EVP_MD *oaep;             /* NULL: PKCS#1 v1.5 */
    int nonce_length;               /* 0: 16 */
    X509 *second_recipient;
    int no_type, no_transaction, no_nonce;
    int twice;                      /* signed attribute SCEP_ATTRIBUTE_* + 1 that is repeated */
    int utf8_transaction;
    int two_signers;
    int no_signer_certificate;
    int signer_key_id;              /* SubjectKeyIdentifier instead of issuer and serial */
    int recipient_key_id;
    int password_recipient;
    int no_content;
    int plain_content;              /* no envelope around the content */
    int authenticated;              /* AuthEnvelopedData */
    EVP_PKEY *wrong_key;            /* signs instead of the certificate's key */
} scep_test_spec_t;

/** A pkiMessage. @param key, certificate the client's; @param ra whom it is encrypted to */
gh_bytes_t scep_test_message(const scep_test_spec_t *spec, gh_bytes_t content, EVP_PKEY *key,
                             X509 *certificate, X509 *ra, apr_pool_t *p);

/** What a client sees in a CertRep. */
typedef struct {
    int verified;                   /* by the certificate enclosed */
    int type, status, fail_info;    /* -1 if absent */
    const char *transaction;
    const char *fail_text;
    gh_bytes_t recipient_nonce;
    gh_bytes_t sender_nonce;
    int content_present;            /* even if it is empty */
    int has_content;
    int cipher;                     /* NID of the envelope's */
    int digest;                     /* NID */
    int signature;                  /* NID of signatureAlgorithm */
    apr_array_header_t *certificates;   /* gh_bytes_t, in the order of the message */
    X509 *signer;
} scep_test_reply_t;

/** @return 0 if it cannot be read */
int scep_test_reply(scep_test_reply_t *reply, gh_bytes_t der, EVP_PKEY *key, X509 *certificate,
                    apr_pool_t *p);

/** The nonce that scep_test_message() sends. */
extern const unsigned char scep_test_nonce[64];

/** Certificates of a certs-only message, in order, as gh_bytes_t elements. */
apr_array_header_t *scep_test_certificates(gh_bytes_t der, apr_pool_t *p);

#endif /* tests_unit_scep_builder_h */
