/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_wstep_wstep_endpoint_h
#define mod_wstep_wstep_endpoint_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/types.h>

#include "directory/directory.h"
#include "issuer/authorisation.h"
#include "issuer/issuer.h"
#include "mod_wstep/wstep_security.h"
#include "mod_wstep/wstep_trust.h"
#include "mod_wstep/wstep_url.h"

/* An endpoint, and who calls: what the engine has to know of both, without httpd. */

/** wstep_template.h; its directives are read by wstep_config_template.c. */
typedef struct wstep_template wstep_template_t;

/** Form of the first token of an answer. */
typedef enum {
    WSTEP_RESPONSE_CMC,             /* full PKI response, signed by the registration authority */
    WSTEP_RESPONSE_CERTIFICATES     /* certificates alone */
} wstep_response_t;

/** /wstep/<authentication>/services/<tenant>/<issuer>, as configured. */
typedef struct {
    const char *path;
    const char *url;                /* as clients know it, for the reference of pending ones */
    const char *tenant;
    const char *issuer;
    wstep_authentication_t authentication;
    gh_issuer_t *ca;
    const apr_array_header_t *templates;    /* const wstep_template_t *: those offered here */
    const gh_renewal_policy_t *renewal;     /* NULL: renewals by certificate are refused */
    const gh_allowances_t *allowances;      /* GatehouseAllowRequest at this path */
    int renewal_only;
    wstep_response_t response;
    const char *parent_dn;          /* appended to subjects; or NULL */
    const apr_array_header_t *domains;      /* wstep_domain_t; the first is the default; or NULL */
    const apr_array_header_t *holders;      /* const char *: issuers whose certificates callers may
                                               show; NULL: none */
    const wstep_trust_t *trust;     /* of whom they may show others; NULL: of nobody */
} wstep_endpoint_t;

/** Who calls, authenticated. */
typedef struct {
    wstep_authentication_t authentication;
    wstep_user_t user;              /* name NULL with WSTEP_ANONYMOUS */
    X509 *certificate;              /* with WSTEP_CERTIFICATE: of the caller; else NULL */
    const gh_directory_account_t *account;  /* whom certificate names; NULL: user.name is to be
                                               looked up */
} wstep_caller_t;

#endif /* mod_wstep_wstep_endpoint_h */
