/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Jobs of the store: which are taken when, and how they are given back. */

#include <string.h>

#include <apr_strings.h>

#include "fcgi/backoff.h"
#include "fcgi/framework_private.h"
#include "status.h"

/** Most jobs that are taken at once. */
#define CLAIM_MAX 64

/** A job that is due so soon may be begun now. */
#define SOON apr_time_from_msec(500)

/** A store that does not answer is asked again after this. */
#define STORE_PAUSE apr_time_from_sec(2)

/** Where something was due, more comes soon: the first pause after it, which doubles. */
#define BUSY_PAUSE apr_time_from_msec(50)

/** From what the store says of a call to the call itself. */
#define CALL_DELAY apr_time_from_sec(10)

/** Of the places of a queue, those for jobs of which nobody has called yet: a fraction. */
#define NEW_SHARE 4

static void fail_store(framework_t *framework, const gh_result_t *result)
{
    /* the first of a row, then one a minute or so */
    if (framework->poll_failures++ % 30 == 0) {
        gh_log(framework->log, GH_LOG_ERROR, APR_SUCCESS, GHNO(0810) "jobs cannot be taken from "
               "the store: %s%s%s", result->number, *result->number ? ": " : "", result->message);
    }
}

static gh_job_record_t *copy_record(const gh_job_record_t *record, apr_pool_t *p)
{
    gh_job_record_t *copy = apr_pmemdup(p, record, sizeof(*record));

    copy->id = apr_pstrdup(p, record->id);
    copy->kind = apr_pstrdup(p, record->kind);
    copy->queue = apr_pstrdup(p, record->queue);
    copy->subject = apr_pstrdup(p, record->subject);
    copy->reference = apr_pstrdup(p, record->reference);
    copy->number = apr_pstrdup(p, record->number);
    copy->message = apr_pstrdup(p, record->message);
    copy->holder = apr_pstrdup(p, record->holder);
    if (record->payload.data) {
        copy->payload.data = apr_pmemdup(p, record->payload.data, record->payload.length);
    }
    return copy;
}

/** Of what is taken now. */
static const char *make_holder(framework_t *framework, apr_pool_t *p)
{
    return apr_psprintf(p, "%s/%" APR_UINT64_T_HEX_FMT, framework->holder, ++framework->taken);
}

/* Letting go */

static apr_status_t let_go_work(gh_transaction_t *transaction, void *baton)
{
    framework_job_t *job = baton;
    const gh_job_record_t *record = job->record;
    gh_result_t before;

    /* what was the matter before is still what there is to say */
    gh_result_clear(&before);
    apr_cpystrn(before.number, record->number ? record->number : "", sizeof(before.number));
    apr_cpystrn(before.message, record->message ? record->message : "", sizeof(before.message));
    gh_job_again(transaction, record->id, record->holder, job->due,
                 record->sent != 0, NULL, &before);
    return APR_SUCCESS;
}

static void let_go_blocking(void *baton)
{
    framework_job_t *job = baton;

    gh_store_write(job->queue->framework->store, let_go_work, job, NULL);
}

static void let_go_done(void *baton)
{
    framework_job_over(baton);
}

/* Nothing was done for it; nobody waits for it in vain. */
static void let_go(framework_job_t *job, apr_time_t due)
{
    framework_t *framework = job->queue->framework;

    waiters_answer(framework, job->record->id, LISTENER_LATER);
    job->due = due;
    framework_blocking(framework, let_go_blocking, let_go_done, job);
}

/* Beginning */

static void run_job(framework_job_t *job)
{
    framework_t *framework = job->queue->framework;
    const gh_job_record_t *record = job->record;
    const handler_t *handler = apr_hash_get(job->queue->handlers, record->kind,
                                            APR_HASH_KEY_STRING);

    apr_hash_set(framework->jobs, record->id, APR_HASH_KEY_STRING, job);
    if (framework->stopping) {
        let_go(job, framework_job_time(job));
    }
    else if (!handler) {
        gh_log(framework->log, GH_LOG_ERROR, APR_SUCCESS, GHNO(0811) "job %s of %s is of the kind "
               "%s, which this worker does not know", record->id, record->queue, record->kind);
        let_go(job, framework_job_time(job) + apr_time_from_sec(300));
    }
    else {
        handler->handler(handler->baton, job);
    }
}

