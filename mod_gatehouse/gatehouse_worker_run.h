/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_worker_run_h
#define gatehouse_worker_run_h

#include <apr_pools.h>

/* From httpd's parent to a worker's program; knows nothing of httpd. */

/** Most descriptors that a worker can be given. */
#define GATEHOUSE_WORKER_DESCRIPTORS_MAX 16

/** What becomes what in the new process. */
typedef struct {
    const char *path;               /* of the program */
    int configuration;              /* becomes GH_WORKER_DESCRIPTOR */
    int input;                      /* becomes standard input; -1: none */
    const int *descriptors;         /* become GH_WORKER_DESCRIPTORS and those behind it */
    int count;
    int delay;                      /* seconds to wait before */
} gatehouse_run_t;

/** Where a program is: beside the module, or where programs are installed.
 *  @return NULL if in neither place */
const char *gatehouse_worker_program(const char *program, apr_pool_t *p);

/** In a forked process: becomes the program. All other descriptors but standard error are closed,
 *  and signals are as if nobody had changed them. */
void gatehouse_worker_run(const gatehouse_run_t *run) __attribute__((noreturn));

/** A file without a name that holds text, opened anew with each call. @return -1 with errno */
int gatehouse_worker_file(const char *text);

/** Makes a folder that is of a user alone, unless there is one. @return an error of the system */
int gatehouse_worker_folder(const char *path, uid_t uid, gid_t gid);

#endif /* gatehouse_worker_run_h */
