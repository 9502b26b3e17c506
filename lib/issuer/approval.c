/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The ledger's work that no request waits for: operators' decisions, what follows from them, and
 * certificates of our own. */

#include <string.h>

#include <apr_strings.h>

#include "issuer/ledger_private.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/renewals.h"

#define CLAIM_INTERVAL  apr_time_from_sec(10)
#define CLAIM_LIMIT     16

/* Certificates of our own */

typedef struct {
    gh_issue_t issue;
    gh_sealed_key_record_t key;
} own_t;

static apr_status_t own_work(gh_transaction_t *transaction, void *baton)
{
    own_t *own = baton;
    apr_status_t rv = gh_sealed_key_insert(transaction, &own->key);

    return rv == APR_SUCCESS ? gh_ledger_store_issue(transaction, &own->issue) : rv;
}

apr_status_t gh_ledger_issue_own(gh_ledger_t *ledger, const gh_authorisation_t *authorisation,
                                 const char *purpose, apr_int64_t generation,
                                 const char *sealed_id, gh_bytes_t sealed, gh_audit_event_t *event,
                                 X509 **certificate, apr_pool_t *p, gh_result_t *result)
{
    own_t own = {0};
    apr_status_t rv;

    *certificate = NULL;
    event->time = apr_time_now();
    event->event = "enrol";
    event->protocol = "internal";
    event->node = ledger->node;
    event->message = apr_psprintf(p, "%s, generation %" APR_INT64_T_FMT, purpose, generation);
    rv = gh_ledger_make(ledger, authorisation, NULL, event, &own.issue, certificate, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    own.key.id = sealed_id;
    own.key.purpose = purpose;
    own.key.issuer = own.issue.certificate.issuer;
    own.key.generation = generation;
    own.key.sealed = sealed;
    own.key.certificate = own.issue.certificate.der;
    own.key.not_before = own.issue.certificate.not_before;
    own.key.not_after = own.issue.certificate.not_after;
    rv = gh_store_write(ledger->store, own_work, &own, result);
    if (rv != APR_SUCCESS) {
        *certificate = NULL;
    }
    return rv;
}

/* Issuing what was approved */

typedef struct {
    const char *holder;
    apr_int64_t count;
    apr_array_header_t *records;
    apr_pool_t *pool;
} claim_t;

static apr_status_t count_work(gh_transaction_t *transaction, void *baton)
{
    claim_t *claim = baton;

    return gh_enrolment_count_approved(transaction, &claim->count);
}

static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    claim_t *claim = baton;

    return gh_enrolment_claim_approved(transaction, claim->holder, CLAIM_INTERVAL, CLAIM_LIMIT,
                                       &claim->records, claim->pool);
}

typedef struct {
    const gh_enrolment_record_t *record;
    gh_enrolment_state_t state;     /* which it gets: issued, submitted, rejected */
    gh_issue_t *issue;              /* if it is issued */
    apr_interval_time_t patience;   /* if it is submitted */
    const char *message;
    gh_audit_event_t *event;
    const char *line;
    apr_time_t now;
    apr_pool_t *pool;
    int withdrawn;                  /* the certificate that is renewed is revoked or held */
} finish_t;

