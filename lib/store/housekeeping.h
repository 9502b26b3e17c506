/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_housekeeping_h
#define gatehouse_store_housekeeping_h

#include "store/store.h"

struct gh_audit_event;

/* Leases, sealed keys, settings and audit rows. */

/**
 * Takes or renews a lease, by the database's clock.
 * @param holder names the process
 * @return APR_SUCCESS if holder has it for the interval from now; GH_EREFUSED if somebody else does
 */
apr_status_t gh_lease_take(gh_transaction_t *transaction, const char *name, const char *holder,
                           apr_interval_time_t interval);

/** Gives a lease back. Harmless if holder does not have it. */
apr_status_t gh_lease_release(gh_transaction_t *transaction, const char *name, const char *holder);

/** Gives back all of a holder that is known to be dead. */
apr_status_t gh_lease_release_all(gh_transaction_t *transaction, const char *holder);

/** A key that Gatehouse made and renews itself, sealed by seal.h, with its certificate. */
typedef struct {
    const char *id;                 /* 32 hex digits */
    const char *purpose;            /* "scep-ra" */
    const char *issuer;
    apr_int64_t generation;         /* from 1; unique with purpose and issuer */
    gh_bytes_t sealed;
    gh_bytes_t certificate;         /* DER */
    apr_time_t not_before;
    apr_time_t not_after;
} gh_sealed_key_record_t;

/** @return GH_ECONFLICT if another process stored that generation meanwhile */
apr_status_t gh_sealed_key_insert(gh_transaction_t *transaction,
                                  const gh_sealed_key_record_t *record);

/** All generations, newest first; an empty array if there is none. */
apr_status_t gh_sealed_key_list(gh_transaction_t *transaction, const char *purpose,
                                const char *issuer, apr_array_header_t **records, apr_pool_t *p);

/** Such a key whose certificate another CA has been asked for. */
typedef struct {
    const char *enrolment;          /* by which it was asked for */
    const char *purpose;
    const char *issuer;             /* one with each purpose at a time */
    apr_int64_t generation;
    gh_bytes_t sealed;
} gh_key_request_record_t;

/** @return GH_ECONFLICT if there is one with this purpose and issuer */
apr_status_t gh_key_request_insert(gh_transaction_t *transaction,
                                   const gh_key_request_record_t *record);

/** @return APR_NOTFOUND */
apr_status_t gh_key_request_find(gh_transaction_t *transaction, const char *purpose,
                                 const char *issuer, gh_key_request_record_t **record,
                                 apr_pool_t *p);

/** The one of an enrolment. @return APR_NOTFOUND */
apr_status_t gh_key_request_of(gh_transaction_t *transaction, const char *enrolment,
                               gh_key_request_record_t **record, apr_pool_t *p);

/** Removes the one of an enrolment, if there is one. */
apr_status_t gh_key_request_remove(gh_transaction_t *transaction, const char *enrolment);

/** @return APR_NOTFOUND */
apr_status_t gh_setting_get(gh_transaction_t *transaction, const char *name, const char **value,
                            apr_pool_t *p);
apr_status_t gh_setting_put(gh_transaction_t *transaction, const char *name, const char *value);
/** Those whose names begin so, in an order. @param after name; NULL: from the first one on
 *  @param names const char *, at most limit @param values of them */
apr_status_t gh_setting_list(gh_transaction_t *transaction, const char *beginning,
                             const char *after, int limit, apr_array_header_t **names,
                             apr_array_header_t **values, apr_pool_t *p);
/** Harmless if there is none. */
apr_status_t gh_setting_remove(gh_transaction_t *transaction, const char *name);

/**
 * Adds a decision that changed state, in the transaction that changes it.
 * @param line   gh_audit_line() of the event
 * @param logged 0 if nobody writes it to the audit log (gatehousectl): a server process will
 */
apr_status_t gh_audit_insert(gh_transaction_t *transaction, const struct gh_audit_event *event,
                             const char *line, int logged);

/** Claims lines that are not in the audit log yet and marks them as logged.
 *  @param lines const char * elements, oldest first, at most limit */
apr_status_t gh_audit_take_unlogged(gh_transaction_t *transaction, int limit,
                                    apr_array_header_t **lines, apr_pool_t *p);

/** @return in *count the lines that gh_audit_take_unlogged() would find: cheap, for polling */
apr_status_t gh_audit_count_unlogged(gh_transaction_t *transaction, apr_int64_t *count);

#endif /* gatehouse_store_housekeeping_h */
