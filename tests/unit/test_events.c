/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificate events of a CA elsewhere, taken up by both kinds of store. */

#include "store_support.h"
#include "x509_support.h"

#include <stdlib.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "issuer/events.h"
#include "issuer/remote.h"
#include "x509/key.h"

static const gh_audit_event_t audit_of_tests = {
    .node = "node", .protocol = "ctl", .user = "test"
};

static struct {
    gh_store_t *store;
    gh_ca_t *ca;
    gh_events_feed_t feed;
    gh_events_outcome_t outcome;
    gh_result_t result;
} world;

static int setup(void **state)
{
    store_test_t *test = *state;

    memset(&world, 0, sizeof(world));
    world.store = test->store;
    world.ca = make_root(key_of_kind("P-256"), "CN=Elsewhere", apr_time_now());
    world.feed.issuer = "elsewhere";
    world.feed.ca = gh_ca_certificate(world.ca);
    world.feed.audit = &audit_of_tests;
    gh_result_clear(&world.result);
    return 0;
}

static X509 *certificate(const gh_ca_t *ca)
{
    return issue(ca, subscriber(key_of_kind("RSA-2048")));
}

static const char *serial_of(X509 *one)
{
    gh_bytes_t serial = gh_certificate_serial(one, test_pool);

    return gh_hex(test_pool, serial.data, serial.length);
}

/** The member of an event that holds a certificate. */
static const char *member_of(X509 *one)
{
    gh_bytes_t der = gh_certificate_der(one, test_pool);
    char *text = apr_palloc(test_pool, der.length * 2);

    EVP_EncodeBlock((unsigned char *)text, der.data, (int)der.length);
    return apr_psprintf(test_pool, "\"certificate\":\"%s\"", text);
}

static apr_status_t take_page(const char *page)
{
    return gh_events_take(world.store, &world.feed, page, strlen(page), &world.outcome, test_pool,
                          &world.result);
}

/** Takes up events that stand in a page without a position. */
static void take(const char *events)
{
    assert_success(take_page(apr_pstrcat(test_pool, "{\"type\":\"CertificateEventsResponse\","
                                         "\"events\":[", events, "],\"morePages\":false,"
                                         "\"metadata\":{\"currentCount\":1}}", NULL)));
}

static void expect_outcome(int added, int changed, int unchanged, int skipped)
{
    assert_int_equal(world.outcome.added, added);
    assert_int_equal(world.outcome.changed, changed);
    assert_int_equal(world.outcome.unchanged, unchanged);
    assert_int_equal(world.outcome.skipped->nelts, skipped);
    assert_int_equal(world.outcome.events, added + changed + unchanged + skipped);
}

typedef struct {
    const char *serial;
    gh_certificate_record_t *record;
    apr_int64_t number;
    const char *setting;
} look_t;

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    apr_array_header_t *found;
    gh_bytes_t serial;
    apr_status_t rv;

    assert_success(gh_serial_parse(&serial, look->serial, test_pool));
    rv = gh_certificate_find(transaction, "elsewhere", serial, &found, test_pool);
    look->record = rv == APR_SUCCESS && found->nelts == 1
        ? APR_ARRAY_IDX(found, 0, gh_certificate_record_t *) : NULL;
    return rv;
}

static gh_certificate_record_t *stored(const char *serial)
{
    look_t look = { .serial = serial };

    must_read(world.store, look_work, &look);
    return look.record;
}

static void expect_status(const char *serial, gh_status_t status, int reason, const char *time)
{
    const gh_certificate_record_t *record = stored(serial);

    assert_non_null(record);
    assert_int_equal(record->status, status);
    assert_int_equal(record->reason, reason);
    assert_string_equal(gh_time_text(test_pool, record->revoked_at), time);
}

static apr_status_t count_work(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "SELECT count(*) FROM audit");
    apr_status_t rv = gh_step(query);

    *(apr_int64_t *)baton = gh_column_int64(query, 0);
    gh_query_end(query);
    return rv;
}

static apr_int64_t audit_lines(void)
{
    apr_int64_t count = 0;

    must_read(world.store, count_work, &count);
    return count;
}

