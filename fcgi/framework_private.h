/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_framework_private_h
#define fcgi_framework_private_h

#include <apr_hash.h>

#include "fcgi/breaker.h"
#include "fcgi/bucket.h"
#include "fcgi/framework.h"
#include "fcgi/listener.h"
#include "fcgi/sockets.h"
#include "fcgi/timers.h"
#include "lane.h"

/* What the files of the framework share. All belongs to the loop's thread. Times without another
 * word are monotonic_now()'s. */

struct framework_queue {
    framework_t *framework;
    const char *name;
    framework_limits_t limits;
    bucket_t bucket;
    breaker_t breaker;
    apr_hash_t *handlers;           /* handler_t * by kind */
    int running;                    /* jobs */
    int asking;                     /* of these: what has become of a call */
    int claiming;                   /* that may become running */
    int wanted;                     /* 1: there are more jobs than places */
};

typedef struct {
    framework_handler_fn *handler;
    void *baton;
} handler_t;

typedef struct posts posts_t;
typedef struct holders holders_t;

struct framework {
    gh_worker_t *worker;
    apr_pool_t *pool;
    apr_allocator_t *allocator;     /* of the pools of jobs */
    const gh_log_t *log;
    CURLM *multi;
    sockets_t *sockets;
    http_client_t *http;
    gh_store_t *store;
    const char *node;
    const char *holder;             /* of all that this process holds: the beginning of names */
    apr_uint64_t taken;             /* how often jobs were taken */
    apr_interval_time_t lease;
    apr_interval_time_t poll;
    apr_array_header_t *queues;     /* framework_queue_t * */
    timers_t *timers;
    gh_lane_t *storing;
    gh_lane_t *leasing;             /* of its own, so that no lease waits behind other work */
    apr_array_header_t *lanes;      /* gh_lane_t *: those that handlers have added */
    posts_t *posts;
    holders_t *holders;             /* NULL: other workers of this node are not looked at */
    listener_t *listener;           /* NULL: nobody tells anything here */
    apr_hash_t *jobs;               /* framework_job_t * by id: those that are held */
    apr_hash_t *claims;             /* claim_t * by id: those that may be held soon */
    apr_hash_t *waiters;            /* listener_request_t * by id, linked */
    int waiting;                    /* of them */
    int blocking;                   /* pieces of work on lanes */
    framework_job_t *ended;         /* to be freed */
    int stopping;
    int polling;
    int extending;
    gh_lane_job_t extend;
    int poll_failures;
    apr_time_t poll_due;
    apr_interval_time_t poll_pause; /* shorter than poll for a while after something was found */
    apr_time_t extend_due;
};

struct framework_job {
    framework_queue_t *queue;
    apr_pool_t *pool;               /* with an allocator of its own */
    gh_job_record_t *record;
    void (*go)(void *baton);
    void *baton;
    apr_status_t status;            /* of what was done on a lane */
    apr_time_t due;                 /* when let go; by the clock of the store */
    apr_time_t begun;               /* here: a little later than record->taken */
    apr_time_t call_begun;          /* before it was stored, by the machine's own clock */
    apr_time_t call_begun_at;       /* and by that of the day */
    int asks;                       /* 1: a call was made for it before */
    framework_job_t *next;          /* in the list of those that have ended */
    framework_job_t *successor;     /* another one of the same id, to be begun when this is over */
};

apr_time_t monotonic_now(void);

framework_queue_t *framework_queue(const framework_t *framework, const char *name);

/* jobs.c */

/** Somebody has told of a job and waits for its end. */
void jobs_told(framework_t *framework, listener_request_t *request);
/** Looks for jobs that are due, extends leases. @return when to call again */
apr_time_t jobs_step(framework_t *framework, apr_time_t now);
/** Nothing is begun any more; what waits for its turn is let go. */
void jobs_stop(framework_t *framework);
/** Frees what has ended. */
void jobs_finish(framework_t *framework);

/* holders.c */

/** Has others of this node know when this worker is dead. @param folder NULL: they do not */
void holders_begin(framework_t *framework, const char *folder);
/** It has nothing any more that others might take up. */
void holders_end(framework_t *framework);
/** Frees what workers of this node held that have died. @return when to call again */
apr_time_t holders_step(framework_t *framework, apr_time_t now);

/* leases.c */

/** Extends the time of all jobs that are held. */
void leases_extend(framework_t *framework);

/* lanes.c */

apr_status_t lanes_create(framework_t *framework);
/** Calls what others have posted, and ends what is done on lanes that were added. */
void lanes_step(framework_t *framework);

/** Wakes the loop; for any thread. */
void framework_wake(void *framework);

/* waiters.c */

void waiters_add(framework_t *framework, listener_request_t *request);
/** Answers all that wait for a job. */
void waiters_answer(framework_t *framework, const char *id, listener_answer_t answer);
/** Answers all whose job is not held here. */
void waiters_stop(framework_t *framework);

#endif /* fcgi_framework_private_h */
