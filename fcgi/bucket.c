/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/bucket.h"

#include <string.h>

void bucket_init(bucket_t *bucket, double rate, double burst)
{
    memset(bucket, 0, sizeof(*bucket));
    if (rate <= 0) {
        return;
    }
    burst = burst > 0 ? burst : rate;
    burst = burst > 1 ? burst : 1;
    bucket->interval = (apr_interval_time_t)(APR_USEC_PER_SEC / rate);
    bucket->interval = bucket->interval > 0 ? bucket->interval : 1;
    bucket->burst = (apr_interval_time_t)((burst - 1) * (double)bucket->interval);
}

apr_time_t bucket_take(bucket_t *bucket, apr_time_t now)
{
    apr_time_t when;

    if (!bucket->interval) {
        return now;
    }
    if (bucket->next < now) {
        bucket->next = now;
    }
    when = bucket->next - bucket->burst;
    bucket->next += bucket->interval;
    return when > now ? when : now;
}
