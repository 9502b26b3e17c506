/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The base module: what every protocol module shares. Here are its directives and hooks only. */

#include <string.h>
#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <apr_strings.h>

#include "gatehouse_memory.h"
#include "gatehouse_remote.h"
#include "gatehouse_worker.h"
#include "log.h"

#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 80)
#error Gatehouse needs httpd 2.4.34 or newer
#endif

/* Attributes have to come before the definition that AP_DECLARE_MODULE writes. */
extern module __attribute__((visibility("default"))) gatehouse_module;

static const command_rec directives[] = {
    AP_INIT_TAKE1("GatehouseStore", gatehouse_set_store, NULL, RSRC_CONF,
                  "where state is kept: sqlite3:/absolute/path or pgsql:CONNINFO"),
    AP_INIT_TAKE1("GatehousePublicURL", gatehouse_set_public_url, NULL, RSRC_CONF,
                  "URL under which relying parties find CRLs and CA certificates"),
    AP_INIT_TAKE1("GatehouseSealingKey", gatehouse_set_sealing_key, NULL, RSRC_CONF,
                  "key that seals private keys in the store: file:PATH or exec:PATH"),
    AP_INIT_TAKE1("GatehouseAuditLog", gatehouse_set_audit_log, NULL, RSRC_CONF,
                  "a file, or | and a program, to which decisions are logged"),
    AP_INIT_TAKE1("GatehouseRuntimeDirectory", gatehouse_set_runtime_directory, NULL, RSRC_CONF,
                  "folder for sockets of workers"),
    AP_INIT_TAKE1("GatehouseNode", gatehouse_set_node, NULL, RSRC_CONF,
                  "name of this machine in the audit log and in leases"),

    AP_INIT_RAW_ARGS("<Issuer", gatehouse_issuer_section, NULL, RSRC_CONF,
                     "container of one CA: <Issuer NAME>"),
    AP_INIT_TAKE_ARGV("IssuerBackend", gatehouse_set_issuer_backend, NULL, RSRC_CONF,
                      "what signs: local (default), offline, cagw URL ca=ID, or cmp URL"),
    AP_INIT_TAKE1("IssuerCertificate", gatehouse_set_issuer_certificate, NULL, RSRC_CONF,
                  "PEM, DER or PKCS#12 file with the CA's certificate"),
    AP_INIT_TAKE12("IssuerKey", gatehouse_set_issuer_key, NULL, RSRC_CONF,
                   "file or pkcs11: URI of the CA's key, passphrase=file:PATH or exec:PATH"),
    AP_INIT_TAKE1("IssuerChain", gatehouse_set_issuer_chain, NULL, RSRC_CONF,
                  "PEM file with the certificates above the CA's, up to the root"),
    AP_INIT_TAKE12("IssuerNext", gatehouse_set_issuer_next, NULL, RSRC_CONF,
                   "the issuer that takes over, and from=TIME when"),
    AP_INIT_TAKE_ARGV("IssuerCRL", gatehouse_set_issuer_crl, NULL, RSRC_CONF,
                      "validity=TIME publish=TIME delay=TIME file=PATH"),

    AP_INIT_TAKE_ARGV("IssuerCredential", gatehouse_set_issuer_credential, NULL, RSRC_CONF,
                      "PKCS#12 by which the gateway knows us, passphrase=SOURCE, alias=NAME"),
    AP_INIT_TAKE_ARGV("IssuerCMP", gatehouse_set_issuer_cmp, NULL, RSRC_CONF,
                      "ref=NAME secret=SOURCE message=p10cr|ir|cr recipient=NAME sender=NAME "
                      "trust=PATH implicit-confirm unprotected-errors"),
    AP_INIT_TAKE12("IssuerTrust", gatehouse_set_issuer_trust, NULL, RSRC_CONF,
                  "who may have issued the gateway's certificate: PEM file, credential or system"),
    AP_INIT_TAKE_ARGV("IssuerProxy", gatehouse_set_issuer_proxy, NULL, RSRC_CONF,
                  "URL of a proxy on the way to the gateway"),
    AP_INIT_TAKE12("IssuerWait", gatehouse_set_issuer_wait, NULL, RSRC_CONF,
                   "how long a request waits for a certificate, max-waiting=NUMBER"),
    AP_INIT_TAKE_ARGV("IssuerGatewayProfile", gatehouse_set_issuer_gateway_profile, NULL,
                      RSRC_CONF, "a profile or *, the gateway's name of it, what else to ask for"),
    AP_INIT_TAKE_ARGV("IssuerGatewaySpelling", gatehouse_set_issuer_spelling, NULL, RSRC_CONF,
                      "words that this gateway writes differently"),
    AP_INIT_TAKE12("IssuerSearch", gatehouse_set_issuer_search, NULL, RSRC_CONF,
                   "whether the CA can be searched for what became of a call: on or off, lag=TIME"),
    AP_INIT_TAKE_ARGV("IssuerLimits", gatehouse_set_issuer_limits, NULL, RSRC_CONF,
                      "concurrent=NUMBER rate=NUMBER timeout=TIME deadline=TIME"),
    AP_INIT_TAKE_ARGV("IssuerEvents", gatehouse_set_issuer_events, NULL, RSRC_CONF,
                      "whether what the CA tells of its certificates is taken up: on or off, "
                      "every=TIME since=DATE serials-only"),
    AP_INIT_TAKE1("IssuerSubject", gatehouse_set_issuer_subject, NULL, RSRC_CONF,
                  "authorised, or any: the CA may choose another subject"),

    AP_INIT_RAW_ARGS("<CertificateProfile", gatehouse_profile_section, NULL, RSRC_CONF,
                     "container of one profile: <CertificateProfile NAME [base=OTHER]>"),
    AP_INIT_TAKE_ARGV("ProfileAlias", gatehouse_set_profile, NULL, RSRC_CONF,
                      "other names of the profile"),
    AP_INIT_TAKE_ARGV("ProfileKeyUsage", gatehouse_set_profile, NULL, RSRC_CONF,
                      "bits of keyUsage, or none"),
    AP_INIT_TAKE_ARGV("ProfileExtendedKeyUsage", gatehouse_set_profile, NULL, RSRC_CONF,
                      "extended key usages, request, or none; critical"),
    AP_INIT_TAKE_ARGV("ProfileRequestExtensions", gatehouse_set_profile, NULL, RSRC_CONF,
                      "extensions taken from the request, or none"),
    AP_INIT_TAKE_ARGV("ProfileUnlistedExtensions", gatehouse_set_profile, NULL, RSRC_CONF,
                      "what happens to other extensions: refuse or strip"),
    AP_INIT_TAKE_ARGV("ProfileKeys", gatehouse_set_profile, NULL, RSRC_CONF,
                      "kinds of keys that are accepted"),
    AP_INIT_TAKE_ARGV("ProfileValidity", gatehouse_set_profile, NULL, RSRC_CONF,
                      "longest life of a certificate"),
    AP_INIT_TAKE_ARGV("ProfileBasicConstraints", gatehouse_set_profile, NULL, RSRC_CONF,
                      "leaf, or ca with pathlen=N"),
    AP_INIT_TAKE_ARGV("ProfilePolicies", gatehouse_set_profile, NULL, RSRC_CONF,
                      "OIDs of certificate policies"),
    AP_INIT_TAKE_ARGV("ProfileOCSPNoCheck", gatehouse_set_profile, NULL, RSRC_CONF,
                      "on: certificates say that their own status need not be asked for"),
    AP_INIT_TAKE_ARGV("ProfileSubject", gatehouse_set_profile, NULL, RSRC_CONF,
                      "take, require, set or template, for the subject"),
    AP_INIT_TAKE_ARGV("ProfileSubjectAltName", gatehouse_set_profile, NULL, RSRC_CONF,
                      "take, require, set or from-cn, for alternative names"),
    AP_INIT_TAKE_ARGV("ProfileApproval", gatehouse_set_profile, NULL, RSRC_CONF,
                      "automatic or manual"),
    AP_INIT_TAKE_ARGV("ProfileModes", gatehouse_set_profile, NULL, RSRC_CONF,
                      "csr and p12"),
    AP_INIT_TAKE_ARGV("ProfileInternal", gatehouse_set_profile, NULL, RSRC_CONF,
                      "on: for the CA's own use, out of reach of protocols"),
    AP_INIT_TAKE_ARGV("ProfileKeyUsageMapping", gatehouse_set_profile, NULL, RSRC_CONF,
                      "lenient or strict"),
    AP_INIT_TAKE_ARGV("ProfileRequestedKeyUsage", gatehouse_set_profile, NULL, RSRC_CONF,
                      "what happens to a keyUsage in a request: ignore or match"),
    AP_INIT_TAKE_ARGV("ProfileLocations", gatehouse_set_profile, NULL, RSRC_CONF,
                      "off: certificates do not say where CRL, responder and issuer are"),

    AP_INIT_RAW_ARGS("<Webhook", gatehouse_webhook_section, NULL, RSRC_CONF,
                     "container of a service that says whether challenges are good: "
                     "<Webhook NAME>"),
    AP_INIT_TAKE_ARGV("WebhookURL", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "where it is asked: https://HOST/PATH"),
    AP_INIT_TAKE_ARGV("WebhookID", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "how it knows us; the name of the section"),
    AP_INIT_TAKE_ARGV("WebhookSecret", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "what calls are signed with, in Base64: file:PATH or exec:PATH"),
    AP_INIT_TAKE_ARGV("WebhookAuthorization", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "bearer or basic, and file:PATH or exec:PATH with the token or "
                      "USER:PASSWORD"),
    AP_INIT_TAKE_ARGV("WebhookCredential", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "PKCS#12 with a client certificate, passphrase=SOURCE, alias=NAME"),
    AP_INIT_TAKE_ARGV("WebhookTrust", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "who may have issued its certificate: PEM file or system"),
    AP_INIT_TAKE_ARGV("WebhookProxy", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "URL of a proxy on the way to it"),
    AP_INIT_TAKE_ARGV("WebhookWait", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "how long a request waits for its answer, max-waiting=NUMBER"),
    AP_INIT_TAKE_ARGV("WebhookLimits", gatehouse_set_webhook, NULL, RSRC_CONF,
                      "concurrent=NUMBER rate=NUMBER timeout=TIME deadline=TIME"),

    AP_INIT_TAKE_ARGV("GatehouseAllowRequest", gatehouse_allow_request, NULL, ACCESS_CONF,
                      "what may be asked for at this location although nobody may otherwise"),
    { .name = NULL }
};

