/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_store_escrow_credentials_h
#define gatehouse_store_escrow_credentials_h

#include "store/store.h"

/* Credentials of users for their devices: certificates with keys that the vault has sealed. The
 * pair of device and user is what belongs together. */

typedef enum {
    GH_ESCROW_SIGNING = 1,
    GH_ESCROW_ENCRYPTION = 2,
    GH_ESCROW_ARCHIVED = 3          /* to read old mail with */
} gh_escrow_purpose_t;

#define GH_ESCROW_PURPOSES 3

typedef struct {
    const char *id;                 /* gh_ordered_id() */
    const char *device;             /* UUID, lower case */
    const char *user;               /* UUID, lower case */
    gh_escrow_purpose_t purpose;
    int position;                   /* their order; has gaps where some have gone */
    gh_bytes_t sha256;              /* of the certificate's DER */
    gh_bytes_t serial;              /* as gh_serial_parse() gives it */
    const char *subject;            /* RFC 4514 */
    const char *email;              /* or NULL */
    apr_time_t not_before;
    apr_time_t not_after;
    gh_bytes_t certificate;         /* DER */
    gh_bytes_t chain;               /* DER of certificates one behind another; or none */
    const char *key_id;             /* these three are a gh_vaulted_t */
    gh_bytes_t wrapped;
    gh_bytes_t sealed;
    const char *origin;             /* "upload" or "provider" */
    const char *enrolment;          /* by which it was issued; or NULL */
    apr_time_t created;
    apr_time_t expires;             /* from then on it is not there any more */
    int consume;                    /* 1: removed once a profile with it was delivered */
} gh_escrow_credential_record_t;

/** "signing", "encryption", "archived"; NULL for another number */
const char *gh_escrow_purpose_name(int purpose);

/** @return 0 for an unknown name */
int gh_escrow_purpose_parse(const char *name);

/** Lets transactions that change what a user has take turns, on all nodes, up to their end. To be
 *  the first statement of each of them. */
apr_status_t gh_escrow_take_turn(gh_transaction_t *transaction, const char *user);

/** @return GH_ECONFLICT if there is one at that position */
apr_status_t gh_escrow_credential_insert(gh_transaction_t *transaction,
                                         const gh_escrow_credential_record_t *record);

/* Whatever reads credentials leaves out those that have expired, by the store's clock: they are
 * removed later. */

/** Those of a pair, by purpose and position, with all columns. @param purpose 0: all
 *  @param records gh_escrow_credential_record_t *; empty if there is none */
apr_status_t gh_escrow_credential_pair(gh_transaction_t *transaction, const char *device,
                                       const char *user, int purpose,
                                       apr_array_header_t **records, apr_pool_t *p);

/** The same without certificate, chain, wrapped and sealed: what may be told. */
apr_status_t gh_escrow_credential_describe(gh_transaction_t *transaction, const char *device,
                                           const char *user, apr_array_header_t **records,
                                           apr_pool_t *p);

/** Those of a user for one purpose, whatever the device, the one that was stored last first. */
apr_status_t gh_escrow_credential_of_user(gh_transaction_t *transaction, const char *user,
                                          gh_escrow_purpose_t purpose, int limit,
                                          apr_array_header_t **records, apr_pool_t *p);

/** How many a pair has of each purpose. @param counts by purpose, from GH_ESCROW_SIGNING */
apr_status_t gh_escrow_credential_count(gh_transaction_t *transaction, const char *device,
                                        const char *user, int counts[GH_ESCROW_PURPOSES + 1]);

/** Harmless if it is not there. */
apr_status_t gh_escrow_credential_remove(gh_transaction_t *transaction, const char *id);

/** @param count how many there were */
apr_status_t gh_escrow_credential_remove_pair(gh_transaction_t *transaction, const char *device,
                                              const char *user, apr_int64_t *count);

/** Removes those of a pair that have expired: their positions are free then. */
apr_status_t gh_escrow_credential_purge_pair(gh_transaction_t *transaction, const char *device,
                                             const char *user);

/** Has archived ones of a pair last as long as its newest credential at least. */
apr_status_t gh_escrow_credential_extend(gh_transaction_t *transaction, const char *device,
                                         const char *user);

/**
 * Removes those of a pair that are to go once they were delivered, of the purposes that a profile
 * has used; unless another profile of the pair, completing or still waiting for others, has yet to
 * be made of them.
 * @param needs   of the profile (escrow/needs.h)
 * @param profile its id
 * @param stored  of those only that were stored until then
 */
apr_status_t gh_escrow_credential_consume(gh_transaction_t *transaction, const char *device,
                                          const char *user, const char *needs,
                                          const char *profile, apr_time_t stored);

/** Removes those that have expired. @param count how many there were, at most limit */
apr_status_t gh_escrow_credential_purge(gh_transaction_t *transaction, apr_time_t now, int limit,
                                        apr_int64_t *count);

#endif /* gatehouse_store_escrow_credentials_h */
