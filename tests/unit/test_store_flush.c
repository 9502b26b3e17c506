/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

/*
 * A disk that cannot flush, made by tests/fixtures/failfsync.c: writes stop on the whole machine,
 * nothing that was not flushed is acknowledged, and only a start that flushes lifts the stop. Other
 * processes are this program, run again with the library preloaded.
 */

#define SHIM TEST_BUILDDIR "/tests/fixtures/.libs/failfsync.so"

static void touch(const char *path)
{
    int descriptor = open(path, O_WRONLY | O_CREAT, 0600);

    assert_true(descriptor >= 0);
    close(descriptor);
}

/** Runs this program with the library preloaded. */
static pid_t run_failing(store_test_t *test, const char *command, const char *mode,
                         const char *suffix, int *output)
{
    const char *trigger = apr_pstrcat(test->p, test->folder, "/trigger", NULL);
    char *const arguments[] = {
        (char *)"test_store", (char *)command, (char *)test->uri, (char *)trigger, (char *)mode,
        NULL
    };
    char *const environment[] = {
        (char *)"LD_PRELOAD=" SHIM, (char *)"ASAN_OPTIONS=verify_asan_link_order=0",
        apr_pstrcat(test->p, "FAILFSYNC_TRIGGER=", trigger, NULL),
        apr_pstrcat(test->p, "FAILFSYNC_SUFFIX=", suffix, NULL), NULL
    };

    return run_self(arguments, environment, output);
}

typedef struct {
    gh_store_t *store;
    pthread_t id;
    apr_status_t status;
    gh_result_t result;
    apr_size_t size;                /* of the request that is stored */
    char enrolment[33];
} attempt_t;

static void *attempt_main(void *data)
{
    attempt_t *attempt = data;
    gh_enrolment_record_t *record;
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    record = enrolment_of(0, p);
    record->key = bytes_of(record->id);
    if (attempt->size > 0) {
        record->request.data = memset(apr_palloc(p, attempt->size), 1, attempt->size);
        record->request.length = attempt->size;
    }
    strcpy(attempt->enrolment, record->id);
    gh_result_clear(&attempt->result);
    attempt->status = gh_store_write(attempt->store, insert_enrolment, record, &attempt->result);
    apr_pool_destroy(p);
    return NULL;
}

static apr_status_t write_one(attempt_t *attempt)
{
    attempt_main(attempt);
    if (attempt->status == APR_SUCCESS) {
        printf("%s\n", attempt->enrolment);
    }
    return attempt->status;
}

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            return 1; \
        } \
    } while (0)

/* The log cannot be flushed: at the next commit. */
static int fail_commit(gh_store_t *store, const char *trigger)
{
    attempt_t attempts[10] = { { .store = store } };
    apr_int64_t count;
    int i;

    for (i = 0; i < 20; i++) {
        EXPECT(write_one(&attempts[0]) == APR_SUCCESS);
    }
    EXPECT(!gh_store_stopped(store));
    touch(trigger);
    for (i = 0; i < 10; i++) {
        attempts[i].store = store;
        attempts[i].size = 0;
        EXPECT(pthread_create(&attempts[i].id, NULL, attempt_main, &attempts[i]) == 0);
    }
    for (i = 0; i < 10; i++) {
        pthread_join(attempts[i].id, NULL);
        EXPECT(attempts[i].status == GH_ESTOPPED);
        EXPECT(strcmp(attempts[i].result.number, "GH0053") == 0
               || strcmp(attempts[i].result.number, "GH0065") == 0);
        EXPECT(!has_enrolment(store, attempts[i].enrolment));
    }
    EXPECT(gh_store_stopped(store));
    EXPECT(unlink(trigger) == 0);
    EXPECT(write_one(&attempts[0]) == GH_ESTOPPED);
    EXPECT(gh_store_read(store, count_enrolments, &count, NULL) == APR_SUCCESS);
    EXPECT(count == 20);
    return 0;
}

