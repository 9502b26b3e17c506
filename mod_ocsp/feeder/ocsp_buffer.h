/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_feeder_ocsp_buffer_h
#define mod_ocsp_feeder_ocsp_buffer_h

#include <apr_errno.h>

#include "text.h"

/* Bytes that come piece by piece, up to a limit. Outside of pools, in which what grows leaves its
 * former sizes behind. */

typedef struct {
    unsigned char *data;
    apr_size_t length;
    apr_size_t size;
    apr_size_t limit;
} ocsp_buffer_t;

/** Begins an empty one. */
void ocsp_buffer_init(ocsp_buffer_t *buffer, apr_size_t limit);

/** @return APR_ENOSPC beyond the limit, APR_ENOMEM */
apr_status_t ocsp_buffer_add(ocsp_buffer_t *buffer, const void *data, apr_size_t length);

/** Makes room for so many bytes at once; errors as above. */
apr_status_t ocsp_buffer_reserve(ocsp_buffer_t *buffer, apr_size_t length);

/** What is in it; good until it changes. */
gh_bytes_t ocsp_buffer_bytes(const ocsp_buffer_t *buffer);

/** Frees what it has; it is empty afterwards. */
void ocsp_buffer_free(ocsp_buffer_t *buffer);

#endif /* mod_ocsp_feeder_ocsp_buffer_h */
