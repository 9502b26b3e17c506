/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_own_keys_h
#define gatehouse_issuer_own_keys_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "audit.h"
#include "issuer/issuer.h"
#include "issuer/ledger.h"
#include "result.h"
#include "store/housekeeping.h"
#include "store/store.h"
#include "x509/profile.h"
#include "x509/seal.h"

/*
 * Keys that Gatehouse makes, certifies and renews itself: of RAs, of OCSP signers. They lie sealed
 * in the store, one generation after another, so that all processes and nodes have the same.
 * Nothing is kept here between two calls, so that each may be made by any thread.
 */

/** Rule of the result that says that a CA elsewhere has been asked: nothing is wrong. */
#define GH_RULE_OWN_ASKED "own.asked"

/** Which keys. What it points to is borrowed. */
typedef struct {
    const char *purpose;            /* "scep-ra", "ocsp-signer-P-256": names them in the store */
    const char *kind;               /* gh_key_generate() */
    const char *subject;            /* of their certificates, RFC 4514 */
    gh_issuer_t *issuer;
    const gh_profile_t *profile;
} gh_own_keys_t;

/** What a process has for that. */
typedef struct {
    gh_store_t *store;
    gh_ledger_t *ledger;
    const gh_sealer_t *sealer;
    const char *node;
    void (*audit)(const gh_audit_event_t *event, apr_pool_t *p);    /* may be NULL */
} gh_own_services_t;

/** What is remembered of attempts to make a generation; zero to begin with. */
typedef struct {
    int failed;                     /* the last one did */
    apr_time_t again_at;            /* not before that as long as there is a usable one */
} gh_own_attempt_t;

/** A generation as the store has it. */
typedef struct {
    const gh_sealed_key_record_t *record;
    int withdrawn;      /* its certificate is revoked or held; 0 if it has expired */
    int usable;         /* it has not expired and is not withdrawn; its time may not have come */
} gh_generation_t;

/**
 * All generations.
 * @param generations set to gh_generation_t elements in p, newest first; NULL with a failure
 * @param now         decides what has expired
 * @return errors of gh_store_read()
 */
apr_status_t gh_generations_list(apr_array_header_t **generations, gh_store_t *store,
                                 const char *purpose, const char *issuer, apr_time_t now,
                                 apr_pool_t *p, gh_result_t *result);

const gh_generation_t *gh_generation_at(const apr_array_header_t *generations, int i);

/** The numbers of those that are usable, apr_int64_t elements in p, newest first. */
const apr_array_header_t *gh_generations_usable(const apr_array_header_t *generations,
                                                apr_pool_t *p);

/** When its successor is to be made: after two thirds of its life. */
apr_time_t gh_generation_renewal(const gh_sealed_key_record_t *record);

/** The private key of a generation. @param der in p, overwritten by its cleanup
 *  @return errors of gh_unseal() */
apr_status_t gh_generation_unseal(gh_bytes_t *der, const gh_sealed_key_record_t *record,
                                  const gh_sealer_t *sealer, apr_pool_t *p, gh_result_t *result);

/** Key and certificate of a generation, ready for use by several threads.
 *  @return errors of gh_unseal(); GH_ECORRUPT if they do not belong together */
apr_status_t gh_generation_open(EVP_PKEY **key, X509 **certificate,
                                const gh_sealed_key_record_t *record, const gh_sealer_t *sealer,
                                apr_pool_t *p, gh_result_t *result);

/**
 * The generations of now, of which the newest may have been made here: the first, the next one
 * after two thirds of the newest one's life, and at once if that is revoked or held, or if the time
 * of none has come. A lease in the store lets one process of all nodes make it. Waits for nobody.
 * @param generations as gh_generations_list() sets it; there also if nothing is usable
 * @param attempt     the caller's, for these keys; used by one thread at a time
 * @param now         of this process's clock
 * @param result      also says why no next one could be made, if attempt->failed
 * @return APR_SUCCESS if one is usable; GH_EPENDING if none is: without result, another process is
 *         making one, with result, a CA elsewhere has been asked for its certificate; GH_EREFUSED
 *         if that has refused; errors of gh_store_read(), gh_ledger_issue_own()
 */
apr_status_t gh_own_keys_provide(apr_array_header_t **generations, const gh_own_keys_t *keys,
                                 const gh_own_services_t *services, gh_own_attempt_t *attempt,
                                 apr_time_t now, apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_issuer_own_keys_h */
