/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_escrow_profiles_h
#define gatehouse_store_escrow_profiles_h

#include "store/store.h"

/*
 * Skeletons of profiles, and what becomes of them:
 *
 * waiting -> completing -> queued -> delivered | failed
 *    |-> expired          any of them but the last three -> cancelled
 *
 * Credentials that change make a profile completing again, with the next generation: what was made
 * of the one before is not to be sent any more.
 */

typedef enum {
    GH_ESCROW_WAITING = 1,          /* for credentials */
    GH_ESCROW_COMPLETING = 2,       /* all is there; a job makes the document */
    GH_ESCROW_QUEUED = 3,           /* the document is made; a job delivers it */
    GH_ESCROW_DELIVERED = 4,
    GH_ESCROW_FAILED = 5,
    GH_ESCROW_EXPIRED = 6,
    GH_ESCROW_CANCELLED = 7
} gh_escrow_state_t;

#define GH_ESCROW_STATES 7

typedef struct {
    const char *id;                 /* gh_ordered_id() */
    const char *profile;            /* UUID, lower case; one row with each device and user */
    const char *device;
    const char *user;
    const char *format;             /* "mobileconfig", "json", "xml", "text" */
    const char *needs;              /* escrow/needs.h */
    gh_bytes_t skeleton;
    gh_bytes_t recipient;           /* certificate, DER */
    int sign;
    const char *labels;             /* JSON object of strings; or NULL */
    const char *uem;                /* name of the <UEM> it goes to; or NULL */
    const char *provider;           /* thumbprint or name of who has sent it */
    gh_escrow_state_t state;
    const char *reason;             /* of a failure; or NULL */
    apr_int64_t generation;         /* from 1 */
    gh_bytes_t completed;           /* encrypted to the device; data NULL: not made */
    const char *delivery;           /* id of its delivery; or NULL */
    const char *history;            /* see gh_escrow_history_next() */
    const char *key_id;             /* by which the vault has sealed what is above; or NULL */
    gh_bytes_t wrapped;
    gh_bytes_t sealed;              /* escrow/sealed_profile.h */
    apr_time_t created;
    apr_time_t updated;
    apr_time_t expires;             /* one that waits still */
} gh_escrow_profile_record_t;

/** "waiting", ...; NULL for another number */
const char *gh_escrow_state_name(int state);

/** @return 0 for an unknown name */
int gh_escrow_state_parse(const char *name);

/** Adds one whose state is WAITING or COMPLETING. @return GH_ECONFLICT if there is one of that
 *  profile, device and user */
apr_status_t gh_escrow_profile_insert(gh_transaction_t *transaction,
                                      const gh_escrow_profile_record_t *record);

/** Puts another skeleton in the place of the one with that id: all that a client sends, state,
 *  generation, updated and expires count. @return APR_NOTFOUND */
apr_status_t gh_escrow_profile_replace(gh_transaction_t *transaction,
                                       const gh_escrow_profile_record_t *record);

/** @return APR_NOTFOUND; both fill the whole record, in p */
apr_status_t gh_escrow_profile_find(gh_transaction_t *transaction, const char *id,
                                    gh_escrow_profile_record_t **record, apr_pool_t *p);
apr_status_t gh_escrow_profile_of(gh_transaction_t *transaction, const char *profile,
                                  const char *device, const char *user,
                                  gh_escrow_profile_record_t **record, apr_pool_t *p);

/** Those of a pair, without skeleton, recipient and completed, the oldest first. */
apr_status_t gh_escrow_profile_pair(gh_transaction_t *transaction, const char *device,
                                    const char *user, apr_array_header_t **records,
                                    apr_pool_t *p);

/** Takes the row for this transaction: on PostgreSQL another one that would change it waits.
 *  @return APR_NOTFOUND */
apr_status_t gh_escrow_profile_lock(gh_transaction_t *transaction, const char *id);

/**
 * Moves one on, if it is in that state and generation still.
 * @param reason NULL: none
 * @return APR_NOTFOUND if it is not: then nothing may be done for that generation any more
 */
