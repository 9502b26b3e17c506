/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Keys of our own whose certificate another CA makes. */

#include "issuer/own_keys_private.h"

#include <string.h>

#include <apr_strings.h>

#include "issuer/ledger_private.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "x509/csr.h"

/** How long nothing is asked for after a refusal: what was wrong needs a person. */
#define REFUSED_PAUSE apr_time_from_sec(300)

/** How long after an unknown outcome: an operator may know more. Then another key is certified, and
 *  a certificate that was made for the one before is of no use to anybody. Twice as long with each
 *  that nobody has decided about, up to a day: a CA whose answers are lost must not issue for
 *  ever. */
#define DOUBT_PAUSE apr_time_from_sec(3600)
#define DOUBT_PAUSE_MAX apr_time_from_sec(86400)

typedef struct {
    const gh_own_keys_t *keys;
    apr_time_t now;
    gh_key_request_record_t *request;
    gh_enrolment_record_t *enrolment;
    int doubts;                         /* for this purpose, not decided about */
    apr_pool_t *pool;
} look_t;

/** A clock that was set back must not stop this. */
static int has_passed(apr_time_t since, apr_interval_time_t pause, apr_time_t now)
{
    return now - since >= pause || since - now >= pause;
}

static apr_status_t count_doubts(gh_transaction_t *transaction, look_t *look)
{
    const gh_enrolment_record_t *ours = look->enrolment;
    apr_array_header_t *records;
    apr_status_t rv = gh_enrolment_list(transaction, GH_ENROLMENT_IN_DOUBT, 0, &records,
                                        look->pool);
    int i;

    look->doubts = 0;
    for (i = 0; rv == APR_SUCCESS && i < records->nelts; ++i) {
        const gh_enrolment_record_t *one = APR_ARRAY_IDX(records, i, gh_enrolment_record_t *);

        look->doubts += !strcmp(one->protocol, ours->protocol)
            && !strcmp(one->issuer, ours->issuer)
            && one->location && !strcmp(one->location, look->keys->purpose);
    }
    return rv;
}

static apr_interval_time_t doubt_pause(int doubts)
{
    apr_interval_time_t pause = DOUBT_PAUSE;

    while (--doubts > 0 && pause < DOUBT_PAUSE_MAX) {
        pause *= 2;
    }
    return pause < DOUBT_PAUSE_MAX ? pause : DOUBT_PAUSE_MAX;
}

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    apr_status_t rv;

    rv = gh_key_request_find(transaction, look->keys->purpose,
                             gh_issuer_name(look->keys->issuer), &look->request, look->pool);
    if (rv == APR_SUCCESS) {
        rv = gh_enrolment_find(transaction, look->request->enrolment, &look->enrolment,
                               look->pool);
    }
    if (rv == APR_SUCCESS && look->enrolment->state == GH_ENROLMENT_IN_DOUBT
        && has_passed(look->enrolment->updated, DOUBT_PAUSE, look->now)) {
        rv = count_doubts(transaction, look);
    }
    return rv;
}

apr_status_t gh_own_request_look(const gh_own_keys_t *keys, const gh_own_services_t *services,
                                 apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    look_t look = { .keys = keys, .now = now, .pool = p };
    apr_status_t rv = gh_store_read(services->store, look_work, &look, result);
    const gh_enrolment_record_t *row = look.enrolment;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (row->state == GH_ENROLMENT_IN_DOUBT
        && has_passed(row->updated, doubt_pause(look.doubts), now)) {
        return APR_NOTFOUND;
    }
    switch (row->state) {
    case GH_ENROLMENT_SUBMITTED:
    case GH_ENROLMENT_RETRY:
    case GH_ENROLMENT_IN_DOUBT:
        return gh_result_fail(result, GH_EPENDING, GH_FAILURE_UNAVAILABLE, GH_RULE_OWN_ASKED,
                              "Wait, or look at it with gatehousectl enrolment show.",
                              GHNO(0782) "the CA has been asked for the certificate for %s of "
                              "issuer %s; enrolment %s is %s", keys->purpose,
                              gh_issuer_name(keys->issuer), row->id,
                              gh_enrolment_state_name(row->state));
    default:
        if (has_passed(row->updated, REFUSED_PAUSE, now)) {
            return APR_NOTFOUND;
        }
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_UNAVAILABLE, "own.refused",
                              "Let the CA issue it, or correct profile and name; it is asked "
                              "again within five minutes.",
                              GHNO(0783) "the CA has not issued the certificate for %s of issuer "
                              "%s: enrolment %s is %s%s%s", keys->purpose,
                              gh_issuer_name(keys->issuer), row->id,
                              gh_enrolment_state_name(row->state), row->message ? ": " : "",
                              row->message ? row->message : "");
    }
}

