/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Policies from httpd's configuration, for one caller. */

#include <string.h>

#include "mod_wstep/wstep_policy.h"

/** The directory does not tell when templates and groups change: clients get all each time. */
#define NEVER_THE_SAME apr_time_from_sec(50LL * 365 * 24 * 3600)

/** A CA, and where in this server certificates are issued by it. */
typedef struct {
    const wstep_endpoint_t *endpoint;
    const apr_array_header_t *templates;    /* that it offers now */
    int index;
} place_t;

static void add_uri(xcep_ca_t *ca, const wstep_entry_t *issuing, apr_pool_t *p)
{
    xcep_uri_t uri = { issuing->endpoint.authentication, issuing->endpoint.url,
                       issuing->section->priority > 0 ? issuing->section->priority
                                                      : WSTEP_PRIORITY,
                       issuing->endpoint.renewal_only };

    APR_ARRAY_PUSH((apr_array_header_t *)ca->uris, xcep_uri_t) = uri;
}

/** One CA for each issuer, with the URLs of all its endpoints. */
static apr_array_header_t *make_cas(apr_array_header_t *places, const wstep_entry_t *entry,
                                    apr_pool_t *p)
{
    apr_array_header_t *cas = apr_array_make(p, 4, sizeof(xcep_ca_t));
    int i, j;

    for (i = 0; i < entry->issuing->nelts; ++i) {
        const wstep_entry_t *issuing = APR_ARRAY_IDX(entry->issuing, i, wstep_entry_t *);
        place_t place = { &issuing->endpoint, NULL, cas->nelts };

        for (j = 0; j < places->nelts; ++j) {
            const place_t *other = &APR_ARRAY_IDX(places, j, place_t);
            if (!strcmp(other->endpoint->issuer, issuing->endpoint.issuer)) {
                place.index = other->index;
            }
        }
        if (place.index == cas->nelts) {
            xcep_ca_t *ca = apr_array_push(cas);

            ca->certificate = gh_issuer_certificate_der(gh_issuer_at(issuing->endpoint.ca,
                                                                     apr_time_now()));
            ca->uris = apr_array_make(p, 2, sizeof(xcep_uri_t));
            ca->enroll = 0;
        }
        add_uri(&APR_ARRAY_IDX(cas, place.index, xcep_ca_t), issuing, p);
        APR_ARRAY_PUSH(places, place_t) = place;
    }
    return cas;
}

static int offers(const place_t *place, const wstep_template_t *template)
{
    int i;

    for (i = 0; i < place->templates->nelts; ++i) {
        if (APR_ARRAY_IDX(place->templates, i, const wstep_template_t *) == template) {
            return 1;
        }
    }
    return 0;
}

static int has(const apr_array_header_t *numbers, int number)
{
    int i;

    for (i = 0; i < numbers->nelts; ++i) {
        if (APR_ARRAY_IDX(numbers, i, int) == number) {
            return 1;
        }
    }
    return 0;
}

static int has_entry(const apr_array_header_t *entries, const wstep_template_t *template)
{
    int i;

    for (i = 0; i < entries->nelts; ++i) {
        if (APR_ARRAY_IDX(entries, i, xcep_entry_t).template == template->policy) {
            return 1;
        }
    }
    return 0;
}

/** The CAs that offer a template; the caller may enrol at each. */
static apr_array_header_t *find_cas(const apr_array_header_t *places, apr_array_header_t *cas,
                                    const wstep_template_t *template, apr_pool_t *p)
{
    apr_array_header_t *found = apr_array_make(p, 2, sizeof(int));
    int i;

    for (i = 0; i < places->nelts; ++i) {
        const place_t *place = &APR_ARRAY_IDX(places, i, place_t);

        if (offers(place, template) && !has(found, place->index)) {
            APR_ARRAY_PUSH(found, int) = place->index;
            APR_ARRAY_IDX(cas, place->index, xcep_ca_t).enroll = 1;
        }
    }
    return found;
}

/** @return 1 if a CA is followed by another one, some day or already */
static int is_followed(const apr_array_header_t *places)
{
    int i;

    for (i = 0; i < places->nelts; ++i) {
        if (gh_issuer_next(APR_ARRAY_IDX(places, i, place_t).endpoint->ca)) {
            return 1;
        }
    }
    return 0;
}

/** Who shows a certificate that names nobody is told of what he can renew it by. */
static int may_renew(const wstep_template_t *template, const wstep_caller_t *caller,
                     apr_pool_t *p)
{
    return caller->certificate && !caller->user.name
           && wstep_template_has_issued(template, caller->certificate, p);
}

apr_status_t wstep_policy_make(xcep_policy_t *policy, const wstep_entry_t *entry,
                               const wstep_caller_t *caller,
                               const gh_directory_account_t *account,
                               wstep_catalogue_t *catalogue, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *places = apr_array_make(p, 4, sizeof(place_t));
    apr_array_header_t *entries = apr_array_make(p, 8, sizeof(xcep_entry_t));
    apr_array_header_t *cas = make_cas(places, entry, p);
    int i, j;

    *policy = entry->described;
    for (i = 0; i < places->nelts; ++i) {
        place_t *place = &APR_ARRAY_IDX(places, i, place_t);
        apr_status_t rv = wstep_catalogue_resolve(&place->templates, catalogue,
                                                  place->endpoint->templates, result);

        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    if (account || wstep_catalogue_used(catalogue) || is_followed(places)) {
        policy->changed = apr_time_now() + NEVER_THE_SAME;
    }
    for (i = 0; i < places->nelts; ++i) {
        const apr_array_header_t *templates = APR_ARRAY_IDX(places, i, place_t).templates;

        for (j = 0; j < templates->nelts; ++j) {
            const wstep_template_t *template = APR_ARRAY_IDX(templates, j,
                                                             const wstep_template_t *);
            xcep_entry_t one = { template->policy, NULL, 1,
                                 wstep_template_auto(template, account) };

            if (!has_entry(entries, template)
                && (wstep_template_permits(template, &caller->user, account, p)
                    || may_renew(template, caller, p))) {
                one.cas = find_cas(places, cas, template, p);
                APR_ARRAY_PUSH(entries, xcep_entry_t) = one;
            }
        }
    }
    policy->entries = entries;
    policy->cas = cas;
    return APR_SUCCESS;
}
