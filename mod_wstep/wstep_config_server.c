/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Directives of the whole server. */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <apr_uri.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"

#define CONCURRENT_MAX 100000
#define FAILURES_MAX 1000000

const char *wstep_set_domain(cmd_parms *cmd, void *dir, const char *name, const char *alias)
{
    wstep_server_t *server = wstep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    wstep_domain_t *domain;

    if (error) {
        return error;
    }
    if (strpbrk(name, "\\@/: ") || !strchr(name, '.') || (alias && strpbrk(alias, "\\@/: "))) {
        return GHNO(1378) "WSTEPDomain takes the DNS name of a domain, such as corp.example.com, "
                          "and perhaps its NetBIOS name";
    }
    if (!server->domains) {
        server->domains = apr_array_make(cmd->pool, 2, sizeof(wstep_domain_t));
    }
    domain = apr_array_push(server->domains);
    domain->name = name;
    domain->alias = alias;
    return NULL;
}

const char *wstep_set_user_name(cmd_parms *cmd, void *dir, const char *form)
{
    static const char *const forms[] = { "name", "principal", "account" };
    wstep_server_t *server = wstep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    int i;

    for (i = 0; !error && i < 3; ++i) {
        if (!ap_cstr_casecmp(form, forms[i])) {
            server->name_form = i;
            return NULL;
        }
    }
    return error ? error : GHNO(1379) "WSTEPUserName takes name, principal or account";
}

const char *wstep_set_ra_profile(cmd_parms *cmd, void *dir, const char *name)
{
    wstep_server_t *server = wstep_server(cmd->server);

    server->ra_profile = name;
    server->ra_profile_place = wstep_place_of(cmd);
    return ap_check_cmd_context(cmd, GLOBAL_ONLY);
}

const char *wstep_set_concurrent(cmd_parms *cmd, void *dir, const char *text)
{
    wstep_server_t *server = wstep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *end;
    long number = strtol(text, &end, 10);

    if (!error && (*end || end == text || number < 1 || number > CONCURRENT_MAX)) {
        return apr_psprintf(cmd->pool, GHNO(1380) "WSTEPMaxConcurrent takes a number from 1 to %d",
                            CONCURRENT_MAX);
    }
    server->concurrent = (int)number;
    return error;
}

const char *wstep_set_failure_limit(cmd_parms *cmd, void *dir, const char *number,
                                    const char *interval)
{
    wstep_server_t *server = wstep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *end;
    long limit;

    if (error) {
        return error;
    }
    if (!interval && !ap_cstr_casecmp(number, "off")) {
        server->failures = -1;
        return NULL;
    }
    limit = strtol(number, &end, 10);
    if (*end || end == number || limit < 1 || limit > FAILURES_MAX || !interval
        || gh_duration_parse(&server->failure_interval, interval) != APR_SUCCESS
        || server->failure_interval < apr_time_from_sec(1)) {
        return apr_psprintf(cmd->pool, GHNO(1381) "WSTEPFailureLimit takes a number from 1 to %d "
                            "and an interval of at least a second, such as \"20 1m\", or \"off\"",
                            FAILURES_MAX);
    }
    server->failures = (int)limit;
    return NULL;
}

const char *wstep_set_verdict_lifetime(cmd_parms *cmd, void *dir, const char *text)
{
    wstep_server_t *server = wstep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error) {
        return error;
    }
    if (!ap_cstr_casecmp(text, "off")) {
        server->verdict_lifetime = 0;
        return NULL;
    }
    if (gh_duration_parse(&server->verdict_lifetime, text) != APR_SUCCESS
        || server->verdict_lifetime > apr_time_from_sec(600)) {
        return GHNO(1382) "WSTEPVerdictLifetime takes a time of at most ten minutes, or off";
    }
    return NULL;
}

const char *wstep_set_public_url(cmd_parms *cmd, void *dir, const char *url)
{
    wstep_server_t *server = wstep_server(cmd->server);
    apr_uri_t parsed;

    if (apr_uri_parse(cmd->temp_pool, url, &parsed) != APR_SUCCESS || !parsed.scheme
        || strcmp(parsed.scheme, "https") != 0 || !parsed.hostname || parsed.path || parsed.query
        || parsed.user) {
        return GHNO(1383) "WSTEPPublicURL takes https://HOST or https://HOST:PORT, and nothing "
                          "behind it";
    }
    server->public_url = url;
    return NULL;
}
