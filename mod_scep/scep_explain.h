/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_explain_h
#define mod_scep_scep_explain_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/cms.h>
#include <openssl/x509.h>

#include "mod_scep/scep_message.h"
#include "result.h"
#include "text.h"
#include "x509/csr.h"

/*
 * What a message says, and which rules it keeps, for who looks for the reason of a refusal. Works
 * on what everybody on the way could see: nothing is decrypted, and no key is needed.
 */

typedef enum {
    SCEP_EXPLAINED_REQUEST,             /* pkiMessage of a client */
    SCEP_EXPLAINED_REPLY,               /* CertRep */
    SCEP_EXPLAINED_CERTIFICATES,        /* answer to GetCACert: certs-only, or one certificate */
    SCEP_EXPLAINED_NEXT_CERTIFICATES,   /* answer to GetNextCACert */
    SCEP_EXPLAINED_CSR                  /* PKCS#10 that is in no message */
} scep_explained_t;

typedef struct {
    const char *name;               /* as scep_algorithm_name() gives it; NULL: there is none */
    const char *oid;                /* dotted */
} scep_explained_algorithm_t;

/** Who signed, or is a recipient. Members that the message does not have are NULL. */
typedef struct {
    const char *issuer;             /* RFC 4514 */
    const char *serial;             /* hexadecimal */
    const char *key_id;             /* hexadecimal */
} scep_explained_identifier_t;

typedef struct {
    CMS_RecipientInfo *info;        /* of the message */
    const char *type;               /* "key transport", "password", ... */
    scep_explained_identifier_t identifier;
    scep_explained_algorithm_t transport;
    int accepted;                   /* 1 if scep_algorithm_transport_allowed() */
    const char *oaep_digest;        /* NULL: not OAEP, or parameters that cannot be read */
    const char *oaep_mask;          /* "mgf1" as a rule */
    const char *oaep_mask_digest;
    int oaep_label;                 /* bytes */
} scep_explained_recipient_t;

/** A signed attribute, an extension, or an attribute of a request. */
typedef struct {
    const char *name;
    const char *oid;
    int values;
    int bytes;                      /* of all values, in DER */
    int critical;                   /* of an extension */
} scep_explained_attribute_t;

/** Everything is owned by the pool. Members that do not apply are NULL, empty or -1. */
typedef struct {
    scep_explained_t what;
    gh_bytes_t der;
    scep_message_t *message;        /* read with all algorithms allowed; NULL for a CSR */
    int signature;                  /* 1: valid, 0: not, -1: it cannot be examined */
    const char *signature_problem;
    scep_explained_identifier_t signer;
    scep_explained_algorithm_t digest, signature_algorithm, cipher;
    int encrypted;                  /* bytes of the encrypted content */
    apr_array_header_t *attributes;     /* scep_explained_attribute_t: signed */
    apr_array_header_t *recipients;     /* scep_explained_recipient_t */
    apr_array_header_t *certificates;   /* X509 *: those enclosed in clear, in order */
    int pki_status, fail_info;
    const char *fail_text;
    gh_bytes_t recipient_nonce;
    apr_time_t signing_time;
    gh_csr_t *csr;
    apr_array_header_t *csr_attributes; /* scep_explained_attribute_t */
    apr_array_header_t *csr_extensions; /* scep_explained_attribute_t: that are asked for */
} scep_explanation_t;

/**
 * Reads a message, an answer or a request as DER.
 * @return APR_EINVAL (MALFORMED) with result if it is none of them; errors of scep_message_read()
 *         and gh_csr_parse()
 */
apr_status_t scep_explain(scep_explanation_t **explanation, gh_bytes_t der, apr_pool_t *p,
                          gh_result_t *result);

/** @return 1 if a recipient is that certificate */
int scep_explained_is(const scep_explained_recipient_t *recipient, X509 *certificate);

/** "PKCSReq", "CertPoll", ...; "unknown" for what is no messageType of RFC 8894. */
const char *scep_type_name(int type);

/** "SUCCESS", "FAILURE", "PENDING"; "unknown". */
const char *scep_status_name(int status);

/** "badAlg", "badMessageCheck", ...; "unknown". */
const char *scep_fail_info_name(int fail_info);

/* Rules */

typedef enum {
    SCEP_RULE_KEPT,
    SCEP_RULE_BROKEN,
    SCEP_RULE_UNKNOWN               /* what it takes to tell is not known, or another rule is in the
                                       way */
} scep_verdict_t;

typedef struct {
    const char *rule;               /* "message.digest": as in the audit log */
    scep_verdict_t verdict;
    gh_result_t result;             /* if broken */
} scep_finding_t;

/** Where a message would be sent to. */
typedef struct {
    unsigned allow;                         /* SCEP_ALLOW_* */
    const apr_array_header_t *recipients;   /* scep_recipient_t, without keys; NULL: not known */
    const apr_array_header_t *authorities;  /* X509 *; NULL with recipients */
} scep_destination_t;

/**
 * Applies the rules for what a request shows in clear, by the functions that a server applies them
 * with: also those behind the first that is broken.
 * @param findings scep_finding_t elements in the order of the rules; empty for what is no request
 * @return the worst of them: BROKEN if one is, else UNKNOWN if one is
 */
scep_verdict_t scep_explain_rules(apr_array_header_t **findings,
                                  const scep_explanation_t *explanation,
                                  const scep_destination_t *destination, apr_pool_t *p);

#endif /* mod_scep_scep_explain_h */
