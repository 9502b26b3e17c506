/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* /v2/certificates: credentials, for providers; whether they are there, for UEMs. */

#include <apr_strings.h>

#include "mod_escrow/escrow_answer.h"
#include "mod_escrow/escrow_api.h"
#include "mod_escrow/escrow_config.h"
#include "mod_escrow/escrow_problem.h"
#include "mod_escrow/escrow_uem.h"
#include "mod_escrow/escrow_vault.h"

apr_status_t escrow_api_upload(escrow_call_t *call, gh_result_t *result)
{
    request_rec *r = call->r;
    const escrow_settings_t *settings = call->settings;
    escrow_upload_options_t options = {
        .retention = settings->retention, .days = settings->days, .archive = settings->archive,
        .provider = call->provider, .origin = "upload",
        .available = escrow_uem_told()
    };
    gh_audit_event_t *event = escrow_audit_event(r, "upload");
    escrow_upload_t *upload;
    escrow_stored_t stored;
    apr_status_t rv;

    if ((rv = escrow_upload_read(&upload, call->body, settings->max_credentials,
                                 gh_vault_locked(call->keep.vault), r->pool, result))
            != APR_SUCCESS
        || (rv = escrow_upload_open(upload, escrow_opener(), escrow_gate(), apr_time_now(), r->pool,
                                    result))
            != APR_SUCCESS
        || (rv = escrow_keep_upload(&stored, &call->keep, upload, &options, event, r->pool,
                                    result)) != APR_SUCCESS) {
        return rv;
    }
    if (!stored.repeated) {
        escrow_gatehouse()->audit(event, r->pool);
    }
    escrow_api_send(r, stored.repeated ? HTTP_OK : HTTP_CREATED, stored.receipt);
    return APR_SUCCESS;
}

typedef struct {
    const char *device;
    const char *user;
    apr_array_header_t *records;
    gh_escrow_upload_record_t *upload;
    apr_pool_t *pool;
} look_t;

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    apr_status_t rv = gh_escrow_credential_describe(transaction, look->device, look->user,
                                                    &look->records, look->pool);

    if (rv == APR_SUCCESS) {
        rv = gh_escrow_upload_of_pair(transaction, look->device, look->user, &look->upload,
                                      look->pool);
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t look_at_pair(escrow_call_t *call, look_t *look, gh_result_t *result)
{
    apr_status_t rv = escrow_api_pair(call->r, &look->device, &look->user, result);

    look->pool = call->r->pool;
    return rv == APR_SUCCESS ? gh_store_read(call->keep.store, look_work, look, result) : rv;
}

apr_status_t escrow_api_list(escrow_call_t *call, gh_result_t *result)
{
    look_t look = { 0 };
    apr_status_t rv = look_at_pair(call, &look, result);

    if (rv == APR_SUCCESS) {
        escrow_api_send(call->r, HTTP_OK, escrow_answer_list(look.device, look.user, look.records,
                                                             call->r->pool));
    }
    return rv;
}

apr_status_t escrow_api_status(escrow_call_t *call, gh_result_t *result)
{
    look_t look = { 0 };
    apr_status_t rv = look_at_pair(call, &look, result);

    if (rv == APR_SUCCESS) {
        escrow_api_send(call->r, HTTP_OK, escrow_answer_status(look.device, look.user,
                                                               look.records, look.upload,
                                                               call->r->pool));
    }
    return rv;
}

apr_status_t escrow_api_remove(escrow_call_t *call, gh_result_t *result)
{
    gh_audit_event_t *event = escrow_audit_event(call->r, "remove");
    const char *device, *user;
    apr_status_t rv = escrow_api_pair(call->r, &device, &user, result);

    if (rv == APR_SUCCESS
        && (rv = escrow_keep_remove(&call->keep, device, user, call->settings->patience, event,
                                    call->r->pool, result)) == APR_SUCCESS) {
        escrow_gatehouse()->audit(event, call->r->pool);
        call->r->status = HTTP_NO_CONTENT;
        escrow_gatehouse()->request_id(call->r);
    }
    return rv;
}
