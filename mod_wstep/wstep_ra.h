/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_ra_h
#define mod_wstep_wstep_ra_h

#include <apr_pools.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "mod_wstep/wstep_engine.h"

/* Who signs CMC responses: the registration authority of an issuer, with a key of our own that lies
 * sealed in the store, so that all processes and nodes have the same. */

typedef struct wstep_ra wstep_ra_t;

/** The key of now. */
typedef struct {
    X509 *certificate;
    EVP_PKEY *key;
} wstep_signer_t;

wstep_ra_t *wstep_ra_create(gh_issuer_t *issuer, const gh_profile_t *profile,
                            const wstep_services_t *services, apr_pool_t *p);

/**
 * Made on first use by any process of any node; the store is asked once a minute what has become of
 * it. Thread-safe.
 * @param signer in p, which holds references
 * @return GH_EUNAVAILABLE; GH_EREFUSED if no certificate can be had
 */
apr_status_t wstep_ra_acquire(wstep_ra_t *ra, wstep_signer_t *signer, apr_pool_t *p,
                              gh_result_t *result);

#endif /* mod_wstep_wstep_ra_h */
