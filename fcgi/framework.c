/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/framework.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <apr_strings.h>

#include "fcgi/backoff.h"
#include "fcgi/framework_private.h"
#include "pool.h"
#include "store/housekeeping.h"

/** Threads that work with the store. With SQLite what they write is one transaction; with
 *  PostgreSQL each has a connection. */
#define STORING_MAX 8

/** The loop looks at everything at least so often. */
#define TURN apr_time_from_sec(1)

/** Before the worker's patience is at its end, calls are given up, so that what is known of them is
 *  still stored. */
#define LAST_MINUTE apr_time_from_sec(4)
#define LAST_MINUTE_HURRIED (GH_WORKER_HURRY / 2)

/** Memory of jobs that have ended, kept for the next ones. */
#define KEPT_MEMORY ((apr_size_t)4 * 1024 * 1024)

/** Connections that are kept open while nobody uses them. */
#define IDLE_CONNECTIONS 256L

typedef struct {
    gh_lane_job_t job;
    framework_t *framework;
    void (*work)(void *baton);
    void (*done)(void *baton);
    void *baton;
} blocking_t;

apr_time_t monotonic_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_make(now.tv_sec, now.tv_nsec / 1000);
}

/* On any thread. */
void framework_wake(void *baton)
{
    framework_t *framework = baton;

    sockets_wake(framework->sockets);
}

/* Thousands of requests and calls, each with a descriptor. */
static void allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static apr_status_t read_configuration(framework_t *framework, const char **store,
                                       gh_result_t *result)
{
    const json_t *configuration = gh_worker_configuration(framework->worker);
    json_int_t lease, poll;
    json_error_t error;
    const char *node;

    if (json_unpack_ex((json_t *)configuration, &error, 0, "{s:s, s:s, s:I, s:I}", "store", store,
                       "node", &node, "lease", &lease, "poll", &poll)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "worker",
                              "Reinstall Gatehouse, so that modules and workers are of one "
                              "version.",
                              GHNO(0815) "%s does not understand its configuration: %s",
                              gh_worker_name(framework->worker), error.text);
    }
    framework->node = apr_pstrdup(framework->pool, node);
    framework->lease = lease;
    framework->poll = framework->poll_pause = poll;
    framework->holder = apr_psprintf(framework->pool, "%s/%s/%ld/%.8s", node,
                                     gh_worker_name(framework->worker), (long)getpid(),
                                     gh_random_id(framework->pool));
    return APR_SUCCESS;
}

static apr_status_t no_resources(apr_status_t status, gh_result_t *result)
{
    return gh_result_fail(result, status, GH_FAILURE_UNAVAILABLE, "worker",
                          "See whether the machine is short of memory or threads.",
                          GHNO(0816) "the worker cannot have a thread, or what libcurl needs");
}

