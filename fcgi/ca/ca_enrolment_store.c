/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the store is asked and told of an enrolment at a CA elsewhere. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "fcgi/ca/ca_enrolment.h"
#include "issuer/remote.h"
#include "log.h"
#include "status.h"
#include "x509/ca.h"

/** A store that does not answer is asked again, as long as it takes: what a CA that cannot be
 *  searched has said must not be lost. It is over when another process has taken up the job, which
 *  the store tells, or when the worker ends. */
#define STORE_PAUSE apr_time_from_sec(1)
#define STORE_PAUSE_MAX apr_time_from_sec(5)
/** One that answers, but fails, is not asked for ever. */
#define STORE_TRIES 60

/** CRLReason of a certificate that nobody may use: cessationOfOperation. */
#define REASON_WRONG "5"

/** CAs round up to hours or days. */
#define VALIDITY_MORE apr_time_from_sec(86400)

/** What is known of a call outlives the process as the job's reference. That of a CA which has
 *  accepted one has a colon. Behind "@" is since when, by the store's clock. */
#define KNOWN_OVER "over"
#define KNOWN_WRONG "wrong"

static gh_store_t *store_of(const enrolment_t *enrolment)
{
    return framework_store(enrolment->service->issuer->worker->framework);
}

static const char *holder_of(const enrolment_t *enrolment)
{
    return framework_job_holder(enrolment->job);
}

static const char *node_of(const enrolment_t *enrolment)
{
    return framework_node(enrolment->service->issuer->worker->framework);
}

static const char *id_of(const enrolment_t *enrolment)
{
    return framework_job_record(enrolment->job)->id;
}

/* What is known */

static int is_known(const char *reference, apr_size_t length, const char *name)
{
    return length == strlen(name) && !memcmp(reference, name, length);
}

static void take_known(enrolment_t *enrolment)
{
    const char *reference = framework_job_record(enrolment->job)->reference;

    if (!reference) {
        enrolment->known = ENROLMENT_OPEN;
    }
    else if (strchr(reference, ':')) {
        enrolment->known = ENROLMENT_ACCEPTED;
        enrolment->reference = reference;
    }
    else {
        apr_size_t length = strcspn(reference, "@");

        enrolment->known = is_known(reference, length, KNOWN_WRONG) ? ENROLMENT_WRONG
            : is_known(reference, length, KNOWN_OVER) ? ENROLMENT_OVER : ENROLMENT_OPEN;
        enrolment->over = reference[length] ? apr_strtoi64(reference + length + 1, NULL, 10) : 0;
    }
}

static const char *known_since(const enrolment_t *enrolment, const char *name)
{
    return enrolment->over ? apr_psprintf(enrolment->pool, "%s@%" APR_TIME_T_FMT, name,
                                          enrolment->over) : name;
}

static const char *known_text(const enrolment_t *enrolment)
{
    switch (enrolment->known) {
    case ENROLMENT_ACCEPTED:
        return enrolment->reference;
    case ENROLMENT_WRONG:
        return known_since(enrolment, KNOWN_WRONG);
    case ENROLMENT_OVER:
        return known_since(enrolment, KNOWN_OVER);
    default:
        return NULL;
    }
}

/* Reading */

static void read_work(void *baton)
{
    enrolment_t *enrolment = baton;

    gh_result_clear(&enrolment->stored);
    enrolment->rv = gh_submission_read(&enrolment->submission, store_of(enrolment),
                                       enrolment->service->issuer->worker->sealer,
                                       id_of(enrolment), enrolment->pool, &enrolment->stored);
}

static void read_done(void *baton)
{
    enrolment_read(baton);
}

void enrolment_begin(enrolment_t *enrolment)
{
    take_known(enrolment);
    framework_blocking(enrolment->service->issuer->worker->framework, read_work, read_done,
                       enrolment);
}

/* Ends */

typedef struct {
    enrolment_t *enrolment;
    X509 *certificate;
    int taken;
} owner_t;

