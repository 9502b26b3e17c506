/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What endpoints rest on: RA profile, sealing key, request lines; and what an administrator should
 * be told at each start. */

#include <string.h>

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_scep/scep_config.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_url.h"

APLOG_USE_MODULE(scep);

#define REQUEST_LINE_LEAST 65536
#define RA_KEY_KIND "RSA-2048"

int scep_final_pass(void)
{
    return ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_PRE_CONFIG
           || ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST;
}

void scep_log_problem(const server_rec *s, int level, scep_place_t place, const char *text,
                      apr_pool_t *ptemp)
{
    const char *colon = strstr(text, ": ");
    int number = colon ? (int)(colon + 2 - text) : 0;

    if (level > APLOG_ERR && !scep_final_pass()) {
        return;
    }
    ap_log_error(APLOG_MARK, level | APLOG_STARTUP, 0, s, "%.*s%s%s", number, text,
                 place.file ? apr_psprintf(ptemp, "%s:%d: ", place.file, place.line) : "",
                 text + number);
}

/* SetHandler: core keeps an expression; the tree of directives has what was written, and where */

static const char *unquoted(apr_pool_t *p, const char *args)
{
    return ap_getword_conf(p, &args);
}

static const char *place_key(const char *file, unsigned line, apr_pool_t *p)
{
    return apr_psprintf(p, "%s:%u", file ? file : "", line);
}

static void collect_handlers(const ap_directive_t *directive, apr_hash_t *handlers, apr_pool_t *p)
{
    for (; directive; directive = directive->next) {
        if (directive->first_child) {
            collect_handlers(directive->first_child, handlers, p);
        }
        else if (!ap_cstr_casecmp(directive->directive, "SetHandler")) {
            apr_hash_set(handlers, place_key(directive->filename, (unsigned)directive->line_num, p),
                         APR_HASH_KEY_STRING, directive);
        }
    }
}

apr_hash_t *scep_handlers(apr_pool_t *p)
{
    apr_hash_t *handlers = apr_hash_make(p);

    collect_handlers(ap_conftree, handlers, p);
    return handlers;
}

const char *scep_handler_of(apr_hash_t *handlers, const core_dir_config *core, scep_place_t *place,
                            apr_pool_t *p)
{
    const ap_directive_t *directive;

    memset(place, 0, sizeof(*place));
    if (!core->expr_handler) {
        return core->handler;
    }
    place->file = core->expr_handler->filename;
    place->line = (int)core->expr_handler->line_number;
    directive = apr_hash_get(handlers, place_key(place->file, core->expr_handler->line_number, p),
                             APR_HASH_KEY_STRING);
    return directive ? unquoted(p, directive->args) : "";
}

/** @return the path of a <Location> without pattern, NULL for every other directive */
static const char *plain_location(const ap_directive_t *directive, apr_pool_t *p)
{
    const char *path;

    if (ap_cstr_casecmp(directive->directive, "<Location")) {
        return NULL;
    }
    path = unquoted(p, directive->args);
    path = apr_pstrmemdup(p, path, strcspn(path, ">"));
    return *path == '~' || apr_fnmatch_test(path) ? NULL : path;
}

static int is_scep_handler(const ap_directive_t *directive, apr_pool_t *p)
{
    return !ap_cstr_casecmp(directive->directive, "SetHandler")
           && !strcmp(unquoted(p, directive->args), SCEP_HANDLER);
}

/** Where it would lead nowhere. */
static int check_handlers(server_rec *s, apr_hash_t *handlers, apr_pool_t *ptemp)
{
    apr_hash_index_t *hi;
    int problems = 0;

    for (hi = apr_hash_first(ptemp, handlers); hi; hi = apr_hash_next(hi)) {
        const ap_directive_t *directive = apr_hash_this_val(hi);
        const ap_directive_t *parent = directive->parent;
        scep_place_t place = { directive->filename, directive->line_num };
        const char *path;

        if (!parent || !is_scep_handler(directive, ptemp)) {
            continue;
        }
        path = plain_location(parent, ptemp);
        if (!path) {
            scep_log_problem(s, APLOG_ERR, place, apr_psprintf(ptemp, GHNO(0252) "SetHandler "
                             SCEP_HANDLER " belongs in a <Location> without pattern, not in %s %s",
                             parent->directive, parent->args), ptemp);
            ++problems;
        }
        else if (!scep_location_serves(path)) {
            scep_log_problem(s, APLOG_ERR, place, apr_psprintf(ptemp, GHNO(0445) "SetHandler "
                             SCEP_HANDLER " has no effect in <Location \"%s\">: SCEP is served "
                             "below " SCEP_URL_ROOT " only", path), ptemp);
            ++problems;
        }
    }
    return problems;
}

