/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* /v1/openapi.json: what the API is like; and /v1/hc. */

#include "mod_escrow/escrow_admin.h"
#include "mod_escrow/escrow_api.h"

static const char document[] =
#include "mod_escrow/openapi.inc"
    ;

void escrow_send_document(request_rec *r)
{
    escrow_api_send(r, HTTP_OK, document);
}

apr_status_t escrow_api_document(escrow_call_t *call, gh_result_t *result)
{
    escrow_send_document(call->r);
    return APR_SUCCESS;
}

apr_status_t escrow_api_hc(escrow_call_t *call, gh_result_t *result)
{
    escrow_send_hc(call->r);
    return APR_SUCCESS;
}
