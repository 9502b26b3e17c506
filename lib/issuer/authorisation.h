/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_issuer_authorisation_h
#define gatehouse_issuer_authorisation_h

#include <apr_pools.h>
#include <apr_tables.h>

#include "result.h"
#include "store/store.h"
#include "text.h"
#include "x509/csr.h"
#include "x509/plan.h"
#include "x509/profile.h"

/*
 * Leave to issue one certificate. An authorisation exists only after a check has succeeded, and
 * names what it is good for; whatever issues takes one as a parameter. There is no other way to a
 * certificate, and no way to make one by hand: the type is opaque, made here only.
 */

typedef struct gh_authorisation gh_authorisation_t;
typedef struct gh_enrolment_request gh_enrolment_request_t;
typedef struct gh_authoriser gh_authoriser_t;
struct gh_enrolment_record;

/** What a protocol has understood and verified: signature over the message and proof of
 *  possession. */
struct gh_enrolment_request {
    const char *protocol;           /* "scep" */
    const char *location;           /* path of the endpoint */
    const char *tenant;
    const char *issuer;
    const gh_profile_t *profile;
    const char *transaction;
    gh_bytes_t signer_sha256;       /* SubjectPublicKeyInfo of who signed the message */
    const gh_csr_t *csr;
    const char *challenge;          /* secret, or NULL */
    const char *client;             /* address */
    const char *user;               /* authenticated by httpd, or NULL */
    const char *request_id;
    gh_profile_context_t context;
};

/** What a successful authoriser grants. */
typedef struct {
    const char *rule;               /* "challenge.static", "challenge.onetime", ...; static text */
    const char *challenge_id;       /* of a one-time challenge, to be used up; or NULL */
} gh_grant_t;

/** One way to be authorised; several may stand behind one location, the first that grants wins. */
struct gh_authoriser {
    const char *name;
    void *data;
    /**
     * @return APR_SUCCESS with grant filled; GH_EREFUSED if this request is not granted;
     *         GH_EUNAVAILABLE if that cannot be told now. Compares secrets in constant time.
     */
    apr_status_t (*check)(const gh_authoriser_t *authoriser, gh_store_t *store,
                          const gh_enrolment_request_t *request, gh_grant_t *grant,
                          apr_pool_t *p, gh_result_t *result);
};

/**
 * Decides about a request: first whether somebody grants it, then whether the profile permits it.
 * @param authorisers gh_authoriser_t * elements; none means refused
 * @return APR_SUCCESS; GH_EREFUSED (failure DENIED, REQUEST or ALGORITHM); GH_EUNAVAILABLE
 */
apr_status_t gh_authorise(gh_authorisation_t **authorisation,
                          const gh_enrolment_request_t *request,
                          const apr_array_header_t *authorisers, gh_store_t *store,
                          apr_pool_t *p, gh_result_t *result);

/** From a row that an operator has approved: state approved, plan as it was when authorised.
 *  @return GH_EREFUSED for every other row */
apr_status_t gh_authorise_approved(gh_authorisation_t **authorisation,
                                   const struct gh_enrolment_record *record, apr_pool_t *p,
                                   gh_result_t *result);

/** For a certificate of our own, by an internal profile or one fit for the purpose ("scep-ra"). */
apr_status_t gh_authorise_own(gh_authorisation_t **authorisation, const char *purpose,
                              const char *issuer, const gh_profile_t *profile, EVP_PKEY *key,
                              const char *subject, apr_pool_t *p, gh_result_t *result);

/* What it is good for; all borrowed. */
const gh_plan_t *gh_authorisation_plan(const gh_authorisation_t *authorisation);
const char *gh_authorisation_location(const gh_authorisation_t *authorisation);
const char *gh_authorisation_protocol(const gh_authorisation_t *authorisation);
const char *gh_authorisation_issuer(const gh_authorisation_t *authorisation);
const char *gh_authorisation_profile(const gh_authorisation_t *authorisation);
const char *gh_authorisation_subject(const gh_authorisation_t *authorisation);
gh_bytes_t gh_authorisation_key_sha256(const gh_authorisation_t *authorisation);
/** SHA-256 of the CertificationRequestInfo it was given for; data NULL for our own certificates. */
gh_bytes_t gh_authorisation_request_sha256(const gh_authorisation_t *authorisation);
const char *gh_authorisation_rule(const gh_authorisation_t *authorisation);
const char *gh_authorisation_challenge_id(const gh_authorisation_t *authorisation);
int gh_authorisation_needs_approval(const gh_authorisation_t *authorisation);

/* The challenge providers that need no protocol. */

/** "static": one secret. @param secret borrowed */
gh_authoriser_t *gh_authoriser_static(gh_bytes_t secret, apr_pool_t *p);
/** "onetime [set]": rows of the store, bound to tenant, issuer, profile and perhaps subject. */
gh_authoriser_t *gh_authoriser_onetime(const char *set, apr_pool_t *p);
/** "none insecure": everybody. */
gh_authoriser_t *gh_authoriser_none(apr_pool_t *p);

/**
 * Makes a one-time challenge of 160 random bits and stores its digest.
 * @param subject RFC 4514 or NULL; @param lifetime 0: one hour
 * @param id, challenge, expires what was made, in p
 */
apr_status_t gh_challenge_new(gh_store_t *store, const char *set, const char *tenant,
                              const char *issuer, const char *profile, const char *subject,
                              apr_interval_time_t lifetime, const char *node, const char *actor,
                              const char **id,
                              const char **challenge, apr_time_t *expires, apr_pool_t *p,
                              gh_result_t *result);

#endif /* gatehouse_issuer_authorisation_h */
