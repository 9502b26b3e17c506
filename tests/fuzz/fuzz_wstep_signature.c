/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A message with a WS-Security signature. Whatever is changed in it: if the signature verifies, the
 * request that is read is the one that was signed. Whoever makes a corpus has signed no other. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_wstep/wstep_request.h"
#include "mod_wstep/wstep_signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** What all messages of the corpus ask for. */
static const char signed_token[] = "the request that was signed";

/** Messages of the corpus are from now, always. */
#define SKEW apr_time_from_sec(100LL * 366 * 24 * 3600)

static apr_pool_t *global;

static void check_request(const wstep_soap_t *soap, apr_pool_t *p)
{
    wstep_request_t request;
    wstep_fault_kind_t kind;
    gh_result_t result;

    /* headers that were not signed may have made it another operation, which is refused */
    if (wstep_request_read(&request, soap, &kind, p, &result) != APR_SUCCESS) {
        return;
    }
    if (request.token.length != sizeof(signed_token) - 1
        || memcmp(request.token.data, signed_token, sizeof(signed_token) - 1) != 0) {
        abort();
    }
}

static void read_all(gh_bytes_t bytes, apr_pool_t *p)
{
    wstep_soap_t soap;
    wstep_user_token_t token;
    gh_result_t result;
    X509 *signer;

    if (wstep_soap_read(&soap, bytes, p, &result) == APR_SUCCESS
        && wstep_security_read(&token, soap.security, apr_time_from_sec(1800000000), SKEW, p,
                               &result) == APR_SUCCESS && token.is_signed
        && wstep_signature_verify(&signer, &soap, &token, p, &result) == APR_SUCCESS) {
        check_request(&soap, p);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_bytes_t bytes = { data, size };
    apr_pool_t *p;

    if (!global) {
        apr_initialize();
        apr_pool_create(&global, NULL);
        wstep_xml_initialise();
        if (!wstep_signature_initialise()) {
            abort();
        }
    }
    apr_pool_create(&p, global);
    read_all(bytes, p);
    apr_pool_destroy(p);
    return 0;
}
