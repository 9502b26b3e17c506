/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Status indexes and their overlays: what is put in comes out, and nothing else ever does. */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_file_io.h>
#include <apr_general.h>
#include <apr_strings.h>

#include "status.h"
#include "status/index.h"
#include "status/overlay.h"
#include "status/view.h"
#include "store/certificates.h"

static apr_pool_t *pool;
static const char *folder;
static gh_result_t result;

static const unsigned char ours[32] = "an authority";
static const unsigned char theirs[32] = "another authority";

static int setup(void **state)
{
    char name[] = "/tmp/gatehouse-status-XXXXXX";

    apr_pool_create(&pool, NULL);
    assert_non_null(mkdtemp(name));
    folder = apr_pstrdup(pool, name);
    gh_result_clear(&result);
    return 0;
}

static int teardown(void **state)
{
    char *remove = apr_pstrcat(pool, "rm -rf ", folder, NULL);

    assert_int_equal(system(remove), 0);
    apr_pool_destroy(pool);
    return 0;
}

static const char *path(const char *name)
{
    return apr_pstrcat(pool, folder, "/", name, NULL);
}

/** A serial number of 1 to 20 bytes that depends on a number only. */
static gh_bytes_t serial_of(unsigned int number)
{
    static _Thread_local unsigned char bytes[4][20];
    static _Thread_local int turn;
    unsigned char *data = bytes[turn++ % 4];
    gh_bytes_t serial = { data, 1 + number % 20 };
    unsigned int i;

    if (serial.length < 5) {
        serial.length = 5;
    }
    for (i = 0; i < serial.length; ++i) {
        data[i] = (unsigned char)(1 + (number >> (8 * (i % 4))) % 255 + i);
    }
    data[0] = (unsigned char)(1 + number % 255);
    data[1] = (unsigned char)(number >> 8);
    data[2] = (unsigned char)(number >> 16);
    return serial;
}

static gh_known_t known_as(gh_known_state_t state, apr_int64_t version)
{
    gh_known_t known;

    memset(&known, 0, sizeof(known));
    known.state = state;
    known.reason = state == GH_KNOWN_GOOD ? GH_REASON_NONE : state == GH_KNOWN_HELD ? 6 : 1;
    known.revoked_at = state == GH_KNOWN_GOOD ? 0 : 1000000 * version;
    known.invalid_from = state == GH_KNOWN_REVOKED ? 5000000 : 0;
    known.version = version;
    return known;
}

static gh_index_builder_t *begin(apr_int64_t generation)
{
    gh_index_builder_t *builder;
    gh_index_info_t info;

    memset(&info, 0, sizeof(info));
    memcpy(info.authority, ours, sizeof(info.authority));
    info.generation = generation;
    info.change = 77;
    info.synced_at = 88;
    info.this_update = 99;
    info.next_update = 111;
    info.expired_on_crl = 222;
    info.complete = 1;
    assert_int_equal(gh_index_begin(&builder, path("a.index"), &info, 10, pool, &result),
                     APR_SUCCESS);
    return builder;
}

static void add(gh_index_builder_t *builder, unsigned int number, gh_known_state_t state,
                apr_int64_t version)
{
    gh_known_t known = known_as(state, version);

    assert_int_equal(gh_index_add(builder, serial_of(number), &known, &result), APR_SUCCESS);
}

static gh_index_t *finish(gh_index_builder_t *builder)
{
    gh_index_t *index = NULL;

    assert_int_equal(gh_index_finish(builder, &result), APR_SUCCESS);
    assert_int_equal(gh_index_open(&index, path("a.index"), ours, 1, pool, &result), APR_SUCCESS);
    return index;
}

static void expect(const gh_index_t *index, unsigned int number, gh_known_state_t state,
                   apr_int64_t version)
{
    gh_known_t known, wanted = known_as(state, version);

    gh_index_find(index, serial_of(number), &known);
    assert_int_equal(known.state, state);
    assert_int_equal(known.version, state == GH_KNOWN_NOT ? 0 : version);
    if (state == GH_KNOWN_REVOKED || state == GH_KNOWN_HELD) {
        assert_int_equal(known.reason, wanted.reason);
        assert_int_equal(known.revoked_at, wanted.revoked_at);
        assert_int_equal(known.invalid_from, wanted.invalid_from);
    }
}

