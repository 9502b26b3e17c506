/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Lanes of handlers, and what they have the loop do for them meanwhile. */

#include <pthread.h>

#include "fcgi/framework_private.h"

struct framework_lane {
    framework_t *framework;
    gh_lane_t *lane;
};

struct posts {
    pthread_mutex_t mutex;
    framework_post_t *first;
    framework_post_t *last;
};

typedef struct {
    gh_lane_job_t job;
    framework_t *framework;
    void (*done)(void *baton);
    void *baton;
    void (*work)(void *baton);
} errand_t;

apr_status_t lanes_create(framework_t *framework)
{
    framework->lanes = apr_array_make(framework->pool, 4, sizeof(gh_lane_t *));
    framework->posts = apr_pcalloc(framework->pool, sizeof(*framework->posts));
    return pthread_mutex_init(&framework->posts->mutex, NULL);
}

apr_status_t framework_add_lane(framework_lane_t **out, framework_t *framework, int threads,
                                gh_result_t *result)
{
    framework_lane_t *lane = apr_pcalloc(framework->pool, sizeof(*lane));
    apr_status_t rv = gh_lane_create(&lane->lane, threads, framework_wake, framework,
                                     framework->pool);

    lane->framework = framework;
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "worker",
                              "See whether the machine is short of memory.",
                              GHNO(1046) "the worker cannot have threads for an issuer");
    }
    APR_ARRAY_PUSH(framework->lanes, gh_lane_t *) = lane->lane;
    *out = lane;
    return APR_SUCCESS;
}

static void do_errand(void *baton)
{
    errand_t *errand = baton;

    errand->work(errand->baton);
}

static void errand_done(void *baton)
{
    errand_t *errand = baton;
    void (*done)(void *) = errand->done;
    void *theirs = errand->baton;

    --errand->framework->blocking;
    done(theirs);
}

apr_status_t framework_blocking_on(framework_lane_t *lane, void (*work)(void *baton),
                                   void (*done)(void *baton), void *baton, apr_pool_t *p)
{
    errand_t *errand = apr_palloc(p, sizeof(*errand));
    apr_status_t rv;

    errand->framework = lane->framework;
    errand->work = work;
    errand->done = done;
    errand->baton = baton;
    errand->job.work = do_errand;
    errand->job.done = errand_done;
    errand->job.baton = errand;
    rv = gh_lane_submit(lane->lane, &errand->job);
    if (rv == APR_SUCCESS) {
        ++lane->framework->blocking;
    }
    return rv;
}

void framework_post(framework_t *framework, framework_post_t *post)
{
    posts_t *posts = framework->posts;

    post->next = NULL;
    pthread_mutex_lock(&posts->mutex);
    if (posts->last) {
        posts->last->next = post;
    }
    else {
        posts->first = post;
    }
    posts->last = post;
    pthread_mutex_unlock(&posts->mutex);
    framework_wake(framework);
}

static framework_post_t *take_posts(posts_t *posts)
{
    framework_post_t *all;

    pthread_mutex_lock(&posts->mutex);
    all = posts->first;
    posts->first = posts->last = NULL;
    pthread_mutex_unlock(&posts->mutex);
    return all;
}

void lanes_step(framework_t *framework)
{
    framework_post_t *post = take_posts(framework->posts), *next;
    int i;

    for (; post; post = next) {
        next = post->next;
        post->fn(post->baton);
    }
    for (i = 0; i < framework->lanes->nelts; ++i) {
        gh_lane_finish(APR_ARRAY_IDX(framework->lanes, i, gh_lane_t *));
    }
}