/* While it waited, whoever asks may have lost the right to. */
static apr_status_t check_predecessor(gh_transaction_t *transaction, finish_t *finish)
{
    gh_status_t status;
    apr_status_t rv = gh_renewal_predecessor(transaction, finish->record->id, &status);

    if (rv != APR_SUCCESS) {
        return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    finish->withdrawn = status != GH_STATUS_GOOD;
    return finish->withdrawn ? GH_EREFUSED : APR_SUCCESS;
}

static apr_status_t finish_work(gh_transaction_t *transaction, void *baton)
{
    finish_t *finish = baton;
    gh_bytes_t none = { NULL, 0 };
    apr_status_t rv = finish->state == GH_ENROLMENT_REJECTED ? APR_SUCCESS
        : check_predecessor(transaction, finish);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_enrolment_move(transaction, finish->record->id, GH_ENROLMENT_APPROVED, finish->state,
                           NULL, finish->message,
                           finish->issue ? finish->issue->certificate.serial : none, finish->now);
    if (rv == APR_SUCCESS && finish->state == GH_ENROLMENT_ISSUED) {
        rv = gh_renewal_issued(transaction, finish->record->id, finish->now);
    }
    if (rv == APR_SUCCESS && finish->state == GH_ENROLMENT_CONFIRMING) {
        rv = gh_ledger_confirm(transaction, finish->record, finish->now, finish->pool);
    }
    if (rv == APR_SUCCESS && finish->state == GH_ENROLMENT_REJECTED) {
        rv = gh_ledger_tell_failed(transaction, finish->record, finish->now, finish->pool);
    }
    if (rv == APR_SUCCESS && finish->state == GH_ENROLMENT_SUBMITTED) {
        rv = gh_ledger_submit(transaction, finish->record, finish->patience, finish->now);
    }
    if (rv == APR_SUCCESS) {
        rv = finish->issue ? gh_ledger_store_issue(transaction, finish->issue)
            : gh_audit_insert(transaction, finish->event, finish->line, 1);
    }
    return rv;
}

void gh_ledger_fill_event(gh_audit_event_t *event, const char *node,
                          const gh_enrolment_record_t *record, apr_pool_t *p)
{
    event->time = apr_time_now();
    event->id = gh_random_id(p);
    event->node = node;
    event->event = "issue";
    event->protocol = record->protocol;
    event->tenant = record->tenant;
    event->issuer = record->issuer;
    event->profile = record->profile;
    event->client = record->client;
    event->subject = record->subject;
    event->user = record->decided_by;
    event->transaction = record->transaction;
}

/* The CA is elsewhere: a worker goes on. */
static void hand_over(gh_ledger_t *ledger, finish_t *finish,
                      const gh_authorisation_t *authorisation)
{
    gh_issuer_t *issuer = apr_hash_get(ledger->issuers, finish->record->issuer,
                                       APR_HASH_KEY_STRING);

    finish->state = GH_ENROLMENT_SUBMITTED;
    finish->patience = gh_issuer_config(issuer)->deadline;
    finish->event->result = "pending";
    finish->event->rule = gh_authorisation_rule(authorisation);
    finish->event->message = "waits for the CA";
    finish->line = gh_audit_line(finish->event, finish->pool);
}

/* Nobody gets it before whoever has permitted it knows of it. */
static void hold_back(finish_t *finish)
{
    if (gh_ledger_confirms(finish->record, finish->pool)) {
        finish->state = GH_ENROLMENT_CONFIRMING;
        finish->event->result = "pending";
        finish->event->message = GH_LEDGER_CONFIRMING;
        finish->issue->line = gh_audit_line_keep(finish->event, finish->pool);
    }
}

/* @return APR_SUCCESS with event set if there is one to be written; others leave the row approved,
 * to be tried again when the claim has lapsed */
static apr_status_t issue_one(gh_ledger_t *ledger, const gh_enrolment_record_t *record,
                              gh_audit_event_t **written, apr_pool_t *p, gh_result_t *result)
{
    gh_audit_event_t *event = apr_pcalloc(p, sizeof(*event));
    finish_t finish = {
        .record = record, .state = GH_ENROLMENT_ISSUED, .event = event, .now = apr_time_now(),
        .pool = p
    };
    gh_authorisation_t *authorisation;
    gh_issue_t issue;
    X509 *x509;
    apr_status_t rv;

    gh_ledger_fill_event(event, ledger->node, record, p);
    rv = gh_authorise_approved(&authorisation, record, p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_ledger_make(ledger, authorisation, record->id, event, &issue, &x509, p, result);
    }
    if (rv == APR_SUCCESS) {
        finish.issue = &issue;
        hold_back(&finish);
    }
    else if (rv == GH_EPENDING) {
        hand_over(ledger, &finish, authorisation);
        rv = APR_SUCCESS;
    }
    if (rv == APR_SUCCESS) {
        rv = gh_store_write(ledger->store, finish_work, &finish, result);
    }
    if (finish.withdrawn) {
        event->serial = NULL;
        gh_result_fail(result, rv, GH_FAILURE_DENIED, "renewal.revoked",
                       "Enrol the device anew, with a challenge.",
                       GHNO(0552) "the certificate that was to be renewed has been revoked or held "
                       "meanwhile");
    }
    if (rv == GH_EREFUSED) {
        finish.issue = NULL;
        finish.state = GH_ENROLMENT_REJECTED;
        gh_audit_take_result(event, result, p);
        finish.message = event->message;
        finish.line = gh_audit_line(event, p);
        rv = gh_store_write(ledger->store, finish_work, &finish, result);
    }
    if (rv == APR_SUCCESS) {
        *written = event;
    }
    /* Somebody else has moved the row: nothing is lost. */
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

typedef struct {
    const char *id;
    const char *holder;
    gh_enrolment_record_t *record;
    apr_pool_t *pool;
} claim_one_t;

static apr_status_t claim_one_work(gh_transaction_t *transaction, void *baton)
{
    claim_one_t *claim = baton;
    apr_status_t rv = gh_enrolment_claim_one(transaction, claim->id, claim->holder, CLAIM_INTERVAL,
                                             &claim->record, claim->pool);

    if (rv == APR_NOTFOUND) {
        claim->record = NULL;
        return APR_SUCCESS;
    }
    return rv;
}

apr_status_t gh_ledger_issue_one(gh_ledger_t *ledger, const char *id, gh_audit_event_t **event,
                                 apr_pool_t *p, gh_result_t *result)
{
    claim_one_t claim = { .id = id, .holder = ledger->holder, .pool = p };
    apr_status_t rv;

    *event = NULL;
    rv = gh_store_write(ledger->store, claim_one_work, &claim, result);
    return rv == APR_SUCCESS && claim.record
        ? issue_one(ledger, claim.record, event, p, result) : rv;
}

apr_status_t gh_ledger_issue_approved(gh_ledger_t *ledger, apr_array_header_t **events,
                                      apr_pool_t *p, gh_result_t *result)
{
    claim_t claim = { .holder = ledger->holder, .pool = p };
    gh_result_t first;
    apr_status_t rv;
    int i;

    *events = apr_array_make(p, 1, sizeof(gh_audit_event_t *));
    rv = gh_store_read(ledger->store, count_work, &claim, result);
    if (rv != APR_SUCCESS || claim.count == 0) {
        return rv;
    }
    rv = gh_store_write(ledger->store, claim_work, &claim, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    gh_result_clear(&first);
    for (i = 0; i < claim.records->nelts; ++i) {
        gh_audit_event_t *event = NULL;
        apr_status_t one;

        one = issue_one(ledger, APR_ARRAY_IDX(claim.records, i, gh_enrolment_record_t *), &event, p,
                        result);
        if (event) {
            APR_ARRAY_PUSH(*events, gh_audit_event_t *) = event;
        }
        /* One that cannot be issued now must not hold up the others; its claim lapses. */
        if (one != APR_SUCCESS && rv == APR_SUCCESS) {
            rv = one;
            first = *result;
        }
    }
    *result = first;
    return rv;
}

/* Operators' decisions */

typedef struct {
    const char *id;
    int approve;
    const char *actor;
    const char *reason;
    gh_audit_event_t *event;
    gh_enrolment_record_t *record;
    apr_pool_t *pool;
} decide_t;

static apr_status_t decide_work(gh_transaction_t *transaction, void *baton)
{
    decide_t *decide = baton;
    gh_audit_event_t *event = decide->event;
    gh_bytes_t none = { NULL, 0 };
    apr_status_t rv;

    rv = gh_enrolment_find(transaction, decide->id, &decide->record, decide->pool);
    if (rv == APR_SUCCESS) {
        rv = gh_enrolment_move(transaction, decide->id, GH_ENROLMENT_WAITING,
                               decide->approve ? GH_ENROLMENT_APPROVED : GH_ENROLMENT_DENIED,
                               decide->actor, decide->reason, none, event->time);
        rv = rv == APR_NOTFOUND ? GH_EREFUSED : rv;
    }
    if (rv == APR_SUCCESS && !decide->approve) {
        rv = gh_ledger_tell_failed(transaction, decide->record, event->time, decide->pool);
    }
    if (rv == APR_SUCCESS) {
        event->tenant = decide->record->tenant;
        event->issuer = decide->record->issuer;
        event->profile = decide->record->profile;
        event->subject = decide->record->subject;
        event->transaction = decide->record->transaction;
        rv = gh_audit_insert(transaction, event, gh_audit_line(event, decide->pool), 0);
    }
    return rv;
}

apr_status_t gh_ledger_decide(gh_store_t *store, const char *id, int approve, const char *actor,
                              const char *reason, gh_audit_event_t *event, apr_pool_t *p,
                              gh_result_t *result)
{
    decide_t decide = { id, approve, actor, reason, event, NULL, p };
    apr_status_t rv;

    if (!event->time) {
        event->time = apr_time_now();
    }
    event->event = approve ? "approve" : "deny";
    event->user = actor;
    event->result = "done";
    event->message = reason;
    rv = gh_store_write(store, decide_work, &decide, result);
    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, rv, GH_FAILURE_NOT_FOUND, "enrolment",
                              "List them with gatehousectl enrolment list.",
                              GHNO(0036) "there is no enrolment %s", id);
    }
    if (rv == GH_EREFUSED) {
        return gh_result_fail(result, rv, GH_FAILURE_CONFLICT, "enrolment.state",
                              "Only a waiting enrolment can be approved or denied.",
                              GHNO(0037) "enrolment %s is %s", id,
                              gh_enrolment_state_name(decide.record->state));
    }
    return rv;
}
