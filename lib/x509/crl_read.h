/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_crl_read_h
#define gatehouse_x509_crl_read_h

#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "text.h"

/* Reading CRLs that others have made, or that we made before. */

/** One entry. */
typedef struct {
    gh_bytes_t serial;
    apr_time_t revoked_at;
    int reason;                 /* CRLReason; GH_REASON_NONE without a defined one */
    apr_time_t invalid_from;    /* 0: none */
} gh_revoked_t;

/** DER or PEM. @return NULL if it is neither; owned by p */
X509_CRL *gh_crl_parse(gh_bytes_t bytes, apr_pool_t *p);

/** @return 1 if name and signature are those of the CA */
int gh_crl_is_of(X509_CRL *crl, X509 *ca);

/** @return 1 if it is complete for this CA: neither delta nor indirect */
int gh_crl_is_complete(const X509_CRL *crl);

/** cRLNumber; 0 if it has none, -1 if it is too large to be counted on */
apr_int64_t gh_crl_number(const X509_CRL *crl);

/** Serial, time, reason and invalidity date of an entry, in p. */
void gh_revoked_read(gh_revoked_t *entry, const X509_REVOKED *revoked, apr_pool_t *p);

/** 0 for a malformed time or none. */
apr_time_t gh_asn1_time(const ASN1_TIME *time);

#endif /* gatehouse_x509_crl_read_h */
