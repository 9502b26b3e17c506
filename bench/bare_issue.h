/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef bench_bare_issue_h
#define bench_bare_issue_h

#include <openssl/x509.h>

/* What the floors for enrolments share: a certificate of a CA for a request, by calls into OpenSSL
 * alone. */

typedef struct {
    OSSL_LIB_CTX *decoding;             /* NULL: the default one */
    X509 *ca;
    EVP_PKEY *ca_key;
    X509 *ra;
    EVP_PKEY *ra_key;
    STACK_OF(X509_EXTENSION) *fixed;    /* what does not change from one certificate to the next */
} bare_server_t;

/** Makes what is fixed, once CA and RA are there. */
void bare_prepare(bare_server_t *server);

/** @return owned by the caller */
X509 *bare_issue(const bare_server_t *server, X509_REQ *request);

#endif /* bench_bare_issue_h */
