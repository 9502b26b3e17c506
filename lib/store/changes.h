/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_changes_h
#define gatehouse_store_changes_h

#include "status/known.h"
#include "store/store.h"

/* What followers of the status of certificates read: all of an issuer once, then what changes. */

/** Called for each certificate; valid within the call; the transaction must not be used there.
 *  @return other than APR_SUCCESS ends the walk */
typedef apr_status_t gh_known_fn(void *baton, const gh_known_certificate_t *certificate);

/**
 * Walks all certificates of an issuer, in the order of their serials, in one snapshot. Memory does
 * not grow with their number.
 * @param change set to a number up to which everything is contained: on PostgreSQL lower than the
 *               highest seen, since numbers of new certificates may become visible late
 * @return APR_SUCCESS also for an issuer that the store does not know yet
 */
apr_status_t gh_changes_walk(gh_transaction_t *transaction, const char *issuer, gh_known_fn *each,
                             void *baton, apr_int64_t *change);

/** How many certificates an issuer has, about (a hint for allocation). */
apr_status_t gh_changes_count(gh_transaction_t *transaction, const char *issuer,
                              apr_int64_t *count);

/**
 * Walks new certificates and changes of status behind a number, at most limit, in their order; the
 * same may come again in a later call. Uses indexes only: costs little when there is nothing.
 * @param after  what an earlier call or walk set change to
 * @param change set to where to go on from; all before it has been seen
 * @param more   set to 1 if limit ended the walk
 */
apr_status_t gh_changes_since(gh_transaction_t *transaction, const char *issuer, apr_int64_t after,
                              int limit, gh_known_fn *each, void *baton, apr_int64_t *change,
                              int *more);

#endif /* gatehouse_store_changes_h */
