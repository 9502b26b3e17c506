/* Licensed under the Apache License, Version 2.0. See LICENSE. */


/* What comes of an enrolment at a CA behind a gateway: answers, what searches tell, what was known
 * before, and the end that each has in the store. */

#include "ca_world.h"

#include <apr_strings.h>

#include "issuer/remote.h"
#include "status.h"

#define HOUR apr_time_from_sec(3600)

/** What there is before the worker takes a job. */
typedef struct {
    const char *reference;
    long sent;                      /* seconds ago; 0: no call was made */
    int late;                       /* 1: its deadline has passed */
    int over;                       /* seconds ago it was answered; 0: at once */
} before_t;

static const char *submit(const char *transaction)
{
    gh_enrolment_outcome_t outcome;

    assert_success(ask_slow(transaction, world.profile, &outcome));
    return outcome.id;
}

static apr_status_t set_work(gh_transaction_t *transaction, void *baton)
{
    const before_t *before = baton;
    gh_query_t *query = gh_query(transaction, "UPDATE job SET reference = $1, sent = $2,"
                                 " deadline = CASE WHEN CAST($3 AS BIGINT) = 1 THEN created + 1"
                                 " ELSE deadline END");

    if (before->reference && (!strcmp(before->reference, "over")
                              || !strcmp(before->reference, "wrong"))) {
        gh_bind_text(query, apr_psprintf(test_pool, "%s@%" APR_TIME_T_FMT, before->reference,
                                         apr_time_now() - apr_time_from_sec(
                                             before->over ? before->over : before->sent)));
    }
    else {
        gh_bind_text(query, before->reference);
    }
    gh_bind_int64(query, before->sent ? apr_time_now() - apr_time_from_sec(before->sent) : 0);
    gh_bind_int64(query, before->late);
    return gh_execute(query);
}

typedef struct {
    before_t before;
    ca_answer_t answer;
    int unsearchable;
    ca_search_told_t search;
    int lag;                        /* seconds */
    int timeout;                    /* of a call, seconds */

    gh_enrolment_state_t state;

    int sent;                       /* 1: the job is there, with a call that may have had its
                                       effect; 0: it is there, to be called; -1: it is gone */
    const char *reference;          /* of the job */
    const char *number;             /* of why it is not over; NULL: none */
} case_t;

#define LOST { 0 }
#define GONE (-1)
#define AGAIN(number) GH_ENROLMENT_RETRY, 0, NULL, number
#define OPEN(reference, number) GH_ENROLMENT_RETRY, 1, reference, number
#define DOUBT(reference, number) GH_ENROLMENT_IN_DOUBT, 1, reference, number
#define ISSUED GH_ENROLMENT_ISSUED, GONE, NULL, NULL
#define REJECTED GH_ENROLMENT_REJECTED, GONE, NULL, NULL

/** A call a minute ago, of which this is known. */
#define WAS(known) { .reference = known, .sent = 60 }
#define WAS_LATE(known) { .reference = known, .sent = 60, .late = 1 }

/** Of a call that is over it says since when, too. */
static int is_reference(const char *reference, const char *expected)
{
    const char *at = reference ? strchr(reference, '@') : NULL;

    return !strcmp(at ? apr_pstrmemdup(test_pool, reference, (apr_size_t)(at - reference))
                   : reference ? reference : "", expected ? expected : "");
}

