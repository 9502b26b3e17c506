/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_csr_h
#define gatehouse_x509_csr_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "result.h"
#include "text.h"
#include "x509/plan.h"

/* A PKCS#10 certification request (RFC 2986), parsed once. */

typedef struct gh_csr gh_csr_t;

/** Largest request read; Intune challenges alone take kilobytes. */
#define GH_CSR_MAX 65536

/**
 * Parses one request and nothing behind it. Does not verify it.
 * @param der copied where needed
 * @param decoding library context to parse it in, which outlives it (see decoding.h); NULL: the
 *        default one
 * @return APR_EINVAL with result: malformed, too large, a key that cannot be read, more than one
 *         extensionRequest, duplicate extensions
 */
apr_status_t gh_csr_parse(gh_csr_t **csr, const unsigned char *der, apr_size_t length,
                          OSSL_LIB_CTX *decoding, apr_pool_t *p, gh_result_t *result);

/** Makes a request for what a plan says: subject, key and extensions.
 *  @param der in p; @param key of the plan, private */
apr_status_t gh_csr_make(gh_bytes_t *der, const gh_plan_t *plan, EVP_PKEY *key, apr_pool_t *p,
                         gh_result_t *result);

/** Verifies the signature, proof of possession. Signature digests below SHA-256 are refused unless
 *  weak_digest (SHA-1 only, never MD5). @return GH_EREFUSED with failure INTEGRITY or ALGORITHM */
apr_status_t gh_csr_verify(gh_csr_t *csr, int weak_digest, gh_result_t *result);

gh_bytes_t gh_csr_der(const gh_csr_t *csr);
/** SHA-256 of the CertificationRequestInfo as received. */
gh_bytes_t gh_csr_info_sha256(const gh_csr_t *csr);
/** SHA-256 of the SubjectPublicKeyInfo as received. */
gh_bytes_t gh_csr_key_sha256(const gh_csr_t *csr);
EVP_PKEY *gh_csr_key(const gh_csr_t *csr);                 /* borrowed */
/** gh_key_kind() of it. */
const char *gh_csr_key_kind(const gh_csr_t *csr);
const X509_NAME *gh_csr_subject(const gh_csr_t *csr);      /* borrowed */
const char *gh_csr_subject_text(const gh_csr_t *csr);
/** Requested extensions, borrowed; NULL if none. */
const STACK_OF(X509_EXTENSION) *gh_csr_extensions(const gh_csr_t *csr);
/** Requested alternative names, owned by p; NULL if there are none.
 *  @return GH_EREFUSED with failure MALFORMED */
apr_status_t gh_csr_sans(const gh_csr_t *csr, GENERAL_NAMES **names, apr_pool_t *p,
                         gh_result_t *result);
/**
 * What the request says under an attribute type, as an attribute of its own (PKCS#9) or within the
 * subject: const char * elements in UTF-8, in p, in this order.
 * @return NULL if a value is no text, has a NUL, or there are more than 64 values
 */
apr_array_header_t *gh_csr_texts(const gh_csr_t *csr, int nid, apr_pool_t *p);
/** Attributes as they came, borrowed. */
int gh_csr_attribute_count(const gh_csr_t *csr);
X509_ATTRIBUTE *gh_csr_attribute(const gh_csr_t *csr, int index);
/** challengePassword (PKCS#9), NULL if there is none. A secret: never logged, overwritten with the
 *  pool. More than one attribute or value is refused by gh_csr_parse(). */
const char *gh_csr_challenge(const gh_csr_t *csr);
/** Name of the signature algorithm for logs, "sha256WithRSAEncryption". */
const char *gh_csr_signature_algorithm(const gh_csr_t *csr);

#endif /* gatehouse_x509_csr_h */
