/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#if defined(__SANITIZE_ADDRESS__)
/* sanitizer/allocator_interface.h, which not every compiler installs */
size_t __sanitizer_get_current_allocated_bytes(void);
#else
#include <malloc.h>
#endif

/* Many threads and processes at a time, killed processes, and memory, on both back ends. */

#define THREADS 50

typedef struct {
    gh_store_t *store;
    const char *id;
    int number;
    apr_status_t status;
} thread_t;

static apr_status_t consume(gh_transaction_t *transaction, void *baton)
{
    thread_t *thread = baton;
    apr_pool_t *p;
    apr_status_t rv;

    apr_pool_create(&p, NULL);
    rv = gh_challenge_consume(transaction, thread->id, apr_itoa(p, thread->number), 100);
    if (rv == APR_SUCCESS) {
        rv = gh_enrolment_insert(transaction, enrolment_of(1000 + thread->number, p));
    }
    apr_pool_destroy(p);
    return rv;
}

static void *consume_main(void *data)
{
    thread_t *thread = data;
    gh_result_t result;

    gh_result_clear(&result);
    thread->status = gh_store_write(thread->store, consume, thread, &result);
    return NULL;
}

static apr_status_t insert_challenge(gh_transaction_t *transaction, void *baton)
{
    return gh_challenge_insert(transaction, baton);
}

static void test_challenge_once(void **state)
{
    store_test_t *test = *state;
    gh_challenge_record_t record = {
        .id = gh_random_id(test->p), .sha256 = digest_of(70, test->p), .set = "", .tenant = "acme",
        .issuer = "devices", .profile = "p", .created = 1, .expires = 200
    };
    pthread_t ids[THREADS];
    thread_t threads[THREADS];
    apr_int64_t before, after;
    int i, won = 0;

    must_write(test->store, insert_challenge, &record);
    must_read(test->store, count_enrolments, &before);
    for (i = 0; i < THREADS; i++) {
        threads[i] = (thread_t){ test->store, record.id, i, -1 };
        pthread_create(&ids[i], NULL, consume_main, &threads[i]);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(ids[i], NULL);
        won += threads[i].status == APR_SUCCESS;
        assert_true(threads[i].status == APR_SUCCESS || threads[i].status == GH_EREFUSED);
    }
    assert_int_equal(won, 1);
    must_read(test->store, count_enrolments, &after);
    assert_int_equal(after, before + 1);
}

/* A writer process: arguments URI, threads, writes per thread (0: until it is killed). */
typedef struct {
    gh_store_t *store;
    int count;
    int failed;
} writer_t;

static void *writer_main(void *data)
{
    writer_t *writer = data;
    apr_pool_t *p;
    gh_enrolment_record_t *record;
    gh_result_t result;
    char line[40];
    int i;

    apr_pool_create(&p, NULL);
    for (i = 0; writer->count == 0 || i < writer->count; i++) {
        apr_pool_clear(p);
        record = enrolment_of(0, p);
        record->key = bytes_of(record->id);
        gh_result_clear(&result);
        if (gh_store_write(writer->store, insert_enrolment, record, &result) != APR_SUCCESS) {
            fprintf(stderr, "%s: %s\n", result.number, result.message);
            writer->failed = 1;
            break;
        }
        apr_snprintf(line, sizeof(line), "%s\n", record->id);
        if (write(1, line, strlen(line)) != (ssize_t)strlen(line)) {
            break;
        }
    }
    apr_pool_destroy(p);
    return NULL;
}

int child_writer(int argc, char **argv)
{
    apr_pool_t *p;
    writer_t writer = { NULL, atoi(argv[4]), 0 };
    pthread_t ids[THREADS];
    int i, threads = atoi(argv[3]);

    apr_pool_create(&p, NULL);
    writer.store = open_store(argv[2], NULL, p);
    for (i = 0; i < threads; i++) {
        pthread_create(&ids[i], NULL, writer_main, &writer);
    }
    for (i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
    }
    apr_pool_destroy(p);
    return writer.failed;
}

static pid_t start_writer(store_test_t *test, const char *threads, const char *count, int *output)
{
    char *const arguments[] = {
        (char *)"test_store", (char *)"child-writer", (char *)test->uri, (char *)threads,
        (char *)count, NULL
    };

    return run_self(arguments, NULL, output);
}

