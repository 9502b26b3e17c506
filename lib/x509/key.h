/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_key_h
#define gatehouse_x509_key_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"

/* Keys and certificates from files and tokens. OpenSSL objects given out belong to the pool. */

/** @return 1 if the key can only be opened by the process that uses it (a "pkcs11:" URI) */
int gh_key_is_token(const char *source);

/**
 * Opens a private key: the path of a PEM file (encrypted or not), the path of a PKCS#12 file, or a
 * "pkcs11:" URI (RFC 7512). A key file that group or others may access is refused, and so is a URI
 * with pin-value; a PIN comes from passphrase or the URI's pin-source. Tokens are opened by one
 * thread of a process at a time.
 * @param passphrase gh_secret_load() form ("file:..." or "exec:..."), or NULL
 * @return APR_SUCCESS; GH_EUNAVAILABLE if a token does not answer; GH_EREFUSED if a token refuses
 *         the PIN, which more attempts may lock; APR_EACCES, APR_EINVAL or the operating system's
 *         error, with result naming the file and what to do
 */
apr_status_t gh_key_open(EVP_PKEY **key, const char *source, const char *passphrase,
                         apr_pool_t *p, gh_result_t *result);

/** Opens the certificate of a DER file, or the first one of a PEM or PKCS#12 file. Errors as
 *  gh_key_open(). */
apr_status_t gh_certificate_open(X509 **certificate, const char *path, const char *passphrase,
                                 apr_pool_t *p, gh_result_t *result);

/** All certificates of a PEM file, in its order, as X509 * elements. */
apr_status_t gh_certificates_open(apr_array_header_t **certificates, const char *path,
                                  apr_pool_t *p, gh_result_t *result);

/** Makes a key: "RSA-2048", "RSA-3072", "RSA-4096", "P-256", "P-384", "P-521".
 *  @return APR_EINVAL for another name */
apr_status_t gh_key_generate(EVP_PKEY **key, const char *kind, apr_pool_t *p,
                             gh_result_t *result);

/** Name of the kind of a key as gh_key_generate() takes it, or NULL for every other key. RSA needs
 *  exactly 2048, 3072 or 4096 bits and a public exponent that is odd and above 65536. */
const char *gh_key_kind(const EVP_PKEY *key);

/** The digest that is used with a key for signing certificates: RSA-4096 and P-521 with SHA-512,
 *  P-384 with SHA-384, others with SHA-256. */
const EVP_MD *gh_key_digest(const EVP_PKEY *key);

/** @return 1 if the private key belongs to the public key of the certificate */
int gh_key_matches(EVP_PKEY *key, X509 *certificate);

/** Signs something and verifies it. @return APR_SUCCESS, GH_EUNAVAILABLE with result set */
apr_status_t gh_key_try(EVP_PKEY *key, gh_result_t *result);

/** SHA-256 of the DER SubjectPublicKeyInfo, in p. */
gh_bytes_t gh_key_sha256(EVP_PKEY *key, apr_pool_t *p);

/** DER of PKCS#8 (unencrypted), in p, overwritten by its cleanup; for sealing. */
apr_status_t gh_key_encode(gh_bytes_t *der, EVP_PKEY *key, apr_pool_t *p, gh_result_t *result);
apr_status_t gh_key_decode(EVP_PKEY **key, gh_bytes_t der, apr_pool_t *p, gh_result_t *result);

/** Writes a key as PEM, mode 0600, never over an existing file.
 *  @param passphrase NULL: unencrypted */
apr_status_t gh_key_write(EVP_PKEY *key, const char *path, const gh_bytes_t *passphrase,
                          apr_pool_t *ptemp, gh_result_t *result);

/* Owners for OpenSSL objects: freed by a cleanup of the pool. NULL is allowed and returned. */
EVP_PKEY *gh_own_key(apr_pool_t *p, EVP_PKEY *key);
X509 *gh_own_certificate(apr_pool_t *p, X509 *certificate);

#endif /* gatehouse_x509_key_h */
