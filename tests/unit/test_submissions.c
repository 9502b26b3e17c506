/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Enrolments that a CA elsewhere carries out: what is stored when they are handed over, and what
 * may come of them. */

#include "submission_support.h"

#include <apr_strings.h>

#include "issuer/own_keys.h"
#include "issuer/remote.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/renewals.h"

static const char *submit(const char *transaction)
{
    gh_enrolment_outcome_t outcome;

    assert_success(ask_slow(transaction, world.profile, &outcome));
    assert_int_equal(outcome.state, GH_ENROLMENT_SUBMITTED);
    assert_int_equal(outcome.certificate.length, 0);
    return outcome.id;
}

static int contains(gh_bytes_t bytes, const char *text)
{
    apr_size_t length = strlen(text), i;

    for (i = 0; i + length <= bytes.length; ++i) {
        if (memcmp(bytes.data + i, text, length) == 0) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t issued(const gh_submission_t *submission, const char *holder,
                           const given_t *given, gh_audit_event_t *event)
{
    memset(event, 0, sizeof(*event));
    gh_result_clear(&world.result);
    return gh_submission_issued(submission, world.store, holder, "node2", give(given), event,
                                test_pool, &world.result);
}

static void test_handed_over(void **state)
{
    const char *id = submit("one");
    gh_enrolment_record_t *row = row_of(id);
    gh_job_record_t *job = job_of(id);
    gh_enrolment_outcome_t outcome;
    gh_submission_t *submission;

    assert_int_equal(row->state, GH_ENROLMENT_SUBMITTED);
    assert_string_equal(world.event.result, "pending");
    assert_true(row->plan.length > 0 && row->request.length > 0);
    /* its challenge is in it, and not to be read */
    assert_true(contains(gh_csr_der(world.csr), "seeded-challenge"));
    assert_false(contains(row->request, "seeded-challenge"));
    assert_string_equal(job->kind, "enrol");
    assert_string_equal(job->queue, "slow");
    assert_string_equal(job->subject, id);
    assert_true(job->deadline - job->created == apr_time_from_sec(24 * 3600));
    assert_int_equal(number_of("SELECT count(*) FROM audit WHERE event = 'enrol'"), 1);

    assert_int_equal(poll_slow("one", world.profile).state, GH_ENROLMENT_SUBMITTED);
    assert_success(ask_slow("one", world.profile, &outcome));
    assert_int_equal(outcome.repeated, 1);
    assert_int_equal(outcome.state, GH_ENROLMENT_SUBMITTED);
    assert_int_equal(jobs_of("slow")->nelts, 1);

    assert_success(gh_submission_read(&submission, world.store, world.sealer, id, test_pool,
                                      &world.result));
    assert_int_equal(submission->request.length, gh_csr_der(world.csr).length);
    assert_memory_equal(submission->request.data, gh_csr_der(world.csr).data,
                        submission->request.length);
    assert_string_equal(gh_plan_subject_text(submission->plan), row->subject);
}

static void test_sealed(void **state)
{
    static const unsigned char other[32] = "another sealing key of 32 bytes";
    gh_bytes_t key = { other, sizeof(other) };
    const char *id = submit("sealed");
    gh_submission_t *submission;
    gh_sealer_t *sealer;

    assert_int_equal(gh_submission_read(&submission, world.store, NULL, id, test_pool,
                                        &world.result), APR_EACCES);
    assert_string_equal(world.result.number, "GH0778");
    assert_success(gh_sealer_create(&sealer, key, test_pool, &world.result));
    assert_int_equal(gh_submission_read(&submission, world.store, sealer, id, test_pool,
                                        &world.result), APR_EACCES);
    assert_null(submission);
    /* without a sealing key it is stored as it is */
    world.sealer = NULL;
    id = submit("clear");
    assert_success(gh_submission_read(&submission, world.store, NULL, id, test_pool,
                                      &world.result));
    assert_true(contains(row_of(id)->request, "seeded-challenge"));
}

static void test_not_usable(void **state)
{
    gh_issuer_t *issuer = gh_issuer_create("slow", &gh_issuer_cagw, test_pool);
    X509 *certificate;

    assert_int_equal(gh_issuer_usable(issuer), 0);
    assert_int_equal(gh_issuer_cagw.enrol(issuer, NULL, &certificate, test_pool, &world.result),
                     GH_EUNAVAILABLE);
    assert_int_equal(gh_issuer_usable(world.issuer), 1);
    assert_null(gh_issuer_cagw.crl_signer(world.issuer));
}

static void test_issued(void **state)
{
    const char *id = submit("issued");
    gh_submission_t *submission = take_submission(id, "worker");
    gh_enrolment_outcome_t outcome;
    gh_audit_event_t event;
    gh_submission_t *ended;

    /* who has lost the job stores nothing */
    assert_int_equal(issued(submission, "another", &(given_t) { 0 }, &event), APR_NOTFOUND);
    assert_int_equal(number_of("SELECT count(*) FROM certificate_der"), 0);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_SUBMITTED);

    assert_success(issued(submission, "worker", &(given_t) { 0 }, &event));
    assert_string_equal(event.result, "issued");
    assert_string_equal(event.serial, "1267");
    assert_string_equal(event.node, "node2");
    outcome = poll_slow("issued", world.profile);
    assert_int_equal(outcome.state, GH_ENROLMENT_ISSUED);
    assert_true(outcome.certificate.length > 0);
    assert_null(job_of(id));
    assert_int_equal(row_of(id)->request.length, 0);
    assert_int_equal(row_of(id)->plan.length, 0);
    assert_int_equal(number_of("SELECT count(*) FROM audit WHERE event = 'issue' AND logged = 0"),
                     1);
    assert_success(ask_slow("issued", world.profile, &outcome));
    assert_int_equal(outcome.state, GH_ENROLMENT_ISSUED);
    assert_int_equal(gh_submission_read(&ended, world.store, world.sealer, id, test_pool,
                                        &world.result), APR_NOTFOUND);
    assert_int_equal(issued(submission, "worker", &(given_t) { 0 }, &event), APR_NOTFOUND);
}

static void test_same_serial(void **state)
{
    gh_submission_t *first = take_submission(submit("first"), "worker");
    gh_submission_t *second = take_submission(submit("second"), "worker");
    gh_audit_event_t event;

    assert_success(issued(first, "worker", &(given_t) { 0 }, &event));
    assert_int_equal(issued(second, "worker", &(given_t) { .end = 7200 }, &event), GH_ECONFLICT);
    assert_string_equal(world.result.number, "GH0779");
    assert_int_equal(row_of(second->record->id)->state, GH_ENROLMENT_SUBMITTED);
    assert_non_null(job_of(second->record->id));
    assert_success(issued(second, "worker", &(given_t) { .serial = 4712 }, &event));
}

static apr_status_t insert_work(gh_transaction_t *transaction, void *baton)
{
    return gh_certificate_insert(transaction, baton);
}

/* The CA's list of events was faster: with the serial number only, or with the certificate. */
static void test_known_by_events(void **state)
{
    gh_submission_t *submission = take_submission(submit("events"), "worker");
    X509 *made = give(&(given_t) { 0 });
    gh_certificate_record_t record = {
        .issuer = "slow", .serial = gh_certificate_serial(made, test_pool),
        .reason = GH_REASON_NONE, .not_after = gh_certificate_not_after(made),
        .sha256 = gh_certificate_unknown_digest(), .key_sha256 = gh_certificate_unknown_digest(),
        .der = { (const unsigned char *)"x", 1 }
    };
    gh_audit_event_t event;

    assert_success(gh_store_write(world.store, insert_work, &record, &world.result));
    assert_success(issued(submission, "worker", &(given_t) { 0 }, &event));
    assert_int_equal(poll_slow("events", world.profile).state, GH_ENROLMENT_ISSUED);
    assert_int_equal(number_of("SELECT count(*) FROM certificate_der WHERE enrolment IS NOT NULL"
                               " AND profile = 'test-slow' AND length(der) > 100"), 1);
}

static void test_rejected(void **state)
{
    const char *id = submit("rejected");
    gh_submission_t *submission = take_submission(id, "worker");
    gh_enrolment_outcome_t outcome;
    gh_audit_event_t event = {0};
    gh_result_t why;

    gh_result_fail(&why, GH_EREFUSED, GH_FAILURE_REQUEST, "cagw.refused", NULL,
                   "GH0999: the gateway has refused");
    assert_int_equal(gh_submission_rejected(submission, world.store, "another", "node2", "no", &why,
                                            &event, test_pool, &world.result), APR_NOTFOUND);
    assert_success(gh_submission_rejected(submission, world.store, "worker", "node2",
                                          "the name is taken", &why, &event, test_pool,
                                          &world.result));
    outcome = poll_slow("rejected", world.profile);
    assert_int_equal(outcome.state, GH_ENROLMENT_REJECTED);
    assert_string_equal(outcome.message, "the name is taken");
    assert_null(job_of(id));
    assert_int_equal(row_of(id)->request.length, 0);
    assert_string_equal(event.result, "refused");
    assert_string_equal(event.gh, "GH0999");
}

static void test_again_and_doubt(void **state)
{
    const char *id = submit("again");
    gh_submission_t *submission = take_submission(id, "worker");
    apr_time_t due = apr_time_now() + apr_time_from_sec(30);
    gh_audit_event_t event = {0};
    gh_result_t why;

    gh_result_fail(&why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "cagw.away", NULL,
                   "GH0998: the gateway is away");
    assert_success(gh_submission_again(submission, world.store, "worker", due, 0, NULL, &why,
                                       test_pool, &world.result));
    assert_int_equal(poll_slow("again", world.profile).state, GH_ENROLMENT_RETRY);
    assert_true(job_of(id)->due == due);
    assert_string_equal(job_of(id)->message, "the gateway is away");
    assert_true(row_of(id)->request.length > 0 && row_of(id)->plan.length > 0);

    /* accepted by the CA: it will be asked for */
    submission = take_submission(id, "worker");
    assert_success(gh_submission_again(submission, world.store, "worker", due, 1, "theirs", NULL,
                                       test_pool, &world.result));
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_SUBMITTED);
    assert_string_equal(job_of(id)->reference, "theirs");

    submission = take_submission(id, "worker");
    assert_success(gh_submission_doubt(submission, world.store, "worker", "node2", &why, &event,
                                       test_pool, &world.result));
    assert_int_equal(poll_slow("again", world.profile).state, GH_ENROLMENT_IN_DOUBT);
    assert_int_equal(job_of(id)->state, GH_JOB_DOUBT);
    assert_string_equal(event.result, "failed");
    assert_true(row_of(id)->request.length > 0);
}

