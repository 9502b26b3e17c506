/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_http_h
#define fcgi_http_h

#include <apr_pools.h>
#include <apr_time.h>
#include <curl/curl.h>

#include "log.h"
#include "result.h"
#include "text.h"
#include "x509/credential.h"

/*
 * Calls over HTTP to others' services, on one multi handle of libcurl: thousands may be in flight,
 * none blocks. Everything here is for the one thread that runs the loop.
 */

typedef struct http_client http_client_t;
typedef struct http_peer http_peer_t;
typedef struct http_call http_call_t;

/** How a service is reached. Everything is copied; secrets are overwritten when the peer goes. */
typedef struct {
    const char *name;               /* for logs */
    const char *url;                /* base, without final slash */
    gh_bytes_t credential;          /* PKCS#12; data NULL: no client certificate */
    gh_bytes_t passphrase;
    const char *alias;              /* friendlyName of the key to use; NULL: there is one only */
    const gh_credential_t *identity;    /* instead of credential: one that is open already, which
                                           must live as long as the peer */
    const char *trust;              /* PEM: who may have issued the server's certificate; NULL:
                                       those of the system */
    const char *proxy;              /* URL, perhaps with user and password; NULL: none */
    const char *no_proxy;           /* hosts that are reached without it, as in NO_PROXY; or NULL */
    const char *proxy_user;         /* or NULL */
    gh_bytes_t proxy_password;
    apr_interval_time_t connect_timeout;    /* 0: 5 s */
    apr_interval_time_t timeout;            /* of a call, 0: 60 s */
    apr_size_t body_max;                    /* of an answer, 0: 1 MiB */
    long connections;                       /* at once, 0: 16 */
    int plain;                              /* 1: http:// will do as well */
    int lenient;                    /* 1: a credential that cannot be used is no reason not to make
                                       the peer, see http_peer_fault() */
} http_peer_config_t;

typedef enum {
    HTTP_ANSWERED,                  /* an answer came, whatever its status */
    HTTP_NOT_SENT,                  /* provably nothing of the request's body was sent */
    HTTP_UNKNOWN,                   /* it may have been received and carried out */
    HTTP_STOPPED                    /* given up because the worker ends; as HTTP_UNKNOWN or
                                       HTTP_NOT_SENT by the member sent */
} http_outcome_t;

typedef struct {
    http_outcome_t outcome;
    int sent;                       /* 0: provably nothing was sent */
    int unwelcome;                  /* 1: the server has refused our certificate, or that we have
                                       none, in the handshake */
    long status;
    gh_bytes_t body;
    const char *content_type;       /* or NULL */
    apr_time_t retry_after;         /* when; 0: not said */
    apr_time_t date;                /* by the server's clock; 0: not said */
    gh_result_t result;             /* of a call that was not answered */
    apr_interval_time_t duration;
} http_answer_t;

/** Called in the loop when a call is over; answer and its bytes are good until it returns. */
typedef void http_done_fn(void *baton, const http_answer_t *answer);

apr_status_t http_client_create(http_client_t **client, CURLM *multi, const gh_log_t *log,
                                apr_pool_t *p, gh_result_t *result);

/**
 * Checks credential and trust, and keeps them ready.
 * @return APR_EINVAL with result: a PKCS#12 that does not open (its password is wrong), has no key,
 *         has several and none is named, is not of the named; a certificate that has expired; trust
 *         without a CA certificate; a URL that ends with a slash or has no host
 */
apr_status_t http_peer_create(http_peer_t **peer, http_client_t *client,
                              const http_peer_config_t *config, apr_pool_t *p,
                              gh_result_t *result);

/** Why no call can be made: the credential cannot be used. Calls fail with that. NULL: they can. */
const gh_result_t *http_peer_fault(const http_peer_t *peer);

/** End of the client certificate; 0: there is none. */
apr_time_t http_peer_not_after(const http_peer_t *peer);

/**
 * An answer made no sense: perhaps it was of another call over the same connection, and then all
 * that follow there are. Connections that are there now are used no more.
 */
void http_peer_distrust(http_peer_t *peer);

typedef struct {
    const char *method;             /* "GET", "POST", ... */
    const char *path;               /* added to the peer's URL; already escaped */
    const char *const *headers;     /* "Name: value", NULL at the end; or NULL */
    const char *content_type;       /* of the body; NULL without one */
    gh_bytes_t body;                /* copied; overwritten afterwards */
    int has_effect;                 /* 0: a call that may be made twice, which libcurl may repeat on
                                       a fresh connection */
    apr_interval_time_t timeout;    /* 0: the peer's */
} http_request_t;

/** Begins a call. @return an error if it cannot be begun: done will not be called */
apr_status_t http_call(http_peer_t *peer, const http_request_t *request, http_done_fn *done,
                       void *baton, gh_result_t *result);

/** To be called after libcurl was: ends calls that are over. */
void http_client_finish(http_client_t *client);

/** Calls in flight. */
int http_client_busy(const http_client_t *client);

/** Ends all calls as HTTP_STOPPED. */
void http_client_stop(http_client_t *client);

#endif /* fcgi_http_h */
