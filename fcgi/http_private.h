/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_http_private_h
#define fcgi_http_private_h

#include "fcgi/http.h"
#include "x509/credential.h"

/* What the files of the HTTP client share. */

/** Connections that are looked at before they are used again; see http_connections_prepare(). */
#define HTTP_SOCKETS 4096

/** An alert that a server has sent over a connection, 0: none. Of the call that has opened it, and
 *  of the connection, which may be there for longer: the last of them frees it. */
typedef struct {
    int alert;
    int users;
} http_watched_t;

struct http_client {
    CURLM *multi;
    CURLSH *share;
    apr_allocator_t *allocator;     /* of the pools of calls */
    const gh_log_t *log;
    http_call_t *calls;             /* all, running or waiting */
    int busy;
    int stopped;
    apr_time_t looked;              /* at those that wait */
    int socket[HTTP_SOCKETS];       /* of connections */
    int sockets;
};

struct http_peer {
    http_client_t *client;
    http_peer_config_t config;
    const gh_credential_t *credential;  /* or NULL */
    struct curl_blob certificate;   /* PEM */
    struct curl_blob key;
    struct curl_blob trust;
    const char *proxy_password;     /* "" without one */
    gh_result_t fault;              /* of the credential; without number: none */
    http_call_t *first;             /* waiting for a connection */
    http_call_t *last;
    long running;
    apr_time_t distrusted;          /* older connections are not used; 0: all may be */
};

struct http_call {
    http_peer_t *peer;
    apr_pool_t *pool;               /* of its own, with an allocator of its own */
    CURL *easy;
    struct curl_slist *headers;
    http_done_fn *done;
    void *baton;
    apr_time_t begun;
    apr_interval_time_t timeout;    /* with the time for which it waits for a connection */
    http_call_t *previous;          /* in the client's list */
    http_call_t *next;
    http_call_t *next_waiting;      /* in the peer's */
    int running;

    unsigned char *body;            /* of the request */
    apr_size_t length;
    apr_size_t given;               /* bytes of it that libcurl has taken */
    int issued;                     /* a connection was ready, the request may have been written */
    int has_effect;
    int surplus;                    /* the connection had something that nobody had asked for */

    unsigned char *answer;
    apr_size_t answer_length;
    apr_size_t answer_size;
    int too_large;
    int no_memory;
    http_watched_t *watched;
    char error[CURL_ERROR_SIZE];
};

/** Whether the URL of a peer can be used. */
apr_status_t http_check_url(const http_peer_config_t *config, gh_result_t *result);

/** Sets all that has to do with TLS and proxies on the handle of a call. */
void http_tls_prepare(http_call_t *call);

/** The call is over. */
void http_tls_forget(http_call_t *call);

/** @return 1 if the server has refused the handshake after this side took it as finished, as TLS
 *          1.3 permits: then it has not read what was sent over the connection */
int http_tls_refused(const http_call_t *call);

/** Sets what has to do with connections on the handle of a call. */
void http_connections_prepare(http_call_t *call);

/** Within PREREQFUNCTION. @return 1 if a connection was used before and has something to read, or
 *          has ended: the request must not be sent over it */
int http_connection_has_surplus(const http_call_t *call, int local_port);

/** A call may wait for a connection for so much of its time: what is left has to be enough for an
 *  answer. */
#define HTTP_WAIT_SHARE 2

void http_push_waiting(http_call_t *call);
void http_drop_waiting(http_call_t *call);
/** @return NULL: none waits */
http_call_t *http_pop_waiting(http_peer_t *peer);
/** Whether one that waits has an effect and should have been over by now. Whoever has given rise to
 *  it may have been taken for dead while this process stood still, and others act by that time. */
int http_is_late(const http_call_t *call);

/** By the server's clock; 0: it does not say. */
apr_time_t http_date(const http_call_t *call);
/** One that has waited for too long; NULL: none has. */
http_call_t *http_find_late(const http_client_t *client, apr_time_t now);

/** Looks at credential and trust of a peer. */
apr_status_t http_tls_load(http_peer_t *peer, apr_pool_t *p, gh_result_t *result);

#endif /* fcgi_http_private_h */
