/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* An enrolment at a CA behind a gateway: what is asked, and what its answers mean. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/x509v3.h>

#include "fcgi/ca/ca_enrolment.h"
#include "log.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/own.h"

#define RULE "cagw.enrolment"

/** How long events that cannot be read are given to be mended, or to be read at another time. */
#define UNREAD_PATIENCE apr_time_from_sec(3600)

/** What a job remembers of the other side begins with what it is. */
#define REFERENCE_SERIAL "serial:"
#define REFERENCE_ID "id:"

typedef struct {
    gh_bytes_t body;                /* of the call */
    ca_wanted_t wanted;
    int by_serial;                  /* what is looked for can be asked for by its serial number */
} gateway_call_t;

/* Finding out */

/** An event that cannot be read may be the one: what is not found for it is not sent again. */
static void unread(enrolment_t *enrolment)
{
    gh_result_t *why = &enrolment->why;

    gh_result_fail(why, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, RULE,
                   "Have the gateway's operator mend the events; or look at the CA whether there "
                   "is a certificate for its key, then gatehousectl enrolment retry or cancel.",
                   GHNO(1323) "the CA's events have some that cannot be read, and one of these may "
                   "be of this request");
    enrolment_found(enrolment, enrolment->known != ENROLMENT_ACCEPTED
                    && framework_job_time(enrolment->job)
                    > enrolment_settled(enrolment) + UNREAD_PATIENCE
                    ? ENROLMENT_SEARCH_ENDED : ENROLMENT_SEARCH_LATER);
}

static void searched(ca_wanted_t *wanted)
{
    enrolment_t *enrolment = wanted->baton;
    const gateway_call_t *call = enrolment->baton;

    switch (wanted->verdict) {
    case CAGW_DONE:
        enrolment->candidates = wanted->found;
        enrolment->revoked = wanted->revoked;
        if (wanted->unread && !wanted->found->nelts && !wanted->revoked->nelts) {
            unread(enrolment);
            break;
        }
        enrolment_found(enrolment, ENROLMENT_SEARCHED);
        break;
    case CAGW_UNSUPPORTED:
    case CAGW_REFUSED:
    case CAGW_MISSING:
        enrolment_found(enrolment, call->by_serial ? ENROLMENT_SEARCH_LATER
                                                   : ENROLMENT_SEARCH_IMPOSSIBLE);
        break;
    default:
        /* this is what keeps it from being found out */
        enrolment->why = wanted->result;
        enrolment_found(enrolment, ENROLMENT_SEARCH_LATER);
    }
}

/** @return 0 while the gateway is left alone */
static int may_ask(enrolment_t *enrolment)
{
    framework_queue_t *queue = enrolment->service->issuer->queue;

    if (framework_queue_enter(queue)) {
        return 1;
    }
    enrolment->due = framework_job_time(enrolment->job) + framework_queue_pause(queue);
    enrolment_found(enrolment, ENROLMENT_SEARCH_LATER);
    return 0;
}

static void search(enrolment_t *enrolment)
{
    gateway_call_t *call = enrolment->baton;
    ca_wanted_t *wanted = &call->wanted;

    if (!enrolment->service->issuer->searchable) {
        enrolment_found(enrolment, call->by_serial ? ENROLMENT_SEARCH_LATER
                                                   : ENROLMENT_SEARCH_IMPOSSIBLE);
        return;
    }
    if (!may_ask(enrolment)) {
        return;
    }
    wanted->key_sha256 = gh_plan_key_sha256(enrolment->submission->plan);
    wanted->from = framework_job_record(enrolment->job)->sent;
    /* what was accepted is issued when somebody has approved it */
    wanted->until = enrolment->known == ENROLMENT_ACCEPTED ? 0 : enrolment_settled(enrolment);
    wanted->pool = enrolment->pool;
    wanted->done = searched;
    wanted->baton = enrolment;
    ca_search_add(enrolment->service->search, wanted);
}

