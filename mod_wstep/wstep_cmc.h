/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_cmc_h
#define mod_wstep_wstep_cmc_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"

/* The answer to a request as a full PKI response of CMC (RFC 5272 3.2.2, 6.1). */

typedef enum {
    WSTEP_CMC_ISSUED = 0,           /* success */
    WSTEP_CMC_FAILED = 2,
    WSTEP_CMC_PENDING = 3
} wstep_cmc_status_t;

typedef struct {
    wstep_cmc_status_t status;
    const char *text;               /* statusString: "Issued" */
    int fail_info;                  /* of a failure: CMCFailInfo; 2 is badRequest */
    const char *token;              /* of a pending one: what is asked with later */
    apr_time_t when;                /* of a pending one: when to ask */
    gh_bytes_t certificate;         /* of an issued one; DER */
    const apr_array_header_t *chain;    /* gh_bytes_t DER above it; may be NULL */
    OSSL_LIB_CTX *decoding;         /* in which certificates are parsed; NULL: the default */
} wstep_cmc_t;

/** @param certificate, key of who signs */
apr_status_t wstep_cmc_make(gh_bytes_t *der, const wstep_cmc_t *response, X509 *certificate,
                            EVP_PKEY *key, apr_pool_t *p, gh_result_t *result);

/** The certificate and what is above it alone, in SignedData that nobody has signed. */
apr_status_t wstep_cmc_certificates(gh_bytes_t *der, const wstep_cmc_t *response, apr_pool_t *p,
                                    gh_result_t *result);

#endif /* mod_wstep_wstep_cmc_h */
