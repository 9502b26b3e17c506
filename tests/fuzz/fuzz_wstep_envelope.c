/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A message to WSTEP or XCEP: envelope, security header, user name, and what is in the body. What
 * was understood goes into an answer, which has to be readable again. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_wstep/wstep_answer.h"
#include "mod_wstep/wstep_request.h"
#include "mod_wstep/wstep_security.h"
#include "mod_wstep/xcep_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *global;

static void check_answer(const wstep_soap_t *soap, const wstep_request_t *request, apr_pool_t *p)
{
    wstep_answer_t answer = { .message = "Issued", .request_id = request->request_id,
                              .certificate = request->token, .response = request->token };
    wstep_soap_t again;
    gh_result_t result;
    gh_bytes_t xml;

    /* twice a token, in base64, may be too long for a request */
    if (wstep_answer_write(&xml, &answer, soap->message_id, 0, p) != APR_SUCCESS
        || (xml.length <= WSTEP_XML_SIZE_MAX
            && wstep_soap_read(&again, xml, p, &result) != APR_SUCCESS)) {
        abort();
    }
}

static void read_all(gh_bytes_t bytes, apr_pool_t *p)
{
    wstep_soap_t soap;
    wstep_request_t request;
    xcep_request_t policies;
    wstep_user_token_t token;
    wstep_user_t user;
    wstep_fault_kind_t kind;
    gh_result_t result;

    if (wstep_soap_read(&soap, bytes, p, &result) != APR_SUCCESS) {
        return;
    }
    if (wstep_security_read(&token, soap.security, apr_time_from_sec(1800000000),
                            WSTEP_SKEW_DEFAULT, p, &result) == APR_SUCCESS && token.name) {
        wstep_user_parse(&user, token.name, NULL, NULL, p, &result);
    }
    if (wstep_request_read(&request, &soap, &kind, p, &result) == APR_SUCCESS) {
        wstep_request_item(&request, "CertificateTemplate");
        check_answer(&soap, &request, p);
    }
    xcep_request_read(&policies, &soap, p, &result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_bytes_t bytes = { data, size };
    apr_pool_t *p;

    if (!global) {
        apr_initialize();
        apr_pool_create(&global, NULL);
        wstep_xml_initialise();
    }
    apr_pool_create(&p, global);
    read_all(bytes, p);
    apr_pool_destroy(p);
    return 0;
}
