/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificates for the keys of events. */

#include <string.h>

#include <apr_strings.h>

#include "escrow/provide_private.h"
#include "issuer/ledger_private.h"
#include "log.h"
#include "status.h"
#include "x509/csr.h"
#include "x509/name.h"
#include "x509/san.h"

#define LOCATION "/v1/events"

typedef struct {
    int limit;
    apr_array_header_t *records;
    apr_pool_t *pool;
} open_t;

static apr_status_t open_work(gh_transaction_t *transaction, void *baton)
{
    open_t *open = baton;

    return gh_escrow_event_enrolling(transaction, open->limit, &open->records, open->pool);
}

apr_status_t gh_provide_open(gh_store_t *store, int limit, apr_array_header_t **records,
                             apr_pool_t *p, gh_result_t *result)
{
    open_t open = { .limit = limit, .pool = p };
    apr_status_t rv = gh_store_read(store, open_work, &open, result);

    *records = open.records;
    return rv;
}

apr_status_t gh_provide_open_key(gh_bytes_t *key, const gh_vault_t *vault, const char *event,
                                 const gh_escrow_event_key_record_t *record, apr_pool_t *p,
                                 gh_result_t *result)
{
    gh_vaulted_t vaulted = { record->key_id, record->wrapped, record->sealed };

    return gh_vault_open(key, vault, &vaulted, gh_provide_identity(event, record->purpose, p), p,
                         result);
}

/* What stands in the store */

typedef struct {
    const char *id;
    apr_array_header_t *outcomes;
    apr_pool_t *pool;
} look_t;

static apr_status_t look_at(gh_transaction_t *transaction, gh_provide_outcome_t *outcome,
                            apr_pool_t *p)
{
    gh_enrolment_outcome_t found = {0};
    gh_enrolment_record_t *record;
    apr_time_t not_after;
    apr_status_t rv;

    outcome->enrolment = outcome->key->enrolment;
    if (!outcome->enrolment) {
        return APR_SUCCESS;
    }
    rv = gh_enrolment_find(transaction, outcome->enrolment, &record, p);
    if (rv != APR_SUCCESS) {
        return rv == APR_NOTFOUND ? GH_ECORRUPT : rv;
    }
    outcome->state = record->state;
    outcome->message = record->message;
    if (record->state == GH_ENROLMENT_ISSUED) {
        rv = gh_ledger_read_certificate(transaction, record, &found, &not_after, p);
        outcome->certificate = found.certificate;
    }
    return rv;
}

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    gh_escrow_event_record_t *record;
    apr_array_header_t *keys = NULL;
    apr_status_t rv = gh_escrow_event_find(transaction, look->id, &record, look->pool);
    int i;

    if (rv == APR_SUCCESS && record->state != GH_ESCROW_EVENT_ENROLLING) {
        rv = APR_NOTFOUND;
    }
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_event_keys(transaction, look->id, &keys, look->pool);
    }
    look->outcomes = apr_array_make(look->pool, 2, sizeof(gh_provide_outcome_t));
    for (i = 0; rv == APR_SUCCESS && i < keys->nelts; ++i) {
        gh_provide_outcome_t *outcome = apr_array_push(look->outcomes);

        memset(outcome, 0, sizeof(*outcome));
        outcome->key = APR_ARRAY_IDX(keys, i, gh_escrow_event_key_record_t *);
        rv = look_at(transaction, outcome, look->pool);
    }
    return rv;
}

/* Enrolling */

typedef struct {
    const gh_provide_services_t *services;
    const gh_escrow_event_record_t *record;
    gh_provide_rule_t rule;
    gh_escrow_purpose_t purpose;
    apr_pool_t *pool;
} enrol_t;

static apr_status_t consume(gh_transaction_t *transaction, void *baton, const char *enrolment,
                            apr_time_t now)
{
    const enrol_t *enrol = baton;

    return gh_escrow_event_key_bind(transaction, enrol->record->id, enrol->purpose, enrolment);
}

