/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The web service for device management: where a request goes, and what all of them have in
 * common. */

#include "mod_scep/scep_mdm.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <openssl/crypto.h>

#include "log.h"
#include "mod_scep/scep_url.h"
#include "status.h"

APLOG_USE_MODULE(scep);

#define API_VERSION 1

int scep_mdm_is_handler(request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    const char *handler = core->handler;
    const char *error = NULL;

    if (core->expr_handler) {
        handler = ap_expr_str_exec(r, core->expr_handler, &error);
    }
    return handler && !error && !strcmp(handler, SCEP_HANDLER_MDM);
}

int scep_mdm_fail(scep_mdm_t *m, apr_status_t rv, gh_result_t *result)
{
    if (!*result->number) {
        gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "mdm.store", "Try again later.",
                       GHNO(1009) "the store cannot be used now");
    }
    return scep_web_fail(&m->w, result);
}

static int not_here(scep_mdm_t *m, const char *detail)
{
    gh_result_t result;

    gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "mdm.route",
                   "See docs/mod_scep.md for what the service has.",
                   GHNO(1010) "%s", detail);
    return scep_web_fail(&m->w, &result);
}

/* Bodies */

static apr_status_t drop_json(void *data)
{
    json_decref(data);
    return APR_SUCCESS;
}

static apr_status_t overwrite(void *data)
{
    OPENSSL_cleanse(data, strlen(data));
    return APR_SUCCESS;
}

static int read_text(const char **text, const json_t *value, apr_pool_t *p)
{
    const char *said = json_string_value(value);
    const char *c;

    if (!said || !*said || strlen(said) > SCEP_DIGITAL_VALUE_MAX) {
        return 0;
    }
    for (c = said; *c; ++c) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            return 0;
        }
    }
    *text = apr_pstrdup(p, said);
    return 1;
}

static int read_values(scep_mdm_wish_t *wish, json_t *object, apr_pool_t *p)
{
    const char *name;
    json_t *value;

    if (!json_is_object(object) || json_object_size(object) > SCEP_DIGITAL_VALUES_MAX) {
        return 0;
    }
    json_object_foreach(object, name, value) {
        /* names differ by more than case */
        if (!json_is_string(value) || apr_table_get(wish->values, name)) {
            return 0;
        }
        apr_table_set(wish->values, name, json_string_value(value));
    }
    return 1;
}

static int read_expires(scep_mdm_wish_t *wish, const json_t *value)
{
    if (json_is_integer(value) && json_integer_value(value) > 0
        && json_integer_value(value) <= 366 * 86400) {
        wish->lifetime = apr_time_from_sec(json_integer_value(value));
        return 1;
    }
    return json_is_string(value)
           && gh_duration_parse(&wish->lifetime, json_string_value(value)) == APR_SUCCESS
           && wish->lifetime >= apr_time_from_sec(1);
}

static int read_member(scep_mdm_wish_t *wish, unsigned members, const char *name, json_t *value,
                       apr_pool_t *p)
{
    const struct {
        const char *name;
        unsigned member;
        const char **text;
    } texts[] = { { "digitalId", SCEP_MDM_DIGITAL_ID, &wish->digital_id },
                  { "device", SCEP_MDM_DEVICE, &wish->device },
                  { "reason", SCEP_MDM_REASON, &wish->reason },
                  { "transaction", SCEP_MDM_TRANSACTION, &wish->transaction },
                  { "password", SCEP_MDM_PASSWORD, &wish->password } };
    apr_size_t i;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); ++i) {
        if (!strcmp(name, texts[i].name)) {
            return (members & texts[i].member) && read_text(texts[i].text, value, p);
        }
    }
    if (!strcmp(name, "variables")) {
        return (members & SCEP_MDM_VARIABLES) && read_values(wish, value, p);
    }
    return !strcmp(name, "expires") && (members & SCEP_MDM_EXPIRES) && read_expires(wish, value);
}

