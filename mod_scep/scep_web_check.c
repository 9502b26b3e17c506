/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What "httpd -t" says of the pages that make challenges. */

#include "mod_scep/scep_web.h"

#include <stdlib.h>
#include <string.h>

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <http_log.h>

#include "log.h"
#include "mod_scep/scep_mdm.h"

APLOG_USE_MODULE(scep);

typedef struct {
    server_rec *main_server;
    server_rec *s;
    const gatehouse_config_t *config;
    apr_array_header_t *locations;  /* scep_location_t of s */
    apr_hash_t *used;               /* of all servers: directives that some page has */
    apr_hash_t *told;               /* of all servers: targets of which something was said */
    apr_pool_t *ptemp;
    int problems;
} check_t;

int scep_web_is_handler(const char *handler)
{
    return handler
           && (!strcmp(handler, SCEP_HANDLER_CHALLENGE) || !strcmp(handler, SCEP_HANDLER_NDES)
               || !strcmp(handler, SCEP_HANDLER_PROFILE) || !strcmp(handler, SCEP_HANDLER_MDM));
}

int scep_web_key_size(const gh_profile_t *profile)
{
    /* in the order of how many devices can do so */
    static const char *const kinds[] = { "RSA-2048", "RSA-4096", "RSA-3072" };
    apr_size_t i;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); ++i) {
        if (gh_profile_allows_key(profile, kinds[i])) {
            return (int)strtol(kinds[i] + 4, NULL, 10);
        }
    }
    return 0;
}

static void problem(check_t *c, scep_place_t place, const char *text)
{
    scep_log_problem(c->s, APLOG_ERR, place, text, c->ptemp);
    ++c->problems;
}

/* Who may: where that is said, as well as it can be told */

static const char *location_of(const ap_directive_t *directive, apr_pool_t *p)
{
    const char *args = directive->args;
    const char *path = ap_getword_conf(p, &args);

    path = apr_pstrmemdup(p, path, strcspn(path, ">"));
    return ap_cstr_casecmp(directive->directive, "<Location") || *path == '~'
           || apr_fnmatch_test(path) ? NULL : path;
}

static int says_nothing(const ap_directive_t *directive)
{
    return !ap_cstr_casecmp(directive->args, "none");
}

/** Other sections than plain locations may hold here or not. */
static int authenticates(const check_t *c, const ap_directive_t *directive, const char *path)
{
    const char *location;

    for (; directive; directive = directive->next) {
        if ((!ap_cstr_casecmp(directive->directive, "AuthType")
             || !ap_cstr_casecmp(directive->directive, "SSLVerifyClient"))
            && !says_nothing(directive)) {
            return 1;
        }
        if (!directive->first_child
            || (!ap_cstr_casecmp(directive->directive, "<VirtualHost")
                && (strcmp(directive->filename, c->s->defn_name ? c->s->defn_name : "")
                    || (unsigned)directive->line_num != c->s->defn_line_number))) {
            continue;
        }
        location = location_of(directive, c->ptemp);
        if ((!location || scep_location_covers(location, path))
            && authenticates(c, directive->first_child, path)) {
            return 1;
        }
    }
    return 0;
}

/* One page */

static void check_target(check_t *c, const scep_web_target_t *target, const char *handler,
                         const apr_array_header_t *found)
{
    int single = strcmp(handler, SCEP_HANDLER_CHALLENGE) != 0;
    const scep_endpoint_t *endpoint;

    if (apr_hash_get(c->told, &target, sizeof(target))) {
        return;
    }
    apr_hash_set(c->told, apr_pmemdup(c->ptemp, &target, sizeof(target)), sizeof(target), target);
    if (!found->nelts) {
        problem(c, target->place,
                apr_psprintf(c->ptemp,
                             GHNO(0534) "SCEPChallengeFor: no endpoint of tenant %s, issuer %s and "
                                       "profile %s has \"SCEPChallenge onetime%s%s\"",
                             target->tenant, target->issuer, target->pattern,
                             *target->set ? " " : "", target->set));
        return;
    }
    if (single && (found->nelts > 1 || strchr(target->pattern, '*'))) {
        problem(c, target->place,
                apr_psprintf(c->ptemp,
                             GHNO(0535) "SCEPChallengeFor: a page of %s is for one endpoint, so "
                                       "that its profile has to be named in full",
                             handler));
        return;
    }
    endpoint = &APR_ARRAY_IDX(found, 0, scep_web_found_t).entry->endpoint;
    if (!strcmp(handler, SCEP_HANDLER_PROFILE) && !scep_web_key_size(endpoint->profile)) {
        problem(c, target->place,
                apr_psprintf(c->ptemp,
                             GHNO(0536) "SCEPChallengeFor: devices make RSA keys for configuration "
                                       "profiles, which profile %s does not allow",
                             gh_profile_name(endpoint->profile)));
    }
}

