/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_pkcs12_h
#define gatehouse_x509_pkcs12_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"

/* PKCS#12 files that are given out (RFC 7292): AES-256-CBC with keys by PBKDF2 (HMAC-SHA256), and a
 * MAC with SHA-256. */

/**
 * @param certificate of the key, DER
 * @param chain       X509 *: what is above it
 * @param name        friendlyName; NULL: none
 * @param password    a secret, UTF-8
 * @param pkcs12      DER, in p, overwritten by its cleanup
 * @return GH_ECORRUPT if key and certificate do not belong together; APR_EGENERAL
 */
apr_status_t gh_pkcs12_make(gh_bytes_t *pkcs12, EVP_PKEY *key, gh_bytes_t certificate,
                            const apr_array_header_t *chain, const char *name,
                            const char *password, apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_x509_pkcs12_h */
