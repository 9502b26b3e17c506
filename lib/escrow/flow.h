/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_flow_h
#define gatehouse_escrow_flow_h

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_tables.h>

#include "audit.h"
#include "result.h"
#include "store/store.h"

/*
 * How profiles move on: each change of state is one transaction with the job that it asks for.
 *
 * Jobs have the kind GH_ESCROW_DELIVER, the queue gh_escrow_queue(), the profile's id as subject
 * and its generation, in decimal, as payload. Who works on one whose generation is over has nothing
 * to do.
 */

#define GH_ESCROW_DELIVER   "escrow.deliver"
#define GH_ESCROW_AVAILABLE "escrow.available"  /* subject: id of the upload */

/** How long a delivery is tried, unless it is said. */
#define GH_ESCROW_LIFE      apr_time_from_sec(14 * 86400)

/** "uem:NAME" */
const char *gh_escrow_queue(const char *uem, apr_pool_t *p);

/** How long deliveries to a UEM are tried. @param lives apr_interval_time_t * by name; may be
 *  NULL */
apr_interval_time_t gh_escrow_life(apr_hash_t *lives, const char *uem);

/** Adds the job that completes and delivers a generation of a profile; one of a generation before
 *  goes. */
apr_status_t gh_escrow_add_job(gh_transaction_t *transaction, apr_hash_t *lives, const char *id,
                               const char *uem, apr_int64_t generation, apr_time_t now,
                               apr_pool_t *p);

/**
 * Moves the profiles of a pair on after its credentials have changed: those that have all they need
 * are completed, also when they were before; those that lack something and were not delivered wait.
 * @param again     1: the same credentials have come again, so that delivered ones stay as they are
 * @param patience  how long they wait then
 * @param completes const char *: ids of those that are complete now
 */
apr_status_t gh_escrow_advance(gh_transaction_t *transaction, apr_hash_t *lives,
                               const char *device, const char *user, int again,
                               apr_interval_time_t patience, apr_time_t now,
                               apr_array_header_t *completes, apr_pool_t *p);

/**
 * Cancels a profile; one that was cancelled stays so.
 * @param event  completed and stored with it @param logged 0: a server process logs it
 * @return APR_NOTFOUND with result if there is none
 */
apr_status_t gh_escrow_cancel(gh_store_t *store, const char *id, gh_audit_event_t *event,
                              int logged, apr_pool_t *p, gh_result_t *result);

/**
 * Has a profile completed and delivered anew, whatever its state, if its credentials are there.
 * @return APR_NOTFOUND with result if there is no such profile; GH_EREFUSED if they are not
 */
apr_status_t gh_escrow_again(gh_store_t *store, apr_hash_t *lives, const char *id,
                             gh_audit_event_t *event, int logged, apr_pool_t *p,
                             gh_result_t *result);

/**
 * One round of cleaning: what has expired goes, profiles that have waited for too long are over.
 * @param limit rows of each kind
 * @param more  1: there may be others, for another round
 */
apr_status_t gh_escrow_clean(gh_transaction_t *transaction, apr_time_t now, int limit, int *more,
                             apr_pool_t *p);

/** Removes profiles that have been over for long, some of them at a time. */
apr_status_t gh_escrow_forget(gh_transaction_t *transaction, apr_time_t now);

#endif /* gatehouse_escrow_flow_h */
