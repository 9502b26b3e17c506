/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "status_support.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

/* Views: what processes know of the certificates of an issuer, while it changes. */

static const unsigned char ours[32] = "an authority";

/** One that was held before: its version tells it from one that never was. */
#define RELEASED 201

static const char *folder_of_test(store_test_t *test)
{
    return new_folder(test->p);
}

static gh_view_t *view_of(store_test_t *test, const char *folder)
{
    return gh_view_create(folder, "devices", ours, GH_SOURCE_STORE, "devices", test->p);
}

static void build(store_test_t *test, const char *folder, int whole)
{
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_view_build_from_store(folder, "devices", ours, test->store, "devices", whole, test->p,
                                 &result) != APR_SUCCESS) {
        fail_msg("build: %s %s", result.number, result.message);
    }
}

/** An index that follows another one is used some time after it is there. */
static void let_instant_pass(void)
{
    apr_sleep(apr_time_from_msec(550));
}

static void follow(store_test_t *test, gh_view_t *view)
{
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_view_follow(view, test->store, test->p, &result) != APR_SUCCESS) {
        fail_msg("follow: %s %s", result.number, result.message);
    }
}

static void knows(store_test_t *test, gh_view_t *view, apr_int64_t number,
                  gh_known_state_t wanted)
{
    gh_known_t known;

    gh_view_find(view, certificate_of(number, test->p)->serial, &known, NULL);
    if (known.state != wanted) {
        fail_msg("%d is known as %d, not as %d", (int)number, known.state, wanted);
    }
    if (number == RELEASED) {
        assert_true(known.version > 0);
    }
    if (wanted == GH_KNOWN_REVOKED || wanted == GH_KNOWN_HELD) {
        assert_int_equal(known.revoked_at, REVOKED_AT);
        assert_int_equal(known.reason, wanted == GH_KNOWN_HELD ? 6 : 1);
        assert_true(known.version > 0);
    }
}

static gh_view_state_t state_of(gh_view_t *view)
{
    gh_view_state_t state;

    gh_view_state(view, &state);
    return state;
}

static int setup_issuers(void **state)
{
    store_test_t *test = *state;

    must_write(test->store, register_devices, NULL);
    must_write(test->store, register_others, NULL);
    return 0;
}

static void test_nothing_yet(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = view_of(test, folder);
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_view_follow(view, test->store, test->p, &result), APR_ENOENT);
    assert_string_equal(result.number, "GH0561");
    assert_int_equal(state_of(view).there, 0);
    knows(test, view, 1, GH_KNOWN_NOT);
    build(test, folder, 0);
    follow(test, view);
    assert_int_equal(state_of(view).there, 1);
    assert_int_equal(state_of(view).info.complete, 1);
    knows(test, view, 1, GH_KNOWN_NOT);
}

