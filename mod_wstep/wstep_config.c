/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Directives of a <Location>, and the table of all. */

#include <stdlib.h>
#include <string.h>

#include <apr_fnmatch.h>
#include <apr_strings.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"

wstep_server_t *wstep_server(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &wstep_module);
}

wstep_place_t wstep_place_of(const cmd_parms *cmd)
{
    wstep_place_t place = { cmd->directive->filename, cmd->directive->line_num };

    return place;
}

void *wstep_create_server(apr_pool_t *p, server_rec *s)
{
    wstep_server_t *server = apr_pcalloc(p, sizeof(*server));

    server->verdict_lifetime = -1;
    return server;
}

/** What is the main server's alone holds everywhere. */
void *wstep_merge_servers(apr_pool_t *p, void *base, void *add)
{
    wstep_server_t *merged = apr_pmemdup(p, base, sizeof(*merged));

    merged->public_url = ((wstep_server_t *)add)->public_url;
    return merged;
}

void *wstep_create_section(apr_pool_t *p, char *path)
{
    wstep_section_t *section = apr_pcalloc(p, sizeof(*section));

    section->path = path;
    section->renewal_only = section->response = section->priority = section->next_update = -1;
    section->weak_kerberos = section->signatures = -1;
    return section;
}

void *wstep_merge_sections(apr_pool_t *p, void *base, void *add)
{
    const wstep_section_t *wide = base;
    const wstep_section_t *narrow = add;
    wstep_section_t *merged = apr_pmemdup(p, narrow, sizeof(*narrow));

    merged->place = narrow->place.file ? narrow->place : wide->place;
    if (wide->tenants && narrow->tenants) {
        merged->tenants = apr_array_append(p, wide->tenants, narrow->tenants);
    }
    else {
        merged->tenants = narrow->tenants ? narrow->tenants : wide->tenants;
    }
    merged->templates = narrow->templates ? narrow->templates : wide->templates;
    merged->providers = narrow->providers ? narrow->providers : wide->providers;
    if (!narrow->renewal_said) {
        merged->renewal = wide->renewal;
        merged->renewal_said = wide->renewal_said;
    }
    merged->renewal_only = narrow->renewal_only >= 0 ? narrow->renewal_only : wide->renewal_only;
    merged->response = narrow->response >= 0 ? narrow->response : wide->response;
    merged->priority = narrow->priority >= 0 ? narrow->priority : wide->priority;
    merged->parent_dn = narrow->parent_dn ? narrow->parent_dn : wide->parent_dn;
    merged->policy_id = narrow->policy_id ? narrow->policy_id : wide->policy_id;
    merged->policy_name = narrow->policy_name ? narrow->policy_name : wide->policy_name;
    if (!narrow->trust_said) {
        merged->trust = wide->trust;
        merged->trust_said = wide->trust_said;
    }
    merged->signatures = narrow->signatures >= 0 ? narrow->signatures : wide->signatures;
    merged->weak_kerberos = narrow->weak_kerberos >= 0 ? narrow->weak_kerberos
                                                       : wide->weak_kerberos;
    merged->next_update = narrow->next_update >= 0 ? narrow->next_update : wide->next_update;
    return merged;
}

int wstep_location_covers(const char *location, const char *path)
{
    apr_size_t length = strlen(location);

    return strncmp(location, path, length) == 0
           && (length == 0 || location[length - 1] == '/' || path[length] == '/'
               || path[length] == '\0');
}

int wstep_location_serves(const char *path)
{
    static const char *const roots[] = {
        WSTEP_URL_ROOT, XCEP_URL_ROOT, "/ADPolicyProvider_CEP_UsernamePassword/service.svc/CEP",
        "/ADPolicyProvider_CEP_Kerberos/service.svc/CEP",
        "/ADPolicyProvider_CEP_Certificate/service.svc/CEP"
    };
    apr_size_t i;

    for (i = 0; i < sizeof(roots) / sizeof(roots[0]); ++i) {
        if (wstep_location_covers(path, roots[i]) || wstep_location_covers(roots[i], path)) {
            return 1;
        }
    }
    return 0;
}

