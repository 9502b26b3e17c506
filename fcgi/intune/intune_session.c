/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Tokens and places of services: fetched once for all calls that need them. */

#include "fcgi/intune/intune_private.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "status.h"

/** So long before its end a token is fetched anew. */
#define EARLY apr_time_from_sec(300)

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define FORM_TYPE "application/x-www-form-urlencoded"

/** Hosts of a connection: Entra ID, Graph, and the scale units of Intune over the years. */
#define PEERS_MAX 32

#define CONNECT_TIMEOUT apr_time_from_sec(10)

intune_session_t *intune_session_create(const intune_connection_t *connection,
                                        http_client_t *client, const gh_log_t *log, apr_pool_t *p)
{
    intune_session_t *session = apr_pcalloc(p, sizeof(*session));

    session->connection = connection;
    session->client = client;
    session->log = log;
    session->pool = p;
    session->peers = apr_hash_make(p);
    return session;
}

/* Calls to any host */

/** @return NULL with result */
static http_peer_t *peer_of(intune_session_t *session, const char *origin, gh_result_t *result)
{
    const intune_connection_t *connection = session->connection;
    http_peer_t *peer = apr_hash_get(session->peers, origin, APR_HASH_KEY_STRING);
    http_peer_config_t config;

    if (peer) {
        return peer;
    }
    if (apr_hash_count(session->peers) >= PEERS_MAX) {
        gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Restart httpd gracefully; report it if it happens again.",
                       GHNO(0939) "the services of Intune have been at more than %d hosts",
                       PEERS_MAX);
        return NULL;
    }
    memset(&config, 0, sizeof(config));
    config.name = connection->name;
    config.url = apr_pstrdup(session->pool, origin);
    config.trust = connection->trust;
    config.proxy = connection->proxy;
    config.connect_timeout = CONNECT_TIMEOUT;
    config.timeout = connection->timeout;
    config.body_max = INTUNE_ANSWER_MAX;
    config.connections = connection->connections;
    if (http_peer_create(&peer, session->client, &config, session->pool, result) != APR_SUCCESS) {
        return NULL;
    }
    apr_hash_set(session->peers, config.url, APR_HASH_KEY_STRING, peer);
    return peer;
}

apr_status_t intune_session_http(intune_session_t *session, const char *url,
                                 http_request_t *request, http_done_fn *done, void *baton,
                                 apr_pool_t *p, gh_result_t *result)
{
    apr_size_t host = 8 + strcspn(url + 8, "/");
    http_peer_t *peer = peer_of(session, apr_pstrmemdup(p, url, host), result);

    request->path = url[host] ? url + host : "/";
    return peer ? http_call(peer, request, done, baton, result) : result->status;
}

/* What is kept */

static int has_token(const intune_session_t *session, audience_t audience)
{
    const kept_token_t *kept = &session->tokens[audience];

    return kept->pool && apr_time_now() < kept->until;
}

static void drop_token(kept_token_t *kept)
{
    if (kept->pool) {
        apr_pool_destroy(kept->pool);
        memset(kept, 0, sizeof(*kept));
    }
}

void intune_session_drop_token(intune_session_t *session, audience_t audience, const char *token)
{
    kept_token_t *kept = &session->tokens[audience];

    if (kept->pool && token && !strcmp(kept->token, token)) {
        drop_token(kept);
    }
}

void intune_session_drop_services(intune_session_t *session)
{
    if (session->services_pool) {
        apr_pool_destroy(session->services_pool);
        session->services_pool = NULL;
        memset(&session->services, 0, sizeof(session->services));
    }
}

int intune_session_is_ready(const intune_session_t *session)
{
    return session->services_pool && has_token(session, AUDIENCE_INTUNE);
}

/* Fetching */

static void end_prepare(intune_session_t *session, const intune_outcome_t *outcome)
{
    intune_call_t *waiting = session->waiting;

    session->waiting = NULL;
    session->preparing = 0;
    apr_pool_destroy(session->scratch);
    session->scratch = NULL;
    while (waiting) {
        intune_call_t *call = waiting;

        waiting = call->next;
        if (outcome) {
            intune_call_failed(call, outcome);
        }
        else {
            intune_call_ready(call);
        }
    }
}

