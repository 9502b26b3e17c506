/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_exchange.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/sha.h>

#include "issuer/renewal.h"
#include "status.h"

#define PROTOCOL "wstep"

/** Most jobs of one enrolment that follow each other: asked, enrolled, confirmed. */
#define AWAIT_JOBS 3

/** Of requests, so that clients may take them for numbers of 32 bits with a sign. */
#define ID_BITS 31

/**
 * The RequestID: a number, the same for the same request of the same caller for the same account.
 * It is no secret: a row is found by it and its owner.
 */
static const char *make_id(const wstep_exchange_t *x)
{
    const char *other = x->way == WSTEP_ON_BEHALF && x->subject ? x->subject->dn : "";
    gh_bytes_t info = gh_csr_info_sha256(x->token->csr);
    apr_size_t length = x->owner.length + info.length;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    char *all = apr_palloc(x->p, length + strlen(other));
    apr_uint32_t number;

    memcpy(all, x->owner.data, x->owner.length);
    memcpy(all + x->owner.length, info.data, info.length);
    memcpy(all + length, other, strlen(other));
    SHA256((const unsigned char *)all, length + strlen(other), digest);
    number = ((apr_uint32_t)digest[0] << 24 | (apr_uint32_t)digest[1] << 16
              | (apr_uint32_t)digest[2] << 8 | digest[3]) >> (32 - ID_BITS);
    return apr_psprintf(x->p, "%u", number ? number : 1);
}

/* The one who authorises: all was decided before, and this says so to the ledger. */

static apr_status_t grant(const gh_authoriser_t *authoriser, gh_store_t *store,
                          const gh_enrolment_request_t *request, gh_grant_t *grant,
                          apr_pool_t *p, gh_result_t *result)
{
    const wstep_exchange_t *x = authoriser->data;

    if (!x->given || !x->template) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "template", NULL,
                              GHNO(1440) "nothing was decided about the request");
    }
    grant->rule = x->way == WSTEP_ON_BEHALF ? "template.agent" : "template";
    grant->message = apr_pstrcat(p, "template ", x->template->policy->name,
                                 x->way == WSTEP_ON_BEHALF ? ", on behalf of " : "",
                                 x->way == WSTEP_ON_BEHALF ? x->subject_user.written : "", NULL);
    grant->given = x->given;
    return APR_SUCCESS;
}

static const char *user_text(const wstep_exchange_t *x)
{
    const wstep_user_t *user = &x->caller->user;

    if (!user->name) {
        return NULL;
    }
    return user->domain ? apr_pstrcat(x->p, user->name, "@", user->domain->name, NULL)
                        : user->name;
}

static void fill_request(gh_enrolment_request_t *enrolment, const wstep_exchange_t *x)
{
    memset(enrolment, 0, sizeof(*enrolment));
    enrolment->protocol = PROTOCOL;
    enrolment->location = x->endpoint->path;
    enrolment->tenant = x->endpoint->tenant;
    enrolment->issuer = x->issuer;
    enrolment->profile = x->profile;
    enrolment->transaction = x->id;
    enrolment->signer_sha256 = x->owner;
    enrolment->signer = x->way == WSTEP_RENEWS ? x->token->signer : NULL;
    enrolment->csr = x->token->csr;
    enrolment->sealer = x->services->sealer;
    enrolment->client = x->message->client;
    enrolment->user = user_text(x);
    enrolment->request_id = x->message->id;
    enrolment->context.allowances = x->endpoint->allowances;
    enrolment->context.expand = x->message->expand;
    enrolment->context.expand_baton = x->message->expand_baton;
}

