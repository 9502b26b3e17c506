/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <apr_strings.h>

#include "escrow/flow.h"
#include "store/escrow_credentials.h"
#include "store/escrow_profiles.h"

/* Credentials in escrow, and how long they are there, on both back ends. */

#define DAY apr_time_from_sec(86400)
#define DEVICE "0b36f5c2-0000-4000-8000-000000000001"
#define USER "5d2a3c11-0000-4000-8000-00000000000a"

typedef struct {
    store_test_t *test;
    const char *id;
    const char *device;
    const char *user;
    int purpose;
    apr_time_t now;
    apr_int64_t count;
    int more;
    int counts[GH_ESCROW_PURPOSES + 1];
    const char *text;
    apr_array_header_t *records;
    gh_escrow_profile_record_t *profile;
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

WORK(pair, gh_escrow_credential_pair(t, w->device, w->user, w->purpose, &w->records, p))
WORK(describe, gh_escrow_credential_describe(t, w->device, w->user, &w->records, p))
WORK(of_user, gh_escrow_credential_of_user(t, w->user, w->purpose, 5, &w->records, p))
WORK(count, gh_escrow_credential_count(t, w->device, w->user, w->counts))
WORK(take_away, gh_escrow_credential_remove(t, w->id))
WORK(take_pair, gh_escrow_credential_remove_pair(t, w->device, w->user, &w->count))
WORK(consume, gh_escrow_credential_consume(t, w->device, w->user, w->text, w->id,
                                            w->now + DAY))
WORK(purge_pair, gh_escrow_credential_purge_pair(t, w->device, w->user))
WORK(extend, gh_escrow_credential_extend(t, w->device, w->user))
WORK(clean, gh_escrow_clean(t, w->now, 2, &w->more, p))
WORK(purge, gh_escrow_credential_purge(t, w->now, 10, &w->count))
WORK(add_profile, gh_escrow_profile_insert(t, w->profile))
WORK(cancel, gh_escrow_profile_cancel(t, w->id, w->now))

static apr_status_t add(gh_transaction_t *t, void *baton)
{
    const gh_escrow_credential_record_t *record = baton;
    apr_status_t rv = gh_escrow_take_turn(t, record->user);

    return rv == APR_SUCCESS ? gh_escrow_credential_insert(t, record) : rv;
}

static work_t work_for(store_test_t *test)
{
    work_t w = { .test = test, .device = DEVICE, .user = USER, .now = apr_time_now() };

    return w;
}

static gh_escrow_credential_record_t *credential_of(const char *device, int purpose, int position,
                                                    apr_pool_t *p)
{
    gh_escrow_credential_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->id = gh_ordered_id(apr_time_now(), p);
    record->device = device;
    record->user = USER;
    record->purpose = purpose;
    record->position = position;
    record->sha256 = digest_of(purpose * 10 + position, p);
    record->serial = bytes_of("\x01\x02");
    record->subject = "CN=Ann";
    record->email = position ? NULL : "ann@example.com";
    record->not_before = 1000;
    record->not_after = 2000 + DAY;
    record->certificate = bytes_of("certificate");
    record->key_id = "first";
    record->wrapped = bytes_of("wrapped");
    record->sealed = bytes_of("sealed");
    record->origin = "upload";
    record->created = apr_time_now();
    record->expires = record->created + (position + 1) * DAY;
    record->consume = purpose == GH_ESCROW_SIGNING;
    return record;
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

static void test_credentials(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    gh_escrow_credential_record_t *one, *other, *found;

    one = credential_of(DEVICE, GH_ESCROW_SIGNING, 0, test->p);
    other = credential_of(DEVICE, GH_ESCROW_ENCRYPTION, 1, test->p);
    other->chain = bytes_of("chain");
    other->enrolment = "e1";
    must_write(test->store, add, other);
    must_write(test->store, add, one);
    must_write(test->store, add, credential_of("another", GH_ESCROW_ENCRYPTION, 0, test->p));
    assert_int_equal(gh_store_write(test->store, add, credential_of(DEVICE, GH_ESCROW_SIGNING, 0,
                                                                    test->p), NULL),
                     GH_ECONFLICT);

    must_read(test->store, pair, &w);
    assert_int_equal(w.records->nelts, 2);
    found = APR_ARRAY_IDX(w.records, 0, gh_escrow_credential_record_t *);
    assert_string_equal(found->id, one->id);
    assert_int_equal(found->purpose, GH_ESCROW_SIGNING);
    assert_string_equal(found->email, "ann@example.com");
    assert_int_equal(found->consume, 1);
    assert_null(found->chain.data);
    assert_null(found->enrolment);
    found = APR_ARRAY_IDX(w.records, 1, gh_escrow_credential_record_t *);
    assert_string_equal(found->device, DEVICE);
    assert_string_equal(found->user, USER);
    assert_int_equal(found->position, 1);
    assert_memory_equal(found->sha256.data, other->sha256.data, 32);
    assert_memory_equal(found->serial.data, "\x01\x02", 2);
    assert_string_equal(found->subject, "CN=Ann");
    assert_null(found->email);
    assert_true(found->not_before == 1000 && found->not_after == 2000 + DAY);
    assert_memory_equal(found->certificate.data, "certificate", 11);
    assert_memory_equal(found->chain.data, "chain", 5);
    assert_string_equal(found->key_id, "first");
    assert_memory_equal(found->wrapped.data, "wrapped", 7);
    assert_memory_equal(found->sealed.data, "sealed", 6);
    assert_string_equal(found->origin, "upload");
    assert_string_equal(found->enrolment, "e1");
    assert_true(found->created == other->created && found->expires == other->expires);

    w.purpose = GH_ESCROW_ENCRYPTION;
    must_read(test->store, pair, &w);
    assert_int_equal(w.records->nelts, 1);
    must_read(test->store, of_user, &w);
    assert_int_equal(w.records->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(w.records, 0, gh_escrow_credential_record_t *)->device,
                        "another");
    must_read(test->store, describe, &w);
    assert_int_equal(w.records->nelts, 2);
    assert_null(APR_ARRAY_IDX(w.records, 0, gh_escrow_credential_record_t *)->sealed.data);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_SIGNING], 1);
    assert_int_equal(w.counts[GH_ESCROW_ENCRYPTION], 1);
    assert_int_equal(w.counts[GH_ESCROW_ARCHIVED], 0);

    w.id = one->id;
    must_write(test->store, take_away, &w);
    must_write(test->store, take_away, &w);
    must_write(test->store, take_pair, &w);
    assert_true(w.count == 1);
    w.now = apr_time_now() + DAY / 2;
    must_write(test->store, purge, &w);
    assert_true(w.count == 0);
    w.now = apr_time_now() + 2 * DAY;
    must_write(test->store, purge, &w);
    assert_true(w.count == 1);
}

