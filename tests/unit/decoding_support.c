/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "decoding_support.h"

#include <stdlib.h>

#include <apr_errno.h>
#include <openssl/core_dispatch.h>

#include "x509/decoding.h"

static gh_decoding_t *decoding;

static OSSL_FUNC_provider_query_operation_fn query;

static const OSSL_ALGORITHM *query(void *provider_context, int operation, int *no_cache)
{
    (void)provider_context;
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

    (void)handle;
    (void)in;
    return gh_decoding_init(decoding, functions, out, provider_context);
}

OSSL_LIB_CTX *decoding_context(apr_pool_t *p)
{
    OSSL_LIB_CTX *context;

    switch (gh_decoding_create(&decoding, p)) {
    case APR_SUCCESS:
        context = gh_decoding_start(decoding, init);
        if (context == NULL)
            abort();
        return context;
    case APR_ENOTIMPL:
        return NULL;
    default:
        abort();
    }
}
