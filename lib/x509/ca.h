/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_ca_h
#define gatehouse_x509_ca_h

#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"
#include "x509/plan.h"

/*
 * A CA that signs: certificates and CRLs (RFC 5280). Parsed once, then used by any number of
 * threads. Knows nothing of stores or protocols.
 */

typedef struct gh_ca gh_ca_t;

/** What does not change from one certificate to the next. */
typedef struct {
    const char *crl_url;        /* cRLDistributionPoints, NULL: none */
    const char *issuer_url;     /* AIA caIssuers, NULL: none */
    const char *ocsp_url;       /* AIA ocsp, NULL: none */
    apr_interval_time_t backdate;   /* notBefore lies this much before now; 0: 5 minutes */
} gh_ca_urls_t;

/**
 * @param certificate, key owned by the caller and outliving p; key NULL: nothing can be signed yet
 * @return APR_EINVAL if the certificate is not a CA's, has a keyUsage without keyCertSign, or does
 *         not fit the key
 */
apr_status_t gh_ca_create(gh_ca_t **ca, X509 *certificate, EVP_PKEY *key,
                          const gh_ca_urls_t *urls, apr_pool_t *p, gh_result_t *result);

X509 *gh_ca_certificate(const gh_ca_t *ca);                /* borrowed */

/**
 * Issues a certificate: version 3, random positive serial of 16 to 20 bytes, validity from
 * now - backdate for at most the plan's and never past the CA's own end, subjectKeyIdentifier by
 * RFC 7093 method 1, authorityKeyIdentifier equal to the CA's subjectKeyIdentifier, distribution
 * point and AIA unless the plan wants no locations, the plan's extensions; digest by the CA's key.
 * Thread-safe.
 * The new certificate is made for its bytes: X509_get0_pubkey() of one that was made for a request
 * gives NULL (gh_plan_key() has the key, gh_certificate_parse() reads the certificate anew).
 *
 * @param certificate owned by p
 * @return GH_EREFUSED if the CA's path length or end forbids it; GH_EUNAVAILABLE if the key fails
 */
apr_status_t gh_ca_issue(X509 **certificate, const gh_ca_t *ca, const gh_plan_t *plan,
                         apr_time_t now, apr_pool_t *p, gh_result_t *result);

/** Makes a self-signed root from a plan that says cA. Errors as gh_ca_issue(). */
apr_status_t gh_ca_self_sign(X509 **certificate, const gh_plan_t *plan, EVP_PKEY *key,
                             apr_interval_time_t backdate, apr_time_t now, apr_pool_t *p,
                             gh_result_t *result);

/* CRLs (version 2, complete, with cRLNumber and authorityKeyIdentifier) */

typedef struct gh_crl_builder gh_crl_builder_t;

apr_status_t gh_crl_begin(gh_crl_builder_t **builder, const gh_ca_t *ca, apr_int64_t number,
                          apr_time_t this_update, apr_time_t next_update, apr_pool_t *p,
                          gh_result_t *result);

/** @param reason CRLReason; 0 and GH_REASON_NONE leave the extension out
 *  @param invalid_from invalidityDate, 0: none */
apr_status_t gh_crl_add(gh_crl_builder_t *builder, gh_bytes_t serial, apr_time_t revoked_at,
                        int reason, apr_time_t invalid_from);

/** Signs. @param der owned by p */
apr_status_t gh_crl_finish(gh_crl_builder_t *builder, gh_bytes_t *der, apr_pool_t *p,
                           gh_result_t *result);

/** CRLReason by its RFC 5280 name ("keyCompromise"), case-insensitively; -2 for an unknown one. */
int gh_reason_parse(const char *name);
/** NULL for GH_REASON_NONE and unknown numbers. */
const char *gh_reason_name(int reason);

/* Reading certificates */

/** DER, in p. */
gh_bytes_t gh_certificate_der(X509 *certificate, apr_pool_t *p);
/** As gh_serial_parse() gives it, in p. */
gh_bytes_t gh_certificate_serial(X509 *certificate, apr_pool_t *p);
apr_time_t gh_certificate_not_before(X509 *certificate);
apr_time_t gh_certificate_not_after(X509 *certificate);
/** @return NULL for malformed DER or bytes behind it; owned by p */
X509 *gh_certificate_parse(gh_bytes_t der, apr_pool_t *p);

#endif /* gatehouse_x509_ca_h */
