/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/uem/uem_provide.h"

#include <openssl/evp.h>

#include "escrow/provide.h"
#include "fcgi/key_pool.h"
#include "log.h"
#include "status.h"

/** Jobs at a time: each may have to make a key itself, on a lane that others want, too. */
#define CONCURRENT 2

/** A store that does not answer is asked again after this. */
#define AGAIN apr_time_from_sec(2)

/** So is one in which another event of the user is not over. */
#define SOON apr_time_from_msec(500)

typedef struct {
    framework_t *framework;
    const gh_vault_t *vault;
    key_pool_t *pool;
} provide_t;

typedef struct {
    provide_t *provide;
    framework_job_t *job;
    apr_status_t rv;
    gh_result_t result;
} work_t;

static apr_status_t again_work(gh_transaction_t *transaction, void *baton)
{
    work_t *work = baton;
    int busy = work->rv == GH_EBUSY;

    return gh_job_again(transaction, framework_job_record(work->job)->id,
                        framework_job_holder(work->job),
                        framework_job_time(work->job) + (busy ? SOON : AGAIN), 0, NULL,
                        busy ? NULL : &work->result);
}

static apr_status_t take(work_t *work, EVP_PKEY **key, int wanted, int bits)
{
    *key = wanted ? key_pool_take(work->provide->pool, bits) : NULL;
    return !wanted || *key ? APR_SUCCESS
        : gh_result_openssl(&work->result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, "escrow.keys",
                            NULL, GHNO(1310) "a key of %d bits cannot be made", bits);
}

static void make_and_store(void *baton)
{
    work_t *work = baton;
    framework_t *framework = work->provide->framework;
    apr_pool_t *p = framework_job_pool(work->job);
    const char *id = framework_job_record(work->job)->id;
    EVP_PKEY *signing = NULL;
    EVP_PKEY *encryption = NULL;
    gh_provide_lack_t lack;

    gh_result_clear(&work->result);
    work->rv = gh_provide_lacks(framework_store(framework), id, &lack, p, &work->result);
    if (work->rv == APR_SUCCESS) {
        work->rv = take(work, &signing, lack.signing, lack.bits);
    }
    if (work->rv == APR_SUCCESS) {
        work->rv = take(work, &encryption, lack.encryption, lack.bits);
    }
    if (work->rv == APR_SUCCESS || work->rv == APR_NOTFOUND) {
        work->rv = gh_provide_keys(framework_store(framework), work->provide->vault, id,
                                   framework_job_holder(work->job), signing, encryption, p,
                                   &work->result);
    }
    EVP_PKEY_free(signing);
    EVP_PKEY_free(encryption);
    if (work->rv != APR_SUCCESS) {
        gh_store_write(framework_store(framework), again_work, work, NULL);
    }
}

static void finish(void *baton)
{
    work_t *work = baton;

    if (work->rv != APR_SUCCESS && work->rv != GH_EBUSY && work->rv != APR_NOTFOUND) {
        gh_log(framework_log(work->provide->framework), GH_LOG_WARNING, work->rv,
               GHNO(1311) "keys for an enrolment event cannot be made or stored now: %s%s%s",
               work->result.number, *work->result.number ? ": " : "", work->result.message);
    }
    framework_job_over(work->job);
}

static void begin(void *baton, framework_job_t *job)
{
    work_t *work = apr_pcalloc(framework_job_pool(job), sizeof(*work));

    work->provide = baton;
    work->job = job;
    framework_blocking(work->provide->framework, make_and_store, finish, work);
}

apr_status_t uem_provide_configure(framework_t *framework, const gh_vault_t *vault,
                                   const json_t *sizes, apr_pool_t *p, gh_result_t *result)
{
    framework_limits_t limits = { .concurrent = CONCURRENT };
    provide_t *provide = apr_pcalloc(p, sizeof(*provide));
    framework_queue_t *queue;
    apr_status_t rv;
    size_t i;

    if (!sizes) {
        return APR_SUCCESS;
    }
    provide->framework = framework;
    provide->vault = vault;
    rv = key_pool_create(&provide->pool, p, result);
    for (i = 0; rv == APR_SUCCESS && i < json_array_size(sizes); ++i) {
        key_pool_want(provide->pool, (int)json_integer_value(json_array_get(sizes, i)));
    }
    if (rv == APR_SUCCESS) {
        rv = framework_add_queue(&queue, framework, GH_PROVIDE_QUEUE, &limits, result);
    }
    if (rv == APR_SUCCESS) {
        framework_handle(queue, GH_PROVIDE_KIND, begin, provide);
    }
    return rv;
}
