/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_ocsp_crl_support_h
#define tests_unit_ocsp_crl_support_h

#include "x509_support.h"

/* CRLs as CAs make them, and as they should not. */

/** An entry. */
typedef struct {
    const char *serial;
    int reason;
    apr_time_t at;                  /* 0: some hours ago */
} revoked_t;

/** A CRL; members that are 0 are left out, or as they should be. */
typedef struct {
    const char *number;             /* cRLNumber in hex, NULL: none */
    const char *base;               /* of a delta */
    const char *scope;              /* issuingDistributionPoint in OpenSSL's notation */
    apr_time_t this_update;
    apr_time_t next_update;
    const char *signer;             /* fixture; NULL: the CA's */
    const char *issuer;             /* CN; NULL: the CA's */
    const char *critical;           /* OID of an unknown critical extension */
    const EVP_MD *digest;
    int pem;
    int expired_on_crl;
} crl_t;

/** A CRL of a CA whose key is the fixture p256-01, in test_pool. */
gh_bytes_t make_crl(const gh_ca_t *ca, const crl_t *what, const revoked_t *entries, int count);

#endif /* tests_unit_ocsp_crl_support_h */
