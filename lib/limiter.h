/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_limiter_h
#define gatehouse_limiter_h

#include <apr_pools.h>
#include <apr_time.h>

/*
 * What all processes of a node share about strangers: how many messages are worked on, since each
 * costs private-key operations before anybody is known, and who has failed how often lately.
 *
 * Lives in memory that the parent makes and children inherit. A process that ends without a word
 * takes no place for long.
 */

typedef struct gh_limiter gh_limiter_t;

/** Bytes of shared memory for so many processes. */
apr_size_t gh_limiter_size(int processes);

/** Makes the memory ready, before the fork.
 *  @return APR_SUCCESS; APR_EGENERAL if the random generator fails */
apr_status_t gh_limiter_prepare(void *memory, int processes);

typedef struct {
    int concurrent;                 /* messages that are worked on at once, on the node */
    int failures;                   /* within the interval, of one client; 0: not counted */
    apr_interval_time_t interval;
} gh_limiter_limits_t;

/**
 * Joins, in the process that will use it. Its place is given back with the pool.
 * @param memory NULL, or what gh_limiter_prepare() has made ready: without it, or if there are more
 *        processes than it was made for, this process counts for itself
 */
gh_limiter_t *gh_limiter_join(void *memory, int processes, const gh_limiter_limits_t *limits,
                            apr_pool_t *p);

/** Any thread. @return 1: go on, and leave; 0: too many are in */
int gh_limiter_enter(gh_limiter_t *limiter);
void gh_limiter_leave(gh_limiter_t *limiter);

/** How many are in, on the node; for a moment, who is being sent away may be among them. */
int gh_limiter_inside(const gh_limiter_t *limiter);

/** Notes a failure of a client: a wrong challenge, a message that cannot be opened.
 *  @param client address; of IPv6 the first 64 bits count */
void gh_limiter_note_failure(gh_limiter_t *limiter, const char *client, apr_time_t now);

/** @return seconds until the client may try again, 0: now */
int gh_limiter_blocked(gh_limiter_t *limiter, const char *client, apr_time_t now);

#endif /* gatehouse_limiter_h */
