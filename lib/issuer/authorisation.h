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
#include "x509/seal.h"

/*
 * Leave to issue one certificate. An authorisation exists only after a check has succeeded, and
 * names what it is good for; whatever issues takes one as a parameter. There is no other way to a
 * certificate, and no way to make one by hand: the type is opaque, made here only.
 */

typedef struct gh_authorisation gh_authorisation_t;
typedef struct gh_enrolment_request gh_enrolment_request_t;
typedef struct gh_authoriser gh_authoriser_t;
typedef struct gh_renewal_policy gh_renewal_policy_t;
struct gh_renewal_record;
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
    X509 *signer;                   /* the certificate that signed the message, or NULL */
    const gh_csr_t *csr;
    const char *challenge;          /* secret, or NULL */
    const gh_sealer_t *sealer;      /* what secrets of devices are compared with; NULL: nothing */
    const char *client;             /* address */
    const char *user;               /* authenticated by httpd, or NULL */
    const char *request_id;
    gh_profile_context_t context;
};

/**
 * Uses up, in the enrolment's own transaction, what is good for one enrolment only.
 * @param baton consume_baton of the grant; the function may run again from its beginning
 * @return APR_SUCCESS; GH_EREFUSED if it has been used or has ended meanwhile
 */
typedef apr_status_t gh_consume_fn(gh_transaction_t *transaction, void *baton,
                                   const char *enrolment, apr_time_t now);

/** What somebody outside is asked before anything is issued, see question.h. Jobs are of the kinds
 *  "ask.KIND", "confirm.KIND" and "failed.KIND". */
typedef struct {
    const char *kind;               /* "webhook", ...; NULL: nobody is asked */
    const char *queue;              /* of the jobs: "webhook:NAME", no name of an issuer */
    int confirm;                    /* 1: what comes of it has to be told, and a certificate is not
                                       handed out before that was taken well */
    apr_interval_time_t patience;   /* how long is tried; 0: 24 h */
} gh_question_t;

