/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

/* What only PostgreSQL has: a server that goes away and comes back. */

/** A store in the cluster that these tests stop and start. */
static int open_own(void **state)
{
    store_test_t *test;
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    test = apr_pcalloc(p, sizeof(*test));
    test->p = p;
    test->uri = own_cluster("start", p);
    prepare_store(test->uri, p);
    test->store = open_store(test->uri, NULL, p);
    *state = test;
    return 0;
}

static apr_status_t script(gh_transaction_t *transaction, void *baton)
{
    return transaction->backend->script(transaction, baton);
}

static apr_status_t put(gh_transaction_t *transaction, void *baton)
{
    return gh_setting_put(transaction, baton, "value");
}

static apr_status_t get(gh_transaction_t *transaction, void *baton)
{
    const char *value;
    apr_pool_t *p;
    apr_status_t rv;

    apr_pool_create(&p, NULL);
    rv = gh_setting_get(transaction, baton, &value, p);
    apr_pool_destroy(p);
    return rv;
}

/* A connection that broke while it was idle is replaced, and nobody notices. */
static void test_idle_connection(void **state)
{
    store_test_t *test = *state;
    const char *stops[] = { "stop --immediate", "crash" };
    int i;

    for (i = 0; i < 2; i++) {
        must_write(test->store, put, (void *)"before");
        own_cluster(stops[i], test->p);
        own_cluster("start", test->p);
        must_write(test->store, put, (void *)"after");
        must_read(test->store, get, (void *)"after");
    }
}

