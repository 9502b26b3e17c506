/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>

#include "issuer/authorisation.h"
#include "log.h"
#include "status.h"
#include "store/enrolments.h"

struct gh_authorisation {
    const char *protocol;
    const char *location;
    const char *issuer;
    const char *profile;
    const char *subject;
    const char *rule;
    const char *challenge_id;
    gh_bytes_t key_sha256;
    gh_bytes_t request_sha256;
    const gh_plan_t *plan;
    int needs_approval;
};

/* The one place where an authorisation comes into being. */
static gh_authorisation_t *make(const char *protocol, const char *location, const char *issuer,
                                const char *profile, const char *rule, const gh_plan_t *plan,
                                apr_pool_t *p)
{
    gh_authorisation_t *authorisation = apr_pcalloc(p, sizeof(*authorisation));

    authorisation->protocol = protocol;
    authorisation->location = location;
    authorisation->issuer = issuer;
    authorisation->profile = profile;
    authorisation->rule = rule;
    authorisation->plan = plan;
    authorisation->subject = gh_plan_subject_text(plan);
    authorisation->key_sha256 = gh_plan_key_sha256(plan);
    return authorisation;
}

/* Asks one after the other. The refusal that is reported is that of the last one asked, unless one
 * could not tell: then a later try may succeed. */
static apr_status_t ask(const gh_enrolment_request_t *request,
                        const apr_array_header_t *authorisers, gh_store_t *store,
                        gh_grant_t *grant, apr_pool_t *p, gh_result_t *result)
{
    gh_result_t unavailable;
    int cannot_tell = 0;
    int i;

    gh_result_clear(&unavailable);
    if (!authorisers || authorisers->nelts == 0) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "challenge.unconfigured",
                              "Configure a challenge for this location.",
                              GHNO(0018) "nothing is configured that could authorise a request "
                              "here");
    }
    for (i = 0; i < authorisers->nelts; ++i) {
        const gh_authoriser_t *authoriser = APR_ARRAY_IDX(authorisers, i, gh_authoriser_t *);
        apr_status_t rv;

        memset(grant, 0, sizeof(*grant));
        rv = authoriser->check(authoriser, store, request, grant, p, result);
        if (rv == APR_SUCCESS) {
            return APR_SUCCESS;
        }
        if (rv != GH_EREFUSED && result) {
            unavailable = *result;
            cannot_tell = 1;
        }
    }
    if (cannot_tell) {
        *result = unavailable;
        return unavailable.status;
    }
    return GH_EREFUSED;
}

apr_status_t gh_authorise(gh_authorisation_t **authorisation,
                          const gh_enrolment_request_t *request,
                          const apr_array_header_t *authorisers, gh_store_t *store,
                          apr_pool_t *p, gh_result_t *result)
{
    gh_grant_t grant;
    gh_plan_t *plan;
    apr_status_t rv;

    *authorisation = NULL;
    rv = ask(request, authorisers, store, &grant, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_profile_apply(&plan, request->profile, request->csr, &request->context, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *authorisation = make(request->protocol, request->location, request->issuer,
                          gh_profile_name(request->profile), grant.rule, plan, p);
    (*authorisation)->challenge_id = grant.challenge_id;
    (*authorisation)->request_sha256 = gh_csr_info_sha256(request->csr);
    (*authorisation)->needs_approval = gh_profile_needs_approval(request->profile);
    return APR_SUCCESS;
}

apr_status_t gh_authorise_approved(gh_authorisation_t **authorisation,
                                   const gh_enrolment_record_t *record, apr_pool_t *p,
                                   gh_result_t *result)
{
    gh_plan_t *plan;
    apr_status_t rv;

    *authorisation = NULL;
    if (record->state != GH_ENROLMENT_APPROVED || !record->plan.length) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, "approval", NULL,
                              GHNO(0019) "enrolment %s is %s, not approved", record->id,
                              gh_enrolment_state_name(record->state));
    }
    rv = gh_plan_decode(&plan, record->plan, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *authorisation = make(record->protocol, record->location, record->issuer, record->profile,
                          "approval", plan, p);
    (*authorisation)->request_sha256 = record->request_sha256;
    return APR_SUCCESS;
}

apr_status_t gh_authorise_own(gh_authorisation_t **authorisation, const char *purpose,
                              const char *issuer, const gh_profile_t *profile, EVP_PKEY *key,
                              const char *subject, apr_pool_t *p, gh_result_t *result)
{
    gh_plan_t *plan;
    apr_status_t rv;

    *authorisation = NULL;
    rv = gh_profile_apply_own(&plan, profile, key, subject, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *authorisation = make("internal", apr_pstrdup(p, purpose), issuer, gh_profile_name(profile),
                          "own", plan, p);
    return APR_SUCCESS;
}

const gh_plan_t *gh_authorisation_plan(const gh_authorisation_t *authorisation)
{
    return authorisation->plan;
}

const char *gh_authorisation_location(const gh_authorisation_t *authorisation)
{
    return authorisation->location;
}

const char *gh_authorisation_protocol(const gh_authorisation_t *authorisation)
{
    return authorisation->protocol;
}

const char *gh_authorisation_issuer(const gh_authorisation_t *authorisation)
{
    return authorisation->issuer;
}

const char *gh_authorisation_profile(const gh_authorisation_t *authorisation)
{
    return authorisation->profile;
}

const char *gh_authorisation_subject(const gh_authorisation_t *authorisation)
{
    return authorisation->subject;
}

gh_bytes_t gh_authorisation_key_sha256(const gh_authorisation_t *authorisation)
{
    return authorisation->key_sha256;
}

gh_bytes_t gh_authorisation_request_sha256(const gh_authorisation_t *authorisation)
{
    return authorisation->request_sha256;
}

const char *gh_authorisation_rule(const gh_authorisation_t *authorisation)
{
    return authorisation->rule;
}

const char *gh_authorisation_challenge_id(const gh_authorisation_t *authorisation)
{
    return authorisation->challenge_id;
}

int gh_authorisation_needs_approval(const gh_authorisation_t *authorisation)
{
    return authorisation->needs_approval;
}
