/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store_support.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "store/jobs.h"

/* Jobs on both back ends: who may take them, who holds them, and what is left of a holder that has
 * lost his. */

#define HOUR    apr_time_from_sec(3600)
#define SHORT   apr_time_from_msec(150)

typedef struct {
    apr_pool_t *p;
    gh_job_record_t *record;        /* what is inserted, or was found */
    apr_array_header_t *records;
    apr_array_header_t *queues;
    apr_array_header_t *ids;
    const char *id;
    const char *holder;
    apr_interval_time_t interval;
    int limit;
    apr_int64_t count;
    apr_time_t due;
    int unknown;
    const char *reference;
    const gh_result_t *result;
    gh_job_counts_t counts;
    const char *queue;
} work_t;

static gh_job_record_t *job_of(const char *queue, const char *subject, apr_time_t due,
                               apr_pool_t *p)
{
    gh_job_record_t *job = apr_pcalloc(p, sizeof(*job));

    job->id = gh_ordered_id(apr_time_now(), p);
    job->kind = "enrol";
    job->queue = queue;
    job->subject = subject ? subject : job->id;
    job->payload = bytes_of("payload");
    job->created = due;
    job->due = due;
    job->deadline = due + HOUR;
    return job;
}

static apr_status_t insert(gh_transaction_t *t, void *baton)
{
    return gh_job_insert(t, baton);
}

#define WORK(name, call) \
    static apr_status_t name(gh_transaction_t *t, void *baton) \
    { \
        work_t *w = baton; \
\
        return call; \
    }

WORK(find, gh_job_find(t, w->id, &w->record, w->p))
WORK(claim, gh_job_claim(t, w->id, w->holder, w->interval, &w->record, w->p))
WORK(claim_due, gh_job_claim_due(t, w->queues, w->holder, w->interval, w->limit, w->limit,
                                 &w->records, w->p))
WORK(count_due, gh_job_count_due(t, w->queues, w->limit, &w->count))
WORK(extend, gh_job_extend(t, w->ids, w->holder, w->interval))
WORK(begin_call, gh_job_begin_call(t, w->id, w->holder))
WORK(again, gh_job_again(t, w->id, w->holder, w->due, w->unknown, w->reference, w->result))
WORK(doubt, gh_job_doubt(t, w->id, w->holder, w->result))
WORK(take_away, gh_job_remove(t, w->id, w->holder))

static apr_status_t retry(gh_transaction_t *t, void *baton)
{
    return gh_job_retry(t, ((work_t *)baton)->id);
}

static apr_status_t cancel(gh_transaction_t *t, void *baton)
{
    return gh_job_cancel(t, ((work_t *)baton)->id);
}

WORK(list, gh_job_list(t, w->queue, w->limit, &w->records, w->p))
WORK(list_without, gh_job_list_without(t, "enrol", w->limit, &w->records, w->p))
WORK(count, gh_job_counts(t, w->queue, &w->counts))

static apr_status_t try(store_test_t *test, gh_store_work_fn *work, work_t *w)
{
    gh_result_t result;

    gh_result_clear(&result);
    return gh_store_write(test->store, work, w, &result);
}

static apr_array_header_t *queues_of(apr_pool_t *p, const char *a, const char *b)
{
    apr_array_header_t *queues = apr_array_make(p, 2, sizeof(const char *));

    APR_ARRAY_PUSH(queues, const char *) = a;
    if (b) {
        APR_ARRAY_PUSH(queues, const char *) = b;
    }
    return queues;
}

static work_t work_for(store_test_t *test, const char *id, const char *holder)
{
    work_t w = { .p = test->p, .id = id, .holder = holder, .interval = HOUR, .limit = 10 };

    return w;
}

static void test_record(void **state)
{
    store_test_t *test = *state;
    gh_job_record_t *job = job_of("record", NULL, apr_time_now(), test->p);
    work_t w = work_for(test, job->id, "one");

    assert_int_equal(try(test, find, &w), APR_NOTFOUND);
    assert_int_equal(try(test, claim, &w), APR_NOTFOUND);
    must_write(test->store, insert, job);
    assert_int_equal(gh_store_write(test->store, insert, job, NULL), GH_ECONFLICT);
    must_read(test->store, find, &w);
    assert_string_equal(w.record->kind, "enrol");
    assert_string_equal(w.record->queue, "record");
    assert_string_equal(w.record->subject, job->subject);
    assert_int_equal(w.record->payload.length, 7);
    assert_memory_equal(w.record->payload.data, "payload", 7);
    assert_int_equal(w.record->state, GH_JOB_OPEN);
    assert_int_equal(w.record->attempts, 0);
    assert_true(w.record->created == job->created && w.record->due == job->due);
    assert_true(w.record->deadline == job->deadline && w.record->sent == 0);
    assert_null(w.record->holder);
    assert_null(w.record->reference);
    assert_null(w.record->number);
}

