/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_text_h
#define gatehousectl_ctl_text_h

#include <apr_pools.h>

/* Text for people. */

/** What a status means, in p. */
const char *ctl_error_text(apr_status_t status, apr_pool_t *p);

/**
 * The text with everything that a terminal might obey (control characters of ASCII and ISO 8859-1)
 * and every byte that is not UTF-8 replaced by '?': names and transactions come from devices. In p.
 */
const char *ctl_text_printable(const char *text, apr_pool_t *p);

/** Columns that a printable text takes, one for each character. */
int ctl_text_width(const char *text);

/** The text as an argument of a directive, quoted if it must be, in p. */
const char *ctl_text_directive(const char *text, apr_pool_t *p);

#endif /* gatehousectl_ctl_text_h */
