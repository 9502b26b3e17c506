/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef mod_escrow_escrow_admin_h
#define mod_escrow_escrow_admin_h

#include <httpd.h>

/* SetHandler gatehouse-escrow-configuration: /v1/hc and /v1/configuration. */

#define ESCROW_HANDLER_ADMIN "gatehouse-escrow-configuration"

int escrow_admin_handler(request_rec *r);

/* Both handlers have these. */

/** The answer to GET /v1/hc. @return DONE */
int escrow_send_hc(request_rec *r);
/** That to GET /v1/openapi.json. */
void escrow_send_document(request_rec *r);

#endif /* mod_escrow_escrow_admin_h */
