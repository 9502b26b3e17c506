/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Issuers, and what is known of the CAs elsewhere that some of them stand for. */

#include <string.h>

#include <apr_strings.h>

#include "ctl_commands.h"
#include "ctl_issuer.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "issuer/gateway_state.h"
#include "issuer/issuer.h"
#include "log.h"
#include "status.h"
#include "store/jobs.h"

#define RULE "issuer.test"

/** A worker takes jobs up within a second, and the gateway may take its time. */
#define TEST_WAIT apr_time_from_sec(20)
#define TEST_LOOK apr_time_from_msec(300)

typedef struct {
    const char *issuer;
    const char *job;                /* id */
    int working;                    /* the job is there still */
    int found;                      /* a state */
    gh_gateway_state_t state;
    apr_pool_t *p;
} baton_t;

int ctl_issuer_is_elsewhere(const ctl_issuer_t *issuer)
{
    return strcmp(issuer->backend, gh_issuer_local.name) != 0
        && strcmp(issuer->backend, gh_issuer_offline.name) != 0;
}

int ctl_issuer_has_list(const ctl_issuer_t *issuer)
{
    return ctl_issuer_is_elsewhere(issuer) && strcmp(issuer->backend, gh_issuer_cmp.name) != 0;
}

static apr_status_t state_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    gh_job_record_t *job;
    apr_status_t rv = APR_NOTFOUND;

    if (baton->job != NULL) {
        rv = gh_job_find(transaction, baton->job, &job, baton->p);
    }
    baton->working = rv == APR_SUCCESS;
    if (rv == APR_NOTFOUND) {
        rv = gh_gateway_state_get(transaction, baton->issuer, &baton->state, baton->p);
        baton->found = rv == APR_SUCCESS;
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t begin_work(gh_transaction_t *transaction, void *data)
{
    const baton_t *baton = data;
    apr_time_t now = apr_time_now();
    gh_job_record_t job = {
        .id = baton->job, .kind = GH_GATEWAY_TEST,
        .queue = gh_gateway_test_queue(baton->issuer, baton->p), .subject = baton->job,
        .created = now, .due = now
    };

    return gh_job_insert(transaction, &job);
}

static apr_status_t cancel_work(gh_transaction_t *transaction, void *data)
{
    const baton_t *baton = data;

    return gh_job_cancel(transaction, baton->job);
}

static const char *failure_of(const gh_gateway_state_t *state, apr_pool_t *p)
{
    return *state->number == '\0' ? NULL
        : apr_pstrcat(p, state->number, ": ", state->message, NULL);
}

static json_t *findings_json(const apr_array_header_t *findings, apr_pool_t *p)
{
    json_t *list = json_array();
    int i;

    for (i = 0; findings && i < findings->nelts; ++i) {
        const gh_gateway_finding_t *one = APR_ARRAY_IDX(findings, i, const gh_gateway_finding_t *);

        json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "gh", one->number, "message",
                                              ctl_json_text(one->message, p), "action",
                                              ctl_json_text(one->action, p)));
    }
    return list;
}

static json_t *issuer_json(const ctl_issuer_t *issuer, const baton_t *baton, apr_pool_t *p)
{
    const gh_gateway_state_t *state = &baton->state;
    json_t *object = json_pack("{s:o, s:s}", "name", ctl_json_text(issuer->name, p), "backend",
                               issuer->backend);

    if (ctl_issuer_is_elsewhere(issuer)) {
        json_object_set_new(object, "up", baton->found ? json_boolean(state->up) : json_null());
        json_object_set_new(object, "status", ctl_json_text(state->status, p));
        json_object_set_new(object, "failure",
                            ctl_json_text(baton->found ? failure_of(state, p) : NULL, p));
        json_object_set_new(object, "node", ctl_json_text(state->node, p));
        json_object_set_new(object, "looked", ctl_json_time(state->time, p));
        json_object_set_new(object, "credential_end", ctl_json_time(state->credential_end, p));
        json_object_set_new(object, "findings", findings_json(state->findings, p));
    }
    return object;
}

static const char *word_of(const ctl_issuer_t *issuer, const baton_t *baton)
{
    return !ctl_issuer_is_elsewhere(issuer) ? NULL : !baton->found ? "not looked at yet"
        : baton->state.up ? "up" : "not usable";
}