static void test_approval(void **state)
{
    gh_enrolment_outcome_t outcome;
    gh_audit_event_t decision = {0}, event;
    apr_array_header_t *events;

    assert_success(ask_slow("manual", world.manual, &outcome));
    assert_int_equal(outcome.state, GH_ENROLMENT_WAITING);
    assert_true(row_of(outcome.id)->request.length > 0);
    assert_false(contains(row_of(outcome.id)->request, "seeded-challenge"));
    assert_null(job_of(outcome.id));
    assert_success(gh_ledger_decide(world.store, outcome.id, 1, "op", NULL, &decision, test_pool,
                                    &world.result));
    assert_success(gh_ledger_issue_approved(world.ledger, &events, test_pool, &world.result));
    assert_int_equal(events->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(events, 0, gh_audit_event_t *)->result, "pending");
    assert_int_equal(row_of(outcome.id)->state, GH_ENROLMENT_SUBMITTED);
    assert_string_equal(job_of(outcome.id)->queue, "slow");
    assert_success(issued(take_submission(outcome.id, "worker"), "worker", &(given_t) { 0 },
                          &event));
    assert_string_equal(event.user, "op");
    assert_int_equal(poll_slow("manual", world.manual).state, GH_ENROLMENT_ISSUED);

    assert_success(ask_slow("denied", world.manual, &outcome));
    assert_success(gh_ledger_decide(world.store, outcome.id, 0, "op", NULL, &decision, test_pool,
                                    &world.result));
    assert_int_equal(row_of(outcome.id)->request.length, 0);
}

