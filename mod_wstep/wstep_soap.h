/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_soap_h
#define mod_wstep_wstep_soap_h

#include <apr_pools.h>
#include <apr_time.h>

#include "mod_wstep/wstep_fault.h"
#include "mod_wstep/wstep_xml.h"
#include "result.h"
#include "text.h"

/* SOAP 1.2 with WS-Addressing: what comes in and what goes out, whatever is in the body. */

#define WSTEP_SOAP_TYPE "application/soap+xml; charset=utf-8"

#define WSTEP_ACTION_RST WSTEP_NS_ENROLMENT "/RST/wstep"
#define WSTEP_ACTION_RSTRC WSTEP_NS_ENROLMENT "/RSTRC/wstep"
#define WSTEP_ACTION_KET WSTEP_NS_TRUST "/RST/KET"
#define WSTEP_ACTION_KET_FINAL WSTEP_NS_TRUST "/RSTR/KETFinal"
#define WSTEP_ACTION_GET_POLICIES WSTEP_NS_POLICY "/IPolicy/GetPolicies"
#define WSTEP_ACTION_GET_POLICIES_RESPONSE WSTEP_NS_POLICY "/IPolicy/GetPoliciesResponse"

/** An envelope that was read; all is in p. */
typedef struct {
    xmlDoc *document;
    const char *action;             /* never NULL */
    const char *message_id;         /* may be NULL */
    const char *to;                 /* may be NULL */
    xmlNode *security;              /* wsse:Security, or NULL */
    xmlNode *payload;               /* the one element in the body */
} wstep_soap_t;

/**
 * Reads an envelope. Each header that is known stands at most once; an unknown one that has to be
 * understood is refused (SOAP 1.2 part 1, 5.2.3). What was read of the message id before a failure
 * is there for the fault.
 * @return APR_EINVAL with result
 */
apr_status_t wstep_soap_read(wstep_soap_t *soap, gh_bytes_t text, apr_pool_t *p,
                             gh_result_t *result);

/** Begins an answer and leaves the writer within its body, which wstep_soap_end() ends.
 *  @param relates_to message id of the request, or NULL
 *  @param now 0: without wsse:Security and its Timestamp */
wstep_writer_t *wstep_soap_begin(const char *action, const char *relates_to, apr_time_t now,
                                 apr_pool_t *p);
apr_status_t wstep_soap_end(wstep_writer_t *writer, gh_bytes_t *xml, apr_pool_t *p);

/**
 * A fault as an envelope of its own (HTTP status 500).
 * @param language of the reason: "en-US"
 * @param policy 1: of the policy service, which has no detail
 */
apr_status_t wstep_soap_fault(gh_bytes_t *xml, const wstep_fault_t *fault, const char *reason,
                              const char *language, const char *relates_to, int policy,
                              apr_pool_t *p);

#endif /* mod_wstep_wstep_soap_h */
