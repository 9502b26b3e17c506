/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_fault_h
#define mod_wstep_wstep_fault_h

#include <apr.h>

#include "result.h"
#include "text.h"

/* What is wrong, as Windows is told it: an HRESULT that it has a text for. */

typedef enum {
    WSTEP_FAULT_NONE = 0,
    WSTEP_FAULT_MALFORMED,          /* SOAP or XML that is none: E_INVALIDARG */
    WSTEP_FAULT_AUTHENTICATION,     /* wrong password, stale time: ERROR_LOGON_FAILURE */
    WSTEP_FAULT_UNSUPPORTED,        /* an operation that is not there: ERROR_NOT_SUPPORTED */
    WSTEP_FAULT_UNAVAILABLE,        /* a back end is away: RPC_S_SERVER_UNAVAILABLE */
    WSTEP_FAULT_INTERNAL,           /* E_FAIL */
    WSTEP_FAULT_BAD_REQUEST,        /* a token that cannot be read: CRYPT_E_ASN1_BADTAG */
    WSTEP_FAULT_SIGNATURE,          /* proof of possession or signer: NTE_BAD_SIGNATURE */
    WSTEP_FAULT_SUBJECT,            /* CERTSRV_E_BAD_REQUESTSUBJECT */
    WSTEP_FAULT_NO_REQUEST,         /* CERTSRV_E_NO_REQUEST */
    WSTEP_FAULT_RENEWAL,            /* CERTSRV_E_BAD_RENEWAL_CERT_ATTRIBUTE */
    WSTEP_FAULT_ENROLL_DENIED,      /* CERTSRV_E_ENROLL_DENIED: not at this CA */
    WSTEP_FAULT_TEMPLATE_DENIED,    /* CERTSRV_E_TEMPLATE_DENIED: not by this template */
    WSTEP_FAULT_DENIED,             /* CERTSRV_E_ADMIN_DENIED_REQUEST: by policy, or a person */
    WSTEP_FAULT_TEMPLATE_UNKNOWN,   /* CERTSRV_E_UNSUPPORTED_CERT_TYPE */
    WSTEP_FAULT_TEMPLATE_MISSING,   /* CERTSRV_E_NO_CERT_TYPE */
    WSTEP_FAULT_TEMPLATE_CONFLICT,  /* CERTSRV_E_TEMPLATE_CONFLICT */
    WSTEP_FAULT_TEMPLATE_VERSION,   /* CERTSRV_E_BAD_TEMPLATE_VERSION */
    WSTEP_FAULT_SUBJECT_MISMATCH,   /* of a renewal, with the old certificate */
    WSTEP_FAULT_NO_UPN,             /* CERTSRV_E_SUBJECT_UPN_REQUIRED */
    WSTEP_FAULT_NO_DNS,             /* CERTSRV_E_SUBJECT_DNS_REQUIRED */
    WSTEP_FAULT_NO_MAIL,            /* CERTSRV_E_SUBJECT_EMAIL_REQUIRED */
    WSTEP_FAULT_KEY_LENGTH,         /* CERTSRV_E_KEY_LENGTH */
    WSTEP_FAULT_SIGNATURE_POLICY,   /* enrolment agent: CERTSRV_E_SIGNATURE_POLICY_REQUIRED */
    WSTEP_FAULT_ARCHIVED_KEY        /* CERTSRV_E_ARCHIVED_KEY_REQUIRED */
} wstep_fault_kind_t;

/** A refusal. Its text is that of result, which logs get too. */
typedef struct {
    wstep_fault_kind_t kind;
    int denied;                     /* InvalidRequest: the request was understood, and refused */
    const char *request_id;         /* decimal, or NULL */
    gh_bytes_t response;            /* a CMC response with the failure, or empty */
} wstep_fault_t;

/** The HRESULT, as the signed number that is on the wire. */
apr_int32_t wstep_fault_hresult(wstep_fault_kind_t kind);

/** @return 1 if it is the sender's fault, 0 if it is the receiver's */
int wstep_fault_is_senders(wstep_fault_kind_t kind);

/** What fits a failure for which nobody has chosen a kind. */
wstep_fault_kind_t wstep_fault_of(const gh_result_t *result);

#endif /* mod_wstep_wstep_fault_h */
