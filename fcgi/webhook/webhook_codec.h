/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_webhook_webhook_codec_h
#define fcgi_webhook_webhook_codec_h

#include <apr_pools.h>

#include "issuer/question.h"
#include "result.h"
#include "text.h"

/* What is said to a webhook and what it says: JSON as step-ca sends it for SCEP challenges. */

/** Largest answer, in bytes. */
#define WEBHOOK_ANSWER_MAX (64 * 1024)

/**
 * The body of a call: challenge, transaction and request, with a time.
 * @param body overwritten by p's cleanup, since the challenge is in it
 * @return APR_EINVAL with result if the request cannot be read
 */
apr_status_t webhook_write(gh_bytes_t *body, const gh_asked_t *asked, apr_time_t now,
                           apr_pool_t *p, gh_result_t *result);

/** The hexadecimal HMAC-SHA256 of a body. @return NULL if OpenSSL fails */
const char *webhook_sign(gh_bytes_t secret, gh_bytes_t body, apr_pool_t *p);

typedef struct {
    int allow;
    const char *reason;             /* of a refusal, as it may be told; NULL: none was given */
} webhook_answer_t;

/** @return GH_EUNAVAILABLE with result if it is not such an answer */
apr_status_t webhook_read(webhook_answer_t *answer, gh_bytes_t body, apr_pool_t *p,
                          gh_result_t *result);

#endif /* fcgi_webhook_webhook_codec_h */
