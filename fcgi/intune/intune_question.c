/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Enrolments: whether Intune permits one, and what has become of it. Each is a job (question.h),
 * and may be asked or told more than once: Intune knows it by its transaction.
 */

#include <string.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "fcgi/intune/intune_service.h"
#include "issuer/intune.h"
#include "issuer/question.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

/** A store that does not answer is asked again; the lease goes on meanwhile. */
#define STORE_PAUSE apr_time_from_sec(1)
#define STORE_TRIES 60

/** What cannot be read here may be read by another process, with another key. */
#define UNREADABLE_PAUSE apr_time_from_sec(60)

/** HRESULT for the console of Intune: of a customer (MS-ERREF 2.1), failure. */
#define HRESULT_NOT_ISSUED 0xa0000001

/** How long Intune is told of what was handed out already. */
#define TELL_PATIENCE apr_time_from_sec(7 * 86400)

#define SHA1_LENGTH 20

typedef enum {
    ENDING_NONE,
    ENDING_YES,                     /* permitted, confirmed or told */
    ENDING_NO,
    ENDING_HANDED_OUT,              /* as if confirmed, and Intune is told later */
    ENDING_AGAIN,
    ENDING_GONE,
    ENDING_UNREADABLE
} ending_t;

typedef struct {
    intune_service_t *service;
    framework_job_t *job;
    apr_pool_t *pool;
    gh_asked_t *asked;
    gh_bytes_t body;
    const char *path;
    ending_t ending;
    const char *reason;
    apr_time_t due;
    gh_result_t why;
    apr_status_t rv;                /* of the store */
    gh_result_t stored;
    int tries;
} asking_t;

static gh_store_t *store_of(const asking_t *asking)
{
    return framework_store(asking->service->framework);
}

static const char *holder_of(const asking_t *asking)
{
    return framework_job_holder(asking->job);
}

static const gh_job_record_t *record_of(const asking_t *asking)
{
    return framework_job_record(asking->job);
}

/* Ends, on a lane */

static apr_status_t let_go(gh_transaction_t *transaction, void *baton)
{
    const asking_t *asking = baton;

    return gh_job_again(transaction, record_of(asking)->id, holder_of(asking), asking->due, 0,
                        NULL, asking->why.number[0] ? &asking->why : NULL);
}

