/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* An answer of a token endpoint, behind a byte that chooses the status of HTTP. What is read has to
 * keep what its reader promises. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "fcgi/uem/uem_token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_bytes_t body = { data + (size > 0), size - (size > 0) };
    uem_token_t token;
    gh_result_t result;
    apr_pool_t *p;

    if (!pool) {
        require(apr_initialize() == APR_SUCCESS && apr_pool_create(&pool, NULL) == APR_SUCCESS);
    }
    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    if (uem_token_read(&token, size && data[0] == '4' ? 400 : 200, body, p, &result)
        == APR_SUCCESS) {
        require(*token.token && !strpbrk(token.token, " \r\n\t\x7f"));
        require(token.lifetime > 0 && token.lifetime <= apr_time_from_sec(24 * 3600));
        require(data[0] != '4');
    }
    else {
        require(!token.token && result.number[0] != '\0');
    }
    apr_pool_destroy(p);
    return 0;
}
