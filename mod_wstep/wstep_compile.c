/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* From <Location> sections to tables of endpoints, once; a request only looks its names up. */

#include <string.h>

#include <httpd.h>
#include <ap_provider.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>
#include <jansson.h>

#include "log.h"
#include "mod_wstep/wstep_config.h"

APLOG_USE_MODULE(wstep);

static const wstep_authentication_t authentications[] = {
    WSTEP_USERTOKEN, WSTEP_KERBEROS, WSTEP_CERTIFICATE, WSTEP_ANONYMOUS
};
#define AUTHENTICATIONS (sizeof(authentications) / sizeof(authentications[0]))

typedef struct {
    server_rec *s;
    const wstep_server_t *settings; /* the main server's */
    const gatehouse_config_t *config;
    wstep_server_t *server;
    apr_array_header_t *pairs;      /* wstep_tenant_t, each pair once */
    apr_pool_t *p;
    apr_pool_t *ptemp;
    int problems;
} compile_t;

void wstep_log_problem(const server_rec *s, int level, wstep_place_t place, const char *text,
                       apr_pool_t *ptemp)
{
    const char *colon = strstr(text, ": ");
    int number = colon ? (int)(colon + 2 - text) : 0;

    ap_log_error(APLOG_MARK, level | APLOG_STARTUP, 0, s, "%.*s%s%s", number, text,
                 place.file ? apr_psprintf(ptemp, "%s:%d: ", place.file, place.line) : "",
                 text + number);
}

static void problem(compile_t *c, wstep_place_t place, const char *text)
{
    wstep_log_problem(c->s, APLOG_ERR, place, text, c->ptemp);
    ++c->problems;
}

/* Sections */

static const core_server_config *core_of(const server_rec *s)
{
    return ap_get_core_module_config(s->module_config);
}

/** The SetHandler directive at a place: core keeps an expression, of which only a request would
 *  tell the value. */
static const ap_directive_t *find_handler(const ap_directive_t *directive, const char *file,
                                          int line)
{
    for (; directive; directive = directive->next) {
        const ap_directive_t *found = directive->first_child
            ? find_handler(directive->first_child, file, line) : NULL;

        if (found) {
            return found;
        }
        if (directive->line_num == line && directive->filename
            && !strcmp(directive->filename, file)
            && !ap_cstr_casecmp(directive->directive, "SetHandler")) {
            return directive;
        }
    }
    return NULL;
}

/** SetHandler of a section; NULL if it has none. */
static const char *handler_of(const core_dir_config *core, apr_pool_t *p)
{
    const ap_directive_t *directive;
    const char *args;

    if (!core->expr_handler) {
        return core->handler;
    }
    directive = find_handler(ap_conftree, core->expr_handler->filename,
                             (int)core->expr_handler->line_number);
    if (!directive) {
        return "";
    }
    args = directive->args;
    return ap_getword_conf(p, &args);
}

/** What holds at a path. */
typedef struct {
    const char *handler;
    wstep_section_t *section;       /* merged; NULL: no directive */
} effective_t;

static effective_t effective(const compile_t *c, const char *path, int mark)
{
    const core_server_config *core = core_of(c->s);
    effective_t e = { NULL, NULL };
    int i;

    for (i = 0; i < core->sec_url->nelts; ++i) {
        ap_conf_vector_t *vector = APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *);
        const core_dir_config *dir = ap_get_core_module_config(vector);
        wstep_section_t *section = ap_get_module_config(vector, &wstep_module);
        const char *handler;

        if (dir->r || dir->d_is_fnmatch || !wstep_location_covers(dir->d, path)) {
            continue;
        }
        handler = handler_of(dir, c->ptemp);
        e.handler = handler ? handler : e.handler;
        if (section && section->place.file) {
            e.section = e.section ? wstep_merge_sections(c->p, e.section, section) : section;
            section->used |= mark;
        }
    }
    return e;
}

static void collect_pairs(compile_t *c)
{
    const core_server_config *core = core_of(c->s);
    int i, j, k;

    c->pairs = apr_array_make(c->ptemp, 8, sizeof(wstep_tenant_t));
    for (i = 0; i < core->sec_url->nelts; ++i) {
        const wstep_section_t *section = ap_get_module_config(
            APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *), &wstep_module);

        for (j = 0; section && section->tenants && j < section->tenants->nelts; ++j) {
            const wstep_tenant_t *pair = &APR_ARRAY_IDX(section->tenants, j, wstep_tenant_t);

            for (k = 0; k < c->pairs->nelts; ++k) {
                const wstep_tenant_t *other = &APR_ARRAY_IDX(c->pairs, k, wstep_tenant_t);
                if (!strcmp(other->tenant, pair->tenant) && !strcmp(other->issuer, pair->issuer)) {
                    break;
                }
            }
            if (k == c->pairs->nelts) {
                APR_ARRAY_PUSH(c->pairs, wstep_tenant_t) = *pair;
            }
        }
    }
}

