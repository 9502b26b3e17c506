/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "issuer/ledger_private.h"
#include "status.h"
#include "store/housekeeping.h"
#include "issuer/remote.h"
#include "issuer/renewal.h"
#include "store/renewals.h"
#include "x509/name.h"

gh_ledger_t *gh_ledger_create(gh_store_t *store, apr_hash_t *issuers, const char *node,
                              const gh_log_t *log, apr_pool_t *p)
{
    gh_ledger_t *ledger = apr_pcalloc(p, sizeof(*ledger));

    ledger->store = store;
    ledger->issuers = issuers;
    ledger->node = node;
    ledger->holder = apr_psprintf(p, "%s:%ld", node, (long)getpid());
    ledger->log = log;
    return ledger;
}

/* Making a certificate */

apr_status_t gh_ledger_fill_certificate(gh_certificate_record_t *record, X509 *x509, apr_pool_t *p,
                                        gh_result_t *result)
{
    unsigned char *digest = apr_palloc(p, EVP_MAX_MD_SIZE);
    unsigned int length = 0;

    record->serial = gh_certificate_serial(x509, p);
    record->status = GH_STATUS_GOOD;
    record->reason = GH_REASON_NONE;
    record->not_before = gh_certificate_not_before(x509);
    record->not_after = gh_certificate_not_after(x509);
    record->der = gh_certificate_der(x509, p);
    if (!record->der.length
        || EVP_Digest(record->der.data, record->der.length, digest, &length, EVP_sha256(), NULL)
           != 1) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0031) "the certificate that was made cannot be encoded");
    }
    record->sha256.data = digest;
    record->sha256.length = length;
    return APR_SUCCESS;
}

apr_status_t gh_ledger_make(gh_ledger_t *ledger, const gh_authorisation_t *authorisation,
                            const char *enrolment, gh_audit_event_t *event, gh_issue_t *issue,
                            X509 **x509, apr_pool_t *p, gh_result_t *result)
{
    const char *name = gh_authorisation_issuer(authorisation);
    gh_issuer_t *issuer = apr_hash_get(ledger->issuers, name, APR_HASH_KEY_STRING);
    gh_certificate_record_t *record = &issue->certificate;
    apr_status_t rv;

    memset(issue, 0, sizeof(*issue));
    if (!issuer) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "issuer",
                              "Configure the issuer again, or deny what waits for it.",
                              GHNO(0030) "there is no issuer %s in this configuration", name);
    }
    rv = gh_issuer_backend(issuer)->enrol(issuer, authorisation, x509, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    record->issuer = name;
    record->subject = gh_authorisation_subject(authorisation);
    record->sans = gh_plan_sans(gh_authorisation_plan(authorisation));
    record->profile = gh_authorisation_profile(authorisation);
    record->enrolment = enrolment;
    record->key_sha256 = gh_authorisation_key_sha256(authorisation);
    rv = gh_ledger_fill_certificate(record, *x509, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }

    event->issuer = name;
    event->profile = record->profile;
    event->subject = record->subject;
    event->serial = gh_hex(p, record->serial.data, record->serial.length);
    event->rule = gh_authorisation_rule(authorisation);
    event->result = "issued";
    issue->event = event;
    issue->line = gh_audit_line_keep(event, p);
    return APR_SUCCESS;
}

apr_status_t gh_ledger_store_issue(gh_transaction_t *transaction, const gh_issue_t *issue)
{
    apr_status_t rv = gh_certificate_insert(transaction, &issue->certificate);

    return rv == APR_SUCCESS
        ? gh_audit_insert(transaction, issue->event, issue->line, 1) : rv;
}

/* Enrolling */

typedef struct {
    gh_enrolment_record_t record;
    const gh_authorisation_t *authorisation;
    gh_issue_t issue;
    int issued;
    int renewed;                    /* the old certificate has a live successor */
    gh_audit_event_t *event;        /* when nothing was issued yet */
    const char *line;
    apr_interval_time_t patience;   /* how long a worker tries */
    apr_time_t now;
    const char *node;
    apr_pool_t *pool;
} enrol_t;

/* Takes the key off a row that is over. One that is not is left, and the insert will conflict. */
static apr_status_t retire_old(gh_transaction_t *transaction, enrol_t *enrol)
{
    gh_enrolment_outcome_t outcome = {0};
    gh_enrolment_record_t *old;
    apr_time_t not_after = 0;
    apr_status_t rv;

    rv = gh_enrolment_find_key(transaction, enrol->record.key, &old, enrol->pool);
    if (rv == APR_NOTFOUND) {
        return APR_SUCCESS;
    }
    if (rv == APR_SUCCESS && old->state == GH_ENROLMENT_ISSUED) {
        rv = gh_ledger_read_certificate(transaction, old, &outcome, &not_after, enrol->pool);
    }
    if (rv == APR_SUCCESS && gh_ledger_is_over(old, not_after, enrol->now)) {
        rv = gh_enrolment_retire(transaction, old->id, enrol->now);
    }
    return rv;
}

