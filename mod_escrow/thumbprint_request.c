/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What is known of a request's client. */

#include "mod_escrow/thumbprint.h"

#include "log.h"
#include "mod_escrow/escrow_header.h"
#include "x509/ca.h"
#include "x509/key.h"

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
        request->in_header = 1;
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

apr_status_t gatehouse_client_certificate(request_rec *r, X509 **certificate,
                                          gh_result_t *result)
{
    const thumbprint_request_t *request = thumbprint_look(r);

    *certificate = NULL;
    if (request->bad) {
        *result = *request->bad;
        return APR_EINVAL;
    }
    if (!request->client) {
        return APR_NOTFOUND;
    }
    if (!request->in_header) {
        *certificate = gh_own_certificate(r->pool, thumbprint_peer_certificate(r->connection));
        return *certificate ? APR_SUCCESS : APR_NOTFOUND;
    }
    if (request->client->der.length) {
        *certificate = gh_certificate_parse(request->client->der, r->pool);
    }
    if (!*certificate) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, "thumbprint.header",
                              "Have the proxy send the certificate itself.",
                              GHNO(1478) "the proxy tells of the client's certificate by a digest "
                              "alone");
    }
    return APR_SUCCESS;
}