/** What a successful authoriser grants. */
typedef struct {
    const char *rule;               /* "challenge.static", "challenge.onetime", ...; static text */
    const char *message;            /* for the audit log: on whose word; NULL: the rule says it */
    gh_consume_fn *consume;         /* NULL: nothing is used up */
    void *consume_baton;
    int secret_bits;                /* strength of the secret that the client has shown, if it is
                                       known and the client's own; else 0 */
    int final;                      /* of a refusal: no other authoriser is asked either */
    const gh_given_names_t *given;  /* whose certificate it is, whatever the request asks for; NULL:
                                       as the request asks */
    gh_question_t question;         /* kind not NULL: granted if somebody outside permits it */
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
 * A refusal by several says to the requester that all refused, and in its cause what each found.
 * @param authorisers gh_authoriser_t * elements; none means refused
 * @param result not NULL
 * @return APR_SUCCESS; GH_EREFUSED (failure DENIED, REQUEST or ALGORITHM); GH_EUNAVAILABLE
 */
apr_status_t gh_authorise(gh_authorisation_t **authorisation,
                          const gh_enrolment_request_t *request,
                          const apr_array_header_t *authorisers, gh_store_t *store,
                          apr_pool_t *p, gh_result_t *result);

/**
 * As gh_authorise(), for a request for which its signer's earlier certificate vouches: see
 * renewal.h. The authorisers are asked only if the policy wants a challenge as well.
 * @return also GH_EREFUSED with failure TIME or CONFLICT
 */
apr_status_t gh_authorise_renewal(gh_authorisation_t **authorisation,
                                  const gh_enrolment_request_t *request,
                                  const gh_renewal_policy_t *policy,
                                  const apr_array_header_t *authorisers, gh_store_t *store,
                                  apr_pool_t *p, gh_result_t *result);

/** From a row that an operator has approved, or that somebody outside has permitted: state
 * approved, plan as it was when authorised. @return GH_EREFUSED for every other row */
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
/** On whose word, for the audit log; or NULL. */
const char *gh_authorisation_message(const gh_authorisation_t *authorisation);
/** secret_bits of the grant. */
int gh_authorisation_secret_bits(const gh_authorisation_t *authorisation);
/** Runs consume of the grant, if there is one. @return its errors */
apr_status_t gh_authorisation_consume(const gh_authorisation_t *authorisation,
                                      gh_transaction_t *transaction, const char *enrolment,
                                      apr_time_t now);
/** What to note of the certificate that is renewed, but for enrolment and times: revoke_after is
 *  the delay, -1 for never; NULL: nothing is renewed. */
const struct gh_renewal_record *gh_authorisation_renewal(
    const gh_authorisation_t *authorisation);
int gh_authorisation_needs_approval(const gh_authorisation_t *authorisation);
/** Who has to permit it first; NULL: nobody. */
const gh_question_t *gh_authorisation_question(const gh_authorisation_t *authorisation);

/* The challenge providers that need no protocol. */

/** "static": one secret. @param secret borrowed */
gh_authoriser_t *gh_authoriser_static(gh_bytes_t secret, apr_pool_t *p);
/** "onetime [set]": rows of the store, bound to tenant, issuer, profile and perhaps subject and
 *  alternative names. */
gh_authoriser_t *gh_authoriser_onetime(const char *set, apr_pool_t *p);
/** As gh_authoriser_onetime(), for challenges that have a subject: the certificate gets that, and
 *  the alternative names of the challenge, whatever the request asks for; nothing else than set and
 *  tenant and profile is compared. It is noted in the row of mdm_requests.h that has the id of the
 *  challenge. */
gh_authoriser_t *gh_authoriser_given(const char *set, apr_pool_t *p);
/** "device": registrations, see device.h. */
gh_authoriser_t *gh_authoriser_device(apr_pool_t *p);
/** "manager": what one of these certificates has signed. @param managers X509 *; borrowed, as they
 *  are. A message of one that has expired or was revoked is refused, whoever else is asked. */
gh_authoriser_t *gh_authoriser_manager(const apr_array_header_t *managers, apr_pool_t *p);
/** @return 1 if a certificate is the very one of one of these managers
 *  @param managers, certificate may be NULL */
int gh_manager_is(const apr_array_header_t *managers, const X509 *certificate);
/** "webhook NAME": grants if a webhook permits it; see question.h. @param deadline how long it is
 *  asked */
gh_authoriser_t *gh_authoriser_webhook(const char *name, apr_interval_time_t deadline,
                                       apr_pool_t *p);
/** "none insecure": everybody. */
gh_authoriser_t *gh_authoriser_none(apr_pool_t *p);

/** What a one-time challenge is to be good for. */
typedef struct {
    const char *set;                /* of "SCEPChallenge onetime SET"; NULL or "": none */
    const char *tenant;
    const char *issuer;
    const char *profile;
    const char *subject;            /* RFC 4514 that the request must have; NULL: any */
    const apr_array_header_t *sans; /* const char * "DNS:a.example", "IP:192.0.2.1", ...: these and
                                       no others must be asked for; empty: none; NULL: any */
    apr_interval_time_t lifetime;   /* 0: one hour */
    int typed;                      /* 32 digits in upper case, for people and for pages of NDES */
    int most;                       /* unused ones for this set and endpoint that the actor may have
                                       at a time by this protocol; 0: any number */
    const char *node;               /* for the audit log, as are the next four */
    const char *actor;
    const char *protocol;           /* "ctl", "http", "ndes", "profile" */
    const char *request_id;         /* X-Request-Id; NULL: none */
    const char *client;             /* address; NULL: none */
    /** What else is written in the transaction that stores the challenge; may run again from its
     *  beginning. NULL: nothing. */
    apr_status_t (*also)(gh_transaction_t *transaction, void *baton, const char *id,
                         apr_time_t expires);
    void *also_baton;
} gh_challenge_spec_t;

typedef struct {
    const char *id;                 /* names it in logs */
    const char *challenge;          /* the secret: 40 hexadecimal digits, or 32 */
    apr_time_t expires;
} gh_challenge_made_t;

/**
 * Makes a one-time challenge of 160 random bits (128 if it is typed), and stores its digest and an
 * audit row.
 * @param made what was made, in p
 * @return APR_SUCCESS; APR_EINVAL with result: a subject or alternative name that cannot be read;
 *         GH_EREFUSED with failure CONFLICT: the actor has too many unused ones; errors of
 *         gh_store_write()
 */
apr_status_t gh_challenge_new(gh_store_t *store, const gh_challenge_spec_t *spec,
                              gh_challenge_made_t *made, apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_issuer_authorisation_h */
