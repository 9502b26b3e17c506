/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Enrolments that somebody outside has to permit first: what is stored, and what may come of it. */

#include "submission_support.h"

#include <apr_strings.h>

#include "issuer/question.h"
#include "issuer/remote.h"
#include "status.h"
#include "store/certificates.h"

#define HOLDER "worker"

static int question_setup(void **state)
{
    submission_setup(state);
    world.question.kind = "oracle";
    world.question.queue = "oracle:delphi";
    return 0;
}

static const char *submit(const char *transaction, const gh_profile_t *profile)
{
    gh_enrolment_outcome_t outcome;

    assert_success(ask_slow(transaction, profile, &outcome));
    assert_int_equal(outcome.state, GH_ENROLMENT_SUBMITTED);
    assert_string_equal(outcome.queue, "oracle:delphi");
    return outcome.id;
}

typedef struct {
    const char *id;
    gh_job_record_t *record;
} claim_t;

static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    claim_t *claim = baton;

    return gh_job_claim(transaction, claim->id, HOLDER, apr_time_from_sec(60), &claim->record,
                        test_pool);
}

/** Takes the job of an enrolment and reads it. */
static gh_asked_t *take(const char *id, const char *kind)
{
    claim_t claim = { id, NULL };
    gh_asked_t *asked;

    assert_success(gh_store_write(world.store, claim_work, &claim, &world.result));
    assert_string_equal(claim.record->kind, kind);
    assert_string_equal(claim.record->queue, "oracle:delphi");
    assert_success(gh_question_read(&asked, world.store, world.sealer, claim.record, test_pool,
                                    &world.result));
    return asked;
}

static gh_audit_event_t *new_event(void)
{
    gh_result_clear(&world.result);
    return apr_pcalloc(test_pool, sizeof(gh_audit_event_t));
}

static void permit(const char *id)
{
    assert_success(gh_question_permitted(take(id, "ask.oracle"), world.store, HOLDER, "node2",
                                         "as you like", new_event(), test_pool, &world.result));
}

static apr_status_t reject(const char *id)
{
    return gh_submission_rejected(take_submission(id, HOLDER), world.store, HOLDER, "node2",
                                  "no such name", NULL, new_event(), test_pool, &world.result);
}

static void certify(const char *id)
{
    gh_submission_t *submission = take_submission(id, HOLDER);

    assert_success(gh_submission_issued(submission, world.store, HOLDER, "node2",
                                        give(&(given_t) { 0 }), new_event(), test_pool,
                                        &world.result));
}

static void test_asked_first(void **state)
{
    const char *id = submit("one", world.profile);
    gh_job_record_t *job = job_of(id);
    gh_asked_t *asked;

    assert_string_equal(job->kind, "ask.oracle");
    assert_true(job->deadline - job->created == apr_time_from_sec(24 * 3600));
    assert_true(row_of(id)->request.length > 0);
    assert_int_equal(number_of("SELECT count(*) FROM enrolment WHERE request LIKE "
                               "'%seeded-challenge%'"), 0);
    assert_string_equal(poll_slow("one", world.profile).queue, "oracle:delphi");
    asked = take(id, "ask.oracle");
    assert_int_equal(asked->stage, GH_STAGE_ASK);
    assert_string_equal(asked->question.kind, "oracle");
    assert_string_equal(gh_plan_subject_text(asked->plan), row_of(id)->subject);
    assert_int_equal(asked->request.length, gh_csr_der(world.csr).length);
}

static void test_permitted(void **state)
{
    const char *id = submit("permitted", world.profile);
    gh_asked_t *asked = take(id, "ask.oracle");

    assert_int_equal(gh_question_permitted(asked, world.store, "another", "node2", NULL,
                                           new_event(), test_pool, &world.result), APR_NOTFOUND);
    assert_string_equal(job_of(id)->kind, "ask.oracle");
    permit(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_SUBMITTED);
    assert_string_equal(job_of(id)->kind, "enrol");
    assert_string_equal(job_of(id)->queue, "slow");
    assert_string_equal(poll_slow("permitted", world.profile).queue, "slow");
    assert_int_equal(number_of("SELECT count(*) FROM audit WHERE event = 'permit'"), 1);
    certify(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_ISSUED);
    assert_null(job_of(id));
}

