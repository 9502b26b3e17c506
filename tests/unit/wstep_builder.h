/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_wstep_builder_h
#define tests_unit_wstep_builder_h

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "text.h"

/* Requests as Windows makes them, right and wrong; for tests. All in the world's pool. */

typedef struct {
    const char *subject;            /* of the request: CN */
    const char *template;           /* OID; NULL: none */
    int major;
    const char *name;               /* CertificateTemplate of a name/value pair */
    const char *upn;                /* asked for in subjectAltName */
    const char *usage;              /* extended key usages, and application policies with the
                                       first of these */
    X509 *renewed;                  /* attribute 13.1 */
    int old_oid;                    /* 1: the older OID of the extension request */
} wstep_spec_t;

/** Bytes that OpenSSL has allocated. */
gh_bytes_t own_bytes(unsigned char *der, int length);

gh_bytes_t pkcs10(const wstep_spec_t *spec, EVP_PKEY *with);

/**
 * SignedData around a content.
 * @param type OID of the content; NULL: data
 * @param certificate, with who signs; NULL: nobody but the new key
 * @param possession the new key, which signs too; NULL: it does not
 */
gh_bytes_t signed_by(gh_bytes_t content, const char *type, X509 *certificate,
                     EVP_PKEY *with, EVP_PKEY *possession, const EVP_MD *digest);

/** PKIData with one request and one control. @param control OID; NULL: RegInfo */
gh_bytes_t pki_data(gh_bytes_t request_der, const char *reg_info, const char *control);

#endif /* tests_unit_wstep_builder_h */
