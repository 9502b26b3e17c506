/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_uem_uem_provide_h
#define fcgi_uem_uem_provide_h

#include <jansson.h>

#include "escrow/vault.h"
#include "fcgi/framework.h"

/* Keys that the worker makes for enrolment events: jobs of GH_PROVIDE_KIND. */

/**
 * @param sizes what mod_escrow says: array of bits of RSA keys; NULL: nothing is wanted
 * @param vault outlives the framework
 * @return errors with result
 */
apr_status_t uem_provide_configure(framework_t *framework, const gh_vault_t *vault,
                                   const json_t *sizes, apr_pool_t *p, gh_result_t *result);

#endif /* fcgi_uem_uem_provide_h */
