/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/slots.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "log.h"
#include "status.h"

struct gh_slots {
    pthread_mutex_t mutex;
    pthread_cond_t given;
    int *unused;                    /* a stack */
    int unused_count;
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

apr_status_t gh_slots_create(gh_slots_t **slots, int count, int waiting, apr_pool_t *p)
{
    gh_slots_t *made = apr_pcalloc(p, sizeof(*made));
    pthread_condattr_t attributes;
    int i, rc;

    made->unused = apr_palloc(p, count * sizeof(int));
    for (i = 0; i < count; i++) {
        made->unused[i] = count - 1 - i;
    }
    made->unused_count = count;
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

apr_status_t gh_slots_take(gh_slots_t *slots, apr_time_t deadline, int *slot, gh_result_t *result)
{
    struct timespec until;
    int rc = 0;

    until.tv_sec = apr_time_sec(deadline);
    until.tv_nsec = apr_time_usec(deadline) * 1000;

    pthread_mutex_lock(&slots->mutex);
    if (slots->unused_count == 0 && slots->waiting >= slots->waiting_max) {
        rc = EAGAIN;
    }
    while (slots->unused_count == 0 && rc == 0) {
        slots->waiting++;
        rc = pthread_cond_timedwait(&slots->given, &slots->mutex, &until);
        slots->waiting--;
    }
    if (slots->unused_count > 0) {
        *slot = slots->unused[--slots->unused_count];
        rc = 0;
    }
    pthread_mutex_unlock(&slots->mutex);

    if (rc != 0) {
        return gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, NULL,
                              "Try again; if it happens often, the database is too slow for the "
                              "load or a query hangs.",
                              GHNO(0043) "all connections to the store are in use");
    }
    return APR_SUCCESS;
}

void gh_slots_give(gh_slots_t *slots, int slot)
{
    pthread_mutex_lock(&slots->mutex);
    slots->unused[slots->unused_count++] = slot;
    pthread_cond_signal(&slots->given);
    pthread_mutex_unlock(&slots->mutex);
}
