/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_scep_world_h
#define tests_unit_scep_world_h

#include "mod_scep/scep_engine.h"
#include "scep_builder.h"

/* An engine with a real store, CA and ledger, and a client that speaks to it. */

#define CHALLENGE "seeded-secret-4711"

extern apr_pool_t *pool;
/* a folder of its own */
extern char directory[];
extern gh_issuer_t *issuer;
extern gh_profile_t *automatic, *manual, *ra_profile;
/* of the RA's certificates; to be changed before the set-up */
extern const char *ra_validity;
extern scep_services_t services;
/** Lets so many through at once, in this process alone. */
gh_limiter_t *gate_for(int concurrent);
/** How many certificates the store has. */
apr_int64_t certificates_stored(void);
extern scep_engine_t *engine;
extern scep_endpoint_t endpoint, manual_endpoint;
extern EVP_PKEY *client_key, *other_key;
extern X509 *client, *other, *ca, *ra;
extern char logged[65536];      /* all log messages */
extern gh_audit_event_t event;
extern const gh_log_t everything;

int scep_world_setup(void **state);
int scep_world_teardown(void **state);

/** Writes a file that only its owner may read. @return its path */
const char *write_private(const char *name, const char *text);

/** @param authoriser NULL: none */
void make_endpoint(scep_endpoint_t *made, const gh_profile_t *profile,
                   gh_authoriser_t *authoriser);

/** Sends a message; the answer may be anything. */
void send_to(scep_engine_t *to, const scep_endpoint_t *at, gh_bytes_t message,
             scep_response_t *response);

/** Sends a message of the client and reads the CertRep, which has to be proper whatever it says. */
void exchange(const scep_endpoint_t *at, const scep_test_spec_t *spec, gh_bytes_t content,
              scep_test_reply_t *reply);

/** The client's PKCS#10 request. @param challenge may be NULL */
gh_bytes_t request(const char *challenge);

/** Expects a refusal. @param rule NULL: any */
void refused(const scep_endpoint_t *at, const scep_test_spec_t *spec, gh_bytes_t content,
             int fail_info, const char *rule);

/** Expects a certificate. */
gh_bytes_t enrolled(const scep_endpoint_t *at, const scep_test_spec_t *spec);

void same(gh_bytes_t a, gh_bytes_t b);

#endif /* tests_unit_scep_world_h */
