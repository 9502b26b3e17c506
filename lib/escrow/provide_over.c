/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* How an event ends. */

#include <string.h>

#include <apr_strings.h>

#include "escrow/provide_private.h"
#include "status.h"
#include "store/escrow_credentials.h"

/** Devices of one user. */
#define DEVICES 200

typedef struct {
    const gh_escrow_event_record_t *record;
    const gh_provide_rule_t *rule;
    gh_provide_spread_t *spread;
    apr_pool_t *pool;
} spread_t;

static apr_status_t find_holder(gh_transaction_t *transaction, spread_t *work,
                                gh_escrow_purpose_t purpose)
{
    const gh_escrow_event_record_t *record = work->record;
    const char *own = NULL;
    apr_time_t now = apr_time_now();
    apr_status_t rv = gh_escrow_event_has(transaction, record->user, record->device, purpose,
                                          record->email, now, &own, work->pool);

    return rv == APR_SUCCESS && !own
        ? gh_escrow_event_has(transaction, record->user, NULL, purpose, record->email, now,
                              &work->spread->holder[purpose], work->pool) : rv;
}

static apr_status_t find_others(gh_transaction_t *transaction, spread_t *work,
                                gh_escrow_purpose_t purpose)
{
    apr_array_header_t *records;
    apr_status_t rv = gh_escrow_credential_of_user(transaction, work->record->user, purpose,
                                                   DEVICES, &records, work->pool);
    int i;

    for (i = 0; rv == APR_SUCCESS && i < records->nelts; ++i) {
        const gh_escrow_credential_record_t *one =
            APR_ARRAY_IDX(records, i, gh_escrow_credential_record_t *);

        if (!strcmp(one->origin, GH_PROVIDE_ORIGIN) && strcmp(one->device, work->record->device)) {
            APR_ARRAY_PUSH(work->spread->others[purpose], const char *) = one->device;
        }
    }
    return rv;
}

static apr_status_t spread_work(gh_transaction_t *transaction, void *baton)
{
    spread_t *work = baton;
    apr_status_t rv = APR_SUCCESS;
    int purpose;

    for (purpose = GH_ESCROW_SIGNING; purpose <= GH_ESCROW_ENCRYPTION; ++purpose) {
        int signing = purpose == GH_ESCROW_SIGNING;

        work->spread->holder[purpose] = NULL;
        work->spread->others[purpose] = apr_array_make(work->pool, 2, sizeof(const char *));
        if (rv != APR_SUCCESS || !(signing ? work->rule->signing : work->rule->encryption)
            || (signing && work->rule->signing_per_device)) {
            continue;
        }
        rv = find_holder(transaction, work, (gh_escrow_purpose_t)purpose);
        if (rv == APR_SUCCESS) {
            rv = find_others(transaction, work, (gh_escrow_purpose_t)purpose);
        }
    }
    return rv;
}

apr_status_t gh_provide_spread(gh_store_t *store, const gh_escrow_event_record_t *record,
                               const gh_provide_rule_t *rule, gh_provide_spread_t *spread,
                               apr_pool_t *p, gh_result_t *result)
{
    spread_t work = { record, rule, spread, p };

    memset(spread, 0, sizeof(*spread));
    return gh_store_read(store, spread_work, &work, result);
}

typedef struct {
    const gh_escrow_event_record_t *record;
    const char *reason;
    gh_audit_event_t *event;
    const char *line;
} over_t;

static apr_status_t over_work(gh_transaction_t *transaction, void *baton)
{
    over_t *over = baton;
    apr_status_t rv = gh_escrow_event_move(transaction, over->record->id,
                                           GH_ESCROW_EVENT_ENROLLING,
                                           over->reason ? GH_ESCROW_EVENT_FAILED
                                                        : GH_ESCROW_EVENT_DONE,
                                           over->reason, apr_time_now());

    if (rv == APR_SUCCESS) {
        rv = gh_escrow_event_key_remove(transaction, over->record->id);
    }
    return rv == APR_SUCCESS ? gh_audit_insert(transaction, over->event, over->line, 1) : rv;
}

apr_status_t gh_provide_over(gh_store_t *store, const gh_escrow_event_record_t *record,
                             const char *reason, gh_audit_event_t *event, apr_pool_t *p,
                             gh_result_t *result)
{
    over_t over = { .record = record, .reason = reason, .event = event };

    event->event = "provide";
    event->protocol = GH_PROVIDE_PROTOCOL;
    event->user = record->provider;
    event->transaction = record->id;
    event->rule = RULE;
    event->result = reason ? "failed" : "done";
    event->message = apr_psprintf(p, "device %s, user %s, %s: %s", record->device, record->user,
                                  record->email, reason ? reason : "credentials are in escrow");
    over.line = gh_audit_line_keep(event, p);
    return gh_store_write(store, over_work, &over, result);
}
