/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What comes of an enrolment that another CA carries out. */

#include "issuer/submission.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/asn1.h>

#include "issuer/ledger_private.h"
#include "issuer/remote.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/renewals.h"
#include "x509/name.h"

/** CRLReason of a certificate whose predecessor was withdrawn while the CA made it. */
#define REASON_CESSATION 5

/** The first byte of DER; of what is sealed it is another. */
#define DER_SEQUENCE 0x30

const char *gh_ledger_seal_context(const char *enrolment, apr_pool_t *p)
{
    return apr_pstrcat(p, "enrolment/", enrolment, NULL);
}

apr_status_t gh_ledger_submit(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                              apr_interval_time_t patience, apr_time_t now)
{
    gh_job_record_t job = {
        .id = record->id, .kind = GH_SUBMISSION_KIND, .queue = record->issuer,
        .subject = record->id, .created = now, .due = now, .deadline = now + patience
    };

    return gh_job_insert(transaction, &job);
}

static int is_open(const gh_enrolment_record_t *record)
{
    return record->state == GH_ENROLMENT_SUBMITTED || record->state == GH_ENROLMENT_RETRY
        || record->state == GH_ENROLMENT_IN_DOUBT;
}

/* Reading */

typedef struct {
    const char *id;
    gh_enrolment_record_t *record;
    apr_pool_t *pool;
} find_t;

static apr_status_t find_work(gh_transaction_t *transaction, void *baton)
{
    find_t *find = baton;

    return gh_enrolment_find(transaction, find->id, &find->record, find->pool);
}

apr_status_t gh_ledger_open_request(gh_bytes_t *request, const char *enrolment, gh_bytes_t stored,
                                    const gh_sealer_t *sealer, apr_pool_t *p, gh_result_t *result)
{
    *request = stored;
    if (!stored.length) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "submission.request",
                              "Let the device ask again.",
                              GHNO(0777) "enrolment %s was stored without its request", enrolment);
    }
    if (stored.data[0] == DER_SEQUENCE) {
        return APR_SUCCESS;
    }
    if (!sealer) {
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_INTERNAL, "submission.sealed",
                              "Configure the GatehouseSealingKey of the node that took the "
                              "request.",
                              GHNO(0778) "the request of enrolment %s is sealed, and there is no "
                              "sealing key here", enrolment);
    }
    return gh_unseal(request, sealer, stored, gh_ledger_seal_context(enrolment, p), p, result);
}

apr_status_t gh_submission_read(gh_submission_t **submission, gh_store_t *store,
                                const gh_sealer_t *sealer, const char *id, apr_pool_t *p,
                                gh_result_t *result)
{
    gh_submission_t *made = apr_pcalloc(p, sizeof(*made));
    find_t find = { id, NULL, p };
    apr_status_t rv;

    *submission = NULL;
    rv = gh_store_read(store, find_work, &find, result);
    if (rv == APR_SUCCESS && !is_open(find.record)) {
        rv = APR_NOTFOUND;
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    made->record = find.record;
    rv = gh_plan_decode(&made->plan, find.record->plan, p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_ledger_open_request(&made->request, made->record->id, made->record->request, sealer,
                                    p, result);
    }
    if (rv == APR_SUCCESS) {
        *submission = made;
    }
    return rv;
}

/* Ends */

typedef struct {
    const gh_enrolment_record_t *record;
    const char *holder;
    gh_enrolment_state_t state;     /* which it gets */
    gh_certificate_record_t certificate;
    const char *message;
    gh_audit_event_t *event;
    const gh_result_t *why;
    apr_time_t due;
    int unknown;
    const char *reference;
    int withdrawn;                  /* the certificate that is renewed is revoked or held */
    apr_time_t now;
    apr_pool_t *pool;
} end_t;

static end_t begin_end(const gh_submission_t *submission, const char *holder, const char *node,
                       gh_enrolment_state_t state, gh_audit_event_t *event, apr_pool_t *p)
{
    end_t end = {
        .record = submission->record, .holder = holder, .state = state, .event = event,
        .now = apr_time_now(), .pool = p
    };

    if (event) {
        gh_ledger_fill_event(event, node, submission->record, p);
    }
    return end;
}

/* From whichever state it is in by now: an operator may have had it tried again. Who has changed
 * the job is the only one to change the row. */
static apr_status_t move_row(gh_transaction_t *transaction, const end_t *end,
                             gh_enrolment_state_t state)
{
    gh_enrolment_record_t *record;
    apr_status_t rv = gh_enrolment_find(transaction, end->record->id, &record, end->pool);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!is_open(record)) {
        return APR_NOTFOUND;
    }
    if (record->state == state) {
        return APR_SUCCESS;
    }
    return gh_enrolment_move(transaction, end->record->id, record->state, state, NULL,
                             end->message, end->certificate.serial, end->now);
}

