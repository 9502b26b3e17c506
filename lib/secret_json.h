/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_secret_json_h
#define gatehouse_secret_json_h

#include <apr_pools.h>
#include <jansson.h>

#include "text.h"

/*
 * JSON with secrets in it, for workers. What makes and writes JSON leaves copies of its strings
 * about; so it gets words that stand for the secrets, and these are put in their places when the
 * text is there.
 */

typedef struct gh_secret_json gh_secret_json_t;

/** @return NULL without random numbers */
gh_secret_json_t *gh_secret_json_create(apr_pool_t *p);

/** A string that stands for the secret in hexadecimal. @param bytes live until the text is written
 *  @return NULL if data is NULL: none */
json_t *gh_secret_json_add(gh_secret_json_t *secrets, gh_bytes_t bytes);

/** Writes the text. @return in p, and overwritten with it; NULL if it is no JSON */
char *gh_secret_json_write(const gh_secret_json_t *secrets, const json_t *json, apr_pool_t *p);

#endif /* gatehouse_secret_json_h */