static apr_status_t note_replaced(gh_transaction_t *transaction, const enrol_t *enrol,
                                  const gh_renewal_record_t *before)
{
    gh_audit_event_t event = {0};

    event.time = enrol->now;
    event.id = gh_random_id(enrol->pool);
    event.node = enrol->node;
    event.event = "revoke";
    event.protocol = "internal";
    event.tenant = enrol->record.tenant;
    event.issuer = before->successor_issuer;
    event.subject = enrol->record.subject;
    event.client = enrol->record.client;
    event.serial = gh_hex(enrol->pool, before->successor.data, before->successor.length);
    event.transaction = enrol->record.transaction;
    event.rule = "renewal.replaced";
    event.result = "done";
    event.message = apr_pstrcat(enrol->pool, "its predecessor was renewed again, by enrolment ",
                                enrol->record.id, NULL);
    return gh_audit_insert(transaction, &event, gh_audit_line(&event, enrol->pool), 0);
}

/* Revokes the successor that an old certificate has, if its place may be taken. */
static apr_status_t make_room(gh_transaction_t *transaction, enrol_t *enrol,
                              const gh_renewal_record_t *record)
{
    gh_renewal_record_t *before;
    int changed = 0;
    apr_status_t rv = gh_renewal_find(transaction, record->issuer, record->serial, enrol->now,
                                      &before, enrol->pool);

    if (rv != APR_SUCCESS || !before->live || !gh_renewal_may_replace(before)) {
        return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    rv = gh_remote_set_status(transaction, before->successor_issuer, before->successor,
                              GH_STATUS_REVOKED, GH_REASON_SUPERSEDED, 0, enrol->now, &changed,
                              enrol->pool);
    return rv == APR_SUCCESS && changed ? note_replaced(transaction, enrol, before) : rv;
}

/* @return GH_EREFUSED if the old certificate has got a live successor meanwhile */
static apr_status_t note_renewal(gh_transaction_t *transaction, enrol_t *enrol)
{
    gh_renewal_record_t record = *gh_authorisation_renewal(enrol->authorisation);
    apr_status_t rv;

    record.enrolment = enrol->record.id;
    record.created = enrol->now;
    record.revoke_after = record.revoke_after < 0 ? 0 : enrol->now + record.revoke_after;
    rv = record.replace ? make_room(transaction, enrol, &record) : APR_SUCCESS;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_renewal_put(transaction, &record, enrol->pool);
    enrol->renewed = rv == GH_ECONFLICT;
    return enrol->renewed ? GH_EREFUSED : rv;
}

static apr_status_t enrol_work(gh_transaction_t *transaction, void *baton)
{
    enrol_t *enrol = baton;
    apr_status_t rv;

    enrol->renewed = 0;
    rv = gh_enrolment_insert_new(transaction, &enrol->record);
    if (rv == APR_EEXIST && (rv = retire_old(transaction, enrol)) == APR_SUCCESS) {
        rv = gh_enrolment_insert(transaction, &enrol->record);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_authorisation_consume(enrol->authorisation, transaction, enrol->record.id,
                                      enrol->now);
    }
    if (rv == APR_SUCCESS && gh_authorisation_renewal(enrol->authorisation)) {
        rv = note_renewal(transaction, enrol);
    }
    if (rv == APR_SUCCESS && enrol->record.state == GH_ENROLMENT_SUBMITTED) {
        rv = enrol->record.question
            ? gh_ledger_ask(transaction, &enrol->record, enrol->now, enrol->pool)
            : gh_ledger_submit(transaction, &enrol->record, enrol->patience, enrol->now);
    }
    if (rv == APR_SUCCESS) {
        rv = enrol->issued ? gh_ledger_store_issue(transaction, &enrol->issue)
            : gh_audit_insert(transaction, enrol->event, enrol->line, 1);
    }
    return rv;
}

static int bytes_equal(gh_bytes_t a, gh_bytes_t b)
{
    return a.length == b.length && a.length && !memcmp(a.data, b.data, a.length);
}

/* An authorisation is good for one request only; showing another one is a fault of the caller. */
static int binding_holds(const gh_authorisation_t *authorisation,
                         const gh_enrolment_request_t *request)
{
    return !strcmp(gh_authorisation_protocol(authorisation), request->protocol)
        && !strcmp(gh_authorisation_location(authorisation), request->location)
        && !strcmp(gh_authorisation_issuer(authorisation), request->issuer)
        && !strcmp(gh_authorisation_profile(authorisation), gh_profile_name(request->profile))
        && bytes_equal(gh_authorisation_key_sha256(authorisation),
                       gh_csr_key_sha256(request->csr))
        && bytes_equal(gh_authorisation_request_sha256(authorisation),
                       gh_csr_info_sha256(request->csr));
}

/* Whoever verifies a chain, or looks for the RA among certificates, goes by names. */
static apr_status_t check_name(gh_ledger_t *ledger, const gh_authorisation_t *authorisation,
                               apr_pool_t *p, gh_result_t *result)
{
    const X509_NAME *subject = gh_plan_subject(gh_authorisation_plan(authorisation));
    apr_hash_index_t *hi;

    for (hi = apr_hash_first(p, ledger->issuers); hi; hi = apr_hash_next(hi)) {
        if (gh_issuer_has_name(apr_hash_this_val(hi), subject)) {
            return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "never.issuer",
                                  "Ask for a subject of the device's own.",
                                  GHNO(0549) "%.200s is the name of a CA, of one above it, or of "
                                  "its RA", gh_authorisation_subject(authorisation));
        }
    }
    return APR_SUCCESS;
}

