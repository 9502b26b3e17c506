/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The DER of an OCSP request, parsed and answered by an engine with one CA, that of the tests. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "ocsp_engine_support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *global;

static void clean_up(void)
{
    X509_STORE_free(endpoint->requestors);
    engine_teardown(NULL);
}

static void start(void)
{
    x509_group_setup(NULL);
    engine_setup(NULL);
    global = test_pool;
    atexit(clean_up);
}

static void need(int value)
{
    if (!value) {
        abort();
    }
}

/** What the parser gives out lies within the request, and says what it promises. */
static void check_request(const ocsp_request_t *request)
{
    int i;

    need(request->count >= 1 && request->count <= endpoint->max_ids);
    need(!request->has_nonce || request->nonce.length >= 1);
    for (i = 0; i < request->count; ++i) {
        const ocsp_certid_t *id = &request->ids[i];

        need(id->serial.length <= 20);
        need(id->serial.length < 2 || id->serial.data[0] != 0);
        need(id->digest == NID_undef || id->name_hash.length == id->key_hash.length);
    }
    if (request->is_signed) {
        ocsp_status_t ocsp;

        need(ocsp_request_verify(request, endpoint->requestors, &ocsp, test_pool, &result)
             != APR_SUCCESS);
    }
}

/** An answer is one, and about as many certificates. */
static void check_answer(void)
{
    const unsigned char *at = answer.der.data;
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &at, (long)answer.der.length);
    OCSP_BASICRESP *basic;

    need(response && at == answer.der.data + answer.der.length);
    need(OCSP_response_status(response) == (int)answer.ocsp);
    need((answer.ocsp == OCSP_SUCCESSFUL) == !result.number[0]);
    basic = answer.ocsp == OCSP_SUCCESSFUL ? OCSP_response_get1_basic(response) : NULL;
    need((basic != NULL) == (answer.ocsp == OCSP_SUCCESSFUL));
    need(!basic || OCSP_resp_count(basic) == answer.count);
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_bytes_t der = { data, size };
    ocsp_request_t *request;
    ocsp_status_t ocsp;

    if (!global) {
        start();
    }
    if (!endpoint->requestors) {
        endpoint->requestors = X509_STORE_new();
    }
    apr_pool_create(&test_pool, global);
    if (ocsp_request_parse(&request, der, endpoint->max_ids, &ocsp, test_pool, &result)
        == APR_SUCCESS) {
        check_request(request);
    }
    else {
        need(ocsp != OCSP_SUCCESSFUL && result.number[0]);
    }
    ocsp_engine_answer(engine, endpoint, der, apr_time_now(), &answer, test_pool, &result);
    check_answer();
    need(ERR_peek_error() == 0);
    apr_pool_destroy(test_pool);
    test_pool = global;
    return 0;
}
