/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The API: which request is for whom, and what all of them have in common. */

#include "mod_escrow/escrow_api.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>

#include "log.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_events.h"
#include "mod_escrow/escrow_problem.h"
#include "mod_escrow/escrow_uem.h"
#include "mod_escrow/escrow_vault.h"
#include "mod_escrow/thumbprint.h"
#include "status.h"

#define RULE "escrow.request"

typedef struct {
    const char *path;
    int below;                  /* what follows the path, behind a '/', is for the function */
    const char *method;         /* HEAD goes with GET */
    const char *event;          /* for logs, if it is refused */
    int vault;                  /* needs the vault */
    unsigned roles;             /* one of them is needed; 0: none */
    escrow_call_fn *call;
} route_t;

static const route_t routes[] = {
    { "/v2/certificates", 0, "POST", "upload", 1, ESCROW_ROLE_PROVIDER, escrow_api_upload },
    { "/v2/certificates", 0, "GET", "list", 0, ESCROW_ROLE_PROVIDER, escrow_api_list },
    { "/v2/certificates", 0, "DELETE", "remove", 0, ESCROW_ROLE_PROVIDER, escrow_api_remove },
    { "/v2/certificates/status", 0, "GET", "status", 0, ESCROW_ROLE_UEM, escrow_api_status },
    { "/v1/profiles", 0, "POST", "profile", 1, ESCROW_ROLE_UEM, escrow_api_skeleton },
    { "/v1/profiles", 1, "GET", "profile", 0, ESCROW_ROLE_UEM, escrow_api_profile },
    { "/v1/profiles", 1, "DELETE", "cancel", 0, ESCROW_ROLE_UEM, escrow_api_cancel },
    { "/v1/events", 0, "POST", "provide", 1, ESCROW_ROLE_PROVIDER, escrow_api_event },
    { "/v1/hc", 0, "GET", "hc", 0, 0, escrow_api_hc },
    { "/v1/openapi.json", 0, "GET", "document", 0, 0, escrow_api_document }
};

#define ROUTES (sizeof(routes) / sizeof(routes[0]))

/** @param rest of the path @return 1 if a path is that of a route */
static int fits(const route_t *route, const char *path, const char **rest)
{
    apr_size_t length = strlen(route->path);

    *rest = "";
    if (!route->below) {
        return !strcmp(path, route->path);
    }
    if (strncmp(path, route->path, length) || path[length] != '/') {
        return 0;
    }
    *rest = path + length + 1;
    return **rest && !strchr(*rest, '/');
}

/** @param allowed methods of that path, NULL if it has none */
static const route_t *find_route(request_rec *r, const char **rest, const char **allowed)
{
    const route_t *found = NULL;
    apr_size_t i;

    *allowed = NULL;
    for (i = 0; i < ROUTES; ++i) {
        const char *behind;

        if (fits(&routes[i], r->uri, &behind)) {
            const char *name = !strcmp(routes[i].method, "GET") ? "GET, HEAD" : routes[i].method;

            *allowed = *allowed ? apr_pstrcat(r->pool, *allowed, ", ", name, NULL) : name;
            if (!strcmp(r->method, routes[i].method)
                || (!strcmp(r->method, "HEAD") && !strcmp(routes[i].method, "GET"))) {
                found = &routes[i];
                *rest = behind;
            }
        }
    }
    return found;
}

static int is_type(const char *value, const char *type)
{
    apr_size_t length = strlen(type);

    while (*value == ' ' || *value == '\t') {
        ++value;
    }
    return !ap_cstr_casecmpn(value, type, length)
        && (!value[length] || strchr(" \t;,", value[length]));
}

/** Whether a client takes JSON (RFC 9110 12.5.1). What it takes less gladly it still takes. */
static int takes_json(request_rec *r)
{
    static const char *const types[] = {
        "*/*", "application/*", "application/json", "application/problem+json"
    };
    const char *accept = apr_table_get(r->headers_in, "Accept");
    char *copy, *part, *state;
    apr_size_t i;

    if (!accept || !*accept) {
        return 1;
    }
    copy = apr_pstrdup(r->pool, accept);
    for (part = apr_strtok(copy, ",", &state); part; part = apr_strtok(NULL, ",", &state)) {
        for (i = 0; i < sizeof(types) / sizeof(types[0]); ++i) {
            if (is_type(part, types[i])) {
                return 1;
            }
        }
    }
    return 0;
}

void escrow_api_send(request_rec *r, int status, const char *json)
{
    apr_size_t length = strlen(json);

    escrow_gatehouse()->request_id(r);
    r->status = status;
    ap_set_content_type(r, "application/json");
    ap_set_content_length(r, (apr_off_t)length);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    if (!r->header_only) {
        ap_rwrite(json, (int)length, r);
    }
}

static int refuse(request_rec *r, const char *event, int status, const gh_result_t *result)
{
    escrow_problem_tell(r, event, result);
    return escrow_problem_send(r, status ? status : escrow_problem_status(result), result);
}

/** A body that was not read to its end would be taken for the next request. */
static void give_up_connection(request_rec *r)
{
    r->connection->keepalive = AP_CONN_CLOSE;
}

static int refuse_body(request_rec *r, const route_t *route, int status, apr_size_t most)
{
    gh_result_t result;

    give_up_connection(r);
    if (status == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Send less, or have EscrowMaxBody raised.",
                       GHNO(1229) "the body has more than %" APR_SIZE_T_FMT " bytes", most);
    }
    else {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE, "Send it again.",
                       GHNO(1230) "the body cannot be read");
    }
    return refuse(r, route->event, status == HTTP_REQUEST_ENTITY_TOO_LARGE ? status
                  : HTTP_BAD_REQUEST, &result);
}

