/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Where OCSP is answered: paths of the fast path, and locations with the handler. */

#include <stdlib.h>
#include <string.h>

#include <apr_fnmatch.h>
#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_uri.h>
#include <httpd.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_ocsp/ocsp_config.h"

APLOG_USE_MODULE(ocsp);

/* Paths of requests */

const char *ocsp_raw_path(const request_rec *r)
{
    const char *path = r->unparsed_uri;
    const char *host;

    if (*path == '/') {
        return path;
    }
    host = strstr(path, "://");
    if (!host) {
        return "";
    }
    path = strchr(host + 3, '/');
    return path ? path : "/";
}

static int covers(const ocsp_path_t *one, const char *path, const char **rest)
{
    if (strncmp(one->path, path, one->length)
        || (path[one->length] != '/' && path[one->length] != '\0' && path[one->length] != '?')) {
        return 0;
    }
    *rest = path + one->length;
    return 1;
}

const ocsp_path_t *ocsp_path_find(const apr_array_header_t *paths, const char *path,
                                  const char **rest)
{
    int i;

    for (i = 0; paths && i < paths->nelts; ++i) {
        const ocsp_path_t *one = &APR_ARRAY_IDX(paths, i, ocsp_path_t);

        if (covers(one, path, rest)) {
            return one;
        }
    }
    return NULL;
}

static int by_length(const void *a, const void *b)
{
    const ocsp_path_t *one = a, *other = b;

    return one->length < other->length ? 1 : one->length > other->length ? -1 : 0;
}

/* SetHandler: core keeps an expression; the tree of directives has what was written, and where */

static const char *first_word(apr_pool_t *p, const char *args)
{
    return ap_getword_conf(p, &args);
}

static const char *key_of(const char *file, unsigned line, apr_pool_t *p)
{
    return apr_psprintf(p, "%s:%u", file ? file : "", line);
}

static void collect(const ap_directive_t *directive, apr_hash_t *handlers, apr_pool_t *p)
{
    for (; directive; directive = directive->next) {
        if (directive->first_child) {
            collect(directive->first_child, handlers, p);
        }
        else if (!ap_cstr_casecmp(directive->directive, "SetHandler")
                 && !strcmp(first_word(p, directive->args), OCSP_HANDLER)) {
            apr_hash_set(handlers, key_of(directive->filename, (unsigned)directive->line_num, p),
                         APR_HASH_KEY_STRING, directive);
        }
    }
}

/** @return the directive that sets our handler in a section, or NULL */
static const ap_directive_t *handler_of(const core_dir_config *core, apr_hash_t *handlers,
                                        apr_pool_t *p)
{
    if (!core->expr_handler) {
        return NULL;
    }
    return apr_hash_get(handlers, key_of(core->expr_handler->filename,
                                         core->expr_handler->line_number, p), APR_HASH_KEY_STRING);
}

/** Sections without pattern have a path; all others would have their handler in vain. */
static int check_handler(server_rec *s, const ap_directive_t *directive, apr_pool_t *ptemp)
{
    const ap_directive_t *parent = directive->parent;
    ocsp_place_t place = { directive->filename, directive->line_num };
    const char *path = parent ? first_word(ptemp, parent->args) : "";
    apr_size_t length = strcspn(path, ">");

    path = apr_pstrmemdup(ptemp, path, length);
    if (!parent || ap_cstr_casecmp(parent->directive, "<Location") || *path == '~'
        || apr_fnmatch_test(path)) {
        ocsp_log_problem(s, APLOG_ERR, place,
                         GHNO(0623) "SetHandler " OCSP_HANDLER " belongs in a <Location> without "
                         "pattern, such as <Location \"/ocsp\">", ptemp);
        return 1;
    }
    if (length > 1 && path[length - 1] == '/') {
        ocsp_log_problem(s, APLOG_ERR, place,
                         apr_psprintf(ptemp, GHNO(0624) "remove the final slash of <Location "
                                      "\"%s\">: httpd would not match the path without it", path),
                         ptemp);
        return 1;
    }
    return 0;
}

/** "%2F" in a GET is a 404 of httpd before any handler unless the server says otherwise. */
static void warn_slashes(const server_rec *s, const ocsp_path_t *location, apr_pool_t *ptemp)
{
    const core_dir_config *core = ap_get_core_module_config(s->lookup_defaults);

    if (!core->allow_encoded_slashes) {
        ocsp_log_problem(s, APLOG_WARNING, location->place,
                         apr_psprintf(ptemp, GHNO(0625) "many GET requests to \"%s\" will be a 404 "
                                      "of httpd, since they have \"%%2F\": say AllowEncodedSlashes "
                                      "NoDecode in this server or virtual host, or use "
                                      "OCSPFastPath", location->path), ptemp);
    }
}

