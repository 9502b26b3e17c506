/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

/* What only SQLite has: the writer's queue, the gate, files. */

typedef struct {
    gh_store_t *store;
    gh_store_work_fn *work;
    void *baton;
    apr_status_t status;
    gh_result_t result;
    pthread_t id;
} thread_t;

static void *write_main(void *data)
{
    thread_t *thread = data;

    gh_result_clear(&thread->result);
    thread->status = gh_store_write(thread->store, thread->work, thread->baton, &thread->result);
    return NULL;
}

static void start(thread_t *thread, gh_store_t *store, gh_store_work_fn *work, void *baton)
{
    thread->store = store;
    thread->work = work;
    thread->baton = baton;
    thread->status = -1;
    assert_int_equal(pthread_create(&thread->id, NULL, write_main, thread), 0);
}

static apr_status_t join(thread_t *thread)
{
    pthread_join(thread->id, NULL);
    return thread->status;
}

/** Takes the gate, as another process would. */
static int hold_gate(store_test_t *test)
{
    int gate = open(apr_pstrcat(test->p, test->folder, "/store.db.gate", NULL), O_RDWR);

    assert_true(gate >= 0);
    assert_int_equal(flock(gate, LOCK_EX), 0);
    return gate;
}

static apr_status_t count_run(gh_transaction_t *transaction, void *baton)
{
    ++*(int *)baton;
    return APR_SUCCESS;
}

static void test_deadline_and_queue(void **state)
{
    store_test_t *test = *state;
    gh_store_options_t options = { .queue = 4, .deadline = apr_time_from_msec(300) };
    gh_store_t *store = open_store(test->uri, &options, test->p);
    int gate = hold_gate(test), ran = 0, i;
    apr_time_t begun = gh_monotonic_now();
    thread_t threads[4], late;

    for (i = 0; i < 4; i++) {
        start(&threads[i], store, count_run, &ran);
    }
    usleep(100000);
    start(&late, store, count_run, &ran);
    assert_int_equal(join(&late), GH_EBUSY);
    assert_string_equal(late.result.number, "GH0069");
    assert_true(gh_monotonic_now() - begun < apr_time_from_msec(290));
    for (i = 0; i < 4; i++) {
        assert_int_equal(join(&threads[i]), GH_EBUSY);
        assert_string_equal(threads[i].result.number, "GH0070");
        assert_int_equal(threads[i].result.failure, GH_FAILURE_UNAVAILABLE);
    }
    assert_true(gh_monotonic_now() - begun >= apr_time_from_msec(300));
    close(gate);
    must_write(store, count_run, &ran);
    assert_int_equal(ran, 1);
}

static apr_status_t slow_work(gh_transaction_t *transaction, void *baton)
{
    usleep(400000);
    return gh_setting_put(transaction, "slow", "done");
}

/* Work that has begun is waited for, whatever the deadline says. */
static void test_begun_is_waited_for(void **state)
{
    store_test_t *test = *state;
    gh_store_options_t options = { .deadline = apr_time_from_msec(100) };
    gh_store_t *store = open_store(test->uri, &options, test->p);
    thread_t slow, behind;
    int ran = 0;

    start(&slow, store, slow_work, NULL);
    usleep(50000);
    start(&behind, store, count_run, &ran);
    assert_int_equal(join(&behind), GH_EBUSY);
    assert_int_equal(join(&slow), APR_SUCCESS);
    assert_int_equal(ran, 0);
}

static apr_status_t insert_and_fail(gh_transaction_t *transaction, void *baton)
{
    apr_status_t rv = gh_enrolment_insert(transaction, baton);

    return rv == APR_SUCCESS ? APR_EINTR : rv;
}

/* Queued behind the gate, all run in one transaction. */
static void test_batch(void **state)
{
    store_test_t *test = *state;
    gh_enrolment_record_t *records[30];
    int gate = hold_gate(test), i;
    apr_int64_t before, after;
    thread_t threads[30];

    must_read(test->store, count_enrolments, &before);
    for (i = 0; i < 30; i++) {
        records[i] = enrolment_of(i % 3 == 2 ? i - 1 : i, test->p);
        start(&threads[i], test->store, i % 3 == 0 ? insert_and_fail : insert_enrolment,
              records[i]);
    }
    usleep(50000);
    close(gate);
    for (i = 0; i < 30; i++) {
        apr_status_t rv = join(&threads[i]);

        if (i % 3 == 0) {
            assert_int_equal(rv, APR_EINTR);
        }
        else if (i % 3 == 2) {
            /* of two with one key, either may have come first */
            assert_true((rv == APR_SUCCESS) != (threads[i - 1].status == APR_SUCCESS));
            assert_int_equal(rv == APR_SUCCESS ? threads[i - 1].status : rv, GH_ECONFLICT);
        }
        assert_int_equal(has_enrolment(test->store, records[i]->id), rv == APR_SUCCESS);
    }
    must_read(test->store, count_enrolments, &after);
    assert_int_equal(after, before + 10);
}