static void check(const case_t *one, int position)
{
    const char *id = submit(apr_itoa(test_pool, position));
    gh_job_record_t *job;

    assert_success(gh_store_write(world.store, set_work, (void *)&one->before, &world.result));
    play.answers[0] = one->answer;
    play.search = one->search;
    play.issuer.searchable = !one->unsearchable;
    play.issuer.lag = apr_time_from_sec(one->lag);
    play.issuer.timeout = apr_time_from_sec(one->timeout);
    ca_carry_out(id);
    job = job_of(id);
    if (row_of(id)->state != one->state || (job == NULL) != (one->sent == GONE)) {
        fail_msg("case %d: state %s, job %s", position, gh_enrolment_state_name(row_of(id)->state),
                 job ? job->number : "gone");
    }
    if (job) {
        if ((job->sent != 0) != one->sent || !is_reference(job->reference, one->reference)
            || strcmp(job->number ? job->number : "", one->number ? one->number : "")) {
            fail_msg("case %d: sent %d, reference %s, number %s", position, job->sent != 0,
                     job->reference, job->number);
        }
        assert_null(job->holder);
        assert_int_equal(job->state, one->state == GH_ENROLMENT_IN_DOUBT ? GH_JOB_DOUBT
                                                                        : GH_JOB_OPEN);
    }
    assert_true((play.searches > 0) == (one->search != NOT_SEARCHED));
}

/** Each in a world of its own. */
static void check_all(const case_t *cases, apr_size_t count, void **state)
{
    apr_size_t i;

    for (i = 0; i < count; ++i) {
        x509_test_teardown(state);
        ca_setup(state);
        check(&cases[i], (int)i);
    }
}

#define CHECK_ALL(cases, state) check_all(cases, sizeof(cases) / sizeof((cases)[0]), state)

static void test_answers(void **state)
{
    static const case_t cases[] = {
        { .answer = SAYS(200, "GOOD"), .state = ISSUED },
        { .answer = SAYS(400, ERROR), .state = REJECTED },
        { .answer = SAYS(200, ERROR), .state = REJECTED },
        { .answer = SAYS(404, ERROR), .state = REJECTED },
        { .answer = SAYS(501, ERROR), .state = REJECTED },
        { .answer = SAYS(200, "{\"enrollment\":{\"status\":\"REJECTED\"}}"), .state = REJECTED },
        /* nothing was done */
        { .answer = SAYS(429, ERROR), .state = AGAIN("GH0825") },
        { .answer = SAYS_LATER(503, ERROR), .state = AGAIN("GH0825") },
        { .answer = SAYS_LATER(503, ""), .state = AGAIN("GH0825") },
        { .answer = SAYS(403, ERROR), .state = AGAIN("GH0827") },
        { .answer = SAYS(401, ""), .state = AGAIN("GH0828") },
        { .answer = SAYS(404, "<html>"), .state = AGAIN("GH0828") },
        { .answer = { .unsent = 1 }, .state = AGAIN("GH0999") },
        { .answer = { .unsent = 1, .stopped = 1 }, .state = AGAIN("GH0999") },
        /* not issued yet */
        { .answer = SAYS(202, "{\"enrollment\":{\"id\":\"7\"}}"),
          .state = GH_ENROLMENT_SUBMITTED, 1, "id:7", NULL },
        { .answer = SAYS(202, "{\"enrollment\":{\"id\":\"7\",\"serialNumber\":\"0ABC\"}}"),
          .state = GH_ENROLMENT_SUBMITTED, 1, "serial:0ABC", NULL },
        { .answer = { .stopped = 1 }, .state = OPEN(NULL, "GH0999") }
    };

    CHECK_ALL(cases, state);
}

