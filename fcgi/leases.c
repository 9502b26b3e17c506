/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* For how long jobs are held: extended as long as they are worked on. */

#include <apr_strings.h>

#include "fcgi/framework_private.h"

typedef struct {
    framework_t *framework;
    apr_pool_t *pool;
    apr_array_header_t *ids;        /* of the jobs that are held */
} extend_t;

static apr_status_t extend_work(gh_transaction_t *transaction, void *baton)
{
    const extend_t *extend = baton;

    return gh_job_extend(transaction, extend->ids, extend->framework->holder,
                         extend->framework->lease);
}

static void extend_blocking(void *baton)
{
    extend_t *extend = baton;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = gh_store_write(extend->framework->store, extend_work, extend, &result);
    if (rv != APR_SUCCESS) {
        gh_log(extend->framework->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0813) "the time for which "
               "this worker holds its jobs cannot be extended; if it passes, another takes them "
               "up: %s: %s", result.number, result.message);
    }
}

static void extend_done(void *baton)
{
    extend_t *extend = baton;

    extend->framework->extending = 0;
    --extend->framework->blocking;
    apr_pool_destroy(extend->pool);
}

/* The jobs are named: one that the store holds for this worker, which does not know of it since the
 * answer was lost, has to come free. */
void leases_extend(framework_t *framework)
{
    apr_hash_index_t *index;
    apr_pool_t *pool;
    extend_t *extend;

    apr_pool_create_unmanaged_ex(&pool, NULL, NULL);
    extend = apr_pcalloc(pool, sizeof(*extend));
    extend->framework = framework;
    extend->pool = pool;
    extend->ids = apr_array_make(pool, (int)apr_hash_count(framework->jobs), sizeof(const char *));
    for (index = apr_hash_first(pool, framework->jobs); index; index = apr_hash_next(index)) {
        const framework_job_t *job = apr_hash_this_val(index);

        APR_ARRAY_PUSH(extend->ids, const char *) = apr_pstrdup(pool, job->record->id);
    }
    framework->extend.work = extend_blocking;
    framework->extend.done = extend_done;
    framework->extend.baton = extend;
    framework->extending = 1;
    ++framework->blocking;
    if (gh_lane_submit(framework->leasing, &framework->extend) != APR_SUCCESS) {
        extend_done(extend);
    }
}
