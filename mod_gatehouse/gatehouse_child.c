/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The store, before the fork and after it, and what each child builds on it. */

#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <httpd.h>
#include <ap_mpm.h>
#include <http_core.h>
#include <http_log.h>
#include <apr_atomic.h>
#include <unixd.h>

#include "gatehouse_child.h"
#include "gatehouse_worker.h"
#include "log.h"
#include "pool.h"
#include "status.h"

APLOG_USE_MODULE(gatehouse);

/** Connections that read SQLite. From the maximum on, the store's own number is used. */
#define CONNECTIONS_MIN 2
#define CONNECTIONS_MAX 8

static gatehouse_child_t *this_child;

const gatehouse_service_t *gatehouse_service(void)
{
    return this_child && apr_atomic_read32(&this_child->open) ? &this_child->service : NULL;
}

/* A database that cannot be reached is no reason for a node not to come up, nor is any failure one
 * to stop a server that runs: the children go on trying. */
static int may_wait(const gatehouse_settings_t *settings, apr_status_t status)
{
    int generation = 0;

    ap_mpm_query(AP_MPMQ_GENERATION, &generation);
    return generation > 0
        || (status == GH_EUNAVAILABLE && !strncmp(settings->store, "pgsql:", 6));
}

int gatehouse_prepare_store(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *ptemp)
{
    int root = geteuid() == 0;
    gh_store_options_t options = { .log = gatehouse_server_log(s, ptemp) };
    gh_result_t result;
    apr_status_t rv;
    int waits;

    gh_result_clear(&result);
    rv = gh_store_prepare(settings->store, root ? ap_unixd_config.user_id : (apr_uid_t)-1,
                          root ? ap_unixd_config.group_id : (apr_gid_t)-1, &options, ptemp,
                          &result);
    settings->store_prepared = rv == APR_SUCCESS;
    if (rv == APR_SUCCESS) {
        return OK;
    }
    waits = may_wait(settings, rv);
    if (!waits || !gatehouse_first_pass()) {
        gatehouse_log_problem(s, settings->store_place, "GatehouseStore",
                              gatehouse_explain(&result, rv, ptemp));
    }
    return waits ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

apr_status_t gatehouse_child_prepare(gatehouse_child_t *child, apr_pool_t *ptemp,
                                     gh_result_t *result)
{
    gh_store_options_t options = { .log = child->service.log };
    apr_status_t rv;

    if (child->prepared) {
        return APR_SUCCESS;
    }
    rv = gh_store_prepare(child->settings->store, (apr_uid_t)-1, (apr_gid_t)-1, &options, ptemp,
                          result);
    child->prepared = rv == APR_SUCCESS;
    return rv;
}

/* Reads of SQLite are work for a processor, each connection has caches of its own: more of them
 * than processors cost memory and gain nothing. A PostgreSQL server is waited for.
 * @return 0: default */
static int connections(const gatehouse_settings_t *settings)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (strncmp(settings->store, "sqlite3:", 8) || processors >= CONNECTIONS_MAX) {
        return 0;
    }
    return processors < CONNECTIONS_MIN ? CONNECTIONS_MIN : (int)processors;
}

apr_status_t gatehouse_child_open(gatehouse_child_t *child, gh_result_t *result)
{
    gatehouse_service_t *service = &child->service;
    gh_store_options_t options = {
        .log = service->log, .connections = connections(child->settings)
    };
    apr_pool_t *p;
    apr_status_t rv;

    if (child->open) {
        return APR_SUCCESS;
    }
    apr_pool_create(&p, child->pool);
    rv = gh_store_open(&service->store, child->settings->store, &options, p, result);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    service->ledger = gh_ledger_create(service->store, service->issuers, service->node,
                                       service->log, child->pool);
    service->publisher = gh_publisher_create(service->store, service->issuers, service->node,
                                             service->log, child->pool);
    apr_atomic_set32(&child->open, 1);
    return APR_SUCCESS;
}

/* Threads that are started here must not get signals that are meant for the process: prefork cleans
 * up in its signal handler, which must not run on a thread that this waits for. */
static void block_signals(sigset_t *before)
{
    static const int synchronous[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
    sigset_t all;
    apr_size_t i;

    sigfillset(&all);
    for (i = 0; i < sizeof(synchronous) / sizeof(synchronous[0]); ++i) {
        sigdelset(&all, synchronous[i]);
    }
    pthread_sigmask(SIG_SETMASK, &all, before);
}

static gatehouse_child_t *make_child(apr_pool_t *pool, gatehouse_settings_t *settings,
                                     server_rec *s)
{
    gatehouse_child_t *child = apr_pcalloc(pool, sizeof(*child));

    child->pool = pool;
    child->settings = settings;
    child->server = s;
    child->prepared = settings->store_prepared;
    child->service.sealer = settings->sealer;
    child->service.decoding = gatehouse_decoding_context(pool);
    child->service.node = settings->node;
    child->service.log = gatehouse_server_log(s, pool);
    child->service.issuers = settings->shared.issuers;
    child->service.profiles = settings->shared.profiles;
    child->issuers = gatehouse_child_issuers_make(settings, pool);
    return child;
}

/* What can be had at once is there before the first request: the service for other modules, issuers
 * that sign, and CRLs. What fails here is tried again and reported by the follower. */
static void warm_up(gatehouse_child_t *child)
{
    gh_result_t result;

    gh_result_clear(&result);
    if (gatehouse_child_open(child, &result) == APR_SUCCESS && child->prepared
        && gatehouse_child_issuers(child, &result) == APR_SUCCESS) {
        gh_publisher_run(child->service.publisher, &result);
    }
}

static apr_status_t forget_child(void *data)
{
    this_child = NULL;
    return APR_SUCCESS;
}

void gatehouse_child_init(apr_pool_t *p, server_rec *s)
{
    gatehouse_settings_t *settings = gatehouse_settings();
    gatehouse_child_t *child;
    apr_pool_t *pool;
    sigset_t signals;
    apr_status_t rv;

    gatehouse_forget_workers();
    if (!settings || !settings->store) {
        return;
    }
    /* the follower works on it beside the child's other threads */
    rv = gh_pool_create_below(&pool, p, "gatehouse");
    if (rv == APR_SUCCESS) {
        child = make_child(pool, settings, s);
        this_child = child;
        apr_pool_cleanup_register(pool, NULL, forget_child, apr_pool_cleanup_null);
        gatehouse_signals_init();
        block_signals(&signals);
        warm_up(child);
        rv = gatehouse_follower_start(child);
        pthread_sigmask(SIG_SETMASK, &signals, NULL);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0315) "this process cannot follow the "
                     "store: approved enrolments and CRLs are left to others. See whether the "
                     "machine is short of memory or threads");
    }
}