/* While the server is away: at once, and again when it is back. */
static void test_unreachable(void **state)
{
    store_test_t *test = *state;
    gh_result_t result;
    apr_time_t begun;
    int i;

    must_write(test->store, put, (void *)"name");
    own_cluster("stop --immediate", test->p);
    gh_result_clear(&result);
    assert_int_equal(gh_store_write(test->store, put, (void *)"name", &result), GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH0083");
    begun = gh_monotonic_now();
    for (i = 0; i < 1000; i++) {
        assert_int_equal(gh_store_read(test->store, get, (void *)"name", &result),
                         GH_EUNAVAILABLE);
        assert_string_equal(result.number, "GH0087");
    }
    assert_true(gh_monotonic_now() - begun < apr_time_from_msec(800));
    own_cluster("start", test->p);
    usleep(1100000);
    must_read(test->store, get, (void *)"name");
}

/** One read or write while the server is silent. */
typedef struct {
    gh_store_t *store;
    pthread_t id;
    gh_store_work_fn *work;
    apr_status_t status;
    char number[8];
    apr_interval_time_t took;
} asker_t;

static void *asker_main(void *data)
{
    asker_t *asker = data;
    apr_time_t begun = gh_monotonic_now();
    gh_result_t result;

    gh_result_clear(&result);
    asker->status = gh_store_write(asker->store, asker->work, (void *)"name", &result);
    asker->took = gh_monotonic_now() - begun;
    apr_cpystrn(asker->number, result.number, sizeof(asker->number));
    return NULL;
}

static void ask(asker_t *askers, int count, gh_store_t *store, gh_store_work_fn *work)
{
    int i;

    for (i = 0; i < count; i++) {
        askers[i].store = store;
        askers[i].work = work;
        pthread_create(&askers[i].id, NULL, asker_main, &askers[i]);
    }
}

static void join(asker_t *askers, int count)
{
    int i;

    for (i = 0; i < count; i++) {
        pthread_join(askers[i].id, NULL);
    }
}

static apr_status_t put_slowly(gh_transaction_t *transaction, void *baton)
{
    apr_status_t rv = gh_setting_put(transaction, baton, "value");

    usleep(500000);
    return rv;
}

/* A server that does not answer, and does not close its connections either. Those who ask while
 * nobody knows wait for their deadline; after that one at a time does, and a connection that is
 * there is no reason to wait. */
static void test_silent_server(void **state)
{
    store_test_t *test = *state;
    gh_store_options_t options = { .deadline = apr_time_from_sec(3), .connections = 4 };
    gh_store_t *store = open_store(test->uri, &options, test->p);
    gh_result_t result;
    asker_t askers[4];
    apr_time_t begun;
    int i, instantly = 0;

    ask(askers, 4, store, put_slowly);
    join(askers, 4);
    own_cluster("freeze", test->p);
    ask(askers, 1, store, put);
    join(askers, 1);
    assert_int_equal(askers[0].status, GH_EUNAVAILABLE);
    assert_true(askers[0].took < apr_time_from_msec(4500));
    /* one finds out whether it is still so; the others have connections from before */
    usleep(1100000);
    ask(askers, 3, store, put);
    join(askers, 3);
    for (i = 0; i < 3; i++) {
        assert_int_equal(askers[i].status, GH_EUNAVAILABLE);
        assert_true(askers[i].took < apr_time_from_msec(4500));
        instantly += askers[i].took < apr_time_from_msec(500)
                     && strcmp(askers[i].number, "GH0087") == 0;
    }
    assert_int_equal(instantly, 2);
    own_cluster("thaw", test->p);
    usleep(1100000);
    begun = gh_monotonic_now();
    gh_result_clear(&result);
    assert_int_equal(gh_store_write(store, put, (void *)"name", &result), APR_SUCCESS);
    assert_true(gh_monotonic_now() - begun < apr_time_from_sec(1));
    must_read(test->store, get, (void *)"name");
}

static apr_status_t put_and_freeze(gh_transaction_t *transaction, void *baton)
{
    apr_status_t rv = gh_setting_put(transaction, "name", "value");

    own_cluster("freeze", baton);
    return rv;
}

/* Whether a commit took place that got no answer, nobody knows. */
static void test_silent_in_commit(void **state)
{
    store_test_t *test = *state;
    gh_store_options_t options = { .deadline = apr_time_from_sec(2), .connections = 1 };
    gh_store_t *store = open_store(test->uri, &options, test->p);
    apr_time_t begun = gh_monotonic_now();
    gh_result_t result;
    apr_status_t rv;

    must_write(store, put, (void *)"name");
    gh_result_clear(&result);
    rv = gh_store_write(store, put_and_freeze, test->p, &result);
    own_cluster("thaw", test->p);
    assert_int_equal(rv, GH_EUNKNOWN);
    assert_string_equal(result.number, "GH0089");
    assert_true(gh_monotonic_now() - begun < apr_time_from_sec(5));
    must_write(store, put, (void *)"name");
}

/* Neither the parent process nor tools wait long, whatever the connection string says, and however
 * many hosts it has. */
static void test_silent_at_start(void **state)
{
    store_test_t *test = *state;
    const char *location = test->uri + strlen("pgsql:host=");
    const char *host = apr_pstrndup(test->p, location, strcspn(location, " "));
    const char *uri = apr_psprintf(test->p, "pgsql:host=%s,%s,%s connect_timeout=0%s", host, host,
                                   host, location + strlen(host));
    gh_store_options_t options = { .deadline = apr_time_from_sec(6) };
    gh_result_t result;
    apr_time_t begun;

    own_cluster("freeze", test->p);
    begun = gh_monotonic_now();
    gh_result_clear(&result);
    assert_int_equal(gh_store_prepare(uri, -1, -1, &options, test->p, &result), GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH0083");
    assert_in_range(gh_monotonic_now() - begun, apr_time_from_sec(3), apr_time_from_msec(8500));
    own_cluster("thaw", test->p);
    assert_int_equal(gh_store_prepare(uri, -1, -1, &options, test->p, &result), APR_SUCCESS);
}

typedef struct {
    store_test_t *test;
    pthread_t id;
    int stop;
    int succeeded, unavailable, unknown, other;
    char ids[20000][33];            /* of those that were acknowledged */
} load_t;

static void *load_main(void *data)
{
    load_t *load = data;
    gh_enrolment_record_t *record;
    apr_pool_t *p;
    apr_status_t rv;

    apr_pool_create(&p, NULL);
    while (!__atomic_load_n(&load->stop, __ATOMIC_SEQ_CST) && load->succeeded < 20000) {
        apr_pool_clear(p);
        record = enrolment_of(0, p);
        record->key = bytes_of(record->id);
        rv = gh_store_write(load->test->store, insert_enrolment, record, NULL);
        if (rv == APR_SUCCESS) {
            strcpy(load->ids[load->succeeded], record->id);
            __atomic_add_fetch(&load->succeeded, 1, __ATOMIC_SEQ_CST);
            continue;
        }
        load->unavailable += rv == GH_EUNAVAILABLE;
        load->unknown += rv == GH_EUNKNOWN;
        load->other += rv != GH_EUNAVAILABLE && rv != GH_EUNKNOWN;
        usleep(10000);
    }
    apr_pool_destroy(p);
    return NULL;
}

/* A restart under load: what was acknowledged is there, and writes go on by themselves. */
static void test_restart(void **state)
{
    static load_t loads[4];
    store_test_t *test = *state;
    int i, j, count, before[4], unavailable = 0;

    memset(loads, 0, sizeof(loads));
    for (i = 0; i < 4; i++) {
        loads[i].test = test;
        pthread_create(&loads[i].id, NULL, load_main, &loads[i]);
    }
    usleep(200000);
    own_cluster("crash", test->p);
    own_cluster("start", test->p);
    for (i = 0; i < 4; i++) {
        before[i] = __atomic_load_n(&loads[i].succeeded, __ATOMIC_SEQ_CST);
    }
    for (i = 0, count = 0; i < 4; i++) {
        for (; count < 500 && __atomic_load_n(&loads[i].succeeded, __ATOMIC_SEQ_CST) < before[i]
               + 5; count++) {
            usleep(10000);
        }
    }
    for (i = 0; i < 4; i++) {
        __atomic_store_n(&loads[i].stop, 1, __ATOMIC_SEQ_CST);
        pthread_join(loads[i].id, NULL);
        assert_true(before[i] > 0);
        assert_true(loads[i].succeeded >= before[i] + 5);
        assert_int_equal(loads[i].other, 0);
        unavailable += loads[i].unavailable + loads[i].unknown;
        for (j = 0; j < loads[i].succeeded; j += 1 + loads[i].succeeded / 500) {
            assert_true(has_enrolment(test->store, loads[i].ids[j]));
        }
        assert_true(has_enrolment(test->store, loads[i].ids[before[i] - 1]));
    }
    assert_true(unavailable > 0);
}

/* The server ends the session while it commits. */
static void test_commit_answer_lost(void **state)
{
    store_test_t *test = *state;
    gh_result_t result;

    must_write(test->store, script, (void *)
               "CREATE OR REPLACE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS"
               " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';"
               " DROP TRIGGER IF EXISTS end_session ON setting;"
               " CREATE CONSTRAINT TRIGGER end_session AFTER INSERT ON setting"
               " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.name = 'boom')"
               " EXECUTE FUNCTION end_session()");
    gh_result_clear(&result);
    assert_int_equal(gh_store_write(test->store, put, (void *)"boom", &result), GH_EUNKNOWN);
    assert_string_equal(result.number, "GH0089");
    must_write(test->store, put, (void *)"name");
}

/* The server ends the session before the commit: nothing was done, and that is known. */
static void test_lost_before_commit(void **state)
{
    store_test_t *test = *state;
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_store_write(test->store, script, (void *)
                                    "SELECT pg_terminate_backend(pg_backend_pid())", &result),
                     GH_EUNAVAILABLE);
    assert_string_equal(result.number, "GH0078");
    must_write(test->store, put, (void *)"name");
}

typedef struct {
    int runs;
    int conflicts;
} conflict_t;

/** Fails as a serialisation conflict would, a number of times. */
static apr_status_t conflict(gh_transaction_t *transaction, void *baton)
{
    conflict_t *c = baton;

    if (c->runs++ < c->conflicts) {
        return transaction->backend->script(
            transaction,
            "DO 'BEGIN RAISE EXCEPTION USING ERRCODE = ''40001'', MESSAGE = ''conflict''; END'");
    }
    return gh_setting_put(transaction, "name", "value");
}

static void test_run_again(void **state)
{
    store_test_t *test = *state;
    conflict_t few = { 0, 3 }, many = { 0, 1000 };
    gh_result_t result;

    must_write(test->store, conflict, &few);
    assert_int_equal(few.runs, 4);
    gh_result_clear(&result);
    assert_int_equal(gh_store_write(test->store, conflict, &many, &result), GH_EUNAVAILABLE);
    assert_in_range(many.runs, 4, 20);
    assert_int_equal(result.status, GH_EUNAVAILABLE);
}

static apr_status_t sleep_long(gh_transaction_t *transaction, void *baton)
{
    return gh_execute(gh_query(transaction, "SELECT 1 FROM pg_sleep(5)"));
}

static void test_deadline(void **state)
{
    store_test_t *test = *state;
    gh_store_options_t options = { .deadline = apr_time_from_msec(300), .connections = 1 };
    gh_store_t *store = open_store(test->uri, &options, test->p);
    apr_time_t begun = gh_monotonic_now();
    gh_result_t result;

    gh_result_clear(&result);
    assert_int_equal(gh_store_write(store, sleep_long, NULL, &result), GH_EUNAVAILABLE);
    assert_true(gh_monotonic_now() - begun < apr_time_from_msec(1000));
    must_write(store, put, (void *)"name");
}

static apr_status_t no_sync(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "SELECT current_setting('synchronous_commit')");
    apr_status_t rv = gh_step(query);
    apr_pool_t *p;

    if (rv == APR_SUCCESS) {
        apr_pool_create(&p, NULL);
        *(int *)baton = strcmp(gh_column_text(query, 0, p), "off") == 0;
        apr_pool_destroy(p);
        gh_query_end(query);
    }
    return rv;
}

