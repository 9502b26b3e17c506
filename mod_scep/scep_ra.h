/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_ra_h
#define mod_scep_scep_ra_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "audit.h"
#include "issuer/issuer.h"
#include "issuer/ledger.h"
#include "issuer/publisher.h"
#include "log.h"
#include "mod_scep/scep_message.h"
#include "result.h"
#include "store/store.h"
#include "x509/csr.h"
#include "x509/profile.h"
#include "x509/seal.h"

/*
 * The registration authority of an issuer: keys of our own, apart from the CA's, that sign replies
 * and open requests. They lie sealed in the store, so that all processes and nodes have the same.
 */

typedef struct scep_ra scep_ra_t;

/** What a process has that the engine and the RAs work with. */
typedef struct {
    gh_store_t *store;
    gh_ledger_t *ledger;
    gh_publisher_t *publisher;      /* may be NULL: GetCRL is not answered then */
    const gh_sealer_t *sealer;
    OSSL_LIB_CTX *decoding;         /* in which messages are parsed; NULL: the default */
    const char *node;
    const gh_log_t *log;            /* for work without a request */
    void (*audit)(const gh_audit_event_t *event, apr_pool_t *p);    /* may be NULL */
} scep_services_t;

struct scep_ra_set;

/** The keys of an RA at one time; immutable, and parsed once. */
typedef struct {
    struct scep_ra_set *set;                /* what they live in; NULL if that is the caller's */
    const apr_array_header_t *recipients;   /* scep_recipient_t: those that were valid and not
                                               revoked when they were read, newest first */
    const apr_array_header_t *generations;  /* apr_int64_t: what the store had then; NULL if keys
                                               were made without one */
    apr_time_t first_end;                   /* earliest notAfter among them */
    const scep_recipient_t *current;        /* is announced first */
    apr_int64_t generation;                 /* of current */
    apr_time_t not_after;                   /* of current: it does nothing afterwards */
    apr_time_t renew_at;                    /* after two thirds of the life of the newest */
    gh_bytes_t ca_certificates;             /* answer to GetCACert */
    gh_bytes_t issuer_certificate;          /* DER */
    const apr_array_header_t *chain;        /* gh_bytes_t: above the issuer, in order, root last */
    const apr_array_header_t *authorities;  /* X509 *: the issuer and the chain */
    gh_bytes_t decoy;                       /* a request of our own, to be parsed or verified where
                                               a client's could not be: equal work, whatever
                                               failed */
    gh_csr_t *parsed_decoy;
} scep_ra_keys_t;

/**
 * @param profile for which gh_profile_fits_ra() holds
 */
scep_ra_t *scep_ra_create(gh_issuer_t *issuer, const gh_profile_t *profile,
                          const scep_services_t *services, apr_pool_t *p);

/**
 * The keys of now. They are made on first use by any process of any node. After two thirds of their
 * certificate's life the next generation is made, again by whoever is first, and at once when the
 * newest certificate is revoked or held: such keys neither sign nor decrypt. The store is asked
 * every second what others have made or revoked. While that fails, the keys there are do as long as
 * their certificate is valid, and not longer. Thread-safe.
 * @param keys to be given back by scep_ra_release()
 * @return GH_EUNAVAILABLE; GH_EREFUSED if no RA certificate can be had
 */
apr_status_t scep_ra_acquire(scep_ra_t *ra, const scep_ra_keys_t **keys, gh_result_t *result);

/**
 * Keys for a message that is encrypted to none of those in hand: another process may have made the
 * next generation a moment ago. The store is asked at once, at most ten times a second.
 * Thread-safe.
 * @param keys from scep_ra_acquire(); given back if there are others, which take their place
 * @return 1 if there are others
 */
int scep_ra_renew(scep_ra_t *ra, const scep_ra_keys_t **keys);

/** @param keys may be NULL; nothing of them may be used any more */
void scep_ra_release(const scep_ra_keys_t *keys);

/** The keys that may decrypt now: recipients without those that have expired since. */
const apr_array_header_t *scep_ra_recipients(const scep_ra_keys_t *keys, apr_pool_t *p);

/** Keys from what was made elsewhere, without a store.
 *  @param recipients scep_recipient_t elements, newest first; they must not have expired
 *  @param decoding as in scep_services_t */
apr_status_t scep_ra_keys_make(scep_ra_keys_t **keys, gh_issuer_t *issuer,
                               const apr_array_header_t *recipients, OSSL_LIB_CTX *decoding,
                               apr_pool_t *p, gh_result_t *result);

#endif /* mod_scep_scep_ra_h */
