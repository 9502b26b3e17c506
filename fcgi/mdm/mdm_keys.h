/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_mdm_mdm_keys_h
#define fcgi_mdm_mdm_keys_h

#include "fcgi/ca/ca_config.h"

/* Keys that the worker makes for devices: jobs of GH_MDM_KEY_KIND. A few keys of each size are made
 * ahead, by a thread of its own. */

/** @param list what mod_scep says: array of objects with "sizes"; NULL: nothing is wanted
 *  @return APR_EINVAL with result */
apr_status_t mdm_keys_configure(ca_worker_t *worker, const json_t *list, apr_pool_t *p,
                                gh_result_t *result);

#endif /* fcgi_mdm_mdm_keys_h */
