/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* MS-WSTEP and MS-XCEP for Apache httpd. Here are the module record and its hooks; the protocol is
 * in the files beside this one and knows nothing of httpd. */

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_request.h>

#include <apr_strings.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"
#include "mod_wstep/wstep_peer.h"
#include "mod_wstep/wstep_xml.h"

/* the only symbol that httpd looks up */
extern module __attribute__((visibility("default"))) wstep_module;

APLOG_USE_MODULE(wstep);

static int any_cmc(server_rec *s)
{
    int i;

    for (; s; s = s->next) {
        const wstep_server_t *server = wstep_server(s);

        for (i = 0; i < server->listed->nelts; ++i) {
            const wstep_entry_t *entry = APR_ARRAY_IDX(server->listed, i, wstep_entry_t *);
            if (!entry->policy && entry->endpoint.response == WSTEP_RESPONSE_CMC) {
                return 1;
            }
        }
    }
    return 0;
}

/** Responses are signed by a registration authority, whose key is kept sealed. */
static int check_ra(server_rec *s, const gatehouse_config_t *config, apr_pool_t *ptemp)
{
    const wstep_server_t *server = wstep_server(s);
    const char *name = server->ra_profile ? server->ra_profile : WSTEP_RA_PROFILE;
    const gh_profile_t *profile = apr_hash_get(config->profiles, name, APR_HASH_KEY_STRING);
    int problems = 0;

    if (!any_cmc(s)) {
        return 0;
    }
    if (!profile || !gh_profile_fits_ra(profile)) {
        wstep_log_problem(s, APLOG_ERR, server->ra_profile_place,
                          apr_psprintf(ptemp, GHNO(1470) "WSTEPRAProfile: there is no "
                                       "<CertificateProfile %s>, or it has not both "
                                       "digitalSignature and keyEncipherment", name), ptemp);
        ++problems;
    }
    if (!config->sealing_configured) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s,
                     GHNO(1471) "GatehouseSealingKey is missing: WSTEP keeps the key that signs "
                                "responses in the store, sealed. Add GatehouseSealingKey "
                                "file:PATH, or say WSTEPResponse certificates");
        ++problems;
    }
    return problems;
}

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const gatehouse_config_t *config;
    int problems;

    if (!wstep_find_gatehouse()) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, s,
                     GHNO(1472) "mod_wstep needs mod_gatehouse; add LoadModule gatehouse_module");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    config = wstep_gatehouse_config();
    if (!config) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    wstep_find_peers();
    wstep_xml_initialise();
    problems = wstep_templates_check(s, config, pconf, ptemp);
    problems += wstep_compile(s, config, pconf, ptemp);
    problems += wstep_directory_check(s, pconf, ptemp);
    problems += check_ra(s, config, ptemp);
    problems += wstep_node_prepare(s, pconf);
    if (problems) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    wstep_register_dump(wstep_dump, pconf);
    return OK;
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const after_gatehouse[] = { "mod_gatehouse.c", NULL };
    static const char *const before_gssapi[] = { "mod_auth_gssapi.c", NULL };

    /* issuers and profiles are known then */
    ap_hook_check_config(check_config, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    /* the store is open then */
    ap_hook_child_init(wstep_child_init, after_gatehouse, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_authn(wstep_kerberos_check, NULL, before_gssapi, APR_HOOK_FIRST,
                        AP_AUTH_INTERNAL_PER_CONF);
    /* before core looks for files, and mod_dir redirects to directories */
    ap_hook_map_to_storage(wstep_map_to_storage, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(wstep_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA wstep_module = {
    STANDARD20_MODULE_STUFF,
    wstep_create_section,
    wstep_merge_sections,
    wstep_create_server,
    wstep_merge_servers,
    wstep_directives,
    register_hooks,
    AP_MODULE_FLAG_NONE
};
