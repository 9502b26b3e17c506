/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The library context in which this child parses requests. */

#include <openssl/core_dispatch.h>

#include "gatehouse_child.h"
#include "x509/decoding.h"

GH_DECODING_FILTER(decoding, gh_decoding_create)

OSSL_LIB_CTX *gatehouse_decoding_context(apr_pool_t *p)
{
    return decoding_context(p);
}
