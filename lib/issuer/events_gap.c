/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificate events: where a feed stands, and what is passed over. */

#include "issuer/events_gap.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "issuer/events_private.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/jobs.h"

static const char *position_name(const char *issuer, apr_pool_t *p)
{
    return apr_pstrcat(p, "events-at.", issuer, NULL);
}

static const char *gaps_name(const char *issuer, apr_pool_t *p)
{
    return apr_pstrcat(p, "events-gaps.", issuer, NULL);
}

/** @param value set to NULL if there is none */
static apr_status_t setting(gh_transaction_t *transaction, const char *name, const char **value,
                            apr_pool_t *p)
{
    apr_status_t rv = gh_setting_get(transaction, name, value, p);

    if (rv == APR_NOTFOUND) {
        *value = NULL;
        rv = APR_SUCCESS;
    }
    return rv;
}

/* Where it stands */

static apr_status_t read_times(gh_transaction_t *transaction, const char *issuer,
                               gh_events_position_t *position, apr_pool_t *p)
{
    long long from = 0, last = 0;
    const char *text;
    apr_status_t rv = setting(transaction, position_name(issuer, p), &text, p);

    if (rv == APR_SUCCESS && text && sscanf(text, "%lld %lld", &from, &last) != 2) {
        rv = GH_ECORRUPT;
    }
    position->from = from;
    position->last = last;
    return rv;
}

typedef struct {
    const char *issuer;
    gh_events_position_t *position;
    apr_pool_t *pool;
} position_t;

static apr_status_t position_work(gh_transaction_t *transaction, void *baton)
{
    position_t *work = baton;
    apr_status_t rv = setting(transaction, gh_events_cursor_name(work->issuer, work->pool),
                              &work->position->cursor, work->pool);

    return rv == APR_SUCCESS ? read_times(transaction, work->issuer, work->position, work->pool)
                             : rv;
}

apr_status_t gh_events_position(gh_store_t *store, const char *issuer,
                                gh_events_position_t *position, apr_pool_t *p, gh_result_t *result)
{
    position_t work = { issuer, position, p };

    memset(position, 0, sizeof(*position));
    return gh_store_read(store, position_work, &work, result);
}

apr_status_t gh_events_move(gh_transaction_t *transaction, const gh_events_feed_t *feed,
                            const gh_events_page_t *page, apr_pool_t *p)
{
    gh_events_position_t before, after;
    apr_status_t rv = read_times(transaction, feed->issuer, &before, p);

    if (rv == APR_SUCCESS && page->cursor) {
        rv = gh_setting_put(transaction, gh_events_cursor_name(feed->issuer, p), page->cursor);
    }
    after.from = page->cursor ? 0 : feed->gap ? feed->gap->to : before.from;
    after.last = page->latest > before.last ? page->latest : before.last;
    if (rv == APR_SUCCESS && (after.from != before.from || after.last != before.last)) {
        rv = gh_setting_put(transaction, position_name(feed->issuer, p),
                            apr_psprintf(p, "%" APR_TIME_T_FMT " %" APR_TIME_T_FMT, after.from,
                                         after.last));
    }
    return rv;
}

/* Gaps */

apr_status_t gh_events_gaps(gh_transaction_t *transaction, const char *issuer,
                            gh_events_gaps_t *gaps, apr_pool_t *p)
{
    long long from, to, opened;
    const char *text;
    apr_status_t rv = setting(transaction, gaps_name(issuer, p), &text, p);

    memset(gaps, 0, sizeof(*gaps));
    if (rv != APR_SUCCESS || !text) {
        return rv;
    }
    if (sscanf(text, "%d %d %lld %lld %lld", &gaps->open, &gaps->total, &from, &to, &opened) != 5) {
        return GH_ECORRUPT;
    }
    gaps->from = from;
    gaps->to = to;
    gaps->opened = opened;
    return APR_SUCCESS;
}