/** Reads all that a writer acknowledged, and looks whether it is there. @return how many */
static int check_acknowledged(store_test_t *test, int output)
{
    FILE *lines = fdopen(output, "r");
    char line[64];
    int count = 0;

    while (fgets(line, sizeof(line), lines) != NULL && strlen(line) == 33) {
        line[32] = '\0';
        if (!has_enrolment(test->store, line)) {
            fail_msg("%s was acknowledged and is lost", line);
        }
        count++;
    }
    fclose(lines);
    return count;
}

static void test_processes(void **state)
{
    store_test_t *test = *state;
    apr_int64_t before, after;
    pid_t children[2];
    int outputs[2], i, count = 0;

    must_read(test->store, count_enrolments, &before);
    for (i = 0; i < 2; i++) {
        children[i] = start_writer(test, "16", "20", &outputs[i]);
    }
    for (i = 0; i < 2; i++) {
        count += check_acknowledged(test, outputs[i]);
        assert_int_equal(wait_for(children[i]), 0);
    }
    assert_int_equal(count, 2 * 16 * 20);
    must_read(test->store, count_enrolments, &after);
    assert_int_equal(after - before, count);
}

static void test_killed_writer(void **state)
{
    store_test_t *test = *state;
    pid_t child;
    int output, round, count = 0;

    for (round = 0; round < 5; round++) {
        struct pollfd acknowledged = { .events = POLLIN };

        child = start_writer(test, "8", "0", &output);
        acknowledged.fd = output;
        assert_int_equal(poll(&acknowledged, 1, 30000), 1);
        usleep(60000 + 17000 * round);
        must_write(test->store, insert_enrolment, enrolment_of(2000 + round, test->p));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(wait_for(child), 1000 + SIGKILL);
        must_write(test->store, insert_enrolment, enrolment_of(3000 + round, test->p));
        count += check_acknowledged(test, output);
    }
    assert_true(count > 50);
}

/* Memory of a walk */

#define REVOKED 40000

static apr_status_t fill_revoked(gh_transaction_t *transaction, void *baton)
{
    int sqlite = transaction->backend == &gh_store_sqlite;
    apr_status_t rv = register_devices(transaction, NULL);

    if (rv == APR_SUCCESS) {
        rv = gh_certificate_insert(transaction, baton);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return transaction->backend->script(
        transaction,
        sqlite ? "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)"
                 " INSERT INTO certificate_status SELECT issuer,"
                 " CAST(printf('serial of %08d', i) AS BLOB), 1, 4, 5, 6, 100, 7, 1, certificate"
                 " FROM n, (SELECT issuer, certificate FROM certificate_status LIMIT 1)"
               : "INSERT INTO certificate_status SELECT issuer,"
                 " convert_to('serial of ' || lpad(CAST(i AS TEXT), 8, '0'), 'UTF8'), 1, 4, 5, 6,"
                 " 100, 7, 1, certificate FROM generate_series(1, 40000) AS i,"
                 " (SELECT issuer, certificate FROM certificate_status LIMIT 1) AS one");
}

typedef struct {
    int count;
    apr_size_t least, most;         /* bytes allocated */
} memory_t;

static apr_size_t bytes_allocated(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return __sanitizer_get_current_allocated_bytes();
#else
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
#endif
}

static apr_status_t see_revoked(const gh_certificate_record_t *record, void *baton)
{
    memory_t *memory = baton;
    apr_size_t bytes;

    if (memory->count++ % 1000 == 10) {
        bytes = bytes_allocated();
        memory->least = memory->least && memory->least < bytes ? memory->least : bytes;
        memory->most = memory->most > bytes ? memory->most : bytes;
    }
    return APR_SUCCESS;
}

static apr_status_t walk(gh_transaction_t *transaction, void *baton)
{
    return gh_certificate_each_revoked(transaction, "devices", 50, see_revoked, baton);
}

static void test_walk_memory(void **state)
{
    store_test_t *test = *state;
    memory_t memory = { 0, 0, 0 };
    apr_size_t before;

    must_write(test->store, fill_revoked, certificate_of(80, test->p));
    before = bytes_allocated();
    must_read(test->store, walk, &memory);
    assert_int_equal(memory.count, REVOKED);
    assert_true(memory.most - memory.least < 300000);
    assert_true(memory.most < before + 1000000);
}

int run_load_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_challenge_once),
        cmocka_unit_test(test_processes),
        cmocka_unit_test(test_killed_writer),
        cmocka_unit_test(test_walk_memory)
    };

    return cmocka_run_group_tests_name("load, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("load, PostgreSQL", tests, open_pgsql, close_store);
}