static void test_changes(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = view_of(test, folder), *other = view_of(test, folder);
    gh_result_t result;

    issue(test, "devices", 100, 50);
    set_status(test, 100, GH_STATUS_REVOKED, 1);
    set_status(test, 101, GH_STATUS_HELD, 6);
    build(test, folder, 1);
    follow(test, view);
    follow(test, other);
    knows(test, view, 100, GH_KNOWN_REVOKED);
    knows(test, view, 101, GH_KNOWN_HELD);
    knows(test, view, 102, GH_KNOWN_GOOD);
    knows(test, view, 150, GH_KNOWN_NOT);

    issue(test, "devices", 150, 1);
    issue(test, "others", 151, 1);
    set_status(test, 102, GH_STATUS_REVOKED, 1);
    set_status(test, 101, GH_STATUS_GOOD, GH_REASON_NONE);
    set_status(test, 103, GH_STATUS_HELD, 6);
    follow(test, view);
    /* one process follows, all of the node know, even one that has lost the store */
    gh_result_clear(&result);
    assert_int_equal(gh_view_follow(other, NULL, test->p, &result), GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH0562");
    knows(test, other, 100, GH_KNOWN_REVOKED);
    knows(test, other, 101, GH_KNOWN_GOOD);
    knows(test, other, 102, GH_KNOWN_REVOKED);
    knows(test, other, 103, GH_KNOWN_HELD);
    knows(test, other, 104, GH_KNOWN_GOOD);
    knows(test, other, 150, GH_KNOWN_GOOD);
    knows(test, other, 151, GH_KNOWN_NOT);
    /* one that begins later finds all of it without a store */
    other = view_of(test, folder);
    assert_int_equal(gh_view_follow(other, NULL, test->p, &result), GH_EUNAVAILABLE);
    knows(test, other, 102, GH_KNOWN_REVOKED);
    knows(test, other, 101, GH_KNOWN_GOOD);
    assert_true(state_of(other).progress.change >= state_of(view).info.change + 5);
}

static apr_uint32_t entries_of(store_test_t *test, const char *folder, apr_int64_t generation)
{
    const char *path = gh_view_overlay_path(folder, "devices", generation, test->p);
    gh_overlay_t *overlay;
    gh_result_t result;

    assert_int_equal(gh_overlay_open(&overlay, path, ours, generation, test->p, &result),
                     APR_SUCCESS);
    return gh_overlay_count(overlay);
}

static void test_next_index(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = view_of(test, folder);
    apr_int64_t first, second;
    gh_result_t result;

    issue(test, "devices", 200, 50);
    set_status(test, 201, GH_STATUS_HELD, 6);
    build(test, folder, 1);
    follow(test, view);
    first = state_of(view).info.generation;
    set_status(test, 200, GH_STATUS_REVOKED, 1);
    set_status(test, 201, GH_STATUS_GOOD, GH_REASON_NONE);
    issue(test, "devices", 250, 1);
    follow(test, view);
    assert_int_equal(entries_of(test, folder, first), 3);
    build(test, folder, 0);
    set_status(test, 202, GH_STATUS_REVOKED, 1);

    /* without the store it cannot be known whether the newer one has caught up */
    assert_int_equal(gh_view_follow(view, NULL, test->p, &result), GH_EUNAVAILABLE);
    assert_int_equal(state_of(view).info.generation, first);
    follow(test, view);
    /* the former one is in use still, and followed */
    assert_int_equal(state_of(view).info.generation, first);
    knows(test, view, 202, GH_KNOWN_REVOKED);
    let_instant_pass();
    second = state_of(view).info.generation;
    assert_true(second > first);
    follow(test, view);
    knows(test, view, 200, GH_KNOWN_REVOKED);
    knows(test, view, 201, GH_KNOWN_GOOD);
    knows(test, view, 202, GH_KNOWN_REVOKED);
    knows(test, view, 203, GH_KNOWN_GOOD);
    knows(test, view, 250, GH_KNOWN_GOOD);
    /* what the index has does not fill its overlay */
    assert_int_equal(entries_of(test, folder, second), 1);
    follow(test, view);
    follow(test, view);
    assert_int_equal(entries_of(test, folder, second), 1);

    /* overlays go with the index after next */
    assert_int_equal(access(gh_view_overlay_path(folder, "devices", first, test->p), F_OK), 0);
    build(test, folder, 0);
    assert_int_not_equal(access(gh_view_overlay_path(folder, "devices", first, test->p), F_OK), 0);
    follow(test, view);
    assert_int_equal(access(gh_view_overlay_path(folder, "devices", second, test->p), F_OK), 0);
    knows(test, view, 202, GH_KNOWN_REVOKED);
}

static void spoil(const char *path)
{
    FILE *file = fopen(path, "r+");

    assert_non_null(file);
    assert_int_equal(fseek(file, -3, SEEK_END), 0);
    fputc(fgetc(file) ^ 1, file);
    fclose(file);
}

static void test_damaged_index(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = view_of(test, folder);
    apr_int64_t first;
    gh_result_t result;
    int i;

    issue(test, "devices", 300, 50);
    build(test, folder, 1);
    follow(test, view);
    first = state_of(view).info.generation;
    set_status(test, 300, GH_STATUS_REVOKED, 1);
    build(test, folder, 1);
    spoil(gh_view_index_path(folder, "devices", test->p));
    for (i = 0; i < 3; i++) {
        gh_result_clear(&result);
        assert_int_equal(gh_view_follow(view, test->store, test->p, &result), GH_ECORRUPT);
        assert_string_equal(result.number, "GH0553");
        assert_int_equal(state_of(view).info.generation, first);
        /* the store is followed all the same */
        knows(test, view, 300, GH_KNOWN_REVOKED);
    }
    /* and who makes the next one makes it from the whole */
    build(test, folder, 0);
    follow(test, view);
    assert_true(state_of(view).info.generation > first);
    knows(test, view, 300, GH_KNOWN_REVOKED);
}

/** What one process has told only that overlay of which others do not use any more. */
static void test_told_the_former(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = view_of(test, folder);
    gh_known_t known = { GH_KNOWN_REVOKED, 1, REVOKED_AT, 0, APR_INT64_C(1) << 40 };
    gh_overlay_t *overlay;
    apr_int64_t first;
    gh_result_t result;

    issue(test, "devices", 600, 3);
    build(test, folder, 1);
    follow(test, view);
    first = state_of(view).info.generation;
    build(test, folder, 1);
    follow(test, view);
    assert_int_equal(gh_overlay_open(&overlay,
                                     gh_view_overlay_path(folder, "devices", first, test->p), ours,
                                     first, test->p, &result), APR_SUCCESS);
    assert_int_equal(gh_overlay_put(overlay, certificate_of(600, test->p)->serial, &known,
                                    &result), APR_SUCCESS);
    knows(test, view, 600, GH_KNOWN_REVOKED);
    let_instant_pass();
    assert_true(state_of(view).info.generation > first);
    knows(test, view, 600, GH_KNOWN_REVOKED);
    knows(test, view, 601, GH_KNOWN_GOOD);
    set_status(test, 601, GH_STATUS_REVOKED, 1);
    follow(test, view);
    knows(test, view, 600, GH_KNOWN_REVOKED);
    knows(test, view, 601, GH_KNOWN_REVOKED);
    /* by then each of them has read it from the store */
    apr_sleep(apr_time_from_msec(1050));
    follow(test, view);
    knows(test, view, 600, GH_KNOWN_GOOD);
    knows(test, view, 601, GH_KNOWN_REVOKED);
}

/** @param from as in gh_index_info_t; -1: all together */
static void put_index_from(store_test_t *test, const char *folder, apr_int64_t generation,
                           apr_time_t synced_at, apr_time_t from)
{
    gh_index_info_t info = { .generation = generation, .synced_at = synced_at,
                             .from = from > 0 ? from : 0 };
    gh_index_builder_t *builder;

    memcpy(info.authority, ours, sizeof(ours));
    assert_int_equal(gh_index_begin(&builder, gh_view_index_path(folder, "devices", test->p),
                                    &info, 0, test->p, NULL), APR_SUCCESS);
    if (from < 0) {
        gh_index_together(builder);
    }
    assert_int_equal(gh_index_finish(builder, NULL), APR_SUCCESS);
}

static void put_index(store_test_t *test, const char *folder, apr_int64_t generation,
                      apr_time_t synced_at)
{
    put_index_from(test, folder, generation, synced_at, 0);
}

static void test_clock_set_back(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = view_of(test, folder);
    apr_time_t now = apr_time_now();
    gh_result_t result;

    put_index(test, folder, 1, now + apr_time_from_sec(3600));
    assert_int_equal(gh_view_follow(view, NULL, test->p, &result), GH_EUNAVAILABLE);
    assert_int_equal(state_of(view).there, 1);
    assert_int_equal(state_of(view).progress.synced_at, 0);
    follow(test, view);
    assert_in_range(state_of(view).progress.synced_at, now, apr_time_now());
}

static void test_files(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = gh_view_create(folder, "devices", ours, GH_SOURCE_FILES, NULL, test->p);
    apr_time_t now = apr_time_now();
    gh_result_t result;

    put_index(test, folder, 1, now);
    assert_int_equal(gh_view_follow(view, NULL, test->p, &result), APR_SUCCESS);
    assert_int_equal(state_of(view).info.generation, 1);
    put_index(test, folder, 2, now);
    assert_int_equal(gh_view_follow(view, NULL, test->p, &result), APR_SUCCESS);
    assert_int_equal(state_of(view).info.generation, 2);
    assert_int_equal(state_of(view).info.complete, 0);
}

static void follow_files(store_test_t *test, gh_view_t *view, apr_int64_t generation)
{
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_view_follow(view, NULL, test->p, &result), APR_SUCCESS);
    assert_int_equal(state_of(view).info.generation, generation);
}