/** @return 1 if a server with endpoints has a section for this path, or the section says that */
static int is_about_scep(const server_rec *main_server, const ap_directive_t *section,
                         const char *path, apr_pool_t *p)
{
    const ap_directive_t *child;
    const server_rec *s;
    int i;

    for (child = section->first_child; child; child = child->next) {
        if (is_scep_handler(child, p)) {
            return 1;
        }
    }
    for (s = main_server; s; s = s->next) {
        const core_server_config *core = ap_get_core_module_config(s->module_config);
        for (i = 0; scep_server(s)->listed->nelts && i < core->sec_url->nelts; ++i) {
            const core_dir_config *dir = ap_get_core_module_config(
                APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *));
            if (!strcmp(dir->d, path)) {
                return 1;
            }
        }
    }
    return 0;
}

/** Whatever a section says, such as Require, would not hold for the path without its slash, which
 *  leads to the same endpoint. */
static int check_slashes(server_rec *s, const ap_directive_t *directive, apr_pool_t *ptemp)
{
    int problems = 0;

    for (; directive; directive = directive->next) {
        const char *path = plain_location(directive, ptemp);
        scep_place_t place = { directive->filename, directive->line_num };

        if (directive->first_child) {
            problems += check_slashes(s, directive->first_child, ptemp);
        }
        if (path && strncmp(path, SCEP_URL_ROOT "/", sizeof(SCEP_URL_ROOT)) == 0
            && path[strlen(path) - 1] == '/' && is_about_scep(s, directive, path, ptemp)) {
            scep_log_problem(s, APLOG_ERR, place,
                             apr_psprintf(ptemp,
                                          GHNO(0253) "remove the final slash of <Location \"%s\">: "
                                                     "httpd would not match the path without it",
                                          path),
                             ptemp);
            ++problems;
        }
    }
    return problems;
}

/* The RA */

/** Of the first section that has endpoints, for what these miss. */
static scep_place_t place_of_endpoints(const server_rec *main_server)
{
    scep_place_t nowhere = { NULL, 0 };
    const server_rec *s;
    int i;

    for (s = main_server; s; s = s->next) {
        const core_server_config *core = ap_get_core_module_config(s->module_config);
        for (i = 0; i < core->sec_url->nelts; ++i) {
            const scep_section_t *section = ap_get_module_config(
                APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *), &scep_module);
            if (section && section->used) {
                return section->place;
            }
        }
    }
    return nowhere;
}

static int check_ra(server_rec *s, const gatehouse_config_t *config, apr_pool_t *ptemp)
{
    const scep_server_t *server = scep_server(s);
    const char *name = server->ra_profile ? server->ra_profile : SCEP_RA_PROFILE;
    const gh_profile_t *profile = apr_hash_get(config->profiles, name, APR_HASH_KEY_STRING);
    const char *text = NULL;
    int problems = 0;

    if (!profile) {
        text = apr_psprintf(ptemp,
                            GHNO(0254) "SCEPRAProfile: there is no <CertificateProfile %s>; "
                                       "include conf.d/profiles.conf or name another profile",
                            name);
    }
    else if (!gh_profile_fits_ra(profile)) {
        text = apr_psprintf(ptemp,
                            GHNO(0255) "SCEPRAProfile: an RA signs and decrypts, so that its "
                                       "profile must have both digitalSignature and "
                                       "keyEncipherment; %s has not",
                            name);
    }
    else if (!gh_profile_allows_key(profile, RA_KEY_KIND)) {
        text = apr_psprintf(ptemp,
                            GHNO(0256) "SCEPRAProfile: profile %s does not allow keys of "
                                       "kind " RA_KEY_KIND,
                            name);
    }
    if (text) {
        scep_log_problem(s, APLOG_ERR,
                         server->ra_profile ? server->ra_profile_place : place_of_endpoints(s),
                         text, ptemp);
        ++problems;
    }
    if (!config->sealing_configured) {
        scep_log_problem(s, APLOG_ERR, place_of_endpoints(s),
                         GHNO(0257) "GatehouseSealingKey is missing: SCEP keeps the key of its RA "
                                    "in the store, sealed. Make one with \"openssl rand -hex 32\" "
                                    "and add GatehouseSealingKey file:PATH",
                         ptemp);
        ++problems;
    }
    return problems;
}