static void check_authentication(check_t *c, const char *path, scep_place_t place)
{
    if (!authenticates(c, ap_conftree, path)) {
        scep_log_problem(c->s, APLOG_WARNING, place,
                         apr_psprintf(c->ptemp,
                                      GHNO(0539) "<Location \"%s\"> has neither AuthType nor "
                                                "SSLVerifyClient: challenges are given to "
                                                "authenticated users only, and so to nobody",
                                      path),
                         c->ptemp);
    }
}

/** The web service has its own addresses, and digital IDs say what it does. */
static void check_service(check_t *c, const char *path, scep_place_t place, const scep_web_t *web)
{
    if (!scep_location_covers(SCEP_MDM_ROOT, path) && !scep_location_covers(path, SCEP_MDM_ROOT)) {
        problem(c, place,
                apr_psprintf(c->ptemp,
                             GHNO(1007) "SetHandler " SCEP_HANDLER_MDM " has no effect in "
                                        "<Location \"%s\">: the service is below " SCEP_MDM_ROOT,
                             path));
    }
    if (web && web->targets) {
        problem(c, APR_ARRAY_IDX(web->targets, 0, scep_web_target_t).place,
                apr_psprintf(c->ptemp,
                             GHNO(1008) "SCEPChallengeFor has no effect on the web service at "
                                        "\"%s\": <DigitalID> says what it makes challenges for",
                             path));
    }
    check_authentication(c, path, place);
}

static void check_page(check_t *c, const char *path, const char *handler, scep_place_t place,
                       const scep_web_t *web)
{
    int i;

    if (!web || !web->targets) {
        problem(c, place,
                apr_psprintf(c->ptemp,
                             GHNO(0537) "<Location \"%s\"> makes no challenges: add "
                                       "SCEPChallengeFor TENANT ISSUER PROFILE",
                             path));
        return;
    }
    if (web->targets->nelts > 1 && strcmp(handler, SCEP_HANDLER_CHALLENGE) != 0) {
        problem(c, APR_ARRAY_IDX(web->targets, 1, scep_web_target_t).place,
                apr_psprintf(c->ptemp,
                             GHNO(0538) "SCEPChallengeFor: a page of %s is for one endpoint; make "
                                       "a <Location> for each",
                             handler));
        return;
    }
    for (i = 0; i < web->targets->nelts; ++i) {
        const scep_web_target_t *target = &APR_ARRAY_IDX(web->targets, i, scep_web_target_t);

        check_target(c, target, handler,
                     scep_web_found(c->main_server, target, c->config, c->ptemp));
    }
    check_authentication(c, path, place);
}

/* All of a server */

const scep_web_t *scep_web_at(const apr_array_header_t *locations,
                              const scep_location_t *location, const char **handler,
                              scep_place_t *place, apr_pool_t *p)
{
    const scep_web_t *web = NULL;
    int i;

    *handler = NULL;
    memset(place, 0, sizeof(*place));
    for (i = 0; i < locations->nelts; ++i) {
        const scep_location_t *wider = &APR_ARRAY_IDX(locations, i, scep_location_t);

        if (!scep_location_covers(wider->path, location->path)) {
            continue;
        }
        if (wider->handler) {
            *handler = wider->handler;
            *place = wider->handler_place;
        }
        if (wider->web) {
            web = web ? scep_merge_web(p, web, wider->web) : wider->web;
        }
    }
    if (!scep_web_is_handler(*handler)) {
        *handler = NULL;
    }
    return web;
}

int scep_web_concerns(const scep_location_t *location, const server_rec *main_server,
                      const server_rec *s)
{
    return (location->own || s == main_server)
           && (location->web || scep_web_is_handler(location->handler));
}

