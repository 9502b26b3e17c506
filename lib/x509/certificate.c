/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "x509/ca.h"
#include "x509/crl_read.h"
#include "x509/key.h"
#include "x509/own.h"

/** Larger than any certificate that is meant to be read. */
#define CERTIFICATE_MAX (256 * 1024)

gh_bytes_t gh_certificate_der(X509 *certificate, apr_pool_t *p)
{
    gh_bytes_t der = { NULL, 0 };
    int length = i2d_X509(certificate, NULL);

    if (length > 0) {
        unsigned char *data = apr_palloc(p, (apr_size_t)length);

        der.data = data;
        der.length = (apr_size_t)i2d_X509(certificate, &data);
    }
    ERR_clear_error();
    return der;
}

gh_bytes_t gh_certificate_serial(X509 *certificate, apr_pool_t *p)
{
    const ASN1_INTEGER *number = X509_get0_serialNumber(certificate);
    const unsigned char *data = ASN1_STRING_get0_data(number);
    gh_bytes_t serial = { (const unsigned char *)"\0", 1 };
    int length = ASN1_STRING_length(number);

    while (length > 0 && *data == 0) {
        data++;
        length--;
    }
    if (length > 0) {
        serial.data = apr_pmemdup(p, data, (apr_size_t)length);
        serial.length = (apr_size_t)length;
    }
    return serial;
}

apr_time_t gh_certificate_not_before(X509 *certificate)
{
    return gh_asn1_time(X509_get0_notBefore(certificate));
}

apr_time_t gh_certificate_not_after(X509 *certificate)
{
    return gh_asn1_time(X509_get0_notAfter(certificate));
}

X509 *gh_certificate_parse(gh_bytes_t der, apr_pool_t *p)
{
    const unsigned char *data = der.data;
    X509 *certificate = NULL;

    if (der.length > 0 && der.length <= CERTIFICATE_MAX)
        certificate = d2i_X509(NULL, &data, (long)der.length);
    if (certificate != NULL && data != der.data + der.length) {
        X509_free(certificate);
        certificate = NULL;
    }
    ERR_clear_error();
    return gh_own_certificate(p, certificate);
}