static void fail(intune_session_t *session, intune_verdict_t verdict, const http_answer_t *answer,
                 const gh_result_t *result)
{
    intune_outcome_t outcome;

    memset(&outcome, 0, sizeof(outcome));
    outcome.verdict = verdict == INTUNE_REFUSED ? INTUNE_MISCONFIGURED : verdict;
    outcome.result = *result;
    if (answer) {
        outcome.retry_after = answer->retry_after;
        outcome.stopped = answer->outcome == HTTP_STOPPED;
    }
    end_prepare(session, &outcome);
}

static void step(intune_session_t *session);

static int credentials(const intune_connection_t *connection)
{
    return (connection->credential.key ? 1 : 0) + connection->secret_count;
}

static const char *token_url(const intune_connection_t *connection, apr_pool_t *p)
{
    return apr_pstrcat(p, connection->authority, "/", connection->tenant, "/oauth2/v2.0/token",
                       NULL);
}

static const char *escape(const void *data, apr_size_t length, apr_pool_t *p)
{
    char *escaped = curl_easy_escape(NULL, data, (int)length);
    const char *copy = escaped ? intune_secret_text(escaped, strlen(escaped), p) : "";

    if (escaped) {
        OPENSSL_cleanse(escaped, strlen(escaped));
    }
    curl_free(escaped);
    return copy;
}

static const char *escape_text(const char *text, apr_pool_t *p)
{
    return escape(text, strlen(text), p);
}

static const char *scope_of(const intune_session_t *session, apr_pool_t *p)
{
    const intune_connection_t *connection = session->connection;
    apr_size_t length = strlen(connection->resource);

    if (session->audience == AUDIENCE_GRAPH) {
        return apr_pstrcat(p, connection->graph, "/.default", NULL);
    }
    /* Microsoft's library adds "/.default" to a resource that ends with a slash */
    if (session->plain_scope && connection->resource[length - 1] == '/') {
        return apr_pstrcat(p, connection->resource, ".default", NULL);
    }
    return apr_pstrcat(p, connection->resource, "/.default", NULL);
}

/** @return NULL with result */
static const char *credential_form(intune_session_t *session, apr_pool_t *p, gh_result_t *result)
{
    const intune_connection_t *connection = session->connection;
    int number = session->credential % credentials(connection);
    const char *jwt;
    gh_bytes_t secret;

    if (connection->credential.key && number == 0) {
        return intune_assertion_make(&jwt, &connection->credential, token_url(connection, p),
                                     connection->application, apr_time_now(), p, result)
            == APR_SUCCESS
            ? apr_pstrcat(p, "client_assertion_type=", escape_text(ASSERTION_TYPE, p),
                          "&client_assertion=", jwt, NULL) : NULL;
    }
    secret = connection->secrets[number - (connection->credential.key ? 1 : 0)];
    return apr_pstrcat(p, "client_secret=", escape(secret.data, secret.length, p), NULL);
}

static void warn_credential(const intune_session_t *session, const gh_result_t *result)
{
    gh_log(session->log, GH_LOG_WARNING, APR_SUCCESS, GHNO(0940) "IntuneConnection %s: credential "
           "%d of %d is not accepted: %s: %s; %s", session->connection->name,
           session->credential % credentials(session->connection) + 1,
           credentials(session->connection), result->number, result->message, result->action);
}

static void keep_token(intune_session_t *session, const intune_token_t *token)
{
    kept_token_t *kept = &session->tokens[session->audience];
    apr_interval_time_t early = token->lifetime > 2 * EARLY ? EARLY : token->lifetime / 10;

    drop_token(kept);
    apr_pool_create_unmanaged_ex(&kept->pool, NULL, NULL);
    kept->token = intune_secret_text(token->token, strlen(token->token), kept->pool);
    kept->until = apr_time_now() + token->lifetime - early;
}

static void token_answered(void *baton, const http_answer_t *answer)
{
    intune_session_t *session = baton;
    intune_verdict_t verdict;
    intune_token_t token;
    gh_result_t result;

    gh_result_clear(&result);
    if (answer->outcome != HTTP_ANSWERED) {
        fail(session, INTUNE_UNAVAILABLE, answer, &answer->result);
        return;
    }
    verdict = intune_read_token(&token, answer->status, answer->body, session->scratch, &result);
    if (verdict == INTUNE_DONE) {
        keep_token(session, &token);
        session->tried = session->scope_tried = 0;
        step(session);
    }
    else if (verdict == INTUNE_CREDENTIAL) {
        warn_credential(session, &result);
        ++session->credential;
        if (++session->tried < credentials(session->connection)) {
            step(session);
        }
        else {
            fail(session, verdict, answer, &result);
        }
    }
    else if (verdict == INTUNE_SCOPE && session->audience == AUDIENCE_INTUNE
             && !session->scope_tried) {
        session->scope_tried = 1;
        session->plain_scope = !session->plain_scope;
        step(session);
    }
    else {
        fail(session, verdict, answer, &result);
    }
}

