/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_remote_h
#define gatehouse_issuer_remote_h

#include "store/certificates.h"
#include "store/store.h"

/*
 * What goes to a CA elsewhere comes from here as jobs, committed with the change that they tell of.
 * Whether an issuer is such a one is told by its row, so that whoever has the store can change the
 * status of its certificates.
 */

/** Kinds of the jobs. Queue: the issuer; subject: the serial number in hexadecimal; payload: the
 *  CRLReason in decimal, or empty. Jobs for one certificate are done in their order. */
#define GH_REMOTE_REVOKE    "revoke"
#define GH_REMOTE_HOLD      "hold"
#define GH_REMOTE_RELEASE   "release"

/**
 * gh_certificate_set_status() for those who decide, rather than take over what a CA has decided: if
 * that is elsewhere, it is told by a job.
 */
apr_status_t gh_remote_set_status(gh_transaction_t *transaction, const char *issuer,
                                  gh_bytes_t serial, gh_status_t status, int reason,
                                  apr_time_t invalid_from, apr_time_t now, int *changed,
                                  apr_pool_t *p);

/** When a hold was last ended here. @param when 0: it never was */
apr_status_t gh_remote_released(gh_transaction_t *transaction, const char *issuer,
                                gh_bytes_t serial, apr_time_t *when, apr_pool_t *p);

/** Forgets that of certificates that have ended. */
apr_status_t gh_remote_purge(gh_transaction_t *transaction, apr_time_t now, apr_pool_t *p);

#endif /* gatehouse_issuer_remote_h */