/* Every change asks for the holder: who is not it changes nothing. */
static void test_fencing(void **state)
{
    store_test_t *test = *state;
    gh_job_record_t *job = job_of("fence", NULL, apr_time_now(), test->p);
    work_t one = work_for(test, job->id, "one"), two = work_for(test, job->id, "two");

    must_write(test->store, insert, job);
    assert_int_equal(try(test, begin_call, &one), APR_NOTFOUND);
    assert_int_equal(try(test, claim, &one), APR_SUCCESS);
    assert_string_equal(one.record->holder, "one");
    assert_true(one.record->held_until > apr_time_now());
    assert_int_equal(try(test, claim, &two), APR_NOTFOUND);
    assert_int_equal(try(test, claim, &one), APR_SUCCESS);
    assert_int_equal(try(test, begin_call, &two), APR_NOTFOUND);
    assert_int_equal(try(test, again, &two), APR_NOTFOUND);
    assert_int_equal(try(test, doubt, &two), APR_NOTFOUND);
    assert_int_equal(try(test, take_away, &two), APR_NOTFOUND);
    assert_int_equal(try(test, retry, &two), GH_EBUSY);
    assert_int_equal(try(test, cancel, &two), GH_EBUSY);
    must_read(test->store, find, &one);
    assert_int_equal(one.record->attempts, 0);
    assert_true(one.record->sent == 0);
    assert_int_equal(try(test, take_away, &one), APR_SUCCESS);
    assert_int_equal(try(test, find, &one), APR_NOTFOUND);
    assert_int_equal(try(test, take_away, &one), APR_NOTFOUND);
}

/* A holder that has died: another one goes on, and knows that something was sent. */
static void test_expiry(void **state)
{
    store_test_t *test = *state;
    gh_job_record_t *job = job_of("expiry", NULL, apr_time_now(), test->p);
    work_t one = work_for(test, job->id, "one"), two = work_for(test, job->id, "two");
    apr_time_t sent;

    must_write(test->store, insert, job);
    one.interval = SHORT;
    assert_int_equal(try(test, claim, &one), APR_SUCCESS);
    assert_int_equal(try(test, begin_call, &one), APR_SUCCESS);
    usleep(SHORT + 50000);
    /* nobody has taken it: but no call may begin any more, and what came of one may be stored */
    assert_int_equal(try(test, begin_call, &one), APR_NOTFOUND);
    two.queues = queues_of(test->p, "expiry", NULL);
    must_write(test->store, claim_due, &two);
    assert_int_equal(two.records->nelts, 1);
    two.record = APR_ARRAY_IDX(two.records, 0, gh_job_record_t *);
    assert_string_equal(two.record->id, job->id);
    assert_string_equal(two.record->holder, "two");
    assert_int_equal(two.record->attempts, 1);
    sent = two.record->sent;
    assert_true(sent != 0);
    assert_int_equal(try(test, take_away, &one), APR_NOTFOUND);
    assert_int_equal(try(test, again, &one), APR_NOTFOUND);
    /* a second call: since when something may have happened stays as it is */
    assert_int_equal(try(test, begin_call, &two), APR_SUCCESS);
    must_read(test->store, find, &two);
    assert_true(two.record->sent == sent);
    assert_int_equal(two.record->attempts, 2);
    assert_int_equal(try(test, take_away, &two), APR_SUCCESS);
}

/* What a holder names is his for longer. What he does not name runs out: perhaps he does not know
 * that he has it. */
static void test_extend(void **state)
{
    store_test_t *test = *state;
    gh_job_record_t *job = job_of("extend", NULL, apr_time_now(), test->p);
    gh_job_record_t *unknown = job_of("extend", NULL, apr_time_now(), test->p);
    work_t one = work_for(test, job->id, "extender"), two = work_for(test, job->id, "two");
    work_t left = work_for(test, unknown->id, "extender");

    must_write(test->store, insert, job);
    must_write(test->store, insert, unknown);
    one.interval = left.interval = SHORT;
    assert_int_equal(try(test, claim, &one), APR_SUCCESS);
    assert_int_equal(try(test, claim, &left), APR_SUCCESS);
    one.interval = HOUR;
    one.ids = two.ids = queues_of(test->p, job->id, NULL);
    must_write(test->store, extend, &one);
    must_write(test->store, extend, &two);
    usleep(SHORT + 50000);
    assert_int_equal(try(test, claim, &two), APR_NOTFOUND);
    assert_int_equal(try(test, begin_call, &one), APR_SUCCESS);
    two.queues = queues_of(test->p, "extend", NULL);
    must_write(test->store, claim_due, &two);
    assert_int_equal(two.records->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(two.records, 0, gh_job_record_t *)->id, unknown->id);
}

