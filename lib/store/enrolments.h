/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_enrolments_h
#define gatehouse_store_enrolments_h

#include "store/store.h"

/* Rows of the ledger. issuer/ledger.h has the rules; here is only what is stored. */

typedef enum {
    GH_ENROLMENT_WAITING = 1,       /* awaiting approval */
    GH_ENROLMENT_APPROVED = 2,      /* approved, not issued yet */
    GH_ENROLMENT_DENIED = 3,
    GH_ENROLMENT_SUBMITTED = 4,     /* with a slow CA */
    GH_ENROLMENT_ISSUED = 5,
    GH_ENROLMENT_REJECTED = 6,      /* the CA said no */
    GH_ENROLMENT_RETRY = 7,
    GH_ENROLMENT_IN_DOUBT = 8,
    GH_ENROLMENT_CONFIRMING = 9     /* issued, and not to be handed out yet: issuer/question.h */
} gh_enrolment_state_t;

typedef struct gh_enrolment_record gh_enrolment_record_t;

struct gh_enrolment_record {
    const char *id;                 /* gh_ordered_id() */
    gh_bytes_t key;                 /* SHA-256 over protocol, tenant, issuer, profile, transaction
                                       and signer; data NULL once the row was retired */
    gh_enrolment_state_t state;
    const char *protocol;
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *transaction;
    gh_bytes_t signer_sha256;       /* of the SubjectPublicKeyInfo that signed the request */
    const char *subject;            /* RFC 4514 */
    gh_bytes_t request_sha256;      /* of the CertificationRequestInfo */
    gh_bytes_t request;             /* PKCS#10 DER, for a CA that is asked later, sealed if that is
                                       configured, since it holds the challenge; otherwise empty,
                                       and erased once the enrolment is over */
    const char *question;           /* whom to ask first, see issuer/question.h; NULL: nobody */
    gh_bytes_t plan;                /* gh_plan_encode(): what will be issued; empty once it was */
    const char *location;           /* path of the endpoint that authorised it */
    const char *client;
    const char *user;
    const char *rule;               /* which authoriser granted it, or which rule rejected it */
    const char *message;            /* reason of a rejection, for the client and the operator */
    const char *decided_by;         /* operator who approved or denied */
    gh_bytes_t serial;              /* of the certificate, once issued */
    apr_time_t created;
    apr_time_t updated;
};

/** "waiting", "approved", "denied", "submitted", "issued", "rejected", "retry", "in-doubt",
 *  "confirming" */
const char *gh_enrolment_state_name(gh_enrolment_state_t state);

/** @return APR_EINVAL for an unknown name */
apr_status_t gh_enrolment_state_parse(gh_enrolment_state_t *state, const char *name);

/** @return GH_ECONFLICT if the key exists */
apr_status_t gh_enrolment_insert(gh_transaction_t *transaction,
                                 const gh_enrolment_record_t *record);

/** Adds a row unless its key exists, which does not fail the transaction. @return APR_EEXIST */
apr_status_t gh_enrolment_insert_new(gh_transaction_t *transaction,
                                     const gh_enrolment_record_t *record);

/** @return APR_NOTFOUND; both find functions fill the whole record, in p */
apr_status_t gh_enrolment_find(gh_transaction_t *transaction, const char *id,
                               gh_enrolment_record_t **record, apr_pool_t *p);
apr_status_t gh_enrolment_find_key(gh_transaction_t *transaction, gh_bytes_t key,
                                   gh_enrolment_record_t **record, apr_pool_t *p);

/**
 * Moves a row on, only from the state that the caller saw.
 * @param decided_by, message NULL keeps what is there
 * @param serial      of the certificate, data NULL keeps what is there
 * @return APR_NOTFOUND if no row with that id is in that state
 */
apr_status_t gh_enrolment_move(gh_transaction_t *transaction, const char *id,
                               gh_enrolment_state_t from, gh_enrolment_state_t to,
                               const char *decided_by, const char *message, gh_bytes_t serial,
                               apr_time_t now);

/** Takes the key off a row, so that the same transaction may begin anew. */
apr_status_t gh_enrolment_retire(gh_transaction_t *transaction, const char *id, apr_time_t now);

/** Lists without request and plan, newest first. @param state 0 for all; @param limit 0: 1000 */
apr_status_t gh_enrolment_list(gh_transaction_t *transaction, int state, int limit,
                               apr_array_header_t **records, apr_pool_t *p);

/**
 * Claims approved rows for this process, so that only one issues them; a claim lapses after the
 * interval. @param records full records, at most limit
 */
apr_status_t gh_enrolment_claim_approved(gh_transaction_t *transaction, const char *holder,
                                         apr_interval_time_t interval, int limit,
                                         apr_array_header_t **records, apr_pool_t *p);

/** Claims one of them. @return APR_NOTFOUND if it is not approved, or claimed by another */
apr_status_t gh_enrolment_claim_one(gh_transaction_t *transaction, const char *id,
                                    const char *holder, apr_interval_time_t interval,
                                    gh_enrolment_record_t **record, apr_pool_t *p);

/** @return in *count how many approved rows have no live claim: cheap, for polling */
apr_status_t gh_enrolment_count_approved(gh_transaction_t *transaction, apr_int64_t *count);

#endif /* gatehouse_store_enrolments_h */
