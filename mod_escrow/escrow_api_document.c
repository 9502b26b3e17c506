/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* /v1/openapi.json: what the API is like. */

#include "mod_escrow/escrow_api.h"

static const char document[] =
#include "mod_escrow/openapi.inc"
    ;

apr_status_t escrow_api_document(escrow_call_t *call, gh_result_t *result)
{
    escrow_api_send(call->r, HTTP_OK, document);
    return APR_SUCCESS;
}
