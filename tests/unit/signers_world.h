/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_signers_world_h
#define tests_unit_signers_world_h

#include "mod_ocsp/ocsp_signers.h"
#include "status.h"
#include "x509_support.h"

/* An issuer "devices" with its store, and OCSP signers that are enrolled from it. Everything lives
 * in test_pool. */

#define SECOND  apr_time_from_sec(1)
#define HOUR    apr_time_from_sec(3600)
#define DAY     apr_time_from_sec(86400)

extern gh_issuer_t *issuer;
extern const gh_ca_t *authority;    /* its CA */
extern char logged[65536];          /* by signers, each message on a line of its own */
extern int audited;                 /* how many events the audit log got */

/** Makes issuer and store. @param ca_made when the CA was; it lives for 20 years */
void signers_world(apr_time_t ca_made);
/** Closes the store of this process. */
void signers_world_end(void);

/** What a process has: its own store and ledger. @param without_issuer 1: it can make nothing */
ocsp_signer_services_t *process_services(int without_issuer);

/** A directive. @param kind "P-256", "RSA-2048" */
ocsp_signer_config_t enrolled(const char *kind, const gh_profile_t *profile);
ocsp_signer_config_t from_files(const char *certificate, const char *key, const char *passphrase);
/** Loaded ones; ended by a directive with kind and certificate NULL. */
ocsp_signers_t *signers_of(ocsp_signer_config_t first, ...);
/** What loading says. @param warnings const char * elements, or NULL */
apr_status_t load_signers(ocsp_signers_t **signers, apr_array_header_t *configs,
                          apr_array_header_t **warnings, apr_time_t now, gh_result_t *result);
extern const ocsp_signer_config_t no_more;

apr_status_t follow(ocsp_signers_t *signers, const ocsp_signer_services_t *services,
                    apr_time_t now);
/** The certificate that signs. @param algorithm preferred, NID; 0: none. @return NULL: none */
X509 *signing(ocsp_signers_t *signers, int algorithm, apr_time_t now);
/** Its number. */
int number_of(ocsp_signers_t *signers, apr_time_t now);
/** Signs something with whoever signs, and verifies it. @return 1 if that succeeds */
int sign_something(ocsp_signers_t *signers, apr_time_t now);

/** A certificate in a file. @param eku NULL: that of basic-ocsp, with nocheck */
const char *signer_file(const char *name, EVP_PKEY *key, const char *eku, apr_time_t made);

/** How many generations the store has. */
int generations(const char *kind);
/** Puts a generation into the store whose certificate was made at another time. */
void store_generation(const char *kind, apr_int64_t number, apr_time_t made);
void set_status(X509 *certificate, gh_status_t status);

#endif /* tests_unit_signers_world_h */
