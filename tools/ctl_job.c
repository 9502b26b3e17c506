/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Changes of status that CAs elsewhere have to be told of, and what operators may do about them. */

#include <string.h>

#include <apr_strings.h>

#include "audit.h"
#include "ctl_commands.h"
#include "ctl_enrolment.h"
#include "ctl_output.h"
#include "issuer/question.h"
#include "issuer/submission.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/jobs.h"

#define RULE "job"

typedef struct {
    const char *id;
    int cancel;
    apr_array_header_t *records;    /* gh_job_record_t * */
    gh_audit_event_t *event;
    apr_pool_t *p;
} baton_t;

static int is_enrolment(const gh_job_record_t *job)
{
    /* what is told when an enrolment is over is a job like others */
    return strcmp(job->kind, GH_SUBMISSION_KIND) == 0
        || strncmp(job->kind, GH_QUESTION_ASK, strlen(GH_QUESTION_ASK)) == 0
        || strncmp(job->kind, GH_QUESTION_CONFIRM, strlen(GH_QUESTION_CONFIRM)) == 0;
}

static apr_status_t list_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_job_list_without(transaction, GH_SUBMISSION_KIND, 0, &baton->records, baton->p);
}

static void print_job(const gh_job_record_t *job, apr_pool_t *p)
{
    ctl_json_print(stdout, json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:o}", "id", job->id, "kind", job->kind, "issuer",
        job->queue, "serial", job->subject, "state",
        job->state == GH_JOB_DOUBT ? "failed" : "open", "calls", job->attempts, "next",
        job->state == GH_JOB_DOUBT ? json_null() : ctl_json_time(job->due, p), "failure",
        ctl_json_text(ctl_job_failure(job, p), p)));
}

int ctl_job_list(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    static const char *const headings[] = {
        "ID", "KIND", "ISSUER", "SERIAL", "STATE", "CALLS", "FAILURE", NULL
    };
    ctl_table_t *table = ctl_table_create(headings, ctl->p);
    baton_t baton = { .p = ctl->p };
    gh_result_t result;
    int code = ctl_open(ctl);
    int i;

    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_store_read(ctl->store, list_work, &baton, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    for (i = 0; i < baton.records->nelts; i++) {
        const gh_job_record_t *job = APR_ARRAY_IDX(baton.records, i, const gh_job_record_t *);

        if (ctl->json) {
            print_job(job, ctl->p);
            continue;
        }
        ctl_table_row(table, (const char *const []) {
            job->id, job->kind, job->queue, job->subject,
            job->state == GH_JOB_DOUBT ? "failed" : "open", apr_itoa(ctl->p, job->attempts),
            ctl_job_failure(job, ctl->p)
        });
    }
    if (!ctl->json) {
        ctl_table_print(table, stdout);
    }
    return CTL_OK;
}

static apr_status_t change_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    gh_job_record_t *job;
    apr_status_t rv = gh_job_find(transaction, baton->id, &job, baton->p);

    if (rv == APR_SUCCESS && is_enrolment(job)) {
        return GH_EREFUSED;
    }
    if (rv == APR_SUCCESS) {
        rv = baton->cancel ? gh_job_cancel(transaction, baton->id)
            : gh_job_retry(transaction, baton->id);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    baton->event->issuer = job->queue;
    baton->event->serial = job->subject;
    return gh_audit_insert(transaction, baton->event, gh_audit_line(baton->event, baton->p), 0);
}

static int change(ctl_t *ctl, const ctl_arguments_t *arguments, int cancel)
{
    baton_t baton = { .id = ctl_operand(arguments, 0), .cancel = cancel, .p = ctl->p };
    gh_result_t result;
    apr_status_t rv;
    int code = ctl_open(ctl);

    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    baton.event = ctl_event(ctl, cancel ? "cancel" : "retry", ctl->p);
    rv = gh_store_write(ctl->store, change_work, &baton, &result);
    if (rv == APR_SUCCESS) {
        return CTL_OK;
    }
    if (!result.number[0]) {
        gh_result_fail(&result, rv, GH_FAILURE_REQUEST, RULE,
                       "See gatehousectl job list; jobs of enrolments are changed by gatehousectl "
                       "enrolment retry and cancel, those that a worker is at in a moment.",
                       GHNO(0859) "job %s is not there, is one of an enrolment, or a worker is at "
                       "it", baton.id);
    }
    return ctl_fail(&result);
}

int ctl_job_retry(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    return change(ctl, arguments, 0);
}

int ctl_job_cancel(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    return change(ctl, arguments, 1);
}
