/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the pages that make challenges have in common, and the one for programs. */

#include "mod_scep/scep_web.h"

#include <string.h>

#include <apr_strings.h>
#include <http_log.h>
#include <http_main.h>
#include <http_protocol.h>
#include <http_ssl.h>
#include <jansson.h>

#include "log.h"
#include "mod_scep/scep_mdm.h"
#include "status.h"

APLOG_USE_MODULE(scep);

#define JSON_TYPE       "application/json"
#define PROBLEM_TYPE    "application/problem+json"
#define BODY_MAX        16384
#define LIFETIME_MAX    apr_time_from_sec(366 * 86400)

/** What mod_gatehouse offers. */
static struct {
    APR_OPTIONAL_FN_TYPE(gatehouse_config) *config;
    APR_OPTIONAL_FN_TYPE(gatehouse_service) *service;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_id) *request_id;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit_event) *audit_event;
    APR_OPTIONAL_FN_TYPE(gatehouse_audit) *audit;
    APR_OPTIONAL_FN_TYPE(gatehouse_request_log) *request_log;
    APR_OPTIONAL_FN_TYPE(gatehouse_begin_work) *begin_work;
    APR_OPTIONAL_FN_TYPE(gatehouse_end_work) *end_work;
} gatehouse;

void scep_web_find_gatehouse(void)
{
    gatehouse.config = APR_RETRIEVE_OPTIONAL_FN(gatehouse_config);
    gatehouse.service = APR_RETRIEVE_OPTIONAL_FN(gatehouse_service);
    gatehouse.request_id = APR_RETRIEVE_OPTIONAL_FN(gatehouse_request_id);
    gatehouse.audit_event = APR_RETRIEVE_OPTIONAL_FN(gatehouse_audit_event);
    gatehouse.audit = APR_RETRIEVE_OPTIONAL_FN(gatehouse_audit);
    gatehouse.request_log = APR_RETRIEVE_OPTIONAL_FN(gatehouse_request_log);
    gatehouse.begin_work = APR_RETRIEVE_OPTIONAL_FN(gatehouse_begin_work);
    gatehouse.end_work = APR_RETRIEVE_OPTIONAL_FN(gatehouse_end_work);
}

/* Answers */

int scep_web_send(request_rec *r, int status, const char *type, gh_bytes_t body)
{
    r->status = status;
    ap_set_content_type(r, type);
    ap_set_content_length(r, (apr_off_t)body.length);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    if (!r->header_only) {
        ap_rwrite(body.data, (int)body.length, r);
    }
    return DONE;
}

/** @param json taken over; NULL: no memory */
static int send_json(request_rec *r, int status, const char *type, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    gh_bytes_t body = { (const unsigned char *)"", 0 };

    if (text) {
        body.length = strlen(text) + 1;
        body.data = apr_pmemdup(r->pool, text, body.length);
        ((char *)body.data)[body.length - 1] = '\n';
        memset(text, 0, body.length - 1);
        free(text);
    }
    json_decref(json);
    return scep_web_send(r, text ? status : HTTP_INTERNAL_SERVER_ERROR, type, body);
}

int scep_web_json(request_rec *r, int status, void *json)
{
    return send_json(r, status, JSON_TYPE, json);
}

gh_audit_event_t *scep_web_event(scep_web_request_t *w)
{
    gh_audit_event_t *event = gatehouse.audit_event(w->r);

    event->event = w->event ? w->event : "challenge";
    event->protocol = w->protocol;
    event->user = w->user ? w->user : event->user;
    if (w->entry) {
        event->tenant = w->entry->endpoint.tenant;
        event->issuer = w->entry->endpoint.issuer;
        event->profile = gh_profile_name(w->entry->endpoint.profile);
    }
    if (w->digital) {
        event->tenant = w->digital->tenant;
        event->issuer = w->digital->issuer;
        event->profile = gh_profile_name(w->digital->certificate_profile);
    }
    return event;
}

void scep_web_audit(scep_web_request_t *w, const gh_audit_event_t *event)
{
    gatehouse.audit(event, w->r->pool);
}

void scep_web_begin_work(scep_web_request_t *w)
{
    gatehouse.begin_work(w->r);
}

void scep_web_end_work(void)
{
    gatehouse.end_work();
}

