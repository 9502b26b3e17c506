/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_san_h
#define gatehouse_x509_san_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/x509v3.h>

#include "result.h"

/* Types of general names, as profiles name them. */

typedef enum {
    GH_SAN_DNS = 0,
    GH_SAN_EMAIL,
    GH_SAN_IP,
    GH_SAN_URI,
    GH_SAN_DIRNAME,
    GH_SAN_RID,
    GH_SAN_UPN,
    GH_SAN_OTHER,
    GH_SAN_TYPES
} gh_san_type_t;

/** @return GH_SAN_TYPES for a name that is no type */
gh_san_type_t gh_san_type_parse(const char *text);
const char *gh_san_type_name(gh_san_type_t type);
/** @return GH_SAN_TYPES for x400Address and ediPartyName, which are never issued */
gh_san_type_t gh_san_type(const GENERAL_NAME *name);

/** Bounds that hold for names from requests as well as for those from profiles. */
#define GH_SAN_MAX          64
#define GH_SAN_DNS_MAX      253
#define GH_SAN_EMAIL_MAX    254
#define GH_SAN_URI_MAX      2048

#define GH_OID_UPN      "1.3.6.1.4.1.311.20.2.3"
#define GH_OID_SID      "1.3.6.1.4.1.311.25.2"

/** Checks form and length of a name: IA5 without control characters, addresses of 4 or 16 bytes...
 *  @return GH_EREFUSED with result naming the type */
apr_status_t gh_san_check(const GENERAL_NAME *name, gh_result_t *result);

/**
 * A set of names in one way of writing it, so that equal sets are equal texts: a JSON array of
 * gh_san_texts(), sorted, none twice, DNS names in lower case; in p. @param names may be NULL
 * @return GH_EREFUSED with result: gh_san_check(), or a name whose text does not say all of it
 *         (otherName, directory names of more than 999 bytes)
 */
apr_status_t gh_san_normal(const char **json, const GENERAL_NAMES *names, apr_pool_t *p,
                           gh_result_t *result);

/** Reads const char * elements "DNS:a.example", "IP:192.0.2.1", ...; types as gh_san_make(), in any
 *  case; at most GH_SAN_MAX. Owned by p. @return APR_EINVAL with result */
apr_status_t gh_san_read(GENERAL_NAMES **names, const apr_array_header_t *texts, apr_pool_t *p,
                         gh_result_t *result);

#endif /* gatehouse_x509_san_h */