static void find_in_server(server_rec *s, apr_hash_t *handlers, apr_hash_t *told, apr_pool_t *p,
                           apr_pool_t *ptemp)
{
    const core_server_config *core = ap_get_core_module_config(s->module_config);
    ocsp_server_t *server = ocsp_server(s);
    int i;

    server->locations = apr_array_make(p, 2, sizeof(ocsp_path_t));
    for (i = 0; i < core->sec_url->nelts; ++i) {
        const core_dir_config *dir = ap_get_core_module_config(
            APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *));
        const ap_directive_t *directive = handler_of(dir, handlers, ptemp);
        ocsp_path_t *one;

        if (!directive || dir->r || dir->d_is_fnmatch) {
            continue;
        }
        one = apr_array_push(server->locations);
        one->length = strcmp(dir->d, "/") ? strlen(dir->d) : 0;
        one->path = one->length ? dir->d : "";
        one->place.file = directive->filename;
        one->place.line = directive->line_num;
        if (!apr_hash_get(told, &directive, sizeof(directive))) {
            apr_hash_set(told, apr_pmemdup(ptemp, &directive, sizeof(directive)),
                         sizeof(directive), one);
            warn_slashes(s, one, ptemp);
        }
    }
    qsort(server->locations->elts, (size_t)server->locations->nelts, sizeof(ocsp_path_t),
          by_length);
    if (server->fast) {
        qsort(server->fast->elts, (size_t)server->fast->nelts, sizeof(ocsp_path_t), by_length);
    }
}

int ocsp_find_locations(server_rec *main_server, apr_pool_t *p, apr_pool_t *ptemp)
{
    apr_hash_t *handlers = apr_hash_make(ptemp), *told = apr_hash_make(ptemp);
    apr_hash_index_t *hi;
    server_rec *s;
    int problems = 0;

    collect(ap_conftree, handlers, ptemp);
    for (hi = apr_hash_first(ptemp, handlers); hi; hi = apr_hash_next(hi)) {
        problems += check_handler(main_server, apr_hash_this_val(hi), ptemp);
    }
    for (s = main_server; s; s = s->next) {
        find_in_server(s, handlers, told, p, ptemp);
    }
    return problems;
}

/* Addresses in certificates */

static int serves(const ocsp_serve_t *serve, const char *authority)
{
    int i;

    for (i = 0; serve && i < serve->names->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(serve->names, i, const char *), authority)) {
            return 1;
        }
    }
    return serve == NULL;
}

/** What a server's locations say of a path, as httpd merges them. */
static const ocsp_settings_t *settings_at(const server_rec *s, const char *path, apr_pool_t *ptemp)
{
    const core_server_config *core = ap_get_core_module_config(s->module_config);
    const ocsp_settings_t *settings = ocsp_server_settings(s);
    const char *rest;
    int i;

    for (i = 0; i < core->sec_url->nelts; ++i) {
        ap_conf_vector_t *section = APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *);
        const core_dir_config *dir = ap_get_core_module_config(section);
        ocsp_settings_t *own = ap_get_module_config(section, &ocsp_module);
        ocsp_path_t one = { dir->d, strlen(dir->d), { NULL, 0 } };

        if (own && !dir->r && !dir->d_is_fnmatch && covers(&one, path, &rest)) {
            settings = ocsp_merge_settings(ptemp, (void *)settings, own);
        }
    }
    return settings;
}

int ocsp_is_answered_at(server_rec *main_server, const char *path, const char *authority,
                        apr_pool_t *ptemp)
{
    const server_rec *s;
    const char *rest;

    for (s = main_server; s; s = s->next) {
        const ocsp_server_t *server = ocsp_server(s);

        if (ocsp_path_find(server->fast, path, &rest)
            && serves(ocsp_server_settings(s)->serve, authority)) {
            return 1;
        }
        if (ocsp_path_find(server->locations, path, &rest)
            && serves(settings_at(s, path, ptemp)->serve, authority)) {
            return 1;
        }
    }
    return 0;
}

const char *gatehouse_ocsp_url(server_rec *s, const char *issuer, const char *public_url,
                               apr_pool_t *p)
{
    const ocsp_server_t *server = ocsp_server(s);
    const char *url = public_url ? apr_pstrcat(p, public_url, "/ocsp", NULL) : NULL;
    apr_pool_t *ptemp;
    apr_uri_t uri;
    int found = 0;
    int i;

    for (i = 0; i < server->sections->nelts && !found; ++i) {
        found = !strcmp(APR_ARRAY_IDX(server->sections, i, ocsp_section_t *)->name, issuer);
    }
    if (!url || !found) {
        return NULL;
    }
    apr_pool_create(&ptemp, p);
    if (!server->locations) {
        ocsp_find_locations(s, p, ptemp);
    }
    /* as certificates have it, or as a proxy leaves it that takes away what is before it */
    found = ocsp_is_answered_at(s, "/ocsp", issuer, ptemp)
        || (apr_uri_parse(ptemp, url, &uri) == APR_SUCCESS && uri.path
            && ocsp_is_answered_at(s, uri.path, issuer, ptemp));
    apr_pool_destroy(ptemp);
    return found ? url : NULL;
}
