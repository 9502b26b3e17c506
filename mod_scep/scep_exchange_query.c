/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* GetCert and GetCRL (RFC 8894 3.3.4, 3.3.5): for who holds a certificate of this issuer. CRLs are
 * also at their URL, for everybody. */

#include <string.h>

#include "issuer/issued.h"
#include "issuer/publisher.h"
#include "mod_scep/scep_exchange.h"
#include "status.h"
#include "store/certificates.h"
#include "store/enrolments.h"
#include "x509/ca.h"

typedef struct {
    const char *issuer;
    const char *tenant;
    gh_bytes_t serial;
    gh_certificate_record_t *record;    /* NULL: there is none for this tenant */
    apr_pool_t *pool;
} find_t;

static apr_status_t find_work(gh_transaction_t *transaction, void *baton)
{
    find_t *find = baton;
    gh_certificate_record_t *record;
    gh_enrolment_record_t *enrolment;
    apr_array_header_t *found;
    apr_status_t rv;

    find->record = NULL;
    rv = gh_certificate_find(transaction, find->issuer, find->serial, &found, find->pool);
    if (rv != APR_SUCCESS || found->nelts != 1) {
        return rv;
    }
    record = APR_ARRAY_IDX(found, 0, gh_certificate_record_t *);
    if (record->enrolment) {
        rv = gh_enrolment_find(transaction, record->enrolment, &enrolment, find->pool);
        if (rv == APR_SUCCESS && enrolment->tenant && strcmp(enrolment->tenant, find->tenant)) {
            return APR_SUCCESS;
        }
        rv = rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    find->record = record;
    return rv;
}

static apr_status_t answer_certificate(scep_exchange_t *x, const ASN1_INTEGER *serial)
{
    find_t find = {
        .issuer = x->issuer, .tenant = x->endpoint->tenant, .pool = x->p
    };
    apr_array_header_t *certificates;
    apr_status_t rv = APR_SUCCESS;

    find.serial.data = ASN1_STRING_get0_data(serial);
    find.serial.length = (apr_size_t)ASN1_STRING_length(serial);
    if (find.serial.length && find.serial.length <= 20) {
        rv = gh_store_read(x->services->store, find_work, &find, &x->result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!find.record) {
        return gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_NOT_FOUND, "query.certificate",
                              "Ask the issuer of the certificate.",
                              GHNO(0463) "this issuer has no certificate with the serial number "
                                         "that GetCert names");
    }
    certificates = apr_array_make(x->p, 1, sizeof(gh_bytes_t));
    APR_ARRAY_PUSH(certificates, gh_bytes_t) = find.record->der;
    x->reply.certificates = certificates;
    x->request->event->serial = gh_hex(x->p, find.serial.data, find.serial.length);
    return APR_SUCCESS;
}

static apr_status_t answer_crl(scep_exchange_t *x)
{
    const gh_crl_t *crl;

    if (!x->services->publisher
        || gh_publisher_crl(x->services->publisher, x->issuer, &crl, x->p)
               != APR_SUCCESS) {
        return gh_result_fail(&x->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "query.crl",
                              "Wait a second, and see the error log for why none can be made.",
                              GHNO(0464) "no CRL of issuer %s was published yet",
                              x->issuer);
    }
    x->reply.crl = crl->der;
    return APR_SUCCESS;
}

/** @return NULL if the content is not one IssuerAndSerialNumber of this issuer */
static SCEP_ISSUER_AND_SERIAL *read_names(scep_exchange_t *x, gh_bytes_t content)
{
    const unsigned char *at = content.data;
    SCEP_ISSUER_AND_SERIAL *names = d2i_SCEP_ISSUER_AND_SERIAL(NULL, &at, (long)content.length);

    if (!names || at != content.data + content.length) {
        scep_exchange_not_opened(x, "the content is not an IssuerAndSerialNumber");
        SCEP_ISSUER_AND_SERIAL_free(names);
        return NULL;
    }
    if (!scep_exchange_names_issuer(x, names->issuer)) {
        gh_result_fail(&x->result, GH_EREFUSED, GH_FAILURE_NOT_FOUND, "query.issuer",
                       "Name the CA whose certificate GetCACert gives after the RA's.",
                       GHNO(0465) "the query names another issuer");
        SCEP_ISSUER_AND_SERIAL_free(names);
        return NULL;
    }
    return names;
}

apr_status_t scep_exchange_query(scep_exchange_t *x)
{
    SCEP_ISSUER_AND_SERIAL *names;
    gh_bytes_t content;
    apr_status_t rv = scep_exchange_open(x, &content);

    if (rv == APR_SUCCESS) {
        rv = gh_issued_check_holder(x->message->signer, x->issuer, x->endpoint->tenant,
                                    x->services->store, x->p, &x->result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    names = read_names(x, content);
    if (!names) {
        return GH_EREFUSED;
    }
    rv = x->message->type == SCEP_GET_CERT ? answer_certificate(x, names->serial)
                                           : answer_crl(x);
    SCEP_ISSUER_AND_SERIAL_free(names);
    if (rv == APR_SUCCESS) {
        x->reply.status = SCEP_SUCCESS;
        x->request->event->rule = "holder";
        x->request->event->result = "done";
    }
    return rv;
}
