/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * From <Location> sections to a table of endpoints. The settings of an endpoint are decided here,
 * once, from its names; a request only looks its names up. However a path is written, what holds
 * for it is the same.
 */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "log.h"
#include "mod_scep/scep_config.h"
#include "mod_scep/scep_intune.h"
#include "mod_scep/scep_url.h"

APLOG_USE_MODULE(scep);

typedef struct {
    server_rec *s;
    const gatehouse_config_t *config;
    const gh_allowances_t *(*allowances)(server_rec *s, const char *path);
    apr_array_header_t *locations;  /* scep_location_t */
    apr_array_header_t *tenants;    /* scep_tenant_t *, each pair once */
    scep_server_t *server;
    apr_pool_t *p;
    apr_pool_t *ptemp;
    int problems;
} compile_t;

static void problem(compile_t *c, scep_place_t place, const char *text)
{
    scep_log_problem(c->s, APLOG_ERR, place, text, c->ptemp);
    ++c->problems;
}

static int own(const compile_t *c, const scep_section_t *section)
{
    return section && section->server == c->s;
}

static void add_tenant(compile_t *c, scep_tenant_t *tenant, int report)
{
    const gh_issuer_t *issuer = apr_hash_get(c->config->issuers, tenant->issuer,
                                             APR_HASH_KEY_STRING);
    int i;

    if (!issuer) {
        if (report) {
            problem(c, tenant->place, apr_psprintf(c->ptemp, GHNO(0246) "SCEPTenant: there is no "
                    "<Issuer %s>", tenant->issuer));
        }
        return;
    }
    if (!gh_issuer_backend(issuer)->enrol || gh_issuer_backend(issuer) == &gh_issuer_offline) {
        if (report) {
            problem(c, tenant->place, apr_psprintf(c->ptemp, GHNO(0247) "SCEPTenant: issuer %s is "
                    "offline and cannot issue certificates", tenant->issuer));
        }
        return;
    }
    for (i = 0; i < c->tenants->nelts; ++i) {
        const scep_tenant_t *other = APR_ARRAY_IDX(c->tenants, i, scep_tenant_t *);
        if (!strcmp(other->tenant, tenant->tenant) && !strcmp(other->issuer, tenant->issuer)) {
            return;
        }
    }
    APR_ARRAY_PUSH(c->tenants, scep_tenant_t *) = tenant;
}

static void collect_tenants(compile_t *c)
{
    int i, j;

    c->tenants = apr_array_make(c->ptemp, 8, sizeof(scep_tenant_t *));
    for (i = 0; i < c->locations->nelts; ++i) {
        scep_section_t *section = APR_ARRAY_IDX(c->locations, i, scep_location_t).scep;
        for (j = 0; section && section->tenants && j < section->tenants->nelts; ++j) {
            add_tenant(c, &APR_ARRAY_IDX(section->tenants, j, scep_tenant_t), own(c, section));
        }
    }
}

/* Profiles */

static int is_wildcard(const char *pattern)
{
    return strchr(pattern, '*') != NULL;
}

/** Internal profiles are never reachable, privileged ones only by their full name. */
static int pattern_admits(const compile_t *c, const char *pattern, const gh_profile_t *profile)
{
    if (gh_profile_is_internal(profile)) {
        return 0;
    }
    if (is_wildcard(pattern)) {
        return !gh_profile_is_privileged(profile)
               && gh_wildcard_match(pattern, gh_profile_name(profile));
    }
    return apr_hash_get(c->config->profiles, pattern, APR_HASH_KEY_STRING) == profile;
}

/** Its path is kept for another protocol, so that it would never be served. */
static void refuse_reserved(compile_t *c, const scep_pattern_t *pattern,
                            const gh_profile_t *profile)
{
    problem(c, pattern->place,
            apr_psprintf(c->ptemp,
                         GHNO(0447) "SCEPProfiles: \"%s\" is profile %s, whose name is reserved "
                                    "in URLs; give it another name",
                         pattern->pattern, gh_profile_name(profile)));
}