static void looked_up(void *baton, cagw_outcome_t *outcome)
{
    enrolment_t *enrolment = baton;
    gateway_call_t *call = enrolment->baton;
    cagw_certificate_t certificate;

    framework_queue_note(enrolment->service->issuer->queue, outcome->alive || outcome->stopped,
                         outcome->verdict == CAGW_BUSY ? outcome->retry_after : 0);
    if (outcome->verdict == CAGW_DONE
        && cagw_read_certificate(&certificate, &outcome->reply, enrolment->pool,
                                 &outcome->result) == APR_SUCCESS && certificate.certificate) {
        enrolment->candidates = apr_array_make(enrolment->pool, 1, sizeof(X509 *));
        enrolment->revoked = apr_array_make(enrolment->pool, 1, sizeof(X509 *));
        APR_ARRAY_PUSH(certificate.status == CAGW_STATUS_IS_REVOKED ? enrolment->revoked
                       : enrolment->candidates, X509 *) = certificate.certificate;
        enrolment_found(enrolment, ENROLMENT_SEARCHED);
        return;
    }
    /* it may be there later, unless the gateway cannot look up at all */
    call->by_serial = outcome->verdict != CAGW_UNSUPPORTED;
    search(enrolment);
}

static void look_up(void *baton)
{
    enrolment_t *enrolment = baton;

    if (may_ask(enrolment)) {
        cagw_call_certificate(&enrolment->service->gateway,
                              enrolment->reference + sizeof(REFERENCE_SERIAL) - 1, looked_up,
                              enrolment, enrolment->pool);
    }
}

static void find(enrolment_t *enrolment)
{
    static const char serial[] = REFERENCE_SERIAL;
    gateway_call_t *call = enrolment->baton;

    call->by_serial = 0;
    if (enrolment->known == ENROLMENT_ACCEPTED
        && !strncmp(enrolment->reference, serial, sizeof(serial) - 1)) {
        framework_queue_turn(enrolment->service->issuer->queue, look_up, enrolment);
        return;
    }
    search(enrolment);
}

static void distrust(enrolment_t *enrolment)
{
    http_peer_distrust(enrolment->service->gateway.peer);
}

/* The call */

static void take_answer(enrolment_t *enrolment, const cagw_outcome_t *outcome)
{
    cagw_enrolled_t enrolled;

    if (cagw_read_enrolled(&enrolled, &outcome->reply, CAGW_AS_X509, enrolment->pool,
                           &enrolment->why) != APR_SUCCESS) {
        distrust(enrolment);
        enrolment_called(enrolment, ENROLMENT_CALL_UNTOLD, NULL);
    }
    else if (enrolled.certificate) {
        enrolment_called(enrolment, ENROLMENT_CALL_ISSUED, enrolled.certificate);
    }
    else if (enrolled.refused) {
        gh_result_fail(&enrolment->why, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                       "Ask the operator of the CA.",
                       GHNO(0836) "the CA has rejected the request");
        enrolment->reason = enrolment->why.message;
        enrolment_called(enrolment, ENROLMENT_CALL_REFUSED, NULL);
    }
    else {
        gh_result_clear(&enrolment->why);
        enrolment->reference = enrolled.serial
            ? apr_pstrcat(enrolment->pool, REFERENCE_SERIAL, enrolled.serial, NULL)
            : apr_pstrcat(enrolment->pool, REFERENCE_ID, enrolled.id, NULL);
        enrolment_called(enrolment, ENROLMENT_CALL_ACCEPTED, NULL);
    }
}

/** The gateway's own words, for the client. */
static const char *reason_of(const cagw_outcome_t *outcome, apr_pool_t *p)
{
    const cagw_reply_t *reply = &outcome->reply;

    if (!reply->code && !reply->message) {
        return outcome->result.message;
    }
    return apr_pstrcat(p, reply->code ? reply->code : "", reply->code && reply->message ? ": " : "",
                       reply->message ? reply->message : "", NULL);
}

static void called(void *baton, cagw_outcome_t *outcome)
{
    enrolment_t *enrolment = baton;

    framework_queue_note(enrolment->service->issuer->queue, outcome->alive || outcome->stopped,
                         outcome->verdict == CAGW_BUSY ? outcome->retry_after : 0);
    ca_service_note(enrolment->service, outcome);
    enrolment->why = outcome->result;
    switch (outcome->verdict) {
    case CAGW_DONE:
        take_answer(enrolment, outcome);
        break;
    case CAGW_REFUSED:
    case CAGW_MISSING:
    case CAGW_UNSUPPORTED:
        enrolment->reason = reason_of(outcome, enrolment->pool);
        enrolment_called(enrolment, ENROLMENT_CALL_REFUSED, NULL);
        break;
    case CAGW_UNTOLD:
        enrolment_called(enrolment, ENROLMENT_CALL_UNTOLD, NULL);
        break;
    case CAGW_BROKEN:
        enrolment_called(enrolment, outcome->stopped ? ENROLMENT_CALL_STOPPED
                                                     : ENROLMENT_CALL_LOST, NULL);
        break;
    default:
        enrolment->due = outcome->stopped ? framework_job_time(enrolment->job)
            : framework_job_next(enrolment->job, outcome->retry_after);
        enrolment_called(enrolment, ENROLMENT_CALL_UNDONE, NULL);
    }
}

