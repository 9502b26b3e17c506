/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_escrow_events_h
#define gatehouse_store_escrow_events_h

#include "store/escrow_credentials.h"
#include "store/store.h"

/*
 * Enrolment events of a UEM, for which keys are made and certificates enrolled here.
 * escrow/provide.h has the rules; here is only what is stored. Of one user at most one event is
 * enrolling at a time, which the store's index sees to: so a user never gets two keys for
 * encryption.
 */

typedef enum {
    GH_ESCROW_EVENT_KEYS = 1,       /* keys are wanted */
    GH_ESCROW_EVENT_ENROLLING = 2,
    GH_ESCROW_EVENT_DONE = 3,
    GH_ESCROW_EVENT_FAILED = 4
} gh_escrow_event_state_t;

typedef struct {
    const char *id;                 /* gh_ordered_id(): also that of the job */
    const char *key;                /* by which the same event is known again */
    const char *device;
    const char *user;
    const char *email;
    const char *rule;               /* gh_provide_rule_text() */
    const char *provider;           /* who has sent it, as httpd has authenticated him */
    gh_escrow_event_state_t state;
    const char *reason;             /* of a failure; or NULL */
    apr_time_t created;
    apr_time_t updated;
} gh_escrow_event_record_t;

/** A key that waits for its certificate. */
typedef struct {
    gh_escrow_purpose_t purpose;
    gh_bytes_t request;             /* PKCS#10 DER */
    const char *key_id;             /* these three: of the vault */
    gh_bytes_t wrapped;
    gh_bytes_t sealed;
    const char *enrolment;          /* NULL: not begun yet */
} gh_escrow_event_key_record_t;

/** @return GH_ECONFLICT if id or key exist */
apr_status_t gh_escrow_event_insert(gh_transaction_t *transaction,
                                    const gh_escrow_event_record_t *record);

/** @return APR_NOTFOUND; all find functions fill the whole record, in p */
apr_status_t gh_escrow_event_find(gh_transaction_t *transaction, const char *id,
                                  gh_escrow_event_record_t **record, apr_pool_t *p);
apr_status_t gh_escrow_event_find_key(gh_transaction_t *transaction, const char *key,
                                      gh_escrow_event_record_t **record, apr_pool_t *p);

/** The newest that is not a failure, of a device and user. @return APR_NOTFOUND */
apr_status_t gh_escrow_event_latest(gh_transaction_t *transaction, const char *device,
                                    const char *user, gh_escrow_event_record_t **record,
                                    apr_pool_t *p);

/**
 * Moves one on, from the state that the caller saw.
 * @return APR_NOTFOUND if it is not in that state; GH_ECONFLICT if it would be enrolling while
 *         another one of its user is
 */
apr_status_t gh_escrow_event_move(gh_transaction_t *transaction, const char *id,
                                  gh_escrow_event_state_t from, gh_escrow_event_state_t to,
                                  const char *reason, apr_time_t now);

/** Has one that is over begin anew, with the rule, address and sender of a record.
 *  @return APR_NOTFOUND if it is not over */
apr_status_t gh_escrow_event_restart(gh_transaction_t *transaction, const char *id,
                                     const gh_escrow_event_record_t *record);

/** Those that are enrolling, oldest first. @param records gh_escrow_event_record_t * */
apr_status_t gh_escrow_event_enrolling(gh_transaction_t *transaction, int limit,
                                       apr_array_header_t **records, apr_pool_t *p);

/** Newest first. @param state 0: all; @param limit 0: 1000 */
apr_status_t gh_escrow_event_list(gh_transaction_t *transaction, int state, int limit,
                                  apr_array_header_t **records, apr_pool_t *p);

/** Removes those that were over before a time. */
apr_status_t gh_escrow_event_purge(gh_transaction_t *transaction, apr_time_t before);

/* Keys of an event. */

apr_status_t gh_escrow_event_key_insert(gh_transaction_t *transaction, const char *event,
                                        const gh_escrow_event_key_record_t *record);

/** @param records gh_escrow_event_key_record_t *, signing before encryption; perhaps empty */
apr_status_t gh_escrow_event_keys(gh_transaction_t *transaction, const char *event,
                                  apr_array_header_t **records, apr_pool_t *p);

/** Notes by which enrolment one becomes a certificate. @return GH_EREFUSED if it has one, or is not
 *  there */
apr_status_t gh_escrow_event_key_bind(gh_transaction_t *transaction, const char *event,
                                      gh_escrow_purpose_t purpose, const char *enrolment);

/** Removes all keys of an event. */
apr_status_t gh_escrow_event_key_remove(gh_transaction_t *transaction, const char *event);

/* Which credentials there are. */

/**
 * Whether a user has a credential for a mail address that need not be renewed yet: more than a
 * fifth of its life, or 30 days, is left, and as far as it was issued here it is not revoked.
 * @param device NULL: on any device
 * @param holder set to the device of one, or to NULL
 */
apr_status_t gh_escrow_event_has(gh_transaction_t *transaction, const char *user,
                                 const char *device, gh_escrow_purpose_t purpose, const char *email,
                                 apr_time_t now, const char **holder, apr_pool_t *p);

/** A credential that was made here and has to be renewed. */
typedef struct {
    const char *id;
    const char *device;
    const char *user;
    gh_bytes_t sha256;
    apr_time_t not_after;
} gh_escrow_due_t;

/** Those of users for whom no event is open, soonest to expire first.
 *  @param after_end, after_id not_after and id of the one behind which to begin; 0 and "": of all
 *  @param due gh_escrow_due_t * */
apr_status_t gh_escrow_event_due(gh_transaction_t *transaction, apr_time_t now,
                                 apr_time_t after_end, const char *after_id, int limit,
                                 apr_array_header_t **due, apr_pool_t *p);

#endif /* gatehouse_store_escrow_events_h */
