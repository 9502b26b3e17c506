/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Jobs "escrow.deliver": a profile is completed, and taken to its UEM.
 *
 *   read -> completing -> completed, with a delivery -> call -> delivered
 *      |         `-> credentials are gone: waits         |--> refused: failed
 *      `-> queued: call with what was completed before   `--> anything else: again, until the
 *                                                             deadline
 *
 * Whatever happens in between, the next who takes the job begins with what is stored. A call may so
 * be made twice, with the same id and the same bytes.
 */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/uem/uem_call.h"
#include "fcgi/uem/uem_complete.h"
#include "fcgi/uem/uem_ending.h"
#include "log.h"
#include "mod_escrow/escrow_complete.h"
#include "status.h"

#define RULE "uem.deliver"

/** What cannot be read or completed now is looked at again after this. */
#define LATER apr_time_from_sec(60)

/** How long a profile waits for credentials that were taken away. */

typedef enum {
    END_OVER = 1,                   /* nothing is to be done */
    END_AGAIN,
    END_DELIVERED,
    END_FAILED,
    END_WAIT
} ending_t;

typedef struct {
    uem_t *uem;
    framework_job_t *job;
    apr_pool_t *pool;               /* of the job */
    gh_escrow_profile_record_t *profile;    /* NULL: could not be read */
    apr_array_header_t *credentials;
    int refused;                    /* the recipient: why says it */
    gh_bytes_t document;
    const char *delivery;           /* id of a new one */
    uem_call_t *call;
    json_t *labels;
    gh_result_t why;
    int status;

    ending_t ending;
    uem_ending_t end;
    apr_time_t due;
    apr_status_t rv;                /* of what was done on a lane */
    gh_result_t result;
    gh_audit_event_t event;
} delivery_t;

static framework_t *framework_of(const delivery_t *one)
{
    return one->uem->worker->framework;
}

static const char *name_of(const delivery_t *one)
{
    return one->profile ? one->profile->profile : framework_job_record(one->job)->subject;
}

static apr_status_t release_labels(void *labels)
{
    json_decref(labels);
    return APR_SUCCESS;
}

/* Ends */

static gh_audit_event_t *event_of(delivery_t *one)
{
    gh_audit_event_t *event = &one->event;

    memset(event, 0, sizeof(*event));
    event->time = apr_time_now();
    event->id = gh_random_id(one->pool);
    event->node = framework_node(framework_of(one));
    event->event = "deliver";
    event->protocol = "escrow";
    event->profile = one->profile->profile;
    event->subject = apr_psprintf(one->pool, "device %s, user %s", one->profile->device,
                                  one->profile->user);
    event->transaction = one->profile->delivery;
    event->rule = one->uem->name;
    if (one->ending == END_DELIVERED) {
        event->result = "done";
    }
    else {
        gh_audit_take_result(event, &one->why, one->pool);
        event->result = "failed";
    }
    return event;
}

static apr_status_t end_work(gh_transaction_t *transaction, void *baton)
{
    delivery_t *one = baton;
    gh_delivering_end_t end = {
        .job = framework_job_record(one->job)->id, .holder = framework_job_holder(one->job),
        .attempts = framework_job_record(one->job)->attempts, .status = one->status,
        .why = one->why.number[0] ? &one->why : NULL, .due = one->due
    };

    switch (one->ending) {
    case END_DELIVERED:
        end.event = event_of(one);
        return gh_delivering_delivered(transaction, one->profile, &end, one->pool);
    case END_FAILED:
        end.event = event_of(one);
        return gh_delivering_failed(transaction, one->profile, &end, one->pool);
    case END_WAIT:
        return gh_delivering_wait(transaction, one->profile, one->uem->worker->patience,
                                  &end, one->pool);
    case END_AGAIN:
        return one->profile ? gh_delivering_again(transaction, one->profile, &end)
            : gh_job_again(transaction, end.job, end.holder, end.due, 0, NULL, end.why);
    default:
        return gh_job_remove(transaction, end.job, end.holder);
    }
}

static void tell(void *baton)
{
    const delivery_t *one = baton;
    const gh_log_t *log = framework_log(framework_of(one));
    const char *uem = one->uem->name, *profile = name_of(one);

    if (one->ending == END_DELIVERED) {
        gh_log(log, GH_LOG_INFO, APR_SUCCESS, GHNO(1251) "profile %s was taken by UEM %s as "
               "delivery %s", profile, uem, one->profile->delivery);
    }
    else if (one->ending == END_FAILED) {
        gh_log(log, GH_LOG_ERROR, APR_SUCCESS, GHNO(1252) "profile %s is not delivered to UEM %s: "
               "%s: %s", profile, uem, one->why.number, one->why.message);
    }
    else if (one->ending == END_AGAIN && one->why.number[0]) {
        gh_log(log, GH_LOG_INFO, APR_SUCCESS, GHNO(1253) "profile %s is tried again for UEM %s: "
               "%s: %s", profile, uem, one->why.number, one->why.message);
    }
}

static void finish(delivery_t *one, ending_t ending)
{
    one->ending = ending;
    one->end = (uem_ending_t) {
        .store = end_work, .told = tell, .baton = one,
        .what = apr_pstrcat(one->pool, "profile ", name_of(one), NULL)
    };
    uem_ending_begin(&one->end, framework_of(one), one->job);
}

static void finish_again(delivery_t *one, apr_time_t due)
{
    apr_time_t deadline = framework_job_record(one->job)->deadline;
    apr_time_t now = framework_job_time(one->job);

    one->due = deadline > now && due > deadline ? deadline : due;
    finish(one, END_AGAIN);
}

/* The call */

static void answered(void *baton, const uem_outcome_t *outcome)
{
    delivery_t *one = baton;

    framework_queue_note(one->uem->queue, outcome->alive, outcome->retry_after);
    if (!outcome->stopped) {
        uem_state_note(one->uem, outcome->alive, &outcome->result);
    }
    one->status = outcome->status;
    one->why = outcome->result;
    switch (outcome->verdict) {
    case UEM_TAKEN:
        finish(one, END_DELIVERED);
        break;
    case UEM_REFUSED:
        finish(one, END_FAILED);
        break;
    default:
        finish_again(one, outcome->stopped ? framework_job_time(one->job)
                     : framework_job_next(one->job, outcome->retry_after));
    }
}

static void go(void *baton)
{
    delivery_t *one = baton;

    uem_call_make(one->call, answered, one);
}

static void deliver(delivery_t *one)
{
    const gh_escrow_profile_record_t *profile = one->profile;
    uem_values_t values = {
        .profile = profile->profile, .device = profile->device, .user = profile->user,
        .delivery = profile->delivery, .document = profile->completed,
        .document_type = escrow_media_type(profile->format, profile->sign)
    };

    if (profile->labels) {
        one->labels = json_loads(profile->labels, 0, NULL);
        apr_pool_cleanup_register(one->pool, one->labels, release_labels, apr_pool_cleanup_null);
    }
    values.labels = one->labels;
    if (uem_call_prepare(&one->call, one->uem, &one->uem->deliver, &values, one->pool, &one->why)
        != APR_SUCCESS) {
        finish(one, END_FAILED);
        return;
    }
    framework_job_begin_call(one->job, go, one);
}

/* Completing */

static apr_status_t keep_work(gh_transaction_t *transaction, void *baton)
{
    delivery_t *one = baton;
    return gh_delivering_completed(transaction, one->profile, one->delivery, one->document,
                                   apr_time_now());
}

static void keep_blocking(void *baton)
{
    delivery_t *one = baton;

    gh_result_clear(&one->result);
    one->rv = gh_store_write(framework_store(framework_of(one)), keep_work, one, &one->result);
}

static void keep_done(void *baton)
{
    delivery_t *one = baton;

    if (one->rv == APR_SUCCESS) {
        one->profile->state = GH_ESCROW_QUEUED;
        one->profile->completed = one->document;
        one->profile->delivery = one->delivery;
        deliver(one);
    }
    else if (one->rv == APR_NOTFOUND) {
        finish(one, END_OVER);      /* it was replaced meanwhile, and that has a job */
    }
    else {
        one->why = one->result;
        finish_again(one, framework_job_time(one->job) + LATER);
    }
}

static void complete_work(void *baton)
{
    delivery_t *one = baton;

    one->rv = uem_complete(&one->document, one->uem->worker, one->profile, one->credentials,
                           one->pool, &one->why);
}

static void complete_done(void *baton)
{
    delivery_t *one = baton;

    if (one->rv == APR_SUCCESS) {
        one->delivery = gh_ordered_id(apr_time_now(), one->pool);
        framework_blocking(framework_of(one), keep_blocking, keep_done, one);
    }
    else if (one->rv == GH_EREFUSED) {
        finish(one, END_WAIT);
    }
    else if (one->rv == GH_EUNAVAILABLE) {
        gh_log(framework_log(framework_of(one)), GH_LOG_ERROR, APR_SUCCESS, GHNO(1255) "profile "
               "%s cannot be completed now: %s: %s; %s", name_of(one), one->why.number,
               one->why.message, one->why.action);
        finish_again(one, framework_job_time(one->job) + LATER);
    }
    else {
        finish(one, END_FAILED);
    }
}

static int is_late(const delivery_t *one)
{
    apr_time_t deadline = framework_job_record(one->job)->deadline;

    return deadline && framework_job_time(one->job) >= deadline;
}

static void begin_work(delivery_t *one)
{
    if (is_late(one)) {
        const gh_job_record_t *record = framework_job_record(one->job);

        gh_result_fail(&one->why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "See why the UEM has not taken it; then retry it with gatehousectl escrow "
                       "retry.",
                       GHNO(1256) "it could not be delivered within UEMLife%s%s",
                       record->number ? "; at last " : "", record->number ? record->number : "");
        finish(one, END_FAILED);
    }
    else if (one->profile->state == GH_ESCROW_QUEUED) {
        deliver(one);
    }
    else if (one->refused) {
        finish(one, END_FAILED);
    }
    else if (framework_blocking_on(one->uem->worker->completing, complete_work, complete_done, one,
                                   one->pool) != APR_SUCCESS) {
        finish_again(one, framework_job_time(one->job) + LATER);
    }
}

static apr_int64_t generation_of(const gh_job_record_t *job, apr_pool_t *p)
{
    return job->payload.data
        ? apr_atoi64(apr_pstrmemdup(p, (const char *)job->payload.data, job->payload.length)) : 0;
}

static apr_status_t read_work(gh_transaction_t *transaction, void *baton)
{
    delivery_t *one = baton;
    const gh_job_record_t *job = framework_job_record(one->job);
    apr_status_t rv = gh_delivering_read(transaction, job->subject, generation_of(job, one->pool),
                                         &one->profile, &one->credentials, one->pool);

    one->refused = 0;
    if (rv == APR_SUCCESS && one->profile->state == GH_ESCROW_COMPLETING) {
        rv = uem_check_recipient(transaction, one->uem->worker, one->profile, one->pool,
                                 &one->why);
        one->refused = rv == GH_EREFUSED;
    }
    return one->refused ? APR_SUCCESS : rv;
}

static void read_blocking(void *baton)
{
    delivery_t *one = baton;

    one->rv = gh_store_read(framework_store(framework_of(one)), read_work, one, &one->result);
}

static void read_done(void *baton)
{
    delivery_t *one = baton;

    if (one->rv == APR_SUCCESS) {
        begin_work(one);
        return;
    }
    one->profile = NULL;
    if (one->rv == APR_NOTFOUND) {
        finish(one, END_OVER);
    }
    else {
        one->why = one->result;
        finish_again(one, framework_job_time(one->job) + LATER);
    }
}

static void begin(void *baton, framework_job_t *job)
{
    delivery_t *one = apr_pcalloc(framework_job_pool(job), sizeof(*one));

    one->uem = baton;
    one->job = job;
    one->pool = framework_job_pool(job);
    gh_result_clear(&one->why);
    gh_result_clear(&one->result);
    framework_blocking(framework_of(one), read_blocking, read_done, one);
}

void uem_deliver_start(uem_t *uem)
{
    framework_handle(uem->queue, GH_ESCROW_DELIVER, begin, uem);
}
