/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <apr_optional.h>

#include "mod_gatehouse/mod_gatehouse.h"
#include "mod_ocsp/ocsp_feed.h"
#include "mod_ocsp/ocsp_feed_start.h"

APLOG_USE_MODULE(ocsp);

int ocsp_start_feeder(const char *folder, const apr_array_header_t *authorities, apr_pool_t *pconf,
                      server_rec *s)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_register_worker) *add
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_worker);
    APR_OPTIONAL_FN_TYPE(gatehouse_config) *config = APR_RETRIEVE_OPTIONAL_FN(gatehouse_config);
    gatehouse_worker_t worker = {
        .name = "ocsp-feeder", .program = OCSP_FEEDER_PROGRAM, .input = -1
    };
    gh_result_t result;
    apr_pool_t *ptemp;
    apr_status_t rv;

    if (!authorities->nelts || !add || !config || !config()) {
        return OK;
    }
    gh_result_clear(&result);
    apr_pool_create(&ptemp, pconf);
    rv = ocsp_feed_write(&worker.configuration, folder, config()->store, authorities, ptemp,
                         &result);
    /* a program that is missing is spoken of when all workers are started */
    if (rv == APR_SUCCESS) {
        add(&worker, pconf);
    }
    apr_pool_destroy(ptemp);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, "%s: %s. %s", result.number, result.message,
                     result.action);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}
