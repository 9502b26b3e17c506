/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_wstep/wstep_trust.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "status.h"
#include "x509/own.h"

/** Security of keys and digests of a chain, as OpenSSL counts it: 112 bits. */
#define AUTH_LEVEL 2

struct wstep_trust {
    X509_STORE *store;
    const char *file;               /* NULL: without revocation */
};

static apr_status_t free_store(void *data)
{
    X509_STORE_free(data);
    return APR_SUCCESS;
}

static int no_passphrase(char *buffer, int size, int writing, void *data)
{
    return -1;
}

static apr_status_t bad_file(gh_result_t *result, const char *path, const char *what)
{
    ERR_clear_error();
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "trust.file",
                          "Give CA certificates and their CRLs in PEM; no-crl if nobody is to "
                          "look whether certificates are revoked.",
                          GHNO(1489) "%s: %s", path, what);
}

/** @return what is wrong, or NULL */
static const char *take_all(wstep_trust_t *trust, STACK_OF(X509_INFO) *infos, int revocation)
{
    int i, certificates = 0, crls = 0;

    for (i = 0; infos && i < sk_X509_INFO_num(infos); ++i) {
        const X509_INFO *info = sk_X509_INFO_value(infos, i);

        if (info->x509 && X509_check_ca(info->x509) < 1) {
            return "there is a certificate in it that is no CA's";
        }
        if ((info->x509 && !X509_STORE_add_cert(trust->store, info->x509))
            || (info->crl && !X509_STORE_add_crl(trust->store, info->crl))) {
            return "it cannot be taken up";
        }
        certificates += info->x509 != NULL;
        crls += info->crl != NULL;
    }
    if (!certificates) {
        return "there is no certificate in it";
    }
    return revocation && !crls ? "there is no CRL in it" : NULL;
}

apr_status_t wstep_trust_read(wstep_trust_t **trust, const char *path, int revocation,
                              apr_pool_t *p, gh_result_t *result)
{
    wstep_trust_t *made = apr_pcalloc(p, sizeof(*made));
    X509_VERIFY_PARAM *rules = X509_VERIFY_PARAM_new();
    STACK_OF(X509_INFO) *infos = NULL;
    const char *wrong = "there is no memory for it";
    gh_file_t file;
    BIO *bio = NULL;
    apr_status_t rv = gh_file_read(&file, path, p, result);

    *trust = NULL;
    if (rv != APR_SUCCESS) {
        goto cleanup;
    }
    made->file = revocation ? path : NULL;
    made->store = X509_STORE_new();
    apr_pool_cleanup_register(p, made->store, free_store, apr_pool_cleanup_null);
    bio = BIO_new_mem_buf(file.bytes.data, (int)file.bytes.length);
    if (made->store && bio && rules) {
        infos = PEM_X509_INFO_read_bio(bio, NULL, no_passphrase, NULL);
        wrong = take_all(made, infos, revocation);
        X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_PARTIAL_CHAIN
                                               | (revocation ? X509_V_FLAG_CRL_CHECK : 0));
        X509_VERIFY_PARAM_set_purpose(rules, X509_PURPOSE_SSL_CLIENT);
        X509_VERIFY_PARAM_set_auth_level(rules, AUTH_LEVEL);
        X509_STORE_set1_param(made->store, rules);
    }
    rv = wrong ? bad_file(result, path, wrong) : APR_SUCCESS;
    *trust = wrong ? NULL : made;

cleanup:
    sk_X509_INFO_pop_free(infos, X509_INFO_free);
    X509_VERIFY_PARAM_free(rules);
    BIO_free(bio);
    return rv;
}

const char *wstep_trust_file(const wstep_trust_t *trust)
{
    return trust ? trust->file : NULL;
}

apr_status_t wstep_trust_check(const wstep_trust_t *trust, X509 *certificate, gh_result_t *result)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    int error = X509_V_ERR_OUT_OF_MEM;

    if (context && X509_STORE_CTX_init(context, trust->store, certificate, NULL)) {
        /* a CA's own certificate would be trusted for being in the file */
        error = X509_check_ca(certificate) >= 1 ? X509_V_ERR_INVALID_PURPOSE
            : X509_verify_cert(context) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context);
    }
    X509_STORE_CTX_free(context);
    ERR_clear_error();
    if (error == X509_V_OK) {
        return APR_SUCCESS;
    }
    if (error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        || error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
        || error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT) {
        return APR_NOTFOUND;
    }
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "trust.certificate",
                          "Show a valid certificate; renew the CRL in the file of WSTEPClientCA.",
                          GHNO(1490) "the certificate of the caller is not accepted: %s",
                          X509_verify_cert_error_string(error));
}
