/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The library context in which this child parses requests. */

#include <openssl/core_dispatch.h>

#include "gatehouse_child.h"
#include "x509/decoding.h"

static gh_decoding_t *decoding;

static OSSL_FUNC_provider_query_operation_fn query;

static const OSSL_ALGORITHM *query(void *provider_context, int operation, int *no_cache)
{
    return gh_decoding_query(decoding, operation, no_cache);
}

static OSSL_provider_init_fn init;

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in,
                const OSSL_DISPATCH **out, void **provider_context)
{
    static const OSSL_DISPATCH functions[] = {
        { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query },
        { 0, NULL }
    };

    return gh_decoding_init(decoding, functions, out, provider_context);
}

OSSL_LIB_CTX *gatehouse_decoding_context(apr_pool_t *p)
{
    return gh_decoding_create(&decoding, p) == APR_SUCCESS ? gh_decoding_start(decoding, init)
                                                           : NULL;
}
