/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_policy_h
#define mod_wstep_wstep_policy_h

#include "mod_wstep/wstep_config.h"

/** What one caller is told: templates that he may have, at CAs that offer them.
 *  @param account of the caller in the directory, or NULL
 *  @param policy filled; in p
 *  @return as wstep_catalogue_resolve() */
apr_status_t wstep_policy_make(xcep_policy_t *policy, const wstep_entry_t *entry,
                               const wstep_caller_t *caller,
                               const gh_directory_account_t *account,
                               wstep_catalogue_t *catalogue, apr_pool_t *p, gh_result_t *result);

#endif /* mod_wstep_wstep_policy_h */
