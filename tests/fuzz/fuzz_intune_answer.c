/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * An answer of Entra ID, Graph or Intune: the first byte chooses who answers, the second the status
 * of HTTP. Nothing but a Success is one.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_general.h>

#include "fcgi/intune/intune_codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void read_scep(long status, gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    intune_answer_t answer;

    intune_read_scep(&answer, status, body, p, result);
    require((answer.verdict == INTUNE_DONE) == (result->number[0] == '\0'));
    require(answer.verdict != INTUNE_DONE || (status < 300 && !strcmp(answer.code, "Success")));
    require(answer.verdict != INTUNE_REFUSED || answer.reason);
}

static void read_token(long status, gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    intune_token_t token;
    intune_verdict_t verdict = intune_read_token(&token, status, body, p, result);

    require((verdict == INTUNE_DONE) == (token.token != NULL));
    require(!token.token || !strpbrk(token.token, "\r\n \t"));
}

static void read_services(long status, gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    intune_services_t services;

    if (intune_read_services(&services, status, body, p, result) == INTUNE_DONE) {
        require(!strncasecmp(services.scep, "https://", 8) && !strpbrk(services.scep, "\r\n @?#"));
    }
}

static void read_revocations(long status, gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *list;
    int skipped, i;

    if (intune_read_revocations(&list, &skipped, status, body, p, result) == INTUNE_DONE) {
        require(list->nelts + skipped <= INTUNE_REVOCATIONS_MAX);
        for (i = 0; i < list->nelts; ++i) {
            require(*APR_ARRAY_IDX(list, i, intune_revocation_t).context != '\0');
            require(APR_ARRAY_IDX(list, i, intune_revocation_t).serial != NULL);
        }
    }
    intune_read_recorded(status, body, p, result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const long statuses[] = { 200, 202, 302, 400, 401, 403, 404, 429, 500, 503 };
    gh_result_t result;
    gh_bytes_t body;
    apr_pool_t *p;
    long status;

    if (!pool) {
        require(apr_initialize() == APR_SUCCESS && apr_pool_create(&pool, NULL) == APR_SUCCESS);
    }
    if (size < 2) {
        return 0;
    }
    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    body.data = data + 2;
    body.length = size - 2;
    status = statuses[data[1] % (sizeof(statuses) / sizeof(statuses[0]))];
    switch (data[0] % 4) {
    case 0:
        read_scep(status, body, p, &result);
        break;
    case 1:
        read_token(status, body, p, &result);
        break;
    case 2:
        read_services(status, body, p, &result);
        break;
    default:
        read_revocations(status, body, p, &result);
    }
    apr_pool_destroy(p);
    return 0;
}
