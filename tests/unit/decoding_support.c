/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "decoding_support.h"

#include <stdlib.h>

#include <apr_errno.h>
#include <openssl/core_dispatch.h>

#include "x509/decoding.h"

GH_DECODING_FILTER(filter, gh_decoding_create)

OSSL_LIB_CTX *decoding_context(apr_pool_t *p)
{
    OSSL_LIB_CTX *context = filter_context(p);
    gh_decoding_t *none;

    if (context == NULL && gh_decoding_create(&none, p) != APR_ENOTIMPL)
        abort();
    return context;
}
