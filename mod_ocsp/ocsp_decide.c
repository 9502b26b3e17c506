/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <openssl/ocsp.h>

#include "log.h"
#include "mod_ocsp/ocsp_authority.h"
#include "status.h"
#include "store/certificates.h"

/* What is said of a certificate. "Good" from old data is the one unforgivable fault: where it is in
 * doubt whether what is known is still true, the answer is tryLater. */

static void try_later(ocsp_verdict_t *verdict, gh_result_t *result, const char *rule,
                      const char *what, const char *name)
{
    verdict->ocsp = OCSP_TRY_LATER;
    gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, rule,
                   "See what was logged about the source of this authority: the store, or its CRLs "
                   "and lists.",
                   GHNO(0576) "authority %s %s", name, what);
}

/** What an answer can say: GeneralizedTime is in seconds here (RFC 9919 4.1.3). */
static apr_time_t whole_seconds(apr_time_t time)
{
    return time - time % APR_USEC_PER_SEC;
}

/** @return 0 if what is known is not to be served */
static int set_times(const ocsp_authority_t *authority, const gh_view_state_t *state,
                     apr_time_t now, ocsp_verdict_t *verdict, gh_result_t *result)
{
    const ocsp_policy_t *policy = ocsp_authority_policy(authority);
    const char *name = ocsp_authority_name(authority);
    apr_time_t crl_end = state->info.next_update;
    apr_time_t synced = state->progress.synced_at;
    int has_crl = state->info.this_update != 0;

    if (!state->there || !synced) {
        try_later(verdict, result, "ocsp.unsynchronised", "knows nothing of its certificates yet",
                  name);
        return 0;
    }
    if (policy->max_stale && now - synced > policy->max_stale) {
        try_later(verdict, result, "ocsp.stale",
                  "was not synchronised with its source for longer than OCSPMaxStale", name);
        return 0;
    }
    if (crl_end && now >= crl_end && !policy->serve_expired) {
        try_later(verdict, result, "ocsp.expired", "has a CRL that is past its nextUpdate", name);
        return 0;
    }
    verdict->this_update = has_crl ? state->info.this_update : synced;
    if (verdict->this_update > now) {
        verdict->this_update = now;
    }
    if (policy->next_update == OCSP_NEXT_UPDATE_OF_CRL) {
        verdict->next_update = crl_end;
    }
    else if (policy->next_update) {
        verdict->next_update = (has_crl ? now : verdict->this_update) + policy->next_update;
    }
    if (crl_end && now >= crl_end) {
        verdict->next_update = 0;
    }
    else if (crl_end && verdict->next_update > crl_end) {
        verdict->next_update = crl_end;
    }
    verdict->this_update = whole_seconds(verdict->this_update);
    verdict->next_update = whole_seconds(verdict->next_update);
    if (verdict->next_update && verdict->next_update <= now) {
        try_later(verdict, result, "ocsp.stale",
                  "was not synchronised with its source for longer than OCSPNextUpdate", name);
        return 0;
    }
    return 1;
}

int ocsp_decide_fresh(const ocsp_authority_t *authority, const gh_view_state_t *state,
                      apr_time_t now, gh_result_t *result)
{
    ocsp_verdict_t verdict = { .reason = GH_REASON_NONE };

    return set_times(authority, state, now, &verdict, result);
}

static void set_cutoff(const ocsp_authority_t *authority, const gh_view_state_t *state,
                       apr_time_t now, ocsp_verdict_t *verdict)
{
    const ocsp_policy_t *policy = ocsp_authority_policy(authority);

    switch (policy->cutoff) {
    case OCSP_CUTOFF_NONE:
        break;
    case OCSP_CUTOFF_CA:
        verdict->cutoff = ocsp_authority_ca_start(authority);
        break;
    case OCSP_CUTOFF_DATE:
        verdict->cutoff = policy->cutoff_date;
        break;
    case OCSP_CUTOFF_RETENTION:
        verdict->cutoff = whole_seconds(now - policy->cutoff_retention);
        break;
    case OCSP_CUTOFF_CRL:
        verdict->cutoff = state->info.expired_on_crl;
        break;
    }
}

