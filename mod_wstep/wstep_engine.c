/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_engine.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "mod_wstep/wstep_cmc.h"
#include "mod_wstep/wstep_exchange.h"
#include "mod_wstep/wstep_holder.h"
#include "mod_wstep/wstep_ra.h"
#include "status.h"
#include "x509/ca.h"

#define LANGUAGE "en-US"

/** When a client is told to ask again. */
#define PENDING_SPAN apr_time_from_sec(3600)

struct wstep_engine {
    const wstep_services_t *services;
    apr_hash_t *ras;                /* wstep_ra_t * by name of the issuer */
};

wstep_engine_t *wstep_engine_create(const wstep_services_t *services, apr_pool_t *p)
{
    wstep_engine_t *engine = apr_pcalloc(p, sizeof(*engine));

    engine->services = services;
    engine->ras = apr_hash_make(p);
    return engine;
}

apr_status_t wstep_engine_add_issuer(wstep_engine_t *engine, gh_issuer_t *issuer,
                                     const gh_profile_t *profile, apr_pool_t *p)
{
    wstep_ra_t *ra;

    if (apr_hash_get(engine->ras, gh_issuer_name(issuer), APR_HASH_KEY_STRING)) {
        return APR_SUCCESS;
    }
    ra = wstep_ra_create(issuer, profile, engine->services, p);
    if (!ra) {
        return APR_ENOMEM;
    }
    apr_hash_set(engine->ras, gh_issuer_name(issuer), APR_HASH_KEY_STRING, ra);
    return APR_SUCCESS;
}

void wstep_engine_prepare(wstep_engine_t *engine)
{
    apr_hash_index_t *hi;
    apr_pool_t *p;

    if (apr_pool_create(&p, NULL) != APR_SUCCESS) {
        return;
    }
    for (hi = apr_hash_first(p, engine->ras); hi; hi = apr_hash_next(hi)) {
        wstep_signer_t signer;
        gh_result_t result;
        apr_status_t rv;

        gh_result_clear(&result);
        rv = wstep_ra_acquire(apr_hash_this_val(hi), &signer, p, &result);
        if (rv != APR_SUCCESS) {
            gh_log(engine->services->log, GH_LOG_WARNING, rv, "%s: %s", result.number,
                   result.message);
        }
    }
    apr_pool_destroy(p);
}

apr_status_t wstep_engine_account(wstep_engine_t *engine, const wstep_caller_t *caller,
                                  const gh_directory_account_t **account, apr_pool_t *p,
                                  gh_result_t *result)
{
    return wstep_exchange_caller(engine->services, caller, account, p, result);
}

apr_status_t wstep_engine_holder(wstep_engine_t *engine, const wstep_endpoint_t *endpoint,
                                 wstep_caller_t *caller, X509 *certificate, apr_pool_t *p,
                                 gh_result_t *result)
{
    return wstep_holder_find(caller, engine->services, endpoint, certificate, p, result);
}

wstep_catalogue_t *wstep_engine_catalogue(wstep_engine_t *engine, const gh_log_t *log,
                                          apr_pool_t *p)
{
    return wstep_catalogue_create(engine->services->directory, log, p);
}

/* Answers */

/** Before anything is issued: who is to sign the answer. */
static apr_status_t find_signer(wstep_exchange_t *x)
{
    wstep_ra_t *ra;

    if (x->endpoint->response != WSTEP_RESPONSE_CMC) {
        return APR_SUCCESS;
    }
    ra = apr_hash_get(x->engine->ras, x->issuer, APR_HASH_KEY_STRING);
    if (!ra) {
        return gh_result_fail(x->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.none",
                              "Look at the errors of the start of this process.",
                              GHNO(1442) "issuer %s has nobody in this process who signs responses",
                              x->issuer);
    }
    return wstep_ra_acquire(ra, &x->signer, x->p, x->result);
}