static void check_pattern(compile_t *c, const scep_pattern_t *pattern)
{
    const gh_profile_t *profile;
    apr_hash_index_t *hi;
    int admits = 0;

    if (!is_wildcard(pattern->pattern)) {
        profile = apr_hash_get(c->config->profiles, pattern->pattern, APR_HASH_KEY_STRING);
        if (!profile) {
            problem(c, pattern->place,
                    apr_psprintf(c->ptemp,
                                 GHNO(0248) "SCEPProfiles: there is no <CertificateProfile %s>",
                                 pattern->pattern));
        }
        else if (scep_url_reserved(gh_profile_name(profile))) {
            refuse_reserved(c, pattern, profile);
        }
        else if (gh_profile_is_internal(profile)) {
            problem(c, pattern->place,
                    apr_psprintf(c->ptemp,
                                 GHNO(0249) "SCEPProfiles: profile %s is internal and never "
                                            "reachable by a protocol",
                                 pattern->pattern));
        }
        return;
    }
    for (hi = apr_hash_first(c->ptemp, c->config->profiles); hi; hi = apr_hash_next(hi)) {
        profile = apr_hash_this_val(hi);
        if (pattern_admits(c, pattern->pattern, profile)) {
            admits = 1;
            /* once, also where it has aliases */
            if (scep_url_reserved(gh_profile_name(profile))
                && !strcmp(apr_hash_this_key(hi), gh_profile_name(profile))) {
                refuse_reserved(c, pattern, profile);
            }
        }
    }
    if (!admits) {
        problem(c, pattern->place,
                apr_psprintf(c->ptemp,
                             GHNO(0250) "SCEPProfiles: no profile matches \"%s\"; those for code "
                                        "signing, smart cards and CAs have to be named in full",
                             pattern->pattern));
    }
}

static void check_patterns(compile_t *c)
{
    int i, j;

    for (i = 0; i < c->locations->nelts; ++i) {
        const scep_section_t *section = APR_ARRAY_IDX(c->locations, i, scep_location_t).scep;
        for (j = 0; own(c, section) && section->patterns && j < section->patterns->nelts; ++j) {
            check_pattern(c, &APR_ARRAY_IDX(section->patterns, j, scep_pattern_t));
        }
    }
}

/** Names become those that the store has: aliases are resolved. */
static void check_renewal(compile_t *c, const scep_section_t *section)
{
    const apr_array_header_t *profiles = section->renewal ? section->renewal->profiles : NULL;
    int i;

    for (i = 0; profiles && i < profiles->nelts; ++i) {
        const char **name = &APR_ARRAY_IDX(profiles, i, const char *);
        const gh_profile_t *profile = apr_hash_get(c->config->profiles, *name,
                                                   APR_HASH_KEY_STRING);

        if (profile) {
            *name = gh_profile_name(profile);
        }
        else {
            problem(c, section->renewal_place,
                    apr_psprintf(c->ptemp, GHNO(0468) "SCEPRenewal: there is no "
                                 "<CertificateProfile %s>", *name));
        }
    }
}

static void check_webhooks(compile_t *c, const scep_section_t *section)
{
    int i;

    for (i = 0; section->challenges && i < section->challenges->nelts; ++i) {
        const scep_challenge_t *one = &APR_ARRAY_IDX(section->challenges, i, scep_challenge_t);

        if (one->webhook && !scep_gatehouse_webhook(one->webhook)) {
            problem(c, one->place,
                    apr_psprintf(c->ptemp, GHNO(0910) "SCEPChallenge: there is no <Webhook %s>",
                                 one->webhook));
        }
    }
}