static void test_refused(void **state)
{
    const char *id = submit("refused", world.profile);
    gh_asked_t *asked = take(id, "ask.oracle");
    gh_enrolment_outcome_t outcome;

    assert_success(gh_question_refused(asked, world.store, HOLDER, "node2", "not you", NULL,
                                       new_event(), test_pool, &world.result));
    outcome = poll_slow("refused", world.profile);
    assert_int_equal(outcome.state, GH_ENROLMENT_REJECTED);
    assert_string_equal(outcome.message, "not you");
    assert_null(job_of(id));
    assert_int_equal(row_of(id)->request.length, 0);
    assert_int_equal(gh_question_permitted(asked, world.store, HOLDER, "node2", NULL, new_event(),
                                           test_pool, &world.result), APR_NOTFOUND);
}

static void test_again(void **state)
{
    const char *id = submit("again", world.profile);
    gh_result_t why;

    gh_result_clear(&why);
    gh_result_fail(&why, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "oracle", NULL,
                   "GH9999: it sleeps");
    assert_success(gh_question_again(take(id, "ask.oracle"), world.store, HOLDER, apr_time_now(),
                                     &why, test_pool, &world.result));
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_RETRY);
    assert_string_equal(job_of(id)->message, "it sleeps");
    permit(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_SUBMITTED);
}

static void test_approval(void **state)
{
    const char *id = submit("manual", world.manual);
    apr_array_header_t *events;

    permit(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_WAITING);
    assert_null(job_of(id));
    assert_success(gh_ledger_decide(world.store, id, 1, "jane", NULL, new_event(), test_pool,
                                    &world.result));
    assert_success(gh_ledger_issue_approved(world.ledger, &events, test_pool, &world.result));
    assert_string_equal(job_of(id)->kind, "enrol");
}

static const char *submit_confirming(const char *transaction)
{
    const char *id;

    world.question.confirm = 1;
    world.question.patience = apr_time_from_sec(3600);
    id = submit(transaction, world.profile);
    permit(id);
    return id;
}

static void test_confirmed(void **state)
{
    const char *id = submit_confirming("confirmed");
    gh_enrolment_outcome_t outcome;
    gh_asked_t *asked;

    certify(id);
    outcome = poll_slow("confirmed", world.profile);
    assert_int_equal(outcome.state, GH_ENROLMENT_CONFIRMING);
    assert_int_equal(outcome.certificate.length, 0);
    assert_string_equal(outcome.queue, "oracle:delphi");
    assert_int_equal(number_of("SELECT count(*) FROM certificate_der"), 1);
    asked = take(id, "confirm.oracle");
    assert_true(asked->certificate.length > 0 && asked->request.length > 0);
    assert_success(gh_question_confirmed(asked, world.store, HOLDER, "node2", new_event(),
                                         test_pool, &world.result));
    outcome = poll_slow("confirmed", world.profile);
    assert_int_equal(outcome.state, GH_ENROLMENT_ISSUED);
    assert_true(outcome.certificate.length > 0);
    assert_null(job_of(id));
    assert_int_equal(row_of(id)->request.length, 0);
}