/** Of each hundred serials one is revoked, one held, and one not there. */
static gh_known_state_t state_of(unsigned int number)
{
    return number % 100 == 7 ? GH_KNOWN_REVOKED : number % 100 == 11 ? GH_KNOWN_HELD
           : number % 100 == 13 ? GH_KNOWN_NOT : GH_KNOWN_GOOD;
}

static void test_index(void **state)
{
    static const unsigned int sizes[] = { 0, 1, 2, 9, 1000, 50000 };
    gh_index_t *index;
    unsigned int i, n;

    for (n = 0; n < sizeof(sizes) / sizeof(sizes[0]); ++n) {
        gh_index_builder_t *builder = begin(n + 1);

        for (i = 0; i < sizes[n]; ++i) {
            if (state_of(i) != GH_KNOWN_NOT) {
                add(builder, i, state_of(i), state_of(i) == GH_KNOWN_GOOD ? 0 : i);
            }
        }
        index = finish(builder);
        for (i = 0; i < sizes[n]; ++i) {
            expect(index, i, state_of(i), state_of(i) == GH_KNOWN_GOOD ? 0 : i);
        }
        for (i = sizes[n]; i < sizes[n] + 2000; ++i) {
            expect(index, i, GH_KNOWN_NOT, 0);
        }
        assert_int_equal(gh_index_info(index)->generation, n + 1);
    }
    assert_int_equal(gh_index_info(index)->change, 77);
    assert_int_equal(gh_index_info(index)->synced_at, 88);
    assert_int_equal(gh_index_info(index)->this_update, 99);
    assert_int_equal(gh_index_info(index)->next_update, 111);
    assert_int_equal(gh_index_info(index)->expired_on_crl, 222);
    assert_int_equal(gh_index_info(index)->complete, 1);
    assert_int_equal(gh_index_info(index)->issued, 50000 - 3 * 500);
    assert_int_equal(gh_index_info(index)->revoked, 1000);
}

static void test_serials_that_are_none(void **state)
{
    gh_index_builder_t *builder = begin(1);
    gh_bytes_t empty = { (const unsigned char *)"", 0 };
    gh_bytes_t long_one = { (const unsigned char *)"123456789012345678901", 21 };
    gh_known_t known = known_as(GH_KNOWN_GOOD, 0);

    assert_int_equal(gh_index_add(builder, empty, &known, &result), APR_EINVAL);
    assert_int_equal(gh_index_add(builder, long_one, &known, &result), APR_EINVAL);
    known.state = GH_KNOWN_NOT;
    assert_int_equal(gh_index_add(builder, serial_of(1), &known, &result), APR_EINVAL);
    assert_string_equal(result.number, "GH0557");
    gh_index_find(finish(builder), long_one, &known);
    assert_int_equal(known.state, GH_KNOWN_NOT);
}

static void test_later_counts(void **state)
{
    gh_index_builder_t *builder = begin(1);
    gh_index_t *index;

    add(builder, 1, GH_KNOWN_GOOD, 0);
    add(builder, 1, GH_KNOWN_REVOKED, 5);
    add(builder, 2, GH_KNOWN_HELD, 5);
    add(builder, 2, GH_KNOWN_GOOD, 6);
    add(builder, 3, GH_KNOWN_REVOKED, 6);
    add(builder, 3, GH_KNOWN_GOOD, 0);
    add(builder, 4, GH_KNOWN_HELD, 6);
    add(builder, 4, GH_KNOWN_REVOKED, 5);
    index = finish(builder);
    expect(index, 1, GH_KNOWN_REVOKED, 5);
    expect(index, 2, GH_KNOWN_GOOD, 6);
    expect(index, 3, GH_KNOWN_REVOKED, 6);
    expect(index, 4, GH_KNOWN_HELD, 6);
}

