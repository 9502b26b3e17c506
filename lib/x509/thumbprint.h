/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_thumbprint_h
#define gatehouse_x509_thumbprint_h

#include "result.h"
#include "text.h"

/* Thumbprints: digests of certificates in DER, as people copy them out of dialogs and programs. */

#define GH_SHA1_LENGTH      20
#define GH_SHA256_LENGTH    32

/** Longest text that is looked at. */
#define GH_THUMBPRINT_TEXT_MAX 1024

typedef struct {
    unsigned char digest[GH_SHA256_LENGTH];
    int length;                     /* GH_SHA1_LENGTH or GH_SHA256_LENGTH */
} gh_thumbprint_t;

/**
 * Reads "sha256:" or "sha1:" and hexadecimal digits in any case; without a prefix the number of
 * digits tells. NULs, blanks, colons, line ends, marks of direction (U+200E, U+200F and the like),
 * byte order marks and characters of no width are left out, wherever they are.
 * @param bare set to 1 if there was no prefix; may be NULL
 * @return APR_SUCCESS or APR_EINVAL, with result
 */
apr_status_t gh_thumbprint_parse(gh_thumbprint_t *thumbprint, const char *text, apr_size_t length,
                                 int *bare, gh_result_t *result);

/** "sha256:" or "sha1:" and lower-case hexadecimal digits, in p: the one form that is stored. */
const char *gh_thumbprint_text(const gh_thumbprint_t *thumbprint, apr_pool_t *p);

#endif /* gatehouse_x509_thumbprint_h */
