/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "limiter.h"

#define PROCESSES 2
#define SECOND apr_time_from_sec(1)

static apr_pool_t *pool;
static void *memory;

static int setup(void **state)
{
    (void)state;
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memory = mmap(NULL, gh_limiter_size(PROCESSES), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED || gh_limiter_prepare(memory, PROCESSES) != APR_SUCCESS;
}

static int teardown(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    munmap(memory, gh_limiter_size(PROCESSES));
    apr_terminate();
    return 0;
}

static gh_limiter_t *join(int concurrent, int failures, apr_pool_t *p)
{
    gh_limiter_limits_t limits = { concurrent, failures, 10 * SECOND };

    return gh_limiter_join(memory, PROCESSES, &limits, p);
}

/** Runs a function in another process, which then ends without a word. @return its result */
static int elsewhere(int (*function)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(function());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int enter_here(void)
{
    return gh_limiter_enter(join(2, 0, pool));
}

static void test_counts_all_processes(void **state)
{
    gh_limiter_t *gate = join(2, 0, pool);

    (void)state;
    assert_int_equal(gh_limiter_enter(gate), 1);
    assert_int_equal(elsewhere(enter_here), 1);
    /* that process has ended inside: its place comes back */
    assert_int_equal(gh_limiter_enter(gate), 1);
    assert_int_equal(gh_limiter_enter(gate), 0);
    assert_int_equal(gh_limiter_inside(gate), 2);
    assert_int_equal(elsewhere(enter_here), 0);
    gh_limiter_leave(gate);
    assert_int_equal(elsewhere(enter_here), 1);
    assert_int_equal(gh_limiter_enter(gate), 1);
}

static void test_more_processes_than_places(void **state)
{
    gh_limiter_t *last;
    int i;

    (void)state;
    for (i = 0; i <= PROCESSES; i++) {
        last = join(1, 0, pool);
    }
    assert_int_equal(gh_limiter_enter(last), 1);
    assert_int_equal(gh_limiter_enter(last), 0);
    gh_limiter_leave(last);
    assert_int_equal(gh_limiter_enter(last), 1);
}

static void test_place_is_given_back(void **state)
{
    apr_pool_t *p;
    int i;

    (void)state;
    for (i = 0; i < 3 * PROCESSES; i++) {
        apr_pool_create(&p, pool);
        assert_int_equal(gh_limiter_enter(join(1, 0, p)), 1);
        apr_pool_destroy(p);
    }
}

static void test_without_memory(void **state)
{
    gh_limiter_limits_t limits = { 1, 1, SECOND };
    gh_limiter_t *gate = gh_limiter_join(NULL, 0, &limits, pool);

    (void)state;
    assert_int_equal(gh_limiter_enter(gate), 1);
    assert_int_equal(gh_limiter_enter(gate), 0);
    gh_limiter_note_failure(gate, "192.0.2.1", SECOND);
    assert_int_equal(gh_limiter_blocked(gate, "192.0.2.1", SECOND), 0);
}

static void test_failures(void **state)
{
    gh_limiter_t *gate = join(1, 2, pool);
    apr_time_t now = 1000 * SECOND;

    (void)state;
    gh_limiter_note_failure(gate, "192.0.2.1", now);
    assert_int_equal(gh_limiter_blocked(gate, "192.0.2.1", now), 0);
    gh_limiter_note_failure(gate, "192.0.2.1", now + 4 * SECOND);
    assert_in_range(gh_limiter_blocked(gate, "192.0.2.1", now + 4 * SECOND), 6, 7);
    assert_int_equal(gh_limiter_blocked(gate, "192.0.2.2", now + 4 * SECOND), 0);
    assert_true(gh_limiter_blocked(gate, "192.0.2.1", now + 9 * SECOND) > 0);
    assert_int_equal(gh_limiter_blocked(gate, "192.0.2.1", now + 10 * SECOND), 0);
    /* a clock that was set back blocks nobody */
    assert_int_equal(gh_limiter_blocked(gate, "192.0.2.1", now - SECOND), 0);
    /* a new interval begins with the next failure */
    gh_limiter_note_failure(gate, "192.0.2.1", now + 20 * SECOND);
    assert_int_equal(gh_limiter_blocked(gate, "192.0.2.1", now + 20 * SECOND), 0);
}

static void test_networks(void **state)
{
    gh_limiter_t *gate = join(1, 1, pool);

    (void)state;
    gh_limiter_note_failure(gate, "2001:db8:0:1::1", SECOND);
    assert_true(gh_limiter_blocked(gate, "2001:db8:0:1:ffff::2", SECOND) > 0);
    assert_int_equal(gh_limiter_blocked(gate, "2001:db8:0:2::1", SECOND), 0);
}

/** More clients than are remembered: the newest are. */
static void test_many_clients(void **state)
{
    gh_limiter_t *gate = join(1, 1, pool);
    int i;

    (void)state;
    for (i = 0; i < 20000; i++) {
        const char *client = apr_psprintf(pool, "10.%d.%d.1", i / 256, i % 256);

        gh_limiter_note_failure(gate, client, (apr_time_t)i * 100);
        assert_true(gh_limiter_blocked(gate, client, (apr_time_t)i * 100) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_counts_all_processes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_processes_than_places, setup, teardown),
        cmocka_unit_test_setup_teardown(test_place_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_networks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_clients, setup, teardown)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
