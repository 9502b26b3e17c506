/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The back end of a CA whose key is elsewhere, such as the root: its certificate and its CRL are
 * published, nothing is signed. */

#include <apr_file_info.h>
#include <apr_file_io.h>

#include "issuer/authorisation.h"
#include "issuer/issuer.h"
#include "log.h"
#include "status.h"

/* A CRL of a quarter of a million entries has about 10 MB. */
#define CRL_FILE_MAX (64 * 1024 * 1024)

static apr_status_t offline_load(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    if (gh_issuer_config(issuer)->key) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.key",
                              "Remove IssuerKey, or say IssuerBackend local.",
                              GHNO(0015) "issuer %s is offline but has an IssuerKey",
                              gh_issuer_name(issuer));
    }
    return APR_SUCCESS;
}

static apr_status_t offline_child_init(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    return APR_SUCCESS;
}

static apr_status_t offline_enrol(gh_issuer_t *issuer, const gh_authorisation_t *authorisation,
                                  X509 **certificate, apr_pool_t *p, gh_result_t *result)
{
    *certificate = NULL;
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, "issuer.offline",
                          "Use an issuer whose key is configured.",
                          GHNO(0016) "issuer %s is offline and issues nothing",
                          gh_issuer_name(issuer));
}

apr_status_t gh_issuer_crl_file(gh_issuer_t *issuer, gh_bytes_t *der, apr_pool_t *p,
                                gh_result_t *result)
{
    const char *path = gh_issuer_config(issuer)->crl_file;
    apr_finfo_t info;
    apr_file_t *file = NULL;
    char *data = NULL;
    apr_size_t length = 0;
    apr_status_t rv;

    if (!path) {
        return APR_NOTFOUND;
    }
    rv = apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BINARY, APR_FPROT_OS_DEFAULT, p);
    if (rv == APR_SUCCESS) {
        rv = apr_file_info_get(&info, APR_FINFO_SIZE, file);
    }
    if (rv == APR_SUCCESS && info.size > CRL_FILE_MAX) {
        rv = APR_ENOSPC;
    }
    if (rv == APR_SUCCESS) {
        data = apr_palloc(p, (apr_size_t)info.size + 1);
        rv = apr_file_read_full(file, data, (apr_size_t)info.size, &length);
    }
    if (file) {
        apr_file_close(file);
    }
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "issuer.crl",
                              "Check the path in IssuerCRL file= and that httpd's user may "
                              "read it.",
                              GHNO(0017) "issuer %s: the CRL file %s cannot be read",
                              gh_issuer_name(issuer), path);
    }
    der->data = (const unsigned char *)data;
    der->length = length;
    return APR_SUCCESS;
}

static X509 *offline_next_certificate(gh_issuer_t *issuer)
{
    return NULL;
}

static const gh_ca_t *offline_crl_signer(gh_issuer_t *issuer)
{
    return NULL;
}

const gh_issuer_backend_t gh_issuer_offline = {
    .name = "offline",
    .load = offline_load,
    .child_init = offline_child_init,
    .enrol = offline_enrol,
    .crl_signer = offline_crl_signer,
    .crl = gh_issuer_crl_file,
    .next_certificate = offline_next_certificate,
};
