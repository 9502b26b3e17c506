/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_file_h
#define gatehousectl_ctl_file_h

#include <sys/stat.h>

#include <apr_pools.h>

#include "result.h"
#include "text.h"

/* Files that are read or written whole. What was written is on the disk when a function returns. */

/** @param path "-" for standard input; @param most larger files are refused (APR_ENOSPC) */
apr_status_t ctl_file_read(gh_bytes_t *bytes, const char *path, apr_size_t most, apr_pool_t *p);

/** Writes a new file; what is there already is never touched (APR_EEXIST). */
apr_status_t ctl_file_create(const char *path, gh_bytes_t bytes, mode_t mode);

/** Replaces a file in one step, also under the eyes of readers. */
apr_status_t ctl_file_replace(const char *path, gh_bytes_t bytes, mode_t mode, apr_pool_t *ptemp);

/** Makes the names in a folder durable. */
apr_status_t ctl_folder_sync(const char *path);

#endif /* gatehousectl_ctl_file_h */