static gh_view_t *view_of_files(store_test_t *test, const char *folder)
{
    return gh_view_create(folder, "devices", ours, GH_SOURCE_FILES, NULL, test->p);
}

/* From one instant on the newer index is used by all processes that have mapped it, also by one
 * whose follower does not run; by none before it, not even by one that has just begun. */
static void test_together(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = view_of_files(test, folder), *other = view_of_files(test, folder), *young;
    apr_time_t now = apr_time_now(), begin;

    put_index(test, folder, 1, now);
    follow_files(test, view, 1);
    follow_files(test, other, 1);
    begin = gh_index_clock();
    put_index_from(test, folder, 2, now, -1);
    follow_files(test, view, 1);
    follow_files(test, other, 1);
    /* one that comes too early waits for its turn */
    put_index_from(test, folder, 3, now, 0);
    follow_files(test, view, 1);
    while (state_of(view).info.generation == 1) {
        assert_int_equal(state_of(other).info.generation, 1);
        apr_sleep(1000);
    }
    assert_int_equal(state_of(view).info.generation, 2);
    assert_int_equal(state_of(other).info.generation, 2);
    assert_in_range(gh_index_clock() - begin, 500000, 900000);
    follow_files(test, view, 3);

    begin = gh_index_clock();
    put_index_from(test, folder, 4, now, -1);
    young = view_of_files(test, folder);
    follow_files(test, young, 4);
    assert_in_range(gh_index_clock() - begin, 500000, 900000);
    follow_files(test, view, 4);
}

