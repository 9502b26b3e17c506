/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Between a request of httpd and the engine. */

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <openssl/crypto.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"
#include "mod_wstep/wstep_policy.h"
#include "mod_wstep/wstep_user.h"
#include "mod_wstep/xcep_answer.h"
#include "status.h"

#define LANGUAGE "en-US"

/** One message, and what is answered. */
typedef struct {
    wstep_visit_t visit;
    const wstep_entry_t *entry;
    wstep_soap_t soap;
    wstep_caller_t caller;
    wstep_fault_t fault;
    gh_result_t result;
    gh_bytes_t xml;
} exchange_t;

static int send_xml(request_rec *r, int status, gh_bytes_t xml)
{
    r->status = status;
    ap_set_content_type(r, WSTEP_SOAP_TYPE);
    ap_set_content_length(r, (apr_off_t)xml.length);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    ap_rwrite(xml.data, (int)xml.length, r);
    return OK;
}

static int send_text(request_rec *r, int status, const char *text)
{
    r->status = status;
    ap_set_content_type(r, "text/plain; charset=us-ascii");
    ap_set_content_length(r, (apr_off_t)strlen(text));
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    if (!r->header_only) {
        ap_rputs(text, r);
    }
    return OK;
}

/* Both logs get a line of whatever is refused. */
static void log_refusal(exchange_t *x)
{
    request_rec *r = x->visit.r;
    const gh_result_t *result = &x->result;

    gh_audit_take_result(x->visit.event, result, r->pool);
    gh_log(wstep_request_log(r), GH_LOG_INFO, APR_SUCCESS, "%s: %s; rule %s%s%s%s%s",
           result->number, result->message, result->rule ? result->rule : "",
           *result->action ? "; " : "", result->action, *result->cause ? "; " : "",
           result->cause);
}

/** A fault; faults of SOAP 1.2 come with status 500, whoever is to blame (some clients read no
 *  other). */
static int send_fault(exchange_t *x)
{
    request_rec *r = x->visit.r;
    const char *reason = apr_pstrcat(r->pool, x->result.number, ": ", x->result.message,
                                     *x->result.action ? ". " : "", x->result.action, NULL);

    log_refusal(x);
    wstep_audit(x->visit.event, r->pool);
    if (wstep_soap_fault(&x->xml, &x->fault, reason, LANGUAGE, x->soap.message_id,
                         x->entry->policy, r->pool) != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return send_xml(r, HTTP_INTERNAL_SERVER_ERROR, x->xml);
}

/** Before there is a message: by HTTP alone. */
static int refuse(exchange_t *x, int status)
{
    request_rec *r = x->visit.r;

    log_refusal(x);
    wstep_audit(x->visit.event, r->pool);
    return send_text(r, status, apr_pstrcat(r->pool, x->result.number, ": ", x->result.message,
                                            ". ", x->result.action, "\n", NULL));
}

/* What has to be right before a message is read */

static int is_soap(request_rec *r)
{
    const char *type = apr_table_get(r->headers_in, "Content-Type");

    return type && !strncasecmp(type, "application/soap+xml", 20)
           && (!type[20] || strchr("; \t", type[20]));
}

/** @return OK, or the status of an answer that was sent */
static int check_request(exchange_t *x, int *answered)
{
    request_rec *r = x->visit.r;
    int wait;

    *answered = 1;
    if (strcmp(ap_http_scheme(r), "https") != 0) {
        gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_REQUEST, "http.tls",
                       "Use https. Behind a balancer that ends TLS, ServerName https://NAME says "
                       "that it does.",
                       GHNO(1462) "passwords and requests are taken over TLS alone");
        return refuse(x, HTTP_FORBIDDEN);
    }
    if (!is_soap(r)) {
        gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_MALFORMED, "http.type",
                       "Send SOAP 1.2.",
                       GHNO(1463) "the body is not of type application/soap+xml");
        return refuse(x, HTTP_UNSUPPORTED_MEDIA_TYPE);
    }
    if (!wstep_child_gate()) {
        gh_result_fail(&x->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "node.memory",
                       "See the error log of the start of this process.",
                       GHNO(1521) "this process could not have the shared memory of its limits");
        return refuse(x, HTTP_SERVICE_UNAVAILABLE);
    }
    /* wrong passwords keep nobody out who shows none */
    wait = x->entry->endpoint.authentication == WSTEP_USERTOKEN
        ? gh_limiter_blocked(wstep_child_gate(), r->useragent_ip, r->request_time) : 0;
    if (wait) {
        apr_table_setn(r->headers_out, "Retry-After", apr_itoa(r->pool, wait));
        gh_result_fail(&x->result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, "user.failures",
                       "Wait, and look at user name and password.",
                       GHNO(1464) "there were too many wrong passwords from this address");
        return refuse(x, HTTP_SERVICE_UNAVAILABLE);
    }
    if (x->entry->endpoint.authentication == WSTEP_KERBEROS
        && wstep_kerberos_shown(r, &x->result) != APR_SUCCESS) {
        wstep_kerberos_challenge(r);
        return refuse(x, HTTP_UNAUTHORIZED);
    }
    *answered = 0;
    return OK;
}

