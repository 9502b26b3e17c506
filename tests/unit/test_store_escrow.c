/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <string.h>

#include <apr_strings.h>

#include "escrow/needs.h"
#include "store/escrow_credentials.h"
#include "store/escrow_profiles.h"
#include "store/escrow_uploads.h"
#include "store/jobs.h"

/* What the escrow stores, on both back ends. */

#define DAY apr_time_from_sec(86400)
#define DEVICE "0b36f5c2-0000-4000-8000-000000000001"
#define USER "5d2a3c11-0000-4000-8000-00000000000a"

typedef struct {
    store_test_t *test;
    const char *id;
    const char *device;
    const char *user;
    gh_escrow_state_t from, to;
    apr_int64_t generation;
    apr_time_t now;
    apr_int64_t count;
    gh_bytes_t bytes;
    const char *text;
    apr_array_header_t *records;
    gh_escrow_upload_record_t *upload;
    gh_escrow_profile_record_t *profile;
    gh_escrow_profile_filter_t filter;
    gh_escrow_recipient_record_t *recipient;
    gh_escrow_counts_t all;
} work_t;

#define WORK(name, call) \
    static apr_status_t name(gh_transaction_t *t, void *baton) \
    { \
        work_t *w = baton; \
        apr_pool_t *p = w->test->p; \
\
        (void)p; \
        return call; \
    }

WORK(put_upload, gh_escrow_upload_put(t, w->upload))
WORK(find_upload, gh_escrow_upload_find(t, w->id, &w->upload, p))
WORK(upload_of, gh_escrow_upload_of_pair(t, w->device, w->user, &w->upload, p))
WORK(purge_uploads, gh_escrow_upload_purge(t, w->now, 10, &w->count))
WORK(add_profile, gh_escrow_profile_insert(t, w->profile))
WORK(replace, gh_escrow_profile_replace(t, w->profile))
WORK(find_profile, gh_escrow_profile_find(t, w->id, &w->profile, p))
WORK(profile_of, gh_escrow_profile_of(t, w->text, w->device, w->user, &w->profile, p))
WORK(list, gh_escrow_profile_list(t, &w->filter, &w->records, p))
WORK(profiles, gh_escrow_profile_pair(t, w->device, w->user, &w->records, p))
WORK(move, gh_escrow_profile_move(t, w->id, w->generation, w->from, w->to, w->text, w->now))
WORK(enqueue, gh_escrow_profile_queue(t, w->id, w->generation, w->bytes, w->text, w->now))
WORK(begin, gh_escrow_profile_begin(t, w->id, &w->generation, w->now))
WORK(wait_again, gh_escrow_profile_wait(t, w->id, w->now + DAY, w->now))
WORK(cancel, gh_escrow_profile_cancel(t, w->id, w->now))
WORK(lock, gh_escrow_profile_lock(t, w->id))
WORK(expire, gh_escrow_profile_expire(t, w->now, 10, &w->records, p))
WORK(purge_profiles, gh_escrow_profile_purge(t, w->now, 10, &w->count))
WORK(count_all, gh_escrow_count(t, &w->all))
WORK(bind_key, gh_escrow_recipient_bind(t, w->recipient))
WORK(find_recipient, gh_escrow_recipient_find(t, w->device, &w->recipient, p))
WORK(unbind, gh_escrow_recipient_remove(t, w->device))

static work_t work_for(store_test_t *test)
{
    work_t w = { .test = test, .device = DEVICE, .user = USER, .now = apr_time_now() };

    return w;
}

static apr_status_t try(gh_store_work_fn *work, work_t *w)
{
    return gh_store_write(w->test->store, work, w, NULL);
}

static gh_escrow_profile_record_t *profile_of_pair(const char *device, const char *uuid,
                                                   apr_pool_t *p)
{
    gh_escrow_profile_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->id = gh_ordered_id(apr_time_now(), p);
    record->profile = uuid;
    record->device = device;
    record->user = USER;
    record->format = "text";
    record->needs = "signing";
    record->skeleton = bytes_of("skeleton");
    record->recipient = bytes_of("recipient");
    record->provider = "sha256:00";
    record->uem = "ws1";
    record->state = GH_ESCROW_WAITING;
    record->created = apr_time_now();
    record->updated = record->created;
    record->expires = record->created + DAY;
    return record;
}

