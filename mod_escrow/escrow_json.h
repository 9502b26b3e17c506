/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_json_h
#define gatehouse_escrow_json_h

#include <apr_pools.h>
#include <jansson.h>

#include "escrow/locked.h"
#include "result.h"
#include "text.h"

/* What clients send as JSON (RFC 8259): one object without duplicate names. What is wrong with it
 * is said without a word of it, since it may hold passwords. */

/** Has all memory of jansson overwritten when it is given back, in this process. To be called
 *  before threads are started. */
void escrow_json_protect(void);

/** @param object released by a cleanup of p @return APR_EINVAL with result */
apr_status_t escrow_json_read(const json_t **object, gh_bytes_t body, apr_pool_t *p,
                              gh_result_t *result);

/** A member that is a UUID, in lower case. */
apr_status_t escrow_json_uuid(const char **uuid, const json_t *object, const char *name,
                              apr_pool_t *p, gh_result_t *result);

/** @return the UUID in lower case; NULL if text is none */
const char *escrow_uuid(const char *text, apr_pool_t *p);

/**
 * Base64 (RFC 4648 4), perhaps with white space in it.
 * @param where for the message: "skeleton"
 * @param most  bytes
 * @param locked where it goes; NULL: p, for what is no secret
 */
apr_status_t escrow_json_base64(gh_bytes_t *bytes, const json_t *value, const char *where,
                                apr_size_t most, gh_locked_t *locked, apr_pool_t *p,
                                gh_result_t *result);

/** @param names NULL at the end @return APR_EINVAL if the object has a member of another name */
apr_status_t escrow_json_only(const json_t *object, const char *const *names, const char *where,
                              gh_result_t *result);

#endif /* gatehouse_escrow_json_h */
