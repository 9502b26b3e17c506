/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Directives of the server: GatehouseStore, GatehousePublicURL, GatehouseSealingKey,
 * GatehouseAuditLog, GatehouseNode. */

#include <string.h>
#include <unistd.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "gatehouse_remote.h"
#include "gatehouse_values.h"
#include "log.h"
#include "text.h"

static const char *host_name(apr_pool_t *p)
{
    char name[APRMAXHOSTLEN + 1];

    if (apr_gethostname(name, sizeof(name), p) != APR_SUCCESS || !gatehouse_node_valid(name)) {
        return "localhost";
    }
    return apr_pstrdup(p, name);
}

void *gatehouse_create_server_config(apr_pool_t *p, server_rec *s)
{
    gatehouse_settings_t *settings = apr_pcalloc(p, sizeof(*settings));

    settings->node = host_name(p);
    settings->issuers = apr_array_make(p, 4, sizeof(gatehouse_issuer_section_t *));
    settings->profiles = apr_array_make(p, 64, sizeof(gatehouse_profile_section_t *));
    settings->webhooks = apr_array_make(p, 2, sizeof(gatehouse_webhook_section_t *));
    settings->shared.issuers = apr_hash_make(p);
    settings->shared.profiles = apr_hash_make(p);
    settings->warnings = apr_array_make(p, 2, sizeof(gatehouse_warning_t));
    settings->authorities = apr_hash_make(p);
    settings->expressions = apr_hash_make(p);
    settings->locations = apr_hash_make(p);
    return settings;
}

gatehouse_settings_t *gatehouse_settings_of(server_rec *s)
{
    return ap_get_module_config(s->module_config, &gatehouse_module);
}

gatehouse_place_t gatehouse_place(const cmd_parms *cmd)
{
    gatehouse_place_t place;

    place.file = apr_pstrdup(cmd->pool, cmd->directive->filename);
    place.line = cmd->directive->line_num;
    return place;
}

const char *gatehouse_explain(const gh_result_t *result, apr_status_t status, apr_pool_t *p)
{
    const char *join = "";
    char buffer[200];

    if (!result->number[0]) {
        return apr_psprintf(p, GHNO(0272) "it failed without a reason: %s",
                            apr_strerror(status, buffer, sizeof(buffer)));
    }
    if (result->action[0]) {
        join = apr_isupper(result->action[0]) ? ". " : "; ";
    }
    return apr_pstrcat(p, result->number, ": ", result->message, join, result->action, NULL);
}

const char *gatehouse_secret_source(apr_pool_t *p, const char *text)
{
    const char *path;

    if (strncmp(text, "file:", 5) && strncmp(text, "exec:", 5)) {
        return NULL;
    }
    path = text[5] ? ap_server_root_relative(p, text + 5) : NULL;
    return path ? apr_pstrcat(p, apr_pstrndup(p, text, 5), path, NULL) : NULL;
}

const char *gatehouse_set_store(cmd_parms *cmd, void *dir, const char *uri)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    gh_result_t result;
    apr_status_t rv;

    if (err) {
        return err;
    }
    gh_result_clear(&result);
    rv = gh_store_uri_check(uri, cmd->temp_pool, &result);
    if (rv != APR_SUCCESS) {
        return gatehouse_explain(&result, rv, cmd->pool);
    }
    settings->store = uri;
    settings->store_place = gatehouse_place(cmd);
    return NULL;
}

/* In an <Issuer> it is that issuer's own. */
const char *gatehouse_set_public_url(cmd_parms *cmd, void *dir, const char *url)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    const char *fault;

    if (err) {
        return err;
    }
    fault = gatehouse_public_url_fault(url, cmd->temp_pool);
    if (fault) {
        return apr_psprintf(cmd->pool, GHNO(0273) "GatehousePublicURL \"%s\" is not usable: %s. "
                            "Write it like http://pki.example.com", url, fault);
    }
    if (settings->issuer) {
        settings->issuer->config.public_url = url;
        settings->issuer->public_url_place = gatehouse_place(cmd);
    }
    else {
        settings->public_url = url;
    }
    return NULL;
}

const char *gatehouse_set_sealing_key(cmd_parms *cmd, void *dir, const char *source)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (err) {
        return err;
    }
    settings->sealing_key = gatehouse_secret_source(cmd->pool, source);
    if (!settings->sealing_key) {
        return GHNO(0274) "GatehouseSealingKey takes file:PATH or exec:PATH, never the key itself";
    }
    settings->sealing_key_place = gatehouse_place(cmd);
    return NULL;
}

const char *gatehouse_set_audit_log(cmd_parms *cmd, void *dir, const char *target)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (err) {
        return err;
    }
    if (*target == '|') {
        settings->audit_log = target[strspn(target, "| \t")] ? target : NULL;
    }
    else {
        settings->audit_log = *target ? ap_server_root_relative(cmd->pool, target) : NULL;
    }
    if (!settings->audit_log) {
        return GHNO(0275) "GatehouseAuditLog takes the path of a file, or \"|\" and a program with "
               "its arguments";
    }
    settings->audit_log_place = gatehouse_place(cmd);
    return NULL;
}

const char *gatehouse_set_node(cmd_parms *cmd, void *dir, const char *name)
{
    gatehouse_settings_t *settings = gatehouse_settings_of(cmd->server);
    const char *err = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (err) {
        return err;
    }
    if (!gatehouse_node_valid(name)) {
        return GHNO(0276) "GatehouseNode takes 1 to 64 letters, digits, '.', '_' and '-'";
    }
    settings->node = name;
    return NULL;
}