static int parse(scep_mdm_t *m, gh_bytes_t body, unsigned members, scep_mdm_wish_t *wish)
{
    json_error_t error;
    gh_result_t result;
    const char *name;
    json_t *value;

    m->body = json_loadb((const char *)body.data, body.length, JSON_REJECT_DUPLICATES, &error);
    if (body.length) {
        OPENSSL_cleanse((void *)body.data, body.length);
    }
    if (!json_is_object(m->body)) {
        json_decref(m->body);
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_MALFORMED, "mdm.json",
                       "Send one JSON object, each member once.",
                       GHNO(1011) "the body is not a JSON object");
        return scep_web_fail(&m->w, &result);
    }
    apr_pool_cleanup_register(m->p, m->body, drop_json, apr_pool_cleanup_null);
    json_object_foreach(m->body, name, value) {
        if (!read_member(wish, members, name, value, m->p)) {
            gh_result_fail(&result, APR_EINVAL, GH_FAILURE_MALFORMED, "mdm.member",
                           "See docs/mod_scep.md for the members of each request.",
                           GHNO(1012) "the member \"%.64s\" is not known here, or its value is not "
                           "as it should be", name);
            return scep_web_fail(&m->w, &result);
        }
    }
    if (wish->password) {
        apr_pool_cleanup_register(m->p, wish->password, overwrite, apr_pool_cleanup_null);
        OPENSSL_cleanse((void *)json_string_value(json_object_get(m->body, "password")),
                        strlen(wish->password));
    }
    return OK;
}

int scep_mdm_read(scep_mdm_t *m, unsigned members, scep_mdm_wish_t *wish)
{
    gh_bytes_t body;
    int answered = scep_web_body(&m->w, &body);

    memset(wish, 0, sizeof(*wish));
    wish->values = apr_table_make(m->p, 8);
    return answered == OK ? parse(m, body, members, wish) : answered;
}

/* Digital IDs */

int scep_mdm_permits(const scep_mdm_t *m, const scep_digital_t *digital)
{
    int i;

    if (strcmp(digital->tenant, m->tenant) || !digital->certificate_profile) {
        return 0;
    }
    for (i = 0; digital->users && i < digital->users->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(digital->users, i, const char *), m->w.user)) {
            return 1;
        }
    }
    return !digital->users;
}

int scep_mdm_choose(scep_mdm_t *m, const char *name, unsigned mode)
{
    const scep_digital_t *digital = name ? scep_digital_find(ap_server_conf, m->tenant, name)
                                         : NULL;
    gh_result_t result;

    if (!digital || !scep_mdm_permits(m, digital)) {
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "mdm.digital",
                       "Ask for the list of digital IDs, or let the administrator look at "
                       "DigitalIDUsers.",
                       GHNO(1013) "tenant %s has no digital ID \"%.64s\" for this user", m->tenant,
                       name ? name : "");
        return scep_web_fail(&m->w, &result);
    }
    m->w.digital = digital;
    if (!(digital->modes & mode)) {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_REQUEST, "mdm.mode",
                       "Use a mode that the list of digital IDs names.",
                       GHNO(1014) "digital ID \"%s\" has no mode %s", digital->name,
                       mode & SCEP_DIGITAL_P12 ? "p12" : "scep");
        return scep_web_fail(&m->w, &result);
    }
    return OK;
}

const char *scep_mdm_url(const scep_mdm_t *m, const scep_digital_t *digital)
{
    const char *base = gh_issuer_config(digital->ca)->public_url;

    return apr_pstrcat(m->p, base ? base : m->w.config->public_url,
                       ap_os_escape_path(m->p, digital->path, 1), NULL);
}

json_t *scep_mdm_sans(const char *sans)
{
    json_t *array = sans ? json_loads(sans, 0, NULL) : NULL;

    return array ? array : json_array();
}

static json_t *describe_variables(const scep_digital_t *digital, apr_pool_t *p)
{
    const apr_array_header_t *variables = scep_digital_variables(digital, p);
    json_t *array = json_array();
    int i;

    for (i = 0; i < variables->nelts; ++i) {
        const scep_digital_variable_t *one = &APR_ARRAY_IDX(variables, i, scep_digital_variable_t);

        json_array_append_new(array, json_pack("{s:s, s:b}", "name", one->name, "required",
                                               one->required));
    }
    return array;
}

static json_t *describe_names(const scep_digital_t *digital)
{
    json_t *array = json_array();
    int i;

    for (i = 0; i < digital->names->nelts; ++i) {
        const scep_digital_name_t *one = &APR_ARRAY_IDX(digital->names, i, scep_digital_name_t);

        json_array_append_new(array, json_pack("{s:s, s:s}", "type", one->type, "text",
                                               one->text));
    }
    return array;
}

