/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Jobs "escrow.available": a UEM is told that the credentials of a device and user are there, so
 * that it need not ask again and again. The id of the job is that of the delivery.
 */

#include <string.h>

#include <apr_strings.h>

#include "escrow/flow.h"
#include "fcgi/uem/uem_call.h"
#include "fcgi/uem/uem_ending.h"
#include "log.h"
#include "status.h"
#include "store/deliveries.h"
#include "store/escrow_uploads.h"

#define LATER apr_time_from_sec(60)

typedef struct {
    uem_t *uem;
    framework_job_t *job;
    apr_pool_t *pool;               /* of the job */
    const char *device;
    const char *user;
    uem_call_t *call;
    gh_result_t why;
    int status;

    int again;                      /* 1: it is tried again, at due */
    gh_delivery_state_t state;      /* otherwise; 0: nothing was to be told */
    uem_ending_t end;
    apr_time_t due;
    apr_status_t rv;
    gh_result_t result;
} notice_t;

static framework_t *framework_of(const notice_t *one)
{
    return one->uem->worker->framework;
}

static const char *id_of(const notice_t *one)
{
    return framework_job_record(one->job)->id;
}

/* Ends */

static apr_status_t end_work(gh_transaction_t *transaction, void *baton)
{
    notice_t *one = baton;
    const char *holder = framework_job_holder(one->job);
    const gh_result_t *why = one->why.number[0] ? &one->why : NULL;
    apr_status_t rv = gh_delivery_note(transaction, id_of(one),
                                       one->again ? GH_DELIVERY_OPEN
                                       : one->state ? one->state : GH_DELIVERY_CANCELLED,
                                       framework_job_record(one->job)->attempts, one->status, why,
                                       apr_time_now());

    if (rv != APR_SUCCESS) {
        return rv;
    }
    return one->again ? gh_job_again(transaction, id_of(one), holder, one->due, 0, NULL, why)
        : gh_job_remove(transaction, id_of(one), holder);
}

static void tell(void *baton)
{
    const notice_t *one = baton;

    if (!one->again && one->state == GH_DELIVERY_FAILED) {
        gh_log(framework_log(framework_of(one)), GH_LOG_WARNING, APR_SUCCESS, GHNO(1257) "UEM %s "
               "was not told that there are credentials of device %s: %s: %s", one->uem->name,
               one->device, one->why.number, one->why.message);
    }
}

static void end(notice_t *one)
{
    one->end = (uem_ending_t) {
        .store = end_work, .told = tell, .baton = one,
        .what = apr_pstrcat(one->pool, "notice ", id_of(one), NULL)
    };
    uem_ending_begin(&one->end, framework_of(one), one->job);
}

static void finish(notice_t *one, gh_delivery_state_t state)
{
    one->again = 0;
    one->state = state;
    end(one);
}

static void finish_again(notice_t *one, apr_time_t due)
{
    one->again = 1;
    one->due = due;
    end(one);
}

/* The call */

static void answered(void *baton, const uem_outcome_t *outcome)
{
    notice_t *one = baton;

    framework_queue_note(one->uem->queue, outcome->alive, outcome->retry_after);
    one->status = outcome->status;
    one->why = outcome->result;
    if (outcome->verdict == UEM_LATER) {
        finish_again(one, outcome->stopped ? framework_job_time(one->job)
                     : framework_job_next(one->job, outcome->retry_after));
    }
    else {
        finish(one, outcome->verdict == UEM_TAKEN ? GH_DELIVERY_DELIVERED : GH_DELIVERY_FAILED);
    }
}

static void go(void *baton)
{
    notice_t *one = baton;

    uem_call_make(one->call, answered, one);
}

static apr_status_t read_work(gh_transaction_t *transaction, void *baton)
{
    notice_t *one = baton;
    const char *subject = framework_job_record(one->job)->subject;
    gh_delivery_record_t made = {
        .id = id_of(one), .profile = subject, .kind = GH_DELIVERY_AVAILABLE,
        .uem = one->uem->name, .created = apr_time_now()
    };
    gh_escrow_upload_record_t *upload;
    gh_delivery_record_t *known;
    apr_status_t rv = gh_escrow_upload_find(transaction, subject, &upload, one->pool);

    if (rv == APR_SUCCESS) {
        one->device = upload->device;
        one->user = upload->user;
        rv = gh_delivery_find(transaction, made.id, &known, one->pool);
        rv = rv == APR_NOTFOUND ? gh_delivery_insert(transaction, &made) : rv;
    }
    return rv;
}

static void read_blocking(void *baton)
{
    notice_t *one = baton;

    one->rv = gh_store_write(framework_store(framework_of(one)), read_work, one, &one->result);
}

static void read_done(void *baton)
{
    notice_t *one = baton;
    apr_time_t deadline = framework_job_record(one->job)->deadline;
    uem_values_t values = {
        .device = one->device, .user = one->user, .delivery = id_of(one)
    };

    if (one->rv == APR_NOTFOUND || (one->rv == APR_SUCCESS && !one->uem->available.peer)) {
        finish(one, 0);
    }
    else if (one->rv != APR_SUCCESS) {
        one->why = one->result;
        finish_again(one, framework_job_time(one->job) + LATER);
    }
    else if (deadline && framework_job_time(one->job) >= deadline) {
        gh_result_fail(&one->why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "uem.available",
                       "See why the UEM has not taken it.",
                       GHNO(1258) "the UEM could not be told within UEMLife");
        finish(one, GH_DELIVERY_FAILED);
    }
    else if (uem_call_prepare(&one->call, one->uem, &one->uem->available, &values, one->pool,
                              &one->why) != APR_SUCCESS) {
        finish(one, GH_DELIVERY_FAILED);
    }
    else {
        framework_job_begin_call(one->job, go, one);
    }
}

static void begin(void *baton, framework_job_t *job)
{
    notice_t *one = apr_pcalloc(framework_job_pool(job), sizeof(*one));

    one->uem = baton;
    one->job = job;
    one->pool = framework_job_pool(job);
    gh_result_clear(&one->why);
    gh_result_clear(&one->result);
    framework_blocking(framework_of(one), read_blocking, read_done, one);
}

void uem_available_start(uem_t *uem)
{
    framework_handle(uem->queue, GH_ESCROW_AVAILABLE, begin, uem);
}
