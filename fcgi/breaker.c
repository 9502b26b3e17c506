/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/breaker.h"

#include <string.h>

/** What is tried after a pause and has not been heard of for so long is forgotten. */
#define TRIAL_MAX apr_time_from_sec(120)

void breaker_init(breaker_t *breaker, int most, apr_interval_time_t first,
                  apr_interval_time_t longest)
{
    memset(breaker, 0, sizeof(*breaker));
    breaker->most = most > 0 ? most : 5;
    breaker->first = first > 0 ? first : apr_time_from_sec(10);
    breaker->longest = longest > 0 ? longest : apr_time_from_sec(300);
}

int breaker_room(const breaker_t *breaker, apr_time_t now)
{
    if (now < breaker->until) {
        return 0;
    }
    if (!breaker->pause) {
        return -1;
    }
    return !breaker->tried || now >= breaker->tried + TRIAL_MAX;
}

int breaker_enter(breaker_t *breaker, apr_time_t now)
{
    if (!breaker_room(breaker, now)) {
        return 0;
    }
    if (breaker->pause) {
        breaker->tried = now;
    }
    return 1;
}

apr_time_t breaker_until(const breaker_t *breaker, apr_time_t now)
{
    /* while one is tried, nobody knows; so long as such a thing takes */
    return now < breaker->until ? breaker->until : now + apr_time_from_sec(2);
}

int breaker_note(breaker_t *breaker, int alive, apr_time_t now)
{
    int was_open = breaker->pause > 0;

    if (alive) {
        breaker->failures = 0;
        breaker->pause = 0;
        breaker->tried = 0;
        return was_open ? -1 : 0;
    }
    if (was_open && !breaker->tried) {
        return 0;                   /* begun before, and late */
    }
    if (!was_open && ++breaker->failures < breaker->most) {
        return 0;
    }
    breaker->pause = was_open ? 2 * breaker->pause : breaker->first;
    breaker->pause = breaker->pause < breaker->longest ? breaker->pause : breaker->longest;
    breaker->tried = 0;
    breaker_hold(breaker, now + breaker->pause, now);
    return !was_open;
}

void breaker_hold(breaker_t *breaker, apr_time_t until, apr_time_t now)
{
    until = until - now < breaker->longest ? until : now + breaker->longest;
    breaker->until = until > breaker->until ? until : breaker->until;
}
