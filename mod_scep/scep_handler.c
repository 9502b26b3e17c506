/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Between a request of httpd and the engine. */

#include <string.h>

#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_script.h>

#include "log.h"
#include "mod_scep/scep_config.h"
#include "mod_scep/scep_mdm.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_url.h"
#include "mod_scep/scep_web.h"
#include "pool.h"
#include "status.h"

APLOG_USE_MODULE(scep);

/** What mod_gatehouse offers. */
static struct {
    APR_OPTIONAL_FN_TYPE(gatehouse_config) *config;
    APR_OPTIONAL_FN_TYPE(gatehouse_service) *service;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_id) *request_id;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit_event) *audit_event;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit) *audit;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_log) *request_log;
    APR_OPTIONAL_FN_TYPE(gatehouse_allowances) *allowances;
    APR_OPTIONAL_FN_TYPE(gatehouse_webhook) *webhook;
    APR_OPTIONAL_FN_TYPE(gatehouse_expand) *expand;
    APR_OPTIONAL_FN_TYPE(gatehouse_begin_work) *begin_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_end_work) *end_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_await) *await;       /* NULL: nobody waits */
    APR_OPTIONAL_FN_TYPE(gatehouse_register_dump) *register_dump;
} gatehouse;

/** Of this child. */
static struct {
    scep_engine_t *engine;          /* NULL until mod_gatehouse has opened the store */
    gh_limiter_t *gate;
    apr_thread_mutex_t *mutex;      /* held while the engine is made */
    apr_pool_t *pool;               /* of the engine, with an allocator of its own */
    server_rec *s;                  /* the main server; NULL: there is no endpoint */
} child;

int scep_find_gatehouse(void)
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
    gatehouse.webhook = APR_RETRIEVE_OPTIONAL_FN(gatehouse_webhook);
    gatehouse.register_dump = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_dump);
    return gatehouse.config && gatehouse.service && gatehouse.request_id && gatehouse.audit_event
           && gatehouse.audit && gatehouse.request_log && gatehouse.allowances
           && gatehouse.expand && gatehouse.begin_work && gatehouse.end_work
           && gatehouse.register_dump;
}

const gatehouse_config_t *scep_gatehouse_config(void)
{
    return gatehouse.config();
}

const gh_allowances_t *scep_gatehouse_allowances(server_rec *s, const char *path)
{
    return gatehouse.allowances(s, path);
}

const gatehouse_webhook_t *scep_gatehouse_webhook(const char *name)
{
    return gatehouse.webhook ? gatehouse.webhook(name) : NULL;
}

void scep_register_dump(gatehouse_dump_fn *fn, apr_pool_t *pconf)
{
    gatehouse.register_dump(fn, pconf);
}

/* Start of a child */

static apr_status_t forget_child(void *data)
{
    memset(&child, 0, sizeof(child));
    return APR_SUCCESS;
}

static void add_issuers(scep_engine_t *made, server_rec *main_server,
                        const gatehouse_service_t *service, const gh_profile_t *profile,
                        apr_pool_t *p)
{
    server_rec *s;
    int i;

    for (s = main_server; s; s = s->next) {
        const scep_server_t *server = scep_server(s);
        for (i = 0; server->listed && i < server->listed->nelts; ++i) {
            const scep_entry_t *entry = APR_ARRAY_IDX(server->listed, i, scep_entry_t *);
            gh_issuer_t *issuer = apr_hash_get(service->issuers, entry->endpoint.issuer,
                                               APR_HASH_KEY_STRING);
            for (; issuer; issuer = gh_issuer_next(issuer)) {
                scep_engine_add_issuer(made, issuer, profile, p);
            }
        }
    }
}

static int any_endpoint(server_rec *s)
{
    for (; s; s = s->next) {
        const scep_server_t *server = scep_server(s);
        if (server && server->listed && server->listed->nelts) {
            return 1;
        }
    }
    return 0;
}