static void begin_job(framework_t *framework, const gh_job_record_t *record)
{
    framework_queue_t *queue = framework_queue(framework, record->queue);
    framework_job_t *job, *before = apr_hash_get(framework->jobs, record->id, APR_HASH_KEY_STRING);
    apr_pool_t *pool;

    if (!queue) {
        return;
    }
    apr_pool_create_unmanaged_ex(&pool, NULL, framework->allocator);
    job = apr_pcalloc(pool, sizeof(*job));
    job->pool = pool;
    job->queue = queue;
    job->record = copy_record(record, pool);
    job->begun = monotonic_now();
    job->asks = job->record->sent != 0;
    ++queue->running;
    queue->asking += job->asks;
    if (!before) {
        run_job(job);
        return;
    }
    /* the one before has left the store, and ends here any moment; or this worker has lost it */
    while (before->successor) {
        before = before->successor;
    }
    before->successor = job;
}

void framework_job_over(framework_job_t *job)
{
    framework_t *framework = job->queue->framework;

    apr_hash_set(framework->jobs, job->record->id, APR_HASH_KEY_STRING, NULL);
    waiters_answer(framework, job->record->id, LISTENER_OVER);
    --job->queue->running;
    job->queue->asking -= job->asks;
    if (job->queue->wanted) {
        framework->poll_due = 0;
    }
    job->next = framework->ended;
    framework->ended = job;
    if (job->successor) {
        run_job(job->successor);
    }
}

void jobs_finish(framework_t *framework)
{
    while (framework->ended) {
        framework_job_t *job = framework->ended;

        framework->ended = job->next;
        apr_pool_destroy(job->pool);
    }
}

/* Those that are told of */

typedef struct {
    framework_t *framework;
    framework_queue_t *queue;       /* NULL: not said */
    apr_pool_t *pool;
    const char *id;
    const char *holder;
    gh_job_record_t *record;
    int early;                      /* it is not due yet */
    apr_status_t rv;
    gh_result_t result;
} claim_t;

