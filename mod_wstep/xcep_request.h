/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_xcep_request_h
#define mod_wstep_xcep_request_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "mod_wstep/wstep_soap.h"

/* GetPolicies (MS-XCEP 3.1.4.1): what a client has, and what it wants to see. */

#define XCEP_FILTER_OIDS_MAX 256

typedef struct {
    apr_time_t last_update;         /* 0: it has nothing */
    const char *language;           /* or NULL */
    apr_array_header_t *oids;       /* const char *: templates that are asked for; NULL: all */
    int client_version;             /* -1: no filter */
    int server_version;             /* -1: no filter */
} xcep_request_t;

/** @return APR_EINVAL with result */
apr_status_t xcep_request_read(xcep_request_t *request, const wstep_soap_t *soap, apr_pool_t *p,
                               gh_result_t *result);

#endif /* mod_wstep_xcep_request_h */
