/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The library contexts of OpenSSL in which credentials are opened and made. */

#include "mod_escrow/escrow_opener.h"

#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>

#include "log.h"
#include "status.h"

static apr_status_t opener_cleanup(void *data)
{
    escrow_opener_t *opener = data;

    OSSL_PROVIDER_unload(opener->legacy);
    OSSL_PROVIDER_unload(opener->standard);
    OSSL_LIB_CTX_free(opener->context);
    return APR_SUCCESS;
}

apr_status_t escrow_opener_create(escrow_opener_t **opener, gh_locked_t *locked,
                                  OSSL_LIB_CTX *decoding, apr_pool_t *p, gh_result_t *result)
{
    escrow_opener_t *made = apr_pcalloc(p, sizeof(*made));

    *opener = NULL;
    made->locked = locked;
    made->context = OSSL_LIB_CTX_new();
    if (made->context != NULL) {
        made->standard = OSSL_PROVIDER_load(made->context, "default");
        made->legacy = OSSL_PROVIDER_load(made->context, "legacy");
    }
    apr_pool_cleanup_register(p, made, opener_cleanup, apr_pool_cleanup_null);
    if (made->legacy == NULL || made->standard == NULL)
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE,
                                 "escrow.provider",
                                 "Install OpenSSL's legacy provider, legacy.so; OPENSSL_MODULES "
                                 "names its folder if it is not where OpenSSL looks.",
                                 GHNO(1115) "old PKCS#12 files cannot be opened");
    made->decoding = decoding;
    *opener = made;
    return APR_SUCCESS;
}

X509 *escrow_certificate_read(const escrow_opener_t *opener, gh_bytes_t der)
{
    X509 *certificate = X509_new_ex(opener != NULL ? opener->decoding : NULL, NULL);
    const unsigned char *at = der.data;

    /* frees it if it fails */
    return certificate != NULL ? d2i_X509(&certificate, &at, (long)der.length) : NULL;
}

EVP_PKEY *escrow_key_read(const escrow_opener_t *opener, const PKCS8_PRIV_KEY_INFO *key)
{
    EVP_PKEY *pkey = opener->decoding != NULL ? EVP_PKCS82PKEY_ex(key, opener->decoding, NULL)
                                              : NULL;

    /* of kinds that are known there alone; what they are is for the caller to judge */
    return pkey != NULL ? pkey : EVP_PKCS82PKEY(key);
}