void scep_web_tell(scep_web_request_t *w, const gh_result_t *result)
{
    gh_audit_event_t *event = scep_web_event(w);
    int ours = result->failure == GH_FAILURE_UNAVAILABLE || result->failure == GH_FAILURE_INTERNAL;

    gh_audit_take_result(event, result, w->r->pool);
    gatehouse.audit(event, w->r->pool);
    gh_log(gatehouse.request_log(w->r), ours ? GH_LOG_ERROR : GH_LOG_INFO, APR_SUCCESS, "%s: %s",
           result->number, result->message);
}

int scep_web_refuse(scep_web_request_t *w, int status, gh_result_t *result)
{
    const char *line = ap_get_status_line(status);
    const char *detail = result->message;

    scep_web_tell(w, result);
    if (status >= HTTP_INTERNAL_SERVER_ERROR) {
        /* messages may name hosts and files of ours */
        detail = "the log of the server says why";
    }
    if (status == HTTP_SERVICE_UNAVAILABLE) {
        apr_table_setn(w->r->headers_out, "Retry-After", "10");
    }
    return send_json(w->r, status, PROBLEM_TYPE,
                     json_pack("{s:s, s:i, s:s, s:s, s:s}", "title", line + 4, "status", status,
                               "detail", detail, "gh", result->number, "action",
                               status < HTTP_INTERNAL_SERVER_ERROR ? result->action : ""));
}

int scep_web_fail(scep_web_request_t *w, gh_result_t *result)
{
    int status;

    switch (result->failure) {
    case GH_FAILURE_DENIED:
        status = HTTP_FORBIDDEN;
        break;
    case GH_FAILURE_NOT_FOUND:
        status = HTTP_NOT_FOUND;
        break;
    case GH_FAILURE_CONFLICT:
        status = HTTP_CONFLICT;
        break;
    case GH_FAILURE_UNAVAILABLE:
        status = HTTP_SERVICE_UNAVAILABLE;
        break;
    case GH_FAILURE_MALFORMED:
    case GH_FAILURE_REQUEST:
        status = HTTP_BAD_REQUEST;
        break;
    default:
        status = HTTP_INTERNAL_SERVER_ERROR;
        break;
    }
    return scep_web_refuse(w, status, result);
}

/* Who asks */

static int is_loopback(const char *address)
{
    return address && (!strncmp(address, "127.", 4) || !strcmp(address, "::1"));
}

/** The answer is a secret. A proxy on this machine may have it from anywhere, and mod_remoteip may
 *  know that. */
static int is_private(const scep_web_request_t *w)
{
    return ap_ssl_conn_is_ssl(w->r->connection) || w->web->plain == 1
           || (is_loopback(w->r->connection->client_ip) && is_loopback(w->r->useragent_ip));
}

int scep_web_note_user(request_rec *r)
{
    const scep_section_t *section = ap_get_module_config(r->per_dir_config, &scep_module);
    const char *type = ((section && section->web) || scep_mdm_is_handler(r)) && r->user
                           ? ap_auth_type(r) : NULL;

    if (type && ap_cstr_casecmp(type, "none") != 0) {
        ap_set_module_config(r->request_config, &scep_module, apr_pstrdup(r->pool, r->user));
    }
    return DECLINED;
}

static const char *ssl_variable(request_rec *r, const char *name)
{
    const char *value = ap_ssl_conn_is_ssl(r->connection)
                            ? ap_ssl_var_lookup(r->pool, r->server, r->connection, r, name) : NULL;

    return value && *value ? value : NULL;
}

/** The user whom httpd has authenticated, or else the certificate that it has verified. */
static void find_user(scep_web_request_t *w)
{
    char *user = ap_get_module_config(w->r->request_config, &scep_module);
    const char *verified;

    if (user && *user) {
        w->user = w->name = w->r->user = user;
        return;
    }
    verified = ssl_variable(w->r, "SSL_CLIENT_VERIFY");
    if (verified && !strcmp(verified, "SUCCESS")) {
        w->user = ssl_variable(w->r, "SSL_CLIENT_S_DN");
        w->name = ssl_variable(w->r, "SSL_CLIENT_S_DN_CN");
    }
}