/* Nobody knows what became of a call: what a search tells decides */
static void test_lost(void **state)
{
    static const case_t cases[] = {
        { .answer = LOST, .search = GOOD_FOUND, .state = ISSUED },
        { .answer = LOST, .search = WRONG_FOUND, .state = DOUBT(NULL, "GH0780") },
        { .answer = LOST, .search = REVOKED_FOUND, .state = DOUBT(NULL, "GH0835") },
        { .answer = LOST, .search = NOT_NOW, .state = OPEN(NULL, "GH0998") },
        { .answer = LOST, .search = NEVER, .state = DOUBT(NULL, "GH0834") },
        { .answer = LOST, .unsearchable = 1, .state = DOUBT(NULL, "GH0834") },
        /* it is at work on it as long as a call may take, and is found as much later as it lags */
        { .answer = LOST, .search = NOTHING_FOUND, .timeout = 3600, .state = OPEN(NULL, "GH0999") },
        { .answer = LOST, .search = NOTHING_FOUND, .lag = 3600, .state = OPEN(NULL, "GH0999") },
        { .answer = LOST, .search = NOTHING_FOUND, .state = AGAIN("GH0999") },
        { .answer = SAYS(504, ERROR), .search = NOTHING_FOUND, .timeout = 3600,
          .state = OPEN(NULL, "GH0831") },
        { .answer = SAYS(502, ""), .search = GOOD_FOUND, .state = ISSUED },
        { .answer = SAYS(503, ""), .search = NOTHING_FOUND, .timeout = 3600,
          .state = OPEN(NULL, "GH0826") },
        { .answer = SAYS(503, ""), .unsearchable = 1, .state = DOUBT(NULL, "GH0834") },
        /* it has finished, and does not tell what it did */
        { .answer = SAYS(503, ERROR), .search = GOOD_FOUND, .state = ISSUED },
        { .answer = SAYS(503, ERROR), .search = NOTHING_FOUND, .lag = 3600,
          .state = OPEN("over", "GH0826") },
        { .answer = SAYS(503, ERROR), .search = NOTHING_FOUND, .timeout = 3600,
          .state = AGAIN("GH0826") },
        { .answer = SAYS(503, ERROR), .unsearchable = 1, .state = DOUBT(NULL, "GH0834") },
        { .answer = SAYS(500, ERROR), .search = NOTHING_FOUND, .timeout = 3600,
          .state = AGAIN("GH0826") },
        { .answer = SAYS(200, "{\"enrollment\":"), .search = GOOD_FOUND, .state = ISSUED },
        { .answer = SAYS(200, "{\"enrollment\":{}}"), .search = NOTHING_FOUND, .lag = 3600,
          .state = OPEN("over", "GH0829") }
    };

    CHECK_ALL(cases, state);
}

static void test_wrong_certificates(void **state)
{
    static const case_t cases[] = {
        /* somebody else's: ours may be there all the same */
        { .answer = SAYS(200, "OTHER KEY"), .search = GOOD_FOUND, .state = ISSUED },
        { .answer = SAYS(200, "OTHER KEY"), .search = NOTHING_FOUND, .lag = 3600, .timeout = 3600,
          .state = OPEN("wrong", "GH0780") },
        { .answer = SAYS(200, "OTHER KEY"), .search = NOTHING_FOUND, .timeout = 3600,
          .state = DOUBT(NULL, "GH0780") },
        { .answer = SAYS(200, "OTHER KEY"), .unsearchable = 1, .state = DOUBT(NULL, "GH0780") },
        { .answer = SAYS(200, "WRONG"), .state = DOUBT(NULL, "GH0780") }
    };

    CHECK_ALL(cases, state);
}