static void test_merging(void **state)
{
    gh_index_builder_t *builder = begin(1);
    gh_index_t *first, *second;
    unsigned int i;

    for (i = 0; i < 5000; ++i) {
        add(builder, i, i % 2 ? GH_KNOWN_HELD : GH_KNOWN_GOOD, i % 2 ? 10 : 0);
    }
    first = finish(builder);
    builder = begin(2);
    assert_int_equal(gh_index_add_index(builder, first, &result), APR_SUCCESS);
    for (i = 0; i < 1000; ++i) {
        add(builder, i, i % 2 ? GH_KNOWN_GOOD : GH_KNOWN_REVOKED, 20);
    }
    for (i = 5000; i < 6000; ++i) {
        add(builder, i, GH_KNOWN_GOOD, 0);
    }
    second = finish(builder);
    for (i = 0; i < 6000; ++i) {
        gh_known_state_t now = i < 1000 ? (i % 2 ? GH_KNOWN_GOOD : GH_KNOWN_REVOKED)
                               : i < 5000 && i % 2 ? GH_KNOWN_HELD : GH_KNOWN_GOOD;

        expect(second, i, now, i < 1000 ? 20 : now == GH_KNOWN_HELD ? 10 : 0);
    }
    /* who has the old one keeps it */
    expect(first, 0, GH_KNOWN_GOOD, 0);
    expect(first, 1, GH_KNOWN_HELD, 10);
}

static void make_file(const char *name)
{
    apr_file_t *file;

    assert_int_equal(apr_file_open(&file, name, APR_FOPEN_WRITE | APR_FOPEN_CREATE,
                                   APR_FPROT_OS_DEFAULT, pool), APR_SUCCESS);
    apr_file_close(file);
}

/** What killed processes have left goes; what a living one writes, or is not ours, stays. */
static void test_leftovers(void **state)
{
    const char *living = apr_psprintf(pool, "%s/a.index.%d.new", folder, (int)getppid());

    make_file(path("a.index.99999999.new"));
    make_file(path("ba.index.99999999.new"));
    make_file(living);
    finish(begin(1));
    assert_int_not_equal(access(path("a.index.99999999.new"), F_OK), 0);
    assert_int_equal(access(path("ba.index.99999999.new"), F_OK), 0);
    assert_int_equal(access(living, F_OK), 0);
}

static char *read_index(apr_size_t *size)
{
    apr_finfo_t info;
    apr_file_t *file;
    char *bytes;

    assert_int_equal(apr_file_open(&file, path("a.index"), APR_FOPEN_READ, 0, pool), APR_SUCCESS);
    assert_int_equal(apr_file_info_get(&info, APR_FINFO_SIZE, file), APR_SUCCESS);
    bytes = apr_palloc(pool, (apr_size_t)info.size);
    *size = (apr_size_t)info.size;
    assert_int_equal(apr_file_read_full(file, bytes, *size, NULL), APR_SUCCESS);
    apr_file_close(file);
    return bytes;
}

static void write_index(const char *bytes, apr_size_t size)
{
    apr_file_t *file;

    assert_int_equal(apr_file_open(&file, path("b.index"), APR_FOPEN_WRITE | APR_FOPEN_CREATE
                                   | APR_FOPEN_TRUNCATE, APR_FPROT_OS_DEFAULT, pool),
                     APR_SUCCESS);
    assert_int_equal(apr_file_write_full(file, bytes, size, NULL), APR_SUCCESS);
    apr_file_close(file);
}

static void never_answers(void)
{
    gh_index_t *index = (gh_index_t *)&result;

    gh_result_clear(&result);
    assert_int_equal(gh_index_open(&index, path("b.index"), ours, 1, pool, &result), GH_ECORRUPT);
    assert_null(index);
    assert_string_equal(result.number, "GH0553");
}

static void test_damaged(void **state)
{
    gh_index_builder_t *builder = begin(1);
    gh_index_t *index;
    apr_size_t size, i;
    char *bytes;

    for (i = 0; i < 40; ++i) {
        add(builder, (unsigned int)i, state_of((unsigned int)i) ? state_of((unsigned int)i)
                                                                : GH_KNOWN_GOOD, (apr_int64_t)i);
    }
    finish(builder);
    bytes = read_index(&size);
    for (i = 0; i < size; ++i) {
        bytes[i] ^= 4;
        write_index(bytes, size);
        never_answers();
        bytes[i] ^= 4;
    }
    for (i = 0; i < size; i += 3) {
        write_index(bytes, i);
        never_answers();
    }
    write_index(apr_pstrcat(pool, apr_pstrmemdup(pool, bytes, size), NULL), size);
    write_index(bytes, size);
    assert_int_equal(gh_index_open(&index, path("b.index"), ours, 1, pool, &result), APR_SUCCESS);
    assert_int_equal(gh_index_open(&index, path("b.index"), theirs, 1, pool, &result),
                     GH_ECORRUPT);
    assert_int_equal(gh_index_open(&index, path("c.index"), ours, 1, pool, &result), APR_ENOENT);
}

