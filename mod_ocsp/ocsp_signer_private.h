/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_signer_private_h
#define mod_ocsp_ocsp_signer_private_h

#include <apr_thread_mutex.h>

#include "mod_ocsp/ocsp_signer.h"

/* What ocsp_signer.c, which has the sets, shares with ocsp_signers.c, which makes them. */

struct ocsp_signers_sources;

struct ocsp_signers {
    const char *authority;          /* for messages */
    X509 *ca;
    apr_thread_mutex_t *mutex;      /* held for moments: guards current */
    ocsp_signer_set_t *current;     /* NULL: none yet */
    struct ocsp_signers_sources *sources;   /* of ocsp_signers.c; NULL with ocsp_signers_fixed() */
};

/** Signers of one time and who uses them; in a pool of its own, which ends with the last user. */
struct ocsp_signer_set {
    apr_array_header_t *signers;    /* ocsp_signer_t */
    volatile apr_uint32_t users;
    apr_pool_t *pool;
};

/** An object without signers. A cleanup of p lets go of its set. @return NULL without a mutex */
ocsp_signers_t *ocsp_signers_make(const char *authority, X509 *ca, apr_pool_t *p);

/**
 * Makes a set. Certificates are copied, keys shared by reference count, so that their owner may let
 * them go. Checks nothing but that a key can sign with its digest; see ocsp_signer_check().
 * @param signers ocsp_signer_t elements in the order of preference, filled as for
 *                ocsp_signers_fixed(); suspect may be given where it is to outlive the set
 * @param set     has one user: the caller, who gives it to ocsp_signers_replace() or to
 *                ocsp_signers_release()
 * @return APR_EINVAL with result for a key that cannot sign; APR_ENOMEM
 */
apr_status_t ocsp_signer_set_make(ocsp_signer_set_t **set, X509 *ca,
                                  const apr_array_header_t *signers, gh_result_t *result);

/** Takes over a set (NULL: there is none now); the old one ends with its last user. Thread-safe. */
void ocsp_signers_replace(ocsp_signers_t *signers, ocsp_signer_set_t *set);

#endif /* mod_ocsp_ocsp_signer_private_h */
