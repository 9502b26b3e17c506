/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* From parsed certificates and keys to what the engine uses. */

#include "mod_scep/scep_ra.h"

#include <string.h>

#include <apr_strings.h>

#include "mod_scep/scep_asn1.h"
#include "x509/ca.h"

#define DECOY_NAME "scep-ra"

static apr_status_t make_decoy(gh_bytes_t *der, EVP_PKEY *key, apr_pool_t *p)
{
    X509_REQ *request = X509_REQ_new();
    X509_NAME *subject = X509_NAME_new();
    unsigned char *encoded = NULL;
    apr_status_t rv = APR_EGENERAL;
    int length;

    if (!request || !subject
        || !X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC,
                                       (const unsigned char *)DECOY_NAME, -1, -1, 0)
        || !X509_REQ_set_subject_name(request, subject) || !X509_REQ_set_pubkey(request, key)
        || !X509_REQ_sign(request, key, EVP_sha256())) {
        goto cleanup;
    }
    length = i2d_X509_REQ(request, &encoded);
    if (length > 0) {
        der->data = apr_pmemdup(p, encoded, (apr_size_t)length);
        der->length = (apr_size_t)length;
        rv = APR_SUCCESS;
    }

cleanup:
    OPENSSL_free(encoded);
    X509_NAME_free(subject);
    X509_REQ_free(request);
    return rv;
}

/** The newest that is valid: others may have made one whose time comes by their clock only. */
static const scep_recipient_t *choose_current(const apr_array_header_t *recipients, apr_time_t now)
{
    int i;

    for (i = 0; i < recipients->nelts; ++i) {
        const scep_recipient_t *one = &APR_ARRAY_IDX(recipients, i, scep_recipient_t);
        if (gh_certificate_not_before(one->certificate) <= now) {
            return one;
        }
    }
    return &APR_ARRAY_IDX(recipients, 0, scep_recipient_t);
}

apr_status_t scep_ra_keys_make(scep_ra_keys_t **out, gh_issuer_t *issuer,
                               const apr_array_header_t *recipients, OSSL_LIB_CTX *decoding,
                               apr_pool_t *p, gh_result_t *result)
{
    const apr_array_header_t *chain = gh_issuer_chain(issuer);
    apr_array_header_t *all = apr_array_make(p, 4, sizeof(gh_bytes_t));
    apr_array_header_t *above = apr_array_make(p, 4, sizeof(gh_bytes_t));
    apr_array_header_t *authorities = apr_array_make(p, 4, sizeof(X509 *));
    scep_ra_keys_t *keys = apr_pcalloc(p, sizeof(*keys));
    apr_status_t rv;
    int i;

    *out = NULL;
    keys->recipients = recipients;
    keys->current = choose_current(recipients, apr_time_now());
    keys->not_after = gh_certificate_not_after(keys->current->certificate);
    keys->first_end = keys->not_after;
    for (i = 0; i < recipients->nelts; ++i) {
        apr_time_t end = gh_certificate_not_after(
            APR_ARRAY_IDX(recipients, i, scep_recipient_t).certificate);
        keys->first_end = end < keys->first_end ? end : keys->first_end;
    }
    keys->renew_at = keys->not_after;
    keys->issuer_certificate = gh_issuer_certificate_der(issuer);
    APR_ARRAY_PUSH(authorities, X509 *) = gh_issuer_certificate(issuer);
    for (i = 0; chain && i < chain->nelts; ++i) {
        APR_ARRAY_PUSH(above, gh_bytes_t) = gh_certificate_der(APR_ARRAY_IDX(chain, i, X509 *), p);
        APR_ARRAY_PUSH(authorities, X509 *) = APR_ARRAY_IDX(chain, i, X509 *);
    }
    keys->chain = above;
    keys->authorities = authorities;
    APR_ARRAY_PUSH(all, gh_bytes_t) = gh_certificate_der(keys->current->certificate, p);
    APR_ARRAY_PUSH(all, gh_bytes_t) = keys->issuer_certificate;
    apr_array_cat(all, above);
    rv = scep_certs_only(&keys->ca_certificates, all, p);
    if (rv == APR_SUCCESS) {
        rv = make_decoy(&keys->decoy, keys->current->key, p);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_csr_parse(&keys->parsed_decoy, keys->decoy.data, keys->decoy.length, decoding,
                          p, NULL);
    }
    if (rv != APR_SUCCESS) {
        return gh_result_openssl(result, rv, GH_FAILURE_INTERNAL, "ra.prepare",
                                 "Report this with the log lines around it.",
                                 GHNO(0207) "the RA of issuer %s cannot be prepared",
                                 gh_issuer_name(issuer));
    }
    *out = keys;
    return APR_SUCCESS;
}

const apr_array_header_t *scep_ra_recipients(const scep_ra_keys_t *keys, apr_pool_t *p)
{
    apr_time_t now = apr_time_now();
    apr_array_header_t *left;
    int i;

    if (now < keys->first_end) {
        return keys->recipients;
    }
    left = apr_array_make(p, keys->recipients->nelts, sizeof(scep_recipient_t));
    for (i = 0; i < keys->recipients->nelts; ++i) {
        const scep_recipient_t *one = &APR_ARRAY_IDX(keys->recipients, i, scep_recipient_t);
        if (now < gh_certificate_not_after(one->certificate)) {
            APR_ARRAY_PUSH(left, scep_recipient_t) = *one;
        }
    }
    return left;
}
