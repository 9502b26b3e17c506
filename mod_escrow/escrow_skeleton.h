/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_skeleton_h
#define gatehouse_escrow_skeleton_h

#include <apr_pools.h>

#include "escrow_recipient.h"
#include "escrow_template.h"
#include "result.h"
#include "text.h"

/* The body of POST /v1/profiles: a skeleton, and the device that may read what becomes of it. */

typedef struct {
    const char *profile;                /* UUIDs, lower case */
    const char *device;
    const char *user;
    const char *format;
    gh_bytes_t skeleton;
    const char *needs;
    const escrow_recipient_t *recipient;
    int sign;
    const char *labels;                 /* JSON object of strings; NULL: none */
} escrow_skeleton_t;

#define ESCROW_LABELS_MAX       32
#define ESCROW_LABEL_NAME_MAX   64
#define ESCROW_LABEL_VALUE_MAX  1024

/**
 * Reads one, with its tokens and its recipient's certificate; whether that device may have the
 * profile is still to be found out.
 * @return APR_EINVAL with result
 */
apr_status_t escrow_skeleton_read(escrow_skeleton_t **skeleton, gh_bytes_t body, apr_time_t now,
                                  apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_escrow_skeleton_h */