static apr_status_t put_gaps(gh_transaction_t *transaction, const char *issuer,
                             const gh_events_gaps_t *gaps, apr_pool_t *p)
{
    return gh_setting_put(transaction, gaps_name(issuer, p),
                          apr_psprintf(p, "%d %d %" APR_TIME_T_FMT " %" APR_TIME_T_FMT " %"
                                       APR_TIME_T_FMT, gaps->open, gaps->total, gaps->from,
                                       gaps->to, gaps->opened));
}

apr_status_t gh_events_gap_open(gh_transaction_t *transaction, const gh_events_feed_t *feed,
                                apr_time_t now, apr_pool_t *p)
{
    const gh_events_gap_t *gap = feed->gap;
    const char *id = gh_ordered_id(now, p);
    gh_job_record_t job = {
        .id = id, .kind = GH_EVENTS_LOOKUP, .queue = feed->issuer, .subject = id,
        .created = now, .due = now
    };
    gh_events_gaps_t gaps;
    apr_time_t opened;
    apr_status_t rv = id ? gh_events_gaps(transaction, feed->issuer, &gaps, p) : APR_EGENERAL;

    if (rv == APR_SUCCESS) {
        rv = gh_store_now(transaction, &opened);
    }
    if (rv == APR_SUCCESS) {
        gaps.from = gaps.open && gaps.from < gap->from ? gaps.from : gap->from;
        gaps.to = gaps.open && gaps.to > gap->to ? gaps.to : gap->to;
        gaps.opened = opened;
        ++gaps.open;
        ++gaps.total;
        rv = put_gaps(transaction, feed->issuer, &gaps, p);
    }
    return rv == APR_SUCCESS ? gh_job_insert(transaction, &job) : rv;
}

apr_status_t gh_events_gaps_close(gh_transaction_t *transaction, const char *issuer,
                                  apr_time_t begun, int *closed, apr_pool_t *p)
{
    gh_events_gaps_t gaps;
    apr_status_t rv = gh_events_gaps(transaction, issuer, &gaps, p);
    int open = gaps.open;

    if (rv == APR_SUCCESS && open && gaps.opened <= begun) {
        gaps.open = 0;
        rv = put_gaps(transaction, issuer, &gaps, p);
    }
    *closed = rv == APR_SUCCESS && !gaps.open;
    return rv;
}

/* What the gateway says when it is asked */

apr_status_t gh_events_take_word(gh_transaction_t *transaction, const gh_events_feed_t *feed,
                                 const gh_events_word_t *word, int *changed, apr_pool_t *p)
{
    gh_certificate_record_t record = *word->known;
    const char *serial = gh_hex(p, record.serial.data, record.serial.length);
    apr_time_t when = word->time && word->time < word->asked ? word->time : word->asked;
    apr_array_header_t *found;
    apr_int64_t waiting = 0;
    apr_status_t rv = gh_certificate_find(transaction, record.issuer, record.serial, &found, p);

    *changed = 0;
    if (rv == APR_SUCCESS && found->nelts == 0) {
        return APR_SUCCESS;
    }
    if (rv == APR_SUCCESS && word->status != GH_STATUS_REVOKED) {
        const gh_certificate_record_t *now = APR_ARRAY_IDX(found, 0, gh_certificate_record_t *);

        if (now->status != word->known->status || now->revoked_at != word->known->revoked_at) {
            return APR_SUCCESS;
        }
        /* what was decided here reaches the CA later */
        rv = gh_job_about(transaction, record.issuer, serial, &waiting);
    }
    if (rv != APR_SUCCESS || waiting) {
        return rv;
    }
    if (when > record.not_after) {
        when = record.not_after;
    }
    record.status = word->status;
    record.reason = word->reason;
    rv = gh_certificate_set_status(transaction, record.issuer, record.serial, record.status,
                                   record.reason, 0, when, changed);
    if (rv == GH_EREFUSED) {
        rv = APR_SUCCESS;
    }
    return rv == APR_SUCCESS && *changed
        ? gh_events_note(transaction, feed, &record, gh_events_name(record.status), p) : rv;
}