static int lists(const wstep_section_t *section, const char *tenant, const char *issuer)
{
    int i;

    for (i = 0; section && section->tenants && i < section->tenants->nelts; ++i) {
        const wstep_tenant_t *pair = &APR_ARRAY_IDX(section->tenants, i, wstep_tenant_t);

        if (!strcmp(pair->tenant, tenant) && (!issuer || !strcmp(pair->issuer, issuer))) {
            return 1;
        }
    }
    return 0;
}

/* Endpoints */

static const char *public_url(const compile_t *c)
{
    if (c->server->public_url) {
        return c->server->public_url;
    }
    return apr_psprintf(c->p, "https://%s%s", c->s->server_hostname ? c->s->server_hostname : "",
                        c->s->port && c->s->port != 443
                            ? apr_psprintf(c->p, ":%u", c->s->port) : "");
}

static const apr_array_header_t *templates_at(compile_t *c, const wstep_section_t *section)
{
    apr_array_header_t *found = apr_array_make(c->p, 8, sizeof(const wstep_template_t *));
    int i, j;

    for (i = 0; c->settings->ordered && i < c->settings->ordered->nelts; ++i) {
        const wstep_template_section_t *one = APR_ARRAY_IDX(c->settings->ordered, i,
                                                            wstep_template_section_t *);
        int matches = 0;

        for (j = 0; section->templates && j < section->templates->nelts; ++j) {
            matches |= gh_wildcard_match(APR_ARRAY_IDX(section->templates, j,
                                                       wstep_pattern_t).pattern,
                                         one->policy.name);
        }
        if (matches && one->complete) {
            APR_ARRAY_PUSH(found, const wstep_template_t *) = &one->template;
        }
    }
    return found;
}

static void find_providers(compile_t *c, wstep_entry_t *entry)
{
    int i;

    entry->providers = apr_array_make(c->p, 2, sizeof(wstep_provider_t));
    for (i = 0; entry->section->providers && i < entry->section->providers->nelts; ++i) {
        wstep_provider_t one = APR_ARRAY_IDX(entry->section->providers, i, wstep_provider_t);

        one.provider = ap_lookup_provider(AUTHN_PROVIDER_GROUP, one.name, AUTHN_PROVIDER_VERSION);
        if (!one.provider || !one.provider->check_password) {
            problem(c, one.place, apr_psprintf(c->ptemp, GHNO(1393) "WSTEPAuthProvider: there is "
                    "no provider %s that checks passwords; add LoadModule authn_%s_module, or "
                    "what has it", one.name, one.name));
        }
        APR_ARRAY_PUSH(entry->providers, wstep_provider_t) = one;
    }
    if (entry->endpoint.authentication == WSTEP_USERTOKEN && !entry->providers->nelts) {
        problem(c, entry->section->place, apr_psprintf(c->ptemp, GHNO(1394) "WSTEPAuthProvider is "
                "missing: nobody knows the users of %s", entry->endpoint.path));
    }
}

/** What a location has to say for Kerberos. */
static void check_kerberos(compile_t *c, const wstep_entry_t *entry)
{
    if (entry->endpoint.authentication != WSTEP_KERBEROS) {
        return;
    }
    if (!c->settings->domains || !c->settings->domains->nelts) {
        problem(c, entry->section->place, apr_psprintf(c->ptemp, GHNO(1499) "%s needs WSTEPDomain: "
                "with Kerberos each user is of a realm, user@EXAMPLE.COM, and those of other "
                "domains than the configured ones are refused", entry->endpoint.path));
    }
    if (entry->section->weak_kerberos > 0) {
        wstep_log_problem(c->s, APLOG_WARNING, entry->section->place,
                          apr_psprintf(c->ptemp, GHNO(1500) "WSTEPWeakKerberos: tickets with 3DES "
                                       "and RC4 are taken at %s", entry->endpoint.path),
                          c->ptemp);
    }
}

