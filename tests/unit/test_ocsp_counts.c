/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_general.h>

#include "mod_ocsp/ocsp_counts.h"

#define PROCESSES 4

static int setup(void **state)
{
    return apr_pool_create((apr_pool_t **)state, NULL);
}

static int teardown(void **state)
{
    apr_pool_destroy(*state);
    return 0;
}

static void *shared(void)
{
    void *memory = mmap(NULL, ocsp_counts_size(PROCESSES), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(memory != MAP_FAILED);
    return memory;
}

static void count(ocsp_counts_t *counts, ocsp_status_t ocsp, int status, int times)
{
    ocsp_answer_t answer;

    memset(&answer, 0, sizeof(answer));
    answer.ocsp = ocsp;
    answer.status = status;
    answer.origin = ocsp == OCSP_SUCCESSFUL ? OCSP_SIGNED : OCSP_FROM_NOTHING;
    while (times-- > 0) {
        ocsp_counts_answer(counts, &answer);
    }
}

/** In a process that ends without a word. */
static void count_elsewhere(void *memory, apr_pool_t *p)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        count(ocsp_counts_join(memory, PROCESSES, p), OCSP_SUCCESSFUL, V_OCSP_CERTSTATUS_GOOD, 10);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_sums_only_grow(void **state)
{
    apr_pool_t *p = *state;
    void *memory = shared();
    ocsp_counts_t *counts;
    ocsp_sums_t sums;
    int i;

    /* more processes than there are places */
    for (i = 1; i <= 3 * PROCESSES; ++i) {
        count_elsewhere(memory, p);
        counts = ocsp_counts_join(memory, PROCESSES, p);
        ocsp_counts_sum(counts, &sums);
        assert_int_equal(sums.requests[OCSP_COUNT_GOOD][OCSP_SIGNED], 10 * i);
        apr_pool_clear(p);
    }
    apr_pool_clear(p);
    munmap(memory, ocsp_counts_size(PROCESSES));
}

static void test_kinds(void **state)
{
    apr_pool_t *p = *state;
    void *memory = shared();
    ocsp_counts_t *counts = ocsp_counts_join(memory, PROCESSES, p);
    ocsp_sums_t sums;

    count(counts, OCSP_SUCCESSFUL, V_OCSP_CERTSTATUS_GOOD, 1);
    count(counts, OCSP_SUCCESSFUL, V_OCSP_CERTSTATUS_REVOKED, 2);
    count(counts, OCSP_SUCCESSFUL, V_OCSP_CERTSTATUS_UNKNOWN, 3);
    count(counts, OCSP_MALFORMED_REQUEST, -1, 4);
    count(counts, OCSP_INTERNAL_ERROR, -1, 5);
    count(counts, OCSP_TRY_LATER, -1, 6);
    count(counts, OCSP_SIG_REQUIRED, -1, 7);
    count(counts, OCSP_UNAUTHORIZED, -1, 8);
    ocsp_counts_refused(counts);
    ocsp_counts_signature(counts);
    ocsp_counts_busy(counts);
    ocsp_counts_sum(counts, &sums);
    assert_int_equal(sums.requests[OCSP_COUNT_GOOD][OCSP_SIGNED], 1);
    assert_int_equal(sums.requests[OCSP_COUNT_REVOKED][OCSP_SIGNED], 2);
    assert_int_equal(sums.requests[OCSP_COUNT_UNKNOWN][OCSP_SIGNED], 3);
    assert_int_equal(sums.requests[OCSP_COUNT_MALFORMED][OCSP_FROM_NOTHING], 4);
    assert_int_equal(sums.requests[OCSP_COUNT_INTERNAL_ERROR][OCSP_FROM_NOTHING], 5);
    assert_int_equal(sums.requests[OCSP_COUNT_TRY_LATER][OCSP_FROM_NOTHING], 6);
    assert_int_equal(sums.requests[OCSP_COUNT_SIG_REQUIRED][OCSP_FROM_NOTHING], 7);
    assert_int_equal(sums.requests[OCSP_COUNT_UNAUTHORIZED][OCSP_FROM_NOTHING], 8);
    assert_int_equal(sums.requests[OCSP_COUNT_REFUSED][OCSP_FROM_NOTHING], 1);
    assert_int_equal(sums.signatures, 1);
    assert_int_equal(sums.busy, 1);
    assert_string_equal(ocsp_counts_name(OCSP_COUNT_REFUSED), "refused");
    assert_string_equal(ocsp_counts_origin(OCSP_SIGNED), "signed");
    apr_pool_clear(p);
    munmap(memory, ocsp_counts_size(PROCESSES));
}

/** A server without shared memory, or with too little of it, counts all the same. */
static void test_without_a_place(void **state)
{
    apr_pool_t *p = *state;
    void *memory = shared();
    ocsp_counts_t *counts, *alone = ocsp_counts_join(NULL, 0, p);
    ocsp_sums_t sums;
    int i;

    for (i = 0; i < PROCESSES; ++i) {
        ocsp_counts_join(memory, PROCESSES, p);
    }
    counts = ocsp_counts_join(memory, PROCESSES, p);
    ocsp_counts_busy(counts);
    ocsp_counts_busy(alone);
    ocsp_counts_sum(counts, &sums);
    assert_int_equal(sums.busy, 1);
    ocsp_counts_sum(alone, &sums);
    assert_int_equal(sums.busy, 1);
    apr_pool_clear(p);
    munmap(memory, ocsp_counts_size(PROCESSES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sums_only_grow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_a_place, setup, teardown),
    };

    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