static apr_status_t owner_work(gh_transaction_t *transaction, void *baton)
{
    owner_t *owner = baton;
    apr_pool_t *p = owner->enrolment->pool;
    apr_array_header_t *known;
    apr_status_t rv = gh_certificate_find(transaction, owner->enrolment->service->issuer->name,
                                          gh_certificate_serial(owner->certificate, p), &known, p);

    owner->taken = rv == APR_SUCCESS && known->nelts > 0
        && APR_ARRAY_IDX(known, 0, gh_certificate_record_t *)->enrolment
        && strcmp(APR_ARRAY_IDX(known, 0, gh_certificate_record_t *)->enrolment,
                  id_of(owner->enrolment));
    return rv;
}

/** Whether another enrolment has got a certificate: devices keep their keys. */
static apr_status_t is_taken(int *taken, enrolment_t *enrolment, X509 *certificate)
{
    owner_t owner = { enrolment, certificate, 0 };
    apr_status_t rv = gh_store_read(store_of(enrolment), owner_work, &owner, &enrolment->stored);

    *taken = owner.taken;
    return rv;
}

/** Where the validity is said with the request, a longer one is more than was authorised. */
static apr_status_t check_validity(enrolment_t *enrolment, X509 *certificate)
{
    const ca_profile_options_t *options
        = ca_profile_options(enrolment->service->issuer, enrolment->submission->record->profile);
    apr_time_t now = framework_job_time(enrolment->job);
    apr_interval_time_t asked = 0;

    if (options && options->own_validity) {
        asked = gh_plan_validity(enrolment->submission->plan);
    }
    else if (options && options->duration
             && gh_duration_parse(&asked, options->duration) != APR_SUCCESS) {
        asked = 0;
    }
    if (!asked || gh_certificate_not_after(certificate) <= now + asked + VALIDITY_MORE) {
        return APR_SUCCESS;
    }
    return gh_result_fail(&enrolment->stored, GH_EREFUSED, GH_FAILURE_INTEGRITY, "cagw.validity",
                          "Have the gateway's operator see why it does not heed the validity that "
                          "it is asked for; or let it decide: leave validity= of "
                          "IssuerGatewayProfile out.",
                          GHNO(1326) "the CA has issued a certificate that is good until %s, and "
                          "was asked for %d days",
                          gh_time_text(enrolment->pool, gh_certificate_not_after(certificate)),
                          (int)(apr_time_sec(asked) / 86400));
}

static apr_status_t store_one(enrolment_t *enrolment, X509 *certificate)
{
    gh_bytes_t serial = gh_certificate_serial(certificate, enrolment->pool);
    gh_audit_event_t event;
    apr_status_t rv;

    memset(&event, 0, sizeof(event));
    enrolment->serial = gh_hex(enrolment->pool, serial.data, serial.length);
    rv = gh_submission_check(enrolment->submission, enrolment->service->issuer->issuer, certificate,
                             &enrolment->stored);
    if (rv == APR_SUCCESS) {
        rv = check_validity(enrolment, certificate);
    }
    enrolment->fitness = rv == GH_EREFUSED ? ENROLMENT_UNFIT : ENROLMENT_FIT;
    if (rv == APR_SUCCESS) {
        rv = gh_submission_issued(enrolment->submission, store_of(enrolment), holder_of(enrolment),
                                  node_of(enrolment), certificate, &event, enrolment->pool,
                                  &enrolment->stored);
    }
    if (rv == GH_ECONFLICT) {
        enrolment->fitness = ENROLMENT_TAKEN;
    }
    return rv;
}

/** @return APR_EOF if none was revoked that nobody has */
static apr_status_t look_at_revoked(enrolment_t *enrolment)
{
    int taken, i;

    for (i = 0; enrolment->revoked && i < enrolment->revoked->nelts; ++i) {
        apr_status_t rv = is_taken(&taken, enrolment, APR_ARRAY_IDX(enrolment->revoked, i, X509 *));

        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (!taken) {
            enrolment->fitness = ENROLMENT_REVOKED;
            return gh_result_fail(&enrolment->stored, GH_EREFUSED, GH_FAILURE_DENIED,
                                  "cagw.enrolment", "Ask the operator of the CA; then gatehousectl "
                                  "enrolment retry or cancel.",
                                  GHNO(0835) "the CA has issued the certificate, and revoked it");
        }
    }
    return APR_EOF;
}

