/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_breaker_h
#define fcgi_breaker_h

#include <apr_time.h>

/*
 * A circuit breaker: after some failures in a row nothing is tried for a while, then one thing; if
 * that fails too, the pause is twice as long. Times are of any clock that is never set back.
 */

typedef struct {
    int most;                       /* failures in a row */
    apr_interval_time_t first;      /* pause */
    apr_interval_time_t longest;

    int failures;
    apr_interval_time_t pause;      /* the present one; 0: closed */
    apr_time_t until;               /* its end, or that of a pause that was asked for */
    apr_time_t tried;               /* since when one is tried after a pause; 0: none */
} breaker_t;

/** 0: 5 failures, 10 s, 5 min. */
void breaker_init(breaker_t *breaker, int most, apr_interval_time_t first,
                  apr_interval_time_t longest);

/** How many may be begun: 0, 1, or any number, which is -1. */
int breaker_room(const breaker_t *breaker, apr_time_t now);

/** Begins one. @return 0 if it may not be */
int breaker_enter(breaker_t *breaker, apr_time_t now);

/** When to ask again after a refusal. */
apr_time_t breaker_until(const breaker_t *breaker, apr_time_t now);

/** @return 1 if it was closed and is open now, -1 the other way round */
int breaker_note(breaker_t *breaker, int alive, apr_time_t now);

/** The other side has asked for a pause. It gets none that is longer than those after failures: one
 *  answer, perhaps of something that stands before it, must not stop everything for a day. */
void breaker_hold(breaker_t *breaker, apr_time_t until, apr_time_t now);

#endif /* fcgi_breaker_h */
