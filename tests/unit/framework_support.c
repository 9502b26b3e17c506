/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_file_info.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <apr_tables.h>

#include "fcgi/framework.h"
#include "status.h"

#include "framework_support.h"

apr_pool_t *pool;
char folder[] = "/tmp/gatehouse-test-XXXXXX";
static const char *store_uri;
const char *known = "";
int lease_ms = LEASE_MS;
static const char *report;          /* lines "what id pid milliseconds" */

int framework_setup(void **state)
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

int framework_teardown(void **state)
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
                         framework_job_holder(work->job));
}

static apr_status_t again_work(gh_transaction_t *transaction, void *baton)
{
    work_t *work = baton;

    return gh_job_again(transaction, framework_job_record(work->job)->id,
                        framework_job_holder(work->job),
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

/* A job that leaves another one under its id, and comes to its own end late. */

static apr_status_t replace_work(gh_transaction_t *transaction, void *baton)
{
    work_t *work = baton;
    gh_job_record_t next = *framework_job_record(work->job);
    apr_status_t rv = remove_work(transaction, baton);

    next.kind = "work";
    return rv == APR_SUCCESS ? gh_job_insert(transaction, &next) : rv;
}

static void replace_blocking(void *baton)
{
    work_t *work = baton;

    work->rv = gh_store_write(framework_store(framework_job_framework(work->job)), replace_work,
                              work, NULL);
}

static void ended_late(void *baton)
{
    work_t *work = baton;

    tell(work->rv == APR_NOTFOUND ? "late" : "lost", framework_job_record(work->job)->id);
    framework_job_over(work->job);
}

static void end_late(void *baton)
{
    work_t *work = baton;

    framework_blocking(framework_job_framework(work->job), remove_blocking, ended_late, work);
}

static void replaced(void *baton)
{
    work_t *work = baton;

    framework_at(framework_job_framework(work->job), apr_time_now() + apr_time_from_msec(700),
                 end_late, work);
}

static void handle_replaced(void *baton, framework_job_t *job)
{
    framework_blocking(framework_job_framework(job), replace_blocking, replaced, work_on(job));
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
             "\"parent\":%ld,\"level\":4,\"syslog\":false,%s\"configuration\":{\"store\":\"%s\","
             "\"node\":\"n\",\"lease\":%d,\"poll\":200000}}", (long)geteuid(), (long)getegid(),
             (long)parent, known, store_uri, lease_ms * 1000);
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
        framework_handle(queue, "replaced", handle_replaced, NULL);
        rv = framework_run(framework, &result);
    }
    if (rv != APR_SUCCESS) {
        fprintf(stderr, "%s: %s\n", result.number, result.message);
    }
    _exit(rv == APR_SUCCESS ? 0 : 1);
}

/* Around it */

pid_t start_worker(int concurrent, double rate)
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

void stop_worker(pid_t pid, int number)
{
    int status;

    kill(pid, number);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (number == SIGTERM) {
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

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

void insert_from(const char *kind, int first, int count)
{
    jobs_t jobs = { .kind = kind, .first = first, .count = count };

    with_store(insert_jobs, &jobs, 1);
}

void insert(const char *kind, int count)
{
    insert_from(kind, 0, count);
}

jobs_t look(void)
{
    jobs_t jobs = { .kind = NULL };

    with_store(count_jobs, &jobs, 0);
    return jobs;
}

void wait_until_done(int seconds)
{
    apr_time_t end = apr_time_now() + apr_time_from_sec(seconds);

    while (look().open) {
        assert_true(apr_time_now() < end);
        apr_sleep(apr_time_from_msec(50));
    }
}

apr_array_header_t *read_report(void)
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

int said(const apr_array_header_t *lines, const char *what, int job)
{
    int count = 0, i;

    for (i = 0; i < lines->nelts; ++i) {
        const line_t *line = &APR_ARRAY_IDX(lines, i, line_t);

        count += !strcmp(line->what, what) && (job < 0 || line->job == job);
    }
    return count;
}