/** @return APR_EINVAL with result if it cannot be read or is too large */
static apr_status_t read_body(exchange_t *x, gh_bytes_t *body)
{
    request_rec *r = x->visit.r;
    apr_size_t size = WSTEP_XML_SIZE_MAX + 1;
    unsigned char *data;
    int status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);
    long got = status == OK ? 1 : -1;

    memset(body, 0, sizeof(*body));
    if (status == OK && !r->read_chunked && r->remaining < (apr_off_t)size) {
        size = (apr_size_t)r->remaining + 1;
    }
    body->data = data = apr_palloc(r->pool, size);
    if (status == OK && r->remaining <= WSTEP_XML_SIZE_MAX && ap_should_client_block(r)) {
        while (body->length < size
               && (got = ap_get_client_block(r, (char *)data + body->length,
                                             size - body->length)) > 0) {
            body->length += (apr_size_t)got;
        }
    }
    if (got >= 0 && r->remaining <= WSTEP_XML_SIZE_MAX && body->length <= WSTEP_XML_SIZE_MAX) {
        return APR_SUCCESS;
    }
    r->connection->keepalive = AP_CONN_CLOSE;
    x->fault.kind = WSTEP_FAULT_MALFORMED;
    return gh_result_fail(&x->result, APR_EINVAL, GH_FAILURE_MALFORMED, "http.body",
                          "Send one request.",
                          GHNO(1465) "the body cannot be read, or has more than %d bytes",
                          WSTEP_XML_SIZE_MAX);
}

/* Work */

static apr_status_t answer_policy(exchange_t *x, wstep_engine_t *engine)
{
    request_rec *r = x->visit.r;
    const gh_directory_account_t *account = NULL;
    xcep_request_t request;
    xcep_policy_t policy;
    apr_status_t rv = xcep_request_read(&request, &x->soap, r->pool, &x->result);

    if (rv == APR_SUCCESS) {
        rv = wstep_engine_account(engine, &x->caller, &account, r->pool, &x->result);
    }
    if (rv != APR_SUCCESS) {
        x->fault.kind = wstep_fault_of(&x->result);
        return rv;
    }
    rv = wstep_policy_make(&policy, x->entry, &x->caller, account,
                           wstep_engine_catalogue(engine, wstep_request_log(r), r->pool),
                           r->pool, &x->result);
    if (rv != APR_SUCCESS) {
        x->fault.kind = wstep_fault_of(&x->result);
        return rv;
    }
    x->visit.event->result = "done";
    return xcep_answer_write(&x->xml, &policy, &request, x->soap.message_id,
                             x->entry->endpoint.authentication == WSTEP_KERBEROS ? 0
                                                                                 : r->request_time,
                             r->pool);
}

