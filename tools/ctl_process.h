/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehousectl_ctl_process_h
#define gatehousectl_ctl_process_h

#include <apr_pools.h>

/* Running another program and keeping what it says. */

/** Most that is kept of one stream; what is beyond is read and dropped. */
#define CTL_PROCESS_MAX (16 * 1024 * 1024)

/**
 * Runs a program without a shell, with nothing on standard input.
 * @param argv   ended by NULL; argv[0] is looked for on PATH if it has no slash
 * @param out, errors what it wrote on standard output and standard error, in p
 * @param status its exit status, 128 plus the number of the signal that ended it
 * @return the error of the operating system if it could not be run
 */
apr_status_t ctl_process_run(const char *const *argv, const char **out, const char **errors,
                             int *status, apr_pool_t *p);

#endif /* gatehousectl_ctl_process_h */
