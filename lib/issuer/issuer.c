/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <apr_strings.h>
#include <openssl/x509v3.h>

#include "issuer/issuer.h"
#include "x509/key.h"
#include "x509/name.h"

struct gh_issuer {
    const char *name;
    const gh_issuer_backend_t *backend;
    gh_issuer_config_t config;
    X509 *certificate;
    gh_bytes_t certificate_der;
    gh_bytes_t key_sha256;
    X509_NAME *ra_name;
    apr_array_header_t *chain;
    gh_issuer_t *next;
    void *data;
};

gh_issuer_t *gh_issuer_create(const char *name, const gh_issuer_backend_t *backend, apr_pool_t *p)
{
    gh_issuer_t *issuer;

    if (!gh_name_valid(name)) {
        return NULL;
    }
    issuer = apr_pcalloc(p, sizeof(*issuer));
    issuer->name = apr_pstrdup(p, name);
    issuer->backend = backend;
    issuer->chain = apr_array_make(p, 2, sizeof(X509 *));
    issuer->config.crl_validity = apr_time_from_sec(7 * 86400);
    issuer->config.crl_publish = apr_time_from_sec(86400);
    issuer->config.crl_delay = apr_time_from_sec(60);
    issuer->config.deadline = apr_time_from_sec(24 * 3600);
    return issuer;
}

gh_issuer_config_t *gh_issuer_config(gh_issuer_t *issuer)
{
    return &issuer->config;
}

const char *gh_issuer_name(const gh_issuer_t *issuer)
{
    return issuer->name;
}

const gh_issuer_backend_t *gh_issuer_backend(const gh_issuer_t *issuer)
{
    return issuer->backend;
}

X509 *gh_issuer_certificate(const gh_issuer_t *issuer)
{
    return issuer->certificate;
}

gh_bytes_t gh_issuer_certificate_der(const gh_issuer_t *issuer)
{
    return issuer->certificate_der;
}

gh_bytes_t gh_issuer_key_sha256(const gh_issuer_t *issuer)
{
    return issuer->key_sha256;
}

const apr_array_header_t *gh_issuer_chain(const gh_issuer_t *issuer)
{
    return issuer->chain;
}

const char *gh_issuer_ra_subject(const gh_issuer_t *issuer, apr_pool_t *p)
{
    return apr_psprintf(p, "CN=%s SCEP RA", issuer->name);
}

int gh_issuer_has_name(const gh_issuer_t *issuer, const X509_NAME *subject)
{
    int i;

    if (X509_NAME_cmp(subject, X509_get_subject_name(issuer->certificate)) == 0
        || X509_NAME_cmp(subject, issuer->ra_name) == 0) {
        return 1;
    }
    for (i = 0; i < issuer->chain->nelts; ++i) {
        if (X509_NAME_cmp(subject, X509_get_subject_name(APR_ARRAY_IDX(issuer->chain, i, X509 *)))
            == 0) {
            return 1;
        }
    }
    return 0;
}

void gh_issuer_set_next(gh_issuer_t *issuer, gh_issuer_t *next)
{
    issuer->next = next;
}

gh_issuer_t *gh_issuer_next(const gh_issuer_t *issuer)
{
    return issuer->next;
}

gh_issuer_t *gh_issuer_at(gh_issuer_t *issuer, apr_time_t now)
{
    while (issuer->next && issuer->config.next_from && issuer->config.next_from <= now) {
        issuer = issuer->next;
    }
    return issuer;
}

void gh_issuer_set_data(gh_issuer_t *issuer, void *data)
{
    issuer->data = data;
}

void *gh_issuer_data(const gh_issuer_t *issuer)
{
    return issuer->data;
}

gh_ca_urls_t gh_issuer_urls(const gh_issuer_t *issuer, apr_pool_t *p)
{
    gh_ca_urls_t urls = { NULL, NULL, NULL, 0 };

    if (issuer->config.public_url) {
        urls.crl_url = apr_pstrcat(p, issuer->config.public_url, "/crl/", issuer->name, ".crl",
                                   NULL);
        urls.issuer_url = apr_pstrcat(p, issuer->config.public_url, "/ca/", issuer->name, ".cer",
                                      NULL);
    }
    urls.ocsp_url = issuer->config.ocsp_url;
    return urls;
}