static apr_status_t insert_tell(gh_transaction_t *transaction, void *baton)
{
    const asking_t *asking = baton;
    apr_time_t now = apr_time_now();
    gh_job_record_t job = {
        .id = gh_ordered_id(now, asking->pool), .kind = INTUNE_JOB_TELL,
        .queue = record_of(asking)->queue, .subject = record_of(asking)->id,
        .created = now, .due = now + asking->due - framework_job_time(asking->job),
        .deadline = now + TELL_PATIENCE
    };
    apr_status_t rv;

    if (!job.id) {
        return APR_EGENERAL;
    }
    job.payload = asking->body;
    if (asking->service->sealer) {
        rv = gh_seal(&job.payload, asking->service->sealer, asking->body, job.id, asking->pool,
                     NULL);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return gh_job_insert(transaction, &job);
}

static apr_status_t end_no(asking_t *asking, const char *node, gh_audit_event_t *event)
{
    switch (asking->asked->stage) {
    case GH_STAGE_ASK:
        return gh_question_refused(asking->asked, store_of(asking), holder_of(asking), node,
                                   asking->reason, &asking->why, event, asking->pool,
                                   &asking->stored);
    case GH_STAGE_CONFIRM:
        return gh_question_not_confirmed(asking->asked, store_of(asking), holder_of(asking), node,
                                         asking->reason, &asking->why, event, asking->pool,
                                         &asking->stored);
    default:
        return gh_question_over(record_of(asking)->id, store_of(asking), holder_of(asking),
                                &asking->stored);
    }
}

static apr_status_t end_yes(asking_t *asking, const char *node, gh_audit_event_t *event)
{
    switch (asking->asked->stage) {
    case GH_STAGE_ASK:
        return gh_question_permitted(asking->asked, store_of(asking), holder_of(asking), node,
                                     NULL, event, asking->pool, &asking->stored);
    case GH_STAGE_CONFIRM:
        return gh_question_confirmed(asking->asked, store_of(asking), holder_of(asking), node,
                                     event, asking->pool, &asking->stored);
    default:
        return gh_question_over(record_of(asking)->id, store_of(asking), holder_of(asking),
                                &asking->stored);
    }
}

static void end_work(void *baton)
{
    asking_t *asking = baton;
    const char *node = framework_node(asking->service->framework);
    gh_audit_event_t event;

    memset(&event, 0, sizeof(event));
    gh_result_clear(&asking->stored);
    switch (asking->ending) {
    case ENDING_YES:
        asking->rv = end_yes(asking, node, &event);
        break;
    case ENDING_NO:
        asking->rv = end_no(asking, node, &event);
        break;
    case ENDING_HANDED_OUT:
        /* in this order: Intune may be told twice, but not never */
        asking->rv = gh_store_write(store_of(asking), insert_tell, asking, &asking->stored);
        if (asking->rv == APR_SUCCESS) {
            asking->rv = end_yes(asking, node, &event);
        }
        break;
    case ENDING_GONE:
        asking->rv = gh_question_over(record_of(asking)->id, store_of(asking), holder_of(asking),
                                      &asking->stored);
        break;
    case ENDING_AGAIN:
        asking->rv = gh_question_again(asking->asked, store_of(asking), holder_of(asking),
                                       asking->due, asking->why.number[0] ? &asking->why : NULL,
                                       asking->pool, &asking->stored);
        break;
    default:
        asking->rv = gh_store_write(store_of(asking), let_go, asking, &asking->stored);
    }
}

static void tell_log(const asking_t *asking)
{
    const char *name = asking->service->connection.name, *id = record_of(asking)->id;
    const gh_result_t *why = &asking->why;

    if (asking->ending == ENDING_NO && asking->asked->stage == GH_STAGE_CONFIRM) {
        gh_log(asking->service->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0946) "IntuneConnection %s: "
               "the certificate of enrolment %s is revoked and not handed out, since Intune did "
               "not take the notification: %s: %s; %s", name, id, why->number, why->message,
               why->action);
    }
    else if (asking->ending == ENDING_NO) {
        gh_log(asking->service->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0947) "IntuneConnection %s: "
               "enrolment %s: %s: %s; %s", name, id, why->number, why->message, why->action);
    }
    else if (asking->ending == ENDING_HANDED_OUT) {
        gh_log(asking->service->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0948) "IntuneConnection %s: "
               "the certificate of enrolment %s is handed out before Intune has taken the "
               "notification: %s: %s; it is told later", name, id, why->number, why->message);
    }
    else if (asking->ending != ENDING_YES && why->number[0]) {
        gh_log(asking->service->log, GH_LOG_INFO, APR_SUCCESS, GHNO(0949) "IntuneConnection %s: "
               "enrolment %s goes on later: %s: %s", name, id, why->number, why->message);
    }
}

static void end_asking(asking_t *asking);

static void end_again(void *baton)
{
    end_asking(baton);
}

static void end_done(void *baton)
{
    asking_t *asking = baton;

    if (asking->rv == APR_SUCCESS) {
        tell_log(asking);
    }
    else if (asking->rv != APR_NOTFOUND && ++asking->tries < STORE_TRIES) {
        framework_at(asking->service->framework, apr_time_now() + STORE_PAUSE, end_again, asking);
        return;
    }
    else if (asking->rv != APR_NOTFOUND) {
        gh_log(asking->service->log, GH_LOG_ERROR, APR_SUCCESS, GHNO(0950) "what Intune says of "
               "enrolment %s cannot be stored, and it will be asked again: %s: %s",
               record_of(asking)->id, asking->stored.number, asking->stored.message);
    }
    framework_job_over(asking->job);
}

static void end_asking(asking_t *asking)
{
    framework_blocking(asking->service->framework, end_work, end_done, asking);
}

static void end_later(asking_t *asking, apr_time_t due)
{
    asking->ending = asking->asked ? ENDING_AGAIN : ENDING_UNREADABLE;
    asking->due = due;
    end_asking(asking);
}

/* The call */

static int is_lenient(const asking_t *asking)
{
    return asking->service->lenient && asking->asked && asking->asked->stage == GH_STAGE_CONFIRM;
}

