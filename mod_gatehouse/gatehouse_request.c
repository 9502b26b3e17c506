/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a request brings with it: its id, who it comes from, values for profiles. */

#include <apr_strings.h>

#include "gatehouse_private.h"
#include "gatehouse_values.h"
#include "log.h"
#include "text.h"

#define REQUEST_ID "X-Request-Id"

/** Longest id of a client that is recorded. */
#define CLIENT_ID_MAX 128

typedef struct {
    const char *id;
    const char *client_id;
} request_t;

/* Sub-requests and internal redirects are the same request for whoever reads logs. */
static request_rec *first_request(request_rec *r)
{
    while (r->main || r->prev) {
        r = r->main ? r->main : r->prev;
    }
    return r;
}

static request_t *request_of(request_rec *r)
{
    request_rec *first = first_request(r);
    request_t *request = ap_get_module_config(first->request_config, &gatehouse_module);
    const char *client_id;

    if (!request) {
        request = apr_pcalloc(first->pool, sizeof(*request));
        request->id = gh_random_id(first->pool);
        if (!request->id) {
            request->id = "-";
        }
        client_id = apr_table_get(first->headers_in, REQUEST_ID);
        if (client_id && *client_id) {
            request->client_id = gatehouse_printable(first->pool, client_id, CLIENT_ID_MAX);
        }
        ap_set_module_config(first->request_config, &gatehouse_module, request);
    }
    return request;
}

/* These headers go with every answer, good or bad; being in headers_out too would send it twice. */
static void announce(request_rec *r, const request_t *request)
{
    apr_table_unset(r->headers_out, REQUEST_ID);
    apr_table_setn(r->err_headers_out, REQUEST_ID, request->id);
}

const char *gatehouse_request_id(request_rec *r)
{
    const request_t *request = request_of(r);

    announce(r, request);
    return request->id;
}

gh_audit_event_t *gatehouse_audit_event(request_rec *r)
{
    const gatehouse_settings_t *settings = gatehouse_settings();
    const request_t *request = request_of(r);
    gh_audit_event_t *event = apr_pcalloc(r->pool, sizeof(*event));

    announce(r, request);
    event->time = apr_time_now();
    event->id = request->id;
    event->node = settings ? settings->node : NULL;
    event->client = r->useragent_ip;
    event->user = r->user;
    event->client_request_id = request->client_id;
    return event;
}

apr_status_t gatehouse_expand(void *request, const char *expression, apr_pool_t *p,
                              const char **value)
{
    request_rec *r = request;
    const gatehouse_settings_t *settings = gatehouse_settings();
    const ap_expr_info_t *compiled
        = settings ? apr_hash_get(settings->expressions, expression, APR_HASH_KEY_STRING) : NULL;
    const char *err = NULL;
    const char *text;

    *value = NULL;
    if (!compiled) {
        gh_log(gatehouse_request_log(r), GH_LOG_ERROR, 0, GHNO(0309) "the expression \"%s\" of a "
               "profile was not there when the configuration was read", expression);
        return APR_NOTFOUND;
    }
    text = ap_expr_str_exec(r, compiled, &err);
    if (err || !text) {
        gh_log(gatehouse_request_log(r), GH_LOG_ERROR, 0, GHNO(0310) "the expression \"%s\" of a "
               "profile cannot be evaluated: %s", expression, err ? err : "no value");
        return APR_EGENERAL;
    }
    *value = apr_pstrdup(p, text);
    return APR_SUCCESS;
}
