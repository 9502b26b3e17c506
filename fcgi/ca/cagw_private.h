/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_ca_cagw_private_h
#define fcgi_ca_cagw_private_h

#include <stdlib.h>

#include "fcgi/ca/cagw_codec.h"
#include "fcgi/ca/cagw_names.h"
#include "log.h"
#include "status.h"

/* What the readers of answers share. */

#define CAGW_RULE "cagw.answer"

/** A member that is a text. @return NULL if there is none, or it has a NUL byte */
const char *cagw_text(const json_t *object, const char *name);

/** A copy, cut and with what is not printable replaced: for messages. */
const char *cagw_printable(const char *text, apr_size_t max, apr_pool_t *p);

/** A certificate, base64 of DER or PEM. @return NULL if it is none; owned by p */
X509 *cagw_certificate(const char *text, apr_pool_t *p);

/** The certificates of a list of objects: empty if there is none, or one cannot be read, since a
 *  chain with a gap is none. */
apr_array_header_t *cagw_chain(const json_t *list, apr_pool_t *p);

/** That an answer is not what it should be. */
apr_status_t cagw_malformed(gh_result_t *result, const char *what);

#endif /* fcgi_ca_cagw_private_h */
