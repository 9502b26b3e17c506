/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Directives of connections to Intune. */

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_uri.h>
#include <http_core.h>

#include "cron.h"
#include "log.h"
#include "mod_scep/scep_intune.h"

#define AUTHORITY "https://login.microsoftonline.com/"
#define GRAPH "https://graph.microsoft.com/"
#define GRAPH_VERSION "v1.0"
#define INTUNE_APPLICATION "0000000a-0000-0000-c000-000000000000"
#define INTUNE_RESOURCE "https://api.manage.microsoft.com/"
#define CRON "0 0/15 * * * ?"

#define SECRETS_MAX 2
#define REVOCATIONS_MAX 500
#define REVOCATIONS 100
#define NAME_MAX_LENGTH 255

static scep_intune_t *create(cmd_parms *cmd, const char *name)
{
    scep_intune_t *intune = apr_pcalloc(cmd->pool, sizeof(*intune));

    intune->name = name;
    intune->place = scep_place_of(cmd);
    intune->secrets = apr_array_make(cmd->pool, SECRETS_MAX, sizeof(scep_intune_secret_t));
    intune->said = apr_array_make(cmd->pool, 12, sizeof(const char *));
    intune->authority = AUTHORITY;
    intune->graph = GRAPH;
    intune->graph_version = GRAPH_VERSION;
    intune->intune = INTUNE_APPLICATION;
    intune->resource = INTUNE_RESOURCE;
    intune->cron = CRON;
    intune->most = REVOCATIONS;
    intune->concurrent = 16;
    intune->rate = 20;
    intune->timeout = apr_time_from_sec(30);
    intune->deadline = apr_time_from_sec(24 * 3600);
    intune->wait = apr_time_from_sec(8);
    intune->max_waiting = 32;
    return intune;
}

const char *scep_intune_section(cmd_parms *cmd, void *dir, const char *text)
{
    scep_server_t *server = scep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    const char *end = ap_strrchr_c(text, '>'), *rest, *name;
    ap_directive_t *section = cmd->directive, *child;
    const command_rec *rec = cmd->cmd;

    if (error) {
        return error;
    }
    rest = end ? apr_pstrmemdup(cmd->pool, text, (apr_size_t)(end - text)) : "";
    name = ap_getword_conf(cmd->pool, &rest);
    if (!end || end[1 + strspn(end + 1, " \t")] || *rest || !gh_name_valid(name)) {
        return GHNO(0958) "<IntuneConnection NAME> takes a name of 1 to 64 characters of A-Z a-z "
               "0-9 _ ~ -";
    }
    if (!server->intunes) {
        server->intunes = apr_hash_make(cmd->pool);
    }
    if (apr_hash_get(server->intunes, name, APR_HASH_KEY_STRING)) {
        return apr_psprintf(cmd->pool, GHNO(0959) "<IntuneConnection %s> stands twice; leave one "
                            "of them", name);
    }
    for (child = section->first_child; child; child = child->next) {
        if (ap_cstr_casecmpn(child->directive, "Intune", 6)) {
            cmd->err_directive = child;
            return apr_psprintf(cmd->pool, GHNO(0960) "%s does not belong in <IntuneConnection>: "
                                "only Intune... directives do", child->directive);
        }
    }
    server->intune = create(cmd, name);
    apr_hash_set(server->intunes, name, APR_HASH_KEY_STRING, server->intune);
    error = ap_walk_config(section->first_child, cmd, cmd->context);
    cmd->directive = section;
    cmd->cmd = rec;
    server->intune = NULL;
    return error;
}

