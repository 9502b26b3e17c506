/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_intune_intune_private_h
#define fcgi_intune_intune_private_h

#include "fcgi/intune/intune_calls.h"
#include "log.h"

/* A session: what is kept between calls. intune_session.c provides it, intune_calls.c uses it. */

typedef struct intune_call intune_call_t;

typedef enum { AUDIENCE_GRAPH, AUDIENCE_INTUNE, AUDIENCES } audience_t;

/** A token that is kept. */
typedef struct {
    apr_pool_t *pool;               /* NULL: there is none */
    const char *token;
    apr_time_t until;               /* when another one is asked for */
} kept_token_t;

struct intune_session {
    const intune_connection_t *connection;
    http_client_t *client;
    const gh_log_t *log;
    apr_pool_t *pool;
    apr_hash_t *peers;              /* http_peer_t * by origin */
    kept_token_t tokens[AUDIENCES];
    apr_pool_t *services_pool;      /* NULL: they are not known */
    intune_services_t services;
    int credential;                 /* which one is good: the certificate, then the secrets */
    int plain_scope;                /* of Intune: one slash before ".default" */

    /* while something is fetched */
    int preparing;
    apr_pool_t *scratch;
    audience_t audience;
    int tried;                      /* credentials */
    int scope_tried;
    int graph_tried;                /* another token after one was not accepted */
    intune_call_t *waiting;
};

struct intune_call {
    intune_session_t *session;
    intune_api_t service;
    const char *path;
    gh_bytes_t body;
    intune_done_fn *done;
    void *baton;
    apr_pool_t *pool;
    int again;                      /* it was made, and is made anew */
    const char *token;              /* with which it was made */
    const char *url;
    intune_call_t *next;
};

/** Sees that there are tokens and services, then calls intune_call_ready() for all that wait, or
 *  intune_call_failed(). */
void intune_session_prepare(intune_session_t *session);

/** A token was not accepted. @param token that was used: another one may be there by now */
void intune_session_drop_token(intune_session_t *session, audience_t audience, const char *token);
/** A service was not where it was said to be. */
void intune_session_drop_services(intune_session_t *session);

/** Begins a call to any URL. @return an error with result */
apr_status_t intune_session_http(intune_session_t *session, const char *url,
                                 http_request_t *request, http_done_fn *done, void *baton,
                                 apr_pool_t *p, gh_result_t *result);

/** Whether it is good for a while. */
int intune_session_is_ready(const intune_session_t *session);

void intune_call_ready(intune_call_t *call);
void intune_call_failed(intune_call_t *call, const intune_outcome_t *outcome);

#endif /* fcgi_intune_intune_private_h */
