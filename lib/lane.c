/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <pthread.h>

#include "lane.h"

typedef struct {
    gh_lane_job_t *first;
    gh_lane_job_t *last;
} job_list_t;

struct gh_lane {
    pthread_mutex_t mutex;
    pthread_cond_t there_is_work;
    job_list_t waiting;
    job_list_t done;
    int queued;
    int threads;
    int idle;
    int most;
    void (*wake)(void *baton);
    void *baton;
};

static void append(job_list_t *list, gh_lane_job_t *job)
{
    job->next = NULL;
    if (list->last) {
        list->last->next = job;
    }
    else {
        list->first = job;
    }
    list->last = job;
}

static gh_lane_job_t *take(job_list_t *list)
{
    gh_lane_job_t *job = list->first;

    if (job) {
        list->first = job->next;
        if (!list->first) {
            list->last = NULL;
        }
    }
    return job;
}

static void *run(void *baton)
{
    gh_lane_t *lane = baton;
    gh_lane_job_t *job;

    pthread_mutex_lock(&lane->mutex);
    for (;;) {
        while ((job = take(&lane->waiting)) == NULL) {
            ++lane->idle;
            pthread_cond_wait(&lane->there_is_work, &lane->mutex);
            --lane->idle;
        }
        --lane->queued;
        pthread_mutex_unlock(&lane->mutex);
        job->work(job->baton);
        pthread_mutex_lock(&lane->mutex);
        append(&lane->done, job);
        lane->wake(lane->baton);
    }
    return NULL;
}

apr_status_t gh_lane_create(gh_lane_t **out, int threads, void (*wake)(void *baton),
                            void *baton, apr_pool_t *p)
{
    gh_lane_t *lane = apr_pcalloc(p, sizeof(*lane));
    int error = pthread_mutex_init(&lane->mutex, NULL);

    if (!error) {
        error = pthread_cond_init(&lane->there_is_work, NULL);
    }
    lane->most = threads;
    lane->wake = wake;
    lane->baton = baton;
    *out = lane;
    return error;
}

apr_status_t gh_lane_submit(gh_lane_t *lane, gh_lane_job_t *job)
{
    pthread_t thread;
    int error = 0;

    pthread_mutex_lock(&lane->mutex);
    if (lane->queued >= lane->idle && lane->threads < lane->most) {
        error = pthread_create(&thread, NULL, run, lane);
        if (!error) {
            pthread_detach(thread);
            ++lane->threads;
        }
        else if (lane->threads > 0) {
            error = 0;              /* those that are there will come to it */
        }
    }
    if (!error) {
        append(&lane->waiting, job);
        ++lane->queued;
        pthread_cond_signal(&lane->there_is_work);
    }
    pthread_mutex_unlock(&lane->mutex);
    return error;
}

void gh_lane_finish(gh_lane_t *lane)
{
    gh_lane_job_t *job;

    do {
        pthread_mutex_lock(&lane->mutex);
        job = take(&lane->done);
        pthread_mutex_unlock(&lane->mutex);
        if (job) {
            job->done(job->baton);
        }
    } while (job);
}