static apr_status_t fill_record(gh_enrolment_record_t *record,
                                const gh_authorisation_t *authorisation,
                                const gh_enrolment_request_t *request, apr_time_t now,
                                apr_pool_t *p, gh_result_t *result)
{
    record->id = gh_ordered_id(now, p);
    if (!record->id) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0032) "the random generator failed");
    }
    record->protocol = request->protocol;
    record->tenant = request->tenant;
    record->issuer = request->issuer;
    record->profile = gh_profile_name(request->profile);
    record->transaction = request->transaction;
    record->signer_sha256 = request->signer_sha256;
    record->subject = gh_authorisation_subject(authorisation);
    record->request_sha256 = gh_csr_info_sha256(request->csr);
    record->location = request->location;
    record->client = request->client;
    record->user = request->user;
    record->rule = gh_authorisation_rule(authorisation);
    record->created = now;
    record->updated = now;
    return gh_ledger_key(&record->key, request, p, result);
}

/* A CA elsewhere, or who is asked first, wants the request as it is: its signature covers all of
 * it, the challenge too. */
static apr_status_t keep_request(enrol_t *enrol, const gh_enrolment_request_t *request,
                                 apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t der = gh_csr_der(request->csr);

    if (!request->sealer) {
        enrol->record.request = der;
        return APR_SUCCESS;
    }
    return gh_seal(&enrol->record.request, request->sealer, der,
                   gh_ledger_seal_context(enrol->record.id, p), p, result);
}

/* Whom to ask, and what its permission leads to. */
static apr_status_t keep_question(enrol_t *enrol, const gh_question_t *question, apr_pool_t *p,
                                  gh_result_t *result)
{
    gh_kept_question_t kept = {
        .question = *question,
        .approval = gh_authorisation_needs_approval(enrol->authorisation),
        .patience = enrol->patience
    };

    return gh_ledger_keep_question(&enrol->record.question, &kept, p, result);
}

static const char *waits_for(const enrol_t *enrol)
{
    return enrol->record.state == GH_ENROLMENT_WAITING ? " waits for approval"
        : enrol->record.question ? " waits for permission" : " waits for the CA";
}

