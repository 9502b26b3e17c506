/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_x509_template_h
#define gatehouse_x509_template_h

#include <apr_pools.h>

/* Texts with <placeholder> in them, for names that are made of what somebody else has said. */

/** Gives the value of a placeholder, in p; NULL: there is none. */
typedef const char *gh_placeholder_fn(void *baton, const char *name, apr_pool_t *p);

/**
 * Fills a template.
 * @param escape 1: the text becomes a distinguished name (RFC 4514); whatever has a meaning there
 *        is escaped in values, so that none adds an attribute
 * @param failed set to the placeholder without a value, or to NULL for a syntax error
 * @return in p; NULL with failed set
 */
const char *gh_template_fill(const char *text, gh_placeholder_fn *placeholder, void *baton,
                             int escape, const char **failed, apr_pool_t *p);

#endif /* gatehouse_x509_template_h */
