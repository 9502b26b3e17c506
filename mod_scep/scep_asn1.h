/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_asn1_h
#define mod_scep_scep_asn1_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/asn1t.h>
#include <openssl/cms.h>
#include <openssl/x509.h>

#include "text.h"

/* The few ASN.1 types of SCEP that OpenSSL has no type or no accessor for, and SCEP's constants. */

/* messageType (RFC 8894 3.2.1.2) */
#define SCEP_CERT_REP       3
#define SCEP_RENEWAL_REQ    17
#define SCEP_UPDATE_REQ     18      /* of drafts only */
#define SCEP_PKCS_REQ       19
#define SCEP_CERT_POLL      20
#define SCEP_GET_CERT       21
#define SCEP_GET_CRL        22

/* pkiStatus (RFC 8894 3.2.1.3) */
#define SCEP_SUCCESS        0
#define SCEP_FAILURE        2
#define SCEP_PENDING        3

/* failInfo (RFC 8894 3.2.1.4) */
#define SCEP_BAD_ALG            0
#define SCEP_BAD_MESSAGE_CHECK  1
#define SCEP_BAD_REQUEST        2
#define SCEP_BAD_TIME           3
#define SCEP_BAD_CERT_ID        4

/** Signed attributes (RFC 8894 3.2.1). */
typedef enum {
    SCEP_ATTRIBUTE_MESSAGE_TYPE,
    SCEP_ATTRIBUTE_PKI_STATUS,
    SCEP_ATTRIBUTE_FAIL_INFO,
    SCEP_ATTRIBUTE_SENDER_NONCE,
    SCEP_ATTRIBUTE_RECIPIENT_NONCE,
    SCEP_ATTRIBUTE_TRANSACTION_ID,
    SCEP_ATTRIBUTE_FAIL_INFO_TEXT,
    SCEP_ATTRIBUTES
} scep_attribute_t;

/** Dotted OID of an attribute. */
const char *scep_attribute_oid(scep_attribute_t attribute);

/** Name of an attribute as RFC 8894 has it. */
const char *scep_attribute_name(scep_attribute_t attribute);

/** @return the attribute with that OID, or SCEP_ATTRIBUTES */
scep_attribute_t scep_attribute_find(const ASN1_OBJECT *object);

/** EnvelopedData within ContentInfo, as far as CMS_* does not tell (RFC 5652 6.1). */
typedef struct {
    ASN1_OBJECT *type;
    X509_ALGOR *algorithm;
    ASN1_OCTET_STRING *content;
} SCEP_ENCRYPTED_CONTENT;

typedef struct {
    ASN1_INTEGER *version;
    STACK_OF(ASN1_TYPE) *originator;
    STACK_OF(ASN1_TYPE) *recipients;
    SCEP_ENCRYPTED_CONTENT *encrypted;
    STACK_OF(ASN1_TYPE) *attributes;
} SCEP_ENVELOPE;

typedef struct {
    ASN1_OBJECT *type;
    SCEP_ENVELOPE *envelope;
} SCEP_ENVELOPE_INFO;

DECLARE_ASN1_FUNCTIONS(SCEP_ENVELOPE_INFO)

/** What CertPoll carries (RFC 8894 3.3.3). */
typedef struct {
    X509_NAME *issuer;
    X509_NAME *subject;
} SCEP_ISSUER_AND_SUBJECT;

DECLARE_ASN1_FUNCTIONS(SCEP_ISSUER_AND_SUBJECT)

/** What GetCert and GetCRL carry (RFC 5652 10.2.4). */
typedef struct {
    X509_NAME *issuer;
    ASN1_INTEGER *serial;
} SCEP_ISSUER_AND_SERIAL;

DECLARE_ASN1_FUNCTIONS(SCEP_ISSUER_AND_SERIAL)

/**
 * A certs-only SignedData (RFC 8894 3.4) in document order: CMS_* would sort the certificates by
 * their encoding, and clients take the first one for theirs.
 * @param certificates gh_bytes_t elements, DER
 * @return APR_EINVAL if one is not a SEQUENCE
 */
apr_status_t scep_certs_only(gh_bytes_t *der, const apr_array_header_t *certificates,
                             apr_pool_t *p);

/** The same form with a CRL, and no certificates (RFC 8894 3.4).
 *  @return APR_EINVAL if it is not a SEQUENCE */
apr_status_t scep_crl_only(gh_bytes_t *der, gh_bytes_t crl, apr_pool_t *p);

/**
 * Name of an algorithm for logs: OpenSSL's long name, or the OID where it has none; an OID of more
 * than 32 bytes is not converted, since that costs quadratic time (CVE-2023-2650).
 */
const char *scep_algorithm_name(const ASN1_OBJECT *object, apr_pool_t *p);

#endif /* mod_scep_scep_asn1_h */
