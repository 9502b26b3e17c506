/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_delivering_h
#define gatehouse_escrow_delivering_h

#include "audit.h"
#include "escrow/flow.h"
#include "store/deliveries.h"
#include "store/escrow_credentials.h"
#include "store/escrow_profiles.h"

/*
 * What a worker stores of a profile whose credentials are there (escrow/flow.h). Each step is one
 * transaction, the last one with the end of the job, so that a process may end between any two of
 * them.
 *
 *     completing --(document, and a delivery with an id)--> queued --> delivered
 *                                                             `-----> failed
 *
 * A profile whose generation is another one by now keeps its state: there is a job for that.
 */

/**
 * Reads a profile, and the credentials of its device and user if it is to be completed.
 * @param generation of the job
 * @param credentials gh_escrow_credential_record_t *, by purpose and position
 * @return APR_NOTFOUND: nothing is to be done for that generation
 */
apr_status_t gh_delivering_read(gh_transaction_t *transaction, const char *id,
                                apr_int64_t generation, gh_escrow_profile_record_t **profile,
                                apr_array_header_t **credentials, apr_pool_t *p);

/** Stores what was made of a profile, with a delivery to its UEM. @param delivery id
 *  @return APR_NOTFOUND as above */
apr_status_t gh_delivering_completed(gh_transaction_t *transaction,
                                     const gh_escrow_profile_record_t *profile,
                                     const char *delivery, gh_bytes_t completed, apr_time_t now);

/** How a try has ended. */
typedef struct {
    const char *job;
    const char *holder;
    int attempts;
    int status;                     /* of HTTP; 0: no answer */
    const gh_result_t *why;         /* NULL: it is well */
    apr_time_t due;                 /* of another try */
    gh_audit_event_t *event;        /* of what is final; or NULL */
} gh_delivering_end_t;

/* These return APR_NOTFOUND if another process has the job by now: then nothing is stored. */

/** The UEM has taken it. What was completed is removed, and credentials that are kept only until
 *  then. */
apr_status_t gh_delivering_delivered(gh_transaction_t *transaction,
                                     const gh_escrow_profile_record_t *profile,
                                     const gh_delivering_end_t *end, apr_pool_t *p);

/** Nothing more is tried. */
apr_status_t gh_delivering_failed(gh_transaction_t *transaction,
                                  const gh_escrow_profile_record_t *profile,
                                  const gh_delivering_end_t *end, apr_pool_t *p);

/** It is tried again. */
apr_status_t gh_delivering_again(gh_transaction_t *transaction,
                                 const gh_escrow_profile_record_t *profile,
                                 const gh_delivering_end_t *end);

/** Its credentials are not there any more: it waits, unless they have come meanwhile.
 *  @param patience how long */
apr_status_t gh_delivering_wait(gh_transaction_t *transaction,
                                const gh_escrow_profile_record_t *profile,
                                apr_interval_time_t patience, const gh_delivering_end_t *end,
                                apr_pool_t *p);

#endif /* gatehouse_escrow_delivering_h */
