/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What mod_gatehouse offers, and what each child makes of it. */

#include <string.h>

#include <httpd.h>
#include <ap_mpm.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <http_log.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"
#include "mod_wstep/wstep_engine.h"
#include "mod_wstep/wstep_signature.h"
#include "mod_wstep/wstep_verdicts.h"
#include "pool.h"

APLOG_USE_MODULE(wstep);

static struct {
    APR_OPTIONAL_FN_TYPE(gatehouse_config) *config;
    APR_OPTIONAL_FN_TYPE(gatehouse_service) *service;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_id) *request_id;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit_event) *audit_event;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit) *audit;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_log) *request_log;
    APR_OPTIONAL_FN_TYPE(gatehouse_allowances) *allowances;
    APR_OPTIONAL_FN_TYPE(gatehouse_expand) *expand;
    APR_OPTIONAL_FN_TYPE(gatehouse_begin_work) *begin_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_end_work) *end_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_await) *await;       /* NULL: nobody waits */
    APR_OPTIONAL_FN_TYPE(gatehouse_register_dump) *register_dump;
} gatehouse;

/** Of this node, in memory that the parent makes. */
static struct {
    void *memory;
    void *lookups;                  /* the same for those who wait for the directory */
    int processes;
} node;

/** Of this child. */
static struct {
    wstep_engine_t *engine;         /* NULL until mod_gatehouse has opened the store */
    wstep_verdicts_t *verdicts;
    gh_limiter_t *gate;
    apr_thread_mutex_t *mutex;      /* held while the engine is made */
    apr_pool_t *pool;
    server_rec *s;                  /* the main server; NULL: there is no endpoint */
} child;

int wstep_find_gatehouse(void)
{
    gatehouse.config = APR_RETRIEVE_OPTIONAL_FN(gatehouse_config);
    gatehouse.service = APR_RETRIEVE_OPTIONAL_FN(gatehouse_service);
    gatehouse.request_id = APR_RETRIEVE_OPTIONAL_FN(gatehouse_request_id);
    gatehouse.audit_event = APR_RETRIEVE_OPTIONAL_FN(gatehouse_audit_event);
    gatehouse.audit = APR_RETRIEVE_OPTIONAL_FN(gatehouse_audit);
    gatehouse.request_log = APR_RETRIEVE_OPTIONAL_FN(gatehouse_request_log);
    gatehouse.allowances = APR_RETRIEVE_OPTIONAL_FN(gatehouse_allowances);
    gatehouse.expand = APR_RETRIEVE_OPTIONAL_FN(gatehouse_expand);
    gatehouse.begin_work = APR_RETRIEVE_OPTIONAL_FN(gatehouse_begin_work);
    gatehouse.end_work = APR_RETRIEVE_OPTIONAL_FN(gatehouse_end_work);
    gatehouse.await = APR_RETRIEVE_OPTIONAL_FN(gatehouse_await);
    gatehouse.register_dump = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_dump);
    return gatehouse.config && gatehouse.service && gatehouse.request_id && gatehouse.audit_event
           && gatehouse.audit && gatehouse.request_log && gatehouse.allowances
           && gatehouse.expand && gatehouse.begin_work && gatehouse.end_work
           && gatehouse.register_dump;
}

const gatehouse_config_t *wstep_gatehouse_config(void)
{
    return gatehouse.config();
}

const gh_allowances_t *wstep_gatehouse_allowances(server_rec *s, const char *path)
{
    return gatehouse.allowances(s, path);
}

void wstep_register_dump(gatehouse_dump_fn *fn, apr_pool_t *pconf)
{
    gatehouse.register_dump(fn, pconf);
}

const char *wstep_request_id(request_rec *r)
{
    return gatehouse.request_id(r);
}

const gh_log_t *wstep_request_log(request_rec *r)
{
    return gatehouse.request_log(r);
}

gh_audit_event_t *wstep_audit_event(request_rec *r)
{
    return gatehouse.audit_event(r);
}

void wstep_audit(const gh_audit_event_t *event, apr_pool_t *p)
{
    gatehouse.audit(event, p);
}

