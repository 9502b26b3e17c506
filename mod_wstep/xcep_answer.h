/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_xcep_answer_h
#define mod_wstep_xcep_answer_h

#include <apr_pools.h>
#include <apr_time.h>

#include "mod_wstep/xcep_policy.h"
#include "mod_wstep/xcep_request.h"

/**
 * Writes GetPoliciesResponse: elements in the order of the schema, nil where there is nothing, and
 * references that lead to what is in the same answer. Filters of the request are applied.
 * @param request NULL: no filter, and the client has nothing
 * @param relates_to message id of the request, or NULL
 * @param now 0: without a Timestamp
 * @return APR_ENOMEM
 */
apr_status_t xcep_answer_write(gh_bytes_t *xml, const xcep_policy_t *policy,
                               const xcep_request_t *request, const char *relates_to,
                               apr_time_t now, apr_pool_t *p);

#endif /* mod_wstep_xcep_answer_h */