static void test_life(void **state)
{
    X509 *one = certificate(world.ca);
    const char *serial = serial_of(one);
    const gh_certificate_record_t *record;
    const char *page, *issued, *held, *released, *revoked;
    apr_int64_t lines = audit_lines();

    issued = apr_psprintf(test_pool,
                          "{\"action\":\"issued\",\"event\":1,\"serialNumber\":\"%s\",%s,"
                          "\"eventDate\":\"2026-01-02T03:04:05.00Z\",\"detail\":null}", serial,
                          member_of(one));
    take(issued);
    expect_outcome(1, 0, 0, 0);
    record = stored(serial);
    assert_int_equal(record->status, GH_STATUS_GOOD);
    assert_int_equal(record->der.length, gh_certificate_der(one, test_pool).length);
    assert_memory_equal(record->der.data, gh_certificate_der(one, test_pool).data,
                        record->der.length);
    assert_int_equal(record->not_after, gh_certificate_not_after(one));
    assert_int_equal(record->not_before, gh_certificate_not_before(one));
    assert_memory_equal(record->key_sha256.data,
                        gh_key_sha256(X509_get0_pubkey(one), test_pool).data, 32);
    assert_int_equal(audit_lines(), lines + 1);
    take(issued);
    expect_outcome(0, 0, 1, 0);
    held = apr_psprintf(test_pool, "{\"action\":\"suspended\",\"serialNumber\":\"%s\","
                        "\"eventDate\":\"2026-02-02T00:00:00Z\"}", serial);
    take(held);
    expect_outcome(0, 1, 0, 0);
    expect_status(serial, GH_STATUS_HELD, 6, "2026-02-02T00:00:00Z");
    /* what was before the hold does not end it, when it comes again or late */
    take(issued);
    expect_outcome(0, 0, 1, 0);
    take(apr_psprintf(test_pool, "{\"action\":\"released\",\"serialNumber\":\"%s\","
                      "\"eventDate\":\"2026-02-01T23:59:59Z\"}", serial));
    expect_outcome(0, 0, 1, 0);
    take(apr_psprintf(test_pool, "{\"action\":\"released\",\"serialNumber\":\"%s\","
                      "\"eventDate\":\"2026-01-03T00:00:00Z\"},%s", serial, issued));
    expect_outcome(0, 0, 2, 0);
    expect_status(serial, GH_STATUS_HELD, 6, "2026-02-02T00:00:00Z");
    released = apr_psprintf(test_pool, "{\"action\":\"revoked\",\"reason\":\"removeFromCRL\","
                            "\"serialNumber\":\"%s\"}", serial);
    take(released);
    expect_outcome(0, 1, 0, 0);
    expect_status(serial, GH_STATUS_GOOD, GH_REASON_NONE, "");
    /* a page that holds and releases does neither when it comes again */
    page = apr_pstrcat(test_pool, held, ",", released, NULL);
    lines = audit_lines();
    take(page);
    expect_outcome(0, 0, 2, 0);
    assert_int_equal(audit_lines(), lines);
    revoked = apr_psprintf(test_pool, "{\"action\":\"REVOKED\",\"serialNumber\":\"%s\","
                           "\"reason\":\"keyCompromise\",\"eventDate\":\"2026-03-03T00:00:00Z\"}",
                           serial);
    take(revoked);
    expect_outcome(0, 1, 0, 0);
    expect_status(serial, GH_STATUS_REVOKED, 1, "2026-03-03T00:00:00Z");
    /* nothing that comes again or late takes it back */
    take(apr_pstrcat(test_pool, issued, ",", held, ",", released, ",", revoked, NULL));
    expect_outcome(0, 0, 4, 0);
    expect_status(serial, GH_STATUS_REVOKED, 1, "2026-03-03T00:00:00Z");
}