static void test_again_and_doubt(void **state)
{
    store_test_t *test = *state;
    gh_job_record_t *job = job_of("again", NULL, apr_time_now(), test->p);
    work_t w = work_for(test, job->id, "one");
    apr_time_t later = apr_time_now() + HOUR;
    gh_result_t result;

    gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "test", NULL,
                   "GH0999: the CA is away");
    must_write(test->store, insert, job);
    w.queues = queues_of(test->p, "again", NULL);
    assert_int_equal(try(test, claim, &w), APR_SUCCESS);
    assert_int_equal(try(test, begin_call, &w), APR_SUCCESS);
    w.due = later;
    w.unknown = 1;
    w.reference = "theirs";
    w.result = &result;
    assert_int_equal(try(test, again, &w), APR_SUCCESS);
    must_read(test->store, find, &w);
    assert_null(w.record->holder);
    assert_true(w.record->due == later && w.record->sent != 0);
    assert_string_equal(w.record->reference, "theirs");
    assert_string_equal(w.record->number, "GH0999");
    assert_string_equal(w.record->message, "the CA is away");
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 0);
    must_read(test->store, count_due, &w);
    assert_int_equal(w.count, 0);

    /* by its id it can be taken although it is not due */
    assert_int_equal(try(test, claim, &w), APR_SUCCESS);
    w.unknown = 0;
    w.reference = NULL;
    w.result = NULL;
    w.due = apr_time_now();
    assert_int_equal(try(test, again, &w), APR_SUCCESS);
    must_read(test->store, find, &w);
    assert_true(w.record->sent == 0);
    /* whoever finds the next call without an end is not to take this for its end */
    assert_null(w.record->reference);
    assert_null(w.record->number);

    assert_int_equal(try(test, claim, &w), APR_SUCCESS);
    assert_int_equal(try(test, begin_call, &w), APR_SUCCESS);
    w.result = &result;
    assert_int_equal(try(test, doubt, &w), APR_SUCCESS);
    assert_int_equal(try(test, claim, &w), APR_NOTFOUND);
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 0);
    w.queue = "again";
    must_read(test->store, count, &w);
    assert_int_equal(w.counts.doubt, 1);
    assert_int_equal(w.counts.open, 0);

    /* an operator has it tried again: as if it were new */
    assert_int_equal(try(test, retry, &w), APR_SUCCESS);
    must_read(test->store, find, &w);
    assert_int_equal(w.record->state, GH_JOB_OPEN);
    assert_int_equal(w.record->attempts, 0);
    assert_true(w.record->sent == 0 && w.record->due <= apr_time_now());
    assert_true(w.record->deadline >= job->deadline);
    /* the patience it was made with, however often */
    assert_true(w.record->deadline - w.record->created == job->deadline - job->created);
    assert_null(w.record->reference);

    /* one that is open, and may have been carried out, is not sent again for that */
    assert_int_equal(try(test, claim, &w), APR_SUCCESS);
    assert_int_equal(try(test, begin_call, &w), APR_SUCCESS);
    w.unknown = 1;
    w.reference = "theirs";
    assert_int_equal(try(test, again, &w), APR_SUCCESS);
    assert_int_equal(try(test, retry, &w), APR_SUCCESS);
    must_read(test->store, find, &w);
    assert_true(w.record->sent != 0);
    assert_string_equal(w.record->reference, "theirs");
    assert_int_equal(try(test, cancel, &w), APR_SUCCESS);
    assert_int_equal(try(test, cancel, &w), APR_NOTFOUND);
    assert_int_equal(try(test, retry, &w), APR_NOTFOUND);
}

