/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * A pool takes memory in large pieces, in which a sanitizer does not see where one allocation ends.
 * In a program that has this function, each is one of malloc(), as large as was asked for, and is
 * freed with its pool. It stands before that of libapr wherever the program calls it, and libapr's
 * own functions call it too.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_pools.h>

#define BUCKETS 256

/** What was allocated from one pool since it was made or cleared. */
typedef struct guarded {
    apr_pool_t *pool;
    struct guarded *next;
    void **blocks;
    size_t used, room;
} guarded_t;

static guarded_t *buckets[BUCKETS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* registering a cleanup allocates from the pool too */
static __thread int registering;

static void *required(void *pointer)
{
    if (!pointer) {
        abort();
    }
    return pointer;
}

static guarded_t **bucket_of(const apr_pool_t *pool)
{
    return &buckets[((uintptr_t)pool >> 4) % BUCKETS];
}

static apr_status_t release(void *data)
{
    guarded_t *guarded = data, **at;
    size_t i;

    pthread_mutex_lock(&mutex);
    for (at = bucket_of(guarded->pool); *at != guarded; at = &(*at)->next) {
    }
    *at = guarded->next;
    pthread_mutex_unlock(&mutex);
    for (i = 0; i < guarded->used; ++i) {
        free(guarded->blocks[i]);
    }
    free(guarded->blocks);
    free(guarded);
    return APR_SUCCESS;
}

static guarded_t *find(apr_pool_t *pool)
{
    guarded_t *guarded;

    pthread_mutex_lock(&mutex);
    for (guarded = *bucket_of(pool); guarded && guarded->pool != pool; guarded = guarded->next) {
    }
    pthread_mutex_unlock(&mutex);
    return guarded;
}

/** The first cleanup of the pool, so the last to run: the others may still read their memory. */
static guarded_t *begin(apr_pool_t *pool)
{
    guarded_t *guarded = required(calloc(1, sizeof(*guarded)));

    guarded->pool = pool;
    pthread_mutex_lock(&mutex);
    guarded->next = *bucket_of(pool);
    *bucket_of(pool) = guarded;
    pthread_mutex_unlock(&mutex);
    registering = 1;
    apr_pool_cleanup_register(pool, guarded, release, apr_pool_cleanup_null);
    registering = 0;
    return guarded;
}

void *apr_palloc(apr_pool_t *pool, apr_size_t size)
{
    void *(*original)(apr_pool_t *, apr_size_t);
    guarded_t *guarded;

    if (registering) {
        *(void **)&original = required(dlsym(RTLD_NEXT, "apr_palloc"));
        return original(pool, size);
    }
    guarded = find(pool);
    if (!guarded) {
        guarded = begin(pool);
    }
    if (guarded->used == guarded->room) {
        guarded->room = guarded->room ? guarded->room * 2 : 16;
        guarded->blocks = required(realloc(guarded->blocks,
                                           guarded->room * sizeof(*guarded->blocks)));
    }
    return guarded->blocks[guarded->used++] = required(malloc(size ? size : 1));
}

/*
 * The pools' own pieces may come from mmap(), where a leak checker does not look for pointers: an
 * allocator that only its pool knows would be taken for lost.
 */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:apr_allocator_create\n";
}