static const apr_array_header_t *chain_of(const wstep_exchange_t *x)
{
    const apr_array_header_t *above = gh_issuer_chain(x->ca);
    apr_array_header_t *chain = apr_array_make(x->p, 4, sizeof(gh_bytes_t));
    int i;

    APR_ARRAY_PUSH(chain, gh_bytes_t) = gh_issuer_certificate_der(x->ca);
    for (i = 0; above && i < above->nelts; ++i) {
        APR_ARRAY_PUSH(chain, gh_bytes_t) =
            gh_certificate_der(APR_ARRAY_IDX(above, i, X509 *), x->p);
    }
    return chain;
}

static apr_status_t sign(const wstep_exchange_t *x, const wstep_cmc_t *response, gh_bytes_t *der)
{
    if (x->signer.certificate) {
        return wstep_cmc_make(der, response, x->signer.certificate, x->signer.key, x->p,
                              x->result);
    }
    if (response->status == WSTEP_CMC_ISSUED) {
        return wstep_cmc_certificates(der, response, x->p, x->result);
    }
    return APR_SUCCESS;
}

static apr_status_t answer_issued(wstep_exchange_t *x, const gh_enrolment_outcome_t *outcome,
                                  wstep_answer_t *answer)
{
    const wstep_cmc_t response = {
        .status = WSTEP_CMC_ISSUED, .text = "Issued", .certificate = outcome->certificate,
        .chain = chain_of(x), .decoding = x->services->decoding
    };

    x->message->event->result = "issued";
    answer->message = "Issued";
    answer->certificate = outcome->certificate;
    return sign(x, &response, &answer->response);
}

static apr_status_t answer_pending(wstep_exchange_t *x, wstep_answer_t *answer)
{
    const wstep_cmc_t response = {
        .status = WSTEP_CMC_PENDING, .text = "Taken Under Submission", .token = x->id,
        .when = apr_time_now() + PENDING_SPAN
    };

    x->message->event->result = "pending";
    answer->pending = 1;
    answer->message = "Taken Under Submission";
    answer->reference = x->endpoint->url;
    return sign(x, &response, &answer->response);
}

static apr_status_t answer_outcome(wstep_exchange_t *x, const gh_enrolment_outcome_t *outcome,
                                   wstep_answer_t *answer)
{
    if (outcome->serial.length) {
        x->message->event->serial = gh_hex(x->p, outcome->serial.data, outcome->serial.length);
    }
    answer->language = LANGUAGE;
    answer->request_id = x->id;
    switch (outcome->state) {
    case GH_ENROLMENT_ISSUED:
        return answer_issued(x, outcome, answer);
    case GH_ENROLMENT_WAITING:
    case GH_ENROLMENT_APPROVED:
    case GH_ENROLMENT_SUBMITTED:
    case GH_ENROLMENT_RETRY:
    case GH_ENROLMENT_IN_DOUBT:
    case GH_ENROLMENT_CONFIRMING:
        return answer_pending(x, answer);
    default:
        x->kind = WSTEP_FAULT_DENIED;
        return gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_DENIED,
                              outcome->state == GH_ENROLMENT_DENIED ? "enrolment.denied"
                                                                    : "enrolment.rejected",
                              "Ask the operator of the CA, then begin anew with another request.",
                              GHNO(1443) "the enrolment was %s%s%s",
                              outcome->state == GH_ENROLMENT_DENIED ? "denied" : "rejected",
                              outcome->message ? ": " : "",
                              outcome->message ? outcome->message : "");
    }
}

/* Faults */

static int begins_with(const char *rule, const char *start)
{
    return rule && !strncmp(rule, start, strlen(start));
}

