/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_own_keys_private_h
#define gatehouse_issuer_own_keys_private_h

#include "issuer/own_keys.h"

/* What the files of own keys share: where the CA is elsewhere, a key lies in the store without its
 * certificate until a worker has got that. */

/** What has become of the key that waits for its certificate.
 *  @return APR_NOTFOUND if none does: one may be made; GH_EPENDING with result if the CA has been
 *          asked; GH_EREFUSED with result if it has refused a moment ago; errors of
 *          gh_store_read() */
apr_status_t gh_own_request_look(const gh_own_keys_t *keys, const gh_own_services_t *services,
                                 apr_time_t now, apr_pool_t *p, gh_result_t *result);

/** Makes a key and asks the CA for its certificate. Under the lease.
 *  @return GH_EPENDING with result; errors of gh_store_write() */
apr_status_t gh_own_request_make(const gh_own_keys_t *keys, const gh_own_services_t *services,
                                 apr_int64_t generation, apr_pool_t *p, gh_result_t *result);

/** A key with leave to have its certificate, and sealed for its generation. */
typedef struct {
    EVP_PKEY *key;
    gh_bytes_t sealed;
    gh_authorisation_t *authorisation;
} gh_own_made_t;

apr_status_t gh_own_make(gh_own_made_t *made, const gh_own_keys_t *keys,
                         const gh_own_services_t *services, apr_int64_t generation, apr_pool_t *p,
                         gh_result_t *result);

#endif /* gatehouse_issuer_own_keys_private_h */
