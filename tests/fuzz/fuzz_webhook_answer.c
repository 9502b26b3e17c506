/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* An answer of a webhook. What is read has to keep what its reader promises. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "fcgi/webhook/webhook_codec.h"

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
    gh_bytes_t body = { data, size };
    webhook_answer_t answer;
    gh_result_t result;
    apr_pool_t *p;

    if (!pool) {
        require(apr_initialize() == APR_SUCCESS && apr_pool_create(&pool, NULL) == APR_SUCCESS);
    }
    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    if (webhook_read(&answer, body, p, &result) == APR_SUCCESS) {
        require(!answer.allow || !answer.reason);
        require(!answer.reason || (*answer.reason && strlen(answer.reason) <= 200));
        require(!answer.reason || !strpbrk(answer.reason, "\r\n\t\x7f"));
    }
    else {
        require(!answer.allow && result.number[0] != '\0');
    }
    apr_pool_destroy(p);
    return 0;
}
