/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* "httpd -t -D DUMP_GATEHOUSE": the configuration as JSON on standard output, for gatehousectl. */

#include <unistd.h>

#include <stdio.h>
#include <string.h>
#include <httpd.h>
#include <ap_listen.h>
#include <http_core.h>
#include <http_main.h>
#include <apr_strings.h>
#include <apr_user.h>
#include <unixd.h>
#include <jansson.h>

#include "gatehouse_remote.h"

/* These live in pconf. */
static apr_array_header_t *members;     /* of other modules */
static json_t *problems;                /* array of objects; NULL if there are none */

static apr_status_t forget_members(void *data)
{
    members = NULL;
    return APR_SUCCESS;
}

static apr_status_t forget_problems(void *data)
{
    json_decref(problems);
    problems = NULL;
    return APR_SUCCESS;
}

static int is_dumping(void)
{
    return ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST
        && ap_exists_config_define("DUMP_GATEHOUSE");
}

void gatehouse_register_dump(gatehouse_dump_fn *fn, apr_pool_t *pconf)
{
    if (!members) {
        members = apr_array_make(pconf, 4, sizeof(gatehouse_dump_fn *));
        apr_pool_cleanup_register(pconf, NULL, forget_members, apr_pool_cleanup_null);
    }
    APR_ARRAY_PUSH(members, gatehouse_dump_fn *) = fn;
}

/* NULL is null; paths may hold bytes that are not UTF-8, which jansson refuses. */
static json_t *text(const char *value)
{
    json_t *json = value ? json_string(value) : NULL;

    return json ? json : json_null();
}

/* What a directive that names a key or secret is about, as "gatehousectl check" calls it. */
static const char *problem_name(const char *directive, const char *issuer, apr_pool_t *p)
{
    static const char *const names[][2] = {
        { "IssuerCertificate", "certificate" }, { "IssuerKey", "key" }, { "IssuerChain", "chain" },
        { "IssuerCredential", "credential" }, { "IssuerTrust", "trust" }, { "IssuerCMP", "cmp" },
        { "GatehouseSealingKey", "sealing" },
        { "<Webhook>", "webhook" }, { "SCEPChallenge", "challenges" },
        { "EscrowPinFile", "escrow.pins" }
    };
    const char *name = "issuer";
    apr_size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
        if (!strcmp(names[i][0], directive)) {
            name = names[i][1];
        }
    }
    return issuer ? apr_pstrcat(p, name, ".", issuer, NULL) : name;
}

int gatehouse_dump_problem(apr_pool_t *pconf, const char *issuer, const char *directive,
                           const char *file, int line, const gh_result_t *result)
{
    json_t *problem;

    if (!is_dumping() || !*result->number) {
        return 0;
    }
    if (!problems) {
        problems = json_array();
        apr_pool_cleanup_register(pconf, NULL, forget_problems, apr_pool_cleanup_null);
    }
    problem = json_object();
    json_object_set_new(problem, "name", text(problem_name(directive, issuer, pconf)));
    json_object_set_new(problem, "place", text(apr_psprintf(pconf, "%s:%d: %s", file, line,
                                                            directive)));
    json_object_set_new(problem, "gh", text(result->number));
    json_object_set_new(problem, "message", text(result->message));
    json_object_set_new(problem, "action", text(*result->action ? result->action : NULL));
    json_array_append_new(problems, problem);
    return 1;
}

static json_t *run_as(apr_pool_t *p)
{
    const char *user = ap_unixd_config.user_name;
    const char *group = ap_unixd_config.group_name;
    uid_t uid = ap_unixd_config.user_id;
    gid_t gid = ap_unixd_config.group_id;
    char *name;

    /* Without User and Group an httpd that is not started as root stays who it is. */
    if (geteuid() != 0) {
        user = group = NULL;
        uid = geteuid();
        gid = getegid();
    }
    if ((!user || *user == '#') && apr_uid_name_get(&name, uid, p) == APR_SUCCESS) {
        user = name;
    }
    if ((!group || *group == '#') && apr_gid_name_get(&name, gid, p) == APR_SUCCESS) {
        group = name;
    }
    return json_pack("{s:o, s:I, s:o, s:I}", "user", text(user), "uid",
                     (json_int_t)uid, "group", text(group), "gid", (json_int_t)gid);
}

static json_t *listeners(apr_pool_t *p)
{
    json_t *list = json_array();
    const ap_listen_rec *listener;

    for (listener = ap_listeners; listener; listener = listener->next) {
        char *address = NULL;

        if (!listener->bind_addr
            || apr_sockaddr_ip_get(&address, listener->bind_addr) != APR_SUCCESS) {
            continue;
        }
        json_array_append_new(list, text(apr_psprintf(p, strchr(address, ':') ? "[%s]:%hu"
                                                                              : "%s:%hu", address,
                                                      listener->bind_addr->port)));
    }
    return list;
}

static json_t *seconds(apr_interval_time_t time)
{
    return json_integer((json_int_t)apr_time_sec(time));
}

