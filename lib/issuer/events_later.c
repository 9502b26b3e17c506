/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Holds and releases of a feed that is read anew: only the last of each certificate counts. */

#include "issuer/events_private.h"

#include <apr_hash.h>
#include <apr_strings.h>

/** About 300 bytes each. */
#define LATER_MAX 200000

struct gh_events_later {
    apr_hash_t *events;             /* gh_event_t * by serial number */
    apr_pool_t *pool;
};

gh_events_later_t *gh_events_later_create(apr_pool_t *p)
{
    gh_events_later_t *later = apr_palloc(p, sizeof(*later));

    later->events = apr_hash_make(p);
    later->pool = p;
    return later;
}

/** Without the certificate, which is taken up with the page. */
static void keep(gh_events_later_t *later, const gh_event_t *event)
{
    const gh_bytes_t *serial = &event->record.serial;
    gh_event_t *kept = apr_hash_get(later->events, serial->data, (apr_ssize_t)serial->length);
    gh_bytes_t own;

    if (!kept) {
        kept = apr_palloc(later->pool, sizeof(*kept));
        own.data = apr_pmemdup(later->pool, serial->data, serial->length);
        own.length = serial->length;
        apr_hash_set(later->events, own.data, (apr_ssize_t)own.length, kept);
    }
    else {
        own = kept->record.serial;
    }
    *kept = *event;
    kept->passing = 0;
    kept->record.serial = kept->record.der = own;
    kept->record.sha256 = kept->record.key_sha256 = gh_certificate_unknown_digest();
    kept->record.subject = kept->record.profile = "";
    kept->record.sans = "[]";
}

apr_status_t gh_events_put_by(gh_events_later_t *later, gh_events_page_t *page,
                              gh_result_t *result)
{
    int i;

    for (i = 0; i < page->events->nelts; ++i) {
        gh_event_t *event = APR_ARRAY_IDX(page->events, i, gh_event_t *);

        if (event->record.status == GH_STATUS_REVOKED) {
            continue;
        }
        if (event->record.status == GH_STATUS_HELD || event->released) {
            if (apr_hash_count(later->events) >= LATER_MAX) {
                return gh_result_fail(result, APR_ENOSPC, GH_FAILURE_REQUEST, "events.later",
                                      "Begin later with --since.",
                                      GHNO(1078) "the CA tells of more than %d certificates that "
                                      "were held", LATER_MAX);
            }
            keep(later, event);
        }
        event->passing = 1;
    }
    return APR_SUCCESS;
}

apr_array_header_t *gh_events_take_by(gh_events_later_t *later, int limit, apr_pool_t *p)
{
    apr_array_header_t *taken = apr_array_make(p, limit, sizeof(gh_event_t *));
    apr_hash_index_t *index = apr_hash_first(p, later->events);

    for (; index && taken->nelts < limit; index = apr_hash_next(index)) {
        gh_event_t *event = apr_hash_this_val(index);
        const gh_bytes_t *serial = &event->record.serial;

        APR_ARRAY_PUSH(taken, gh_event_t *) = event;
        apr_hash_set(later->events, serial->data, (apr_ssize_t)serial->length, NULL);
    }
    return taken->nelts ? taken : NULL;
}