/* Success in any case: a transaction that fails is a nuisance to those it was run together with. */
static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    claim_t *claim = baton;
    gh_job_record_t *record;
    apr_time_t now;
    apr_status_t rv;

    claim->record = NULL;
    claim->early = 0;
    rv = gh_store_now(transaction, &now);
    if (rv == APR_SUCCESS) {
        rv = gh_job_find(transaction, claim->id, &record, claim->pool);
    }
    if (rv == APR_SUCCESS) {
        claim->early = record->due > now + SOON;
        if (!claim->early) {
            rv = gh_job_claim(transaction, claim->id, claim->holder,
                              claim->framework->lease, &claim->record, claim->pool);
        }
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static void claim_blocking(void *baton)
{
    claim_t *claim = baton;

    claim->rv = gh_store_write(claim->framework->store, claim_work, claim, &claim->result);
}

static void claim_done(void *baton)
{
    claim_t *claim = baton;
    framework_t *framework = claim->framework;

    apr_hash_set(framework->claims, claim->id, APR_HASH_KEY_STRING, NULL);
    if (claim->queue) {
        --claim->queue->claiming;
    }
    if (claim->rv != APR_SUCCESS) {
        fail_store(framework, &claim->result);
        waiters_answer(framework, claim->id, LISTENER_NOT_HERE);
    }
    else if (claim->record) {
        begin_job(framework, claim->record);
    }
    else {
        waiters_answer(framework, claim->id, claim->early ? LISTENER_LATER : LISTENER_NOT_HERE);
    }
    apr_pool_destroy(claim->pool);
}

static void begin_claim(framework_t *framework, framework_queue_t *queue, const char *id)
{
    apr_pool_t *pool;
    claim_t *claim;

    apr_pool_create_unmanaged_ex(&pool, NULL, framework->allocator);
    claim = apr_pcalloc(pool, sizeof(*claim));
    claim->framework = framework;
    claim->queue = queue;
    claim->pool = pool;
    claim->id = apr_pstrdup(pool, id);
    claim->holder = make_holder(framework, pool);
    if (queue) {
        ++queue->claiming;
    }
    apr_hash_set(framework->claims, claim->id, APR_HASH_KEY_STRING, claim);
    framework_blocking(framework, claim_blocking, claim_done, claim);
}

static int room(const framework_queue_t *queue, apr_time_t now)
{
    int places = queue->limits.concurrent - queue->running - queue->claiming;
    int allowed = breaker_room(&queue->breaker, now);

    allowed = allowed < 0 || allowed > places ? places : allowed;
    return allowed < CLAIM_MAX ? allowed : CLAIM_MAX;
}

/** So many of these may be such that ask what has become of a call: they may be many, and have
 *  time, while somebody waits for what is new. */
static int asking_room(const framework_queue_t *queue, int room)
{
    int places = queue->limits.concurrent - queue->limits.concurrent / NEW_SHARE - queue->asking;

    return places < 0 ? 0 : places < room ? places : room;
}

void jobs_told(framework_t *framework, listener_request_t *request)
{
    framework_queue_t *queue = framework_queue(framework, request->queue);
    char id[LISTENER_NAME_MAX + 1];
    apr_time_t now = monotonic_now();
    listener_answer_t answer = LISTENER_OVER;

    apr_cpystrn(id, request->id, sizeof(id));
    if (*request->queue && !queue) {
        answer = LISTENER_NOT_HERE;
    }
    else if (framework->stopping || (queue && !breaker_room(&queue->breaker, now))) {
        answer = LISTENER_LATER;
    }
    if (answer != LISTENER_OVER) {
        listener_answer(request, answer);
        listener_free(request);
        return;
    }
    waiters_add(framework, request);
    if (apr_hash_get(framework->jobs, id, APR_HASH_KEY_STRING)
        || apr_hash_get(framework->claims, id, APR_HASH_KEY_STRING)) {
        return;
    }
    if (queue && room(queue, now) <= 0) {
        queue->wanted = 1;          /* it is due, and will be found once there is a place */
        return;
    }
    begin_claim(framework, queue, id);
}

/* Those that are due */

typedef struct {
    framework_t *framework;
    apr_pool_t *pool;
    const char *holder;
    apr_array_header_t *queues;     /* framework_queue_t * */
    apr_array_header_t *rooms;      /* int, at most so many of each */
    apr_array_header_t *asks;       /* int, at most so many of these for which calls were made */
    apr_array_header_t *found;      /* arrays of gh_job_record_t * */
    apr_int64_t count;
    apr_status_t rv;
    gh_result_t result;
} poll_t;

static apr_array_header_t *names_of(const poll_t *poll, int i)
{
    apr_array_header_t *names = apr_array_make(poll->pool, 1, sizeof(const char *));

    APR_ARRAY_PUSH(names, const char *) = APR_ARRAY_IDX(poll->queues, i, framework_queue_t *)->name;
    return names;
}

static apr_status_t count_work(gh_transaction_t *transaction, void *baton)
{
    poll_t *poll = baton;
    apr_array_header_t *names = apr_array_make(poll->pool, 8, sizeof(const char *));
    int i;

    for (i = 0; i < poll->queues->nelts; ++i) {
        APR_ARRAY_PUSH(names, const char *)
            = APR_ARRAY_IDX(poll->queues, i, framework_queue_t *)->name;
    }
    return gh_job_count_due(transaction, names, 1, &poll->count);
}

static apr_status_t poll_work(gh_transaction_t *transaction, void *baton)
{
    poll_t *poll = baton;
    apr_array_header_t *records;
    apr_status_t rv = APR_SUCCESS;
    int i;

    apr_array_clear(poll->found);
    for (i = 0; rv == APR_SUCCESS && i < poll->queues->nelts; ++i) {
        rv = gh_job_claim_due(transaction, names_of(poll, i), poll->holder,
                              poll->framework->lease, APR_ARRAY_IDX(poll->rooms, i, int),
                              APR_ARRAY_IDX(poll->asks, i, int), &records, poll->pool);
        APR_ARRAY_PUSH(poll->found, apr_array_header_t *) = records;
    }
    return rv;
}

static void poll_blocking(void *baton)
{
    poll_t *poll = baton;

    poll->rv = gh_store_read(poll->framework->store, count_work, poll, &poll->result);
    if (poll->rv == APR_SUCCESS && poll->count > 0) {
        poll->rv = gh_store_write(poll->framework->store, poll_work, poll, &poll->result);
    }
}

static void pause_after(framework_t *framework, int found)
{
    apr_time_t due;

    framework->poll_pause = found ? BUSY_PAUSE : 2 * framework->poll_pause;
    if (framework->poll_pause > framework->poll) {
        framework->poll_pause = framework->poll;
    }
    due = monotonic_now() + framework->poll_pause;
    if (due < framework->poll_due) {
        framework->poll_due = due;
    }
}

static void poll_done(void *baton)
{
    poll_t *poll = baton;
    framework_t *framework = poll->framework;
    int found = 0, i, k;

    framework->polling = 0;
    if (poll->rv != APR_SUCCESS) {
        fail_store(framework, &poll->result);
        framework->poll_due = monotonic_now() + STORE_PAUSE;
    }
    else if (framework->poll_failures) {
        gh_log(framework->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0812) "jobs are taken from the "
               "store again");
        framework->poll_failures = 0;
    }
    for (i = 0; i < poll->queues->nelts; ++i) {
        framework_queue_t *queue = APR_ARRAY_IDX(poll->queues, i, framework_queue_t *);
        int most = APR_ARRAY_IDX(poll->rooms, i, int);
        apr_array_header_t *records = poll->rv == APR_SUCCESS && i < poll->found->nelts
            ? APR_ARRAY_IDX(poll->found, i, apr_array_header_t *) : NULL;

        int full = records && records->nelts >= most, asked = 0;

        queue->claiming -= most;
        for (k = 0; records && k < records->nelts; ++k) {
            gh_job_record_t *record = APR_ARRAY_IDX(records, k, gh_job_record_t *);

            asked += record->sent != 0;
            ++found;
            begin_job(framework, record);
        }
        /* those that ask may be waiting for places of their own */
        queue->wanted = full || (asked > 0 && asked >= APR_ARRAY_IDX(poll->asks, i, int));
        if (full && room(queue, monotonic_now()) > 0) {
            framework->poll_due = 0;
        }
    }
    if (poll->rv == APR_SUCCESS) {
        pause_after(framework, found);
    }
    apr_pool_destroy(poll->pool);
}

