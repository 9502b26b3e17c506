/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Directives. What can be said of one alone is checked here, so that httpd names file and line. */

#include "mod_scep/scep_config.h"

#include <stdlib.h>
#include <string.h>

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <http_core.h>

#include "log.h"
#include "mod_scep/scep_intune.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_url.h"

#define CONCURRENT_MAX 1024

void *scep_create_server(apr_pool_t *p, server_rec *s)
{
    return apr_pcalloc(p, sizeof(scep_server_t));
}

scep_server_t *scep_server(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &scep_module);
}

void *scep_create_section(apr_pool_t *p, char *path)
{
    scep_section_t *section = apr_pcalloc(p, sizeof(*section));

    section->path = apr_pstrdup(p, path);
    section->said = apr_array_make(p, 4, sizeof(scep_said_t));
    section->allow = -1;
    section->reply_chain = -1;
    return section;
}

void *scep_merge_sections(apr_pool_t *p, void *base, void *add)
{
    const scep_section_t *wider = base;
    scep_section_t *merged = add;

    if (wider->web) {
        merged = apr_pmemdup(p, merged, sizeof(*merged));
        merged->web = scep_merge_web(p, wider->web, merged->web);
    }
    return merged;
}

scep_place_t scep_place_of(const cmd_parms *cmd)
{
    scep_place_t place = { cmd->directive->filename, cmd->directive->line_num };

    return place;
}

static void note(scep_section_t *section, const cmd_parms *cmd)
{
    scep_said_t *said;
    int i;

    for (i = 0; i < section->said->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(section->said, i, scep_said_t).directive, cmd->cmd->name)) {
            return;
        }
    }
    said = apr_array_push(section->said);
    said->directive = cmd->cmd->name;
    said->place = scep_place_of(cmd);
    said->adds = !strcmp(cmd->cmd->name, "SCEPTenant");
}

const char *scep_enter_section(cmd_parms *cmd, scep_section_t *section)
{
    const ap_directive_t *parent = cmd->directive->parent;
    const char *path = cmd->path;
    apr_size_t length;

    if (!parent || ap_cstr_casecmp(parent->directive, "<Location") != 0 || !path
        || parent->args[strspn(parent->args, " \t\"'")] == '~' || apr_fnmatch_test(path)) {
        return apr_psprintf(cmd->pool,
                            GHNO(0227) "%s belongs in a <Location> without pattern, such as "
                                       "<Location \"/scep\">",
                            cmd->cmd->name);
    }
    length = strlen(path);
    if (length > 1 && path[length - 1] == '/') {
        return apr_psprintf(cmd->pool, GHNO(0228) "remove the final slash of <Location \"%s\">: "
                            "httpd would not match the path without it", path);
    }
    if (!scep_location_serves(path)) {
        return apr_psprintf(cmd->pool, GHNO(0229) "%s has no effect in <Location \"%s\">: SCEP is "
                            "served below " SCEP_URL_ROOT " only", cmd->cmd->name, path);
    }
    if (!section->server) {
        section->server = cmd->server;
        section->place = scep_place_of(cmd);
    }
    note(section, cmd);
    return NULL;
}

static const char *set_tenant(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    scep_section_t *section = dir;
    const char *error = scep_enter_section(cmd, section);
    int i, j;

    if (error) {
        return error;
    }
    if (argc < 2) {
        return GHNO(0230) "SCEPTenant takes a tenant and the names of its issuers";
    }
    if (scep_url_reserved(argv[0])) {
        return apr_psprintf(cmd->pool, GHNO(0446) "SCEPTenant: the name \"%s\" is reserved in "
                            "URLs; give the tenant another name", argv[0]);
    }
    if (!section->tenants) {
        section->tenants = apr_array_make(cmd->pool, 4, sizeof(scep_tenant_t));
    }
    for (i = 0; i < argc; ++i) {
        if (!gh_name_valid(argv[i])) {
            return apr_psprintf(cmd->pool,
                                GHNO(0231) "\"%s\" cannot be part of a URL: names have 1 to 64 "
                                           "characters of A-Z a-z 0-9 _ ~ -",
                                argv[i]);
        }
    }
    for (i = 1; i < argc; ++i) {
        scep_tenant_t *tenant;

        for (j = 0; j < section->tenants->nelts; ++j) {
            tenant = &APR_ARRAY_IDX(section->tenants, j, scep_tenant_t);
            if (!strcmp(tenant->tenant, argv[0]) && !strcmp(tenant->issuer, argv[i])) {
                return apr_psprintf(cmd->pool,
                                    GHNO(0232) "tenant %s has issuer %s already, by line %d of %s",
                                    argv[0], argv[i], tenant->place.line, tenant->place.file);
            }
        }
        tenant = apr_array_push(section->tenants);
        tenant->tenant = argv[0];
        tenant->issuer = argv[i];
        tenant->place = scep_place_of(cmd);
    }
    return NULL;
}

