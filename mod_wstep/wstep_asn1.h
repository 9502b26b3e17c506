/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_asn1_h
#define mod_wstep_wstep_asn1_h

#include <openssl/asn1t.h>
#include <openssl/x509.h>

/* The ASN.1 types of CMC (RFC 5272) and of Windows (MS-WCCE 2.2.2) that OpenSSL has not. */

#define WSTEP_OID_TEMPLATE_NAME     "1.3.6.1.4.1.311.20.2"
#define WSTEP_OID_TEMPLATE          "1.3.6.1.4.1.311.21.7"
#define WSTEP_OID_SID               "1.3.6.1.4.1.311.25.2"
#define WSTEP_OID_SID_VALUE         "1.3.6.1.4.1.311.25.2.1"
#define WSTEP_OID_GUID              "1.3.6.1.4.1.311.25.1"
#define WSTEP_OID_UPN               "1.3.6.1.4.1.311.20.2.3"
#define WSTEP_OID_OS_VERSION        "1.3.6.1.4.1.311.13.2.3"
#define WSTEP_OID_NAME_VALUE        "1.3.6.1.4.1.311.13.2.1"
#define WSTEP_OID_CLIENT_INFO       "1.3.6.1.4.1.311.21.20"
#define WSTEP_OID_RENEWED           "1.3.6.1.4.1.311.13.1"
#define WSTEP_OID_ARCHIVED_KEY      "1.3.6.1.4.1.311.21.13"
#define WSTEP_OID_ISSUED_HASH       "1.3.6.1.4.1.311.21.17"
#define WSTEP_OID_ADD_ATTRIBUTES    "1.3.6.1.4.1.311.10.10.1"
#define WSTEP_OID_ENROLMENT_AGENT   "1.3.6.1.4.1.311.20.2.1"
#define WSTEP_OID_STATUS_INFO       "1.3.6.1.5.5.7.7.1"
#define WSTEP_OID_DATA_RETURN       "1.3.6.1.5.5.7.7.4"
#define WSTEP_OID_TRANSACTION       "1.3.6.1.5.5.7.7.5"
#define WSTEP_OID_SENDER_NONCE      "1.3.6.1.5.5.7.7.6"
#define WSTEP_OID_REG_INFO          "1.3.6.1.5.5.7.7.18"
#define WSTEP_OID_PKI_DATA          "1.3.6.1.5.5.7.12.2"
#define WSTEP_OID_PKI_RESPONSE      "1.3.6.1.5.5.7.12.3"

/** Certificate template of version 2 (MS-WCCE 2.2.2.7.7.2). */
typedef struct {
    ASN1_OBJECT *id;
    ASN1_INTEGER *major;
    ASN1_INTEGER *minor;
} WSTEP_TEMPLATE_ID;

DECLARE_ASN1_FUNCTIONS(WSTEP_TEMPLATE_ID)

/** Enrolment name and value (MS-WCCE 2.2.2.7.10). */
typedef struct {
    ASN1_BMPSTRING *name;
    ASN1_BMPSTRING *value;
} WSTEP_NAME_VALUE;

DECLARE_ASN1_FUNCTIONS(WSTEP_NAME_VALUE)

/** Who made a request (MS-WCCE 2.2.2.7.4). */
typedef struct {
    ASN1_INTEGER *id;
    ASN1_UTF8STRING *machine;
    ASN1_UTF8STRING *user;
    ASN1_UTF8STRING *process;
} WSTEP_CLIENT_INFO;

DECLARE_ASN1_FUNCTIONS(WSTEP_CLIENT_INFO)

/** TaggedAttribute (RFC 5272 3.2.1.1). */
typedef struct {
    ASN1_INTEGER *id;
    ASN1_OBJECT *type;
    STACK_OF(ASN1_TYPE) *values;
} WSTEP_CONTROL;

DECLARE_ASN1_FUNCTIONS(WSTEP_CONTROL)
DEFINE_STACK_OF(WSTEP_CONTROL)

/** TaggedRequest: a PKCS#10 request, which is kept as it came, and no other form. */
typedef struct {
    ASN1_INTEGER *id;
    ASN1_TYPE *request;
} WSTEP_TAGGED_PKCS10;

typedef struct {
    int type;
    union {
        WSTEP_TAGGED_PKCS10 *pkcs10;
    } d;
} WSTEP_TAGGED_REQUEST;

DECLARE_ASN1_FUNCTIONS(WSTEP_TAGGED_REQUEST)
DEFINE_STACK_OF(WSTEP_TAGGED_REQUEST)

/** PKIData (RFC 5272 3.2.1). */
typedef struct {
    STACK_OF(WSTEP_CONTROL) *controls;
    STACK_OF(WSTEP_TAGGED_REQUEST) *requests;
    STACK_OF(ASN1_TYPE) *messages;
    STACK_OF(ASN1_TYPE) *others;
} WSTEP_PKI_DATA;

DECLARE_ASN1_FUNCTIONS(WSTEP_PKI_DATA)

/** Attributes that a control adds to a request (MS-WCCE 2.2.2.7.9 and 10). */
typedef struct {
    ASN1_INTEGER *reference;
    STACK_OF(ASN1_INTEGER) *certificates;
    STACK_OF(X509_ATTRIBUTE) *attributes;
} WSTEP_ADD_ATTRIBUTES;

DECLARE_ASN1_FUNCTIONS(WSTEP_ADD_ATTRIBUTES)

/** PendInfo (RFC 5272 6.1.1). */
typedef struct {
    ASN1_OCTET_STRING *token;
    ASN1_GENERALIZEDTIME *when;
} WSTEP_PEND_INFO;

/** otherInfo of a CMCStatusInfo. */
typedef struct {
    int type;                       /* 0: fail_info, 1: pending */
    union {
        ASN1_INTEGER *fail_info;
        WSTEP_PEND_INFO *pending;
    } d;
} WSTEP_OTHER_INFO;

/** CMCStatusInfo (RFC 5272 6.1). */
typedef struct {
    ASN1_INTEGER *status;
    STACK_OF(ASN1_INTEGER) *bodies;
    ASN1_UTF8STRING *text;
    WSTEP_OTHER_INFO *other;
} WSTEP_STATUS_INFO;

DECLARE_ASN1_FUNCTIONS(WSTEP_STATUS_INFO)
DECLARE_ASN1_FUNCTIONS(WSTEP_PEND_INFO)
DECLARE_ASN1_FUNCTIONS(WSTEP_OTHER_INFO)

/** PKIResponse (RFC 5272 3.2.2). */
typedef struct {
    STACK_OF(WSTEP_CONTROL) *controls;
    STACK_OF(ASN1_TYPE) *messages;
    STACK_OF(ASN1_TYPE) *others;
} WSTEP_PKI_RESPONSE;

DECLARE_ASN1_FUNCTIONS(WSTEP_PKI_RESPONSE)

#endif /* mod_wstep_wstep_asn1_h */
