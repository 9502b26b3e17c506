/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * An enrolment at a CMP server. A request that the CA lets wait is asked for again, by whichever
 * process, until the CA has decided. A call whose answer was lost is in doubt: CMP has no way to
 * look for what became of it, and the same transaction may not begin twice (RFC 9810 5.1.1).
 */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_enrolment.h"
#include "fcgi/cmp/cmp_service.h"
#include "log.h"
#include "status.h"

/** What a job remembers of a request that waits: sealed, in hexadecimal. */
#define REFERENCE_WAITING "cmp:"

/** How long a CA may let us wait until we ask again. */
#define CHECK_LEAST apr_time_from_msec(700)
#define CHECK_MOST apr_time_from_sec(3600)

static const ca_issuer_t *issuer_of(const enrolment_t *enrolment)
{
    return enrolment->service->issuer;
}

static const char *context_of(const enrolment_t *enrolment)
{
    return apr_pstrcat(enrolment->pool, "cmp/", framework_job_record(enrolment->job)->id, NULL);
}

static apr_status_t seal_waiting(enrolment_t *enrolment, gh_bytes_t waiting)
{
    const gh_sealer_t *sealer = issuer_of(enrolment)->worker->sealer;
    gh_bytes_t sealed;
    apr_status_t rv;

    if (!sealer) {
        return gh_result_fail(&enrolment->why, APR_EACCES, GH_FAILURE_INTERNAL, "cmp.waiting",
                              "Set GatehouseSealingKey.",
                              GHNO(1050) "there is no sealing key for what is kept of a request "
                              "that waits at the CMP server");
    }
    rv = gh_seal(&sealed, sealer, waiting, context_of(enrolment), enrolment->pool,
                 &enrolment->why);
    if (rv == APR_SUCCESS) {
        enrolment->reference = apr_pstrcat(enrolment->pool, REFERENCE_WAITING,
                                           gh_hex(enrolment->pool, sealed.data, sealed.length),
                                           NULL);
    }
    return rv;
}

static apr_status_t unseal_waiting(gh_bytes_t *waiting, enrolment_t *enrolment)
{
    const gh_sealer_t *sealer = issuer_of(enrolment)->worker->sealer;
    const char *hex = enrolment->reference + sizeof(REFERENCE_WAITING) - 1;
    gh_bytes_t sealed;

    if (!sealer || strncmp(enrolment->reference, REFERENCE_WAITING, sizeof(REFERENCE_WAITING) - 1)
        || gh_hex_parse(&sealed, hex, enrolment->pool) != APR_SUCCESS) {
        return APR_EINVAL;
    }
    return gh_unseal(waiting, sealer, sealed, context_of(enrolment), enrolment->pool,
                     &enrolment->why);
}

/** On a thread of the issuer: nobody else has the submission meanwhile. */
static apr_status_t check(void *baton, X509 *certificate, gh_result_t *result)
{
    const enrolment_t *enrolment = baton;

    return gh_submission_check(enrolment->submission, issuer_of(enrolment)->issuer, certificate,
                               result);
}

static void note(enrolment_t *enrolment, const cmp_reply_t *reply)
{
    cagw_outcome_t outcome;

    memset(&outcome, 0, sizeof(outcome));
    outcome.verdict = reply->verdict == CMP_MISCONFIGURED ? CAGW_MISCONFIGURED
        : reply->verdict == CMP_NOT_SENT ? CAGW_NOT_SENT : CAGW_DONE;
    outcome.alive = reply->alive;
    outcome.stopped = reply->stopped;
    outcome.result = reply->result;
    framework_queue_note(issuer_of(enrolment)->queue, reply->alive || reply->stopped,
                         reply->verdict == CMP_BUSY ? reply->retry_after : 0);
    ca_service_note(enrolment->service, &outcome);
}

/** There is a certificate, or may be one, and it will not do: whatever is ours is withdrawn. */
static void end_wrong(enrolment_t *enrolment, const cmp_reply_t *reply)
{
    enrolment->candidates = apr_array_make(enrolment->pool, 1, sizeof(X509 *));
    if (reply->certificate) {
        APR_ARRAY_PUSH(enrolment->candidates, X509 *) = reply->certificate;
    }
    enrolment->answered = 1;
    enrolment_found(enrolment, ENROLMENT_SEARCH_ENDED);
}

static void end_issued(enrolment_t *enrolment, const cmp_reply_t *reply)
{
    if (reply->unconfirmed) {
        gh_log(enrolment->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1048) "issuer "
               "%s: the confirmation of the certificate for enrolment %s was not answered; a CA "
               "that has not got it may revoke the certificate", issuer_of(enrolment)->name,
               framework_job_record(enrolment->job)->id);
    }
    enrolment_called(enrolment, ENROLMENT_CALL_ISSUED, reply->certificate);
}