static int refuse_method(scep_web_request_t *w, const char *method)
{
    gh_result_t result;

    apr_table_setn(w->r->headers_out, "Allow", method);
    gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_MALFORMED, "http.method", "Use the method that "
                   "Allow names.",
                   GHNO(0519) "method %.20s is not served here", w->r->method);
    return scep_web_refuse(w, HTTP_METHOD_NOT_ALLOWED, &result);
}

static int check_permission(scep_web_request_t *w, int (*denied)(scep_web_request_t *w))
{
    const char *error = NULL;
    gh_result_t result;

    if (!w->web->permit || ap_expr_exec(w->r, w->web->permit, &error) > 0) {
        return OK;
    }
    gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.permit",
                   "SCEPChallengePermit says who may.",
                   GHNO(0520) "%.200s may not have challenges here%s%s", w->user,
                   error ? ": " : "", error ? error : "");
    if (!denied) {
        return scep_web_refuse(w, HTTP_FORBIDDEN, &result);
    }
    scep_web_tell(w, &result);
    return denied(w);
}

static int check_client(scep_web_request_t *w, int (*denied)(scep_web_request_t *w))
{
    gh_result_t result;

    if (!is_private(w)) {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.plain",
                       "Use https. If a proxy does so for this server: SCEPChallengePlain on.",
                       GHNO(0521) "challenges are not sent over a connection without TLS");
        return scep_web_refuse(w, HTTP_FORBIDDEN, &result);
    }
    find_user(w);
    if (!w->user) {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.user",
                       "Let httpd authenticate users here: AuthType and Require, or "
                       "SSLVerifyClient require.",
                       GHNO(0522) "challenges are given to authenticated users only");
        return scep_web_refuse(w, HTTP_FORBIDDEN, &result);
    }
    return check_permission(w, denied);
}

int scep_web_begin(scep_web_request_t *w, request_rec *r, const char *protocol, const char *method,
                   int (*denied)(scep_web_request_t *w))
{
    static const scep_web_t nothing = { .plain = -1 };
    const scep_section_t *section = ap_get_module_config(r->per_dir_config, &scep_module);
    gh_result_t result;
    int answered;

    memset(w, 0, sizeof(*w));
    w->r = r;
    w->web = section && section->web ? section->web : &nothing;
    w->protocol = protocol;
    w->config = gatehouse.config();
    w->service = gatehouse.service();
    gatehouse.request_id(r);
    /* HEAD has no effect (RFC 9110 9.2.1); these pages have */
    answered = r->header_only || strcmp(r->method, method) ? refuse_method(w, method)
                                                            : check_client(w, denied);
    if (answered == OK && (!w->config || !w->service || !w->service->store)) {
        gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL, "Try again later.",
                       GHNO(0523) "no challenge can be made now: the store of this server is not "
                                 "open");
        answered = scep_web_fail(w, &result);
    }
    return answered;
}

/* Challenges */

static int no_target(scep_web_request_t *w, const char *tenant, const char *issuer,
                     const char *profile)
{
    gh_result_t result;

    gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.for",
                   "SCEPChallengeFor says for which endpoints challenges are made here.",
                   GHNO(0524) "no challenges are made here for tenant %.64s, issuer %.64s, profile "
                             "%.64s and this set",
                   tenant, issuer, profile);
    return scep_web_refuse(w, HTTP_FORBIDDEN, &result);
}

int scep_web_single(scep_web_request_t *w)
{
    const apr_array_header_t *targets = w->web->targets;
    const apr_array_header_t *found = NULL;

    if (targets && targets->nelts == 1) {
        found = scep_web_found(ap_server_conf, &APR_ARRAY_IDX(targets, 0, scep_web_target_t),
                               w->config, w->r->pool);
    }
    if (!found || found->nelts != 1) {
        return no_target(w, "(none)", "(none)", "(none)");
    }
    w->entry = APR_ARRAY_IDX(found, 0, scep_web_found_t).entry;
    w->set = APR_ARRAY_IDX(found, 0, scep_web_found_t).set;
    return OK;
}