static void test_serials(void **state)
{
    X509 *one = certificate(world.ca);
    const char *serial = serial_of(one);

    /* the serial number alone, in any form */
    take("{\"action\":\"issued\",\"serialNumber\":\"0A:BC\"},"
         "{\"action\":\"revoked\",\"serialNumber\":\"abd\",\"reason\":4,"
         "\"eventDate\":\"2026-04-04T00:00:00Z\"}");
    expect_outcome(2, 0, 0, 0);
    expect_status("0abc", GH_STATUS_GOOD, GH_REASON_NONE, "");
    expect_status("0abd", GH_STATUS_REVOKED, 4, "2026-04-04T00:00:00Z");
    assert_true(gh_certificate_is_unknown(stored("0abc")));
    assert_int_equal(stored("0abc")->not_after, gh_certificate_not_after(world.feed.ca));
    assert_null(gh_certificate_parse(stored("0abc")->der, test_pool));
    /* by configuration: the certificate that comes with it is left out */
    world.feed.serials_only = 1;
    take(apr_psprintf(test_pool, "{\"action\":\"suspended\",%s}", member_of(one)));
    expect_outcome(1, 0, 0, 0);
    assert_true(gh_certificate_is_unknown(stored(serial)));
    assert_int_equal(stored(serial)->not_after, gh_certificate_not_after(one));
    /* and taken up when it comes later; its status stays */
    world.feed.serials_only = 0;
    take(apr_psprintf(test_pool, "{\"action\":\"suspended\",%s}", member_of(one)));
    expect_outcome(0, 1, 0, 0);
    assert_false(gh_certificate_is_unknown(stored(serial)));
    assert_non_null(gh_certificate_parse(stored(serial)->der, test_pool));
    assert_int_equal(stored(serial)->status, GH_STATUS_HELD);
    take(apr_psprintf(test_pool, "{\"action\":\"suspended\",%s}", member_of(one)));
    expect_outcome(0, 0, 1, 0);
}

static void expect_skipped(const char *event, const char *number)
{
    const gh_events_skipped_t *skipped;

    take(apr_pstrcat(test_pool, event, ",{\"action\":\"issued\",\"serialNumber\":\"77\"}", NULL));
    assert_int_equal(world.outcome.skipped->nelts, 1);
    assert_int_equal(world.outcome.added + world.outcome.unchanged, 1);
    skipped = APR_ARRAY_IDX(world.outcome.skipped, 0, const gh_events_skipped_t *);
    assert_int_equal(skipped->position, 1);
    assert_string_equal(skipped->number, number);
    assert_true(*skipped->message && *skipped->action);
}

static void test_malformed(void **state)
{
    static const char *const bad[] = {
        "null", "17", "[]", "{}",
        "{\"action\":\"issued\"}",
        "{\"action\":\"renamed\",\"serialNumber\":\"11\"}",
        "{\"action\":5,\"serialNumber\":\"11\"}",
        "{\"action\":\"revoked\",\"serialNumber\":17}",
        "{\"action\":\"revoked\",\"serialNumber\":\"\"}",
        "{\"action\":\"revoked\",\"serialNumber\":\"xy\"}",
        "{\"action\":\"revoked\",\"serialNumber\":\"112233445566778899aabbccddeeff112233445566\"}",
        "{\"action\":\"revoked\",\"serialNumber\":\"11\\u00002\"}",
        "{\"action\":\"revoked\",\"serialNumber\":\"11\",\"eventDate\":\"yesterday\"}",
        "{\"action\":\"revoked\",\"serialNumber\":\"11\",\"eventDate\":\"1970-01-01T00:00:00Z\"}",
        "{\"action\":\"issued\",\"serialNumber\":\"11\",\"certificate\":\"MIIB\"}",
        "{\"action\":\"issued\",\"serialNumber\":\"11\",\"certificate\":\"%%%\"}",
        "{\"action\":\"issued\",\"serialNumber\":\"11\",\"certificate\":true}"
    };
    gh_ca_t *other = make_root(key_of_kind("P-384"), "CN=Elsewhere", apr_time_now());
    X509 *one = certificate(world.ca);
    apr_size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        expect_skipped(bad[i], "GH0708");
    }
    /* the same name, another key */
    expect_skipped(apr_psprintf(test_pool, "{\"action\":\"issued\",%s}",
                                member_of(certificate(other))), "GH0709");
    expect_skipped(apr_psprintf(test_pool, "{\"action\":\"issued\",\"serialNumber\":\"11\",%s}",
                                member_of(one)), "GH0710");
    assert_null(stored("11"));
    assert_null(stored(serial_of(one)));
    /* a revocation is not lost for its reason, nor for a clock that is ahead */
    take("{\"action\":\"revoked\",\"serialNumber\":\"12\",\"reason\":\"because\"},"
         "{\"action\":\"revoked\",\"serialNumber\":\"13\",\"reason\":7,"
         "\"eventDate\":\"2090-01-01T00:00:00Z\"},"
         "{\"action\":\"revoked\",\"serialNumber\":\"14\",\"reason\":\"cACompromise\"}");
    expect_outcome(3, 0, 0, 0);
    assert_int_equal(stored("12")->reason, GH_REASON_NONE);
    assert_true(stored("13")->revoked_at <= apr_time_now());
    assert_int_equal(stored("14")->reason, 2);
}