static void store_issued(enrolment_t *enrolment)
{
    apr_status_t rv = APR_EOF;
    int taken = 0, i;

    enrolment->fitness = ENROLMENT_FIT;
    for (i = 0; i < enrolment->candidates->nelts && (rv == APR_EOF || enrolment->fitness); ++i) {
        X509 *certificate = APR_ARRAY_IDX(enrolment->candidates, i, X509 *);
        apr_status_t known = enrolment->answered ? APR_SUCCESS
            : is_taken(&taken, enrolment, certificate);

        if (known != APR_SUCCESS) {
            rv = known;
            enrolment->fitness = ENROLMENT_FIT;
        }
        else if (!taken) {
            rv = store_one(enrolment, certificate);
        }
    }
    enrolment->rv = rv == APR_EOF ? look_at_revoked(enrolment) : rv;
}

/** Whether a certificate is of our CA and for our key: then nobody else can miss it. */
static int is_ours(const enrolment_t *enrolment, X509 *certificate)
{
    X509 *ca = gh_issuer_certificate(enrolment->service->issuer->issuer);
    EVP_PKEY *key = gh_plan_key(enrolment->submission->plan);
    int ours = EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1
        && X509_check_issued(ca, certificate) == X509_V_OK
        && X509_verify(certificate, X509_get0_pubkey(ca)) == 1;

    ERR_clear_error();
    return ours;
}

/** A job, so that it is done whatever happens to this process. */
static apr_status_t withdraw_work(gh_transaction_t *transaction, void *baton)
{
    const owner_t *withdrawal = baton;
    apr_pool_t *p = withdrawal->enrolment->pool;
    gh_bytes_t serial = gh_certificate_serial(withdrawal->certificate, p);
    apr_time_t now = apr_time_now();
    gh_job_record_t job = {
        .id = gh_ordered_id(now, p), .kind = GH_REMOTE_REVOKE,
        .queue = withdrawal->enrolment->service->issuer->name,
        .subject = gh_hex(p, serial.data, serial.length),
        .payload = { (const unsigned char *)REASON_WRONG, sizeof(REASON_WRONG) - 1 },
        .created = now, .due = now
    };

    return job.id ? gh_job_insert(transaction, &job) : APR_EGENERAL;
}

static apr_status_t withdraw(enrolment_t *enrolment)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    /* what a search has found may belong to another enrolment, whose answer is under way */
    for (i = 0; rv == APR_SUCCESS && enrolment->answered && enrolment->candidates
                && i < enrolment->candidates->nelts; ++i) {
        owner_t withdrawal = { enrolment, APR_ARRAY_IDX(enrolment->candidates, i, X509 *), 0 };

        if (!is_ours(enrolment, withdrawal.certificate)) {
            continue;
        }
        rv = is_taken(&withdrawal.taken, enrolment, withdrawal.certificate);
        /* what was handed out is another matter */
        if (rv == APR_SUCCESS && !withdrawal.taken) {
            rv = gh_store_write(store_of(enrolment), withdraw_work, &withdrawal,
                                &enrolment->stored);
        }
    }
    return rv;
}

static void store_doubt(enrolment_t *enrolment)
{
    gh_audit_event_t event;

    memset(&event, 0, sizeof(event));
    enrolment->rv = withdraw(enrolment);
    if (enrolment->rv == APR_SUCCESS) {
        enrolment->rv = gh_submission_doubt(enrolment->submission, store_of(enrolment),
                                            holder_of(enrolment), node_of(enrolment),
                                            &enrolment->why, &event, enrolment->pool,
                                            &enrolment->stored);
    }
}

static void store_rejected(enrolment_t *enrolment)
{
    gh_audit_event_t event;

    memset(&event, 0, sizeof(event));
    enrolment->rv = gh_submission_rejected(enrolment->submission, store_of(enrolment),
                                           holder_of(enrolment), node_of(enrolment),
                                           enrolment->reason, &enrolment->why, &event,
                                           enrolment->pool, &enrolment->stored);
}

static void store_again(enrolment_t *enrolment)
{
    enrolment->rv = gh_submission_again(enrolment->submission, store_of(enrolment),
                                        holder_of(enrolment), enrolment->due, enrolment->unknown,
                                        enrolment->unknown ? known_text(enrolment) : NULL,
                                        enrolment->why.number[0] ? &enrolment->why : NULL,
                                        enrolment->pool, &enrolment->stored);
}

