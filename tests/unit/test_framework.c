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

static void empty_folder(const char *path)
{
    apr_dir_t *open_folder;
    apr_finfo_t entry;

    assert_int_equal(apr_dir_open(&open_folder, path, pool), APR_SUCCESS);
    while (apr_dir_read(&entry, APR_FINFO_NAME, open_folder) == APR_SUCCESS) {
        if (entry.name[0] != '.') {
            /* each has left its own as it ended, and the dead one's was taken */
            fail_msg("%s is left", entry.name);
        }
    }
    apr_dir_close(open_folder);
    rmdir(path);
}

/* Where workers know of each other, nobody waits until the time of one is over that is dead. What
 * one holds that lives is left alone. */
static void test_dead_worker_of_this_node(void **state)
{
    const char *path = apr_pstrcat(pool, folder, "/holders", NULL);
    const apr_array_header_t *lines;
    pid_t one, other;
    int i;

    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    known = apr_pstrcat(pool, "\"folder\":\"", path, "\",", NULL);
    lease_ms = 600000;
    insert("slow", 4);
    one = start_worker(4, 0);
    while (said(read_report(), "begin", -1) < 4) {
        apr_sleep(apr_time_from_msec(5));
    }
    other = start_worker(4, 0);
    apr_sleep(apr_time_from_msec(1200));
    lines = read_report();
    assert_int_equal(said(lines, "begin", -1), 4);
    stop_worker(one, SIGKILL);
    wait_until_done(60);
    stop_worker(other, SIGTERM);
    lines = read_report();
    for (i = 0; i < 4; ++i) {
        assert_int_equal(said(lines, "begin", i), 2);
        assert_int_equal(said(lines, "end", i), 1);
    }
    empty_folder(path);
    known = "";
    lease_ms = LEASE_MS;
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
    const apr_array_header_t *lines;
    pid_t one;
    int i;

    (void)state;
    insert("forgotten", 1);
    insert_from("slow", 1, slow);
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

/* What comes late of a job does not end the one that has followed it under the same id, and that
 * one is worked on at once. */
static void test_successor(void **state)
{
    const apr_array_header_t *lines;
    pid_t one;
    int i;

    (void)state;
    lease_ms = 600000;
    insert("replaced", 4);
    one = start_worker(8, 0);
    wait_until_done(30);
    stop_worker(one, SIGTERM);
    lease_ms = LEASE_MS;
    lines = read_report();
    for (i = 0; i < 4; ++i) {
        assert_int_equal(said(lines, "late", i), 1);
        assert_int_equal(said(lines, "begin", i), 1);
        assert_int_equal(said(lines, "end", i), 1);
    }
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
        cmocka_unit_test_setup_teardown(test_two_workers_share, framework_setup,
                                        framework_teardown),
        cmocka_unit_test_setup_teardown(test_killed_worker_loses_nothing, framework_setup,
                                        framework_teardown),
        cmocka_unit_test_setup_teardown(test_dead_worker_of_this_node, framework_setup,
                                        framework_teardown),
        cmocka_unit_test_setup_teardown(test_long_job_stays_with_its_worker, framework_setup,
                                        framework_teardown),
        cmocka_unit_test_setup_teardown(test_forgotten_job_comes_free, framework_setup,
                                        framework_teardown),
        cmocka_unit_test_setup_teardown(test_end_in_time, framework_setup,
                                        framework_teardown),
        cmocka_unit_test_setup_teardown(test_places, framework_setup,
                                        framework_teardown),
        cmocka_unit_test_setup_teardown(test_rate, framework_setup,
                                        framework_teardown),
        cmocka_unit_test_setup_teardown(test_successor, framework_setup, framework_teardown),
        cmocka_unit_test_setup_teardown(test_breaker, framework_setup,
                                        framework_teardown),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
