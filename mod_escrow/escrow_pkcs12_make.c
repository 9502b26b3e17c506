/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>

#include "log.h"
#include "mod_escrow/escrow_opener.h"

/** The password is random and goes along: iterations cost us and nobody else. */
#define ITERATIONS  2048

typedef struct {
    int cipher;                         /* NID of the encryption of key and certificates */
    const char *mac;
} form_t;

static const form_t forms[] = {
    [ESCROW_PKCS12_LEGACY] = { NID_pbe_WithSHA1And3_Key_TripleDES_CBC, "SHA1" },
    [ESCROW_PKCS12_MODERN] = { NID_aes_256_cbc, "SHA256" }
};

static int read_chain(STACK_OF(X509) *stack, gh_bytes_t chain)
{
    const unsigned char *at = chain.data, *end = chain.data + chain.length;
    X509 *one;

    while (at < end) {
        one = d2i_X509(NULL, &at, (long)(end - at));
        if (one == NULL || sk_X509_push(stack, one) <= 0) {
            X509_free(one);
            return 0;
        }
    }
    return 1;
}

static EVP_PKEY *read_key(gh_bytes_t der)
{
    const unsigned char *at = der.data;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)der.length);
    EVP_PKEY *key = info != NULL ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

static PKCS12 *make(const escrow_opener_t *opener, const escrow_credential_t *credential,
                    EVP_PKEY *key, X509 *certificate, STACK_OF(X509) *chain,
                    const char *password, const form_t *form)
{
    EVP_MD *mac = EVP_MD_fetch(opener->context, form->mac, NULL);
    const char *name = credential->email ? credential->email : credential->subject;
    PKCS12 *made = NULL;

    /* PKCS12_create_ex() would take SHA-256 for the MAC: -1 leaves it out */
    if (mac != NULL)
        made = PKCS12_create_ex(password, name, key, certificate, chain, form->cipher,
                                form->cipher, ITERATIONS, -1, 0, opener->context, NULL);
    if (made != NULL && !PKCS12_set_mac(made, password, -1, NULL, 0, ITERATIONS, mac)) {
        PKCS12_free(made);
        made = NULL;
    }
    EVP_MD_free(mac);
    return made;
}

apr_status_t escrow_pkcs12_make(gh_bytes_t *der, const escrow_opener_t *opener,
                                const escrow_credential_t *credential, const char *password,
                                escrow_pkcs12_t form, apr_pool_t *p, gh_result_t *result)
{
    const unsigned char *at = credential->certificate.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)credential->certificate.length);
    STACK_OF(X509) *chain = sk_X509_new_null();
    EVP_PKEY *key = read_key(credential->key);
    PKCS12 *made = NULL;
    apr_status_t rv = APR_SUCCESS;
    unsigned char *out = NULL;
    int length = 0;

    *der = (gh_bytes_t) { NULL, 0 };
    if (certificate != NULL && key != NULL && chain != NULL && read_chain(chain, credential->chain))
        made = make(opener, credential, key, certificate, chain, password, &forms[form]);
    if (made != NULL && (length = i2d_PKCS12(made, NULL)) > 0)
        out = gh_locked_alloc(opener->locked, (apr_size_t)length, p);
    if (out != NULL) {
        *der = (gh_bytes_t) { out, (apr_size_t)length };
        i2d_PKCS12(made, &out);
    }
    else {
        rv = gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, "pkcs12.make",
                               "See the OpenSSL error in the message.",
                               GHNO(1143) "a PKCS#12 for a device cannot be made");
    }
    PKCS12_free(made);
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
    X509_free(certificate);
    return rv;
}
