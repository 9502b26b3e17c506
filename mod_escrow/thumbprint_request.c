/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What is known of a request's client. */

#include "mod_escrow/thumbprint.h"

#include "mod_escrow/escrow_header.h"

thumbprint_request_t *thumbprint_request(request_rec *r)
{
    thumbprint_request_t *request = ap_get_module_config(r->request_config, &escrow_module);

    if (!request) {
        request = apr_pcalloc(r->pool, sizeof(*request));
        ap_set_module_config(r->request_config, &escrow_module, request);
    }
    return request;
}

static void look_at_header(request_rec *r, thumbprint_request_t *request,
                           const escrow_section_t *section)
{
    const char *value = apr_table_get(r->headers_in, section->header);
    escrow_client_t *client = apr_palloc(r->pool, sizeof(*client));
    gh_result_t *result = apr_palloc(r->pool, sizeof(*result));
    apr_status_t rv = APR_ENOENT;

    if (value) {
        escrow_gatehouse()->begin_work(r);
        gh_result_clear(result);
        rv = escrow_header_read(client, section->format, value, r->pool, result);
        escrow_gatehouse()->end_work();
    }
    request->client = rv == APR_SUCCESS ? client : NULL;
    request->bad = rv == APR_SUCCESS || APR_STATUS_IS_ENOENT(rv) ? NULL : result;
}

const thumbprint_request_t *thumbprint_look(request_rec *r)
{
    thumbprint_request_t *request = thumbprint_request(r);
    const escrow_section_t *section;

    if (request->looked) {
        return request;
    }
    section = ap_get_module_config(r->per_dir_config, &escrow_module);
    if (section->source == ESCROW_SOURCE_HEADER && thumbprint_by_proxy(r)) {
        look_at_header(r, request, section);
    }
    else {
        request->client = thumbprint_of_connection(r->connection, r->pool);
    }
    request->name = request->client
                        ? gh_thumbprint_text(escrow_client_thumbprint(request->client), r->pool)
                        : NULL;
    request->looked = 1;
    return request;
}

const char *thumbprint_name(request_rec *r)
{
    return thumbprint_look(r)->name;
}
