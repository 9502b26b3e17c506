/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "status.h"
#include "x509/key.h"
#include "x509/own.h"

/** Longest public exponent: verification costs grow with it, and no one has reason for more. */
#define EXPONENT_BITS_MAX 256

/** DER of a private key is far shorter. */
#define KEY_DER_MAX 65536

/** EC curves by the names that OpenSSL gives their groups. */
static const struct {
    const char *group;
    const char *kind;
} curves[] = {
    { "prime256v1", "P-256" },
    { "P-256", "P-256" },
    { "secp384r1", "P-384" },
    { "P-384", "P-384" },
    { "secp521r1", "P-521" },
    { "P-521", "P-521" },
    { NULL, NULL }
};

static int rsa_exponent_is_good(const EVP_PKEY *key)
{
    BIGNUM *exponent = NULL;
    int good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent)
        && BN_is_odd(exponent) && BN_num_bits(exponent) > 16
        && BN_num_bits(exponent) <= EXPONENT_BITS_MAX;

    BN_free(exponent);
    return good;
}

static const char *rsa_kind(const EVP_PKEY *key)
{
    BIGNUM *modulus = NULL;
    const char *kind = NULL;

    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &modulus) && BN_is_odd(modulus)
        && rsa_exponent_is_good(key)) {
        switch (BN_num_bits(modulus)) {
        case 2048:
            kind = "RSA-2048";
            break;
        case 3072:
            kind = "RSA-3072";
            break;
        case 4096:
            kind = "RSA-4096";
            break;
        default:
            break;
        }
    }
    BN_free(modulus);
    return kind;
}

static const char *ec_kind(const EVP_PKEY *key)
{
    char group[64];
    int explicit_parameters = 0;
    size_t i;

    if (!EVP_PKEY_get_group_name(key, group, sizeof(group), NULL))
        return NULL;
    /* RFC 5480 2.1.1: named curves only, although OpenSSL recognises a curve by its numbers. */
    if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                               &explicit_parameters) && explicit_parameters)
        return NULL;
    for (i = 0; curves[i].group != NULL; i++) {
        if (strcmp(curves[i].group, group) == 0)
            return curves[i].kind;
    }
    return NULL;
}

const char *gh_key_kind(const EVP_PKEY *key)
{
    const char *kind = NULL;

    if (key == NULL)
        return NULL;
    ERR_set_mark();
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        kind = rsa_kind(key);
        break;
    case EVP_PKEY_EC:
        kind = ec_kind(key);
        break;
    default:
        break;
    }
    ERR_pop_to_mark();
    return kind;
}

const EVP_MD *gh_key_digest(const EVP_PKEY *key)
{
    const char *kind = gh_key_kind(key);

    if (kind != NULL && (strcmp(kind, "RSA-4096") == 0 || strcmp(kind, "P-521") == 0))
        return EVP_sha512();
    if (kind != NULL && strcmp(kind, "P-384") == 0)
        return EVP_sha384();
    return EVP_sha256();
}

apr_status_t gh_key_generate(EVP_PKEY **key, const char *kind, apr_pool_t *p, gh_result_t *result)
{
    EVP_PKEY *made = NULL;

    *key = NULL;
    if (strcmp(kind, "RSA-2048") == 0)
        made = EVP_RSA_gen(2048);
    else if (strcmp(kind, "RSA-3072") == 0)
        made = EVP_RSA_gen(3072);
    else if (strcmp(kind, "RSA-4096") == 0)
        made = EVP_RSA_gen(4096);
    else if (strcmp(kind, "P-256") == 0 || strcmp(kind, "P-384") == 0
             || strcmp(kind, "P-521") == 0)
        made = EVP_EC_gen(kind);
    else
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_ALGORITHM, "key.kind",
                              "use RSA-2048, RSA-3072, RSA-4096, P-256, P-384 or P-521",
                              GHNO(0094) "there is no kind of key named %s", kind);
    if (made == NULL)
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "key.generate", NULL,
                                 GHNO(0095) "cannot make a key of kind %s", kind);
    *key = gh_own_key(p, made);
    return APR_SUCCESS;
}

