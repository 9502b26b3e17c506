/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* /v1/profiles: skeletons of UEMs. */

#include <apr_strings.h>

#include "escrow/needs.h"
#include "log.h"
#include "mod_escrow/escrow_answer.h"
#include "mod_escrow/escrow_api.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_problem.h"
#include "status.h"
#include "store/deliveries.h"

/** Of a profile, the newest. */
#define DELIVERIES 20

/** Somebody may try to have keys encrypted to himself: that is to be seen. */
static void raise_alarm(request_rec *r, const gh_result_t *result)
{
    gh_log(escrow_gatehouse()->request_log(r), GH_LOG_ERROR, APR_SUCCESS, "%s: %s (by %s). %s",
           result->number, result->message, r->user, result->action);
}

apr_status_t escrow_api_skeleton(escrow_call_t *call, gh_result_t *result)
{
    request_rec *r = call->r;
    escrow_profile_options_t options = {
        .trust = call->settings->trust, .provider = call->provider,
        .patience = call->settings->patience, .uem = escrow_section_uem(r)
    };
    gh_audit_event_t *event = escrow_audit_event(r, "profile");
    escrow_skeleton_t *skeleton;
    gh_escrow_profile_record_t *record;
    apr_array_header_t *missing;
    apr_status_t rv;

    if (!options.uem) {
        return gh_result_fail(result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, "escrow.skeleton",
                              "Add EscrowDeliver NAME to the location.",
                              GHNO(1239) "it is not configured where profiles go: add "
                                         "EscrowDeliver NAME to the location of /v1/profiles");
    }
    rv = escrow_skeleton_read(&skeleton, call->body, apr_time_now(), r->pool, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (skeleton->sign && !call->settings->signer_certificate) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "escrow.skeleton",
                              "Leave it out, or have EscrowProfileSigner configured.",
                              GHNO(1240) "sign: there is nobody who signs profiles here");
    }
    rv = escrow_keep_skeleton(&record, &missing, &call->keep, skeleton, &options, event, r->pool,
                              result);
    if (rv == GH_ECONFLICT) {
        raise_alarm(r, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    escrow_gatehouse()->audit(event, r->pool);
    apr_table_setn(r->headers_out, "Location",
                   apr_pstrcat(r->pool, "/v1/profiles/", record->id, NULL));
    escrow_api_send(r, HTTP_ACCEPTED, escrow_answer_accepted(record, missing, r->pool));
    return APR_SUCCESS;
}

typedef struct {
    const char *id;
    gh_escrow_profile_record_t *record;
    apr_array_header_t *missing;
    apr_array_header_t *deliveries;
    apr_pool_t *pool;
} look_t;

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    int counts[GH_ESCROW_PURPOSES + 1];
    apr_status_t rv = gh_escrow_profile_find(transaction, look->id, &look->record, look->pool);

    look->missing = NULL;
    if (rv == APR_SUCCESS && look->record->state == GH_ESCROW_WAITING
        && (rv = gh_escrow_credential_count(transaction, look->record->device,
                                            look->record->user, counts)) == APR_SUCCESS) {
        look->missing = gh_escrow_needs_missing(look->record->needs, counts, look->pool);
    }
    return rv == APR_SUCCESS
        ? gh_delivery_list(transaction, look->id, DELIVERIES, &look->deliveries, look->pool) : rv;
}

apr_status_t escrow_api_profile(escrow_call_t *call, gh_result_t *result)
{
    look_t look = { .id = call->rest, .pool = call->r->pool };
    apr_status_t rv = gh_store_read(call->keep.store, look_work, &look, result);

    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, rv, GH_FAILURE_NOT_FOUND, "escrow.profile",
                              "Ask for the id that POST /v1/profiles has answered.",
                              GHNO(1241) "there is no profile of this id");
    }
    if (rv == APR_SUCCESS) {
        escrow_api_send(call->r, HTTP_OK, escrow_answer_profile(look.record, look.missing,
                                                                look.deliveries, look.pool));
    }
    return rv;
}

apr_status_t escrow_api_cancel(escrow_call_t *call, gh_result_t *result)
{
    gh_audit_event_t *event = escrow_audit_event(call->r, "cancel");
    apr_status_t rv = gh_escrow_cancel(call->keep.store, call->rest, event, 1, call->r->pool,
                                       result);

    if (rv == APR_SUCCESS) {
        if (event->transaction) {
            escrow_gatehouse()->audit(event, call->r->pool);
        }
        call->r->status = HTTP_NO_CONTENT;
        escrow_gatehouse()->request_id(call->r);
    }
    return rv;
}