apr_status_t scep_web_make(scep_web_request_t *w, gh_challenge_spec_t *spec,
                           gh_challenge_made_t *made, gh_result_t *result)
{
    apr_status_t rv;

    gh_result_clear(result);
    spec->set = w->set;
    spec->tenant = w->entry->endpoint.tenant;
    spec->issuer = w->entry->endpoint.issuer;
    spec->profile = gh_profile_name(w->entry->endpoint.profile);
    spec->node = w->service->node;
    spec->actor = w->user;
    spec->protocol = w->protocol;
    spec->request_id = gatehouse.request_id(w->r);
    spec->client = w->r->useragent_ip;
    gatehouse.begin_work(w->r);
    rv = gh_challenge_new(w->service->store, spec, made, w->r->pool, result);
    gatehouse.end_work();
    return rv;
}

/* The page for programs */

typedef struct {
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *subject;
    const char *set;
    apr_array_header_t *sans;       /* const char *; NULL: not said */
    apr_interval_time_t lifetime;   /* 0: not said */
} wish_t;

static apr_status_t bad_member(gh_result_t *result, const char *name)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "challenge.request",
                          "tenant, issuer, profile, subject and set are texts, sans is an array of "
                          "texts, expires a duration such as \"30m\", or seconds, up to 366 days.",
                          GHNO(0525) "the member \"%.64s\" is not known, or its value is not as it "
                                    "should be",
                          name);
}

static int read_lifetime(wish_t *wish, const json_t *value)
{
    if (json_is_integer(value)) {
        json_int_t seconds = json_integer_value(value);

        wish->lifetime = seconds > 0 && seconds <= apr_time_sec(LIFETIME_MAX)
                             ? apr_time_from_sec(seconds) : 0;
    }
    else if (!json_is_string(value)
             || gh_duration_parse(&wish->lifetime, json_string_value(value)) != APR_SUCCESS) {
        return 0;
    }
    return wish->lifetime >= apr_time_from_sec(1) && wish->lifetime <= LIFETIME_MAX;
}

static int read_sans(wish_t *wish, const json_t *value, apr_pool_t *p)
{
    apr_size_t i;

    wish->sans = apr_array_make(p, 4, sizeof(const char *));
    for (i = 0; i < json_array_size(value); ++i) {
        const char *text = json_string_value(json_array_get(value, i));

        if (!text) {
            return 0;
        }
        APR_ARRAY_PUSH(wish->sans, const char *) = apr_pstrdup(p, text);
    }
    return json_is_array(value);
}

static int read_member(wish_t *wish, const char *name, const json_t *value, apr_pool_t *p)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = { { "tenant", &wish->tenant }, { "issuer", &wish->issuer },
                  { "profile", &wish->profile }, { "subject", &wish->subject },
                  { "set", &wish->set } };
    apr_size_t i;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); ++i) {
        if (!strcmp(name, texts[i].name)) {
            *texts[i].text = apr_pstrdup(p, json_string_value(value));
            return json_is_string(value);
        }
    }
    if (!strcmp(name, "sans")) {
        return read_sans(wish, value, p);
    }
    return !strcmp(name, "expires") && read_lifetime(wish, value);
}

/** A member that is misspelt is refused: a challenge that was to be bound must not be unbound. */
static apr_status_t read_wish(wish_t *wish, gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)body.data, body.length, JSON_REJECT_DUPLICATES,
                              &error);
    apr_status_t rv = APR_SUCCESS;
    const char *name;
    json_t *value;

    memset(wish, 0, sizeof(*wish));
    if (!json_is_object(json)) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "challenge.request",
                            "Send one JSON object, each member once.",
                            GHNO(0526) "the body is not a JSON object: line %d, column %d",
                            json ? 1 : error.line, json ? 1 : error.column);
        goto cleanup;
    }
    json_object_foreach(json, name, value) {
        if (!read_member(wish, name, value, p)) {
            rv = bad_member(result, name);
            goto cleanup;
        }
    }
    if (!wish->tenant || !wish->issuer || !wish->profile) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "challenge.request",
                            "Take them from the device's URL, /scep/TENANT/ISSUER/PROFILE.",
                            GHNO(0527) "a challenge needs tenant, issuer and profile");
    }
cleanup:
    json_decref(json);
    return rv;
}

