/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_deliveries_h
#define gatehouse_store_deliveries_h

#include "store/store.h"

/*
 * What a UEM is to get: a row for each completed profile and each notice. Its id is what the UEM
 * knows it by (Idempotency-Key), so that what comes twice has one effect. That it is done is a job
 * (store/jobs.h); the row stays when that is gone, and tells what became of it.
 */

typedef enum {
    GH_DELIVERY_OPEN = 1,
    GH_DELIVERY_DELIVERED = 2,
    GH_DELIVERY_FAILED = 3,
    GH_DELIVERY_CANCELLED = 4
} gh_delivery_state_t;

#define GH_DELIVERY_PROFILE "profile"       /* kinds */
#define GH_DELIVERY_AVAILABLE "available"

typedef struct {
    const char *id;                 /* gh_ordered_id() */
    const char *profile;            /* id of the profile, or of the upload of a notice */
    const char *kind;
    const char *uem;
    gh_delivery_state_t state;
    int attempts;                   /* calls that were begun */
    int status;                     /* of HTTP, of the last answer; 0: there was none */
    const char *number;             /* of the last failure, "GH1135"; or NULL */
    const char *message;
    apr_time_t created;
    apr_time_t updated;
} gh_delivery_record_t;

/** As it is made: id, profile, kind, uem and created count. @return GH_ECONFLICT if it is there */
apr_status_t gh_delivery_insert(gh_transaction_t *transaction,
                                const gh_delivery_record_t *record);

/** @return APR_NOTFOUND */
apr_status_t gh_delivery_find(gh_transaction_t *transaction, const char *id,
                              gh_delivery_record_t **record, apr_pool_t *p);

/** Of a profile or an upload, newest first, at most limit. @param records gh_delivery_record_t * */
apr_status_t gh_delivery_list(gh_transaction_t *transaction, const char *profile, int limit,
                              apr_array_header_t **records, apr_pool_t *p);

/**
 * Notes how a call went, of one that is open; harmless for another.
 * @param attempts how many were begun
 * @param status of HTTP; 0: none
 * @param why    the failure; NULL: none
 */
apr_status_t gh_delivery_note(gh_transaction_t *transaction, const char *id,
                              gh_delivery_state_t state, int attempts, int status,
                              const gh_result_t *why, apr_time_t now);

/** Ends what is open of a profile: it was replaced or cancelled. */
apr_status_t gh_delivery_cancel(gh_transaction_t *transaction, const char *profile,
                                apr_time_t now);

/** Removes what is over of a profile, but for the newest. */
apr_status_t gh_delivery_trim(gh_transaction_t *transaction, const char *profile, int keep);

#endif /* gatehouse_store_deliveries_h */
