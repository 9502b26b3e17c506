/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_signers_h
#define mod_ocsp_ocsp_signers_h

#include "issuer/issuer.h"
#include "issuer/ledger.h"
#include "log.h"
#include "mod_ocsp/ocsp_signer.h"
#include "x509/profile.h"
#include "x509/seal.h"

/* Where signers come from: what OCSPSigner says, made into the sets of ocsp_signer.h. */

/** An OCSPSigner directive. */
typedef struct {
    enum {
        OCSP_SIGNER_AUTO,           /* enrolled from the issuer, sealed in the store, renewed */
        OCSP_SIGNER_FILES           /* certificate and key: PEM, PKCS#12, "pkcs11:" */
    } source;
    const char *kind;               /* auto: "P-256" or "RSA-2048" (gh_key_generate()) */
    const gh_profile_t *profile;    /* auto */
    const char *certificate;        /* files: paths and gh_key_open() forms */
    const char *key;
    const char *passphrase;
} ocsp_signer_config_t;

/** What a child has. */
typedef struct {
    gh_store_t *store;              /* NULL while it is not open: files and tokens only */
    gh_ledger_t *ledger;
    const gh_sealer_t *sealer;      /* NULL if there is no sealing key */
    const char *node;
    const gh_log_t *log;            /* gets what begins to fail and what works again, once */
    void (*audit)(const gh_audit_event_t *event, apr_pool_t *p);    /* may be NULL */
    void (*turn_begin)(void);       /* around the opening of a token; may be NULL */
    void (*turn_end)(void);
} ocsp_signer_services_t;

/**
 * While the configuration is read.
 * @param ca      the authority's certificate
 * @param issuer  NULL unless the authority is an <Issuer>; needed for auto
 * @param configs ocsp_signer_config_t elements, in the order of preference
 * @param p       of the configuration: what the processes of a server share lives as long
 * @return NULL without memory
 */
ocsp_signers_t *ocsp_signers_create(const char *authority, X509 *ca, gh_issuer_t *issuer,
                                    const apr_array_header_t *configs, apr_pool_t *p);

/** In the parent, as root: opens certificates and key files, checks each signer, and makes the
 *  first set of those. Tokens and what is enrolled wait for ocsp_signers_follow().
 *  @param warnings const char * elements are added in p: what to tell the administrator
 *  @return APR_EINVAL, APR_EACCES or the operating system's error, with result */
apr_status_t ocsp_signers_load(ocsp_signers_t *signers, apr_time_t now,
                               apr_array_header_t *warnings, apr_pool_t *p, gh_result_t *result);

/**
 * In a child, by one thread at a time, about every 200 ms: opens what each process opens for itself
 * (and again what has failed), takes up generations that others have made, makes the next one when
 * two thirds of a certificate's life are over or it was revoked (a lease lets one process of all
 * nodes do it), and swaps sets: a new certificate signs from its activation on, the old one until
 * then and while the new one cannot be had. Costs one small read a second for each kind of key that
 * is enrolled, and nothing else when there is nothing to do.
 * @param result what fails now, on each call; services->log gets it once
 * @return APR_SUCCESS if there is a valid signer and nothing fails; GH_EUNAVAILABLE, GH_EREFUSED (a
 *         token has refused the PIN) and others
 */
apr_status_t ocsp_signers_follow(ocsp_signers_t *signers, const ocsp_signer_services_t *services,
                                 apr_time_t now, apr_pool_t *ptemp, gh_result_t *result);

/** In a child, before it ends: lets go of all signers, since keys on a token must not outlive what
 *  OpenSSL serves them with. ocsp_signers_follow() would open them again. */
void ocsp_signers_close(ocsp_signers_t *signers);

/** Names of the keys that are enrolled, in the store. @return in p */
const char *ocsp_signer_purpose(const char *kind, apr_pool_t *p);

#endif /* mod_ocsp_ocsp_signers_h */
