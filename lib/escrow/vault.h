/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_vault_h
#define gatehouse_escrow_vault_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/types.h>

#include "escrow/locked.h"
#include "result.h"
#include "store/store.h"
#include "text.h"

/*
 * The vault: private keys of others as they lie in the store. Each is sealed with AES-256-GCM under
 * a data key of its own, which is wrapped under a key-encryption key. These have names, so that
 * they can be changed while all is in use: the first one configured wraps what is new, all of them
 * open.
 *
 * A vault is used by any number of threads. It is made after the fork, since locked memory is.
 */

typedef struct gh_vault gh_vault_t;

/** Names of keys: 1 to 64 of A-Z a-z 0-9 _ . - */
#define GH_VAULT_ID_MAX     64
#define GH_VAULT_KEY_SIZE   32
#define GH_VAULT_KEYS_MAX   16

/** Largest secret. */
#define GH_VAULT_MAX        (64 * 1024)

/** A key-encryption key: a secret, or a pair of RSA keys on a token. */
typedef struct {
    const char *id;
    gh_bytes_t secret;          /* GH_VAULT_KEY_SIZE bytes, overwritten by p's cleanup; or none */
    EVP_PKEY *pair;             /* NULL, or of a token: data keys are wrapped by RSA-OAEP */
} gh_vault_key_t;

/** As it lies in the store: columns key_id, wrapped, sealed. */
typedef struct {
    const char *key_id;
    gh_bytes_t wrapped;
    gh_bytes_t sealed;
} gh_vaulted_t;

/** @return 1 if it may be the name of a key */
int gh_vault_id_valid(const char *id);

/**
 * Loads a key. What a token holds (gh_key_is_token()) has to be opened by the process that uses it.
 * @param source "file:PATH" or "exec:PATH" of 64 hexadecimal digits; or a "pkcs11:" URI of RSA keys
 * @return errors of gh_secret_load() and gh_key_open(); APR_EINVAL for a bad id, another length, or
 *         a key that is not RSA with 2048 bits or more
 */
apr_status_t gh_vault_key_open(gh_vault_key_t *key, const char *id, const char *source,
                               apr_pool_t *p, gh_result_t *result);

/**
 * @param keys  the first one wraps; copied
 * @param count 1 to GH_VAULT_KEYS_MAX
 * @return APR_EINVAL if two have one name, or one is not valid; APR_EACCES if no memory can be
 *         locked
 */
apr_status_t gh_vault_create(gh_vault_t **vault, const gh_vault_key_t *keys, int count,
                             apr_pool_t *p, gh_result_t *result);

/** Where the process keeps keys. */
gh_locked_t *gh_vault_locked(const gh_vault_t *vault);

/** Name of the key that wraps. */
const char *gh_vault_current(const gh_vault_t *vault);

/** @return 1 if there is a key of this name */
int gh_vault_has(const gh_vault_t *vault, const char *key_id);

/**
 * Seals a secret.
 * @param identity authenticated, not stored: whose it is, so that rows cannot be swapped
 * @param made     in p
 */
apr_status_t gh_vault_seal(gh_vaulted_t *made, const gh_vault_t *vault, gh_bytes_t plain,
                           const char *identity, apr_pool_t *p, gh_result_t *result);

/**
 * @param plain in locked memory until p goes
 * @return APR_NOTFOUND if its key is not configured; APR_EACCES if it was wrapped under another key
 *         of that name, belongs to another identity, or was changed; each with its number
 */
apr_status_t gh_vault_open(gh_bytes_t *plain, const gh_vault_t *vault, const gh_vaulted_t *row,
                           const char *identity, apr_pool_t *p, gh_result_t *result);

/** Wraps the data key of a row under the current key; sealed stays as it is.
 *  @return as gh_vault_open(), but for the identity, which it does not know */
apr_status_t gh_vault_rewrap(gh_vaulted_t *made, const gh_vault_t *vault, const gh_vaulted_t *row,
                             apr_pool_t *p, gh_result_t *result);

/** What a credential is sealed for. @param purpose of escrow_credential
 *  @param sha256 of its certificate, 32 bytes */
const char *gh_vault_identity(const char *device, const char *user, int purpose,
                              const unsigned char *sha256, apr_pool_t *p);

/** What the key of a TLS endpoint is sealed for. */
const char *gh_vault_endpoint_identity(const char *name, apr_int64_t generation, apr_pool_t *p);

/*
 * A wrong key would be noticed when the first credential is opened, which is too late: for each key
 * the store has a check value (setting "vault.check.ID"), sealed under it.
 */

/**
 * Compares the keys with the store's check values, and adds those that are missing.
 * @return APR_EACCES if a key is another one than the one that was used under its name;
 *         APR_NOTFOUND if rows are wrapped under a key that is not configured; errors of the store
 */
apr_status_t gh_vault_check(const gh_vault_t *vault, gh_store_t *store, apr_pool_t *p,
                            gh_result_t *result);

/** Of one key, for people. */
typedef struct {
    const char *id;
    int configured;             /* 1; 2: it is the one that wraps */
    int checked;                /* the store has a check value of it */
    int wrong;                  /* and the key that is configured is another one */
    apr_int64_t rows;           /* wrapped under it */
} gh_vault_status_t;

/** gh_vault_status_t elements: keys that are configured, in their order, then others of the
 *  store. Counting reads an index of all rows. */
apr_status_t gh_vault_status(const gh_vault_t *vault, gh_store_t *store,
                             apr_array_header_t **keys, apr_pool_t *p, gh_result_t *result);

/** How far a rotation or verification has come. */
typedef struct {
    apr_int64_t done;
    apr_int64_t failed;         /* rows that cannot be unwrapped; the first one is the result's */
} gh_vault_progress_t;

/**
 * Wraps under the current key whatever is wrapped under another one, in batches, while all is in
 * use; ended early, it goes on where it was when it is called again. Then check values of keys that
 * are not configured any more and wrap nothing are forgotten.
 * @param progress also if it fails
 * @return APR_EACCES with result if rows are left that cannot be unwrapped; errors of the store
 */
apr_status_t gh_vault_rotate(const gh_vault_t *vault, gh_store_t *store,
                             gh_vault_progress_t *progress, apr_pool_t *p, gh_result_t *result);

/** Opens every row, and finds what was changed or swapped. Errors as gh_vault_rotate(). */
apr_status_t gh_vault_verify(const gh_vault_t *vault, gh_store_t *store,
                             gh_vault_progress_t *progress, apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_escrow_vault_h */
