/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Workers as processes, with jobs that only take their time: none is lost, none is done by two at
 * once, limits hold. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <apr_tables.h>

#include "fcgi/framework.h"
#include "status.h"

#define LEASE_MS 1500
#define JOBS 120

static apr_pool_t *pool;
static char folder[] = "/tmp/gatehouse-test-XXXXXX";
static const char *store_uri;
static const char *report;          /* lines "what id pid milliseconds" */

static int setup(void **state)
{
    (void)state;
    apr_pool_create(&pool, NULL);
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    if (!mkdtemp(folder)) {
        return 1;
    }
    store_uri = apr_pstrcat(pool, "sqlite3:", folder, "/store.db", NULL);
    report = apr_pstrcat(pool, folder, "/report", NULL);
    return gh_store_prepare(store_uri, (apr_uid_t)-1, (apr_gid_t)-1, NULL, pool, NULL)
        != APR_SUCCESS;
}

static int teardown(void **state)
{
    static const char *const names[] = { "store.db", "store.db-wal", "store.db-shm", "report" };
    char path[sizeof(folder) + 32];
    size_t i;

    (void)state;
    apr_pool_destroy(pool);
    for (i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
    return 0;
}

/* In the worker */

static void tell(const char *what, const char *id)
{
    char line[128];
    int length = snprintf(line, sizeof(line), "%s %s %ld %ld\n", what, id, (long)getpid(),
                          (long)apr_time_as_msec(apr_time_now()));
    int descriptor = open(report, O_WRONLY | O_APPEND | O_CREAT, 0666);

    if (write(descriptor, line, (size_t)length) != length) {
        abort();
    }
    close(descriptor);
}

typedef struct {
    framework_job_t *job;
    apr_status_t rv;
} work_t;

static apr_status_t remove_work(gh_transaction_t *transaction, void *baton)
{
    work_t *work = baton;

    return gh_job_remove(transaction, framework_job_record(work->job)->id,
                         framework_holder(framework_job_framework(work->job)));
}

static apr_status_t again_work(gh_transaction_t *transaction, void *baton)
{
    work_t *work = baton;

    return gh_job_again(transaction, framework_job_record(work->job)->id,
                        framework_holder(framework_job_framework(work->job)),
                        framework_job_next(work->job, 0), 0, NULL, NULL);
}

static void remove_blocking(void *baton)
{
    work_t *work = baton;

    work->rv = gh_store_write(framework_store(framework_job_framework(work->job)), remove_work,
                              work, NULL);
}

static void again_blocking(void *baton)
{
    work_t *work = baton;

    work->rv = gh_store_write(framework_store(framework_job_framework(work->job)), again_work,
                              work, NULL);
}

static void removed(void *baton)
{
    work_t *work = baton;

    tell(work->rv == APR_SUCCESS ? "end" : "lost", framework_job_record(work->job)->id);
    framework_job_over(work->job);
}

static void later(void *baton)
{
    work_t *work = baton;

    framework_job_over(work->job);
}

static void finish(void *baton)
{
    work_t *work = baton;
    framework_t *framework = framework_job_framework(work->job);

    framework_queue_note(framework_job_queue(work->job), 1, 0);
    framework_blocking(framework, remove_blocking, removed, work);
}

static void go(void *baton)
{
    work_t *work = baton;

    int slow = !strcmp(framework_job_record(work->job)->kind, "slow");

    tell("begin", framework_job_record(work->job)->id);
    framework_at(framework_job_framework(work->job),
                 apr_time_now() + apr_time_from_msec(slow ? 2 * LEASE_MS : 60), finish, work);
}

static work_t *work_on(framework_job_t *job)
{
    work_t *work = apr_pcalloc(framework_job_pool(job), sizeof(*work));

    work->job = job;
    return work;
}

static void handle(void *baton, framework_job_t *job)
{
    framework_job_begin_call(job, go, work_on(job));
}

static void give_up(void *baton)
{
    work_t *work = baton;

    tell("fail", framework_job_record(work->job)->id);
    framework_queue_note(framework_job_queue(work->job), 0, 0);
    framework_blocking(framework_job_framework(work->job), again_blocking, later, work);
}

static void handle_failing(void *baton, framework_job_t *job)
{
    framework_job_begin_call(job, give_up, work_on(job));
}

/* As when the store has not said what it has done: who was at a job knows nothing of it any more,
 * and it is held in his name. */
static void handle_forgotten(void *baton, framework_job_t *job)
{
    static int times;

    if (times++ == 0) {
        tell("forget", framework_job_record(job)->id);
        framework_job_over(job);
    }
    else {
        framework_job_begin_call(job, go, work_on(job));
    }
}

static int configure(const char *text)
{
    FILE *file = tmpfile();
    int descriptor;

    fputs(text, file);
    fflush(file);
    descriptor = dup2(fileno(file), GH_WORKER_DESCRIPTOR);
    return descriptor == GH_WORKER_DESCRIPTOR;
}

static void run_worker(pid_t parent, const framework_limits_t *limits)
{
    framework_t *framework;
    framework_queue_t *queue;
    gh_worker_t *worker;
    gh_result_t result;
    apr_pool_t *p;
    char text[1024];
    apr_status_t rv;

    apr_pool_create(&p, NULL);
    gh_result_clear(&result);
    snprintf(text, sizeof(text), "{\"worker\":\"test\",\"user\":\"\",\"uid\":%ld,\"gid\":%ld,"
             "\"parent\":%ld,\"level\":4,\"syslog\":false,\"configuration\":{\"store\":\"%s\","
             "\"node\":\"n\",\"lease\":%d,\"poll\":200000}}", (long)geteuid(), (long)getegid(),
             (long)parent, store_uri, LEASE_MS * 1000);
    close(STDIN_FILENO);
    if (open("/dev/null", O_RDONLY) != STDIN_FILENO) {
        _exit(1);
    }
    rv = configure(text) ? gh_worker_start(&worker, FRAMEWORK_PATIENCE, p, &result) : APR_EGENERAL;
    if (rv == APR_SUCCESS) {
        rv = framework_create(&framework, worker, p, &result);
    }
    if (rv == APR_SUCCESS) {
        rv = framework_add_queue(&queue, framework, "q", limits, &result);
    }
    if (rv == APR_SUCCESS) {
        framework_handle(queue, "work", handle, NULL);
        framework_handle(queue, "slow", handle, NULL);
        framework_handle(queue, "failing", handle_failing, NULL);
        framework_handle(queue, "forgotten", handle_forgotten, NULL);
        rv = framework_run(framework, &result);
    }
    if (rv != APR_SUCCESS) {
        fprintf(stderr, "%s: %s\n", result.number, result.message);
    }
    _exit(rv == APR_SUCCESS ? 0 : 1);
}

/* Around it */

static pid_t start_worker(int concurrent, double rate)
{
    framework_limits_t limits = {
        .concurrent = concurrent, .rate = rate, .burst = 1, .breaker_failures = 3,
        .breaker_pause = apr_time_from_sec(1), .backoff = apr_time_from_msec(100),
        .backoff_max = apr_time_from_msec(100)
    };
    pid_t parent = getpid(), pid = fork();

    if (pid == 0) {
        run_worker(parent, &limits);
    }
    assert_true(pid > 0);
    return pid;
}

static void stop_worker(pid_t pid, int number)
{
    int status;

    kill(pid, number);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (number == SIGTERM) {
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

typedef struct {
    const char *kind;
    int first;                      /* number of it */
    int count;
    apr_int64_t open;
    apr_int64_t held;
} jobs_t;

static apr_status_t insert_jobs(gh_transaction_t *transaction, void *baton)
{
    const jobs_t *jobs = baton;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < jobs->count; ++i) {
        gh_job_record_t record = {
            .kind = jobs->kind, .queue = "q", .created = apr_time_now(), .due = apr_time_now()
        };

        record.id = apr_psprintf(pool, "job%029d", jobs->first + i);
        record.subject = record.id;
        record.payload.data = (const unsigned char *)"";
        rv = gh_job_insert(transaction, &record);
    }
    return rv;
}

static apr_status_t count_jobs(gh_transaction_t *transaction, void *baton)
{
    jobs_t *jobs = baton;
    apr_array_header_t *records;
    apr_status_t rv = gh_job_list(transaction, "q", 0, &records, pool);
    int i;

    jobs->open = jobs->held = 0;
    for (i = 0; rv == APR_SUCCESS && i < records->nelts; ++i) {
        ++jobs->open;
        jobs->held += APR_ARRAY_IDX(records, i, gh_job_record_t *)->holder != NULL;
    }
    return rv;
}

/* A store is never carried over a fork. */
static void with_store(gh_store_work_fn *work, jobs_t *jobs, int writing)
{
    gh_store_t *store;
    apr_pool_t *p;

    apr_pool_create(&p, pool);
    assert_int_equal(gh_store_open(&store, store_uri, NULL, p, NULL), APR_SUCCESS);
    assert_int_equal(writing ? gh_store_write(store, work, jobs, NULL)
                             : gh_store_read(store, work, jobs, NULL), APR_SUCCESS);
    apr_pool_destroy(p);
}

static void insert(const char *kind, int count)
{
    jobs_t jobs = { .kind = kind, .count = count };

    with_store(insert_jobs, &jobs, 1);
}

static jobs_t look(void)
{
    jobs_t jobs = { .kind = NULL };

    with_store(count_jobs, &jobs, 0);
    return jobs;
}

static void wait_until_done(int seconds)
{
    apr_time_t end = apr_time_now() + apr_time_from_sec(seconds);

    while (look().open) {
        assert_true(apr_time_now() < end);
        apr_sleep(apr_time_from_msec(50));
    }
}

typedef struct {
    char what[8];
    int job;
    long pid;
    long when;
} line_t;

static apr_array_header_t *read_report(void)
{
    apr_array_header_t *lines = apr_array_make(pool, 64, sizeof(line_t));
    FILE *file = fopen(report, "r");
    line_t line;

    while (file && fscanf(file, "%7s job%d %ld %ld", line.what, &line.job, &line.pid, &line.when)
           == 4) {
        APR_ARRAY_PUSH(lines, line_t) = line;
    }
    if (file) {
        fclose(file);
    }
    return lines;
}

/** @return how many lines say so of a job; -1: of any */
static int said(const apr_array_header_t *lines, const char *what, int job)
{
    int count = 0, i;

    for (i = 0; i < lines->nelts; ++i) {
        const line_t *line = &APR_ARRAY_IDX(lines, i, line_t);

        count += !strcmp(line->what, what) && (job < 0 || line->job == job);
    }
    return count;
}

static void test_two_workers_share(void **state)
{
    const apr_array_header_t *lines;
    pid_t one, other;
    int i, by_one = 0;

    (void)state;
    insert("work", JOBS);
    one = start_worker(4, 0);
    other = start_worker(4, 0);
    wait_until_done(30);
    stop_worker(one, SIGTERM);
    stop_worker(other, SIGTERM);
    lines = read_report();
    for (i = 0; i < JOBS; ++i) {
        assert_int_equal(said(lines, "begin", i), 1);
        assert_int_equal(said(lines, "end", i), 1);
    }
    for (i = 0; i < lines->nelts; ++i) {
        by_one += APR_ARRAY_IDX(lines, i, line_t).pid == (long)one;
    }
    assert_true(by_one > 0 && by_one < lines->nelts);
}

/* What a worker that is killed was at is taken up by another once its time is over, not before. */
static void test_killed_worker_loses_nothing(void **state)
{
    const apr_array_header_t *lines;
    pid_t one, other;
    int i, twice = 0;
    long killed;

    (void)state;
    insert("work", JOBS);
    one = start_worker(8, 0);
    while (said(read_report(), "begin", -1) < 20) {
        apr_sleep(apr_time_from_msec(5));
    }
    stop_worker(one, SIGKILL);
    killed = (long)apr_time_as_msec(apr_time_now());
    other = start_worker(8, 0);
    wait_until_done(30);
    stop_worker(other, SIGTERM);
    lines = read_report();
    for (i = 0; i < JOBS; ++i) {
        assert_int_equal(said(lines, "end", i), 1);
        assert_int_equal(said(lines, "lost", i), 0);
    }
    for (i = 0; i < lines->nelts; ++i) {
        const line_t *line = &APR_ARRAY_IDX(lines, i, line_t);

        if (!strcmp(line->what, "begin") && line->pid == (long)other
            && said(lines, "begin", line->job) == 2) {
            ++twice;
            assert_true(line->when > killed + LEASE_MS / 2);
        }
    }
    assert_true(twice > 0 && twice <= 8);
}

/* A lease is extended as long as its holder lives. */
static void test_long_job_stays_with_its_worker(void **state)
{
    const apr_array_header_t *lines;
    pid_t one, other;
    int i;

    (void)state;
    insert("slow", 4);
    one = start_worker(4, 0);
    while (said(read_report(), "begin", -1) < 4) {
        apr_sleep(apr_time_from_msec(5));
    }
    other = start_worker(4, 0);
    wait_until_done(10);
    stop_worker(one, SIGTERM);
    stop_worker(other, SIGTERM);
    lines = read_report();
    for (i = 0; i < 4; ++i) {
        assert_int_equal(said(lines, "begin", i), 1);
        assert_int_equal(said(lines, "end", i), 1);
    }
}

/* A worker that is never idle does not keep what it does not know that it has. */
static void test_forgotten_job_comes_free(void **state)
{
    static const int slow = 4;
    jobs_t others = { .kind = "slow", .first = 1, .count = slow };
    const apr_array_header_t *lines;
    pid_t one;
    int i;

    (void)state;
    insert("forgotten", 1);
    with_store(insert_jobs, &others, 1);
    one = start_worker(2, 0);
    wait_until_done(60);
    stop_worker(one, SIGTERM);
    lines = read_report();
    assert_int_equal(said(lines, "forget", 0), 1);
    assert_int_equal(said(lines, "end", -1), slow + 1);
    for (i = 0; strcmp(APR_ARRAY_IDX(lines, i, line_t).what, "end")
         || APR_ARRAY_IDX(lines, i, line_t).job; ++i) {
    }
    assert_true(i < lines->nelts - 1);
}

/* What it is at is finished, what has not begun is left free. */
static void test_end_in_time(void **state)
{
    const apr_array_header_t *lines;
    apr_time_t asked;
    jobs_t jobs;
    pid_t one;

    (void)state;
    insert("work", JOBS);
    one = start_worker(8, 0);
    while (said(read_report(), "begin", -1) < 20) {
        apr_sleep(apr_time_from_msec(5));
    }
    asked = apr_time_now();
    stop_worker(one, SIGTERM);
    assert_true(apr_time_now() - asked < apr_time_from_sec(2));
    jobs = look();
    assert_int_equal(jobs.held, 0);
    lines = read_report();
    assert_int_equal(said(lines, "begin", -1), said(lines, "end", -1));
    assert_int_equal(jobs.open, JOBS - said(lines, "end", -1));
    assert_true(jobs.open > 0);
}

static void test_places(void **state)
{
    const apr_array_header_t *lines;
    int i, running = 0, most = 0;
    pid_t one;

    (void)state;
    insert("work", 30);
    one = start_worker(3, 0);
    wait_until_done(20);
    stop_worker(one, SIGTERM);
    lines = read_report();
    for (i = 0; i < lines->nelts; ++i) {
        running += strcmp(APR_ARRAY_IDX(lines, i, line_t).what, "begin") ? -1 : 1;
        most = running > most ? running : most;
    }
    assert_int_equal(most, 3);
}

static void test_rate(void **state)
{
    const apr_array_header_t *lines;
    const line_t *first, *last;
    pid_t one;

    (void)state;
    insert("work", 21);
    one = start_worker(50, 20);
    wait_until_done(20);
    stop_worker(one, SIGTERM);
    lines = read_report();
    first = &APR_ARRAY_IDX(lines, 0, line_t);
    last = &APR_ARRAY_IDX(lines, lines->nelts - 1, line_t);
    assert_in_range(last->when - first->when, 1000, 2500);
}

/* Three failures, then nothing for a second, then one, then nothing for two. */
static void test_breaker(void **state)
{
    const apr_array_header_t *lines;
    pid_t one;
    int failures;

    (void)state;
    insert("failing", 1);
    one = start_worker(1, 0);
    apr_sleep(apr_time_from_msec(2600));
    stop_worker(one, SIGTERM);
    lines = read_report();
    failures = said(lines, "fail", -1);
    assert_in_range(failures, 3, 5);
    assert_int_equal(look().held, 0);
    assert_int_equal(look().open, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_workers_share, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_worker_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_job_stays_with_its_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forgotten_job_comes_free, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_breaker, setup, teardown),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
