/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What operators decide about enrolments that another CA carries out. */

#include "issuer/submission.h"

#include <string.h>

#include "issuer/ledger_private.h"
#include "issuer/question.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"

typedef struct {
    const char *id;
    int retry;                      /* else it is cancelled */
    const char *actor;
    const char *reason;
    gh_audit_event_t *event;
    gh_enrolment_record_t *record;
    int busy;
    apr_pool_t *pool;
} decide_t;

static int is_open(const gh_enrolment_record_t *record)
{
    return record->state == GH_ENROLMENT_SUBMITTED || record->state == GH_ENROLMENT_RETRY
        || record->state == GH_ENROLMENT_IN_DOUBT || record->state == GH_ENROLMENT_CONFIRMING;
}

/* Nothing comes of it: who has permitted it is told, and what was issued is revoked. */
static apr_status_t give_up(gh_transaction_t *transaction, const decide_t *decide, int permitted)
{
    apr_status_t rv = APR_SUCCESS;

    if (decide->record->state == GH_ENROLMENT_CONFIRMING) {
        rv = gh_ledger_withdraw(transaction, decide->record, decide->event->time, decide->pool);
    }
    return rv == APR_SUCCESS && permitted
        ? gh_ledger_tell_failed(transaction, decide->record, decide->event->time, decide->pool)
        : rv;
}

static int is_question(const gh_job_record_t *job)
{
    return strncmp(job->kind, GH_QUESTION_ASK, strlen(GH_QUESTION_ASK)) == 0;
}

/* Nothing of the row changes as long as a worker has the job. */
static apr_status_t decide_work(gh_transaction_t *transaction, void *baton)
{
    decide_t *decide = baton;
    gh_audit_event_t *event = decide->event;
    gh_bytes_t none = { NULL, 0 };
    gh_enrolment_state_t state = decide->retry ? GH_ENROLMENT_SUBMITTED : GH_ENROLMENT_REJECTED;
    gh_job_record_t *job;
    apr_status_t rv;

    decide->busy = 0;
    rv = gh_enrolment_find(transaction, decide->id, &decide->record, decide->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!is_open(decide->record)) {
        return GH_EREFUSED;
    }
    rv = gh_job_find(transaction, decide->id, &job, decide->pool);
    if (rv != APR_SUCCESS) {
        return rv == APR_NOTFOUND ? GH_EREFUSED : rv;
    }
    if (decide->retry && decide->record->state == GH_ENROLMENT_CONFIRMING) {
        state = GH_ENROLMENT_CONFIRMING;
    }
    rv = decide->retry ? gh_job_retry(transaction, decide->id)
        : gh_job_cancel(transaction, decide->id);
    decide->busy = rv == GH_EBUSY;
    if (rv != APR_SUCCESS) {
        return rv == APR_NOTFOUND ? GH_EREFUSED : rv;
    }
    if (decide->record->state != state) {
        rv = gh_enrolment_move(transaction, decide->id, decide->record->state, state,
                               decide->actor, decide->reason, none, event->time);
    }
    if (rv == APR_SUCCESS && !decide->retry) {
        rv = give_up(transaction, decide, !is_question(job));
    }
    if (rv == APR_SUCCESS) {
        event->tenant = decide->record->tenant;
        event->issuer = decide->record->issuer;
        event->profile = decide->record->profile;
        event->subject = decide->record->subject;
        event->transaction = decide->record->transaction;
        rv = gh_audit_insert(transaction, event, gh_audit_line(event, decide->pool), 0);
    }
    return rv == APR_NOTFOUND ? GH_EREFUSED : rv;
}

static apr_status_t decide(decide_t *decide, gh_store_t *store, gh_result_t *result)
{
    gh_audit_event_t *event = decide->event;
    apr_status_t rv;

    if (!event->time) {
        event->time = apr_time_now();
    }
    event->event = decide->retry ? "retry" : "cancel";
    event->user = decide->actor;
    event->result = "done";
    event->message = decide->reason;
    rv = gh_store_write(store, decide_work, decide, result);
    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, rv, GH_FAILURE_NOT_FOUND, "enrolment",
                              "List them with gatehousectl enrolment list.",
                              GHNO(0785) "there is no enrolment %s", decide->id);
    }
    if (rv == GH_EREFUSED) {
        return gh_result_fail(result, rv, GH_FAILURE_CONFLICT, "enrolment.state",
                              "Only what waits for others (submitted, retry, in-doubt, "
                              "confirming) can be tried again or cancelled.",
                              GHNO(0786) "enrolment %s is %s", decide->id,
                              gh_enrolment_state_name(decide->record->state));
    }
    if (rv == GH_EBUSY && decide->busy) {
        return gh_result_fail(result, rv, GH_FAILURE_CONFLICT, "enrolment.busy",
                              "Wait until its call to the CA has ended.",
                              GHNO(0787) "a worker is carrying out enrolment %s", decide->id);
    }
    return rv;
}

apr_status_t gh_submission_retry(gh_store_t *store, const char *id, const char *actor,
                                 gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result)
{
    decide_t retry = { .id = id, .retry = 1, .actor = actor, .event = event, .pool = p };

    return decide(&retry, store, result);
}

apr_status_t gh_submission_cancel(gh_store_t *store, const char *id, const char *actor,
                                  const char *reason, gh_audit_event_t *event, apr_pool_t *p,
                                  gh_result_t *result)
{
    decide_t cancel = {
        .id = id, .actor = actor, .reason = reason ? reason : "cancelled by an operator",
        .event = event, .pool = p
    };

    return decide(&cancel, store, result);
}
