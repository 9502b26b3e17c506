/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Which connections may be used again. Over one connection, answers belong to requests by their
 * order alone: a server that has sent more than it was asked for would have its surplus taken for
 * the answer to the next request, and so on as long as the connection lives. libcurl 7.88 sees no
 * fault in bytes that wait there.
 */

#include "fcgi/http_private.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

/* Called by libcurl. The client outlives its connections. */

static curl_socket_t open_socket(void *baton, curlsocktype purpose, struct curl_sockaddr *address)
{
    http_client_t *client = baton;
    int made = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

    if (made >= 0 && client->sockets < HTTP_SOCKETS) {
        client->socket[client->sockets++] = made;
    }
    return made < 0 ? CURL_SOCKET_BAD : made;
}

static int close_socket(void *baton, curl_socket_t one)
{
    http_client_t *client = baton;
    int i;

    for (i = 0; i < client->sockets; ++i) {
        if (client->socket[i] == one) {
            client->socket[i] = client->socket[--client->sockets];
            break;
        }
    }
    return close(one);
}

void http_peer_distrust(http_peer_t *peer)
{
    peer->distrusted = apr_time_now();
}

/* libcurl counts in seconds, and takes 0 for any age. */
static void set_oldest_connection(CURL *easy, const http_peer_t *peer)
{
    long age = (long)apr_time_sec(apr_time_now() - peer->distrusted);

    if (!peer->distrusted) {
        return;
    }
    if (age >= 0 && age < 2) {
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    }
    else {
        curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, age < 0 ? 1L : age - 1);
    }
}

void http_connections_prepare(http_call_t *call)
{
    http_client_t *client = call->peer->client;

    curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETDATA, client);
    curl_easy_setopt(call->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(call->easy, CURLOPT_CLOSESOCKETDATA, client);
    set_oldest_connection(call->easy, call->peer);
}

static int port_of(int one)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } address;
    socklen_t length = sizeof(address);

    if (getsockname(one, &address.any, &length)) {
        return -1;
    }
    return ntohs(address.any.sa_family == AF_INET6 ? address.six.sin6_port
                                                   : address.four.sin_port);
}

int http_connection_has_surplus(const http_call_t *call, int local_port)
{
    const http_client_t *client = call->peer->client;
    long connects = 0;
    char byte;
    int i;

    /* on a new one, what waits there is TLS's own */
    curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &connects);
    if (connects > 0) {
        return 0;
    }
    for (i = 0; i < client->sockets; ++i) {
        if (port_of(client->socket[i]) == local_port
            && recv(client->socket[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) {
            return 1;
        }
    }
    return 0;
}