/* What a profile has used goes; not what another one has yet to be made of, nor what stays. */
static void test_consume(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test), other = work_for(test);

    w.device = other.device = "consume";
    must_write(test->store, add, credential_of("consume", GH_ESCROW_SIGNING, 0, test->p));
    must_write(test->store, add, credential_of("consume", GH_ESCROW_ENCRYPTION, 0, test->p));
    other.profile = profile_of_pair("consume", "p2", test->p);
    other.profile->state = GH_ESCROW_COMPLETING;
    must_write(test->store, add_profile, &other);
    w.id = "p1";
    w.text = "signing,encryption";
    must_write(test->store, consume, &w);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_SIGNING], 1);
    w.id = other.profile->id;
    w.text = "encryption";
    must_write(test->store, consume, &w);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_SIGNING], 1);
    w.text = "signing,encryption";
    must_write(test->store, consume, &w);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_SIGNING], 0);
    assert_int_equal(w.counts[GH_ESCROW_ENCRYPTION], 1);
    must_write(test->store, take_pair, &w);
    other.id = other.profile->id;
    must_write(test->store, cancel, &other);
}

/* Nor what another one waits with: that gets it when the rest comes, or nobody does. */
static void test_consume_with_one_that_waits(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test), other = work_for(test), delivered = work_for(test);
    gh_escrow_credential_record_t *key = credential_of("waits", GH_ESCROW_ENCRYPTION, 0, test->p);
    gh_audit_event_t event = { .id = gh_random_id(test->p), .node = "node1" };

    w.device = "waits";
    key->consume = 1;
    must_write(test->store, add, key);
    other.profile = profile_of_pair("waits", "p2", test->p);
    other.profile->needs = "signing,encryption[1]";
    must_write(test->store, add_profile, &other);
    delivered.profile = profile_of_pair("waits", "p1", test->p);
    delivered.profile->needs = "encryption";
    delivered.profile->state = GH_ESCROW_DELIVERED;
    must_write(test->store, add_profile, &delivered);

    w.id = delivered.profile->id;
    w.text = "encryption";
    must_write(test->store, consume, &w);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_ENCRYPTION], 1);
    assert_int_equal(gh_escrow_cancel(test->store, other.profile->id, &event, 0, test->p, NULL),
                     APR_SUCCESS);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_ENCRYPTION], 0);

    /* what has come since is for the next one */
    key->id = gh_ordered_id(apr_time_now(), test->p);
    key->created = apr_time_now() + DAY / 2;
    must_write(test->store, add, key);
    w.now = key->created - DAY - 1;
    must_write(test->store, consume, &w);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_ENCRYPTION], 1);
    must_write(test->store, take_pair, &w);
    delivered.id = delivered.profile->id;
    must_write(test->store, cancel, &delivered);
}