/** @return 1 if some section says how callers show who they are: whoever writes of /wstep alone has
 *  not thought of callers whom nobody knows */
static int said_how(const compile_t *c, const wstep_url_t *url, const char *path)
{
    const core_server_config *core = core_of(c->s);
    const char *root = !url->tenant
        ? path : apr_pstrcat(c->ptemp, url->policy ? XCEP_URL_ROOT "/" : WSTEP_URL_ROOT "/",
                             wstep_authentication_name(url->authentication), NULL);
    int i;

    for (i = 0; i < core->sec_url->nelts; ++i) {
        const wstep_section_t *section = ap_get_module_config(
            APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *), &wstep_module);

        if (section && section->place.file && wstep_location_covers(root, section->path)
            && wstep_location_covers(section->path, path)) {
            return 1;
        }
    }
    return 0;
}

static wstep_entry_t *make_entry(compile_t *c, const wstep_url_t *url, const char *path)
{
    effective_t e = effective(c, path, 0);
    wstep_entry_t *entry;

    if (!said_how(c, url, path) || !e.handler || strcmp(e.handler, WSTEP_HANDLER) || !e.section
        || (url->tenant && !lists(e.section, url->tenant, url->issuer))) {
        return NULL;
    }
    effective(c, path, 1);
    entry = apr_pcalloc(c->p, sizeof(*entry));
    entry->policy = url->policy;
    entry->section = e.section;
    entry->endpoint.path = path;
    entry->endpoint.url = apr_pstrcat(c->p, public_url(c), path, NULL);
    entry->endpoint.tenant = url->tenant;
    entry->endpoint.issuer = url->issuer;
    entry->endpoint.authentication = url->authentication;
    entry->endpoint.domains = c->settings->domains;
    find_providers(c, entry);
    check_kerberos(c, entry);
    apr_hash_set(c->server->entries, path, APR_HASH_KEY_STRING, entry);
    APR_ARRAY_PUSH(c->server->listed, wstep_entry_t *) = entry;
    return entry;
}

/** Callers may show certificates of every issuer that their tenant may use here. */
static void find_holders(compile_t *c, wstep_entry_t *entry)
{
    apr_array_header_t *holders = apr_array_make(c->p, 4, sizeof(const char *));
    const apr_array_header_t *pairs = entry->section->tenants;
    int i;

    for (i = 0; pairs && i < pairs->nelts; ++i) {
        const wstep_tenant_t *pair = &APR_ARRAY_IDX(pairs, i, wstep_tenant_t);
        gh_issuer_t *issuer = strcmp(pair->tenant, entry->endpoint.tenant)
            ? NULL : apr_hash_get(c->config->issuers, pair->issuer, APR_HASH_KEY_STRING);

        for (; issuer; issuer = gh_issuer_next(issuer)) {
            APR_ARRAY_PUSH(holders, const char *) = gh_issuer_name(issuer);
        }
    }
    entry->endpoint.holders = holders;
    entry->endpoint.trust = entry->section->trust;
}

/** Certificates of a CA that has handed over are renewed by the one that has taken over. */
static const gh_renewal_policy_t *renewal_at(const gh_renewal_policy_t *said,
                                             const gh_issuer_t *issuer, apr_pool_t *p)
{
    gh_renewal_policy_t *policy;
    apr_array_header_t *issuers;

    if (!said || !gh_issuer_next(issuer)) {
        return said;
    }
    policy = apr_pmemdup(p, said, sizeof(*said));
    issuers = apr_array_make(p, 2, sizeof(const char *));
    for (; issuer; issuer = gh_issuer_next(issuer)) {
        APR_ARRAY_PUSH(issuers, const char *) = gh_issuer_name(issuer);
    }
    policy->issuers = issuers;
    return policy;
}