static const char *set_profiles(cmd_parms *cmd, void *dir, const char *pattern)
{
    scep_section_t *section = dir;
    const char *error = scep_enter_section(cmd, section);
    scep_pattern_t *one;

    if (error) {
        return error;
    }
    if (!section->patterns) {
        section->patterns = apr_array_make(cmd->pool, 4, sizeof(scep_pattern_t));
    }
    one = apr_array_push(section->patterns);
    one->pattern = pattern;
    one->place = scep_place_of(cmd);
    return NULL;
}

static const char *set_allow(cmd_parms *cmd, void *dir, const char *algorithm)
{
    scep_section_t *section = dir;
    const char *error = scep_enter_section(cmd, section);

    if (error) {
        return error;
    }
    if (section->allow < 0) {
        section->allow = 0;
    }
    if (!ap_cstr_casecmp(algorithm, "3des")) {
        section->allow |= SCEP_ALLOW_3DES;
    }
    else if (!ap_cstr_casecmp(algorithm, "sha1")) {
        section->allow |= SCEP_ALLOW_SHA1;
    }
    else if (ap_cstr_casecmp(algorithm, "none")) {
        return apr_psprintf(cmd->pool,
                            GHNO(0233) "SCEPAllow takes 3des, sha1 or none; \"%s\" cannot be "
                                       "allowed",
                            algorithm);
    }
    return NULL;
}

static const char *set_reply_chain(cmd_parms *cmd, void *dir, const char *what)
{
    scep_section_t *section = dir;
    const char *error = scep_enter_section(cmd, section);

    if (error) {
        return error;
    }
    if (section->reply_chain >= 0) {
        return GHNO(0234) "SCEPReplyChain stands twice in this location";
    }
    if (!ap_cstr_casecmp(what, "leaf")) {
        section->reply_chain = SCEP_REPLY_LEAF;
    }
    else if (!ap_cstr_casecmp(what, "issuer")) {
        section->reply_chain = SCEP_REPLY_ISSUER;
    }
    else if (!ap_cstr_casecmp(what, "full")) {
        section->reply_chain = SCEP_REPLY_FULL;
    }
    else {
        return apr_psprintf(cmd->pool, GHNO(0235) "SCEPReplyChain takes leaf, issuer or full, not "
                            "\"%s\"", what);
    }
    return NULL;
}

/* Challenges */

