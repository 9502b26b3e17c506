/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/mdm/mdm_keys.h"

#include <pthread.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/evp.h>

#include "issuer/mdm_key.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"

/** Keys that are made ahead, of each size. */
#define AHEAD 4

/** Jobs at a time: each may have to make a key itself, on a lane that others want, too. */
#define CONCURRENT 2

/** A store that does not answer is asked again after this. */
#define AGAIN apr_time_from_sec(2)

/** Keys of one size. */
typedef struct {
    int bits;
    EVP_PKEY *keys[AHEAD];
    int count;
    int wanted;                     /* there may be requests for such keys */
} stock_t;

typedef struct {
    ca_worker_t *worker;
    pthread_mutex_t mutex;
    pthread_cond_t taken;
    stock_t stocks[2];
} mdm_keys_t;

static EVP_PKEY *make_key(int bits)
{
    return EVP_RSA_gen((unsigned)bits);
}

/* The thread that makes keys ahead */

/** @return NULL if there are enough */
static stock_t *lacking(mdm_keys_t *keys)
{
    int i;

    for (i = 0; i < 2; ++i) {
        if (keys->stocks[i].wanted && keys->stocks[i].count < AHEAD) {
            return &keys->stocks[i];
        }
    }
    return NULL;
}

static void *make_ahead(void *baton)
{
    mdm_keys_t *keys = baton;
    stock_t *stock;
    EVP_PKEY *key;

    pthread_mutex_lock(&keys->mutex);
    for (;;) {
        stock = lacking(keys);
        if (!stock) {
            pthread_cond_wait(&keys->taken, &keys->mutex);
            continue;
        }
        pthread_mutex_unlock(&keys->mutex);
        key = make_key(stock->bits);
        pthread_mutex_lock(&keys->mutex);
        if (key) {
            stock->keys[stock->count++] = key;
        }
        else {
            stock->wanted = 0;
        }
    }
    return NULL;
}

static EVP_PKEY *take_key(mdm_keys_t *keys, int bits)
{
    EVP_PKEY *key = NULL;
    int i;

    pthread_mutex_lock(&keys->mutex);
    for (i = 0; i < 2; ++i) {
        stock_t *stock = &keys->stocks[i];

        if (stock->bits == bits) {
            stock->wanted = 1;
            if (stock->count) {
                key = stock->keys[--stock->count];
            }
        }
    }
    pthread_cond_signal(&keys->taken);
    pthread_mutex_unlock(&keys->mutex);
    return key ? key : make_key(bits);
}

/* Jobs */

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
    framework_t *framework = work->keys->worker->framework;

    return gh_job_again(transaction, framework_job_record(work->job)->id,
                        framework_holder(framework), apr_time_now() + AGAIN, 0, NULL,
                        &work->result);
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
        key = take_key(work->keys, bits);
        work->rv = key ? APR_SUCCESS
            : gh_result_openssl(&work->result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, "mdm.key",
                                NULL, GHNO(1028) "a key of %d bits cannot be made", bits);
    }
    if (work->rv == APR_SUCCESS || work->rv == APR_NOTFOUND) {
        work->rv = gh_mdm_key_store(framework_store(framework), work->keys->worker->sealer, id,
                                    framework_holder(framework), key, &work->done, p,
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
    static const stock_t stocks[2] = { { .bits = 2048 }, { .bits = 3072 } };
    framework_limits_t limits = { .concurrent = CONCURRENT };
    mdm_keys_t *keys = apr_pcalloc(p, sizeof(*keys));
    const json_t *sizes = json_object_get(json_array_get(list, 0), "sizes");
    framework_queue_t *queue;
    pthread_t thread;
    apr_status_t rv;
    size_t i;

    if (!list) {
        return APR_SUCCESS;
    }
    memcpy(keys->stocks, stocks, sizeof(stocks));
    keys->worker = worker;
    pthread_mutex_init(&keys->mutex, NULL);
    pthread_cond_init(&keys->taken, NULL);
    for (i = 0; i < json_array_size(sizes); ++i) {
        json_int_t bits = json_integer_value(json_array_get(sizes, i));

        keys->stocks[0].wanted |= bits == keys->stocks[0].bits;
        keys->stocks[1].wanted |= bits == keys->stocks[1].bits;
    }
    rv = framework_add_queue(&queue, worker->framework, GH_MDM_KEY_QUEUE, &limits, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    framework_handle(queue, GH_MDM_KEY_KIND, begin, keys);
    if (!worker->sealer || pthread_create(&thread, NULL, make_ahead, keys)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "mdm.key",
                              "Look at what else runs on this machine.",
                              GHNO(1030) "the thread that makes keys cannot be started");
    }
    pthread_detach(thread);
    return APR_SUCCESS;
}