static void call_gateway(void *baton)
{
    enrolment_t *enrolment = baton;
    const gateway_call_t *call = enrolment->baton;

    cagw_call_enrol(&enrolment->service->gateway, call->body, called, enrolment, enrolment->pool);
}

/** A certificate that is known by its names alone: some CAs want a subject all the same. */
static const char *subject_of(const enrolment_t *enrolment, const GENERAL_NAMES *names)
{
    const char *subject = gh_plan_subject_text(enrolment->submission->plan);
    const gh_issuer_config_t *config = gh_issuer_config(enrolment->service->issuer->issuer);
    apr_array_header_t *texts;
    X509_NAME *name;
    const char *value;

    if (*subject) {
        return subject;
    }
    texts = gh_san_texts(names, enrolment->pool);
    value = texts->nelts > 0 ? strchr(APR_ARRAY_IDX(texts, 0, const char *), ':') : NULL;
    if (!config->any_subject || !value) {
        return NULL;
    }
    name = gh_own_name(enrolment->pool, X509_NAME_new());
    if (!name || X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                            (const unsigned char *)value + 1, -1, -1, 0) != 1) {
        return NULL;
    }
    return gh_name_text(name, enrolment->pool);
}

/** Within what the gateway's profile leaves open. */
static void add_options(cagw_enrolment_t *asked, const enrolment_t *enrolment)
{
    const gh_submission_t *submission = enrolment->submission;
    const ca_issuer_t *issuer = enrolment->service->issuer;
    const ca_profile_options_t *options = ca_profile_options(issuer, submission->record->profile);
    const STACK_OF(X509_EXTENSION) *extensions = gh_plan_extensions(submission->plan);
    int at;

    if (!options) {
        return;
    }
    asked->duration = options->own_validity
        ? cagw_duration(gh_plan_validity(submission->plan), enrolment->pool)
        : options->duration;
    asked->properties = options->properties;
    asked->properties_prefix = issuer->properties_prefix;
    at = options->usages ? X509v3_get_ext_by_NID(extensions, NID_ext_key_usage, -1) : -1;
    if (at >= 0) {
        STACK_OF(X509_EXTENSION) *usages = sk_X509_EXTENSION_new_null();

        if (usages && sk_X509_EXTENSION_push(usages, X509_EXTENSION_dup(
                          sk_X509_EXTENSION_value(extensions, at))) > 0) {
            asked->extensions = usages;
        }
        gh_own_extensions(enrolment->pool, usages);
    }
}

/** What is asked for is what was authorised, whatever else the request says. */
static apr_status_t prepare(enrolment_t *enrolment)
{
    const gh_plan_t *plan = enrolment->submission->plan;
    gateway_call_t *call = enrolment->baton;
    apr_pool_t *p = enrolment->pool;
    cagw_enrolment_t asked;

    memset(&asked, 0, sizeof(asked));
    asked.profile = ca_profile(enrolment->service->issuer, enrolment->submission->record->profile);
    asked.request = enrolment->submission->request;
    asked.format = CAGW_AS_X509;
    asked.sans = gh_own_general_names(p, X509V3_get_d2i(gh_plan_extensions(plan),
                                                        NID_subject_alt_name, NULL, NULL));
    asked.subject = subject_of(enrolment, asked.sans);
    add_options(&asked, enrolment);
    return cagw_write_enrolment(&call->body, &asked, &enrolment->service->gateway.spelling, p,
                                &enrolment->why);
}

void ca_enrol(void *baton, framework_job_t *job)
{
    static const enrolment_language_t gateway = { prepare, call_gateway, find, distrust };

    enrolment_carry_out(baton, &gateway, apr_pcalloc(framework_job_pool(job),
                                                     sizeof(gateway_call_t)), job);
}
