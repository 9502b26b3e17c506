/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_user_h
#define mod_wstep_wstep_user_h

#include "mod_wstep/wstep_config.h"
#include "mod_wstep/wstep_soap.h"

/* Who calls, by httpd's means. */

/**
 * Finds out who sent a message.
 * @param kind of the fault
 * @return GH_EREFUSED or APR_EINVAL with result; GH_EUNAVAILABLE if that cannot be told now
 */
apr_status_t wstep_authenticate(wstep_caller_t *caller, request_rec *r, const wstep_entry_t *entry,
                                wstep_engine_t *engine, const wstep_soap_t *soap,
                                wstep_fault_kind_t *kind, gh_result_t *result);

#endif /* mod_wstep_wstep_user_h */
