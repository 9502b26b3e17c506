/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What follows the responder's path in an OCSP GET; what is decoded is read as a request. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/evp.h>

#include "mod_ocsp/ocsp_request.h"

#define LIMIT 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *global;

/** The same bytes, written as a client should, are read as the same. */
static void check_decoded(gh_bytes_t bytes, apr_pool_t *p)
{
    char *base64 = apr_palloc(p, (bytes.length + 2) / 3 * 4 + 1);
    gh_bytes_t again;
    gh_result_t result;

    if (bytes.length < 1 || bytes.length > LIMIT) {
        abort();
    }
    EVP_EncodeBlock((unsigned char *)base64, bytes.data, (int)bytes.length);
    if (*base64 != '/'
        && (ocsp_request_from_path(&again, base64, LIMIT, p, &result) != APR_SUCCESS
            || again.length != bytes.length
            || memcmp(again.data, bytes.data, bytes.length) != 0)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ocsp_request_t *request;
    ocsp_status_t ocsp;
    gh_bytes_t der;
    gh_result_t result;
    apr_pool_t *p;

    if (!global) {
        apr_initialize();
        apr_pool_create(&global, NULL);
    }
    apr_pool_create(&p, global);
    if (ocsp_request_from_path(&der, apr_pstrmemdup(p, (const char *)data, size), LIMIT, p,
                               &result) == APR_SUCCESS) {
        check_decoded(der, p);
        ocsp_request_parse(&request, der, 10, &ocsp, p, &result);
    }
    apr_pool_destroy(p);
    return 0;
}
