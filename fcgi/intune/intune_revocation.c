/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Requests for revocation. Each stage is a job that is replaced by the next in one transaction, so
 * that whoever dies between loses nothing:
 *
 *   poll: asks Intune --> revoke: what was asked for --> upload: what has become of it
 *    ^      |                     (revoked, and noted, in one transaction)
 *    `------'  at the times of the cron expression, by one process of all nodes
 *
 * Only what this connection has had issued is revoked: nobody else's certificates are its business.
 */

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "audit.h"
#include "fcgi/backoff.h"
#include "fcgi/intune/intune_service.h"
#include "issuer/intune.h"
#include "issuer/question.h"
#include "issuer/remote.h"
#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "store/housekeeping.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

/** A store that does not answer is asked again; the lease goes on meanwhile. */
#define STORE_PAUSE apr_time_from_sec(1)
#define STORE_TRIES 60

/** CRLReason of what an administrator of Intune wants gone: cessationOfOperation. */
#define REASON 5

/** The pause after polls that have failed, doubled with each up to the most. */
#define POLL_PAUSE     apr_time_from_sec(2)
#define POLL_PAUSE_MAX apr_time_from_sec(900)

/** Results that Intune does not take are worth nothing after that: it asks again. */
#define UPLOAD_PATIENCE apr_time_from_sec(7 * 86400)

#define ID_LENGTH 32

typedef struct {
    intune_service_t *service;
    framework_job_t *job;           /* NULL at the start of the worker */
    apr_pool_t *pool;
    gh_bytes_t body;
    void (*end)(void *baton);       /* on a lane, again until the store has taken it */
    apr_array_header_t *asked;      /* intune_revocation_t */
    apr_array_header_t *results;    /* intune_result_t */
    apr_time_t due;
    gh_result_t why;
    apr_status_t rv;
    gh_result_t stored;
    int tries;
} work_t;

static gh_store_t *store_of(const work_t *work)
{
    return framework_store(work->service->framework);
}

static const char *holder_of(const work_t *work)
{
    return framework_job_holder(work->job);
}

static const gh_job_record_t *record_of(const work_t *work)
{
    return framework_job_record(work->job);
}

static work_t *create(intune_service_t *service, framework_job_t *job)
{
    work_t *work = apr_pcalloc(framework_job_pool(job), sizeof(*work));

    work->service = service;
    work->job = job;
    work->pool = framework_job_pool(job);
    return work;
}

/* Ends */

static void end_done(void *baton);

static void try_end(void *baton)
{
    work_t *work = baton;

    framework_blocking(work->service->framework, work->end, end_done, work);
}

static void end_done(void *baton)
{
    work_t *work = baton;

    if (work->rv != APR_SUCCESS && work->rv != APR_NOTFOUND && ++work->tries < STORE_TRIES) {
        framework_at(work->service->framework, apr_time_now() + STORE_PAUSE, try_end, work);
        return;
    }
    framework_job_over(work->job);
}

static void end(work_t *work, void (*fn)(void *baton))
{
    work->end = fn;
    try_end(work);
}

static apr_status_t again_work(gh_transaction_t *transaction, void *baton)
{
    const work_t *work = baton;

    return gh_job_again(transaction, record_of(work)->id, holder_of(work), work->due, 0, NULL,
                        work->why.number[0] ? &work->why : NULL);
}

static void again(void *baton)
{
    work_t *work = baton;

    work->rv = gh_store_write(store_of(work), again_work, work, &work->stored);
}

static apr_status_t remove_work(gh_transaction_t *transaction, void *baton)
{
    const work_t *work = baton;

    return gh_job_remove(transaction, record_of(work)->id, holder_of(work));
}

static void gone(void *baton)
{
    work_t *work = baton;

    work->rv = gh_store_write(store_of(work), remove_work, work, &work->stored);
}

static apr_time_t try_again(const work_t *work, const intune_outcome_t *outcome)
{
    return outcome->stopped ? framework_job_time(work->job)
        : framework_job_next(work->job, outcome->retry_after);
}

/** When the cron expression wants the next one, by the clock of jobs. */
static apr_time_t next_poll(const work_t *work)
{
    apr_time_t now = apr_time_now();

    return framework_job_time(work->job) + gh_cron_next(&work->service->cron, now) - now;
}

/** Asking has failed. Whatever it was, Intune and Entra ID are asked less and less often. */
static apr_time_t poll_again(const work_t *work, const intune_outcome_t *outcome)
{
    apr_time_t next = try_again(work, outcome), pause;

    if (outcome->stopped) {
        return next;
    }
    pause = framework_job_time(work->job)
        + backoff_pause(++work->service->failures, POLL_PAUSE, POLL_PAUSE_MAX);
    return next > pause ? next : pause;
}

/* Asking */

static gh_bytes_t keep_list(const apr_array_header_t *list, apr_pool_t *p)
{
    json_t *array = json_array();
    gh_bytes_t bytes = { NULL, 0 };
    char *text;
    int i;

    for (i = 0; i < list->nelts; ++i) {
        const intune_revocation_t *one = &APR_ARRAY_IDX(list, i, intune_revocation_t);

        json_array_append_new(array, json_pack("[s, s, s?]", one->context, one->serial,
                                               one->issuer));
    }
    text = json_dumps(array, JSON_COMPACT);
    json_decref(array);
    if (text) {
        bytes.data = (const unsigned char *)apr_pstrdup(p, text);
        bytes.length = strlen(text);
    }
    free(text);
    return bytes;
}

static apr_status_t insert_next(gh_transaction_t *transaction, const work_t *work,
                                const char *kind, gh_bytes_t payload)
{
    apr_time_t now = apr_time_now();
    const char *id = gh_ordered_id(now, work->pool);
    gh_job_record_t job = {
        .id = id, .kind = kind, .queue = record_of(work)->queue, .subject = id,
        .payload = payload, .created = now, .due = now
    };

    return id && payload.data ? gh_job_insert(transaction, &job) : APR_EGENERAL;
}

static apr_status_t batch_work(gh_transaction_t *transaction, void *baton)
{
    const work_t *work = baton;
    apr_status_t rv = again_work(transaction, baton);

    return rv == APR_SUCCESS
        ? insert_next(transaction, work, INTUNE_JOB_REVOKE, keep_list(work->asked, work->pool))
        : rv;
}

static void batch(void *baton)
{
    work_t *work = baton;

    work->rv = gh_store_write(store_of(work), batch_work, work, &work->stored);
}

static void downloaded(void *baton, const intune_outcome_t *outcome)
{
    work_t *work = baton;
    intune_service_t *service = work->service;
    intune_verdict_t verdict = outcome->verdict;
    int skipped = 0;

    work->why = outcome->result;
    if (outcome->status) {
        gh_result_clear(&work->why);
        verdict = intune_read_revocations(&work->asked, &skipped, outcome->status, outcome->body,
                                          work->pool, &work->why);
    }
    intune_service_note(service, outcome, verdict, &work->why);
    if (skipped) {
        gh_log(service->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0954) "IntuneConnection %s: %d "
               "requests for revocation are not understood", service->connection.name, skipped);
    }
    if (verdict == INTUNE_REFUSED) {
        work->due = next_poll(work);
        end(work, again);
    }
    else if (verdict != INTUNE_DONE) {
        work->due = poll_again(work, outcome);
        end(work, again);
    }
    else {
        service->failures = 0;
        /* a full batch is not all */
        work->due = work->asked->nelts >= service->most
            ? framework_job_time(work->job) + apr_time_from_sec(1) : next_poll(work);
        end(work, work->asked->nelts > 0 ? batch : again);
    }
}

void intune_poll(void *baton, framework_job_t *job)
{
    intune_service_t *service = baton;
    work_t *work = create(service, job);

    if (!service->polls
        || intune_write_download(&work->body, service->most, service->issuer_name, work->pool)
        != APR_SUCCESS) {
        end(work, gone);
        return;
    }
    intune_call(service->session, INTUNE_REVOCATION,
                "CertificateAuthorityRequests/downloadRevocationRequests", work->body, downloaded,
                work, work->pool);
}

/* Revoking */

static void say(intune_result_t *result, intune_error_t error, const char *message)
{
    result->error = error;
    result->message = message;
}

/** Whether a certificate was issued on the word of this connection. */
static apr_status_t is_ours(int *ours, gh_transaction_t *transaction, const work_t *work,
                            const gh_certificate_record_t *certificate)
{
    gh_enrolment_record_t *enrolment;
    apr_status_t rv;

    *ours = 0;
    if (!certificate->enrolment) {
        return APR_SUCCESS;
    }
    rv = gh_enrolment_find(transaction, certificate->enrolment, &enrolment, work->pool);
    if (rv == APR_SUCCESS) {
        *ours = gh_question_was_of(enrolment, record_of(work)->queue, work->pool);
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

/** Whether a certificate's issuer is the one that Intune was told of. */
static int is_issuer(const gh_certificate_record_t *certificate, const char *name, apr_pool_t *p)
{
    X509 *parsed = gh_certificate_parse(certificate->der, p);

    return parsed && name && !strcmp(gh_name_text(X509_get_issuer_name(parsed), p), name);
}

static apr_status_t find(gh_certificate_record_t **found, int *foreign,
                         gh_transaction_t *transaction, const work_t *work,
                         const intune_revocation_t *asked, gh_bytes_t serial)
{
    apr_array_header_t *records;
    apr_status_t rv = gh_certificate_find(transaction, NULL, serial, &records, work->pool);
    int i, ours;

    *found = NULL;
    *foreign = 0;
    for (i = 0; rv == APR_SUCCESS && !*found && i < records->nelts; ++i) {
        gh_certificate_record_t *one = APR_ARRAY_IDX(records, i, gh_certificate_record_t *);

        if (!is_issuer(one, asked->issuer, work->pool)) {
            continue;
        }
        rv = is_ours(&ours, transaction, work, one);
        *foreign |= !ours;
        *found = ours ? one : NULL;
    }
    return rv;
}

static apr_status_t note(gh_transaction_t *transaction, work_t *work,
                         const gh_certificate_record_t *certificate, apr_time_t now)
{
    gh_audit_event_t event;

    memset(&event, 0, sizeof(event));
    event.time = now;
    event.id = gh_random_id(work->pool);
    event.node = framework_node(work->service->framework);
    event.event = "revoke";
    event.protocol = "intune";
    event.user = work->service->connection.name;
    event.issuer = certificate->issuer;
    event.profile = certificate->profile;
    event.subject = certificate->subject;
    event.serial = gh_hex(work->pool, certificate->serial.data, certificate->serial.length);
    event.rule = "intune.revocation";
    event.result = "done";
    event.message = "cessationOfOperation";
    return gh_audit_insert(transaction, &event, gh_audit_line(&event, work->pool), 0);
}

static apr_status_t revoke_one(gh_transaction_t *transaction, work_t *work,
                               const intune_revocation_t *asked, intune_result_t *result)
{
    gh_certificate_record_t *certificate;
    apr_time_t now = apr_time_now();
    gh_bytes_t serial;
    int foreign, changed = 0;
    apr_status_t rv;

    if (gh_serial_parse(&serial, asked->serial, work->pool) != APR_SUCCESS) {
        say(result, INTUNE_ERROR_PARAMETER, "the serial number is not hexadecimal");
        return APR_SUCCESS;
    }
    rv = find(&certificate, &foreign, transaction, work, asked, serial);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!certificate && foreign) {
        say(result, INTUNE_ERROR_NOT_SUPPORTED, "this connection did not issue the certificate");
    }
    else if (!certificate) {
        say(result, INTUNE_ERROR_NOT_FOUND, "there is no such certificate");
    }
    else if (certificate->status == GH_STATUS_REVOKED) {
        say(result, INTUNE_REVOKED, NULL);          /* what is wanted is so */
    }
    else if (certificate->not_after <= now) {
        say(result, INTUNE_ERROR_CONFLICT, "the certificate has expired");
    }
    else {
        say(result, INTUNE_REVOKED, NULL);
        rv = gh_remote_set_status(transaction, certificate->issuer, certificate->serial,
                                  GH_STATUS_REVOKED, REASON, 0, now, &changed, work->pool);
        if (rv == APR_SUCCESS && changed) {
            rv = note(transaction, work, certificate, now);
        }
    }
    return rv;
}

static int read_list(work_t *work)
{
    const gh_bytes_t *payload = &record_of(work)->payload;
    json_t *array = json_loadb((const char *)payload->data, payload->length, 0, NULL), *element;
    size_t i;

    work->asked = apr_array_make(work->pool, 16, sizeof(intune_revocation_t));
    json_array_foreach(array, i, element) {
        intune_revocation_t one = {
            apr_pstrdup(work->pool, json_string_value(json_array_get(element, 0))),
            apr_pstrdup(work->pool, json_string_value(json_array_get(element, 1))),
            apr_pstrdup(work->pool, json_string_value(json_array_get(element, 2)))
        };

        if (one.context && one.serial) {
            APR_ARRAY_PUSH(work->asked, intune_revocation_t) = one;
        }
    }
    json_decref(array);
    return work->asked->nelts > 0;
}

static apr_status_t revoke_work(gh_transaction_t *transaction, void *baton)
{
    work_t *work = baton;
    apr_status_t rv = remove_work(transaction, work);
    gh_bytes_t body;
    int i;

    work->results = apr_array_make(work->pool, work->asked->nelts, sizeof(intune_result_t));
    for (i = 0; rv == APR_SUCCESS && i < work->asked->nelts; ++i) {
        const intune_revocation_t *asked = &APR_ARRAY_IDX(work->asked, i, intune_revocation_t);
        intune_result_t *result = apr_array_push(work->results);

        result->context = asked->context;
        rv = revoke_one(transaction, work, asked, result);
    }
    if (rv == APR_SUCCESS) {
        rv = intune_write_upload(&body, work->results, work->pool);
    }
    return rv == APR_SUCCESS ? insert_next(transaction, work, INTUNE_JOB_UPLOAD, body) : rv;
}

static void revoke_batch(void *baton)
{
    work_t *work = baton;
    int i, revoked = 0;

    if (!read_list(work)) {
        gone(work);
        return;
    }
    work->rv = gh_store_write(store_of(work), revoke_work, work, &work->stored);
    for (i = 0; work->rv == APR_SUCCESS && i < work->results->nelts; ++i) {
        const intune_result_t *one = &APR_ARRAY_IDX(work->results, i, intune_result_t);

        revoked += one->error == INTUNE_REVOKED;
        if (one->error != INTUNE_REVOKED) {
            gh_log(work->service->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0955) "IntuneConnection "
                   "%s: certificate %s is not revoked as Intune wants: %s",
                   work->service->connection.name,
                   APR_ARRAY_IDX(work->asked, i, intune_revocation_t).serial, one->message);
        }
    }
    if (revoked) {
        gh_log(work->service->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0956) "IntuneConnection %s: %d "
               "certificates were revoked, as Intune has asked for", work->service->connection.name,
               revoked);
    }
}

void intune_revoke(void *baton, framework_job_t *job)
{
    end(create(baton, job), revoke_batch);
}

/* Telling */

static void uploaded(void *baton, const intune_outcome_t *outcome)
{
    work_t *work = baton;
    intune_verdict_t verdict = outcome->verdict;

    work->why = outcome->result;
    if (outcome->status) {
        gh_result_clear(&work->why);
        verdict = intune_read_recorded(outcome->status, outcome->body, work->pool, &work->why);
    }
    intune_service_note(work->service, outcome, verdict, &work->why);
    if (verdict == INTUNE_DONE) {
        end(work, gone);
    }
    else if (verdict == INTUNE_REFUSED
             || record_of(work)->created + UPLOAD_PATIENCE < framework_job_time(work->job)) {
        gh_log(work->service->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0957) "IntuneConnection %s: "
               "Intune does not take what has become of its requests for revocation: %s: %s",
               work->service->connection.name, work->why.number, work->why.message);
        end(work, gone);
    }
    else {
        work->due = try_again(work, outcome);
        end(work, again);
    }
}

static void upload(void *baton)
{
    work_t *work = baton;

    intune_call(work->service->session, INTUNE_REVOCATION,
                "CertificateAuthorityRequests/uploadRevocationResults", record_of(work)->payload,
                uploaded, work, work->pool);
}

void intune_upload(void *baton, framework_job_t *job)
{
    framework_job_begin_call(job, upload, create(baton, job));
}

/* The job that polls: one for all nodes, there for as long as the connection polls. */

static const char *poll_id(const intune_service_t *service, apr_pool_t *p)
{
    const char *text = apr_pstrcat(p, INTUNE_JOB_POLL "/", service->connection.name, NULL);
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL) != 1) {
        return NULL;
    }
    return gh_hex(p, digest, ID_LENGTH / 2);
}

static apr_status_t start_work(gh_transaction_t *transaction, void *baton)
{
    const work_t *work = baton;
    const intune_service_t *service = work->service;
    apr_time_t now = apr_time_now(), next = gh_cron_next(&service->cron, now);
    gh_job_record_t job = {
        .id = poll_id(service, work->pool), .kind = INTUNE_JOB_POLL,
        .queue = apr_pstrcat(work->pool, GH_INTUNE_QUEUE, service->connection.name, NULL),
        .created = now, .due = next
    };
    gh_job_record_t *known;
    apr_status_t rv;

    job.subject = job.id;
    rv = job.id ? gh_job_find(transaction, job.id, &known, work->pool) : APR_EGENERAL;
    if (rv == APR_SUCCESS && (!service->polls || known->due > next)) {
        /* another cron expression than before, or none */
        rv = gh_job_cancel(transaction, job.id);
        if (rv == APR_SUCCESS && service->polls) {
            rv = gh_job_insert(transaction, &job);
        }
        return rv == GH_EBUSY || rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    if (rv == APR_NOTFOUND) {
        return service->polls && next ? gh_job_insert(transaction, &job) : APR_SUCCESS;
    }
    return rv;
}

static void start(void *baton)
{
    work_t *work = baton;

    work->rv = gh_store_write(store_of(work), start_work, work, &work->stored);
}

static void begin_start(void *baton);

static void started(void *baton)
{
    work_t *work = baton;
    intune_service_t *service = work->service;

    /* another node may have been faster */
    if (work->rv != APR_SUCCESS && work->rv != GH_ECONFLICT) {
        framework_at(service->framework, apr_time_now() + STORE_PAUSE, begin_start, service);
    }
    apr_pool_destroy(work->pool);
}

static void begin_start(void *baton)
{
    intune_service_t *service = baton;
    apr_pool_t *pool;
    work_t *work;

    apr_pool_create_unmanaged_ex(&pool, NULL, NULL);
    work = apr_pcalloc(pool, sizeof(*work));
    work->service = service;
    work->pool = pool;
    framework_blocking(service->framework, start, started, work);
}

void intune_revocation_start(intune_service_t *service)
{
    framework_at(service->framework, apr_time_now(), begin_start, service);
}
