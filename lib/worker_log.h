/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_worker_log_h
#define gatehouse_worker_log_h

#include <apr_pools.h>

#include "log.h"

/**
 * A log that writes lines in the form of httpd's error log to standard error, each in one piece, or
 * to syslog. Thread-safe.
 * @param name  stands where httpd has the module's name
 * @param level GH_LOG_*
 */
gh_log_t *gh_worker_log_create(const char *name, int level, int use_syslog, apr_pool_t *p);

#endif /* gatehouse_worker_log_h */
