/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_events_h
#define gatehouse_issuer_events_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/x509.h>

#include "audit.h"
#include "result.h"
#include "store/store.h"

/*
 * Certificate events: what a CA elsewhere tells, in pages of JSON, of the certificates that it
 * issues and revokes. A page becomes rows of the store under the name of an <Issuer>, so that all
 * that looks at the store (OCSP, CRLs, lists) knows them.
 *
 * A page is an object with an array "events", and "nextPageIndex" if others follow; what an event
 * looks like is in events_read.c. One bad event never keeps a page from being taken up: it is
 * skipped and counted, and the caller is told which one and why.
 */

/** Longest page in bytes, and most events in it. */
#define GH_EVENTS_PAGE_MAX ((apr_size_t)16 * 1024 * 1024)
#define GH_EVENTS_MAX 1000

/** Longest position in a feed. */
#define GH_EVENTS_CURSOR_MAX 1024

/**
 * A feed that is read anew tells first of holds that ended long ago. They must not come back, not
 * even until its end is reached: so holds and releases are put by, and the last word counts.
 */
typedef struct gh_events_later gh_events_later_t;

/** A time of which the gateway cannot tell, see events_gap.h. */
typedef struct {
    apr_time_t from;
    apr_time_t to;
} gh_events_gap_t;

/** @param p lives until gh_events_settle() */
gh_events_later_t *gh_events_later_create(apr_pool_t *p);

/** Whose events these are. */
typedef struct {
    const char *issuer;             /* name of the <Issuer> */
    X509 *ca;                       /* its certificate: what it has not signed is no event of it */
    int serials_only;               /* 1: serials and status are stored, certificates are not */
    const gh_audit_event_t *audit;  /* what lines of the audit log begin with: node, protocol, user;
                                       a line is made for each certificate that is changed */
    int logged;                     /* as gh_audit_insert() */
    gh_events_later_t *later;       /* for a feed that is read anew from its beginning; or NULL */
    const gh_events_gap_t *gap;     /* what is passed over with this page; or NULL */
} gh_events_feed_t;

/** An event that was skipped. */
typedef struct {
    int position;                   /* in the page, from 1 */
    const char *serial;             /* as it was written, or NULL */
    const char *number;             /* "GH0708" */
    const char *message;
    const char *action;
} gh_events_skipped_t;

/** What became of a page. */
typedef struct {
    int events;
    int added;                      /* certificates that were not known before */
    int changed;                    /* of those known before: another status, or the certificate
                                       itself to a serial number */
    int unchanged;                  /* events that said nothing new */
    apr_array_header_t *skipped;    /* gh_events_skipped_t * */
    const char *cursor;             /* position of the next page, NULL if the page has none */
    int more;                       /* the page says that more are there now */
} gh_events_outcome_t;

/**
 * Takes up a page: all of it and the new position in one transaction. The same page again changes
 * nothing, unless pages behind it said otherwise (a hold that they have released). What is revoked
 * stays so, whatever a later event says; of a hold and its release in one page only the release
 * counts. Thread-safe; verifies signatures, about 0.1 ms for each certificate, before the
 * transaction.
 * With feed->later the position of the feed stays as it is. With feed->gap it is behind the gap,
 * and a job to look at what is known of the CA's certificates is made, in the same transaction.
 * @param outcome in p
 * @return APR_EINVAL for what is no page, with result; APR_ENOSPC for one that is too large, or for
 *         more holds than can be put by;
 *         GH_ECONFLICT if the issuer has another key in the store; errors of the store
 */
apr_status_t gh_events_take(gh_store_t *store, const gh_events_feed_t *feed, const char *page,
                            apr_size_t length, gh_events_outcome_t *outcome, apr_pool_t *p,
                            gh_result_t *result);

/**
 * Does what feed->later was told, once all pages were taken up.
 * @param changed set to how many certificates have another status now
 * @return errors of the store
 */
apr_status_t gh_events_settle(gh_store_t *store, const gh_events_feed_t *feed, int *changed,
                              apr_pool_t *p, gh_result_t *result);

/** Where the feed of an issuer goes on, in p.
 *  @param cursor set to NULL if it has not begun */
apr_status_t gh_events_cursor(gh_store_t *store, const char *issuer, const char **cursor,
                              apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_issuer_events_h */
