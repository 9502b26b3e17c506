/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_request_h
#define mod_ocsp_ocsp_request_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/ocsp.h>
#include <openssl/x509.h>

#include "mod_ocsp/ocsp_asn1.h"
#include "result.h"
#include "text.h"

/*
 * OCSPRequest (RFC 6960 4.1, RFC 9919, nonces after RFC 9654), from the body of a POST or the path
 * of a GET. Parsing costs a few microseconds and no public-key work; it decodes no certificate.
 */

/** OCSPResponseStatus (RFC 6960 4.2.1). */
typedef enum {
    OCSP_SUCCESSFUL = 0,
    OCSP_MALFORMED_REQUEST = 1,
    OCSP_INTERNAL_ERROR = 2,
    OCSP_TRY_LATER = 3,
    OCSP_SIG_REQUIRED = 5,
    OCSP_UNAUTHORIZED = 6
} ocsp_status_t;

/** Longest request that is read, in bytes; a location may have less. */
#define OCSP_REQUEST_MAX 65536

/** One certificate that is asked for. Everything is borrowed from the request. */
typedef struct {
    const OCSP_ID *id;              /* to be echoed as it came */
    int digest;                     /* NID of the hash algorithm; NID_undef if it is none we know */
    int has_null;                   /* the algorithm came with NULL parameters; else without any */
    gh_bytes_t name_hash;
    gh_bytes_t key_hash;
    gh_bytes_t serial;              /* gh_serial_parse() form; length 0 if it is negative or longer
                                       than 20 bytes: no certificate of ours has such a one */
} ocsp_certid_t;

typedef struct {
    gh_bytes_t der;                 /* as it came; borrowed */
    const ocsp_certid_t *ids;
    int count;                      /* at least 1 */
    int has_nonce;
    gh_bytes_t nonce;               /* extnValue as it came, to be echoed byte for byte */
    const int *preferred;           /* NIDs of signature algorithms that the client prefers, best
                                       first (RFC 6960 4.4.7); only such as we know */
    int preferred_count;
    int is_signed;
    int is_plain;                   /* no signature, no requestor, no extension of any kind: it asks
                                       for certificates and says nothing else */
    const char *requestor;          /* requestorName as text, printable, at most 256 bytes; or
                                       NULL */
} ocsp_request_t;

/** Reads a CertID that lives at least as long.
 *  @return 0 for a hash algorithm with parameters other than NULL */
int ocsp_certid_read(ocsp_certid_t *to, const OCSP_ID *id);

/**
 * Parses a request, which has to live as long as p. Nothing may follow the DER.
 * @param max_ids more certificates are refused
 * @param ocsp    set with a failure: OCSP_MALFORMED_REQUEST, or OCSP_UNAUTHORIZED where more
 *                certificates are asked for than max_ids
 * @return APR_SUCCESS; APR_EINVAL with result: malformed, a version other than 1, an unknown
 *         critical extension, an extension that comes twice, a nonce of 0 or more than 128 octets
 *         (raw octets without the OCTET STRING, of old clients, are taken), an
 *         acceptable-responses without id-pkix-ocsp-basic, a hash algorithm with parameters
 */
apr_status_t ocsp_request_parse(ocsp_request_t **request, gh_bytes_t der, int max_ids,
                                ocsp_status_t *ocsp, apr_pool_t *p, gh_result_t *result);

/**
 * The DER of a GET: what stands behind the path of the responder in the request line, as it came
 * (r->unparsed_uri). Takes base64 (RFC 4648 4) and base64url, with "%2F", "%2B", "%3D" and raw "/",
 * "+" and "=", with or without padding, with any number of slashes before it, and "+" that came as
 * a blank ("%20"). A double slash within the base64 is data. Strict otherwise: no other escapes, no
 * NUL, no query.
 * @return APR_SUCCESS; APR_EINVAL with result (malformed), APR_ENOSPC if it is longer than limit
 */
apr_status_t ocsp_request_from_path(gh_bytes_t *der, const char *path, apr_size_t limit,
                                    apr_pool_t *p, gh_result_t *result);

/**
 * Verifies the signature of a signed request (RFC 6960 4.1.2): its certificate leads to a trusted
 * one, is valid now, and its subject is the requestorName.
 * @param trust whom requests are accepted from; has its own CRL checking, if any
 * @param ocsp  set with a failure: OCSP_UNAUTHORIZED, OCSP_MALFORMED_REQUEST
 * @return APR_SUCCESS; GH_EREFUSED with result
 */
apr_status_t ocsp_request_verify(const ocsp_request_t *request, X509_STORE *trust,
                                 ocsp_status_t *ocsp, apr_pool_t *p, gh_result_t *result);

#endif /* mod_ocsp_ocsp_request_h */
