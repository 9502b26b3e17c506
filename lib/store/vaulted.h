/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_vaulted_h
#define gatehouse_store_vaulted_h

#include "store/store.h"

/* All rows that the vault has sealed, whatever they are of: by the key that their data key is
 * wrapped under. */

/** Where such rows are. */
typedef enum {
    GH_VAULTED_CREDENTIAL = 0,      /* escrow_credential */
    GH_VAULTED_ENDPOINT,            /* escrow_endpoint */
    GH_VAULTED_EVENT_KEY,           /* escrow_event_key; the id is event and purpose */
    GH_VAULTED_PROFILE,             /* escrow_profile */
    GH_VAULTED_TABLES
} gh_vaulted_table_t;

/** One of them; its primary key, and what the vault has made. */
typedef struct {
    gh_vaulted_table_t table;
    const char *id;
    const char *key_id;
    gh_bytes_t wrapped;
    gh_bytes_t sealed;
    const char *identity;           /* that it has to be sealed for */
} gh_vaulted_row_t;

/** The names of keys that rows are wrapped under, const char * elements, each once. Cheap. */
apr_status_t gh_vaulted_keys(gh_transaction_t *transaction, apr_array_header_t **keys,
                             apr_pool_t *p);

/** How many rows are wrapped under a key. */
apr_status_t gh_vaulted_count(gh_transaction_t *transaction, const char *key_id,
                              apr_int64_t *count);

/** Rows of one table that are wrapped under a key, gh_vaulted_row_t elements by id, at most limit.
 *  @param after id of the last one seen; "" for the first ones */
apr_status_t gh_vaulted_list(gh_transaction_t *transaction, gh_vaulted_table_t table,
                             const char *key_id, const char *after, int limit,
                             apr_array_header_t **rows, apr_pool_t *p);

/** Wraps a row anew, if it is still as it was: else nothing is done, and that is no failure. */
apr_status_t gh_vaulted_rewrap(gh_transaction_t *transaction, const gh_vaulted_row_t *row,
                               const char *key_id, gh_bytes_t wrapped);

/** Removes a setting. Harmless if there is none. */
apr_status_t gh_vaulted_forget(gh_transaction_t *transaction, const char *setting);

/** The names of keys that the store has a check value for (settings with a prefix), sorted. */
apr_status_t gh_vaulted_settings(gh_transaction_t *transaction, const char *prefix,
                                 apr_array_header_t **names, apr_pool_t *p);

#endif /* gatehouse_store_vaulted_h */
