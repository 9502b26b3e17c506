/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_worker_start_h
#define mod_escrow_escrow_worker_start_h

#include <httpd.h>

/** Once all is configured: has gatehouse-uem-worker started if there is something for it to do, and
 *  overwrites what only that needs. */
void escrow_worker_hooks(apr_pool_t *p);

#endif /* mod_escrow_escrow_worker_start_h */
