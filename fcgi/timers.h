/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_timers_h
#define fcgi_timers_h

#include <apr_pools.h>
#include <apr_time.h>

/* Functions to be called at a time, once. For one thread. */

typedef struct timers timers_t;
typedef void timer_fn(void *baton);

timers_t *timers_create(apr_pool_t *p);

/** @param when of a clock that is never set back; in the past: as soon as possible */
void timers_add(timers_t *timers, apr_time_t when, timer_fn *fn, void *baton);

/** Makes all that call fn due. */
void timers_hurry(timers_t *timers, timer_fn *fn);

/** Calls what is due. @return when the next is; 0: there is none */
apr_time_t timers_run(timers_t *timers, apr_time_t now);

#endif /* fcgi_timers_h */
