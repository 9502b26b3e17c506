/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Transactions on threads of their own, their messages through the loop. */

#include <pthread.h>
#include <string.h>

#include <apr_strings.h>

#include "fcgi/cmp/cmp_private.h"
#include "log.h"
#include "status.h"

#define CMP_TYPE "application/pkixcmp"

static const char *const headers[] = { "Accept: " CMP_TYPE, NULL };

typedef struct {
    cmp_service_t *service;
    apr_pool_t *pool;
    const cmp_request_t *request;
    gh_bytes_t serial;
    int reason;
    apr_interval_time_t timeout;    /* of a message; 0: the peer's */
    void (*run)(void *baton, const cmp_transport_t *transport);
    cmp_done_fn *done;
    void *baton;
    cmp_reply_t reply;

    pthread_mutex_t mutex;
    pthread_cond_t answered;
    framework_post_t post;
    gh_bytes_t message;
    cmp_answer_t *answer;
    int over;                       /* of the message */
} call_t;

/* In the loop */

static void end_message(call_t *call)
{
    pthread_mutex_lock(&call->mutex);
    call->over = 1;
    pthread_cond_signal(&call->answered);
    pthread_mutex_unlock(&call->mutex);
}

static void take_answer(void *baton, const http_answer_t *given)
{
    call_t *call = baton;
    cmp_answer_t *answer = call->answer;

    answer->answered = given->outcome == HTTP_ANSWERED;
    answer->sent = given->sent;
    answer->stopped = given->outcome == HTTP_STOPPED;
    answer->status = given->status;
    answer->retry_after = given->retry_after;
    answer->result = given->result;
    /* the thread that waits for it does not touch the pool meanwhile */
    answer->body.data = apr_pmemdup(call->pool, given->body.data, given->body.length);
    answer->body.length = given->body.length;
    end_message(call);
}

static void begin_message(void *baton)
{
    call_t *call = baton;
    http_request_t request = {
        .method = "POST", .path = call->service->path, .headers = headers,
        .content_type = CMP_TYPE, .body = call->message, .has_effect = 1,
        .timeout = call->timeout
    };

    if (http_call(call->service->peer, &request, take_answer, call, &call->answer->result)
        != APR_SUCCESS) {
        end_message(call);
    }
}

/* On a thread of the issuer */

static void send_message(void *baton, gh_bytes_t message, cmp_answer_t *answer, apr_pool_t *p)
{
    call_t *call = baton;

    call->message = message;
    call->answer = answer;
    call->over = 0;
    framework_post(call->service->framework, &call->post);
    pthread_mutex_lock(&call->mutex);
    while (!call->over) {
        pthread_cond_wait(&call->answered, &call->mutex);
    }
    pthread_mutex_unlock(&call->mutex);
}

static void work(void *baton)
{
    call_t *call = baton;
    cmp_transport_t transport = { send_message, call };

    call->run(call, &transport);
}

static void enrol(void *baton, const cmp_transport_t *transport)
{
    call_t *call = baton;

    cmp_enrol(&call->reply, &call->service->party, call->request, transport, call->pool);
}

static void change(void *baton, const cmp_transport_t *transport)
{
    call_t *call = baton;

    cmp_revoke(&call->reply, &call->service->party, call->serial, call->reason, transport,
               call->pool);
}

static void probe(void *baton, const cmp_transport_t *transport)
{
    call_t *call = baton;

    cmp_probe(&call->reply, &call->service->party, transport, call->pool);
}

/* Calls */

static void finish(void *baton)
{
    call_t *call = baton;

    pthread_cond_destroy(&call->answered);
    pthread_mutex_destroy(&call->mutex);
    call->done(call->baton, &call->reply);
}

static void begin(cmp_service_t *service, const call_t *what, cmp_done_fn *done, void *baton,
                  apr_pool_t *p)
{
    call_t *call = apr_pmemdup(p, what, sizeof(*what));

    call->service = service;
    call->pool = p;
    call->done = done;
    call->baton = baton;
    call->post.fn = begin_message;
    call->post.baton = call;
    pthread_mutex_init(&call->mutex, NULL);
    pthread_cond_init(&call->answered, NULL);
    if (http_peer_fault(service->peer)) {
        call->reply.verdict = CMP_NOT_SENT;
        call->reply.result = *http_peer_fault(service->peer);
        finish(call);
        return;
    }
    if (framework_blocking_on(service->lane, work, finish, call, p) != APR_SUCCESS) {
        call->reply.verdict = CMP_NOT_SENT;
        gh_result_fail(&call->reply.result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "cmp.thread",
                       "See whether the machine is short of threads.",
                       GHNO(1047) "issuer %s: there is no thread for a CMP transaction",
                       service->party.name);
        finish(call);
    }
}

void cmp_call_enrol(cmp_service_t *service, const cmp_request_t *request, cmp_done_fn *done,
                    void *baton, apr_pool_t *p)
{
    call_t call = { .request = request, .run = enrol };

    begin(service, &call, done, baton, p);
}

void cmp_call_revoke(cmp_service_t *service, gh_bytes_t serial, int reason, cmp_done_fn *done,
                     void *baton, apr_pool_t *p)
{
    call_t call = { .serial = serial, .reason = reason, .run = change };

    begin(service, &call, done, baton, p);
}

void cmp_call_probe(cmp_service_t *service, apr_interval_time_t timeout, cmp_done_fn *done,
                    void *baton, apr_pool_t *p)
{
    call_t call = { .timeout = timeout, .run = probe };

    begin(service, &call, done, baton, p);
}
