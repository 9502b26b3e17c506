/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_submission_h
#define gatehouse_issuer_submission_h

#include <apr_pools.h>
#include <openssl/x509.h>

#include "audit.h"
#include "issuer/issuer.h"
#include "store/enrolments.h"
#include "store/jobs.h"
#include "store/store.h"
#include "x509/plan.h"
#include "x509/seal.h"

/*
 * An enrolment that another CA carries out (DESIGN 5), from the worker's side. The row was
 * committed as "submitted", with a job of kind "enrol" and the same id. Whatever comes of it ends
 * here, in one transaction with the end of the job.
 */

/** Kind of the jobs. */
#define GH_SUBMISSION_KIND "enrol"

typedef struct {
    gh_enrolment_record_t *record;
    gh_plan_t *plan;                /* what was authorised */
    gh_bytes_t request;             /* PKCS#10 DER as the client sent it, unsealed. Its signature
                                       covers its challenge, so that is in it: a secret, which is
                                       overwritten with the pool */
} gh_submission_t;

/**
 * @param sealer the one that httpd seals with; NULL: none is configured
 * @return APR_NOTFOUND if there is no such row, or it is over; APR_EACCES, APR_EINVAL with result
 *         if what is stored cannot be read: then nothing can come of it
 */
apr_status_t gh_submission_read(gh_submission_t **submission, gh_store_t *store,
                                const gh_sealer_t *sealer, const char *id, apr_pool_t *p,
                                gh_result_t *result);

/**
 * Whether a certificate is the one that was asked for: for the same key, signed by the issuer's
 * certificate, valid now, an end entity's, with no key usage, extended key usage, application
 * policy, alternative name or security identifier that was not authorised (none at all, where
 * that permits any, is more), and of the authorised subject unless the issuer lets the CA choose
 * it. How long it is valid is left to the CA.
 * @return GH_EREFUSED (failure INTEGRITY) naming what differs
 */
apr_status_t gh_submission_check(const gh_submission_t *submission, gh_issuer_t *issuer,
                                 X509 *certificate, gh_result_t *result);

/** The same for a certificate whose key the CA has made. */
apr_status_t gh_submission_check_made(const gh_plan_t *plan, gh_issuer_t *issuer, EVP_PKEY *key,
                                      X509 *certificate, gh_result_t *result);

/**
 * Stores a certificate that gh_submission_check() has passed: certificate, row, audit row and end
 * of the job in one transaction. Its change is seen by OCSP like any other. If the certificate that
 * it renews was revoked or held meanwhile, it is stored as revoked, the row is "rejected" and the
 * event's result "refused".
 * @param event empty, or with what the worker adds; filled
 * @return APR_NOTFOUND if the holder has lost the job; GH_ECONFLICT if the CA has given the serial
 *         number before; errors of gh_store_write()
 */
apr_status_t gh_submission_issued(const gh_submission_t *submission, gh_store_t *store,
                                  const char *holder, const char *node, X509 *certificate,
                                  gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result);

/**
 * The CA has said no, for good.
 * @param reason for the client and the operator: the CA's own words, cut and cleaned
 */
apr_status_t gh_submission_rejected(const gh_submission_t *submission, gh_store_t *store,
                                    const char *holder, const char *node, const char *reason,
                                    const gh_result_t *why, gh_audit_event_t *event, apr_pool_t *p,
                                    gh_result_t *result);

/** Nobody can tell what has become of it: row and job stay for an operator. */
apr_status_t gh_submission_doubt(const gh_submission_t *submission, gh_store_t *store,
                                 const char *holder, const char *node, const gh_result_t *why,
                                 gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result);

/** Tried again later; the row's state says so. Arguments as gh_job_again(). */
apr_status_t gh_submission_again(const gh_submission_t *submission, gh_store_t *store,
                                 const char *holder, apr_time_t due, int unknown,
                                 const char *reference, const gh_result_t *why, apr_pool_t *p,
                                 gh_result_t *result);

/* For operators. Both return APR_NOTFOUND, GH_EREFUSED if the row is not submitted, retry, in-doubt
 * or confirming, GH_EBUSY while a worker is at it; result says which. */

/** Has one carried out again at once, as if it had never been sent: whoever does that for one in
 *  doubt has looked at the CA. */
apr_status_t gh_submission_retry(gh_store_t *store, const char *id, const char *actor,
                                 gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result);

/** Gives one up: rejected, and revoked if it was confirming. @param reason for the requester; NULL:
 * an operator did it */
apr_status_t gh_submission_cancel(gh_store_t *store, const char *id, const char *actor,
                                  const char *reason, gh_audit_event_t *event, apr_pool_t *p,
                                  gh_result_t *result);

#endif /* gatehouse_issuer_submission_h */