/** What Windows has a text for, where profile, renewal or the "never" list refuses. */
static wstep_fault_kind_t kind_of(const gh_result_t *result)
{
    const char *rule = result->rule;

    if (result->failure == GH_FAILURE_UNAVAILABLE || result->failure == GH_FAILURE_INTERNAL) {
        return wstep_fault_of(result);
    }
    if (begins_with(rule, "renewal.subject") || begins_with(rule, "renewal.san")
        || begins_with(rule, "renewal.sid")) {
        return WSTEP_FAULT_SUBJECT_MISMATCH;
    }
    if (begins_with(rule, "renewal.")) {
        return WSTEP_FAULT_RENEWAL;
    }
    if (rule && !strcmp(rule, "profile.key")) {
        return WSTEP_FAULT_KEY_LENGTH;
    }
    if (begins_with(rule, "profile.subject") || begins_with(rule, "profile.san")) {
        return WSTEP_FAULT_SUBJECT;
    }
    if (begins_with(rule, "directory.") || begins_with(rule, "account.")) {
        return WSTEP_FAULT_ENROLL_DENIED;
    }
    return wstep_fault_of(result);
}

static void fill_fault(wstep_exchange_t *x, apr_status_t rv, wstep_fault_t *fault)
{
    gh_result_t *result = x->result;

    if (!*result->number) {
        gh_result_fail(result, rv, GH_FAILURE_INTERNAL, NULL,
                       "Report this with the log lines around it.",
                       GHNO(1444) "the request cannot be answered");
    }
    if (result->status == APR_SUCCESS) {
        result->status = rv;
    }
    memset(fault, 0, sizeof(*fault));
    fault->kind = x->kind != WSTEP_FAULT_NONE && result->failure != GH_FAILURE_UNAVAILABLE
        ? x->kind : kind_of(result);
    fault->denied = rv == GH_EREFUSED;
    fault->request_id = x->id;
    gh_audit_take_result(x->message->event, result, x->p);
}

static apr_status_t dispatch(wstep_exchange_t *x, wstep_answer_t *answer)
{
    gh_enrolment_outcome_t outcome;
    apr_status_t rv;

    memset(&outcome, 0, sizeof(outcome));
    switch (x->request->operation) {
    case WSTEP_ISSUE:
        rv = find_signer(x);
        if (rv == APR_SUCCESS) {
            rv = wstep_exchange_issue(x, &outcome);
        }
        break;
    case WSTEP_QUERY:
        rv = wstep_exchange_query(x, &outcome);
        if (rv == APR_SUCCESS) {
            rv = find_signer(x);
        }
        break;
    default:
        x->kind = WSTEP_FAULT_UNSUPPORTED;
        return gh_result_fail(x->result, GH_EREFUSED, GH_FAILURE_REQUEST, "operation.ket",
                              "Take the archiving of keys off the template.",
                              GHNO(1445) "there is no key exchange certificate: keys are not "
                              "archived here");
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    gh_result_clear(x->result);
    return answer_outcome(x, &outcome, answer);
}

apr_status_t wstep_engine_operate(wstep_engine_t *engine, const wstep_endpoint_t *endpoint,
                                  const wstep_caller_t *caller, const wstep_request_t *request,
                                  const wstep_message_t *message, wstep_answer_t *answer,
                                  wstep_fault_t *fault, apr_pool_t *p, gh_result_t *result)
{
    wstep_exchange_t x = {
        .engine = engine, .services = engine->services, .endpoint = endpoint, .caller = caller,
        .request = request, .message = message, .p = p, .result = result
    };
    wstep_endpoint_t here;
    apr_status_t rv;

    memset(answer, 0, sizeof(*answer));
    memset(fault, 0, sizeof(*fault));
    x.ca = gh_issuer_at(endpoint->ca, apr_time_now());
    x.issuer = gh_issuer_name(x.ca);
    message->event->event = "message";
    message->event->protocol = "wstep";
    message->event->tenant = endpoint->tenant;
    message->event->issuer = x.issuer;
    /* what the directory has of templates now */
    here = *endpoint;
    x.endpoint = &here;
    rv = wstep_catalogue_resolve(&here.templates, wstep_engine_catalogue(engine, message->log, p),
                                 endpoint->templates, result);
    if (rv == APR_SUCCESS) {
        rv = dispatch(&x, answer);
    }
    if (rv != APR_SUCCESS) {
        fill_fault(&x, rv, fault);
    }
    return rv;
}