/** It may be issued at any moment, or has been and is not known here yet. */
static void shorten(const ocsp_authority_t *authority, apr_time_t now, ocsp_verdict_t *verdict)
{
    apr_interval_time_t life = ocsp_authority_policy(authority)->unknown_next_update;

    if (life && verdict->next_update > whole_seconds(now + life)) {
        verdict->next_update = whole_seconds(now + life);
    }
}

/** @param possible 0: no certificate can have the serial, so what is known says nothing of it */
static void set_unknown(const ocsp_authority_t *authority, int possible, apr_time_t now,
                        ocsp_verdict_t *verdict, gh_result_t *result)
{
    ocsp_if_unknown_t if_unknown = ocsp_authority_policy(authority)->if_unknown;

    /* A CRL may have revoked one that RFC 5280 does not permit: that is not kept, so never good. */
    if (!possible && if_unknown == OCSP_UNKNOWN_GOOD) {
        if_unknown = OCSP_UNKNOWN_UNKNOWN;
    }
    switch (if_unknown) {
    case OCSP_UNKNOWN_UNKNOWN:
        verdict->status = V_OCSP_CERTSTATUS_UNKNOWN;
        shorten(authority, now, verdict);
        break;
    case OCSP_UNKNOWN_GOOD:
        verdict->status = V_OCSP_CERTSTATUS_GOOD;
        break;
    case OCSP_UNKNOWN_REVOKED:
        /* RFC 6960 2.2: certificateHold, 1 January 1970, and the extension that says so */
        verdict->status = V_OCSP_CERTSTATUS_REVOKED;
        verdict->reason = OCSP_REVOKED_STATUS_CERTIFICATEHOLD;
        verdict->extended_revoke = 1;
        shorten(authority, now, verdict);
        break;
    case OCSP_UNKNOWN_UNAUTHORIZED:
        verdict->ocsp = OCSP_UNAUTHORIZED;
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_NOT_FOUND, "ocsp.unknown",
                       "Nothing needs to be done: OCSPUnknown unauthorized says so.",
                       GHNO(0577) "authority %s does not know the certificate",
                       ocsp_authority_name(authority));
        break;
    }
}

void ocsp_decide(ocsp_authority_t *authority, gh_bytes_t serial, apr_time_t now,
                 ocsp_verdict_t *verdict, gh_result_t *result)
{
    gh_view_t *view = ocsp_authority_view(authority);
    gh_view_state_t state;
    gh_known_t known;

    memset(verdict, 0, sizeof(*verdict));
    memset(&state, 0, sizeof(state));
    memset(&known, 0, sizeof(known));
    verdict->reason = GH_REASON_NONE;
    if (view && serial.length) {
        gh_view_find(view, serial, &known, &state);
    }
    else if (view) {
        gh_view_state(view, &state);
    }
    if (!set_times(authority, &state, now, verdict, result)) {
        return;
    }
    set_cutoff(authority, &state, now, verdict);
    verdict->version = known.version;
    verdict->change = state.progress.change;
    switch (known.state) {
    case GH_KNOWN_GOOD:
        verdict->status = V_OCSP_CERTSTATUS_GOOD;
        break;
    case GH_KNOWN_REVOKED:
    case GH_KNOWN_HELD:
        verdict->status = V_OCSP_CERTSTATUS_REVOKED;
        verdict->reason = known.state == GH_KNOWN_HELD ? OCSP_REVOKED_STATUS_CERTIFICATEHOLD
            : known.reason == OCSP_REVOKED_STATUS_UNSPECIFIED ? GH_REASON_NONE : known.reason;
        verdict->revoked_at = known.revoked_at;
        verdict->invalid_from = known.invalid_from;
        break;
    case GH_KNOWN_NOT:
        set_unknown(authority, serial.length > 0, now, verdict, result);
        break;
    }
}
