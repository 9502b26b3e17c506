/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_mdm_requests_h
#define gatehouse_store_mdm_requests_h

#include "store/store.h"

/* What device management has asked for: a challenge for a device, or a key with its certificate.
 * The row stays with the certificate, so that it is known whose that is. */

typedef struct {
    const char *id;                 /* of the challenge, or gh_ordered_id(): also that of the job */
    const char *mode;               /* "scep" or "p12" */
    const char *tenant;
    const char *digital_id;         /* name of the configuration */
    const char *requester;          /* who asked, as httpd has authenticated him */
    const char *device;             /* what the requester calls user or device; NULL: not said */
    const char *subject;            /* RFC 4514: of the certificate */
    const char *sans;               /* gh_san_normal(); NULL: none */
    const char *transaction;        /* by which the requester knows it; NULL: not said */
    apr_time_t created;
    apr_time_t expires;             /* of the challenge; until when a key may be fetched */
    const char *enrolment;          /* id; NULL: nobody has enrolled yet */
    int key_size;                   /* of "p12": bits of RSA; else 0 */
    gh_bytes_t request;             /* PKCS#10 for that key; data NULL: not made yet */
    gh_bytes_t sealed;              /* the private key; data NULL: not made yet, or erased */
    apr_time_t fetched;             /* when the key was handed out, or began to be (as long as it is
                                       there); 0: not yet */
} gh_mdm_request_record_t;

/** @return GH_ECONFLICT if id, or transaction of this tenant and requester, exist */
apr_status_t gh_mdm_request_insert(gh_transaction_t *transaction,
                                   const gh_mdm_request_record_t *record);

/** @return APR_NOTFOUND; both fill the whole record, in p */
apr_status_t gh_mdm_request_find(gh_transaction_t *transaction, const char *id,
                                 gh_mdm_request_record_t **record, apr_pool_t *p);
apr_status_t gh_mdm_request_find_transaction(gh_transaction_t *transaction, const char *tenant,
                                             const char *requester, const char *id,
                                             gh_mdm_request_record_t **record, apr_pool_t *p);

/** Notes by which enrolment it became a certificate. @return GH_EREFUSED if it has one, or is not
 *  there */
apr_status_t gh_mdm_request_bind(gh_transaction_t *transaction, const char *id,
                                 const char *enrolment);

/** Stores the key that was made. @param key_sha256 of its SubjectPublicKeyInfo
 *  @return APR_NOTFOUND if there is no row that waits for one */
apr_status_t gh_mdm_request_set_key(gh_transaction_t *transaction, const char *id,
                                    gh_bytes_t key_sha256, gh_bytes_t request,
                                    gh_bytes_t sealed);

/** Whether a key was made here for device management, which so has it.
 *  @param key_sha256 of its SubjectPublicKeyInfo */
apr_status_t gh_mdm_request_made(gh_transaction_t *transaction, gh_bytes_t key_sha256,
                                 int *made);

/** Begins to hand the key out: nobody else may, until it was erased or released, or the one who has
 *  begun is surely dead. @return GH_EBUSY if somebody has; APR_NOTFOUND if there is no key */
apr_status_t gh_mdm_request_claim(gh_transaction_t *transaction, const char *id);

/** It did not arrive. */
apr_status_t gh_mdm_request_release(gh_transaction_t *transaction, const char *id);

/** Erases the private key: it was handed out. Harmless if there is none. */
apr_status_t gh_mdm_request_erase(gh_transaction_t *transaction, const char *id, apr_time_t now);

/** How it was asked for, and for which device, in p. @param device NULL: not said
 *  @return APR_NOTFOUND if the enrolment is none of device management */
apr_status_t gh_mdm_request_of_enrolment(gh_transaction_t *transaction, const char *enrolment,
                                         const char **mode, const char **device, apr_pool_t *p);

/** Those of a tenant for a device, or for a subject, newest first, without request and sealed.
 *  @param device, subject one of them is NULL
 *  @param records gh_mdm_request_record_t *, at most limit */
apr_status_t gh_mdm_request_list(gh_transaction_t *transaction, const char *tenant,
                                 const char *device, const char *subject, int limit,
                                 apr_array_header_t **records, apr_pool_t *p);

/** Removes what expired before a time and never became a certificate, and erases keys that nobody
 *  has fetched by then. */
apr_status_t gh_mdm_request_purge(gh_transaction_t *transaction, apr_time_t before,
                                  apr_time_t keys_before);

#endif /* gatehouse_store_mdm_requests_h */
