/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The program gatehouse-uem-worker, which httpd starts: completes profiles and takes them to
 * UEMs. */

#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "fcgi/uem/uem_config.h"
#include "worker.h"

static apr_status_t run(gh_worker_t *worker, apr_pool_t *p, gh_result_t *result)
{
    uem_worker_t *uem = apr_pcalloc(p, sizeof(*uem));
    apr_status_t rv = framework_create(&uem->framework, worker, p, result);

    if (rv == APR_SUCCESS) {
        rv = uem_configure(uem, gh_worker_configuration(worker), p, result);
    }
    return rv == APR_SUCCESS ? framework_run(uem->framework, result) : rv;
}

int main(void)
{
    gh_worker_t *worker;
    gh_result_t result;
    apr_pool_t *p;
    apr_status_t rv;

    apr_initialize();
    apr_pool_create(&p, NULL);
    gh_result_clear(&result);
    rv = gh_worker_start(&worker, FRAMEWORK_PATIENCE, p, &result);
    if (rv == APR_SUCCESS) {
        rv = run(worker, p, &result);
    }
    /* threads may be at work still, so that nothing may be taken from under them */
    _exit(rv == APR_SUCCESS ? 0 : gh_worker_refuse(UEM_WORKER, &result));
}
