/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_renewal_h
#define gatehouse_issuer_renewal_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "audit.h"
#include "issuer/authorisation.h"
#include "log.h"
#include "result.h"
#include "store/renewals.h"
#include "store/store.h"
#include "x509/plan.h"

/*
 * Renewal: an earlier certificate vouches for a request (RFC 8894 2.3, DESIGN 4). The rule is the
 * same for every protocol: same issuer and same profile, or one that the policy lists; subject and
 * alternative names equal, and no other security identifier; the old certificate valid, not
 * revoked, that of an end entity; one live successor for each certificate.
 */

/** Old certificates are not revoked by us. */
#define GH_RENEWAL_KEEP_OLD (-1)

/** Whether a policy lets another one take the place of this live successor: one that waits is still
 *  to be decided, one that is held is somebody's concern. */
int gh_renewal_may_replace(const gh_renewal_record_t *renewal);

/** What an endpoint permits. */
struct gh_renewal_policy {
    apr_interval_time_t grace;      /* how long after its end the old certificate still does */
    apr_interval_time_t window;     /* how long before its end it does; 0: from its beginning */
    apr_interval_time_t revoke_old; /* after the new one was issued; or GH_RENEWAL_KEEP_OLD */
    int challenge;                  /* a challenge must be right as well */
    int same_key;                   /* the key may stay the same */
    int replace;                    /* a successor that was issued is revoked for another one */
    const apr_array_header_t *profiles;     /* const char *: others to come from; NULL: none */
    const apr_array_header_t *issuers;      /* const char *: others to come from; NULL: none */
};

/** The certificate that is renewed. */
typedef struct {
    const char *issuer;
    gh_bytes_t serial;
    const char *subject;            /* RFC 4514 */
    const char *sans;               /* JSON, as in the store */
    const X509 *certificate;
} gh_renewed_t;

/**
 * Finds the certificate that signed a request among those that were issued here, and applies the
 * part of the rule that concerns it alone.
 * @param request signer is the old certificate; its signature over the request was verified
 * @return GH_EREFUSED (failure DENIED, REQUEST or TIME); GH_EUNAVAILABLE
 */
apr_status_t gh_renewal_check(gh_renewed_t *renewed, const gh_enrolment_request_t *request,
                              const gh_renewal_policy_t *policy, gh_store_t *store, apr_pool_t *p,
                              gh_result_t *result);

/** The other part: what would be issued names the same subject as the old certificate. */
apr_status_t gh_renewal_compare(const gh_renewed_t *renewed, const gh_plan_t *plan, apr_pool_t *p,
                                gh_result_t *result);

/**
 * Revokes, as superseded, the old certificates whose time has come. Any process may call it.
 * @param events set to gh_audit_event_t * elements to be written
 * @return APR_SUCCESS also if there was nothing to do
 */
apr_status_t gh_renewal_revoke_due(gh_store_t *store, const char *node,
                                   apr_array_header_t **events, apr_pool_t *p,
                                   gh_result_t *result);

#endif /* gatehouse_issuer_renewal_h */
