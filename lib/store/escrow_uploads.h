/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_escrow_uploads_h
#define gatehouse_store_escrow_uploads_h

#include "store/store.h"

/* The last upload of credentials for each pair of device and user, with its receipt. */

typedef struct {
    const char *id;                 /* gh_ordered_id() */
    const char *device;
    const char *user;
    gh_bytes_t digest;              /* of what was uploaded: by it a repetition is known */
    const char *provider;           /* thumbprint or name of who has uploaded it */
    apr_time_t created;
    apr_time_t expires;             /* when the last of it is removed */
    const char *receipt;            /* JSON */
} gh_escrow_upload_record_t;

/** Puts the upload of a pair in the place of the one before. */
apr_status_t gh_escrow_upload_put(gh_transaction_t *transaction,
                                  const gh_escrow_upload_record_t *record);

/** @return APR_NOTFOUND */
apr_status_t gh_escrow_upload_find(gh_transaction_t *transaction, const char *id,
                                   gh_escrow_upload_record_t **record, apr_pool_t *p);
apr_status_t gh_escrow_upload_of_pair(gh_transaction_t *transaction, const char *device,
                                      const char *user, gh_escrow_upload_record_t **record,
                                      apr_pool_t *p);

/** Harmless if there is none. */
apr_status_t gh_escrow_upload_remove_pair(gh_transaction_t *transaction, const char *device,
                                          const char *user);

/** Removes those that have expired. @param count how many there were, at most limit */
apr_status_t gh_escrow_upload_purge(gh_transaction_t *transaction, apr_time_t now, int limit,
                                    apr_int64_t *count);

#endif /* gatehouse_store_escrow_uploads_h */