/** Grants what a row says: who has come here has been authorised when the event came in. */
static apr_status_t check(const gh_authoriser_t *authoriser, gh_store_t *store,
                          const gh_enrolment_request_t *request, gh_grant_t *grant, apr_pool_t *p,
                          gh_result_t *result)
{
    enrol_t *enrol = authoriser->data;
    apr_array_header_t *texts = apr_array_make(p, 1, sizeof(const char *));
    GENERAL_NAMES *names;
    const char *sans;
    apr_status_t rv;

    APR_ARRAY_PUSH(texts, const char *) = apr_pstrcat(p, "email:", enrol->record->email, NULL);
    rv = gh_san_read(&names, texts, p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_san_normal(&sans, names, p, result);
    }
    if (rv != APR_SUCCESS) {
        return GH_EREFUSED;
    }
    grant->rule = RULE;
    grant->consume = consume;
    grant->consume_baton = enrol;
    return gh_names_given(&grant->given, enrol->rule.subject, sans, p, result);
}

static apr_status_t no_profile(const char *name, gh_result_t *result)
{
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                          "Configure the profile again, or change EscrowProvide; then send the "
                          "event again.",
                          GHNO(1288) "there is no certificate profile %s in this configuration",
                          name);
}

static apr_status_t fill_request(gh_enrolment_request_t *request, enrol_t *enrol,
                                 const gh_csr_t *csr, gh_result_t *result)
{
    const gh_provide_services_t *services = enrol->services;
    const char *name = enrol->purpose == GH_ESCROW_SIGNING ? enrol->rule.signing
                                                           : enrol->rule.encryption;

    memset(request, 0, sizeof(*request));
    request->profile = name ? apr_hash_get(services->profiles, name, APR_HASH_KEY_STRING) : NULL;
    if (!request->profile) {
        return no_profile(name ? name : "", result);
    }
    request->protocol = GH_PROVIDE_PROTOCOL;
    request->location = LOCATION;
    request->tenant = GH_PROVIDE_PROTOCOL;
    request->issuer = enrol->rule.issuer;
    request->transaction = apr_pstrcat(enrol->pool, enrol->record->id, "-",
                                       gh_escrow_purpose_name(enrol->purpose), NULL);
    request->signer_sha256 = gh_csr_key_sha256(csr);
    request->csr = csr;
    request->sealer = services->sealer;
    request->user = enrol->record->provider;
    request->request_id = enrol->record->id;
    return APR_SUCCESS;
}

static gh_audit_event_t *begin_event(const enrol_t *enrol, apr_pool_t *p)
{
    gh_audit_event_t *event = apr_pcalloc(p, sizeof(*event));

    event->time = apr_time_now();
    event->id = gh_random_id(p);
    event->node = enrol->services->node;
    event->event = "enrol";
    event->protocol = GH_PROVIDE_PROTOCOL;
    event->tenant = GH_PROVIDE_PROTOCOL;
    event->user = enrol->record->provider;
    event->transaction = enrol->record->id;
    event->issuer = enrol->rule.issuer;
    event->subject = enrol->rule.subject;
    return event;
}

