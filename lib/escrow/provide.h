/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_provide_h
#define gatehouse_escrow_provide_h

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/evp.h>

#include "audit.h"
#include "escrow/vault.h"
#include "issuer/ledger.h"
#include "store/escrow_events.h"
#include "store/store.h"

/*
 * The provider of credentials that is built in: from an enrolment event of the UEM to keys and
 * certificates in escrow.
 *
 *   httpd   event --> row with a job                              gh_provide_want()
 *   worker  keys and requests for what the user lacks --> row     gh_provide_keys()
 *   httpd   enrols each through the ledger, and stores key and    gh_provide_enrol()
 *           certificate once all have come of it
 *
 * Each step is one transaction, so that any process may die between two of them: what was made is
 * used by the next, and nothing is made twice. Of a user one event at a time is worked on, and what
 * he has by then is not made again: so he has one key for encryption, on all his devices.
 */

/** The job that has keys made: its id is that of the event, its subject the user. */
#define GH_PROVIDE_KIND     "escrow.keys"
#define GH_PROVIDE_QUEUE    "escrow:keys"

/** What credentials are noted with that were made here. */
#define GH_PROVIDE_ORIGIN   "provider"

/** Whose certificate is whose: part of what an event is told by. */
typedef struct {
    const char *event;              /* the EventId that it is for */
    const char *issuer;
    const char *signing;            /* profile; NULL: no such key is made */
    const char *encryption;         /* the same */
    int signing_per_device;         /* 1: each device has its own; 0: a user has one */
    int bits;                       /* of RSA keys */
    const char *subject;            /* of the certificates, RFC 4514 */
} gh_provide_rule_t;

/** As the row of an event keeps it: JSON, in p. */
const char *gh_provide_rule_text(const gh_provide_rule_t *rule, apr_pool_t *p);
/** @return GH_ECORRUPT with result */
apr_status_t gh_provide_rule_read(gh_provide_rule_t *rule, const char *text, apr_pool_t *p,
                                  gh_result_t *result);

/**
 * Notes an event: row, job and audit row. Of one that has come before, the row is returned as it
 * is, unless it has failed, or its device has not what it asks for any more: then it begins anew.
 * @param record filled but for id, state and times; set to the row
 * @param event  written if a row was added or begins anew, then *added is 1
 * @return errors of gh_store_write()
 */
apr_status_t gh_provide_want(gh_store_t *store, gh_escrow_event_record_t **record,
                             gh_audit_event_t *event, int *added, apr_pool_t *p,
                             gh_result_t *result);

/* For the worker */

/** Which keys an event lacks. */
typedef struct {
    int bits;
    int signing;                    /* 1: one has to be made */
    int encryption;
} gh_provide_lack_t;

/** @return APR_NOTFOUND if no keys are wanted any more; GH_ECORRUPT with result */
apr_status_t gh_provide_lacks(gh_store_t *store, const char *id, gh_provide_lack_t *lack,
                              apr_pool_t *p, gh_result_t *result);

/**
 * Stores keys with requests for their certificates, in one transaction with the end of the job.
 * @param signing, encryption NULL: was not made
 * @return GH_EBUSY if another event of the user is not over, or more is lacking than was made by
 *         now: to be tried again soon
 */
apr_status_t gh_provide_keys(gh_store_t *store, const gh_vault_t *vault, const char *id,
                             const char *holder, EVP_PKEY *signing, EVP_PKEY *encryption,
                             apr_pool_t *p, gh_result_t *result);

/* For httpd */

/** What is needed to enrol. */
typedef struct {
    gh_store_t *store;
    gh_ledger_t *ledger;
    const gh_sealer_t *sealer;      /* or NULL */
    OSSL_LIB_CTX *decoding;
    apr_hash_t *profiles;           /* gh_profile_t * by name */
    const char *node;
} gh_provide_services_t;

/** What has come of one key. */
typedef struct {
    const gh_escrow_event_key_record_t *key;
    gh_enrolment_state_t state;     /* issued, rejected; something else: not over */
    const char *enrolment;          /* or NULL: was refused before it became one */
    const char *message;            /* of a rejection */
    gh_bytes_t certificate;         /* DER, when issued */
} gh_provide_outcome_t;

/** Those that wait for certificates. @param records gh_escrow_event_record_t * */
apr_status_t gh_provide_open(gh_store_t *store, int limit, apr_array_header_t **records,
                             apr_pool_t *p, gh_result_t *result);

/**
 * Enrols for the keys of an event, or looks for what has become of that. Several processes may do
 * it at the same time.
 * @param outcomes gh_provide_outcome_t elements, one for each key
 * @param events   gh_audit_event_t *: to be written to the audit log
 * @param over     0 while something is not known yet
 * @return APR_NOTFOUND if the event is over; errors of gh_ledger_enrol() that go by
 */
apr_status_t gh_provide_enrol(const gh_provide_services_t *services,
                              const gh_escrow_event_record_t *record,
                              apr_array_header_t **outcomes, apr_array_header_t *events, int *over,
                              apr_pool_t *p, gh_result_t *result);

/** The key of an outcome, from the vault: PKCS#8 DER in locked memory. */
apr_status_t gh_provide_open_key(gh_bytes_t *key, const gh_vault_t *vault, const char *event,
                                 const gh_escrow_event_key_record_t *record, apr_pool_t *p,
                                 gh_result_t *result);

/** Which credentials of the user an event's device lacks, once its keys have their certificates. */
typedef struct {
    const char *holder[3];          /* by gh_escrow_purpose_t: a device that has a credential that
                                       this one is to have, too; NULL: none, or it has one */
    apr_array_header_t *others[3];  /* const char *: other devices that have one that was made here
                                       and that is the user's */
} gh_provide_spread_t;

apr_status_t gh_provide_spread(gh_store_t *store, const gh_escrow_event_record_t *record,
                               const gh_provide_rule_t *rule, gh_provide_spread_t *spread,
                               apr_pool_t *p, gh_result_t *result);

/**
 * Ends an event: its keys go, with an audit row.
 * @param reason NULL: all is in escrow; else why it is not
 * @param event  to be written to the audit log
 * @return APR_NOTFOUND if it is over
 */
apr_status_t gh_provide_over(gh_store_t *store, const gh_escrow_event_record_t *record,
                             const char *reason, gh_audit_event_t *event, apr_pool_t *p,
                             gh_result_t *result);

/** Whether what an event has asked for is still to be provided. */
typedef int gh_provide_permits_fn(void *baton, const gh_provide_rule_t *rule, const char *email);

/** How far a process has come with what has to be renewed; of zeros at first. */
typedef struct {
    apr_time_t not_after;           /* of the credential that was looked at last, and its id */
    char id[33];
    int more;                       /* there may be others behind it: call again soon */
} gh_provide_place_t;

/**
 * Adds events for what has to be renewed, of users of whom none is open; of each credential once a
 * day. Looks at some behind those that were looked at before, so that nobody waits behind
 * credentials that may not be renewed.
 * @param holder names the process: of all one at a time does this
 * @param added  how many
 */
apr_status_t gh_provide_renew(gh_store_t *store, gh_provide_permits_fn *permits, void *baton,
                              gh_provide_place_t *place, const char *holder, const char *node,
                              int *added, apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_escrow_provide_h */
