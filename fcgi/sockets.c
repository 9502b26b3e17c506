/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/sockets.h"

#include <apr_poll.h>
#include <apr_portable.h>
#include <apr_tables.h>

#include "fcgi/framework_private.h"
#include "pool.h"

/** Where the system's queue has a fixed size, and how many events are taken at once. */
#define SIZE 4096

/** A socket that libcurl waits for. */
typedef struct {
    apr_pool_t *pool;
    apr_pollfd_t descriptor;
} entry_t;

/** Something that has happened. */
typedef struct {
    curl_socket_t socket;
    int events;                 /* CURL_CSELECT_* */
} event_t;

struct sockets {
    CURLM *multi;
    apr_pool_t *pool;
    apr_pollset_t *queue;
    apr_pollfd_t stop;
    int stop_waits;             /* stop is in the queue */
    apr_time_t due;             /* of libcurl's timer, by monotonic_now(); 0: none */
    apr_array_header_t *happened;       /* event_t */
};

static apr_status_t describe(apr_pollfd_t *descriptor, int socket, apr_int16_t events, void *entry,
                             apr_pool_t *p)
{
    apr_os_sock_t system = socket;

    descriptor->p = p;
    descriptor->desc_type = APR_POLL_SOCKET;
    descriptor->reqevents = events;
    descriptor->client_data = entry;
    descriptor->desc.s = NULL;
    return apr_os_sock_put(&descriptor->desc.s, &system, p);
}

/* Called by libcurl: what it waits for at a socket. */
static int socket_changed(CURL *easy, curl_socket_t socket, int what, void *baton, void *of_socket)
{
    sockets_t *sockets = baton;
    entry_t *entry = of_socket;
    apr_int16_t events = (what & CURL_POLL_IN ? APR_POLLIN : 0)
        | (what & CURL_POLL_OUT ? APR_POLLOUT : 0);
    apr_pool_t *pool;

    if (entry) {
        apr_pollset_remove(sockets->queue, &entry->descriptor);
    }
    if (what == CURL_POLL_REMOVE) {
        curl_multi_assign(sockets->multi, socket, NULL);
        if (entry) {
            apr_pool_destroy(entry->pool);
        }
        return 0;
    }
    if (!entry) {
        if (gh_pool_create_below(&pool, sockets->pool, "socket") != APR_SUCCESS) {
            return -1;
        }
        entry = apr_pcalloc(pool, sizeof(*entry));
        entry->pool = pool;
        if (describe(&entry->descriptor, socket, events, entry, pool) != APR_SUCCESS) {
            apr_pool_destroy(pool);
            return -1;
        }
        curl_multi_assign(sockets->multi, socket, entry);
    }
    entry->descriptor.reqevents = events;
    return apr_pollset_add(sockets->queue, &entry->descriptor) == APR_SUCCESS ? 0 : -1;
}

/* Called by libcurl: when it wants to be called. */
static int timer_changed(CURLM *multi, long milliseconds, void *baton)
{
    sockets_t *sockets = baton;

    sockets->due = milliseconds < 0 ? 0 : monotonic_now() + apr_time_from_msec(milliseconds);
    return 0;
}

apr_status_t sockets_create(sockets_t **out, CURLM *multi, int stop, apr_pool_t *p,
                            gh_result_t *result)
{
    sockets_t *sockets = apr_pcalloc(p, sizeof(*sockets));
    apr_status_t rv;

    sockets->multi = multi;
    sockets->pool = p;
    sockets->happened = apr_array_make(p, 64, sizeof(event_t));
    rv = apr_pollset_create(&sockets->queue, SIZE, p, APR_POLLSET_WAKEABLE);
    if (rv == APR_SUCCESS) {
        rv = describe(&sockets->stop, stop, APR_POLLIN, NULL, p);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_pollset_add(sockets->queue, &sockets->stop);
    }
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "worker",
                              "See whether the machine is short of descriptors.",
                              GHNO(1519) "the worker cannot wait for sockets");
    }
    sockets->stop_waits = 1;
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket_changed);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer_changed);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, sockets);
    *out = sockets;
    return APR_SUCCESS;
}

/** What a call does may end another one and its socket: all is noted before anything is done. */
static void note(sockets_t *sockets, const apr_pollfd_t *descriptors, apr_int32_t count)
{
    apr_int32_t i;

    apr_array_clear(sockets->happened);
    for (i = 0; i < count; ++i) {
        apr_int16_t events = descriptors[i].rtnevents;
        apr_os_sock_t system;
        event_t *event;

        if (!descriptors[i].client_data
            || apr_os_sock_get(&system, descriptors[i].desc.s) != APR_SUCCESS) {
            continue;
        }
        event = apr_array_push(sockets->happened);
        event->socket = system;
        event->events = (events & (APR_POLLIN | APR_POLLHUP) ? CURL_CSELECT_IN : 0)
            | (events & APR_POLLOUT ? CURL_CSELECT_OUT : 0)
            | (events & (APR_POLLERR | APR_POLLNVAL) ? CURL_CSELECT_ERR : 0);
    }
}

void sockets_wait(sockets_t *sockets, apr_interval_time_t longest)
{
    const apr_pollfd_t *descriptors = NULL;
    apr_time_t now = monotonic_now();
    apr_int32_t count = 0;
    int running, i;

    if (sockets->due && sockets->due - now < longest) {
        longest = sockets->due - now;
    }
    /* APR cuts it down to milliseconds: the last one would be spent on asking again and again */
    longest = longest > 0 ? (longest + 999) / 1000 * 1000 : 0;
    if (apr_pollset_poll(sockets->queue, longest, &count, &descriptors)
        != APR_SUCCESS) {
        count = 0;
    }
    note(sockets, descriptors, count);
    for (i = 0; i < sockets->happened->nelts; ++i) {
        const event_t *event = &APR_ARRAY_IDX(sockets->happened, i, event_t);

        curl_multi_socket_action(sockets->multi, event->socket, event->events, &running);
    }
    if (sockets->due && sockets->due <= monotonic_now()) {
        sockets->due = 0;
        curl_multi_socket_action(sockets->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

void sockets_forget_stop(sockets_t *sockets)
{
    if (sockets->stop_waits) {
        apr_pollset_remove(sockets->queue, &sockets->stop);
        sockets->stop_waits = 0;
    }
}

void sockets_wake(sockets_t *sockets)
{
    apr_pollset_wakeup(sockets->queue);
}