static void log_start(const gatehouse_settings_t *settings, server_rec *s, apr_pool_t *ptemp)
{
    const char *names = "";
    int i;

    for (i = 0; i < settings->issuers->nelts; ++i) {
        names = apr_pstrcat(ptemp, names, i ? ", " : "",
                            APR_ARRAY_IDX(settings->issuers, i,
                                          gatehouse_issuer_section_t *)->name, NULL);
    }
    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, GHNO(0271) "Gatehouse %s: store %.*s, issuers: "
                 "%s; %d profiles", gatehouse_version(), (int)strcspn(settings->store, ":"),
                 settings->store, *names ? names : "none", settings->profiles->nelts);
}

/* The store is prepared in both passes of a cold start, since httpd leaves its terminal between
 * them: what fails in the first gives an exit status. */
static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    gatehouse_settings_t *settings = gatehouse_settings();
    apr_status_t rv;
    int status;

    if (!settings || !settings->store) {
        return OK;
    }
    status = gatehouse_prepare_store(settings, s, ptemp);
    if (status != OK || gatehouse_first_pass()) {
        return status;
    }
    gatehouse_memory_limit();
    gatehouse_log_warnings(settings, s);
    if (gatehouse_audit_open(settings, s, pconf) != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    rv = gatehouse_board_create(settings->issuers->nelts, pconf);
    if (rv == APR_SUCCESS) {
        rv = gatehouse_turn_create(settings, s);
    }
    if (rv == APR_SUCCESS) {
        rv = gatehouse_dispatch_create(settings, pconf);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0317) "there is no shared memory, or no "
                     "temporary file, for the children; see whether memory or /tmp is full");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    gatehouse_jobs_create(settings, pconf);
    log_start(settings, s, ptemp);
    return gatehouse_register_ca_worker(settings, s, pconf);
}