static void test_pages(void **state)
{
    static const char *const bad[] = {
        "", "[]", "7", "{", "{\"events\":7}", "{\"events\":[]}x",
        "{\"events\":[],\"events\":[]}", "{\"events\":[],\"nextPageIndex\":7}"
    };
    const char *cursor;
    char *page;
    apr_size_t i;

    assert_success(gh_events_cursor(world.store, "elsewhere", &cursor, test_pool, &world.result));
    assert_null(cursor);
    assert_success(take_page("{\"events\":[{\"action\":\"issued\",\"serialNumber\":\"31\"}],"
                             "\"morePages\":true,\"nextPageIndex\":\"page 2\"}"));
    assert_string_equal(world.outcome.cursor, "page 2");
    assert_int_equal(world.outcome.more, 1);
    assert_success(gh_events_cursor(world.store, "elsewhere", &cursor, test_pool, &world.result));
    assert_string_equal(cursor, "page 2");
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(take_page(bad[i]), APR_EINVAL);
        assert_string_equal(world.result.number, "GH0707");
    }
    /* the last page has no position: that of the one before is where to ask again */
    assert_success(take_page("{\"events\":[],\"nextPageIndex\":null}"));
    assert_success(gh_events_cursor(world.store, "elsewhere", &cursor, test_pool, &world.result));
    assert_string_equal(cursor, "page 2");
    page = apr_pcalloc(test_pool, 2 * GH_EVENTS_MAX + 64);
    strcpy(page, "{\"events\":[0");
    for (i = 1; i < GH_EVENTS_MAX; i++) {
        strcat(page, ",0");
    }
    assert_success(take_page(apr_pstrcat(test_pool, page, "]}", NULL)));
    assert_int_equal(world.outcome.skipped->nelts, GH_EVENTS_MAX);
    assert_int_equal(take_page(apr_pstrcat(test_pool, page, ",0]}", NULL)), APR_ENOSPC);
    assert_string_equal(world.result.number, "GH0711");
}

static void test_all_or_nothing(void **state)
{
    const char *cursor;

    /* another CA under the name: neither its certificates nor its position are taken up */
    world.feed.ca = gh_ca_certificate(make_root(key_of_kind("P-521"), "CN=Other", apr_time_now()));
    assert_int_equal(take_page("{\"events\":[{\"action\":\"issued\",\"serialNumber\":\"51\"}],"
                               "\"nextPageIndex\":\"page 3\"}"), GH_ECONFLICT);
    assert_string_equal(world.result.number, "GH0712");
    assert_null(stored("51"));
    assert_success(gh_events_cursor(world.store, "elsewhere", &cursor, test_pool, &world.result));
    assert_string_equal(cursor, "page 2");
}

static int group_setup(void **state, int (*open)(void **))
{
    return x509_group_setup(state) || open(state);
}

/** A feed that is read anew: of holds and releases the last one counts, and not before the end. */
static void test_read_anew(void **state)
{
    X509 *first = certificate(world.ca), *second = certificate(world.ca);
    const char *one = serial_of(first), *other = serial_of(second);
    int changed = -1;

    (void)state;
    take(apr_psprintf(test_pool, "{\"action\":\"issued\",%s},{\"action\":\"suspended\",%s}",
                      member_of(first), member_of(second)));
    assert_int_equal(stored(other)->status, GH_STATUS_HELD);
    world.feed.later = gh_events_later_create(test_pool);
    take(apr_psprintf(test_pool, "{\"action\":\"suspended\",\"serialNumber\":\"%s\"},"
                      "{\"action\":\"issued\",%s}", one, member_of(second)));
    assert_int_equal(stored(one)->status, GH_STATUS_GOOD);
    assert_int_equal(stored(other)->status, GH_STATUS_HELD);
    take(apr_psprintf(test_pool, "{\"action\":\"released\",\"serialNumber\":\"%s\"},"
                      "{\"action\":\"released\",\"serialNumber\":\"%s\"}", one, other));
    assert_int_equal(stored(other)->status, GH_STATUS_HELD);
    assert_success(gh_events_settle(world.store, &world.feed, &changed, test_pool,
                                    &world.result));
    assert_int_equal(changed, 1);
    assert_int_equal(stored(one)->status, GH_STATUS_GOOD);
    assert_int_equal(stored(other)->status, GH_STATUS_GOOD);
    assert_success(gh_events_settle(world.store, &world.feed, &changed, test_pool,
                                    &world.result));
    assert_int_equal(changed, 0);
}