static apr_status_t enrol_key(enrol_t *enrol, gh_bytes_t der, gh_audit_event_t *event,
                              gh_enrolment_outcome_t *outcome, gh_result_t *result)
{
    gh_authoriser_t authoriser = { "event", enrol, check };
    apr_array_header_t *authorisers = apr_array_make(enrol->pool, 1, sizeof(gh_authoriser_t *));
    gh_authorisation_t *authorisation;
    gh_enrolment_request_t request;
    apr_pool_t *p = enrol->pool;
    gh_csr_t *csr;
    apr_status_t rv;

    APR_ARRAY_PUSH(authorisers, gh_authoriser_t *) = &authoriser;
    memset(outcome, 0, sizeof(*outcome));
    rv = gh_csr_parse(&csr, der.data, der.length, enrol->services->decoding, p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_csr_verify(csr, 0, result);
    }
    if (rv == APR_SUCCESS) {
        rv = fill_request(&request, enrol, csr, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_authorise(&authorisation, &request, authorisers, enrol->services->store, p,
                          result);
    }
    return rv == APR_SUCCESS
        ? gh_ledger_enrol(enrol->services->ledger, authorisation, &request, event, outcome, p,
                          result) : rv;
}

/** Another process may have been faster. */
static int is_bound(const enrol_t *enrol)
{
    look_t look = { .id = enrol->record->id, .pool = enrol->pool };
    int i;

    if (gh_store_read(enrol->services->store, look_work, &look, NULL) != APR_SUCCESS) {
        return 1;
    }
    for (i = 0; i < look.outcomes->nelts; ++i) {
        const gh_provide_outcome_t *outcome = &APR_ARRAY_IDX(look.outcomes, i,
                                                             gh_provide_outcome_t);

        if (outcome->key->purpose == enrol->purpose) {
            return outcome->enrolment != NULL;
        }
    }
    return 1;
}

/* A refusal is final, unless it is only that another process enrols at the same time. */
static apr_status_t take_refusal(const enrol_t *enrol, gh_provide_outcome_t *outcome,
                                 gh_audit_event_t *event, apr_status_t rv, gh_result_t *result)
{
    if (rv != GH_EREFUSED && rv != APR_EINVAL && rv != GH_ECONFLICT) {
        return rv;
    }
    event->result = NULL;
    if (!is_bound(enrol)) {
        outcome->state = GH_ENROLMENT_REJECTED;
        outcome->message = apr_psprintf(enrol->pool, "%s: %s", result->number, result->message);
        gh_audit_take_result(event, result, enrol->pool);
    }
    gh_result_clear(result);
    return APR_SUCCESS;
}

static apr_status_t begin_one(enrol_t *enrol, gh_provide_outcome_t *outcome,
                              apr_array_header_t *events, gh_result_t *result)
{
    gh_audit_event_t *event = begin_event(enrol, enrol->pool);
    gh_enrolment_outcome_t enrolled;
    apr_status_t rv;

    enrol->purpose = outcome->key->purpose;
    rv = enrol_key(enrol, outcome->key->request, event, &enrolled, result);
    if (rv == APR_SUCCESS) {
        outcome->state = enrolled.state;
        outcome->enrolment = enrolled.id;
        outcome->message = enrolled.message;
        outcome->certificate = enrolled.certificate;
    }
    else {
        rv = take_refusal(enrol, outcome, event, rv, result);
    }
    if (rv == APR_SUCCESS && event->result) {
        APR_ARRAY_PUSH(events, gh_audit_event_t *) = event;
    }
    return rv;
}

static int is_final(gh_enrolment_state_t state)
{
    return state == GH_ENROLMENT_ISSUED || state == GH_ENROLMENT_DENIED
        || state == GH_ENROLMENT_REJECTED;
}

apr_status_t gh_provide_enrol(const gh_provide_services_t *services,
                              const gh_escrow_event_record_t *record,
                              apr_array_header_t **outcomes, apr_array_header_t *events, int *over,
                              apr_pool_t *p, gh_result_t *result)
{
    enrol_t enrol = { .services = services, .record = record, .pool = p };
    look_t look = { .id = record->id, .pool = p };
    apr_status_t rv = gh_provide_rule_read(&enrol.rule, record->rule, p, result);
    int i;

    *over = 1;
    if (rv == APR_SUCCESS) {
        rv = gh_store_read(services->store, look_work, &look, result);
    }
    for (i = 0; rv == APR_SUCCESS && i < look.outcomes->nelts; ++i) {
        gh_provide_outcome_t *outcome = &APR_ARRAY_IDX(look.outcomes, i, gh_provide_outcome_t);

        if (!outcome->enrolment) {
            rv = begin_one(&enrol, outcome, events, result);
        }
        *over &= is_final(outcome->state);
    }
    *outcomes = look.outcomes;
    return rv;
}
