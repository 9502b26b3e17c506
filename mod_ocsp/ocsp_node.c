/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the processes of this node share: signed answers, how many are being signed, counts. */

#include <unistd.h>

#include <httpd.h>
#include <ap_mpm.h>
#include <http_log.h>
#include <apr_shm.h>
#include <apr_strings.h>

#include "limiter.h"
#include "log.h"
#include "mod_ocsp/ocsp_child.h"

APLOG_USE_MODULE(ocsp);

/** Each part begins at such an address. */
#define ALIGNMENT 4096

/** How long one waits for others to be done with signing: 0.5 ms, 1 ms, ... */
#define WAIT_FIRST 500
#define WAITS 9

/** One in so many threads may wait; the others are sent away, so that floods do not
 *  keep them all from answers that are there. */
#define WAITERS_SHARE 4

static struct {
    char *memory;                   /* NULL before it was made */
    int processes;
    apr_size_t signing, live, waiting, counts, cache;   /* where each part begins */
    apr_size_t size;
} node;

/** Of this process. */
typedef struct {
    gh_limiter_t *signing;
    gh_limiter_t *live;
    gh_limiter_t *waiting;
    ocsp_counts_t *counts;
    ocsp_signing_cap_t cap;
} cap_t;

static apr_status_t forget_node(void *data)
{
    node.memory = NULL;
    return APR_SUCCESS;
}

static apr_size_t place_part(apr_size_t *end, apr_size_t size)
{
    apr_size_t begin = (*end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    *end = begin + size;
    return begin;
}

static void plan(const ocsp_server_t *server)
{
    apr_size_t end = 0;

    if (ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &node.processes) != APR_SUCCESS
        || node.processes < 1) {
        node.processes = 1;
    }
    node.signing = place_part(&end, gh_limiter_size(node.processes));
    node.live = place_part(&end, gh_limiter_size(node.processes));
    node.waiting = place_part(&end, gh_limiter_size(node.processes));
    node.counts = place_part(&end, ocsp_counts_size(node.processes));
    node.cache = place_part(&end, ocsp_cache_size(server->cache_size ? server->cache_size
                                                                     : OCSP_CACHE_SIZE));
    node.size = end;
}

int ocsp_node_prepare(server_rec *s, apr_pool_t *pconf)
{
    apr_shm_t *shared;
    char *memory;
    apr_status_t rv;

    plan(ocsp_server(s));
    /* new memory is zero */
    rv = apr_shm_create(&shared, node.size, NULL, pconf);
    if (rv == APR_SUCCESS) {
        memory = apr_shm_baseaddr_get(shared);
        rv = gh_limiter_prepare(memory + node.signing, node.processes);
        if (rv == APR_SUCCESS) {
            rv = gh_limiter_prepare(memory + node.live, node.processes);
        }
        if (rv == APR_SUCCESS) {
            rv = gh_limiter_prepare(memory + node.waiting, node.processes);
        }
        if (rv == APR_SUCCESS) {
            rv = ocsp_cache_prepare(memory + node.cache, node.size - node.cache);
        }
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, rv, s,
                     GHNO(0751) "memory that the processes share cannot be had; see whether the "
                     "machine is short of memory, and lower OCSPCache");
        return 1;
    }
    node.memory = memory;
    apr_pool_cleanup_register(pconf, NULL, forget_node, apr_pool_cleanup_null);
    return 0;
}

/* The cap: signing for clients must leave processors to those who are answered from the cache. */

/** @param pause the next one; 0 to begin with, so that it is one patience for both limits */
static int wait_for(gh_limiter_t *limiter, apr_interval_time_t *pause)
{
    int in = gh_limiter_enter(limiter);

    *pause = *pause ? *pause : WAIT_FIRST;
    for (; !in && *pause < WAIT_FIRST << WAITS; *pause *= 2) {
        apr_sleep(*pause);
        in = gh_limiter_enter(limiter);
    }
    return in;
}

/** @param wait 0: take what is free now */
static int take(cap_t *cap, int live, int wait)
{
    apr_interval_time_t pause = wait ? 0 : WAIT_FIRST << WAITS;

    if (live && !wait_for(cap->live, &pause)) {
        return 0;
    }
    if (!wait_for(cap->signing, &pause)) {
        if (live) {
            gh_limiter_leave(cap->live);
        }
        return 0;
    }
    return 1;
}

static int enter(void *baton, int live)
{
    cap_t *cap = baton;
    int in = take(cap, live, 0);

    if (!in && gh_limiter_enter(cap->waiting)) {
        in = take(cap, live, 1);
        gh_limiter_leave(cap->waiting);
    }
    if (in) {
        ocsp_counts_signature(cap->counts);
    }
    else {
        ocsp_counts_busy(cap->counts);
    }
    return in;
}

static void leave(void *baton, int live)
{
    cap_t *cap = baton;

    gh_limiter_leave(cap->signing);
    if (live) {
        gh_limiter_leave(cap->live);
    }
}

static gh_limiter_t *join_limiter(apr_size_t part, int limit, apr_pool_t *p)
{
    gh_limiter_limits_t limits = { limit, 0, 0 };

    return gh_limiter_join(node.memory ? node.memory + part : NULL, node.processes, &limits, p);
}

/** Of each process its share, since more of them are started only when these are busy; with one
 *  thread in each, of the node. */
static gh_limiter_t *join_waiting(apr_pool_t *p)
{
    gh_limiter_limits_t limits = { 1, 0, 0 };
    int threads = 1, alone;

    if (ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads) != APR_SUCCESS || threads < 1) {
        threads = 1;
    }
    alone = threads > 1 || !node.memory;
    limits.concurrent = (alone ? threads : node.processes) / WAITERS_SHARE;
    limits.concurrent = limits.concurrent > 0 ? limits.concurrent : 1;
    return gh_limiter_join(alone ? NULL : node.memory + node.waiting, node.processes, &limits, p);
}

ocsp_counts_t *ocsp_node_join(server_rec *s, ocsp_engine_options_t *options, apr_pool_t *p)
{
    const ocsp_server_t *server = ocsp_server(s);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int signing = server->signing ? server->signing : processors > 2 ? (int)processors - 1 : 1;
    int live = server->live ? server->live : signing > 1 ? signing / 2 : 1;
    cap_t *cap = apr_pcalloc(p, sizeof(*cap));

    cap->counts = ocsp_counts_join(node.memory ? node.memory + node.counts : NULL, node.processes,
                                   p);
    cap->signing = join_limiter(node.signing, signing, p);
    cap->live = join_limiter(node.live, live, p);
    cap->waiting = join_waiting(p);
    cap->cap.baton = cap;
    cap->cap.enter = enter;
    cap->cap.leave = leave;
    options->cap = &cap->cap;
    if (!node.memory || ocsp_cache_join(&options->cache, node.memory + node.cache,
                                        node.size - node.cache, p) != APR_SUCCESS) {
        options->cache = NULL;
    }
    return cap->counts;
}