static void test_not_confirmed(void **state)
{
    const char *id = submit_confirming("unheard");
    gh_asked_t *asked;

    certify(id);
    asked = take(id, "confirm.oracle");
    assert_success(gh_question_not_confirmed(asked, world.store, HOLDER, "node2", "too late", NULL,
                                             new_event(), test_pool, &world.result));
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_REJECTED);
    assert_int_equal(number_of("SELECT status FROM certificate_status"), GH_STATUS_REVOKED);
    assert_int_equal(number_of("SELECT reason FROM certificate_status"), 5);
    /* the CA elsewhere is told */
    assert_string_equal(APR_ARRAY_IDX(jobs_of("slow"), 0, gh_job_record_t *)->kind,
                        GH_REMOTE_REVOKE);
    assert_null(job_of(id));
}

static void test_revoked_meanwhile(void **state)
{
    const char *id = submit_confirming("revoked");
    gh_enrolment_record_t *row;
    gh_asked_t *asked;

    certify(id);
    asked = take(id, "confirm.oracle");
    row = row_of(id);
    assert_success(gh_revocation_set(world.store, "slow", row->serial, GH_STATUS_REVOKED,
                                     GH_REASON_NONE, 0, new_event(), 0, test_pool,
                                     &world.result));
    assert_success(gh_question_confirmed(asked, world.store, HOLDER, "node2", new_event(),
                                         test_pool, &world.result));
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_REJECTED);
}

static void test_failure_is_told(void **state)
{
    const char *id = submit_confirming("failed");
    gh_asked_t *asked;

    assert_success(reject(id));
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_REJECTED);
    asked = take(id, "failed.oracle");
    assert_string_equal(asked->reason, "no such name");
    assert_int_equal(asked->request.length, gh_csr_der(world.csr).length);
    assert_success(gh_question_over(id, world.store, HOLDER, &world.result));
    assert_null(job_of(id));
    assert_int_equal(gh_question_over(id, world.store, HOLDER, &world.result), APR_NOTFOUND);
}

static void test_not_told(void **state)
{
    const char *id = submit("quiet", world.profile);

    permit(id);
    assert_success(reject(id));
    assert_null(job_of(id));
}

static void test_operators(void **state)
{
    const char *asked = submit("asked", world.profile);
    const char *confirming;

    assert_success(gh_submission_retry(world.store, asked, "jane", new_event(), test_pool,
                                       &world.result));
    assert_string_equal(job_of(asked)->kind, "ask.oracle");
    assert_success(gh_submission_cancel(world.store, asked, "jane", NULL, new_event(), test_pool,
                                        &world.result));
    assert_int_equal(row_of(asked)->state, GH_ENROLMENT_REJECTED);
    assert_null(job_of(asked));

    confirming = submit_confirming("confirming");
    certify(confirming);
    assert_success(gh_submission_retry(world.store, confirming, "jane", new_event(), test_pool,
                                       &world.result));
    assert_int_equal(row_of(confirming)->state, GH_ENROLMENT_CONFIRMING);
    assert_success(gh_submission_cancel(world.store, confirming, "jane", NULL, new_event(),
                                        test_pool, &world.result));
    assert_int_equal(row_of(confirming)->state, GH_ENROLMENT_REJECTED);
    assert_string_equal(job_of(confirming)->kind, "failed.oracle");
    assert_int_equal(number_of("SELECT status FROM certificate_status"), GH_STATUS_REVOKED);
}

static void test_words(void **state)
{
    char many[400];

    memset(many, 'a', sizeof(many) - 1);
    many[sizeof(many) - 1] = '\0';
    memcpy(many + 199, "\xc3\xa4", 2);
    assert_string_equal(gh_question_words(NULL, test_pool), "");
    assert_string_equal(gh_question_words("a\r\nb\x7f", test_pool), "a  b ");
    assert_int_equal(strlen(gh_question_words(many, test_pool)), 199);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_asked_first, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_permitted, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_refused, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_again, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_approval, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_confirmed, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_not_confirmed, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_revoked_meanwhile, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_failure_is_told, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_not_told, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_operators, question_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_words, question_setup,
                                        x509_test_teardown),
    };

    return cmocka_run_group_tests_name("questions", tests, x509_group_setup,
                                       x509_group_teardown);
}