/** Settings belong to names, not to spellings of a path. @return an error, or NULL */
static const char *enter(cmd_parms *cmd, wstep_section_t *section)
{
    const ap_directive_t *parent = cmd->directive->parent;
    const char *path = cmd->path;
    apr_size_t length;

    if (!parent || ap_cstr_casecmp(parent->directive, "<Location") != 0 || !path
        || parent->args[strspn(parent->args, " \t\"'")] == '~' || apr_fnmatch_test(path)) {
        return apr_psprintf(cmd->pool, GHNO(1371) "%s belongs in a <Location> without pattern, "
                            "such as <Location \"/wstep/usertoken\">", cmd->cmd->name);
    }
    length = strlen(path);
    if ((length > 1 && path[length - 1] == '/') || !wstep_location_serves(path)) {
        return apr_psprintf(cmd->pool, GHNO(1372) "%s has no effect in <Location \"%s\">: WSTEP is "
                            "served below " WSTEP_URL_ROOT ", policies below " XCEP_URL_ROOT
                            " and at /ADPolicyProvider_CEP_..., each without a final slash",
                            cmd->cmd->name, path);
    }
    if (!section->place.file) {
        section->place = wstep_place_of(cmd);
    }
    return NULL;
}

static const char *set_tenant(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    wstep_section_t *section = dir;
    const char *error = enter(cmd, section);
    apr_array_header_t *tenants;
    int i;

    if (error) {
        return error;
    }
    tenants = section->tenants ? apr_array_copy(cmd->pool, section->tenants)
                               : apr_array_make(cmd->pool, 4, sizeof(wstep_tenant_t));
    for (i = 0; i < argc; ++i) {
        if (!gh_name_valid(argv[i])) {
            argc = 0;
        }
    }
    if (argc < 2) {
        return GHNO(1373) "WSTEPTenant takes a tenant and the names of its issuers, each of 1 to "
                          "64 characters of A-Z a-z 0-9 _ ~ -";
    }
    for (i = 1; i < argc; ++i) {
        wstep_tenant_t tenant = { argv[0], argv[i], wstep_place_of(cmd) };

        APR_ARRAY_PUSH(tenants, wstep_tenant_t) = tenant;
    }
    section->tenants = tenants;
    return NULL;
}

static const char *set_templates(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    wstep_section_t *section = dir;
    const char *error = enter(cmd, section);
    apr_array_header_t *templates = apr_array_make(cmd->pool, 4, sizeof(wstep_pattern_t));
    int i;

    if (error) {
        return error;
    }
    for (i = 0; i < argc; ++i) {
        wstep_pattern_t pattern = { argv[i], wstep_place_of(cmd) };

        APR_ARRAY_PUSH(templates, wstep_pattern_t) = pattern;
    }
    section->templates = section->templates
        ? apr_array_append(cmd->pool, section->templates, templates) : templates;
    return NULL;
}

static const char *set_providers(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    wstep_section_t *section = dir;
    const char *error = enter(cmd, section);
    apr_array_header_t *providers = apr_array_make(cmd->pool, 2, sizeof(wstep_provider_t));
    int i;

    if (error) {
        return error;
    }
    for (i = 0; i < argc; ++i) {
        wstep_provider_t provider = { argv[i], NULL, wstep_place_of(cmd) };

        APR_ARRAY_PUSH(providers, wstep_provider_t) = provider;
    }
    section->providers = providers;
    return NULL;
}

static int set_renewal_option(gh_renewal_policy_t *policy, const char *word)
{
    if (!strncmp(word, "grace=", 6)) {
        return gh_duration_parse(&policy->grace, word + 6) == APR_SUCCESS;
    }
    if (!strncmp(word, "window=", 7)) {
        return gh_duration_parse(&policy->window, word + 7) == APR_SUCCESS;
    }
    if (!strcmp(word, "revoke-old=off")) {
        policy->revoke_old = GH_RENEWAL_KEEP_OLD;
        return 1;
    }
    if (!strncmp(word, "revoke-old=", 11)) {
        return gh_duration_parse(&policy->revoke_old, word + 11) == APR_SUCCESS;
    }
    if (!strcmp(word, "same-key=on") || !strcmp(word, "same-key=off")) {
        policy->same_key = !strcmp(word, "same-key=on");
        return 1;
    }
    if (!strcmp(word, "again=replace") || !strcmp(word, "again=refuse")) {
        policy->replace = !strcmp(word, "again=replace");
        return 1;
    }
    return 0;
}

