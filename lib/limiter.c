/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "limiter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <apr_errno.h>
#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

/** Clients that are remembered; who comes beyond that takes the place of the oldest nearby. */
#define CLIENTS 2048
#define NEARBY  8

typedef struct {
    pid_t pid;                      /* 0: free */
    int running;                    /* with those who are about to be sent away */
    int inside;                     /* who was let in */
} place_t;

typedef struct {
    apr_uint64_t client;            /* keyed digest of the address; 0: free */
    apr_int64_t since;
    int failures;
} client_t;

typedef struct {
    unsigned char key[32];          /* so that nobody can choose whose place to take */
    client_t clients[CLIENTS];
    place_t places[];
} shared_t;

struct gh_limiter {
    shared_t *shared;
    int processes;
    place_t *own;
    place_t alone;                  /* where no place is free */
    gh_limiter_limits_t limits;
};

apr_size_t gh_limiter_size(int processes)
{
    /* so that another one may lie behind it */
    return APR_ALIGN_DEFAULT(sizeof(shared_t) + (apr_size_t)processes * sizeof(place_t));
}

apr_status_t gh_limiter_prepare(void *memory, int processes)
{
    shared_t *shared = memory;

    memset(shared, 0, gh_limiter_size(processes));
    return RAND_bytes(shared->key, sizeof(shared->key)) == 1 ? APR_SUCCESS : APR_EGENERAL;
}

static int has_ended(pid_t pid)
{
    return kill(pid, 0) != 0 && errno == ESRCH;
}

/** Frees the places of processes that ended without a word. */
static void sweep(gh_limiter_t *limiter)
{
    int i;

    for (i = 0; i < limiter->processes; ++i) {
        place_t *place = &limiter->shared->places[i];
        pid_t pid = __atomic_load_n(&place->pid, __ATOMIC_ACQUIRE);

        if (pid && has_ended(pid)) {
            __atomic_store_n(&place->running, 0, __ATOMIC_RELEASE);
            __atomic_store_n(&place->inside, 0, __ATOMIC_RELEASE);
            __atomic_compare_exchange_n(&place->pid, &pid, 0, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED);
        }
    }
}