/* Status */

static apr_status_t change(const char *serial, gh_status_t status, int reason)
{
    gh_audit_event_t event = {0};
    gh_bytes_t bytes;

    assert_success(gh_serial_parse(&bytes, serial, test_pool));
    return gh_revocation_set(world.store, "slow", bytes, status, reason, 0, &event, 1, test_pool,
                             &world.result);
}

static void assert_job(int at, const char *kind, const char *payload)
{
    apr_array_header_t *jobs = jobs_of("slow");
    const gh_job_record_t *job = APR_ARRAY_IDX(jobs, jobs->nelts - 1 - at, gh_job_record_t *);

    assert_string_equal(job->kind, kind);
    assert_string_equal(job->subject, "1267");
    assert_int_equal(job->payload.length, strlen(payload));
    assert_memory_equal(job->payload.data, payload, strlen(payload));
    if (at > 0) {
        assert_true(job->created
                    > APR_ARRAY_IDX(jobs, jobs->nelts - at, gh_job_record_t *)->created);
    }
}

static void test_status(void **state)
{
    gh_audit_event_t event;

    assert_success(issued(take_submission(submit("status"), "worker"), "worker",
                          &(given_t) { 0 }, &event));
    assert_success(change("1267", GH_STATUS_HELD, GH_REASON_NONE));
    assert_int_equal(number_of("SELECT status FROM certificate_status"), GH_STATUS_HELD);
    assert_success(change("1267", GH_STATUS_GOOD, GH_REASON_NONE));
    assert_success(change("1267", GH_STATUS_REVOKED, 4));
    /* to revoke again changes nothing, and tells nobody */
    assert_success(change("1267", GH_STATUS_REVOKED, 4));
    assert_int_equal(change("1267", GH_STATUS_GOOD, GH_REASON_NONE), GH_EREFUSED);
    assert_int_equal(jobs_of("slow")->nelts, 3);
    assert_job(0, GH_REMOTE_HOLD, "6");
    assert_job(1, GH_REMOTE_RELEASE, "");
    assert_job(2, GH_REMOTE_REVOKE, "4");
}

