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

/** As gh_sealer_open(), with the key itself. @param key 32 bytes; copied */
apr_status_t gh_sealer_create(gh_sealer_t **sealer, gh_bytes_t key, apr_pool_t *p,
                              gh_result_t *result);

/** The key, for a worker that unseals too; borrowed. A secret. */
gh_bytes_t gh_sealer_key(const gh_sealer_t *sealer);

/** Seals data. @param context authenticated, not stored: what the data is ("scep-ra/devices/1") */
apr_status_t gh_seal(gh_bytes_t *sealed, const gh_sealer_t *sealer, gh_bytes_t data,
                     const char *context, apr_pool_t *p, gh_result_t *result);

/** @return APR_EACCES if it was sealed under another key, for another context, or changed */
apr_status_t gh_unseal(gh_bytes_t *data, const gh_sealer_t *sealer, gh_bytes_t sealed,
                       const char *context, apr_pool_t *p, gh_result_t *result);

#define GH_SEAL_MAC_SIZE 32

/**
 * A keyed digest (HMAC-SHA256, under a key derived from the sealing key) of a secret that people
 * choose: who reads the store cannot try words. Compare it with gh_equal_secret().
 * @param context what the secret belongs to ("device/acme/a.example"): the same secret has another
 *        digest elsewhere
 * @return APR_EGENERAL with result
 */
apr_status_t gh_sealer_mac(unsigned char mac[GH_SEAL_MAC_SIZE], const gh_sealer_t *sealer,
                           const char *context, gh_bytes_t secret, gh_result_t *result);

#endif /* gatehouse_x509_seal_h */
