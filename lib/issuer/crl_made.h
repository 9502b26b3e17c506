/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_crl_made_h
#define gatehouse_issuer_crl_made_h

#include "issuer/issuer.h"
#include "store/crls.h"

/* The content of one CRL, for the publisher. */

/**
 * Makes a CRL of everything revoked or held in one snapshot of the store. Entries stay until a
 * scheduled CRL after their certificate has expired has had them (RFC 5280 3.3).
 * @param record filled, in p, with the change_seq of the snapshot
 */
apr_status_t gh_crl_make(gh_crl_record_t *record, gh_issuer_t *issuer, gh_store_t *store,
                         apr_int64_t number, apr_time_t now, apr_pool_t *p, gh_result_t *result);

/** Takes number and dates from the DER of a CRL made elsewhere, and checks the CA's signature.
 *  @return APR_EINVAL for a CRL that is malformed or of another CA */
apr_status_t gh_crl_read(gh_crl_record_t *record, X509 *ca, gh_result_t *result);

/** PEM form (RFC 7468), in p. */
gh_bytes_t gh_crl_pem(gh_bytes_t der, apr_pool_t *p);

/** An entity tag (RFC 9110 8.8.3), quoted, from the SHA-256 of the bytes. */
const char *gh_crl_etag(gh_bytes_t der, apr_pool_t *p);

#endif /* gatehouse_issuer_crl_made_h */
