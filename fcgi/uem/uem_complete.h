/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_uem_uem_complete_h
#define fcgi_uem_uem_complete_h

#include "escrow/delivering.h"
#include "fcgi/uem/uem_config.h"

/**
 * Whether the profile may be encrypted to its recipient, as it may have been when it was sent: see
 * escrow_identity.h; and the device is known by that key still.
 * @return GH_EREFUSED with result; errors of the store
 */
apr_status_t uem_check_recipient(gh_transaction_t *transaction, const uem_worker_t *worker,
                                 const gh_escrow_profile_record_t *profile, apr_pool_t *p,
                                 gh_result_t *result);

/**
 * Makes what a device is to get: opens the credentials, completes the skeleton, encrypts it. Only
 * here there are keys in clear, in locked memory, until it returns. For any thread.
 * @param credentials gh_escrow_credential_record_t *
 * @param document    in p
 * @return GH_EREFUSED with result if credentials are missing; GH_EUNAVAILABLE if the vault does not
 *         open them; others: this profile cannot be completed
 */
apr_status_t uem_complete(gh_bytes_t *document, const uem_worker_t *worker,
                          const gh_escrow_profile_record_t *profile,
                          const apr_array_header_t *credentials, apr_pool_t *p,
                          gh_result_t *result);

#endif /* fcgi_uem_uem_complete_h */
