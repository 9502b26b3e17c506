/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_sealed_profile_h
#define gatehouse_escrow_sealed_profile_h

#include "escrow/vault.h"
#include "store/escrow_profiles.h"

/*
 * Whoever can write to the database could name a recipient of his own in a row of escrow_profile,
 * and have the keys of a user encrypted to it. So the vault seals a digest of all that a UEM has
 * sent with a skeleton, and of where the profile goes; state and document are not part of it.
 */

/** Fills key_id, wrapped and sealed; all else that a client sends is there. */
apr_status_t gh_escrow_profile_seal(gh_escrow_profile_record_t *record, const gh_vault_t *vault,
                                    apr_pool_t *p, gh_result_t *result);

/** @return APR_EINVAL with result if the row is not as it was stored; errors of gh_vault_open() */
apr_status_t gh_escrow_profile_verify(const gh_escrow_profile_record_t *record,
                                      const gh_vault_t *vault, apr_pool_t *p,
                                      gh_result_t *result);

/** What it is sealed for. */
const char *gh_escrow_profile_identity(const char *device, const char *user, const char *profile,
                                       apr_pool_t *p);

#endif /* gatehouse_escrow_sealed_profile_h */
