/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Whether what a PKCS#12 holds is fit for its use. */

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "mod_escrow/escrow_opener.h"
#include "log.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/own.h"

#define RSA_BITS_MIN    2048
#define RSA_BITS_MAX    8192

/** Longer ways up are no use of anybody. */
#define CHAIN_MAX       8

static apr_status_t check_strength(EVP_PKEY *key, gh_result_t *result)
{
    int bits = EVP_PKEY_get_bits(key);

    if (EVP_PKEY_is_a(key, "RSA") ? bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX
                                  : EVP_PKEY_is_a(key, "EC") && gh_key_kind(key) != NULL)
        return APR_SUCCESS;
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_ALGORITHM, "pkcs12.strength",
                          "Use RSA of 2048 to 8192 bits, or EC on P-256, P-384 or P-521.",
                          GHNO(1122) "the key of %d bits is too weak, or of a kind that is not "
                          "accepted", bits);
}

static apr_status_t check_usage(X509 *certificate, EVP_PKEY *key, escrow_use_t use,
                                gh_result_t *result)
{
    apr_uint32_t usage = X509_get_key_usage(certificate);       /* all bits if there is none */
    apr_uint32_t wanted = KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION;

    if (use == ESCROW_ENCRYPTION)
        wanted = EVP_PKEY_is_a(key, "RSA") ? KU_KEY_ENCIPHERMENT : KU_KEY_AGREEMENT;
    if (use == ESCROW_ARCHIVED || (usage & wanted))
        return APR_SUCCESS;
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "pkcs12.usage",
                          "Send it as what it was issued for.",
                          GHNO(1123) "the key usage of the certificate does not allow %s",
                          use == ESCROW_SIGNING ? "signing" : "encryption");
}

static apr_status_t check_time(const escrow_credential_t *credential, escrow_use_t use,
                               apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    if (use == ESCROW_ARCHIVED
        || (now >= credential->not_before && now < credential->not_after))
        return APR_SUCCESS;
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "pkcs12.time",
                          "Send one that is good now; one that has ended goes to \"archived\".",
                          GHNO(1124) "the certificate is good from %s to %s only",
                          gh_time_text(p, credential->not_before),
                          gh_time_text(p, credential->not_after));
}

/* Public keys are compared, no trial signature is made. */
static X509 *certificate_of(EVP_PKEY *key, const STACK_OF(X509) *certificates)
{
    X509 *newest = NULL;
    int i;

    for (i = 0; i < sk_X509_num(certificates); i++) {
        X509 *one = sk_X509_value(certificates, i);
        EVP_PKEY *public_key = X509_get0_pubkey(one);

        if (public_key != NULL && EVP_PKEY_eq(public_key, key) == 1
            && (newest == NULL
                || gh_certificate_not_after(one) > gh_certificate_not_after(newest)))
            newest = one;
    }
    return newest;
}

static X509 *above(X509 *certificate, const STACK_OF(X509) *certificates)
{
    int i;

    for (i = 0; i < sk_X509_num(certificates); i++) {
        X509 *one = sk_X509_value(certificates, i);

        if (one != certificate && X509_check_issued(one, certificate) == X509_V_OK
            && X509_check_issued(one, one) != X509_V_OK)
            return one;
    }
    return NULL;
}

/** Whether the file has the root that has issued a certificate, which may be itself. */
static int has_root(X509 *certificate, const STACK_OF(X509) *certificates)
{
    int i;

    for (i = 0; i < sk_X509_num(certificates); i++) {
        X509 *one = sk_X509_value(certificates, i);

        if (X509_check_issued(one, certificate) == X509_V_OK
            && X509_check_issued(one, one) == X509_V_OK)
            return 1;
    }
    return 0;
}

