/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_ra_store_h
#define mod_scep_scep_ra_store_h

#include "mod_scep/scep_ra.h"
#include "store/housekeeping.h"

/* The generations of an RA's keys, in the store; for the RA, and for gatehousectl, which looks at
 * them. Nothing here is kept between two calls, so that each may be made by any thread. */

/** Whose keys they are. */
typedef struct {
    gh_issuer_t *issuer;
    const gh_profile_t *profile;
    const scep_services_t *services;
} scep_ra_owner_t;

/** A generation as the store has it. */
typedef struct {
    const gh_sealed_key_record_t *record;
    int withdrawn;      /* its certificate is revoked or held; 0 if it has expired */
    int usable;         /* it has not expired and is not withdrawn */
} scep_generation_t;

/**
 * All generations.
 * @param generations set to scep_generation_t elements in p, newest first; NULL with a failure
 * @param now         decides what has expired
 * @return errors of gh_store_read()
 */
apr_status_t scep_generations_list(apr_array_header_t **generations, gh_store_t *store,
                                   const char *issuer, apr_time_t now, apr_pool_t *p,
                                   gh_result_t *result);

const scep_generation_t *scep_generation_at(const apr_array_header_t *generations, int i);

/** The numbers of those that are usable, apr_int64_t elements in p, newest first. */
const apr_array_header_t *scep_generations_usable(const apr_array_header_t *generations,
                                                  apr_pool_t *p);

/** When its successor is to be made: after two thirds of its life. */
apr_time_t scep_generation_renewal(const gh_sealed_key_record_t *record);

/** The private key of a generation. @param der in p, overwritten by its cleanup
 *  @return errors of gh_unseal() */
apr_status_t scep_generation_unseal(gh_bytes_t *der, const gh_sealed_key_record_t *record,
                                    const gh_sealer_t *sealer, apr_pool_t *p,
                                    gh_result_t *result);

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

/** Makes and stores a generation, for everybody.
 *  @return GH_ECONFLICT if somebody else was faster; errors of gh_ledger_issue_own() */
apr_status_t scep_generation_issue(const scep_ra_owner_t *owner, apr_int64_t number, apr_pool_t *p,
                                   gh_result_t *result);

#endif /* mod_scep_scep_ra_store_h */
