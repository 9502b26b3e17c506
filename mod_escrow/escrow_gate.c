/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_gate.h"

#include <apr_time.h>

#include "limiter.h"
#include "log.h"
#include "status.h"

/** How often who waits looks. */
#define PAUSE apr_time_from_msec(5)

struct escrow_gate {
    gh_limiter_t *queue;
    gh_limiter_t *opening;
};

apr_size_t escrow_gate_size(int processes)
{
    return 2 * gh_limiter_size(processes);
}

static void *second(void *memory, int processes)
{
    return memory ? (char *)memory + gh_limiter_size(processes) : NULL;
}

apr_status_t escrow_gate_prepare(void *memory, int processes)
{
    apr_status_t rv = gh_limiter_prepare(memory, processes);

    return rv == APR_SUCCESS ? gh_limiter_prepare(second(memory, processes), processes) : rv;
}

escrow_gate_t *escrow_gate_join(void *memory, int processes, apr_pool_t *p)
{
    const gh_limiter_limits_t queue = { .concurrent = ESCROW_OPENINGS_QUEUE };
    const gh_limiter_limits_t opening = { .concurrent = ESCROW_OPENINGS };
    escrow_gate_t *gate = apr_pcalloc(p, sizeof(*gate));

    gate->queue = gh_limiter_join(memory, processes, &queue, p);
    gate->opening = gh_limiter_join(second(memory, processes), processes, &opening, p);
    return gate;
}

static int wait_for(gh_limiter_t *limiter)
{
    apr_time_t begin = apr_time_now(), passed = 0;

    while (!gh_limiter_enter(limiter)) {
        passed = apr_time_now() - begin;
        if (passed < 0 || passed >= ESCROW_OPENINGS_WAIT) {
            return 0;
        }
        apr_sleep(PAUSE);
    }
    return 1;
}

apr_status_t escrow_gate_enter(escrow_gate_t *gate, gh_result_t *result)
{
    int queued;

    if (!gate) {
        return APR_SUCCESS;
    }
    queued = gh_limiter_enter(gate->queue);
    if (queued && wait_for(gate->opening)) {
        return APR_SUCCESS;
    }
    if (queued) {
        gh_limiter_leave(gate->queue);
    }
    return gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, "escrow.upload",
                          "Send it again later.",
                          GHNO(1449) "this node opens as many uploads at once as it does");
}

void escrow_gate_leave(escrow_gate_t *gate)
{
    if (gate) {
        gh_limiter_leave(gate->opening);
        gh_limiter_leave(gate->queue);
    }
}