static void check_sections(compile_t *c)
{
    int i;

    for (i = 0; i < c->locations->nelts; ++i) {
        const scep_location_t *location = &APR_ARRAY_IDX(c->locations, i, scep_location_t);

        if (location->own && location->scep) {
            check_renewal(c, location->scep);
            check_webhooks(c, location->scep);
            c->problems += scep_intune_check_section(c->s, c->server, location->scep, c->ptemp);
        }
    }
}

/* Endpoints */

/** What holds at a path: later and so narrower sections override; scep_check_locations() has
 *  refused all others. */
typedef struct {
    const char *handler;
    int has_tenant;
    const apr_array_header_t *patterns;
    const apr_array_header_t *challenges;
    const gh_renewal_policy_t *renewal;
    const char *intune;
    int allow;
    int reply_chain;
} effective_t;

static int lists_tenant(const scep_section_t *section, const scep_url_t *url)
{
    int i;

    for (i = 0; section->tenants && i < section->tenants->nelts; ++i) {
        const scep_tenant_t *tenant = &APR_ARRAY_IDX(section->tenants, i, scep_tenant_t);
        if (!strcmp(tenant->tenant, url->tenant) && !strcmp(tenant->issuer, url->issuer)) {
            return 1;
        }
    }
    return 0;
}

/** @param url NULL: that of a digital ID, which names its tenant itself */
static void merge(const compile_t *c, const scep_url_t *url, const char *path, effective_t *e)
{
    int i;

    memset(e, 0, sizeof(*e));
    for (i = 0; i < c->locations->nelts; ++i) {
        const scep_location_t *location = &APR_ARRAY_IDX(c->locations, i, scep_location_t);
        const scep_section_t *section = location->scep;

        if (!scep_location_covers(location->path, path)) {
            continue;
        }
        e->handler = location->handler ? location->handler : e->handler;
        if (!section) {
            continue;
        }
        e->has_tenant |= url && lists_tenant(section, url);
        e->patterns = section->patterns ? section->patterns : e->patterns;
        e->challenges = section->challenges ? section->challenges : e->challenges;
        e->renewal = section->renewal_place.file ? section->renewal : e->renewal;
        e->intune = section->intune ? section->intune : e->intune;
        e->allow = section->allow >= 0 ? section->allow : e->allow;
        e->reply_chain = section->reply_chain >= 0 ? section->reply_chain : e->reply_chain;
    }
}

static int admitted(const compile_t *c, const effective_t *e, const gh_profile_t *profile)
{
    int i;

    if (!e->handler || strcmp(e->handler, SCEP_HANDLER) != 0 || !e->has_tenant) {
        return 0;
    }
    for (i = 0; e->patterns && i < e->patterns->nelts; ++i) {
        if (pattern_admits(c, APR_ARRAY_IDX(e->patterns, i, scep_pattern_t).pattern, profile)) {
            return 1;
        }
    }
    return 0;
}

static void mark_used(const compile_t *c, const char *path)
{
    int i;

    for (i = 0; i < c->locations->nelts; ++i) {
        const scep_location_t *location = &APR_ARRAY_IDX(c->locations, i, scep_location_t);
        if (location->scep && scep_location_covers(location->path, path)) {
            location->scep->used = 1;
        }
    }
}

/** A webhook's section may stand behind the location. */
static gh_authoriser_t *authoriser_of(const compile_t *c, const scep_challenge_t *challenge)
{
    const gatehouse_webhook_t *webhook = challenge->webhook
        ? scep_gatehouse_webhook(challenge->webhook) : NULL;

    return webhook ? gh_authoriser_webhook(webhook->name, webhook->deadline, c->p)
        : challenge->authoriser;
}

static apr_array_header_t *authorisers_of(const compile_t *c,
                                          const apr_array_header_t *challenges)
{
    apr_array_header_t *authorisers = apr_array_make(c->p, 2, sizeof(gh_authoriser_t *));
    int i;

    for (i = 0; challenges && i < challenges->nelts; ++i) {
        APR_ARRAY_PUSH(authorisers, gh_authoriser_t *) =
            authoriser_of(c, &APR_ARRAY_IDX(challenges, i, scep_challenge_t));
    }
    return authorisers;
}

