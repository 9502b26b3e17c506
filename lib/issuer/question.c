/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What comes of it when somebody outside is asked, or told. */

#include "issuer/question.h"

#include <string.h>

#include <apr_strings.h>

#include "issuer/ledger_private.h"
#include "issuer/remote.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/renewals.h"

/** CRLReason of a certificate that nobody may use: cessationOfOperation. */
#define REASON_CESSATION 5

/** Longest words from outside. */
#define WORDS_MAX 200

static int begins(const char *kind, const char *prefix)
{
    return strncmp(kind, prefix, strlen(prefix)) == 0;
}

static gh_stage_t stage_of(const char *kind)
{
    return begins(kind, GH_QUESTION_ASK) ? GH_STAGE_ASK
        : begins(kind, GH_QUESTION_CONFIRM) ? GH_STAGE_CONFIRM
        : begins(kind, GH_QUESTION_FAILED) ? GH_STAGE_FAILED : 0;
}

static int is_asked(const gh_enrolment_record_t *record)
{
    return record->state == GH_ENROLMENT_SUBMITTED || record->state == GH_ENROLMENT_RETRY;
}

/* Reading */

typedef struct {
    const gh_job_record_t *job;
    gh_asked_t *asked;
    apr_pool_t *pool;
} read_t;

static apr_status_t read_work(gh_transaction_t *transaction, void *baton)
{
    read_t *look = baton;
    gh_asked_t *asked = look->asked;
    gh_enrolment_outcome_t outcome = {0};
    apr_time_t not_after;
    apr_status_t rv = gh_enrolment_find(transaction, look->job->subject, &asked->record,
                                        look->pool);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if ((asked->stage == GH_STAGE_ASK && !is_asked(asked->record))
        || (asked->stage == GH_STAGE_CONFIRM && asked->record->state != GH_ENROLMENT_CONFIRMING)) {
        return APR_NOTFOUND;
    }
    if (asked->stage == GH_STAGE_CONFIRM) {
        rv = gh_ledger_read_certificate(transaction, asked->record, &outcome, &not_after,
                                        look->pool);
        asked->certificate = outcome.certificate;
    }
    return rv;
}

