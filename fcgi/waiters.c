/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Requests of httpd that wait until something has come of a job. Each has a timer, which answers it
 * at the latest, and frees it in any case. */

#include "fcgi/framework_private.h"

/** More than so many are told to come later. */
#define WAITING_MAX 10000

static void set_first(framework_t *framework, const char *id, listener_request_t *first)
{
    /* the key has to be of the one that is first: that of the former may go away */
    apr_hash_set(framework->waiters, id, APR_HASH_KEY_STRING, NULL);
    if (first) {
        apr_hash_set(framework->waiters, first->id, APR_HASH_KEY_STRING, first);
    }
}

static void take_out(listener_request_t *request)
{
    framework_t *framework = request->owner;

    if (request->next) {
        request->next->previous = request->previous;
    }
    if (request->previous) {
        request->previous->next = request->next;
    }
    else {
        set_first(framework, request->id, request->next);
    }
    --framework->waiting;
}

static void time_over(void *baton)
{
    listener_request_t *request = baton;

    if (!request->answered) {
        take_out(request);
        listener_answer(request, LISTENER_LATER);
    }
    listener_free(request);
}

void waiters_add(framework_t *framework, listener_request_t *request)
{
    listener_request_t *first = apr_hash_get(framework->waiters, request->id, APR_HASH_KEY_STRING);

    if (framework->waiting >= WAITING_MAX || request->wait <= 0) {
        listener_answer(request, LISTENER_LATER);
        listener_free(request);
        return;
    }
    request->owner = framework;
    request->previous = NULL;
    request->next = first;
    if (first) {
        first->previous = request;
    }
    set_first(framework, request->id, request);
    ++framework->waiting;
    timers_add(framework->timers, monotonic_now() + request->wait, time_over, request);
}

void waiters_answer(framework_t *framework, const char *id, listener_answer_t answer)
{
    listener_request_t *request;

    while ((request = apr_hash_get(framework->waiters, id, APR_HASH_KEY_STRING)) != NULL) {
        take_out(request);
        listener_answer(request, answer);
    }
}

void waiters_stop(framework_t *framework)
{
    timers_hurry(framework->timers, time_over);
}