/** Under the profile's own name only: what httpd asks for at a <Location>, such as Require, would
 *  not hold for another path that led to the same endpoint. */
static void add_endpoint(compile_t *c, const scep_tenant_t *tenant, const gh_profile_t *profile,
                         int intune)
{
    scep_url_t url = { tenant->tenant, tenant->issuer, gh_profile_name(profile), intune };
    scep_url_t parsed;
    const char *path = scep_url_path(&url, c->p);
    scep_entry_t *entry;
    effective_t e;

    merge(c, &url, path, &e);
    if (!admitted(c, &e, profile) || scep_url_parse(&parsed, path, c->ptemp) != APR_SUCCESS) {
        return;
    }
    if (intune) {
        e.challenges = scep_intune_challenges(c->server, e.intune, c->p);
        /* who renews needs Intune's word too */
        e.renewal = e.renewal && e.renewal->challenge ? e.renewal : NULL;
        if (!e.challenges) {
            return;
        }
    }
    mark_used(c, path);
    entry = apr_pcalloc(c->p, sizeof(*entry));
    entry->challenges = e.challenges;
    entry->endpoint.path = path;
    entry->endpoint.tenant = url.tenant;
    entry->endpoint.issuer = url.issuer;
    entry->endpoint.profile = profile;
    entry->endpoint.allow = (unsigned)e.allow;
    entry->endpoint.reply_chain = (scep_reply_chain_t)e.reply_chain;
    entry->endpoint.authorisers = authorisers_of(c, e.challenges);
    entry->endpoint.managers = scep_managers(e.challenges);
    entry->endpoint.ca = apr_hash_get(c->config->issuers, url.issuer, APR_HASH_KEY_STRING);
    entry->endpoint.renewal = scep_renewal_at(e.renewal, entry->endpoint.ca, c->p);
    entry->endpoint.allowances = c->allowances(c->s, path);
    entry->endpoint.intune = intune;
    apr_hash_set(c->server->entries, path, APR_HASH_KEY_STRING, entry);
    APR_ARRAY_PUSH(c->server->listed, scep_entry_t *) = entry;
}

/** What it is made of is said by its section; locations say that SCEP is spoken there, and how. */
static void add_digital(compile_t *c, scep_digital_section_t *section)
{
    scep_digital_t *digital = &section->digital;
    scep_challenge_t challenge = { .name = "mdm", .place = section->place };
    apr_array_header_t *challenges, *authorisers;
    scep_entry_t *entry;
    effective_t e;

    if (!(digital->modes & SCEP_DIGITAL_SCEP) || !digital->ca || !digital->certificate_profile) {
        return;
    }
    merge(c, NULL, digital->path, &e);
    if (!e.handler || strcmp(e.handler, SCEP_HANDLER)) {
        return;
    }
    mark_used(c, digital->path);
    section->served = 1;
    challenge.authoriser = gh_authoriser_given(digital->set, c->p);
    challenges = apr_array_make(c->p, 1, sizeof(scep_challenge_t));
    APR_ARRAY_PUSH(challenges, scep_challenge_t) = challenge;
    authorisers = apr_array_make(c->p, 1, sizeof(gh_authoriser_t *));
    APR_ARRAY_PUSH(authorisers, gh_authoriser_t *) = challenge.authoriser;
    entry = apr_pcalloc(c->p, sizeof(*entry));
    entry->challenges = challenges;
    entry->endpoint.path = digital->path;
    entry->endpoint.tenant = digital->tenant;
    entry->endpoint.issuer = digital->issuer;
    entry->endpoint.profile = digital->certificate_profile;
    entry->endpoint.allow = (unsigned)e.allow;
    entry->endpoint.reply_chain = (scep_reply_chain_t)e.reply_chain;
    entry->endpoint.authorisers = authorisers;
    entry->endpoint.ca = digital->ca;
    entry->endpoint.renewal = scep_renewal_at(e.renewal, digital->ca, c->p);
    entry->endpoint.allowances = c->allowances(c->s, digital->path);
    apr_hash_set(c->server->entries, digital->path, APR_HASH_KEY_STRING, entry);
    APR_ARRAY_PUSH(c->server->listed, scep_entry_t *) = entry;
}

