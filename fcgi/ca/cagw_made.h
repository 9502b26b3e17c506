/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_cagw_made_h
#define fcgi_ca_cagw_made_h

#include "fcgi/ca/cagw_calls.h"
#include "issuer/issuer.h"
#include "x509/plan.h"

/* Certificates with a key that the CA behind a gateway makes: it comes as a PKCS#12, under a
 * password that is made for this one call, and known to nobody else. In the thread that runs the
 * loop. */

typedef struct {
    EVP_PKEY *key;
    X509 *certificate;
    apr_array_header_t *chain;      /* X509 *, as it was in the PKCS#12; perhaps empty */
} cagw_made_t;

/**
 * @param made NULL unless outcome->verdict is CAGW_DONE; of the pool that the call was given. After
 *        CAGW_UNTOLD and CAGW_BROKEN the CA may have made a certificate, whose key is lost: it is
 *        to be found by its subject and revoked, and another one asked for
 */
typedef void cagw_made_fn(void *baton, cagw_outcome_t *outcome, cagw_made_t *made);

/**
 * Enrols: has an effect, and is not repeated.
 * @param asked  without request, format and password
 * @param plan   what was authorised: the certificate is checked as gh_submission_check() does
 */
void cagw_call_enrol_made(const cagw_gateway_t *gateway, gh_issuer_t *issuer,
                          const cagw_enrolment_t *asked, const gh_plan_t *plan,
                          cagw_made_fn *done, void *baton, apr_pool_t *p);

#endif /* fcgi_ca_cagw_made_h */
