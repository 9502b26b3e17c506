/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow/vault_keys.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "log.h"
#include "status.h"
#include "x509/key.h"
#include "x509/own.h"

/*
 * A wrapped data key: its form (1), then under a secret nonce (12), the key enciphered (32) and tag
 * (16), with the name of the secret as authenticated data; or for a pair on a token the output of
 * RSAES-OAEP with SHA-1, which is what tokens offer and where SHA-1 is no weakness.
 */
#define FORM_SECRET     1
#define FORM_PAIR       2

#define WRAPPED_SIZE    (1 + VAULT_NONCE_SIZE + GH_VAULT_KEY_SIZE + VAULT_TAG_SIZE)
#define PAIR_BITS_MIN   2048
#define PAIR_BYTES_MAX  1024

int vault_cipher(int sealing, const unsigned char *key, const unsigned char *nonce,
                 const char *context, gh_bytes_t in, unsigned char *out, unsigned char *tag)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    int n, done = 0;

    if (cipher == NULL
        || EVP_CipherInit_ex2(cipher, EVP_aes_256_gcm(), key, nonce, sealing, NULL) != 1
        || EVP_CipherUpdate(cipher, NULL, &n, (const unsigned char *)context,
                            (int)strlen(context)) != 1
        || EVP_CipherUpdate(cipher, out, &n, in.data, (int)in.length) != 1)
        goto cleanup;
    if (!sealing && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, VAULT_TAG_SIZE, tag) != 1)
        goto cleanup;
    if (EVP_CipherFinal_ex(cipher, out + n, &n) != 1)
        goto cleanup;
    if (sealing && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, VAULT_TAG_SIZE, tag) != 1)
        goto cleanup;
    done = 1;

cleanup:
    EVP_CIPHER_CTX_free(cipher);
    return done;
}

const vault_key_t *vault_key_find(const gh_vault_t *vault, const char *id)
{
    int i;

    for (i = 0; id != NULL && i < vault->count; i++) {
        if (strcmp(vault->keys[i].id, id) == 0)
            return &vault->keys[i];
    }
    return NULL;
}

static const char *wrap_context(char context[GH_VAULT_ID_MAX + 32], const vault_key_t *key)
{
    apr_snprintf(context, GH_VAULT_ID_MAX + 32, "vault/data-key/%s", key->id);
    return context;
}

/** RSA-OAEP under the public half, which needs no token. @return length, 0 for a failure */
static apr_size_t pair_encrypt(unsigned char *out, EVP_PKEY *pair, const unsigned char *data_key)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pair, NULL);
    size_t length = PAIR_BYTES_MAX;

    if (context == NULL || EVP_PKEY_encrypt_init(context) <= 0
        || EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) <= 0
        || EVP_PKEY_encrypt(context, out, &length, data_key, GH_VAULT_KEY_SIZE) <= 0)
        length = 0;
    EVP_PKEY_CTX_free(context);
    return length;
}

static int pair_decrypt(unsigned char *data_key, EVP_PKEY *pair, gh_bytes_t wrapped)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pair, NULL);
    unsigned char out[PAIR_BYTES_MAX];
    size_t length = sizeof(out);
    int done = 0;

    if (context != NULL && EVP_PKEY_decrypt_init(context) > 0
        && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0
        && EVP_PKEY_decrypt(context, out, &length, wrapped.data, wrapped.length) > 0
        && length == GH_VAULT_KEY_SIZE) {
        memcpy(data_key, out, GH_VAULT_KEY_SIZE);
        done = 1;
    }
    OPENSSL_cleanse(out, sizeof(out));
    EVP_PKEY_CTX_free(context);
    return done;
}

apr_status_t vault_wrap(gh_bytes_t *wrapped, gh_vault_t *vault, const vault_key_t *key,
                        const unsigned char data_key[GH_VAULT_KEY_SIZE], apr_pool_t *p,
                        gh_result_t *result)
{
    char context[GH_VAULT_ID_MAX + 32];
    unsigned char *out = apr_palloc(p, key->pair ? 1 + PAIR_BYTES_MAX : WRAPPED_SIZE);
    gh_bytes_t plain = { data_key, GH_VAULT_KEY_SIZE };
    apr_size_t length = 0;

    if (key->pair != NULL) {
        out[0] = FORM_PAIR;
        pthread_mutex_lock(&vault->token);
        length = pair_encrypt(out + 1, key->pair, data_key);
        pthread_mutex_unlock(&vault->token);
        length += length > 0;
    }
    else {
        out[0] = FORM_SECRET;
        if (RAND_bytes(out + 1, VAULT_NONCE_SIZE) == 1
            && vault_cipher(1, key->secret, out + 1, wrap_context(context, key), plain,
                            out + 1 + VAULT_NONCE_SIZE,
                            out + WRAPPED_SIZE - VAULT_TAG_SIZE))
            length = WRAPPED_SIZE;
    }
    if (length == 0)
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "vault.wrap",
                                 "See the OpenSSL error in the message.",
                                 GHNO(1102) "the vault's key %s cannot wrap a data key", key->id);
    *wrapped = (gh_bytes_t) { out, length };
    return APR_SUCCESS;
}

