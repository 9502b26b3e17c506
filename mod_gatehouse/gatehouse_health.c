/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * SetHandler gatehouse-health: whether this node should get requests, for balancers and people.
 * 200 if requests can be answered, 503 otherwise, and JSON that says what was looked at. It looks
 * at what the process knows; nothing is asked that could make it wait.
 */

#include <stdlib.h>
#include <string.h>
#include <httpd.h>
#include <http_protocol.h>
#include <http_request.h>
#include <apr_strings.h>
#include <jansson.h>

#include "gatehouse_private.h"

struct gatehouse_health {
    json_t *checks;
    int ok;
    int degraded;
};

static apr_array_header_t *others;      /* gatehouse_health_fn *; lives in pconf */

static apr_status_t forget_others(void *data)
{
    others = NULL;
    return APR_SUCCESS;
}

void gatehouse_register_health(gatehouse_health_fn *fn, apr_pool_t *pconf)
{
    if (!others) {
        others = apr_array_make(pconf, 4, sizeof(gatehouse_health_fn *));
        apr_pool_cleanup_register(pconf, NULL, forget_others, apr_pool_cleanup_null);
    }
    APR_ARRAY_PUSH(others, gatehouse_health_fn *) = fn;
}

static void add_check(gatehouse_health_t *health, const char *name, int ok, const char *message)
{
    json_t *check = json_object();
    json_t *text = json_string(message);

    json_object_set_new(check, "name", json_string(name));
    json_object_set_new(check, "ok", json_boolean(ok));
    json_object_set_new(check, "message", text ? text : json_string(""));
    json_array_append_new(health->checks, check);
}

void gatehouse_add_health(gatehouse_health_t *health, const char *name, int ok,
                          const char *message)
{
    add_check(health, name, ok, message);
    health->ok &= ok != 0;
}

void gatehouse_add_degraded(gatehouse_health_t *health, const char *name, const char *message)
{
    add_check(health, name, 0, message);
    health->degraded = 1;
}

static void check_store(gatehouse_health_t *health)
{
    const gatehouse_service_t *service = gatehouse_service();
    const gatehouse_settings_t *settings = gatehouse_settings();

    if (!settings || !settings->store) {
        return;
    }
    if (!service) {
        gatehouse_add_health(health, "store", 0, "it is not open");
    }
    else if (gh_store_stopped(service->store)) {
        gatehouse_add_health(health, "store", 0, "it accepts no writes after a failed flush");
    }
    else {
        gatehouse_add_health(health, "store", gatehouse_follower_keeps_up(),
                             gatehouse_follower_keeps_up() ? "it answers" : "it does not answer");
    }
}

static int send_json(request_rec *r, const json_t *json, int status)
{
    char *text = json_dumps(json, JSON_COMPACT);

    if (!text) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    r->status = status;
    ap_set_content_type(r, "application/json");
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    ap_rputs(text, r);
    ap_rputs("\n", r);
    free(text);
    return OK;
}

int gatehouse_health_handler(request_rec *r)
{
    gatehouse_health_t health = { NULL, 1, 0 };
    json_t *json;
    int i, status;

    if (!r->handler || strcmp(r->handler, "gatehouse-health")) {
        return DECLINED;
    }
    ap_allow_standard_methods(r, MERGE_ALLOW, M_GET, -1);
    if (r->method_number != M_GET) {
        return HTTP_METHOD_NOT_ALLOWED;
    }
    health.checks = json_array();
    check_store(&health);
    for (i = 0; others && i < others->nelts; ++i) {
        APR_ARRAY_IDX(others, i, gatehouse_health_fn *)(&health, r->pool);
    }
    json = json_pack("{s:s, s:o}", "status", !health.ok ? "failing" : health.degraded ? "degraded"
                     : "ok", "checks", health.checks);
    status = send_json(r, json, health.ok ? HTTP_OK : HTTP_SERVICE_UNAVAILABLE);
    json_decref(json);
    return status;
}