/* What has expired is not there for anybody, and its place is free for another one. */
static void test_expired(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    gh_escrow_credential_record_t *old = credential_of("expired", GH_ESCROW_ENCRYPTION, 0,
                                                       test->p);

    w.device = "expired";
    w.user = old->user = "user of expired";
    old->expires = apr_time_now() - 1;
    must_write(test->store, add, old);
    must_read(test->store, pair, &w);
    assert_int_equal(w.records->nelts, 0);
    must_read(test->store, describe, &w);
    assert_int_equal(w.records->nelts, 0);
    w.purpose = GH_ESCROW_ENCRYPTION;
    must_read(test->store, of_user, &w);
    assert_int_equal(w.records->nelts, 0);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_ENCRYPTION], 0);

    old->id = gh_ordered_id(apr_time_now(), test->p);
    old->expires = apr_time_now() + DAY;
    assert_int_equal(gh_store_write(test->store, add, old, NULL), GH_ECONFLICT);
    must_write(test->store, purge_pair, &w);
    must_write(test->store, add, old);
    must_write(test->store, purge_pair, &w);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts[GH_ESCROW_ENCRYPTION], 1);
    must_write(test->store, take_pair, &w);
}

/* Archived ones last as long as the newest of the pair; longer ones, and others, stay. */
static void test_extend(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    apr_time_t now = apr_time_now();
    gh_escrow_credential_record_t *current = credential_of("extend", GH_ESCROW_ENCRYPTION, 0,
                                                           test->p);
    gh_escrow_credential_record_t *brief = credential_of("extend", GH_ESCROW_ARCHIVED, 0, test->p);
    gh_escrow_credential_record_t *lasting = credential_of("extend", GH_ESCROW_ARCHIVED, 1,
                                                           test->p);

    w.device = "extend";
    brief->expires = now + DAY;
    must_write(test->store, add, brief);
    must_write(test->store, extend, &w);
    current->expires = now + 5 * DAY;
    must_write(test->store, add, current);
    lasting->expires = now + 9 * DAY;
    must_write(test->store, add, lasting);
    must_write(test->store, extend, &w);
    must_read(test->store, pair, &w);
    assert_int_equal(w.records->nelts, 3);
    assert_true(APR_ARRAY_IDX(w.records, 0, gh_escrow_credential_record_t *)->expires
                == now + 5 * DAY);
    assert_true(APR_ARRAY_IDX(w.records, 1, gh_escrow_credential_record_t *)->expires
                == now + 5 * DAY);
    assert_true(APR_ARRAY_IDX(w.records, 2, gh_escrow_credential_record_t *)->expires
                == now + 9 * DAY);
    must_write(test->store, take_pair, &w);
}

/* In rounds, until a round finds less than it may take. */
static void test_clean(void **state)
{
    store_test_t *test = *state;
    work_t w = work_for(test);
    int i;

    w.device = "clean";
    for (i = 0; i < 3; i++) {
        gh_escrow_credential_record_t *record = credential_of("clean", GH_ESCROW_ARCHIVED, i,
                                                              test->p);

        record->expires = w.now - 1;
        must_write(test->store, add, record);
    }
    must_write(test->store, clean, &w);
    assert_int_equal(w.more, 1);
    must_write(test->store, clean, &w);
    assert_int_equal(w.more, 0);
    must_write(test->store, take_pair, &w);
    assert_true(w.count == 0);
}

int run_credential_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_consume),
        cmocka_unit_test(test_consume_with_one_that_waits),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_extend),
        cmocka_unit_test(test_clean)
    };

    return cmocka_run_group_tests_name("credentials, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("credentials, PostgreSQL", tests, open_pgsql, close_store);
}
