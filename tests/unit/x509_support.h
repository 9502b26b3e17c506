/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef tests_unit_x509_support_h
#define tests_unit_x509_support_h

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <apr_hash.h>
#include <apr_pools.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "result.h"
#include "x509/ca.h"
#include "x509/csr.h"
#include "x509/profile.h"

/* What the tests of lib/x509 share. Everything lives in test_pool, which is emptied after each
 * test. */

extern apr_pool_t *test_pool;

/** cmocka fixtures. */
int x509_group_setup(void **state);
int x509_group_teardown(void **state);
int x509_test_teardown(void **state);

/** A key of tests/fixtures/keys by file name without ".pem". */
EVP_PKEY *fixture_key(const char *name);

/** The fixture for a kind of key, "RSA-2048", ... */
EVP_PKEY *key_of_kind(const char *kind);

/** The six kinds, ended by NULL. */
extern const char *const key_kinds[];
#define KEY_KINDS 6

/** A scratch folder, removed with everything in it by the teardown of the test. */
const char *scratch_folder(void);
const char *scratch_file(const char *name, const char *content, int mode);
const char *scratch_path(const char *name);
/** Writes a key, mode 0600. @param passphrase NULL: unencrypted */
void write_key(const char *path, EVP_PKEY *key, int traditional, const char *passphrase);
void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Requests */

typedef struct {
    EVP_PKEY *key;
    const char *subject;                        /* RFC 4514 */
    STACK_OF(X509_EXTENSION) *extensions;
    const char *challenge;
    const EVP_MD *digest;                       /* NULL: SHA-256 */
} request_t;

request_t request_for(EVP_PKEY *key, const char *subject);
/** Adds an extension in the notation of OpenSSL's configuration. */
void ask(request_t *request, const char *name, const char *value);
/** Adds an extension from hexadecimal DER. */
void ask_der(request_t *request, const char *oid, int critical, const char *hex);
/** A signed X509_REQ, owned by test_pool. */
X509_REQ *build_request(const request_t *request);
gh_bytes_t request_der(X509_REQ *request);
/** Builds, parses and verifies. */
gh_csr_t *make_csr(const request_t *request);

/* Profiles */

/** Reads profiles.conf as httpd would: gh_profile_t * by name. */
apr_hash_t *read_profiles(void);
/** A completed profile of a few directives, one per line, ended by NULL. */
gh_profile_t *make_profile(const char *name, const char *base, ...);
/** @return APR_SUCCESS or what failed, with result set */
apr_status_t read_profile_text(apr_hash_t *profiles, const char *text, gh_result_t *result);

/** A shipped profile. */
gh_profile_t *shipped(const char *name);

/** What a request ended with. */
typedef struct {
    apr_status_t rv;
    gh_plan_t *plan;
    gh_result_t result;
} outcome_t;

outcome_t apply_with(const gh_profile_t *profile, const request_t *request,
                     const gh_profile_context_t *context);
outcome_t apply(const gh_profile_t *profile, const request_t *request);
void assert_granted(outcome_t outcome);
void assert_refused(outcome_t outcome, const char *rule);
/** What a location allows that lists one item. */
gh_allowances_t *allowing(const char *item);

/* Extensions that requests bring */
#define TEMPLATE_V2     "1.3.6.1.4.1.311.21.7"
#define TEMPLATE_V1     "1.3.6.1.4.1.311.20.2"
#define POLICIES        "2.5.29.32"
#define APPLICATION     "1.3.6.1.4.1.311.21.10"
#define CAPABILITIES    "1.2.840.113549.1.9.15"
#define SID             "1.3.6.1.4.1.311.25.2"
#define PIV             "2.16.840.1.101.3.6.9.1"

/* CAs */

/** A root made of basic-ca-root with a key; 20 years. */
gh_ca_t *make_root(EVP_PKEY *key, const char *subject, apr_time_t now);
/** An issuing CA under it. */
gh_ca_t *make_issuing(const gh_ca_t *root, EVP_PKEY *key, const char *subject, apr_time_t now);

/** A certificate of scep-digital-signature's for a key, as a plan. */
gh_plan_t *subscriber(EVP_PKEY *key);
/** Issues, and gives what others see: what is in the bytes. */
X509 *issue_at(const gh_ca_t *ca, const gh_plan_t *plan, apr_time_t now);
X509 *issue(const gh_ca_t *ca, const gh_plan_t *plan);

/** Verifies as a relying party does; issuing may be NULL, and so may crls. @return X509_V_* */
int verify_chain(X509 *certificate, const gh_ca_t *issuing, const gh_ca_t *root,
                 STACK_OF(X509_CRL) *crls, apr_time_t now);

/** The value of an extension as OpenSSL's type, or NULL; *critical -1 if it is absent. */
void *extension_of(X509 *certificate, int nid, int *critical);
/** An extension by dotted OID, or NULL. */
X509_EXTENSION *extension_by_oid(X509 *certificate, const char *oid);

#define assert_success(expression) assert_int_equal(expression, APR_SUCCESS)

#endif /* tests_unit_x509_support_h */
