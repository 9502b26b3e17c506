/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Enrolments that a CA elsewhere carries out: how far they are, and what an operator may do. */

#include "ctl_enrolment.h"

#include <apr_strings.h>

#include "ctl_commands.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "issuer/submission.h"
#include "status.h"

const ctl_option_t ctl_enrolment_cancel_options[] = {
    { "reason", 0, "TEXT", "why, for the requester" },
    { NULL, 0, NULL, NULL }
};

static const char *or_never(apr_time_t time, apr_pool_t *p)
{
    return time ? gh_time_text(p, time) : NULL;
}

const char *ctl_job_failure(const gh_job_record_t *job, apr_pool_t *p)
{
    return job->message == NULL ? NULL
        : apr_pstrcat(p, job->number != NULL ? job->number : "", job->number != NULL ? ": " : "",
                      job->message, NULL);
}

void ctl_job_print(const gh_job_record_t *job, apr_pool_t *p)
{
    puts("\nIt waits for the CA:");
    ctl_field_print(stdout, "  calls", apr_itoa(p, job->attempts), p);
    ctl_field_print(stdout, "  next",
                    job->state == GH_JOB_DOUBT ? "not before an operator has decided"
                    : job->holder != NULL && job->held_until > apr_time_now()
                    ? apr_pstrcat(p, "a worker is at it: ", job->holder, NULL)
                    : gh_time_text(p, job->due), p);
    ctl_field_print(stdout, "  given up at", or_never(job->deadline, p), p);
    ctl_field_print(stdout, "  sent, outcome unknown", or_never(job->sent, p), p);
    ctl_field_print(stdout, "  known to the CA as", job->reference, p);
    ctl_field_print(stdout, "  last failure", ctl_job_failure(job, p), p);
}

int ctl_enrolment_retry(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *id = ctl_operand(arguments, 0);
    gh_result_t result;
    int code = ctl_open(ctl);

    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_submission_retry(ctl->store, id, ctl->actor, ctl_event(ctl, "retry", ctl->p), ctl->p,
                            &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (!ctl->json) {
        printf("A worker tries %s again within a second or so.\n", id);
        return CTL_OK;
    }
    return ctl_enrolment_print(ctl, id);
}

int ctl_enrolment_cancel(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *id = ctl_operand(arguments, 0);
    const char *reason;
    gh_result_t result;
    int code = ctl_enrolment_reason(ctl, arguments, &reason);

    if (code == CTL_OK) {
        code = ctl_open(ctl);
    }
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_submission_cancel(ctl->store, id, ctl->actor, reason, ctl_event(ctl, "cancel", ctl->p),
                             ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (!ctl->json) {
        printf("cancelled %s\nIf the CA has issued its certificate, revoke it there.\n", id);
        return CTL_OK;
    }
    return ctl_enrolment_print(ctl, id);
}
