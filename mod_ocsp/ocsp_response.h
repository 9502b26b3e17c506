/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_response_h
#define mod_ocsp_ocsp_response_h

#include <apr_pools.h>

#include "mod_ocsp/ocsp_authority.h"
#include "mod_ocsp/ocsp_request.h"
#include "mod_ocsp/ocsp_signer.h"
#include "result.h"
#include "text.h"

/* OCSPResponse (RFC 6960 4.2): building and signing. */

/** The answer that is an error: unsigned, without responseBytes. Static memory. */
gh_bytes_t ocsp_response_error(ocsp_status_t status);

/** A certificate and what is said of it. */
typedef struct {
    const OCSP_ID *id;              /* echoed unchanged */
    const ocsp_verdict_t *verdict;  /* ocsp is OCSP_SUCCESSFUL */
} ocsp_single_t;

/**
 * Makes a signed BasicOCSPResponse: GeneralizedTimes in seconds, Zulu; producedAt now; the signer's
 * certificate unless it is the CA; nonce if data is not NULL; extended-revoke if one of the
 * verdicts asks for it. Reason unspecified is left out. A signature is verified before it is given
 * out where the signer says so, and whenever OpenSSL has reported an error on the way.
 * @param der in p
 * @return GH_EUNAVAILABLE if the key fails; APR_ENOMEM
 */
apr_status_t ocsp_response_sign(gh_bytes_t *der, const ocsp_single_t *singles, int count,
                                gh_bytes_t nonce, const ocsp_signer_t *signer, int by_name,
                                apr_time_t now, apr_pool_t *p, gh_result_t *result);

#endif /* mod_ocsp_ocsp_response_h */
