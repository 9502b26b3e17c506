/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Telling a worker of an enrolment, and waiting for what comes of it: a sub-request that
 * mod_proxy_fcgi takes to the worker's socket. Its answer has no content; what has come of the
 * enrolment is in the store. */

#include <string.h>
#include <httpd.h>
#include <ap_mpm.h>
#include <ap_provider.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_auth.h>
#include <util_filter.h>
#include <apr_atomic.h>
#include <apr_shm.h>
#include <apr_strings.h>

#include "gatehouse_remote.h"
#include "limiter.h"
#include "log.h"
#include "store/enrolments.h"

APLOG_USE_MODULE(gatehouse);

/** Where the store is looked at instead. */
#define LOOK_EVERY apr_time_from_msec(150)

/** A worker that cannot be reached is logged as often. */
#define SILENCE apr_time_from_sec(60)

#define MARK "gatehouse-dispatch"

/** The worker's answers, see fcgi/listener.h. */
#define ANSWER_OVER 200
#define ANSWER_LATER 202
#define ANSWER_NOT_HERE 404

/** How requests wait for jobs of one queue. */
typedef struct {
    void *memory;                   /* shared */
    apr_interval_time_t wait;
    int most;
    gh_limiter_t *limiter;          /* of this child */
} waiting_t;

/* These live in pconf. */
static apr_hash_t *waits;           /* waiting_t * by queue */
static waiting_t *waits_together;   /* of all queues */
static int processes;

static ap_filter_rec_t *discard_filter;
static apr_uint32_t logged;         /* in seconds, of this child */

static apr_status_t forget(void *data)
{
    waits = NULL;
    waits_together = NULL;
    return APR_SUCCESS;
}

static apr_status_t make_waits(waiting_t **made, apr_interval_time_t wait, int most,
                               apr_pool_t *pconf)
{
    waiting_t *waiting = *made = apr_pcalloc(pconf, sizeof(*waiting));
    apr_shm_t *shared;
    apr_status_t rv = apr_shm_create(&shared, gh_limiter_size(processes), NULL, pconf);

    waiting->wait = wait;
    waiting->most = most;
    if (rv == APR_SUCCESS) {
        waiting->memory = apr_shm_baseaddr_get(shared);
        rv = gh_limiter_prepare(waiting->memory, processes);
    }
    return rv;
}

static apr_status_t add_waits(const char *queue, apr_interval_time_t wait, int most,
                              apr_pool_t *pconf)
{
    waiting_t *waiting;
    apr_status_t rv = make_waits(&waiting, wait, most, pconf);

    apr_hash_set(waits, queue, APR_HASH_KEY_STRING, waiting);
    return rv;
}

/** Half of what may be served at a time: however many queues stand still, the other half is there
 *  for OCSP and for all that needs no worker. */
static apr_status_t add_waits_together(apr_pool_t *pconf)
{
    int children = 1, threads = 1, most;

    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &children);
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    most = (children > 1 ? children : 1) * (threads > 1 ? threads : 1) / 2;
    return make_waits(&waits_together, 0, most > 1 ? most : 1, pconf);
}

static void join_waits(waiting_t *waiting, apr_pool_t *p)
{
    gh_limiter_limits_t limits = { waiting->most, 0, 0 };

    waiting->limiter = gh_limiter_join(waiting->memory, processes, &limits, p);
}

static void tell_metrics(gatehouse_metrics_t *metrics, apr_pool_t *p)
{
    apr_hash_index_t *index;

    if (!waits) {
        return;
    }
    gatehouse_begin_metric(metrics, "gatehouse_requests_waiting", GATEHOUSE_GAUGE,
                           "Requests of this node that wait for what a worker does");
    for (index = apr_hash_first(p, waits); index; index = apr_hash_next(index)) {
        const waiting_t *waiting = apr_hash_this_val(index);

        gatehouse_add_metric(metrics, "queue", apr_hash_this_key(index),
                             waiting->limiter ? gh_limiter_inside(waiting->limiter) : 0);
    }
}

