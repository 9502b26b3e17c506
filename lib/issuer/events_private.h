/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_events_private_h
#define gatehouse_issuer_events_private_h

#include "issuer/events.h"
#include "store/certificates.h"

/* Between reading a page and writing it to the store. */

/** An event that was understood. */
typedef struct {
    gh_certificate_record_t record; /* as the event alone would have it; change is not set */
    apr_time_t time;                /* of the event, not later than now */
    int dated;                      /* the event itself has said so */
    int passing;                    /* a hold that a later event of the page ends, or one that is
                                       settled later */
    int released;                   /* its action ends a hold */
} gh_event_t;

typedef struct {
    apr_array_header_t *events;     /* gh_event_t * */
    apr_array_header_t *skipped;    /* gh_events_skipped_t * */
    int count;                      /* of both */
    const char *cursor;
    int more;
} gh_events_page_t;

/** Reads a page and verifies its certificates. Errors as gh_events_take(). */
apr_status_t gh_events_read(gh_events_page_t *page, const gh_events_feed_t *feed,
                            const char *text, apr_size_t length, apr_time_t now, apr_pool_t *p,
                            gh_result_t *result);

/** Takes what has to wait out of a page. @return APR_ENOSPC if that is too much */
apr_status_t gh_events_put_by(gh_events_later_t *later, gh_events_page_t *page,
                              gh_result_t *result);

/** Some of what was put by, gh_event_t * elements in p; once each. @return NULL: no more */
apr_array_header_t *gh_events_take_by(gh_events_later_t *later, int limit, apr_pool_t *p);

#endif /* gatehouse_issuer_events_private_h */
