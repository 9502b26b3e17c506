/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The part of check that looks at what OCSP answers from: the feeder, its sources, the indexes. */

#include "ctl_verdict.h"

#include <string.h>

#include <apr_strings.h>

#include "ctl_ocsp.h"
#include "status.h"

#define RULE "check"

static const char *age_of(apr_time_t time, apr_pool_t *p)
{
    return apr_psprintf(p, "%" APR_INT64_T_FMT " s", apr_time_sec(apr_time_now() - time));
}

/* One that runs has written lately. */
static int feeder_runs(ctl_check_t *check, const ctl_authority_t *authority,
                       const ocsp_state_t *state, apr_status_t rv)
{
    const char *name = apr_pstrcat(check->p, "ocsp.", authority->name, ".feeder", NULL);
    gh_result_t result;

    gh_result_clear(&result);
    if (rv != APR_SUCCESS) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                       "Start httpd, which starts gatehouse-ocsp-feeder; its error log says why if "
                       "it cannot.",
                       GHNO(0719) "the feeder has not said anything of %s in %s yet",
                       authority->name, check->ctl->config->ocsp_directory);
    }
    else if (apr_time_now() - state->written > CTL_FEEDER_SILENT) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                       "Start httpd; if it runs, its error log says why gatehouse-ocsp-feeder does "
                       "not.",
                       GHNO(0720) "the feeder has written nothing of %s for %s", authority->name,
                       age_of(state->written, check->p));
    }
    else {
        ctl_verdict_ok(check, name, "wrote %s ago; index %" APR_INT64_T_FMT " made at %s",
                       age_of(state->written, check->p), state->generation,
                       gh_time_text(check->p, state->built));
        return 1;
    }
    ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    return 0;
}

/* What the feeder says of a failure, in its own words. */
static void take_words(gh_result_t *result, const char *of, const char *number,
                       const char *message, const char *action)
{
    gh_result_clear(result);
    apr_cpystrn(result->number, number, sizeof(result->number));
    apr_snprintf(result->message, sizeof(result->message), "%s: %s", of,
                 message != NULL ? message : "");
    apr_cpystrn(result->action, action != NULL ? action : "", sizeof(result->action));
}

static void check_source(ctl_check_t *check, const ctl_authority_t *authority,
                         const ocsp_source_state_t *source)
{
    const char *name = apr_pstrcat(check->p, "ocsp.", authority->name, ".", source->kind, NULL);
    const char *of = source->url != NULL ? source->url : "the store";
    gh_result_t result;

    if (source->gh != NULL) {
        /* what was fetched before is still good, unless a CRL has ended since */
        take_words(&result, of, source->gh, source->message, source->action);
        ctl_verdict(check, name, source->last_success == 0 || source->warn
                    ? CTL_VERDICT_ERROR : CTL_VERDICT_WARNING, &result);
    }
    else if (source->warn) {
        gh_result_clear(&result);
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "See why the CA publishes no newer one.",
                       GHNO(0721) "%s: the CRL ends at %s", of,
                       gh_time_text(check->p, source->next_update));
        ctl_verdict(check, name, source->next_update <= apr_time_now() ? CTL_VERDICT_ERROR
                                                                       : CTL_VERDICT_WARNING,
                    &result);
    }
    else if (source->last_success != 0) {
        /* of one that was not read yet the index tells */
        ctl_verdict_ok(check, name, "%s: read at %s, %" APR_INT64_T_FMT " entries%s%s", of,
                       gh_time_text(check->p, source->last_success), source->entries,
                       source->next_update != 0 ? "; good until " : "",
                       gh_time_text(check->p, source->next_update));
    }
}

static void check_index(ctl_check_t *check, const ctl_authority_t *authority,
                        const ocsp_state_t *state)
{
    const char *name = apr_pstrcat(check->p, "ocsp.", authority->name, ".index", NULL);
    apr_interval_time_t most = authority->policy.max_stale;
    gh_view_state_t known;
    gh_result_t result;
    gh_view_t *view;

    gh_result_clear(&result);
    if (ctl_ocsp_view(&view, check->ctl, authority, GH_SOURCE_FILES, NULL, check->p, &result)
        != APR_SUCCESS) {
        if (state != NULL && state->gh != NULL) {
            take_words(&result, "no index can be made", state->gh, state->message, state->action);
        }
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    gh_view_state(view, &known);
    if (most > 0 && apr_time_now() - ctl_ocsp_confirmed(&known) > most) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Start httpd, or see what its error log says of the source.",
                       GHNO(0722) "what is known of %s was last confirmed %s ago: answers are "
                       "tryLater", authority->name, age_of(ctl_ocsp_confirmed(&known), check->p));
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    ctl_verdict_ok(check, name, "generation %" APR_INT64_T_FMT ", %" APR_UINT64_T_FMT
                   " certificates, %" APR_UINT64_T_FMT " revoked; confirmed %s ago",
                   known.info.generation, known.info.issued + known.info.revoked,
                   known.info.revoked, age_of(ctl_ocsp_confirmed(&known), check->p));
}

void ctl_check_ocsp_status(ctl_check_t *check)
{
    const apr_array_header_t *authorities = check->ctl->config->authorities;
    int i, j;

    for (i = 0; i < authorities->nelts; i++) {
        const ctl_authority_t *authority = APR_ARRAY_IDX(authorities, i, const ctl_authority_t *);
        ocsp_state_t *state = NULL;
        apr_status_t rv = ctl_ocsp_state(&state, check->ctl, authority, check->p);

        if (feeder_runs(check, authority, state, rv)) {
            for (j = 0; j < state->count; j++) {
                check_source(check, authority, &state->sources[j]);
            }
        }
        check_index(check, authority, state);
    }
}