/** Whether the client has the role that a route takes: Require may have been said in another way,
 *  as "Require valid-user", which lets in whoever has a certificate. @return 0, or a status */
static int look_at_role(request_rec *r, const route_t *route, gh_result_t *result)
{
    const escrow_section_t *section = ap_get_module_config(r->per_dir_config, &escrow_module);
    const char *role = escrow_role_name(route->roles);
    apr_status_t rv;

    if (!route->roles || section->roles == ESCROW_ROLES_NONE_NEEDED) {
        return 0;
    }
    rv = thumbprint_role(r, route->roles);
    if (rv == APR_SUCCESS) {
        return 0;
    }
    if (rv == GH_EUNAVAILABLE) {
        gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, RULE,
                       "See what the log says of the store.",
                       GHNO(1455) "it is not known whether the client has the role %s: the store "
                       "has not answered", role);
        return HTTP_SERVICE_UNAVAILABLE;
    }
    gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                   "Pin the certificate with this role; or let Require thumbprint give it, or say "
                   "EscrowRoles any where others are let in on purpose.",
                   GHNO(1456) "this takes the role %s, which %.100s has not", role, r->user);
    return HTTP_FORBIDDEN;
}

/** What speaks against a request, before its body is read. @return 0: nothing; or a status */
static int look_at_request(request_rec *r, const route_t *route, const char *allowed,
                           gh_result_t *result)
{
    const char *type = apr_table_get(r->headers_in, "Content-Type");

    if (!allowed) {
        gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, RULE,
                       "See /v1/openapi.json for what there is.",
                       GHNO(1231) "the escrow has nothing of this path");
        return HTTP_NOT_FOUND;
    }
    if (!route) {
        apr_table_setn(r->headers_out, "Allow", allowed);
        gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "See the header Allow for those that are.",
                       GHNO(1232) "this method is not served here");
        return HTTP_METHOD_NOT_ALLOWED;
    }
    if (!takes_json(r)) {
        gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Accept application/json.",
                       GHNO(1233) "the client does not take JSON");
        return HTTP_NOT_ACCEPTABLE;
    }
    if (!strcmp(route->method, "POST") && (!type || !is_type(type, "application/json"))) {
        gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Send it with Content-Type: application/json.",
                       GHNO(1234) "the body is not said to be JSON");
        return HTTP_UNSUPPORTED_MEDIA_TYPE;
    }
    /* a location that lets everybody in is a mistake: keys could be planted */
    if (route->call == escrow_api_event && escrow_events_signed(r)) {
        return 0;
    }
    if (!r->user) {
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                       "Protect the location: AuthType gatehouse-cert and Require thumbprint.",
                       GHNO(1235) "nobody has been authenticated here");
        return HTTP_FORBIDDEN;
    }
    return look_at_role(r, route, result);
}

/** @return 0, or a status */
static int prepare(escrow_call_t *call, const route_t *route, gh_result_t *result)
{
    const gatehouse_service_t *service = escrow_gatehouse()->service();

    call->settings = escrow_settings_now();
    call->keep.vault = escrow_vault();
    if (!service || !service->store || (route->vault && !call->keep.vault)) {
        gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "See the error log of the start of httpd.",
                       GHNO(1236) "%s cannot be had", service && service->store
                       ? "the vault" : "the store");
        return HTTP_SERVICE_UNAVAILABLE;
    }
    call->keep.store = service->store;
    call->keep.lives = escrow_uem_lives();
    call->keep.patience = call->settings->patience;
    return 0;
}

static int answer(request_rec *r, const route_t *route, const char *rest)
{
    escrow_call_t call = { .r = r, .provider = r->user, .rest = rest };
    gh_result_t result;
    apr_status_t rv;
    int status;

    gh_result_clear(&result);
    if ((status = prepare(&call, route, &result)) != 0) {
        give_up_connection(r);
        return refuse(r, route->event, status, &result);
    }
    if (!strcmp(route->method, "POST")
        && (status = escrow_api_read_body(r, call.settings->max_body, &call.body)) != OK) {
        return refuse_body(r, route, status, call.settings->max_body);
    }
    escrow_gatehouse()->begin_work(r);
    rv = route->call(&call, &result);
    escrow_gatehouse()->end_work();
    if (rv == APR_SUCCESS) {
        return DONE;
    }
    if (!*result.number) {
        gh_result_fail(&result, rv, GH_FAILURE_INTERNAL, RULE,
                       "See the lines before in the error log.",
                       GHNO(1237) "a request of the escrow cannot be answered");
    }
    return refuse(r, route->event, 0, &result);
}

int escrow_api_handler(request_rec *r)
{
    const char *rest = "", *allowed;
    const route_t *route;
    gh_result_t result;
    int status;

    if (!r->handler || strcmp(r->handler, ESCROW_HANDLER)) {
        return DECLINED;
    }
    r->allowed = 0;
    gh_result_clear(&result);
    route = find_route(r, &rest, &allowed);
    if ((status = look_at_request(r, route, allowed, &result)) != 0) {
        give_up_connection(r);
        return refuse(r, route ? route->event : "request", status, &result);
    }
    return answer(r, route, rest);
}