void wstep_begin_work(request_rec *r)
{
    gatehouse.begin_work(r);
}

void wstep_end_work(void)
{
    gatehouse.end_work();
}

/** Waiting is no work: signals may end the process meanwhile, and others have the place. What is
 *  left to do afterwards is little. */
static void await(void *baton, const char *queue, const char *enrolment)
{
    wstep_visit_t *visit = baton;

    if (visit->inside) {
        gh_limiter_leave(child.gate);
        visit->inside = 0;
    }
    gatehouse.end_work();
    gatehouse.await(visit->r, queue, enrolment);
    gatehouse.begin_work(visit->r);
}

void wstep_fill_message(wstep_message_t *message, wstep_visit_t *visit)
{
    request_rec *r = visit->r;

    memset(message, 0, sizeof(*message));
    message->client = r->useragent_ip;
    message->id = gatehouse.request_id(r);
    message->expand = gatehouse.expand;
    message->expand_baton = r;
    message->log = gatehouse.request_log(r);
    message->event = visit->event;
    message->await = gatehouse.await ? await : NULL;
    message->await_baton = visit;
}

/* The node */

static apr_status_t forget_node(void *data)
{
    memset(&node, 0, sizeof(node));
    return APR_SUCCESS;
}

int wstep_node_prepare(server_rec *s, apr_pool_t *pconf)
{
    apr_shm_t *shared;
    apr_size_t size;
    int processes = 0;
    apr_status_t rv = ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &processes);

    if (rv != APR_SUCCESS || processes < 1) {
        processes = 1;
    }
    size = APR_ALIGN_DEFAULT(gh_limiter_size(processes));
    rv = apr_shm_create(&shared, 2 * size, NULL, pconf);
    if (rv == APR_SUCCESS) {
        rv = gh_limiter_prepare(apr_shm_baseaddr_get(shared), processes);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_limiter_prepare((char *)apr_shm_baseaddr_get(shared) + size, processes);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, rv, s,
                     GHNO(1400) "memory that the processes share cannot be had");
        return 1;
    }
    node.memory = apr_shm_baseaddr_get(shared);
    node.lookups = (char *)node.memory + size;
    node.processes = processes;
    apr_pool_cleanup_register(pconf, NULL, forget_node, apr_pool_cleanup_null);
    return 0;
}

static gh_limiter_t *join_node(const wstep_server_t *server, apr_pool_t *p)
{
    gh_limiter_limits_t limits = { WSTEP_CONCURRENT, WSTEP_FAILURES, WSTEP_FAILURE_INTERVAL };

    if (server->concurrent) {
        limits.concurrent = server->concurrent;
    }
    if (server->failures) {
        limits.failures = server->failures < 0 ? 0 : server->failures;
        limits.interval = server->failure_interval;
    }
    return gh_limiter_join(node.memory, node.processes, &limits, p);
}

static gh_limiter_t *join_lookups(const wstep_server_t *server, apr_pool_t *p)
{
    gh_limiter_limits_t limits = { server->lookups ? server->lookups : WSTEP_LOOKUPS, 0, 0 };

    return gh_limiter_join(node.lookups, node.processes, &limits, p);
}

/* Start of a child */

static apr_status_t forget_child(void *data)
{
    memset(&child, 0, sizeof(child));
    return APR_SUCCESS;
}

static int any_endpoint(server_rec *s)
{
    for (; s; s = s->next) {
        const wstep_server_t *server = wstep_server(s);
        if (server && server->listed && server->listed->nelts) {
            return 1;
        }
    }
    return 0;
}

/** xmlsec leaves pointers to itself in OpenSSL, so that it is only for processes that never unload
 *  it: children. */
static int prepare_signatures(server_rec *s)
{
    int i;

    for (; s; s = s->next) {
        const wstep_server_t *server = wstep_server(s);

        for (i = 0; server->listed && i < server->listed->nelts; ++i) {
            if (APR_ARRAY_IDX(server->listed, i, wstep_entry_t *)->section->signatures > 0) {
                return wstep_signature_initialise();
            }
        }
    }
    return 1;
}