static void test_durable_whatever_the_default(void **state)
{
    store_test_t *test = *state;
    gh_store_t *store;
    int off = 1;

    must_write(test->store, script, (void *)"ALTER ROLE gatehouse SET synchronous_commit = off");
    store = open_store(test->uri, NULL, test->p);
    must_read(store, no_sync, &off);
    assert_int_equal(off, 0);
    must_write(test->store, script, (void *)"ALTER ROLE gatehouse RESET synchronous_commit");
}

static apr_status_t leave_walk(gh_transaction_t *transaction, void *baton)
{
    gh_query_t *query = gh_query(transaction, "SELECT i FROM generate_series(1, 100000) AS i");
    apr_status_t rv;

    gh_query_walk(query);
    rv = gh_step(query);
    gh_query_end(query);
    return rv;
}

static void test_abandoned_walk(void **state)
{
    store_test_t *test = *state;
    int i;

    for (i = 0; i < 20; i++) {
        must_read(test->store, leave_walk, NULL);
    }
    assert_int_equal(gh_store_write(test->store, leave_walk, NULL, NULL), GH_EUNAVAILABLE);
    must_write(test->store, put, (void *)"name");
}

/* Transactions that revoke take turns, so that their change numbers become visible in order. */
typedef struct {
    store_test_t *test;
    pthread_t id;
    gh_certificate_record_t *record;
    apr_interval_time_t pause;      /* between the change and the commit */
    apr_status_t status;
    apr_time_t ended;
} revoker_t;

