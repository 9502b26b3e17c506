/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_ledger_private_h
#define gatehouse_issuer_ledger_private_h

#include "issuer/ledger.h"

/* What the files of the ledger share. */

/** Of the event of a certificate that is not handed out yet. */
#define GH_LEDGER_CONFIRMING "issued; handed out once that is confirmed"

struct gh_ledger {
    gh_store_t *store;
    apr_hash_t *issuers;
    const char *node;
    const char *holder;             /* this process, in claims */
    const gh_log_t *log;
};

/** What is written when an authorisation has become a certificate. */
typedef struct {
    gh_certificate_record_t certificate;
    gh_audit_event_t *event;
    const char *line;               /* of the event */
} gh_issue_t;

/** What a request's row is found by. */
apr_status_t gh_ledger_key(gh_bytes_t *key, const gh_enrolment_request_t *request, apr_pool_t *p,
                           gh_result_t *result);

/** Whether a row no longer answers for its key: decided a day ago, or its certificate has ended. */
int gh_ledger_is_over(const gh_enrolment_record_t *record, apr_time_t not_after, apr_time_t now);

/** Lets the issuer make the certificate and prepares what the store is to be told.
 *  @param x509 owned by p */
apr_status_t gh_ledger_make(gh_ledger_t *ledger, const gh_authorisation_t *authorisation,
                            const char *enrolment, gh_audit_event_t *event, gh_issue_t *issue,
                            X509 **x509, apr_pool_t *p, gh_result_t *result);

/** What the store is told of a certificate, but for issuer, profile, subject, alternative names,
 *  enrolment and key, which are set. */
apr_status_t gh_ledger_fill_certificate(gh_certificate_record_t *record, X509 *x509, apr_pool_t *p,
                                        gh_result_t *result);

/** Begins the event of something that happens to an enrolment after its request. */
void gh_ledger_fill_event(gh_audit_event_t *event, const char *node,
                          const gh_enrolment_record_t *record, apr_pool_t *p);

/** What a stored request is sealed for. */
const char *gh_ledger_seal_context(const char *enrolment, apr_pool_t *p);

/** Opens a stored request. @return as gh_submission_read() */
apr_status_t gh_ledger_open_request(gh_bytes_t *request, const char *enrolment, gh_bytes_t stored,
                                    const gh_sealer_t *sealer, apr_pool_t *p, gh_result_t *result);

/* question_keep.c */

/** A question as a row keeps it, with what the permission leads to. */
typedef struct {
    gh_question_t question;
    int approval;                   /* an operator decides then */
    apr_interval_time_t patience;   /* how long a worker tries then, with a CA elsewhere */
} gh_kept_question_t;

apr_status_t gh_ledger_keep_question(const char **text, const gh_kept_question_t *kept,
                                     apr_pool_t *p, gh_result_t *result);
/** @return APR_EINVAL with result if there is none, or it cannot be read */
apr_status_t gh_ledger_take_question(gh_kept_question_t *kept, const gh_enrolment_record_t *record,
                                     apr_pool_t *p, gh_result_t *result);

/** Adds the job that asks, within a transaction. */
apr_status_t gh_ledger_ask(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                           apr_time_t now, apr_pool_t *p);

/** @return 1 if what is issued for a row must not be handed out before that was confirmed: then its
 *  state is GH_ENROLMENT_CONFIRMING, and gh_ledger_confirm() adds the job */
int gh_ledger_confirms(const gh_enrolment_record_t *record, apr_pool_t *p);
apr_status_t gh_ledger_confirm(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                               apr_time_t now, apr_pool_t *p);

/** Adds the job that tells that nothing comes of a permission, if that is to be told.
 *  @param record as it was, with its request */
apr_status_t gh_ledger_tell_failed(gh_transaction_t *transaction,
                                   const gh_enrolment_record_t *record, apr_time_t now,
                                   apr_pool_t *p);

/** Revokes what was issued for a row and is not to be handed out. */
apr_status_t gh_ledger_withdraw(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                                apr_time_t now, apr_pool_t *p);

/** Adds the job that hands an enrolment over to a worker, within a transaction. */
apr_status_t gh_ledger_submit(gh_transaction_t *transaction, const gh_enrolment_record_t *record,
                              apr_interval_time_t patience, apr_time_t now);

/** Stores certificate and audit row, within a transaction. */
apr_status_t gh_ledger_store_issue(gh_transaction_t *transaction, const gh_issue_t *issue);

/** Reads the certificate of a row that was issued into the outcome. */
apr_status_t gh_ledger_read_certificate(gh_transaction_t *transaction,
                                        const gh_enrolment_record_t *record,
                                        gh_enrolment_outcome_t *outcome, apr_time_t *not_after,
                                        apr_pool_t *p);

#endif /* gatehouse_issuer_ledger_private_h */
