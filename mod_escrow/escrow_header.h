/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_header_h
#define mod_escrow_escrow_header_h

#include <apr_pools.h>

#include "mod_escrow/escrow_client.h"

/* Headers by which proxies that end TLS tell of the client's certificate. */

typedef enum {
    ESCROW_HEADER_NONE = 0,
    ESCROW_HEADER_RFC9440,          /* Client-Cert: :base64 of DER: */
    ESCROW_HEADER_XFCC,             /* of Envoy: Hash= and Cert= of the last element */
    ESCROW_HEADER_NGINX,            /* PEM, escaped as in URLs, or with blanks for line ends */
    ESCROW_HEADER_HAPROXY,          /* base64 of DER, or a digest in hexadecimal */
    ESCROW_HEADER_ALB               /* PEM of a chain, escaped as in URLs */
} escrow_header_format_t;

/** Longest value that is looked at. */
#define ESCROW_HEADER_MAX 65536

/** By its name in ThumbprintSource. */
escrow_header_format_t escrow_header_format(const char *name);

/**
 * Reads the value of such a header, which has come once. Where a header has come twice, httpd has
 * put a comma and a blank between the two values: such a value is refused in every format.
 * @return APR_SUCCESS; APR_ENOENT if the client has no certificate (empty, "-" or "(null)");
 *         APR_EINVAL with result for all else
 */
apr_status_t escrow_header_read(escrow_client_t *client, escrow_header_format_t format,
                                const char *value, apr_pool_t *p, gh_result_t *result);

#endif /* mod_escrow_escrow_header_h */