static apr_status_t local_work(gh_transaction_t *transaction, void *baton)
{
    return gh_issuer_note_worker(transaction, "slow", 0);
}

static void test_status_of_own_ca(void **state)
{
    gh_audit_event_t event;

    assert_success(issued(take_submission(submit("status"), "worker"), "worker",
                          &(given_t) { 0 }, &event));
    assert_success(gh_store_write(world.store, local_work, NULL, &world.result));
    assert_success(change("1267", GH_STATUS_REVOKED, 1));
    assert_int_equal(jobs_of("slow")->nelts, 0);
}

/* The certificate that is renewed is revoked while the CA makes its successor. */

typedef struct {
    const char *enrolment;
    const char *serial;
} renewal_t;

static apr_status_t renewal_work(gh_transaction_t *transaction, void *baton)
{
    const renewal_t *renewal = baton;
    gh_renewal_record_t record = { .issuer = "slow", .enrolment = renewal->enrolment };

    assert_success(gh_serial_parse(&record.serial, renewal->serial, test_pool));
    return gh_renewal_put(transaction, &record, test_pool);
}

static void test_predecessor_revoked(void **state)
{
    renewal_t renewal = { .serial = "1267" };
    gh_enrolment_outcome_t outcome;
    gh_audit_event_t event;

    assert_success(issued(take_submission(submit("old"), "worker"), "worker", &(given_t) { 0 },
                          &event));
    renewal.enrolment = submit("new");
    assert_success(gh_store_write(world.store, renewal_work, &renewal, &world.result));
    assert_success(change("1267", GH_STATUS_REVOKED, 1));
    assert_success(issued(take_submission(renewal.enrolment, "worker"), "worker",
                          &(given_t) { .serial = 4712 }, &event));
    assert_string_equal(event.result, "refused");
    outcome = poll_slow("new", world.profile);
    assert_int_equal(outcome.state, GH_ENROLMENT_REJECTED);
    assert_non_null(strstr(outcome.message, "revoked or held meanwhile"));
    /* its successor is revoked here, and the CA told of both */
    assert_int_equal(number_of("SELECT count(*) FROM certificate_status WHERE status = 1"), 2);
    assert_int_equal(jobs_of("slow")->nelts, 2);
}

/* Operators */