/* The CA's own list of events may have told of it already. */
static apr_status_t store_certificate(gh_transaction_t *transaction, const end_t *end)
{
    apr_array_header_t *found;
    int completed = 0;
    apr_status_t rv;

    rv = gh_certificate_find(transaction, end->certificate.issuer, end->certificate.serial, &found,
                             end->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (found->nelts == 0) {
        return gh_certificate_insert(transaction, &end->certificate);
    }
    rv = gh_certificate_complete(transaction, &end->certificate, &completed);
    if (rv == APR_SUCCESS) {
        rv = gh_certificate_adopt(transaction, &end->certificate);
    }
    return rv == APR_NOTFOUND ? GH_ECONFLICT : rv;
}

/* While the CA made it, whoever asked may have lost the right to. */
static apr_status_t look_back(gh_transaction_t *transaction, end_t *end)
{
    gh_status_t status;
    apr_status_t rv = gh_renewal_predecessor(transaction, end->record->id, &status);

    end->withdrawn = rv == APR_SUCCESS && status != GH_STATUS_GOOD;
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

/* A key of ours has its certificate now. */
static apr_status_t complete_key(gh_transaction_t *transaction, const end_t *end)
{
    gh_key_request_record_t *request;
    apr_status_t rv = gh_key_request_of(transaction, end->record->id, &request, end->pool);

    if (rv == APR_SUCCESS) {
        gh_sealed_key_record_t key = {
            .id = request->enrolment, .purpose = request->purpose, .issuer = request->issuer,
            .generation = request->generation, .sealed = request->sealed,
            .certificate = end->certificate.der, .not_before = end->certificate.not_before,
            .not_after = end->certificate.not_after
        };

        rv = gh_sealed_key_insert(transaction, &key);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_key_request_remove(transaction, end->record->id);
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t withdraw(gh_transaction_t *transaction, end_t *end)
{
    apr_status_t rv;
    int changed;

    end->event->result = "refused";
    end->event->rule = "renewal.revoked";
    end->event->message = end->message;
    rv = gh_remote_set_status(transaction, end->certificate.issuer, end->certificate.serial,
                              GH_STATUS_REVOKED, REASON_CESSATION, 0, end->now, &changed,
                              end->pool);
    return rv == APR_SUCCESS
        ? gh_ledger_tell_failed(transaction, end->record, end->now, end->pool) : rv;
}

/* Nobody gets it before whoever has permitted it knows of it. */
static apr_status_t await_word(gh_transaction_t *transaction, end_t *end)
{
    end->event->result = "pending";
    end->event->message = GH_LEDGER_CONFIRMING;
    return gh_ledger_confirm(transaction, end->record, end->now, end->pool);
}

static apr_status_t issued_work(gh_transaction_t *transaction, void *baton)
{
    end_t *end = baton;
    apr_status_t rv;

    end->withdrawn = 0;
    end->message = NULL;
    end->event->result = "issued";
    end->event->message = NULL;
    rv = gh_job_remove(transaction, end->record->id, end->holder);
    if (rv == APR_SUCCESS) {
        rv = look_back(transaction, end);
    }
    if (rv == APR_SUCCESS && end->withdrawn) {
        end->message = "the certificate that was to be renewed has been revoked or held meanwhile";
    }
    if (rv == APR_SUCCESS) {
        rv = move_row(transaction, end, end->withdrawn ? GH_ENROLMENT_REJECTED : end->state);
    }
    if (rv == APR_SUCCESS) {
        rv = store_certificate(transaction, end);
    }
    if (rv == APR_SUCCESS) {
        rv = end->withdrawn ? withdraw(transaction, end)
            : end->state == GH_ENROLMENT_CONFIRMING ? await_word(transaction, end)
            : gh_renewal_issued(transaction, end->record->id, end->now);
    }
    if (rv == APR_SUCCESS && !end->withdrawn) {
        rv = complete_key(transaction, end);
    }
    return rv == APR_SUCCESS
        ? gh_audit_insert(transaction, end->event, gh_audit_line(end->event, end->pool), 0) : rv;
}

/* Alternative names of what the CA has made, which may be fewer than were asked for. */
static const char *names_of(X509 *certificate, apr_pool_t *p)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    const char *json = names ? gh_san_json(names, p) : "[]";

    GENERAL_NAMES_free(names);
    return json;
}

apr_status_t gh_submission_issued(const gh_submission_t *submission, gh_store_t *store,
                                  const char *holder, const char *node, X509 *certificate,
                                  gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result)
{
    const gh_enrolment_record_t *row = submission->record;
    end_t end = begin_end(submission, holder, node,
                          gh_ledger_confirms(row, p) ? GH_ENROLMENT_CONFIRMING
                                                     : GH_ENROLMENT_ISSUED, event, p);
    apr_status_t rv;

    end.certificate.issuer = row->issuer;
    end.certificate.profile = row->profile;
    end.certificate.subject = gh_name_text(X509_get_subject_name(certificate), p);
    end.certificate.sans = names_of(certificate, p);
    end.certificate.enrolment = row->id;
    end.certificate.key_sha256 = gh_plan_key_sha256(submission->plan);
    rv = gh_ledger_fill_certificate(&end.certificate, certificate, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    event->subject = end.certificate.subject;
    event->serial = gh_hex(p, end.certificate.serial.data, end.certificate.serial.length);
    rv = gh_store_write(store, issued_work, &end, result);
    if (rv == GH_ECONFLICT) {
        /* the list of events may have told of it in between: now it will be found */
        rv = gh_store_write(store, issued_work, &end, result);
    }
    if (rv == GH_ECONFLICT) {
        return gh_result_fail(result, rv, GH_FAILURE_CONFLICT, "submission.serial",
                              "Ask the operator of the CA.",
                              GHNO(0779) "issuer %s has given serial number %s to another "
                              "enrolment before", row->issuer, event->serial);
    }
    return rv;
}

static apr_status_t rejected_work(gh_transaction_t *transaction, void *baton)
{
    const end_t *end = baton;
    apr_status_t rv = gh_job_remove(transaction, end->record->id, end->holder);

    if (rv == APR_SUCCESS) {
        rv = move_row(transaction, end, end->state);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_ledger_tell_failed(transaction, end->record, end->now, end->pool);
    }
    return rv == APR_SUCCESS
        ? gh_audit_insert(transaction, end->event, gh_audit_line(end->event, end->pool), 0) : rv;
}

apr_status_t gh_submission_rejected(const gh_submission_t *submission, gh_store_t *store,
                                    const char *holder, const char *node, const char *reason,
                                    const gh_result_t *why, gh_audit_event_t *event, apr_pool_t *p,
                                    gh_result_t *result)
{
    end_t end = begin_end(submission, holder, node, GH_ENROLMENT_REJECTED, event, p);

    if (why) {
        gh_audit_take_result(event, why, p);
    }
    event->result = "refused";
    event->message = reason;
    end.message = reason;
    return gh_store_write(store, rejected_work, &end, result);
}

static apr_status_t doubt_work(gh_transaction_t *transaction, void *baton)
{
    const end_t *end = baton;
    apr_status_t rv = gh_job_doubt(transaction, end->record->id, end->holder, end->why);

    if (rv == APR_SUCCESS) {
        rv = move_row(transaction, end, end->state);
    }
    return rv == APR_SUCCESS
        ? gh_audit_insert(transaction, end->event, gh_audit_line(end->event, end->pool), 0) : rv;
}

apr_status_t gh_submission_doubt(const gh_submission_t *submission, gh_store_t *store,
                                 const char *holder, const char *node, const gh_result_t *why,
                                 gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result)
{
    end_t end = begin_end(submission, holder, node, GH_ENROLMENT_IN_DOUBT, event, p);

    gh_audit_take_result(event, why, p);
    event->result = "failed";
    end.why = why;
    return gh_store_write(store, doubt_work, &end, result);
}

static apr_status_t again_work(gh_transaction_t *transaction, void *baton)
{
    const end_t *end = baton;
    apr_status_t rv = gh_job_again(transaction, end->record->id, end->holder, end->due,
                                   end->unknown, end->reference, end->why);

    return rv == APR_SUCCESS ? move_row(transaction, end, end->state) : rv;
}

apr_status_t gh_submission_again(const gh_submission_t *submission, gh_store_t *store,
                                 const char *holder, apr_time_t due, int unknown,
                                 const char *reference, const gh_result_t *why, apr_pool_t *p,
                                 gh_result_t *result)
{
    end_t end = begin_end(submission, holder, NULL,
                          why ? GH_ENROLMENT_RETRY : GH_ENROLMENT_SUBMITTED, NULL, p);

    end.due = due;
    end.unknown = unknown;
    end.reference = reference;
    end.why = why;
    return gh_store_write(store, again_work, &end, result);
}
