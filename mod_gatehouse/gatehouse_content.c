/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What gatehouse-crl and gatehouse-ca have in common: files that httpd never sees as files. */

#include <string.h>
#include <httpd.h>
#include <http_protocol.h>
#include <http_request.h>
#include <apr_strings.h>

#include "gatehouse_private.h"
#include "gatehouse_send.h"
#include "gatehouse_values.h"
#include "text.h"

int gatehouse_content_request(request_rec *r, const char *handler, const char **name,
                              const char **extension)
{
    if (!r->handler || strcmp(r->handler, handler)) {
        return DECLINED;
    }
    gatehouse_request_id(r);
    ap_allow_standard_methods(r, MERGE_ALLOW, M_GET, -1);
    if (r->method_number != M_GET) {
        return HTTP_METHOD_NOT_ALLOWED;
    }
    if (!gatehouse_path_file(r->uri, r->pool, name, extension) || !gh_name_valid(*name)) {
        return HTTP_NOT_FOUND;
    }
    return OK;
}

static void set_date(request_rec *r, const char *header, apr_time_t time)
{
    char *date = apr_palloc(r->pool, APR_RFC822_DATE_LEN);

    apr_rfc822_date(date, time);
    apr_table_setn(r->headers_out, header, date);
}

int gatehouse_content_send(request_rec *r, const gatehouse_content_t *content)
{
    int status;

    ap_set_content_type(r, content->type);
    apr_table_setn(r->headers_out, "ETag", content->etag);
    if (content->modified) {
        ap_update_mtime(r, content->modified);
        ap_set_last_modified(r);
    }
    apr_table_setn(r->headers_out, "Cache-Control",
                   apr_psprintf(r->pool, "public, max-age=%ld, must-revalidate",
                                content->max_age));
    set_date(r, "Expires", r->request_time + apr_time_from_sec(content->max_age));
    status = ap_meets_conditions(r);
    if (status != OK) {
        return status;
    }
    ap_set_content_length(r, content->bytes.length);
    return gatehouse_send_bytes(r, content->bytes);
}