static void test_operator(void **state)
{
    const char *id = submit("operator");
    gh_submission_t *submission = take_submission(id, "worker");
    gh_audit_event_t event = {0};
    gh_result_t why;

    assert_int_equal(gh_submission_retry(world.store, id, "op", &event, test_pool, &world.result),
                     GH_EBUSY);
    assert_string_equal(world.result.number, "GH0787");
    assert_int_equal(gh_submission_cancel(world.store, id, "op", NULL, &event, test_pool,
                                          &world.result), GH_EBUSY);
    gh_result_fail(&why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "cagw.away", NULL,
                   "GH0998: the gateway is away");
    assert_success(gh_submission_doubt(submission, world.store, "worker", "node2", &why, &event,
                                       test_pool, &world.result));
    memset(&event, 0, sizeof(event));
    assert_success(gh_submission_retry(world.store, id, "op", &event, test_pool, &world.result));
    assert_string_equal(event.event, "retry");
    assert_string_equal(event.tenant, "acme");
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_SUBMITTED);
    assert_string_equal(row_of(id)->decided_by, "op");
    assert_int_equal(job_of(id)->state, GH_JOB_OPEN);
    memset(&event, 0, sizeof(event));
    assert_success(gh_submission_cancel(world.store, id, "op", "wrong device", &event, test_pool,
                                        &world.result));
    assert_null(job_of(id));
    assert_int_equal(poll_slow("operator", world.profile).state, GH_ENROLMENT_REJECTED);
    assert_string_equal(poll_slow("operator", world.profile).message, "wrong device");
    assert_int_equal(row_of(id)->request.length, 0);
    assert_int_equal(gh_submission_retry(world.store, id, "op", &event, test_pool, &world.result),
                     GH_EREFUSED);
    assert_string_equal(world.result.number, "GH0786");
    assert_int_equal(gh_submission_cancel(world.store, "00000000000000000000000000000000", "op",
                                          NULL, &event, test_pool, &world.result), APR_NOTFOUND);
    assert_int_equal(number_of("SELECT count(*) FROM audit WHERE event IN ('retry', 'cancel')"),
                     2);
}

/* Keys of our own */

static gh_own_keys_t ra_keys(gh_profile_t *profile)
{
    gh_own_keys_t keys = {
        "scep-ra", "RSA-2048", gh_issuer_ra_subject(world.issuer, test_pool), world.issuer, profile
    };

    return keys;
}

static apr_status_t provide(const gh_own_keys_t *keys, gh_own_attempt_t *attempt,
                            apr_array_header_t **generations, apr_time_t now)
{
    gh_own_services_t services = { world.store, world.ledger, world.sealer, "node1", NULL };

    gh_result_clear(&world.result);
    return gh_own_keys_provide(generations, keys, &services, attempt, now, test_pool,
                               &world.result);
}

static X509 *answer_request(const gh_submission_t *submission, long serial)
{
    gh_csr_t *csr;

    assert_success(gh_csr_parse(&csr, submission->request.data, submission->request.length, NULL,
                                test_pool, &world.result));
    assert_success(gh_csr_verify(csr, 0, &world.result));
    assert_string_equal(gh_csr_subject_text(csr), "CN=slow SCEP RA");
    return give(&(given_t) { .key = gh_csr_key(csr), .subject = "CN=slow SCEP RA",
                             .purposes = "clientAuth", .names = "", .serial = serial });
}

static void test_own_key(void **state)
{
    gh_own_keys_t keys = ra_keys(make_profile("test-ra", NULL,
                                              "ProfileKeyUsage digitalSignature keyEncipherment",
                                              "ProfileExtendedKeyUsage clientAuth",
                                              "ProfileValidity 30d", NULL));
    gh_own_attempt_t attempt = {0}, other = {0};
    apr_array_header_t *generations;
    apr_time_t now = apr_time_now();
    const gh_job_record_t *job;
    gh_submission_t *submission;
    gh_audit_event_t event = {0};
    X509 *certificate, *opened;
    EVP_PKEY *key;
    gh_result_t result;

    assert_int_equal(provide(&keys, &attempt, &generations, now), GH_EPENDING);
    assert_string_equal(world.result.number, "GH0782");
    assert_int_equal(jobs_of("slow")->nelts, 1);
    /* others ask for no other one */
    assert_int_equal(provide(&keys, &other, &generations, now), GH_EPENDING);
    assert_int_equal(provide(&keys, &attempt, &generations, now), GH_EPENDING);
    assert_int_equal(jobs_of("slow")->nelts, 1);
    job = APR_ARRAY_IDX(jobs_of("slow"), 0, gh_job_record_t *);
    assert_string_equal(job->kind, "enrol");
    submission = take_submission(job->id, "worker");
    assert_string_equal(submission->record->protocol, "internal");
    assert_string_equal(submission->record->profile, "test-ra");
    certificate = answer_request(submission, 50);
    if (gh_submission_check(submission, world.issuer, certificate, &result) != APR_SUCCESS) {
        fail_msg("%s", result.message);
    }
    assert_success(gh_submission_issued(submission, world.store, "worker", "node2", certificate,
                                        &event, test_pool, &world.result));
    assert_success(provide(&keys, &attempt, &generations, now));
    assert_int_equal(generations->nelts, 1);
    assert_int_equal(gh_generation_at(generations, 0)->usable, 1);
    assert_success(gh_generation_open(&key, &opened, gh_generation_at(generations, 0)->record,
                                      world.sealer, test_pool, &world.result));
    assert_int_equal(X509_cmp(opened, certificate), 0);
    assert_int_equal(jobs_of("slow")->nelts, 0);
    assert_int_equal(number_of("SELECT count(*) FROM key_request"), 0);

    /* after two thirds of its life: the old one does meanwhile */
    now += apr_time_from_sec(3000);
    assert_success(provide(&keys, &attempt, &generations, now));
    assert_success(provide(&keys, &other, &generations, now));
    assert_int_equal(jobs_of("slow")->nelts, 1);
    job = APR_ARRAY_IDX(jobs_of("slow"), 0, gh_job_record_t *);
    submission = take_submission(job->id, "worker");
    assert_success(gh_submission_issued(submission, world.store, "worker", "node2",
                                        answer_request(submission, 51), &event, test_pool,
                                        &world.result));
    assert_success(provide(&keys, &attempt, &generations, now));
    assert_int_equal(generations->nelts, 2);
    assert_int_equal(gh_generation_at(generations, 0)->record->generation, 2);
}

