/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Whether the gateway of an issuer is there, knows us, and has a CA that is up; and how long our
 * credential is good. Looked at every minute, and when somebody asks by a job; the store has the
 * answer, for whoever wants to know.
 */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/ca/ca_service.h"
#include "fcgi/ca/cagw_names.h"
#include "issuer/events_gap.h"
#include "issuer/gateway_state.h"
#include "log.h"
#include "status.h"

#define PROBE_EVERY apr_time_from_sec(60)
#define PROBE_TIMEOUT apr_time_from_sec(10)

/** What the CA offers, if nothing else has changed. */
#define SURVEY_EVERY apr_time_from_sec(600)

/** How often it is told that a credential ends. */
#define CREDENTIAL_TOLD apr_time_from_sec(86400)

struct ca_probe {
    ca_service_t *service;
    char last[GH_NUMBER_LENGTH + 2];    /* number of what was the matter */
    char lacking[64];                   /* numbers of what was lacking */
    int said_up;
    int said_paused;
    apr_time_t surveyed;
    apr_array_header_t *findings;       /* of that, in a pool of their own; or NULL */
    apr_pool_t *kept;
    apr_time_t said_end;                /* of the credential */
    apr_time_t told;                    /* of the credential */
};

/** One look. */
typedef struct {
    ca_probe_t *probe;
    framework_job_t *job;               /* NULL: nobody has asked */
    apr_pool_t *pool;
    gh_gateway_state_t state;
    ca_survey_t survey;
    apr_status_t rv;
} look_t;

static framework_t *framework_of(const look_t *look)
{
    return look->probe->service->issuer->worker->framework;
}

static void begin(void *baton);

/** Adds what the events do not tell, until somebody has looked what that was. */
static apr_status_t add_gaps(gh_transaction_t *transaction, gh_gateway_state_t *state,
                             apr_pool_t *p)
{
    gh_gateway_finding_t *finding = apr_palloc(p, sizeof(*finding));
    gh_events_gaps_t gaps;
    gh_result_t result;
    apr_status_t rv = gh_events_gaps(transaction, state->issuer, &gaps, p);

    if (rv != APR_SUCCESS || !gaps.open) {
        return rv;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, GH_ECORRUPT, GH_FAILURE_UNAVAILABLE, "events.gap",
                   "If it stays so, see gatehousectl job list; have the gateway's operator mend "
                   "the events, then run gatehousectl issuer sync.",
                   GHNO(1322) "what the CA's events tell of the time from %s to %s could not be "
                   "read, and the gateway has not been asked for all certificates since",
                   gh_time_text(p, gaps.from), gh_time_text(p, gaps.to));
    finding->number = apr_pstrdup(p, result.number);
    finding->message = apr_pstrdup(p, result.message);
    finding->action = apr_pstrdup(p, result.action);
    state->findings = state->findings ? apr_array_copy(p, state->findings)
                                      : apr_array_make(p, 1, sizeof(finding));
    APR_ARRAY_PUSH(state->findings, gh_gateway_finding_t *) = finding;
    return APR_SUCCESS;
}

static apr_status_t store_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    gh_gateway_state_t state = look->state;
    apr_status_t rv = add_gaps(transaction, &state, look->pool);

    if (rv == APR_SUCCESS) {
        rv = gh_gateway_state_put(transaction, &state, look->pool);
    }
    if (rv == APR_SUCCESS && look->job) {
        rv = gh_job_remove(transaction, framework_job_record(look->job)->id,
                           framework_job_holder(look->job));
    }
    return rv;
}

static void store(void *baton)
{
    look_t *look = baton;

    look->rv = gh_store_write(framework_store(framework_of(look)), store_work, look, NULL);
}

static void finish(look_t *look)
{
    ca_probe_t *probe = look->probe;

    if (look->job) {
        framework_job_over(look->job);
        return;
    }
    apr_pool_destroy(look->pool);
    framework_at(probe->service->issuer->worker->framework, apr_time_now() + PROBE_EVERY, begin,
                 probe);
}

