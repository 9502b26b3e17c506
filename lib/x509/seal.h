/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_seal_h
#define gatehouse_x509_seal_h

#include <apr_pools.h>

#include "result.h"
#include "text.h"

/* Sealing of secrets that lie in the store: AES-256-GCM under a key-encryption key. */

typedef struct gh_sealer gh_sealer_t;

/**
 * @param source gh_secret_load() form; the secret is 64 hexadecimal digits
 * @return errors of gh_secret_load(); APR_EINVAL for another length
 */
apr_status_t gh_sealer_open(gh_sealer_t **sealer, const char *source, apr_pool_t *p,
                            gh_result_t *result);

/** Seals data. @param context authenticated, not stored: what the data is ("scep-ra/devices/1") */
apr_status_t gh_seal(gh_bytes_t *sealed, const gh_sealer_t *sealer, gh_bytes_t data,
                     const char *context, apr_pool_t *p, gh_result_t *result);

/** @return APR_EACCES if it was sealed under another key, for another context, or changed */
apr_status_t gh_unseal(gh_bytes_t *data, const gh_sealer_t *sealer, gh_bytes_t sealed,
                       const char *context, apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_x509_seal_h */
