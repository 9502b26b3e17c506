/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_framework_h
#define fcgi_framework_h

#include <apr_pools.h>
#include <apr_time.h>
#include <jansson.h>

#include "fcgi/http.h"
#include "log.h"
#include "store/jobs.h"
#include "store/store.h"
#include "worker.h"

/*
 * What all FastCGI workers have in common: one loop with libcurl's multi handle; threads that
 * accept FastCGI requests; lanes for what blocks (the store); jobs that are claimed from the store,
 * held, given to handlers, and let go; limits for each queue.
 *
 *   httpd's child --FastCGI--> /enrolments/ID?wait=MS : claims the job ID and answers when it is
 *                              over or the time has passed; the answer has no content that counts
 *   the store     <--poll----- what is due, every second: retries, what others have left behind,
 *                              what no httpd of this node has told
 *
 * Everything but handlers of lanes runs in the loop's thread.
 */

typedef struct framework framework_t;
typedef struct framework_queue framework_queue_t;
typedef struct framework_job framework_job_t;

/** How long a worker that is asked to end may take: calls that have begun are finished. When httpd
 *  itself stops it is GH_WORKER_HURRY. */
#define FRAMEWORK_PATIENCE apr_time_from_sec(30)

/** Limits of a queue, of this process. 0: the default. */
typedef struct {
    int concurrent;                 /* jobs in flight; 64 */
    double rate;                    /* calls with an effect per second; 0: not limited */
    double burst;                   /* of the token bucket; the rate */
    int breaker_failures;           /* in a row, after which nothing is tried for a while; 5 */
    apr_interval_time_t breaker_pause;  /* 10 s, doubled up to 5 min; then one is tried */
    apr_interval_time_t backoff;        /* first pause of a job, doubled with jitter; 2 s */
    apr_interval_time_t backoff_max;    /* 5 min */
} framework_limits_t;

/**
 * Begins work on a job that is held; returns at once, and later calls exactly one of the
 * framework_job_...() functions below that end it, in the loop.
 */
typedef void framework_handler_fn(void *baton, framework_job_t *job);

/** @param configuration "store", "node", "lease" and "poll" in microseconds, see
 *         mod_gatehouse/gatehouse_ca_worker.c */
apr_status_t framework_create(framework_t **framework, gh_worker_t *worker, apr_pool_t *p,
                              gh_result_t *result);

apr_status_t framework_add_queue(framework_queue_t **queue, framework_t *framework,
                                 const char *name, const framework_limits_t *limits,
                                 gh_result_t *result);

/** Jobs of a kind in a queue go to a handler. */
void framework_handle(framework_queue_t *queue, const char *kind, framework_handler_fn *handler,
                      void *baton);

/** Calls fn in the loop at a time, once. */
typedef void framework_timer_fn(void *baton);
void framework_at(framework_t *framework, apr_time_t when, framework_timer_fn *fn, void *baton);

/** Runs until the worker is asked to end; then finishes what is in flight, as long as patience
 *  lasts, and lets go of what it holds. */
apr_status_t framework_run(framework_t *framework, gh_result_t *result);

/* For handlers */

http_client_t *framework_http(framework_t *framework);
gh_store_t *framework_store(framework_t *framework);
const gh_log_t *framework_log(framework_t *framework);
/** Names this process, for leases. */
const char *framework_process(framework_t *framework);
const char *framework_node(framework_t *framework);

/** Work on a lane's thread, where the store may be used; then done in the loop. Both are called
 *  with the baton. */
void framework_blocking(framework_t *framework, void (*work)(void *baton),
                        void (*done)(void *baton), void *baton);

/** Threads apart, for work that waits for others: what hangs there delays nothing else. */
typedef struct framework_lane framework_lane_t;

/** @param threads at most; they are made when they are needed */
apr_status_t framework_add_lane(framework_lane_t **lane, framework_t *framework, int threads,
                                gh_result_t *result);

/** As framework_blocking(), on a lane of one's own. @param p lives until done is called @return an
 *  error of the system if no thread can be had for it: then nothing is called */
apr_status_t framework_blocking_on(framework_lane_t *lane, void (*work)(void *baton),
                                   void (*done)(void *baton), void *baton, apr_pool_t *p);

/** Something to be called in the loop; memory of the caller, not to be touched until it is. */
typedef struct framework_post {
    void (*fn)(void *baton);
    void *baton;
    struct framework_post *next;    /* the framework's */
} framework_post_t;

/** For any thread. */
void framework_post(framework_t *framework, framework_post_t *post);

const gh_job_record_t *framework_job_record(const framework_job_t *job);
/** In whose name a job is held; what is stored for it names that. It is another one each time that
 *  a job is taken: another job of the same id, or the same one taken again since the time of the
 *  first was over, is not ended by what comes late of the one before. */
const char *framework_job_holder(const framework_job_t *job);
/** Now, by the clock of what the store says of a job. The machine's own may be another one's. */
apr_time_t framework_job_time(const framework_job_t *job);
framework_queue_t *framework_job_queue(const framework_job_t *job);
framework_t *framework_job_framework(const framework_job_t *job);
/** Lives as long as the job is worked on. */
apr_pool_t *framework_job_pool(const framework_job_t *job);

/**
 * Waits for a place under the rate and the breaker, commits gh_job_begin_call(), then calls go in
 * the loop. If the lease was lost, or the queue's breaker is open, go is not called and the job has
 * ended for this process.
 */
void framework_job_begin_call(framework_job_t *job, void (*go)(void *baton), void *baton);

/** How a call went, for the breaker: 1 if the other side is alive, whatever it said.
 *  @param retry_after when it wants to be asked again, 0: not said; see breaker_hold() */
void framework_queue_note(framework_queue_t *queue, int alive, apr_time_t retry_after);

/** Calls fn in the loop once there is a place under the rate of the queue, as
 *  framework_job_begin_call() does: for calls that do not begin a job. At once if the worker is to
 *  end. */
void framework_queue_turn(framework_queue_t *queue, framework_timer_fn *fn, void *baton);

/** Begins a call that does not begin a job: a look-up, a search. @return 0: it may not be made now,
 *  ask again after framework_queue_pause(); 1: framework_queue_note() says how it went */
int framework_queue_enter(framework_queue_t *queue);
apr_interval_time_t framework_queue_pause(const framework_queue_t *queue);

/** 1: nothing is tried for a while, since the other side has not answered. */
int framework_queue_paused(const framework_queue_t *queue);

/** When to try again: backoff with jitter, not before retry_after, at the deadline at the
 *  latest. */
apr_time_t framework_job_next(const framework_job_t *job, apr_time_t retry_after);

/** 1: this worker is to end; what has no effect that would be lost is better let go of. */
int framework_stopping(const framework_t *framework);

/** Ends work on it: the handler has removed the job, or let go of it, in the store. Wakes who waits
 *  for it. */
void framework_job_over(framework_job_t *job);

#endif /* fcgi_framework_h */
