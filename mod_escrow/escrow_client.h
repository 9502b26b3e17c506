/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_client_h
#define mod_escrow_escrow_client_h

#include <apr_time.h>
#include <openssl/types.h>

#include "x509/thumbprint.h"

/* What has to be known of a client's certificate to decide about it. Plain memory. */

typedef struct {
    gh_thumbprint_t sha256;         /* length 0: not known */
    gh_thumbprint_t sha1;           /* length 0: not known */
    apr_time_t not_before;          /* 0: not known */
    apr_time_t not_after;           /* 0: not known */
    gh_bytes_t der;                 /* what was read; length 0: it was not read from DER */
} escrow_client_t;

/** Certificates in headers are no larger, in DER. */
#define ESCROW_CERTIFICATE_MAX 16384

/** @return 0 if there is no memory for it */
int escrow_client_of(escrow_client_t *client, const X509 *certificate);

/** @param der one certificate and nothing else; lives as long as client.
 *  @return APR_SUCCESS or APR_EINVAL */
apr_status_t escrow_client_read(escrow_client_t *client, gh_bytes_t der);

/** The one that names a client: SHA-256 if that is known. */
const gh_thumbprint_t *escrow_client_thumbprint(const escrow_client_t *client);

/** -1: not valid yet; 1: not any more; 0: valid, or nothing is known of it */
int escrow_client_time(const escrow_client_t *client, apr_time_t now);

#endif /* mod_escrow_escrow_client_h */
