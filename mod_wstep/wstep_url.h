/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_url_h
#define mod_wstep_wstep_url_h

#include <apr_pools.h>
#include <apr_errno.h>

/* Paths: /wstep/<authentication>/services/<tenant>/<issuer>,
 * /xcep/<authentication>/services/<tenant>, and the names that Windows servers have for the
 * latter. */

#define WSTEP_URL_ROOT "/wstep"
#define XCEP_URL_ROOT "/xcep"

/** How callers show who they are; the values are those of clientAuthentication (MS-XCEP). */
typedef enum {
    WSTEP_ANONYMOUS = 1,            /* renewals alone: the old certificate vouches for them */
    WSTEP_KERBEROS = 2,             /* httpd has done that */
    WSTEP_USERTOKEN = 4,            /* user name and password in the message */
    WSTEP_CERTIFICATE = 8           /* of TLS, or a signature in the message */
} wstep_authentication_t;

/** "usertoken", ... as in a path. */
const char *wstep_authentication_name(wstep_authentication_t authentication);
/** @return APR_NOTFOUND */
apr_status_t wstep_authentication_parse(wstep_authentication_t *authentication, const char *name);

typedef struct {
    int policy;                     /* 1: XCEP */
    wstep_authentication_t authentication;
    const char *tenant;             /* NULL for the names of Windows servers */
    const char *issuer;             /* NULL with policy */
} wstep_url_t;

/** Splits a decoded path, with or without a final slash.
 *  @return APR_NOTFOUND for everything else */
apr_status_t wstep_url_parse(wstep_url_t *url, const char *path, apr_pool_t *p);

/** The path without a final slash, in p. */
const char *wstep_url_path(const wstep_url_t *url, apr_pool_t *p);

#endif /* mod_wstep_wstep_url_h */