static void add_issuing(compile_t *c, const wstep_tenant_t *pair,
                        wstep_authentication_t authentication)
{
    static const gh_renewal_policy_t usual = { .revoke_old = GH_RENEWAL_KEEP_OLD };
    wstep_url_t url = { 0, authentication, pair->tenant, pair->issuer };
    wstep_entry_t *entry = make_entry(c, &url, wstep_url_path(&url, c->p));
    wstep_endpoint_t *endpoint = entry ? &entry->endpoint : NULL;
    gh_issuer_t *issuer;

    if (!entry) {
        return;
    }
    issuer = apr_hash_get(c->config->issuers, pair->issuer, APR_HASH_KEY_STRING);
    if (!issuer || !gh_issuer_backend(issuer)->enrol
        || gh_issuer_backend(issuer) == &gh_issuer_offline) {
        problem(c, pair->place, apr_psprintf(c->ptemp, GHNO(1395) "WSTEPTenant: there is no "
                "<Issuer %s>, or it is offline and cannot issue certificates", pair->issuer));
        return;
    }
    endpoint->ca = issuer;
    find_holders(c, entry);
    endpoint->templates = templates_at(c, entry->section);
    endpoint->renewal = renewal_at(entry->section->renewal_said ? entry->section->renewal : &usual,
                                   issuer, c->p);
    endpoint->allowances = wstep_gatehouse_allowances(c->s, endpoint->path);
    endpoint->renewal_only = entry->section->renewal_only > 0
                             || authentication == WSTEP_ANONYMOUS;
    endpoint->response = entry->section->response >= 0
        ? (wstep_response_t)entry->section->response : WSTEP_RESPONSE_CMC;
    endpoint->parent_dn = entry->section->parent_dn;
    if (!endpoint->templates->nelts) {
        problem(c, entry->section->place, apr_psprintf(c->ptemp, GHNO(1396) "WSTEPTemplates is "
                "missing for %s, or names no <CertificateTemplate>", endpoint->path));
    }
}

/** @return the tenant of all pairs that hold; NULL if there is none, or several */
static const char *only_tenant(const wstep_section_t *section)
{
    const char *tenant = NULL;
    int i;

    for (i = 0; section && section->tenants && i < section->tenants->nelts; ++i) {
        const char *one = APR_ARRAY_IDX(section->tenants, i, wstep_tenant_t).tenant;

        if (tenant && strcmp(tenant, one)) {
            return NULL;
        }
        tenant = one;
    }
    return tenant;
}

static void describe(compile_t *c, wstep_entry_t *entry)
{
    const wstep_section_t *section = entry->section;
    xcep_policy_t *policy = &entry->described;
    int i;

    policy->id = section->policy_id
        ? section->policy_id
        : xcep_id_make(apr_pstrcat(c->ptemp, public_url(c), "\n", entry->endpoint.tenant, NULL),
                       c->p);
    policy->friendly_name = section->policy_name ? section->policy_name : entry->endpoint.tenant;
    policy->next_update_hours = section->next_update > 0 ? section->next_update
                                                         : WSTEP_NEXT_UPDATE;
    /* other nodes take the same configuration a little later, and clocks differ */
    policy->changed = apr_time_now() + apr_time_from_sec(15 * 60);
    entry->issuing = apr_array_make(c->p, 4, sizeof(wstep_entry_t *));
    for (i = 0; i < c->server->listed->nelts; ++i) {
        wstep_entry_t *other = APR_ARRAY_IDX(c->server->listed, i, wstep_entry_t *);

        if (!other->policy && other->endpoint.ca
            && lists(section, other->endpoint.tenant, other->endpoint.issuer)
            && !strcmp(other->endpoint.tenant, entry->endpoint.tenant)) {
            APR_ARRAY_PUSH(entry->issuing, wstep_entry_t *) = other;
        }
    }
}

static void add_policy(compile_t *c, const wstep_url_t *url)
{
    const char *path = wstep_url_path(url, c->p);
    wstep_entry_t *entry;

    if (apr_hash_get(c->server->entries, path, APR_HASH_KEY_STRING)) {
        return;
    }
    entry = make_entry(c, url, path);
    if (!entry) {
        return;
    }
    if (!url->tenant) {
        entry->endpoint.tenant = only_tenant(entry->section);
    }
    if (!entry->endpoint.tenant || url->authentication == WSTEP_ANONYMOUS) {
        problem(c, entry->section->place, apr_psprintf(c->ptemp, GHNO(1397) "%s needs WSTEPTenant "
                "with one tenant, and callers who show who they are", path));
        return;
    }
    find_holders(c, entry);
    describe(c, entry);
}

static void add_endpoints(compile_t *c)
{
    apr_size_t a;
    int i;

    for (i = 0; i < c->pairs->nelts; ++i) {
        for (a = 0; a < AUTHENTICATIONS; ++a) {
            add_issuing(c, &APR_ARRAY_IDX(c->pairs, i, wstep_tenant_t), authentications[a]);
        }
    }
    /* these tell of the others */
    for (a = 0; a < AUTHENTICATIONS; ++a) {
        wstep_url_t url = { 1, authentications[a], NULL, NULL };

        for (i = 0; i < c->pairs->nelts; ++i) {
            url.tenant = APR_ARRAY_IDX(c->pairs, i, wstep_tenant_t).tenant;
            add_policy(c, &url);
        }
        url.tenant = NULL;
        if (authentications[a] != WSTEP_ANONYMOUS) {
            add_policy(c, &url);
        }
    }
}