int scep_web_body(scep_web_request_t *w, gh_bytes_t *body)
{
    const char *type = apr_table_get(w->r->headers_in, "Content-Type");
    apr_size_t length = type ? strcspn(type, "; \t") : 0;
    gh_result_t result;
    int status;

    gh_result_clear(&result);
    /* a form of another site cannot have this type, and nobody's browser is asked without it */
    if (length != sizeof(JSON_TYPE) - 1 || ap_cstr_casecmpn(type, JSON_TYPE, length)) {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_MALFORMED, "http.type",
                       "Send Content-Type: " JSON_TYPE ".",
                       GHNO(0528) "the body is not said to be " JSON_TYPE);
        return scep_web_refuse(w, HTTP_UNSUPPORTED_MEDIA_TYPE, &result);
    }
    status = scep_read_body(w->r, BODY_MAX, body);
    if (status != OK) {
        w->r->connection->keepalive = AP_CONN_CLOSE;
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_MALFORMED, "http.body",
                       "Send one JSON object of at most 16 kB.",
                       GHNO(0529) "the body is too long or cannot be read");
        return scep_web_refuse(w, status, &result);
    }
    return OK;
}

static int read_request(scep_web_request_t *w, wish_t *wish)
{
    gh_bytes_t body;
    gh_result_t result;
    int answered = scep_web_body(w, &body);

    if (answered != OK) {
        return answered;
    }
    gh_result_clear(&result);
    if (read_wish(wish, body, w->r->pool, &result) != APR_SUCCESS) {
        return scep_web_fail(w, &result);
    }
    return OK;
}

/** The endpoint that is asked for, if challenges are made here for it: with the set that is asked
 *  for, or with the only one. */
static int choose(scep_web_request_t *w, const wish_t *wish)
{
    const gh_profile_t *profile = apr_hash_get(w->config->profiles, wish->profile,
                                               APR_HASH_KEY_STRING);
    gh_result_t result;
    int i, j;

    for (i = 0; profile && w->web->targets && i < w->web->targets->nelts; ++i) {
        const scep_web_target_t *target = &APR_ARRAY_IDX(w->web->targets, i, scep_web_target_t);
        const apr_array_header_t *found;

        if (strcmp(target->tenant, wish->tenant) || strcmp(target->issuer, wish->issuer)
            || (wish->set && strcmp(target->set, wish->set))) {
            continue;
        }
        found = scep_web_found(ap_server_conf, target, w->config, w->r->pool);
        for (j = 0; j < found->nelts; ++j) {
            const scep_web_found_t *one = &APR_ARRAY_IDX(found, j, scep_web_found_t);

            if (one->entry->endpoint.profile != profile) {
                continue;
            }
            if (w->entry && strcmp(w->set, one->set) != 0) {
                gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_REQUEST, "challenge.set",
                               "Name one, as in SCEPChallenge onetime SET.",
                               GHNO(0530) "%s has several sets of one-time challenges",
                               one->entry->endpoint.path);
                return scep_web_fail(w, &result);
            }
            w->entry = one->entry;
            w->set = one->set;
        }
    }
    return w->entry ? OK : no_target(w, wish->tenant, wish->issuer, wish->profile);
}

int scep_web_challenge_handler(request_rec *r)
{
    gh_challenge_spec_t spec;
    gh_challenge_made_t made;
    scep_web_request_t w;
    gh_result_t result;
    wish_t wish;
    int answered;

    if (!r->handler || strcmp(r->handler, SCEP_HANDLER_CHALLENGE) != 0) {
        return DECLINED;
    }
    answered = scep_web_begin(&w, r, "http", "POST", NULL);
    if (answered == OK) {
        answered = read_request(&w, &wish);
    }
    if (answered == OK) {
        answered = choose(&w, &wish);
    }
    if (answered != OK) {
        return OK;
    }
    memset(&spec, 0, sizeof(spec));
    spec.subject = wish.subject;
    spec.sans = wish.sans;
    spec.lifetime = wish.lifetime;
    if (scep_web_make(&w, &spec, &made, &result) != APR_SUCCESS) {
        scep_web_fail(&w, &result);
        return OK;
    }
    send_json(r, HTTP_CREATED, JSON_TYPE,
              json_pack("{s:s, s:s, s:s, s:s}", "id", made.id, "challenge", made.challenge,
                        "expires", gh_time_text(r->pool, made.expires), "url",
                        scep_web_url(w.entry, w.config, r->pool)));
    return OK;
}
