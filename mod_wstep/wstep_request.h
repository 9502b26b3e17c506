/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_request_h
#define mod_wstep_wstep_request_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "mod_wstep/wstep_fault.h"
#include "mod_wstep/wstep_soap.h"

/* wst:RequestSecurityToken (MS-WSTEP 3.1.4.1): what is asked for, before the token is looked at. */

typedef enum {
    WSTEP_ISSUE,                    /* a new certificate, or a renewal: the token tells */
    WSTEP_QUERY,                    /* QueryTokenStatus */
    WSTEP_KET                       /* the key exchange certificate */
} wstep_operation_t;

/** A name and a value of auth:AdditionalContext. */
typedef struct {
    const char *name;
    const char *value;
} wstep_item_t;

#define WSTEP_ITEMS_MAX 64
#define WSTEP_TOKEN_MAX 49152

typedef struct {
    wstep_operation_t operation;
    gh_bytes_t token;               /* DER, of Issue; what it is has to be found by its content */
    const char *value_type;         /* what the client calls it; for the log only; or NULL */
    apr_array_header_t *items;      /* wstep_item_t; may be empty */
    const char *request_id;         /* decimal digits, of QueryTokenStatus; else NULL */
    const char *language;           /* PreferredLanguage, or NULL */
} wstep_request_t;

/**
 * Reads the request in an envelope.
 * @return APR_EINVAL with result, and kind of the fault
 */
apr_status_t wstep_request_read(wstep_request_t *request, const wstep_soap_t *soap,
                                wstep_fault_kind_t *kind, apr_pool_t *p, gh_result_t *result);

/** The value of an item, by its name in any case; NULL if there is none, or several. */
const char *wstep_request_item(const wstep_request_t *request, const char *name);

#endif /* mod_wstep_wstep_request_h */