static compile_t *compile_server(server_rec *s, const wstep_server_t *settings,
                                 const gatehouse_config_t *config, apr_pool_t *p,
                                 apr_pool_t *ptemp)
{
    compile_t *c = apr_pcalloc(ptemp, sizeof(*c));

    c->server = apr_pmemdup(p, settings, sizeof(*settings));
    c->server->public_url = wstep_server(s)->public_url;
    c->server->entries = apr_hash_make(p);
    c->server->listed = apr_array_make(p, 16, sizeof(wstep_entry_t *));
    ap_set_module_config(s->module_config, &wstep_module, c->server);
    c->s = s;
    c->settings = settings;
    c->config = config;
    c->p = p;
    c->ptemp = ptemp;
    collect_pairs(c);
    add_endpoints(c);
    return c;
}

static int check_unused(server_rec *s, apr_pool_t *ptemp)
{
    const core_server_config *core = core_of(s);
    int i, problems = 0;

    for (i = 0; i < core->sec_url->nelts; ++i) {
        wstep_section_t *section = ap_get_module_config(
            APR_ARRAY_IDX(core->sec_url, i, ap_conf_vector_t *), &wstep_module);

        if (section && section->place.file && !section->used) {
            section->used = 1;
            wstep_log_problem(s, APLOG_ERR, section->place,
                              apr_psprintf(ptemp, GHNO(1398) "<Location \"%s\"> serves nothing: "
                                           "SetHandler " WSTEP_HANDLER " or WSTEPTenant is "
                                           "missing, or the path is none of WSTEP's",
                                           section->path), ptemp);
            ++problems;
        }
    }
    return problems;
}

int wstep_compile(server_rec *main_server, const gatehouse_config_t *config, apr_pool_t *p,
                  apr_pool_t *ptemp)
{
    wstep_server_t settings = *wstep_server(main_server);
    server_rec *s;
    int problems = 0;

    if (settings.name_form == WSTEP_NAME_PLAIN && settings.domains
        && settings.domains->nelts > 1) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, 0, main_server,
                     GHNO(1399) "there are several WSTEPDomain, in which users may have the same "
                                "name: say WSTEPUserName principal or account");
        ++problems;
    }
    for (s = main_server; s; s = s->next) {
        problems += compile_server(s, &settings, config, p, ptemp)->problems;
    }
    /* a section of the main server may serve virtual hosts only */
    for (s = main_server; s && !problems; s = s->next) {
        problems += check_unused(s, ptemp);
    }
    return problems;
}

/* The dump */

void wstep_dump(void *json, server_rec *main_server, apr_pool_t *p)
{
    json_t *array = json_array();
    server_rec *s;
    int i, j;

    for (s = main_server; s; s = s->next) {
        const wstep_server_t *server = wstep_server(s);

        for (i = 0; server->listed && i < server->listed->nelts; ++i) {
            const wstep_entry_t *entry = APR_ARRAY_IDX(server->listed, i, wstep_entry_t *);
            const wstep_endpoint_t *endpoint = &entry->endpoint;
            json_t *templates = json_array();

            for (j = 0; endpoint->templates && j < endpoint->templates->nelts; ++j) {
                json_array_append_new(templates, json_string(APR_ARRAY_IDX(
                    endpoint->templates, j, const wstep_template_t *)->policy->name));
            }
            json_array_append_new(array, json_pack(
                "{s:s, s:s, s:s, s:s?, s:s?, s:b, s:b, s:i, s:s?, s:o}", "url", endpoint->url,
                "path", endpoint->path, "authentication",
                wstep_authentication_name(endpoint->authentication), "tenant", endpoint->tenant,
                "issuer", endpoint->issuer, "policy", entry->policy, "renewal_only",
                endpoint->renewal_only, "priority",
                entry->section->priority > 0 ? entry->section->priority : WSTEP_PRIORITY,
                "client_ca", endpoint->authentication == WSTEP_CERTIFICATE
                    ? wstep_trust_file(endpoint->trust) : NULL,
                "templates", templates));
        }
    }
    json_object_set_new(json, "wstep", array);
    wstep_dump_templates(json, main_server, p);
}
