/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The library context in which this worker decodes keys. */

#include <openssl/core_dispatch.h>

#include "fcgi/uem/uem_config.h"
#include "x509/decoding.h"

GH_DECODING_FILTER(decoding, gh_decoding_create_private)

OSSL_LIB_CTX *uem_decoding_context(apr_pool_t *p)
{
    return decoding_context(p);
}
