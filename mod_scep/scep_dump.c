/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What "httpd -t -D DUMP_GATEHOUSE" says of SCEP. */

#include <jansson.h>

#include <ap_listen.h>
#include <apr_strings.h>

#include "mod_scep/scep_config.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_mdm.h"
#include "mod_scep/scep_web.h"

/* While the configuration is read, the functions of mod_gatehouse are not at hand otherwise. */
int scep_dump_problem(const cmd_parms *cmd, const gh_result_t *result)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_dump_problem) *note
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_dump_problem);

    return note && note(cmd->pool, NULL, cmd->cmd->name, cmd->directive->filename,
                        cmd->directive->line_num, result);
}

static json_t *dump_challenges(const scep_entry_t *entry)
{
    json_t *array = json_array();
    int i;

    for (i = 0; entry->challenges && i < entry->challenges->nelts; ++i) {
        json_array_append_new(array, json_string(
            APR_ARRAY_IDX(entry->challenges, i, scep_challenge_t).name));
    }
    return array;
}

static json_t *dump_algorithms(const scep_entry_t *entry)
{
    json_t *array = json_array();

    if (entry->endpoint.allow & SCEP_ALLOW_3DES) {
        json_array_append_new(array, json_string("3des"));
    }
    if (entry->endpoint.allow & SCEP_ALLOW_SHA1) {
        json_array_append_new(array, json_string("sha1"));
    }
    return array;
}

/** Without a port in ServerName, that of the virtual host, or the first that is listened on. */
static const char *server_name(const server_rec *s, apr_pool_t *p)
{
    apr_port_t port = s->port;

    if (!port && s->is_virtual && s->addrs) {
        port = s->addrs->host_port;
    }
    if (!port && ap_listeners && ap_listeners->bind_addr) {
        port = ap_listeners->bind_addr->port;
    }
    return apr_psprintf(p, "%s:%u", s->server_hostname ? s->server_hostname : "", port);
}

/** For which endpoints a page makes challenges. */
static json_t *dump_targets(server_rec *main_server, const scep_web_t *web, apr_pool_t *p)
{
    const gatehouse_config_t *config = scep_gatehouse_config();
    json_t *array = json_array();
    int i, j;

    for (i = 0; web && web->targets && i < web->targets->nelts; ++i) {
        const apr_array_header_t *found =
            scep_web_found(main_server, &APR_ARRAY_IDX(web->targets, i, scep_web_target_t), config,
                           p);
        for (j = 0; j < found->nelts; ++j) {
            const scep_web_found_t *one = &APR_ARRAY_IDX(found, j, scep_web_found_t);
            json_array_append_new(array, json_pack(
                "{s:s, s:s, s:s, s:s}", "tenant", one->entry->endpoint.tenant, "issuer",
                one->entry->endpoint.issuer, "profile",
                gh_profile_name(one->entry->endpoint.profile), "challenge",
                *one->set ? apr_pstrcat(p, "onetime:", one->set, NULL) : "onetime"));
        }
    }
    return array;
}

static void dump_pages(json_t *array, server_rec *main_server, server_rec *s, apr_pool_t *p)
{
    const apr_array_header_t *locations = scep_locations(main_server, s, scep_handlers(p), p);
    const char *handler;
    scep_place_t place;
    int i;

    for (i = 0; i < locations->nelts; ++i) {
        const scep_location_t *location = &APR_ARRAY_IDX(locations, i, scep_location_t);
        const scep_web_t *web;

        if (!scep_web_concerns(location, main_server, s)) {
            continue;
        }
        web = scep_web_at(locations, location, &handler, &place, p);
        if (handler && strcmp(handler, SCEP_HANDLER_MDM)) {
            json_array_append_new(array, json_pack(
                "{s:s, s:s, s:s, s:b, s:o}", "server", server_name(s, p), "path", location->path,
                "handler", handler, "plain", web && web->plain > 0, "targets",
                dump_targets(main_server, web, p)));
        }
    }
}

void scep_dump(void *json, server_rec *main_server, apr_pool_t *p)
{
    json_t *array = json_array();
    json_t *pages = json_array();
    server_rec *s;
    int i;

    for (s = main_server; s; s = s->next) {
        const scep_server_t *server = scep_server(s);
        for (i = 0; server && server->listed && i < server->listed->nelts; ++i) {
            const scep_entry_t *entry = APR_ARRAY_IDX(server->listed, i, scep_entry_t *);
            json_array_append_new(array, json_pack(
                "{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "server", server_name(s, p), "path",
                ap_os_escape_path(p, entry->endpoint.path, 1), "tenant",
                entry->endpoint.tenant, "issuer",
                entry->endpoint.issuer, "profile", gh_profile_name(entry->endpoint.profile),
                "challenges", dump_challenges(entry), "algorithms", dump_algorithms(entry)));
        }
        dump_pages(pages, main_server, s, p);
    }
    json_object_set_new(json, "scep", array);
    json_object_set_new(json, "scep_pages", pages);
}
