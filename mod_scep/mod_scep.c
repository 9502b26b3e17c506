/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* SCEP (RFC 8894) for Apache httpd. Here are the module record and its hooks; the protocol is in
 * the files beside this one and knows nothing of httpd. */

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_request.h>

#include "log.h"
#include "mod_scep/scep_config.h"
#include "mod_scep/scep_intune.h"
#include "mod_scep/scep_mdm.h"
#include "mod_scep/scep_web.h"

#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 105)
#error "mod_scep needs a newer httpd 2.4"
#endif

/* the only symbol that httpd looks up */
extern module __attribute__((visibility("default"))) scep_module;

APLOG_USE_MODULE(scep);

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const gatehouse_config_t *config;
    apr_hash_t *handlers;
    int problems;

    if (!scep_find_gatehouse()) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s,
                     GHNO(0266) "mod_scep needs mod_gatehouse; add LoadModule gatehouse_module");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    config = scep_gatehouse_config();
    if (!config) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    handlers = scep_handlers(ptemp);
    problems = scep_digital_check(s, config, pconf, ptemp);
    problems += scep_intune_check(s, config, pconf, ptemp);
    problems += scep_compile(s, config, handlers, scep_gatehouse_allowances, pconf, ptemp);
    scep_intune_warn_unused(s, ptemp);
    problems += scep_check(s, config, handlers, ptemp);
    scep_web_find_gatehouse();
    scep_mdm_need_worker(s, pconf);
    problems += scep_web_check(s, config, handlers, ptemp);
    problems += scep_node_prepare(s, pconf);
    if (problems) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    scep_register_dump(scep_dump, pconf);
    return OK;
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const after_gatehouse[] = { "mod_gatehouse.c", NULL };

    /* issuers and profiles are known then */
    ap_hook_check_config(check_config, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    /* the store is open then */
    ap_hook_child_init(scep_child_init, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    /* before core looks for files, and mod_dir redirects to directories */
    ap_hook_map_to_storage(scep_map_to_storage, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_auth_checker(scep_web_note_user, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(scep_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(scep_mdm_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(scep_web_challenge_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(scep_web_ndes_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(scep_web_profile_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA scep_module = {
    STANDARD20_MODULE_STUFF,
    scep_create_section,
    scep_merge_sections,
    scep_create_server,
    NULL,
    scep_directives,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