static void end_waiting(enrolment_t *enrolment, const cmp_reply_t *reply)
{
    apr_interval_time_t pause = reply->check_after;
    int again = enrolment->known == ENROLMENT_ACCEPTED;

    enrolment->why = reply->result;     /* empty, unless asking has failed */
    if (seal_waiting(enrolment, reply->waiting) != APR_SUCCESS) {
        enrolment_found(enrolment, ENROLMENT_SEARCH_ENDED);
        return;
    }
    if (reply->stopped) {
        enrolment->known = ENROLMENT_ACCEPTED;
        enrolment_called(enrolment, ENROLMENT_CALL_STOPPED, NULL);
        return;
    }
    if (pause >= CHECK_LEAST) {
        enrolment->due = framework_job_time(enrolment->job)
            + (pause > CHECK_MOST ? CHECK_MOST : pause);
    }
    if (again) {
        enrolment_found(enrolment, ENROLMENT_SEARCH_LATER);
    }
    else {
        enrolment_called(enrolment, ENROLMENT_CALL_ACCEPTED, NULL);
    }
}

static void end_unknown(enrolment_t *enrolment, const cmp_reply_t *reply)
{
    if (reply->stopped) {
        enrolment_called(enrolment, ENROLMENT_CALL_STOPPED, NULL);
    }
    else {
        enrolment_found(enrolment, reply->waited ? ENROLMENT_SEARCH_ENDED
                                                 : ENROLMENT_SEARCH_IMPOSSIBLE);
    }
}

static void answered(void *baton, cmp_reply_t *reply)
{
    enrolment_t *enrolment = baton;

    note(enrolment, reply);
    if (reply->verdict != CMP_DONE && reply->verdict != CMP_WAITING) {
        enrolment->why = reply->result;
    }
    switch (reply->verdict) {
    case CMP_DONE:
        end_issued(enrolment, reply);
        break;
    case CMP_WAITING:
        end_waiting(enrolment, reply);
        break;
    case CMP_REFUSED:
        enrolment->reason = apr_pstrdup(enrolment->pool, reply->words);
        enrolment_called(enrolment, ENROLMENT_CALL_REFUSED, NULL);
        break;
    case CMP_WRONG:
        end_wrong(enrolment, reply);
        break;
    case CMP_UNKNOWN:
        end_unknown(enrolment, reply);
        break;
    default:
        enrolment->due = reply->stopped ? framework_job_time(enrolment->job)
            : framework_job_next(enrolment->job, reply->retry_after);
        enrolment_called(enrolment, ENROLMENT_CALL_UNDONE, NULL);
    }
}

static void ask(enrolment_t *enrolment, gh_bytes_t waiting)
{
    const ca_issuer_t *issuer = issuer_of(enrolment);
    cmp_request_t *request = enrolment->baton;

    request->request = enrolment->submission->request;
    request->plan = enrolment->submission->plan;
    request->profile = ca_profile_said(issuer, enrolment->submission->record->profile);
    request->waiting = waiting;
    request->check = check;
    request->baton = enrolment;
    cmp_call_enrol(issuer->cmp, request, answered, enrolment, enrolment->pool);
}

/** The message is made where it is sent from. */
static apr_status_t prepare(enrolment_t *enrolment)
{
    return APR_SUCCESS;
}

static void call(void *baton)
{
    gh_bytes_t nothing = { NULL, 0 };

    ask(baton, nothing);
}

static void poll(void *baton)
{
    enrolment_t *enrolment = baton;
    const cmp_request_t *request = enrolment->baton;
    framework_queue_t *queue = issuer_of(enrolment)->queue;

    if (!framework_queue_enter(queue)) {
        enrolment->due = framework_job_time(enrolment->job) + framework_queue_pause(queue);
        enrolment_found(enrolment, ENROLMENT_SEARCH_LATER);
    }
    else {
        ask(enrolment, request->waiting);
    }
}

static void find(enrolment_t *enrolment)
{
    cmp_request_t *request = enrolment->baton;
    gh_bytes_t waiting;

    if (enrolment->known != ENROLMENT_ACCEPTED) {
        enrolment_found(enrolment, ENROLMENT_SEARCH_IMPOSSIBLE);
    }
    else if (unseal_waiting(&waiting, enrolment) != APR_SUCCESS) {
        gh_result_fail(&enrolment->why, GH_ECORRUPT, GH_FAILURE_INTERNAL, "cmp.waiting",
                       "Look at the CA what has become of the request; then gatehousectl "
                       "enrolment retry or cancel.",
                       GHNO(1051) "what is stored of a request that waits at the CMP server "
                       "cannot be unsealed");
        enrolment_found(enrolment, ENROLMENT_SEARCH_ENDED);
    }
    else {
        request->waiting = waiting;
        framework_queue_turn(issuer_of(enrolment)->queue, poll, enrolment);
    }
}

void ca_enrol_cmp(void *baton, framework_job_t *job)
{
    static const enrolment_language_t language = { prepare, call, find, NULL };

    enrolment_carry_out(baton, &language, apr_pcalloc(framework_job_pool(job),
                                                      sizeof(cmp_request_t)), job);
}
