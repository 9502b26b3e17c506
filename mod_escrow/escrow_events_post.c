/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* POST /v1/events: a UEM tells of a device. */

#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>
#include <http_protocol.h>
#include <jansson.h>

#include "log.h"
#include "mod_escrow/escrow_api.h"
#include "mod_escrow/escrow_events.h"
#include "mod_escrow/escrow_mail_directory.h"
#include "mod_escrow/escrow_problem.h"
#include "status.h"

APLOG_USE_MODULE(escrow);

#define RULE "escrow.event"

int escrow_events_signed(request_rec *r)
{
    const escrow_section_t *section = ap_get_module_config(r->per_dir_config, &escrow_module);

    return section->hmac.header != NULL;
}

/** Beside whom httpd has let in: the body has to be authentic, where that is configured. */
static apr_status_t authenticate(const escrow_call_t *call, gh_result_t *result)
{
    const escrow_section_t *section = ap_get_module_config(call->r->per_dir_config,
                                                           &escrow_module);
    const escrow_hmac_t *hmac = &section->hmac;
    const char *said = hmac->header ? apr_table_get(call->r->headers_in, hmac->header) : NULL;

    if (!hmac->header || (said && escrow_event_authentic(said, call->body, hmac->secret,
                                                         call->r->pool))) {
        return APR_SUCCESS;
    }
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                          "Let the UEM sign the body with the secret of EscrowEventHMAC.",
                          GHNO(1306) "the event is not authentic: %s %s", hmac->header,
                          said ? "is wrong" : "is missing");
}

static const gh_provide_rule_t *find_rule(const escrow_event_t *event)
{
    const escrow_provider_t *provider = escrow_provider();
    int i;

    for (i = 0; event->id && provider && i < provider->rules->nelts; ++i) {
        const gh_provide_rule_t *rule = &APR_ARRAY_IDX(provider->rules, i, gh_provide_rule_t);

        if (!strcmp(rule->event, event->id)) {
            return rule;
        }
    }
    return NULL;
}

static apr_status_t answer(request_rec *r, const gh_escrow_event_record_t *record)
{
    static const char *const states[] = { "", "accepted", "accepted", "done", "failed" };

    escrow_json_send(r, record->state < GH_ESCROW_EVENT_DONE ? HTTP_ACCEPTED : HTTP_OK,
                     json_pack("{s:s, s:s, s:s*}", "id", record->id, "status",
                               states[record->state], "reason", record->reason));
    return APR_SUCCESS;
}

static apr_status_t want(escrow_call_t *call, const escrow_event_t *event,
                         const gh_provide_rule_t *rule, gh_result_t *result)
{
    request_rec *r = call->r;
    gh_escrow_event_record_t *record = apr_pcalloc(r->pool, sizeof(*record));
    gh_audit_event_t *line = escrow_audit_event(r, "provide");
    gh_provide_rule_t made;
    apr_status_t rv;
    int added = 0;

    rv = escrow_event_check(event, escrow_provider()->domains, result);
    if (rv == APR_SUCCESS) {
        rv = escrow_mail_directory_match(event, r->pool, result);
    }
    if (rv == APR_SUCCESS) {
        rv = escrow_event_rule(&made, rule, event, r->pool, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    record->key = escrow_event_key(event, r->pool);
    record->device = event->device;
    record->user = event->user;
    record->email = event->email;
    record->rule = gh_provide_rule_text(&made, r->pool);
    record->provider = call->provider ? call->provider : "hmac";
    rv = gh_provide_want(call->keep.store, &record, line, &added, r->pool, result);
    if (rv == APR_SUCCESS && added) {
        escrow_gatehouse()->audit(line, r->pool);
    }
    return rv == APR_SUCCESS ? answer(r, record) : rv;
}

apr_status_t escrow_api_event(escrow_call_t *call, gh_result_t *result)
{
    const gh_provide_rule_t *rule;
    escrow_event_t *event;
    apr_status_t rv = authenticate(call, result);

    if (rv == APR_SUCCESS) {
        rv = escrow_event_read(&event, call->body, call->r->pool, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rule = find_rule(event);
    if (!rule) {
        ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, call->r, GHNO(1307) "event %.64s is for nothing "
                      "here", event->id ? event->id : "without EventId");
        escrow_json_send(call->r, HTTP_OK, json_pack("{s:s}", "status", "ignored"));
        return APR_SUCCESS;
    }
    return want(call, event, rule, result);
}
