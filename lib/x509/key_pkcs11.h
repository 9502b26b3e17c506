/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_key_pkcs11_h
#define gatehouse_x509_key_pkcs11_h

#include <apr_pools.h>
#include <openssl/evp.h>

#include "result.h"

/**
 * Opens a private key by its "pkcs11:" URI: through a provider of OpenSSL that serves such URIs, or
 * else through the ENGINE of libp11. Made for the process that will sign, after the fork.
 *
 * @param key owned by the caller
 */
apr_status_t gh_key_open_token(EVP_PKEY **key, const char *uri, const char *passphrase,
                               apr_pool_t *ptemp, gh_result_t *result);

#endif /* gatehouse_x509_key_pkcs11_h */
