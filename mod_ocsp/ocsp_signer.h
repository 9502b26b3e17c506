/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_signer_h
#define mod_ocsp_ocsp_signer_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"

/*
 * Who signs the answers of an authority: the CA's own key, or certificates that it has issued for
 * that (RFC 6960 4.2.2.2), from files and tokens, or enrolled and renewed by ourselves. Several
 * keys (P-256 and RSA-2048) stand side by side and are chosen by what the client prefers.
 */

typedef struct ocsp_signers ocsp_signers_t;
typedef struct ocsp_signer_set ocsp_signer_set_t;

/** A key with its certificate; immutable while its set is held. */
typedef struct {
    X509 *certificate;
    EVP_PKEY *key;
    const EVP_MD *digest;           /* gh_key_digest() or as configured; at least SHA-256 */
    int algorithm;                  /* NID of the signature algorithm */
    apr_time_t not_before;
    apr_time_t not_after;           /* the earlier of the signer's and the CA's */
    unsigned char key_hash[20];     /* SHA-1 of the public key, for ResponderID byKey */
    gh_bytes_t certificate_der;
    int is_ca;                      /* the CA itself: its certificate is not put into answers */
    int number;                     /* 0, 1, ... of its kind of key in the configuration: part of
                                       the keys of caches */
    const char *kind;               /* gh_key_kind() */
    int verified;                   /* signatures are verified before they are given out: of RSA and
                                       of tokens. After memory was lacking, OpenSSL 3.0 computes
                                       nonsense with an RSA key; with an EC key it does not, and
                                       verifying takes three times as long as signing */
    const EVP_MD_CTX *prepared;     /* for signing with key and digest, to be copied; or NULL */
    volatile apr_uint32_t *suspect; /* 1: see ocsp_signer_suspect() */
} ocsp_signer_t;

/**
 * The signers of now. Thread-safe; waits for nothing but memory: renewal and reading of what others
 * have made happen in ocsp_signers_follow().
 * @param set to be given back
 * @return GH_EUNAVAILABLE with result if there is none; whether one of them is valid now is seen by
 *         ocsp_signer_choose()
 */
apr_status_t ocsp_signers_acquire(ocsp_signers_t *signers, const ocsp_signer_set_t **set,
                                  gh_result_t *result);
void ocsp_signers_release(const ocsp_signer_set_t *set);

/**
 * Chooses: among those that are valid now and not suspected, the first of the client's preferred
 * algorithms that one of them has; without a match or preference the first of the set. Never a
 * weaker digest. Thread-safe, allocates nothing.
 * @return NULL if there is none
 */
const ocsp_signer_t *ocsp_signer_choose(const ocsp_signer_set_t *set, const int *preferred,
                                        int preferred_count, apr_time_t now);

/** All of a set, as ocsp_signer_t elements; for health, checks and pre-production. */
const apr_array_header_t *ocsp_signer_set_all(const ocsp_signer_set_t *set);

/** Its key has failed to sign (a token is gone): not chosen until ocsp_signers_follow() has tried
 *  it again. Thread-safe. */
void ocsp_signer_suspect(ocsp_signers_t *signers, const ocsp_signer_t *signer);

/** A set made of what was opened elsewhere; for tests and tools.
 *  @param signers ocsp_signer_t elements, of which certificate, key and number are set, and digest
 *                 unless it is to be gh_key_digest() */
ocsp_signers_t *ocsp_signers_fixed(X509 *ca, const apr_array_header_t *signers, apr_pool_t *p,
                                   gh_result_t *result);

/**
 * Checks a signer for an authority (RFC 6960 4.2.2.2): issued directly by the CA (or the CA
 * itself), extended key usage OCSPSigning, keyUsage, if there, with digitalSignature, valid, key
 * fits, a kind of key that may sign. keyCertSign on an end entity is tolerated, a missing nocheck
 * noted.
 * @param warning set to a text in p, or NULL
 * @return APR_EINVAL with result
 */
apr_status_t ocsp_signer_check(X509 *ca, X509 *certificate, EVP_PKEY *key, apr_time_t now,
                               const char **warning, apr_pool_t *p, gh_result_t *result);

#endif /* mod_ocsp_ocsp_signer_h */
