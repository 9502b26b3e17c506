/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_ad_h
#define gatehousectl_ctl_ad_h

#include <stdio.h>

#include <apr_pools.h>
#include <jansson.h>
#include <openssl/types.h>

#include "text.h"

/* Objects of Active Directory as LDIF (RFC 2849), in the form that ldifde and ldapadd take. */

/** Lines that no program reads. A text of several lines is several comments. */
void ctl_ldif_comment(FILE *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** One value; NULL: nothing. What LDIF cannot have as text is base64. */
void ctl_ldif_text(FILE *file, const char *name, const char *value);
void ctl_ldif_number(FILE *file, const char *name, apr_int64_t value);
void ctl_ldif_bytes(FILE *file, const char *name, const void *data, apr_size_t length);

/** Begins an object. @param container in CN=Public Key Services; NULL: there itself */
void ctl_ldif_begin(FILE *file, const char *cn, const char *container, const char *base,
                    const char *change, apr_pool_t *p);
void ctl_ldif_end(FILE *file);

/** pKICertificateTemplate of a template as mod_wstep dumps it (MS-CRTD 2). */
void ctl_ad_template(FILE *file, const json_t *template, const char *base, apr_pool_t *p);

/** msPKI-Enterprise-Oid, by which Windows finds the name of a template's OID. */
void ctl_ad_oid(FILE *file, const json_t *template, const char *base, apr_pool_t *p);

/** A name as it may stand in a directory (MS-WCCE 3.1.1.4.1.1): other characters than letters,
 *  digits and a few are "!" and four hexadecimal digits. */
const char *ctl_ad_sanitized(const char *name, apr_pool_t *p);

#endif /* gatehousectl_ctl_ad_h */