/* Warnings */

static int shares_address(const server_rec *a, const server_rec *b)
{
    const server_addr_rec *x, *y;

    for (x = a->addrs; x; x = x->next) {
        for (y = b->addrs; y; y = y->next) {
            if (x->host_port == y->host_port
                && apr_sockaddr_equal(x->host_addr, y->host_addr)) {
                return 1;
            }
        }
    }
    return 0;
}

/** The server whose limits hold while a request line is read: the first one of the address. */
static const server_rec *reading_server(const server_rec *main_server, const server_rec *s)
{
    const server_rec *first;

    for (first = main_server->next; s->is_virtual && first && first != s; first = first->next) {
        if (shares_address(first, s)) {
            return first;
        }
    }
    return s;
}

static void warn_request_line(const server_rec *main_server, const server_rec *s, apr_pool_t *ptemp)
{
    const server_rec *reader = reading_server(main_server, s);
    scep_place_t place = { reader->defn_name, (int)reader->defn_line_number };

    if (reader->limit_req_line < REQUEST_LINE_LEAST) {
        scep_log_problem(s, APLOG_WARNING, place,
                         apr_psprintf(ptemp,
                                      GHNO(0258) "LimitRequestLine is %d here: PKIOperation by GET "
                                                 "needs more; set LimitRequestLine %d for the "
                                                 "whole server or in the first virtual host of the "
                                                 "address",
                                      reader->limit_req_line, REQUEST_LINE_LEAST),
                         ptemp);
    }
}

static const scep_challenge_t *open_to_all(const scep_entry_t *entry)
{
    int i;

    for (i = 0; entry->challenges && i < entry->challenges->nelts; ++i) {
        const scep_challenge_t *one = &APR_ARRAY_IDX(entry->challenges, i, scep_challenge_t);
        if (!strcmp(one->name, "none")) {
            return one;
        }
    }
    return NULL;
}

/** Warns once per directive, however many endpoints it opens; some must never be open to all. */
static int check_insecure(const server_rec *s, apr_hash_t *told, apr_pool_t *ptemp)
{
    const scep_server_t *server = scep_server(s);
    int i, problems = 0;

    for (i = 0; i < server->listed->nelts; ++i) {
        const scep_entry_t *entry = APR_ARRAY_IDX(server->listed, i, scep_entry_t *);
        const scep_challenge_t *one = open_to_all(entry);
        if (!one) {
            continue;
        }
        if (gh_profile_is_privileged(entry->endpoint.profile)) {
            scep_log_problem(s, APLOG_ERR, one->place,
                             apr_psprintf(ptemp,
                                          GHNO(0270) "SCEPChallenge none insecure does not go with "
                                                     "%s: profile %s is for a CA, code signing, "
                                                     "smart cards or the like; configure a "
                                                     "challenge for this path",
                                          entry->endpoint.path,
                                          gh_profile_name(entry->endpoint.profile)),
                             ptemp);
            ++problems;
        }
        else if (!apr_hash_get(told, &one, sizeof(one))) {
            apr_hash_set(told, apr_pmemdup(ptemp, &one, sizeof(one)), sizeof(one), "");
            scep_log_problem(s, APLOG_WARNING, one->place,
                             apr_psprintf(ptemp,
                                          GHNO(0259) "SCEPChallenge none insecure: everybody who "
                                                     "reaches %s gets a certificate",
                                          entry->endpoint.path),
                             ptemp);
        }
    }
    return problems;
}

int scep_check(server_rec *main_server, const gatehouse_config_t *config, apr_hash_t *handlers,
               apr_pool_t *ptemp)
{
    apr_hash_t *told = apr_hash_make(ptemp);
    int problems = check_handlers(main_server, handlers, ptemp)
                   + check_slashes(main_server, ap_conftree, ptemp);
    int endpoints = 0;
    server_rec *s;

    for (s = main_server; s; s = s->next) {
        if (scep_server(s)->listed->nelts) {
            ++endpoints;
            warn_request_line(main_server, s, ptemp);
            problems += check_insecure(s, told, ptemp);
        }
    }
    if (endpoints) {
        scep_warn_managers(main_server, ptemp);
        problems += check_ra(main_server, config, ptemp);
    }
    return problems;
}