static void add_issuers(wstep_engine_t *engine, const gatehouse_service_t *service,
                        const gh_profile_t *profile)
{
    server_rec *s;
    int i;

    for (s = child.s; s; s = s->next) {
        const wstep_server_t *server = wstep_server(s);

        for (i = 0; server->listed && i < server->listed->nelts; ++i) {
            const wstep_entry_t *entry = APR_ARRAY_IDX(server->listed, i, wstep_entry_t *);
            gh_issuer_t *issuer = entry->policy
                || entry->endpoint.response != WSTEP_RESPONSE_CMC
                ? NULL : apr_hash_get(service->issuers, entry->endpoint.issuer,
                                      APR_HASH_KEY_STRING);

            for (; issuer; issuer = gh_issuer_next(issuer)) {
                wstep_engine_add_issuer(engine, issuer, profile, child.pool);
            }
        }
    }
}

/** Under child.mutex. @return NULL as long as mod_gatehouse has no store */
static wstep_engine_t *make_engine(void)
{
    const wstep_server_t *server = wstep_server(child.s);
    const gatehouse_service_t *service = gatehouse.service();
    wstep_services_t *services;
    wstep_engine_t *made;

    if (!service || !service->store) {
        return NULL;
    }
    services = apr_pcalloc(child.pool, sizeof(*services));
    services->store = service->store;
    services->ledger = service->ledger;
    services->sealer = service->sealer;
    services->decoding = service->decoding;
    if (server->directory
        && gh_directory_create(&services->directory, server->directory,
                               join_lookups(server, child.pool), child.pool) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, child.s,
                     GHNO(1476) "the directory cannot be asked by this process, which is short of "
                                "memory");
        return NULL;
    }
    services->node = service->node;
    services->log = service->log;
    services->audit = gatehouse.audit;
    made = wstep_engine_create(services, child.pool);
    add_issuers(made, service,
                apr_hash_get(service->profiles,
                             server->ra_profile ? server->ra_profile : WSTEP_RA_PROFILE,
                             APR_HASH_KEY_STRING));
    __atomic_store_n(&child.engine, made, __ATOMIC_RELEASE);
    return made;
}

wstep_engine_t *wstep_child_engine(void)
{
    wstep_engine_t *engine = __atomic_load_n(&child.engine, __ATOMIC_ACQUIRE);

    if (engine || !child.s) {
        return engine;
    }
    apr_thread_mutex_lock(child.mutex);
    engine = child.engine ? child.engine : make_engine();
    apr_thread_mutex_unlock(child.mutex);
    return engine;
}

gh_limiter_t *wstep_child_gate(void)
{
    return child.gate;
}

struct wstep_verdicts *wstep_child_verdicts(void)
{
    return child.verdicts;
}

static apr_status_t prepare_child(apr_pool_t *p, server_rec *s)
{
    const wstep_server_t *server = wstep_server(s);
    apr_status_t rv = gh_pool_create_below(&child.pool, p, "wstep");

    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_cleanup_register(child.pool, NULL, forget_child, apr_pool_cleanup_null);
    rv = apr_thread_mutex_create(&child.mutex, APR_THREAD_MUTEX_DEFAULT, child.pool);
    child.verdicts = wstep_verdicts_create(server->verdict_lifetime < 0
                                               ? WSTEP_VERDICT_LIFETIME
                                               : server->verdict_lifetime, child.pool);
    if (rv == APR_SUCCESS && !child.verdicts) {
        rv = APR_ENOMEM;
    }
    return rv;
}

void wstep_child_init(apr_pool_t *p, server_rec *s)
{
    wstep_engine_t *engine;
    apr_status_t rv;

    if (!any_endpoint(s)) {
        return;
    }
    rv = prepare_signatures(s) ? prepare_child(p, s) : APR_ENOMEM;
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s,
                     GHNO(1401) "WSTEP does not answer in this process, which is short of memory");
        return;
    }
    child.s = s;
    child.gate = join_node(wstep_server(s), child.pool);
    engine = make_engine();
    if (engine) {
        wstep_engine_prepare(engine);
    }
}