int ctl_issuer_list(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    static const char *const headings[] = {
        "NAME", "BACKEND", "STATE", "LOOKED", "CREDENTIAL UNTIL", "FAILURE", NULL
    };
    ctl_table_t *table = ctl_table_create(headings, ctl->p);
    gh_result_t result;
    int code = ctl_open(ctl);
    int i;

    for (i = 0; code == CTL_OK && i < ctl->config->issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(ctl->config->issuers, i, const ctl_issuer_t *);
        baton_t baton = { .issuer = issuer->name, .p = ctl->p };
        const gh_gateway_state_t *state = &baton.state;

        gh_result_clear(&result);
        if (ctl_issuer_is_elsewhere(issuer)
            && gh_store_read(ctl->store, state_work, &baton, &result) != APR_SUCCESS) {
            return ctl_fail(&result);
        }
        if (ctl->json) {
            ctl_json_print(stdout, issuer_json(issuer, &baton, ctl->p));
        }
        else {
            ctl_table_row(table, (const char *const []) {
                issuer->name, issuer->backend, word_of(issuer, &baton),
                state->time ? gh_time_text(ctl->p, state->time) : NULL,
                state->credential_end ? gh_time_text(ctl->p, state->credential_end) : NULL,
                baton.found ? failure_of(state, ctl->p) : NULL
            });
        }
    }
    if (code == CTL_OK && !ctl->json) {
        ctl_table_print(table, stdout);
    }
    return code;
}

/** Has a worker look now. @return APR_TIMEUP if none has */
static apr_status_t look(ctl_t *ctl, baton_t *baton, gh_result_t *result)
{
    apr_time_t end = apr_time_now() + TEST_WAIT;
    apr_status_t rv;

    baton->job = gh_ordered_id(apr_time_now(), ctl->p);
    rv = baton->job != NULL ? gh_store_write(ctl->store, begin_work, baton, result) : APR_EGENERAL;
    do {
        if (rv == APR_SUCCESS) {
            apr_sleep(TEST_LOOK);
            rv = gh_store_read(ctl->store, state_work, baton, result);
        }
    } while (rv == APR_SUCCESS && baton->working && apr_time_now() < end);
    if (rv == APR_SUCCESS && baton->working) {
        gh_store_write(ctl->store, cancel_work, baton, NULL);
        return gh_result_fail(result, APR_TIMEUP, GH_FAILURE_UNAVAILABLE, RULE,
                              "See in the error log whether the worker runs, or leaves the gateway "
                              "alone for a while since it has not answered.",
                              GHNO(0856) "no worker has looked at the gateway of issuer %s within "
                              "%d s", baton->issuer, (int)apr_time_sec(TEST_WAIT));
    }
    return rv;
}

static void print_state(const ctl_issuer_t *issuer, const baton_t *baton, apr_pool_t *p)
{
    const gh_gateway_state_t *state = &baton->state;
    int i;

    ctl_field_print(stdout, "issuer", issuer->name, p);
    ctl_field_print(stdout, "state", word_of(issuer, baton), p);
    ctl_field_print(stdout, "CA", state->status, p);
    ctl_field_print(stdout, "failure", failure_of(state, p), p);
    ctl_field_print(stdout, "what to do", state->action, p);
    ctl_field_print(stdout, "credential until",
                    state->credential_end ? gh_time_text(p, state->credential_end) : NULL, p);
    ctl_field_print(stdout, "seen by", state->node, p);
    for (i = 0; i < state->findings->nelts; ++i) {
        const gh_gateway_finding_t *one
            = APR_ARRAY_IDX(state->findings, i, const gh_gateway_finding_t *);

        ctl_field_print(stdout, "lacking", apr_psprintf(p, "%s: %s (%s)", one->number,
                                                        one->message, one->action), p);
    }
}

int ctl_issuer_test(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const ctl_issuer_t *issuer;
    gh_result_t result;
    baton_t baton;
    int code = ctl_open(ctl);

    if (code != CTL_OK
        || (issuer = ctl_find_issuer(ctl, ctl_operand(arguments, 0), &code)) == NULL) {
        return code;
    }
    gh_result_clear(&result);
    if (!ctl_issuer_is_elsewhere(issuer)) {
        gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                       "gatehousectl check looks at the keys of those that sign here.",
                       GHNO(0857) "issuer %s has no gateway", issuer->name);
        return ctl_fail(&result);
    }
    memset(&baton, 0, sizeof(baton));
    baton.issuer = issuer->name;
    baton.p = ctl->p;
    if (look(ctl, &baton, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        ctl_json_print(stdout, issuer_json(issuer, &baton, ctl->p));
    }
    else if (baton.found) {
        print_state(issuer, &baton, ctl->p);
    }
    return baton.found && baton.state.up && baton.state.findings->nelts == 0 ? CTL_OK
                                                                             : CTL_FAILED;
}