static apr_status_t authorise_and_enrol(wstep_exchange_t *x,
                                        const gh_enrolment_request_t *enrolment,
                                        gh_enrolment_outcome_t *outcome)
{
    apr_array_header_t *authorisers = apr_array_make(x->p, 1, sizeof(gh_authoriser_t *));
    gh_authoriser_t authoriser = { .name = "template", .data = x, .check = grant };
    gh_authorisation_t *authorisation;
    gh_renewal_policy_t policy;
    apr_status_t rv;

    APR_ARRAY_PUSH(authorisers, gh_authoriser_t *) = &authoriser;
    if (x->way == WSTEP_RENEWS) {
        policy = *x->endpoint->renewal;
        policy.challenge = 1;           /* asks the authoriser, who gives the names */
        rv = gh_authorise_renewal(&authorisation, enrolment, &policy, authorisers,
                                  x->services->store, x->p, x->result);
    }
    else {
        rv = gh_authorise(&authorisation, enrolment, authorisers, x->services->store, x->p,
                          x->result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return gh_ledger_enrol(x->services->ledger, authorisation, enrolment, x->message->event,
                           outcome, x->p, x->result);
}

/** What was permitted meanwhile is issued here and now, rather than by who looks for it. */
static void issue_permitted(wstep_exchange_t *x, const gh_enrolment_outcome_t *outcome)
{
    gh_audit_event_t *event = NULL;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_ledger_issue_one(x->services->ledger, outcome->id, &event, x->p, &result)
            == APR_SUCCESS && event && x->services->audit) {
        x->services->audit(event, x->p);
    }
}

static int is_at_worker(const gh_enrolment_outcome_t *outcome)
{
    return outcome->queue && (outcome->state == GH_ENROLMENT_SUBMITTED
                              || outcome->state == GH_ENROLMENT_CONFIRMING);
}

/** Each job on the way is waited for once, for a bounded time. */
static void await_outcome(wstep_exchange_t *x, const gh_enrolment_request_t *enrolment,
                          gh_enrolment_outcome_t *outcome)
{
    gh_enrolment_outcome_t now;
    int round;

    for (round = 0; round < AWAIT_JOBS && is_at_worker(outcome) && x->message->await; ++round) {
        const char *waited = outcome->queue;
        apr_status_t rv;

        x->message->await(x->message->await_baton, outcome->queue, outcome->id);
        memset(&now, 0, sizeof(now));
        rv = gh_ledger_repeat(x->services->ledger, enrolment, &now, x->p, NULL);
        if (rv == APR_SUCCESS && now.state == GH_ENROLMENT_APPROVED && now.id) {
            issue_permitted(x, &now);
            memset(&now, 0, sizeof(now));
            rv = gh_ledger_repeat(x->services->ledger, enrolment, &now, x->p, NULL);
        }
        if (rv != APR_SUCCESS) {
            return;
        }
        if (now.state == outcome->state && now.queue && !strcmp(now.queue, waited)) {
            return;
        }
        *outcome = now;
    }
}

apr_status_t wstep_exchange_issue(wstep_exchange_t *x, gh_enrolment_outcome_t *outcome)
{
    gh_enrolment_request_t enrolment;
    apr_status_t rv;

    rv = wstep_token_read(&x->token, x->request->token, x->services->decoding, x->p, x->result);
    if (rv != APR_SUCCESS) {
        x->kind = rv == APR_EINVAL ? WSTEP_FAULT_BAD_REQUEST
            : x->result->failure == GH_FAILURE_ALGORITHM ? WSTEP_FAULT_KEY_LENGTH
                                                         : WSTEP_FAULT_SIGNATURE;
        return rv;
    }
    x->message->event->subject = gh_csr_subject_text(x->token->csr);
    x->message->event->algorithms = gh_csr_signature_algorithm(x->token->csr);
    rv = wstep_exchange_decide(x);
    if (rv == APR_SUCCESS) {
        rv = wstep_exchange_owner(x);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    x->id = make_id(x);
    x->message->event->event = x->way == WSTEP_RENEWS ? "renew" : "enrol";
    x->message->event->transaction = x->id;
    x->message->event->profile = gh_profile_name(x->profile);
    fill_request(&enrolment, x);
    rv = gh_ledger_repeat(x->services->ledger, &enrolment, outcome, x->p, x->result);
    if (rv == APR_SUCCESS) {
        x->message->event->rule = "repeat";
    }
    else if (rv == APR_NOTFOUND) {
        gh_result_clear(x->result);
        rv = authorise_and_enrol(x, &enrolment, outcome);
        /* the same request may have come on another connection meanwhile */
        if (rv == GH_EREFUSED
            && gh_ledger_repeat(x->services->ledger, &enrolment, outcome, x->p, NULL)
                   == APR_SUCCESS) {
            x->message->event->rule = "repeat";
            rv = APR_SUCCESS;
        }
    }
    if (rv == APR_SUCCESS) {
        await_outcome(x, &enrolment, outcome);
    }
    return rv;
}

/* QueryTokenStatus */

static void add_profile(apr_array_header_t *names, const gh_profile_t *profile)
{
    int i;

    for (i = 0; profile && i < names->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(names, i, const char *), gh_profile_name(profile))) {
            return;
        }
    }
    if (profile) {
        APR_ARRAY_PUSH(names, const char *) = gh_profile_name(profile);
    }
}

