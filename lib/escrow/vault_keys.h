/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_vault_keys_h
#define gatehouse_escrow_vault_keys_h

#include <pthread.h>

#include "escrow/vault.h"

/* What the files of the vault share: its keys, and wrapping of data keys under them. */

typedef struct {
    const char *id;
    const unsigned char *secret;        /* locked; NULL for a pair */
    EVP_PKEY *pair;
} vault_key_t;

struct gh_vault {
    gh_locked_t *locked;
    vault_key_t keys[GH_VAULT_KEYS_MAX];
    int count;
    pthread_mutex_t token;              /* a token serves one thread at a time */
};

#define VAULT_NONCE_SIZE    12
#define VAULT_TAG_SIZE      16

/** One pass of AES-256-GCM: the tag is written when sealing, compared when opening.
 *  @return 1 if it succeeded, and when opening, if the tag was right */
int vault_cipher(int sealing, const unsigned char *key, const unsigned char *nonce,
                 const char *context, gh_bytes_t in, unsigned char *out, unsigned char *tag);

/** @return NULL if it is not configured */
const vault_key_t *vault_key_find(const gh_vault_t *vault, const char *id);

apr_status_t vault_wrap(gh_bytes_t *wrapped, gh_vault_t *vault, const vault_key_t *key,
                        const unsigned char data_key[GH_VAULT_KEY_SIZE], apr_pool_t *p,
                        gh_result_t *result);

/** @param data_key to be overwritten by the caller */
apr_status_t vault_unwrap(unsigned char data_key[GH_VAULT_KEY_SIZE], gh_vault_t *vault,
                          const vault_key_t *key, gh_bytes_t wrapped, gh_result_t *result);

/** Seals under a key that need not be the current one. */
apr_status_t vault_seal_with(gh_vaulted_t *made, gh_vault_t *vault, const vault_key_t *key,
                             gh_bytes_t plain, const char *identity, apr_pool_t *p,
                             gh_result_t *result);

#endif /* gatehouse_escrow_vault_keys_h */
