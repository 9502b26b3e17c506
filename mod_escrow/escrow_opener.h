/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_opener_h
#define gatehouse_escrow_opener_h

#include <openssl/types.h>
#include <openssl/x509.h>

#include "mod_escrow/escrow_pkcs12.h"

/* What the files about PKCS#12 share. */

struct escrow_opener {
    OSSL_LIB_CTX *context;
    OSSL_PROVIDER *standard;
    OSSL_PROVIDER *legacy;
    OSSL_LIB_CTX *decoding;         /* or NULL */
    gh_locked_t *locked;
};

/** @param opener NULL: in the default context @return NULL if it is none. Owned by the caller */
X509 *escrow_certificate_read(const escrow_opener_t *opener, gh_bytes_t der);

/** @return NULL if it cannot be read. Owned by the caller */
EVP_PKEY *escrow_key_read(const escrow_opener_t *opener, const PKCS8_PRIV_KEY_INFO *key);

/** Makes a credential of what a file has, if it is fit for the use. */
apr_status_t escrow_credential_examine(escrow_credential_t **credential,
                                       const escrow_opener_t *opener, PKCS8_PRIV_KEY_INFO *key,
                                       STACK_OF(X509) *certificates, escrow_use_t use,
                                       apr_time_t now, apr_pool_t *p, gh_result_t *result);

/** Fills in all but key and chain. */
apr_status_t escrow_credential_take(escrow_credential_t *credential, X509 *certificate,
                                    gh_bytes_t der, apr_pool_t *p);

#endif /* gatehouse_escrow_opener_h */
