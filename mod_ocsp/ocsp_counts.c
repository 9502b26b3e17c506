/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_ocsp/ocsp_counts.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    _Alignas(64) pid_t pid;         /* 0: free */
    ocsp_sums_t sums;
} place_t;

struct ocsp_counts {
    place_t *places;
    int count;
    place_t *own;
    place_t alone;                  /* where no place is free */
};

apr_size_t ocsp_counts_size(int processes)
{
    return (apr_size_t)processes * sizeof(place_t);
}

static int take(place_t *place, pid_t before)
{
    return __atomic_compare_exchange_n(&place->pid, &before, getpid(), 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static int has_ended(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

/** A free place, or that of a process that ended without a word. */
static place_t *take_place(const ocsp_counts_t *counts)
{
    int i;

    for (i = 0; i < counts->count; ++i) {
        place_t *place = &counts->places[i];
        pid_t pid = __atomic_load_n(&place->pid, __ATOMIC_ACQUIRE);

        if ((!pid || has_ended(pid)) && take(place, pid)) {
            return place;
        }
    }
    return NULL;
}

static apr_status_t give_place_back(void *data)
{
    ocsp_counts_t *counts = data;

    __atomic_store_n(&counts->own->pid, 0, __ATOMIC_RELEASE);
    return APR_SUCCESS;
}

ocsp_counts_t *ocsp_counts_join(void *memory, int processes, apr_pool_t *p)
{
    /* APR aligns to 8 bytes only */
    char *room = apr_pcalloc(p, sizeof(ocsp_counts_t) + 64);
    ocsp_counts_t *counts = (ocsp_counts_t *)(room + (64 - (apr_uintptr_t)room % 64) % 64);

    counts->places = memory;
    counts->count = memory ? processes : 0;
    counts->own = take_place(counts);
    if (!counts->own) {
        counts->own = &counts->alone;
    }
    apr_pool_cleanup_register(p, counts, give_place_back, apr_pool_cleanup_null);
    return counts;
}

static void add(apr_uint64_t *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static int status_of(const ocsp_answer_t *answer)
{
    switch (answer->ocsp) {
    case OCSP_SUCCESSFUL:
        return answer->status == V_OCSP_CERTSTATUS_GOOD ? OCSP_COUNT_GOOD
            : answer->status == V_OCSP_CERTSTATUS_REVOKED ? OCSP_COUNT_REVOKED
                                                          : OCSP_COUNT_UNKNOWN;
    case OCSP_MALFORMED_REQUEST:
        return OCSP_COUNT_MALFORMED;
    case OCSP_TRY_LATER:
        return OCSP_COUNT_TRY_LATER;
    case OCSP_SIG_REQUIRED:
        return OCSP_COUNT_SIG_REQUIRED;
    case OCSP_UNAUTHORIZED:
        return OCSP_COUNT_UNAUTHORIZED;
    default:
        return OCSP_COUNT_INTERNAL_ERROR;
    }
}

void ocsp_counts_answer(ocsp_counts_t *counts, const ocsp_answer_t *answer)
{
    add(&counts->own->sums.requests[status_of(answer)][answer->origin]);
}

void ocsp_counts_refused(ocsp_counts_t *counts)
{
    add(&counts->own->sums.requests[OCSP_COUNT_REFUSED][OCSP_FROM_NOTHING]);
}

void ocsp_counts_signature(ocsp_counts_t *counts)
{
    add(&counts->own->sums.signatures);
}

void ocsp_counts_busy(ocsp_counts_t *counts)
{
    add(&counts->own->sums.busy);
}

static void add_all(ocsp_sums_t *sums, const place_t *place)
{
    int i, k;

    for (i = 0; i < OCSP_COUNT_STATUSES; ++i) {
        for (k = 0; k < OCSP_COUNT_ORIGINS; ++k) {
            sums->requests[i][k] += __atomic_load_n(&place->sums.requests[i][k],
                                                    __ATOMIC_RELAXED);
        }
    }
    sums->signatures += __atomic_load_n(&place->sums.signatures, __ATOMIC_RELAXED);
    sums->busy += __atomic_load_n(&place->sums.busy, __ATOMIC_RELAXED);
}

void ocsp_counts_sum(const ocsp_counts_t *counts, ocsp_sums_t *sums)
{
    int i;

    memset(sums, 0, sizeof(*sums));
    add_all(sums, &counts->alone);
    for (i = 0; i < counts->count; ++i) {
        add_all(sums, &counts->places[i]);
    }
}

const char *ocsp_counts_name(int status)
{
    static const char *const names[OCSP_COUNT_STATUSES] = {
        "good", "revoked", "unknown", "malformed", "internal-error", "try-later", "sig-required",
        "unauthorized", "refused"
    };

    return names[status];
}

const char *ocsp_counts_origin(int origin)
{
    static const char *const names[OCSP_COUNT_ORIGINS] = {
        "cache", "second-level", "signed", "none"
    };

    return names[origin];
}
