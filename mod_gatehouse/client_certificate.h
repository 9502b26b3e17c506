/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_gatehouse_client_certificate_h
#define mod_gatehouse_client_certificate_h

#include <httpd.h>
#include <apr_optional.h>
#include <openssl/types.h>

#include "result.h"

/*
 * The certificate that a client has shown, by TLS or to a trusted proxy, as ThumbprintSource and
 * ThumbprintTrustedProxy say: mod_escrow offers it to the other modules. Whoever shows it has its
 * key; whether it is good for anything is for its reader to find out.
 */

/**
 * @param certificate lives as long as r
 * @return APR_NOTFOUND: there is none; APR_EINVAL with result: what the proxy says of it cannot be
 *         used
 */
APR_DECLARE_OPTIONAL_FN(apr_status_t, gatehouse_client_certificate,
                        (request_rec *r, X509 **certificate, gh_result_t *result));

#endif /* mod_gatehouse_client_certificate_h */
