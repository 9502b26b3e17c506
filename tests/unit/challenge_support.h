/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_challenge_support_h
#define tests_unit_challenge_support_h

#include "x509_support.h"

#include "issuer/authorisation.h"
#include "issuer/device.h"
#include "x509/seal.h"

/* A store, and requests to be granted or refused. */

extern gh_store_t *store;
extern gh_sealer_t *sealer, *other_sealer;
extern gh_profile_t *profile;           /* "test" */

/** cmocka group fixtures; x509_test_teardown() goes with each test. */
int challenge_set_up(void **state);
int challenge_tear_down(void **state);

/** What a device asks. */
typedef struct {
    const char *subject;
    const char *san;                /* OpenSSL's notation, or NULL */
    const char *name;               /* unstructuredName attribute, or NULL */
    const char *address;            /* unstructuredAddress attribute, or NULL */
    const char *challenge;
} asked_t;

/** The request, signed by the device's key. */
gh_csr_t *csr_of(const asked_t *asked);
/** What SCEP would make of it at /scep/acme/devices/test; signer NULL. */
gh_enrolment_request_t request_of(const asked_t *asked);

/** Asks one provider. */
apr_status_t check(gh_authoriser_t *authoriser, const gh_enrolment_request_t *request,
                   gh_grant_t *grant, gh_result_t *result);
void granted(gh_authoriser_t *authoriser, const asked_t *asked);
/** Expects a refusal with that in its cause; the requester is told the same, whatever the cause. */
void refused(gh_authoriser_t *authoriser, const asked_t *asked, const char *cause);
/** Uses up what a grant is about, as the transaction of an enrolment does. */
apr_status_t consume(const gh_grant_t *grant);

/** A registration in tenant acme. */
gh_device_spec_t spec_of(const char *fqdn);
gh_bytes_t bytes(const char *text);
/** @return the password that was generated, or NULL */
const char *add_device(const gh_device_spec_t *spec);

#endif /* tests_unit_challenge_support_h */