/** @param once 1: the directive stands once in a section. @return an error, or NULL */
static const char *enter(cmd_parms *cmd, scep_intune_t **intune, int once)
{
    scep_server_t *server = scep_server(cmd->server);
    int i;

    *intune = server->intune;
    if (!*intune) {
        return apr_psprintf(cmd->pool, GHNO(0961) "%s belongs inside <IntuneConnection NAME>",
                            cmd->cmd->name);
    }
    for (i = 0; once && i < (*intune)->said->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX((*intune)->said, i, const char *), cmd->cmd->name)) {
            return apr_psprintf(cmd->pool, GHNO(0962) "%s stands twice in <IntuneConnection %s>",
                                cmd->cmd->name, (*intune)->name);
        }
    }
    APR_ARRAY_PUSH((*intune)->said, const char *) = cmd->cmd->name;
    return NULL;
}

const char *scep_set_intune(cmd_parms *cmd, void *dir, const char *name)
{
    scep_section_t *section = dir;
    const char *error = scep_enter_section(cmd, section);

    if (!error && (!gh_name_valid(name) || section->intune)) {
        error = GHNO(0963) "SCEPIntune takes the name of an <IntuneConnection>, or \"off\", once";
    }
    section->intune = name;
    section->intune_place = scep_place_of(cmd);
    return error;
}

const char *scep_set_intune_tenant(cmd_parms *cmd, void *dir, const char *text)
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1), *at;

    if (error) {
        return error;
    }
    for (at = text; apr_isalnum(*at) || *at == '.' || *at == '-'; ++at) {
    }
    if (*at || at == text || at - text > NAME_MAX_LENGTH || strspn(text, ".")) {
        return GHNO(0964) "IntuneTenant takes the domain or the ID of the tenant, such as "
               "example.onmicrosoft.com";
    }
    intune->tenant = text;
    return NULL;
}

static int is_guid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    apr_size_t i;

    for (i = 0; i < sizeof(form) - 1; ++i) {
        if (form[i] == '-' ? text[i] != '-' : !apr_isxdigit(text[i])) {
            return 0;
        }
    }
    return !text[i];
}

const char *scep_set_intune_application(cmd_parms *cmd, void *dir, const char *text)
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1);

    if (!error && !is_guid(text)) {
        error = apr_psprintf(cmd->pool, GHNO(0965) "IntuneApplication takes the \"Application "
                             "(client) ID\" of the portal, a GUID, not \"%s\"", text);
    }
    if (!error) {
        intune->application = text;
    }
    return error;
}

/** With an absolute path. @return NULL if it is no source of a secret */
static const char *secret_source(cmd_parms *cmd, const char *text)
{
    const char *path;

    if (strncmp(text, "file:", 5) && strncmp(text, "exec:", 5)) {
        return NULL;
    }
    path = text[5] ? ap_server_root_relative(cmd->pool, text + 5) : NULL;
    return path ? apr_psprintf(cmd->pool, "%.5s%s", text, path) : NULL;
}

/** A day, or a time. */
static int take_date(apr_time_t *time, const char *text, apr_pool_t *p)
{
    return gh_time_parse(time, strlen(text) == 10 ? apr_pstrcat(p, text, "T00:00:00Z", NULL)
                         : text) == APR_SUCCESS;
}

const char *scep_set_intune_secret(cmd_parms *cmd, void *dir, const char *source,
                                   const char *option)
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 0);
    scep_intune_secret_t *secret;

    if (error) {
        return error;
    }
    if (intune->secrets->nelts == SECRETS_MAX) {
        return GHNO(0966) "IntuneSecret stands three times: two secrets are tried, one after the "
               "other";
    }
    secret = apr_array_push(intune->secrets);
    memset(secret, 0, sizeof(*secret));
    secret->place = scep_place_of(cmd);
    secret->source = secret_source(cmd, source);
    /* what stands there may be a secret, and is not repeated */
    if (!secret->source || (option && (strncmp(option, "expires=", 8)
                                       || !take_date(&secret->expires, option + 8,
                                                     cmd->temp_pool)))) {
        return GHNO(0967) "IntuneSecret takes file:PATH or exec:PATH, and perhaps expires=DATE "
               "like expires=2027-01-31; a secret never stands in the configuration";
    }
    return NULL;
}

