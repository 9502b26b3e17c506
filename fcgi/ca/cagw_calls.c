/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/ca/cagw_calls.h"

#include <stdarg.h>
#include <string.h>

#include <apr_strings.h>
#include <curl/curl.h>

#include "fcgi/ca/cagw_names.h"
#include "log.h"

#define JSON_TYPE "application/json"

static const char *const headers[] = { "Accept: " JSON_TYPE, NULL };

typedef struct {
    const cagw_gateway_t *gateway;
    cagw_done_fn *done;
    void *baton;
    apr_pool_t *pool;
} call_t;

const char *cagw_segment(const char *text, apr_pool_t *p)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    const char *copy = escaped ? apr_pstrdup(p, escaped) : "";

    curl_free(escaped);
    return copy;
}

/** The path of the CA, and segments below it up to NULL. */
static const char *path_of(const cagw_gateway_t *gateway, apr_pool_t *p, ...)
{
    const char *path = apr_pstrcat(p, CAGW_PATH_CAS "/", cagw_segment(gateway->ca, p), NULL);
    const char *segment;
    va_list segments;

    va_start(segments, p);
    while ((segment = va_arg(segments, const char *)) != NULL) {
        path = apr_pstrcat(p, path, "/", cagw_segment(segment, p), NULL);
    }
    va_end(segments);
    return path;
}

static const char *with_query(const char *path, const char *name, const char *value, apr_pool_t *p)
{
    return apr_pstrcat(p, path, strchr(path, '?') ? "&" : "?", cagw_segment(name, p), "=",
                       cagw_segment(value, p), NULL);
}

/** Whether the gateway itself is at work, for who decides to leave it alone for a while. */
static int is_alive(const http_answer_t *answer)
{
    return answer->outcome == HTTP_ANSWERED && answer->status != 502 && answer->status != 503
        && answer->status != 504;
}

static void call_done(void *baton, const http_answer_t *answer)
{
    call_t *call = baton;
    cagw_outcome_t *outcome = apr_pcalloc(call->pool, sizeof(*outcome));

    outcome->retry_after = answer->retry_after;
    outcome->date = answer->date;
    outcome->alive = is_alive(answer);
    outcome->stopped = answer->outcome == HTTP_STOPPED;
    if (answer->outcome == HTTP_ANSWERED) {
        outcome->body = answer->body;
        cagw_read_reply(&outcome->reply, answer->status, answer->body, answer->retry_after != 0,
                        call->pool, &outcome->result);
        outcome->verdict = outcome->reply.verdict;
    }
    else {
        outcome->verdict = answer->sent ? CAGW_BROKEN : CAGW_NOT_SENT;
        outcome->result = answer->result;
    }
    outcome->unwelcome = answer->unwelcome || outcome->verdict == CAGW_MISCONFIGURED;
    if (outcome->reply.details) {
        gh_log(call->gateway->log, GH_LOG_DEBUG, APR_SUCCESS, "issuer %s: the CA gateway says: %s",
               call->gateway->name, outcome->reply.details);
    }
    call->done(call->baton, outcome);
}

static void begin(const cagw_gateway_t *gateway, const http_request_t *request, cagw_done_fn *done,
                  void *baton, apr_pool_t *p)
{
    call_t *call = apr_palloc(p, sizeof(*call));
    cagw_outcome_t *outcome;
    gh_result_t result;

    call->gateway = gateway;
    call->done = done;
    call->baton = baton;
    call->pool = p;
    gh_result_clear(&result);
    if (http_call(gateway->peer, request, call_done, call, &result) != APR_SUCCESS) {
        outcome = apr_pcalloc(p, sizeof(*outcome));
        outcome->verdict = CAGW_NOT_SENT;
        outcome->result = result;
        done(baton, outcome);
    }
}

static void get(const cagw_gateway_t *gateway, const char *path, apr_interval_time_t timeout,
                cagw_done_fn *done, void *baton, apr_pool_t *p)
{
    http_request_t request = {
        .method = "GET", .path = path, .headers = headers, .timeout = timeout
    };

    begin(gateway, &request, done, baton, p);
}

void cagw_call_enrol(const cagw_gateway_t *gateway, gh_bytes_t body, cagw_done_fn *done,
                     void *baton, apr_pool_t *p)
{
    http_request_t request = {
        .method = "POST", .path = path_of(gateway, p, CAGW_PATH_ENROLLMENTS, NULL),
        .headers = headers, .content_type = JSON_TYPE, .body = body, .has_effect = 1
    };

    begin(gateway, &request, done, baton, p);
}

void cagw_call_certificate(const cagw_gateway_t *gateway, const char *serial, cagw_done_fn *done,
                           void *baton, apr_pool_t *p)
{
    get(gateway, path_of(gateway, p, CAGW_PATH_CERTIFICATES, serial, NULL), 0, done, baton, p);
}

void cagw_call_action(const cagw_gateway_t *gateway, const char *serial, gh_bytes_t body,
                      cagw_done_fn *done, void *baton, apr_pool_t *p)
{
    http_request_t request = {
        .method = "POST",
        .path = path_of(gateway, p, CAGW_PATH_CERTIFICATES, serial, CAGW_PATH_ACTIONS, NULL),
        .headers = headers, .content_type = JSON_TYPE, .body = body, .has_effect = 1
    };

    begin(gateway, &request, done, baton, p);
}

void cagw_call_events(const cagw_gateway_t *gateway, apr_time_t start, const char *cursor, int size,
                      apr_interval_time_t timeout, cagw_done_fn *done, void *baton, apr_pool_t *p)
{
    const char *path = path_of(gateway, p, CAGW_PATH_EVENTS, NULL);

    path = with_query(path, CAGW_QUERY_PAGE_SIZE, apr_itoa(p, size), p);
    if (start) {
        path = with_query(path, CAGW_QUERY_START, gh_time_text(p, start), p);
    }
    if (cursor) {
        path = with_query(path, CAGW_QUERY_NEXT, cursor, p);
    }
    get(gateway, path, timeout, done, baton, p);
}

void cagw_call_ca(const cagw_gateway_t *gateway, cagw_done_fn *done, void *baton, apr_pool_t *p)
{
    get(gateway, with_query(path_of(gateway, p, NULL), gateway->spelling.selector,
                            gateway->spelling.ca, p), 0, done, baton, p);
}

void cagw_call_about(const cagw_gateway_t *gateway, const char *what, const char *name,
                     apr_interval_time_t timeout, cagw_done_fn *done, void *baton, apr_pool_t *p)
{
    get(gateway, path_of(gateway, p, what, name, NULL), timeout, done, baton, p);
}
