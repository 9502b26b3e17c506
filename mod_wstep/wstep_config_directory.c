/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* WSTEPDirectory and WSTEPDirectoryBind: where it is known who callers are. */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"

static int take_number(int *number, const char *text, int least, int most)
{
    char *end;
    long value = strtol(text, &end, 10);

    *number = (int)value;
    return *text && !*end && value >= least && value <= most;
}

static int take_time(apr_interval_time_t *time, const char *text)
{
    return gh_duration_parse(time, text) == APR_SUCCESS && *time <= apr_time_from_sec(60);
}

static int take_option(gh_directory_config_t *config, const char *word, const cmd_parms *cmd)
{
    const char *value = strchr(word, '=') + 1;
    const char *name = apr_pstrmemdup(cmd->temp_pool, word, (apr_size_t)(value - word - 1));

    if (!strcmp(name, "base")) {
        config->base = value;
        return 1;
    }
    if (!strcmp(name, "trust")) {
        config->trust = ap_server_root_relative(cmd->pool, value);
        return config->trust != NULL;
    }
    if (!strcmp(name, "starttls")) {
        config->starttls = !strcmp(value, "on");
        return config->starttls || !strcmp(value, "off");
    }
    if (!strcmp(name, "connect")) {
        return take_time(&config->connect, value) && config->connect > 0;
    }
    if (!strcmp(name, "deadline")) {
        return take_time(&config->deadline, value) && config->deadline > 0;
    }
    if (!strcmp(name, "keep")) {
        return gh_duration_parse(&config->keep, value) == APR_SUCCESS
               && config->keep <= apr_time_from_sec(3600);
    }
    if (!strcmp(name, "connections")) {
        return take_number(&config->connections, value, 1, 256);
    }
    if (!strcmp(name, "node")) {
        return take_number(&wstep_server(cmd->server)->lookups, value, 1, 4096);
    }
    return !strcmp(name, "referrals") && take_number(&config->referrals, value, 0, 10);
}

static gh_directory_config_t *directory_of(cmd_parms *cmd)
{
    wstep_server_t *server = wstep_server(cmd->server);

    if (!server->directory) {
        server->directory = apr_pcalloc(cmd->pool, sizeof(*server->directory));
        server->directory->name = "WSTEPDirectory";
        server->directory->keep = apr_time_from_sec(60);
    }
    return server->directory;
}

const char *wstep_set_directory(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gh_directory_config_t *config;
    apr_array_header_t *urls = apr_array_make(cmd->pool, 2, sizeof(const char *));
    int i, good = 1;

    if (error) {
        return error;
    }
    config = directory_of(cmd);
    for (i = 0; good && i < argc; ++i) {
        if (!strncmp(argv[i], "ldap://", 7) || !strncmp(argv[i], "ldaps://", 8)) {
            APR_ARRAY_PUSH(urls, const char *) = argv[i];
        }
        else {
            good = strchr(argv[i], '=') && take_option(config, argv[i], cmd);
        }
    }
    if (!good || !urls->nelts) {
        return GHNO(1473) "WSTEPDirectory takes ldaps://HOST[:PORT] ..., and perhaps base=DN, "
                          "trust=FILE, starttls=on, connect=TIME, deadline=TIME, keep=TIME, "
                          "connections=N, node=N, referrals=0 to 10";
    }
    config->urls = urls;
    wstep_server(cmd->server)->directory_place = wstep_place_of(cmd);
    return NULL;
}

const char *wstep_set_directory_bind(cmd_parms *cmd, void *dir, const char *name,
                                     const char *source)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_dump_problem) *note
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_dump_problem);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gh_directory_config_t *config;
    const char *path;
    gh_result_t result;

    if (error) {
        return error;
    }
    path = strncmp(source, "file:", 5) && strncmp(source, "exec:", 5)
        ? NULL : ap_server_root_relative(cmd->temp_pool, source + 5);
    if (!path) {
        return GHNO(1474) "WSTEPDirectoryBind takes a name and file:PATH or exec:PATH with its "
                          "password, which never stands in the configuration";
    }
    config = directory_of(cmd);
    config->bind = name;
    gh_result_clear(&result);
    if (gh_secret_load(&config->password, apr_psprintf(cmd->temp_pool, "%.5s%s", source, path),
                       cmd->pool, &result) != APR_SUCCESS
        && !(note && note(cmd->pool, NULL, cmd->cmd->name, cmd->directive->filename,
                          cmd->directive->line_num, &result))) {
        return apr_psprintf(cmd->pool, "%s: %s. %s", result.number, result.message,
                            result.action);
    }
    return NULL;
}

/** Templates of the directory need one, and to know the groups of callers by their identifiers. */
static int check_templates(server_rec *main_server, gh_directory_config_t *config,
                           apr_pool_t *ptemp)
{
    const wstep_server_t *server = wstep_server(main_server);
    int i, problems = 0;

    for (i = 0; server->ordered && i < server->ordered->nelts; ++i) {
        const wstep_template_section_t *one = APR_ARRAY_IDX(server->ordered, i,
                                                            wstep_template_section_t *);

        if (one->template.in_directory && config) {
            config->sids = 1;
        }
        else if (one->template.in_directory) {
            wstep_log_problem(main_server, APLOG_ERR, one->place,
                              apr_psprintf(ptemp, GHNO(1502) "TemplateInDirectory of %s needs "
                                           "WSTEPDirectory", one->policy.name), ptemp);
            ++problems;
        }
    }
    return problems;
}

int wstep_directory_check(server_rec *main_server, apr_pool_t *p, apr_pool_t *ptemp)
{
    const wstep_server_t *server = wstep_server(main_server);
    gh_directory_config_t *config = server->directory;
    apr_array_header_t *domains = apr_array_make(p, 2, sizeof(gh_directory_domain_t));
    gh_result_t result;
    int i;

    if (check_templates(main_server, config, ptemp)) {
        return 1;
    }
    if (!config) {
        return 0;
    }
    if (!config->urls) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, main_server,
                     GHNO(1475) "WSTEPDirectoryBind is there, but not WSTEPDirectory");
        return 1;
    }
    for (i = 0; server->domains && i < server->domains->nelts; ++i) {
        const wstep_domain_t *one = &APR_ARRAY_IDX(server->domains, i, wstep_domain_t);
        gh_directory_domain_t domain = { one->name, one->alias, NULL };

        APR_ARRAY_PUSH(domains, gh_directory_domain_t) = domain;
    }
    config->domains = domains->nelts ? domains : NULL;
    gh_result_clear(&result);
    if (gh_directory_check(config, ptemp, &result) != APR_SUCCESS) {
        wstep_log_problem(main_server, APLOG_ERR, server->directory_place,
                          apr_psprintf(ptemp, "%s: %s; %s", result.number, result.message,
                                       result.action), ptemp);
        return 1;
    }
    return 0;
}
