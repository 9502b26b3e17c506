/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The program gatehouse-ca-worker, which httpd starts: enrols at CAs elsewhere, tells them of
 * revocations, and asks Intune. */

#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "fcgi/ca/ca_config.h"
#include "fcgi/ca/ca_service.h"
#include "fcgi/framework.h"
#include "fcgi/intune/intune_service.h"
#include "issuer/intune.h"
#include "worker.h"

/** From the end of a call to that of the process: what has come of it is to be stored. */
#define LAST_WORDS apr_time_from_sec(10)

/** What has become of a call that is given up has to be found out; where that cannot be, it is
 *  waited for. */
static void need_time(gh_worker_t *worker, const ca_issuer_t *issuer)
{
    if (issuer->cmp || !issuer->searchable) {
        gh_worker_need(worker, issuer->timeout + LAST_WORDS);
    }
}

static apr_status_t run(gh_worker_t *worker, apr_pool_t *p, gh_result_t *result)
{
    ca_worker_t *ca = apr_pcalloc(p, sizeof(*ca));
    apr_status_t rv = framework_create(&ca->framework, worker, p, result);
    int i;

    if (rv == APR_SUCCESS) {
        rv = ca_configure(ca, gh_worker_configuration(worker), p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = intune_start(json_object_get(gh_worker_configuration(worker), GH_INTUNE),
                          ca->framework, ca->sealer, p, result);
    }
    for (i = 0; rv == APR_SUCCESS && i < ca->issuers->nelts; ++i) {
        need_time(worker, APR_ARRAY_IDX(ca->issuers, i, const ca_issuer_t *));
        ca_service_start(APR_ARRAY_IDX(ca->issuers, i, ca_issuer_t *), p);
    }
    return rv == APR_SUCCESS ? framework_run(ca->framework, result) : rv;
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
    _exit(rv == APR_SUCCESS ? 0 : gh_worker_refuse(CA_WORKER, &result));
}
