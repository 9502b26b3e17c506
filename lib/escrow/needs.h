/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_escrow_needs_h
#define gatehouse_escrow_needs_h

#include <apr_pools.h>
#include <apr_tables.h>

/*
 * What a skeleton has to have: names of credentials, separated by commas: "signing,encryption[1]".
 * A name without number means the first one, "archived[*]" whatever there is.
 */

/** Which of them are missing. @param counts of each purpose (gh_escrow_credential_count())
 *  @return const char * elements, in p; empty if all is there */
apr_array_header_t *gh_escrow_needs_missing(const char *needs, const int *counts, apr_pool_t *p);

/** @return 1 if one of them is of this purpose (gh_escrow_purpose_t) */
int gh_escrow_needs_purpose(const char *needs, int purpose);

/** @return 1 if one of them is the credential of this purpose at this position */
int gh_escrow_needs_one(const char *needs, int purpose, int position);

#endif /* gatehouse_escrow_needs_h */
