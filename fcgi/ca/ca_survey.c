/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * What an issuer needs of its CA, compared with what the gateway says that there is: profiles by
 * the names of IssuerGatewayProfile, and capabilities. A gateway that does not say is believed to
 * have all.
 */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_service.h"
#include "fcgi/ca/cagw_names.h"
#include "issuer/gateway_state.h"
#include "log.h"

#define TIMEOUT apr_time_from_sec(10)

static void found(ca_survey_t *survey, const gh_result_t *result)
{
    gh_gateway_finding_t *finding = apr_palloc(survey->pool, sizeof(*finding));

    finding->number = apr_pstrdup(survey->pool, result->number);
    finding->message = apr_pstrdup(survey->pool, result->message);
    finding->action = apr_pstrdup(survey->pool, result->action);
    APR_ARRAY_PUSH(survey->findings, gh_gateway_finding_t *) = finding;
}

/* Profiles */

static const cagw_profile_t *find_profile(const apr_array_header_t *profiles, const char *id)
{
    int i;

    for (i = 0; i < profiles->nelts; ++i) {
        const cagw_profile_t *profile = APR_ARRAY_IDX(profiles, i, const cagw_profile_t *);

        if (!strcmp(profile->id, id)) {
            return profile;
        }
    }
    return NULL;
}

/** The first that it requires and we never say; or NULL. */
static const char *lacking_of(const ca_issuer_t *issuer, const char *ours,
                              const cagw_profile_t *profile)
{
    const ca_profile_options_t *options = ca_profile_options(issuer, ours);
    int i;

    if (profile->variables->nelts) {
        return APR_ARRAY_IDX(profile->variables, 0, const char *);
    }
    for (i = 0; i < profile->properties->nelts; ++i) {
        const char *name = APR_ARRAY_IDX(profile->properties, i, const char *);

        if (!options || !options->properties || !apr_table_get(options->properties, name)) {
            return name;
        }
    }
    return NULL;
}

static void look_at_profile(ca_survey_t *survey, const apr_array_header_t *profiles,
                            const char *ours, const char *theirs)
{
    const cagw_profile_t *profile = find_profile(profiles, theirs);
    const char *lacking;
    gh_result_t result;

    gh_result_clear(&result);
    if (!profile) {
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "cagw.profile",
                       "Correct IssuerGatewayProfile, or have the gateway's operator add it.",
                       GHNO(1073) "the gateway has no profile \"%s\", which stands for %s", theirs,
                       strcmp(ours, "*") ? ours : "all that are not named");
        found(survey, &result);
        return;
    }
    lacking = lacking_of(survey->service->issuer, ours, profile);
    if (lacking) {
        gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_REQUEST, "cagw.profile",
                       "Say it with property= of IssuerGatewayProfile; or use another profile of "
                       "the gateway.",
                       GHNO(1075) "the gateway's profile \"%s\" requires \"%s\", which is never "
                       "said", theirs, lacking);
        found(survey, &result);
    }
}

static void profiles_read(void *baton, cagw_outcome_t *outcome)
{
    ca_survey_t *survey = baton;
    const apr_hash_t *ours = survey->service->issuer->profiles;
    apr_hash_index_t *index;
    apr_array_header_t *profiles;

    if (outcome->verdict == CAGW_DONE
        && cagw_read_profiles(&profiles, &outcome->reply, survey->pool, &outcome->result)
        == APR_SUCCESS) {
        for (index = apr_hash_first(survey->pool, (apr_hash_t *)ours); index;
             index = apr_hash_next(index)) {
            look_at_profile(survey, profiles, apr_hash_this_key(index), apr_hash_this_val(index));
        }
    }
    survey->done(survey->baton);
}

/* Capabilities */

static void look_at_capabilities(ca_survey_t *survey, const cagw_reply_t *reply)
{
    const ca_issuer_t *issuer = survey->service->issuer;
    const struct {
        const char *name;
        int needed;
        const char *what;
    } capabilities[] = {
        { CAGW_CAN_ENROL, 1, "issue certificates for requests, so that there can be none" },
        { CAGW_CAN_X509, 1, "answer with certificates, so that there can be none" },
        { CAGW_CAN_SUBJECT, 1, "take subjects that are authorised here" },
        { CAGW_CAN_SANS, 1, "take alternative names that are authorised here" },
        { CAGW_CAN_REVOKE, 1, "revoke, so that what is revoked here is not revoked there" },
        { CAGW_CAN_HOLD, 1, "suspend certificates" },
        { CAGW_CAN_RELEASE, 1, "end the suspension of certificates" },
        { CAGW_CAN_EVENTS, issuer->searchable || issuer->events.on,
          "tell of its certificates; say IssuerSearch off and IssuerEvents off" },
    };
    gh_result_t result;
    apr_size_t i;

    for (i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); ++i) {
        if (!capabilities[i].needed || cagw_read_capability(reply, capabilities[i].name) != 0) {
            continue;
        }
        gh_result_clear(&result);
        gh_result_fail(&result, APR_ENOTIMPL, GH_FAILURE_REQUEST, "cagw.capability",
                       "Do without it, or ask the gateway's operator.",
                       GHNO(1074) "the CA says that it cannot %s (%s)", capabilities[i].what,
                       capabilities[i].name);
        found(survey, &result);
    }
}

static void capabilities_read(void *baton, cagw_outcome_t *outcome)
{
    ca_survey_t *survey = baton;

    if (outcome->verdict == CAGW_DONE) {
        look_at_capabilities(survey, &outcome->reply);
    }
    if (apr_hash_count(survey->service->issuer->profiles) == 0) {
        survey->done(survey->baton);
        return;
    }
    cagw_call_about(&survey->service->gateway, CAGW_PATH_PROFILES, NULL, TIMEOUT, profiles_read,
                    survey, survey->pool);
}

void ca_survey(ca_survey_t *survey)
{
    survey->findings = apr_array_make(survey->pool, 2, sizeof(gh_gateway_finding_t *));
    cagw_call_about(&survey->service->gateway, CAGW_PATH_CAPABILITIES, NULL, TIMEOUT,
                    capabilities_read, survey, survey->pool);
}
