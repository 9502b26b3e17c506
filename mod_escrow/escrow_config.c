/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Directives. What can be said of one alone is checked here, so that httpd names file and line. */

#include "mod_escrow/escrow_config.h"

#include <apr_strings.h>

#include "log.h"
#include "mod_escrow/escrow_events.h"
#include "mod_escrow/escrow_mail_directory.h"
#include "mod_escrow/escrow_settings.h"
#include "mod_escrow/escrow_tls.h"
#include "mod_escrow/escrow_uem.h"
#include "mod_escrow/escrow_vault.h"
#include "mod_escrow/thumbprint.h"

static escrow_global_t *global;

static apr_status_t forget_global(void *data)
{
    global = NULL;
    return APR_SUCCESS;
}

escrow_global_t *escrow_global(apr_pool_t *pconf)
{
    if (!global) {
        global = apr_pcalloc(pconf, sizeof(*global));
        global->pin_files = apr_array_make(pconf, 2, sizeof(escrow_file_t *));
        global->vault_keys = apr_array_make(pconf, 2, sizeof(escrow_vault_key_t *));
        global->tls_names = apr_array_make(pconf, 2, sizeof(const char *));
        global->headers = apr_array_make(pconf, 2, sizeof(const char *));
        apr_pool_cleanup_register(pconf, NULL, forget_global, apr_pool_cleanup_null);
    }
    return global;
}

const escrow_global_t *escrow_global_now(void)
{
    return global;
}

void *escrow_create_server(apr_pool_t *p, server_rec *s)
{
    return apr_pcalloc(p, sizeof(escrow_server_t));
}

void *escrow_merge_servers(apr_pool_t *p, void *base, void *add)
{
    const escrow_server_t *main_server = base;
    const escrow_server_t *host = add;
    escrow_server_t *merged = apr_pmemdup(p, host, sizeof(*host));

    merged->proxies = host->proxies ? host->proxies : main_server->proxies;
    return merged;
}

escrow_server_t *escrow_server(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &escrow_module);
}

void *escrow_create_section(apr_pool_t *p, char *path)
{
    return apr_pcalloc(p, sizeof(escrow_section_t));
}

void *escrow_merge_sections(apr_pool_t *p, void *base, void *add)
{
    const escrow_section_t *wider = base;
    const escrow_section_t *narrower = add;
    escrow_section_t *merged = apr_pmemdup(p, narrower, sizeof(*narrower));

    if (!merged->source) {
        merged->source = wider->source;
        merged->header = wider->header;
        merged->format = wider->format;
    }
    merged->roles = narrower->roles ? narrower->roles : wider->roles;
    merged->deliver = narrower->deliver ? narrower->deliver : wider->deliver;
    if (!merged->hmac.header) {
        merged->hmac = wider->hmac;
    }
    return merged;
}

const char *escrow_section_uem(const request_rec *r)
{
    const escrow_section_t *section = ap_get_module_config(r->per_dir_config, &escrow_module);

    return section->deliver;
}

const char *escrow_set_roles(cmd_parms *cmd, void *dir, const char *arg)
{
    escrow_section_t *section = dir;

    if (ap_cstr_casecmp(arg, "pinned") && ap_cstr_casecmp(arg, "any")) {
        return GHNO(1454) "EscrowRoles takes pinned or any";
    }
    section->roles = ap_cstr_casecmp(arg, "any") ? ESCROW_ROLES_PINNED : ESCROW_ROLES_NONE_NEEDED;
    return NULL;
}

#define SERVER_ONE(name, function, help) AP_INIT_TAKE1(name, function, NULL, RSRC_CONF, help)
#define SERVER_ARGV(name, function, help) \
    AP_INIT_TAKE_ARGV(name, function, NULL, RSRC_CONF, help)
#define GLOBAL_ONE(name, function, help) AP_INIT_TAKE1(name, function, NULL, RSRC_CONF, help)
#define GLOBAL_TWO(name, function, help) AP_INIT_TAKE2(name, function, NULL, RSRC_CONF, help)
#define GLOBAL_FLAG(name, function, help) AP_INIT_FLAG(name, function, NULL, RSRC_CONF, help)
#define GLOBAL_ARGV(name, function, help) \
    AP_INIT_TAKE_ARGV(name, function, NULL, RSRC_CONF, help)
#define GLOBAL_TWO_OR_THREE(name, function, help) \
    AP_INIT_TAKE23(name, function, NULL, RSRC_CONF, help)
#define SECTION_ONE(name, function, help) \
    AP_INIT_TAKE1(name, function, NULL, RSRC_CONF | ACCESS_CONF, help)
#define UEM_ARGV(name, help) AP_INIT_TAKE_ARGV(name, escrow_set_uem, NULL, RSRC_CONF, help)
#define ANYWHERE_ARGV(name, function, help) \
    AP_INIT_TAKE_ARGV(name, function, NULL, RSRC_CONF | ACCESS_CONF, help)