static apr_status_t revoke_one(gh_transaction_t *transaction, void *baton)
{
    revoker_t *revoker = baton;
    int changed;
    apr_status_t rv = gh_certificate_set_status(transaction, "devices", revoker->record->serial,
                                                GH_STATUS_REVOKED, 4, 0, 5, &changed);

    usleep(revoker->pause);
    return rv;
}

static void *revoke_main(void *data)
{
    revoker_t *revoker = data;

    revoker->status = gh_store_write(revoker->test->store, revoke_one, revoker, NULL);
    revoker->ended = gh_monotonic_now();
    return NULL;
}

static apr_status_t insert_certificate(gh_transaction_t *transaction, void *baton)
{
    apr_status_t rv = register_devices(transaction, NULL);

    return rv == APR_SUCCESS ? gh_certificate_insert(transaction, baton) : rv;
}

static void test_revocations_take_turns(void **state)
{
    revoker_t revokers[2] = { { .test = *state, .pause = 300000 }, { .test = *state } };
    int i;

    for (i = 0; i < 2; i++) {
        revokers[i].record = certificate_of(i, revokers[i].test->p);
        must_write(revokers[i].test->store, insert_certificate, revokers[i].record);
    }
    for (i = 0; i < 2; i++) {
        pthread_create(&revokers[i].id, NULL, revoke_main, &revokers[i]);
        usleep(100000);
    }
    for (i = 0; i < 2; i++) {
        pthread_join(revokers[i].id, NULL);
        assert_int_equal(revokers[i].status, APR_SUCCESS);
    }
    assert_true(revokers[1].ended > revokers[0].ended - 50000);
}

int run_pgsql_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_before_commit),
        cmocka_unit_test(test_commit_answer_lost),
        cmocka_unit_test(test_run_again),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_durable_whatever_the_default),
        cmocka_unit_test(test_abandoned_walk),
        cmocka_unit_test(test_revocations_take_turns),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_silent_in_commit),
        cmocka_unit_test(test_silent_at_start),
        cmocka_unit_test(test_idle_connection),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_restart)
    };

    return cmocka_run_group_tests_name("PostgreSQL", tests, open_own, close_store);
}
