/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Taking up all that CAs elsewhere tell of their certificates: issuer sync. A worker does it. */

#include <string.h>

#include <apr_strings.h>

#include "ctl_commands.h"
#include "ctl_issuer.h"
#include "ctl_output.h"
#include "issuer/gateway_sync.h"
#include "log.h"
#include "status.h"
#include "store/jobs.h"

#define RULE "issuer.sync"

/** A worker takes jobs up within a second, and calls that are in flight come first. */
#define BEGIN_WAIT apr_time_from_sec(30)

/** A gateway may take its time for a page, and is asked several times. */
#define PAGE_WAIT apr_time_from_sec(300)

#define LOOK apr_time_from_msec(300)

const ctl_option_t ctl_issuer_sync_options[] = {
    { "since", 0, "DATE", "begin there, like 2026-01-31T00:00:00Z; default: the beginning" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    ctl_t *ctl;
    const char *issuer;
    const char *job;                /* id */
    apr_time_t since;
    int working;                    /* the job is there still */
    int begun;                      /* state is of this job */
    gh_gateway_sync_t state;
    apr_pool_t *p;                  /* of a look */
} baton_t;

static apr_status_t begin_work(gh_transaction_t *transaction, void *data)
{
    const baton_t *baton = data;
    apr_time_t now = apr_time_now();
    const char *since = apr_psprintf(baton->p, "%" APR_TIME_T_FMT, apr_time_sec(baton->since));
    gh_job_record_t job = {
        .id = baton->job, .kind = GH_GATEWAY_SYNC, .queue = baton->issuer, .subject = baton->job,
        .payload = { (const unsigned char *)since, strlen(since) }, .created = now, .due = now
    };

    return gh_job_insert(transaction, &job);
}

static apr_status_t cancel_work(gh_transaction_t *transaction, void *data)
{
    const baton_t *baton = data;

    return gh_job_cancel(transaction, baton->job);
}

static apr_status_t look_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    gh_job_record_t *job;
    apr_status_t rv = gh_job_find(transaction, baton->job, &job, baton->p);

    baton->working = rv == APR_SUCCESS;
    if (rv == APR_SUCCESS || rv == APR_NOTFOUND) {
        rv = gh_gateway_sync_get(transaction, baton->issuer, &baton->state, baton->p);
        baton->begun = rv == APR_SUCCESS && !strcmp(baton->state.job, baton->job);
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t nobody(const baton_t *baton, gh_result_t *result)
{
    if (baton->begun) {
        return gh_result_fail(result, APR_TIMEUP, GH_FAILURE_UNAVAILABLE, RULE,
                              "It goes on without this command; see the error log for its end, or "
                              "end it with gatehousectl job cancel.",
                              GHNO(1082) "the worker is still at work on issuer %s, after %d "
                              "events", baton->issuer, baton->state.events);
    }
    gh_store_write(baton->ctl->store, cancel_work, (void *)baton, NULL);
    return gh_result_fail(result, APR_TIMEUP, GH_FAILURE_UNAVAILABLE, RULE,
                          "See in the error log whether the worker runs, or leaves the gateway "
                          "alone for a while since it has not answered.",
                          GHNO(1077) "no worker has begun with issuer %s within %d s",
                          baton->issuer, (int)apr_time_sec(BEGIN_WAIT));
}

/** @return APR_TIMEUP with result if nobody is at work */
static apr_status_t follow(baton_t *baton, gh_result_t *result)
{
    apr_time_t moved = apr_time_now();
    int pages = 0;
    apr_status_t rv;

    do {
        apr_sleep(LOOK);
        apr_pool_clear(baton->p);
        rv = gh_store_read(baton->ctl->store, look_work, baton, result);
        if (baton->begun && baton->state.pages != pages) {
            pages = baton->state.pages;
            moved = apr_time_now();
        }
        if (rv == APR_SUCCESS && baton->working
            && apr_time_now() - moved >= (baton->begun ? PAGE_WAIT : BEGIN_WAIT)) {
            return nobody(baton, result);
        }
    } while (rv == APR_SUCCESS && baton->working);
    return rv;
}

static void print(const baton_t *baton)
{
    const gh_gateway_sync_t *state = &baton->state;
    apr_pool_t *p = baton->p;

    if (baton->ctl->json) {
        ctl_json_print(stdout, json_pack(
            "{s:o, s:i, s:i, s:i, s:i, s:i, s:o}", "issuer", ctl_json_text(baton->issuer, p),
            "events", state->events, "added", state->added, "changed", state->changed,
            "unchanged", state->unchanged, "skipped", state->skipped, "failure",
            ctl_json_text(*state->failure.number ? apr_pstrcat(p, state->failure.number, ": ",
                                                               state->failure.message, NULL)
                          : NULL, p)));
        return;
    }
    printf("%s: %d events: %d certificates added, %d changed, %d events unchanged, %d skipped\n",
           baton->issuer, state->events, state->added, state->changed, state->unchanged,
           state->skipped);
}

static int sync_one(ctl_t *ctl, const char *issuer, apr_time_t since)
{
    baton_t baton = { .ctl = ctl, .issuer = issuer, .since = since };
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    apr_pool_create(&baton.p, ctl->p);
    baton.job = gh_ordered_id(apr_time_now(), ctl->p);
    rv = baton.job ? gh_store_write(ctl->store, begin_work, &baton, &result) : APR_EGENERAL;
    if (rv == APR_SUCCESS) {
        rv = follow(&baton, &result);
    }
    if (rv == APR_SUCCESS && !(baton.begun && baton.state.over)) {
        rv = gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                            "Give the command again.",
                            GHNO(1083) "what was begun for issuer %s was cancelled", issuer);
    }
    if (rv != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    print(&baton);
    if (*baton.state.failure.number) {
        return ctl->json ? CTL_FAILED : (ctl_fail(&baton.state.failure), CTL_FAILED);
    }
    return baton.state.skipped > 0 ? CTL_FAILED : CTL_OK;
}

static int sync_all(ctl_t *ctl, apr_time_t since)
{
    int code = CTL_OK, i;

    for (i = 0; i < ctl->config->issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(ctl->config->issuers, i, const ctl_issuer_t *);

        if (ctl_issuer_has_list(issuer)) {
            int one = sync_one(ctl, issuer->name, since);

            code = one != CTL_OK ? one : code;
        }
    }
    return code;
}

int ctl_issuer_sync(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *text = ctl_option(arguments, "since");
    const ctl_issuer_t *issuer;
    apr_time_t since = 0;
    gh_result_t result;
    int code;

    gh_result_clear(&result);
    if (text && (gh_time_parse(&since, text) != APR_SUCCESS || since < 0)) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Write it like 2026-01-31T00:00:00Z.",
                       GHNO(1084) "--since is no date");
        return ctl_fail_usage(&result);
    }
    code = ctl_open(ctl);
    if (code != CTL_OK) {
        return code;
    }
    if (ctl_operands(arguments) == 0) {
        return sync_all(ctl, since);
    }
    issuer = ctl_find_issuer(ctl, ctl_operand(arguments, 0), &code);
    if (!issuer) {
        return code;
    }
    if (!ctl_issuer_is_elsewhere(issuer)) {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                       "What is issued here is in the store.",
                       GHNO(1085) "issuer %s has no gateway", issuer->name);
        return ctl_fail(&result);
    }
    if (!ctl_issuer_has_list(issuer)) {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                       "Import what others have got from it with gatehousectl cert import.",
                       GHNO(1100) "issuer %s is behind a CMP server, which does not tell what its "
                       "CA has issued", issuer->name);
        return ctl_fail(&result);
    }
    return sync_one(ctl, issuer->name, since);
}
