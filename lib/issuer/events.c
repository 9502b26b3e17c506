/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificate events: into the store. */

#include "issuer/events_private.h"

#include <string.h>

#include <apr_strings.h>

#include "issuer/remote.h"
#include "status.h"
#include "store/housekeeping.h"
#include "x509/ca.h"
#include "x509/key.h"

#define RULE "events"

/** Events that were put by, in one transaction. */
#define SETTLED_AT_ONCE 100

typedef struct {
    const gh_events_feed_t *feed;
    const gh_events_page_t *page;
    gh_bytes_t ca_key;
    gh_bytes_t ca_der;
    gh_events_outcome_t *outcome;
    int conflict;                   /* the issuer has another key */
    apr_pool_t *pool;
} take_t;

const char *gh_events_cursor_name(const char *issuer, apr_pool_t *p)
{
    return apr_pstrcat(p, "events.", issuer, NULL);
}

apr_status_t gh_events_note(gh_transaction_t *transaction, const gh_events_feed_t *feed,
                            const gh_certificate_record_t *record, const char *name,
                            apr_pool_t *p)
{
    gh_audit_event_t event = *feed->audit;

    event.time = apr_time_now();
    event.id = gh_random_id(p);
    event.event = name;
    event.issuer = record->issuer;
    event.subject = *record->subject ? record->subject : NULL;
    event.serial = gh_hex(p, record->serial.data, record->serial.length);
    event.rule = RULE;
    event.result = "done";
    event.message = gh_reason_name(record->reason);
    return gh_audit_insert(transaction, &event, gh_audit_line(&event, p), feed->logged);
}

const char *gh_events_name(gh_status_t status)
{
    return status == GH_STATUS_REVOKED ? "revoke" : status == GH_STATUS_HELD ? "hold" : "release";
}

/**
 * Whether an event says nothing of the status that a certificate has by now. A page comes again,
 * or late: what it says of a time before a hold does not end that hold.
 */
static int is_past(const gh_event_t *event, const gh_certificate_record_t *known)
{
    return event->passing
        || (event->record.status == GH_STATUS_GOOD
            && (!event->released || (known->status == GH_STATUS_HELD && event->dated
                                     && event->time < known->revoked_at)));
}

/** A hold that the CA tells of late: it was ended here since. */
static apr_status_t is_released(gh_transaction_t *transaction, const take_t *take,
                                const gh_event_t *event, const gh_certificate_record_t *known,
                                int *released)
{
    const gh_certificate_record_t *record = &event->record;
    apr_time_t when = 0;
    apr_status_t rv = APR_SUCCESS;

    if (record->status == GH_STATUS_HELD && known->status == GH_STATUS_GOOD && event->dated) {
        rv = gh_remote_released(transaction, record->issuer, record->serial, &when, take->pool);
    }
    *released = event->time < when;
    return rv;
}

/**
 * What is news about a certificate that is there. What the table of states does not have is of a
 * time before: the certificate was revoked since.
 */
static apr_status_t take_known(gh_transaction_t *transaction, take_t *take,
                               const gh_event_t *event, const gh_certificate_record_t *known)
{
    const gh_certificate_record_t *record = &event->record;
    apr_time_t not_after = known->not_after;
    int completed = 0, changed = 0, released = 0;
    apr_status_t rv = is_released(transaction, take, event, known, &released);

    if (rv == APR_SUCCESS && gh_certificate_is_unknown(known)
        && !gh_certificate_is_unknown(record)) {
        rv = gh_certificate_complete(transaction, record, &completed);
        not_after = record->not_after;
    }
    if (rv == APR_SUCCESS && !released && !is_past(event, known)) {
        /* a revocation counts also if the CA made it after the certificate's end */
        rv = gh_certificate_set_status(transaction, record->issuer, record->serial, record->status,
                                       record->reason, 0,
                                       event->time < not_after ? event->time : not_after,
                                       &changed);
        if (rv == GH_EREFUSED) {
            rv = APR_SUCCESS;
        }
    }
    if (rv == APR_SUCCESS && changed) {
        rv = gh_events_note(transaction, take->feed, record, gh_events_name(record->status),
                            take->pool);
    }
    else if (rv == APR_SUCCESS && completed) {
        rv = gh_events_note(transaction, take->feed, record, "import", take->pool);
    }
    take->outcome->changed += completed || changed;
    take->outcome->unchanged += !completed && !changed;
    return rv;
}

static apr_status_t take_new(gh_transaction_t *transaction, take_t *take, const gh_event_t *event)
{
    gh_certificate_record_t record = event->record;
    apr_status_t rv;

    if (event->passing) {
        record.status = GH_STATUS_GOOD;
        record.reason = GH_REASON_NONE;
        record.revoked_at = 0;
    }
    rv = gh_certificate_insert(transaction, &record);
    if (rv == APR_SUCCESS) {
        rv = gh_events_note(transaction, take->feed, &record, "import", take->pool);
    }
    take->outcome->added++;
    return rv;
}

