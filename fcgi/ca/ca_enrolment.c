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

#include "fcgi/ca/ca_enrolment.h"

#include <string.h>

#include <apr_strings.h>

#include "log.h"
#include "status.h"

#define RULE "ca.enrolment"

/** How often what is to be found out is asked for: a fraction of the time that has passed. */
#define ASK_FIRST apr_time_from_msec(700)
#define ASK_LAST apr_time_from_sec(60)
#define ASK_SHARE 4

#define LOOK_AT_CA "Look at the CA whether there is a certificate for its key; then gatehousectl " \
                   "enrolment retry or cancel."

static const gh_job_record_t *record_of(const enrolment_t *enrolment)
{
    return framework_job_record(enrolment->job);
}

static apr_time_t ask_again(const enrolment_t *enrolment)
{
    apr_time_t now = framework_job_time(enrolment->job);
    apr_interval_time_t pause = (now - record_of(enrolment)->sent) / ASK_SHARE;

    return now + (pause < ASK_FIRST ? ASK_FIRST : pause > ASK_LAST ? ASK_LAST : pause);
}

static int is_late(const enrolment_t *enrolment)
{
    const gh_job_record_t *record = record_of(enrolment);

    return record->deadline && framework_job_time(enrolment->job) >= record->deadline;
}

