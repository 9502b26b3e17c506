/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_ca_h
#define gatehousectl_ctl_ca_h

#include <apr_pools.h>

#include "result.h"

/* What the commands of CAs share. */

/** The <Issuer> section for a CA whose key is here. @param passphrase, chain NULL: none; in p */
const char *ctl_ca_section(const char *name, const char *certificate, const char *key,
                           const char *passphrase, const char *chain, apr_pool_t *p);

/** The <Issuer> section for a CA whose key is elsewhere. @param chain, crl NULL: none; in p */
const char *ctl_ca_offline_section(const char *name, const char *certificate, const char *chain,
                                   const char *crl, apr_pool_t *p);

/** Checks a name that becomes part of paths and URLs. @return CTL_OK or CTL_USAGE, said on
 *  standard error */
int ctl_ca_name(const char *name);

#endif /* gatehousectl_ctl_ca_h */
