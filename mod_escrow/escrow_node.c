/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the children of this server share about uploads: see escrow_gate.h. */

#include <httpd.h>
#include <ap_mpm.h>
#include <apr_shm.h>

#include "mod_escrow/escrow_api.h"

static struct {
    void *memory;                   /* shared; NULL: each process counts for itself */
    int processes;
    escrow_gate_t *gate;            /* in a child */
} node;

static apr_status_t forget_node(void *data)
{
    node.memory = NULL;
    node.processes = 0;
    node.gate = NULL;
    return APR_SUCCESS;
}

void escrow_node_prepare(apr_pool_t *pconf)
{
    apr_shm_t *shared;
    int processes = 0;

    if (ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &processes) != APR_SUCCESS || processes < 1) {
        processes = 1;
    }
    if (apr_shm_create(&shared, escrow_gate_size(processes), NULL, pconf) != APR_SUCCESS
        || escrow_gate_prepare(apr_shm_baseaddr_get(shared), processes) != APR_SUCCESS) {
        return;
    }
    node.memory = apr_shm_baseaddr_get(shared);
    node.processes = processes;
    apr_pool_cleanup_register(pconf, NULL, forget_node, apr_pool_cleanup_null);
}

void escrow_node_child_init(apr_pool_t *pchild)
{
    node.gate = escrow_gate_join(node.memory, node.processes, pchild);
}

escrow_gate_t *escrow_gate(void)
{
    return node.gate;
}
