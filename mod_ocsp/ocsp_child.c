/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What each child has: the engine, views of what is known, signers. */

#include <signal.h>
#include <string.h>

#include <httpd.h>
#include <http_log.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"
#include "pool.h"
#include "status/view.h"

APLOG_USE_MODULE(ocsp);

static ocsp_child_t *this_child;

const ocsp_child_t *ocsp_child(void)
{
    return this_child;
}

apr_status_t ocsp_follow_view(const ocsp_child_t *child, const ocsp_section_t *section,
                              int with_store, apr_pool_t *ptemp, gh_result_t *result)
{
    const gatehouse_service_t *service = with_store ? ocsp_gatehouse()->service() : NULL;

    return gh_view_follow(ocsp_authority_view(section->authority), service ? service->store : NULL,
                          ptemp, result);
}

apr_status_t ocsp_follow_signers(const ocsp_child_t *child, const ocsp_section_t *section,
                                 apr_pool_t *ptemp, gh_result_t *result)
{
    const gatehouse_service_t *service = ocsp_gatehouse()->service();
    ocsp_signer_services_t services;

    memset(&services, 0, sizeof(services));
    services.turn_begin = ocsp_gatehouse()->turn_begin;
    services.turn_end = ocsp_gatehouse()->turn_end;
    if (service) {
        services.store = service->store;
        services.ledger = service->ledger;
        services.sealer = service->sealer;
        services.node = service->node;
        services.log = service->log;
        services.audit = ocsp_gatehouse()->audit;
    }
    return ocsp_signers_follow(section->set, &services, apr_time_now(), ptemp, result);
}

static apr_status_t forget_child(void *data)
{
    this_child = NULL;
    return APR_SUCCESS;
}

/* Keys on a token must not outlive what OpenSSL serves them with. */
static apr_status_t close_signers(void *data)
{
    const ocsp_child_t *child = data;
    int i;

    for (i = 0; i < child->config->sections->nelts; ++i) {
        ocsp_signers_close(APR_ARRAY_IDX(child->config->sections, i, ocsp_section_t *)->set);
    }
    return APR_SUCCESS;
}

/** What can be had at once is there before the first request: indexes that are in their folder, and
 *  signers. What fails here is tried again and reported by the follower. */
static apr_status_t warm_up(ocsp_child_t *child)
{
    apr_pool_t *ptemp;
    gh_result_t result;
    int i;

    apr_pool_create(&ptemp, child->pool);
    for (i = 0; i < child->config->sections->nelts; ++i) {
        ocsp_section_t *section = APR_ARRAY_IDX(child->config->sections, i, ocsp_section_t *);
        gh_view_t *view = gh_view_create(child->config->directory, section->name, section->digest,
                                         section->kind, section->kind == GH_SOURCE_STORE
                                         ? section->name : NULL, child->pool);

        if (!view) {
            return APR_ENOMEM;
        }
        ocsp_authority_set_view(section->authority, view);
        gh_result_clear(&result);
        ocsp_follow_view(child, section, 0, ptemp, &result);
        ocsp_follow_signers(child, section, ptemp, &result);
        apr_pool_clear(ptemp);
    }
    apr_pool_destroy(ptemp);
    return APR_SUCCESS;
}

static apr_status_t make_engine(ocsp_child_t *child)
{
    ocsp_engine_options_t *options = apr_pcalloc(child->pool, sizeof(*options));

    child->counts = ocsp_node_join(child->server, options, child->pool);
    ocsp_second_join(child->server, options, child->pool);
    child->engine = ocsp_engine_create(options, child->pool);
    return child->engine ? APR_SUCCESS : APR_EGENERAL;
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

void ocsp_child_init(apr_pool_t *p, server_rec *s)
{
    const ocsp_server_t *config = ocsp_server(s);
    ocsp_child_t *child;
    apr_pool_t *pool;
    sigset_t signals;
    apr_status_t rv;

    if (!config->sections->nelts) {
        return;
    }
    /* the follower works on it beside the child's other threads */
    rv = gh_pool_create_below(&pool, p, "ocsp");
    if (rv == APR_SUCCESS) {
        child = apr_pcalloc(pool, sizeof(*child));
        child->server = s;
        child->config = config;
        child->pool = pool;
        block_signals(&signals);
        rv = make_engine(child);
        if (rv == APR_SUCCESS) {
            apr_pool_cleanup_register(pool, child, close_signers, apr_pool_cleanup_null);
            rv = warm_up(child);
        }
        if (rv == APR_SUCCESS) {
            rv = ocsp_follower_start(child);
        }
        pthread_sigmask(SIG_SETMASK, &signals, NULL);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0759) "this process cannot answer OCSP, "
                     "and says so; see whether the machine is short of memory or threads");
        return;
    }
    this_child = child;
    apr_pool_cleanup_register(pool, NULL, forget_child, apr_pool_cleanup_null);
}