apr_status_t gatehouse_dispatch_create(gatehouse_settings_t *settings, apr_pool_t *pconf)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    if (!settings->remote) {
        return APR_SUCCESS;
    }
    if (ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &processes) != APR_SUCCESS || processes < 1) {
        processes = 1;
    }
    waits = apr_hash_make(pconf);
    apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    gatehouse_register_metrics(tell_metrics, pconf);
    rv = add_waits_together(pconf);
    for (i = 0; rv == APR_SUCCESS && i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *section
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);

        if (gatehouse_is_remote(section)) {
            rv = add_waits(section->name, section->remote.wait, section->remote.max_waiting,
                           pconf);
        }
    }
    for (i = 0; rv == APR_SUCCESS && i < gatehouse_worker_section_count(); ++i) {
        const gatehouse_worker_section_t *section = gatehouse_worker_section(i);

        rv = add_waits(section->queue, section->wait, section->max_waiting, pconf);
    }
    return rv;
}

void gatehouse_dispatch_child_init(apr_pool_t *p, server_rec *s)
{
    apr_hash_index_t *index;

    for (index = waits ? apr_hash_first(p, waits) : NULL; index; index = apr_hash_next(index)) {
        join_waits(apr_hash_this_val(index), p);
    }
    if (waits_together) {
        join_waits(waits_together, p);
    }
}

/* Who may reach the worker */

static int is_marked(const request_rec *r)
{
    void *mark = NULL;

    if (!r->main) {
        return 0;
    }
    apr_pool_userdata_get(&mark, MARK, r->main->pool);
    return mark && r->unparsed_uri && !strcmp(mark, r->unparsed_uri);
}

static authz_status check_authorisation(request_rec *r, const char *line, const void *parsed)
{
    return is_marked(r) ? AUTHZ_GRANTED : AUTHZ_DENIED;
}

static const char *parse_requirement(cmd_parms *cmd, const char *line, const void **parsed)
{
    return !line || !*line ? NULL
        : GHNO(0884) "Require gatehouse-dispatch stands alone: it lets sub-requests of Gatehouse "
          "pass, and nobody else";
}

static const authz_provider dispatch_provider = { check_authorisation, parse_requirement };

/* mod_proxy has mapped it to FastCGI. */
static int leads_to_worker(const request_rec *r)
{
    return r->uri && !strncmp(r->uri, GATEHOUSE_WORKER_PATH, strlen(GATEHOUSE_WORKER_PATH))
        && r->filename && !strncmp(r->filename, "proxy:fcgi:", 11);
}

/* Without "Require gatehouse-dispatch", too, nobody else gets there. */
static int keep_out(request_rec *r)
{
    if (!waits || !leads_to_worker(r)) {
        return DECLINED;
    }
    if (is_marked(r)) {
        /* without it mod_proxy_fcgi gives no PATH_INFO to what is mapped by ProxyPass */
        apr_table_setn(r->subprocess_env, "proxy-fcgi-pathinfo", "full");
        return DECLINED;
    }
    ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r, GHNO(0885) "%s leads to a worker of Gatehouse, "
                  "which is for sub-requests of Gatehouse only", r->uri);
    return HTTP_FORBIDDEN;
}

/* The worker's answer is not the client's. */
static apr_status_t discard(ap_filter_t *f, apr_bucket_brigade *brigade)
{
    apr_brigade_cleanup(brigade);
    return APR_SUCCESS;
}

static void log_unreached(request_rec *r, int status)
{
    apr_uint32_t now = (apr_uint32_t)apr_time_sec(apr_time_now());
    apr_uint32_t before = apr_atomic_read32(&logged);

    if (now - before >= apr_time_sec(SILENCE) && apr_atomic_cas32(&logged, now, before) == before) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r, GHNO(0886) "the worker for CAs cannot be "
                      "reached (HTTP status %d): requests wait for what comes of it by the store. "
                      "See what mod_proxy has logged before, and \"Require gatehouse-dispatch\" at "
                      "%s", status, GATEHOUSE_WORKER_PATH);
    }
}

