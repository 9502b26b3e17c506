/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_xcep_extensions_h
#define mod_wstep_xcep_extensions_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "mod_wstep/xcep_policy.h"
#include "x509/profile.h"

/** The extensions that clients put into requests by a template: the template's own, key usage and
 *  extended key usage as the profile gives them. @return xcep_extension_t, in p */
const apr_array_header_t *xcep_extensions_make(const xcep_template_t *template,
                                               const gh_profile_t *profile, apr_pool_t *p);

/** @param oids const char *; NULL: none is said, and whatever the profile has is right
 *  @return 1 if a profile gives exactly these extended key usages, or leaves them to requests and
 *          none of these is one that nobody may ask for */
int xcep_usages_match(const gh_profile_t *profile, const apr_array_header_t *oids);

#endif /* mod_wstep_xcep_extensions_h */
