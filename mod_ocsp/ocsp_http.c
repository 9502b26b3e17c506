/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Between a request of httpd and the engine, on both paths. */

#include <string.h>

#include <apr_strings.h>
#include <httpd.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>

#include "mod_ocsp/ocsp_child.h"
#include "mod_ocsp/ocsp_response.h"
#include "status.h"

APLOG_USE_MODULE(ocsp);

/** Reading a body has failed, and httpd has answered. */
#define ANSWERED DONE

static int refuse(request_rec *r, int status, const char *why)
{
    const ocsp_child_t *child = ocsp_child();

    if (child) {
        ocsp_counts_refused(child->counts);
    }
    ocsp_log_refused(r, status, why);
    ap_discard_request_body(r);
    return status;
}

/* What a request asks, as DER */

static int is_request_type(const request_rec *r)
{
    const char *type = apr_table_get(r->headers_in, "Content-Type");
    apr_size_t length = sizeof(OCSP_REQUEST_TYPE) - 1;

    return type && !ap_cstr_casecmpn(type, OCSP_REQUEST_TYPE, length)
        && (!type[length] || strchr("; \t", type[length]));
}

/** @return OK, ANSWERED, or an HTTP status */
static int read_body(request_rec *r, apr_size_t most, gh_bytes_t *body)
{
    int status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);
    apr_size_t size = most + 1;
    unsigned char *data;

    if (status != OK) {
        return status;
    }
    if (r->remaining > (apr_off_t)most) {
        return HTTP_REQUEST_ENTITY_TOO_LARGE;
    }
    if (!ap_should_client_block(r)) {
        return OK;
    }
    if (!r->read_chunked) {
        size = (apr_size_t)r->remaining + 1;
    }
    data = apr_palloc(r->pool, size);
    body->data = data;
    while (body->length < size) {
        long got = ap_get_client_block(r, (char *)data + body->length, size - body->length);

        if (got < 0) {
            return ANSWERED;
        }
        if (got == 0) {
            return OK;
        }
        body->length += (apr_size_t)got;
    }
    return HTTP_REQUEST_ENTITY_TOO_LARGE;
}

static int read_post(request_rec *r, const char *rest, apr_size_t most, gh_bytes_t *der)
{
    int status;

    if (rest[strspn(rest, "/")]) {
        return refuse(r, HTTP_NOT_FOUND, "there is no such path");
    }
    if (!is_request_type(r)) {
        return refuse(r, HTTP_UNSUPPORTED_MEDIA_TYPE, "the content is not " OCSP_REQUEST_TYPE);
    }
    status = read_body(r, most, der);
    if (status == ANSWERED) {
        ocsp_log_refused(r, r->status, "the body cannot be read");
    }
    else if (status == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        r->connection->keepalive = AP_CONN_CLOSE;
        return refuse(r, status, "the body is longer than OCSPMaxBody");
    }
    else if (status != OK) {
        return refuse(r, status, "the body cannot be read");
    }
    return status;
}

/** What cannot be decoded goes on as a request of no bytes, which the engine says is malformed.
 *  @param why says why */
static int read_get(request_rec *r, const char *rest, apr_size_t most, gh_bytes_t *der,
                    gh_result_t *why)
{
    apr_status_t rv = ocsp_request_from_path(der, rest, most, r->pool, why);

    if (rv == APR_ENOSPC) {
        return refuse(r, HTTP_REQUEST_URI_TOO_LARGE, "the request is longer than OCSPMaxBody");
    }
    if (rv != APR_SUCCESS) {
        der->data = NULL;
        der->length = 0;
    }
    return OK;
}

/* The answer */

static void make_endpoint(ocsp_endpoint_t *endpoint, const ocsp_settings_t *settings,
                          const ocsp_child_t *child)
{
    endpoint->authorities = settings->serve ? settings->serve->set : child->config->all;
    endpoint->nonce = settings->nonce != 0;
    endpoint->max_ids = settings->max_ids >= 0 ? settings->max_ids : OCSP_MAX_IDS;
    endpoint->signature = OCSP_SIGNATURE_IGNORE;
    if (settings->signature == OCSP_SIGNATURE_VERIFY) {
        endpoint->signature = OCSP_SIGNATURE_VERIFY;
    }
    else if (settings->signature == OCSP_SIGNATURE_REQUIRE) {
        endpoint->signature = OCSP_SIGNATURE_REQUIRE;
    }
    endpoint->requestors = settings->requestors;
    endpoint->mixed_refuse = settings->mixed_refuse > 0;
}

int ocsp_http_answer(request_rec *r, const ocsp_settings_t *settings, const char *rest)
{
    apr_size_t most = (apr_size_t)(settings->max_body >= 0 ? settings->max_body : OCSP_MAX_BODY);
    const ocsp_child_t *child = ocsp_child();
    gh_bytes_t der = { NULL, 0 };
    ocsp_endpoint_t endpoint;
    ocsp_answer_t answer;
    gh_result_t result, why;
    int status;

    why.number[0] = '\0';
    if (r->method_number == M_POST) {
        status = read_post(r, rest, most, &der);
    }
    else if (r->method_number == M_GET) {
        ap_discard_request_body(r);
        status = read_get(r, rest, most, &der, &why);
    }
    else {
        ap_allow_standard_methods(r, REPLACE_ALLOW, M_GET, M_POST, -1);
        return refuse(r, HTTP_METHOD_NOT_ALLOWED, "the method is neither GET nor POST");
    }
    if (status != OK) {
        return status == ANSWERED ? OK : status;
    }
    if (!child) {
        memset(&answer, 0, sizeof(answer));
        answer.ocsp = OCSP_TRY_LATER;
        answer.der = ocsp_response_error(OCSP_TRY_LATER);
        ocsp_log_refused(r, HTTP_SERVICE_UNAVAILABLE, "this process cannot answer OCSP");
        return ocsp_http_send(r, &answer, settings->http_errors > 0);
    }
    make_endpoint(&endpoint, settings, child);
    ocsp_gatehouse()->begin_work(r);
    ocsp_engine_answer(child->engine, &endpoint, der, r->request_time, &answer, r->pool, &result);
    ocsp_gatehouse()->end_work();
    ocsp_counts_answer(child->counts, &answer);
    ocsp_log_answer(r, child, &answer, why.number[0] ? &why : &result);
    return ocsp_http_send(r, &answer, settings->http_errors > 0);
}
