/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_usages_h
#define gatehouse_x509_usages_h

#include <apr_pools.h>
#include <apr_tables.h>

/* Names of key usages, extended key usages and extensions, as directives use them. */

/** Bits of keyUsage by their number in RFC 5280 4.2.1.3. */
#define GH_USAGE_DIGITAL_SIGNATURE  (1u << 0)
#define GH_USAGE_NON_REPUDIATION    (1u << 1)
#define GH_USAGE_KEY_ENCIPHERMENT   (1u << 2)
#define GH_USAGE_DATA_ENCIPHERMENT  (1u << 3)
#define GH_USAGE_KEY_AGREEMENT      (1u << 4)
#define GH_USAGE_KEY_CERT_SIGN      (1u << 5)
#define GH_USAGE_CRL_SIGN           (1u << 6)
#define GH_USAGE_BITS               7

#define GH_OID_OCSP_SIGNING         "1.3.6.1.5.5.7.3.9"
#define GH_OID_CERTIFICATE_POLICIES "2.5.29.32"
#define GH_OID_APPLICATION_POLICIES "1.3.6.1.4.1.311.21.10"
#define GH_OID_SMIME_CAPABILITIES   "1.2.840.113549.1.9.15"
#define GH_OID_TEMPLATE             "1.3.6.1.4.1.311.21.7"
#define GH_OID_TEMPLATE_NAME        "1.3.6.1.4.1.311.20.2"
#define GH_OID_PIV_INTERIM          "2.16.840.1.101.3.6.9.1"

/** @return 0 for an unknown name */
unsigned int gh_usage_bit(const char *name);

/** Names of key usages by their bits, with a space between, or "none". */
const char *gh_usage_names(unsigned int usage, apr_pool_t *p);

/** Dotted OID of an extended key usage by name or dotted OID; NULL for anything else. */
const char *gh_eku_oid(const char *name, apr_pool_t *p);
/** Name of an extended key usage, or the OID itself. */
const char *gh_eku_name(const char *oid);

/** Dotted OID of an extension that a profile may take from requests; NULL for an unknown one and
 *  for those that are never taken as they are (key usage, names, what the CA decides). */
const char *gh_request_extension_oid(const char *name, apr_pool_t *p);

/** @return 1 for a dotted OID that OpenSSL can encode */
int gh_oid_valid(const char *text);

/** @return 1 if an array of const char * has the text */
int gh_texts_contain(const apr_array_header_t *texts, const char *text);

#endif /* gatehouse_x509_usages_h */
