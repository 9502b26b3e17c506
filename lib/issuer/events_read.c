/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Certificate events: from JSON to what the store is to be told. */

#include "issuer/events_private.h"

#include <string.h>
#include <strings.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "mended_json.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/san.h"

#define RULE "events"

/* RFC 5280 5.3.1 */
#define REASON_HOLD             6
#define REASON_UNUSED           7
#define REASON_REMOVE_FROM_CRL  8
#define REASON_LAST             10

#define SERIAL_DIGITS_MAX 64
#define CERTIFICATE_MAX ((apr_size_t)64 * 1024)

/*
 * The names of the wire. That "revoked" is an action is certain; the other names are those that the
 * operations of such an interface have.
 */
#define PAGE_EVENTS         "events"
#define PAGE_NEXT           "nextPageIndex"
#define PAGE_MORE           "morePages"
#define EVENT_ACTION        "action"
#define EVENT_SERIAL        "serialNumber"
#define EVENT_CERTIFICATE   "certificate"       /* base64 of DER */
#define EVENT_REASON        "reason"            /* CRLReason by name or number */
#define EVENT_TIME          "eventDate"

static const struct {
    const char *name;
    gh_status_t status;
    int released;
} actions[] = {
    { "issued", GH_STATUS_GOOD, 0 },
    { "created", GH_STATUS_GOOD, 0 },
    { "enrolled", GH_STATUS_GOOD, 0 },
    { "revoked", GH_STATUS_REVOKED, 0 },
    { "suspended", GH_STATUS_HELD, 0 },
    { "held", GH_STATUS_HELD, 0 },
    { "unsuspended", GH_STATUS_GOOD, 1 },
    { "unheld", GH_STATUS_GOOD, 1 },
    { "released", GH_STATUS_GOOD, 1 }
};

static apr_status_t malformed(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                          "Have the CA's gateway send it again, or import the certificate and "
                          "revoke it with gatehousectl cert.",
                          GHNO(0708) "an event has no usable member \"%s\"", what);
}

/** A member that is a text. @return NULL if there is none, or null, or it has a NUL byte */
static const char *text_of(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    const char *text = json_string_value(member);

    return text && strlen(text) == json_string_length(member) ? text : NULL;
}

static int is_given(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);

    return member && !json_is_null(member);
}

static apr_status_t read_action(gh_event_t *event, const json_t *object, gh_result_t *result)
{
    const char *name = text_of(object, EVENT_ACTION);
    apr_size_t i;

    for (i = 0; name && i < sizeof(actions) / sizeof(actions[0]); ++i) {
        if (strcasecmp(name, actions[i].name) == 0) {
            event->record.status = actions[i].status;
            event->released = actions[i].released;
            return APR_SUCCESS;
        }
    }
    return malformed(result, EVENT_ACTION);
}

/** A reason that is not understood is none: a revocation must not be lost for it. */
static int read_reason(const json_t *object)
{
    const json_t *member = json_object_get(object, EVENT_REASON);
    const char *name = text_of(object, EVENT_REASON);
    json_int_t number = json_is_integer(member) ? json_integer_value(member)
        : !name ? GH_REASON_NONE
        : strcasecmp(name, gh_reason_name(REASON_REMOVE_FROM_CRL)) == 0 ? REASON_REMOVE_FROM_CRL
        : gh_reason_parse(name);

    return number < 0 || number > REASON_LAST || number == REASON_UNUSED ? GH_REASON_NONE
                                                                         : (int)number;
}

static apr_status_t read_time(gh_event_t *event, const json_t *object, apr_time_t now,
                              gh_result_t *result)
{
    const char *text = text_of(object, EVENT_TIME);

    event->time = now;
    if (!is_given(object, EVENT_TIME)) {
        return APR_SUCCESS;
    }
    if (!text || gh_time_parse(&event->time, text) != APR_SUCCESS || event->time <= 0) {
        return malformed(result, EVENT_TIME);
    }
    event->dated = 1;
    if (event->time > now) {
        event->time = now;
    }
    return APR_SUCCESS;
}

static apr_status_t read_serial(gh_bytes_t *serial, const json_t *object, apr_pool_t *p,
                                gh_result_t *result)
{
    const char *text = text_of(object, EVENT_SERIAL);

    serial->length = 0;
    if (!is_given(object, EVENT_SERIAL)) {
        return APR_SUCCESS;
    }
    if (!text || strlen(text) > SERIAL_DIGITS_MAX
        || gh_serial_parse(serial, text, p) != APR_SUCCESS) {
        return malformed(result, EVENT_SERIAL);
    }
    return APR_SUCCESS;
}

