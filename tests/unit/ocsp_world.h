/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_ocsp_world_h
#define tests_unit_ocsp_world_h

#include <openssl/ocsp.h>

#include "mod_ocsp/ocsp_engine.h"
#include "x509_support.h"

/* CAs with status indexes and signers for the tests of OCSP, requests as OpenSSL's clients make
 * them, and answers as they read them. Everything lives in test_pool. */

typedef struct {
    const char *name;
    EVP_PKEY *key;
    X509 *certificate;
    unsigned char digest[32];       /* of the index */
    gh_view_t *view;
    gh_overlay_t *overlay;
    gh_overlay_progress_t progress;
    apr_int64_t generation;
    ocsp_authority_t *authority;
} world_ca_t;

/** Basic constraints, five years; no view, signers or authority yet. @param key of the fixtures */
world_ca_t *world_ca(const char *name, const char *key);

/** How an OCSP signer's certificate is made; zeros: as it has to be, for 30 days. */
typedef struct {
    const char *eku;                /* "-": none */
    const char *usage;              /* "-": none */
    int without_nocheck;
    apr_time_t not_before;
    apr_time_t not_after;
} world_signer_t;

X509 *world_signer(const world_ca_t *ca, EVP_PKEY *key, const world_signer_t *how);

/** An authority with the default policy (basic, 1 hour) or another one, and a P-256 and an RSA-2048
 *  signer. */
void world_authority(world_ca_t *ca, const ocsp_policy_t *policy);
ocsp_policy_t world_policy(void);

/** Signers of certificate and key; NULL ends. */
ocsp_signers_t *world_signers(const world_ca_t *ca, X509 *certificate, EVP_PKEY *key, ...);

/** Builds an index and takes it up. @param info times and complete are used */
void world_index(world_ca_t *ca, const gh_index_info_t *info,
                 const gh_known_certificate_t *certificates, int count);
/** An index of a store that knows serials 1 (good), 2 (revoked for keyCompromise, an hour ago), 3
 *  (held) and 1000 more good ones from 10000 on, synchronised now. */
void world_index_default(world_ca_t *ca);
/** What happens to a certificate afterwards. Its version is the next change. */
void world_change(world_ca_t *ca, gh_bytes_t serial, gh_known_state_t state, int reason);
void world_synced(world_ca_t *ca, apr_time_t time);

/** A serial number of a few bytes. */
gh_bytes_t world_serial(apr_uint64_t number);

/** A request. */
typedef struct {
    const EVP_MD *digest;           /* NULL: SHA-1 */
    const unsigned char *nonce;
    int nonce_length;               /* 0: no nonce */
    OCSP_REQUEST *request;
} world_request_t;

world_request_t world_asking(void);
void world_ask(world_request_t *asking, const world_ca_t *ca, gh_bytes_t serial);
void world_ask_extension(world_request_t *asking, const char *oid, int critical, const char *hex);
/** DER, in test_pool; frees the request. */
gh_bytes_t world_asked(world_request_t *asking);
/** For one serial. */
gh_bytes_t world_request(const world_ca_t *ca, const EVP_MD *digest, gh_bytes_t serial,
                         const char *nonce);

/** An endpoint for the authorities of some CAs; NULL ends. */
ocsp_endpoint_t *world_endpoint(world_ca_t *ca, ...);

/** Reads a successful answer and verifies its signature by the certificate that it carries, or by
 *  the CA. */
OCSP_BASICRESP *world_read(gh_bytes_t der, const world_ca_t *ca);
/** @param flags of OCSP_basic_verify(); OpenSSL does not take answers about several CAs without
 *               OCSP_NOCHECKS */
OCSP_BASICRESP *world_read_with(gh_bytes_t der, const world_ca_t *ca, unsigned long flags);

/** What is said of a certificate. */
typedef struct {
    int status;
    int reason;
    apr_time_t revoked_at;
    apr_time_t this_update;
    apr_time_t next_update;
    apr_time_t cutoff;
    apr_time_t invalid_from;
} world_single_t;

world_single_t world_single(OCSP_BASICRESP *basic, int index);
apr_time_t world_time(const ASN1_GENERALIZEDTIME *time);

#endif /* tests_unit_ocsp_world_h */