static place_t *take_place(gh_limiter_t *limiter)
{
    int i;

    for (i = 0; i < limiter->processes; ++i) {
        place_t *place = &limiter->shared->places[i];
        pid_t nobody = 0;

        if (__atomic_compare_exchange_n(&place->pid, &nobody, getpid(), 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            return place;
        }
    }
    return NULL;
}

static apr_status_t give_place_back(void *data)
{
    gh_limiter_t *limiter = data;

    __atomic_store_n(&limiter->own->running, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&limiter->own->inside, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&limiter->own->pid, 0, __ATOMIC_RELEASE);
    return APR_SUCCESS;
}

gh_limiter_t *gh_limiter_join(void *memory, int processes, const gh_limiter_limits_t *limits,
                            apr_pool_t *p)
{
    gh_limiter_t *limiter = apr_pcalloc(p, sizeof(*limiter));

    limiter->limits = *limits;
    limiter->shared = memory;
    if (memory) {
        limiter->processes = processes;
        sweep(limiter);
        limiter->own = take_place(limiter);
    }
    if (!limiter->own) {
        limiter->own = &limiter->alone;
    }
    apr_pool_cleanup_register(p, limiter, give_place_back, apr_pool_cleanup_null);
    return limiter;
}

static int running(const gh_limiter_t *limiter)
{
    int i, sum = __atomic_load_n(&limiter->alone.running, __ATOMIC_ACQUIRE);

    for (i = 0; i < limiter->processes; ++i) {
        sum += __atomic_load_n(&limiter->shared->places[i].running, __ATOMIC_ACQUIRE);
    }
    return sum;
}

int gh_limiter_enter(gh_limiter_t *limiter)
{
    /* first in, then counted: of two at once, both may be sent away, never both let in */
    __atomic_add_fetch(&limiter->own->running, 1, __ATOMIC_ACQ_REL);
    if (running(limiter) > limiter->limits.concurrent) {
        sweep(limiter);
        if (running(limiter) > limiter->limits.concurrent) {
            __atomic_sub_fetch(&limiter->own->running, 1, __ATOMIC_ACQ_REL);
            return 0;
        }
    }
    __atomic_add_fetch(&limiter->own->inside, 1, __ATOMIC_ACQ_REL);
    return 1;
}

void gh_limiter_leave(gh_limiter_t *limiter)
{
    __atomic_sub_fetch(&limiter->own->inside, 1, __ATOMIC_ACQ_REL);
    __atomic_sub_fetch(&limiter->own->running, 1, __ATOMIC_ACQ_REL);
}

int gh_limiter_inside(const gh_limiter_t *limiter)
{
    int i, sum = __atomic_load_n(&limiter->alone.inside, __ATOMIC_ACQUIRE);

    for (i = 0; i < limiter->processes; ++i) {
        sum += __atomic_load_n(&limiter->shared->places[i].inside, __ATOMIC_ACQUIRE);
    }
    return sum;
}

/* Failures */

/** @return a keyed digest, never 0 */
static apr_uint64_t name_of(const shared_t *shared, const char *client)
{
    unsigned char input[sizeof(shared->key) + 64] = { 0 };
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char *address = input + sizeof(shared->key);
    unsigned int length = 0;
    apr_uint64_t name = 0;

    memcpy(input, shared->key, sizeof(shared->key));
    if (inet_pton(AF_INET6, client, address) == 1) {
        memset(address + 8, 0, 8);
        address[16] = 6;
    }
    else {
        apr_cpystrn((char *)address, client, 64);
    }
    if (EVP_Digest(input, sizeof(input), digest, &length, EVP_sha256(), NULL) == 1) {
        memcpy(&name, digest, sizeof(name));
    }
    OPENSSL_cleanse(input, sizeof(input));
    return name ? name : 1;
}

static int has_passed(const gh_limiter_t *limiter, const client_t *entry, apr_time_t now)
{
    apr_int64_t since = __atomic_load_n(&entry->since, __ATOMIC_ACQUIRE);

    /* a clock that was set back must not block anybody for long */
    return now >= since + limiter->limits.interval || now < since;
}

static client_t *find_client(const gh_limiter_t *limiter, apr_uint64_t name)
{
    int i;

    for (i = 0; i < NEARBY; ++i) {
        client_t *entry = &limiter->shared->clients[(name + (apr_uint64_t)i) % CLIENTS];

        if (__atomic_load_n(&entry->client, __ATOMIC_ACQUIRE) == name) {
            return entry;
        }
    }
    return NULL;
}

/** An entry that is free, or has passed, or is the oldest. */
static client_t *take_entry(const gh_limiter_t *limiter, apr_uint64_t name)
{
    client_t *oldest = NULL;
    int i;

    for (i = 0; i < NEARBY; ++i) {
        client_t *entry = &limiter->shared->clients[(name + (apr_uint64_t)i) % CLIENTS];

        if (!__atomic_load_n(&entry->client, __ATOMIC_ACQUIRE)) {
            return entry;
        }
        if (!oldest || entry->since < oldest->since) {
            oldest = entry;
        }
    }
    return oldest;
}

void gh_limiter_note_failure(gh_limiter_t *limiter, const char *client, apr_time_t now)
{
    apr_uint64_t name;
    client_t *entry;

    if (!limiter->shared || !limiter->limits.failures) {
        return;
    }
    name = name_of(limiter->shared, client);
    entry = find_client(limiter, name);
    if (!entry) {
        entry = take_entry(limiter, name);
        __atomic_store_n(&entry->since, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&entry->client, name, __ATOMIC_RELEASE);
    }
    if (has_passed(limiter, entry, now)) {
        __atomic_store_n(&entry->failures, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&entry->since, now, __ATOMIC_RELEASE);
    }
    __atomic_add_fetch(&entry->failures, 1, __ATOMIC_ACQ_REL);
}

int gh_limiter_blocked(gh_limiter_t *limiter, const char *client, apr_time_t now)
{
    const client_t *entry;

    if (!limiter->shared || !limiter->limits.failures) {
        return 0;
    }
    entry = find_client(limiter, name_of(limiter->shared, client));
    if (!entry || has_passed(limiter, entry, now)
        || __atomic_load_n(&entry->failures, __ATOMIC_ACQUIRE) < limiter->limits.failures) {
        return 0;
    }
    return (int)apr_time_sec(entry->since + limiter->limits.interval - now) + 1;
}
