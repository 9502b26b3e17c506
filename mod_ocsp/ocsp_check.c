/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the configuration means as a whole: found at each start, and by "httpd -t". */

#include <string.h>

#include <ap_provider.h>
#include <ap_socache.h>
#include <apr_file_info.h>
#include <apr_hash.h>
#include <apr_strings.h>
#include <httpd.h>
#include <http_core.h>
#include <http_log.h>
#include <unixd.h>

#include "log.h"
#include "mod_ocsp/ocsp_config.h"

APLOG_USE_MODULE(ocsp);

int ocsp_final_pass(void)
{
    return ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_PRE_CONFIG
        || ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST;
}

void ocsp_log_problem(const server_rec *s, int level, ocsp_place_t place, const char *text,
                      apr_pool_t *ptemp)
{
    const char *colon = strncmp(text, "GH", 2) ? NULL : strstr(text, ": ");
    int number = colon ? (int)(colon + 2 - text) : 0;

    if (level > APLOG_ERR && !ocsp_final_pass()) {
        return;
    }
    ap_log_error(APLOG_MARK, level | APLOG_STARTUP, 0, s, "%.*s%s%s", number, text,
                 place.file ? apr_psprintf(ptemp, "%s:%d: ", place.file, place.line) : "",
                 text + number);
}

/* Sets of authorities */

static ocsp_authority_t *find_authority(const ocsp_server_t *server, const char *name, int *known)
{
    int i;

    *known = 0;
    for (i = 0; i < server->sections->nelts; ++i) {
        const ocsp_section_t *section = APR_ARRAY_IDX(server->sections, i, ocsp_section_t *);

        if (!strcmp(section->name, name)) {
            *known = 1;
            return section->authority;
        }
    }
    return NULL;
}

static int make_set(ocsp_serve_t *serve, const ocsp_server_t *server, server_rec *s, apr_pool_t *p,
                    apr_pool_t *ptemp)
{
    apr_array_header_t *list = apr_array_make(ptemp, serve->names->nelts,
                                              sizeof(ocsp_authority_t *));
    int problems = 0;
    int i, known;

    for (i = 0; i < serve->names->nelts; ++i) {
        const char *name = APR_ARRAY_IDX(serve->names, i, const char *);
        ocsp_authority_t *authority = find_authority(server, name, &known);

        if (authority) {
            APR_ARRAY_PUSH(list, ocsp_authority_t *) = authority;
        }
        if (!known) {
            ocsp_log_problem(s, APLOG_ERR, serve->place,
                             apr_psprintf(ptemp, GHNO(0626) "OCSPServe: there is no "
                                          "<OCSPAuthority %s>", name), ptemp);
            ++problems;
        }
    }
    serve->set = ocsp_authorities_create(list, p);
    return problems;
}

static int make_sets(server_rec *main_server, apr_pool_t *p, apr_pool_t *ptemp)
{
    ocsp_server_t *server = ocsp_server(main_server);
    apr_array_header_t *all = apr_array_make(ptemp, 4, sizeof(ocsp_authority_t *));
    apr_hash_t *done = apr_hash_make(ptemp);
    server_rec *s;
    int problems = 0;
    int i;

    for (i = 0; i < server->sections->nelts; ++i) {
        const ocsp_section_t *section = APR_ARRAY_IDX(server->sections, i, ocsp_section_t *);

        if (section->authority) {
            APR_ARRAY_PUSH(all, ocsp_authority_t *) = section->authority;
        }
    }
    server->all = ocsp_authorities_create(all, p);
    for (s = main_server; s; s = s->next) {
        const core_server_config *core = ap_get_core_module_config(s->module_config);

        for (i = -1; i < core->sec_url->nelts; ++i) {
            const ocsp_settings_t *settings = i < 0 ? ocsp_server_settings(s)
                : ap_get_module_config(APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *),
                                       &ocsp_module);
            ocsp_serve_t *serve = settings ? settings->serve : NULL;

            if (serve && !apr_hash_get(done, &serve, sizeof(serve))) {
                apr_hash_set(done, apr_pmemdup(ptemp, &serve, sizeof(serve)), sizeof(serve), "");
                problems += make_set(serve, server, main_server, p, ptemp);
            }
        }
    }
    return problems;
}

/* The folder */

static int is_missing_parent(const char *path, apr_pool_t *p)
{
    const char *slash = strrchr(path, '/');
    apr_finfo_t info;

    return !slash || slash == path ? 0
        : apr_stat(&info, apr_pstrmemdup(p, path, slash - path), APR_FINFO_TYPE, p) != APR_SUCCESS
          || info.filetype != APR_DIR;
}

