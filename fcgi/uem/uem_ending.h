/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_uem_uem_ending_h
#define fcgi_uem_uem_ending_h

#include "fcgi/uem/uem_config.h"
#include "store/store.h"

/*
 * The end of a job: what has become of it is stored, and then the job is over for this process. A
 * store that does not answer is asked again for a while, and the lease goes on meanwhile; after
 * that the job is left to whoever gets it next.
 */

typedef struct {
    gh_store_work_fn *store;        /* APR_NOTFOUND: the job is another process's by now */
    void (*told)(void *baton);      /* called in the loop once it is stored */
    void *baton;
    const char *what;               /* for the log: "profile 0b36..." */

    framework_t *framework;         /* of uem_ending_begin() */
    framework_job_t *job;
    apr_status_t rv;
    gh_result_t result;
    int tries;
} uem_ending_t;

/** Stores the end of a job. @param ending lives as long as the job; its first members are given */
void uem_ending_begin(uem_ending_t *ending, framework_t *framework, framework_job_t *job);

#endif /* fcgi_uem_uem_ending_h */
