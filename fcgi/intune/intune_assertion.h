/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_intune_intune_assertion_h
#define fcgi_intune_intune_assertion_h

#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"

/* An application proves itself to Entra ID by a signed JWT (RFC 7523 2.2). */

typedef struct {
    EVP_PKEY *key;                  /* RSA */
    X509 *certificate;              /* the one that is registered for the application */
} intune_credential_t;

/**
 * Opens a PKCS#12. Key and certificate belong to the pool.
 * @return errors of gh_credential_parse(); APR_EINVAL if the key is not RSA
 */
apr_status_t intune_credential_open(intune_credential_t *credential, gh_bytes_t pkcs12,
                                    gh_bytes_t passphrase, apr_pool_t *p, gh_result_t *result);

/**
 * Signs an assertion by PS256, good for ten minutes and one call.
 * @param audience URL of the token endpoint
 * @return APR_EGENERAL with result
 */
apr_status_t intune_assertion_make(const char **jwt, const intune_credential_t *credential,
                                   const char *audience, const char *application, apr_time_t now,
                                   apr_pool_t *p, gh_result_t *result);

/** A fresh UUID (RFC 9562 5.4). @return NULL if the random generator failed */
const char *intune_uuid(apr_pool_t *p);

#endif /* fcgi_intune_intune_assertion_h */
