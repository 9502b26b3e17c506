/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_sockets_h
#define fcgi_sockets_h

#include <apr_pools.h>
#include <apr_time.h>
#include <curl/curl.h>

#include "result.h"

/* The sockets of libcurl's calls, waited for by the system's event queue: a turn costs what has
 * happened, not what is open. For one thread, but for sockets_wake(). */

typedef struct sockets sockets_t;

/**
 * Takes over the sockets and the timer of multi, which has to be without calls and to live until
 * the pool is cleared; from here on nobody else may call curl_multi_perform() or curl_multi_poll().
 *
 * @param stop a descriptor that also ends waiting as soon as it can be read
 */
apr_status_t sockets_create(sockets_t **sockets, CURLM *multi, int stop, apr_pool_t *p,
                            gh_result_t *result);

/** Lets calls begin, go on and time out. @param longest how long nothing may happen, at most */
void sockets_wait(sockets_t *sockets, apr_interval_time_t longest);

/** Waits no longer for the descriptor that ends waiting. */
void sockets_forget_stop(sockets_t *sockets);

/** On any thread: sockets_wait() returns. */
void sockets_wake(sockets_t *sockets);

#endif /* fcgi_sockets_h */
