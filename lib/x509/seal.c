/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "x509/own.h"
#include "x509/seal.h"

/*
 * A sealed secret: version (1), key id (8), nonce (12), ciphertext, tag (16). Version and key id
 * are authenticated together with the context.
 */

#define SEAL_VERSION    1
#define KEY_SIZE        32
#define KEY_ID_SIZE     8
#define NONCE_SIZE      12
#define TAG_SIZE        16
#define HEADER_SIZE     (1 + KEY_ID_SIZE)
#define OVERHEAD        (HEADER_SIZE + NONCE_SIZE + TAG_SIZE)

/** More than any secret that lies in the store. */
#define SEAL_MAX        (1024 * 1024)

struct gh_sealer {
    unsigned char key[KEY_SIZE];
    unsigned char mac_key[SHA256_DIGEST_LENGTH];
    unsigned char header[HEADER_SIZE];
};

static apr_status_t sealer_cleanup(void *data)
{
    OPENSSL_cleanse(data, sizeof(gh_sealer_t));
    return APR_SUCCESS;
}

/** A key of its own for each use: here for digests. */
static int derive_mac_key(gh_sealer_t *sealer)
{
    static const char label[] = "gatehouse keyed digests";

    return HMAC(EVP_sha256(), sealer->key, KEY_SIZE, (const unsigned char *)label, sizeof(label),
                sealer->mac_key, NULL) != NULL;
}

/** Fills in what follows from the key. @return 0 if OpenSSL failed */
static int derive_rest(gh_sealer_t *sealer)
{
    static const char label[] = "gatehouse sealing key id";
    unsigned char material[sizeof(label) + KEY_SIZE];
    unsigned char digest[SHA256_DIGEST_LENGTH];
    int good;

    if (!derive_mac_key(sealer))
        return 0;
    memcpy(material, label, sizeof(label));
    memcpy(material + sizeof(label), sealer->key, KEY_SIZE);
    good = SHA256(material, sizeof(material), digest) != NULL;
    OPENSSL_cleanse(material, sizeof(material));
    sealer->header[0] = SEAL_VERSION;
    memcpy(sealer->header + 1, digest, KEY_ID_SIZE);
    return good;
}

apr_status_t gh_sealer_create(gh_sealer_t **sealer, gh_bytes_t key, apr_pool_t *p,
                              gh_result_t *result)
{
    gh_sealer_t *made;

    *sealer = NULL;
    if (key.length != KEY_SIZE)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "seal.key",
                              "This is a fault of Gatehouse: report it.",
                              GHNO(0772) "a sealing key of %" APR_SIZE_T_FMT " bytes was handed "
                              "over", key.length);
    made = apr_pcalloc(p, sizeof(*made));
    apr_pool_cleanup_register(p, made, sealer_cleanup, apr_pool_cleanup_null);
    memcpy(made->key, key.data, KEY_SIZE);
    if (!derive_rest(made))
        return APR_EGENERAL;
    *sealer = made;
    return APR_SUCCESS;
}

gh_bytes_t gh_sealer_key(const gh_sealer_t *sealer)
{
    return (gh_bytes_t) { sealer->key, KEY_SIZE };
}

apr_status_t gh_sealer_open(gh_sealer_t **sealer, const char *source, apr_pool_t *p,
                            gh_result_t *result)
{
    unsigned char key[KEY_SIZE];
    gh_bytes_t text;
    size_t length = 0;
    apr_status_t rv;

    *sealer = NULL;
    rv = gh_secret_load(&text, source, p, result);
    if (rv != APR_SUCCESS)
        return rv;
    if (text.length != 2 * KEY_SIZE
        || !OPENSSL_hexstr2buf_ex(key, KEY_SIZE, &length,
                                  gh_copy_secret(p, text.data, text.length), '\0')
        || length != KEY_SIZE) {
        ERR_clear_error();
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "seal.key",
                            "make one with 'openssl rand -hex 32' into a file of mode 600",
                            GHNO(0117) "the sealing key from %s is not 64 hexadecimal digits",
                            source);
    }
    else {
        rv = gh_sealer_create(sealer, (gh_bytes_t) { key, KEY_SIZE }, p, result);
    }
    OPENSSL_cleanse(key, sizeof(key));
    return rv;
}