/* A program that does not know the gate. */
static void test_locked_by_others(void **state)
{
    store_test_t *test = *state;
    gh_store_options_t options = { .deadline = apr_time_from_msec(200) };
    gh_store_t *store = open_store(test->uri, &options, test->p);
    gh_result_t result;
    apr_int64_t count;
    sqlite3 *other;
    int ran = 0;

    assert_int_equal(sqlite3_open(test->uri + strlen("sqlite3:"), &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(gh_store_write(store, count_run, &ran, &result), GH_EBUSY);
    must_read(store, count_enrolments, &count);
    sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL);
    sqlite3_close(other);
    must_write(store, count_run, &ran);
    assert_int_equal(ran, 1);
}

static apr_status_t wait_in_read(gh_transaction_t *transaction, void *baton)
{
    int *steps = baton;

    __atomic_store_n(&steps[0], 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&steps[1], __ATOMIC_SEQ_CST)) {
        usleep(1000);
    }
    return APR_SUCCESS;
}

static void *read_main(void *data)
{
    thread_t *thread = data;

    thread->status = gh_store_read(thread->store, thread->work, thread->baton, NULL);
    return NULL;
}

static void test_readers_in_use(void **state)
{
    store_test_t *test = *state;
    gh_store_options_t options = { .connections = 1, .deadline = apr_time_from_msec(100) };
    thread_t reader = { .work = wait_in_read };
    int steps[2] = { 0, 0 };
    gh_result_t result;
    apr_int64_t count;

    reader.store = open_store(test->uri, &options, test->p);
    reader.baton = steps;
    pthread_create(&reader.id, NULL, read_main, &reader);
    while (!__atomic_load_n(&steps[0], __ATOMIC_SEQ_CST)) {
        usleep(1000);
    }
    assert_int_equal(gh_store_read(reader.store, count_enrolments, &count, &result), GH_EBUSY);
    assert_string_equal(result.number, "GH0043");
    __atomic_store_n(&steps[1], 1, __ATOMIC_SEQ_CST);
    assert_int_equal(join(&reader), APR_SUCCESS);
    must_read(reader.store, count_enrolments, &count);
}

/** Runs long reads at the same time. @return SQLite's memory while all of them ran */
static apr_int64_t read_at_once(gh_store_t *store, int count)
{
    thread_t readers[5];
    int steps[5][2] = { { 0, 0 } }, i;
    apr_int64_t memory;

    for (i = 0; i < count; i++) {
        readers[i] = (thread_t){ .store = store, .work = wait_in_read, .baton = steps[i] };
        pthread_create(&readers[i].id, NULL, read_main, &readers[i]);
    }
    for (i = 0; i < count; i++) {
        while (!__atomic_load_n(&steps[i][0], __ATOMIC_SEQ_CST)) {
            usleep(1000);
        }
    }
    memory = sqlite3_memory_used();
    for (i = count - 1; i >= 0; i--) {
        __atomic_store_n(&steps[i][1], 1, __ATOMIC_SEQ_CST);
        assert_int_equal(join(&readers[i]), APR_SUCCESS);
    }
    return memory;
}

/* More long reads at a time than there are kept connections: all run, and the connections that were
 * opened for them go with their memory. */
static void test_spare_readers(void **state)
{
    store_test_t *test = *state;
    gh_store_options_t options = { .connections = 5 };
    gh_store_t *store = open_store(test->uri, &options, test->p);
    apr_int64_t few, many, after;

    few = read_at_once(store, 2);
    many = read_at_once(store, 5);
    after = sqlite3_memory_used();
    assert_true(many > few);
    assert_true(after - few < (many - few) / 4);
    assert_true(read_at_once(store, 5) > after);
}

typedef struct {
    store_test_t *test;
    apr_int64_t first, second;
} snapshot_t;

static apr_status_t read_twice(gh_transaction_t *transaction, void *baton)
{
    snapshot_t *snapshot = baton;
    apr_status_t rv = count_enrolments(transaction, &snapshot->first);

    if (rv == APR_SUCCESS) {
        must_write(snapshot->test->store, insert_enrolment, enrolment_of(500, snapshot->test->p));
        rv = count_enrolments(transaction, &snapshot->second);
    }
    return rv;
}

static void test_snapshot(void **state)
{
    snapshot_t snapshot = { *state, 0, 1 };

    must_read(snapshot.test->store, read_twice, &snapshot);
    assert_int_equal(snapshot.first, snapshot.second);
}