/** Under child.mutex. @return NULL as long as mod_gatehouse has no store */
static scep_engine_t *make_engine(void)
{
    const scep_server_t *server = scep_server(child.s);
    const gatehouse_service_t *service = gatehouse.service();
    scep_services_t *services;
    scep_engine_t *made;

    if (!service || !service->store) {
        return NULL;
    }
    services = apr_pcalloc(child.pool, sizeof(*services));
    services->store = service->store;
    services->ledger = service->ledger;
    services->publisher = service->publisher;
    services->sealer = service->sealer;
    services->decoding = service->decoding;
    services->node = service->node;
    services->log = service->log;
    services->audit = gatehouse.audit;
    made = scep_engine_create(services, child.gate, child.pool);
    add_issuers(made, child.s, service,
                apr_hash_get(service->profiles,
                             server->ra_profile ? server->ra_profile : SCEP_RA_PROFILE,
                             APR_HASH_KEY_STRING),
                child.pool);
    __atomic_store_n(&child.engine, made, __ATOMIC_RELEASE);
    return made;
}

/** The engine of this child, made when it can be. @return NULL: not yet */
static scep_engine_t *get_engine(void)
{
    scep_engine_t *engine = __atomic_load_n(&child.engine, __ATOMIC_ACQUIRE);

    if (engine || !child.s) {
        return engine;
    }
    apr_thread_mutex_lock(child.mutex);
    engine = child.engine;
    if (!engine) {
        engine = make_engine();
        if (engine) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, child.s,
                         "SCEP answers now in this process: mod_gatehouse has opened the store");
        }
    }
    apr_thread_mutex_unlock(child.mutex);
    return engine;
}

static apr_status_t prepare_child(apr_pool_t *p)
{
    apr_status_t rv = gh_pool_create_below(&child.pool, p, "scep");

    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_cleanup_register(child.pool, NULL, forget_child, apr_pool_cleanup_null);
    return apr_thread_mutex_create(&child.mutex, APR_THREAD_MUTEX_DEFAULT, child.pool);
}

void scep_child_init(apr_pool_t *p, server_rec *s)
{
    scep_engine_t *engine;
    apr_status_t rv;

    if (!any_endpoint(s)) {
        return;
    }
    rv = prepare_child(p);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s,
                     GHNO(0269) "SCEP answers 503 in this process, which is short of memory");
        return;
    }
    child.s = s;
    child.gate = scep_node_join(scep_server(s), child.pool);
    engine = make_engine();
    if (engine) {
        scep_engine_prepare(engine);
        return;
    }
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, s,
                 GHNO(0260) "SCEP answers 503 until mod_gatehouse has opened the store; see the "
                            "errors before");
}

/* Requests */

static int send_response(request_rec *r, const scep_response_t *response)
{
    r->status = response->status;
    ap_set_content_type(r, response->content_type);
    ap_set_content_length(r, (apr_off_t)response->body.length);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    if (response->retry_after) {
        apr_table_setn(r->headers_out, "Retry-After",
                       apr_itoa(r->pool, response->retry_after));
    }
    if (!r->header_only) {
        ap_rwrite(response->body.data, (int)response->body.length, r);
    }
    return OK;
}

/** Answers what never becomes a SCEP message; both logs get a line. */
static int refuse(request_rec *r, int status, const scep_entry_t *entry, gh_result_t *result)
{
    gh_audit_event_t *event = gatehouse.audit_event(r);
    scep_response_t response;

    memset(&response, 0, sizeof(response));
    event->event = entry ? "message" : "route";
    event->protocol = "scep";
    if (entry) {
        event->tenant = entry->endpoint.tenant;
        event->issuer = entry->endpoint.issuer;
        event->profile = gh_profile_name(entry->endpoint.profile);
    }
    gh_audit_take_result(event, result, r->pool);
    gatehouse.audit(event, r->pool);
    gh_log(gatehouse.request_log(r), GH_LOG_INFO, APR_SUCCESS, "%s: %s; rule %s%s%s",
           result->number, result->message, result->rule, *result->action ? "; " : "",
           result->action);
    scep_response_text(&response, status, result, r->pool);
    return send_response(r, &response);
}

