/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What follows from events, in the thread of a child that follows the store: certificates for keys
 * that a worker has made, escrow, renewal. */

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_log.h>

#include "log.h"
#include "mod_escrow/escrow_events.h"
#include "mod_escrow/escrow_provide.h"
#include "mod_escrow/escrow_settings.h"
#include "mod_escrow/escrow_uem.h"
#include "mod_escrow/escrow_vault.h"
#include "status.h"
#include "store/housekeeping.h"

APLOG_USE_MODULE(escrow);

/** Events at a time, so that the thread is not kept from what else it does. */
#define BATCH 8

#define LOOKED_AT 1000

/** Who has it enrols; others do once he has not been heard of for so long. */
#define LEASE apr_time_from_sec(5)

#define RENEWAL_INTERVAL apr_time_from_sec(20)

/** Of failed and finished events, if there is a newer one of the pair. */
#define KEPT apr_time_from_sec(30 * 86400)

/* of the one thread of a process that comes here */
static apr_time_t renewal_next;
static gh_provide_place_t renewal_place;
static apr_size_t begin_at;

typedef struct {
    const char *holder;
    apr_time_t before;
} turn_t;

static apr_status_t lease_work(gh_transaction_t *transaction, void *baton)
{
    return gh_lease_take(transaction, "escrow-provide", ((turn_t *)baton)->holder, LEASE);
}

static apr_status_t purge_work(gh_transaction_t *transaction, void *baton)
{
    return gh_escrow_event_purge(transaction, ((turn_t *)baton)->before);
}

static int permits(void *baton, const gh_provide_rule_t *rule, const char *email)
{
    const escrow_provider_t *provider = escrow_provider();
    gh_result_t result;
    int i;

    for (i = 0; provider && i < provider->rules->nelts; ++i) {
        const gh_provide_rule_t *now = &APR_ARRAY_IDX(provider->rules, i, gh_provide_rule_t);

        if (!strcmp(now->event, rule->event) && !strcmp(now->issuer, rule->issuer)) {
            return escrow_event_check_mail(email, provider->domains, &result) == APR_SUCCESS;
        }
    }
    return 0;
}

static apr_status_t renew(const gatehouse_service_t *service, const char *holder, apr_pool_t *p,
                          gh_result_t *result)
{
    turn_t turn = { .before = apr_time_now() - KEPT };
    apr_time_t now = apr_time_now();
    apr_status_t rv;
    int added;

    /* a clock that was set back must not stop this */
    if (now < renewal_next && now > renewal_next - 2 * RENEWAL_INTERVAL) {
        return APR_SUCCESS;
    }
    rv = gh_provide_renew(service->store, permits, NULL, &renewal_place, holder, service->node,
                          &added, p, result);
    if (rv == APR_SUCCESS && added) {
        rv = gh_store_write(service->store, purge_work, &turn, result);
    }
    if (rv == APR_SUCCESS) {
        renewal_next = now + (added || renewal_place.more ? apr_time_from_sec(1)
                              : RENEWAL_INTERVAL);
    }
    return rv;
}

static void tell(const gatehouse_service_t *service, const gh_escrow_event_record_t *record,
                 const char *reason)
{
    if (reason) {
        gh_log(service->log, GH_LOG_ERROR, APR_SUCCESS, GHNO(1308) "credentials of user %s for "
               "device %s are not complete (event %s): %s", record->user, record->device,
               record->id, reason);
    }
    else {
        gh_log(service->log, GH_LOG_INFO, APR_SUCCESS, GHNO(1309) "credentials of user %s for "
               "device %s are in escrow (event %s)", record->user, record->device, record->id);
    }
}

/* Kept until they expire, whatever is said of uploads: other devices of the user get them, too. */
static void fill_options(escrow_upload_options_t *options, const gh_escrow_event_record_t *record)
{
    const escrow_settings_t *settings = escrow_settings_now();

    memset(options, 0, sizeof(*options));
    options->retention = ESCROW_RETAIN_EXPIRY;
    options->archive = !settings || settings->archive;
    options->provider = record->provider;
    options->origin = GH_PROVIDE_ORIGIN;
    options->available = escrow_uem_told();
}

static apr_status_t proceed(const gatehouse_service_t *service,
                            const gh_escrow_event_record_t *record, apr_pool_t *p,
                            gh_result_t *result)
{
    gh_provide_services_t services = {
        .store = service->store, .ledger = service->ledger, .sealer = service->sealer,
        .decoding = service->decoding, .profiles = service->profiles, .node = service->node
    };
    apr_array_header_t *events = apr_array_make(p, 4, sizeof(gh_audit_event_t *));
    escrow_keep_t keep = {
        .store = service->store, .vault = escrow_vault(), .lives = escrow_uem_lives(),
        .patience = escrow_settings_now() ? escrow_settings_now()->patience : 0
    };
    escrow_upload_options_t options;
    apr_array_header_t *outcomes;
    gh_provide_rule_t rule;
    const char *reason = NULL;
    int over = 0;
    int i;
    apr_status_t rv = gh_provide_rule_read(&rule, record->rule, p, result);

    if (rv == APR_SUCCESS) {
        rv = gh_provide_enrol(&services, record, &outcomes, events, &over, p, result);
    }
    if (rv == APR_SUCCESS && over && keep.vault) {
        fill_options(&options, record);
        rv = escrow_provide_finish(&keep, record, outcomes,
                                   apr_hash_get(service->issuers, rule.issuer,
                                                APR_HASH_KEY_STRING),
                                   &options, service->node, events, &reason, p, result);
        if (rv == APR_SUCCESS) {
            tell(service, record, reason);
        }
    }
    for (i = 0; i < events->nelts; ++i) {
        escrow_gatehouse()->audit(APR_ARRAY_IDX(events, i, gh_audit_event_t *), p);
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static int store_fails(apr_status_t rv)
{
    return rv == GH_EUNAVAILABLE || rv == GH_EBUSY || rv == GH_ESTOPPED;
}

apr_status_t escrow_events_round(const gatehouse_service_t *service, apr_pool_t *ptemp,
                                 gh_result_t *result)
{
    turn_t turn = { .holder = apr_psprintf(ptemp, "%s:%ld", service->node, (long)getpid()) };
    apr_array_header_t *records;
    apr_status_t rv = renew(service, turn.holder, ptemp, result);
    apr_size_t count;
    int i;

    if (rv == APR_SUCCESS) {
        rv = gh_provide_open(service->store, LOOKED_AT, &records, ptemp, result);
    }
    if (rv != APR_SUCCESS || !records->nelts) {
        return rv;
    }
    rv = gh_store_write(service->store, lease_work, &turn, result);
    if (rv != APR_SUCCESS) {
        gh_result_clear(result);
        return rv == GH_EREFUSED ? APR_SUCCESS : rv;
    }
    /* those of a CA that takes its time do not stand before all others */
    count = (apr_size_t)records->nelts;
    for (i = 0; !store_fails(rv) && i < BATCH && i < records->nelts; ++i, ++begin_at) {
        gh_result_t one;
        apr_status_t rc;

        gh_result_clear(&one);
        rc = proceed(service, APR_ARRAY_IDX(records, (int)(begin_at % count),
                                            gh_escrow_event_record_t *), ptemp, &one);
        if (rc != APR_SUCCESS) {
            *result = one;
            rv = rc;
        }
    }
    return rv;
}