/** What was the matter before is for operators. */
static void remember(enrolment_t *enrolment, const gh_result_t *before)
{
    if (before->number[0]) {
        gh_result_cause(&enrolment->why, "%s: %s", before->number, before->message);
    }
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

/** Is it one of the candidates? */
static void end_issued(enrolment_t *enrolment, int answered)
{
    enrolment->ending = ENROLMENT_ISSUED;
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

    if (!enrolment->answered) {
        end_doubt(enrolment);
        return;
    }
    if (enrolment->language->distrust) {
        enrolment->language->distrust(enrolment);
    }
    for (i = 0; i < enrolment->candidates->nelts; ++i) {
        X509 *certificate = APR_ARRAY_IDX(enrolment->candidates, i, X509 *);

        ours |= EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1;
    }
    if (enrolment->known != ENROLMENT_WRONG) {
        enrolment->known = ENROLMENT_WRONG;
        enrolment->over = framework_job_time(enrolment->job);
    }
    if (!ours || enrolment->fitness == ENROLMENT_TAKEN) {
        enrolment->language->find(enrolment);
    }
    else {
        end_doubt(enrolment);
    }
}

/* Finding out */

/** Since when nothing can come of a call any more, as far as a search tells. */
apr_time_t enrolment_settled(const enrolment_t *enrolment)
{
    const ca_issuer_t *issuer = enrolment->service->issuer;
    apr_time_t latest = record_of(enrolment)->sent + issuer->timeout;

    if ((enrolment->known == ENROLMENT_OVER || enrolment->known == ENROLMENT_WRONG)
        && enrolment->over) {
        latest = enrolment->over;
    }
    return latest + issuer->lag;
}

/** Neither found nor surely not there. */
static void not_yet(enrolment_t *enrolment)
{
    if (is_late(enrolment)) {
        if (!enrolment->why.number[0]) {
            gh_result_fail(&enrolment->why, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, RULE, LOOK_AT_CA,
                           GHNO(0833) "the CA has accepted the request, and there was no "
                           "certificate until the deadline");
        }
        end_doubt(enrolment);
        return;
    }
    end_again(enrolment, enrolment->due ? enrolment->due : ask_again(enrolment), 1);
}

void enrolment_not_found(enrolment_t *enrolment)
{
    apr_time_t until = enrolment_settled(enrolment), next = ask_again(enrolment);

    if (enrolment->known == ENROLMENT_ACCEPTED) {
        not_yet(enrolment);
    }
    else if (framework_job_time(enrolment->job) < until) {
        end_again(enrolment, next < until ? next : until + apr_time_from_msec(1), 1);
    }
    else if (enrolment->known == ENROLMENT_WRONG) {
        /* another call would be answered so, too */
        end_doubt(enrolment);
    }
    else {
        /* it is surely not there: the call may be made again */
        end_again(enrolment, framework_job_next(enrolment->job, 0), 0);
    }
}

static void cannot_search(enrolment_t *enrolment)
{
    gh_result_t before = enrolment->why;

    if (enrolment->known == ENROLMENT_ACCEPTED) {
        gh_result_fail(&enrolment->why, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, RULE,
                       "It may be issued yet: look at the CA whether there is a certificate for "
                       "its key, or will be; then gatehousectl enrolment retry or cancel.",
                       GHNO(1091) "the CA has accepted the request without saying how its "
                       "certificate is asked for, and it cannot be searched");
    }
    else if (enrolment->known != ENROLMENT_WRONG) {
        gh_result_fail(&enrolment->why, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, RULE, LOOK_AT_CA,
                       GHNO(0834) "whether the CA has issued a certificate is not known, and it "
                       "cannot be searched");
        remember(enrolment, &before);
    }
    end_doubt(enrolment);
}

void enrolment_found(enrolment_t *enrolment, enrolment_search_t search)
{
    switch (search) {
    case ENROLMENT_SEARCHED:
        if (enrolment->candidates->nelts > 0
            || (enrolment->revoked && enrolment->revoked->nelts > 0)) {
            end_issued(enrolment, 0);
        }
        else {
            enrolment_not_found(enrolment);
        }
        break;
    case ENROLMENT_SEARCH_LATER:
        not_yet(enrolment);
        break;
    case ENROLMENT_SEARCH_ENDED:
        end_doubt(enrolment);
        break;
    default:
        cannot_search(enrolment);
    }
}

/* The call */

void enrolment_called(enrolment_t *enrolment, enrolment_call_t call, X509 *certificate)
{
    switch (call) {
    case ENROLMENT_CALL_ISSUED:
        enrolment->candidates = apr_array_make(enrolment->pool, 1, sizeof(X509 *));
        enrolment->revoked = NULL;
        APR_ARRAY_PUSH(enrolment->candidates, X509 *) = certificate;
        end_issued(enrolment, 1);
        break;
    case ENROLMENT_CALL_ACCEPTED:
        enrolment->known = ENROLMENT_ACCEPTED;
        end_again(enrolment, enrolment->due ? enrolment->due : ask_again(enrolment), 1);
        break;
    case ENROLMENT_CALL_REFUSED:
        end_rejected(enrolment, enrolment->reason);
        break;
    case ENROLMENT_CALL_UNDONE:
        end_again(enrolment, enrolment->due, 0);
        break;
    case ENROLMENT_CALL_STOPPED:
        end_again(enrolment, framework_job_time(enrolment->job), 1);
        break;
    default:
        enrolment->known = call == ENROLMENT_CALL_UNTOLD ? ENROLMENT_OVER : ENROLMENT_OPEN;
        enrolment->over = framework_job_time(enrolment->job);
        enrolment->language->find(enrolment);
    }
}

static void decide(enrolment_t *enrolment)
{
    const gh_job_record_t *record = record_of(enrolment);
    char reason[sizeof(enrolment->why.message)];
    gh_result_t before;

    if (record->sent) {
        enrolment->language->find(enrolment);
    }
    else if (is_late(enrolment)) {
        /* what the device is told is no more than that */
        before = enrolment->why;
        gh_result_fail(&enrolment->why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "See why the CA could not be asked; let the device ask again.",
                       GHNO(0837) "the CA could not be asked until the deadline");
        remember(enrolment, &before);
        apr_cpystrn(reason, enrolment->why.message, sizeof(reason));
        end_rejected(enrolment, reason);
    }
    else if (enrolment->language->prepare(enrolment) != APR_SUCCESS) {
        end_rejected(enrolment, enrolment->why.message);
    }
    else {
        /* what is known of a call before is of no use: it did nothing */
        enrolment->known = ENROLMENT_OPEN;
        enrolment->reference = NULL;
        framework_job_begin_call(enrolment->job, enrolment->language->call, enrolment);
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
        enrolment->due = framework_job_time(enrolment->job) + ASK_LAST;
        enrolment_end(enrolment);
    }
}

void enrolment_carry_out(ca_service_t *service, const enrolment_language_t *language,
                         void *baton, framework_job_t *job)
{
    const gh_job_record_t *record = framework_job_record(job);
    enrolment_t *enrolment = apr_pcalloc(framework_job_pool(job), sizeof(*enrolment));

    enrolment->service = service;
    enrolment->language = language;
    enrolment->baton = baton;
    enrolment->job = job;
    enrolment->pool = framework_job_pool(job);
    /* why it is not over yet is still what there is to say */
    apr_cpystrn(enrolment->why.number, record->number ? record->number : "",
                sizeof(enrolment->why.number));
    apr_cpystrn(enrolment->why.message, record->message ? record->message : "",
                sizeof(enrolment->why.message));
    enrolment_begin(enrolment);
}