static json_t *issuers(const gatehouse_settings_t *settings)
{
    json_t *list = json_array();
    int i;

    for (i = 0; i < settings->issuers->nelts; ++i) {
        const gatehouse_issuer_section_t *section
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *);
        const gatehouse_remote_t *remote = &section->remote;
        gh_issuer_t *issuer = section->issuer;
        const gh_issuer_config_t *config = gh_issuer_config(issuer);
        json_t *json = json_object();

        json_object_set_new(json, "name", text(gh_issuer_name(issuer)));
        json_object_set_new(json, "backend", text(gh_issuer_backend(issuer)->name));
        json_object_set_new(json, "certificate", text(config->certificate));
        json_object_set_new(json, "key", text(config->key));
        json_object_set_new(json, "passphrase", text(config->passphrase));
        json_object_set_new(json, "chain", text(config->chain));
        json_object_set_new(json, "public_url", text(config->public_url));
        json_object_set_new(json, "crl_file", text(config->crl_file));
        json_object_set_new(json, "crl_validity", seconds(config->crl_validity));
        json_object_set_new(json, "crl_publish", seconds(config->crl_publish));
        json_object_set_new(json, "crl_delay", seconds(config->crl_delay));
        json_object_set_new(json, "url", text(remote->url));
        json_object_set_new(json, "ca", text(remote->ca));
        json_object_set_new(json, "credential", text(remote->credential));
        json_object_set_new(json, "credential_passphrase", text(remote->passphrase));
        json_object_set_new(json, "alias", text(remote->alias));
        json_object_set_new(json, "trust", text(remote->trust));
        json_object_set_new(json, "proxy", text(remote->proxy));
        json_object_set_new(json, "cmp_reference", text(remote->cmp.reference));
        json_object_set_new(json, "cmp_secret", text(remote->cmp.source));
        json_array_append_new(list, json);
    }
    return list;
}

static json_t *queues(void)
{
    json_t *list = json_array();
    int i;

    for (i = 0; i < gatehouse_worker_section_count(); ++i) {
        json_array_append_new(list, text(gatehouse_worker_section(i)->queue));
    }
    return list;
}

static json_t *profiles(const gatehouse_settings_t *settings)
{
    json_t *list = json_array();
    int i, k;

    for (i = 0; i < settings->profiles->nelts; ++i) {
        const gh_profile_t *profile
            = APR_ARRAY_IDX(settings->profiles, i, gatehouse_profile_section_t *)->profile;
        const apr_array_header_t *names = gh_profile_aliases(profile);
        json_t *aliases = json_array();
        json_t *json = json_object();

        for (k = 0; k < names->nelts; ++k) {
            json_array_append_new(aliases, text(APR_ARRAY_IDX(names, k, const char *)));
        }
        json_object_set_new(json, "name", text(gh_profile_name(profile)));
        json_object_set_new(json, "aliases", aliases);
        json_object_set_new(json, "approval",
                            text(gh_profile_needs_approval(profile) ? "manual" : "automatic"));
        json_object_set_new(json, "privileged",
                            json_boolean(gh_profile_is_privileged(profile)));
        json_object_set_new(json, "internal", json_boolean(gh_profile_is_internal(profile)));
        json_array_append_new(list, json);
    }
    return list;
}

static const char *error_log(const server_rec *s, apr_pool_t *p)
{
    const char *name = s->error_fname;

    if (!name || *name == '|' || !strncmp(name, "syslog", 6)) {
        return name;
    }
    return ap_server_root_relative(p, name);
}

void gatehouse_dump(apr_pool_t *pconf, server_rec *s)
{
    const gatehouse_settings_t *settings = gatehouse_settings();
    json_t *json;
    int i;

    if (!settings || !is_dumping()) {
        return;
    }
    json = json_object();
    json_object_set_new(json, "version", text(gatehouse_version()));
    json_object_set_new(json, "store", text(settings->store));
    json_object_set_new(json, "public_url", text(settings->public_url));
    json_object_set_new(json, "sealing", json_boolean(settings->shared.sealing_configured));
    json_object_set_new(json, "sealing_key", text(settings->sealing_key));
    json_object_set_new(json, "node", text(settings->node));
    json_object_set_new(json, "audit_log", text(settings->audit_log));
    json_object_set_new(json, "run_as", run_as(pconf));
    json_object_set_new(json, "server_root", text(ap_server_root));
    json_object_set_new(json, "error_log", text(error_log(s, pconf)));
    json_object_set_new(json, "listen", listeners(pconf));
    json_object_set_new(json, "issuers", issuers(settings));
    json_object_set_new(json, "queues", queues());
    json_object_set_new(json, "profiles", profiles(settings));
    json_object_set_new(json, "problems", problems ? json_incref(problems) : json_array());
    for (i = 0; members && i < members->nelts; ++i) {
        APR_ARRAY_IDX(members, i, gatehouse_dump_fn *)(json, s, pconf);
    }
    json_dumpf(json, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fputc('\n', stdout);
    fflush(stdout);
    json_decref(json);
}