static void answered(void *baton, const intune_outcome_t *outcome)
{
    asking_t *asking = baton;
    intune_answer_t answer;

    gh_result_clear(&asking->why);
    if (outcome->status) {
        intune_read_scep(&answer, outcome->status, outcome->body, asking->pool, &asking->why);
    }
    else {
        memset(&answer, 0, sizeof(answer));
        answer.verdict = outcome->verdict;
        asking->why = outcome->result;
    }
    intune_service_note(asking->service, outcome, answer.verdict, &asking->why);
    if (answer.verdict == INTUNE_DONE) {
        asking->ending = ENDING_YES;
        end_asking(asking);
    }
    else if (outcome->stopped) {
        end_later(asking, framework_job_time(asking->job));
    }
    else if (answer.verdict == INTUNE_REFUSED) {
        asking->ending = ENDING_NO;
        asking->reason = gh_question_words(answer.reason, asking->pool);
        end_asking(asking);
    }
    else if (is_lenient(asking)) {
        asking->ending = ENDING_HANDED_OUT;
        asking->due = framework_job_next(asking->job, outcome->retry_after);
        end_asking(asking);
    }
    else {
        end_later(asking, framework_job_next(asking->job, outcome->retry_after));
    }
}

static void call(void *baton)
{
    asking_t *asking = baton;

    intune_call(asking->service->session, INTUNE_SCEP, asking->path, asking->body, answered,
                asking, asking->pool);
}

/** What Intune gives back when it wants the certificate revoked is looked up by these. */
static apr_status_t write_success(asking_t *asking)
{
    apr_pool_t *p = asking->pool;
    X509 *certificate = gh_certificate_parse(asking->asked->certificate, p);
    unsigned char digest[EVP_MAX_MD_SIZE];
    intune_issued_t issued;
    gh_bytes_t serial;
    apr_time_exp_t end;
    char *at;

    if (!certificate || X509_digest(certificate, EVP_sha1(), digest, NULL) != 1
        || apr_time_exp_gmt(&end, gh_certificate_not_after(certificate)) != APR_SUCCESS) {
        return APR_EINVAL;
    }
    serial = gh_certificate_serial(certificate, p);
    issued.thumbprint = gh_hex(p, digest, SHA1_LENGTH);
    issued.serial = gh_hex(p, serial.data, serial.length);
    for (at = (char *)issued.thumbprint; *at; ++at) {
        *at = *at >= 'a' ? (char)(*at - 'a' + 'A') : *at;
    }
    for (at = (char *)issued.serial; *at; ++at) {
        *at = *at >= 'a' ? (char)(*at - 'a' + 'A') : *at;
    }
    issued.expires = apr_psprintf(p, "%04d-%02d-%02dT%02d:%02d:%02d.000Z", end.tm_year + 1900,
                                  end.tm_mon + 1, end.tm_mday, end.tm_hour, end.tm_min,
                                  end.tm_sec);
    issued.issuer = gh_name_text(X509_get_issuer_name(certificate), p);
    asking->path = "ScepActions/successNotification";
    return intune_write_success(&asking->body, asking->asked->record->transaction,
                                asking->asked->request, &issued, p);
}

static apr_status_t write_body(asking_t *asking)
{
    const gh_asked_t *asked = asking->asked;

    switch (asked->stage) {
    case GH_STAGE_ASK:
        asking->path = "ScepActions/validateRequest";
        return intune_write_validation(&asking->body, asked->record->transaction, asked->request,
                                       asking->pool);
    case GH_STAGE_CONFIRM:
        return write_success(asking);
    default:
        asking->path = "ScepActions/failureNotification";
        return intune_write_failure(&asking->body, asked->record->transaction, asked->request,
                                    HRESULT_NOT_ISSUED, asked->reason && *asked->reason
                                    ? asked->reason : "nothing was issued", asking->pool);
    }
}

static int is_late(const asking_t *asking)
{
    apr_time_t deadline = record_of(asking)->deadline;

    return deadline && framework_job_time(asking->job) >= deadline;
}

