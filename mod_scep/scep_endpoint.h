/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_endpoint_h
#define mod_scep_scep_endpoint_h

#include <apr_tables.h>

#include "issuer/authorisation.h"
#include "issuer/issuer.h"
#include "issuer/renewal.h"
#include "x509/profile.h"

/* What is configured for one /scep/<tenant>/<issuer>/<profile>, whatever the protocol side. */

/** Which certificates a reply carries; the issued one is always the first. */
typedef enum {
    SCEP_REPLY_LEAF,
    SCEP_REPLY_ISSUER,
    SCEP_REPLY_FULL
} scep_reply_chain_t;

typedef struct {
    const char *path;
    const char *tenant;
    const char *issuer;                     /* as in the path */
    gh_issuer_t *ca;                        /* of that name; see gh_issuer_at() */
    const gh_profile_t *profile;
    unsigned allow;                         /* SCEP_ALLOW_* */
    scep_reply_chain_t reply_chain;
    const apr_array_header_t *authorisers;  /* gh_authoriser_t *; empty: every request is refused */
    const apr_array_header_t *managers;     /* X509 *: who may sign for devices; NULL: nobody */
    const gh_renewal_policy_t *renewal;     /* NULL: no renewal by certificate */
    const gh_allowances_t *allowances;      /* NULL: none */
    int intune;                             /* 1: Intune is asked, see issuer/intune.h */
} scep_endpoint_t;

#endif /* mod_scep_scep_endpoint_h */