static apr_status_t read_certificate(X509 **certificate, const json_t *object, apr_pool_t *p,
                                     gh_result_t *result)
{
    const char *text = text_of(object, EVENT_CERTIFICATE);

    *certificate = NULL;
    if (!is_given(object, EVENT_CERTIFICATE)) {
        return APR_SUCCESS;
    }
    if (text && strlen(text) <= CERTIFICATE_MAX) {
        *certificate = gh_certificate_parse(gh_base64_decode(text, p), p);
    }
    if (!*certificate || !X509_get0_pubkey(*certificate)) {
        ERR_clear_error();
        return malformed(result, EVENT_CERTIFICATE);
    }
    return APR_SUCCESS;
}

static apr_status_t check_certificate(X509 *certificate, gh_bytes_t serial,
                                      const gh_events_feed_t *feed, apr_pool_t *p,
                                      gh_result_t *result)
{
    const ASN1_INTEGER *number = X509_get0_serialNumber(certificate);
    gh_bytes_t own = gh_certificate_serial(certificate, p);

    if (X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(feed->ca)) != 0
        || X509_verify(certificate, X509_get0_pubkey(feed->ca)) != 1) {
        ERR_clear_error();
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTEGRITY, RULE,
                              "See which CA the feed is of.",
                              GHNO(0709) "the CA of issuer %s did not sign the certificate of an "
                              "event", feed->issuer);
    }
    if (ASN1_STRING_type(number) == V_ASN1_NEG_INTEGER || own.length > 20
        || (serial.length > 0 && (serial.length != own.length
                                  || memcmp(serial.data, own.data, own.length) != 0))) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Have the CA's gateway send it again.",
                              GHNO(0710) "the serial number of an event is not that of its "
                              "certificate, or none that can be kept");
    }
    return APR_SUCCESS;
}

static void describe(gh_certificate_record_t *record, X509 *certificate, apr_pool_t *p)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    unsigned char *digest = apr_pcalloc(p, EVP_MAX_MD_SIZE);
    unsigned int length = 0;

    record->der = gh_certificate_der(certificate, p);
    record->subject = gh_name_text(X509_get_subject_name(certificate), p);
    record->sans = gh_san_json(names, p);
    record->key_sha256 = gh_key_sha256(X509_get0_pubkey(certificate), p);
    X509_digest(certificate, EVP_sha256(), digest, &length);
    record->sha256.data = digest;
    record->sha256.length = length;
    GENERAL_NAMES_free(names);
    ERR_clear_error();
}

/** What stands for a certificate of which only the serial number is known, until its CA ends. */
static void describe_serial(gh_event_t *event, const gh_events_feed_t *feed)
{
    gh_certificate_record_t *record = &event->record;

    record->der = record->serial;
    record->sha256 = record->key_sha256 = gh_certificate_unknown_digest();
    record->subject = "";
    record->sans = "[]";
    record->not_before = event->time;
    record->not_after = gh_certificate_not_after(feed->ca);
}

/** Held is revoked with a reason that is no reason; and a revocation that ends is a release. */
static void settle_status(gh_event_t *event, int reason)
{
    gh_certificate_record_t *record = &event->record;

    if (record->status == GH_STATUS_REVOKED && reason == REASON_HOLD) {
        record->status = GH_STATUS_HELD;
    }
    else if (record->status == GH_STATUS_REVOKED && reason == REASON_REMOVE_FROM_CRL) {
        record->status = GH_STATUS_GOOD;
        event->released = 1;
    }
    record->reason = record->status == GH_STATUS_HELD ? REASON_HOLD
        : record->status == GH_STATUS_REVOKED ? reason : GH_REASON_NONE;
    record->revoked_at = record->status == GH_STATUS_GOOD ? 0 : event->time;
}

