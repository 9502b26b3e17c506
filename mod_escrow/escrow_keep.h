/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_keep_h
#define gatehouse_escrow_keep_h

#include <apr_hash.h>
#include <apr_pools.h>

#include "audit.h"
#include "escrow/flow.h"
#include "escrow/vault.h"
#include "escrow_identity.h"
#include "escrow_skeleton.h"
#include "escrow_upload.h"
#include "store/escrow_credentials.h"
#include "store/escrow_profiles.h"
#include "store/escrow_uploads.h"

/* What is done with credentials and skeletons in the store, each in one transaction: with it the
 * profiles that become complete get the jobs by which they are delivered (escrow/flow.h). */

/** Archived credentials of one pair. */
#define ESCROW_ARCHIVED_MAX 200

/** How long a profile waits for credentials, unless it is said. */
#define ESCROW_PATIENCE     apr_time_from_sec(14 * 86400)

typedef struct {
    gh_store_t *store;
    const gh_vault_t *vault;
    apr_hash_t *lives;              /* apr_interval_time_t * by name of <UEM>; may be NULL */
    apr_interval_time_t patience;   /* how long what lacks credentials again waits; 0:
                                       ESCROW_PATIENCE */
} escrow_keep_t;

/* Uploads */

typedef enum {
    ESCROW_RETAIN_EXPIRY = 0,       /* until the certificate ends */
    ESCROW_RETAIN_DAYS,
    ESCROW_RETAIN_CONSUMPTION       /* until a profile with it was delivered */
} escrow_retention_t;

typedef struct {
    escrow_retention_t retention;
    apr_interval_time_t days;       /* of ESCROW_RETAIN_DAYS */
    int archive;                    /* encryption credentials that are replaced become archived */
    const char *provider;           /* who uploads */
    const char *origin;             /* "upload" or "provider" */
    const apr_array_header_t *available;    /* const char *: <UEM>s that are told; or NULL */
} escrow_upload_options_t;

typedef struct {
    const char *id;
    const char *receipt;            /* JSON */
    int repeated;                   /* it was stored before: nothing has changed */
    int completes;                  /* profiles that are complete with it */
} escrow_stored_t;

/**
 * Stores an opened upload, seals its keys, and moves the profiles on that it completes. Credentials
 * of a use that the upload names replace those there were; of other uses they stay.
 * @param event completed, stored with it, and to be written to the log by the caller unless
 *              stored->repeated
 * @return APR_SUCCESS when it is durable; GH_EREFUSED, errors of the vault and the store with
 *         result
 */
apr_status_t escrow_keep_upload(escrow_stored_t *stored, const escrow_keep_t *keep,
                                const escrow_upload_t *upload,
                                const escrow_upload_options_t *options, gh_audit_event_t *event,
                                apr_pool_t *p, gh_result_t *result);

/** Removes all credentials of a pair; profiles that were not delivered wait for others.
 *  @return APR_NOTFOUND with result if there are none */
apr_status_t escrow_keep_remove(const escrow_keep_t *keep, const char *device, const char *user,
                                apr_interval_time_t patience, gh_audit_event_t *event,
                                apr_pool_t *p, gh_result_t *result);

/* Profiles */

typedef struct {
    escrow_trust_t trust;           /* EscrowDeviceCA, EscrowRecipient */
    const char *uem;                /* where profiles go */
    const char *provider;           /* who sends it */
    apr_interval_time_t patience;   /* how long it waits for credentials */
} escrow_profile_options_t;

/**
 * Stores a skeleton, or puts it in the place of the one before with the same profile, device and
 * user; with all credentials there it is complete at once.
 * @param record what is stored, in p
 * @param missing const char * elements: what it waits for
 * @return APR_SUCCESS when it is durable; GH_EREFUSED with result if its recipient is not known to
 *         be the device; GH_ECONFLICT if that had another key before
 */
apr_status_t escrow_keep_skeleton(gh_escrow_profile_record_t **record,
                                  apr_array_header_t **missing, const escrow_keep_t *keep,
                                  const escrow_skeleton_t *skeleton,
                                  const escrow_profile_options_t *options,
                                  gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_escrow_keep_h */