/* @return 1 if there is nothing more to wait for */
static int tell_worker(request_rec *r, const char *queue, const char *enrolment,
                       apr_interval_time_t wait)
{
    const char *uri = apr_psprintf(r->pool, GATEHOUSE_WORKER_PATH "enrolments/%s?wait=%"
                                   APR_TIME_T_FMT "&issuer=%s", enrolment,
                                   apr_time_as_msec(wait), queue);
    request_rec *sub;
    int answer = ANSWER_NOT_HERE;
    int status;

    apr_pool_userdata_setn(uri, MARK, NULL, r->pool);
    sub = ap_sub_req_method_uri("GET", uri, r, r->output_filters);
    if (sub->status != HTTP_OK) {
        log_unreached(r, sub->status);
    }
    else if (leads_to_worker(sub)) {
        /* nothing of what the client has sent is the worker's business */
        sub->headers_in = apr_table_make(sub->pool, 1);
        ap_add_output_filter_handle(discard_filter, NULL, sub, sub->connection);
        status = ap_run_sub_req(sub);
        answer = sub->status;
        if (status != OK || (answer != ANSWER_OVER && answer != ANSWER_LATER
                             && answer != ANSWER_NOT_HERE)) {
            log_unreached(r, status != OK ? status : answer);
            answer = ANSWER_NOT_HERE;
        }
    }
    ap_destroy_sub_req(sub);
    apr_pool_userdata_setn(NULL, MARK, NULL, r->pool);
    return answer != ANSWER_NOT_HERE;
}

typedef struct {
    const char *id;
    int open;
    apr_pool_t *p;
} look_t;

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    gh_enrolment_record_t *record;
    apr_status_t rv = gh_enrolment_find(transaction, look->id, &record, look->p);

    look->open = rv == APR_SUCCESS && (record->state == GH_ENROLMENT_SUBMITTED
                                       || record->state == GH_ENROLMENT_RETRY);
    return rv;
}

/* For workers that this node's requests do not reach. */
static void watch_store(request_rec *r, const char *enrolment, apr_time_t end,
                        apr_interval_time_t wait)
{
    const gatehouse_service_t *service = gatehouse_service();
    look_t look = { .id = enrolment, .open = 1 };
    /* a clock that is set back does not keep a thread */
    int looks = (int)(wait / LOOK_EVERY) + 1;
    apr_status_t rv;

    while (service && looks-- > 0 && apr_time_now() < end && !r->connection->aborted) {
        apr_pool_create(&look.p, r->pool);
        gatehouse_begin_work(r);
        rv = gh_store_read(service->store, look_work, &look, NULL);
        gatehouse_end_work();
        apr_pool_destroy(look.p);
        if (rv != APR_SUCCESS || !look.open) {
            return;
        }
        apr_sleep(LOOK_EVERY);
    }
}

void gatehouse_await(request_rec *r, const char *queue, const char *enrolment)
{
    const waiting_t *waiting = waits ? apr_hash_get(waits, queue, APR_HASH_KEY_STRING) : NULL;
    apr_time_t end;

    if (!waiting || !waiting->wait || !waiting->limiter || r->main) {
        return;
    }
    if (!gh_limiter_enter(waiting->limiter)) {
        ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, GHNO(0887) "enough requests wait for %s; "
                      "this one does not", queue);
        return;
    }
    if (!gh_limiter_enter(waits_together->limiter)) {
        ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, GHNO(1458) "half of all workers of this node "
                      "wait; this request does not wait for %s", queue);
        gh_limiter_leave(waiting->limiter);
        return;
    }
    end = apr_time_now() + waiting->wait;
    if (!tell_worker(r, queue, enrolment, waiting->wait)) {
        watch_store(r, enrolment, end, waiting->wait);
    }
    gh_limiter_leave(waits_together->limiter);
    gh_limiter_leave(waiting->limiter);
}

void gatehouse_register_dispatch(apr_pool_t *p)
{
    discard_filter = ap_register_output_filter("GATEHOUSE-DISCARD", discard, NULL,
                                               AP_FTYPE_RESOURCE);
    ap_register_auth_provider(p, AUTHZ_PROVIDER_GROUP, MARK, AUTHZ_PROVIDER_VERSION,
                              &dispatch_provider, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_fixups(keep_out, NULL, NULL, APR_HOOK_FIRST);
}
