/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_ocsp_ocsp_authority_h
#define mod_ocsp_ocsp_authority_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "mod_ocsp/ocsp_request.h"
#include "mod_ocsp/ocsp_signer.h"
#include "result.h"
#include "status/view.h"

/*
 * An authority: a CA that is answered for, with where its status comes from, how it is answered and
 * who signs. What to say of a certificate is decided here, from what is known and the policy; no
 * other place decides.
 */

typedef struct ocsp_authority ocsp_authority_t;
typedef struct ocsp_authorities ocsp_authorities_t;

/** What is answered for a serial that is not known. */
typedef enum {
    OCSP_UNKNOWN_UNKNOWN,           /* status unknown */
    OCSP_UNKNOWN_REVOKED,           /* revoked at the epoch, with extended-revoke (RFC 6960 2.2) */
    OCSP_UNKNOWN_GOOD,              /* good: for CRLs without a list of what was issued */
    OCSP_UNKNOWN_UNAUTHORIZED       /* no answer: OCSP error unauthorized (RFC 9919) */
} ocsp_if_unknown_t;

typedef enum {
    OCSP_CUTOFF_NONE,
    OCSP_CUTOFF_CA,                 /* notBefore of the CA's certificate */
    OCSP_CUTOFF_DATE,               /* a fixed date */
    OCSP_CUTOFF_RETENTION,          /* so long before producedAt (RFC 6960 4.4.4) */
    OCSP_CUTOFF_CRL                 /* expiredCertsOnCRL of the CRL; none if it has none */
} ocsp_cutoff_t;

/** nextUpdate is that of the CRL; none if it has none or there is no CRL. */
#define OCSP_NEXT_UPDATE_OF_CRL ((apr_interval_time_t)-1)

/** How an authority is answered for. */
typedef struct {
    ocsp_if_unknown_t if_unknown;
    apr_interval_time_t next_update;    /* after thisUpdate, with a CRL after now; 0: no nextUpdate;
                                           or OCSP_NEXT_UPDATE_OF_CRL */
    apr_interval_time_t unknown_next_update;    /* after now, at most, for a serial that nobody
                                           issued: it may be any moment; 0: as for all others */
    ocsp_cutoff_t cutoff;
    apr_time_t cutoff_date;             /* OCSP_CUTOFF_DATE */
    apr_interval_time_t cutoff_retention;
    int by_name;                        /* ResponderID byName; else byKey */
    apr_interval_time_t max_stale;      /* what is known may be this old; 0: any age */
    int serve_expired;                  /* answer from a CRL past its nextUpdate */
} ocsp_policy_t;

/** A status profile of the source by its name ("basic", "archiveCutOff", "nextUpdate",
 *  "archiveCutOffWithNextUpdate", "CRLProfile", "CRLProfileWithArchiveCutOff", "SNListProfile",
 *  "SNListProfileWithArchiveCutOff"), case-sensitively.
 *  @param needs_crl, needs_serials what sources it demands: 1 must, 0 must not
 *  @return 0 for another name; sets if_unknown, next_update and cutoff of policy only */
int ocsp_policy_named(const char *name, ocsp_policy_t *policy, int *needs_crl,
                      int *needs_serials);

/**
 * @param certificate the CA's; borrowed. Its name and key are hashed by SHA-1, SHA-224, SHA-256,
 *                    SHA-384 and SHA-512
 * @param view, signers borrowed; may be set later by the child
 */
ocsp_authority_t *ocsp_authority_create(const char *name, X509 *certificate,
                                        const ocsp_policy_t *policy, apr_pool_t *p,
                                        gh_result_t *result);
void ocsp_authority_set_view(ocsp_authority_t *authority, gh_view_t *view);
void ocsp_authority_set_signers(ocsp_authority_t *authority, ocsp_signers_t *signers);
const char *ocsp_authority_name(const ocsp_authority_t *authority);
X509 *ocsp_authority_certificate(const ocsp_authority_t *authority);
const ocsp_policy_t *ocsp_authority_policy(const ocsp_authority_t *authority);
gh_view_t *ocsp_authority_view(const ocsp_authority_t *authority);
ocsp_signers_t *ocsp_authority_signers(const ocsp_authority_t *authority);
/** notBefore of the CA's certificate, read once. */
apr_time_t ocsp_authority_ca_start(const ocsp_authority_t *authority);
/** 32 bytes that stand for name, certificate and policy, the same on all nodes; for keys of caches:
 *  with another policy answers are others. */
const unsigned char *ocsp_authority_identity(const ocsp_authority_t *authority);

/** A CertID of a certificate of the authority; for questions of our own.
 *  @param digest NID_sha1, ... @return APR_EINVAL for another one or no serial; APR_ENOMEM */
apr_status_t ocsp_authority_certid(const ocsp_authority_t *authority, int digest,
                                   gh_bytes_t serial, ocsp_certid_t *id, apr_pool_t *p);

/** A set of authorities that an endpoint answers for; immutable. @param authorities
 *  ocsp_authority_t * elements */
ocsp_authorities_t *ocsp_authorities_create(const apr_array_header_t *authorities, apr_pool_t *p);

/** Matches name hash and key hash. Thread-safe, does not allocate. @return NULL if there is none */
ocsp_authority_t *ocsp_authorities_find(const ocsp_authorities_t *authorities,
                                        const ocsp_certid_t *id);

/** What to say of one certificate. */
typedef struct {
    ocsp_status_t ocsp;             /* OCSP_SUCCESSFUL; else the whole answer is this error */
    int status;                     /* V_OCSP_CERTSTATUS_GOOD, _REVOKED, _UNKNOWN */
    int reason;                     /* CRLReason or GH_REASON_NONE */
    apr_time_t revoked_at;          /* may be 0, the epoch, for a revocation of the unknown */
    apr_time_t invalid_from;        /* 0: none */
    apr_time_t this_update;
    apr_time_t next_update;         /* 0: none */
    apr_time_t cutoff;              /* 0: none */
    int extended_revoke;            /* the response has to carry id-pkix-ocsp-extended-revoke */
    apr_int64_t version;            /* of what is known; see gh_known_t */
    apr_int64_t change;             /* how far the source was followed */
} ocsp_verdict_t;

/**
 * Decides. Thread-safe, allocates nothing but for messages.
 *
 * thisUpdate is the last successful synchronisation with the source, of CRLs their thisUpdate, and
 * never later than now. nextUpdate is thisUpdate plus the policy's time, with a CRL now plus that
 * time and never beyond the CRL's own; from an expired CRL that is served anyway there is none.
 * That of a serial that is not known ends sooner, by policy, unless the answer is good: clients may
 * ask before its issue is known here, and would not ask again for as long.
 * Both are whole seconds. Reason unspecified is no reason; held certificates have certificateHold.
 *
 * @param serial of length 0: one that no certificate can have, negative or too long; never good
 * @param result says why if verdict->ocsp is an error: OCSP_TRY_LATER if nothing is known yet, or
 *               what is known is older than max_stale or would be past its nextUpdate;
 *               OCSP_UNAUTHORIZED by policy
 */
void ocsp_decide(ocsp_authority_t *authority, gh_bytes_t serial, apr_time_t now,
                 ocsp_verdict_t *verdict, gh_result_t *result);

/**
 * Whether answers can be given at all from what is known now.
 * @param result why not
 */
int ocsp_decide_fresh(const ocsp_authority_t *authority, const gh_view_state_t *state,
                      apr_time_t now, gh_result_t *result);

#endif /* mod_ocsp_ocsp_authority_h */