static void stored(void *baton)
{
    look_t *look = baton;
    ca_probe_t *probe = look->probe;

    if (look->rv == APR_SUCCESS) {
        probe->said_up = look->state.up;
        probe->said_paused = look->state.paused;
        probe->said_end = look->state.credential_end;
        apr_cpystrn(probe->last, look->state.number, sizeof(probe->last));
    }
    finish(look);
}

/** Before it is too late; until somebody has done something. */
static void look_at_credential(ca_probe_t *probe, apr_time_t end, apr_time_t now, apr_pool_t *p)
{
    if (!end || end - now > probe->service->ends_soon || now - probe->told < CREDENTIAL_TOLD) {
        return;
    }
    probe->told = now;
    if (probe->service->credentials) {
        gh_log(probe->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1070) "issuer %s: "
               "our credential for the CA gateway ends at %s, and no other one has been enrolled; "
               "see what the log says of it, and gatehousectl enrolment list",
               probe->service->issuer->name, gh_time_text(p, end));
        return;
    }
    gh_log(probe->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0854) "issuer %s: our "
           "credential for the CA gateway is good for %d days only; put a new one into "
           "IssuerCredential, then restart gracefully", probe->service->issuer->name,
           end > now ? (int)(apr_time_sec(end - now) / 86400) : 0);
}

/** Told once, as long as it stays so. */
static void tell_findings(look_t *look)
{
    ca_probe_t *probe = look->probe;
    const apr_array_header_t *findings = look->state.findings;
    const char *numbers = "";
    int i;

    for (i = 0; findings && i < findings->nelts; ++i) {
        numbers = apr_pstrcat(look->pool, numbers,
                              APR_ARRAY_IDX(findings, i, gh_gateway_finding_t *)->number, NULL);
    }
    for (i = 0; strncmp(numbers, probe->lacking, sizeof(probe->lacking) - 1) && findings
             && i < findings->nelts; ++i) {
        const gh_gateway_finding_t *one = APR_ARRAY_IDX(findings, i, gh_gateway_finding_t *);

        gh_log(probe->service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1076) "issuer %s "
               "does not find at its CA what it needs: %s: %s; %s", look->state.issuer,
               one->number, one->message, one->action);
    }
    apr_cpystrn(probe->lacking, numbers, sizeof(probe->lacking));
}

/** What a survey has found is true until the next one. */
static void keep_findings(ca_probe_t *probe, const apr_array_header_t *findings)
{
    int i;

    apr_pool_clear(probe->kept);
    probe->findings = findings ? apr_array_make(probe->kept, 4, sizeof(gh_gateway_finding_t *))
                               : NULL;
    for (i = 0; findings && i < findings->nelts; ++i) {
        const gh_gateway_finding_t *one = APR_ARRAY_IDX(findings, i, gh_gateway_finding_t *);
        gh_gateway_finding_t *copy = apr_palloc(probe->kept, sizeof(*copy));

        copy->number = apr_pstrdup(probe->kept, one->number);
        copy->message = apr_pstrdup(probe->kept, one->message);
        copy->action = apr_pstrdup(probe->kept, one->action);
        APR_ARRAY_PUSH(probe->findings, gh_gateway_finding_t *) = copy;
    }
}

static void surveyed(void *baton)
{
    look_t *look = baton;

    look->state.findings = look->survey.findings;
    tell_findings(look);
    keep_findings(look->probe, look->survey.findings);
    look->probe->surveyed = look->state.time;
    framework_blocking(framework_of(look), store, stored, look);
}

/** Before it is written: what else is to be said. */
static void survey(look_t *look)
{
    if (!look->state.up || look->probe->service->issuer->cmp) {
        framework_blocking(framework_of(look), store, stored, look);
        return;
    }
    look->survey.service = look->probe->service;
    look->survey.pool = look->pool;
    look->survey.done = surveyed;
    look->survey.baton = look;
    ca_survey(&look->survey);
}