static apr_status_t read_event(gh_event_t *event, const gh_events_feed_t *feed,
                               const json_t *object, apr_time_t now, apr_pool_t *p,
                               gh_result_t *result)
{
    gh_certificate_record_t *record = &event->record;
    X509 *certificate;
    apr_status_t rv;

    if ((rv = read_action(event, object, result)) != APR_SUCCESS
        || (rv = read_time(event, object, now, result)) != APR_SUCCESS
        || (rv = read_serial(&record->serial, object, p, result)) != APR_SUCCESS
        || (rv = read_certificate(&certificate, object, p, result)) != APR_SUCCESS) {
        return rv;
    }
    if (certificate) {
        rv = check_certificate(certificate, record->serial, feed, p, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        record->serial = gh_certificate_serial(certificate, p);
    }
    if (!record->serial.length) {
        return malformed(result, EVENT_SERIAL);
    }
    record->issuer = feed->issuer;
    record->profile = "";
    describe_serial(event, feed);
    if (certificate) {
        record->not_before = gh_certificate_not_before(certificate);
        record->not_after = gh_certificate_not_after(certificate);
        if (!feed->serials_only) {
            describe(record, certificate, p);
        }
    }
    settle_status(event, read_reason(object));
    return APR_SUCCESS;
}

static void skip(gh_events_page_t *page, int position, const json_t *object,
                 const gh_result_t *result, apr_pool_t *p)
{
    gh_events_skipped_t *skipped = apr_pcalloc(p, sizeof(*skipped));
    const char *serial = text_of(object, EVENT_SERIAL);

    skipped->position = position;
    skipped->serial = serial ? apr_pstrndup(p, serial, SERIAL_DIGITS_MAX) : NULL;
    skipped->number = apr_pstrdup(p, result->number);
    skipped->message = apr_pstrdup(p, result->message);
    skipped->action = apr_pstrdup(p, result->action);
    APR_ARRAY_PUSH(page->skipped, gh_events_skipped_t *) = skipped;
}

/**
 * Marks the holds that the page itself ends: a page that comes a second time must not suspend what
 * it has released, not even for the time between two of its events.
 */
static void mark_passing(gh_events_page_t *page, apr_pool_t *p)
{
    apr_hash_t *later = apr_hash_make(p);
    int i;

    for (i = page->events->nelts - 1; i >= 0; --i) {
        gh_event_t *event = APR_ARRAY_IDX(page->events, i, gh_event_t *);
        const gh_bytes_t *serial = &event->record.serial;
        const gh_event_t *next = apr_hash_get(later, serial->data, (apr_ssize_t)serial->length);

        event->passing = event->record.status == GH_STATUS_HELD && next && next->released;
        if (event->record.status != GH_STATUS_GOOD || event->released) {
            apr_hash_set(later, serial->data, (apr_ssize_t)serial->length, event);
        }
    }
}

static void read_events(gh_events_page_t *page, const gh_events_feed_t *feed, const json_t *array,
                        apr_time_t now, apr_pool_t *p)
{
    gh_result_t failure;
    json_t *object;
    size_t i;

    json_array_foreach(array, i, object) {
        gh_event_t *event = apr_pcalloc(p, sizeof(*event));

        gh_result_clear(&failure);
        if (read_event(event, feed, object, now, p, &failure) == APR_SUCCESS) {
            APR_ARRAY_PUSH(page->events, gh_event_t *) = event;
        }
        else {
            skip(page, (int)i + 1, object, &failure, p);
        }
        if (event->dated && event->time > page->latest) {
            page->latest = event->time;
        }
    }
    page->count = (int)json_array_size(array);
    mark_passing(page, p);
}

static apr_status_t too_large(gh_result_t *result)
{
    return gh_result_fail(result, APR_ENOSPC, GH_FAILURE_REQUEST, RULE,
                          "Ask for smaller pages.",
                          GHNO(0711) "a page of certificate events has more than %d events, or is "
                          "too long", GH_EVENTS_MAX);
}

apr_status_t gh_events_read(gh_events_page_t *page, const gh_events_feed_t *feed,
                            const char *text, apr_size_t length, apr_time_t now, apr_pool_t *p,
                            gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    const char *cursor;
    json_error_t error;
    json_t *events;
    json_t *json;

    memset(page, 0, sizeof(*page));
    page->events = apr_array_make(p, 64, sizeof(gh_event_t *));
    page->skipped = apr_array_make(p, 1, sizeof(gh_events_skipped_t *));
    if (length > GH_EVENTS_PAGE_MAX) {
        return too_large(result);
    }
    json = gh_mended_json(text, length, &error);
    events = json_object_get(json, PAGE_EVENTS);
    cursor = text_of(json, PAGE_NEXT);
    if (!json_is_array(events)
        || (is_given(json, PAGE_NEXT) && (!cursor || strlen(cursor) > GH_EVENTS_CURSOR_MAX))) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                            "Give a page as the CA's gateway sends it.",
                            GHNO(0707) "this is no page of certificate events%s%s",
                            json ? "" : ": ", json ? "" : error.text);
        goto cleanup;
    }
    if (json_array_size(events) > GH_EVENTS_MAX) {
        rv = too_large(result);
        goto cleanup;
    }
    page->cursor = cursor && *cursor ? apr_pstrdup(p, cursor) : NULL;
    page->more = json_is_true(json_object_get(json, PAGE_MORE));
    read_events(page, feed, events, now, p);

cleanup:
    json_decref(json);
    return rv;
}
