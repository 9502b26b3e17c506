/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the children of this server share about strangers: see limiter.h. */

#include <stdlib.h>

#include <httpd.h>
#include <ap_mpm.h>
#include <http_log.h>
#include <apr_shm.h>
#include <apr_strings.h>

#include "log.h"
#include "mod_scep/scep_config.h"
#include "limiter.h"
#include "text.h"

APLOG_USE_MODULE(scep);

#define FAILURES_MAX 1000000

static struct {
    void *memory;                   /* shared; NULL before it was made */
    int processes;
} node;

static apr_status_t forget_node(void *data)
{
    node.memory = NULL;
    node.processes = 0;
    return APR_SUCCESS;
}

int scep_node_prepare(server_rec *s, apr_pool_t *pconf)
{
    apr_shm_t *shared;
    int processes = 0;
    apr_status_t rv = ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &processes);

    if (rv != APR_SUCCESS || processes < 1) {
        processes = 1;
    }
    rv = apr_shm_create(&shared, gh_limiter_size(processes), NULL, pconf);
    if (rv == APR_SUCCESS) {
        rv = gh_limiter_prepare(apr_shm_baseaddr_get(shared), processes);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, rv, s,
                     GHNO(0547) "memory that the processes share cannot be had; see whether the "
                                "machine is short of memory");
        return 1;
    }
    node.memory = apr_shm_baseaddr_get(shared);
    node.processes = processes;
    apr_pool_cleanup_register(pconf, NULL, forget_node, apr_pool_cleanup_null);
    return 0;
}

gh_limiter_t *scep_node_join(const scep_server_t *server, apr_pool_t *p)
{
    gh_limiter_limits_t limits = { SCEP_CONCURRENT, SCEP_FAILURES, SCEP_FAILURE_INTERVAL };

    if (server->concurrent) {
        limits.concurrent = server->concurrent;
    }
    if (server->failures) {
        limits.failures = server->failures < 0 ? 0 : server->failures;
        limits.interval = server->failure_interval;
    }
    return gh_limiter_join(node.memory, node.processes, &limits, p);
}

const char *scep_set_failure_limit(cmd_parms *cmd, void *dir, const char *number,
                                   const char *interval)
{
    scep_server_t *server = scep_server(cmd->server);
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    char *end;
    long limit;

    if (error) {
        return error;
    }
    if (!interval && !ap_cstr_casecmp(number, "off")) {
        server->failures = -1;
        return NULL;
    }
    limit = strtol(number, &end, 10);
    if (*end || end == number || limit < 1 || limit > FAILURES_MAX || !interval
        || gh_duration_parse(&server->failure_interval, interval) != APR_SUCCESS
        || server->failure_interval < apr_time_from_sec(1)) {
        return apr_psprintf(cmd->pool, GHNO(0546) "SCEPFailureLimit takes a number from 1 to %d "
                            "and an interval of at least a second, such as \"100 1m\", or \"off\"",
                            FAILURES_MAX);
    }
    server->failures = (int)limit;
    return NULL;
}
