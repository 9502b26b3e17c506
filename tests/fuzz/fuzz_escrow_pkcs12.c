/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A PKCS#12 as it is uploaded: the first byte chooses use and password. What opens is fit for its
 * use, and can be made into one for a device. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <openssl/core_dispatch.h>

#include "mod_escrow/escrow_pkcs12.h"
#include "x509/decoding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

GH_DECODING_FILTER(decoding, gh_decoding_create_private)

static apr_pool_t *pool;
static gh_locked_t *locked;
static escrow_opener_t *opener;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void prepare(void)
{
    gh_result_t result;

    require(apr_initialize() == APR_SUCCESS && apr_pool_create(&pool, NULL) == APR_SUCCESS);
    require(gh_locked_create(&locked, 64 * 1024, pool, &result) == APR_SUCCESS);
    require(escrow_opener_create(&opener, locked, decoding_context(pool), pool, &result)
            == APR_SUCCESS);
}

static void check(const escrow_credential_t *credential, apr_pool_t *p)
{
    escrow_credential_t other;
    gh_bytes_t der;

    require(credential->key.length > 0 && credential->subject != NULL);
    memset(&other, 0, sizeof(other));
    require(escrow_credential_describe(&other, opener, credential->certificate, p, NULL)
            == APR_SUCCESS);
    require(memcmp(other.sha256, credential->sha256, sizeof(other.sha256)) == 0);
    require(escrow_pkcs12_make(&der, opener, credential, "x", ESCROW_PKCS12_LEGACY, p, NULL)
            == APR_SUCCESS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const passwords[] = { "secret", "", NULL, "gr\303\274n" };
    escrow_credential_t *credential;
    gh_result_t result;
    gh_bytes_t der;
    apr_pool_t *p;

    if (!pool) {
        prepare();
    }
    if (size == 0) {
        return 0;
    }
    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    der = (gh_bytes_t) { data + 1, size - 1 };
    if (escrow_pkcs12_open(&credential, opener, der, passwords[data[0] & 3],
                           (escrow_use_t)(1 + (data[0] >> 2) % 3), apr_time_now(), p, &result)
        == APR_SUCCESS) {
        check(credential, p);
    }
    else {
        require(credential == NULL && result.number[0] != '\0');
    }
    apr_pool_destroy(p);
    return 0;
}
