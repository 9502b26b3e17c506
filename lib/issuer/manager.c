/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Device managers: who signs with one of their certificates enrols on behalf of devices. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>

#include "issuer/authorisation.h"
#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/key.h"
#include "x509/name.h"

typedef struct {
    gh_bytes_t serial;
    gh_bytes_t der;
    gh_status_t status;
    apr_pool_t *pool;
} status_t;

/* Whether one of our own issuers has issued it, and taken it back since. */
static apr_status_t status_work(gh_transaction_t *transaction, void *baton)
{
    status_t *status = baton;
    apr_array_header_t *found;
    apr_status_t rv;
    int i;

    status->status = GH_STATUS_GOOD;
    rv = gh_certificate_find(transaction, NULL, status->serial, &found, status->pool);
    for (i = 0; rv == APR_SUCCESS && i < found->nelts; ++i) {
        const gh_certificate_record_t *record =
            APR_ARRAY_IDX(found, i, gh_certificate_record_t *);

        if (record->der.length == status->der.length
            && !memcmp(record->der.data, status->der.data, status->der.length)) {
            status->status = record->status;
        }
    }
    return rv;
}

int gh_manager_is(const apr_array_header_t *managers, const X509 *certificate)
{
    int i, found = 0;

    /* all of the signed part and the signature, by bytes */
    for (i = 0; managers && certificate && i < managers->nelts; ++i) {
        X509 *manager = APR_ARRAY_IDX(managers, i, X509 *);
        const ASN1_BIT_STRING *one, *other;

        X509_get0_signature(&one, NULL, manager);
        X509_get0_signature(&other, NULL, certificate);
        found |= !X509_cmp(manager, certificate)
            && ASN1_STRING_length(one) == ASN1_STRING_length(other)
            && !memcmp(ASN1_STRING_get0_data(one), ASN1_STRING_get0_data(other),
                       (size_t)ASN1_STRING_length(one));
    }
    return found;
}

static apr_status_t refuse(gh_result_t *result, const char *what, const char *who)
{
    gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, "manager",
                   "Sign with the certificate of a device manager of this endpoint.",
                   GHNO(0473) "the message is not signed by a device manager that may enrol here");
    gh_result_cause(result, "%s%s", what, who);
    return GH_EREFUSED;
}

static apr_status_t check_manager(const gh_authoriser_t *authoriser, gh_store_t *store,
                                  const gh_enrolment_request_t *request, gh_grant_t *grant,
                                  apr_pool_t *p, gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    status_t status = { .pool = p };
    const char *subject;
    apr_status_t rv;

    if (!gh_manager_is(authoriser->data, request->signer)) {
        return refuse(result, "its signer is no manager", "");
    }
    /* What a manager has signed that may not sign any more is not to be tried otherwise. */
    grant->final = 1;
    subject = gh_name_text(X509_get_subject_name(request->signer), p);
    if (now < gh_certificate_not_before(request->signer)
        || now > gh_certificate_not_after(request->signer)) {
        return refuse(result, "expired or not yet valid: the certificate of manager ", subject);
    }
    status.serial = gh_certificate_serial(request->signer, p);
    status.der = gh_certificate_der(request->signer, p);
    rv = gh_store_read(store, status_work, &status, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (status.status != GH_STATUS_GOOD) {
        return refuse(result, "revoked or held: the certificate of manager ", subject);
    }
    grant->final = 0;
    grant->rule = "manager";
    grant->message = apr_pstrcat(p, "signed by device manager ", subject, NULL);
    return APR_SUCCESS;
}

gh_authoriser_t *gh_authoriser_manager(const apr_array_header_t *managers, apr_pool_t *p)
{
    gh_authoriser_t *authoriser = apr_pcalloc(p, sizeof(*authoriser));

    authoriser->name = "manager";
    authoriser->data = (void *)managers;
    authoriser->check = check_manager;
    return authoriser;
}
