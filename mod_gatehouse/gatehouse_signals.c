/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Prefork ends a child within its signal handler, wherever that has interrupted the child's
 * request: the cleanups there would wait for ever for locks which that request holds, of the store,
 * of malloc or of a PKCS#11 module, or find their data half changed. So signals wait while work is
 * done. */

#include <signal.h>
#include <ap_mpm.h>

#include "gatehouse_private.h"

/** Of the only thread that serves requests, so nobody else changes it. */
static struct {
    int active;                     /* the MPM has no threads */
    int depth;                      /* how often work was begun and not ended */
} work;

/** What prefork's children end on at once. */
static void change_mask(int how)
{
    sigset_t ending;

    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGHUP);
    pthread_sigmask(how, &ending, NULL);
}

static apr_status_t hold(void *data)
{
    if (work.depth++ == 0) {
        change_mask(SIG_BLOCK);
    }
    return APR_SUCCESS;
}

static apr_status_t let_go(void *data)
{
    if (--work.depth == 0) {
        change_mask(SIG_UNBLOCK);
    }
    return APR_SUCCESS;
}

void gatehouse_signals_init(void)
{
    int threaded = 0;

    work.active = ap_mpm_query(AP_MPMQ_IS_THREADED, &threaded) == APR_SUCCESS
        && threaded == AP_MPMQ_NOT_SUPPORTED;
}

/* What the work leaves in the request's pool is work to be freed: its cleanups come after the
 * pre-cleanup and, as the last is run first, before the cleanup that is registered here. */
void gatehouse_begin_work_in(apr_pool_t *p)
{
    if (work.active) {
        hold(NULL);
        apr_pool_pre_cleanup_register(p, NULL, hold);
        apr_pool_cleanup_register(p, NULL, let_go, apr_pool_cleanup_null);
    }
}

void gatehouse_begin_work(request_rec *r)
{
    gatehouse_begin_work_in(r->pool);
}

void gatehouse_end_work(void)
{
    if (work.active) {
        let_go(NULL);
    }
}