/* Asking */

typedef struct {
    gh_enrolment_record_t record;
    gh_key_request_record_t request;
    apr_interval_time_t patience;
    gh_audit_event_t event;
    apr_pool_t *pool;
} ask_t;

static apr_status_t ask_work(gh_transaction_t *transaction, void *baton)
{
    ask_t *ask = baton;
    gh_key_request_record_t *old;
    apr_status_t rv;

    rv = gh_key_request_find(transaction, ask->request.purpose, ask->request.issuer, &old,
                             ask->pool);
    if (rv == APR_SUCCESS) {
        rv = gh_key_request_remove(transaction, old->enrolment);
    }
    if (rv == APR_SUCCESS || rv == APR_NOTFOUND) {
        rv = gh_enrolment_insert(transaction, &ask->record);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_key_request_insert(transaction, &ask->request);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_ledger_submit(transaction, &ask->record, ask->patience, ask->record.created);
    }
    return rv == APR_SUCCESS
        ? gh_audit_insert(transaction, &ask->event, gh_audit_line(&ask->event, ask->pool), 1) : rv;
}

static apr_status_t fill_record(gh_enrolment_record_t *record, const gh_own_keys_t *keys,
                                const gh_own_made_t *made, apr_int64_t generation, apr_time_t now,
                                apr_pool_t *p, gh_result_t *result)
{
    const gh_plan_t *plan = gh_authorisation_plan(made->authorisation);
    apr_status_t rv;

    record->id = gh_ordered_id(now, p);
    if (!record->id) {
        return APR_EGENERAL;
    }
    record->state = GH_ENROLMENT_SUBMITTED;
    record->protocol = "internal";
    record->issuer = gh_issuer_name(keys->issuer);
    record->profile = gh_profile_name(keys->profile);
    record->transaction = apr_psprintf(p, "%s/%" APR_INT64_T_FMT, keys->purpose, generation);
    record->subject = gh_plan_subject_text(plan);
    record->location = keys->purpose;
    record->rule = gh_authorisation_rule(made->authorisation);
    record->created = now;
    record->updated = now;
    rv = gh_plan_encode(&record->plan, plan, p, result);
    return rv == APR_SUCCESS ? gh_csr_make(&record->request, plan, made->key, p, result) : rv;
}

static void fill_event(gh_audit_event_t *event, const char *node, const gh_own_keys_t *keys,
                       const gh_enrolment_record_t *record, apr_pool_t *p)
{
    gh_ledger_fill_event(event, node, record, p);
    event->event = "enrol";
    event->algorithms = keys->kind;
    event->rule = record->rule;
    event->result = "pending";
    event->message = apr_pstrcat(p, "enrolment ", record->id, " waits for the CA; ",
                                 record->transaction, NULL);
}

apr_status_t gh_own_request_make(const gh_own_keys_t *keys, const gh_own_services_t *services,
                                 apr_int64_t generation, apr_pool_t *p, gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    gh_own_made_t made;
    ask_t ask = { .patience = gh_issuer_config(keys->issuer)->deadline, .pool = p };
    apr_status_t rv;

    rv = gh_own_make(&made, keys, services, generation, p, result);
    if (rv == APR_SUCCESS) {
        rv = fill_record(&ask.record, keys, &made, generation, now, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    ask.request.enrolment = ask.record.id;
    ask.request.purpose = keys->purpose;
    ask.request.issuer = ask.record.issuer;
    ask.request.generation = generation;
    ask.request.sealed = made.sealed;
    fill_event(&ask.event, services->node, keys, &ask.record, p);
    rv = gh_store_write(services->store, ask_work, &ask, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (services->audit) {
        services->audit(&ask.event, p);
    }
    return gh_own_request_look(keys, services, now, p, result);
}