static apr_status_t check_certificate(gh_issuer_t *issuer, apr_time_t now, gh_result_t *result)
{
    if (!X509_check_ca(issuer->certificate)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.certificate",
                              "IssuerCertificate names the certificate of the CA that signs.",
                              GHNO(0007) "issuer %s: %s is not a CA certificate", issuer->name,
                              issuer->config.certificate);
    }
    if (gh_certificate_not_after(issuer->certificate) <= now
        || gh_certificate_not_before(issuer->certificate) > now) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_TIME, "issuer.certificate",
                              "Renew the CA certificate, or correct this machine's clock.",
                              GHNO(0008) "issuer %s: the CA certificate %s is not valid at this "
                              "time", issuer->name, issuer->config.certificate);
    }
    return APR_SUCCESS;
}

/* Each certificate must have signed the one before it; the file may begin with the CA itself. */
static apr_status_t load_chain(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *certificates;
    X509 *below = issuer->certificate;
    apr_status_t rv;
    int i;

    rv = gh_certificates_open(&certificates, issuer->config.chain, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (i = 0; i < certificates->nelts; ++i) {
        X509 *above = APR_ARRAY_IDX(certificates, i, X509 *);

        if (i == 0 && !X509_cmp(above, issuer->certificate)) {
            continue;
        }
        if (X509_check_issued(above, below) != X509_V_OK
            || X509_verify(below, X509_get0_pubkey(above)) != 1) {
            return gh_result_openssl(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.chain",
                                     "Order the PEM file from the CA that signed the issuer's "
                                     "certificate up to the root.",
                                     GHNO(0009) "issuer %s: certificate %d of %s did not sign the "
                                     "one before it", issuer->name, i + 1, issuer->config.chain);
        }
        APR_ARRAY_PUSH(issuer->chain, X509 *) = above;
        below = above;
    }
    return APR_SUCCESS;
}

/* What follows from the certificate. */
static apr_status_t take_certificate(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    issuer->certificate_der = gh_certificate_der(issuer->certificate, p);
    issuer->key_sha256 = gh_key_sha256(X509_get0_pubkey(issuer->certificate), p);
    return gh_name_parse(&issuer->ra_name, gh_issuer_ra_subject(issuer, p), p, result);
}

apr_status_t gh_issuer_load(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv;

    if (!issuer->config.certificate) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.certificate",
                              "Add IssuerCertificate with the path of the CA certificate.",
                              GHNO(0010) "issuer %s has no IssuerCertificate", issuer->name);
    }
    rv = gh_certificate_open(&issuer->certificate, issuer->config.certificate,
                             issuer->config.passphrase, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = check_certificate(issuer, apr_time_now(), result);
    if (rv == APR_SUCCESS) {
        rv = take_certificate(issuer, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_array_clear(issuer->chain);
    if (issuer->config.chain) {
        rv = load_chain(issuer, p, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return issuer->backend->load(issuer, p, result);
}

apr_status_t gh_issuer_take(gh_issuer_t *issuer, gh_bytes_t certificate,
                            const apr_array_header_t *chain, apr_pool_t *p, gh_result_t *result)
{
    int i;

    issuer->certificate = gh_certificate_parse(certificate, p);
    apr_array_clear(issuer->chain);
    for (i = 0; i < chain->nelts; ++i) {
        APR_ARRAY_PUSH(issuer->chain, X509 *) =
            gh_certificate_parse(APR_ARRAY_IDX(chain, i, gh_bytes_t), p);
    }
    for (i = 0; issuer->certificate && i < chain->nelts; ++i) {
        if (!APR_ARRAY_IDX(issuer->chain, i, X509 *)) {
            issuer->certificate = NULL;
        }
    }
    if (!issuer->certificate) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "issuer.certificate",
                              "This is a fault of Gatehouse: report it.",
                              GHNO(0773) "issuer %s: a certificate that was handed over cannot be "
                              "read", issuer->name);
    }
    return take_certificate(issuer, p, result);
}

apr_status_t gh_issuer_child_init(gh_issuer_t *issuer, apr_pool_t *p, gh_result_t *result)
{
    return issuer->backend->child_init(issuer, p, result);
}

int gh_issuer_usable(gh_issuer_t *issuer)
{
    return !issuer->backend->usable || issuer->backend->usable(issuer);
}

void gh_issuer_suspect(gh_issuer_t *issuer)
{
    if (issuer->backend->suspect) {
        issuer->backend->suspect(issuer);
    }
}
