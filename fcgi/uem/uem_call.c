/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/uem/uem_call.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "log.h"
#include "status.h"

#define RULE "uem.answer"

struct uem_call {
    uem_t *uem;
    const uem_endpoint_t *endpoint;
    apr_pool_t *pool;
    const char *path;
    const char *type;
    gh_bytes_t body;
    apr_array_header_t *headers;    /* const char *, those that are not secret */
    const char *token;              /* that was shown; overwritten with the pool */
    int again;                      /* 1: with a second token */
    uem_done_fn *done;
    void *baton;
};

static apr_status_t overwrite(void *text)
{
    OPENSSL_cleanse(text, strlen(text));
    return APR_SUCCESS;
}

apr_status_t uem_call_prepare(uem_call_t **out, uem_t *uem, const uem_endpoint_t *endpoint,
                              const uem_values_t *values, apr_pool_t *p, gh_result_t *result)
{
    uem_call_t *call = apr_pcalloc(p, sizeof(*call));
    gh_bytes_t text;
    apr_status_t rv;
    int i;

    *out = call;
    call->uem = uem;
    call->endpoint = endpoint;
    call->pool = p;
    call->type = endpoint->type ? endpoint->type : values->document_type;
    call->headers = apr_array_make(p, 4, sizeof(const char *));
    APR_ARRAY_PUSH(call->headers, const char *) = apr_pstrcat(p, "Idempotency-Key: ",
                                                              values->delivery, NULL);
    rv = uem_template_expand(&text, endpoint->path, values, p, result);
    call->path = rv == APR_SUCCESS ? (const char *)text.data : NULL;
    if (rv == APR_SUCCESS && endpoint->body) {
        rv = uem_template_expand(&call->body, endpoint->body, values, p, result);
    }
    for (i = 0; rv == APR_SUCCESS && i < uem->headers->nelts; ++i) {
        const uem_header_t *header = &APR_ARRAY_IDX(uem->headers, i, uem_header_t);

        rv = uem_template_expand(&text, header->value, values, p, result);
        if (rv == APR_SUCCESS) {
            APR_ARRAY_PUSH(call->headers, const char *)
                = apr_pstrcat(p, header->name, ": ", (const char *)text.data, NULL);
        }
    }
    return rv;
}

/* Answers */

/** 4xx that say nothing of the request itself. */
static int is_passing(long status)
{
    return status == 408 || status == 409 || status == 425 || status == 429;
}

static void judge(uem_outcome_t *outcome, const uem_t *uem, long status)
{
    outcome->status = (int)status;
    outcome->alive = status < 500 && status != 429;
    if (status >= 200 && status < 300) {
        outcome->verdict = UEM_TAKEN;
    }
    else if (status >= 400 && status < 500 && !is_passing(status)) {
        outcome->verdict = UEM_REFUSED;
        gh_result_fail(&outcome->result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                       "See the log of the UEM, and whether UEMURL, UEMCredential and UEMBody are "
                       "what it expects; then retry it with gatehousectl escrow retry.",
                       GHNO(1246) "UEM %s does not take it: HTTP status %ld", uem->name, status);
    }
    else {
        outcome->verdict = UEM_LATER;
        gh_result_fail(&outcome->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                       "See the log of the UEM; it is tried again.",
                       GHNO(1247) "UEM %s has answered with HTTP status %ld", uem->name, status);
    }
}

static void answered(void *baton, const http_answer_t *answer)
{
    uem_call_t *call = baton;
    uem_t *uem = call->uem;
    uem_outcome_t outcome;

    if (answer->outcome == HTTP_ANSWERED && answer->status == 401 && uem->session) {
        uem_session_drop(uem->session, call->token);
        if (!call->again) {
            call->again = 1;
            uem_call_make(call, call->done, call->baton);
            return;
        }
    }
    memset(&outcome, 0, sizeof(outcome));
    gh_result_clear(&outcome.result);
    outcome.retry_after = answer->retry_after;
    outcome.stopped = answer->outcome == HTTP_STOPPED;
    if (answer->outcome == HTTP_ANSWERED) {
        judge(&outcome, uem, answer->status);
    }
    else {
        outcome.verdict = UEM_LATER;
        outcome.alive = outcome.stopped;
        outcome.result = answer->result;
    }
    call->done(call->baton, &outcome);
}

static void fail(uem_call_t *call, int stopped, const gh_result_t *result)
{
    uem_outcome_t outcome;

    memset(&outcome, 0, sizeof(outcome));
    outcome.verdict = UEM_LATER;
    outcome.stopped = outcome.alive = stopped;
    outcome.result = *result;
    call->done(call->baton, &outcome);
}

/* Calls */

static void begin_http(uem_call_t *call, const char *authorization)
{
    const uem_t *uem = call->uem;
    apr_array_header_t *headers = apr_array_append(call->pool, call->headers, uem->secrets);
    http_request_t request = {
        .method = call->endpoint->method, .path = call->path,
        .content_type = call->endpoint->body ? call->type : NULL, .body = call->body
    };
    gh_result_t result;

    if (authorization) {
        APR_ARRAY_PUSH(headers, const char *) = authorization;
    }
    APR_ARRAY_PUSH(headers, const char *) = NULL;
    request.headers = (const char *const *)headers->elts;
    gh_result_clear(&result);
    if (http_call(call->endpoint->peer, &request, answered, call, &result) != APR_SUCCESS) {
        fail(call, 0, &result);
    }
}

static void take_token(void *baton, const char *token, int stopped, const gh_result_t *result)
{
    uem_call_t *call = baton;
    char *header;

    if (!token) {
        fail(call, stopped, result);
        return;
    }
    call->token = apr_pstrdup(call->pool, token);
    apr_pool_cleanup_register(call->pool, call->token, overwrite, apr_pool_cleanup_null);
    header = apr_pstrcat(call->pool, "Authorization: Bearer ", token, NULL);
    apr_pool_cleanup_register(call->pool, header, overwrite, apr_pool_cleanup_null);
    begin_http(call, header);
}

void uem_call_make(uem_call_t *call, uem_done_fn *done, void *baton)
{
    call->done = done;
    call->baton = baton;
    if (call->uem->session) {
        uem_session_get(call->uem->session, take_token, call, call->pool);
    }
    else {
        begin_http(call, NULL);
    }
}
