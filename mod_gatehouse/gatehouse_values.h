/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_values_h
#define gatehouse_values_h

#include <apr_pools.h>
#include <apr_time.h>

/* Rules about values that need no httpd to be tried. */

/**
 * Checks the form of GatehousePublicURL: http or https, a host, no user, query or fragment, no
 * slash at the end.
 * @return NULL if it is right, or what is wrong with it (static text)
 */
const char *gatehouse_public_url_fault(const char *url, apr_pool_t *p);

/** @return 1 for 1 to 64 letters, digits, '.', '_' and '-' */
int gatehouse_node_valid(const char *name);

/** @return 1 if path is prefix or lies below it; only whole path elements count */
int gatehouse_path_covers(const char *prefix, const char *path);

/**
 * Splits the last element of a path into what stands before and behind its last dot.
 * @return 1, or 0 if there is no dot, or nothing on one side of it
 */
int gatehouse_path_file(const char *path, apr_pool_t *p, const char **name,
                        const char **extension);

/**
 * How many seconds a cache may keep a CRL: half of what is left of its life, and no longer than
 * the time after which the next revocation is published; 0 for one that has expired.
 */
long gatehouse_crl_max_age(apr_time_t now, apr_time_t next_update, apr_interval_time_t delay);

/** A client's text for a log: at most max characters, what is not printable ASCII as '?'. */
const char *gatehouse_printable(apr_pool_t *p, const char *text, apr_size_t max);

#endif /* gatehouse_values_h */