/** Profiles that a request at this endpoint may have got. */
static const apr_array_header_t *profiles_of(const wstep_endpoint_t *endpoint, apr_pool_t *p)
{
    apr_array_header_t *names = apr_array_make(p, 4, sizeof(const char *));
    int i, j;

    for (i = 0; i < endpoint->templates->nelts; ++i) {
        const wstep_template_t *template = APR_ARRAY_IDX(endpoint->templates, i,
                                                         const wstep_template_t *);

        add_profile(names, template->profile);
        for (j = 0; template->usages && j < template->usages->nelts; ++j) {
            add_profile(names, APR_ARRAY_IDX(template->usages, j, wstep_usage_t).profile);
        }
    }
    return names;
}

/** Looks at one issuer. @return as gh_ledger_poll() */
static apr_status_t poll_issuer(wstep_exchange_t *x, const apr_array_header_t *profiles,
                                gh_enrolment_outcome_t *outcome)
{
    apr_status_t rv = APR_NOTFOUND;
    int i;

    for (i = 0; rv == APR_NOTFOUND && i < profiles->nelts; ++i) {
        gh_result_clear(x->result);
        x->message->event->profile = APR_ARRAY_IDX(profiles, i, const char *);
        rv = gh_ledger_poll(x->services->ledger, PROTOCOL, x->endpoint->tenant, x->issuer,
                            APR_ARRAY_IDX(profiles, i, const char *), x->id, x->owner, outcome,
                            x->p, x->result);
    }
    return rv;
}

apr_status_t wstep_exchange_query(wstep_exchange_t *x, gh_enrolment_outcome_t *outcome)
{
    const apr_array_header_t *profiles = profiles_of(x->endpoint, x->p);
    gh_issuer_t *issuer;
    apr_status_t rv;

    x->message->event->event = "poll";
    x->message->event->transaction = x->request->request_id;
    x->id = x->request->request_id;
    rv = wstep_exchange_caller(x->services, x->caller, &x->account, x->p, x->result);
    if (rv == APR_SUCCESS) {
        rv = wstep_exchange_owner(x);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = APR_NOTFOUND;
    /* another CA may have taken over since the request was made */
    for (issuer = x->endpoint->ca; rv == APR_NOTFOUND && issuer; issuer = gh_issuer_next(issuer)) {
        x->ca = issuer;
        x->issuer = gh_issuer_name(issuer);
        rv = poll_issuer(x, profiles, outcome);
    }
    x->message->event->issuer = x->issuer;
    if (rv == APR_NOTFOUND) {
        x->message->event->profile = NULL;
        gh_result_clear(x->result);
        gh_result_fail(x->result, rv, GH_FAILURE_NOT_FOUND, "request.id",
                       "Ask as who has made the request, with the RequestID of the answer.",
                       GHNO(1441) "there is no request %.40s of this caller here", x->id);
        x->kind = WSTEP_FAULT_NO_REQUEST;
    }
    else if (rv == APR_SUCCESS) {
        x->message->event->rule = "poll";
    }
    return rv;
}