static const char *set_renewal(cmd_parms *cmd, void *dir, int argc, char *const argv[])
{
    wstep_section_t *section = dir;
    const char *error = enter(cmd, section);
    gh_renewal_policy_t *policy = apr_pcalloc(cmd->pool, sizeof(*policy));
    int i, good = argc > 0 && !ap_cstr_casecmp(argv[0], "by-certificate");

    if (error) {
        return error;
    }
    section->renewal_said = 1;
    section->renewal = NULL;
    if (argc == 1 && !ap_cstr_casecmp(argv[0], "off")) {
        return NULL;
    }
    policy->revoke_old = GH_RENEWAL_KEEP_OLD;
    for (i = 1; good && i < argc; ++i) {
        good = set_renewal_option(policy, argv[i]);
    }
    if (!good) {
        return GHNO(1374) "WSTEPRenewal takes off, or by-certificate and perhaps grace=TIME, "
                          "window=TIME, revoke-old=TIME or off, same-key=on or off, "
                          "again=replace or refuse";
    }
    section->renewal = policy;
    return NULL;
}

static const char *set_renewal_only(cmd_parms *cmd, void *dir, int on)
{
    wstep_section_t *section = dir;

    section->renewal_only = on;
    return enter(cmd, section);
}

static const char *set_client_ca(cmd_parms *cmd, void *dir, const char *path, const char *word)
{
    wstep_section_t *section = dir;
    const char *error = enter(cmd, section);
    wstep_trust_t *trust = NULL;
    gh_result_t result;

    if (error) {
        return error;
    }
    section->trust_said = 1;
    section->trust = NULL;
    if (!word && !ap_cstr_casecmp(path, "none")) {
        return NULL;
    }
    path = ap_server_root_relative(cmd->pool, path);
    if (!path || (word && ap_cstr_casecmp(word, "no-crl"))) {
        return GHNO(1491) "WSTEPClientCA takes none, or a PEM file of CA certificates and CRLs, "
                          "and perhaps no-crl";
    }
    gh_result_clear(&result);
    if (wstep_trust_read(&trust, path, !word, cmd->pool, &result) != APR_SUCCESS) {
        return apr_psprintf(cmd->pool, "%s: %s. %s", result.number, result.message,
                            result.action);
    }
    section->trust = trust;
    return NULL;
}

static const char *set_signatures(cmd_parms *cmd, void *dir, int on)
{
    wstep_section_t *section = dir;

    section->signatures = on;
    return enter(cmd, section);
}

static const char *set_weak_kerberos(cmd_parms *cmd, void *dir, int on)
{
    wstep_section_t *section = dir;

    section->weak_kerberos = on;
    return enter(cmd, section);
}

static const char *set_response(cmd_parms *cmd, void *dir, const char *form)
{
    wstep_section_t *section = dir;
    const char *error = enter(cmd, section);

    if (!error && !ap_cstr_casecmp(form, "cmc")) {
        section->response = WSTEP_RESPONSE_CMC;
    }
    else if (!error && !ap_cstr_casecmp(form, "certificates")) {
        section->response = WSTEP_RESPONSE_CERTIFICATES;
    }
    else if (!error) {
        error = GHNO(1375) "WSTEPResponse takes cmc or certificates";
    }
    return error;
}

static const char *set_parent_dn(cmd_parms *cmd, void *dir, const char *name)
{
    wstep_section_t *section = dir;

    section->parent_dn = name;
    return enter(cmd, section);
}

/** WSTEPPriority and WSTEPNextUpdate. */
static const char *set_number(cmd_parms *cmd, void *dir, const char *text)
{
    wstep_section_t *section = dir;
    const char *error = enter(cmd, section);
    char *end;
    long number = strtol(text, &end, 10);

    if (error) {
        return error;
    }
    if (*end || end == text || number < 1 || number > 8760) {
        return apr_psprintf(cmd->pool, GHNO(1376) "%s takes a number from 1 to 8760",
                            cmd->cmd->name);
    }
    if (!strcmp(cmd->cmd->name, "WSTEPPriority")) {
        section->priority = (int)number;
    }
    else {
        section->next_update = (int)number;
    }
    return NULL;
}