const char *scep_set_intune_credential(cmd_parms *cmd, void *dir, const char *path,
                                       const char *option)
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1);

    if (error) {
        return error;
    }
    intune->credential_place = scep_place_of(cmd);
    intune->credential = *path ? ap_server_root_relative(cmd->pool, path) : NULL;
    intune->passphrase = option && !strncmp(option, "passphrase=", 11)
        ? secret_source(cmd, option + 11) : NULL;
    if (!intune->credential || (option && !intune->passphrase)) {
        return GHNO(0968) "IntuneCredential takes the path of a PKCS#12 file, and perhaps "
               "passphrase=file:PATH or passphrase=exec:PATH";
    }
    return NULL;
}

/** https, a host, no user, query or fragment. */
static int is_url(const char *text, apr_pool_t *p)
{
    apr_uri_t uri;

    return !strncmp(text, "https://", 8) && apr_uri_parse(p, text, &uri) == APR_SUCCESS
        && uri.hostname && *uri.hostname && !uri.user && !uri.password && !uri.query
        && !uri.fragment;
}

static const char *take_endpoint(cmd_parms *cmd, scep_intune_t *intune, const char *text)
{
    const char *value = ap_strchr_c(text, '=');
    apr_size_t length = value ? (apr_size_t)(value - text) : 0;

    value = value ? value + 1 : "";
    if (length == 9 && !strncmp(text, "authority", length) && is_url(value, cmd->temp_pool)) {
        intune->authority = value;
    }
    else if (length == 5 && !strncmp(text, "graph", length) && is_url(value, cmd->temp_pool)) {
        intune->graph = value;
    }
    else if (length == 13 && !strncmp(text, "graph-version", length) && *value
             && strlen(value) < 32 && !value[strspn(value, "abcdefghijklmnopqrstuvwxyz."
                                                           "0123456789-")]) {
        /* "1.0" as Microsoft's library has it */
        intune->graph_version = apr_isdigit(*value) ? apr_pstrcat(cmd->pool, "v", value, NULL)
            : value;
    }
    else if (length == 11 && !strncmp(text, "application", length) && is_guid(value)) {
        intune->intune = value;
    }
    else if (length == 8 && !strncmp(text, "resource", length) && is_url(value, cmd->temp_pool)) {
        intune->resource = value;
    }
    else {
        return apr_psprintf(cmd->pool, GHNO(0969) "IntuneEndpoints takes authority=URL, graph=URL, "
                            "graph-version=VERSION, application=GUID and resource=URL, with "
                            "https:// URLs; not \"%s\"", text);
    }
    return NULL;
}

const char *scep_set_intune_endpoints(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1);
    int i;

    for (i = 0; !error && i < argc; ++i) {
        error = take_endpoint(cmd, intune, argv[i]);
    }
    return error;
}

static int take_number(int *number, const char *text, long most)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < 1 || value > most) {
        return 0;
    }
    *number = (int)value;
    return 1;
}

const char *scep_set_intune_revocation(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1), *fault;
    gh_cron_t cron;
    int i;

    if (error) {
        return error;
    }
    intune->cron = argc > 0 ? argv[0] : "";
    if (argc == 1 && !ap_cstr_casecmp(argv[0], "off")) {
        intune->cron = NULL;
        return NULL;
    }
    fault = gh_cron_parse(&cron, intune->cron);
    if (fault) {
        return apr_psprintf(cmd->pool, GHNO(0970) "IntuneRevocation: \"%s\" is no cron expression: "
                            "%s. Write it in quotation marks, like \"" CRON "\", or say off",
                            intune->cron, fault);
    }
    if (!gh_cron_next(&cron, apr_time_now())) {
        return apr_psprintf(cmd->pool, GHNO(0971) "IntuneRevocation: \"%s\" never comes",
                            intune->cron);
    }
    for (i = 1; i < argc; ++i) {
        if (!strncmp(argv[i], "issuerName=", 11) && argv[i][11]) {
            intune->issuer_name = argv[i] + 11;
        }
        else if (strncmp(argv[i], "maxRequests=", 12)
                 || !take_number(&intune->most, argv[i] + 12, REVOCATIONS_MAX)) {
            return apr_psprintf(cmd->pool, GHNO(0972) "IntuneRevocation: behind the cron "
                                "expression only maxRequests=1..500 and issuerName=NAME may "
                                "stand, not \"%s\"", argv[i]);
        }
    }
    return NULL;
}

