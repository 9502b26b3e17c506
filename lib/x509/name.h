/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_name_h
#define gatehouse_x509_name_h

#include <apr_pools.h>
#include <apr_tables.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "result.h"

/* Distinguished names and subject alternative names as text, both ways. */

/** RFC 4514 text, UTF-8, in p; capped at 1024 bytes, control bytes escaped. */
const char *gh_name_text(const X509_NAME *name, apr_pool_t *p);

/**
 * Reads RFC 4514 text, most specific RDN first; attribute names by the alias table of
 * certificate-profiles 6 (SN is surname, S is state), case-insensitively, or dotted OIDs. String
 * types by RFC 5280: country PrintableString, domainComponent and emailAddress IA5String, others
 * PrintableString where possible, else UTF8String. Owned by p.
 */
apr_status_t gh_name_parse(X509_NAME **name, const char *text, apr_pool_t *p,
                           gh_result_t *result);

/** NID of an attribute alias, or NID_undef. */
int gh_name_attribute(const char *alias);

/** const char * elements "DNS:...", "email:...", "IP:...", "URI:...", "dirName:...", "RID:...",
 *  "UPN:...", "otherName:<oid>", in p. @param names may be NULL */
apr_array_header_t *gh_san_texts(const GENERAL_NAMES *names, apr_pool_t *p);

/** JSON array of those texts, in p. */
const char *gh_san_json(const GENERAL_NAMES *names, apr_pool_t *p);

/** Makes one general name; type "dns", "email", "ip", "uri", "dirname", "rid" or "upn". The caller
 *  owns it. @return APR_EINVAL for a malformed value */
apr_status_t gh_san_make(GENERAL_NAME **name, const char *type, const char *value,
                         gh_result_t *result);

#endif /* gatehouse_x509_name_h */