/** What is in it decides what is answered: nobody else may write there. */
static int check_directory(const ocsp_server_t *server, server_rec *s, apr_pool_t *ptemp)
{
    const char *text = NULL;
    apr_finfo_t info;
    apr_status_t rv;

    rv = apr_stat(&info, server->directory, APR_FINFO_TYPE | APR_FINFO_OWNER | APR_FINFO_PROT,
                  ptemp);
    if (APR_STATUS_IS_ENOENT(rv)) {
        if (is_missing_parent(server->directory, ptemp)) {
            text = apr_psprintf(ptemp, GHNO(0628) "OCSPDirectory: the folder above %s is not "
                                "there; make it", server->directory);
        }
    }
    else if (rv != APR_SUCCESS || info.filetype != APR_DIR) {
        text = apr_psprintf(ptemp, GHNO(0629) "OCSPDirectory: %s is no folder that can be read",
                            server->directory);
    }
    else if (geteuid() == 0 ? info.user != ap_unixd_config.user_id : info.user != geteuid()) {
        text = apr_psprintf(ptemp, GHNO(0630) "OCSPDirectory: %s has to belong to the user that "
                            "httpd runs as; change its owner", server->directory);
    }
    else if (info.protection & (APR_FPROT_GWRITE | APR_FPROT_WWRITE)) {
        text = apr_psprintf(ptemp, GHNO(0631) "OCSPDirectory: others than the owner can write to "
                            "%s, and so decide what is answered; take that right away",
                            server->directory);
    }
    if (text) {
        ocsp_log_problem(s, APLOG_ERR, server->directory_place, text, ptemp);
        return 1;
    }
    return 0;
}

/* Endpoints and second level */

static const ocsp_path_t *any_endpoint(server_rec *s)
{
    for (; s; s = s->next) {
        const ocsp_server_t *server = ocsp_server(s);

        if (server->fast && server->fast->nelts) {
            return &APR_ARRAY_IDX(server->fast, 0, ocsp_path_t);
        }
        if (server->locations->nelts) {
            return &APR_ARRAY_IDX(server->locations, 0, ocsp_path_t);
        }
    }
    return NULL;
}

static int check_endpoints(const ocsp_server_t *server, server_rec *s, apr_pool_t *ptemp)
{
    const ocsp_path_t *endpoint = any_endpoint(s);

    if (endpoint && !server->sections->nelts) {
        ocsp_log_problem(s, APLOG_ERR, endpoint->place, GHNO(0632) "OCSP is to be answered here, "
                         "but there is no <OCSPAuthority>; add one for each CA", ptemp);
        return 1;
    }
    if (!endpoint && server->sections->nelts) {
        ocsp_log_problem(s, APLOG_WARNING,
                         APR_ARRAY_IDX(server->sections, 0, ocsp_section_t *)->place,
                         GHNO(0633) "nothing answers OCSP: add OCSPFastPath /ocsp, or a <Location> "
                         "with SetHandler " OCSP_HANDLER, ptemp);
    }
    return 0;
}

static int check_second_level(const ocsp_server_t *server, const gatehouse_config_t *config,
                              server_rec *s, apr_pool_t *ptemp)
{
    if (!server->second_level) {
        return 0;
    }
    if (!ap_lookup_provider(AP_SOCACHE_PROVIDER_GROUP, server->second_level,
                            AP_SOCACHE_PROVIDER_VERSION)) {
        ocsp_log_problem(s, APLOG_ERR, server->second_level_place,
                         apr_psprintf(ptemp, GHNO(0634) "OCSPSecondLevel: there is no cache "
                                      "provider %s; load httpd's module mod_socache_%s",
                                      server->second_level, server->second_level), ptemp);
        return 1;
    }
    if (!server->second_level_key && !config->sealer) {
        ocsp_log_problem(s, APLOG_ERR, server->second_level_place, GHNO(0627) "OCSPSecondLevel: "
                         "OCSPSecondLevelKey is missing, and so is GatehouseSealingKey: whoever "
                         "writes to the cache could change answers. Make a key with \"openssl rand "
                         "-hex 32\", the same for all nodes", ptemp);
        return 1;
    }
    return 0;
}

int ocsp_check(server_rec *s, const gatehouse_config_t *config, apr_pool_t *p, apr_pool_t *ptemp)
{
    ocsp_server_t *server = ocsp_server(s);
    int problems = ocsp_find_locations(s, p, ptemp);
    int i;

    if (!server->directory) {
        server->directory = ap_runtime_dir_relative(p, OCSP_DIRECTORY);
    }
    for (i = 0; i < server->sections->nelts; ++i) {
        problems += ocsp_check_section(APR_ARRAY_IDX(server->sections, i, ocsp_section_t *), s,
                                       config, p, ptemp);
    }
    problems += make_sets(s, p, ptemp);
    problems += check_endpoints(server, s, ptemp);
    /* gatehousectl, which asks for the dump, may be somebody else */
    if (server->sections->nelts && !ap_exists_config_define("DUMP_GATEHOUSE")) {
        problems += check_directory(server, s, ptemp);
    }
    return problems + check_second_level(server, config, s, ptemp);
}
