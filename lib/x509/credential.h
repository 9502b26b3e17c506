/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_credential_h
#define gatehouse_x509_credential_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"

/*
 * A credential for TLS as other systems hand it out: a PKCS#12 with a private key, its certificate,
 * and perhaps those above it and other CAs; it may hold several keys, told apart by their alias
 * (friendlyName). Or PEM with the same, as httpd has it in files. What comes out is PEM, for
 * libraries that do TLS.
 */

/** Largest file, in bytes. */
#define GH_CREDENTIAL_MAX (1024 * 1024)

typedef struct {
    const char *alias;              /* of the key, or NULL */
    gh_bytes_t certificate;         /* PEM: its certificate, then those above it */
    gh_bytes_t key;                 /* PEM, not encrypted; overwritten by p's cleanup */
    const char *trust;              /* PEM of the CA certificates in it; NULL: there is none */
    apr_time_t not_before;          /* of its certificate */
    apr_time_t not_after;
    const char *subject;            /* of its certificate, RFC 4514 */
    const char *algorithm;          /* of the key, as OpenSSL calls it: "RSA", "EC" */
} gh_credential_t;

/**
 * @param passphrase data NULL: none
 * @param alias      of the key to use; NULL: there is one only
 * @return APR_EINVAL with result, each with a number of its own: neither PKCS#12 nor PEM, a
 *         passphrase that does not open it, encryption that is not supported any more, no key,
 *         several keys and none named, none of that name, no certificate for the key; and
 *         GH_FAILURE_TIME for one that has ended or has not begun, which is there all the same
 */
apr_status_t gh_credential_parse(gh_credential_t **credential, gh_bytes_t bytes,
                                 gh_bytes_t passphrase, const char *alias, apr_pool_t *p,
                                 gh_result_t *result);

/**
 * Makes one of a key and its certificate.
 * @param above X509 *: CAs above the certificate; a root is left out
 * @return as gh_credential_parse()
 */
apr_status_t gh_credential_make(gh_credential_t **credential, EVP_PKEY *key, X509 *certificate,
                                const apr_array_header_t *above, apr_pool_t *p,
                                gh_result_t *result);

/**
 * Reads one from a file that nobody else may read.
 * @param bytes as it is there, overwritten by p's cleanup; may be NULL
 * @return besides: errors of the operating system; APR_EACCES if group or others may read it
 */
apr_status_t gh_credential_load(gh_credential_t **credential, gh_bytes_t *bytes, const char *path,
                                gh_bytes_t passphrase, const char *alias, apr_pool_t *p,
                                gh_result_t *result);

/**
 * Reads certificates of CAs that are trusted from a PEM or PKCS#12 file; others in it do no harm.
 * @param passphrase of a PKCS#12; data NULL: none
 * @return APR_EINVAL with result if there is no CA's, or the passphrase does not open it; errors of
 *         the operating system
 */
apr_status_t gh_trust_load(const char **pem, const char *path, gh_bytes_t passphrase,
                           apr_pool_t *p, gh_result_t *result);

/** How many CA certificates are in a PEM text. */
int gh_trust_count(const char *pem);

#endif /* gatehouse_x509_credential_h */
