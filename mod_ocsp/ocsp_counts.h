/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_counts_h
#define mod_ocsp_ocsp_counts_h

#include <apr_pools.h>

#include "mod_ocsp/ocsp_engine.h"

/*
 * What the processes of a node count, for metrics: each in a place of its own in shared memory, so
 * that counting costs next to nothing. Places are never emptied: a process that takes the place of
 * one that has ended goes on from there, so that sums only grow.
 */

typedef struct ocsp_counts ocsp_counts_t;

/** What became of a request; the order is that of ocsp_counts_name(). */
typedef enum {
    OCSP_COUNT_GOOD,
    OCSP_COUNT_REVOKED,
    OCSP_COUNT_UNKNOWN,
    OCSP_COUNT_MALFORMED,
    OCSP_COUNT_INTERNAL_ERROR,
    OCSP_COUNT_TRY_LATER,
    OCSP_COUNT_SIG_REQUIRED,
    OCSP_COUNT_UNAUTHORIZED,
    OCSP_COUNT_REFUSED,             /* by HTTP: method, type, size, path */
    OCSP_COUNT_STATUSES
} ocsp_count_status_t;

#define OCSP_COUNT_ORIGINS 4        /* of ocsp_answer_t */

/** Sums. Plain memory. */
typedef struct {
    apr_uint64_t requests[OCSP_COUNT_STATUSES][OCSP_COUNT_ORIGINS];
    apr_uint64_t signatures;        /* attempts to sign */
    apr_uint64_t busy;              /* refused since too many were signed already */
} ocsp_sums_t;

/** Bytes of shared memory for so many processes; it has to be zero. */
apr_size_t ocsp_counts_size(int processes);

/** Joins, in the process that counts. Its place is given back with the pool.
 *  @param memory NULL: this process counts for itself */
ocsp_counts_t *ocsp_counts_join(void *memory, int processes, apr_pool_t *p);

/* Any thread. */
void ocsp_counts_answer(ocsp_counts_t *counts, const ocsp_answer_t *answer);
void ocsp_counts_refused(ocsp_counts_t *counts);
void ocsp_counts_signature(ocsp_counts_t *counts);
void ocsp_counts_busy(ocsp_counts_t *counts);

/** Of all processes. */
void ocsp_counts_sum(const ocsp_counts_t *counts, ocsp_sums_t *sums);

/** "good", "revoked", ...; of an origin "cache", "second-level", "signed", "none". */
const char *ocsp_counts_name(int status);
const char *ocsp_counts_origin(int origin);

#endif /* mod_ocsp_ocsp_counts_h */
