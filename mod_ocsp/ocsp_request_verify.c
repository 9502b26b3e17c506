/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <openssl/err.h>

#include "log.h"
#include "mod_ocsp/ocsp_request.h"
#include "status.h"

/* Signed requests (RFC 6960 4.1.2): certificates are decoded here, and only where that was
 * configured. */

static apr_status_t refuse(ocsp_status_t *ocsp, gh_result_t *result)
{
    *ocsp = OCSP_UNAUTHORIZED;
    return gh_result_openssl(result, GH_EREFUSED, GH_FAILURE_DENIED, "ocsp.request.signature",
                             "Give the client a certificate of one of the CAs of "
                             "OCSPRequestSignature, or add its CA there.",
                             GHNO(0573) "the signature of the request is not accepted");
}

static apr_status_t unreadable(ocsp_status_t *ocsp, gh_result_t *result)
{
    ERR_clear_error();
    *ocsp = OCSP_MALFORMED_REQUEST;
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_MALFORMED, "ocsp.request.signature",
                          "The client has to sign as in RFC 6960 4.1.1.",
                          GHNO(0574) "the signature of the request cannot be read");
}

apr_status_t ocsp_request_verify(const ocsp_request_t *request, X509_STORE *trust,
                                 ocsp_status_t *ocsp, apr_pool_t *p, gh_result_t *result)
{
    const unsigned char *at = request->der.data;
    OCSP_REQUEST *parsed;
    apr_status_t rv = APR_SUCCESS;

    *ocsp = OCSP_SUCCESSFUL;
    parsed = d2i_OCSP_REQUEST(NULL, &at, (long)request->der.length);
    if (!parsed || !OCSP_request_is_signed(parsed)) {
        rv = unreadable(ocsp, result);
        goto cleanup;
    }
    /* Looks for the requestorName among the certificates, takes a chain that ends in trust and is
     * good for the purpose "ocsphelper", and the signature by its first. */
    if (OCSP_request_verify(parsed, NULL, trust, 0) != 1) {
        rv = refuse(ocsp, result);
    }

cleanup:
    OCSP_REQUEST_free(parsed);
    return rv;
}
