/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "x509/crl_read.h"

#include <time.h>

#include <apr_strings.h>
#include <apr_tables.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "store/certificates.h"

/* CRLReason of RFC 5280 5.3.1: 7 is not used, 10 is the last. */
#define REASON_UNUSED  7
#define REASON_LAST   10

static apr_status_t crl_free(void *data)
{
    X509_CRL_free(data);
    return APR_SUCCESS;
}

/** A CRL is no secret: one that is encrypted is none, and nobody is asked for a pass phrase. */
static int no_passphrase(char *buffer, int size, int writing, void *baton)
{
    return 0;
}

X509_CRL *gh_crl_parse(gh_bytes_t bytes, apr_pool_t *p)
{
    const unsigned char *at = bytes.data;
    X509_CRL *crl;
    BIO *bio;

    crl = d2i_X509_CRL(NULL, &at, (long)bytes.length);
    if (crl != NULL && at != bytes.data + bytes.length) {
        X509_CRL_free(crl);
        crl = NULL;
    }
    if (crl == NULL) {
        bio = BIO_new_mem_buf(bytes.data, (int)bytes.length);
        crl = bio != NULL ? PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, NULL) : NULL;
        BIO_free(bio);
    }
    if (crl != NULL) {
        apr_pool_cleanup_register(p, crl, crl_free, apr_pool_cleanup_null);
    }
    return crl;
}

int gh_crl_is_of(X509_CRL *crl, X509 *ca)
{
    return X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(ca)) == 0
        && X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;
}

int gh_crl_is_complete(const X509_CRL *crl)
{
    ISSUING_DIST_POINT *point;
    int complete;

    if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0) {
        return 0;
    }
    if (X509_CRL_get_ext_by_NID(crl, NID_issuing_distribution_point, -1) < 0) {
        return 1;
    }
    point = X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, NULL, NULL);
    complete = point != NULL && !(point->indirectCRL > 0);
    ISSUING_DIST_POINT_free(point);
    return complete;
}

apr_int64_t gh_crl_number(const X509_CRL *crl)
{
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    int64_t value = 0;

    if (number != NULL && (ASN1_INTEGER_get_int64(&value, number) != 1 || value < 0)) {
        value = -1;
    }
    ASN1_INTEGER_free(number);
    return value;
}

apr_time_t gh_asn1_time(const ASN1_TIME *time)
{
    struct tm parts;
    time_t seconds;

    if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1) {
        ERR_clear_error();
        return 0;
    }
    seconds = timegm(&parts);
    return seconds > 0 ? apr_time_from_sec(seconds) : 0;
}

void gh_revoked_read(gh_revoked_t *entry, const X509_REVOKED *revoked, apr_pool_t *p)
{
    const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(revoked);
    ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, NULL, NULL);
    ASN1_GENERALIZEDTIME *invalid = X509_REVOKED_get_ext_d2i(revoked, NID_invalidity_date, NULL,
                                                             NULL);
    const unsigned char *data = ASN1_STRING_get0_data(serial);
    apr_size_t length = (apr_size_t)ASN1_STRING_length(serial);
    long number;

    while (length > 1 && data[0] == 0) {
        data++;
        length--;
    }
    entry->serial.data = apr_pmemdup(p, data, length);
    entry->serial.length = length;
    entry->revoked_at = gh_asn1_time(X509_REVOKED_get0_revocationDate(revoked));
    entry->invalid_from = gh_asn1_time(invalid);
    entry->reason = GH_REASON_NONE;
    if (reason != NULL) {
        number = ASN1_ENUMERATED_get(reason);
        if (number >= 0 && number <= REASON_LAST && number != REASON_UNUSED) {
            entry->reason = (int)number;
        }
    }
    ASN1_ENUMERATED_free(reason);
    ASN1_GENERALIZEDTIME_free(invalid);
}
