/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The second level is the only thing on a network that a request may wait for. Providers of httpd
 * may hang for many seconds, so threads of their own talk to them, and a request waits for these
 * for a moment only; then the cache is left alone for a while. What it holds is authenticated by
 * the engine. */

#include <string.h>
#include <unistd.h>

#include <httpd.h>
#include <http_log.h>
#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <apr_thread_proc.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"
#include "mod_ocsp/ocsp_second.h"

APLOG_USE_MODULE(ocsp);

#define THREADS 2
#define JOBS 16

/** Longest value that is asked for. */
#define VALUE_MAX 4096

/** How long a request waits; slower is as bad as gone. */
#define DEADLINE apr_time_from_msec(50)

/** For how long the cache is left alone then. */
#define PAUSE apr_time_from_sec(5)

#define LIFE_MAX apr_time_from_sec(86400)
#define SILENCE apr_time_from_sec(60)

/** How long the end of a process waits for the threads. */
#define PATIENCE apr_time_from_sec(2)

typedef struct {
    enum { JOB_FREE, JOB_QUEUED, JOB_RUNNING, JOB_DONE } state;
    int is_put;
    int alone;                      /* nobody waits for it (any more) */
    apr_time_t queued;
    apr_time_t expiry;
    apr_status_t rv;
    unsigned int length;
    unsigned char key[OCSP_SECOND_KEY_SIZE];
    unsigned char value[VALUE_MAX];
} job_t;

/** Of this process. All but the first three is guarded by mutex. */
typedef struct {
    server_rec *server;
    ocsp_second_level_t level;
    apr_thread_mutex_t *mutex;
    apr_thread_cond_t *to_do;
    apr_thread_cond_t *done;
    apr_thread_t *threads[THREADS];
    int started;
    int ended;
    int stop;
    apr_time_t closed_until;
    apr_time_t reported;
    job_t jobs[JOBS];
} asker_t;

static job_t *find_job(asker_t *asker, int state)
{
    job_t *found = NULL;
    int i;

    for (i = 0; i < JOBS; ++i) {
        job_t *job = &asker->jobs[i];

        if ((int)job->state == state && (!found || job->queued < found->queued)) {
            found = job;
        }
    }
    return found;
}

/** Leaves the cache alone for a while. */
static void close_for_now(asker_t *asker, apr_status_t rv, apr_time_t now)
{
    asker->closed_until = now + PAUSE;
    if (now - asker->reported >= SILENCE || now < asker->reported) {
        asker->reported = now;
        ap_log_error(APLOG_MARK, APLOG_WARNING, rv, asker->server, GHNO(0757) "OCSPSecondLevel: "
                     "the shared cache does not answer, or takes too long, and is left alone for "
                     "some seconds; answers are signed here meanwhile");
    }
}

/* Threads */

static apr_status_t run(const asker_t *asker, job_t *job, apr_pool_t *ptemp)
{
    const ocsp_second_t *second = ocsp_second();
    apr_status_t rv = second->mutex ? apr_global_mutex_lock(second->mutex) : APR_SUCCESS;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (job->is_put) {
        rv = second->provider->store(second->instance, asker->server, job->key,
                                     OCSP_SECOND_KEY_SIZE, job->expiry, job->value, job->length,
                                     ptemp);
    }
    else {
        job->length = VALUE_MAX;
        rv = second->provider->retrieve(second->instance, asker->server, job->key,
                                        OCSP_SECOND_KEY_SIZE, job->value, &job->length, ptemp);
    }
    if (second->mutex) {
        apr_global_mutex_unlock(second->mutex);
    }
    return rv;
}

static void *APR_THREAD_FUNC serve(apr_thread_t *thread, void *data)
{
    asker_t *asker = data;
    apr_pool_t *ptemp;
    job_t *job;

    apr_pool_create(&ptemp, apr_thread_pool_get(thread));
    apr_thread_mutex_lock(asker->mutex);
    while (!asker->stop) {
        job = find_job(asker, JOB_QUEUED);
        if (!job) {
            apr_thread_cond_wait(asker->to_do, asker->mutex);
            continue;
        }
        job->state = JOB_RUNNING;
        apr_thread_mutex_unlock(asker->mutex);
        job->rv = run(asker, job, ptemp);
        apr_pool_clear(ptemp);
        apr_thread_mutex_lock(asker->mutex);
        if (job->rv != APR_SUCCESS && (job->is_put || !APR_STATUS_IS_NOTFOUND(job->rv))) {
            close_for_now(asker, job->rv, apr_time_now());
        }
        job->state = job->alone ? JOB_FREE : JOB_DONE;
        apr_thread_cond_broadcast(asker->done);
    }
    ++asker->ended;
    apr_thread_mutex_unlock(asker->mutex);
    return NULL;
}

/* With prefork within a signal handler, perhaps of a thread that has the mutex just now: it is
 * never waited for. A thread that hangs must not keep the process. */