static json_t *describe(const scep_mdm_t *m, const scep_digital_t *digital)
{
    json_t *modes = json_array();
    json_t *object;

    if (digital->modes & SCEP_DIGITAL_SCEP) {
        json_array_append_new(modes, json_string("scep"));
    }
    if (digital->modes & SCEP_DIGITAL_P12) {
        json_array_append_new(modes, json_string("p12"));
    }
    object = json_pack("{s:s, s:o, s:o, s:s, s:s*, s:o, s:s, s:s, s:I}", "name", digital->name,
                       "modes", modes, "variables", describe_variables(digital, m->p), "rdn",
                       digital->rdn, "parentDN", digital->parent, "subjectAltNames",
                       describe_names(digital), "issuer", digital->issuer, "profile",
                       digital->profile, "lifetime",
                       (json_int_t)apr_time_sec(digital->lifetime));
    if (object && digital->modes & SCEP_DIGITAL_SCEP) {
        json_object_set_new(object, "url", json_string(scep_mdm_url(m, digital)));
    }
    return object;
}

static int send_version(scep_mdm_t *m)
{
    return scep_web_json(m->w.r, HTTP_OK, json_pack("{s:s, s:i, s:s}", "product", "Gatehouse",
                                                    "version", API_VERSION, "tenant", m->tenant));
}

static int send_digitals(scep_mdm_t *m)
{
    const apr_array_header_t *all = scep_digitals(ap_server_conf);
    json_t *array = json_array();
    int i;

    for (i = 0; all && i < all->nelts; ++i) {
        const scep_digital_t *digital
            = &APR_ARRAY_IDX(all, i, scep_digital_section_t *)->digital;

        if (scep_mdm_permits(m, digital)) {
            json_array_append_new(array, describe(m, digital));
        }
    }
    return scep_web_json(m->w.r, HTTP_OK, json_pack("{s:o}", "digitalIds", array));
}

/* Where it goes */

/** @return 0 if the tenant has no digital ID */
static int is_tenant(const char *tenant)
{
    const apr_array_header_t *all = scep_digitals(ap_server_conf);
    int i;

    for (i = 0; all && i < all->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(all, i, scep_digital_section_t *)->digital.tenant, tenant)) {
            return 1;
        }
    }
    return 0;
}

static void split(scep_mdm_t *m, const char *uri)
{
    const char *parts[4] = { NULL };
    char *last = NULL, *rest;
    int i;

    m->tenant = "";
    m->what = "-";
    if (strncmp(uri, SCEP_MDM_ROOT "/", sizeof(SCEP_MDM_ROOT))) {
        return;
    }
    rest = apr_pstrdup(m->p, uri + sizeof(SCEP_MDM_ROOT));
    for (i = 0; i < 4; ++i) {
        parts[i] = apr_strtok(i ? NULL : rest, "/", &last);
        if (!parts[i]) {
            break;
        }
    }
    if (!parts[0] || (parts[3] && *last)) {
        return;
    }
    m->tenant = parts[0];
    m->what = parts[1] ? parts[1] : "";
    m->id = parts[2];
    m->verb = parts[3];
}

typedef struct {
    const char *what;
    const char *method;
    int with_id;
    const char *event;
    int (*answer)(scep_mdm_t *m);
} route_t;

static const route_t routes[] = {
    { "", "GET", 0, "query", send_version },
    { "digital-ids", "GET", 0, "query", send_digitals },
    { "challenges", "POST", 0, "challenge", scep_mdm_challenge },
    { "p12s", "POST", 0, "challenge", scep_mdm_p12 },
    { "certificates", "GET", 0, "query", scep_mdm_certificates },
    { "requests", NULL, 1, "query", scep_mdm_request }
};

int scep_mdm_handler(request_rec *r)
{
    const route_t *route = NULL;
    scep_mdm_t m;
    apr_size_t i;
    const char *method;

    if (!r->handler || strcmp(r->handler, SCEP_HANDLER_MDM) != 0) {
        return DECLINED;
    }
    memset(&m, 0, sizeof(m));
    m.p = r->pool;
    split(&m, r->uri);
    for (i = 0; i < sizeof(routes) / sizeof(routes[0]) && !route; ++i) {
        route = !strcmp(m.what, routes[i].what) && !m.id == !routes[i].with_id ? &routes[i] : NULL;
    }
    method = route && route->method ? route->method
             : m.verb && strcmp(m.verb, "certificate") ? "POST" : "GET";
    if (scep_web_begin(&m.w, r, "mdm", method, NULL) != OK) {
        return OK;
    }
    m.w.event = route ? route->event : "query";
    if (!is_tenant(m.tenant)) {
        not_here(&m, "no tenant of this name has digital IDs");
    }
    else if (!route) {
        not_here(&m, "the service has nothing of this name");
    }
    else {
        route->answer(&m);
    }
    return OK;
}