static void add_digitals(compile_t *c)
{
    int i;

    for (i = 0; c->server->digitals && i < c->server->digitals->nelts; ++i) {
        add_digital(c, APR_ARRAY_IDX(c->server->digitals, i, scep_digital_section_t *));
    }
}

static int by_path(const void *a, const void *b)
{
    return strcmp((*(scep_entry_t *const *)a)->endpoint.path,
                  (*(scep_entry_t *const *)b)->endpoint.path);
}

static void add_endpoints(compile_t *c)
{
    apr_hash_index_t *hi;
    const void *name;
    void *profile;
    int i;

    for (i = 0; i < c->tenants->nelts; ++i) {
        const scep_tenant_t *tenant = APR_ARRAY_IDX(c->tenants, i, scep_tenant_t *);
        for (hi = apr_hash_first(c->ptemp, c->config->profiles); hi; hi = apr_hash_next(hi)) {
            apr_hash_this(hi, &name, NULL, &profile);
            if (!strcmp(name, gh_profile_name(profile))) {
                add_endpoint(c, tenant, profile, 0);
                add_endpoint(c, tenant, profile, 1);
            }
        }
    }
    add_digitals(c);
    if (c->server->listed->nelts) {
        qsort(c->server->listed->elts, (size_t)c->server->listed->nelts, sizeof(scep_entry_t *),
              by_path);
    }
}

/** Why a location has no endpoint. */
static const char *explain_unused(const compile_t *c, const scep_section_t *section)
{
    char *last = NULL;
    char *names = apr_pstrdup(c->ptemp, section->path);
    const char *parts[5] = { NULL };
    const gh_profile_t *profile;
    int i, tenant = 0, pair = 0;

    for (i = 0; i < 5; ++i) {
        parts[i] = apr_strtok(i ? NULL : names, "/", &last);
        if (!parts[i]) {
            break;
        }
    }
    if (parts[4] && strcmp(parts[4], "intune")) {
        return "it has more than tenant, issuer and profile behind " SCEP_URL_ROOT;
    }
    if (parts[4] && (!section->intune || !strcmp(section->intune, "off"))) {
        return "SCEPIntune is missing here, with the name of an <IntuneConnection>";
    }
    for (i = 0; parts[1] && i < c->tenants->nelts; ++i) {
        const scep_tenant_t *one = APR_ARRAY_IDX(c->tenants, i, scep_tenant_t *);
        if (!strcmp(one->tenant, parts[1])) {
            tenant = 1;
            pair |= parts[2] && !strcmp(one->issuer, parts[2]);
        }
    }
    if (parts[1] && !tenant) {
        return apr_psprintf(c->ptemp, "no SCEPTenant directive that holds here names tenant %s",
                            parts[1]);
    }
    if (parts[2] && !pair) {
        return apr_psprintf(c->ptemp, "no SCEPTenant directive gives issuer %s to tenant %s",
                            parts[2], parts[1]);
    }
    profile = parts[3] ? apr_hash_get(c->config->profiles, parts[3], APR_HASH_KEY_STRING) : NULL;
    if (parts[3] && !profile) {
        return apr_psprintf(c->ptemp, "there is no <CertificateProfile %s>", parts[3]);
    }
    if (profile && strcmp(gh_profile_name(profile), parts[3])) {
        return apr_psprintf(c->ptemp, "%s is another name of profile %s: use that", parts[3],
                            gh_profile_name(profile));
    }
    return "SetHandler " SCEP_HANDLER ", SCEPTenant or SCEPProfiles are missing here, or name "
                                      "others";
}

