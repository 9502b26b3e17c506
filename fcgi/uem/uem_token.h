/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_uem_uem_token_h
#define fcgi_uem_uem_token_h

#include "fcgi/http.h"
#include "text.h"

/* Access tokens of OAuth 2.0 by client credentials (RFC 6749 4.4): fetched when they are needed,
 * once for all calls that wait, and kept until shortly before their end. */

typedef struct uem_session uem_session_t;

typedef struct {
    const char *name;               /* of the UEM */
    http_peer_t *peer;              /* of the token endpoint */
    const char *path;
    const char *client;
    gh_bytes_t secret;
    const char *scope;              /* or NULL */
    int in_form;                    /* 1: the secret goes into the form instead of a header */
} uem_session_config_t;

/** Everything in config outlives the session. */
uem_session_t *uem_session_create(const uem_session_config_t *config, apr_pool_t *p);

/** @param token borrowed until the function returns; NULL with result: there is none
 *  @param stopped 1: the worker ends */
typedef void uem_token_fn(void *baton, const char *token, int stopped, const gh_result_t *result);

/** Calls done with a token, at once or later. @param p lives until then */
void uem_session_get(uem_session_t *session, uem_token_fn *done, void *baton, apr_pool_t *p);

/** A token was not accepted. Forgets it, unless there is another one by now. */
void uem_session_drop(uem_session_t *session, const char *token);

typedef struct {
    const char *token;              /* overwritten by p's cleanup */
    apr_interval_time_t lifetime;
} uem_token_t;

/** Largest answer of a token endpoint. */
#define UEM_TOKEN_MAX (64 * 1024)

/** Reads the answer of a token endpoint (RFC 6749 5.1). @return GH_EUNAVAILABLE with result */
apr_status_t uem_token_read(uem_token_t *token, long status, gh_bytes_t body, apr_pool_t *p,
                            gh_result_t *result);

#endif /* fcgi_uem_uem_token_h */
