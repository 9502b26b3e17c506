/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_gate_h
#define gatehouse_escrow_gate_h

#include <apr_pools.h>

#include "result.h"

/*
 * How many uploads a node opens at once. What one costs is said by whoever made it, up to seconds
 * of a processor, and the threads of httpd have other work.
 */

typedef struct escrow_gate escrow_gate_t;

/** Uploads that are opened at once on a node, those that wait for that with them, and for how
 *  long these do. */
#define ESCROW_OPENINGS         4
#define ESCROW_OPENINGS_QUEUE   32
#define ESCROW_OPENINGS_WAIT    apr_time_from_msec(500)

/** Bytes of memory that so many processes share. */
apr_size_t escrow_gate_size(int processes);

/** Makes it ready, before the fork. */
apr_status_t escrow_gate_prepare(void *memory, int processes);

/** Joins, in the process that will use it. @param memory NULL: it counts for itself */
escrow_gate_t *escrow_gate_join(void *memory, int processes, apr_pool_t *p);

/** Any thread. @param gate NULL: there is none. @return GH_EBUSY with result; otherwise leave */
apr_status_t escrow_gate_enter(escrow_gate_t *gate, gh_result_t *result);
void escrow_gate_leave(escrow_gate_t *gate);

#endif /* gatehouse_escrow_gate_h */
