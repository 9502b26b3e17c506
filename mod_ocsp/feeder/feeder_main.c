/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The program gatehouse-ocsp-feeder, which httpd starts. */

#include <stdlib.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_pools.h>

#include "mod_ocsp/feeder/ocsp_feeder.h"
#include "mod_ocsp/ocsp_feed.h"
#include "worker.h"

/** What was begun is put aside by then: an index that is not finished does not count. */
#define PATIENCE apr_time_from_sec(2)

int main(void)
{
    gh_worker_t *worker;
    gh_result_t result;
    apr_pool_t *p;
    apr_status_t rv;

    /* what is to be done comes with the configuration, and from nowhere else */
    setenv("LDAPNOINIT", "1", 1);
    apr_initialize();
    apr_pool_create(&p, NULL);
    gh_result_clear(&result);
    rv = gh_worker_start(&worker, PATIENCE, p, &result);
    if (rv == APR_SUCCESS) {
        rv = ocsp_feeder_run(worker, p, &result);
    }
    /* threads may be at work still, so that nothing may be taken from under them */
    _exit(rv == APR_SUCCESS ? 0 : gh_worker_refuse(OCSP_FEEDER_PROGRAM, &result));
}
