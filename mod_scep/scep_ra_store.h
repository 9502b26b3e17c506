/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_ra_store_h
#define mod_scep_scep_ra_store_h

#include "issuer/own_keys.h"
#include "mod_scep/scep_ra.h"

/* From the generations of an RA's keys in the store to what the engine uses. Nothing here is kept
 * between two calls, so that each may be made by any thread. */

/** Names the keys in the store. */
#define SCEP_RA_PURPOSE "scep-ra"

/** Whose keys they are. */
typedef struct {
    gh_issuer_t *issuer;
    const gh_profile_t *profile;
    const scep_services_t *services;
} scep_ra_owner_t;

/** As gh_own_keys_provide(); waits a moment for another process that makes the first one. */
apr_status_t scep_generations_provide(apr_array_header_t **generations,
                                      const scep_ra_owner_t *owner, gh_own_attempt_t *attempt,
                                      apr_pool_t *p, gh_result_t *result);

/**
 * Opens what is usable and can be opened.
 * @param keys       in p, without their set
 * @param generations at least one usable
 * @return a failure also if the newest of the usable ones cannot be opened, since other processes
 *         announce that one; errors of gh_unseal(); GH_ECORRUPT; GH_EUNAVAILABLE if all have
 *         expired meanwhile
 */
apr_status_t scep_generations_take(scep_ra_keys_t **keys, const scep_ra_owner_t *owner,
                                   const apr_array_header_t *generations, apr_pool_t *p,
                                   gh_result_t *result);

#endif /* mod_scep_scep_ra_store_h */