/* Overlays */

static gh_overlay_t *open_overlay(apr_int64_t generation)
{
    gh_overlay_t *overlay = NULL;

    if (gh_overlay_open(&overlay, path("a.overlay"), ours, generation, pool, &result)
        != APR_SUCCESS) {
        fail_msg("%s: %s", result.number, result.message);
    }
    return overlay;
}

static void put(gh_overlay_t *overlay, unsigned int number, gh_known_state_t state,
                apr_int64_t version)
{
    gh_known_t known = known_as(state, version);

    assert_int_equal(gh_overlay_put(overlay, serial_of(number), &known, &result), APR_SUCCESS);
}

static void has(const gh_overlay_t *overlay, unsigned int number, gh_known_state_t state,
                apr_int64_t version)
{
    gh_known_t known;

    assert_int_equal(gh_overlay_find(overlay, serial_of(number), &known), 1);
    assert_int_equal(known.state, state);
    assert_int_equal(known.version, version);
}

static void test_overlay(void **state)
{
    gh_overlay_t *overlay = open_overlay(5), *other = open_overlay(5);
    gh_overlay_progress_t progress = { 9, apr_time_now() - 5 }, seen;
    gh_known_t known;

    assert_int_equal(gh_overlay_find(overlay, serial_of(1), &known), 0);
    put(overlay, 1, GH_KNOWN_GOOD, 0);
    has(other, 1, GH_KNOWN_GOOD, 0);
    put(other, 1, GH_KNOWN_HELD, 3);
    has(overlay, 1, GH_KNOWN_HELD, 3);
    put(overlay, 1, GH_KNOWN_GOOD, 2);
    has(overlay, 1, GH_KNOWN_HELD, 3);
    put(overlay, 1, GH_KNOWN_GOOD, 4);
    has(other, 1, GH_KNOWN_GOOD, 4);
    put(overlay, 1, GH_KNOWN_GOOD, 0);
    has(other, 1, GH_KNOWN_GOOD, 4);

    gh_overlay_advance(overlay, &progress);
    gh_overlay_progress(other, &seen);
    assert_int_equal(seen.change, 9);
    assert_int_equal(seen.synced_at, progress.synced_at);
    progress.change = 8;
    progress.synced_at -= 1000;
    gh_overlay_advance(overlay, &progress);
    gh_overlay_progress(other, &seen);
    assert_int_equal(seen.change, 9);
    assert_int_equal(seen.synced_at, progress.synced_at + 1000);
    /* not from the future */
    progress.synced_at = apr_time_now() + apr_time_from_sec(10);
    progress.change = 20;
    gh_overlay_advance(overlay, &progress);
    gh_overlay_progress(other, &seen);
    assert_int_equal(seen.change, 9);

    /* it stays for processes that come later, and not for another generation */
    has(open_overlay(5), 1, GH_KNOWN_GOOD, 4);
    assert_int_equal(gh_overlay_find(open_overlay(6), serial_of(1), &known), 0);
}

static void test_verified(void **state)
{
    gh_index_file_t file = { 1, 2, 3, 4 };
    gh_overlay_t *overlay = open_overlay(5);

    assert_int_equal(gh_overlay_is_verified(overlay, &file), 0);
    gh_overlay_set_verified(overlay, &file);
    assert_int_equal(gh_overlay_is_verified(open_overlay(5), &file), 1);
    ++file.modified;
    assert_int_equal(gh_overlay_is_verified(overlay, &file), 0);
    --file.modified;
    assert_int_equal(gh_overlay_is_verified(open_overlay(6), &file), 0);
}

