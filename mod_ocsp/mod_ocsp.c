/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* OCSP (RFC 6960, RFC 9919) for Apache httpd. Here are the module record and its hooks; the
 * protocol is in the files beside this one and knows nothing of httpd. */

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_request.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"

#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 105)
#error "mod_ocsp needs a newer httpd 2.4"
#endif

/* the only symbol that httpd looks up */
extern module __attribute__((visibility("default"))) ocsp_module;

APLOG_USE_MODULE(ocsp);

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    ocsp_second_register(pconf);
    return OK;
}

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const gatehouse_config_t *config;
    int problems;

    if (!ocsp_find_gatehouse()) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s,
                     GHNO(0750) "mod_ocsp needs mod_gatehouse of the same version; add LoadModule "
                     "gatehouse_module");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    config = ocsp_gatehouse()->config();
    if (!config) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    problems = ocsp_check(s, config, pconf, ptemp);
    if (!problems) {
        problems = ocsp_second_create(s, pconf, ptemp);
    }
    if (problems) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    ocsp_gatehouse()->register_dump(ocsp_dump, pconf);
    return OK;
}

/* Only in the pass that leads to a running server. */
static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG
        || !ocsp_server(s)->sections->nelts) {
        return OK;
    }
    if (ocsp_node_prepare(s, pconf) || ocsp_second_prepare(s, pconf)) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    ocsp_gatehouse()->register_health(ocsp_health, pconf);
    ocsp_gatehouse()->register_metrics(ocsp_metrics, pconf);
    return ocsp_parent_start(s, pconf, ptemp);
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const after_gatehouse[] = { "mod_gatehouse.c", NULL };

    APR_REGISTER_OPTIONAL_FN(gatehouse_ocsp_url);

    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    /* issuers and profiles are known then */
    ap_hook_check_config(check_config, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    /* the store is open then */
    ap_hook_child_init(ocsp_child_init, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    /* before any cache */
    ap_hook_quick_handler(ocsp_quick_handler, NULL, NULL, APR_HOOK_FIRST);
    /* before core looks for files, and mod_dir redirects to directories */
    ap_hook_map_to_storage(ocsp_map_to_storage, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(ocsp_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA ocsp_module = {
    STANDARD20_MODULE_STUFF,
    ocsp_create_settings,
    ocsp_merge_settings,
    ocsp_create_server,
    ocsp_merge_server,
    ocsp_directives,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