static apr_status_t answer_request(exchange_t *x, wstep_engine_t *engine)
{
    request_rec *r = x->visit.r;
    wstep_message_t message;
    wstep_request_t request;
    wstep_answer_t answer;
    apr_status_t rv = wstep_request_read(&request, &x->soap, &x->fault.kind, r->pool, &x->result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    memset(&answer, 0, sizeof(answer));
    wstep_fill_message(&message, &x->visit);
    rv = wstep_engine_operate(engine, &x->entry->endpoint, &x->caller, &request, &message, &answer,
                              &x->fault, r->pool, &x->result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return wstep_answer_write(&x->xml, &answer, x->soap.message_id,
                              x->entry->endpoint.authentication == WSTEP_KERBEROS
                                  ? 0 : r->request_time, r->pool);
}

static apr_status_t work(exchange_t *x, gh_bytes_t body)
{
    request_rec *r = x->visit.r;
    wstep_engine_t *engine = wstep_child_engine();
    apr_status_t rv;

    if (!engine) {
        x->fault.kind = WSTEP_FAULT_UNAVAILABLE;
        return gh_result_fail(&x->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "engine.none",
                              "Try again later, or at another URL.",
                              GHNO(1466) "the store of this server is not open");
    }
    rv = wstep_soap_read(&x->soap, body, r->pool, &x->result);
    if (rv != APR_SUCCESS) {
        x->fault.kind = wstep_fault_of(&x->result);
        return rv;
    }
    rv = wstep_authenticate(&x->caller, r, x->entry, engine, &x->soap, &x->fault.kind,
                            &x->result);
    x->visit.event->user = x->caller.user.written;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    x->fault.kind = WSTEP_FAULT_NONE;
    return x->entry->policy ? answer_policy(x, engine) : answer_request(x, engine);
}

static int operate(exchange_t *x)
{
    request_rec *r = x->visit.r;
    gh_bytes_t body;
    int answered, status = check_request(x, &answered);
    apr_status_t rv;

    if (answered) {
        return status;
    }
    rv = read_body(x, &body);
    if (rv != APR_SUCCESS) {
        return send_fault(x);
    }
    x->visit.inside = gh_limiter_enter(wstep_child_gate());
    if (!x->visit.inside) {
        apr_table_setn(r->headers_out, "Retry-After", "1");
        gh_result_fail(&x->result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, "engine.busy",
                       "Try again in a second.", GHNO(1467) "too many messages are worked on");
        return refuse(x, HTTP_SERVICE_UNAVAILABLE);
    }
    wstep_begin_work(r);
    rv = work(x, body);
    /* there may be a password in it */
    OPENSSL_cleanse((void *)body.data, body.length);
    if (rv == APR_SUCCESS) {
        wstep_audit(x->visit.event, r->pool);
    }
    wstep_end_work();
    if (x->visit.inside) {
        gh_limiter_leave(wstep_child_gate());
    }
    if (rv != APR_SUCCESS && x->fault.kind == WSTEP_FAULT_NONE) {
        x->fault.kind = WSTEP_FAULT_INTERNAL;
    }
    return rv == APR_SUCCESS ? send_xml(r, HTTP_OK, x->xml) : send_fault(x);
}

const wstep_entry_t *wstep_find_entry(const request_rec *r)
{
    const wstep_server_t *server = wstep_server(r->server);
    wstep_url_t url;

    if (!server->entries || wstep_url_parse(&url, r->uri, r->pool) != APR_SUCCESS) {
        return NULL;
    }
    return apr_hash_get(server->entries, wstep_url_path(&url, r->pool), APR_HASH_KEY_STRING);
}

static void begin_event(exchange_t *x)
{
    gh_audit_event_t *event = x->visit.event;

    event->protocol = x->entry && x->entry->policy ? "xcep" : "wstep";
    event->event = !x->entry ? "route" : x->entry->policy ? "policies" : "enrol";
    if (x->entry) {
        event->tenant = x->entry->endpoint.tenant;
        event->issuer = x->entry->endpoint.issuer;
    }
}

int wstep_handler(request_rec *r)
{
    exchange_t *x;

    if (!r->handler || strcmp(r->handler, WSTEP_HANDLER) != 0) {
        return DECLINED;
    }
    x = apr_pcalloc(r->pool, sizeof(*x));
    x->visit.r = r;
    x->visit.event = wstep_audit_event(r);
    x->entry = wstep_find_entry(r);
    gh_result_clear(&x->result);
    begin_event(x);
    if (!x->entry) {
        ap_discard_request_body(r);
        gh_result_fail(&x->result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "route",
                       "Ask for /wstep/<authentication>/services/<tenant>/<issuer>, or "
                       "/xcep/<authentication>/services/<tenant>; case matters.",
                       GHNO(1468) "nothing is served at %.300s", r->uri);
        return refuse(x, HTTP_NOT_FOUND);
    }
    wstep_request_id(r);
    if (r->method_number == M_GET) {
        /* administrators try URLs with a browser */
        ap_discard_request_body(r);
        return send_text(r, HTTP_OK, x->entry->policy
                             ? "Certificate enrolment policies are here (MS-XCEP).\n"
                             : "Certificates are enrolled for here (MS-WSTEP).\n");
    }
    if (r->method_number != M_POST) {
        ap_discard_request_body(r);
        apr_table_setn(r->headers_out, "Allow", "GET, HEAD, POST");
        gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_MALFORMED, "http.method", "Use POST.",
                       GHNO(1469) "method %.20s is not served here", r->method);
        return refuse(x, HTTP_METHOD_NOT_ALLOWED);
    }
    return operate(x);
}

int wstep_map_to_storage(request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    const char *error = NULL;
    const char *handler = core->handler;

    if (!wstep_location_serves(r->uri)) {
        return DECLINED;
    }
    if (core->expr_handler) {
        handler = ap_expr_str_exec(r, core->expr_handler, &error);
    }
    return handler && !error && !strcmp(handler, WSTEP_HANDLER) ? OK : DECLINED;
}
