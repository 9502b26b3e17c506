/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What comes of a change of status that a CA behind a gateway is told of. */

#include "ca_world.h"

#include <apr_strings.h>

#include "issuer/remote.h"
#include "status.h"

#define JOB "0123456789abcdef0123456789abcdef"

#define ACTION(status) "{\"action\":{\"status\":\"" status "\"}}"

typedef enum {
    GONE = 1,
    AGAIN,
    DOUBT
} end_t;

typedef struct {
    const char *kind;
    ca_answer_t answers[CA_CALLS_MAX];
    end_t end;
    const char *number;
    int calls;
    int late;                       /* 1: its deadline has passed */
} case_t;

#define CASE(what, ends, why, times, ...) \
    { .kind = what, .answers = { __VA_ARGS__ }, .end = ends, .number = why, .calls = times }

static apr_status_t insert_work(gh_transaction_t *transaction, void *baton)
{
    const case_t *one = baton;
    gh_job_record_t job = {
        .id = JOB, .kind = one->kind, .queue = "slow", .subject = "0a1b",
        .payload = { (const unsigned char *)"4", 1 }, .created = apr_time_now(),
        .due = apr_time_now(), .deadline = one->late ? 1 : 0
    };

    return gh_job_insert(transaction, &job);
}

static void check(const case_t *one, int position)
{
    gh_job_record_t *job;
    end_t end;

    assert_success(gh_store_write(world.store, insert_work, (void *)one, &world.result));
    memcpy(play.answers, one->answers, sizeof(play.answers));
    ca_carry_out(JOB);
    job = job_of(JOB);
    end = !job ? GONE : job->state == GH_JOB_DOUBT ? DOUBT : AGAIN;
    if (end != one->end || play.calls != one->calls
        || strcmp(job && job->number ? job->number : "", one->number ? one->number : "")) {
        fail_msg("case %d: end %d, %d calls, %s %s", position, end, play.calls,
                 job ? job->number : "", job ? job->message : "");
    }
    assert_int_equal(play.service.actions, 0);
    /* done twice it does the same as once */
    assert_true(end != AGAIN || job->sent == 0);
}

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
        CASE(GH_REMOTE_REVOKE, GONE, NULL, 1, SAYS(200, ACTION("COMPLETED"))),
        CASE(GH_REMOTE_HOLD, GONE, NULL, 1, SAYS(202, ACTION("accepted"))),
        CASE(GH_REMOTE_RELEASE, GONE, NULL, 1, SAYS(200, ACTION("COMPLETED"))),
        CASE(GH_REMOTE_HOLD, DOUBT, "GH0824", 1, SAYS(501, ERROR)),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0826", 1, SAYS(500, ERROR)),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0826", 1, SAYS(503, ERROR)),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0825", 1, SAYS_LATER(503, "")),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0825", 1, SAYS(429, ERROR)),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0827", 1, SAYS(403, ERROR)),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0829", 1, SAYS(200, "{}")),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0826", 1, SAYS(200, "<html>")),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0999", 1, { 0 }),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0999", 1, { .unsent = 1 }),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0999", 1, { .stopped = 1 }),
        { .kind = GH_REMOTE_REVOKE, .end = DOUBT, .number = "GH0999", .calls = 1, .late = 1 }
    };

    CHECK_ALL(cases, state);
}

/* A gateway that says no may mean that it is so already: it is asked */
static void test_it_is_so_already(void **state)
{
    static const case_t cases[] = {
        CASE(GH_REMOTE_REVOKE, GONE, NULL, 2, SAYS(409, ERROR), SAYS(200, "GOOD:revoked")),
        CASE(GH_REMOTE_REVOKE, GONE, NULL, 2, SAYS(200, ACTION("REJECTED")),
              SAYS(200, "GOOD:revoked")),
        CASE(GH_REMOTE_REVOKE, GONE, NULL, 2, SAYS(400, ERROR), SAYS(200, "GOOD:expired")),
        CASE(GH_REMOTE_REVOKE, DOUBT, "GH0822", 2, SAYS(400, ERROR), SAYS(200, "GOOD:normal")),
        CASE(GH_REMOTE_REVOKE, DOUBT, "GH0822", 2, SAYS(400, ERROR), SAYS(200, "GOOD:held")),
        CASE(GH_REMOTE_REVOKE, DOUBT, "GH0822", 2, SAYS(400, ERROR), SAYS(200, "GOOD:quarantined")),
        CASE(GH_REMOTE_REVOKE, DOUBT, "GH0847", 2, SAYS(200, ACTION("REJECTED")),
              SAYS(200, "GOOD")),
        CASE(GH_REMOTE_REVOKE, AGAIN, "GH0822", 2, SAYS(400, ERROR), SAYS(500, ERROR)),
        CASE(GH_REMOTE_REVOKE, DOUBT, "GH0822", 2, SAYS(400, ERROR), SAYS(501, ERROR)),
        CASE(GH_REMOTE_HOLD, GONE, NULL, 2, SAYS(400, ERROR), SAYS(200, "GOOD:Suspended")),
        CASE(GH_REMOTE_HOLD, GONE, NULL, 2, SAYS(400, ERROR), SAYS(200, "GOOD:revoked")),
        CASE(GH_REMOTE_RELEASE, GONE, NULL, 2, SAYS(400, ERROR), SAYS(200, "GOOD:normal")),
        CASE(GH_REMOTE_RELEASE, DOUBT, "GH0822", 2, SAYS(400, ERROR), SAYS(200, "GOOD:revoked"))
    };

    CHECK_ALL(cases, state);
}

/* Gateways take one of two spellings of a serial number */
static void test_spellings(void **state)
{
    static const case_t found =
        CASE(GH_REMOTE_REVOKE, GONE, NULL, 2, SAYS(404, ERROR), SAYS(200, ACTION("COMPLETED")));
    static const case_t neither =
        CASE(GH_REMOTE_REVOKE, DOUBT, "GH0823", 2, SAYS(404, ERROR), SAYS(404, ERROR));

    check(&found, 0);
    assert_string_equal(play.serials[0], "0a1b");
    assert_string_equal(play.serials[1], "A1B");
    x509_test_teardown(state);
    ca_setup(state);
    check(&neither, 1);
}

static apr_status_t without_serial(gh_transaction_t *transaction, void *baton)
{
    gh_job_record_t job = {
        .id = JOB, .kind = GH_REMOTE_REVOKE, .queue = "slow", .subject = "no serial",
        .created = apr_time_now(), .due = apr_time_now()
    };

    return gh_job_insert(transaction, &job);
}

static void test_without_serial(void **state)
{
    assert_success(gh_store_write(world.store, without_serial, NULL, &world.result));
    ca_carry_out(JOB);
    assert_int_equal(play.calls, 0);
    assert_int_equal(job_of(JOB)->state, GH_JOB_DOUBT);
    assert_string_equal(job_of(JOB)->number, "GH0848");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_it_is_so_already, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_spellings, ca_setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_without_serial, ca_setup, x509_test_teardown)
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