static void test_uploads(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    gh_escrow_upload_record_t upload = {
        .id = gh_ordered_id(apr_time_now(), test->p), .device = DEVICE, .user = USER,
        .digest = digest_of(1, test->p), .provider = "sha256:01", .created = 5, .expires = 7,
        .receipt = "{}"
    };

    assert_int_equal(try(upload_of, &w), APR_NOTFOUND);
    w.upload = &upload;
    must_write(test->store, put_upload, &w);
    upload.id = gh_ordered_id(apr_time_now(), test->p);
    upload.digest = digest_of(2, test->p);
    upload.receipt = "{\"id\":1}";
    must_write(test->store, put_upload, &w);
    w.id = upload.id;
    must_read(test->store, find_upload, &w);
    assert_memory_equal(w.upload->digest.data, upload.digest.data, 32);
    must_read(test->store, upload_of, &w);
    assert_string_equal(w.upload->id, upload.id);
    assert_string_equal(w.upload->receipt, "{\"id\":1}");
    assert_string_equal(w.upload->provider, "sha256:01");
    w.now = 6;
    must_write(test->store, purge_uploads, &w);
    assert_true(w.count == 0);
    w.now = 7;
    must_write(test->store, purge_uploads, &w);
    assert_true(w.count == 1);
    assert_int_equal(try(find_upload, &w), APR_NOTFOUND);
}

static void test_profile(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    gh_escrow_profile_record_t *profile = profile_of_pair(DEVICE, "p1", test->p);
    gh_escrow_change_t change;
    const char *history;

    profile->labels = "{\"a\":\"b\"}";
    w.profile = profile;
    w.id = profile->id;
    must_write(test->store, add_profile, &w);
    assert_int_equal(try(add_profile, &w), GH_ECONFLICT);
    must_read(test->store, find_profile, &w);
    assert_string_equal(w.profile->profile, "p1");
    assert_string_equal(w.profile->format, "text");
    assert_string_equal(w.profile->labels, "{\"a\":\"b\"}");
    assert_string_equal(w.profile->uem, "ws1");
    assert_memory_equal(w.profile->skeleton.data, "skeleton", 8);
    assert_memory_equal(w.profile->recipient.data, "recipient", 9);
    assert_int_equal(w.profile->state, GH_ESCROW_WAITING);
    must_write(test->store, lock, &w);

    must_write(test->store, begin, &w);
    assert_true(w.generation == 2);
    w.generation = 1;
    w.bytes = bytes_of("completed");
    w.text = "d1";
    assert_int_equal(try(enqueue, &w), APR_NOTFOUND);
    w.generation = 2;
    must_write(test->store, enqueue, &w);
    assert_int_equal(try(enqueue, &w), APR_NOTFOUND);
    w.from = GH_ESCROW_QUEUED;
    w.to = GH_ESCROW_FAILED;
    w.text = "because";
    must_write(test->store, move, &w);
    assert_int_equal(try(move, &w), APR_NOTFOUND);
    w.text = "p1";
    must_read(test->store, profile_of, &w);
    assert_memory_equal(w.profile->completed.data, "completed", 9);
    assert_string_equal(w.profile->delivery, "d1");
    assert_string_equal(w.profile->reason, "because");

    profile->format = "json";
    profile->updated = apr_time_now();
    w.profile = profile;
    must_write(test->store, replace, &w);
    must_read(test->store, find_profile, &w);
    assert_int_equal(w.profile->state, GH_ESCROW_WAITING);
    assert_true(w.profile->generation == 3);
    assert_null(w.profile->completed.data);
    assert_null(w.profile->reason);
    must_write(test->store, wait_again, &w);
    must_write(test->store, cancel, &w);
    assert_int_equal(try(cancel, &w), APR_NOTFOUND);
    must_read(test->store, find_profile, &w);

    history = w.profile->history;
    assert_true(gh_escrow_history_next(&history, &change));
    assert_true(change.time == profile->created && change.generation == 1);
    assert_int_equal(change.state, GH_ESCROW_WAITING);
    assert_true(gh_escrow_history_next(&history, &change));
    assert_int_equal(change.state, GH_ESCROW_COMPLETING);
    assert_true(change.generation == 2);
    assert_true(gh_escrow_history_next(&history, &change));
    assert_int_equal(change.state, GH_ESCROW_QUEUED);
    assert_true(gh_escrow_history_next(&history, &change));
    assert_int_equal(change.state, GH_ESCROW_FAILED);
    assert_true(gh_escrow_history_next(&history, &change));
    assert_true(gh_escrow_history_next(&history, &change));
    assert_true(change.generation == 4);
    assert_true(gh_escrow_history_next(&history, &change));
    assert_int_equal(change.state, GH_ESCROW_CANCELLED);
    assert_false(gh_escrow_history_next(&history, &change));
}