static void register_hooks(apr_pool_t *p)
{
    gatehouse_register_backends(p);

    APR_REGISTER_OPTIONAL_FN(gatehouse_config);
    APR_REGISTER_OPTIONAL_FN(gatehouse_service);
    APR_REGISTER_OPTIONAL_FN(gatehouse_request_id);
    APR_REGISTER_OPTIONAL_FN(gatehouse_audit_event);
    APR_REGISTER_OPTIONAL_FN(gatehouse_audit);
    APR_REGISTER_OPTIONAL_FN(gatehouse_request_log);
    APR_REGISTER_OPTIONAL_FN(gatehouse_allowances);
    APR_REGISTER_OPTIONAL_FN(gatehouse_expand);
    APR_REGISTER_OPTIONAL_FN(gatehouse_begin_work);
    APR_REGISTER_OPTIONAL_FN(gatehouse_end_work);
    APR_REGISTER_OPTIONAL_FN(gatehouse_begin_work_in);
    APR_REGISTER_OPTIONAL_FN(gatehouse_turn_need);
    APR_REGISTER_OPTIONAL_FN(gatehouse_turn_begin);
    APR_REGISTER_OPTIONAL_FN(gatehouse_turn_end);
    APR_REGISTER_OPTIONAL_FN(gatehouse_register_dump);
    APR_REGISTER_OPTIONAL_FN(gatehouse_dump_problem);
    APR_REGISTER_OPTIONAL_FN(gatehouse_add_health);
    APR_REGISTER_OPTIONAL_FN(gatehouse_add_degraded);
    APR_REGISTER_OPTIONAL_FN(gatehouse_register_round);
    APR_REGISTER_OPTIONAL_FN(gatehouse_register_health);
    APR_REGISTER_OPTIONAL_FN(gatehouse_begin_metric);
    APR_REGISTER_OPTIONAL_FN(gatehouse_add_metric);
    APR_REGISTER_OPTIONAL_FN(gatehouse_register_metrics);
    APR_REGISTER_OPTIONAL_FN(gatehouse_register_worker);
    APR_REGISTER_OPTIONAL_FN(gatehouse_await);
    APR_REGISTER_OPTIONAL_FN(gatehouse_add_worker_section);
    APR_REGISTER_OPTIONAL_FN(gatehouse_webhook);
    gatehouse_register_dispatch(p);

    /* First, so that protocol modules find issuers and profiles in their own check. */
    ap_hook_check_config(gatehouse_check_config, NULL, NULL, APR_HOOK_FIRST);
    /* Last, so that what others add to the dump is registered. */
    ap_hook_test_config(gatehouse_dump, NULL, NULL, APR_HOOK_LAST);
    /* First, so that the store is ready for whatever others do with it. */
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_FIRST);
    /* After all others, so that nothing is started by a start that fails. */
    ap_hook_post_config(gatehouse_start_workers, NULL, NULL, APR_HOOK_REALLY_LAST);
    /* First, so that protocol modules find the service when their own child_init runs. */
    ap_hook_child_init(gatehouse_child_init, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_child_init(gatehouse_dispatch_child_init, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(gatehouse_crl_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(gatehouse_ca_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(gatehouse_health_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(gatehouse_metrics_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(gatehouse) = {
    STANDARD20_MODULE_STUFF,
    gatehouse_create_dir_config,
    gatehouse_merge_dir_config,
    gatehouse_create_server_config,
    NULL,                               /* nothing of the server's is set in a virtual host */
    directives,
    register_hooks,
#if defined(AP_MODULE_FLAG_NONE)
    AP_MODULE_FLAG_NONE
#endif
};
