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
    apr_time_t latest;              /* of events that say when they were, even if they are skipped
                                       for something else; 0: none does */
} gh_events_page_t;

/** Reads a page and verifies its certificates. Errors as gh_events_take(). */
apr_status_t gh_events_read(gh_events_page_t *page, const gh_events_feed_t *feed,
                            const char *text, apr_size_t length, apr_time_t now, apr_pool_t *p,
                            gh_result_t *result);

/** Name of the setting with the position of the next page. */
const char *gh_events_cursor_name(const char *issuer, apr_pool_t *p);

/** Moves the feed behind a page. */
apr_status_t gh_events_move(gh_transaction_t *transaction, const gh_events_feed_t *feed,
                            const gh_events_page_t *page, apr_pool_t *p);

/** Notes feed->gap, with the job that is to be done for it. */
apr_status_t gh_events_gap_open(gh_transaction_t *transaction, const gh_events_feed_t *feed,
                                apr_time_t now, apr_pool_t *p);

/** A line of the audit log. @param name of what was done, "revoke" */
apr_status_t gh_events_note(gh_transaction_t *transaction, const gh_events_feed_t *feed,
                            const gh_certificate_record_t *record, const char *name,
                            apr_pool_t *p);

/** "revoke", "hold" or "release". */
const char *gh_events_name(gh_status_t status);

/** Takes what has to wait out of a page. @return APR_ENOSPC if that is too much */
apr_status_t gh_events_put_by(gh_events_later_t *later, gh_events_page_t *page,
                              gh_result_t *result);

/** Some of what was put by, gh_event_t * elements in p; once each. @return NULL: no more */
apr_array_header_t *gh_events_take_by(gh_events_later_t *later, int limit, apr_pool_t *p);

#endif /* gatehouse_issuer_events_private_h */
