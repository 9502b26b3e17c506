/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/uem/uem_token.h"

#include <string.h>

#include <apr_strings.h>
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "log.h"
#include "status.h"

#define FORM "application/x-www-form-urlencoded"

/** So long before its end a token is fetched anew, or a tenth of its life if that is shorter. */
#define EARLY apr_time_from_sec(60)

typedef struct waiting waiting_t;
struct waiting {
    uem_token_fn *done;
    void *baton;
    waiting_t *next;
};

struct uem_session {
    const uem_session_config_t *config;
    apr_pool_t *kept;               /* of the token; NULL: there is none */
    const char *token;
    apr_time_t until;
    waiting_t *waiting;
    int fetching;
};

uem_session_t *uem_session_create(const uem_session_config_t *config, apr_pool_t *p)
{
    uem_session_t *session = apr_pcalloc(p, sizeof(*session));

    session->config = config;
    return session;
}

static void drop(uem_session_t *session)
{
    if (session->kept) {
        apr_pool_destroy(session->kept);
        session->kept = NULL;
        session->token = NULL;
    }
}

void uem_session_drop(uem_session_t *session, const char *token)
{
    if (session->token && token && !strcmp(session->token, token)) {
        drop(session);
    }
}

static void end_fetch(uem_session_t *session, int stopped, const gh_result_t *result)
{
    waiting_t *waiting = session->waiting;

    session->waiting = NULL;
    session->fetching = 0;
    while (waiting) {
        waiting_t *next = waiting->next;    /* done may free it */

        waiting->done(waiting->baton, session->token, stopped, result);
        waiting = next;
    }
}

static void answered(void *baton, const http_answer_t *answer)
{
    uem_session_t *session = baton;
    gh_result_t result = answer->result;
    uem_token_t token;
    apr_pool_t *pool;

    drop(session);
    if (answer->outcome == HTTP_ANSWERED) {
        apr_pool_create_unmanaged_ex(&pool, NULL, NULL);
        gh_result_clear(&result);
        if (uem_token_read(&token, answer->status, answer->body, pool, &result) == APR_SUCCESS) {
            session->kept = pool;
            session->token = token.token;
            session->until = apr_time_now() + token.lifetime
                - (token.lifetime > 10 * EARLY ? EARLY : token.lifetime / 10);
        }
        else {
            apr_pool_destroy(pool);
        }
    }
    end_fetch(session, answer->outcome == HTTP_STOPPED, &result);
}

/** For a form (RFC 6749 appendix B). */
static const char *escaped(const void *data, apr_size_t length, apr_pool_t *p)
{
    char *text = curl_easy_escape(NULL, data, (int)length);
    const char *copy = apr_pstrdup(p, text ? text : "");

    if (text) {
        OPENSSL_cleanse(text, strlen(text));
    }
    curl_free(text);
    return copy;
}

/** RFC 6749 2.3.1 */
static const char *basic(const uem_session_config_t *config, apr_pool_t *p)
{
    const char *secret = escaped(config->secret.data, config->secret.length, p);
    char *pair = apr_pstrcat(p, escaped(config->client, strlen(config->client), p), ":", secret,
                             NULL);
    apr_size_t length = strlen(pair);
    char *encoded = apr_palloc(p, (length + 2) / 3 * 4 + 1);
    const char *header;

    EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)pair, (int)length);
    header = apr_pstrcat(p, "Authorization: Basic ", encoded, NULL);
    OPENSSL_cleanse((void *)secret, strlen(secret));
    OPENSSL_cleanse(pair, length);
    OPENSSL_cleanse(encoded, strlen(encoded));
    return header;
}

static void fetch(uem_session_t *session)
{
    const uem_session_config_t *config = session->config;
    const char *headers[] = { "Accept: application/json", NULL, NULL };
    http_request_t request = {
        .method = "POST", .path = config->path, .headers = headers, .content_type = FORM
    };
    gh_result_t result;
    const char *form, *secret = NULL;
    apr_pool_t *p;
    apr_status_t rv;

    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    gh_result_clear(&result);
    form = "grant_type=client_credentials";
    if (config->scope) {
        form = apr_pstrcat(p, form, "&scope=", escaped(config->scope, strlen(config->scope), p),
                           NULL);
    }
    if (config->in_form) {
        secret = escaped(config->secret.data, config->secret.length, p);
        form = apr_pstrcat(p, form, "&client_id=",
                           escaped(config->client, strlen(config->client), p),
                           "&client_secret=", secret, NULL);
    }
    else {
        headers[1] = basic(config, p);
    }
    request.body.data = (const unsigned char *)form;
    request.body.length = strlen(form);
    session->fetching = 1;
    rv = http_call(config->peer, &request, answered, session, &result);
    if (secret) {
        OPENSSL_cleanse((void *)secret, strlen(secret));
        OPENSSL_cleanse((void *)form, request.body.length);
    }
    if (headers[1]) {
        OPENSSL_cleanse((void *)headers[1], strlen(headers[1]));
    }
    apr_pool_destroy(p);
    if (rv != APR_SUCCESS) {
        end_fetch(session, 0, &result);
    }
}

void uem_session_get(uem_session_t *session, uem_token_fn *done, void *baton, apr_pool_t *p)
{
    waiting_t *waiting;

    if (session->token && apr_time_now() < session->until) {
        done(baton, session->token, 0, NULL);
        return;
    }
    waiting = apr_palloc(p, sizeof(*waiting));
    waiting->done = done;
    waiting->baton = baton;
    waiting->next = session->waiting;
    session->waiting = waiting;
    if (!session->fetching) {
        fetch(session);
    }
}
