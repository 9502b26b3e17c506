/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_endpoint_h
#define mod_escrow_escrow_endpoint_h

#include <apr_time.h>
#include <openssl/types.h>

#include "escrow/vault.h"
#include "mod_escrow/escrow_pkcs12.h"
#include "store/pins.h"

/* TLS certificates of endpoints that come as PKCS#12, and lie in the store. */

typedef struct escrow_endpoint escrow_endpoint_t;

/**
 * Opens what an administrator sends, and checks it: the key belongs to the certificate, which is
 * valid now, and for server authentication, and whose chain is complete.
 * @return APR_EINVAL with result
 */
apr_status_t escrow_endpoint_read(escrow_endpoint_t **endpoint, const escrow_opener_t *opener,
                                  gh_bytes_t pkcs12, const char *password, apr_time_t now,
                                  apr_pool_t *p, gh_result_t *result);

/** Seals it for the store. @param record name, generation and updated* are set */
apr_status_t escrow_endpoint_seal(gh_endpoint_record_t *record, const escrow_endpoint_t *endpoint,
                                  const gh_vault_t *vault, apr_pool_t *p, gh_result_t *result);

/** Opens what the store has. */
apr_status_t escrow_endpoint_open(escrow_endpoint_t **endpoint, const gh_endpoint_record_t *record,
                                  const gh_vault_t *vault, apr_pool_t *p, gh_result_t *result);

/** Sets certificate, chain and key of a handshake. @return 0 if OpenSSL does not take them */
int escrow_endpoint_use(const escrow_endpoint_t *endpoint, SSL *ssl);

/** The chain that a virtual host of httpd's files shows. @return APR_NOTFOUND if it has none */
apr_status_t escrow_endpoint_of_context(gh_bytes_t *chain, SSL_CTX *context, apr_pool_t *p);

/** The certificates in PEM, the server's first. */
const char *escrow_endpoint_pem(gh_bytes_t chain, apr_pool_t *p);

/** What is said of the first certificate of a chain. */
typedef struct {
    const char *subject;
    const char *sha256;             /* hexadecimal digits */
    apr_time_t not_before;
    apr_time_t not_after;
} escrow_endpoint_facts_t;

apr_status_t escrow_endpoint_describe(escrow_endpoint_facts_t *facts, gh_bytes_t chain,
                                      apr_pool_t *p);

#endif /* mod_escrow_escrow_endpoint_h */