static void test_damaged_overlay(void **state)
{
    gh_overlay_t *overlay = open_overlay(5);
    unsigned char spoilt[4096];
    gh_known_t known;
    int i;

    put(overlay, 1, GH_KNOWN_REVOKED, 3);
    /* behind the page of the header: numbers that no entry has */
    memset(spoilt, 0xff, sizeof(spoilt));
    for (i = 0; i < 512; ++i) {
        FILE *file = fopen(path("a.overlay"), "r+b");

        assert_non_null(file);
        assert_int_equal(fseek(file, 4096 + i * (long)sizeof(spoilt), SEEK_SET), 0);
        assert_int_equal(fwrite(spoilt, 1, sizeof(spoilt), file), sizeof(spoilt));
        assert_int_equal(fclose(file), 0);
    }
    assert_int_equal(gh_overlay_find(overlay, serial_of(1), &known), -1);
    assert_int_equal(gh_overlay_find(overlay, serial_of(2), &known), -1);
}

static void test_full_overlay(void **state)
{
    gh_overlay_t *overlay = open_overlay(1);
    gh_known_t known = known_as(GH_KNOWN_REVOKED, 1);
    unsigned int i;

    for (i = 0; i < GH_OVERLAY_CAPACITY; ++i) {
        put(overlay, i, GH_KNOWN_REVOKED, i + 1);
    }
    assert_int_equal(gh_overlay_count(overlay), GH_OVERLAY_CAPACITY);
    assert_int_equal(gh_overlay_put(overlay, serial_of(i), &known, &result), GH_EBUSY);
    assert_string_equal(result.number, "GH0559");
    for (i = 0; i < GH_OVERLAY_CAPACITY; i += 97) {
        has(overlay, i, GH_KNOWN_REVOKED, i + 1);
    }
}

#define SERIALS 500

/** Writes what depends on the version only, until it is killed. */
static void write_for_ever(unsigned int seed)
{
    gh_overlay_t *overlay = open_overlay(1);
    unsigned int i;

    for (i = seed;; i += 7) {
        put(overlay, i % SERIALS, i % 3 ? GH_KNOWN_REVOKED : GH_KNOWN_HELD, 3 * (i / 3) + i % 3);
    }
}

static int is_whole(const gh_known_t *known)
{
    gh_known_t wanted = known_as(known->version % 3 ? GH_KNOWN_REVOKED : GH_KNOWN_HELD,
                                 known->version);

    return !memcmp(known, &wanted, sizeof(wanted));
}

static apr_status_t check_whole(void *baton, gh_bytes_t serial, const gh_known_t *known)
{
    assert_true(is_whole(known));
    ++*(int *)baton;
    return APR_SUCCESS;
}

static void test_killed_writers(void **state)
{
    gh_overlay_t *overlay = open_overlay(1);
    apr_time_t end = apr_time_now() + apr_time_from_sec(30);
    int round, seen, found = 0;
    unsigned int i;
    gh_known_t known;

    for (round = 0; round < 60; ++round) {
        pid_t pids[2];

        for (i = 0; i < 2; ++i) {
            pids[i] = fork();
            if (pids[i] == 0) {
                write_for_ever((unsigned int)round * 100 + i);
                _exit(0);
            }
        }
        /* on a busy machine they may begin late */
        for (i = 0; i < 2000 || (!found && apr_time_now() < end); ++i) {
            if (gh_overlay_find(overlay, serial_of(i % SERIALS), &known)) {
                assert_true(is_whole(&known));
                ++found;
            }
        }
        for (i = 0; i < 2; ++i) {
            kill(pids[i], SIGKILL);
            waitpid(pids[i], NULL, 0);
        }
        if (gh_overlay_count(overlay) > GH_OVERLAY_CAPACITY / 2) {
            break;
        }
    }
    assert_true(found > 0);
    /* the mutex is there again, and what was written is what was meant */
    known = known_as(GH_KNOWN_HELD, 3000000000);
    assert_int_equal(gh_overlay_put(overlay, serial_of(1), &known, &result), APR_SUCCESS);
    has(overlay, 1, GH_KNOWN_HELD, 3000000000);
    seen = 0;
    assert_int_equal(gh_overlay_each(overlay, check_whole, &seen), APR_SUCCESS);
    assert_true(seen > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_index, setup, teardown),
        cmocka_unit_test_setup_teardown(test_serials_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_later_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_merging, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leftovers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verified, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_overlay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_overlay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_killed_writers, setup, teardown),
    };

    apr_initialize();
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
