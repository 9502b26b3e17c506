/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow/vault.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "escrow/vault_keys.h"
#include "log.h"
#include "status.h"
#include "x509/key.h"

/* A sealed secret: version (1), nonce (12), ciphertext, tag (16). The identity is authenticated. */
#define VERSION     1
#define OVERHEAD    (1 + VAULT_NONCE_SIZE + VAULT_TAG_SIZE)

static apr_status_t vault_cleanup(void *data)
{
    gh_vault_t *vault = data;

    pthread_mutex_destroy(&vault->token);
    return APR_SUCCESS;
}

static apr_status_t add_key(gh_vault_t *vault, const gh_vault_key_t *key, apr_pool_t *p,
                            gh_result_t *result)
{
    vault_key_t *added = &vault->keys[vault->count];
    gh_bytes_t secret;

    if (key->id == NULL || !gh_vault_id_valid(key->id)
        || (key->pair == NULL && key->secret.length != GH_VAULT_KEY_SIZE))
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "vault.key",
                              "This is a fault of Gatehouse: report it.",
                              GHNO(1107) "a key of the vault was handed over that is none");
    if (vault_key_find(vault, key->id) != NULL)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "vault.id",
                              "Give each key a name of its own.",
                              GHNO(1108) "two keys of the vault are called %s", key->id);
    added->id = apr_pstrdup(p, key->id);
    if (key->pair != NULL) {
        if (!EVP_PKEY_up_ref(key->pair))
            return APR_EGENERAL;
        added->pair = gh_own_key(p, key->pair);
    }
    else {
        secret = gh_locked_copy(vault->locked, key->secret.data, key->secret.length, p);
        if (secret.data == NULL)
            return APR_ENOMEM;
        added->secret = secret.data;
    }
    vault->count++;
    return APR_SUCCESS;
}

apr_status_t gh_vault_create(gh_vault_t **vault, const gh_vault_key_t *keys, int count,
                             apr_pool_t *p, gh_result_t *result)
{
    gh_vault_t *made = apr_pcalloc(p, sizeof(*made));
    apr_status_t rv;
    int i;

    *vault = NULL;
    if (count < 1 || count > GH_VAULT_KEYS_MAX)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "vault.keys",
                              "Configure the key that is used now and those that are still "
                              "needed.",
                              GHNO(1109) "the vault has %d keys: one is needed, and %d are the "
                              "most", count, GH_VAULT_KEYS_MAX);
    if ((rv = gh_locked_create(&made->locked, GH_LOCKED_SIZE, p, result)) != APR_SUCCESS)
        return rv;
    pthread_mutex_init(&made->token, NULL);
    apr_pool_cleanup_register(p, made, vault_cleanup, apr_pool_cleanup_null);
    for (i = 0; i < count; i++) {
        if ((rv = add_key(made, &keys[i], p, result)) != APR_SUCCESS)
            return rv;
    }
    *vault = made;
    return APR_SUCCESS;
}

gh_locked_t *gh_vault_locked(const gh_vault_t *vault)
{
    return vault->locked;
}

const char *gh_vault_current(const gh_vault_t *vault)
{
    return vault->keys[0].id;
}

int gh_vault_has(const gh_vault_t *vault, const char *key_id)
{
    return vault_key_find(vault, key_id) != NULL;
}

apr_status_t vault_seal_with(gh_vaulted_t *made, gh_vault_t *vault, const vault_key_t *key,
                             gh_bytes_t plain, const char *identity, apr_pool_t *p,
                             gh_result_t *result)
{
    unsigned char data_key[GH_VAULT_KEY_SIZE];
    apr_size_t size = plain.length + OVERHEAD;
    unsigned char *out;
    apr_status_t rv;

    memset(made, 0, sizeof(*made));
    if (plain.length == 0 || plain.length > GH_VAULT_MAX)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "vault.size", NULL,
                              GHNO(1110) "a secret of %" APR_SIZE_T_FMT " bytes cannot be put into "
                              "the vault", plain.length);
    out = apr_palloc(p, size);
    out[0] = VERSION;
    if (RAND_priv_bytes(data_key, sizeof(data_key)) != 1
        || RAND_bytes(out + 1, VAULT_NONCE_SIZE) != 1
        || !vault_cipher(1, data_key, out + 1, identity, plain, out + 1 + VAULT_NONCE_SIZE,
                         out + size - VAULT_TAG_SIZE))
        rv = gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "vault.seal",
                               "See the OpenSSL error in the message.",
                               GHNO(1111) "a secret cannot be sealed");
    else
        rv = vault_wrap(&made->wrapped, vault, key, data_key, p, result);
    OPENSSL_cleanse(data_key, sizeof(data_key));
    if (rv == APR_SUCCESS) {
        made->key_id = key->id;
        made->sealed = (gh_bytes_t) { out, size };
    }
    return rv;
}

