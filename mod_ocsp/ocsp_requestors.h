/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_requestors_h
#define mod_ocsp_ocsp_requestors_h

#include <apr_pools.h>
#include <openssl/types.h>

#include "result.h"

/**
 * Makes the set of CAs whose requestors may sign requests (RFC 6960 4.1.2).
 * @param store belongs to p
 * @param path  PEM file; each certificate in it is trusted by itself
 * @return errors of gh_certificates_open(); APR_ENOMEM
 */
apr_status_t ocsp_requestors_load(X509_STORE **store, const char *path, apr_pool_t *p,
                                  gh_result_t *result);

#endif /* mod_ocsp_ocsp_requestors_h */
