/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_key_pool_h
#define fcgi_key_pool_h

#include <apr_pools.h>
#include <openssl/evp.h>

#include "result.h"

/* RSA keys that a worker makes ahead, a few of each size, by a thread of its own: making one takes
 * as long as many calls. */

typedef struct key_pool key_pool_t;

/** Starts the thread, which runs until the process ends. @return APR_EINVAL with result */
apr_status_t key_pool_create(key_pool_t **keys, apr_pool_t *p, gh_result_t *result);

/** Has keys of a size made ahead; sizes other than 2048 and 3072 are made when they are taken. */
void key_pool_want(key_pool_t *keys, int bits);

/** A key, which is made here if there is none. For any thread of a lane.
 *  @return NULL if it cannot be made; else the caller's */
EVP_PKEY *key_pool_take(key_pool_t *keys, int bits);

#endif /* fcgi_key_pool_h */
