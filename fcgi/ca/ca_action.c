/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Changes of status, which a CA elsewhere is told of. Done twice they do the same as once, so that
 * what has become of a call need not be known. What the CA does not do is left to an operator.
 */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/x509v3.h>

#include "fcgi/ca/ca_service.h"
#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/ca.h"

#define RULE "cagw.action"
#define COMMENT "Gatehouse"

/** A store that does not answer is asked again. */
#define STORE_PAUSE apr_time_from_sec(1)
#define STORE_TRIES 60

typedef enum {
    ACTION_DONE = 1,
    ACTION_AGAIN,
    ACTION_FAILED
} action_ending_t;

typedef struct {
    ca_service_t *service;
    framework_job_t *job;
    apr_pool_t *pool;
    cagw_action_t action;
    int reason;
    gh_bytes_t serial;
    apr_array_header_t *spellings;  /* of the serial number */
    int spelling;                   /* which is tried */
    gh_bytes_t body;
    int counted;                    /* among those that have not called yet */

    action_ending_t ending;
    gh_result_t why;
    apr_time_t due;
    apr_status_t rv;
    gh_result_t stored;
    int tries;
} action_t;

static framework_t *framework_of(const action_t *action)
{
    return action->service->issuer->worker->framework;
}

static const char *name_of(const action_t *action)
{
    static const char *const names[] = { NULL, "revoked", "held", "released" };

    return names[action->action];
}

static const char *serial_of(const action_t *action)
{
    return APR_ARRAY_IDX(action->spellings, action->spelling, const char *);
}

/* Ends */

static apr_status_t store_work(gh_transaction_t *transaction, void *baton)
{
    action_t *action = baton;
    const char *id = framework_job_record(action->job)->id;
    const char *holder = framework_job_holder(action->job);

    switch (action->ending) {
    case ACTION_DONE:
        return gh_job_remove(transaction, id, holder);
    case ACTION_AGAIN:
        return gh_job_again(transaction, id, holder, action->due, 0, NULL, &action->why);
    default:
        return gh_job_doubt(transaction, id, holder, &action->why);
    }
}

static void end_work(void *baton)
{
    action_t *action = baton;

    gh_result_clear(&action->stored);
    action->rv = gh_store_write(framework_store(framework_of(action)), store_work, action,
                                &action->stored);
}

static void end_done(void *baton);

static void end(void *baton)
{
    action_t *action = baton;

    framework_blocking(framework_of(action), end_work, end_done, action);
}

static void end_done(void *baton)
{
    action_t *action = baton;
    const ca_service_t *service = action->service;
    const gh_result_t *why = &action->why;
    const char *serial = framework_job_record(action->job)->subject;

    if (action->rv != APR_SUCCESS && action->rv != APR_NOTFOUND && ++action->tries < STORE_TRIES) {
        framework_at(framework_of(action), apr_time_now() + STORE_PAUSE, end, action);
        return;
    }
    if (action->ending == ACTION_DONE) {
        gh_log(service->gateway.log, GH_LOG_INFO, APR_SUCCESS, GHNO(0845) "the CA of issuer %s has "
               "%s certificate %s", service->issuer->name, name_of(action), serial);
    }
    else if (action->ending == ACTION_FAILED) {
        gh_log(service->gateway.log, GH_LOG_ERROR, APR_SUCCESS, GHNO(0846) "the CA of issuer %s "
               "has not %s certificate %s: %s: %s; %s", service->issuer->name, name_of(action),
               serial, why->number, why->message, why->action);
    }
    framework_job_over(action->job);
}

static void finish(action_t *action, action_ending_t ending)
{
    apr_time_t deadline = framework_job_record(action->job)->deadline;

    if (ending == ACTION_AGAIN && deadline && framework_job_time(action->job) >= deadline) {
        ending = ACTION_FAILED;
    }
    action->service->actions -= action->counted;
    action->counted = 0;
    action->ending = ending;
    end(action);
}