/** One pass of AES-256-GCM. @return 1 if it succeeded, and when opening, if the tag was right */
static int seal_pass(const gh_sealer_t *sealer, int sealing, const unsigned char *nonce,
                 const char *context, const unsigned char *in, apr_size_t length,
                 unsigned char *out, unsigned char *tag)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    int n, done = 0;

    if (cipher == NULL
        || EVP_CipherInit_ex2(cipher, EVP_aes_256_gcm(), sealer->key, nonce, sealing, NULL) != 1
        || EVP_CipherUpdate(cipher, NULL, &n, sealer->header, HEADER_SIZE) != 1
        || EVP_CipherUpdate(cipher, NULL, &n, (const unsigned char *)context,
                            (int)strlen(context)) != 1
        || EVP_CipherUpdate(cipher, out, &n, in, (int)length) != 1)
        goto cleanup;
    if (!sealing && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) != 1)
        goto cleanup;
    if (EVP_CipherFinal_ex(cipher, out + n, &n) != 1)
        goto cleanup;
    if (sealing && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, tag) != 1)
        goto cleanup;
    done = 1;

cleanup:
    EVP_CIPHER_CTX_free(cipher);
    return done;
}

apr_status_t gh_seal(gh_bytes_t *sealed, const gh_sealer_t *sealer, gh_bytes_t data,
                     const char *context, apr_pool_t *p, gh_result_t *result)
{
    unsigned char *out;

    sealed->data = NULL;
    sealed->length = 0;
    if (data.length > SEAL_MAX)
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "seal.size", NULL,
                              GHNO(0118) "too much data to seal");
    out = apr_palloc(p, data.length + OVERHEAD);
    memcpy(out, sealer->header, HEADER_SIZE);
    if (RAND_bytes(out + HEADER_SIZE, NONCE_SIZE) != 1
        || !seal_pass(sealer, 1, out + HEADER_SIZE, context, data.data, data.length,
                  out + HEADER_SIZE + NONCE_SIZE,
                  out + HEADER_SIZE + NONCE_SIZE + data.length))
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "seal", NULL,
                                 GHNO(0119) "cannot seal %s", context);
    sealed->data = out;
    sealed->length = data.length + OVERHEAD;
    return APR_SUCCESS;
}

apr_status_t gh_unseal(gh_bytes_t *data, const gh_sealer_t *sealer, gh_bytes_t sealed,
                       const char *context, apr_pool_t *p, gh_result_t *result)
{
    unsigned char tag[TAG_SIZE];
    unsigned char *out;
    apr_size_t length;

    data->data = NULL;
    data->length = 0;
    if (sealed.length < OVERHEAD || sealed.length > SEAL_MAX + OVERHEAD
        || sealed.data[0] != SEAL_VERSION)
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_INTEGRITY, "seal.form", NULL,
                              GHNO(0120) "what is stored for %s is not a sealed secret", context);
    if (memcmp(sealed.data, sealer->header, HEADER_SIZE) != 0)
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_INTEGRITY, "seal.key",
                              "restore the sealing key that was used before",
                              GHNO(0121) "%s was sealed with another key", context);
    length = sealed.length - OVERHEAD;
    out = OPENSSL_malloc(length + 1);
    if (out == NULL)
        return APR_ENOMEM;
    memcpy(tag, sealed.data + sealed.length - TAG_SIZE, TAG_SIZE);
    if (!seal_pass(sealer, 0, sealed.data + HEADER_SIZE, context,
               sealed.data + HEADER_SIZE + NONCE_SIZE, length, out, tag)) {
        OPENSSL_clear_free(out, length + 1);
        ERR_clear_error();
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_INTEGRITY, "seal.tag", NULL,
                              GHNO(0122) "what is stored for %s was changed or belongs elsewhere",
                              context);
    }
    out[length] = '\0';
    *data = gh_own_bytes(p, out, length, 1);
    return APR_SUCCESS;
}

apr_status_t gh_sealer_mac(unsigned char mac[GH_SEAL_MAC_SIZE], const gh_sealer_t *sealer,
                           const char *context, gh_bytes_t secret, gh_result_t *result)
{
    /* the NUL of the context keeps the two apart */
    apr_size_t context_size = strlen(context) + 1;
    apr_size_t length = context_size + secret.length;
    unsigned char *text = OPENSSL_malloc(length);
    int done = 0;

    if (text != NULL) {
        memcpy(text, context, context_size);
        memcpy(text + context_size, secret.data, secret.length);
        done = HMAC(EVP_sha256(), sealer->mac_key, sizeof(sealer->mac_key), text, length, mac,
                    NULL) != NULL;
    }
    OPENSSL_clear_free(text, length);
    if (!done)
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "seal.mac", NULL,
                                 GHNO(0469) "cannot compute a keyed digest");
    return APR_SUCCESS;
}