static void fetch_token(intune_session_t *session, audience_t audience)
{
    const intune_connection_t *connection = session->connection;
    apr_pool_t *p = session->scratch;
    http_request_t request = { .method = "POST", .content_type = FORM_TYPE };
    gh_result_t result;
    const char *form, *body;
    apr_status_t rv;

    gh_result_clear(&result);
    session->audience = audience;
    form = credential_form(session, p, &result);
    if (!form) {
        fail(session, INTUNE_MISCONFIGURED, NULL, &result);
        return;
    }
    body = apr_pstrcat(p, "grant_type=client_credentials&client_id=",
                       escape_text(connection->application, p), "&scope=",
                       escape_text(scope_of(session, p), p), "&", form, NULL);
    OPENSSL_cleanse((void *)form, strlen(form));
    request.body.length = strlen(body);
    request.body.data = (const unsigned char *)body;
    rv = intune_session_http(session, token_url(connection, p), &request, token_answered, session,
                             p, &result);
    OPENSSL_cleanse((void *)body, request.body.length);
    if (rv != APR_SUCCESS) {
        fail(session, INTUNE_UNAVAILABLE, NULL, &result);
    }
}

static void discovered(void *baton, const http_answer_t *answer)
{
    intune_session_t *session = baton;
    intune_verdict_t verdict;
    apr_pool_t *pool;
    gh_result_t result;

    gh_result_clear(&result);
    if (answer->outcome != HTTP_ANSWERED) {
        fail(session, INTUNE_UNAVAILABLE, answer, &answer->result);
        return;
    }
    apr_pool_create_unmanaged_ex(&pool, NULL, NULL);
    verdict = intune_read_services(&session->services, answer->status, answer->body, pool,
                                   &result);
    if (verdict == INTUNE_DONE) {
        session->services_pool = pool;
        step(session);
        return;
    }
    memset(&session->services, 0, sizeof(session->services));
    apr_pool_destroy(pool);
    if (verdict == INTUNE_TOKEN) {
        drop_token(&session->tokens[AUDIENCE_GRAPH]);
        if (!session->graph_tried++) {
            step(session);
            return;
        }
    }
    fail(session, verdict, answer, &result);
}

static void discover(intune_session_t *session)
{
    const intune_connection_t *connection = session->connection;
    apr_pool_t *p = session->scratch;
    const char *bearer = intune_secret_text(session->tokens[AUDIENCE_GRAPH].token,
                                            strlen(session->tokens[AUDIENCE_GRAPH].token), p);
    const char *headers[] = {
        apr_pstrcat(p, "Authorization: Bearer ", bearer, NULL),
        apr_pstrcat(p, "client-request-id: ", intune_uuid(p), NULL), "Accept: application/json",
        NULL
    };
    http_request_t request = { .method = "GET", .headers = headers };
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = intune_session_http(session, apr_pstrcat(p, connection->graph, "/",
                                                  connection->graph_version,
                                                  "/servicePrincipals/appId=", connection->intune,
                                                  "/endpoints", NULL),
                             &request, discovered, session, p, &result);
    OPENSSL_cleanse((void *)headers[0], strlen(headers[0]));
    if (rv != APR_SUCCESS) {
        fail(session, INTUNE_UNAVAILABLE, NULL, &result);
    }
}

/** What is missing first. */
static void step(intune_session_t *session)
{
    if (!session->services_pool && !has_token(session, AUDIENCE_GRAPH)) {
        fetch_token(session, AUDIENCE_GRAPH);
    }
    else if (!session->services_pool) {
        discover(session);
    }
    else if (!has_token(session, AUDIENCE_INTUNE)) {
        fetch_token(session, AUDIENCE_INTUNE);
    }
    else {
        end_prepare(session, NULL);
    }
}

void intune_session_prepare(intune_session_t *session)
{
    if (session->preparing) {
        return;
    }
    session->preparing = 1;
    session->tried = session->scope_tried = session->graph_tried = 0;
    apr_pool_create_unmanaged_ex(&session->scratch, NULL, NULL);
    step(session);
}