/* The longest due first; no queue takes all places; others' queues are left alone. */
static void test_order(void **state)
{
    store_test_t *test = *state;
    apr_time_t now = apr_time_now();
    work_t w = work_for(test, NULL, "one");
    gh_job_record_t *other;
    int i, busy = 0;

    for (i = 0; i < 8; i++) {
        must_write(test->store, insert, job_of("busy", NULL, now - apr_time_from_sec(100 - i),
                                               test->p));
    }
    must_write(test->store, insert, job_of("quiet", NULL, now - apr_time_from_sec(200), test->p));
    must_write(test->store, insert, job_of("quiet", NULL, now + HOUR, test->p));
    must_write(test->store, insert, job_of("other", NULL, now - HOUR, test->p));
    w.queues = queues_of(test->p, "busy", "quiet");
    must_read(test->store, count_due, &w);
    assert_int_equal(w.count, 9);
    w.limit = 2;
    must_read(test->store, count_due, &w);
    assert_int_equal(w.count, 3);
    w.queue = "busy";
    must_read(test->store, count, &w);
    assert_int_equal(w.counts.open, 8);
    assert_int_equal(w.counts.overdue, 8);
    assert_true(w.counts.oldest == now - apr_time_from_sec(100));
    w.limit = 4;
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 4);
    for (i = 0; i < 4; i++) {
        const gh_job_record_t *record = APR_ARRAY_IDX(w.records, i, gh_job_record_t *);

        busy += strcmp(record->queue, "busy") == 0;
        assert_true(i == 0 || record->due
                                  >= APR_ARRAY_IDX(w.records, i - 1, gh_job_record_t *)->due);
    }
    assert_int_equal(busy, 3);
    assert_true(APR_ARRAY_IDX(w.records, 1, gh_job_record_t *)->due
                == now - apr_time_from_sec(100));
    w.limit = 100;
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 5);
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 0);
    must_read(test->store, count, &w);
    assert_int_equal(w.counts.open, 8);
    assert_int_equal(w.counts.overdue, 0);

    must_read(test->store, list, &w);
    assert_int_equal(w.records->nelts, 8);
    assert_true(APR_ARRAY_IDX(w.records, 0, gh_job_record_t *)->created
                > APR_ARRAY_IDX(w.records, 7, gh_job_record_t *)->created);
    w.queue = NULL;
    w.limit = 3;
    must_read(test->store, list, &w);
    assert_int_equal(w.records->nelts, 3);

    /* a few among many newer ones */
    other = job_of("other", NULL, now - 2 * HOUR, test->p);
    other->kind = "revoke";
    must_write(test->store, insert, other);
    must_read(test->store, list_without, &w);
    assert_int_equal(w.records->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(w.records, 0, gh_job_record_t *)->id, other->id);
}

/* Hold, then release of the same certificate: never the other way round. */
static void test_one_subject(void **state)
{
    store_test_t *test = *state;
    apr_time_t now = apr_time_now() - apr_time_from_sec(10);
    gh_job_record_t *first = job_of("subject", "0a", now, test->p);
    gh_job_record_t *second = job_of("subject", "0a", now + 1, test->p);
    gh_job_record_t *other = job_of("subject", "0b", now + 2, test->p);
    work_t w = work_for(test, NULL, "one");
    gh_result_t result;

    gh_result_clear(&result);
    must_write(test->store, insert, second);
    must_write(test->store, insert, first);
    must_write(test->store, insert, other);
    w.queues = queues_of(test->p, "subject", NULL);
    must_read(test->store, count_due, &w);
    assert_int_equal(w.count, 2);
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(w.records, 0, gh_job_record_t *)->id, first->id);
    assert_string_equal(APR_ARRAY_IDX(w.records, 1, gh_job_record_t *)->id, other->id);
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 0);
    w.id = first->id;
    w.due = now + HOUR;
    assert_int_equal(try(test, again, &w), APR_SUCCESS);
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 0);
    /* what is in doubt holds up nothing */
    assert_int_equal(try(test, claim, &w), APR_SUCCESS);
    w.result = &result;
    assert_int_equal(try(test, doubt, &w), APR_SUCCESS);
    must_write(test->store, claim_due, &w);
    assert_int_equal(w.records->nelts, 1);
    assert_string_equal(APR_ARRAY_IDX(w.records, 0, gh_job_record_t *)->id, second->id);
}

/* Several at once: each job is taken by one of them, and none is left. */

#define RACERS 4
#define JOBS 400

typedef struct {
    store_test_t *test;
    pthread_t id;
    char holder[16];
    int taken;
    int failed;
} racer_t;

static char taken_by[JOBS][16];

static void note_taken(racer_t *racer, const gh_job_record_t *record)
{
    int number = (int)apr_atoi64(record->subject);

    if (__sync_lock_test_and_set(&taken_by[number][0], 1)) {
        racer->failed = 1;
    }
    racer->taken++;
}

