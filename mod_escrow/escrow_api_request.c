/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Bodies and queries of requests. */

#include <string.h>

#include <apr_strings.h>
#include <http_protocol.h>
#include <openssl/crypto.h>
#include <util_script.h>

#include "log.h"
#include "mod_escrow/escrow_api.h"
#include "mod_escrow/escrow_json.h"

/** What bodies without a length get at first. */
#define FIRST_SIZE 16384

static apr_status_t overwrite(void *data)
{
    const gh_bytes_t *bytes = data;

    OPENSSL_cleanse((unsigned char *)bytes->data, bytes->length);
    return APR_SUCCESS;
}

/** Memory that is overwritten with the pool. */
static unsigned char *take_memory(apr_size_t size, apr_pool_t *p)
{
    gh_bytes_t *bytes = apr_palloc(p, sizeof(*bytes));

    bytes->data = apr_palloc(p, size);
    bytes->length = size;
    apr_pool_cleanup_register(p, bytes, overwrite, apr_pool_cleanup_null);
    return (unsigned char *)bytes->data;
}

int escrow_api_read_body(request_rec *r, apr_size_t most, gh_bytes_t *body)
{
    int status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);
    apr_size_t size = FIRST_SIZE;
    unsigned char *data;

    memset(body, 0, sizeof(*body));
    if (status != OK) {
        return status;
    }
    if (r->remaining > (apr_off_t)most) {
        return HTTP_REQUEST_ENTITY_TOO_LARGE;
    }
    if (!ap_should_client_block(r)) {
        return OK;
    }
    if (!r->read_chunked) {
        size = (apr_size_t)r->remaining + 1;
    }
    data = take_memory(size, r->pool);
    for (;;) {
        long got = ap_get_client_block(r, (char *)data + body->length, size - body->length);

        if (got < 0) {
            return HTTP_BAD_REQUEST;
        }
        body->length += (apr_size_t)got;
        if (got == 0 || body->length > most) {
            break;
        }
        if (body->length == size) {
            unsigned char *larger = take_memory(2 * size, r->pool);

            memcpy(larger, data, size);
            data = larger;
            size *= 2;
        }
    }
    body->data = data;
    return body->length > most ? HTTP_REQUEST_ENTITY_TOO_LARGE : OK;
}

apr_status_t escrow_api_pair(request_rec *r, const char **device, const char **user,
                             gh_result_t *result)
{
    const char *given;
    apr_table_t *query;

    ap_args_to_table(r, &query);
    given = apr_table_get(query, "device_uuid");
    *device = given ? escrow_uuid(given, r->pool) : NULL;
    given = apr_table_get(query, "user_uuid");
    *user = given ? escrow_uuid(given, r->pool) : NULL;
    if (!*device || !*user) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "escrow.request",
                              "Ask with ?device_uuid=UUID&user_uuid=UUID.",
                              GHNO(1238) "%s of the query is missing, or no UUID",
                              *device ? "user_uuid" : "device_uuid");
    }
    return APR_SUCCESS;
}
