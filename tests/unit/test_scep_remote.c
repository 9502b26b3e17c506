/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* SCEP before a CA elsewhere: who waits for it, for how long, and what he is told. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <apr_strings.h>

#include "issuer/submission.h"
#include "scep_world.h"
#include "status.h"
#include "x509/key.h"

/* What the worker does while a request waits. */
static struct {
    enum { NOTHING, ISSUES, REJECTS, POSTPONES } does;
    int waited;
    int inside;                     /* somebody else was let in meanwhile */
    char issuer[65];
    char enrolment[33];
} worker;

static gh_issuer_t *elsewhere;
static scep_engine_t *narrow;       /* lets one in at a time */

static int setup(void **state)
{
    apr_hash_t *issuers;
    gh_result_t result;

    if (scep_world_setup(state)) {
        return 1;
    }
    issuers = apr_hash_make(pool);
    elsewhere = gh_issuer_create("devices", &gh_issuer_cagw, pool);
    assert_int_equal(gh_issuer_take(elsewhere, gh_issuer_certificate_der(issuer),
                                    apr_array_make(pool, 1, sizeof(gh_bytes_t)), pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_issuer_child_init(elsewhere, pool, &result), APR_SUCCESS);
    apr_hash_set(issuers, "devices", APR_HASH_KEY_STRING, elsewhere);
    services.ledger = gh_ledger_create(services.store, issuers, "node1", NULL, pool);
    endpoint.ca = elsewhere;
    narrow = scep_engine_create(&services, gate_for(1), pool);
    return scep_engine_add_issuer(narrow, issuer, ra_profile, pool) != APR_SUCCESS;
}

static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    gh_job_record_t *job;

    return gh_job_claim(transaction, worker.enrolment, "worker", apr_time_from_sec(60), &job,
                        pool);
}

static void finish(const gh_submission_t *submission)
{
    gh_audit_event_t issued = { 0 };
    X509 *certificate;
    gh_result_t result;

    if (gh_ca_issue(&certificate, gh_issuer_local.crl_signer(issuer), submission->plan,
                    apr_time_now(), pool, &result) != APR_SUCCESS
        || gh_submission_check(submission, elsewhere,
                               gh_certificate_parse(gh_certificate_der(certificate, pool), pool),
                               &result) != APR_SUCCESS
        || gh_submission_issued(submission, services.store, "worker", "node2", certificate,
                                &issued, pool, &result) != APR_SUCCESS) {
        fail_msg("%s", result.message);
    }
}

static void work(void)
{
    gh_audit_event_t rejected = { 0 };
    gh_submission_t *submission;
    gh_result_t result;

    assert_int_equal(gh_submission_read(&submission, services.store, services.sealer,
                                        worker.enrolment, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_store_write(services.store, claim_work, NULL, &result), APR_SUCCESS);
    if (worker.does == ISSUES) {
        finish(submission);
    }
    else if (worker.does == REJECTS) {
        assert_int_equal(gh_submission_rejected(submission, services.store, "worker", "node2",
                                                "no licence is left", NULL, &rejected, pool,
                                                &result), APR_SUCCESS);
    }
    else {
        gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "away", NULL,
                       "GH0999: away");
        assert_int_equal(gh_submission_again(submission, services.store, "worker",
                                             apr_time_now() + apr_time_from_sec(60), 0, NULL,
                                             &result, pool, &result), APR_SUCCESS);
    }
}

/* Called in the place of mod_gatehouse's function. */
static void await(void *baton, const char *name, const char *enrolment)
{
    scep_request_t request = { .client = "192.0.2.2", .id = "4567", .event = baton };
    gh_bytes_t nothing = { (const unsigned char *)"x", 1 };
    scep_response_t response;

    ++worker.waited;
    apr_cpystrn(worker.issuer, name, sizeof(worker.issuer));
    apr_cpystrn(worker.enrolment, enrolment, sizeof(worker.enrolment));
    /* 400: the message was looked at; 503 would say that there is no place */
    scep_engine_operate(narrow, &endpoint, nothing, &request, &response, pool);
    worker.inside = response.status == 400;
    if (worker.does != NOTHING) {
        work();
    }
}

