/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Parts of the feeder by themselves: what a source may be, what the feeder is told, its threads and
 * buffers, the file with its state. What it does as a whole is tested over HTTP. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>
#include <jansson.h>

#include "lane.h"
#include "mod_ocsp/feeder/ocsp_buffer.h"
#include "mod_ocsp/feeder/ocsp_feeder_private.h"
#include "mod_ocsp/ocsp_feed.h"
#include "mod_ocsp/ocsp_state.h"
#include "x509_support.h"

static X509 *ca(const char *key)
{
    return gh_ca_certificate(make_root(fixture_key(key), "CN=Test", apr_time_now()));
}

/* What a source may be */

typedef struct {
    const char *number;             /* NULL: accepted */
    ocsp_source_config_t config;
} source_case_t;

static void test_sources(void **state)
{
    static const source_case_t cases[] = {
        { NULL, { .kind = OCSP_SOURCE_STORE } },
        { NULL, { .kind = OCSP_SOURCE_CRL, .url = "file:/a/b.crl" } },
        { NULL, { .kind = OCSP_SOURCE_CRL, .url = "file:///a/b.crl" } },
        { NULL, { .kind = OCSP_SOURCE_CRL, .url = "HTTP://example.com/a.crl",
                  .delta = "http://example.com/d.crl" } },
        { NULL, { .kind = OCSP_SOURCE_CRL, .url = "https://[::1]:8443/a.crl", .ca_file = "/ca" } },
        { NULL, { .kind = OCSP_SOURCE_CRL, .url = "http://example.com/a.crl",
                  .delta = "https://example.com/d.crl", .ca_file = "/ca" } },
        { NULL, { .kind = OCSP_SOURCE_CRL, .url = "ldap://example.com", .dn = "cn=x",
                  .bind = "cn=y", .password = "file:/p", .starttls = 1, .ca_file = "/ca" } },
        { NULL, { .kind = OCSP_SOURCE_CRL, .url = "ldaps://example.com/cn=x?a;binary" } },
        { NULL, { .kind = OCSP_SOURCE_SERIALS, .url = "http://example.com/s", .shrink = 100 } },
        { NULL, { .kind = OCSP_SOURCE_INDEX, .url = "file:/ca/index.txt" } },

        { "GH0680", { .kind = OCSP_SOURCE_CRL } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "ftp://example.com/a" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "htt://example.com/a" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "https" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = ":http" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "file:a/b" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "file://host/b" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "http:///a" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "http://example.com/a b" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "http://example.com/\n" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "http://u:secret@example.com/a" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "ldap://example.com" } },
        { "GH0680", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a", .delta = "gopher://e/a" } },
        { "GH0680", { .kind = OCSP_SOURCE_INDEX, .url = "http://example.com/index.txt" } },

        { "GH0682", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a", .ca_file = "/ca" } },
        { "GH0682", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a", .dn = "cn=x" } },
        { "GH0682", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a", .starttls = 1 } },
        { "GH0682", { .kind = OCSP_SOURCE_CRL, .url = "ldaps://e", .dn = "a=b", .starttls = 1 } },
        { "GH0682", { .kind = OCSP_SOURCE_CRL, .url = "ldap://e", .dn = "a=b",
                      .password = "file:/p" } },
        { "GH0682", { .kind = OCSP_SOURCE_CRL, .url = "ldap://e", .dn = "a=b",
                      .proxy = "http://p" } },
        { "GH0682", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a", .shrink = 5 } },
        { "GH0682", { .kind = OCSP_SOURCE_SERIALS, .url = "http://e/a", .delta = "http://e/d" } },
        { "GH0682", { .kind = OCSP_SOURCE_SERIALS, .url = "http://e/a", .serve_expired = 1 } },
        { "GH0682", { .kind = OCSP_SOURCE_SERIALS, .url = "http://e/a", .whole = 1 } },
        { "GH0771", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a",
                      .proxy = "http://me:secret@p" } },

        { "GH0683", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a", .interval = 999999 } },
        { "GH0683", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a", .timeout = 99999 } },
        { "GH0683", { .kind = OCSP_SOURCE_CRL, .url = "http://e/a",
                      .retry = APR_TIME_C(366) * 86400 * APR_USEC_PER_SEC } },
        { "GH0684", { .kind = OCSP_SOURCE_SERIALS, .url = "http://e/a", .shrink = 101 } },
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        gh_result_t result;
        apr_status_t rv;

        gh_result_clear(&result);
        rv = ocsp_source_check(&cases[i].config, test_pool, &result);
        if ((rv == APR_SUCCESS) != (cases[i].number == NULL)
            || strcmp(result.number, cases[i].number ? cases[i].number : "")
            || strstr(result.message, "secret")) {
            fail_msg("case %d, %s: %s %s", (int)i, cases[i].config.url, result.number,
                     result.message);
        }
    }
}

static apr_array_header_t *array_of(const ocsp_source_config_t *configs, int count)
{
    apr_array_header_t *array = apr_array_make(test_pool, count, sizeof(ocsp_source_config_t));
    int i;

    for (i = 0; i < count; ++i) {
        APR_ARRAY_PUSH(array, ocsp_source_config_t) = configs[i];
    }
    return array;
}

static void test_digest(void **state)
{
    static const ocsp_source_config_t store = { .kind = OCSP_SOURCE_STORE };
    static const ocsp_source_config_t crl = { .kind = OCSP_SOURCE_CRL, .url = "file:/a" };
    static const ocsp_source_config_t both[] = {
        { .kind = OCSP_SOURCE_CRL, .url = "file:/b" },
        { .kind = OCSP_SOURCE_SERIALS, .url = "file:/s" }
    };
    X509 *one = ca("p256-01"), *two = ca("rsa2048-01");
    unsigned char digests[6][32];
    int i, j;

    assert_int_equal(ocsp_authority_digest(digests[0], one, "a", array_of(&store, 1)), 0);
    assert_int_equal(ocsp_authority_digest(digests[1], one, "b", array_of(&store, 1)), 0);
    assert_int_equal(ocsp_authority_digest(digests[2], two, "a", array_of(&store, 1)), 0);
    assert_int_equal(ocsp_authority_digest(digests[3], one, "a", array_of(&crl, 1)), 0);
    assert_int_equal(ocsp_authority_digest(digests[4], one, "a", array_of(both, 2)), 0);
    for (i = 0; i < 5; ++i) {
        for (j = 0; j < i; ++j) {
            assert_memory_not_equal(digests[i], digests[j], 32);
        }
    }
    /* where a CRL is fetched from makes no other authority */
    assert_int_equal(ocsp_authority_digest(digests[5], one, "a", array_of(both, 1)), 0);
    assert_memory_equal(digests[3], digests[5], 32);
    assert_int_equal(ocsp_sources_kind(array_of(&store, 1)), GH_SOURCE_STORE);
    assert_int_equal(ocsp_sources_kind(array_of(both, 2)), GH_SOURCE_FILES);
    assert_true(ocsp_sources_complete(array_of(&store, 1)));
    assert_true(ocsp_sources_complete(array_of(both, 2)));
    assert_false(ocsp_sources_complete(array_of(both, 1)));
}

/* What the feeder is told */

static const char *secret_file(const char *text)
{
    char path[] = "/tmp/gatehouse-test-XXXXXX";
    int descriptor = mkstemp(path);

    assert_int_equal(write(descriptor, text, strlen(text)), strlen(text));
    close(descriptor);
    return apr_pstrdup(test_pool, path);
}

static void test_told_and_understood(void **state)
{
    const char *path = secret_file("geheim \"\\ \xc3\xa4");
    ocsp_source_config_t configs[] = {
        { .kind = OCSP_SOURCE_CRL, .url = "ldap://e", .delta = "ldap://d", .interval = 1000000,
          .timeout = 2000000, .retry = 3000000, .warn = 4000000, .serve_expired = 1,
          .whole = 1,
          .max_size = 77, .ca_file = "/ca", .proxy = "http://p", .dn = "cn=x", .attribute = "a",
          .bind = "cn=b", .password = apr_pstrcat(test_pool, "file:", path, NULL), .starttls = 1 },
        { .kind = OCSP_SOURCE_SERIALS, .url = "file:/s", .shrink = 3 },
        { .kind = OCSP_SOURCE_INDEX, .url = "file:/i" },
    };
    ocsp_source_config_t store = { .kind = OCSP_SOURCE_STORE };
    ocsp_feed_authority_t authorities[] = {
        { "one", NULL, ca("p256-01"), 5000000, 600, array_of(configs, 3) },
        { "two", "issuer", ca("rsa2048-01"), 0, 0, array_of(&store, 1) },
    };
    apr_array_header_t *all = apr_array_make(test_pool, 2, sizeof(ocsp_feed_authority_t));
    ocsp_feeder_t feeder = { .pool = test_pool };
    const feeder_authority_t *one, *two;
    unsigned char digest[32];
    gh_result_t result;
    const char *text;
    json_t *json;

    APR_ARRAY_PUSH(all, ocsp_feed_authority_t) = authorities[0];
    APR_ARRAY_PUSH(all, ocsp_feed_authority_t) = authorities[1];
    assert_int_equal(ocsp_feed_write(&text, "/folder", "sqlite3:/s", all, test_pool, &result), 0);
    json = json_loads(text, 0, NULL);
    assert_non_null(json);
    assert_int_equal(feeder_configure(&feeder, json, &result), APR_SUCCESS);
    json_decref(json);
    remove(path);

    assert_string_equal(feeder.folder, "/folder");
    assert_string_equal(feeder.store_uri, "sqlite3:/s");
    assert_int_equal(feeder.authorities->nelts, 2);
    one = APR_ARRAY_IDX(feeder.authorities, 0, feeder_authority_t *);
    two = APR_ARRAY_IDX(feeder.authorities, 1, feeder_authority_t *);
    assert_string_equal(one->name, "one");
    assert_null(one->issuer);
    assert_int_equal(one->kind, GH_SOURCE_FILES);
    assert_int_equal(one->reader.retention, 5000000);
    assert_true(one->reader.serve_endless);
    assert_true(one->sources[0].config->serve_expired);
    assert_true(one->sources[0].config->whole);
    assert_false(one->sources[2].config->serve_expired);
    assert_int_equal(ocsp_authority_digest(digest, authorities[0].certificate, "one",
                                           authorities[0].sources), 0);
    assert_memory_equal(digest, one->reader.digest, 32);
    assert_int_equal(X509_cmp(one->reader.certificate, authorities[0].certificate), 0);
    assert_int_equal(one->source_count, 4);
    assert_int_equal(one->sources[0].kind, OCSP_DOCUMENT_CRL);
    assert_int_equal(one->sources[1].kind, OCSP_DOCUMENT_DELTA);
    assert_int_equal(one->sources[1].number, one->sources[0].number);
    assert_string_equal(one->sources[1].url, "ldap://d");
    assert_int_equal(one->sources[2].kind, OCSP_DOCUMENT_SERIALS);
    assert_int_equal(one->sources[2].config->shrink, 3);
    assert_int_equal(one->sources[3].kind, OCSP_DOCUMENT_INDEX);
    assert_string_equal(one->sources[0].config->password, "geheim \"\\ \xc3\xa4");
    assert_int_equal(one->sources[0].config->interval, 1000000);
    assert_int_equal(one->sources[0].config->timeout, 2000000);
    assert_int_equal(one->sources[0].config->retry, 3000000);
    assert_int_equal(one->sources[0].config->warn, 4000000);
    assert_int_equal(one->sources[0].fetch.bytes.limit, 77);
    assert_string_equal(one->sources[0].config->proxy, "http://p");
    assert_string_equal(one->sources[0].config->ca_file, "/ca");
    assert_string_equal(one->sources[0].config->dn, "cn=x");
    assert_string_equal(one->sources[0].config->attribute, "a");
    assert_string_equal(one->sources[0].config->bind, "cn=b");
    assert_true(one->sources[0].config->starttls);
    /* where nothing was said */
    assert_int_equal(one->sources[2].config->interval, apr_time_from_sec(300));
    assert_int_equal(one->sources[3].config->interval, apr_time_from_sec(5));
    assert_int_equal(one->sources[3].fetch.bytes.limit, OCSP_FETCH_SIZE);
    assert_string_equal(two->issuer, "issuer");
    assert_int_equal(two->kind, GH_SOURCE_STORE);
    assert_int_equal(two->source_count, 0);
}

static void test_a_password_that_cannot_be_had(void **state)
{
    ocsp_source_config_t config = {
        .kind = OCSP_SOURCE_CRL, .url = "ldap://e", .bind = "cn=b", .password = "file:/nowhere/p"
    };
    ocsp_feed_authority_t authority = { "one", NULL, ca("p256-01"), 0, 0, array_of(&config, 1) };
    apr_array_header_t *all = apr_array_make(test_pool, 1, sizeof(authority));
    gh_result_t result;
    const char *text;

    APR_ARRAY_PUSH(all, ocsp_feed_authority_t) = authority;
    gh_result_clear(&result);
    assert_int_not_equal(ocsp_feed_write(&text, "/f", NULL, all, test_pool, &result), APR_SUCCESS);
    assert_string_equal(result.number, "GH0001");
}

static void test_not_understood(void **state)
{
    static const char *const texts[] = {
        "{}", "{\"folder\":\"/f\"}",
        "{\"folder\":\"/f\",\"authorities\":[{}]}",
        "{\"folder\":\"/f\",\"authorities\":[{\"name\":\"a\",\"digest\":\"00\","
        "\"certificate\":\"\",\"retention\":0,\"sources\":[]}]}",
    };
    size_t i;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); ++i) {
        ocsp_feeder_t feeder = { .pool = test_pool };
        json_t *json = json_loads(texts[i], 0, NULL);
        gh_result_t result;

        assert_non_null(json);
        gh_result_clear(&result);
        assert_int_equal(feeder_configure(&feeder, json, &result), APR_EINVAL);
        assert_string_equal(result.number, "GH0674");
        json_decref(json);
    }
}

/* Buffers and lanes */

static void test_buffer(void **state)
{
    ocsp_buffer_t buffer;
    char piece[1000];
    int i;

    memset(piece, 'x', sizeof(piece));
    ocsp_buffer_init(&buffer, 100500);
    for (i = 0; i < 100; ++i) {
        assert_int_equal(ocsp_buffer_add(&buffer, piece, sizeof(piece)), APR_SUCCESS);
    }
    assert_int_equal(ocsp_buffer_add(&buffer, piece, 501), APR_ENOSPC);
    assert_int_equal(ocsp_buffer_add(&buffer, piece, 500), APR_SUCCESS);
    assert_int_equal(ocsp_buffer_add(&buffer, piece, 1), APR_ENOSPC);
    assert_int_equal(ocsp_buffer_bytes(&buffer).length, 100500);
    assert_int_equal(ocsp_buffer_bytes(&buffer).data[100499], 'x');
    ocsp_buffer_free(&buffer);
    assert_int_equal(ocsp_buffer_bytes(&buffer).length, 0);
    assert_int_equal(ocsp_buffer_add(&buffer, piece, 1000), APR_SUCCESS);
    ocsp_buffer_free(&buffer);
}

typedef struct {
    gh_lane_job_t job;
    pthread_mutex_t *mutex;
    int *running, *most;
    int worked, done;
    pthread_t thread;
} lane_job_t;

static void lane_work(void *baton)
{
    lane_job_t *job = baton;

    pthread_mutex_lock(job->mutex);
    if (++*job->running > *job->most) {
        *job->most = *job->running;
    }
    pthread_mutex_unlock(job->mutex);
    apr_sleep(apr_time_from_msec(20));
    pthread_mutex_lock(job->mutex);
    --*job->running;
    pthread_mutex_unlock(job->mutex);
    ++job->worked;
}

static void lane_done(void *baton)
{
    lane_job_t *job = baton;

    job->done += pthread_equal(job->thread, pthread_self()) ? 1 : 100;
}

static void lane_wake(void *baton)
{
    __atomic_add_fetch((int *)baton, 1, __ATOMIC_SEQ_CST);
}

static void test_lane(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    int running = 0, most = 0, woken = 0, i, round;
    lane_job_t jobs[12];
    gh_lane_t *lane;

    memset(jobs, 0, sizeof(jobs));
    assert_int_equal(gh_lane_create(&lane, 3, lane_wake, &woken, test_pool), APR_SUCCESS);
    for (round = 1; round <= 2; ++round) {
        for (i = 0; i < 12; ++i) {
            jobs[i].job.work = lane_work;
            jobs[i].job.done = lane_done;
            jobs[i].job.baton = &jobs[i];
            jobs[i].mutex = &mutex;
            jobs[i].running = &running;
            jobs[i].most = &most;
            jobs[i].thread = pthread_self();
            assert_int_equal(gh_lane_submit(lane, &jobs[i].job), APR_SUCCESS);
        }
        for (i = 0; i < 500 && __atomic_load_n(&woken, __ATOMIC_SEQ_CST) < 12 * round; ++i) {
            apr_sleep(apr_time_from_msec(10));
        }
        gh_lane_finish(lane);
        for (i = 0; i < 12; ++i) {
            assert_int_equal(jobs[i].worked, round);
            assert_int_equal(jobs[i].done, round);
        }
    }
    assert_int_equal(most, 3);
}

/* The state */

static void put(const char *folder, const char *text)
{
    FILE *file = fopen(ocsp_state_path(folder, "a", test_pool), "w");

    fputs(text, file);
    fclose(file);
}

static void test_state(void **state)
{
    char folder[] = "/tmp/gatehouse-test-XXXXXX";
    unsigned char digest[32] = { 0xab };
    const char *hex = gh_hex(test_pool, digest, 32);
    ocsp_state_t *read;

    assert_non_null(mkdtemp(folder));
    assert_int_equal(ocsp_state_read(&read, folder, "a", digest, test_pool), APR_ENOENT);
    put(folder, "");
    assert_int_equal(ocsp_state_read(&read, folder, "a", digest, test_pool), APR_EINVAL);
    put(folder, "[1]");
    assert_int_equal(ocsp_state_read(&read, folder, "a", digest, test_pool), APR_EINVAL);
    put(folder, apr_psprintf(test_pool, "{\"version\":2,\"digest\":\"%s\"}", hex));
    assert_int_equal(ocsp_state_read(&read, folder, "a", digest, test_pool), APR_EINVAL);
    put(folder, "{\"version\":1,\"digest\":\"00\"}");
    assert_int_equal(ocsp_state_read(&read, folder, "a", digest, test_pool), APR_ENOENT);
    put(folder, apr_psprintf(test_pool, "{\"version\":1,\"digest\":\"%s\"}", hex));
    assert_int_equal(ocsp_state_read(&read, folder, "a", digest, test_pool), APR_SUCCESS);
    assert_int_equal(read->count, 0);
    assert_null(read->gh);
    put(folder, apr_psprintf(test_pool, "{\"version\":1,\"digest\":\"%s\",\"generation\":7,"
                             "\"written\":\"2026-11-29T12:00:00Z\",\"build_error\":{\"gh\":\"GH1\","
                             "\"message\":\"m\",\"action\":\"do\"},\"sources\":[{\"kind\":\"crl\","
                             "\"url\":\"http://e\",\"failures\":2,\"error\":{\"gh\":\"GH2\"},"
                             "\"number\":\"0a\",\"next_update\":\"2026-11-30T00:00:00Z\","
                             "\"warn\":1,\"entries\":5},{}]}", hex));
    assert_int_equal(ocsp_state_read(&read, folder, "a", digest, test_pool), APR_SUCCESS);
    assert_int_equal(read->generation, 7);
    assert_string_equal(read->gh, "GH1");
    assert_string_equal(gh_time_text(test_pool, read->written), "2026-11-29T12:00:00Z");
    assert_int_equal(read->count, 2);
    assert_string_equal(read->sources[0].gh, "GH2");
    assert_string_equal(read->sources[0].number, "0a");
    assert_int_equal(read->sources[0].failures, 2);
    assert_int_equal(read->sources[0].warn, 1);
    assert_int_equal(read->sources[0].entries, 5);
    assert_string_equal(read->sources[1].kind, "");
    remove(ocsp_state_path(folder, "a", test_pool));
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_sources, x509_test_teardown),
        cmocka_unit_test_teardown(test_digest, x509_test_teardown),
        cmocka_unit_test_teardown(test_told_and_understood, x509_test_teardown),
        cmocka_unit_test_teardown(test_a_password_that_cannot_be_had, x509_test_teardown),
        cmocka_unit_test_teardown(test_not_understood, x509_test_teardown),
        cmocka_unit_test_teardown(test_buffer, x509_test_teardown),
        cmocka_unit_test_teardown(test_lane, x509_test_teardown),
        cmocka_unit_test_teardown(test_state, x509_test_teardown),
    };

    return cmocka_run_group_tests(tests, x509_group_setup, x509_group_teardown);
}
