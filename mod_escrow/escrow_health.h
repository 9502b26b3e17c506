/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_health_h
#define mod_escrow_escrow_health_h

#include <httpd.h>

/* What health and metrics tell of the escrow: profiles, credentials, the vault, UEMs. */

/** Registers all of it, if there is an escrow; in each start, in a check_config hook. */
void escrow_health_register(apr_pool_t *pconf);

#endif /* mod_escrow_escrow_health_h */
