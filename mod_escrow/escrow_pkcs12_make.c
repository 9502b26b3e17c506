/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/sha.h>

#include "log.h"
#include "mod_escrow/escrow_opener.h"

/** The password is random and goes along: iterations cost us and nobody else. No fewer
 *  than RFC 8018, 4.2 recommends, as some readers take no fewer. */
#define ITERATIONS  1024

typedef struct {
    int cipher;                         /* NID of the encryption of key and certificates */
    const char *mac;
} form_t;

static const form_t forms[] = {
    [ESCROW_PKCS12_LEGACY] = { NID_pbe_WithSHA1And3_Key_TripleDES_CBC, "SHA1" },
    [ESCROW_PKCS12_MODERN] = { NID_aes_256_cbc, "SHA256" }
};

static int add_chain(STACK_OF(PKCS12_SAFEBAG) **bags, const escrow_opener_t *opener,
                     gh_bytes_t chain)
{
    const unsigned char *at = chain.data, *end = chain.data + chain.length;
    PKCS12_SAFEBAG *bag;
    X509 *one;

    while (at < end) {
        gh_bytes_t rest = { at, (apr_size_t)(end - at) };

        one = escrow_certificate_read(opener, rest);
        bag = one != NULL ? PKCS12_add_cert(bags, one) : NULL;
        at += bag != NULL ? i2d_X509(one, NULL) : 0;
        X509_free(one);
        if (bag == NULL)
            return 0;
    }
    return 1;
}

/** By the thumbprint others find which certificate is that of the key. */
static int name_bag(PKCS12_SAFEBAG *bag, const escrow_credential_t *credential,
                    unsigned char *thumbprint)
{
    const char *name = credential->email ? credential->email : credential->subject;

    return bag != NULL && PKCS12_add_friendlyname_utf8(bag, name, -1)
        && PKCS12_add_localkeyid(bag, thumbprint, SHA_DIGEST_LENGTH);
}

static int add_certificates(STACK_OF(PKCS7) **safes, const escrow_opener_t *opener,
                            const escrow_credential_t *credential, const char *password,
                            const form_t *form, unsigned char *thumbprint)
{
    X509 *certificate = escrow_certificate_read(opener, credential->certificate);
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    int ok = certificate != NULL
        && X509_digest(certificate, EVP_sha1(), thumbprint, NULL)
        && name_bag(PKCS12_add_cert(&bags, certificate), credential, thumbprint)
        && add_chain(&bags, opener, credential->chain)
        && PKCS12_add_safe_ex(safes, bags, form->cipher, ITERATIONS, password, opener->context,
                              NULL);

    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    X509_free(certificate);
    return ok;
}

/* PKCS12_add_key() would take it as an EVP_PKEY: decoded, to be encoded again. */
static int add_key(STACK_OF(PKCS7) **safes, const escrow_opener_t *opener,
                   const escrow_credential_t *credential, const char *password,
                   const form_t *form, unsigned char *thumbprint)
{
    const unsigned char *at = credential->key.data;
    PKCS8_PRIV_KEY_INFO *key = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)credential->key.length);
    STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
    PKCS12_SAFEBAG *bag = NULL;
    int ok;

    if (key != NULL)
        bag = PKCS12_SAFEBAG_create_pkcs8_encrypt_ex(form->cipher, password, -1, NULL, 0,
                                                     ITERATIONS, key, opener->context, NULL);
    ok = bags != NULL && name_bag(bag, credential, thumbprint);
    if (bag != NULL && (bags == NULL || sk_PKCS12_SAFEBAG_push(bags, bag) <= 0)) {
        PKCS12_SAFEBAG_free(bag);
        ok = 0;
    }
    ok = ok && PKCS12_add_safe_ex(safes, bags, -1, 0, NULL, opener->context, NULL);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    PKCS8_PRIV_KEY_INFO_free(key);
    return ok;
}

static void free_safe(PKCS7 *safe)
{
    ASN1_item_free((ASN1_VALUE *)safe, ASN1_ITEM_rptr(PKCS7));
}

static PKCS12 *make(const escrow_opener_t *opener, const escrow_credential_t *credential,
                    const char *password, const form_t *form)
{
    EVP_MD *mac = EVP_MD_fetch(opener->context, form->mac, NULL);
    unsigned char thumbprint[SHA_DIGEST_LENGTH];
    STACK_OF(PKCS7) *safes = NULL;
    PKCS12 *made = NULL;

    if (mac != NULL && add_certificates(&safes, opener, credential, password, form, thumbprint)
        && add_key(&safes, opener, credential, password, form, thumbprint))
        made = PKCS12_add_safes_ex(safes, 0, opener->context, NULL);
    if (made != NULL && !PKCS12_set_mac(made, password, -1, NULL, 0, ITERATIONS, mac)) {
        PKCS12_free(made);
        made = NULL;
    }
    sk_PKCS7_pop_free(safes, free_safe);
    EVP_MD_free(mac);
    return made;
}

apr_status_t escrow_pkcs12_make(gh_bytes_t *der, const escrow_opener_t *opener,
                                const escrow_credential_t *credential, const char *password,
                                escrow_pkcs12_t form, apr_pool_t *p, gh_result_t *result)
{
    PKCS12 *made = make(opener, credential, password, &forms[form]);
    apr_status_t rv = APR_SUCCESS;
    unsigned char *out = NULL;
    int length = 0;

    *der = (gh_bytes_t) { NULL, 0 };
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
    return rv;
}
