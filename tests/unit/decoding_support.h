/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_decoding_support_h
#define tests_unit_decoding_support_h

#include <apr_pools.h>
#include <openssl/types.h>

/** The context of x509/decoding.h, made in a pool. One at a time.
 *  @return NULL if this OpenSSL needs none */
OSSL_LIB_CTX *decoding_context(apr_pool_t *p);

#endif /* tests_unit_decoding_support_h */
