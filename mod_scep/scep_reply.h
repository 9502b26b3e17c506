/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_reply_h
#define mod_scep_scep_reply_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "mod_scep/scep_message.h"
#include "result.h"
#include "text.h"

/* CertRep: the answer to every message that could be read (RFC 8894 3.3.2). */

typedef struct {
    int status;                             /* SCEP_SUCCESS, SCEP_FAILURE, SCEP_PENDING */
    int fail_info;                          /* SCEP_BAD_*, with SCEP_FAILURE */
    const char *fail_text;                  /* failInfoText, or NULL */
    const apr_array_header_t *certificates; /* gh_bytes_t, the issued one first; with SUCCESS */
    const char *password;                   /* to encrypt with, if the message needs one */
    gh_bytes_t crl;                         /* DER; instead of certificates, if it is not empty */
} scep_reply_t;

/**
 * Makes the answer, signed by the RA; with SCEP_SUCCESS encrypted to the signer of the message, in
 * the message's own cipher.
 * @return GH_EREFUSED if the client's key cannot be encrypted to, GH_EUNAVAILABLE if the RA's key
 *         fails, APR_EGENERAL
 */
apr_status_t scep_reply_make(gh_bytes_t *der, const scep_reply_t *reply,
                             const scep_message_t *message, const scep_recipient_t *ra,
                             apr_pool_t *p, gh_result_t *result);

/** SignedData around a content, signed by the RA with SHA-256, whose certificate it encloses.
 *  @return APR_EGENERAL, with OpenSSL's errors */
apr_status_t scep_reply_sign(gh_bytes_t *der, gh_bytes_t content, const scep_recipient_t *ra,
                             apr_pool_t *p);

#endif /* mod_scep_scep_reply_h */