apr_status_t gh_vault_seal(gh_vaulted_t *made, const gh_vault_t *vault, gh_bytes_t plain,
                           const char *identity, apr_pool_t *p, gh_result_t *result)
{
    /* the mutex of the token is all that changes in it */
    return vault_seal_with(made, (gh_vault_t *)vault, &vault->keys[0], plain, identity, p, result);
}

/** The data key of a row. */
static apr_status_t unwrap(unsigned char data_key[GH_VAULT_KEY_SIZE], const gh_vault_t *vault,
                           const gh_vaulted_t *row, gh_result_t *result)
{
    const vault_key_t *key = vault_key_find(vault, row->key_id);

    if (key == NULL)
        return gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_UNAVAILABLE, "vault.key",
                              "Configure this key again, behind the one that is used for what is "
                              "new.",
                              GHNO(1112) "a secret is sealed under the vault's key %.64s, which is "
                              "not configured", row->key_id ? row->key_id : "");
    return vault_unwrap(data_key, (gh_vault_t *)vault, key, row->wrapped, result);
}

static apr_status_t open_sealed(gh_bytes_t *plain, const gh_vault_t *vault, gh_bytes_t sealed,
                                const unsigned char *data_key, const char *identity,
                                apr_pool_t *p, gh_result_t *result)
{
    unsigned char tag[VAULT_TAG_SIZE];
    apr_size_t length = sealed.length - OVERHEAD;
    gh_bytes_t in = { sealed.data + 1 + VAULT_NONCE_SIZE, length };
    unsigned char *out = NULL;

    if (sealed.length > OVERHEAD && length <= GH_VAULT_MAX && sealed.data[0] == VERSION) {
        if ((out = gh_locked_alloc(vault->locked, length + 1, p)) == NULL)
            return APR_ENOMEM;
        memcpy(tag, sealed.data + sealed.length - VAULT_TAG_SIZE, VAULT_TAG_SIZE);
    }
    if (out == NULL
        || !vault_cipher(0, data_key, sealed.data + 1, identity, in, out, tag)) {
        ERR_clear_error();
        if (out != NULL)
            OPENSSL_cleanse(out, length);
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_INTEGRITY, "vault.identity",
                              "See who changed the database; have the credential uploaded again.",
                              GHNO(1113) "what is stored as %.200s was changed or belongs "
                              "elsewhere", identity);
    }
    *plain = (gh_bytes_t) { out, length };
    return APR_SUCCESS;
}

apr_status_t gh_vault_open(gh_bytes_t *plain, const gh_vault_t *vault, const gh_vaulted_t *row,
                           const char *identity, apr_pool_t *p, gh_result_t *result)
{
    unsigned char data_key[GH_VAULT_KEY_SIZE];
    apr_status_t rv;

    *plain = (gh_bytes_t) { NULL, 0 };
    rv = unwrap(data_key, vault, row, result);
    if (rv != APR_SUCCESS)
        return rv;
    rv = open_sealed(plain, vault, row->sealed, data_key, identity, p, result);
    OPENSSL_cleanse(data_key, sizeof(data_key));
    return rv;
}

apr_status_t gh_vault_rewrap(gh_vaulted_t *made, const gh_vault_t *vault, const gh_vaulted_t *row,
                             apr_pool_t *p, gh_result_t *result)
{
    unsigned char data_key[GH_VAULT_KEY_SIZE];
    apr_status_t rv;

    *made = *row;
    rv = unwrap(data_key, vault, row, result);
    if (rv != APR_SUCCESS)
        return rv;
    rv = vault_wrap(&made->wrapped, (gh_vault_t *)vault, &vault->keys[0], data_key, p, result);
    OPENSSL_cleanse(data_key, sizeof(data_key));
    made->key_id = vault->keys[0].id;
    return rv;
}

const char *gh_vault_identity(const char *device, const char *user, int purpose,
                              const unsigned char *sha256, apr_pool_t *p)
{
    return apr_psprintf(p, "escrow/%s/%s/%d/%s", device, user, purpose, gh_hex(p, sha256, 32));
}

const char *gh_vault_endpoint_identity(const char *name, apr_int64_t generation, apr_pool_t *p)
{
    return apr_psprintf(p, "escrow-endpoint/%s/%" APR_INT64_T_FMT, name, generation);
}
