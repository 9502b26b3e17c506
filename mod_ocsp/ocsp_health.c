/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Whether each authority is answered for, for gatehouse-health. */

#include <apr_strings.h>

#include "mod_ocsp/ocsp_child.h"
#include "status/view.h"

static void add(gatehouse_health_t *health, const ocsp_section_t *section, const char *what, int ok,
                const char *message, apr_pool_t *p)
{
    ocsp_gatehouse()->add_health(health, apr_psprintf(p, "ocsp.%s.%s", section->name, what), ok,
                                 message);
}

/** @return 1 if there is an index */
static int check_index(gatehouse_health_t *health, const ocsp_section_t *section,
                       const gh_view_state_t *state, apr_pool_t *p)
{
    if (!state->there) {
        add(health, section, "index", 0, "there is none yet: every answer is tryLater", p);
        return 0;
    }
    add(health, section, "index", 1,
        apr_psprintf(p, "generation %" APR_INT64_T_FMT ", %" APR_UINT64_T_FMT " issued, %"
                     APR_UINT64_T_FMT " revoked", state->info.generation, state->info.issued,
                     state->info.revoked), p);
    return 1;
}

static void check_age(gatehouse_health_t *health, const ocsp_section_t *section,
                      const gh_view_state_t *state, apr_time_t now, apr_pool_t *p)
{
    const ocsp_policy_t *policy = ocsp_authority_policy(section->authority);
    apr_interval_time_t age = now - state->progress.synced_at;
    gh_result_t result;
    int ended = state->info.next_update && now >= state->info.next_update;

    gh_result_clear(&result);
    if (ocsp_decide_fresh(section->authority, state, now, &result)) {
        add(health, section, "fresh", 1,
            apr_psprintf(p, "the source was heard of %" APR_TIME_T_FMT " s ago",
                         apr_time_sec(age > 0 ? age : 0)), p);
    }
    else {
        add(health, section, "fresh", 0,
            apr_psprintf(p, "every answer is tryLater: %s", result.message), p);
    }
    if (state->info.next_update) {
        add(health, section, "crl", !ended || policy->serve_expired,
            apr_psprintf(p, "%s at %s", ended ? "it has ended" : "it ends",
                         gh_time_text(p, state->info.next_update)), p);
    }
}

static void check_signer(gatehouse_health_t *health, const ocsp_section_t *section, apr_time_t now,
                         apr_pool_t *p)
{
    const ocsp_signer_set_t *set;
    const ocsp_signer_t *signer = NULL;
    gh_result_t result;

    gh_result_clear(&result);
    if (ocsp_signers_acquire(section->set, &set, &result) == APR_SUCCESS) {
        signer = ocsp_signer_choose(set, NULL, 0, now);
        if (signer) {
            add(health, section, "signer", 1,
                apr_psprintf(p, "%s, valid for %" APR_TIME_T_FMT " more days", signer->kind,
                             apr_time_sec(signer->not_after - now) / 86400), p);
        }
        ocsp_signers_release(set);
    }
    if (!signer) {
        add(health, section, "signer", 0,
            *result.message ? result.message : "none is valid now", p);
    }
}

void ocsp_health(gatehouse_health_t *health, apr_pool_t *p)
{
    const ocsp_child_t *child = ocsp_child();
    apr_time_t now = apr_time_now();
    gh_view_state_t state;
    int i;

    if (!child) {
        ocsp_gatehouse()->add_health(health, "ocsp", 0, "this process cannot answer OCSP");
        return;
    }
    for (i = 0; i < child->config->sections->nelts; ++i) {
        const ocsp_section_t *section = APR_ARRAY_IDX(child->config->sections, i,
                                                      ocsp_section_t *);

        gh_view_state(ocsp_authority_view(section->authority), &state);
        if (check_index(health, section, &state, p)) {
            check_age(health, section, &state, now, p);
        }
        check_signer(health, section, now, p);
    }
}