/* Taken up from a worker that has let go of it, or has died */
static void test_taken_up(void **state)
{
    static const case_t cases[] = {
        { .before = { .sent = 60 }, .search = GOOD_FOUND, .state = ISSUED },
        { .before = { .sent = 60 }, .search = NOTHING_FOUND, .timeout = 3600,
          .state = GH_ENROLMENT_SUBMITTED, 1, NULL, NULL },
        { .before = { .sent = 7200 }, .search = NOTHING_FOUND, .timeout = 3600,
          .state = GH_ENROLMENT_SUBMITTED, 0, NULL, NULL },
        { .before = { .sent = 60 }, .unsearchable = 1, .state = DOUBT(NULL, "GH0834") },
        { .before = WAS("over"), .search = NOTHING_FOUND, .timeout = 3600,
          .state = GH_ENROLMENT_SUBMITTED, 0, NULL, NULL },
        /* what was issued shortly before the answer is told by as much later as events lag */
        { .before = { .reference = "over", .sent = 60, .over = 5 }, .search = NOTHING_FOUND,
          .lag = 30, .state = GH_ENROLMENT_SUBMITTED, 1, "over", NULL },
        { .before = { .reference = "over", .sent = 60, .over = 40 }, .search = NOTHING_FOUND,
          .lag = 30, .timeout = 3600, .state = GH_ENROLMENT_SUBMITTED, 0, NULL, NULL },
        { .before = { .reference = "over@", .sent = 60 }, .search = NOTHING_FOUND,
          .lag = 30, .timeout = 40, .state = GH_ENROLMENT_SUBMITTED, 1, "over", NULL },
        /* an event that cannot be read may be the one */
        { .before = { .sent = 60 }, .search = UNREAD, .state = OPEN(NULL, "GH1323") },
        { .before = { .sent = 7200 }, .search = UNREAD, .state = DOUBT(NULL, "GH1323") },
        { .before = WAS("id:7"), .search = UNREAD, .state = OPEN("id:7", "GH1323") },
        { .before = WAS("wrong"), .search = NOTHING_FOUND, .timeout = 3600,
          .state = DOUBT("wrong", NULL) },
        { .before = WAS("wrong"), .search = GOOD_FOUND, .state = ISSUED },
        { .before = WAS("later"), .search = NOTHING_FOUND, .timeout = 3600,
          .state = GH_ENROLMENT_SUBMITTED, 1, "later", NULL },
        { .before = WAS("id:7"), .search = GOOD_FOUND, .state = ISSUED },
        { .before = WAS("id:7"), .search = NOTHING_FOUND,
          .state = GH_ENROLMENT_SUBMITTED, 1, "id:7", NULL },
        { .before = WAS("id:7"), .search = NOT_NOW, .state = OPEN("id:7", "GH0998") },
        { .before = WAS("id:7"), .search = NEVER, .state = DOUBT("id:7", "GH1091") },
        { .before = WAS("id:7"), .unsearchable = 1, .state = DOUBT("id:7", "GH1091") },
        { .before = WAS_LATE("id:7"), .search = NOTHING_FOUND, .state = DOUBT("id:7", "GH0833") },
        { .before = WAS("serial:1267"), .answer = SAYS(200, "GOOD"), .unsearchable = 1,
          .state = ISSUED },
        { .before = WAS("serial:1267"), .answer = SAYS(200, "GOOD:revoked"), .unsearchable = 1,
          .state = DOUBT("serial:1267", "GH0835") },
        { .before = WAS("serial:1267"), .answer = SAYS(404, ERROR), .unsearchable = 1,
          .state = GH_ENROLMENT_SUBMITTED, 1, "serial:1267", NULL },
        { .before = WAS("serial:1267"), .answer = SAYS(404, ERROR), .search = GOOD_FOUND,
          .state = ISSUED },
        { .before = WAS("serial:1267"), .answer = SAYS(404, ERROR), .search = NEVER,
          .state = GH_ENROLMENT_SUBMITTED, 1, "serial:1267", NULL },
        { .before = WAS("serial:1267"), .answer = SAYS(501, ERROR), .unsearchable = 1,
          .state = DOUBT("serial:1267", "GH1091") },
        { .before = WAS_LATE("serial:1267"), .answer = SAYS(404, ERROR), .unsearchable = 1,
          .state = DOUBT("serial:1267", "GH0833") },
        { .before = { .late = 1 }, .state = REJECTED }
    };

    CHECK_ALL(cases, state);
}

/* What is of no use to anybody is revoked; what is somebody else's is not. */
static void test_withdrawn(void **state)
{
    const char *id = submit("withdrawn");
    gh_job_record_t *job;

    play.answers[0] = (ca_answer_t) SAYS(200, "WRONG");
    ca_carry_out(id);
    assert_int_equal(jobs_of("slow")->nelts, 2);
    job = APR_ARRAY_IDX(jobs_of("slow"), 0, gh_job_record_t *);
    assert_string_equal(job->kind, GH_REMOTE_REVOKE);
    assert_string_equal(job->subject, "1268");
    assert_int_equal(play.distrusted, 1);
    id = submit("not withdrawn");
    play.calls = 0;
    play.answers[0] = (ca_answer_t) SAYS(200, "OTHER KEY");
    play.search = NOTHING_FOUND;
    ca_carry_out(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_IN_DOUBT);
    assert_int_equal(jobs_of("slow")->nelts, 3);
}

