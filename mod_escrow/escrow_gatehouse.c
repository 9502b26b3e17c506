/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What mod_gatehouse offers. */

#include "mod_escrow/escrow_config.h"

static escrow_gatehouse_t offered;

int escrow_find_gatehouse(void)
{
    offered.config = APR_RETRIEVE_OPTIONAL_FN(gatehouse_config);
    offered.service = APR_RETRIEVE_OPTIONAL_FN(gatehouse_service);
    offered.request_id = APR_RETRIEVE_OPTIONAL_FN(gatehouse_request_id);
    offered.audit_event = APR_RETRIEVE_OPTIONAL_FN(gatehouse_audit_event);
    offered.audit = APR_RETRIEVE_OPTIONAL_FN(gatehouse_audit);
    offered.request_log = APR_RETRIEVE_OPTIONAL_FN(gatehouse_request_log);
    offered.begin_work = APR_RETRIEVE_OPTIONAL_FN(gatehouse_begin_work);
    offered.end_work = APR_RETRIEVE_OPTIONAL_FN(gatehouse_end_work);
    offered.begin_work_in = APR_RETRIEVE_OPTIONAL_FN(gatehouse_begin_work_in);
    offered.dump_problem = APR_RETRIEVE_OPTIONAL_FN(gatehouse_dump_problem);
    offered.register_dump = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_dump);
    offered.register_worker = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_worker);
    offered.register_round = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_round);
    return offered.config != NULL;
}

const escrow_gatehouse_t *escrow_gatehouse(void)
{
    return &offered;
}