/* The call */

static void call(void *baton);

/** Whether a certificate is what the action would make of it. */
static int is_so(const action_t *action, cagw_status_t status)
{
    switch (action->action) {
    case CAGW_REVOKE:
        return status == CAGW_STATUS_IS_REVOKED;
    case CAGW_HOLD:
        return status == CAGW_STATUS_IS_HELD || status == CAGW_STATUS_IS_REVOKED;
    default:
        return status == CAGW_STATUS_IS_NORMAL;
    }
}

static void looked_up(void *baton, cagw_outcome_t *outcome)
{
    action_t *action = baton;
    cagw_certificate_t certificate;
    gh_result_t result;

    framework_queue_note(action->service->issuer->queue, outcome->alive || outcome->stopped,
                         outcome->verdict == CAGW_BUSY ? outcome->retry_after : 0);
    gh_result_clear(&result);
    if (outcome->verdict == CAGW_DONE
        && cagw_read_certificate(&certificate, &outcome->reply, action->pool, &result)
        == APR_SUCCESS
        && (is_so(action, certificate.status) || certificate.status == CAGW_STATUS_IS_EXPIRED)) {
        finish(action, ACTION_DONE);
    }
    else if (outcome->verdict == CAGW_DONE || outcome->verdict == CAGW_REFUSED
             || outcome->verdict == CAGW_MISSING || outcome->verdict == CAGW_UNSUPPORTED) {
        finish(action, ACTION_FAILED);
    }
    else {
        action->due = framework_job_next(action->job, outcome->retry_after);
        finish(action, ACTION_AGAIN);
    }
}

static void look_up_now(void *baton)
{
    action_t *action = baton;
    framework_queue_t *queue = action->service->issuer->queue;

    if (!framework_queue_enter(queue)) {
        action->due = framework_job_time(action->job) + framework_queue_pause(queue);
        finish(action, ACTION_AGAIN);
        return;
    }
    cagw_call_certificate(&action->service->gateway, serial_of(action), looked_up, action,
                          action->pool);
}

/** The CA has said no; perhaps since it is so already. */
static void look_up(action_t *action)
{
    framework_queue_turn(action->service->issuer->queue, look_up_now, action);
}

static void take_answer(action_t *action, cagw_outcome_t *outcome)
{
    int rejected;

    if (cagw_read_action(&rejected, &outcome->reply, &action->why) != APR_SUCCESS) {
        action->due = framework_job_next(action->job, 0);
        finish(action, ACTION_AGAIN);
    }
    else if (rejected) {
        gh_result_fail(&action->why, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                       "Ask the operator of the CA.",
                       GHNO(0847) "the CA has rejected the change");
        look_up(action);
    }
    else {
        finish(action, ACTION_DONE);
    }
}

static void called(void *baton, cagw_outcome_t *outcome)
{
    action_t *action = baton;

    framework_queue_note(action->service->issuer->queue, outcome->alive || outcome->stopped,
                         outcome->verdict == CAGW_BUSY ? outcome->retry_after : 0);
    ca_service_note(action->service, outcome);
    action->why = outcome->result;
    switch (outcome->verdict) {
    case CAGW_DONE:
        take_answer(action, outcome);
        break;
    case CAGW_MISSING:
        if (++action->spelling < action->spellings->nelts) {
            framework_job_begin_call(action->job, call, action);
            break;
        }
        action->spelling = 0;
        finish(action, ACTION_FAILED);
        break;
    case CAGW_REFUSED:
        look_up(action);
        break;
    case CAGW_UNSUPPORTED:
        finish(action, ACTION_FAILED);
        break;
    default:
        action->due = outcome->stopped ? framework_job_time(action->job)
            : framework_job_next(action->job, outcome->retry_after);
        finish(action, ACTION_AGAIN);
    }
}

