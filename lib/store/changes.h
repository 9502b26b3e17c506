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
 * @param change set to the highest number that is visible, of certificates and of changes: on
 *               PostgreSQL not all below it need be contained, see gh_changes_place_t
 * @return APR_SUCCESS also for an issuer that the store does not know yet
 */
apr_status_t gh_changes_walk(gh_transaction_t *transaction, const char *issuer, gh_known_fn *each,
                             void *baton, apr_int64_t *change);

/** How many certificates there are of all issuers, about and not too few (a hint for allocation).
 *  Cheap. */
apr_status_t gh_changes_count(gh_transaction_t *transaction, apr_int64_t *count);

/**
 * How far somebody has read. Changes of status take turns: they become visible in the order of
 * their numbers. New certificates do on SQLite; on PostgreSQL a number may become visible later
 * than a higher one, also than that of a change of status, by the time that a transaction may take.
 */
typedef struct {
    apr_int64_t status;             /* number of the last change of status */
    apr_int64_t issued;             /* up to which new certificates were looked for */
} gh_changes_place_t;

/**
 * Walks changes of status and new certificates behind a place, at most limit of each. Uses indexes
 * only: costs two look-ups when there is nothing, whatever happens to other issuers.
 * @param reached set to where to go on from; not before after
 * @param more    set to 1 if limit ended the walk
 */
apr_status_t gh_changes_since(gh_transaction_t *transaction, const char *issuer,
                              const gh_changes_place_t *after, int limit, gh_known_fn *each,
                              void *baton, gh_changes_place_t *reached, int *more);

/** How many numbers PostgreSQL may give to others while a transaction lasts, at most. */
#define GH_CHANGES_LATE 65536

#endif /* gatehouse_store_changes_h */
