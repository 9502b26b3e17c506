/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_ocsp_engine_support_h
#define tests_unit_ocsp_engine_support_h

#include "ocsp_world.h"
#include "status.h"

/* An engine with one CA, "Engine", as world_index_default() and world_authority() make it. */

#define SECOND apr_time_from_sec(1)

extern world_ca_t *ca;
extern ocsp_endpoint_t *endpoint;
extern ocsp_engine_options_t options;
extern ocsp_engine_t *engine;
extern ocsp_answer_t answer;
extern gh_result_t result;

/** A second level that remembers the last value. */
extern const ocsp_second_level_t second;
extern gh_bytes_t second_value;
extern int second_gets, second_puts;

/** How many may sign, by live. */
extern int room[2];

int engine_setup(void **state);
int engine_teardown(void **state);

/** A new engine with an empty cache. */
void make_engine(int with_cache);
void use_policy(const ocsp_policy_t *policy);

void ask_at(gh_bytes_t der, apr_time_t now);
void ask_now(gh_bytes_t der);
/** With a CertID of SHA-1, without a nonce. */
void ask_for(apr_uint64_t serial);

/** What was said of the first certificate. */
world_single_t said(void);
void assert_error(ocsp_status_t ocsp);
/** extnValue of the nonce, without data if there is none. */
gh_bytes_t nonce_of(OCSP_BASICRESP *basic);

#endif /* tests_unit_ocsp_engine_support_h */