/* Closing finishes what is queued. */
static void test_close_finishes(void **state)
{
    store_test_t *test = *state;
    apr_pool_t *p;
    gh_store_t *store;
    thread_t threads[10];
    int gate, i, ran = 0;

    apr_pool_create(&p, NULL);
    store = open_store(test->uri, NULL, p);
    gate = hold_gate(test);
    for (i = 0; i < 10; i++) {
        start(&threads[i], store, count_run, &ran);
    }
    usleep(50000);
    close(gate);
    apr_pool_destroy(p);
    assert_int_equal(ran, 10);
    for (i = 0; i < 10; i++) {
        assert_int_equal(join(&threads[i]), APR_SUCCESS);
    }
}

static void assert_mode(store_test_t *test, const char *suffix, uid_t uid)
{
    struct stat info;

    assert_int_equal(stat(apr_pstrcat(test->p, test->folder, "/store.db", suffix, NULL), &info),
                     0);
    assert_int_equal(info.st_mode & 07777 & ~0640, 0);
    assert_int_equal(info.st_uid, uid);
}

/* As root for another user, else for oneself; an existing file that is too open is closed. */
static void test_files(void **state)
{
    const char *suffixes[] = { "", "-wal", "-shm", ".gate" };
    struct passwd *user = getpwnam("nobody");
    store_test_t test = { 0 };
    gh_result_t result;
    uid_t uid = geteuid() == 0 ? user->pw_uid : geteuid();
    gid_t gid = geteuid() == 0 ? user->pw_gid : getegid();
    mode_t mask = umask(0);
    size_t i;
    int round;

    apr_pool_create(&test.p, NULL);
    test.uri = new_sqlite_uri(&test.folder, test.p);
    if (geteuid() == 0) {
        gh_result_clear(&result);
        assert_int_equal(gh_store_prepare(test.uri, uid, gid, NULL, test.p, &result), EACCES);
        assert_string_equal(result.number, "GH0074");
        assert_non_null(strstr(result.action, "chown"));
        assert_int_equal(chown(test.folder, uid, gid), 0);
    }
    for (round = 0; round < 2; round++) {
        gh_result_clear(&result);
        if (gh_store_prepare(test.uri, uid, gid, NULL, test.p, &result) != APR_SUCCESS) {
            fail_msg("%s %s", result.number, result.message);
        }
        for (i = 0; i < 4; i++) {
            assert_mode(&test, suffixes[i], uid);
        }
        for (i = 0; geteuid() == 0 && i < 4; i++) {
            assert_int_equal(chown(apr_pstrcat(test.p, test.folder, "/store.db", suffixes[i],
                                               NULL), 0, 0), 0);
        }
        assert_int_equal(chmod(test.uri + strlen("sqlite3:"), 0666), 0);
    }
    umask(mask);
    apr_pool_destroy(test.p);
}

static void test_refused_places(void **state)
{
    store_test_t *test = *state;
    const char *folder, *uri = new_sqlite_uri(&folder, test->p);
    gh_result_t result;
    gh_store_t *store;
    FILE *file;

    assert_int_equal(gh_store_prepare("sqlite3:/nowhere/at/all.db", -1, -1, NULL, test->p,
                                      &result), GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH0072");
    assert_non_null(strstr(result.action, "mkdir"));
    assert_int_equal(gh_store_open(&store, uri, NULL, test->p, &result), GH_EUNAVAILABLE);
    assert_int_not_equal(access(uri + strlen("sqlite3:"), F_OK), 0);

    assert_int_equal(symlink("/etc/passwd", uri + strlen("sqlite3:")), 0);
    assert_int_not_equal(gh_store_prepare(uri, -1, -1, NULL, test->p, &result), APR_SUCCESS);
    unlink(uri + strlen("sqlite3:"));
    file = fopen(uri + strlen("sqlite3:"), "w");
    fputs("This is no database at all, but a text that is long enough to be looked at. "
          "This is no database at all, but a text that is long enough to be looked at.", file);
    fclose(file);
    assert_int_equal(gh_store_prepare(uri, -1, -1, NULL, test->p, &result), GH_ECORRUPT);
    assert_string_equal(result.number, "GH0058");
}

/* What gh_store_prepare() would complain of, without making anything. */
static void test_examine(void **state)
{
    struct passwd *user = getpwnam("nobody");
    store_test_t *test = *state;
    const char *folder, *uri = new_sqlite_uri(&folder, test->p);
    const char *path = uri + strlen("sqlite3:");
    uid_t uid = geteuid() == 0 ? user->pw_uid : geteuid();
    gid_t gid = geteuid() == 0 ? user->pw_gid : getegid();
    gh_result_t result;

    assert_int_equal(gh_store_examine("sqlite3:/nowhere/at/all.db", uid, gid, test->p, &result),
                     GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH0072");
    assert_int_equal(gh_store_examine("pgsql:host=pg.invalid", uid, gid, test->p, &result),
                     APR_SUCCESS);

    assert_int_equal(chmod(folder, geteuid() == 0 ? 0755 : 0555), 0);
    assert_int_equal(gh_store_examine(uri, uid, gid, test->p, &result), EACCES);
    assert_string_equal(result.number, "GH0074");
    assert_int_equal(chown(folder, uid, gid), 0);
    assert_int_equal(chmod(folder, 0750), 0);
    assert_int_equal(gh_store_examine(uri, uid, gid, test->p, &result), APR_SUCCESS);
    assert_int_not_equal(access(path, F_OK), 0);

    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(gh_store_examine(uri, uid, gid, test->p, &result), EINVAL);
    unlink(path);
    assert_int_equal(gh_store_prepare(uri, uid, gid, NULL, test->p, &result), APR_SUCCESS);
    assert_int_equal(gh_store_examine(uri, uid, gid, test->p, &result), APR_SUCCESS);
    assert_int_equal(chmod(path, 0440), 0);
    assert_int_equal(gh_store_examine(uri, uid, gid, test->p, &result), EACCES);
    /* root gives it away before it is used */
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(chown(path, geteuid(), getegid()), 0);
    assert_int_equal(gh_store_examine(uri, uid, gid, test->p, &result), APR_SUCCESS);
}

/* Sanitizers have memory of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_MORE (1024 * 1024)
#else
#define MEMORY_MORE 2048
#endif

/* Between 2,000 and 20,000 enrolments a process grows by at most 2 MB. */
static long memory_kilobytes(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[128];
    long value = -1;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Pss: %ld", &value) == 1) {
            break;
        }
    }
    fclose(file);
    return value;
}