static void ask(scep_test_spec_t *spec, gh_bytes_t content, scep_test_reply_t *reply)
{
    gh_audit_event_t ignored = { 0 };
    scep_request_t request = {
        .client = "192.0.2.1", .id = "0123", .log = &everything, .event = &event, .await = await,
        .await_baton = &ignored
    };
    scep_response_t response;

    memset(&event, 0, sizeof(event));
    worker.waited = 0;
    worker.inside = 0;
    scep_engine_operate(narrow, &endpoint,
                        scep_test_message(spec, content, client_key, client, ra, pool), &request,
                        &response, pool);
    assert_int_equal(response.status, 200);
    assert_true(scep_test_reply(reply, response.body, client_key, client, pool));
}

static void poll(const char *transaction, scep_test_reply_t *reply)
{
    scep_test_spec_t spec = { .type = "20", .transaction = transaction };

    ask(&spec, scep_test_issuer_and_subject(X509_get_subject_name(ca), "client", pool), reply);
}

static void test_issued_meanwhile(void **state)
{
    scep_test_spec_t spec = { .transaction = "meanwhile" };
    scep_test_reply_t reply, repeated;

    worker.does = ISSUES;
    ask(&spec, request(CHALLENGE), &reply);
    assert_int_equal(worker.waited, 1);
    assert_int_equal(worker.inside, 1);
    assert_string_equal(worker.issuer, "devices");
    assert_int_equal(reply.status, SCEP_SUCCESS);
    assert_string_equal(event.result, "issued");
    assert_non_null(event.serial);
    assert_non_null(strstr(event.message, worker.enrolment));
    /* the next one finds it, and waits for nothing */
    ask(&spec, request(CHALLENGE), &repeated);
    assert_int_equal(worker.waited, 0);
    same(APR_ARRAY_IDX(reply.certificates, 0, gh_bytes_t),
         APR_ARRAY_IDX(repeated.certificates, 0, gh_bytes_t));
    poll("meanwhile", &repeated);
    assert_int_equal(repeated.status, SCEP_SUCCESS);
}

static void test_not_yet(void **state)
{
    scep_test_spec_t spec = { .transaction = "not-yet" };
    scep_test_reply_t reply;

    worker.does = NOTHING;
    ask(&spec, request(CHALLENGE), &reply);
    assert_int_equal(reply.status, SCEP_PENDING);
    assert_string_equal(event.result, "pending");
    /* polls do not wait; the request does */
    poll("not-yet", &reply);
    assert_int_equal(worker.waited, 0);
    assert_int_equal(reply.status, SCEP_PENDING);
    ask(&spec, request(CHALLENGE), &reply);
    assert_int_equal(worker.waited, 1);
    assert_int_equal(reply.status, SCEP_PENDING);
    worker.does = POSTPONES;
    work();
    ask(&spec, request(CHALLENGE), &reply);
    assert_int_equal(worker.waited, 0);
    assert_int_equal(reply.status, SCEP_PENDING);
    poll("not-yet", &reply);
    assert_int_equal(reply.status, SCEP_PENDING);
    worker.does = ISSUES;
    work();
    poll("not-yet", &reply);
    assert_int_equal(reply.status, SCEP_SUCCESS);
}

static void test_rejected(void **state)
{
    scep_test_spec_t spec = { .transaction = "rejected" };
    scep_test_reply_t reply;

    worker.does = REJECTS;
    ask(&spec, request(CHALLENGE), &reply);
    assert_int_equal(reply.status, SCEP_FAILURE);
    assert_int_equal(reply.fail_info, SCEP_BAD_REQUEST);
    assert_non_null(strstr(reply.fail_text, "GH0220"));
    assert_non_null(strstr(reply.fail_text, "no licence is left"));
    assert_string_equal(event.result, "refused");
    poll("rejected", &reply);
    assert_int_equal(reply.status, SCEP_FAILURE);
    assert_non_null(strstr(reply.fail_text, "no licence is left"));
}

/* Nobody to wait with: the answer comes at once. */
static void test_nobody(void **state)
{
    scep_test_spec_t spec = { .transaction = "nobody" };
    gh_bytes_t message = scep_test_message(&spec, request(CHALLENGE), client_key, client, ra,
                                           pool);
    scep_response_t response;
    scep_test_reply_t reply;

    send_to(narrow, &endpoint, message, &response);
    assert_int_equal(response.status, 200);
    assert_true(scep_test_reply(&reply, response.body, client_key, client, pool));
    assert_int_equal(reply.status, SCEP_PENDING);
}

/* All places are taken when the CA has answered. */

