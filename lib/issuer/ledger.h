/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_ledger_h
#define gatehouse_issuer_ledger_h

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_time.h>

#include "audit.h"
#include "issuer/authorisation.h"
#include "issuer/issuer.h"
#include "log.h"
#include "store/certificates.h"
#include "store/enrolments.h"
#include "store/store.h"

/*
 * The ledger: one enrolment, whatever the protocol (DESIGN 5). Refused requests never become rows.
 * A row's key is (protocol, tenant, issuer, profile, transaction, signer); who repeats a request
 * gets the same certificate again, who guesses a transaction gets nothing and blocks nothing.
 */

typedef struct gh_ledger gh_ledger_t;

/** How long the same request gets the same certificate again. */
#define GH_LEDGER_REPEAT apr_time_from_sec(24 * 3600)

/** Where an enrolment stands. */
typedef struct {
    gh_enrolment_state_t state;
    const char *id;
    const char *message;            /* reason of a denial or rejection */
    gh_bytes_t certificate;         /* DER, when issued */
    gh_bytes_t serial;
    int repeated;                   /* 1: the row was there before this request */
    const char *queue;              /* of the job that a worker has to do for it; NULL: none */
} gh_enrolment_outcome_t;

/**
 * Call it in the process that will use it.
 * @param issuers gh_issuer_t * by name; @param node names this node in audit events
 */
gh_ledger_t *gh_ledger_create(gh_store_t *store, apr_hash_t *issuers, const char *node,
                              const gh_log_t *log, apr_pool_t *p);

/**
 * Looks for what became of the same request: to be asked before it is authorised, as a one-time
 * challenge is used up by the first.
 * @return APR_SUCCESS with the outcome of the row; APR_NOTFOUND if it is new, or its row
 *         is over and was 24 hours ago;
 *         GH_EREFUSED (failure CONFLICT) if another request stands under the same key;
 *         GH_EUNAVAILABLE
 */
apr_status_t gh_ledger_repeat(gh_ledger_t *ledger, const gh_enrolment_request_t *request,
                              gh_enrolment_outcome_t *outcome, apr_pool_t *p,
                              gh_result_t *result);

/**
 * Enrols: with an issuer that signs here, row, certificate, used challenge and audit row are one
 * transaction, durable when this returns. With one that a worker talks to, row and job are, as
 * they are if somebody outside has to permit it first.
 *
 * @param event filled with subject, serial, rule and result; its row is written in the transaction
 * @return APR_SUCCESS (outcome issued, waiting or submitted); GH_EREFUSED (challenge used
 *         meanwhile, issuer refused); GH_EUNAVAILABLE, GH_EBUSY, GH_ESTOPPED
 */
apr_status_t gh_ledger_enrol(gh_ledger_t *ledger, const gh_authorisation_t *authorisation,
                             const gh_enrolment_request_t *request, gh_audit_event_t *event,
                             gh_enrolment_outcome_t *outcome, apr_pool_t *p,
                             gh_result_t *result);

/**
 * Where an enrolment stands, for a poll.
 * @return APR_NOTFOUND (failure NOT_FOUND) if there is no row under the key; GH_EUNAVAILABLE
 */
apr_status_t gh_ledger_poll(gh_ledger_t *ledger, const char *protocol, const char *tenant,
                            const char *issuer, const char *profile, const char *transaction,
                            gh_bytes_t signer_sha256, gh_enrolment_outcome_t *outcome,
                            apr_pool_t *p, gh_result_t *result);

/** Issues a certificate of our own and stores it, with its sealed key, as the given generation.
 *  @return GH_ECONFLICT if another process was faster: read its key instead */
apr_status_t gh_ledger_issue_own(gh_ledger_t *ledger, const gh_authorisation_t *authorisation,
                                 const char *purpose, apr_int64_t generation,
                                 const char *sealed_id, gh_bytes_t sealed,
                                 gh_audit_event_t *event, X509 **certificate, apr_pool_t *p,
                                 gh_result_t *result);

/** Issues what operators have approved, and what was permitted by somebody outside.
 *  @param events set to gh_audit_event_t * elements to be written
 *  @return APR_SUCCESS also if there was nothing to do */
apr_status_t gh_ledger_issue_approved(gh_ledger_t *ledger, apr_array_header_t **events,
                                      apr_pool_t *p, gh_result_t *result);

/** Issues one of them at once, unless another process does: for whoever waits for it.
 *  @param event set to one to be written, or NULL
 *  @return APR_SUCCESS also if there was nothing to do */
apr_status_t gh_ledger_issue_one(gh_ledger_t *ledger, const char *id, gh_audit_event_t **event,
                                 apr_pool_t *p, gh_result_t *result);

/** Approves or denies a waiting enrolment. Needs no issuer key: a server process issues.
 *  @return APR_NOTFOUND; GH_EREFUSED if it is not waiting */
apr_status_t gh_ledger_decide(gh_store_t *store, const char *id, int approve, const char *actor,
                              const char *reason, gh_audit_event_t *event, apr_pool_t *p,
                              gh_result_t *result);

/**
 * Changes the status of a certificate. The CRL follows by itself, see publisher.h.
 * @param status GH_STATUS_REVOKED, GH_STATUS_HELD or GH_STATUS_GOOD (release)
 * @param reason CRLReason or GH_REASON_NONE; certificateHold (6) and removeFromCRL (8) are refused
 *        for a revocation, cACompromise (2) and aACompromise (10) for every certificate
 * @return APR_NOTFOUND, GH_EREFUSED with result naming the state it is in
 */
apr_status_t gh_revocation_set(gh_store_t *store, const char *issuer, gh_bytes_t serial,
                               gh_status_t status, int reason, apr_time_t invalid_from,
                               gh_audit_event_t *event, int logged, apr_pool_t *p,
                               gh_result_t *result);

#endif /* gatehouse_issuer_ledger_h */
