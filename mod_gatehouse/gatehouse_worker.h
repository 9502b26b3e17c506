/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef gatehouse_worker_supervision_h
#define gatehouse_worker_supervision_h

#include <httpd.h>

#include "mod_gatehouse.h"

/*
 * Supervision of workers: processes beside httpd's children, one for each registered worker and
 * generation of the configuration. lib/worker.h is the inside of one.
 *
 * Nothing here waits for a worker, but for its end when httpd itself stops. A worker of a former
 * generation that is asked to end does so in its own time, beside the new one.
 */

apr_status_t gatehouse_register_worker(const gatehouse_worker_t *worker, apr_pool_t *pconf);

/** The post_config hook, after those of all modules: starts what was registered. */
int gatehouse_start_workers(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);

/** In a child: overwrites what workers are told, with its secrets, which only the parent needs. */
void gatehouse_forget_workers(void);

#endif /* gatehouse_worker_supervision_h */