apr_status_t gh_question_read(gh_asked_t **out, gh_store_t *store, const gh_sealer_t *sealer,
                              const gh_job_record_t *job, apr_pool_t *p, gh_result_t *result)
{
    gh_asked_t *asked = apr_pcalloc(p, sizeof(*asked));
    read_t look = { job, asked, p };
    gh_kept_question_t kept;
    apr_status_t rv;

    *out = NULL;
    asked->id = job->id;
    asked->stage = stage_of(job->kind);
    rv = asked->stage ? gh_store_read(store, read_work, &look, result) : APR_NOTFOUND;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_ledger_take_question(&kept, asked->record, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    asked->question = kept.question;
    if (asked->stage == GH_STAGE_FAILED) {
        asked->reason = asked->record->message ? asked->record->message : "nothing was issued";
    }
    else {
        rv = gh_plan_decode(&asked->plan, asked->record->plan, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_ledger_open_request(&asked->request, asked->record->id,
                                    asked->stage == GH_STAGE_FAILED ? job->payload
                                                                    : asked->record->request,
                                    sealer, p, result);
    }
    if (rv == APR_SUCCESS) {
        *out = asked;
    }
    return rv;
}

/* Ends */

typedef struct {
    const gh_asked_t *asked;
    const char *holder;
    const char *message;            /* of the row */
    gh_audit_event_t *event;
    const gh_result_t *why;
    apr_time_t due;
    apr_time_t now;
    apr_pool_t *pool;
} end_t;

static end_t begin_end(const gh_asked_t *asked, const char *holder, const char *node,
                       const char *what, gh_audit_event_t *event, apr_pool_t *p)
{
    end_t end = {
        .asked = asked, .holder = holder, .event = event, .now = apr_time_now(), .pool = p
    };

    gh_ledger_fill_event(event, node, asked->record, p);
    event->event = what;
    event->rule = event->rule ? event->rule : asked->record->rule;
    return end;
}

static apr_status_t move(gh_transaction_t *transaction, const end_t *end,
                         gh_enrolment_state_t from, gh_enrolment_state_t to)
{
    gh_bytes_t none = { NULL, 0 };

    return from == to ? APR_SUCCESS
        : gh_enrolment_move(transaction, end->asked->id, from, to, NULL, end->message, none,
                            end->now);
}

static apr_status_t add_event(gh_transaction_t *transaction, const end_t *end)
{
    return gh_audit_insert(transaction, end->event, gh_audit_line(end->event, end->pool), 0);
}

/** The job is gone, and the row is as it was when it was read: whoever has changed it since had
 *  changed the job first. */
static apr_status_t end_job(gh_transaction_t *transaction, const end_t *end,
                            gh_enrolment_record_t **record)
{
    apr_status_t rv = gh_job_remove(transaction, end->asked->id, end->holder);

    return rv == APR_SUCCESS
        ? gh_enrolment_find(transaction, end->asked->id, record, end->pool) : rv;
}

/** What follows the permission: an operator, the CA elsewhere, or a child of httpd. */
static apr_status_t go_on(gh_transaction_t *transaction, const end_t *end,
                          const gh_enrolment_record_t *record)
{
    gh_kept_question_t kept;
    int by_worker = 0;
    apr_status_t rv = gh_ledger_take_question(&kept, record, end->pool, NULL);

    if (rv == APR_SUCCESS && kept.approval) {
        return move(transaction, end, record->state, GH_ENROLMENT_WAITING);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_issuer_by_worker(transaction, record->issuer, &by_worker);
    }
    if (rv == APR_SUCCESS) {
        rv = move(transaction, end, record->state,
                  by_worker ? GH_ENROLMENT_SUBMITTED : GH_ENROLMENT_APPROVED);
    }
    return rv == APR_SUCCESS && by_worker
        ? gh_ledger_submit(transaction, record, kept.patience, end->now) : rv;
}

static apr_status_t permitted_work(gh_transaction_t *transaction, void *baton)
{
    const end_t *end = baton;
    gh_enrolment_record_t *record;
    apr_status_t rv = end_job(transaction, end, &record);

    if (rv == APR_SUCCESS && !is_asked(record)) {
        return APR_NOTFOUND;
    }
    if (rv == APR_SUCCESS) {
        rv = go_on(transaction, end, record);
    }
    return rv == APR_SUCCESS ? add_event(transaction, end) : rv;
}

apr_status_t gh_question_permitted(const gh_asked_t *asked, gh_store_t *store, const char *holder,
                                   const char *node, const char *word, gh_audit_event_t *event,
                                   apr_pool_t *p, gh_result_t *result)
{
    end_t end = begin_end(asked, holder, node, "permit", event, p);

    event->result = "pending";
    event->message = word;
    return gh_store_write(store, permitted_work, &end, result);
}

static apr_status_t refused_work(gh_transaction_t *transaction, void *baton)
{
    const end_t *end = baton;
    gh_enrolment_record_t *record;
    apr_status_t rv = end_job(transaction, end, &record);

    if (rv == APR_SUCCESS && !is_asked(record)) {
        return APR_NOTFOUND;
    }
    if (rv == APR_SUCCESS) {
        rv = move(transaction, end, record->state, GH_ENROLMENT_REJECTED);
    }
    return rv == APR_SUCCESS ? add_event(transaction, end) : rv;
}

/** What the log says of a refusal, with what an operator is to know. */
static void take_refusal(end_t *end, const char *reason, const gh_result_t *why)
{
    gh_audit_event_t *event = end->event;

    if (why) {
        gh_audit_take_result(event, why, end->pool);
    }
    event->result = "refused";
    event->message = reason;
    end->message = reason;
}

apr_status_t gh_question_refused(const gh_asked_t *asked, gh_store_t *store, const char *holder,
                                 const char *node, const char *reason, const gh_result_t *why,
                                 gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result)
{
    end_t end = begin_end(asked, holder, node, "permit", event, p);

    take_refusal(&end, reason, why);
    return gh_store_write(store, refused_work, &end, result);
}

static apr_status_t find_certificate(gh_transaction_t *transaction, const end_t *end,
                                     gh_certificate_record_t **certificate)
{
    const gh_enrolment_record_t *record = end->asked->record;
    apr_array_header_t *found;
    apr_status_t rv = gh_certificate_find(transaction, record->issuer, record->serial, &found,
                                          end->pool);

    if (rv == APR_SUCCESS && found->nelts != 1) {
        return GH_ECORRUPT;
    }
    if (rv == APR_SUCCESS) {
        *certificate = APR_ARRAY_IDX(found, 0, gh_certificate_record_t *);
    }
    return rv;
}

static apr_status_t confirmed_work(gh_transaction_t *transaction, void *baton)
{
    end_t *end = baton;
    gh_certificate_record_t *certificate;
    gh_enrolment_record_t *record;
    int revoked = 0;
    apr_status_t rv = end_job(transaction, end, &record);

    if (rv == APR_SUCCESS) {
        rv = find_certificate(transaction, end, &certificate);
    }
    if (rv == APR_SUCCESS) {
        revoked = certificate->status == GH_STATUS_REVOKED;
        end->event->result = revoked ? "refused" : "issued";
        end->message = revoked ? "the certificate was revoked before it was handed out" : NULL;
        end->event->message = end->message;
        rv = move(transaction, end, GH_ENROLMENT_CONFIRMING,
                  revoked ? GH_ENROLMENT_REJECTED : GH_ENROLMENT_ISSUED);
    }
    if (rv == APR_SUCCESS && !revoked) {
        rv = gh_renewal_issued(transaction, end->asked->id, end->now);
    }
    return rv == APR_SUCCESS ? add_event(transaction, end) : rv;
}

static void name_certificate(const end_t *end)
{
    gh_bytes_t serial = end->asked->record->serial;

    end->event->serial = gh_hex(end->pool, serial.data, serial.length);
}

apr_status_t gh_question_confirmed(const gh_asked_t *asked, gh_store_t *store, const char *holder,
                                   const char *node, gh_audit_event_t *event, apr_pool_t *p,
                                   gh_result_t *result)
{
    end_t end = begin_end(asked, holder, node, "confirm", event, p);

    name_certificate(&end);
    return gh_store_write(store, confirmed_work, &end, result);
}

apr_status_t gh_ledger_withdraw(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                                apr_time_t now, apr_pool_t *p)
{
    int changed;
    apr_status_t rv = gh_remote_set_status(transaction, record->issuer, record->serial,
                                           GH_STATUS_REVOKED, REASON_CESSATION, 0, now, &changed,
                                           p);

    /* an operator has revoked it before */
    return rv == GH_EREFUSED ? APR_SUCCESS : rv;
}

static apr_status_t not_confirmed_work(gh_transaction_t *transaction, void *baton)
{
    const end_t *end = baton;
    gh_enrolment_record_t *record;
    apr_status_t rv = end_job(transaction, end, &record);

    if (rv == APR_SUCCESS) {
        rv = move(transaction, end, GH_ENROLMENT_CONFIRMING, GH_ENROLMENT_REJECTED);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_ledger_withdraw(transaction, end->asked->record, end->now, end->pool);
    }
    return rv == APR_SUCCESS ? add_event(transaction, end) : rv;
}

apr_status_t gh_question_not_confirmed(const gh_asked_t *asked, gh_store_t *store,
                                       const char *holder, const char *node, const char *reason,
                                       const gh_result_t *why, gh_audit_event_t *event,
                                       apr_pool_t *p, gh_result_t *result)
{
    end_t end = begin_end(asked, holder, node, "confirm", event, p);

    name_certificate(&end);
    take_refusal(&end, reason, why);
    return gh_store_write(store, not_confirmed_work, &end, result);
}

static apr_status_t again_work(gh_transaction_t *transaction, void *baton)
{
    const end_t *end = baton;
    gh_enrolment_record_t *record;
    apr_status_t rv = gh_job_again(transaction, end->asked->id, end->holder, end->due, 0, NULL,
                                   end->why);

    if (rv == APR_SUCCESS && end->asked->stage == GH_STAGE_ASK) {
        rv = gh_enrolment_find(transaction, end->asked->id, &record, end->pool);
        if (rv == APR_SUCCESS) {
            rv = is_asked(record)
                ? move(transaction, end, record->state,
                       end->why ? GH_ENROLMENT_RETRY : GH_ENROLMENT_SUBMITTED) : APR_NOTFOUND;
        }
    }
    return rv;
}

apr_status_t gh_question_again(const gh_asked_t *asked, gh_store_t *store, const char *holder,
                               apr_time_t due, const gh_result_t *why, apr_pool_t *p,
                               gh_result_t *result)
{
    end_t end = {
        .asked = asked, .holder = holder, .why = why, .due = due, .now = apr_time_now(), .pool = p
    };

    return gh_store_write(store, again_work, &end, result);
}

typedef struct {
    const char *id;
    const char *holder;
} over_t;

static apr_status_t over_work(gh_transaction_t *transaction, void *baton)
{
    const over_t *over = baton;

    return gh_job_remove(transaction, over->id, over->holder);
}

apr_status_t gh_question_over(const char *id, gh_store_t *store, const char *holder,
                              gh_result_t *result)
{
    over_t over = { id, holder };

    return gh_store_write(store, over_work, &over, result);
}

const char *gh_question_words(const char *text, apr_pool_t *p)
{
    apr_size_t length = text ? strnlen(text, WORDS_MAX + 1) : 0;
    char *words;
    char *at;

    if (length > WORDS_MAX) {
        /* not within a character of UTF-8 */
        for (length = WORDS_MAX; length > 0 && (text[length] & 0xc0) == 0x80; --length) {
        }
    }
    words = apr_pstrmemdup(p, text ? text : "", length);
    for (at = words; *at; ++at) {
        if ((unsigned char)*at < ' ' || *at == 0x7f) {
            *at = ' ';
        }
    }
    return words;
}
