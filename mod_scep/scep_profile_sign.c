/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Signed configuration profiles: the property list within CMS SignedData. */

#include "mod_scep/scep_profile.h"

#include <apr_strings.h>
#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/x509.h>

#include "log.h"
#include "status.h"
#include "x509/key.h"

struct scep_profile_signer {
    X509 *certificate;
    STACK_OF(X509) *chain;          /* borrows the certificates of the pool */
    EVP_PKEY *key;
};

static apr_status_t free_chain(void *chain)
{
    sk_X509_free(chain);
    return APR_SUCCESS;
}

static apr_status_t no_memory(gh_result_t *result)
{
    return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL,
                             "Look whether memory is short.",
                             GHNO(0506) "the signer of profiles cannot be kept");
}

apr_status_t scep_profile_signer_open(scep_profile_signer_t **made, const char *certificate,
                                      const char *key, apr_pool_t *p, gh_result_t *result)
{
    scep_profile_signer_t *signer = apr_pcalloc(p, sizeof(*signer));
    apr_array_header_t *certificates;
    apr_status_t rv;
    int i;

    if (gh_key_is_token(key)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, NULL, "Name a key file.",
                              GHNO(0507) "profiles are not signed with keys on tokens");
    }
    rv = gh_certificates_open(&certificates, certificate, p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_key_open(&signer->key, key, NULL, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    signer->certificate = APR_ARRAY_IDX(certificates, 0, X509 *);
    if (!gh_key_matches(signer->key, signer->certificate)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, NULL,
                              "Name the certificate of this key; it is the first of its file.",
                              GHNO(0508) "%s is not the key of %s", key, certificate);
    }
    signer->chain = sk_X509_new_null();
    if (!signer->chain) {
        return no_memory(result);
    }
    apr_pool_cleanup_register(p, signer->chain, free_chain, apr_pool_cleanup_null);
    for (i = 1; i < certificates->nelts; ++i) {
        if (!sk_X509_push(signer->chain, APR_ARRAY_IDX(certificates, i, X509 *))) {
            return no_memory(result);
        }
    }
    *made = signer;
    return APR_SUCCESS;
}

apr_status_t scep_profile_sign(gh_bytes_t *der, gh_bytes_t plist,
                               const scep_profile_signer_t *signer, apr_pool_t *p,
                               gh_result_t *result)
{
    const unsigned int flags = CMS_BINARY | CMS_PARTIAL;
    BIO *in = BIO_new_mem_buf(plist.data, (int)plist.length);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, signer->chain, NULL, flags);
    unsigned char *bytes = NULL;
    apr_status_t rv = APR_SUCCESS;
    int length = -1;

    if (in && cms
        && CMS_add1_signer(cms, signer->certificate, signer->key, gh_key_digest(signer->key), flags)
        && CMS_final(cms, in, NULL, flags)) {
        length = i2d_CMS_ContentInfo(cms, &bytes);
    }
    if (length < 0) {
        rv = gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL,
                               "See whether the key of SCEPProfileSigner can sign.",
                               GHNO(0509) "the configuration profile cannot be signed");
    }
    else {
        der->data = apr_pmemdup(p, bytes, (apr_size_t)length);
        der->length = (apr_size_t)length;
        OPENSSL_clear_free(bytes, (size_t)length);
    }
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    return rv;
}