apr_status_t gh_escrow_profile_move(gh_transaction_t *transaction, const char *id,
                                    apr_int64_t generation, gh_escrow_state_t from,
                                    gh_escrow_state_t to, const char *reason, apr_time_t now);

/** Stores the document that was made of one that is completing, which becomes queued.
 *  @param delivery id @return APR_NOTFOUND as above */
apr_status_t gh_escrow_profile_queue(gh_transaction_t *transaction, const char *id,
                                     apr_int64_t generation, gh_bytes_t completed,
                                     const char *delivery, apr_time_t now);

/** Makes it completing, with the next generation and no document, from whatever state.
 *  @param generation the new one. @return APR_NOTFOUND if there is no such row */
apr_status_t gh_escrow_profile_begin(gh_transaction_t *transaction, const char *id,
                                     apr_int64_t *generation, apr_time_t now);

/** Makes it waiting, with the next generation and no document. @return APR_NOTFOUND */
apr_status_t gh_escrow_profile_wait(gh_transaction_t *transaction, const char *id,
                                    apr_time_t expires, apr_time_t now);

/** Ends one that is not over. @return APR_NOTFOUND if there is none that can be cancelled */
apr_status_t gh_escrow_profile_cancel(gh_transaction_t *transaction, const char *id,
                                      apr_time_t now);

/** What to list; members that are NULL or 0 do not restrict. */
typedef struct {
    const char *device;
    const char *user;
    int state;
    const char *after;              /* continue behind this id; newest first */
    int limit;                      /* 0: 1000 */
} gh_escrow_profile_filter_t;

/** Lists, newest first, without skeleton, recipient and completed. */
apr_status_t gh_escrow_profile_list(gh_transaction_t *transaction,
                                    const gh_escrow_profile_filter_t *filter,
                                    apr_array_header_t **records, apr_pool_t *p);

/** Makes those expired that have waited for too long. @param expired which, at most limit:
 *  gh_escrow_profile_record_t *, without skeleton, recipient and completed */
apr_status_t gh_escrow_profile_expire(gh_transaction_t *transaction, apr_time_t now, int limit,
                                      apr_array_header_t **expired, apr_pool_t *p);

/** Removes those that were cancelled, have expired or failed before a time, with their deliveries.
 *  @param count how many, at most limit */
apr_status_t gh_escrow_profile_purge(gh_transaction_t *transaction, apr_time_t before, int limit,
                                     apr_int64_t *count);

/** How many there are. @param states by gh_escrow_state_t */
typedef struct {
    apr_int64_t states[GH_ESCROW_STATES + 1];
    apr_int64_t credentials;
    apr_int64_t pairs;              /* with credentials that were uploaded */
} gh_escrow_counts_t;

apr_status_t gh_escrow_count(gh_transaction_t *transaction, gh_escrow_counts_t *counts);

/** One change of state of a history. */
typedef struct {
    apr_time_t time;
    int state;
    apr_int64_t generation;
} gh_escrow_change_t;

/** Reads a history, the oldest first; of a long one the beginning is lost.
 *  @param history moves on; begin with that of the record
 *  @return 0 at the end */
int gh_escrow_history_next(const char **history, gh_escrow_change_t *change);

/* The key of each device, so that another one is noticed. */

typedef struct {
    const char *device;
    gh_bytes_t spki_sha256;
    gh_bytes_t sha256;              /* of the certificate */
    apr_time_t bound;
    const char *bound_by;
} gh_escrow_recipient_record_t;

/** Binds a device to its key, unless it is bound. @return GH_EREFUSED if it is to another one */
apr_status_t gh_escrow_recipient_bind(gh_transaction_t *transaction,
                                      const gh_escrow_recipient_record_t *record);

/** @return APR_NOTFOUND */
apr_status_t gh_escrow_recipient_find(gh_transaction_t *transaction, const char *device,
                                      gh_escrow_recipient_record_t **record, apr_pool_t *p);

/** So that a device may come with another key. @return APR_NOTFOUND */
apr_status_t gh_escrow_recipient_remove(gh_transaction_t *transaction, const char *device);

#endif /* gatehouse_store_escrow_profiles_h */
