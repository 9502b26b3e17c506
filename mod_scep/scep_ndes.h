/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_ndes_h
#define mod_scep_scep_ndes_h

#include <apr_pools.h>

#include "text.h"

/*
 * The page on which Microsoft's Network Device Enrollment Service shows a challenge. Programs read
 * it: they look for its sentences, letter by letter, in UTF-16.
 */

/** How long a password of the page is good: programs know the sixty minutes that it speaks of. */
#define SCEP_NDES_LIFETIME apr_time_from_sec(3600)

#define SCEP_NDES_TYPE "text/html; charset=utf-16"

/** The page with a password. All pages are UTF-16LE with a byte order mark, in p.
 *  @param password ASCII
 *  @param certificate DER of the CA's certificate; the page shows its SHA-256
 *  @return APR_SUCCESS, or APR_EGENERAL if the certificate cannot be hashed */
apr_status_t scep_ndes_password(gh_bytes_t *page, const char *password, gh_bytes_t certificate,
                                apr_pool_t *p);

/** The page for somebody who has as many unused passwords as there may be. */
gh_bytes_t scep_ndes_full(apr_pool_t *p);

/** The page for somebody who may not have one. */
gh_bytes_t scep_ndes_denied(apr_pool_t *p);

#endif /* mod_scep_scep_ndes_h */