apr_status_t framework_create(framework_t **out, gh_worker_t *worker, apr_pool_t *p,
                              gh_result_t *result)
{
    framework_t *framework = apr_pcalloc(p, sizeof(*framework));
    gh_store_options_t options = { .log = gh_worker_log(worker) };
    const char *store;
    apr_status_t rv;

    framework->worker = worker;
    framework->pool = p;
    framework->log = gh_worker_log(worker);
    framework->queues = apr_array_make(p, 8, sizeof(framework_queue_t *));
    framework->jobs = apr_hash_make(p);
    framework->claims = apr_hash_make(p);
    framework->waiters = apr_hash_make(p);
    framework->timers = timers_create(p);
    allow_descriptors();
    if (gh_pool_create_allocator(&framework->allocator, KEPT_MEMORY, p) != APR_SUCCESS) {
        return no_resources(APR_ENOMEM, result);
    }
    rv = read_configuration(framework, &store, result);
    if (rv == APR_SUCCESS) {
        rv = gh_store_open(&framework->store, store, &options, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    framework->multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
    if (!framework->multi) {
        return no_resources(APR_ENOMEM, result);
    }
    curl_multi_setopt(framework->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS);
    rv = sockets_create(&framework->sockets, framework->multi, gh_worker_stop_descriptor(worker),
                        p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_lane_create(&framework->storing, STORING_MAX, framework_wake, framework, p);
    if (rv == APR_SUCCESS) {
        rv = gh_lane_create(&framework->leasing, 1, framework_wake, framework, p);
    }
    if (rv == APR_SUCCESS) {
        rv = lanes_create(framework);
    }
    if (rv != APR_SUCCESS) {
        return no_resources(rv, result);
    }
    *out = framework;
    return http_client_create(&framework->http, framework->multi, framework->log, p, result);
}

apr_status_t framework_add_queue(framework_queue_t **out, framework_t *framework, const char *name,
                                 const framework_limits_t *limits, gh_result_t *result)
{
    framework_queue_t *queue = apr_pcalloc(framework->pool, sizeof(*queue));

    queue->framework = framework;
    queue->name = apr_pstrdup(framework->pool, name);
    queue->limits = *limits;
    if (queue->limits.concurrent <= 0) {
        queue->limits.concurrent = 64;
    }
    if (queue->limits.backoff <= 0) {
        queue->limits.backoff = apr_time_from_sec(2);
    }
    if (queue->limits.backoff_max <= 0) {
        queue->limits.backoff_max = apr_time_from_sec(300);
    }
    bucket_init(&queue->bucket, limits->rate, limits->burst);
    breaker_init(&queue->breaker, limits->breaker_failures, limits->breaker_pause, 0);
    queue->handlers = apr_hash_make(framework->pool);
    APR_ARRAY_PUSH(framework->queues, framework_queue_t *) = queue;
    *out = queue;
    return APR_SUCCESS;
}

void framework_handle(framework_queue_t *queue, const char *kind, framework_handler_fn *handler,
                      void *baton)
{
    handler_t *one = apr_palloc(queue->framework->pool, sizeof(*one));

    one->handler = handler;
    one->baton = baton;
    apr_hash_set(queue->handlers, apr_pstrdup(queue->framework->pool, kind), APR_HASH_KEY_STRING,
                 one);
}

void framework_at(framework_t *framework, apr_time_t when, framework_timer_fn *fn, void *baton)
{
    timers_add(framework->timers, monotonic_now() + when - apr_time_now(), fn, baton);
}

framework_queue_t *framework_queue(const framework_t *framework, const char *name)
{
    int i;

    for (i = 0; i < framework->queues->nelts; ++i) {
        framework_queue_t *queue = APR_ARRAY_IDX(framework->queues, i, framework_queue_t *);

        if (!strcmp(queue->name, name)) {
            return queue;
        }
    }
    return NULL;
}

/* Work that blocks */

static void do_work(void *baton)
{
    blocking_t *blocking = baton;

    blocking->work(blocking->baton);
}

static void work_done(void *baton)
{
    blocking_t *blocking = baton;
    void (*done)(void *) = blocking->done;
    void *theirs = blocking->baton;

    --blocking->framework->blocking;
    free(blocking);
    done(theirs);
}

/* Not at once: who asks for it expects to go on before it is done. */
static void do_here(void *baton)
{
    do_work(baton);
    work_done(baton);
}

void framework_blocking(framework_t *framework, void (*work)(void *baton),
                        void (*done)(void *baton), void *baton)
{
    blocking_t *blocking = malloc(sizeof(*blocking));

    if (!blocking) {
        abort();                    /* as APR does when a pool gets no memory */
    }
    blocking->framework = framework;
    blocking->work = work;
    blocking->done = done;
    blocking->baton = baton;
    blocking->job.work = do_work;
    blocking->job.done = work_done;
    blocking->job.baton = blocking;
    ++framework->blocking;
    if (gh_lane_submit(framework->storing, &blocking->job) != APR_SUCCESS) {
        /* without a thread the loop has to wait */
        timers_add(framework->timers, 0, do_here, blocking);
    }
}

int framework_stopping(const framework_t *framework)
{
    return framework->stopping;
}

/* The breaker */

int framework_queue_paused(const framework_queue_t *queue)
{
    return queue->breaker.pause != 0;
}

int framework_queue_enter(framework_queue_t *queue)
{
    return breaker_enter(&queue->breaker, monotonic_now());
}

apr_interval_time_t framework_queue_pause(const framework_queue_t *queue)
{
    apr_time_t now = monotonic_now();

    return breaker_until(&queue->breaker, now) - now + backoff_jitter(apr_time_from_sec(1));
}

void framework_queue_note(framework_queue_t *queue, int alive, apr_time_t retry_after)
{
    apr_time_t now = monotonic_now();
    int change = breaker_note(&queue->breaker, alive, now);

    if (retry_after) {
        breaker_hold(&queue->breaker, now + retry_after - apr_time_now(), now);
    }
    if (change > 0) {
        gh_log(queue->framework->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0817) "%s does not answer: "
               "nothing is tried for %" APR_TIME_T_FMT " s, then one thing", queue->name,
               apr_time_sec(queue->breaker.pause));
    }
    else if (change < 0) {
        gh_log(queue->framework->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0818) "%s answers again",
               queue->name);
    }
}

/* Turns under the rate */

typedef struct {
    framework_timer_fn *fn;
    void *baton;
} turn_t;

static void take_turn(void *baton)
{
    turn_t turn = *(turn_t *)baton;

    free(baton);
    turn.fn(turn.baton);
}

void framework_queue_turn(framework_queue_t *queue, framework_timer_fn *fn, void *baton)
{
    turn_t *turn = malloc(sizeof(*turn));
    apr_time_t now = monotonic_now();

    if (!turn) {
        abort();                    /* as APR does when a pool gets no memory */
    }
    turn->fn = fn;
    turn->baton = baton;
    timers_add(queue->framework->timers, queue->framework->stopping
               ? now : bucket_take(&queue->bucket, now), take_turn, turn);
}

/* The loop */

static void take_requests(framework_t *framework)
{
    listener_request_t *request;

    while (framework->listener && (request = listener_next(framework->listener)) != NULL) {
        jobs_told(framework, request);
    }
}

static void turn(framework_t *framework)
{
    apr_time_t now = monotonic_now(), next = now + TURN, due;

    due = holders_step(framework, now);
    next = due < next ? due : next;
    due = jobs_step(framework, now);
    next = due < next ? due : next;
    due = timers_run(framework->timers, now);
    next = due && due < next ? due : next;
    http_client_finish(framework->http);
    sockets_wait(framework->sockets, next - monotonic_now());
    http_client_finish(framework->http);
    take_requests(framework);
    gh_lane_finish(framework->storing);
    gh_lane_finish(framework->leasing);
    lanes_step(framework);
    jobs_finish(framework);
}

static void drain(framework_t *framework)
{
    apr_interval_time_t left;
    int given_up = 0, hurried;

    framework->stopping = 1;
    sockets_forget_stop(framework->sockets);    /* it stays readable once it is */
    jobs_stop(framework);
    timers_hurry(framework->timers, take_turn);
    while (apr_hash_count(framework->jobs) || framework->blocking) {
        turn(framework);
        left = gh_worker_left(framework->worker, &hurried);
        if (left <= (hurried ? LAST_MINUTE_HURRIED : LAST_MINUTE) && !given_up) {
            http_client_stop(framework->http);
            given_up = 1;
        }
        if (left <= 0) {
            return;
        }
    }
    waiters_stop(framework);
    turn(framework);
    holders_end(framework);
}

/** Whoever is to go on with what this process alone did begins at once. */
static apr_status_t release_work(gh_transaction_t *transaction, void *baton)
{
    const framework_t *framework = baton;

    return gh_lease_release_all(transaction, framework->holder);
}

apr_status_t framework_run(framework_t *framework, gh_result_t *result)
{
    apr_status_t rv = listener_start(&framework->listener, framework->worker, framework_wake,
                                     framework,
                                     framework->pool, result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    gh_log(framework->log, GH_LOG_INFO, APR_SUCCESS, GHNO(0819) "%s works for %d queues as %s",
           gh_worker_name(framework->worker), framework->queues->nelts, framework->holder);
    holders_begin(framework, gh_worker_folder(framework->worker));
    while (!gh_worker_stopping(framework->worker)) {
        turn(framework);
    }
    drain(framework);
    gh_store_write(framework->store, release_work, framework, NULL);
    return APR_SUCCESS;
}

/* For handlers */

http_client_t *framework_http(framework_t *framework)
{
    return framework->http;
}

gh_store_t *framework_store(framework_t *framework)
{
    return framework->store;
}

const gh_log_t *framework_log(framework_t *framework)
{
    return framework->log;
}

const char *framework_process(framework_t *framework)
{
    return framework->holder;
}

const char *framework_node(framework_t *framework)
{
    return framework->node;
}

const gh_job_record_t *framework_job_record(const framework_job_t *job)
{
    return job->record;
}

const char *framework_job_holder(const framework_job_t *job)
{
    return job->record->holder;
}

apr_time_t framework_job_time(const framework_job_t *job)
{
    return job->record->taken + monotonic_now() - job->begun;
}

framework_queue_t *framework_job_queue(const framework_job_t *job)
{
    return job->queue;
}

framework_t *framework_job_framework(const framework_job_t *job)
{
    return job->queue->framework;
}

apr_pool_t *framework_job_pool(const framework_job_t *job)
{
    return job->pool;
}