static void begin_poll(framework_t *framework, apr_time_t now)
{
    apr_pool_t *pool;
    poll_t *poll;
    int i;

    apr_pool_create_unmanaged_ex(&pool, NULL, framework->allocator);
    poll = apr_pcalloc(pool, sizeof(*poll));
    poll->framework = framework;
    poll->pool = pool;
    poll->holder = make_holder(framework, pool);
    poll->queues = apr_array_make(pool, 8, sizeof(framework_queue_t *));
    poll->rooms = apr_array_make(pool, 8, sizeof(int));
    poll->asks = apr_array_make(pool, 8, sizeof(int));
    poll->found = apr_array_make(pool, 8, sizeof(apr_array_header_t *));
    for (i = 0; i < framework->queues->nelts; ++i) {
        framework_queue_t *queue = APR_ARRAY_IDX(framework->queues, i, framework_queue_t *);
        int most = room(queue, now);

        if (most > 0) {
            queue->claiming += most;
            APR_ARRAY_PUSH(poll->queues, framework_queue_t *) = queue;
            APR_ARRAY_PUSH(poll->rooms, int) = most;
            APR_ARRAY_PUSH(poll->asks, int) = asking_room(queue, most);
        }
    }
    if (!poll->queues->nelts) {
        apr_pool_destroy(pool);
        return;
    }
    framework->polling = 1;
    framework_blocking(framework, poll_blocking, poll_done, poll);
}

/* What is due */