int gh_key_matches(EVP_PKEY *key, X509 *certificate)
{
    EVP_PKEY *public_key = X509_get0_pubkey(certificate);
    int equal = public_key != NULL && EVP_PKEY_eq(public_key, key) == 1;

    ERR_clear_error();
    return equal;
}

apr_status_t gh_key_try(EVP_PKEY *key, gh_result_t *result)
{
    apr_status_t rv = GH_EUNAVAILABLE;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char data[32];
    unsigned char *signature = NULL;
    size_t length = 0;

    ERR_clear_error();
    if (context == NULL || RAND_bytes(data, sizeof(data)) != 1
        || EVP_DigestSignInit(context, NULL, gh_key_digest(key), NULL, key) != 1
        || EVP_DigestSign(context, NULL, &length, data, sizeof(data)) != 1
        || (signature = OPENSSL_malloc(length)) == NULL
        || EVP_DigestSign(context, signature, &length, data, sizeof(data)) != 1) {
        /* A token that this user may not open fails with an empty error queue. */
        gh_result_openssl(result, rv, GH_FAILURE_UNAVAILABLE, "key.try",
                          "make sure that the user this process runs as may open the token, and "
                          "that the token is present and its PIN right",
                          GHNO(0096) "a trial signature failed: the key, or the token that holds "
                          "it, is not accessible to this process");
        goto cleanup;
    }
    EVP_MD_CTX_reset(context);
    if (EVP_DigestVerifyInit(context, NULL, gh_key_digest(key), NULL, key) != 1
        || EVP_DigestVerify(context, signature, length, data, sizeof(data)) != 1) {
        gh_result_openssl(result, rv, GH_FAILURE_UNAVAILABLE, "key.try",
                          "check that private and public key on the token belong together",
                          GHNO(0097) "a trial signature cannot be verified");
        goto cleanup;
    }
    rv = APR_SUCCESS;

cleanup:
    ERR_clear_error();
    OPENSSL_free(signature);
    EVP_MD_CTX_free(context);
    return rv;
}

gh_bytes_t gh_key_sha256(EVP_PKEY *key, apr_pool_t *p)
{
    gh_bytes_t digest = { NULL, 0 };
    unsigned char *der = NULL;
    int length = i2d_PUBKEY(key, &der);

    if (length > 0) {
        unsigned char *data = apr_palloc(p, SHA256_DIGEST_LENGTH);

        if (SHA256(der, (size_t)length, data) != NULL) {
            digest.data = data;
            digest.length = SHA256_DIGEST_LENGTH;
        }
    }
    OPENSSL_free(der);
    ERR_clear_error();
    return digest;
}

apr_status_t gh_key_encode(gh_bytes_t *der, EVP_PKEY *key, apr_pool_t *p, gh_result_t *result)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    unsigned char *data = NULL;
    int length = info != NULL ? i2d_PKCS8_PRIV_KEY_INFO(info, &data) : -1;

    PKCS8_PRIV_KEY_INFO_free(info);
    if (length <= 0)
        return gh_result_openssl(result, APR_EINVAL, GH_FAILURE_INTERNAL, "key.encode",
                                 "a key that lies on a token cannot be exported",
                                 GHNO(0098) "cannot export a private key");
    *der = gh_own_bytes(p, data, (apr_size_t)length, 1);
    return APR_SUCCESS;
}

apr_status_t gh_key_decode(EVP_PKEY **key, gh_bytes_t der, apr_pool_t *p, gh_result_t *result)
{
    const unsigned char *data = der.data;
    PKCS8_PRIV_KEY_INFO *info = NULL;
    EVP_PKEY *read = NULL;

    *key = NULL;
    if (der.length <= KEY_DER_MAX)
        info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &data, (long)der.length);
    if (info != NULL && data == der.data + der.length)
        read = EVP_PKCS82PKEY(info);
    PKCS8_PRIV_KEY_INFO_free(info);
    if (read == NULL || gh_key_kind(read) == NULL) {
        EVP_PKEY_free(read);
        return gh_result_openssl(result, APR_EINVAL, GH_FAILURE_MALFORMED, "key.decode", NULL,
                                 GHNO(0099) "bytes are not a private key of a kind used here");
    }
    *key = gh_own_key(p, read);
    return APR_SUCCESS;
}
