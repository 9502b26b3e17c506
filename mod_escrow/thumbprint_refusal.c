/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a client that was refused is told (RFC 9457), and the logs. ErrorDocument stays free for
 * others: where it names a page, that is sent. */

#include "mod_escrow/thumbprint.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mod_core.h>
#include <util_filter.h>

#include "log.h"
#include "mod_escrow/escrow_problem.h"

#define RULE "thumbprint"

static ap_filter_rec_t *problem_filter;

static void explain(request_rec *r, const thumbprint_request_t *request, gh_result_t *result)
{
    gh_result_clear(result);
    switch (request->verdict) {
    case THUMBPRINT_NO_CERTIFICATE:
        gh_result_fail(result, APR_EACCES, GH_FAILURE_DENIED, RULE,
                       "Send a client certificate whose thumbprint is pinned here.",
                       GHNO(1149) "this needs a client certificate, and there was none");
        break;
    case THUMBPRINT_BAD_HEADER:
        *result = *request->bad;
        break;
    case THUMBPRINT_NOT_IN_TIME:
        gh_result_fail(result, APR_EACCES, GH_FAILURE_TIME, RULE,
                       "Take another certificate, and have its thumbprint pinned.",
                       GHNO(1151) "the client certificate %s %s", request->name,
                       escrow_client_time(request->client, r->request_time) < 0
                           ? "is not valid yet" : "has expired");
        break;
    case THUMBPRINT_UNAVAILABLE:
        gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, RULE,
                       "See what the log says of the store.",
                       GHNO(1153) "it is not known whether %s is pinned: the store has not "
                                  "answered", request->name);
        break;
    default:
        gh_result_fail(result, APR_EACCES, GH_FAILURE_DENIED, RULE,
                       "Have the thumbprint pinned, with the role that this takes.",
                       GHNO(1150) "the client certificate %s may not do this", request->name);
        gh_result_cause(result, "%s, seen with SHA-256 and SHA-1", request->rule);
        break;
    }
}

/** Once for a request that was refused. */
static int refused(request_rec *r, gh_result_t *result)
{
    thumbprint_request_t *request = ap_get_module_config(r->request_config, &escrow_module);

    if (!request || !request->judged) {
        return 0;
    }
    request->judged = 0;
    explain(r, request, result);
    escrow_problem_tell(r, "authorise", result);
    return 1;
}

/** Puts the body of the problem in the place of httpd's. */
static apr_status_t replace(ap_filter_t *f, apr_bucket_brigade *brigade)
{
    const char *text = f->ctx;
    request_rec *r = f->r;
    apr_size_t length;

    apr_brigade_cleanup(brigade);
    if (!text) {
        return APR_SUCCESS;
    }
    f->ctx = NULL;
    length = strlen(text);
    ap_set_content_type(r, ESCROW_PROBLEM_TYPE);
    ap_set_content_length(r, (apr_off_t)length);
    apr_table_unset(r->headers_out, "Content-Encoding");
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_pool_create(text, length, r->pool,
                                                            brigade->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(brigade->bucket_alloc));
    return ap_pass_brigade(f->next, brigade);
}

static void insert_error_filter(request_rec *r)
{
    gh_result_t result;

    if ((r->status != HTTP_UNAUTHORIZED && r->status != HTTP_FORBIDDEN
         && r->status != HTTP_SERVICE_UNAVAILABLE)
        || !refused(r, &result)) {
        return;
    }
    if (r->status == HTTP_UNAUTHORIZED) {
        /* RFC 9110 11.6.1 wants a challenge; TLS has no scheme of its own */
        apr_table_setn(r->err_headers_out, "WWW-Authenticate", "ClientCertificate");
    }
    if (r->status == HTTP_SERVICE_UNAVAILABLE) {
        apr_table_setn(r->err_headers_out, "Retry-After", "1");
    }
    if (ap_response_code_string(r, ap_index_of_response(r->status))) {
        /* ErrorDocument with a text */
        return;
    }
    ap_add_output_filter_handle(problem_filter,
                                (void *)escrow_problem_text(r, r->status, &result), r,
                                r->connection);
}

/** Somebody else has let it in: what comes now is not about us. */
static int forget(request_rec *r)
{
    thumbprint_request_t *request = ap_get_module_config(r->request_config, &escrow_module);

    if (request) {
        request->judged = 0;
    }
    return DECLINED;
}

/** Where ErrorDocument has answered. */
static int log_transaction(request_rec *r)
{
    gh_result_t result;

    refused(r, &result);
    return DECLINED;
}

void thumbprint_refusal_hooks(apr_pool_t *p)
{
    problem_filter = ap_register_output_filter("GATEHOUSE_PROBLEM", replace, NULL,
                                               AP_FTYPE_CONTENT_SET);
    ap_hook_insert_error_filter(insert_error_filter, NULL, NULL, APR_HOOK_LAST);
    ap_hook_fixups(forget, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_log_transaction(log_transaction, NULL, NULL, APR_HOOK_FIRST);
}