static int refuse_unavailable(request_rec *r, const scep_entry_t *entry)
{
    gh_result_t result;

    apr_table_setn(r->headers_out, "Retry-After", "10");
    gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "engine.none",
                   "Try again later.",
                   GHNO(0261) "SCEP cannot answer now: the store of this server is not open");
    return refuse(r, HTTP_SERVICE_UNAVAILABLE, entry, &result);
}

/** @param allow the methods that are served instead */
static int refuse_method(request_rec *r, const scep_entry_t *entry, const char *allow)
{
    gh_result_t result;

    ap_discard_request_body(r);
    apr_table_setn(r->headers_out, "Allow", allow);
    gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_MALFORMED, "http.method", "Use GET or POST.",
                   GHNO(0262) "method %.20s is not served here", r->method);
    return refuse(r, HTTP_METHOD_NOT_ALLOWED, entry, &result);
}

static const scep_entry_t *find_entry(request_rec *r)
{
    const scep_server_t *server = scep_server(r->server);
    const char *path = NULL;
    scep_url_mdm_t mdm;
    scep_url_t url;

    if (scep_url_parse(&url, r->uri, r->pool) == APR_SUCCESS) {
        path = scep_url_path(&url, r->pool);
    }
    else if (scep_url_parse_mdm(&mdm, r->uri, r->pool) == APR_SUCCESS) {
        path = scep_digital_path(mdm.tenant, mdm.digital_id, r->pool);
    }
    return server && server->entries && path
               ? apr_hash_get(server->entries, path, APR_HASH_KEY_STRING) : NULL;
}

int scep_read_body(request_rec *r, apr_size_t most, gh_bytes_t *body)
{
    unsigned char *data;
    apr_size_t size = most + 1;
    int status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);

    memset(body, 0, sizeof(*body));
    if (status != OK) {
        return status;
    }
    if (r->remaining > (apr_off_t)most) {
        return HTTP_REQUEST_ENTITY_TOO_LARGE;
    }
    if (!ap_should_client_block(r)) {
        return OK;
    }
    if (!r->read_chunked) {
        size = (apr_size_t)r->remaining + 1;
    }
    data = apr_palloc(r->pool, size);
    for (;;) {
        long got = ap_get_client_block(r, (char *)data + body->length, size - body->length);
        if (got < 0) {
            return HTTP_BAD_REQUEST;
        }
        if (got == 0) {
            break;
        }
        body->length += (apr_size_t)got;
        if (body->length > most) {
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        if (body->length == size) {
            break;
        }
    }
    body->data = data;
    return OK;
}

static int refuse_body(request_rec *r, const scep_entry_t *entry, int status)
{
    gh_result_t result;

    r->connection->keepalive = AP_CONN_CLOSE;
    if (status == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_MALFORMED, "http.size",
                       "Send one pkiMessage.",
                       GHNO(0263) "the body has more than %d bytes", SCEP_MESSAGE_MAX);
    }
    else {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_MALFORMED, "http.body",
                       "Look whether the client or a proxy closes the connection.",
                       GHNO(0264) "the body cannot be read");
    }
    return refuse(r, status, entry, &result);
}

/** Waiting is no work: signals may end the process meanwhile. */
static void await(void *baton, const char *queue, const char *enrolment)
{
    request_rec *r = baton;

    gatehouse.end_work();
    gatehouse.await(r, queue, enrolment);
    gatehouse.begin_work(r);
}

