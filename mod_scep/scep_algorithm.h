/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_algorithm_h
#define mod_scep_scep_algorithm_h

#include <apr_pools.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* Which algorithms SCEP messages may use here; whatever is not listed is refused. */

/**
 * @param signature must be RSA with PKCS#1 v1.5 and, if it names a digest, that digest
 * @param allow     SCEP_ALLOW_*
 * @return NULL if it is not allowed
 */
const EVP_MD *scep_algorithm_digest(const ASN1_OBJECT *digest, const ASN1_OBJECT *signature,
                                    unsigned allow);

/** @return NULL if it is not allowed */
const EVP_CIPHER *scep_algorithm_cipher(const ASN1_OBJECT *cipher, unsigned allow);

/** @return 1 for RSA with PKCS#1 v1.5, and for OAEP with parameters that are there and usual */
int scep_algorithm_transport_allowed(const X509_ALGOR *transport);

/** "rsaes-pkcs1-v1_5", "rsaes-oaep", or what it is. */
const char *scep_algorithm_transport_name(const X509_ALGOR *transport, apr_pool_t *p);

/** "RSA-2048", also for keys that are not accepted ("RSA-1024", "EC-256"); "-" for NULL. */
const char *scep_algorithm_key_name(const EVP_PKEY *key, apr_pool_t *p);

#endif /* mod_scep_scep_algorithm_h */