/** A certificate that is revoked is what a revocation, and a hold, would make of it. */
static void cmp_called(void *baton, cmp_reply_t *reply)
{
    action_t *action = baton;
    int already = reply->revoked && action->action != CAGW_RELEASE;

    framework_queue_note(action->service->issuer->queue, reply->alive || reply->stopped,
                         reply->verdict == CMP_BUSY ? reply->retry_after : 0);
    action->why = reply->result;
    if (reply->verdict == CMP_DONE || (reply->verdict == CMP_REFUSED && already)) {
        finish(action, ACTION_DONE);
    }
    else if (reply->verdict == CMP_REFUSED) {
        finish(action, ACTION_FAILED);
    }
    else {
        action->due = reply->stopped ? framework_job_time(action->job)
            : framework_job_next(action->job, reply->retry_after);
        finish(action, ACTION_AGAIN);
    }
}

static int cmp_reason(const action_t *action)
{
    return action->action == CAGW_HOLD ? CRL_REASON_CERTIFICATE_HOLD
        : action->action == CAGW_RELEASE ? CRL_REASON_REMOVE_FROM_CRL : action->reason;
}

/** The last of those that are there wants a CRL. */
static void call(void *baton)
{
    action_t *action = baton;
    int last;

    action->service->actions -= action->counted;
    action->counted = 0;
    if (action->service->issuer->cmp) {
        cmp_call_revoke(action->service->issuer->cmp, action->serial, cmp_reason(action),
                        cmp_called, action, action->pool);
        return;
    }
    last = action->service->actions == 0 && action->action == CAGW_REVOKE;
    if (cagw_write_action(&action->body, action->action, action->reason, COMMENT, last,
                          action->pool, &action->why) != APR_SUCCESS) {
        finish(action, ACTION_FAILED);
        return;
    }
    cagw_call_action(&action->service->gateway, serial_of(action), action->body, called, action,
                     action->pool);
}

static int read_reason(gh_bytes_t payload, apr_pool_t *p)
{
    const char *text = payload.length
        ? apr_pstrmemdup(p, (const char *)payload.data, payload.length) : "";
    char *end_of;
    apr_int64_t reason = apr_strtoi64(text, &end_of, 10);

    return *text && !*end_of && reason >= 0 && reason <= 10 ? (int)reason : GH_REASON_NONE;
}

static apr_status_t not_counted(void *data)
{
    action_t *action = data;

    /* the job has ended for this process without a call */
    action->service->actions -= action->counted;
    return APR_SUCCESS;
}

static void begin(ca_service_t *service, framework_job_t *job, cagw_action_t what)
{
    const gh_job_record_t *record = framework_job_record(job);
    apr_pool_t *p = framework_job_pool(job);
    action_t *action = apr_pcalloc(p, sizeof(*action));

    action->service = service;
    action->job = job;
    action->pool = p;
    action->action = what;
    action->reason = read_reason(record->payload, p);
    if (gh_serial_parse(&action->serial, record->subject, p) != APR_SUCCESS) {
        gh_result_fail(&action->why, APR_EINVAL, GH_FAILURE_INTERNAL, RULE,
                       "Take it off the list with gatehousectl job cancel.",
                       GHNO(0848) "a job to change the status of a certificate has no serial "
                       "number");
        finish(action, ACTION_FAILED);
        return;
    }
    action->spellings = cagw_serial_spellings(action->serial, p);
    action->counted = 1;
    ++service->actions;
    apr_pool_cleanup_register(p, action, not_counted, apr_pool_cleanup_null);
    framework_job_begin_call(job, call, action);
}

void ca_revoke(void *baton, framework_job_t *job)
{
    begin(baton, job, CAGW_REVOKE);
}

void ca_hold(void *baton, framework_job_t *job)
{
    begin(baton, job, CAGW_HOLD);
}

void ca_release(void *baton, framework_job_t *job)
{
    begin(baton, job, CAGW_RELEASE);
}
