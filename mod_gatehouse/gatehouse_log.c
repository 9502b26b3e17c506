/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The library's log, written to httpd's error log. Messages have their number already. */

#include <httpd.h>
#include <http_log.h>

#include "gatehouse_private.h"
#include "log.h"

APLOG_USE_MODULE(gatehouse);

/* The library's levels are those of httpd; httpd's trace levels have no counterpart. */
static int gh_level(int level)
{
    return level > GH_LOG_DEBUG ? GH_LOG_DEBUG : level;
}

/* A status of Gatehouse has no text in APR; what it means is in the message. */
static apr_status_t apr_status(apr_status_t status)
{
    return status >= APR_OS_START_USERERR && status < APR_OS_START_USERERR + APR_OS_ERRSPACE_SIZE
        ? APR_SUCCESS : status;
}

static void write_server(void *baton, int level, apr_status_t status, const char *message)
{
    ap_log_error(APLOG_MARK, level, apr_status(status), (server_rec *)baton, "%s", message);
}

static void write_request(void *baton, int level, apr_status_t status, const char *message)
{
    ap_log_rerror(APLOG_MARK, level, apr_status(status), (request_rec *)baton, "%s", message);
}

const gh_log_t *gatehouse_server_log(server_rec *s, apr_pool_t *p)
{
    gh_log_t *log = apr_pcalloc(p, sizeof(*log));

    log->write = write_server;
    log->baton = s;
    log->level = gh_level(ap_get_server_module_loglevel(s, APLOG_MODULE_INDEX));
    return log;
}

const gh_log_t *gatehouse_request_log(request_rec *r)
{
    gh_log_t *log = apr_pcalloc(r->pool, sizeof(*log));

    log->write = write_request;
    log->baton = r;
    log->level = gh_level(ap_get_request_module_loglevel(r, APLOG_MODULE_INDEX));
    return log;
}
