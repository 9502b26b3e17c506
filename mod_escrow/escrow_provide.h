/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_provide_core_h
#define gatehouse_escrow_provide_core_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "audit.h"
#include "escrow/provide.h"
#include "issuer/issuer.h"
#include "mod_escrow/escrow_keep.h"

/* Credentials that were made here, on their way into escrow: escrow/provide.h. */

/**
 * Puts what has come of an event into escrow, for its device and those that share a credential with
 * it, and ends the event. May be repeated, also by several processes at once.
 * @param outcomes gh_provide_outcome_t, all over
 * @param issuer   of the certificates; NULL: it is not configured any more
 * @param events   gh_audit_event_t *: to be written to the audit log
 * @param reason   why not all was issued; or NULL
 * @return errors of the vault and the store, with result
 */
apr_status_t escrow_provide_finish(const escrow_keep_t *keep,
                                   const gh_escrow_event_record_t *record,
                                   const apr_array_header_t *outcomes, gh_issuer_t *issuer,
                                   const escrow_upload_options_t *options, const char *node,
                                   apr_array_header_t *events, const char **reason, apr_pool_t *p,
                                   gh_result_t *result);

#endif /* gatehouse_escrow_provide_core_h */