static const char *make_static(cmd_parms *cmd, scep_challenge_t *challenge, int argc,
                               char *const argv[])
{
    const char *source;
    scep_url_t url;
    gh_bytes_t secret;
    gh_result_t result;

    if (argc != 2 || (strncmp(argv[1], "file:", 5) && strncmp(argv[1], "exec:", 5))) {
        return GHNO(0236) "SCEPChallenge static takes file:PATH or exec:PATH; a secret never "
                          "stands in the configuration";
    }
    if (scep_url_parse(&url, cmd->path, cmd->temp_pool) != APR_SUCCESS
        || strcmp(cmd->path, scep_url_path(&url, cmd->temp_pool)) != 0) {
        return apr_psprintf(cmd->pool,
                            GHNO(0237) "a static challenge is good for one CA and one profile: put "
                                       "it in a <Location \"/scep/TENANT/ISSUER/PROFILE\">, not in "
                                       "<Location \"%s\">",
                            cmd->path);
    }
    source = ap_server_root_relative(cmd->temp_pool, argv[1] + 5);
    if (!source) {
        return apr_psprintf(cmd->pool, GHNO(0238) "\"%s\" is not a usable path", argv[1] + 5);
    }
    gh_result_clear(&result);
    if (gh_secret_load(&secret, apr_psprintf(cmd->temp_pool, "%.5s%s", argv[1], source), cmd->pool,
                       &result) != APR_SUCCESS) {
        if (!scep_dump_problem(cmd, &result)) {
            return apr_psprintf(cmd->pool, "%s: %s. %s", result.number, result.message,
                                result.action);
        }
        /* nothing is served, and nobody authorised */
        secret.length = 0;
    }
    challenge->name = "static";
    challenge->authoriser = secret.length ? gh_authoriser_static(secret, cmd->pool) : NULL;
    return NULL;
}

static const char *make_challenge(cmd_parms *cmd, scep_challenge_t *challenge, int argc,
                                  char *const argv[])
{
    if (argc > 0 && !ap_cstr_casecmp(argv[0], "static")) {
        return make_static(cmd, challenge, argc, argv);
    }
    if (argc > 0 && argc < 3 && !ap_cstr_casecmp(argv[0], "onetime")) {
        if (argc == 2 && !gh_name_valid(argv[1])) {
            return apr_psprintf(
                cmd->pool, GHNO(0239) "\"%s\" is not a valid name of a set of challenges", argv[1]);
        }
        challenge->name = argc == 2 ? apr_pstrcat(cmd->pool, "onetime:", argv[1], NULL) : "onetime";
        challenge->authoriser = gh_authoriser_onetime(argc == 2 ? argv[1] : "", cmd->pool);
        return NULL;
    }
    if (argc > 0 && !ap_cstr_casecmp(argv[0], "device")) {
        if (argc != 1) {
            return GHNO(0491) "SCEPChallenge device takes nothing else: gatehousectl device add "
                              "makes the registrations";
        }
        challenge->name = "device";
        challenge->authoriser = gh_authoriser_device(cmd->pool);
        return NULL;
    }
    if (argc > 0 && !ap_cstr_casecmp(argv[0], "manager")) {
        return scep_make_manager(cmd, challenge, argc, argv);
    }
    if (argc > 0 && !ap_cstr_casecmp(argv[0], "webhook")) {
        return scep_make_webhook(cmd, challenge, argc, argv);
    }
    if (argc > 0 && !ap_cstr_casecmp(argv[0], "none")) {
        if (argc != 2 || ap_cstr_casecmp(argv[1], "insecure")) {
            return GHNO(0240) "everybody could enrol here: if that is what you want, say "
                              "\"SCEPChallenge none insecure\"";
        }
        challenge->name = "none";
        challenge->authoriser = gh_authoriser_none(cmd->pool);
        return NULL;
    }
    return apr_psprintf(cmd->pool, GHNO(0241) "SCEPChallenge takes \"static file:PATH\", \"static "
                        "exec:PATH\", \"onetime [SET]\", \"device\", \"manager file:PATH\", "
                        "\"webhook NAME\" or \"none insecure\", not \"%s\"",
                        argc > 0 ? argv[0] : "");
}

static const char *set_challenge(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    scep_section_t *section = dir;
    const char *error = scep_enter_section(cmd, section);
    scep_challenge_t challenge;

    if (error) {
        return error;
    }
    memset(&challenge, 0, sizeof(challenge));
    error = make_challenge(cmd, &challenge, argc, argv);
    if (error) {
        return error;
    }
    challenge.place = scep_place_of(cmd);
    if (!section->challenges) {
        section->challenges = apr_array_make(cmd->pool, 2, sizeof(scep_challenge_t));
    }
    return scep_add_challenge(cmd, section->challenges, &challenge);
}

/* Server level */