/* However often it changes, its history stays small and readable. */
static void test_long_history(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    gh_escrow_change_t change;
    const char *history;
    int i;

    w.profile = profile_of_pair(DEVICE, "long", test->p);
    w.id = w.profile->id;
    must_write(test->store, add_profile, &w);
    for (i = 0; i < 300; i++) {
        w.now = 1000000000000000 + i;
        must_write(test->store, begin, &w);
    }
    must_read(test->store, find_profile, &w);
    assert_true(strlen(w.profile->history) < 3200);
    history = w.profile->history;
    for (i = 0; gh_escrow_history_next(&history, &change); i++) {
        assert_int_equal(change.state, GH_ESCROW_COMPLETING);
        assert_true(change.time >= 1000000000000000 && change.time == w.now
                    - (301 - change.generation));
    }
    assert_true(i > 40);
    assert_true(change.generation == 301);
    must_write(test->store, cancel, &w);
}

static void test_expiry_of_profiles(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    const char *waiting, *completing;

    w.profile = profile_of_pair("expiry", "p1", test->p);
    waiting = w.profile->id;
    must_write(test->store, add_profile, &w);
    apr_sleep(apr_time_from_msec(2));           /* ids are in the order of milliseconds */
    w.profile = profile_of_pair("expiry", "p2", test->p);
    w.profile->state = GH_ESCROW_COMPLETING;
    completing = w.profile->id;
    must_write(test->store, add_profile, &w);
    w.device = "expiry";
    must_read(test->store, profiles, &w);
    assert_int_equal(w.records->nelts, 2);

    w.now = apr_time_now();
    must_write(test->store, expire, &w);
    assert_int_equal(w.records->nelts, 0);
    must_read(test->store, count_all, &w);
    assert_true(w.all.states[GH_ESCROW_WAITING] == 1 && w.all.states[GH_ESCROW_COMPLETING] == 1);
    w.now += 2 * DAY;
    must_write(test->store, expire, &w);
    assert_int_equal(w.records->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(w.records, 0, gh_escrow_profile_record_t *)->device,
                        "expiry");
    w.id = waiting;
    must_read(test->store, find_profile, &w);
    assert_int_equal(w.profile->state, GH_ESCROW_EXPIRED);

    w.filter.device = "expiry";
    must_read(test->store, list, &w);
    assert_int_equal(w.records->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(w.records, 0, gh_escrow_profile_record_t *)->id, completing);
    w.filter.device = NULL;
    w.filter.user = USER;
    w.filter.state = GH_ESCROW_EXPIRED;
    must_read(test->store, list, &w);
    assert_int_equal(w.records->nelts, 1);
    w.filter.after = waiting;
    must_read(test->store, list, &w);
    assert_int_equal(w.records->nelts, 0);

    w.now += DAY;
    must_write(test->store, purge_profiles, &w);
    assert_int_equal(try(find_profile, &w), APR_NOTFOUND);
    w.id = completing;
    must_read(test->store, find_profile, &w);
}

static void test_recipients(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    gh_escrow_recipient_record_t mine = {
        .device = DEVICE, .spki_sha256 = digest_of(1, test->p), .sha256 = digest_of(2, test->p),
        .bound = 5, .bound_by = "sha256:01"
    };

    assert_int_equal(try(find_recipient, &w), APR_NOTFOUND);
    w.recipient = &mine;
    must_write(test->store, bind_key, &w);
    mine.sha256 = digest_of(3, test->p);
    must_write(test->store, bind_key, &w);
    must_read(test->store, find_recipient, &w);
    assert_memory_equal(w.recipient->sha256.data, mine.sha256.data, 32);
    assert_true(w.recipient->bound == 5);
    w.recipient = &mine;
    mine.spki_sha256 = digest_of(4, test->p);
    assert_int_equal(try(bind_key, &w), GH_EREFUSED);
    must_write(test->store, unbind, &w);
    assert_int_equal(try(unbind, &w), APR_NOTFOUND);
    must_write(test->store, bind_key, &w);
}