static apr_status_t stop(void *data)
{
    asker_t *asker = data;
    apr_time_t begin = apr_time_now();
    apr_status_t rv;
    int ended = 0, i;

    while (ended < asker->started) {
        if (apr_time_now() - begin > PATIENCE) {
            _exit(0);
        }
        if (apr_thread_mutex_trylock(asker->mutex) == APR_SUCCESS) {
            asker->stop = 1;
            apr_thread_cond_broadcast(asker->to_do);
            ended = asker->ended;
            apr_thread_mutex_unlock(asker->mutex);
        }
        apr_sleep(apr_time_from_msec(2));
    }
    for (i = 0; i < asker->started; ++i) {
        apr_thread_join(&rv, asker->threads[i]);
    }
    return APR_SUCCESS;
}

/* Requests */

/** Under the mutex. @return NULL if the cache is left alone, or busy */
static job_t *begin_job(asker_t *asker, const unsigned char key[32], apr_time_t now)
{
    job_t *job;

    /* a clock that was set back must not keep it closed */
    if (now < asker->closed_until && asker->closed_until - now <= PAUSE) {
        return NULL;
    }
    job = find_job(asker, JOB_FREE);
    if (job) {
        memcpy(job->key, key, OCSP_SECOND_KEY_SIZE);
        job->queued = now;
        job->state = JOB_QUEUED;
    }
    return job;
}

static apr_status_t wait_for(asker_t *asker, job_t *job, apr_time_t began)
{
    apr_interval_time_t left = DEADLINE;

    apr_thread_cond_signal(asker->to_do);
    while (job->state != JOB_DONE && left > 0 && left <= DEADLINE) {
        apr_thread_cond_timedwait(asker->done, asker->mutex, left);
        left = began + DEADLINE - apr_time_now();
    }
    if (job->state == JOB_DONE) {
        return job->rv;
    }
    job->alone = 1;
    if (job->state == JOB_QUEUED) {
        job->state = JOB_FREE;
    }
    close_for_now(asker, APR_TIMEUP, apr_time_now());
    return APR_TIMEUP;
}

static apr_status_t get(void *baton, const unsigned char key[32], gh_bytes_t *value, apr_pool_t *p)
{
    asker_t *asker = baton;
    apr_time_t now = apr_time_now();
    apr_status_t rv = APR_NOTFOUND;
    job_t *job;

    apr_thread_mutex_lock(asker->mutex);
    job = begin_job(asker, key, now);
    if (job) {
        job->is_put = job->alone = 0;
        rv = wait_for(asker, job, now);
        if (job->state == JOB_DONE) {
            job->state = JOB_FREE;
            value->data = rv == APR_SUCCESS ? apr_pmemdup(p, job->value, job->length) : NULL;
            value->length = rv == APR_SUCCESS ? job->length : 0;
        }
    }
    apr_thread_mutex_unlock(asker->mutex);
    return rv;
}

static void put(void *baton, const unsigned char key[32], gh_bytes_t value, apr_time_t expiry,
                apr_pool_t *p)
{
    asker_t *asker = baton;
    apr_time_t now = apr_time_now();
    job_t *job;

    if (value.length > VALUE_MAX) {
        return;
    }
    apr_thread_mutex_lock(asker->mutex);
    job = begin_job(asker, key, now);
    if (job) {
        job->is_put = job->alone = 1;
        job->expiry = expiry > now + LIFE_MAX ? now + LIFE_MAX : expiry;
        memcpy(job->value, value.data, value.length);
        job->length = (unsigned int)value.length;
        apr_thread_cond_signal(asker->to_do);
    }
    apr_thread_mutex_unlock(asker->mutex);
}

static apr_status_t start(asker_t *asker, apr_pool_t *p)
{
    apr_status_t rv = ocsp_second_open(p);

    if (rv == APR_SUCCESS) {
        rv = apr_thread_mutex_create(&asker->mutex, APR_THREAD_MUTEX_DEFAULT, p);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&asker->to_do, p);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_thread_cond_create(&asker->done, p);
    }
    if (rv == APR_SUCCESS) {
        apr_pool_pre_cleanup_register(p, asker, stop);
    }
    while (rv == APR_SUCCESS && asker->started < THREADS) {
        rv = apr_thread_create(&asker->threads[asker->started], NULL, serve, asker, p);
        asker->started += rv == APR_SUCCESS;
    }
    return rv;
}

void ocsp_second_join(server_rec *s, ocsp_engine_options_t *options, apr_pool_t *p)
{
    asker_t *asker;
    apr_status_t rv;

    if (!ocsp_second()->instance) {
        return;
    }
    asker = apr_pcalloc(p, sizeof(*asker));
    asker->server = s;
    rv = start(asker, p);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0758) "OCSPSecondLevel is not used by "
                     "this process: there is no thread or mutex for it");
        return;
    }
    asker->level.baton = asker;
    asker->level.get = get;
    asker->level.put = put;
    options->second_level = &asker->level;
    options->second_level_key = ocsp_second()->key;
}
