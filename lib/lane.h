/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_lane_h
#define gatehouse_lane_h

#include <apr_pools.h>

/*
 * Threads for what blocks or takes long, so that a worker's loop never waits. A lane has a fixed
 * number of them at most, and each kind of work has a lane of its own: what hangs in one delays
 * nothing in another.
 */

typedef struct gh_lane gh_lane_t;

/** A piece of work; memory of the caller, not to be touched between submit and done. */
typedef struct gh_lane_job {
    void (*work)(void *baton);      /* on a thread of the lane */
    void (*done)(void *baton);      /* afterwards, within gh_lane_finish() */
    void *baton;
    struct gh_lane_job *next;       /* the lane's */
} gh_lane_job_t;

/**
 * @param threads at most; they are made when they are needed
 * @param wake    called on threads of the lane when a job is done: has to make the loop call
 *                gh_lane_finish()
 * @param p       outlives the threads, which end with the process only
 */
apr_status_t gh_lane_create(gh_lane_t **lane, int threads, void (*wake)(void *baton),
                            void *baton, apr_pool_t *p);

/** Queues a job. @return an error of the system if no thread can be had for it */
apr_status_t gh_lane_submit(gh_lane_t *lane, gh_lane_job_t *job);

/** Calls done() of what is done; in the loop. */
void gh_lane_finish(gh_lane_t *lane);

#endif /* gatehouse_lane_h */
