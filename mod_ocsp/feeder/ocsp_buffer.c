/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <stdlib.h>
#include <string.h>

#include "mod_ocsp/feeder/ocsp_buffer.h"

#define FIRST_SIZE 16384

void ocsp_buffer_init(ocsp_buffer_t *buffer, apr_size_t limit)
{
    memset(buffer, 0, sizeof(*buffer));
    buffer->limit = limit;
}

apr_status_t ocsp_buffer_reserve(ocsp_buffer_t *buffer, apr_size_t length)
{
    apr_size_t size = buffer->size ? buffer->size : FIRST_SIZE;
    unsigned char *data;

    if (length > buffer->limit) {
        return APR_ENOSPC;
    }
    if (length <= buffer->size) {
        return APR_SUCCESS;
    }
    while (size < length) {
        size *= 2;
    }
    if (size > buffer->limit) {
        size = buffer->limit;
    }
    data = realloc(buffer->data, size);
    if (!data) {
        return APR_ENOMEM;
    }
    buffer->data = data;
    buffer->size = size;
    return APR_SUCCESS;
}

apr_status_t ocsp_buffer_add(ocsp_buffer_t *buffer, const void *data, apr_size_t length)
{
    apr_status_t rv;

    if (length > buffer->limit - buffer->length) {
        return APR_ENOSPC;
    }
    rv = ocsp_buffer_reserve(buffer, buffer->length + length);
    if (rv == APR_SUCCESS && length) {
        memcpy(buffer->data + buffer->length, data, length);
        buffer->length += length;
    }
    return rv;
}

gh_bytes_t ocsp_buffer_bytes(const ocsp_buffer_t *buffer)
{
    gh_bytes_t bytes = { buffer->data, buffer->length };

    return bytes;
}

void ocsp_buffer_free(ocsp_buffer_t *buffer)
{
    free(buffer->data);
    ocsp_buffer_init(buffer, buffer->limit);
}
