/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_san_h
#define gatehouse_x509_san_h

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

#endif /* gatehouse_x509_san_h */