/* The database cannot be flushed: when the log is copied into it, which no caller waits for. */
static int fail_checkpoint(gh_store_t *store, const char *trigger)
{
    attempt_t attempt = { .store = store, .size = 40000 };
    int i;

    touch(trigger);
    for (i = 0; i < 1000 && write_one(&attempt) == APR_SUCCESS; i++) {
        continue;
    }
    EXPECT(attempt.status == GH_ESTOPPED);
    EXPECT(i >= 50 && i < 300);
    EXPECT(gh_store_stopped(store));
    return 0;
}

int child_flush(int argc, char **argv)
{
    apr_pool_t *p;
    gh_store_t *store;
    int status;

    apr_pool_create(&p, NULL);
    store = open_store(argv[2], NULL, p);
    status = strcmp(argv[4], "commit") == 0 ? fail_commit(store, argv[3])
                                            : fail_checkpoint(store, argv[3]);
    fflush(stdout);
    apr_pool_destroy(p);
    return status;
}

int child_prepare(int argc, char **argv)
{
    apr_pool_t *p;
    gh_result_t result;
    apr_status_t rv;

    apr_pool_create(&p, NULL);
    gh_result_clear(&result);
    rv = gh_store_prepare(argv[2], -1, -1, NULL, p, &result);
    printf("%s\n", result.number);
    fflush(stdout);
    apr_pool_destroy(p);
    return rv == APR_SUCCESS ? 0 : 1;
}

/** Checks that all whose ids can be read are there. @return how many */
static int check_acknowledged(gh_store_t *store, const char *lines)
{
    char id[33];
    int count = 0;

    for (; strlen(lines) >= 33; lines += 33, count++) {
        apr_cpystrn(id, lines, sizeof(id));
        if (!has_enrolment(store, id)) {
            fail_msg("%s was acknowledged and is lost", id);
        }
    }
    return count;
}

static const char *read_all(int output, apr_pool_t *p)
{
    const char *text = "";
    char buffer[4096];
    ssize_t length;

    while ((length = read(output, buffer, sizeof(buffer))) > 0) {
        text = apr_pstrcat(p, text, apr_pstrmemdup(p, buffer, length), NULL);
    }
    close(output);
    return text;
}

static void prepare_under_failure(store_test_t *test)
{
    const char *trigger = apr_pstrcat(test->p, test->folder, "/trigger", NULL);
    pid_t child;
    int output;

    touch(trigger);
    child = run_failing(test, "child-prepare", "", "", &output);
    assert_int_equal(wait_for(child), 1);
    assert_string_equal(read_all(output, test->p), "GH0076\n");
    unlink(trigger);
}

static void test_stop(store_test_t *test, const char *mode, const char *suffix, int least)
{
    attempt_t attempt = { .store = test->store };
    const char *acknowledged;
    gh_store_t *fresh;
    int output;
    pid_t child;

    assert_false(gh_store_stopped(test->store));
    child = run_failing(test, "child-flush", mode, suffix, &output);
    acknowledged = read_all(output, test->p);
    assert_int_equal(wait_for(child), 0);

    /* the stop holds for this process, whose own flushes would succeed, and for new ones */
    assert_true(gh_store_stopped(test->store));
    attempt_main(&attempt);
    assert_int_equal(attempt.status, GH_ESTOPPED);
    assert_string_equal(attempt.result.number, "GH0065");
    fresh = open_store(test->uri, NULL, test->p);
    attempt.store = fresh;
    attempt_main(&attempt);
    assert_int_equal(attempt.status, GH_ESTOPPED);
    assert_true(check_acknowledged(test->store, acknowledged) >= least);

    prepare_under_failure(test);
    assert_true(gh_store_stopped(test->store));

    prepare_store(test->uri, test->p);
    assert_false(gh_store_stopped(test->store));
    attempt_main(&attempt);
    assert_int_equal(attempt.status, APR_SUCCESS);
    assert_true(has_enrolment(test->store, attempt.enrolment));
    assert_true(check_acknowledged(test->store, acknowledged) >= least);
}

static void test_commit(void **state)
{
    test_stop(*state, "commit", "-wal", 20);
}

static void test_checkpoint(void **state)
{
    test_stop(*state, "checkpoint", ".db", 50);
}

int run_flush_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit, open_sqlite, close_store),
        cmocka_unit_test_setup_teardown(test_checkpoint, open_sqlite, close_store)
    };

    return cmocka_run_group_tests_name("flush", tests, NULL, NULL);
}
