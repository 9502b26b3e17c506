/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The part of check about work that CAs elsewhere have to do. */

#include "ctl_issuer.h"
#include "ctl_verdict.h"

#include <string.h>

#include <apr_strings.h>

#include "issuer/gateway_state.h"
#include "issuer/intune.h"
#include "issuer/issuer.h"
#include "status.h"
#include "store/jobs.h"

#define RULE "check"

/** A worker writes every minute what it sees of a gateway. */
#define LOOKED_LONG_AGO apr_time_from_sec(180)

typedef struct {
    const char *queue;
    gh_job_counts_t counts;
} baton_t;

static apr_status_t counts_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_job_counts(transaction, baton->queue, &baton->counts);
}

typedef struct {
    const char *issuer;
    int found;
    gh_gateway_state_t state;
    apr_pool_t *p;
} gateway_baton_t;

static apr_status_t gateway_work(gh_transaction_t *transaction, void *data)
{
    gateway_baton_t *baton = data;
    apr_status_t rv = gh_gateway_state_get(transaction, baton->issuer, &baton->state, baton->p);

    baton->found = rv == APR_SUCCESS;
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

/** What the issuer needs of its CA, and a worker has not found there. */
static void check_findings(ctl_check_t *check, const char *name,
                           const apr_array_header_t *findings)
{
    gh_result_t result;
    int i;

    for (i = 0; i < findings->nelts; i++) {
        const gh_gateway_finding_t *one = APR_ARRAY_IDX(findings, i, const gh_gateway_finding_t *);

        gh_result_clear(&result);
        result.status = APR_EGENERAL;
        result.failure = GH_FAILURE_REQUEST;
        result.rule = RULE;
        apr_cpystrn(result.number, one->number, sizeof(result.number));
        apr_cpystrn(result.message, one->message, sizeof(result.message));
        apr_cpystrn(result.action, one->action, sizeof(result.action));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
}

/** Nobody looks at it: then nobody works for it either. */
static void nobody_looks(ctl_check_t *check, const char *name, const gateway_baton_t *baton)
{
    gh_result_t result;

    gh_result_clear(&result);
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                   "See in the error log what has become of the worker; httpd starts it and keeps "
                   "it running.",
                   GHNO(1099) "no worker has looked at the gateway%s%s%s%s",
                   baton->found ? " since " : " yet",
                   baton->found ? gh_time_text(check->p, baton->state.time) : "",
                   baton->found ? ", then that of " : "", baton->found ? baton->state.node : "");
    ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
}

static int is_looked_at(const gateway_baton_t *baton)
{
    apr_time_t now = apr_time_now();

    return baton->found && now - baton->state.time < LOOKED_LONG_AGO;
}

/** What a worker has last seen of it; it looks by itself. */
static void check_gateway(ctl_check_t *check, const char *issuer)
{
    const char *name = apr_pstrcat(check->p, "gateway.", issuer, NULL);
    gateway_baton_t baton = { .issuer = issuer, .p = check->p };
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_store_read(check->ctl->store, gateway_work, &baton, &result) != APR_SUCCESS) {
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
    }
    else if (!is_looked_at(&baton)) {
        nobody_looks(check, name, &baton);
    }
    else if (baton.state.up && baton.state.findings->nelts > 0) {
        check_findings(check, name, baton.state.findings);
    }
    else if (baton.state.up) {
        ctl_verdict_ok(check, name, "the gateway answers, and its CA is up");
    }
    else {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                       baton.state.action, GHNO(0858) "the gateway is not usable: %s: %s; seen by "
                       "%s at %s", baton.state.number, baton.state.message, baton.state.node,
                       gh_time_text(check->p, baton.state.time));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
}

/** Who has to do the jobs of a queue. */
static const char *whose(const char *queue)
{
    return !strncmp(queue, "webhook:", 8) ? "the webhook"
        : !strncmp(queue, GH_INTUNE_QUEUE, sizeof(GH_INTUNE_QUEUE) - 1) ? "Intune"
        : strchr(queue, ':') ? "the worker" : "the CA";
}

static void check_queue(ctl_check_t *check, const char *issuer)
{
    const char *name = apr_pstrcat(check->p, "jobs.", issuer, NULL);
    baton_t baton = { .queue = issuer };
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_store_read(check->ctl->store, counts_work, &baton, &result) != APR_SUCCESS) {
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    if (baton.counts.doubt > 0) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "See gatehousectl enrolment list --state in-doubt; look in the CA what it "
                       "has issued, then give enrolment retry or enrolment cancel.",
                       GHNO(0788) "of %" APR_INT64_T_FMT " jobs for %s nobody can tell "
                       "whether it has done them", baton.counts.doubt, whose(issuer));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    if (baton.counts.overdue > 0) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                       "Look in the error log whether the worker runs, and whether it reaches "
                       "the CA.",
                       GHNO(0789) "%" APR_INT64_T_FMT " jobs for %s have been due for more "
                       "than a minute; the oldest is of %s", baton.counts.overdue, whose(issuer),
                       gh_time_text(check->p, baton.counts.oldest));
        ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
    }
    if (baton.counts.doubt == 0 && baton.counts.overdue == 0) {
        ctl_verdict_ok(check, name, "%" APR_INT64_T_FMT " jobs wait for %s or their time",
                       baton.counts.open, whose(issuer));
    }
}

void ctl_check_jobs(ctl_check_t *check)
{
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    int i;

    for (i = 0; i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);

        if (ctl_issuer_is_elsewhere(issuer)) {
            check_gateway(check, issuer->name);
            check_queue(check, issuer->name);
        }
    }
    for (i = 0; i < check->ctl->config->queues->nelts; i++) {
        check_queue(check, APR_ARRAY_IDX(check->ctl->config->queues, i, const char *));
    }
}
