/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_signature_h
#define mod_wstep_wstep_signature_h

#include <apr_pools.h>
#include <openssl/types.h>

#include "mod_wstep/wstep_security.h"
#include "mod_wstep/wstep_soap.h"
#include "result.h"

/*
 * WS-Security signatures (X.509 token profile 1.1) of one form: by the key of the certificate that
 * stands beside the signature, over the body and the time of the message, each named by an Id. What
 * is verified is what is read: an Id names exactly one element of the whole document, and counts
 * only if that is the very element at its place in the envelope that the rest of the server reads.
 */

/** Makes xmlsec ready; in a process that will not load this module again, before there are threads.
 *  @return 0 if that fails */
int wstep_signature_initialise(void);

/**
 * Verifies the signature of a message.
 * @param token of wstep_security_read(); its Timestamp was looked at
 * @param signer whose key has signed; nothing is known of it but that
 * @return GH_EREFUSED (INTEGRITY) or APR_EINVAL (MALFORMED) with result
 */
apr_status_t wstep_signature_verify(X509 **signer, const wstep_soap_t *soap,
                                    const wstep_user_token_t *token, apr_pool_t *p,
                                    gh_result_t *result);

#endif /* mod_wstep_wstep_signature_h */
