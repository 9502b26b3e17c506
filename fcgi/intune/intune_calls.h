/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_intune_intune_calls_h
#define fcgi_intune_intune_calls_h

#include <apr_hash.h>

#include "fcgi/http.h"
#include "fcgi/intune/intune_assertion.h"
#include "fcgi/intune/intune_codec.h"

/*
 * Calls to Intune, with what they need: tokens of Entra ID and the places that Graph tells, both
 * kept as long as they are good. All are for the thread that runs the loop.
 */

/** Most secrets of a connection. */
#define INTUNE_SECRETS_MAX 2

/** How Intune is reached, of the worker's configuration. */
typedef struct {
    const char *name;
    const char *tenant;
    const char *application;
    gh_bytes_t secrets[INTUNE_SECRETS_MAX];
    int secret_count;
    intune_credential_t credential; /* key NULL: none */
    const char *authority;          /* URLs, without final slash */
    const char *graph;
    const char *graph_version;
    const char *intune;             /* GUID of Intune's own application */
    const char *resource;           /* as it was written: with or without final slash */
    const char *trust;              /* PEM; NULL: of the system */
    const char *proxy;              /* or NULL */
    apr_interval_time_t timeout;
    long connections;
} intune_connection_t;

typedef struct intune_session intune_session_t;

typedef enum { INTUNE_SCEP, INTUNE_REVOCATION } intune_api_t;

/** How a call has ended: the answer, or why there is none. */
typedef struct {
    long status;                    /* of HTTP; 0: not called or not answered */
    gh_bytes_t body;                /* good until done returns */
    intune_verdict_t verdict;       /* if status is 0 */
    apr_time_t retry_after;         /* 0: not said */
    int alive;                      /* 1: the other side is at work */
    int stopped;                    /* 1: given up because the worker ends */
    gh_result_t result;             /* if status is 0 */
} intune_outcome_t;

typedef void intune_done_fn(void *baton, const intune_outcome_t *outcome);

intune_session_t *intune_session_create(const intune_connection_t *connection,
                                        http_client_t *client, const gh_log_t *log, apr_pool_t *p);

/**
 * Calls Intune. A token that is not accepted, or a service that is not where it was, is looked for
 * anew once. done is called exactly once, perhaps before this returns.
 * @param path of the service, such as "ScepActions/validateRequest"
 * @param body borrowed until done is called
 */
void intune_call(intune_session_t *session, intune_api_t service, const char *path,
                 gh_bytes_t body, intune_done_fn *done, void *baton, apr_pool_t *p);

#endif /* fcgi_intune_intune_calls_h */