static apr_status_t add_job(gh_transaction_t *t, void *baton)
{
    const gh_job_record_t *job = baton;

    return gh_job_insert(t, job);
}

static apr_status_t drop(gh_transaction_t *t, void *baton)
{
    return gh_job_drop(t, "uem:drop", "0a");
}

static apr_status_t find_job(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;
    gh_job_record_t *found;

    return gh_job_find(t, w->id, &found, w->test->p);
}

static apr_status_t claim_job(gh_transaction_t *t, void *baton)
{
    work_t *w = baton;
    gh_job_record_t *found;

    return gh_job_claim(t, w->id, "one", DAY, &found, w->test->p);
}

/* The job for a generation that is over goes, unless somebody holds it. */
static void test_drop(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    gh_job_record_t job = {
        .kind = "escrow.deliver", .queue = "uem:drop", .subject = "0a", .payload = bytes_of("1")
    };
    const char *held, *free, *other;

    job.id = held = gh_ordered_id(w.now, test->p);
    must_write(test->store, add_job, &job);
    job.id = free = gh_ordered_id(w.now, test->p);
    must_write(test->store, add_job, &job);
    job.id = other = gh_ordered_id(w.now, test->p);
    job.subject = "0b";
    must_write(test->store, add_job, &job);
    w.id = held;
    must_write(test->store, claim_job, &w);
    must_write(test->store, drop, NULL);
    must_read(test->store, find_job, &w);
    w.id = other;
    must_read(test->store, find_job, &w);
    w.id = free;
    assert_int_equal(try(find_job, &w), APR_NOTFOUND);
}

static void test_needs(void **state)
{
    store_test_t *test = *state;
    const struct { const char *needs; int counts[4]; const char *missing; } cases[] = {
        { "", { 0, 0, 0, 0 }, "" },
        { "signing", { 0, 0, 1, 1 }, "signing" },
        { "signing,encryption[1]", { 0, 1, 1, 0 }, "encryption[1]" },
        { "signing,encryption[1]", { 0, 1, 2, 0 }, "" },
        { "archived[*]", { 0, 0, 0, 0 }, "" },
        { "archived", { 0, 0, 0, 0 }, "archived" },
        { "encryptionx,signings", { 0, 1, 1, 1 }, "encryptionx signings" },
        { "signing,encryption[1]", { 0, 0, 0, 0 }, "signing encryption[1]" }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        apr_array_header_t *missing = gh_escrow_needs_missing(cases[i].needs, cases[i].counts,
                                                              test->p);

        assert_string_equal(apr_array_pstrcat(test->p, missing, ' ') ? : "", cases[i].missing);
    }
    assert_true(gh_escrow_needs_purpose("signing,encryption[1]", GH_ESCROW_ENCRYPTION));
    assert_false(gh_escrow_needs_purpose("signing,encryption[1]", GH_ESCROW_ARCHIVED));
    assert_true(gh_escrow_needs_one("signing,encryption[1]", GH_ESCROW_SIGNING, 0));
    assert_true(gh_escrow_needs_one("signing,encryption[1]", GH_ESCROW_ENCRYPTION, 1));
    assert_false(gh_escrow_needs_one("signing,encryption[1]", GH_ESCROW_ENCRYPTION, 0));
    assert_false(gh_escrow_needs_one("signing,encryption[1]", GH_ESCROW_ARCHIVED, 0));
    assert_string_equal(gh_escrow_purpose_name(GH_ESCROW_ARCHIVED), "archived");
    assert_int_equal(gh_escrow_state_parse("queued"), GH_ESCROW_QUEUED);
}

int run_escrow_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uploads),
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_long_history),
        cmocka_unit_test(test_expiry_of_profiles),
        cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_needs)
    };

    return cmocka_run_group_tests_name("escrow, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("escrow, PostgreSQL", tests, open_pgsql, close_store);
}
