/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_bucket_h
#define fcgi_bucket_h

#include <apr_time.h>

/*
 * A token bucket: so many things in a second on average, and so many at once after a pause. Whoever
 * comes gets a time, in the order of coming. Times are of any clock that is never set back.
 */

typedef struct {
    apr_interval_time_t interval;   /* between two; 0: not limited */
    apr_interval_time_t burst;      /* so far ahead of the average */
    apr_time_t next;                /* of the one that comes next, by the average */
} bucket_t;

/** @param rate per second, 0: not limited; @param burst at once, 0: the rate, at least 1 */
void bucket_init(bucket_t *bucket, double rate, double burst);

/** Takes a token. @return when it may be used: now, or later */
apr_time_t bucket_take(bucket_t *bucket, apr_time_t now);

#endif /* fcgi_bucket_h */
