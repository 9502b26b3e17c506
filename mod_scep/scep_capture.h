/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_scep_scep_capture_h
#define mod_scep_scep_capture_h

#include <apr_pools.h>

#include "mod_scep/scep_message.h"
#include "result.h"
#include "text.h"

/* A message as somebody has captured it: a body, or text around it from a log or a terminal. */

/** Largest input: base64 of the largest message, fully escaped, in a line of a log. */
#define SCEP_CAPTURE_MAX (SCEP_MESSAGE_MAX * 4 + 16384)

typedef struct {
    gh_bytes_t der;             /* what it carries; nothing but its length was looked at */
    const char *form;           /* "DER", "PEM", "base64", "URL" */
    const char *path;           /* of a URL that is one of Gatehouse, without what clients append
                                   to it; NULL otherwise */
} scep_capture_t;

/**
 * Takes a message out of what was captured: DER; PEM; base64 with line ends; a URL, a query string,
 * or a line of an access log, with its message parameter in every state of escaping that
 * scep_query_message() reads.
 * @param input of SCEP_CAPTURE_MAX bytes at most; quoted in no result
 * @return APR_EINVAL (MALFORMED) with result; the errors of scep_query_parse() and
 *         scep_query_message() for a URL
 */
apr_status_t scep_capture_read(scep_capture_t *capture, gh_bytes_t input, apr_pool_t *p,
                               gh_result_t *result);

#endif /* mod_scep_scep_capture_h */