/* Of a boot before, or of a machine that was up for longer. */
static void test_instant_that_never_comes(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    gh_view_t *view = view_of_files(test, folder);
    apr_time_t begin = gh_index_clock();

    put_index(test, folder, 1, apr_time_now());
    follow_files(test, view, 1);
    put_index_from(test, folder, 2, apr_time_now(), begin + apr_time_from_sec(3600));
    follow_files(test, view, 2);
    follow_files(test, view_of_files(test, folder), 2);
    assert_true(gh_index_clock() - begin < 400000);
}

/* Readers beside a follower, changes and new indexes: what was seen as revoked once never is good
 * again. */

#define WATCHED 120

typedef struct {
    gh_view_t *view;
    gh_bytes_t serials[WATCHED];
    int seen;                       /* of the first so many it is known that they are revoked */
    int done;
    int wrong;
    long count;
} watch_t;

static void *watch(void *baton)
{
    watch_t *watching = baton;
    int revoked[WATCHED] = { 0 };
    gh_known_t known;
    int i = 0, seen;

    while (!__atomic_load_n(&watching->done, __ATOMIC_ACQUIRE)) {
        i = (i + 1) % WATCHED;
        seen = __atomic_load_n(&watching->seen, __ATOMIC_ACQUIRE);
        gh_view_find(watching->view, watching->serials[i], &known, NULL);
        if (known.state == GH_KNOWN_NOT
            || ((revoked[i] || i < seen) && known.state != GH_KNOWN_REVOKED)) {
            __atomic_add_fetch(&watching->wrong, 1, __ATOMIC_RELAXED);
        }
        revoked[i] = known.state == GH_KNOWN_REVOKED;
        __atomic_add_fetch(&watching->count, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_readers(void **state)
{
    store_test_t *test = *state;
    const char *folder = folder_of_test(test);
    watch_t watching = { .view = view_of(test, folder) };
    gh_view_t *other = view_of(test, folder);
    pthread_t threads[3];
    int i;

    issue(test, "devices", 400, WATCHED);
    build(test, folder, 1);
    follow(test, watching.view);
    for (i = 0; i < WATCHED; i++) {
        watching.serials[i] = certificate_of(400 + i, test->p)->serial;
    }
    for (i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, watch, &watching), 0);
    }
    for (i = 0; i < WATCHED; i++) {
        set_status(test, 400 + i, GH_STATUS_REVOKED, 1);
        if (i % 3 == 1) {
            follow(test, other);
        }
        if (i % 8 == 2) {
            build(test, folder, i % 16 == 2);
        }
        if (i % 4 == 0) {
            apr_sleep(apr_time_from_msec(60));
        }
        follow(test, watching.view);
        __atomic_store_n(&watching.seen, i + 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&watching.done, 1, __ATOMIC_RELEASE);
    for (i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(watching.wrong, 0);
    assert_true(watching.count > WATCHED);
}

int run_view_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing_yet, setup_issuers),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_next_index),
        cmocka_unit_test(test_told_the_former),
        cmocka_unit_test(test_damaged_index),
        cmocka_unit_test(test_clock_set_back),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_instant_that_never_comes),
        cmocka_unit_test(test_readers)
    };

    return cmocka_run_group_tests_name("views, sqlite", tests, open_sqlite, close_store)
         + cmocka_run_group_tests_name("views, pgsql", tests, open_pgsql, close_store);
}
