/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/backoff.h"

#include <openssl/rand.h>

apr_interval_time_t backoff_jitter(apr_interval_time_t most)
{
    apr_uint32_t random;

    if (RAND_bytes((unsigned char *)&random, (int)sizeof(random)) != 1) {
        random = (apr_uint32_t)apr_time_now();
    }
    return most <= 0 ? 0 : (apr_interval_time_t)((double)most * random / 0xffffffffu);
}

apr_interval_time_t backoff_pause(int attempts, apr_interval_time_t first,
                                  apr_interval_time_t most)
{
    apr_interval_time_t pause = first;

    while (attempts-- > 1 && pause < most) {
        pause *= 2;
    }
    pause = pause < most ? pause : most;
    return pause / 2 + backoff_jitter(pause - pause / 2);
}