static apr_status_t insert_both(gh_transaction_t *transaction, void *baton)
{
    apr_int64_t *number = baton;
    apr_status_t rv;
    apr_pool_t *p;
    gh_certificate_record_t *certificate;
    gh_enrolment_record_t *enrolment;
    static const unsigned char der[1000] = { 0x30 };
    gh_bytes_t bytes = { der, sizeof(der) };

    apr_pool_create(&p, NULL);
    certificate = certificate_of(*number, p);
    certificate->der = bytes;
    enrolment = enrolment_of(*number, p);
    enrolment->request = bytes;
    rv = gh_enrolment_insert(transaction, enrolment);
    if (rv == APR_SUCCESS) {
        rv = gh_certificate_insert(transaction, certificate);
    }
    apr_pool_destroy(p);
    return rv;
}

typedef struct {
    gh_store_t *store;
    apr_int64_t from, to;
    int failed;
    pthread_t id;
} enroller_t;

static void *enrol_main(void *data)
{
    enroller_t *enroller = data;
    apr_int64_t number;

    for (number = enroller->from; number < enroller->to && !enroller->failed; number++) {
        enroller->failed = gh_store_write(enroller->store, insert_both, &number, NULL) != 0;
    }
    return NULL;
}

static void enrol(gh_store_t *store, apr_int64_t from, apr_int64_t to)
{
    enroller_t enrollers[8];
    int i;

    for (i = 0; i < 8; i++) {
        enrollers[i] = (enroller_t){ store, from + (to - from) * i / 8,
                                     from + (to - from) * (i + 1) / 8, 0, 0 };
        pthread_create(&enrollers[i].id, NULL, enrol_main, &enrollers[i]);
    }
    for (i = 0; i < 8; i++) {
        pthread_join(enrollers[i].id, NULL);
        assert_int_equal(enrollers[i].failed, 0);
    }
}

static void test_memory(void **state)
{
    store_test_t *test = *state;
    struct stat info;
    long before, after;

    must_write(test->store, register_devices, NULL);
    enrol(test->store, 10000, 12000);
    before = memory_kilobytes();
    enrol(test->store, 12000, 30000);
    after = memory_kilobytes();
    assert_true(before > 0);
    assert_in_range(after, 1, before + MEMORY_MORE);
    /* the log is copied back all the time */
    assert_int_equal(stat(apr_pstrcat(test->p, test->folder, "/store.db-wal", NULL), &info), 0);
    assert_true(info.st_size < 32 * 1024 * 1024);
}

int run_sqlite_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_deadline_and_queue),
        cmocka_unit_test(test_begun_is_waited_for),
        cmocka_unit_test(test_locked_by_others),
        cmocka_unit_test(test_readers_in_use),
        cmocka_unit_test(test_spare_readers),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_close_finishes),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_refused_places),
        cmocka_unit_test(test_examine),
        cmocka_unit_test(test_memory)
    };

    return cmocka_run_group_tests_name("SQLite", tests, open_sqlite, close_store);
}