static apr_status_t end_job(gh_transaction_t *transaction, void *baton)
{
    const enrolment_t *enrolment = baton;

    if (enrolment->ending == ENROLMENT_GONE) {
        return gh_job_remove(transaction, id_of(enrolment), holder_of(enrolment));
    }
    return gh_job_again(transaction, id_of(enrolment), holder_of(enrolment), enrolment->due,
                        framework_job_record(enrolment->job)->sent != 0, NULL, &enrolment->why);
}

static void end_work(void *baton)
{
    enrolment_t *enrolment = baton;

    gh_result_clear(&enrolment->stored);
    switch (enrolment->ending) {
    case ENROLMENT_ISSUED:
        store_issued(enrolment);
        break;
    case ENROLMENT_REJECTED:
        store_rejected(enrolment);
        break;
    case ENROLMENT_DOUBT:
        store_doubt(enrolment);
        break;
    case ENROLMENT_AGAIN:
        store_again(enrolment);
        break;
    default:
        enrolment->rv = gh_store_write(store_of(enrolment), end_job, enrolment,
                                       &enrolment->stored);
    }
}

static void tell(const enrolment_t *enrolment)
{
    const gh_log_t *log = enrolment->service->gateway.log;
    const char *issuer = enrolment->service->issuer->name, *id = id_of(enrolment);
    const gh_result_t *why = &enrolment->why;

    switch (enrolment->ending) {
    case ENROLMENT_ISSUED:
        gh_log(log, GH_LOG_INFO, APR_SUCCESS, GHNO(0838) "issuer %s has issued certificate %s for "
               "enrolment %s", issuer, enrolment->serial, id);
        break;
    case ENROLMENT_REJECTED:
        gh_log(log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0839) "issuer %s has refused enrolment %s: "
               "%s: %s%s%s%s%s%s", issuer, id, why->number, why->message,
               *why->cause ? " (" : "", why->cause, *why->cause ? ")" : "",
               *why->action ? "; " : "", why->action);
        break;
    case ENROLMENT_DOUBT:
        gh_log(log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0840) "enrolment %s at issuer %s is in "
               "doubt: %s: %s%s%s%s; %s", id, issuer, why->number, why->message,
               *why->cause ? " (" : "", why->cause, *why->cause ? ")" : "", why->action);
        break;
    default:
        if (why->number[0]) {
            gh_log(log, GH_LOG_INFO, APR_SUCCESS, GHNO(0841) "enrolment %s at issuer %s goes on "
                   "later: %s: %s", id, issuer, why->number, why->message);
        }
    }
}

static void end_again(void *baton)
{
    enrolment_end(baton);
}

static int worth_another_try(enrolment_t *enrolment)
{
    return ++enrolment->tries < STORE_TRIES || enrolment->rv == GH_EUNAVAILABLE
        || enrolment->rv == GH_EUNKNOWN || enrolment->rv == GH_EBUSY;
}

static void end_done(void *baton)
{
    enrolment_t *enrolment = baton;

    if (enrolment->ending == ENROLMENT_ISSUED && enrolment->fitness) {
        enrolment->why = enrolment->stored;
        enrolment_wrong(enrolment);
        return;
    }
    if (enrolment->ending == ENROLMENT_ISSUED && enrolment->rv == APR_EOF) {
        enrolment_not_found(enrolment);
        return;
    }
    if (enrolment->rv == APR_SUCCESS) {
        tell(enrolment);
    }
    else if (enrolment->rv != APR_NOTFOUND) {
        if (worth_another_try(enrolment)) {
            framework_at(enrolment->service->issuer->worker->framework,
                         apr_time_now() + (enrolment->tries < STORE_TRIES ? STORE_PAUSE
                                                                          : STORE_PAUSE_MAX),
                         end_again, enrolment);
            return;
        }
        gh_log(enrolment->service->gateway.log, GH_LOG_ERROR, APR_SUCCESS, GHNO(0842) "what has "
               "become of enrolment %s at issuer %s cannot be stored, and will be found out anew: "
               "%s: %s", id_of(enrolment), enrolment->service->issuer->name,
               enrolment->stored.number, enrolment->stored.message);
    }
    framework_job_over(enrolment->job);
}

void enrolment_end(enrolment_t *enrolment)
{
    framework_blocking(enrolment->service->issuer->worker->framework, end_work, end_done,
                       enrolment);
}
