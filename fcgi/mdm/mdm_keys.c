/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/mdm/mdm_keys.h"

#include <apr_strings.h>
#include <openssl/evp.h>

#include "fcgi/key_pool.h"
#include "issuer/mdm_key.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"

/** Jobs at a time: each may have to make a key itself, on a lane that others want, too. */
#define CONCURRENT 2

/** A store that does not answer is asked again after this. */
#define AGAIN apr_time_from_sec(2)

typedef struct {
    ca_worker_t *worker;
    key_pool_t *pool;
} mdm_keys_t;

typedef struct {
    mdm_keys_t *keys;
    framework_job_t *job;
    int done;
    apr_status_t rv;
    gh_result_t result;
} work_t;

static apr_status_t again_work(gh_transaction_t *transaction, void *baton)
{
    work_t *work = baton;

    return gh_job_again(transaction, framework_job_record(work->job)->id,
                        framework_job_holder(work->job), framework_job_time(work->job) + AGAIN, 0,
                        NULL, &work->result);
}

static void make_and_store(void *baton)
{
    work_t *work = baton;
    framework_t *framework = work->keys->worker->framework;
    apr_pool_t *p = framework_job_pool(work->job);
    const char *id = framework_job_record(work->job)->id;
    EVP_PKEY *key = NULL;
    int bits;

    gh_result_clear(&work->result);
    work->rv = gh_mdm_key_size(framework_store(framework), id, &bits, p, &work->result);
    if (work->rv == APR_SUCCESS) {
        key = key_pool_take(work->keys->pool, bits);
        work->rv = key ? APR_SUCCESS
            : gh_result_openssl(&work->result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, "mdm.key",
                                NULL, GHNO(1028) "a key of %d bits cannot be made", bits);
    }
    if (work->rv == APR_SUCCESS || work->rv == APR_NOTFOUND) {
        work->rv = gh_mdm_key_store(framework_store(framework), work->keys->worker->sealer, id,
                                    framework_job_holder(work->job), key, &work->done, p,
                                    &work->result);
    }
    EVP_PKEY_free(key);
    if (work->rv != APR_SUCCESS) {
        gh_store_write(framework_store(framework), again_work, work, NULL);
    }
}

static void finish(void *baton)
{
    work_t *work = baton;
    framework_t *framework = work->keys->worker->framework;

    if (work->rv != APR_SUCCESS) {
        gh_log(framework_log(framework), GH_LOG_WARNING, work->rv, GHNO(1029) "a key for device "
               "management cannot be made or stored now: %s%s%s", work->result.number,
               *work->result.number ? ": " : "", work->result.message);
    }
    framework_job_over(work->job);
}

static void begin(void *baton, framework_job_t *job)
{
    work_t *work = apr_pcalloc(framework_job_pool(job), sizeof(*work));

    work->keys = baton;
    work->job = job;
    framework_blocking(work->keys->worker->framework, make_and_store, finish, work);
}

apr_status_t mdm_keys_configure(ca_worker_t *worker, const json_t *list, apr_pool_t *p,
                                gh_result_t *result)
{
    framework_limits_t limits = { .concurrent = CONCURRENT };
    mdm_keys_t *keys = apr_pcalloc(p, sizeof(*keys));
    const json_t *sizes = json_object_get(json_array_get(list, 0), "sizes");
    framework_queue_t *queue;
    apr_status_t rv;
    size_t i;

    if (!list) {
        return APR_SUCCESS;
    }
    keys->worker = worker;
    if (!worker->sealer) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "mdm.key",
                              "This is a fault of Gatehouse: report it.",
                              GHNO(1284) "keys are wanted for devices, and nothing to seal them "
                              "with was handed over");
    }
    rv = key_pool_create(&keys->pool, p, result);
    for (i = 0; rv == APR_SUCCESS && i < json_array_size(sizes); ++i) {
        key_pool_want(keys->pool, (int)json_integer_value(json_array_get(sizes, i)));
    }
    if (rv == APR_SUCCESS) {
        rv = framework_add_queue(&queue, worker->framework, GH_MDM_KEY_QUEUE, &limits, result);
    }
    if (rv == APR_SUCCESS) {
        framework_handle(queue, GH_MDM_KEY_KIND, begin, keys);
    }
    return rv;
}
