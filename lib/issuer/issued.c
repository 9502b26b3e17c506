/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "issuer/issued.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "log.h"
#include "status.h"
#include "text.h"
#include "x509/ca.h"

typedef struct {
    const char *issuer;
    gh_bytes_t serial;
    gh_bytes_t sha256;
    apr_time_t now;
    gh_issued_t *issued;
    apr_pool_t *pool;
} look_t;

static apr_status_t or_none(apr_status_t rv)
{
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    gh_issued_t *issued = look->issued;
    gh_certificate_record_t *record;
    apr_array_header_t *found;
    apr_status_t rv;

    memset(issued, 0, sizeof(*issued));
    rv = gh_certificate_find(transaction, look->issuer, look->serial, &found, look->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (found->nelts != 1) {
        return APR_NOTFOUND;
    }
    record = APR_ARRAY_IDX(found, 0, gh_certificate_record_t *);
    if (record->sha256.length != look->sha256.length
        || memcmp(record->sha256.data, look->sha256.data, look->sha256.length) != 0) {
        return APR_NOTFOUND;
    }
    issued->certificate = record;
    if (record->enrolment) {
        rv = or_none(gh_enrolment_find(transaction, record->enrolment, &issued->enrolment,
                                       look->pool));
    }
    return rv == APR_SUCCESS
        ? or_none(gh_renewal_find(transaction, look->issuer, look->serial, look->now,
                                  &issued->renewal, look->pool)) : rv;
}

apr_status_t gh_issued_find(gh_issued_t *issued, const X509 *certificate, const char *issuer,
                            const char *tenant, apr_time_t now, gh_store_t *store, apr_pool_t *p,
                            gh_result_t *result)
{
    gh_bytes_t der = gh_certificate_der((X509 *)certificate, p);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    look_t look = { .issuer = issuer, .now = now, .issued = issued, .pool = p };
    apr_status_t rv;

    memset(issued, 0, sizeof(*issued));
    look.serial = gh_certificate_serial((X509 *)certificate, p);
    if (!der.length || !look.serial.length
        || EVP_Digest(der.data, der.length, digest, &length, EVP_sha256(), NULL) != 1) {
        ERR_clear_error();
        return APR_NOTFOUND;
    }
    look.sha256.data = digest;
    look.sha256.length = length;
    rv = gh_store_read(store, look_work, &look, result);
    if (rv == APR_SUCCESS && issued->enrolment && issued->enrolment->tenant
        && strcmp(issued->enrolment->tenant, tenant) != 0) {
        rv = APR_NOTFOUND;
    }
    return rv;
}

apr_status_t gh_issued_check_holder(const X509 *certificate, const char *issuer,
                                    const char *tenant, gh_store_t *store, apr_pool_t *p,
                                    gh_result_t *result)
{
    static const char *const action = "Sign the message with a valid certificate of this issuer.";
    apr_time_t now = apr_time_now();
    gh_issued_t issued;
    apr_status_t rv = gh_issued_find(&issued, certificate, issuer, tenant, now, store, p, result);

    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "holder.unknown", action,
                              GHNO(0458) "the certificate that signed the message was not "
                              "issued here");
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (issued.certificate->status != GH_STATUS_GOOD) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "holder.revoked", action,
                              GHNO(0459) "the certificate that signed the message is revoked "
                              "or held");
    }
    if (now < issued.certificate->not_before || now > issued.certificate->not_after) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_TIME, "holder.expired", action,
                              GHNO(0460) "the certificate that signed the message is not valid "
                              "now");
    }
    return APR_SUCCESS;
}