/* A device that uses its key again: the certificate of the enrolment before is not taken for this
 * one's, neither as an answer nor when it is found. */
static void test_another_enrolments_certificate(void **state)
{
    const char *first = submit("first"), *id = submit("second");

    play.answers[0] = (ca_answer_t) SAYS(200, "GOOD");
    ca_carry_out(first);
    assert_int_equal(row_of(first)->state, GH_ENROLMENT_ISSUED);
    play.answers[1] = (ca_answer_t) { 0 };
    play.search = GOOD_FOUND;
    play.issuer.lag = HOUR;
    ca_carry_out(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_RETRY);
    assert_true(job_of(id)->sent != 0);
    play.issuer.lag = 0;
    ca_carry_out(id);
    assert_true(job_of(id)->sent == 0);
    play.answers[2] = (ca_answer_t) SAYS(200, "GOOD");
    ca_carry_out(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_IN_DOUBT);
    assert_string_equal(job_of(id)->number, "GH0779");
    assert_int_equal(number_of("SELECT count(*) FROM job WHERE kind = 'revoke'"), 0);
    id = submit("third");
    play.answers[3] = (ca_answer_t) SAYS(200, "ANOTHER");
    ca_carry_out(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_ISSUED);
}

/* The call after one that did nothing is a new one: what was known of that is forgotten, also by
 * whoever finds it after a crash. */
static void test_second_call_is_a_new_one(void **state)
{
    const char *id = submit("again");

    play.answers[0] = (ca_answer_t) SAYS(503, ERROR);
    play.search = NOTHING_FOUND;
    play.issuer.timeout = HOUR;
    ca_carry_out(id);
    assert_true(job_of(id)->sent == 0);
    assert_null(job_of(id)->reference);
    take_submission(id, CA_HOLDER);
    ca_begin_call(id);
    /* the worker dies; the next one takes it up */
    ca_carry_out(id);
    assert_true(job_of(id)->sent != 0);
    assert_int_equal(play.calls, 1);
}

static void set(const char *reference, int sent)
{
    before_t before = { .reference = reference, .sent = sent };

    assert_success(gh_store_write(world.store, set_work, &before, &world.result));
}

/* While the gateway is left alone it is not asked either what has become of a call; when it is,
 * that counts for whether it answers. */
static void test_left_alone(void **state)
{
    const char *id = submit("alone");

    set(NULL, 60);
    play.paused = 1;
    ca_carry_out(id);
    assert_int_equal(play.searches, 0);
    assert_true(job_of(id)->sent != 0);
    assert_true(job_of(id)->due > apr_time_now() + apr_time_from_sec(70));
    set("serial:1267", 60);
    ca_carry_out(id);
    assert_int_equal(play.calls, 0);
    assert_string_equal(job_of(id)->reference, "serial:1267");
    assert_int_equal(play.notes, 0);
    play.paused = 0;
    play.answers[0] = (ca_answer_t) SAYS(200, "GOOD");
    ca_carry_out(id);
    assert_int_equal(row_of(id)->state, GH_ENROLMENT_ISSUED);
    assert_int_equal(play.notes, 1);
}

/* When a call was made is said by the store's clock; ours is an hour ahead. */
static void test_two_clocks(void **state)
{
    const char *id = submit("clocks");

    play.clock = -apr_time_from_sec(3600);
    play.issuer.timeout = apr_time_from_sec(1800);
    play.search = NOTHING_FOUND;
    set(NULL, 3660);
    ca_carry_out(id);
    assert_int_equal(play.searches, 1);
    assert_true(job_of(id)->sent != 0);
    set(NULL, 3600 + 1860);
    ca_carry_out(id);
    assert_true(job_of(id)->sent == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_lost, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_certificates, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_taken_up, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_withdrawn, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_another_enrolments_certificate, ca_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_second_call_is_a_new_one, ca_setup,
                                        x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_left_alone, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_two_clocks, ca_setup, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
