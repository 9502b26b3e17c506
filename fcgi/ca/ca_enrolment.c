/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * An enrolment at a CA elsewhere. No call is made as long as nobody knows what has become of the
 * one before; whether a certificate is handed out is decided by the certificate alone.
 *
 *   read -> call -> certificate -> check, store
 *             |---> no, for good -> rejected
 *             |---> nothing was done -> again, later
 *             `---> nobody knows, or later -> find out: found -> check, store
 *                                                  not there -> again
 *                                                  cannot be told -> in doubt
 */

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

/** How often what is to be found out is asked for: a fraction of the time that has passed. */
#define ASK_FIRST apr_time_from_msec(700)
#define ASK_LAST apr_time_from_sec(60)
#define ASK_SHARE 4

/** What a job remembers of the other side begins with what it is. */
#define REFERENCE_SERIAL "serial:"
#define REFERENCE_ID "id:"

static void find_out(enrolment_t *enrolment);

static const gh_job_record_t *record_of(const enrolment_t *enrolment)
{
    return framework_job_record(enrolment->job);
}

static apr_time_t ask_again(const enrolment_t *enrolment)
{
    apr_time_t now = apr_time_now();
    apr_interval_time_t pause = (now - record_of(enrolment)->sent) / ASK_SHARE;

    return now + (pause < ASK_FIRST ? ASK_FIRST : pause > ASK_LAST ? ASK_LAST : pause);
}

static int is_late(const enrolment_t *enrolment)
{
    const gh_job_record_t *record = record_of(enrolment);

    return record->deadline && apr_time_now() >= record->deadline;
}

/* Ends */

static void end_again(enrolment_t *enrolment, apr_time_t due, int unknown)
{
    enrolment->ending = ENROLMENT_AGAIN;
    enrolment->due = due;
    enrolment->unknown = unknown;
    enrolment_end(enrolment);
}

static void end_doubt(enrolment_t *enrolment)
{
    enrolment->ending = ENROLMENT_DOUBT;
    enrolment_end(enrolment);
}

static void end_rejected(enrolment_t *enrolment, const char *reason)
{
    enrolment->ending = ENROLMENT_REJECTED;
    enrolment->reason = apr_pstrdup(enrolment->pool, reason);
    enrolment_end(enrolment);
}

static void end_issued(enrolment_t *enrolment, apr_array_header_t *candidates, int answered)
{
    enrolment->ending = ENROLMENT_ISSUED;
    enrolment->candidates = candidates;
    enrolment->answered = answered;
    enrolment_end(enrolment);
}

/**
 * What came is not what was asked for. If it is for somebody else's key, ours may be there all the
 * same; if it is for ours, it is of no use to anybody and is withdrawn.
 */
void enrolment_wrong(enrolment_t *enrolment)
{
    EVP_PKEY *key = gh_plan_key(enrolment->submission->plan);
    int ours = 0, i;

    if (enrolment->answered) {
        http_peer_distrust(enrolment->service->gateway.peer);
    }
    for (i = 0; i < enrolment->candidates->nelts; ++i) {
        X509 *certificate = APR_ARRAY_IDX(enrolment->candidates, i, X509 *);

        ours |= EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1;
    }
    if (enrolment->answered && (!ours || !strcmp(enrolment->why.number, ENROLMENT_TAKEN))
        && enrolment->service->issuer->searchable) {
        find_out(enrolment);
    }
    else {
        end_doubt(enrolment);
    }
}

/* Finding out */

/** Whether what the call was answered with was not ours: then another call would be answered so. */
static int is_wrong(const enrolment_t *enrolment)
{
    return !strcmp(enrolment->why.number, ENROLMENT_WRONG)
        || !strcmp(enrolment->why.number, ENROLMENT_TAKEN);
}

/** Since when nothing can come of a call any more, as far as a search tells. A gateway that has
 *  answered is not at work on it. */
static apr_time_t settled(const enrolment_t *enrolment)
{
    const ca_issuer_t *issuer = enrolment->service->issuer;
    const char *number = enrolment->why.number;
    int over = !strcmp(number, ENROLMENT_UNTOLD) || !strcmp(number, ENROLMENT_UNUSABLE)
        || is_wrong(enrolment);

    return record_of(enrolment)->sent + issuer->lag + (over ? 0 : issuer->timeout);
}

/** Neither found nor surely not there. */
static void not_yet(enrolment_t *enrolment)
{
    if (is_late(enrolment)) {
        if (!enrolment->why.number[0]) {
            gh_result_fail(&enrolment->why, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, RULE,
                           "Look at the CA whether there is a certificate for its key; then "
                           "gatehousectl enrolment retry or cancel.",
                           GHNO(0833) "the CA has accepted the request, and there was no "
                           "certificate until the deadline");
        }
        end_doubt(enrolment);
        return;
    }
    end_again(enrolment, ask_again(enrolment), 1);
}

void enrolment_not_found(enrolment_t *enrolment)
{
    apr_time_t until = settled(enrolment), next = ask_again(enrolment);

    if (enrolment->reference) {
        not_yet(enrolment);
    }
    else if (apr_time_now() < until) {
        end_again(enrolment, next < until ? next : until + apr_time_from_msec(1), 1);
    }
    else if (is_wrong(enrolment)) {
        end_doubt(enrolment);
    }
    else {
        /* it is surely not there: the call may be made again */
        end_again(enrolment, framework_job_next(enrolment->job, 0), 0);
    }
}

static void cannot_search(enrolment_t *enrolment)
{
    if (enrolment->reference) {
        not_yet(enrolment);
        return;
    }
    gh_result_cause(&enrolment->why, "%s: %s", enrolment->why.number, enrolment->why.message);
    gh_result_fail(&enrolment->why, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, RULE,
                   "Look at the CA whether there is a certificate for its key; then gatehousectl "
                   "enrolment retry or cancel.",
                   GHNO(0834) "whether the CA has issued a certificate is not known, and it cannot "
                   "be searched");
    end_doubt(enrolment);
}

static void searched(ca_wanted_t *wanted)
{
    enrolment_t *enrolment = wanted->baton;

    if (wanted->verdict == CAGW_UNSUPPORTED || wanted->verdict == CAGW_REFUSED
        || wanted->verdict == CAGW_MISSING) {
        cannot_search(enrolment);
        return;
    }
    if (wanted->verdict != CAGW_DONE) {
        if (!enrolment->why.number[0]) {
            enrolment->why = wanted->result;
        }
        not_yet(enrolment);
        return;
    }
    framework_queue_note(enrolment->service->issuer->queue, 1, 0);
    enrolment->revoked = wanted->revoked;
    if (wanted->found->nelts > 0 || wanted->revoked->nelts > 0) {
        end_issued(enrolment, wanted->found, 0);
    }
    else {
        enrolment_not_found(enrolment);
    }
}

static void search(enrolment_t *enrolment)
{
    ca_wanted_t *wanted = &enrolment->wanted;

    if (!enrolment->service->issuer->searchable) {
        cannot_search(enrolment);
        return;
    }
    wanted->key_sha256 = gh_plan_key_sha256(enrolment->submission->plan);
    wanted->from = record_of(enrolment)->sent;
    wanted->until = enrolment->reference ? apr_time_now() : settled(enrolment);
    wanted->pool = enrolment->pool;
    wanted->done = searched;
    wanted->baton = enrolment;
    ca_search_add(enrolment->service->search, wanted);
}

static void looked_up(void *baton, cagw_outcome_t *outcome)
{
    enrolment_t *enrolment = baton;
    cagw_certificate_t certificate;
    apr_array_header_t *candidates;

    if (outcome->verdict == CAGW_DONE
        && cagw_read_certificate(&certificate, &outcome->reply, enrolment->pool,
                                 &outcome->result) == APR_SUCCESS
        && certificate.certificate && certificate.status != CAGW_STATUS_IS_REVOKED) {
        candidates = apr_array_make(enrolment->pool, 1, sizeof(X509 *));
        APR_ARRAY_PUSH(candidates, X509 *) = certificate.certificate;
        end_issued(enrolment, candidates, 0);
        return;
    }
    search(enrolment);
}

/** A call was made, and what has become of it is not known here. */
static void find_out(enrolment_t *enrolment)
{
    static const char serial[] = REFERENCE_SERIAL;

    if (enrolment->reference
        && !strncmp(enrolment->reference, serial, sizeof(serial) - 1)) {
        cagw_call_certificate(&enrolment->service->gateway,
                              enrolment->reference + sizeof(serial) - 1, looked_up, enrolment,
                              enrolment->pool);
        return;
    }
    search(enrolment);
}

/* The call */

static void take_answer(enrolment_t *enrolment, const cagw_outcome_t *outcome)
{
    cagw_enrolled_t enrolled;
    apr_array_header_t *candidates;

    if (cagw_read_enrolled(&enrolled, &outcome->reply, CAGW_AS_X509, enrolment->pool,
                           &enrolment->why) != APR_SUCCESS) {
        http_peer_distrust(enrolment->service->gateway.peer);
        find_out(enrolment);
    }
    else if (enrolled.certificate) {
        candidates = apr_array_make(enrolment->pool, 1, sizeof(X509 *));
        APR_ARRAY_PUSH(candidates, X509 *) = enrolled.certificate;
        end_issued(enrolment, candidates, 1);
    }
    else if (enrolled.refused) {
        gh_result_fail(&enrolment->why, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                       "Ask the operator of the CA.",
                       GHNO(0836) "the CA has rejected the request");
        end_rejected(enrolment, enrolment->why.message);
    }
    else {
        gh_result_clear(&enrolment->why);
        enrolment->reference = enrolled.serial
            ? apr_pstrcat(enrolment->pool, REFERENCE_SERIAL, enrolled.serial, NULL)
            : apr_pstrcat(enrolment->pool, REFERENCE_ID, enrolled.id, NULL);
        end_again(enrolment, ask_again(enrolment), 1);
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
        end_rejected(enrolment, reason_of(outcome, enrolment->pool));
        break;
    case CAGW_BROKEN:
        if (outcome->stopped) {
            end_again(enrolment, apr_time_now(), 1);
        }
        else {
            find_out(enrolment);
        }
        break;
    default:
        end_again(enrolment, outcome->stopped ? apr_time_now()
                  : framework_job_next(enrolment->job, outcome->retry_after), 0);
    }
}

static void call(void *baton)
{
    enrolment_t *enrolment = baton;

    cagw_call_enrol(&enrolment->service->gateway, enrolment->body, called, enrolment,
                    enrolment->pool);
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

/** What is asked for is what was authorised, whatever else the request says. */
static apr_status_t write_body(enrolment_t *enrolment)
{
    const gh_plan_t *plan = enrolment->submission->plan;
    apr_pool_t *p = enrolment->pool;
    cagw_enrolment_t asked;

    memset(&asked, 0, sizeof(asked));
    asked.profile = ca_profile(enrolment->service->issuer, enrolment->submission->record->profile);
    asked.request = enrolment->submission->request;
    asked.format = CAGW_AS_X509;
    asked.sans = gh_own_general_names(p, X509V3_get_d2i(gh_plan_extensions(plan),
                                                        NID_subject_alt_name, NULL, NULL));
    asked.subject = subject_of(enrolment, asked.sans);
    return cagw_write_enrolment(&enrolment->body, &asked, &enrolment->service->gateway.spelling, p,
                                &enrolment->why);
}

static void decide(enrolment_t *enrolment)
{
    const gh_job_record_t *record = record_of(enrolment);
    char reason[sizeof(enrolment->why.message)];

    if (record->sent) {
        find_out(enrolment);
    }
    else if (is_late(enrolment)) {
        /* what the device is told is no more than that */
        gh_result_cause(&enrolment->why, "%s: %s", enrolment->why.number, enrolment->why.message);
        gh_result_fail(&enrolment->why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "See why the CA could not be asked; let the device ask again.",
                       GHNO(0837) "the CA could not be asked until the deadline");
        apr_cpystrn(reason, enrolment->why.message, sizeof(reason));
        end_rejected(enrolment, reason);
    }
    else if (write_body(enrolment) != APR_SUCCESS) {
        end_rejected(enrolment, enrolment->why.message);
    }
    else {
        /* what a call before has left is of no use: it did nothing */
        enrolment->reference = NULL;
        framework_job_begin_call(enrolment->job, call, enrolment);
    }
}

void enrolment_read(enrolment_t *enrolment)
{
    switch (enrolment->rv) {
    case APR_SUCCESS:
        decide(enrolment);
        break;
    case APR_NOTFOUND:
        enrolment->ending = ENROLMENT_GONE;
        enrolment_end(enrolment);
        break;
    default:
        enrolment->ending = ENROLMENT_UNREADABLE;
        enrolment->why = enrolment->stored;
        enrolment->due = apr_time_now() + ASK_LAST;
        enrolment_end(enrolment);
    }
}

void ca_enrol(void *baton, framework_job_t *job)
{
    const gh_job_record_t *record = framework_job_record(job);
    enrolment_t *enrolment = apr_pcalloc(framework_job_pool(job), sizeof(*enrolment));

    enrolment->service = baton;
    enrolment->job = job;
    enrolment->pool = framework_job_pool(job);
    enrolment->reference = record->reference;
    /* why it is not over yet is still what there is to say */
    apr_cpystrn(enrolment->why.number, record->number ? record->number : "",
                sizeof(enrolment->why.number));
    apr_cpystrn(enrolment->why.message, record->message ? record->message : "",
                sizeof(enrolment->why.message));
    enrolment_begin(enrolment);
}