static void decide(asking_t *asking)
{
    if (is_late(asking)) {
        if (asking->why.number[0]) {
            gh_result_cause(&asking->why, "%s: %s", asking->why.number, asking->why.message);
        }
        gh_result_fail(&asking->why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "See why Intune could not be reached; let the device ask again.",
                       GHNO(0951) "Intune could not be reached until the deadline");
        asking->ending = ENDING_NO;
        asking->reason = "Intune could not be reached until the deadline";
        end_asking(asking);
    }
    else if (write_body(asking) != APR_SUCCESS) {
        gh_result_fail(&asking->why, APR_EINVAL, GH_FAILURE_REQUEST, INTUNE_RULE,
                       "Use UTF-8 in names and transactions.",
                       GHNO(0952) "the call to Intune cannot be written");
        asking->ending = ENDING_NO;
        asking->reason = asking->why.message;
        end_asking(asking);
    }
    else {
        framework_job_begin_call(asking->job, call, asking);
    }
}

static void read_work(void *baton)
{
    asking_t *asking = baton;

    gh_result_clear(&asking->stored);
    asking->rv = gh_question_read(&asking->asked, store_of(asking), asking->service->sealer,
                                  record_of(asking), asking->pool, &asking->stored);
}

static void read_done(void *baton)
{
    asking_t *asking = baton;

    switch (asking->rv) {
    case APR_SUCCESS:
        decide(asking);
        break;
    case APR_NOTFOUND:
        asking->ending = ENDING_GONE;
        end_asking(asking);
        break;
    default:
        asking->asked = NULL;
        asking->why = asking->stored;
        end_later(asking, framework_job_time(asking->job) + UNREADABLE_PAUSE);
    }
}

static asking_t *create(intune_service_t *service, framework_job_t *job)
{
    const gh_job_record_t *record = framework_job_record(job);
    asking_t *asking = apr_pcalloc(framework_job_pool(job), sizeof(*asking));

    asking->service = service;
    asking->job = job;
    asking->pool = framework_job_pool(job);
    apr_cpystrn(asking->why.number, record->number ? record->number : "",
                sizeof(asking->why.number));
    apr_cpystrn(asking->why.message, record->message ? record->message : "",
                sizeof(asking->why.message));
    return asking;
}

void intune_question(void *baton, framework_job_t *job)
{
    asking_t *asking = create(baton, job);

    framework_blocking(asking->service->framework, read_work, read_done, asking);
}

/* What was handed out without Intune's word */

static void log_untold(const asking_t *asking)
{
    gh_log(asking->service->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0953) "IntuneConnection %s: "
           "Intune was not told of the certificate of enrolment %s, which was handed out: %s: "
           "%s", asking->service->connection.name, record_of(asking)->subject, asking->why.number,
           asking->why.message);
}

static void told(void *baton, const intune_outcome_t *outcome)
{
    asking_t *asking = baton;
    intune_answer_t answer;

    gh_result_clear(&asking->why);
    memset(&answer, 0, sizeof(answer));
    answer.verdict = outcome->verdict;
    asking->why = outcome->result;
    if (outcome->status) {
        intune_read_scep(&answer, outcome->status, outcome->body, asking->pool, &asking->why);
    }
    intune_service_note(asking->service, outcome, answer.verdict, &asking->why);
    if (answer.verdict == INTUNE_DONE) {
        asking->ending = ENDING_GONE;
        end_asking(asking);
    }
    else if (answer.verdict == INTUNE_REFUSED) {
        log_untold(asking);
        asking->ending = ENDING_GONE;
        end_asking(asking);
    }
    else {
        end_later(asking, outcome->stopped ? framework_job_time(asking->job)
                  : framework_job_next(asking->job, outcome->retry_after));
    }
}

static void call_tell(void *baton)
{
    asking_t *asking = baton;

    intune_call(asking->service->session, INTUNE_SCEP, asking->path, asking->body, told, asking,
                asking->pool);
}

void intune_tell(void *baton, framework_job_t *job)
{
    asking_t *asking = create(baton, job);
    const gh_job_record_t *record = framework_job_record(job);
    apr_status_t rv = APR_SUCCESS;

    asking->path = "ScepActions/successNotification";
    asking->body = record->payload;
    if (asking->service->sealer) {
        rv = gh_unseal(&asking->body, asking->service->sealer, record->payload, record->id,
                       asking->pool, &asking->why);
    }
    if (is_late(asking)) {
        log_untold(asking);
        asking->ending = ENDING_GONE;
        end_asking(asking);
    }
    else if (rv != APR_SUCCESS) {
        end_later(asking, framework_job_time(asking->job) + UNREADABLE_PAUSE);
    }
    else {
        framework_job_begin_call(job, call_tell, asking);
    }
}
