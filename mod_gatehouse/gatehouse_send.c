/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_gatehouse/gatehouse_send.h"

#include <apr_buckets.h>
#include <util_filter.h>

/* A pool bucket copies the bytes only if the connection still needs them when the request ends. */
int gatehouse_send_bytes(request_rec *r, gh_bytes_t bytes)
{
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, alloc);
    apr_status_t rv;

    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_pool_create((const char *)bytes.data,
                                                            bytes.length, r->pool, alloc));
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(alloc));
    rv = ap_pass_brigade(r->output_filters, brigade);
    return rv == APR_SUCCESS || r->status != HTTP_OK || r->connection->aborted
        ? OK : HTTP_INTERNAL_SERVER_ERROR;
}