static void test_own_key_refused(void **state)
{
    gh_own_keys_t keys = ra_keys(world.profile);
    gh_own_attempt_t attempt = {0};
    apr_array_header_t *generations;
    apr_time_t now = apr_time_now();
    gh_submission_t *submission;
    gh_audit_event_t event = {0};

    assert_int_equal(provide(&keys, &attempt, &generations, now), GH_EPENDING);
    submission = take_submission(APR_ARRAY_IDX(jobs_of("slow"), 0, gh_job_record_t *)->id,
                                 "worker");
    assert_success(gh_submission_rejected(submission, world.store, "worker", "node2",
                                          "no such profile", NULL, &event, test_pool,
                                          &world.result));
    assert_int_equal(provide(&keys, &attempt, &generations, now), GH_EREFUSED);
    assert_string_equal(world.result.number, "GH0783");
    assert_non_null(strstr(world.result.message, "no such profile"));
    assert_int_equal(jobs_of("slow")->nelts, 0);
    /* it is asked again, but not at once */
    now += apr_time_from_sec(400);
    assert_int_equal(provide(&keys, &attempt, &generations, now), GH_EPENDING);
    assert_int_equal(jobs_of("slow")->nelts, 1);
    assert_int_equal(number_of("SELECT count(*) FROM key_request"), 1);
}

/** Whether there is a certificate nobody will know: after an hour another key is certified. */
static void test_own_key_in_doubt(void **state)
{
    gh_own_keys_t keys = ra_keys(world.profile);
    gh_own_attempt_t attempt = {0};
    apr_array_header_t *generations;
    apr_time_t now = apr_time_now();
    gh_submission_t *submission;
    gh_audit_event_t event = {0};
    gh_result_t why;

    assert_int_equal(provide(&keys, &attempt, &generations, now), GH_EPENDING);
    submission = take_submission(APR_ARRAY_IDX(jobs_of("slow"), 0, gh_job_record_t *)->id,
                                 "worker");
    gh_result_clear(&why);
    gh_result_fail(&why, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, "test", "", GHNO(1038) "lost");
    assert_success(gh_submission_doubt(submission, world.store, "worker", "node2", &why, &event,
                                       test_pool, &world.result));
    now += apr_time_from_sec(3000);
    assert_int_equal(provide(&keys, &attempt, &generations, now), GH_EPENDING);
    assert_string_equal(world.result.number, "GH0782");
    assert_int_equal(number_of("SELECT count(*) FROM job WHERE state = 1"), 0);
    now += apr_time_from_sec(700);
    assert_int_equal(provide(&keys, &attempt, &generations, now), GH_EPENDING);
    assert_int_equal(number_of("SELECT count(*) FROM job WHERE state = 1"), 1);
    assert_int_equal(number_of("SELECT count(*) FROM key_request"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_handed_over, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_sealed, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_not_usable, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_issued, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_same_serial, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_known_by_events, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_rejected, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_again_and_doubt, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_approval, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_status, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_status_of_own_ca, submission_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_predecessor_revoked, submission_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_operator, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_own_key, submission_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_own_key_refused, submission_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_own_key_in_doubt, submission_setup,
                                        x509_test_teardown)
    };

    return cmocka_run_group_tests_name("submissions", tests, x509_group_setup,
                                       x509_group_teardown);
}