/* The way up as far as the file goes, without the root: who verifies has it. */
static apr_status_t take_chain(escrow_credential_t *credential, X509 *certificate,
                               const STACK_OF(X509) *certificates, apr_pool_t *p)
{
    X509 *chain[CHAIN_MAX];
    X509 *first = certificate;
    apr_size_t size = 0;
    unsigned char *at;
    int count, i;

    for (count = 0; count < CHAIN_MAX; count++) {
        if ((certificate = above(certificate, certificates)) == NULL)
            break;
        chain[count] = certificate;
        size += (apr_size_t)i2d_X509(certificate, NULL);
    }
    credential->rooted = has_root(count > 0 ? chain[count - 1] : first, certificates);
    credential->chain.data = at = apr_palloc(p, size + 1);
    credential->chain.length = size;
    for (i = 0; i < count; i++) {
        if (i2d_X509(chain[i], &at) <= 0)
            return APR_ENOMEM;
    }
    return APR_SUCCESS;
}

static apr_status_t take_key(escrow_credential_t *credential, const escrow_opener_t *opener,
                             PKCS8_PRIV_KEY_INFO *key, apr_pool_t *p)
{
    int length = i2d_PKCS8_PRIV_KEY_INFO(key, NULL);
    unsigned char *at = length > 0 ? gh_locked_alloc(opener->locked, (apr_size_t)length, p) : NULL;

    if (at == NULL)
        return APR_ENOMEM;
    credential->key = (gh_bytes_t) { at, (apr_size_t)length };
    return i2d_PKCS8_PRIV_KEY_INFO(key, &at) == length ? APR_SUCCESS : APR_ENOMEM;
}

static apr_status_t take_certificate(escrow_credential_t *credential, X509 *certificate,
                                     apr_pool_t *p, gh_result_t *result)
{
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);
    apr_status_t rv = length > 0
        ? escrow_credential_take(credential, certificate,
                                 (gh_bytes_t) { der, (apr_size_t)length }, p)
        : APR_ENOMEM;

    OPENSSL_free(der);
    if (rv != APR_SUCCESS)
        gh_result_fail(result, rv, GH_FAILURE_INTERNAL, "pkcs12.memory",
                       "See whether memory is short.",
                       GHNO(1125) "a certificate cannot be copied");
    return rv;
}

apr_status_t escrow_credential_examine(escrow_credential_t **credential,
                                       const escrow_opener_t *opener, PKCS8_PRIV_KEY_INFO *key,
                                       STACK_OF(X509) *certificates, escrow_use_t use,
                                       apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    escrow_credential_t *made = apr_pcalloc(p, sizeof(*made));
    EVP_PKEY *pkey = escrow_key_read(opener, key);
    X509 *certificate;
    apr_status_t rv;

    if (pkey == NULL) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_ALGORITHM, "pkcs12.key",
                            "Use an RSA or EC key.",
                            GHNO(1126) "the private key in the PKCS#12 cannot be read");
        goto cleanup;
    }
    if ((rv = check_strength(pkey, result)) != APR_SUCCESS)
        goto cleanup;
    if ((certificate = certificate_of(pkey, certificates)) == NULL) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "pkcs12.certificate",
                            "Export key and certificate together.",
                            GHNO(1127) "the PKCS#12 has no certificate for its key");
        goto cleanup;
    }
    if ((rv = take_certificate(made, certificate, p, result)) != APR_SUCCESS
        || (rv = check_usage(certificate, pkey, use, result)) != APR_SUCCESS
        || (rv = check_time(made, use, now, p, result)) != APR_SUCCESS)
        goto cleanup;
    if ((rv = take_chain(made, certificate, certificates, p)) != APR_SUCCESS
        || (rv = take_key(made, opener, key, p)) != APR_SUCCESS) {
        rv = gh_result_fail(result, rv, GH_FAILURE_INTERNAL, "pkcs12.memory",
                            "See whether memory is short.",
                            GHNO(1128) "a key cannot be copied");
        goto cleanup;
    }
    *credential = made;

cleanup:
    EVP_PKEY_free(pkey);
    return rv;
}
