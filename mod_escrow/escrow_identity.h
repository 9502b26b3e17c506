/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_identity_h
#define gatehouse_escrow_identity_h

#include "escrow_recipient.h"
#include "store/store.h"

/*
 * Whether a certificate is that of a device, as the configuration and the store say now. It is
 * asked when a skeleton comes, and again whenever its profile is completed: a certificate is
 * revoked meanwhile, a CA is trusted no longer, or somebody has changed the row.
 */

/** EscrowDeviceCA issuer=NAME: what this <Issuer> issues are identities of devices. */
typedef struct {
    const char *issuer;
    const apr_array_header_t *profiles; /* const char *; empty: any */
    int challenges;                     /* challenges=trusted: those who know challenges, too */
} escrow_device_issuer_t;

/** What is trusted. */
typedef struct {
    const escrow_device_cas_t *cas;     /* CAs of files; NULL: none */
    const apr_array_header_t *issuers;  /* escrow_device_issuer_t *; NULL: none */
    int insecure;                       /* EscrowRecipient first-use-insecure */
} escrow_trust_t;

typedef struct {
    const escrow_trust_t *trust;
    const escrow_recipient_t *recipient;
    const char *device;                 /* its UUID */
    apr_time_t now;
    int trusted;                        /* a CA of a file has issued it, and it names the device */
    gh_result_t untrusted;              /* why not */
    gh_result_t why;                    /* of a refusal of escrow_identity_check() */
} escrow_identity_t;

/** Does what takes time, so that a transaction need not. */
void escrow_identity_begin(escrow_identity_t *identity, const escrow_trust_t *trust,
                           const escrow_recipient_t *recipient, const char *device,
                           apr_time_t now, apr_pool_t *p);

/**
 * Looks at what the store has of the certificate and of its key.
 * - One that is revoked or held here, or whose key was made here for a management system, which has
 *   it, is refused whoever has issued it.
 * - One that was issued here counts if its <Issuer> is named for it, with its profile, and if
 *   nobody who only knew a challenge could have asked for it, unless that is said to be trusted;
 *   for one that was renewed that counts by which the first one was asked.
 * - Any other one counts if a CA of a file has issued it.
 * @return GH_EREFUSED with identity->why; errors of the store
 */
apr_status_t escrow_identity_check(gh_transaction_t *transaction, escrow_identity_t *identity,
                                   apr_pool_t *p);

#endif /* gatehouse_escrow_identity_h */