static const char *set_policy_id(cmd_parms *cmd, void *dir, const char *id)
{
    wstep_section_t *section = dir;

    section->policy_id = id;
    if (!xcep_id_valid(id)) {
        return GHNO(1377) "WSTEPPolicyID takes a GUID in braces, such as the output of uuidgen";
    }
    return enter(cmd, section);
}

static const char *set_policy_name(cmd_parms *cmd, void *dir, const char *name)
{
    wstep_section_t *section = dir;

    section->policy_name = name;
    return enter(cmd, section);
}

const command_rec wstep_directives[] = {
    AP_INIT_TAKE_ARGV("WSTEPTenant", set_tenant, NULL, ACCESS_CONF,
                      "a tenant and the issuers it may use"),
    AP_INIT_TAKE_ARGV("WSTEPTemplates", set_templates, NULL, ACCESS_CONF,
                      "names of certificate templates, or patterns with '*'"),
    AP_INIT_TAKE_ARGV("WSTEPAuthProvider", set_providers, NULL, ACCESS_CONF,
                      "authentication providers that know users and passwords: file, ldap, ..."),
    AP_INIT_TAKE_ARGV("WSTEPRenewal", set_renewal, NULL, ACCESS_CONF,
                      "off, or by-certificate with settings"),
    AP_INIT_FLAG("WSTEPRenewalOnly", set_renewal_only, NULL, ACCESS_CONF,
                 "whether only renewals are done here"),
    AP_INIT_TAKE12("WSTEPClientCA", set_client_ca, NULL, ACCESS_CONF,
                   "CAs of others whose certificates callers may show: a file, and perhaps no-crl"),
    AP_INIT_FLAG("WSTEPSignatures", set_signatures, NULL, ACCESS_CONF,
                 "whether messages may be signed by a certificate instead of showing it by TLS"),
    AP_INIT_FLAG("WSTEPWeakKerberos", set_weak_kerberos, NULL, ACCESS_CONF,
                 "whether tickets with 3DES and RC4 are taken"),
    AP_INIT_TAKE1("WSTEPResponse", set_response, NULL, ACCESS_CONF,
                  "what comes with a certificate: cmc or certificates"),
    AP_INIT_TAKE1("WSTEPParentDN", set_parent_dn, NULL, ACCESS_CONF,
                  "distinguished name that is appended to subjects"),
    AP_INIT_TAKE1("WSTEPPriority", set_number, NULL, ACCESS_CONF,
                  "priority of this URL among those that policies name; lower is preferred"),
    AP_INIT_TAKE1("WSTEPPolicyID", set_policy_id, NULL, ACCESS_CONF,
                  "GUID of the policies"),
    AP_INIT_TAKE1("WSTEPPolicyName", set_policy_name, NULL, ACCESS_CONF,
                  "name of the policies that people see"),
    AP_INIT_TAKE1("WSTEPNextUpdate", set_number, NULL, ACCESS_CONF,
                  "hours after which clients ask for policies again"),
    AP_INIT_TAKE12("WSTEPDomain", wstep_set_domain, NULL, RSRC_CONF,
                   "a domain of users by its DNS name, and its NetBIOS name"),
    AP_INIT_TAKE1("WSTEPUserName", wstep_set_user_name, NULL, RSRC_CONF,
                  "how providers know users: name, principal or account"),
    AP_INIT_TAKE_ARGV("WSTEPDirectory", wstep_set_directory, NULL, RSRC_CONF,
                      "servers of the directory, ldaps://HOST ..., and settings"),
    AP_INIT_TAKE2("WSTEPDirectoryBind", wstep_set_directory_bind, NULL, RSRC_CONF,
                  "who asks the directory, and file:PATH or exec:PATH with the password"),
    AP_INIT_TAKE1("WSTEPRAProfile", wstep_set_ra_profile, NULL, RSRC_CONF,
                  "certificate profile of the RA certificates"),
    AP_INIT_TAKE1("WSTEPMaxConcurrent", wstep_set_concurrent, NULL, RSRC_CONF,
                  "how many messages the node works on at once"),
    AP_INIT_TAKE12("WSTEPFailureLimit", wstep_set_failure_limit, NULL, RSRC_CONF,
                   "failures of one client and the interval they count in, or off"),
    AP_INIT_TAKE1("WSTEPVerdictLifetime", wstep_set_verdict_lifetime, NULL, RSRC_CONF,
                  "how long it is known whether a password was right, or off"),
    AP_INIT_TAKE1("WSTEPPublicURL", wstep_set_public_url, NULL, RSRC_CONF,
                  "how clients reach this server: https://host[:port]"),
    AP_INIT_RAW_ARGS("<CertificateTemplate", wstep_template_section, NULL, RSRC_CONF,
                     "container of one certificate template: <CertificateTemplate NAME>"),
    AP_INIT_TAKE_ARGV("TemplateProfile", wstep_set_template_list, NULL, RSRC_CONF,
                      "certificate profile, and perhaps the key usages that it is for"),
    AP_INIT_TAKE1("TemplateOID", wstep_set_template_text, NULL, RSRC_CONF,
                  "object identifier, with numbers below 4294967296"),
    AP_INIT_TAKE1("TemplateDisplayName", wstep_set_template_text, NULL, RSRC_CONF,
                  "name that people see"),
    AP_INIT_TAKE1("TemplateVersion", wstep_set_template_text, NULL, RSRC_CONF,
                  "major and minor version: 100.3"),
    AP_INIT_TAKE1("TemplateSchema", wstep_set_template_text, NULL, RSRC_CONF,
                  "version of the schema: 1, 2 or 3"),
    AP_INIT_TAKE1("TemplateValidity", wstep_set_template_text, NULL, RSRC_CONF,
                  "how long certificates are valid"),
    AP_INIT_TAKE1("TemplateRenewal", wstep_set_template_text, NULL, RSRC_CONF,
                  "how long before their end clients renew them"),
    AP_INIT_TAKE1("TemplateKeyLength", wstep_set_template_text, NULL, RSRC_CONF,
                  "least bits of a key"),
    AP_INIT_TAKE_ARGV("TemplateUsages", wstep_set_template_list, NULL, RSRC_CONF,
                      "extended key usages by name or OID, or request"),
    AP_INIT_TAKE_ARGV("TemplateKeyFlags", wstep_set_template_list, NULL, RSRC_CONF,
                      "exportable, protect, exchange, signature"),
    AP_INIT_TAKE_ARGV("TemplateProviders", wstep_set_template_list, NULL, RSRC_CONF,
                      "names of cryptographic providers that clients may use"),
    AP_INIT_TAKE_ARGV("TemplateSubject", wstep_set_template_list, NULL, RSRC_CONF,
                      "what the subject is made of: supplied, keep, cn, dn, dns, mail"),
    AP_INIT_TAKE_ARGV("TemplateAltNames", wstep_set_template_list, NULL, RSRC_CONF,
                      "what alternative names are made of: supplied, dns, upn, mail, spn, guid, "
                      "domain"),
    AP_INIT_TAKE_ARGV("TemplateFlags", wstep_set_template_list, NULL, RSRC_CONF,
                      "smime, publish, check, old-key, ask, remove-old, reuse"),
    AP_INIT_FLAG("TemplateMachine", wstep_set_template_flag, NULL, RSRC_CONF,
                 "whether it is for machines"),
    AP_INIT_FLAG("TemplateInDirectory", wstep_set_template_flag, NULL, RSRC_CONF,
                 "whether Active Directory has the rest of it"),
    AP_INIT_TAKE_ARGV("TemplateUsers", wstep_set_template_list, NULL, RSRC_CONF,
                      "users who may enrol, or all"),
    AP_INIT_TAKE_ARGV("TemplateGroups", wstep_set_template_list, NULL, RSRC_CONF,
                      "distinguished names of groups whose members may enrol"),
    AP_INIT_FLAG("TemplateAutoEnroll", wstep_set_template_flag, NULL, RSRC_CONF,
                 "whether clients may enrol by themselves"),
    AP_INIT_TAKE_ARGV("TemplateAgents", wstep_set_template_list, NULL, RSRC_CONF,
                      "groups of enrolment agents who may ask for others, or all, or none"),
    { NULL, { NULL }, NULL, 0, RAW_ARGS, NULL }
};
