/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_problem.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_protocol.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "log.h"
#include "mod_escrow/thumbprint.h"

int escrow_problem_status(const gh_result_t *result)
{
    switch (result->failure) {
    case GH_FAILURE_DENIED:
    case GH_FAILURE_TIME:
        return HTTP_FORBIDDEN;
    case GH_FAILURE_NOT_FOUND:
        return HTTP_NOT_FOUND;
    case GH_FAILURE_CONFLICT:
        return HTTP_CONFLICT;
    case GH_FAILURE_UNAVAILABLE:
        return HTTP_SERVICE_UNAVAILABLE;
    case GH_FAILURE_MALFORMED:
    case GH_FAILURE_REQUEST:
    case GH_FAILURE_ALGORITHM:
    case GH_FAILURE_INTEGRITY:
        return HTTP_BAD_REQUEST;
    default:
        return HTTP_INTERNAL_SERVER_ERROR;
    }
}

static const char *dump(request_rec *r, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    const char *copy = NULL;

    if (text) {
        copy = apr_pstrcat(r->pool, text, "\n", NULL);
        OPENSSL_cleanse(text, strlen(text));
        free(text);
    }
    json_decref(json);
    return copy;
}

const char *escrow_problem_text(request_rec *r, int status, const gh_result_t *result)
{
    const char *detail = result->message;
    const char *text;

    if (status >= HTTP_INTERNAL_SERVER_ERROR) {
        /* messages may name hosts and files of ours */
        detail = "the log of the server says why";
    }
    text = dump(r, json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:s}", "type", "about:blank", "title",
                             ap_get_status_line(status) + 4, "status", status, "detail", detail,
                             "gh", result->number, "action",
                             status < HTTP_INTERNAL_SERVER_ERROR ? result->action
                                                                 : "Try again later.",
                             "instance", escrow_gatehouse()->request_id(r)));
    return text ? text : "{}\n";
}

static int send_text(request_rec *r, int status, const char *type, const char *text)
{
    apr_size_t length = strlen(text);

    r->status = status;
    ap_set_content_type(r, type);
    ap_set_content_length(r, (apr_off_t)length);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    if (!r->header_only) {
        ap_rwrite(text, (int)length, r);
    }
    return DONE;
}

int escrow_problem_send(request_rec *r, int status, const gh_result_t *result)
{
    if (status == HTTP_SERVICE_UNAVAILABLE) {
        apr_table_setn(r->headers_out, "Retry-After", "10");
    }
    return send_text(r, status, ESCROW_PROBLEM_TYPE, escrow_problem_text(r, status, result));
}

int escrow_json_send(request_rec *r, int status, void *json)
{
    const char *text = dump(r, json);

    escrow_gatehouse()->request_id(r);
    return send_text(r, text ? status : HTTP_INTERNAL_SERVER_ERROR, "application/json",
                     text ? text : "{}\n");
}

gh_audit_event_t *escrow_audit_event(request_rec *r, const char *event)
{
    gh_audit_event_t *line = escrow_gatehouse()->audit_event(r);
    const char *name = thumbprint_name(r);

    line->event = event;
    line->protocol = "escrow";
    if (name) {
        line->user = name;
    }
    return line;
}

void escrow_problem_tell(request_rec *r, const char *event, const gh_result_t *result)
{
    gh_audit_event_t *line = escrow_audit_event(r, event);
    int ours = result->failure == GH_FAILURE_UNAVAILABLE || result->failure == GH_FAILURE_INTERNAL;

    gh_audit_take_result(line, result, r->pool);
    escrow_gatehouse()->audit(line, r->pool);
    gh_log(escrow_gatehouse()->request_log(r), ours ? GH_LOG_ERROR : GH_LOG_INFO, APR_SUCCESS,
           "%s: %s%s%s", result->number, result->message, *result->cause ? ": " : "",
           result->cause);
}