/* What is issued later, by whom it may be: once an operator has approved it, or by a worker. */
static apr_status_t prepare_later(gh_ledger_t *ledger, enrol_t *enrol, gh_enrolment_state_t state,
                                  const gh_enrolment_request_t *request, gh_audit_event_t *event,
                                  apr_pool_t *p, gh_result_t *result)
{
    gh_issuer_t *issuer = apr_hash_get(ledger->issuers, request->issuer, APR_HASH_KEY_STRING);
    const gh_question_t *question = gh_authorisation_question(enrol->authorisation);
    int by_worker = issuer && gh_issuer_backend(issuer)->by_worker;
    apr_status_t rv;

    rv = gh_plan_encode(&enrol->record.plan, gh_authorisation_plan(enrol->authorisation), p,
                        result);
    enrol->patience = by_worker ? gh_issuer_config(issuer)->deadline : 0;
    if (rv == APR_SUCCESS && question) {
        rv = keep_question(enrol, question, p, result);
    }
    if (rv == APR_SUCCESS && (by_worker || question)) {
        rv = keep_request(enrol, request, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    enrol->record.state = state;
    event->issuer = enrol->record.issuer;
    event->profile = enrol->record.profile;
    event->subject = enrol->record.subject;
    event->rule = enrol->record.rule;
    event->result = "pending";
    event->message = apr_pstrcat(p, "enrolment ", enrol->record.id, waits_for(enrol),
                                 event->message ? "; " : "", event->message, NULL);
    enrol->event = event;
    enrol->line = gh_audit_line_keep(event, p);
    return APR_SUCCESS;
}

static apr_status_t prepare(gh_ledger_t *ledger, enrol_t *enrol,
                            const gh_enrolment_request_t *request, gh_audit_event_t *event,
                            apr_pool_t *p, gh_result_t *result)
{
    X509 *x509 = NULL;
    apr_status_t rv;

    if (gh_authorisation_question(enrol->authorisation)) {
        return prepare_later(ledger, enrol, GH_ENROLMENT_SUBMITTED, request, event, p, result);
    }
    if (gh_authorisation_needs_approval(enrol->authorisation)) {
        return prepare_later(ledger, enrol, GH_ENROLMENT_WAITING, request, event, p, result);
    }
    rv = gh_ledger_make(ledger, enrol->authorisation, enrol->record.id, event, &enrol->issue,
                        &x509, p, result);
    if (rv == GH_EPENDING) {
        return prepare_later(ledger, enrol, GH_ENROLMENT_SUBMITTED, request, event, p, result);
    }
    enrol->issued = 1;
    enrol->record.state = GH_ENROLMENT_ISSUED;
    enrol->record.serial = enrol->issue.certificate.serial;
    return rv;
}

/* What to say when the transaction did not happen, or may not have happened. */
static apr_status_t enrol_failed(gh_ledger_t *ledger, const gh_authorisation_t *authorisation,
                                 const gh_enrolment_request_t *request, apr_status_t rv,
                                 gh_enrolment_outcome_t *outcome, apr_pool_t *p,
                                 gh_result_t *result)
{
    if (rv == GH_EREFUSED) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED,
                              gh_authorisation_rule(authorisation),
                              "Make a new challenge for this endpoint and give it to the device.",
                              GHNO(0033) "what is good for one request only has been used "
                              "meanwhile");
    }
    if (rv == GH_ECONFLICT || rv == GH_EUNKNOWN) {
        apr_status_t repeated = gh_ledger_repeat(ledger, request, outcome, p, result);

        if (repeated != APR_NOTFOUND) {
            return repeated;
        }
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "store",
                              "Send the request again.",
                              GHNO(0034) "the store could not say whether the enrolment was "
                              "recorded");
    }
    return rv;
}

apr_status_t gh_ledger_enrol(gh_ledger_t *ledger, const gh_authorisation_t *authorisation,
                             const gh_enrolment_request_t *request, gh_audit_event_t *event,
                             gh_enrolment_outcome_t *outcome, apr_pool_t *p, gh_result_t *result)
{
    enrol_t enrol = {
        .authorisation = authorisation, .now = apr_time_now(), .node = ledger->node, .pool = p
    };
    apr_status_t rv;

    memset(outcome, 0, sizeof(*outcome));
    if (!binding_holds(authorisation, request)) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_INTERNAL, "authorisation", NULL,
                              GHNO(0035) "the authorisation was given for another request");
    }
    event->message = gh_authorisation_message(authorisation);
    rv = check_name(ledger, authorisation, p, result);
    if (rv == APR_SUCCESS) {
        rv = fill_record(&enrol.record, authorisation, request, enrol.now, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = prepare(ledger, &enrol, request, event, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_store_write(ledger->store, enrol_work, &enrol, result);
    if (rv != APR_SUCCESS) {
        event->serial = NULL;
        if (enrol.renewed) {
            return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, "renewal.successor",
                                  "Use the successor.",
                                  GHNO(0442) "the certificate has been renewed meanwhile");
        }
        return enrol_failed(ledger, authorisation, request, rv, outcome, p, result);
    }
    outcome->state = enrol.record.state;
    outcome->id = enrol.record.id;
    if (enrol.record.state == GH_ENROLMENT_SUBMITTED) {
        outcome->queue = gh_authorisation_question(authorisation)
            ? gh_authorisation_question(authorisation)->queue : enrol.record.issuer;
    }
    outcome->certificate = enrol.issue.certificate.der;
    outcome->serial = enrol.issue.certificate.serial;
    return APR_SUCCESS;
}
