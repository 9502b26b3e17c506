/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The fast path: before httpd maps, authorises or filters anything. Per-directory configuration
 * does not hold here, only that of the server or virtual host. */

#include <httpd.h>
#include <http_core.h>

#include "mod_ocsp/ocsp_child.h"

int ocsp_quick_handler(request_rec *r, int lookup)
{
    const ocsp_server_t *server = ocsp_server(r->server);
    const char *rest;

    /* A forward proxy's requests are for others, whatever their path. */
    if (lookup || r->proxyreq || !server->fast
        || !ocsp_path_find(server->fast, ocsp_raw_path(r), &rest)) {
        return DECLINED;
    }
    return ocsp_http_answer(r, ocsp_server_settings(r->server), rest);
}