static apr_status_t take_cursor(gh_transaction_t *transaction, const take_t *take)
{
    apr_status_t rv = APR_SUCCESS;

    if (take->feed->later) {
        return APR_SUCCESS;
    }
    if (take->feed->gap) {
        rv = gh_events_gap_open(transaction, take->feed, apr_time_now(), take->pool);
    }
    return rv == APR_SUCCESS ? gh_events_move(transaction, take->feed, take->page, take->pool) : rv;
}

static apr_status_t take_work(gh_transaction_t *transaction, void *baton)
{
    take_t *take = baton;
    gh_events_outcome_t *outcome = take->outcome;
    apr_array_header_t *found;
    apr_status_t rv;
    int i;

    outcome->added = outcome->changed = outcome->unchanged = 0;
    rv = gh_issuer_register(transaction, take->feed->issuer, take->ca_key, take->ca_der);
    take->conflict = rv == GH_ECONFLICT;
    for (i = 0; i < take->page->events->nelts && rv == APR_SUCCESS; ++i) {
        const gh_event_t *event = APR_ARRAY_IDX(take->page->events, i, const gh_event_t *);

        rv = gh_certificate_find(transaction, event->record.issuer, event->record.serial, &found,
                                 take->pool);
        if (rv == APR_SUCCESS) {
            rv = found->nelts > 0
                ? take_known(transaction, take, event,
                             APR_ARRAY_IDX(found, 0, const gh_certificate_record_t *))
                : take_new(transaction, take, event);
        }
    }
    return rv == APR_SUCCESS ? take_cursor(transaction, take) : rv;
}

/** Into the store, in one transaction. */
static apr_status_t take_page(gh_store_t *store, const gh_events_feed_t *feed,
                              const gh_events_page_t *page, gh_events_outcome_t *outcome,
                              apr_pool_t *p, gh_result_t *result)
{
    take_t take = { .feed = feed, .page = page, .outcome = outcome, .pool = p };
    apr_status_t rv;

    take.ca_key = gh_key_sha256(X509_get0_pubkey(feed->ca), p);
    take.ca_der = gh_certificate_der(feed->ca, p);
    rv = gh_store_write(store, take_work, &take, result);
    if (rv == GH_ECONFLICT && !take.conflict) {
        /* somebody else has added one of them meanwhile: now it will be found */
        rv = gh_store_write(store, take_work, &take, result);
    }
    if (rv == GH_ECONFLICT && take.conflict) {
        gh_result_fail(result, rv, GH_FAILURE_CONFLICT, RULE,
                       "Give the new CA a name of its own.",
                       GHNO(0712) "issuer %s has another key in the store", feed->issuer);
    }
    return rv;
}

apr_status_t gh_events_take(gh_store_t *store, const gh_events_feed_t *feed, const char *text,
                            apr_size_t length, gh_events_outcome_t *outcome, apr_pool_t *p,
                            gh_result_t *result)
{
    gh_events_page_t page;
    apr_status_t rv;

    memset(outcome, 0, sizeof(*outcome));
    rv = gh_events_read(&page, feed, text, length, apr_time_now(), p, result);
    outcome->skipped = page.skipped;
    if (rv == APR_SUCCESS && feed->later) {
        rv = gh_events_put_by(feed->later, &page, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    outcome->events = page.count;
    outcome->cursor = page.cursor;
    outcome->more = page.more;
    return take_page(store, feed, &page, outcome, p, result);
}

apr_status_t gh_events_settle(gh_store_t *store, const gh_events_feed_t *feed, int *changed,
                              apr_pool_t *p, gh_result_t *result)
{
    gh_events_outcome_t outcome;
    gh_events_page_t page;
    apr_pool_t *ptemp;
    apr_status_t rv = APR_SUCCESS;

    *changed = 0;
    memset(&page, 0, sizeof(page));
    apr_pool_create(&ptemp, p);
    while (rv == APR_SUCCESS
           && (page.events = gh_events_take_by(feed->later, SETTLED_AT_ONCE, ptemp)) != NULL) {
        rv = take_page(store, feed, &page, &outcome, ptemp, result);
        *changed += rv == APR_SUCCESS ? outcome.changed : 0;
        apr_pool_clear(ptemp);
    }
    apr_pool_destroy(ptemp);
    return rv;
}

typedef struct {
    const char *name;
    const char *value;
    apr_pool_t *pool;
} setting_t;

static apr_status_t setting_work(gh_transaction_t *transaction, void *baton)
{
    setting_t *setting = baton;
    apr_status_t rv = gh_setting_get(transaction, setting->name, &setting->value, setting->pool);

    if (rv == APR_NOTFOUND) {
        setting->value = NULL;
        rv = APR_SUCCESS;
    }
    return rv;
}

apr_status_t gh_events_cursor(gh_store_t *store, const char *issuer, const char **cursor,
                              apr_pool_t *p, gh_result_t *result)
{
    setting_t setting = { gh_events_cursor_name(issuer, p), NULL, p };
    apr_status_t rv = gh_store_read(store, setting_work, &setting, result);

    *cursor = rv == APR_SUCCESS ? setting.value : NULL;
    return rv;
}
