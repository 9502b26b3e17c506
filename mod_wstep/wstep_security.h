/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_security_h
#define mod_wstep_wstep_security_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "mod_wstep/wstep_xml.h"
#include "result.h"

/* wsse:Security (WS-Security 1.1): the time of a message and who sends it by user name. */

#define WSTEP_SKEW_DEFAULT apr_time_from_sec(300)

/** A user name and a password, as they were sent. */
typedef struct {
    const char *name;               /* NULL: there was no UsernameToken */
    char *password;                 /* overwritten with p */
    int timed;                      /* 1: there was a Timestamp */
    int is_signed;                  /* 1: there is a Signature, which was not looked at */
    xmlNode *timestamp;             /* these are NULL if they are not there */
    xmlNode *binary;
    xmlNode *signature;
} wstep_user_token_t;

/**
 * Reads the header of one message. A Timestamp is looked at if there is one: it must not be over,
 * nor from the future, by more than skew. Of passwords PasswordText is taken alone.
 * @param security NULL: there was no header
 * @return APR_EINVAL with result (failure MALFORMED, TIME or DENIED)
 */
apr_status_t wstep_security_read(wstep_user_token_t *token, const xmlNode *security,
                                 apr_time_t now, apr_interval_time_t skew, apr_pool_t *p,
                                 gh_result_t *result);

/** A domain of users. */
typedef struct {
    const char *name;               /* of DNS: "example.com" */
    const char *alias;              /* of NetBIOS: "EXAMPLE"; or NULL */
} wstep_domain_t;

/** Who a caller is, once what he wrote is taken apart. */
typedef struct {
    const char *name;               /* without a domain */
    const wstep_domain_t *domain;   /* NULL: none is configured */
    const char *written;            /* as it was sent */
    int principal;                  /* 1: was written, or is asked for, as user@domain, which may be
                                       a user principal name */
} wstep_user_t;

/**
 * Takes a user name apart: user, DOMAIN\user, user@domain, with a NetBIOS or a DNS name.
 * Who names no domain is in the one that the rest of the request names, or in the first of those
 * that are configured. A domain that is not configured is refused, since users of the same name may
 * be others there.
 * @param requested NULL: the request names none
 * @param domains wstep_domain_t; NULL or empty: nobody may name one
 * @return APR_EINVAL (failure DENIED) with result
 */
apr_status_t wstep_user_parse(wstep_user_t *user, const char *written, const char *requested,
                              const apr_array_header_t *domains, apr_pool_t *p,
                              gh_result_t *result);

/** xsd:dateTime, with or without a zone (then UTC) and fractions of a second.
 *  @return APR_EINVAL */
apr_status_t wstep_time_parse(apr_time_t *time, const char *text);

#endif /* mod_wstep_wstep_security_h */
