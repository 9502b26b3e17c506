/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_pkcs12_h
#define gatehouse_escrow_pkcs12_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/types.h>

#include "escrow/locked.h"
#include "result.h"
#include "text.h"

/* PKCS#12 files (RFC 7292): opened as the world makes them, and made as devices take them. */

/** What a credential is for; the numbers are those of the store (escrow_credential.purpose). */
typedef enum {
    ESCROW_SIGNING = 1,
    ESCROW_ENCRYPTION = 2,
    ESCROW_ARCHIVED = 3
} escrow_use_t;

#define ESCROW_USES 3

/** "signing", "encryption", "archived". */
const char *escrow_use_name(escrow_use_t use);

/** A key with its certificate. */
typedef struct {
    gh_bytes_t certificate;         /* DER */
    gh_bytes_t key;                 /* DER of PKCS#8, not encrypted: a secret, in locked memory */
    gh_bytes_t chain;               /* DER certificates above it, one behind the other; may be
                                       empty; no root */
    int rooted;                     /* the root of that chain is in the file too, or the certificate
                                       is self-signed */
    unsigned char sha256[32];       /* of the certificate */
    gh_bytes_t serial;              /* big endian, as the store has it */
    const char *subject;            /* RFC 4514 */
    const char *email;              /* the first rfc822Name, or emailAddress of the subject; or
                                       NULL */
    apr_time_t not_before;
    apr_time_t not_after;
} escrow_credential_t;

/** Largest file, in bytes; iterations of one derivation of a key, and of all in one upload. */
#define ESCROW_PKCS12_MAX           (256 * 1024)
#define ESCROW_ITERATIONS_MAX       1000000
#define ESCROW_ITERATIONS_SUM       3000000

/** What opening takes: a library context of its own for the ciphers of old files, which the
 *  process does not get. One per process; any thread may use it. */
typedef struct escrow_opener escrow_opener_t;

/**
 * @param locked where keys go, see gh_vault_locked(); outlives it
 * @param decoding context of gh_decoding_create_private(), in which RSA and EC keys are decoded
 *        fast; outlives it; NULL: in the default context
 * @return GH_EUNAVAILABLE with result if OpenSSL's legacy provider is not installed
 */
apr_status_t escrow_opener_create(escrow_opener_t **opener, gh_locked_t *locked,
                                  OSSL_LIB_CTX *decoding, apr_pool_t *p, gh_result_t *result);

/**
 * Opens a PKCS#12 and checks what is in it: exactly one private key, its certificate, a key that is
 * strong enough, and what the use asks for (key usage and validity; archived ones may have
 * ended).
 * @param password NULL or empty: none, in both ways of writing that
 * @return APR_EINVAL with result, each with a number of its own
 */
apr_status_t escrow_pkcs12_open(escrow_credential_t **credential, const escrow_opener_t *opener,
                                gh_bytes_t der, const char *password, escrow_use_t use,
                                apr_time_t now, apr_pool_t *p, gh_result_t *result);

/** The same for one of several. @param iterations of those before, and then of this one, too */
apr_status_t escrow_pkcs12_open_next(escrow_credential_t **credential, apr_int64_t *iterations,
                                     const escrow_opener_t *opener, gh_bytes_t der,
                                     const char *password, escrow_use_t use, apr_time_t now,
                                     apr_pool_t *p, gh_result_t *result);

/** Fills in from a certificate what is said about it; key and chain stay.
 *  @param opener NULL is slower
 *  @return APR_EINVAL with result */
apr_status_t escrow_credential_describe(escrow_credential_t *credential,
                                        const escrow_opener_t *opener, gh_bytes_t certificate,
                                        apr_pool_t *p, gh_result_t *result);

/** How PKCS#12 files for devices are made. */
typedef enum {
    ESCROW_PKCS12_LEGACY = 0,       /* 3DES, MAC with SHA-1: what devices take */
    ESCROW_PKCS12_MODERN            /* AES-256-CBC and PBKDF2, MAC with SHA-256 */
} escrow_pkcs12_t;

/** @param der in locked memory until p goes */
apr_status_t escrow_pkcs12_make(gh_bytes_t *der, const escrow_opener_t *opener,
                                const escrow_credential_t *credential, const char *password,
                                escrow_pkcs12_t form, apr_pool_t *p, gh_result_t *result);

/** A password of more than 128 random bits, of letters and digits that cannot be mistaken for each
 *  other; overwritten by p's cleanup. @return NULL if the random generator failed */
const char *escrow_password(gh_locked_t *locked, apr_pool_t *p);

#endif /* gatehouse_escrow_pkcs12_h */
