/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The normal path: SetHandler gatehouse-ocsp in a <Location>, with all that httpd does before. */

#include <string.h>

#include <httpd.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "mod_ocsp/ocsp_child.h"

int ocsp_handler(request_rec *r)
{
    const ocsp_server_t *server = ocsp_server(r->server);
    const ocsp_settings_t *settings;
    const char *rest;

    if (!r->handler || strcmp(r->handler, OCSP_HANDLER)) {
        return DECLINED;
    }
    settings = ap_get_module_config(r->per_dir_config, &ocsp_module);
    ocsp_gatehouse()->request_id(r);
    if (!ocsp_path_find(server->locations, ocsp_raw_path(r), &rest)) {
        ap_discard_request_body(r);
        ocsp_log_refused(r, HTTP_NOT_FOUND, "the path is not written as that of the location");
        return HTTP_NOT_FOUND;
    }
    return ocsp_http_answer(r, settings, rest);
}

int ocsp_map_to_storage(request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    const ocsp_server_t *server = ocsp_server(r->server);
    const char *handler = core->handler;
    const char *error = NULL;

    if (!server->locations || !server->locations->nelts) {
        return DECLINED;
    }
    if (core->expr_handler) {
        handler = ap_expr_str_exec(r, core->expr_handler, &error);
    }
    return handler && !error && !strcmp(handler, OCSP_HANDLER) ? OK : DECLINED;
}