apr_status_t vault_unwrap(unsigned char data_key[GH_VAULT_KEY_SIZE], gh_vault_t *vault,
                          const vault_key_t *key, gh_bytes_t wrapped, gh_result_t *result)
{
    char context[GH_VAULT_ID_MAX + 32];
    gh_bytes_t in = { wrapped.data + 1, wrapped.length - 1 };
    int done = 0;

    if (wrapped.length < 2) {
        done = 0;
    }
    else if (key->pair != NULL && wrapped.data[0] == FORM_PAIR) {
        pthread_mutex_lock(&vault->token);
        done = pair_decrypt(data_key, key->pair, in);
        pthread_mutex_unlock(&vault->token);
    }
    else if (key->secret != NULL && wrapped.data[0] == FORM_SECRET
             && wrapped.length == WRAPPED_SIZE) {
        unsigned char tag[VAULT_TAG_SIZE];

        memcpy(tag, wrapped.data + WRAPPED_SIZE - VAULT_TAG_SIZE, VAULT_TAG_SIZE);
        in.data += VAULT_NONCE_SIZE;
        in.length = GH_VAULT_KEY_SIZE;
        done = vault_cipher(0, key->secret, wrapped.data + 1, wrap_context(context, key), in,
                            data_key, tag);
    }
    if (!done) {
        OPENSSL_cleanse(data_key, GH_VAULT_KEY_SIZE);
        ERR_clear_error();
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_INTEGRITY, "vault.key",
                              "Restore the key that had this name before, or see whether the "
                              "token answers.",
                              GHNO(1103) "a data key was not wrapped under the vault's key %s as "
                              "it is configured, or was changed", key->id);
    }
    return APR_SUCCESS;
}

int gh_vault_id_valid(const char *id)
{
    size_t length = strlen(id);

    return length > 0 && length <= GH_VAULT_ID_MAX
        && strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
           == length;
}

static apr_status_t open_pair(gh_vault_key_t *key, const char *source, apr_pool_t *p,
                              gh_result_t *result)
{
    apr_status_t rv = gh_key_open(&key->pair, source, NULL, p, result);

    if (rv == APR_SUCCESS
        && (!EVP_PKEY_is_a(key->pair, "RSA") || EVP_PKEY_get_bits(key->pair) < PAIR_BITS_MIN
            || EVP_PKEY_get_size(key->pair) > PAIR_BYTES_MAX))
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_ALGORITHM, "vault.key",
                            "Make a pair of RSA keys of 2048 to 8192 bits on the token.",
                            GHNO(1104) "the vault's key %s on the token is not RSA of 2048 bits "
                            "or more", key->id);
    return rv;
}

apr_status_t gh_vault_key_open(gh_vault_key_t *key, const char *id, const char *source,
                               apr_pool_t *p, gh_result_t *result)
{
    unsigned char *secret;
    gh_bytes_t text;
    size_t length = 0;
    apr_status_t rv;

    memset(key, 0, sizeof(*key));
    key->id = apr_pstrdup(p, id);
    if (!gh_vault_id_valid(id))
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "vault.id",
                              "Use 1 to 64 letters, digits and _ . -",
                              GHNO(1105) "\"%.80s\" cannot be the name of a key of the vault", id);
    if (gh_key_is_token(source))
        return open_pair(key, source, p, result);
    if ((rv = gh_secret_load(&text, source, p, result)) != APR_SUCCESS)
        return rv;
    secret = (unsigned char *)gh_copy_secret(p, text.data, text.length);
    if (text.length != 2 * GH_VAULT_KEY_SIZE
        || !OPENSSL_hexstr2buf_ex(secret, GH_VAULT_KEY_SIZE, &length, (const char *)text.data,
                                  '\0')
        || length != GH_VAULT_KEY_SIZE) {
        ERR_clear_error();
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "vault.key",
                              "Make one with 'openssl rand -hex 32' into a file of mode 600.",
                              GHNO(1106) "the vault's key %s from %s is not 64 hexadecimal digits",
                              id, source);
    }
    key->secret = (gh_bytes_t) { secret, GH_VAULT_KEY_SIZE };
    return APR_SUCCESS;
}