const command_rec escrow_directives[] = {
    ANYWHERE_ARGV("ThumbprintSource", thumbprint_set_source,
                  "tls, or header NAME FORMAT: where the certificate of a client comes from"),
    SERVER_ARGV("ThumbprintTrustedProxy", thumbprint_set_proxy,
                "ADDRESS or ADDRESS/BITS ... [thumbprint=VALUE ...]: proxies whose header counts"),
    GLOBAL_ONE("EscrowPinFile", thumbprint_set_pin_file, "a file of pins"),
    SERVER_ONE("EscrowTLS", escrow_set_tls,
               "NAME: the certificate of that name in the store, if there is one, is this host's"),
    GLOBAL_TWO("EscrowVaultKey", escrow_set_vault_key,
               "ID SOURCE: a key of the vault, by file:PATH, exec:PATH or pkcs11:"),
    SECTION_ONE("EscrowDeliver", escrow_set_deliver, "NAME: the <UEM> that profiles go to"),
    SECTION_ONE("EscrowRoles", escrow_set_roles,
                "pinned or any: whether the API asks for the role of a pin"),
    GLOBAL_ONE("EscrowMaxBody", escrow_set_max_body, "largest body of a request, in bytes"),
    GLOBAL_ONE("EscrowMaxCredentials", escrow_set_max_credentials, "so many in one upload"),
    GLOBAL_ONE("EscrowRetention", escrow_set_retention,
               "expiry, consumption, or a number of days: how long credentials are kept"),
    GLOBAL_FLAG("EscrowArchiveReplaced", escrow_set_archive,
                "on or off: credentials for encryption that are replaced are kept"),
    GLOBAL_ARGV("EscrowDeviceCA", escrow_set_device_ca,
                "files with certificates of the CAs of devices, or issuer=NAME [profile=NAME ...] "
                "[challenges=trusted]: an <Issuer> of this server"),
    GLOBAL_ONE("EscrowRecipient", escrow_set_recipient,
               "device-ca or first-use-insecure: whose certificates profiles are encrypted to"),
    GLOBAL_ONE("EscrowProfileLife", escrow_set_profile_life,
               "so many days a profile waits for credentials"),
    GLOBAL_ONE("EscrowPKCS12", escrow_set_pkcs12,
               "legacy or modern: ciphers of what devices get"),
    GLOBAL_ONE("EscrowKeyTransport", escrow_set_transport,
               "pkcs1 or oaep: how keys of profiles are encrypted to RSA"),
    GLOBAL_TWO_OR_THREE("EscrowProfileSigner", escrow_set_signer,
                        "CERTIFICATE KEY [PASSPHRASE]: who signs profiles"),
    GLOBAL_ONE("EscrowPoll", escrow_set_poll, "a time: how often the worker looks for work"),
    AP_INIT_RAW_ARGS("<UEM", escrow_uem_section, NULL, RSRC_CONF, "<UEM NAME>"),
    UEM_ARGV("UEMURL", "a URL with tokens: where profiles are delivered"),
    UEM_ARGV("UEMMethod", "POST, PUT or PATCH"),
    UEM_ARGV("UEMHeader", "NAME TEMPLATE: a header"),
    UEM_ARGV("UEMHeaderSecret", "NAME file:PATH or exec:PATH: a header whose value is a secret"),
    UEM_ARGV("UEMBody", "TEMPLATE or file:PATH, and perhaps its media type"),
    UEM_ARGV("UEMCredential", "basic SOURCE, oauth2 URL client=ID secret=SOURCE ..., or mtls FILE "
             "..."),
    UEM_ARGV("UEMTrust", "a PEM file with CA certificates, or system"),
    UEM_ARGV("UEMProxy", "URL, env or none"),
    UEM_ARGV("UEMLimits", "concurrent=, rate=, timeout=, retry=, pause="),
    UEM_ARGV("UEMLife", "a time: how long a delivery is tried"),
    UEM_ARGV("UEMAvailable", "a URL that is called when there are credentials, and perhaps a body "
             "with its media type"),
    SERVER_ARGV("EscrowProvide", escrow_set_provide,
                "event=NUMBER issuer=NAME [signing=PROFILE] [encryption=PROFILE] ...: credentials "
                "that are made for an event"),
    AP_INIT_ITERATE("EscrowMailDomains", escrow_set_mail_domain, NULL, RSRC_CONF,
                    "domains of mail that credentials may be made for"),
    SERVER_ARGV("EscrowMailDirectory", escrow_set_mail_directory,
                "URL ... [base=DN] [filter=FILTER] [bind=DN password=SOURCE] ...: a directory that "
                "has to have an address"),
    AP_INIT_TAKE2("EscrowEventHMAC", escrow_set_event_hmac, NULL, RSRC_CONF | ACCESS_CONF,
                  "a header, and where the secret comes from by which it authenticates events"),
    { NULL }
};
