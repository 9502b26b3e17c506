/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_envelope_h
#define gatehouse_escrow_envelope_h

#include <apr_pools.h>

#include "mod_escrow/escrow_recipient.h"
#include "result.h"
#include "text.h"

/* CMS (RFC 5652): EnvelopedData to a device, and SignedData with its content in it. */

/** How the content key goes to an RSA key. */
typedef enum {
    ESCROW_TRANSPORT_PKCS1 = 0,
    ESCROW_TRANSPORT_OAEP
} escrow_transport_t;

/** Encrypts with AES-256-CBC; to EC keys by ECDH. @param der in p */
apr_status_t escrow_encrypt(gh_bytes_t *der, gh_bytes_t content,
                            const escrow_recipient_t *recipient, escrow_transport_t transport,
                            apr_pool_t *p, gh_result_t *result);

/** Who signs profiles. */
typedef struct escrow_signer escrow_signer_t;

/**
 * @param certificates PEM file: its certificate, then those above it
 * @param key          gh_key_open() form; one on a token is left to who parses what is printed
 * @return APR_EINVAL with result if they do not belong together, or it is not good now
 */
apr_status_t escrow_signer_open(escrow_signer_t **signer, const char *certificates,
                                const char *key, const char *passphrase, apr_time_t now,
                                apr_pool_t *p, gh_result_t *result);

/** PEM of all that escrow_signer_parse() takes, for a worker; overwritten by p's cleanup. No key is
 *  in it where that is on a token. */
apr_status_t escrow_signer_print(gh_bytes_t *pem, const escrow_signer_t *signer, apr_pool_t *p,
                                 gh_result_t *result);
/** @param token      "pkcs11:" URI of the key; NULL: it is in pem
 *  @param passphrase where the token's PIN comes from, or NULL
 *  @return errors of gh_key_open() besides */
apr_status_t escrow_signer_parse(escrow_signer_t **signer, gh_bytes_t pem, const char *token,
                                 const char *passphrase, apr_pool_t *p, gh_result_t *result);

apr_status_t escrow_sign(gh_bytes_t *der, gh_bytes_t content, const escrow_signer_t *signer,
                         apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_escrow_envelope_h */
