/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_mdm_key_h
#define gatehouse_issuer_mdm_key_h

#include <apr_pools.h>
#include <openssl/evp.h>

#include "audit.h"
#include "issuer/ledger.h"
#include "store/mdm_requests.h"
#include "store/store.h"
#include "x509/seal.h"

/*
 * Keys that the server makes for devices. A worker makes the key and a request for it, since that
 * takes long; httpd enrols with the request as a device would, and hands key and certificate out
 * as PKCS#12. In between the key lies sealed in the row of mdm_requests.h, and it is erased once it
 * was handed out.
 */

/** The job that has a key made: its id is that of the row. */
#define GH_MDM_KEY_KIND     "mdm.key"
#define GH_MDM_KEY_QUEUE    "mdm:keys"
/** Member of the worker's configuration. */
#define GH_MDM_KEY_SECTION  "mdm"

/**
 * Notes that somebody wants a key: row, job and audit row. Of a transaction that the requester has
 * begun before, the row is returned as it is.
 * @param record filled but for id; set to the row
 * @param event  of the request; written if a row was added, then *added is 1
 * @return errors of gh_store_write(); GH_EREFUSED (failure CONFLICT) if the transaction was begun
 *         for another subject or digital ID
 */
apr_status_t gh_mdm_key_want(gh_store_t *store, gh_mdm_request_record_t **record,
                             gh_audit_event_t *event, int *added, apr_pool_t *p,
                             gh_result_t *result);

/* For the worker */

/**
 * Stores a key with a request for its certificate, in one transaction with the end of the job.
 * @param done set to 0 if another worker has done it, or nobody wants it any more
 */
apr_status_t gh_mdm_key_store(gh_store_t *store, const gh_sealer_t *sealer, const char *id,
                              const char *holder, EVP_PKEY *key, int *done, apr_pool_t *p,
                              gh_result_t *result);

/** How long the key of a row has to be. @return APR_NOTFOUND if none is wanted */
apr_status_t gh_mdm_key_size(gh_store_t *store, const char *id, int *bits, apr_pool_t *p,
                             gh_result_t *result);

/* For httpd */

/** What is needed to enrol. */
typedef struct {
    gh_store_t *store;
    gh_ledger_t *ledger;
    const gh_sealer_t *sealer;
    OSSL_LIB_CTX *decoding;
    const gh_profile_t *profile;
    const char *issuer;
    const char *location;
    const char *client;
    const char *user;
    const char *request_id;
    gh_profile_context_t context;
} gh_mdm_key_services_t;

/**
 * Enrols for the key of a row that has one, or looks for what has become of that.
 * @param event begun by the caller, who writes it if result is set in it
 * @return errors of gh_authorise() and gh_ledger_enrol()
 */
apr_status_t gh_mdm_key_enrol(const gh_mdm_key_services_t *services,
                              const gh_mdm_request_record_t *record, gh_audit_event_t *event,
                              gh_enrolment_outcome_t *outcome, apr_pool_t *p,
                              gh_result_t *result);

/**
 * Key and certificate as PKCS#12.
 * @param issuer of the certificate
 * @return GH_ECORRUPT, APR_EACCES, APR_EGENERAL with result
 */
apr_status_t gh_mdm_key_pkcs12(gh_bytes_t *pkcs12, const gh_mdm_request_record_t *record,
                               const gh_sealer_t *sealer, gh_issuer_t *issuer,
                               gh_bytes_t certificate, const char *password, apr_pool_t *p,
                               gh_result_t *result);

#endif /* gatehouse_issuer_mdm_key_h */