const char *scep_set_intune_notify(cmd_parms *cmd, void *dir, const char *word)
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1);

    if (error) {
        return error;
    }
    intune->lenient = !ap_cstr_casecmp(word, "lenient");
    return intune->lenient || !ap_cstr_casecmp(word, "strict") ? NULL
        : GHNO(0973) "IntuneNotify is \"strict\" or \"lenient\"";
}

const char *scep_set_intune_trust(cmd_parms *cmd, void *dir, const char *path)
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1);

    if (error) {
        return error;
    }
    intune->trust_place = scep_place_of(cmd);
    if (strcmp(path, "system")) {
        intune->trust = *path ? ap_server_root_relative(cmd->pool, path) : NULL;
        return intune->trust ? NULL
            : GHNO(0974) "IntuneTrust takes the path of a PEM file, or \"system\"";
    }
    return NULL;
}

const char *scep_set_intune_proxy(cmd_parms *cmd, void *dir, const char *url)
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1);
    apr_uri_t uri;

    if (error) {
        return error;
    }
    /* a password may be in it, so it is not repeated */
    if ((strncmp(url, "http://", 7) && strncmp(url, "https://", 8))
        || apr_uri_parse(cmd->temp_pool, url, &uri) != APR_SUCCESS || !uri.hostname
        || !*uri.hostname || uri.user || uri.password || uri.query || uri.fragment) {
        return GHNO(0975) "IntuneProxy takes a URL like http://proxy.example.com:3128, without "
               "user and password";
    }
    intune->proxy = url;
    return NULL;
}

static int take_time(apr_interval_time_t *time, const char *text, apr_interval_time_t least,
                     apr_interval_time_t most)
{
    return gh_duration_parse(time, text) == APR_SUCCESS && *time >= least && *time <= most;
}

static int take_rate(double *rate, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= 0.01 && value <= 10000)) {
        return 0;
    }
    *rate = value;
    return 1;
}

static int take_limit(scep_intune_t *intune, const char *text)
{
    if (!strncmp(text, "concurrent=", 11)) {
        return take_number(&intune->concurrent, text + 11, 1000);
    }
    if (!strncmp(text, "rate=", 5)) {
        return take_rate(&intune->rate, text + 5);
    }
    if (!strncmp(text, "timeout=", 8)) {
        return take_time(&intune->timeout, text + 8, apr_time_from_sec(1), apr_time_from_sec(600));
    }
    if (!strncmp(text, "deadline=", 9)) {
        return take_time(&intune->deadline, text + 9, apr_time_from_sec(60),
                         apr_time_from_sec(30 * 86400));
    }
    if (!strncmp(text, "wait=", 5)) {
        return take_time(&intune->wait, text + 5, 0, apr_time_from_sec(60));
    }
    return !strncmp(text, "max-waiting=", 12)
        && take_number(&intune->max_waiting, text + 12, 100000);
}

const char *scep_set_intune_limits(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    scep_intune_t *intune;
    const char *error = enter(cmd, &intune, 1);
    int i;

    for (i = 0; !error && i < argc; ++i) {
        if (!take_limit(intune, argv[i])) {
            error = apr_psprintf(cmd->pool, GHNO(0976) "IntuneLimits takes concurrent=1..1000, "
                                 "rate=0.01..10000 per second, timeout=1s..600s, "
                                 "deadline=60s..30d, wait=0s..60s and max-waiting=1..100000; not "
                                 "\"%s\"", argv[i]);
        }
    }
    return error;
}
