/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/key_pool.h"

#include <pthread.h>
#include <string.h>

#include <openssl/rsa.h>

#include "log.h"

/** Keys that are made ahead, of each size. */
#define AHEAD 4

#define SIZES 2

/** Keys of one size. */
typedef struct {
    int bits;
    EVP_PKEY *keys[AHEAD];
    int count;
    int wanted;                     /* there may be requests for such keys */
} stock_t;

struct key_pool {
    pthread_mutex_t mutex;
    pthread_cond_t taken;
    stock_t stocks[SIZES];
};

static EVP_PKEY *make_key(int bits)
{
    return EVP_RSA_gen((unsigned)bits);
}

/** @return NULL if there are enough */
static stock_t *lacking(key_pool_t *keys)
{
    int i;

    for (i = 0; i < SIZES; ++i) {
        if (keys->stocks[i].wanted && keys->stocks[i].count < AHEAD) {
            return &keys->stocks[i];
        }
    }
    return NULL;
}

static void *make_ahead(void *baton)
{
    key_pool_t *keys = baton;
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

void key_pool_want(key_pool_t *keys, int bits)
{
    int i;

    pthread_mutex_lock(&keys->mutex);
    for (i = 0; i < SIZES; ++i) {
        keys->stocks[i].wanted |= keys->stocks[i].bits == bits;
    }
    pthread_cond_signal(&keys->taken);
    pthread_mutex_unlock(&keys->mutex);
}

EVP_PKEY *key_pool_take(key_pool_t *keys, int bits)
{
    EVP_PKEY *key = NULL;
    int i;

    pthread_mutex_lock(&keys->mutex);
    for (i = 0; i < SIZES; ++i) {
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

apr_status_t key_pool_create(key_pool_t **keys, apr_pool_t *p, gh_result_t *result)
{
    static const stock_t stocks[SIZES] = { { .bits = 2048 }, { .bits = 3072 } };
    pthread_t thread;

    *keys = apr_pcalloc(p, sizeof(**keys));
    memcpy((*keys)->stocks, stocks, sizeof(stocks));
    pthread_mutex_init(&(*keys)->mutex, NULL);
    pthread_cond_init(&(*keys)->taken, NULL);
    if (pthread_create(&thread, NULL, make_ahead, *keys)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "key.pool",
                              "Look at what else runs on this machine.",
                              GHNO(1030) "the thread that makes keys cannot be started");
    }
    pthread_detach(thread);
    return APR_SUCCESS;
}