static void *race_main(void *data)
{
    racer_t *racer = data;
    work_t w = { .holder = racer->holder, .interval = HOUR, .limit = 7 };
    gh_store_t *store = racer->test->store;
    int i, empty = 0;

    while (empty < 3 && !racer->failed) {
        apr_pool_create(&w.p, NULL);
        w.queues = queues_of(w.p, "race", NULL);
        if (gh_store_write(store, claim_due, &w, NULL) != APR_SUCCESS) {
            racer->failed = 1;
        }
        for (i = 0; !racer->failed && i < w.records->nelts; i++) {
            note_taken(racer, APR_ARRAY_IDX(w.records, i, gh_job_record_t *));
        }
        empty = racer->failed || w.records->nelts ? 0 : empty + 1;
        apr_pool_destroy(w.p);
    }
    return NULL;
}

static apr_status_t insert_many(gh_transaction_t *t, void *baton)
{
    store_test_t *test = baton;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < JOBS; i++) {
        rv = gh_job_insert(t, job_of("race", apr_itoa(test->p, i), apr_time_now(), test->p));
    }
    return rv;
}

static void test_race(void **state)
{
    racer_t racers[RACERS];
    int i, taken = 0, failed = 0;

    memset(racers, 0, sizeof(racers));
    memset(taken_by, 0, sizeof(taken_by));
    must_write(((store_test_t *)*state)->store, insert_many, *state);
    for (i = 0; i < RACERS; i++) {
        racers[i].test = *state;
        apr_snprintf(racers[i].holder, sizeof(racers[i].holder), "racer %d", i);
        pthread_create(&racers[i].id, NULL, race_main, &racers[i]);
    }
    for (i = 0; i < RACERS; i++) {
        pthread_join(racers[i].id, NULL);
        taken += racers[i].taken;
        failed += racers[i].failed;
    }
    assert_int_equal(failed, 0);
    assert_int_equal(taken, JOBS);
}

/* Two that take the same one by its id, again and again. */

typedef struct {
    store_test_t *test;
    const char *id;
    const char *holder;
    pthread_t thread;
    apr_status_t rv;
} rival_t;

static void *rival_main(void *data)
{
    rival_t *rival = data;
    work_t w = { .id = rival->id, .holder = rival->holder, .interval = HOUR };

    apr_pool_create(&w.p, NULL);
    rival->rv = gh_store_write(rival->test->store, claim, &w, NULL);
    apr_pool_destroy(w.p);
    return NULL;
}

static void test_rivals(void **state)
{
    store_test_t *test = *state;
    int round, i, won, lost;

    for (round = 0; round < 50; round++) {
        gh_job_record_t *job = job_of("rivals", NULL, apr_time_now(), test->p);
        rival_t rivals[2] = { { test, job->id, "one", 0, 0 }, { test, job->id, "two", 0, 0 } };

        must_write(test->store, insert, job);
        for (i = 0; i < 2; i++) {
            pthread_create(&rivals[i].thread, NULL, rival_main, &rivals[i]);
        }
        for (won = lost = i = 0; i < 2; i++) {
            pthread_join(rivals[i].thread, NULL);
            lost += rivals[i].rv == APR_NOTFOUND;
            won += rivals[i].rv == APR_SUCCESS;
        }
        assert_int_equal(won, 1);
        assert_int_equal(lost, 1);
    }
}

static gh_job_record_t *job_behind(apr_time_t made, apr_pool_t *p)
{
    gh_job_record_t *job = job_of("behind", "0a", made, p);

    job->behind = 1;
    return job;
}

static apr_time_t created(store_test_t *test, const gh_job_record_t *job)
{
    work_t work = { .id = job->id, .p = test->p };

    must_read(test->store, find, &work);
    return work.record->created;
}

/** The clock of the node that made the first was ahead. */
static void test_behind(void **state)
{
    store_test_t *test = *state;
    apr_time_t now = apr_time_now();
    gh_job_record_t *first = job_behind(now + HOUR, test->p), *second = job_behind(now, test->p);
    gh_job_record_t *third = job_behind(now + 2 * HOUR, test->p);

    must_write(test->store, insert, first);
    must_write(test->store, insert, second);
    must_write(test->store, insert, third);
    assert_true(created(test, second) == created(test, first) + 1);
    assert_true(created(test, third) > created(test, second) + 1);
}

int run_job_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_fencing),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_extend),
        cmocka_unit_test(test_again_and_doubt),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_one_subject),
        cmocka_unit_test(test_race),
        cmocka_unit_test(test_rivals),
        cmocka_unit_test(test_behind)
    };

    return cmocka_run_group_tests_name("jobs, SQLite", tests, open_sqlite, close_store)
        + cmocka_run_group_tests_name("jobs, PostgreSQL", tests, open_pgsql, close_store);
}
