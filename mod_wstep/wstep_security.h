/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_security_h
#define mod_wstep_wstep_security_h

#include <apr_pools.h>
#include <apr_time.h>

#include "mod_wstep/wstep_xml.h"
#include "result.h"

/* wsse:Security (WS-Security 1.1): the time of a message and who sends it by user name. */

#define WSTEP_SKEW_DEFAULT apr_time_from_sec(300)

/** A user name and a password, as they were sent. */
typedef struct {
    const char *name;               /* NULL: there was no UsernameToken */
    char *password;                 /* overwritten with p */
} wstep_user_token_t;

/**
 * Reads the header of one message. A Timestamp is looked at if there is one: it must not be over, nor
 * from the future, by more than skew. Of passwords PasswordText is taken alone.
 * @param security NULL: there was no header
 * @return APR_EINVAL with result (failure MALFORMED, TIME or DENIED)
 */
apr_status_t wstep_security_read(wstep_user_token_t *token, const xmlNode *security,
                                 apr_time_t now, apr_interval_time_t skew, apr_pool_t *p,
                                 gh_result_t *result);

/** Who a caller is, once what he wrote is taken apart. */
typedef struct {
    const char *name;               /* without a domain */
    const char *domain;             /* as written, or the one that is assumed; NULL: none */
    const char *written;            /* as it was sent */
} wstep_user_t;

/**
 * Takes a user name apart: user, DOMAIN\user, user@domain, with a NetBIOS or a DNS name.
 * @param requested domain that the rest of the request names, or NULL
 * @param configured the server's, or NULL
 * @return APR_EINVAL with result for everything else
 */
apr_status_t wstep_user_parse(wstep_user_t *user, const char *written, const char *requested,
                              const char *configured, apr_pool_t *p, gh_result_t *result);

/** xsd:dateTime, with or without a zone (then UTC) and fractions of a second.
 *  @return APR_EINVAL */
apr_status_t wstep_time_parse(apr_time_t *time, const char *text);

#endif /* mod_wstep_wstep_security_h */
