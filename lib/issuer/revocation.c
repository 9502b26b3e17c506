/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <apr_strings.h>

#include "issuer/ledger.h"
#include "issuer/remote.h"
#include "status.h"
#include "store/housekeeping.h"

/* RFC 5280 5.3.1 */
#define REASON_CA_COMPROMISE        2
#define REASON_HOLD                 6
#define REASON_UNUSED               7
#define REASON_REMOVE_FROM_CRL      8
#define REASON_AA_COMPROMISE        10

typedef struct {
    const char *issuer;
    gh_bytes_t serial;
    gh_status_t status;
    int reason;
    apr_time_t invalid_from;
    gh_audit_event_t *event;
    int logged;
    gh_certificate_record_t *record;
    int changed;
    apr_pool_t *pool;
} change_t;

static apr_status_t change_work(gh_transaction_t *transaction, void *baton)
{
    change_t *change = baton;
    gh_audit_event_t *event = change->event;
    apr_array_header_t *found;
    apr_status_t rv;

    change->record = NULL;
    rv = gh_certificate_find(transaction, change->issuer, change->serial, &found, change->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (found->nelts == 0) {
        return APR_NOTFOUND;
    }
    change->record = APR_ARRAY_IDX(found, 0, gh_certificate_record_t *);
    rv = gh_remote_set_status(transaction, change->issuer, change->serial, change->status,
                              change->reason, change->invalid_from, event->time,
                              &change->changed, change->pool);
    if (rv == APR_SUCCESS && change->changed) {
        event->profile = change->record->profile;
        event->subject = change->record->subject;
        rv = gh_audit_insert(transaction, event, gh_audit_line(event, change->pool),
                             change->logged);
    }
    return rv;
}

static const char *state_name(const gh_certificate_record_t *record, apr_time_t now)
{
    if (record->not_after <= now) {
        return "expired";
    }
    switch (record->status) {
    case GH_STATUS_GOOD: return "good";
    case GH_STATUS_HELD: return "held";
    case GH_STATUS_REVOKED: return "revoked";
    }
    return "unknown";
}

static int reason_permitted(gh_status_t status, int reason)
{
    switch (status) {
    case GH_STATUS_GOOD:
        return reason == GH_REASON_NONE;
    case GH_STATUS_HELD:
        return reason == REASON_HOLD || reason == GH_REASON_NONE;
    case GH_STATUS_REVOKED:
        return reason == GH_REASON_NONE
            || (reason >= 0 && reason < REASON_AA_COMPROMISE && reason != REASON_CA_COMPROMISE
                && reason != REASON_HOLD && reason != REASON_UNUSED
                && reason != REASON_REMOVE_FROM_CRL);
    }
    return 0;
}

apr_status_t gh_revocation_set(gh_store_t *store, const char *issuer, gh_bytes_t serial,
                               gh_status_t status, int reason, apr_time_t invalid_from,
                               gh_audit_event_t *event, int logged, apr_pool_t *p,
                               gh_result_t *result)
{
    const char *hex = gh_hex(p, serial.data, serial.length);
    change_t change = {
        .issuer = issuer, .serial = serial, .status = status, .reason = reason,
        .invalid_from = invalid_from, .event = event, .logged = logged, .pool = p
    };
    apr_status_t rv;

    if (!reason_permitted(status, reason)) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "revocation.reason",
                              "Use unspecified, keyCompromise, affiliationChanged, superseded, "
                              "cessationOfOperation or privilegeWithdrawn; hold is a command "
                              "of its own.",
                              GHNO(0038) "the reason %s does not go with this change",
                              gh_reason_name(reason) ? gh_reason_name(reason) : "given");
    }
    if (status == GH_STATUS_HELD) {
        change.reason = REASON_HOLD;
    }
    if (!event->time) {
        event->time = apr_time_now();
    }
    event->event = status == GH_STATUS_REVOKED ? "revoke"
        : status == GH_STATUS_HELD ? "hold" : "release";
    event->issuer = issuer;
    event->serial = hex;
    event->result = "done";
    event->message = status == GH_STATUS_REVOKED ? gh_reason_name(reason) : NULL;
    rv = gh_store_write(store, change_work, &change, result);
    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, rv, GH_FAILURE_NOT_FOUND, "certificate",
                              "List them with gatehousectl cert list.",
                              GHNO(0039) "issuer %s has no certificate with serial %s", issuer,
                              hex);
    }
    if (rv == GH_EREFUSED) {
        return gh_result_fail(result, rv, GH_FAILURE_CONFLICT, "certificate.state",
                              "A good certificate can be held or revoked, a held one released or "
                              "revoked; a revoked or expired one stays so.",
                              GHNO(0040) "certificate %s of issuer %s is %s", hex, issuer,
                              state_name(change.record, event->time));
    }
    return rv;
}
