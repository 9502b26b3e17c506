/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow/locked.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <openssl/crypto.h>

#include "log.h"

/** Memory is given out in pieces of this size. */
#define GRAIN 64

#define PAGE 4096

struct gh_locked {
    pthread_mutex_t mutex;
    unsigned char *memory;
    apr_size_t size;
    apr_size_t grains;
    apr_size_t next;                /* where the search for free ones begins */
    unsigned char *used;            /* of each grain */
};

typedef struct {
    gh_locked_t *locked;            /* NULL: from elsewhere */
    unsigned char *memory;
    apr_size_t size;
} piece_t;

static apr_status_t locked_cleanup(void *data)
{
    gh_locked_t *locked = data;

    OPENSSL_cleanse(locked->memory, locked->size);
    munmap(locked->memory, locked->size);
    pthread_mutex_destroy(&locked->mutex);
    return APR_SUCCESS;
}

/* Half as much, again and again, if the limit of the process allows no more. */
static unsigned char *lock_memory(apr_size_t *size)
{
    apr_size_t wish = *size < PAGE ? PAGE : *size / PAGE * PAGE;

    for (; wish >= PAGE; wish = wish / 2 / PAGE * PAGE) {
        void *memory = mmap(NULL, wish, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                            0);

        if (memory == MAP_FAILED)
            continue;
        if (mlock(memory, wish) == 0 && madvise(memory, wish, MADV_DONTDUMP) == 0) {
            *size = wish;
            return memory;
        }
        munmap(memory, wish);
    }
    return NULL;
}

apr_status_t gh_locked_create(gh_locked_t **locked, apr_size_t size, apr_pool_t *p,
                              gh_result_t *result)
{
    gh_locked_t *made = apr_pcalloc(p, sizeof(*made));

    *locked = NULL;
    made->size = size;
    made->memory = lock_memory(&made->size);
    if (made->memory == NULL)
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, "vault.memory",
                              "Allow the process to lock memory: at least 64 KiB by ulimit -l, or "
                              "LimitMEMLOCK of systemd.",
                              GHNO(1101) "no memory can be locked for keys: %s", strerror(errno));
#ifdef MADV_WIPEONFORK
    /* a program that is started from here gets none of it; an old kernel does without */
    (void)madvise(made->memory, made->size, MADV_WIPEONFORK);
#endif
    made->grains = made->size / GRAIN;
    made->used = apr_pcalloc(p, made->grains);
    pthread_mutex_init(&made->mutex, NULL);
    apr_pool_cleanup_register(p, made, locked_cleanup, apr_pool_cleanup_null);
    *locked = made;
    return APR_SUCCESS;
}

void gh_locked_inherit(gh_locked_t *locked)
{
#ifdef MADV_KEEPONFORK
    (void)madvise(locked->memory, locked->size, MADV_KEEPONFORK);
#endif
}

void gh_locked_again(gh_locked_t *locked)
{
    (void)mlock(locked->memory, locked->size);
}

void gh_locked_wipe(gh_locked_t *locked)
{
    OPENSSL_cleanse(locked->memory, locked->size);
}

/* A run of free grains between two places. @return end if there is none */
static apr_size_t find_run(const gh_locked_t *locked, apr_size_t begin, apr_size_t end,
                           apr_size_t count)
{
    apr_size_t at, length = 0;

    for (at = begin; at < end; at++) {
        length = locked->used[at] ? 0 : length + 1;
        if (length == count)
            return at + 1 - count;
    }
    return end;
}

static unsigned char *take(gh_locked_t *locked, apr_size_t size)
{
    apr_size_t count = (size + GRAIN - 1) / GRAIN;
    unsigned char *memory = NULL;
    apr_size_t at;

    pthread_mutex_lock(&locked->mutex);
    at = find_run(locked, locked->next, locked->grains, count);
    if (at == locked->grains)
        at = find_run(locked, 0, locked->grains, count);
    if (at < locked->grains) {
        memset(locked->used + at, 1, count);
        locked->next = at + count;
        memory = locked->memory + at * GRAIN;
    }
    pthread_mutex_unlock(&locked->mutex);
    return memory;
}

static apr_status_t piece_cleanup(void *data)
{
    piece_t *piece = data;
    gh_locked_t *locked = piece->locked;

    OPENSSL_cleanse(piece->memory, piece->size);
    if (locked == NULL) {
        OPENSSL_free(piece->memory);
        return APR_SUCCESS;
    }
    pthread_mutex_lock(&locked->mutex);
    memset(locked->used + (apr_size_t)(piece->memory - locked->memory) / GRAIN, 0,
           (piece->size + GRAIN - 1) / GRAIN);
    pthread_mutex_unlock(&locked->mutex);
    return APR_SUCCESS;
}

void *gh_locked_alloc(gh_locked_t *locked, apr_size_t size, apr_pool_t *p)
{
    piece_t *piece = apr_palloc(p, sizeof(*piece));

    piece->locked = locked;
    piece->size = size > 0 ? size : 1;
    piece->memory = take(locked, piece->size);
    if (piece->memory == NULL) {
        piece->locked = NULL;
        piece->memory = OPENSSL_malloc(piece->size);
    }
    if (piece->memory == NULL)
        return NULL;
    memset(piece->memory, 0, piece->size);
    apr_pool_cleanup_register(p, piece, piece_cleanup, apr_pool_cleanup_null);
    return piece->memory;
}

gh_bytes_t gh_locked_copy(gh_locked_t *locked, const void *data, apr_size_t length,
                          apr_pool_t *p)
{
    unsigned char *copy = gh_locked_alloc(locked, length + 1, p);

    if (copy == NULL)
        return (gh_bytes_t) { NULL, 0 };
    if (length > 0)
        memcpy(copy, data, length);
    return (gh_bytes_t) { copy, length };
}

apr_size_t gh_locked_size(const gh_locked_t *locked)
{
    return locked->size;
}

int gh_locked_holds(const gh_locked_t *locked, const void *memory)
{
    const unsigned char *at = memory;

    return at >= locked->memory && at < locked->memory + locked->size;
}

apr_status_t gh_process_protect(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? APR_SUCCESS : errno;
}
