/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_profile_h
#define gatehouse_x509_profile_h

#include <apr_hash.h>
#include <apr_pools.h>
#include <apr_tables.h>

#include "result.h"
#include "x509/csr.h"
#include "x509/plan.h"

/*
 * Certificate profiles: what comes out, whatever the protocol. A profile is filled by the
 * directives of <CertificateProfile>, which mean the same wherever they are read from.
 */

typedef struct gh_profile gh_profile_t;

/** One directive of <CertificateProfile>: name, usage text (for httpd's help and the manual). */
typedef struct {
    const char *name;
    const char *usage;
} gh_profile_directive_t;

/** The table, ended by an entry with a NULL name. */
const gh_profile_directive_t *gh_profile_directives(void);

/** @param base profile to inherit everything but its name and aliases from, or NULL
 *  @return NULL if the name is not valid (gh_name_valid()) */
gh_profile_t *gh_profile_create(const char *name, const gh_profile_t *base, apr_pool_t *p);

/** Applies one directive. @param argv its arguments, already unquoted
 *  @return APR_EINVAL with result saying what is wrong with it */
apr_status_t gh_profile_set(gh_profile_t *profile, const char *directive, int argc,
                            const char *const *argv, apr_pool_t *p, gh_result_t *result);

/** Checks a profile as a whole, once all its directives were applied. */
apr_status_t gh_profile_complete(gh_profile_t *profile, apr_pool_t *p, gh_result_t *result);

const char *gh_profile_name(const gh_profile_t *profile);
/** const char * elements: older names that mean this profile. */
const apr_array_header_t *gh_profile_aliases(const gh_profile_t *profile);
/** @return 1 with ProfileApproval manual */
int gh_profile_needs_approval(const gh_profile_t *profile);
/** @return 1 if it makes CA certificates or has another use inside a CA only: basic-* */
int gh_profile_is_internal(const gh_profile_t *profile);
/** @return 1 if it must be named in full, never by a wildcard: it makes CA certificates or fixes a
 *  usage that nobody may ask for (code signing, smart-card logon, any usage, ...) */
int gh_profile_is_privileged(const gh_profile_t *profile);
/** @return 1 if digitalSignature and keyEncipherment are both set: fit for a SCEP RA */
int gh_profile_fits_ra(const gh_profile_t *profile);
/** @return 1 if it is for end entities with key usage digitalSignature, if any, and extended key
 *  usage OCSPSigning: fit for a delegated OCSP signer (RFC 6960 4.2.2.2) */
int gh_profile_fits_ocsp(const gh_profile_t *profile);
/** GH_USAGE_* of usages.h that certificates for RSA keys get; 0: no key usage */
unsigned int gh_profile_key_usage(const gh_profile_t *profile);
/** @return 1 if keys of that kind ("RSA-2048", ...) are allowed */
int gh_profile_allows_key(const gh_profile_t *profile, const char *kind);
/** @return 1 if certificates may be asked for in that mode: "csr", or "p12" (the server makes the
 *  key) */
int gh_profile_allows_mode(const gh_profile_t *profile, const char *mode);
/** All expressions that "set" rules hold, const char * elements, so that they can be compiled when
 *  the configuration is read. */
const apr_array_header_t *gh_profile_expressions(const gh_profile_t *profile);

/**
 * What nobody may ask for unless a location lists it (DESIGN 4): EKUs OCSPSigning, timeStamping,
 * anyExtendedKeyUsage, codeSigning, smart-card logon, PKINIT client and KDC, certificate request
 * agent, and application policies with those OIDs; UPN and SID names (otherName, the SID
 * extension, SID URIs); CA certificates (basicConstraints, keyCertSign, cRLSign).
 */
typedef struct gh_allowances gh_allowances_t;

/**
 * @param items "codeSigning", "OCSPSigning", "timeStamping", "anyExtendedKeyUsage",
 *        "smartcardLogon", "pkinitClient", "pkinitKDC", "certificateRequestAgent", "UPN", "SID", or
 *        a dotted OID; CA certificates cannot be allowed
 * @return APR_EINVAL for an unknown item
 */
apr_status_t gh_allowances_make(gh_allowances_t **allowances, const apr_array_header_t *items,
                                apr_pool_t *p, gh_result_t *result);

/** Evaluates an expression of a "set" rule.
 *  @return other than APR_SUCCESS or an empty value: the request is refused */
typedef apr_status_t gh_expand_fn(void *baton, const char *expression, apr_pool_t *p,
                                  const char **value);

/** What stands in place of the subject and the alternative names that a request asks for. */
typedef struct {
    const X509_NAME *subject;
    const GENERAL_NAMES *names;         /* NULL: none */
    const STACK_OF(X509_EXTENSION) *extensions;     /* added, unless the profile fixes them; what
                                                       the request asks for under the same object
                                                       identifiers is not looked at, nor are
                                                       application policies beside an extended key
                                                       usage. NULL: none */
    int instead;                        /* 1: nor are the alternative names that it asks for, and
                                           a security identifier; 0: they are checked, though not
                                           given */
} gh_given_names_t;

/** Reads what was stored. @param sans gh_san_normal(), or NULL
 *  @param given in p @return GH_ECORRUPT with result */
apr_status_t gh_names_given(const gh_given_names_t **given, const char *subject, const char *sans,
                            apr_pool_t *p, gh_result_t *result);

/** What a request brings to its profile. */
typedef struct {
    const gh_allowances_t *allowances;  /* NULL: none */
    gh_expand_fn *expand;               /* NULL: a profile with expressions refuses */
    void *expand_baton;
    const gh_given_names_t *given;      /* NULL: what the request asks for counts */
} gh_profile_context_t;

/**
 * Applies a profile to a request: decides subject, names, usages, extensions and validity, and
 * refuses what the profile or the "never" list does not permit.
 * The request's signature must have been verified before.
 *
 * @param plan what would be issued, in p
 * @return APR_SUCCESS; GH_EREFUSED with failure REQUEST or ALGORITHM, the rule
 *         ("profile.eku", "never.upn", "profile.key", ...) and the offending item in the message
 */
apr_status_t gh_profile_apply(gh_plan_t **plan, const gh_profile_t *profile, const gh_csr_t *csr,
                              const gh_profile_context_t *context, apr_pool_t *p,
                              gh_result_t *result);

/** As gh_profile_apply() for a certificate of our own (RA, OCSP signer, CA): key and name are
 *  given, internal profiles are permitted. */
apr_status_t gh_profile_apply_own(gh_plan_t **plan, const gh_profile_t *profile, EVP_PKEY *key,
                                  const char *subject, apr_pool_t *p, gh_result_t *result);

#endif /* gatehouse_x509_profile_h */
