/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Calls that wait until a connection to their peer is free, in their order. */

#include "fcgi/http_private.h"

void http_push_waiting(http_call_t *call)
{
    http_peer_t *peer = call->peer;

    if (peer->last) {
        peer->last->next_waiting = call;
    }
    else {
        peer->first = call;
    }
    peer->last = call;
}

void http_drop_waiting(http_call_t *call)
{
    http_peer_t *peer = call->peer;
    http_call_t *before = NULL, *one;

    for (one = peer->first; one && one != call; one = one->next_waiting) {
        before = one;
    }
    if (before) {
        before->next_waiting = call->next_waiting;
    }
    else {
        peer->first = call->next_waiting;
    }
    if (peer->last == call) {
        peer->last = before;
    }
}

http_call_t *http_pop_waiting(http_peer_t *peer)
{
    http_call_t *call = peer->first;

    if (call) {
        peer->first = call->next_waiting;
        peer->last = peer->first ? peer->last : NULL;
    }
    return call;
}

http_call_t *http_find_late(const http_client_t *client, apr_time_t now)
{
    http_call_t *call;

    for (call = client->calls; call; call = call->next) {
        if (!call->running && now - call->begun > call->timeout / HTTP_WAIT_SHARE) {
            return call;
        }
    }
    return NULL;
}

int http_is_late(const http_call_t *call)
{
    return call->has_effect
        && apr_time_now() - call->begun > call->timeout / HTTP_WAIT_SHARE;
}
