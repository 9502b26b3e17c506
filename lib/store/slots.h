/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_slots_h
#define gatehouse_store_slots_h

#include <apr_pools.h>
#include <apr_time.h>

#include "result.h"

/* A bounded number of connections shared by threads: who uses which. The one with the lowest number
 * is taken first, so that few are open when there is little to do. */

typedef struct gh_slots gh_slots_t;

/**
 * @param kept    slots from this number on are spare: they are taken only by who has waited some
 *                milliseconds for one below
 * @param waiting most threads that may wait
 */
apr_status_t gh_slots_create(gh_slots_t **slots, int count, int kept, int waiting,
                             apr_pool_t *p);

/**
 * @param deadline by gh_monotonic_now()
 * @param slot     set to a number from 0
 * @return GH_EBUSY if none became free in time or too many wait already
 */
apr_status_t gh_slots_take(gh_slots_t *slots, apr_time_t deadline, int *slot,
                           gh_result_t *result);

void gh_slots_give(gh_slots_t *slots, int slot);

#endif /* gatehouse_store_slots_h */
