/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_peer_h
#define mod_wstep_wstep_peer_h

#include <httpd.h>
#include <openssl/types.h>

#include "result.h"

/** Looks who offers client certificates; once the modules are there. */
void wstep_find_peers(void);

/**
 * The certificate that the client has shown by TLS. Where mod_escrow is loaded, its
 * ThumbprintSource says whether that is to a trusted proxy.
 * @return APR_NOTFOUND: there is none; APR_EINVAL with result
 */
apr_status_t wstep_peer_certificate(X509 **certificate, request_rec *r, gh_result_t *result);

#endif /* mod_wstep_wstep_peer_h */
