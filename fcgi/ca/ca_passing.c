/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/ca/ca_passing.h"

#include <string.h>

/** Times of events are seconds. */
#define SECOND apr_time_from_sec(1)

/** In a row, before less is asked for, and before it is passed. */
#define PAGE_TRIES 2
#define EVENT_TRIES 3

/** In a row that did not come in time, before they are taken for such that never will. */
#define LATE_TRIES 60

static apr_time_t whole(apr_time_t time)
{
    return time - time % SECOND;
}

void ca_passing_init(ca_passing_t *passing)
{
    memset(passing, 0, sizeof(*passing));
    passing->size = CA_PASSING_PAGE;
}

apr_time_t ca_passing_time(ca_passing_t *passing, apr_time_t now)
{
    apr_time_t time;

    if (!passing->probing) {
        return 0;
    }
    now = whole(now);
    if (passing->all) {
        time = now;
    }
    else if (!passing->good) {
        time = passing->bad + passing->step < now ? passing->bad + passing->step : now;
    }
    else if (passing->good - passing->bad <= SECOND) {
        time = passing->good;
    }
    else {
        time = whole(passing->bad + (passing->good - passing->bad) / 2);
    }
    passing->asked = time;
    return time;
}

static ca_passing_next_t give_up(ca_passing_t *passing)
{
    passing->probing = 0;
    passing->all = 0;
    passing->sure = 0;
    passing->failures = 0;
    return CA_PASSING_NOT;
}

static void probe(ca_passing_t *passing, apr_time_t from)
{
    passing->probing = 1;
    passing->bad = whole(from);
    passing->good = 0;
    passing->step = SECOND;
}

ca_passing_next_t ca_passing_failed(ca_passing_t *passing, apr_time_t last, apr_time_t first)
{
    if (!passing->probing) {
        if (++passing->failures < (passing->size > 1 ? PAGE_TRIES : EVENT_TRIES)) {
            return CA_PASSING_LATER;
        }
        passing->failures = 0;
        if (passing->size == 1) {
            probe(passing, last ? last : first);
            passing->all = !passing->sure;
            passing->sure = 0;
        }
        passing->size = 1;
        return CA_PASSING_ON;
    }
    if (passing->all) {
        return give_up(passing);
    }
    if (passing->good && passing->asked < passing->good) {
        passing->bad = passing->asked;
        return CA_PASSING_ON;
    }
    if (passing->asked <= passing->bad) {
        /* the present was reached */
        return give_up(passing);
    }
    if (passing->good) {
        /* where it could be read, it cannot any more */
        probe(passing, passing->asked);
        return CA_PASSING_ON;
    }
    passing->bad = passing->asked;
    passing->step *= 2;
    return CA_PASSING_ON;
}

int ca_passing_late(ca_passing_t *passing)
{
    if (!passing->probing && passing->size > 1) {
        passing->size /= 2;
    }
    return ++passing->late >= LATE_TRIES;
}

int ca_passing_read(ca_passing_t *passing)
{
    passing->failures = 0;
    passing->late = 0;
    if (!passing->probing) {
        passing->sure = 0;
        passing->size = passing->size * 2 < CA_PASSING_PAGE ? passing->size * 2 : CA_PASSING_PAGE;
        return 1;
    }
    if (passing->all) {
        passing->all = 0;
        passing->probing = 0;
        passing->sure = 1;
        passing->failures = EVENT_TRIES - 1;
        return 0;
    }
    passing->good = passing->asked;
    return passing->good - passing->bad <= SECOND;
}

void ca_passing_passed(ca_passing_t *passing)
{
    passing->probing = 0;
}