static gh_limiter_t *gate;

static void await_and_fill(void *baton, const char *name, const char *enrolment)
{
    assert_int_equal(gh_limiter_enter(gate), 1);
    apr_cpystrn(worker.enrolment, enrolment, sizeof(worker.enrolment));
    worker.does = ISSUES;
    work();
}

static void test_full(void **state)
{
    scep_test_spec_t spec = { .transaction = "full" };
    gh_bytes_t message = scep_test_message(&spec, request(CHALLENGE), client_key, client, ra,
                                           pool);
    scep_request_t request = {
        .client = "192.0.2.1", .id = "0123", .log = &everything, .event = &event,
        .await = await_and_fill
    };
    scep_engine_t *made;
    scep_response_t response;
    scep_test_reply_t reply;

    gate = gate_for(1);
    made = scep_engine_create(&services, gate, pool);
    assert_int_equal(scep_engine_add_issuer(made, issuer, ra_profile, pool), APR_SUCCESS);
    memset(&event, 0, sizeof(event));
    scep_engine_operate(made, &endpoint, message, &request, &response, pool);
    assert_int_equal(response.status, 503);
    assert_true(response.retry_after > 0);
    assert_string_equal(event.gh, "GH0781");
    /* the place is the other one's: it was not given back twice */
    assert_int_equal(gh_limiter_enter(gate), 0);
    gh_limiter_leave(gate);
    /* nothing is lost */
    request.await = NULL;
    scep_engine_operate(made, &endpoint, message, &request, &response, pool);
    assert_true(scep_test_reply(&reply, response.body, client_key, client, pool));
    assert_int_equal(reply.status, SCEP_SUCCESS);
}

/* The RA of such an issuer: its certificate comes from there too. */

static apr_status_t register_slow(gh_transaction_t *transaction, void *baton)
{
    return gh_issuer_register(transaction, "slow", gh_issuer_key_sha256(baton),
                              gh_issuer_certificate_der(baton));
}

static apr_status_t first_job(gh_transaction_t *transaction, void *baton)
{
    apr_array_header_t *jobs;
    apr_status_t rv = gh_job_list(transaction, "slow", 0, &jobs, pool);

    assert_int_equal(jobs->nelts, 1);
    apr_cpystrn(worker.enrolment, APR_ARRAY_IDX(jobs, 0, gh_job_record_t *)->id,
                sizeof(worker.enrolment));
    return rv;
}

static void test_ra(void **state)
{
    gh_issuer_t *slow = gh_issuer_create("slow", &gh_issuer_cagw, pool);
    scep_engine_t *made = scep_engine_create(&services, gate_for(8), pool);
    scep_endpoint_t at = endpoint;
    scep_response_t response;
    gh_result_t result;
    apr_time_t begun;

    assert_int_equal(gh_issuer_take(slow, gh_issuer_certificate_der(issuer),
                                    apr_array_make(pool, 1, sizeof(gh_bytes_t)), pool, &result),
                     APR_SUCCESS);
    assert_int_equal(gh_issuer_child_init(slow, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_store_write(services.store, register_slow, slow, &result), APR_SUCCESS);
    assert_int_equal(scep_engine_add_issuer(made, slow, ra_profile, pool), APR_SUCCESS);
    at.issuer = "slow";
    at.ca = slow;
    logged[0] = '\0';
    begun = apr_time_now();
    scep_engine_certificates(made, &at, &everything, &response, pool);
    assert_int_equal(response.status, 503);
    assert_true(response.retry_after > 0);
    assert_non_null(strstr(logged, "GH0782"));
    scep_engine_certificates(made, &at, &everything, &response, pool);
    assert_int_equal(response.status, 503);
    /* nobody waits for it */
    assert_true(apr_time_now() - begun < apr_time_from_sec(3));
    assert_int_equal(gh_store_read(services.store, first_job, NULL, &result), APR_SUCCESS);
    elsewhere = slow;
    worker.does = ISSUES;
    work();
    apr_sleep(apr_time_from_msec(1100));
    scep_engine_certificates(made, &at, &everything, &response, pool);
    assert_int_equal(response.status, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_issued_meanwhile),
        cmocka_unit_test(test_not_yet),
        cmocka_unit_test(test_rejected),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_ra)
    };

    return cmocka_run_group_tests_name("SCEP before a CA elsewhere", tests, setup,
                                       scep_world_teardown);
}