typedef struct {
    gh_bytes_t serial;
    gh_status_t status;
    apr_time_t when;
} change_t;

static apr_status_t change_work(gh_transaction_t *transaction, void *baton)
{
    const change_t *change = baton;
    gh_query_t *query = gh_query(transaction, "UPDATE issuer SET by_worker = 1 WHERE name = $1");
    int changed;
    apr_status_t rv;

    gh_bind_text(query, "elsewhere");
    rv = gh_execute(query);
    return rv != APR_SUCCESS ? rv
        : gh_remote_set_status(transaction, "elsewhere", change->serial, change->status,
                               change->status == GH_STATUS_HELD ? 6 : GH_REASON_NONE, 0,
                               change->when, &changed, test_pool);
}

static void change(X509 *one, gh_status_t status, apr_time_t when)
{
    change_t made = { gh_certificate_serial(one, test_pool), status, when };

    assert_success(gh_store_write(world.store, change_work, &made, &world.result));
}

#define HELD_AT "{\"action\":\"suspended\",\"serialNumber\":\"%s\",\"eventDate\":\"%s\"}"

/** What the CA tells of a time before a hold was ended here does not bring it back. */
static void test_released_here(void **state)
{
    X509 *one = certificate(world.ca);
    apr_time_t now = apr_time_now();

    (void)state;
    take(apr_psprintf(test_pool, "{\"action\":\"issued\",%s}", member_of(one)));
    change(one, GH_STATUS_HELD, now - apr_time_from_sec(100));
    change(one, GH_STATUS_GOOD, now - apr_time_from_sec(50));
    take(apr_psprintf(test_pool, HELD_AT, serial_of(one),
                      gh_time_text(test_pool, now - apr_time_from_sec(90))));
    expect_outcome(0, 0, 1, 0);
    assert_int_equal(stored(serial_of(one))->status, GH_STATUS_GOOD);
    take(apr_psprintf(test_pool, HELD_AT, serial_of(one),
                      gh_time_text(test_pool, now - apr_time_from_sec(20))));
    assert_int_equal(stored(serial_of(one))->status, GH_STATUS_HELD);
}

static apr_status_t purge_work(gh_transaction_t *transaction, void *baton)
{
    return gh_remote_purge(transaction, *(apr_time_t *)baton, test_pool);
}

typedef struct {
    gh_bytes_t serial;
    apr_time_t when;
} released_t;

static apr_status_t released_work(gh_transaction_t *transaction, void *baton)
{
    released_t *released = baton;

    return gh_remote_released(transaction, "elsewhere", released->serial, &released->when,
                              test_pool);
}

static apr_time_t released(X509 *one)
{
    released_t asked = { .serial = gh_certificate_serial(one, test_pool) };

    assert_success(gh_store_read(world.store, released_work, &asked, &world.result));
    return asked.when;
}

/** That a hold was ended here is known until the certificate ends, and no longer. */
static void test_released_is_forgotten(void **state)
{
    X509 *one = certificate(world.ca);
    apr_time_t now = apr_time_now(), end;

    (void)state;
    take(apr_psprintf(test_pool, "{\"action\":\"issued\",%s}", member_of(one)));
    change(one, GH_STATUS_HELD, now - apr_time_from_sec(100));
    change(one, GH_STATUS_GOOD, now - apr_time_from_sec(50));
    end = stored(serial_of(one))->not_after;
    assert_success(gh_store_write(world.store, purge_work, &end, &world.result));
    assert_int_equal(released(one), now - apr_time_from_sec(50));
    end += apr_time_from_sec(1);
    assert_success(gh_store_write(world.store, purge_work, &end, &world.result));
    assert_int_equal(released(one), 0);
}

static int open_first(void **state)
{
    return group_setup(state, open_sqlite);
}

static int open_second(void **state)
{
    return group_setup(state, open_pgsql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_serials, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_pages, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_all_or_nothing, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_read_anew, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_released_here, setup, x509_test_teardown),
        cmocka_unit_test_setup_teardown(test_released_is_forgotten, setup, x509_test_teardown)
    };
    int failed;

    failed = cmocka_run_group_tests_name("events, SQLite", tests, open_first, close_store)
        + cmocka_run_group_tests_name("events, PostgreSQL", tests, open_second, close_store);
    stop_fixtures();
    return failed;
}