static void check_location(check_t *c, const scep_location_t *location)
{
    const char *handler;
    scep_place_t place;
    const scep_web_t *web = scep_web_at(c->locations, location, &handler, &place, c->ptemp);
    int i;

    if (!handler) {
        return;
    }
    for (i = 0; i < c->locations->nelts; ++i) {
        const scep_location_t *wider = &APR_ARRAY_IDX(c->locations, i, scep_location_t);

        if (wider->web && scep_location_covers(wider->path, location->path)) {
            apr_hash_set(c->used, apr_pmemdup(c->ptemp, &wider->web, sizeof(wider->web)),
                         sizeof(wider->web), wider->web);
        }
    }
    if (!strcmp(handler, SCEP_HANDLER_MDM)) {
        check_service(c, location->path, place, web);
    }
    else {
        check_page(c, location->path, handler, place, web);
    }
}

/** httpd takes sections in their order, readers take the narrower one. */
static void check_order(check_t *c, const scep_location_t *earlier, const scep_location_t *later)
{
    if (!later->own || !later->web || !earlier->web
        || strlen(earlier->path) < strlen(later->path)
        || !scep_location_covers(later->path, earlier->path)) {
        return;
    }
    problem(c, later->web->place,
            apr_psprintf(c->ptemp,
                         GHNO(0540) "<Location \"%s\"> stands behind <Location \"%s\">, in line %d "
                                   "of %s, and would replace what that says of challenges: put "
                                   "wide locations before narrow ones, and one path in one section",
                         later->path, earlier->path, earlier->web->place.line,
                         earlier->web->place.file));
}

static void check_server(check_t *c, apr_hash_t *handlers)
{
    int i, j;

    c->locations = scep_locations(c->main_server, c->s, handlers, c->ptemp);
    for (i = 0; i < c->locations->nelts; ++i) {
        const scep_location_t *location = &APR_ARRAY_IDX(c->locations, i, scep_location_t);

        for (j = 0; j < i; ++j) {
            check_order(c, &APR_ARRAY_IDX(c->locations, j, scep_location_t), location);
        }
        if (scep_web_concerns(location, c->main_server, c->s)) {
            check_location(c, location);
        }
    }
}

/** Directives that no page has would be believed to do something. */
static void check_unused(check_t *c)
{
    int i;

    for (i = 0; i < c->locations->nelts; ++i) {
        const scep_location_t *location = &APR_ARRAY_IDX(c->locations, i, scep_location_t);

        if (location->own && location->web
            && !apr_hash_get(c->used, &location->web, sizeof(location->web))) {
            problem(c, location->web->place,
                    apr_psprintf(c->ptemp,
                                 GHNO(0541) "<Location \"%s\"> is no page that makes challenges: "
                                           "add SetHandler " SCEP_HANDLER_CHALLENGE
                                           ", " SCEP_HANDLER_NDES " or " SCEP_HANDLER_PROFILE,
                                 location->path));
        }
    }
}

/** In other sections such a handler would have no SCEPChallengeFor. */
static int check_sections(server_rec *s, apr_hash_t *handlers, apr_pool_t *ptemp)
{
    apr_hash_index_t *hi;
    int problems = 0;

    for (hi = apr_hash_first(ptemp, handlers); hi; hi = apr_hash_next(hi)) {
        const ap_directive_t *directive = apr_hash_this_val(hi);
        scep_place_t place = { directive->filename, directive->line_num };
        const char *args = directive->args;
        const char *handler = ap_getword_conf(ptemp, &args);

        if (scep_web_is_handler(handler)
            && (!directive->parent || !location_of(directive->parent, ptemp))) {
            scep_log_problem(s, APLOG_ERR, place,
                             apr_psprintf(ptemp,
                                          GHNO(0542) "SetHandler %s belongs in a <Location> "
                                                    "without pattern",
                                          handler),
                             ptemp);
            ++problems;
        }
    }
    return problems;
}

int scep_web_check(server_rec *main_server, const gatehouse_config_t *config, apr_hash_t *handlers,
                   apr_pool_t *ptemp)
{
    check_t c = { main_server, NULL, config, NULL, apr_hash_make(ptemp), apr_hash_make(ptemp),
                  ptemp, 0 };

    scep_profile_prepare();
    c.problems = check_sections(main_server, handlers, ptemp);
    for (c.s = main_server; c.s; c.s = c.s->next) {
        check_server(&c, handlers);
    }
    for (c.s = main_server; c.s && !c.problems; c.s = c.s->next) {
        c.locations = scep_locations(main_server, c.s, handlers, ptemp);
        check_unused(&c);
    }
    return c.problems;
}
