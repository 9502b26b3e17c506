/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_ca_signer_h
#define gatehouse_x509_ca_signer_h

#include <openssl/x509.h>

#include "x509/ca.h"

/* What a CA consists of; for ca.c and crl.c only. */

struct gh_ca {
    X509 *certificate;
    EVP_PKEY *key;                          /* NULL: nothing can be signed */
    const EVP_MD *digest;
    int path_length;                        /* -1: none */
    int signs_crls;
    apr_interval_time_t backdate;
    apr_time_t not_before;
    apr_time_t not_after;
    X509_EXTENSION *authority_key;          /* authorityKeyIdentifier of what it signs */
    X509_EXTENSION *distribution_point;     /* or NULL */
    X509_EXTENSION *authority_information;  /* or NULL */
};

#endif /* gatehouse_x509_ca_signer_h */