apr_time_t jobs_step(framework_t *framework, apr_time_t now)
{
    if (now >= framework->extend_due) {
        framework->extend_due = now + framework->lease / 4;
        if (!framework->extending && apr_hash_count(framework->jobs)) {
            leases_extend(framework);
        }
    }
    if (framework->stopping) {
        return framework->extend_due;
    }
    if (now >= framework->poll_due && !framework->polling) {
        framework->poll_due = now + framework->poll;
        begin_poll(framework, now);
    }
    if (framework->polling && framework->poll_due <= now) {
        return framework->extend_due;       /* its end wakes the loop */
    }
    return framework->poll_due < framework->extend_due ? framework->poll_due
                                                       : framework->extend_due;
}

/* Calls with an effect */

static apr_status_t begin_call_work(gh_transaction_t *transaction, void *baton)
{
    framework_job_t *job = baton;

    job->status = gh_job_begin_call(transaction, job->record->id, job->record->holder);
    return job->status == APR_NOTFOUND ? APR_SUCCESS : job->status;
}

static void begin_call_blocking(void *baton)
{
    framework_job_t *job = baton;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = gh_store_write(job->queue->framework->store, begin_call_work, job, &result);
    job->status = rv == APR_SUCCESS ? job->status : rv;
}

/** What is stored of a call is when it begins: another process, to which the job belongs by now,
 *  may go by that. The machine's own clock goes on where the process alone stands still, that of
 *  the day also where the machine does. */
static int stood_still(const framework_job_t *job)
{
    return monotonic_now() - job->call_begun > CALL_DELAY
        || apr_time_now() - job->call_begun_at > CALL_DELAY;
}

static void begin_call_done(void *baton)
{
    framework_job_t *job = baton;

    if (job->status == APR_SUCCESS && stood_still(job)) {
        gh_log(job->queue->framework->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(1325) "job %s of %s is "
               "begun anew: this process, or the store, stood still before its call",
               job->record->id, job->queue->name);
        let_go(job, framework_job_time(job));
        return;
    }
    if (job->status == APR_SUCCESS) {
        ++job->record->attempts;
        job->record->sent = job->record->sent ? job->record->sent : framework_job_time(job);
        job->go(job->baton);
        return;
    }
    gh_log(job->queue->framework->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0814) "job %s of %s is not "
           "held by this worker any more, or the store does not answer: it is left to whoever "
           "takes it up", job->record->id, job->queue->name);
    framework_job_over(job);
}

static void begin_call_turn(void *baton)
{
    framework_job_t *job = baton;
    framework_t *framework = job->queue->framework;

    if (framework->stopping) {
        let_go(job, framework_job_time(job));
    }
    else if (!framework_queue_enter(job->queue)) {
        let_go(job, framework_job_time(job) + framework_queue_pause(job->queue));
    }
    else {
        job->call_begun = monotonic_now();
        job->call_begun_at = apr_time_now();
        framework_blocking(framework, begin_call_blocking, begin_call_done, job);
    }
}

void framework_job_begin_call(framework_job_t *job, void (*go)(void *baton), void *baton)
{
    framework_queue_t *queue = job->queue;
    apr_time_t now = monotonic_now();

    job->go = go;
    job->baton = baton;
    if (queue->framework->stopping || breaker_room(&queue->breaker, now) == 0) {
        begin_call_turn(job);
        return;
    }
    timers_add(queue->framework->timers, bucket_take(&queue->bucket, now), begin_call_turn, job);
}

void jobs_stop(framework_t *framework)
{
    timers_hurry(framework->timers, begin_call_turn);
}

apr_time_t framework_job_next(const framework_job_t *job, apr_time_t retry_after)
{
    const framework_limits_t *limits = &job->queue->limits;
    apr_time_t now = framework_job_time(job), deadline = job->record->deadline;
    apr_time_t next = now + backoff_pause(job->record->attempts, limits->backoff,
                                          limits->backoff_max);

    if (retry_after) {
        retry_after += now - apr_time_now();
    }
    next = next > retry_after ? next : retry_after + backoff_jitter(limits->backoff);
    /* who waits for it is to be told then, however long the other side wants to be left alone */
    return deadline > now && next > deadline ? deadline : next;
}
