/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/slots.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "log.h"
#include "status.h"
#include "store/store_backend.h"

/* How long to wait for a kept slot before a spare one is taken. */
#define SPARE_WAIT apr_time_from_msec(5)

struct gh_slots {
    pthread_mutex_t mutex;
    pthread_cond_t given;
    char *used;                     /* by slot */
    int count;
    int kept;
    int waiting;
    int waiting_max;
};

static apr_status_t slots_destroy(void *data)
{
    gh_slots_t *slots = data;

    pthread_cond_destroy(&slots->given);
    pthread_mutex_destroy(&slots->mutex);
    return APR_SUCCESS;
}

apr_status_t gh_slots_create(gh_slots_t **slots, int count, int kept, int waiting, apr_pool_t *p)
{
    gh_slots_t *made = apr_pcalloc(p, sizeof(*made));
    pthread_condattr_t attributes;
    int rc;

    made->used = apr_pcalloc(p, count);
    made->count = count;
    made->kept = kept < count ? kept : count;
    made->waiting_max = waiting;

    if ((rc = pthread_mutex_init(&made->mutex, NULL)) != 0) {
        return rc;
    }
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&made->given, &attributes);
    pthread_condattr_destroy(&attributes);
    if (rc != 0) {
        pthread_mutex_destroy(&made->mutex);
        return rc;
    }
    apr_pool_cleanup_register(p, made, slots_destroy, apr_pool_cleanup_null);
    *slots = made;
    return APR_SUCCESS;
}

/** The lowest free slot; count if there is none. */
static int free_slot(const gh_slots_t *slots)
{
    int slot = 0;

    while (slot < slots->count && slots->used[slot]) {
        slot++;
    }
    return slot;
}

/** Waits for a slot below a limit. @return what pthread_cond_timedwait() does, or EAGAIN */
static int wait_below(gh_slots_t *slots, int limit, apr_time_t deadline)
{
    struct timespec until;
    int rc = 0;

    until.tv_sec = apr_time_sec(deadline);
    until.tv_nsec = apr_time_usec(deadline) * 1000;

    if (free_slot(slots) >= limit && slots->waiting >= slots->waiting_max) {
        return EAGAIN;
    }
    while (free_slot(slots) >= limit && rc == 0) {
        slots->waiting++;
        rc = pthread_cond_timedwait(&slots->given, &slots->mutex, &until);
        slots->waiting--;
    }
    return rc;
}

apr_status_t gh_slots_take(gh_slots_t *slots, apr_time_t deadline, int *slot, gh_result_t *result)
{
    apr_time_t patience;

    pthread_mutex_lock(&slots->mutex);
    if (free_slot(slots) >= slots->kept && slots->kept < slots->count) {
        patience = gh_monotonic_now() + SPARE_WAIT;
        wait_below(slots, slots->kept, patience < deadline ? patience : deadline);
    }
    wait_below(slots, slots->count, deadline);
    *slot = free_slot(slots);
    if (*slot < slots->count) {
        slots->used[*slot] = 1;
    }
    pthread_mutex_unlock(&slots->mutex);

    if (*slot == slots->count) {
        return gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, NULL,
                              "Try again; if it happens often, the database is too slow for the "
                              "load or a query hangs.",
                              GHNO(0043) "all connections to the store are in use");
    }
    return APR_SUCCESS;
}

/* A spare one is of no use to all who wait: everybody has to look. */
void gh_slots_give(gh_slots_t *slots, int slot)
{
    pthread_mutex_lock(&slots->mutex);
    slots->used[slot] = 0;
    if (slots->waiting == 0) {
        /* nobody to tell */
    }
    else if (slot < slots->kept) {
        pthread_cond_signal(&slots->given);
    }
    else {
        pthread_cond_broadcast(&slots->given);
    }
    pthread_mutex_unlock(&slots->mutex);
}
