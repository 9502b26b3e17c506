/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What mod_gatehouse offers, found once all modules are loaded. */

#include "mod_ocsp/ocsp_child.h"

static ocsp_gatehouse_t gatehouse;

int ocsp_find_gatehouse(void)
{
    gatehouse.config = APR_RETRIEVE_OPTIONAL_FN(gatehouse_config);
    gatehouse.service = APR_RETRIEVE_OPTIONAL_FN(gatehouse_service);
    gatehouse.request_id = APR_RETRIEVE_OPTIONAL_FN(gatehouse_request_id);
    gatehouse.audit = APR_RETRIEVE_OPTIONAL_FN(gatehouse_audit);
    gatehouse.begin_work = APR_RETRIEVE_OPTIONAL_FN(gatehouse_begin_work);
    gatehouse.end_work = APR_RETRIEVE_OPTIONAL_FN(gatehouse_end_work);
    gatehouse.turn_need = APR_RETRIEVE_OPTIONAL_FN(gatehouse_turn_need);
    gatehouse.turn_begin = APR_RETRIEVE_OPTIONAL_FN(gatehouse_turn_begin);
    gatehouse.turn_end = APR_RETRIEVE_OPTIONAL_FN(gatehouse_turn_end);
    gatehouse.register_dump = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_dump);
    gatehouse.register_health = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_health);
    gatehouse.add_health = APR_RETRIEVE_OPTIONAL_FN(gatehouse_add_health);
    gatehouse.register_metrics = APR_RETRIEVE_OPTIONAL_FN(gatehouse_register_metrics);
    gatehouse.begin_metric = APR_RETRIEVE_OPTIONAL_FN(gatehouse_begin_metric);
    gatehouse.add_metric = APR_RETRIEVE_OPTIONAL_FN(gatehouse_add_metric);
    return gatehouse.config && gatehouse.service && gatehouse.request_id && gatehouse.audit
        && gatehouse.begin_work && gatehouse.end_work && gatehouse.turn_need
        && gatehouse.turn_begin && gatehouse.turn_end && gatehouse.register_dump
        && gatehouse.register_health && gatehouse.add_health && gatehouse.register_metrics
        && gatehouse.begin_metric && gatehouse.add_metric;
}

const ocsp_gatehouse_t *ocsp_gatehouse(void)
{
    return &gatehouse;
}
