/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_plan_h
#define gatehouse_x509_plan_h

#include <apr_pools.h>
#include <apr_time.h>
#include <openssl/x509.h>

#include "result.h"
#include "text.h"

/*
 * What a certificate will contain, decided by a profile, before a CA adds what is the CA's: serial,
 * issuer, dates, key identifiers, where to find CRL and issuer.
 */

typedef struct gh_plan gh_plan_t;

/** Everything is owned by p, including what is added later. */
gh_plan_t *gh_plan_create(apr_pool_t *p);

/* Setters copy (or reference) what they are given. */
apr_status_t gh_plan_set_key(gh_plan_t *plan, EVP_PKEY *key);
apr_status_t gh_plan_set_subject(gh_plan_t *plan, const X509_NAME *subject);
apr_status_t gh_plan_add_extension(gh_plan_t *plan, const X509_EXTENSION *extension);
/** Longest life; the CA clamps it to its own end. */
void gh_plan_set_validity(gh_plan_t *plan, apr_interval_time_t validity);
/** Whether the CA adds where to find CRL, OCSP responder and issuer; it does unless told not to. */
void gh_plan_set_locations(gh_plan_t *plan, int locations);

/** What the requester has not got, for the audit log; borrowed, and not part of the encoded
 *  plan. */
void gh_plan_set_note(gh_plan_t *plan, const char *note);

EVP_PKEY *gh_plan_key(const gh_plan_t *plan);               /* borrowed */
const X509_NAME *gh_plan_subject(const gh_plan_t *plan);    /* borrowed */
const char *gh_plan_subject_text(const gh_plan_t *plan);
/** JSON array of the names in subjectAltName. */
const char *gh_plan_sans(const gh_plan_t *plan);
/** @return NULL: nothing to say */
const char *gh_plan_note(const gh_plan_t *plan);
gh_bytes_t gh_plan_key_sha256(const gh_plan_t *plan);
const STACK_OF(X509_EXTENSION) *gh_plan_extensions(const gh_plan_t *plan);  /* borrowed */
apr_interval_time_t gh_plan_validity(const gh_plan_t *plan);
int gh_plan_has_locations(const gh_plan_t *plan);
/** @return 1 if basicConstraints says cA */
int gh_plan_is_ca(const gh_plan_t *plan);

/**
 * A plan as bytes, for the store: a DER CertificationRequestInfo (RFC 2986) of subject, key and
 * the final extensions, preceded by the validity as a 64-bit big endian number of microseconds, of
 * which the first bit is set for a certificate without locations.
 */
apr_status_t gh_plan_encode(gh_bytes_t *bytes, const gh_plan_t *plan, apr_pool_t *p,
                            gh_result_t *result);
apr_status_t gh_plan_decode(gh_plan_t **plan, gh_bytes_t bytes, apr_pool_t *p,
                            gh_result_t *result);

#endif /* gatehouse_x509_plan_h */
