/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Escrow of S/MIME credentials, and authorisation by thumbprints, for Apache httpd. Here are the
 * module record and its hooks. */

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>

#include "log.h"
#include "mod_escrow/escrow_admin.h"
#include "mod_escrow/escrow_api.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_events.h"
#include "mod_escrow/escrow_health.h"
#include "mod_escrow/escrow_mail_directory.h"
#include "mod_escrow/escrow_tls.h"
#include "mod_escrow/escrow_uem.h"
#include "mod_escrow/escrow_vault.h"
#include "mod_escrow/escrow_worker_start.h"
#include "mod_escrow/thumbprint.h"
#include "mod_gatehouse/client_certificate.h"

#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 105)
#error "mod_escrow needs a newer httpd 2.4"
#endif

/* the only symbol that httpd looks up */
extern module __attribute__((visibility("default"))) escrow_module;

APLOG_USE_MODULE(escrow);

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    int problems;

    if (!escrow_find_gatehouse()) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s, GHNO(1148) "mod_escrow needs "
                     "mod_gatehouse; add LoadModule gatehouse_module");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!escrow_gatehouse()->config()) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    problems = thumbprint_check(s, pconf, ptemp);
    problems += escrow_events_check(s, pconf);
    problems += escrow_mail_directory_check(s, ptemp);
    problems += escrow_vault_load(s, pconf);
    problems += escrow_tls_check(s);
    problems += escrow_uem_check(s, pconf);
    problems += escrow_settings_check(s, pconf, ptemp);
    escrow_node_prepare(pconf);
    escrow_gatehouse()->register_dump(escrow_dump, pconf);
    escrow_health_register(pconf);
    return problems ? HTTP_INTERNAL_SERVER_ERROR : OK;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    return escrow_vault_check(s, ptemp) || escrow_mail_directory_prepare(s, pconf)
        ? HTTP_INTERNAL_SERVER_ERROR : OK;
}

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    escrow_vault_child_init(pchild, s);
    escrow_api_child_init(s);
    escrow_node_child_init(pchild);
    escrow_mail_directory_child_init(pchild, s);
    escrow_tls_child_init(pchild, s);
    thumbprint_files_child_init(pchild, s);
    thumbprint_pins_child_init(pchild, s);
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const after_gatehouse[] = { "mod_gatehouse.c", NULL };

    APR_REGISTER_OPTIONAL_FN(gatehouse_client_certificate);
    thumbprint_connection_hooks(p);
    thumbprint_require_hooks(p);
    thumbprint_refusal_hooks(p);
    escrow_tls_hooks(p);
    escrow_worker_hooks(p);
    ap_hook_handler(escrow_admin_handler, NULL, NULL, APR_HOOK_MIDDLE);
    /* the store is ready then */
    ap_hook_post_config(post_config, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(escrow_api_handler, NULL, NULL, APR_HOOK_MIDDLE);
    /* after the answer was sent */
    ap_hook_log_transaction(thumbprint_note_used, NULL, NULL, APR_HOOK_LAST);
    /* before any module sees a header that only a proxy may send */
    ap_hook_post_read_request(thumbprint_clean_headers, NULL, NULL, APR_HOOK_REALLY_FIRST);
    /* issuers and profiles are known then */
    ap_hook_check_config(check_config, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    /* the store is open then */
    ap_hook_child_init(child_init, after_gatehouse, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA escrow_module = {
    STANDARD20_MODULE_STUFF,
    escrow_create_section,
    escrow_merge_sections,
    escrow_create_server,
    escrow_merge_servers,
    escrow_directives,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
