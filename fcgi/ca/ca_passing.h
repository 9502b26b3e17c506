/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_ca_passing_h
#define fcgi_ca_ca_passing_h

#include <apr_time.h>

/*
 * How a feed of events gets past what its gateway cannot tell in any form that can be read. Pure
 * reckoning: no network, no store.
 *
 * A page that cannot be read is asked for again, then in pages of one event, so that those before
 * the bad one are taken up. One that stays unreadable is passed by time, since positions are the
 * gateway's own: if there is something that can be read at all, and the page still cannot be when
 * it is asked for after that (it may have been an outage that has ended), the first second from
 * which on it can is looked for, in steps that double, then halve. Answers that do not come in time
 * are of a gateway with too much to do: less is asked for, and for long nothing is passed for that.
 */

/** Most events of a page; hosted gateways give no more. */
#define CA_PASSING_PAGE 50

typedef struct {
    int size;                       /* events to ask for */
    int failures;                   /* in a row, of pages of that size */
    int probing;                    /* 1: by time */
    int all;                        /* and whether anything can be read at all is not known yet */
    int sure;                       /* 1: it is known, and the page is tried for the last time */
    int late;                       /* answers in a row that did not come in time */
    apr_time_t bad;                 /* from here on it cannot be read */
    apr_time_t good;                /* from here on it can; 0: not found yet */
    apr_interval_time_t step;
    apr_time_t asked;               /* begin of the page that was asked for last */
} ca_passing_t;

typedef enum {
    CA_PASSING_ON = 1,              /* ask at once */
    CA_PASSING_LATER,               /* ask in some seconds */
    CA_PASSING_NOT                  /* nothing can be read: nothing is passed; ask in a while */
} ca_passing_next_t;

void ca_passing_init(ca_passing_t *passing);

/** Begin of the page to ask for now, while probing; 0: what the position says. */
apr_time_t ca_passing_time(ca_passing_t *passing, apr_time_t now);

/** A page could not be read. @param last of the events that were taken up, 0: there were none
 *  @param first where the feed begins, if there were none */
ca_passing_next_t ca_passing_failed(ca_passing_t *passing, apr_time_t last, apr_time_t first);

/** No answer came in time. @return 1 if that has been so for so long that it counts as a page that
 *  cannot be read: ca_passing_failed() */
int ca_passing_late(ca_passing_t *passing);

/** A page could be read. What is between bad and asked is passed over with it if probing is set:
 *  then ca_passing_passed().
 *  @return 1 if it is to be taken up; 0: the next one is to be asked for */
int ca_passing_read(ca_passing_t *passing);

/** It was taken up. */
void ca_passing_passed(ca_passing_t *passing);

#endif /* fcgi_ca_ca_passing_h */
