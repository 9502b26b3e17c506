/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* GatehouseAllowRequest: what a location lifts of the list that nobody may ask for. The narrowest
 * location that has the directive decides alone. Since httpd applies locations in the order in
 * which they stand, a wider one behind a narrower one is refused: both readings agree. */

#include <string.h>
#include <httpd.h>
#include <http_core.h>
#include <apr_fnmatch.h>
#include <apr_strings.h>

#include "gatehouse_private.h"
#include "gatehouse_values.h"
#include "log.h"

void *gatehouse_create_dir_config(apr_pool_t *p, char *path)
{
    return apr_pcalloc(p, sizeof(gatehouse_dir_t));
}

void *gatehouse_merge_dir_config(apr_pool_t *p, void *base, void *add)
{
    return ((gatehouse_dir_t *)add)->items ? add : base;
}

/* Patterns are refused: what may be asked for depends on the path that the router has parsed, and
 * on nothing that a client can write differently. */
static int in_plain_location(const cmd_parms *cmd)
{
    const ap_directive_t *parent = cmd->directive->parent;

    return parent && !ap_cstr_casecmp(parent->directive, "<Location") && cmd->path
        && !apr_fnmatch_test(cmd->path) && parent->args[strspn(parent->args, " \t\"'")] != '~';
}

const char *gatehouse_allow_request(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    gatehouse_dir_t *config = dir;
    gh_result_t result;
    apr_status_t rv;
    int i;

    if (!in_plain_location(cmd)) {
        return GHNO(0298) "GatehouseAllowRequest belongs inside a <Location> without patterns";
    }
    if (cmd->path[1] && cmd->path[strlen(cmd->path) - 1] == '/') {
        return apr_psprintf(cmd->pool, GHNO(0448) "remove the final slash of <Location \"%s\">: "
                            "httpd would not match the path without it", cmd->path);
    }
    if (argc == 0) {
        return GHNO(0299) "GatehouseAllowRequest needs what to allow, or \"none\"";
    }
    if (!config->items) {
        config->items = apr_array_make(cmd->pool, 4, sizeof(const char *));
        config->server = cmd->server;
        config->place = gatehouse_place(cmd);
    }
    for (i = 0; i < argc; ++i) {
        if (strcmp(argv[i], "none")) {
            APR_ARRAY_PUSH(config->items, const char *) = apr_pstrdup(cmd->pool, argv[i]);
        }
        else if (argc > 1) {
            return GHNO(0300) "GatehouseAllowRequest: \"none\" stands alone";
        }
    }
    if (!config->items->nelts) {
        return NULL;
    }
    gh_result_clear(&result);
    rv = gh_allowances_make(&config->allowances, config->items, cmd->pool, &result);
    return rv == APR_SUCCESS ? NULL : gatehouse_explain(&result, rv, cmd->pool);
}

/* Whether the last location of a list would replace an earlier, narrower one, or one of its path. A
 * virtual host may say otherwise than the main server for a path. */
static int check_order(const apr_array_header_t *list, server_rec *s, apr_pool_t *p)
{
    const gatehouse_allowed_location_t *all = (const gatehouse_allowed_location_t *)list->elts;
    const gatehouse_allowed_location_t *last = &all[list->nelts - 1];
    int i, problems = 0;

    for (i = 0; i < list->nelts - 1 && last->server == s; ++i) {
        if (gatehouse_path_covers(last->path, all[i].path)
            && (strcmp(last->path, all[i].path) || all[i].server == s)) {
            gatehouse_log_problem(s, last->place, "GatehouseAllowRequest",
                                  apr_psprintf(p, GHNO(0449) "<Location \"%s\"> stands behind "
                                               "<Location \"%s\">, which has the directive as "
                                               "well, in line %d of %s: put wide locations before "
                                               "narrow ones, and one path into one location. A "
                                               "virtual host stands behind the main server",
                                               last->path, all[i].path, all[i].place.line,
                                               all[i].place.file));
            ++problems;
        }
    }
    return problems;
}

/* In the order in which httpd applies them: the main server's, then the virtual host's. */
int gatehouse_collect_locations(gatehouse_settings_t *settings, server_rec *s, apr_pool_t *p)
{
    int problems = 0;

    for (; s; s = s->next) {
        const core_server_config *core = ap_get_core_module_config(s->module_config);
        apr_array_header_t *list = apr_array_make(p, 2, sizeof(gatehouse_allowed_location_t));
        int i;

        for (i = 0; core->sec_url && i < core->sec_url->nelts; ++i) {
            ap_conf_vector_t *section = APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *);
            const core_dir_config *location = ap_get_core_module_config(section);
            const gatehouse_dir_t *dir = ap_get_module_config(section, &gatehouse_module);

            if (dir && dir->items && !location->r && !location->d_is_fnmatch) {
                gatehouse_allowed_location_t *allowed = apr_array_push(list);

                allowed->path = location->d;
                allowed->server = dir->server;
                allowed->place = dir->place;
                allowed->allowances = dir->allowances;
                problems += check_order(list, s, p);
            }
        }
        if (list->nelts) {
            apr_hash_set(settings->locations, apr_pmemdup(p, &s, sizeof(s)), sizeof(s), list);
        }
    }
    return problems;
}

const gh_allowances_t *gatehouse_allowances(server_rec *s, const char *path)
{
    const gatehouse_settings_t *settings = gatehouse_settings();
    const apr_array_header_t *list
        = settings ? apr_hash_get(settings->locations, &s, sizeof(s)) : NULL;
    int i;

    for (i = list ? list->nelts - 1 : -1; i >= 0; --i) {
        const gatehouse_allowed_location_t *allowed
            = &APR_ARRAY_IDX(list, i, gatehouse_allowed_location_t);

        if (gatehouse_path_covers(allowed->path, path)) {
            return allowed->allowances;
        }
    }
    return NULL;
}