static void read_state(look_t *look, cagw_outcome_t *outcome)
{
    gh_gateway_state_t *state = &look->state;
    gh_result_t *result = &outcome->result;

    if (outcome->verdict == CAGW_DONE) {
        cagw_read_ca_status(&state->up, &state->status, &outcome->reply, look->pool, result);
        if (!state->up && !result->number[0]) {
            gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "cagw.status",
                           "Ask the operator of the CA.",
                           GHNO(0855) "the CA gateway says of its CA: %s", state->status);
        }
    }
    else if (outcome->verdict == CAGW_UNSUPPORTED) {
        /* the gateway answers, and does not know of its CA */
        gh_result_clear(result);
        state->up = 1;
    }
    else if (outcome->verdict == CAGW_MISSING) {
        gh_result_cause(result, "%s: %s", result->number, result->message);
        gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "cagw.ca",
                       "Compare ca= of IssuerBackend with the ids of CAs at the gateway.",
                       GHNO(1072) "the gateway has no CA \"%s\", or none that we may use: %s",
                       look->probe->service->gateway.ca,
                       apr_pstrdup(look->pool, result->message));
    }
    state->number = apr_pstrdup(look->pool, result->number);
    state->message = apr_pstrdup(look->pool, result->message);
    state->action = apr_pstrdup(look->pool, result->action);
}

static void answered(void *baton, cagw_outcome_t *outcome)
{
    look_t *look = baton;
    ca_probe_t *probe = look->probe;
    gh_gateway_state_t *state = &look->state;

    state->issuer = probe->service->issuer->name;
    state->node = framework_node(framework_of(look));
    state->time = apr_time_now();
    state->paused = framework_queue_paused(probe->service->issuer->queue);
    state->credential_end = http_peer_not_after(probe->service->gateway.peer);
    read_state(look, outcome);
    look_at_credential(probe, state->credential_end, state->time, look->pool);
    if (!outcome->stopped) {
        ca_service_note(probe->service, outcome);
    }
    if (look->job || probe->said_up != state->up || strcmp(probe->last, state->number)
        || probe->said_end != state->credential_end || probe->said_paused != state->paused
        || state->time - probe->surveyed >= SURVEY_EVERY || state->time < probe->surveyed) {
        survey(look);
    }
    else {
        /* so that others see that somebody looks */
        state->findings = probe->findings;
        framework_blocking(framework_of(look), store, stored, look);
    }
}

/** A CMP server does not tell of its CA. */
static void cmp_answered(void *baton, cmp_reply_t *reply)
{
    look_t *look = baton;
    cagw_outcome_t *outcome = apr_pcalloc(look->pool, sizeof(*outcome));

    outcome->verdict = reply->verdict == CMP_DONE ? CAGW_UNSUPPORTED
        : reply->verdict == CMP_NOT_SENT ? CAGW_NOT_SENT
        : reply->verdict == CMP_BUSY ? CAGW_BUSY
        : reply->verdict == CMP_UNKNOWN ? CAGW_BROKEN : CAGW_MISCONFIGURED;
    outcome->alive = reply->alive;
    outcome->stopped = reply->stopped;
    outcome->result = reply->result;
    answered(look, outcome);
}

static void look_now(ca_probe_t *probe, framework_job_t *job, apr_pool_t *p)
{
    look_t *look = apr_pcalloc(p, sizeof(*look));

    look->probe = probe;
    look->job = job;
    look->pool = p;
    if (probe->service->issuer->cmp) {
        cmp_call_probe(probe->service->issuer->cmp, PROBE_TIMEOUT, cmp_answered, look, p);
    }
    else {
        cagw_call_about(&probe->service->gateway, CAGW_PATH_STATUS, NULL, PROBE_TIMEOUT, answered,
                        look, p);
    }
}

static void begin(void *baton)
{
    apr_pool_t *p;

    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    look_now(baton, NULL, p);
}

void ca_test(void *baton, framework_job_t *job)
{
    const ca_service_t *service = baton;

    look_now(service->probe, job, framework_job_pool(job));
}

void ca_probe_start(ca_service_t *service, apr_pool_t *p)
{
    service->probe = apr_pcalloc(p, sizeof(*service->probe));
    apr_pool_create(&service->probe->kept, p);
    service->probe->service = service;
    framework_at(service->issuer->worker->framework, apr_time_now(), begin, service->probe);
}