static const char *set_ra_profile(cmd_parms *cmd, void *dir, const char *name)
{
    scep_server_t *server = scep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error) {
        return error;
    }
    server->ra_profile = name;
    server->ra_profile_place = scep_place_of(cmd);
    return NULL;
}

static const char *set_concurrent(cmd_parms *cmd, void *dir, const char *text)
{
    scep_server_t *server = scep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *end;
    long number;

    if (error) {
        return error;
    }
    number = strtol(text, &end, 10);
    if (*end || end == text || number < 1 || number > CONCURRENT_MAX) {
        return apr_psprintf(cmd->pool, GHNO(0244) "SCEPMaxConcurrent takes a number from 1 to %d",
                            CONCURRENT_MAX);
    }
    server->concurrent = (int)number;
    return NULL;
}

const command_rec scep_directives[] = {
    AP_INIT_TAKE_ARGV("SCEPTenant", set_tenant, NULL, ACCESS_CONF,
                      "a tenant and the issuers it may use"),
    AP_INIT_ITERATE("SCEPProfiles", set_profiles, NULL, ACCESS_CONF,
                    "names of certificate profiles, or patterns with '*'"),
    AP_INIT_TAKE_ARGV("SCEPChallenge", set_challenge, NULL, ACCESS_CONF,
                      "static file:PATH|exec:PATH, onetime [SET], device, manager file:PATH, "
                      "webhook NAME, or none insecure"),
    AP_INIT_TAKE_ARGV("SCEPRenewal", scep_set_renewal, NULL, ACCESS_CONF,
                      "off, or by-certificate with settings: who may renew without a challenge"),
    AP_INIT_ITERATE("SCEPAllow", set_allow, NULL, ACCESS_CONF,
                    "legacy algorithms that are accepted: 3des, sha1, or none"),
    AP_INIT_TAKE1("SCEPReplyChain", set_reply_chain, NULL, ACCESS_CONF,
                  "certificates in a reply: leaf, issuer or full"),
    AP_INIT_TAKE_ARGV("SCEPChallengeFor", scep_set_challenge_for, NULL, ACCESS_CONF,
                      "tenant, issuer, profile and perhaps set that challenges are made for"),
    AP_INIT_TAKE1("SCEPChallengePermit", scep_set_challenge_permit, NULL, ACCESS_CONF,
                  "an expression that says who may have challenges"),
    AP_INIT_FLAG("SCEPChallengePlain", scep_set_challenge_plain, NULL, ACCESS_CONF,
                 "whether challenges are sent over connections without TLS"),
    AP_INIT_TAKE1("SCEPNDESPasswords", scep_set_ndes_passwords, NULL, ACCESS_CONF,
                  "how many unused passwords a user of an NDES page may have"),
    AP_INIT_TAKE1("SCEPProfileSubject", scep_set_profile_subject, NULL, ACCESS_CONF,
                  "subject of configuration profiles: attributes with expressions"),
    AP_INIT_TAKE2("SCEPProfileAltName", scep_set_profile_alt_name, NULL, ACCESS_CONF,
                  "alternative name of configuration profiles: its type and an expression"),
    AP_INIT_TAKE1("SCEPProfileOrganization", scep_set_profile_organization, NULL, ACCESS_CONF,
                  "organization that configuration profiles name"),
    AP_INIT_TAKE2("SCEPProfileSigner", scep_set_profile_signer, NULL, ACCESS_CONF,
                  "certificate and key that sign configuration profiles"),
    AP_INIT_TAKE1("SCEPIntune", scep_set_intune, NULL, ACCESS_CONF,
                  "name of the connection to Intune that is asked, or off"),
    AP_INIT_RAW_ARGS("<IntuneConnection", scep_intune_section, NULL, RSRC_CONF,
                     "a connection to Microsoft Intune"),
    AP_INIT_TAKE1("IntuneTenant", scep_set_intune_tenant, NULL, RSRC_CONF,
                  "domain or ID of the tenant"),
    AP_INIT_TAKE1("IntuneApplication", scep_set_intune_application, NULL, RSRC_CONF,
                  "ID of the application that is registered for Gatehouse"),
    AP_INIT_TAKE12("IntuneSecret", scep_set_intune_secret, NULL, RSRC_CONF,
                   "file:PATH or exec:PATH with a client secret, and expires=DATE"),
    AP_INIT_TAKE12("IntuneCredential", scep_set_intune_credential, NULL, RSRC_CONF,
                   "PKCS#12 with the certificate of the application, and passphrase="),
    AP_INIT_TAKE_ARGV("IntuneEndpoints", scep_set_intune_endpoints, NULL, RSRC_CONF,
                      "where Entra ID, Graph and Intune are, of another cloud"),
    AP_INIT_TAKE_ARGV("IntuneRevocation", scep_set_intune_revocation, NULL, RSRC_CONF,
                      "when Intune is asked for revocations, or off"),
    AP_INIT_TAKE1("IntuneNotify", scep_set_intune_notify, NULL, RSRC_CONF,
                  "strict or lenient: whether Intune has to take the notification first"),
    AP_INIT_TAKE1("IntuneTrust", scep_set_intune_trust, NULL, RSRC_CONF,
                  "PEM file of CAs that the services' certificates are from, or system"),
    AP_INIT_TAKE1("IntuneProxy", scep_set_intune_proxy, NULL, RSRC_CONF,
                  "URL of the proxy to the services"),
    AP_INIT_TAKE_ARGV("IntuneLimits", scep_set_intune_limits, NULL, RSRC_CONF,
                      "concurrent=, rate=, timeout=, deadline=, wait=, max-waiting="),
    AP_INIT_TAKE1("SCEPRAProfile", set_ra_profile, NULL, RSRC_CONF,
                  "certificate profile of the RA certificates"),
    AP_INIT_TAKE1("SCEPMaxConcurrent", set_concurrent, NULL, RSRC_CONF,
                  "how many messages the node works on at once"),
    AP_INIT_TAKE12("SCEPFailureLimit", scep_set_failure_limit, NULL, RSRC_CONF,
                   "failures of one client and the interval they count in, or off"),
    AP_INIT_RAW_ARGS("<DigitalID", scep_digital_section, NULL, RSRC_CONF,
                     "container of one digital ID: <DigitalID NAME>"),
    AP_INIT_TAKE1("DigitalIDTenant", scep_set_digital_text, NULL, RSRC_CONF,
                  "the tenant whose devices get certificates by it"),
    AP_INIT_TAKE1("DigitalIDIssuer", scep_set_digital_text, NULL, RSRC_CONF,
                  "the issuer of its certificates"),
    AP_INIT_TAKE1("DigitalIDProfile", scep_set_digital_text, NULL, RSRC_CONF,
                  "the certificate profile"),
    AP_INIT_TAKE1("DigitalIDParentDN", scep_set_digital_text, NULL, RSRC_CONF,
                  "the distinguished name that is above the RDN"),
    AP_INIT_TAKE1("DigitalIDRDN", scep_set_digital_text, NULL, RSRC_CONF,
                  "RDN with variables, such as \"cn=<firstname> <lastname>\""),
    AP_INIT_TAKE2("DigitalIDSubjectAltName", scep_set_digital_name, NULL, RSRC_CONF,
                  "an alternative name: its type and a text with variables"),
    AP_INIT_TAKE1("DigitalIDLifetime", scep_set_digital_text, NULL, RSRC_CONF,
                  "how long challenges are valid and keys wait to be fetched"),
    AP_INIT_TAKE_ARGV("DigitalIDModes", scep_set_digital_list, NULL, RSRC_CONF,
                      "scep, p12, or both: who makes the key"),
    AP_INIT_TAKE1("DigitalIDKeySize", scep_set_digital_text, NULL, RSRC_CONF,
                  "bits of the RSA keys that the server makes: 2048 or 3072"),
    AP_INIT_TAKE_ARGV("DigitalIDUsers", scep_set_digital_list, NULL, RSRC_CONF,
                      "users of the web service who may use it"),
    { NULL, { NULL }, NULL, 0, RAW_ARGS, NULL }
};
