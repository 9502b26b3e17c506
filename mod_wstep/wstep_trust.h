/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_trust_h
#define mod_wstep_wstep_trust_h

#include <apr_pools.h>
#include <openssl/types.h>

#include "result.h"

/* CAs of others, whose certificates callers may show. */

typedef struct wstep_trust wstep_trust_t;

/**
 * Reads a PEM file of CA certificates and their CRLs. Any thread may use what comes of it.
 * @param revocation 1: there has to be a CRL that is valid, of whoever has issued a certificate
 *        that is shown; 0: nobody looks
 * @return errors of the operating system; APR_EINVAL; each with result
 */
apr_status_t wstep_trust_read(wstep_trust_t **trust, const char *path, int revocation,
                              apr_pool_t *p, gh_result_t *result);

/** The file whose CRLs count; NULL if nobody looks at them. */
const char *wstep_trust_file(const wstep_trust_t *trust);

/**
 * Whether a certificate is of one of these CAs, valid now, for client authentication (RFC 5280
 * 4.2.1.12) and not revoked.
 * @return GH_EREFUSED (DENIED) with result; APR_NOTFOUND if it is of none of them
 */
apr_status_t wstep_trust_check(const wstep_trust_t *trust, X509 *certificate,
                               gh_result_t *result);

#endif /* mod_wstep_wstep_trust_h */