static void check_unused(compile_t *c)
{
    int i;

    for (i = 0; i < c->locations->nelts; ++i) {
        const scep_section_t *section = APR_ARRAY_IDX(c->locations, i, scep_location_t).scep;
        if (own(c, section) && !section->used) {
            problem(c, section->place,
                    apr_psprintf(c->ptemp,
                                 GHNO(0251) "<Location \"%s\"> serves no endpoint: %s",
                                 section->path, explain_unused(c, section)));
        }
    }
}

static compile_t *compile_server(server_rec *s, server_rec *main_server,
                                 const scep_server_t *settings,
                                 const gatehouse_config_t *config, apr_hash_t *handlers,
                                 const gh_allowances_t *(*allowances)(server_rec *, const char *),
                                 apr_pool_t *p, apr_pool_t *ptemp)
{
    compile_t *c = apr_pcalloc(ptemp, sizeof(*c));

    /* a configuration of its own, since httpd gives virtual hosts that of the main server */
    c->server = apr_pmemdup(p, settings, sizeof(*settings));
    c->server->entries = apr_hash_make(p);
    c->server->listed = apr_array_make(p, 16, sizeof(scep_entry_t *));
    ap_set_module_config(s->module_config, &scep_module, c->server);
    c->s = s;
    c->config = config;
    c->allowances = allowances;
    c->p = p;
    c->ptemp = ptemp;
    c->locations = scep_locations(main_server, s, handlers, ptemp);
    c->problems += scep_check_locations(s, c->locations, ptemp);
    collect_tenants(c);
    check_patterns(c);
    check_sections(c);
    add_endpoints(c);
    return c;
}

/** Devices are told the path of a digital ID. */
static int check_digitals(server_rec *s, const scep_server_t *settings, apr_pool_t *ptemp)
{
    int i, problems = 0;

    for (i = 0; settings->digitals && i < settings->digitals->nelts; ++i) {
        const scep_digital_section_t *section
            = APR_ARRAY_IDX(settings->digitals, i, scep_digital_section_t *);

        if (!section->served && section->digital.modes & SCEP_DIGITAL_SCEP
            && section->digital.ca && section->digital.certificate_profile) {
            scep_log_problem(s, APLOG_ERR, section->place,
                             apr_psprintf(ptemp, GHNO(0993) "<DigitalID \"%s\">: nothing is served "
                                          "at \"%s\"; SetHandler " SCEP_HANDLER " is missing in "
                                          "<Location \"/scep\">, or say DigitalIDModes p12",
                                          section->digital.name, section->digital.path), ptemp);
            ++problems;
        }
    }
    return problems;
}

int scep_compile(server_rec *main_server, const gatehouse_config_t *config, apr_hash_t *handlers,
                 const gh_allowances_t *(*allowances)(server_rec *s, const char *path),
                 apr_pool_t *p, apr_pool_t *ptemp)
{
    scep_server_t settings = *scep_server(main_server);
    apr_array_header_t *compiled = apr_array_make(ptemp, 8, sizeof(compile_t *));
    server_rec *s;
    int i, problems = 0;

    for (s = main_server; s; s = s->next) {
        APR_ARRAY_PUSH(compiled, compile_t *)
            = compile_server(s, main_server, &settings, config, handlers, allowances, p, ptemp);
    }
    problems += check_digitals(main_server, &settings, ptemp);
    /* a section of the main server may serve virtual hosts only */
    for (i = 0; i < compiled->nelts; ++i) {
        compile_t *c = APR_ARRAY_IDX(compiled, i, compile_t *);
        if (c->problems == 0) {
            check_unused(c);
        }
        problems += c->problems;
    }
    return problems;
}
