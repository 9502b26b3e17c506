/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/ca/ca_service.h"

#include <string.h>

#include <apr_strings.h>

#include "issuer/events_gap.h"
#include "issuer/gateway_state.h"
#include "issuer/gateway_sync.h"
#include "issuer/remote.h"
#include "issuer/submission.h"
#include "log.h"

/** Of the gateway and ours, so that it is worth a word. */
#define CLOCKS_DIFFER apr_time_from_sec(60)

/** A credential that somebody has to replace by hand. */
#define CREDENTIAL_SOON apr_time_from_sec(30 * 86400)

/** Searches go by times that the gateway has written. */
static void look_at_clock(ca_service_t *service, apr_time_t date)
{
    apr_interval_time_t clock = date - apr_time_now();
    int differs = clock > CLOCKS_DIFFER || clock < -CLOCKS_DIFFER;

    service->clock = clock;
    if (differs && !service->clock_told) {
        gh_log(service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(1324) "issuer %s: the clock "
               "of the gateway is %d seconds %s; set both by NTP", service->issuer->name,
               (int)apr_time_sec(clock < 0 ? -clock : clock), clock < 0 ? "behind" : "ahead");
    }
    service->clock_told = differs;
}

void ca_service_note(ca_service_t *service, const cagw_outcome_t *outcome)
{
    const gh_result_t *result = &outcome->result;

    if (outcome->date && outcome->alive) {
        look_at_clock(service, outcome->date);
    }
    if (outcome->unwelcome || outcome->alive) {
        service->unwelcome = outcome->unwelcome;
    }
    if (outcome->verdict == CAGW_MISCONFIGURED || outcome->verdict == CAGW_NOT_SENT) {
        if (!outcome->stopped && strcmp(service->problem, result->number)) {
            apr_cpystrn(service->problem, result->number, sizeof(service->problem));
            gh_log(service->gateway.log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0843) "issuer %s cannot "
                   "be used: %s: %s%s%s", service->issuer->name, result->number, result->message,
                   *result->action ? "; " : "", result->action);
        }
    }
    else if (service->problem[0] && outcome->alive) {
        service->problem[0] = '\0';
        gh_log(service->gateway.log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0844) "issuer %s can be used "
               "again", service->issuer->name);
    }
}

void ca_service_start(ca_issuer_t *issuer, apr_pool_t *p)
{
    ca_service_t *service = apr_pcalloc(p, sizeof(*service));

    service->issuer = issuer;
    service->gateway.name = issuer->name;
    service->gateway.peer = issuer->peer;
    service->gateway.ca = issuer->ca;
    service->gateway.log = framework_log(issuer->worker->framework);
    service->gateway.spelling = issuer->spelling;
    service->ends_soon = CREDENTIAL_SOON;
    service->search = ca_search_create(service, p);
    ca_credentials_start(service, p);
    framework_handle(issuer->queue, GH_SUBMISSION_KIND, issuer->cmp ? ca_enrol_cmp : ca_enrol,
                     service);
    framework_handle(issuer->queue, GH_REMOTE_REVOKE, ca_revoke, service);
    framework_handle(issuer->queue, GH_REMOTE_HOLD, ca_hold, service);
    framework_handle(issuer->queue, GH_REMOTE_RELEASE, ca_release, service);
    framework_handle(issuer->tests, GH_GATEWAY_TEST, ca_test, service);
    if (!issuer->cmp) {
        framework_handle(issuer->queue, GH_GATEWAY_SYNC, ca_sync, service);
        framework_handle(issuer->queue, GH_EVENTS_LOOKUP, ca_lookup, service);
    }
    ca_probe_start(service, p);
    ca_events_start(service, p);
}