static int operate(request_rec *r, const scep_entry_t *entry, const scep_query_t *query,
                   scep_engine_t *engine)
{
    scep_response_t response;
    scep_request_t request;
    gh_bytes_t message;
    gh_result_t result;
    int status;

    gh_result_clear(&result);
    if (r->method_number == M_POST) {
        status = scep_read_body(r, SCEP_MESSAGE_MAX, &message);
        if (status != OK) {
            return refuse_body(r, entry, status);
        }
    }
    else if (scep_query_message(&message, query, r->pool, &result) != APR_SUCCESS) {
        return refuse(r, HTTP_BAD_REQUEST, entry, &result);
    }
    memset(&request, 0, sizeof(request));
    request.client = r->useragent_ip;
    request.user = r->user;
    request.id = gatehouse.request_id(r);
    request.expand = gatehouse.expand;
    request.expand_baton = r;
    request.log = gatehouse.request_log(r);
    request.event = gatehouse.audit_event(r);
    request.await = gatehouse.await ? await : NULL;
    request.await_baton = r;
    request.audit = gatehouse.audit;
    gatehouse.begin_work(r);
    scep_engine_operate(engine, &entry->endpoint, message, &request, &response, r->pool);
    gatehouse.audit(request.event, r->pool);
    gatehouse.end_work();
    return send_response(r, &response);
}

static int serve(request_rec *r, const scep_entry_t *entry, const scep_query_t *query)
{
    scep_engine_t *engine;
    scep_response_t response;

    gatehouse.begin_work(r);
    engine = get_engine();
    gatehouse.end_work();
    /* HEAD has no effect (RFC 9110 9.2.1); this operation has */
    if (query->operation == SCEP_PKI_OPERATION && r->header_only) {
        return refuse_method(r, entry, "GET, POST");
    }
    if (!engine && query->operation != SCEP_GET_CA_CAPS) {
        return refuse_unavailable(r, entry);
    }
    switch (query->operation) {
    case SCEP_PKI_OPERATION:
        return operate(r, entry, query, engine);
    case SCEP_GET_CA_CERT:
        gatehouse.begin_work(r);
        scep_engine_certificates(engine, &entry->endpoint, gatehouse.request_log(r), &response,
                                 r->pool);
        gatehouse.end_work();
        break;
    case SCEP_GET_NEXT_CA_CERT:
        gatehouse.begin_work(r);
        scep_engine_next_certificates(engine, &entry->endpoint, gatehouse.request_log(r),
                                      &response, r->pool);
        gatehouse.end_work();
        break;
    default:
        scep_engine_caps(&entry->endpoint, &response, r->pool);
        break;
    }
    ap_discard_request_body(r);
    gatehouse.request_id(r);
    return send_response(r, &response);
}

int scep_handler(request_rec *r)
{
    const scep_entry_t *entry;
    scep_query_t query;
    gh_result_t result;

    if (!r->handler || strcmp(r->handler, SCEP_HANDLER) != 0) {
        return DECLINED;
    }
    gh_result_clear(&result);
    entry = find_entry(r);
    if (!entry) {
        ap_discard_request_body(r);
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "route",
                       "Ask for /scep/<tenant>/<issuer>/<profile>; case matters.",
                       GHNO(0265) "nothing is served at %.300s", r->uri);
        return refuse(r, HTTP_NOT_FOUND, NULL, &result);
    }
    if (r->method_number != M_GET && r->method_number != M_POST) {
        return refuse_method(r, entry, "GET, HEAD, POST");
    }
    if (scep_query_parse(&query, r->args, r->pool, &result) != APR_SUCCESS) {
        ap_discard_request_body(r);
        return refuse(r, HTTP_BAD_REQUEST, entry, &result);
    }
    return serve(r, entry, &query);
}

int scep_map_to_storage(request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    const scep_section_t *section = ap_get_module_config(r->per_dir_config, &scep_module);
    const char *handler = core->handler;
    const char *error = NULL;

    if (strncmp(r->uri, SCEP_URL_ROOT, sizeof(SCEP_URL_ROOT) - 1) != 0
        && strncmp(r->uri, SCEP_MDM_ROOT, sizeof(SCEP_MDM_ROOT) - 1) != 0
        && (!section || !section->web)) {
        return DECLINED;
    }
    if (core->expr_handler) {
        handler = ap_expr_str_exec(r, core->expr_handler, &error);
    }
    return handler && !error && (!strcmp(handler, SCEP_HANDLER) || scep_web_is_handler(handler)
                                 || !strcmp(handler, SCEP_HANDLER_MDM))
               ? OK : DECLINED;
}
