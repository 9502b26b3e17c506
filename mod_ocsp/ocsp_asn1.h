/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_asn1_h
#define mod_ocsp_ocsp_asn1_h

#include <openssl/asn1t.h>
#include <openssl/ocsp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* OCSP's ASN.1 types that OpenSSL has no type or no accessor for: it does not tell the version and
 * the requestor of a request, nor the parameters of a hash algorithm. */

/* Extensions that OpenSSL knows by the names of an old draft */
#define OCSP_NID_PREFERRED_ALGORITHMS NID_id_pkix_OCSP_extendedStatus   /* id-pkix-ocsp 8 */
#define OCSP_NID_EXTENDED_REVOKE NID_id_pkix_OCSP_valid                 /* id-pkix-ocsp 9 */

/** CertID (RFC 6960 4.1.1) */
typedef struct {
    X509_ALGOR *algorithm;
    ASN1_OCTET_STRING *name_hash;
    ASN1_OCTET_STRING *key_hash;
    ASN1_INTEGER *serial;
} OCSP_ID;

DECLARE_ASN1_FUNCTIONS(OCSP_ID)

/** Request */
typedef struct {
    OCSP_ID *id;
    STACK_OF(X509_EXTENSION) *extensions;
} OCSP_ASKED;

DEFINE_STACK_OF(OCSP_ASKED)

/** TBSRequest */
typedef struct {
    ASN1_INTEGER *version;
    GENERAL_NAME *requestor;
    STACK_OF(OCSP_ASKED) *list;
    STACK_OF(X509_EXTENSION) *extensions;
} OCSP_ASKED_LIST;

/** OCSPRequest; the signature is not looked into. */
typedef struct {
    OCSP_ASKED_LIST *tbs;
    ASN1_TYPE *signature;
} OCSP_ASKING;

DECLARE_ASN1_FUNCTIONS(OCSP_ASKING)

/** PreferredSignatureAlgorithm (RFC 6960 4.4.7.1) */
typedef struct {
    X509_ALGOR *signature;
    ASN1_TYPE *key;
} OCSP_PREFERRED;

DEFINE_STACK_OF(OCSP_PREFERRED)
typedef STACK_OF(OCSP_PREFERRED) OCSP_PREFERRED_LIST;

DECLARE_ASN1_FUNCTIONS(OCSP_PREFERRED_LIST)

#endif /* mod_ocsp_ocsp_asn1_h */
