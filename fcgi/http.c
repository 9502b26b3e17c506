/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "fcgi/http_private.h"
#include "pool.h"
#include "status.h"

#define CONNECT_TIMEOUT apr_time_from_sec(5)
#define TIMEOUT apr_time_from_sec(60)
#define BODY_MAX (1024 * 1024)
/** Memory of calls that have ended, kept for the next ones. */
#define KEPT_MEMORY ((apr_size_t)1024 * 1024)
#define CONNECTIONS 16

/** How often those that wait are looked at. */
#define LOOK_EVERY apr_time_from_sec(1)

/** A connection that was idle for longer is not used again: the other side, or a firewall between,
 *  may have forgotten it. In seconds. */
#define IDLE_MAX 15L

/** Longest time that a server may tell to wait. */
#define RETRY_AFTER_MAX apr_time_from_sec(3600)

static apr_status_t wipe_call(void *data)
{
    http_call_t *call = data;

    if (call->body) {
        OPENSSL_cleanse(call->body, call->length);
    }
    if (call->answer) {
        OPENSSL_cleanse(call->answer, call->answer_size);
    }
    return APR_SUCCESS;
}

static apr_status_t wipe_peer(void *data)
{
    http_peer_t *peer = data;
    http_peer_config_t *config = &peer->config;

    OPENSSL_cleanse((void *)config->credential.data, config->credential.length);
    OPENSSL_cleanse((void *)config->passphrase.data, config->passphrase.length);
    OPENSSL_cleanse((void *)config->proxy_password.data, config->proxy_password.length);
    OPENSSL_cleanse((void *)peer->proxy_password, strlen(peer->proxy_password));
    if (config->proxy) {
        OPENSSL_cleanse((void *)config->proxy, strlen(config->proxy));
    }
    return APR_SUCCESS;
}

static apr_status_t end_client(void *data)
{
    http_client_t *client = data;

    http_client_stop(client);
    curl_share_cleanup(client->share);
    return APR_SUCCESS;
}

static apr_status_t no_memory(gh_result_t *result)
{
    return gh_result_fail(result, APR_ENOMEM, GH_FAILURE_UNAVAILABLE, "http",
                          "See whether the machine is short of memory.",
                          GHNO(0807) "a call over HTTP cannot be begun");
}

apr_status_t http_client_create(http_client_t **out, CURLM *multi, const gh_log_t *log,
                                apr_pool_t *p, gh_result_t *result)
{
    http_client_t *client = apr_pcalloc(p, sizeof(*client));

    client->multi = multi;
    client->log = log;
    if (gh_pool_create_allocator(&client->allocator, KEPT_MEMORY, p) != APR_SUCCESS) {
        return no_memory(result);
    }
    client->share = curl_share_init();
    if (!client->share) {
        return no_memory(result);
    }
    /* handshakes are shortened where the server agrees */
    curl_share_setopt(client->share, CURLSHOPT_SHARE, (int)CURL_LOCK_DATA_SSL_SESSION);
    apr_pool_cleanup_register(p, client, end_client, apr_pool_cleanup_null);
    *out = client;
    return APR_SUCCESS;
}

static gh_bytes_t copy_bytes(gh_bytes_t bytes, apr_pool_t *p)
{
    gh_bytes_t copy = { NULL, bytes.length };

    if (bytes.data) {
        copy.data = apr_pmemdup(p, bytes.data, bytes.length);
    }
    return copy;
}

apr_status_t http_peer_create(http_peer_t **out, http_client_t *client,
                              const http_peer_config_t *config, apr_pool_t *p, gh_result_t *result)
{
    http_peer_t *peer = apr_pcalloc(p, sizeof(*peer));
    http_peer_config_t *copy = &peer->config;
    apr_status_t rv = http_check_url(config, result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    peer->client = client;
    *copy = *config;
    copy->name = apr_pstrdup(p, config->name);
    copy->url = apr_pstrdup(p, config->url);
    copy->credential = copy_bytes(config->credential, p);
    copy->passphrase = copy_bytes(config->passphrase, p);
    copy->alias = apr_pstrdup(p, config->alias);
    copy->trust = apr_pstrdup(p, config->trust);
    copy->proxy = apr_pstrdup(p, config->proxy);
    copy->no_proxy = apr_pstrdup(p, config->no_proxy);
    copy->proxy_user = apr_pstrdup(p, config->proxy_user);
    copy->proxy_password = copy_bytes(config->proxy_password, p);
    peer->proxy_password = apr_pstrmemdup(p, config->proxy_password.data
                                          ? (const char *)config->proxy_password.data : "",
                                          config->proxy_password.length);
    copy->connect_timeout = config->connect_timeout ? config->connect_timeout : CONNECT_TIMEOUT;
    copy->timeout = config->timeout ? config->timeout : TIMEOUT;
    copy->body_max = config->body_max ? config->body_max : BODY_MAX;
    copy->connections = config->connections > 0 ? config->connections : CONNECTIONS;
    apr_pool_cleanup_register(p, peer, wipe_peer, apr_pool_cleanup_null);
    rv = http_tls_load(peer, p, result);
    if (rv == APR_SUCCESS) {
        *out = peer;
    }
    return rv;
}

const gh_result_t *http_peer_fault(const http_peer_t *peer)
{
    apr_time_t now = apr_time_now();

    /* one that had not begun, or a clock that was wrong */
    if (peer->fault.failure == GH_FAILURE_TIME && now >= peer->credential->not_before
        && now < peer->credential->not_after) {
        return NULL;
    }
    return peer->fault.number[0] ? &peer->fault : NULL;
}

apr_time_t http_peer_not_after(const http_peer_t *peer)
{
    return peer->credential ? peer->credential->not_after : 0;
}

/* Of libcurl, within curl_multi_perform() */

static size_t take_body(char *data, size_t size, size_t count, void *baton)
{
    http_call_t *call = baton;
    apr_size_t length = size * count, wanted = call->answer_length + length;
    apr_size_t larger = call->answer_size ? call->answer_size : 4096;
    unsigned char *bytes;

    if (wanted > call->peer->config.body_max) {
        call->too_large = 1;
        return 0;
    }
    while (larger <= wanted) {
        larger *= 2;
    }
    if (larger != call->answer_size) {
        bytes = apr_palloc(call->pool, larger);
        if (call->answer) {
            memcpy(bytes, call->answer, call->answer_length);
            OPENSSL_cleanse(call->answer, call->answer_size);
        }
        call->answer = bytes;
        call->answer_size = larger;
    }
    memcpy(call->answer + call->answer_length, data, length);
    call->answer_length = wanted;
    call->answer[wanted] = '\0';
    return length;
}

/* A body is given once. libcurl repeats a request whose connection turns out to be closed, on a new
 * one; it then has none to send, and fails. */
static size_t give_body(char *buffer, size_t size, size_t count, void *baton)
{
    http_call_t *call = baton;
    apr_size_t length = call->length - call->given;

    if (!length) {
        return CURL_READFUNC_ABORT;
    }
    if (length > size * count) {
        length = size * count;
    }
    memcpy(buffer, call->body + call->given, length);
    call->given += length;
    return length;
}

/* A connection is ready; also when a request is repeated. */
static int begin_request(void *baton, char *address, char *local, int port, int local_port)
{
    http_call_t *call = baton;

    if (call->has_effect && (call->given || (!call->length && call->issued))) {
        return CURL_PREREQFUNC_ABORT;
    }
    call->surplus = http_connection_has_surplus(call, local_port);
    if (call->surplus) {
        return CURL_PREREQFUNC_ABORT;
    }
    call->given = 0;
    call->issued = 1;
    return CURL_PREREQFUNC_OK;
}

static int seek_body(void *baton, curl_off_t offset, int origin)
{
    http_call_t *call = baton;

    if (call->has_effect || origin != SEEK_SET || offset) {
        return CURL_SEEKFUNC_FAIL;
    }
    call->given = 0;
    return CURL_SEEKFUNC_OK;
}

static void set_method(http_call_t *call, const http_request_t *request)
{
    CURL *easy = call->easy;

    if (call->length || request->content_type || !strcmp(request->method, "POST")) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->length);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, give_body);
        curl_easy_setopt(easy, CURLOPT_READDATA, call);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, seek_body);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, call);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    if (!strcmp(request->method, "HEAD")) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    if (call->has_effect && !call->length) {
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    }
}

static int add_header(http_call_t *call, const char *line)
{
    struct curl_slist *list = curl_slist_append(call->headers, line);

    call->headers = list ? list : call->headers;
    return list != NULL;
}

static int set_headers(http_call_t *call, const http_request_t *request)
{
    int i;

    /* no pause before the body: it would say nothing that counts */
    if (!add_header(call, "Expect:")
        || !add_header(call, request->content_type
                       ? apr_pstrcat(call->pool, "Content-Type: ", request->content_type, NULL)
                       : "Content-Type:")) {
        return 0;
    }
    for (i = 0; request->headers && request->headers[i]; ++i) {
        if (!add_header(call, request->headers[i])) {
            return 0;
        }
    }
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
    return 1;
}

static void set_options(http_call_t *call, const http_request_t *request)
{
    const http_peer_config_t *config = &call->peer->config;
    CURL *easy = call->easy;

    curl_easy_setopt(easy, CURLOPT_URL, apr_pstrcat(call->pool, config->url, request->path, NULL));
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if CURL_AT_LEAST_VERSION(7, 87, 0)
    /* libcurl would have this thread wait for that which looks up the name, beyond any timeout:
     * while a name server is silent nothing would be done, and leases would run out */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    curl_easy_setopt(easy, CURLOPT_SHARE, call->peer->client->share);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "Gatehouse");
    /* HTTP/2 would repeat streams that were refused, and has many calls hang on one connection */
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(config->connect_timeout / 1000));
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_MAX);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, begin_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
}

/* Lists */

static void link_call(http_call_t *call)
{
    http_client_t *client = call->peer->client;

    call->next = client->calls;
    if (client->calls) {
        client->calls->previous = call;
    }
    client->calls = call;
    ++client->busy;
}

static void unlink_call(http_call_t *call)
{
    http_client_t *client = call->peer->client;

    if (call->previous) {
        call->previous->next = call->next;
    }
    else {
        client->calls = call->next;
    }
    if (call->next) {
        call->next->previous = call->previous;
    }
    --client->busy;
}

static void free_call(http_call_t *call)
{
    struct curl_slist *header;

    curl_easy_cleanup(call->easy);
    http_tls_forget(call);
    for (header = call->headers; header; header = header->next) {
        OPENSSL_cleanse(header->data, strlen(header->data));
    }
    curl_slist_free_all(call->headers);
    apr_pool_destroy(call->pool);
}

static int run_call(http_call_t *call)
{
    apr_interval_time_t left = call->timeout - (apr_time_now() - call->begun);

    if (left < call->timeout / HTTP_WAIT_SHARE || left > call->timeout) {
        left = call->timeout / HTTP_WAIT_SHARE;      /* somebody has set the clock */
    }
    curl_easy_setopt(call->easy, CURLOPT_TIMEOUT_MS, (long)(left / 1000));
    if (curl_multi_add_handle(call->peer->client->multi, call->easy) != CURLM_OK) {
        return 0;
    }
    call->running = 1;
    ++call->peer->running;
    return 1;
}

apr_status_t http_call(http_peer_t *peer, const http_request_t *request, http_done_fn *done,
                       void *baton, gh_result_t *result)
{
    http_call_t *call;
    apr_pool_t *pool;
    apr_status_t rv;

    if (http_peer_fault(peer)) {
        if (result) {
            *result = peer->fault;
        }
        return peer->fault.status;
    }
    rv = apr_pool_create_unmanaged_ex(&pool, NULL, peer->client->allocator);
    if (rv != APR_SUCCESS || peer->client->stopped) {
        if (rv == APR_SUCCESS) {
            apr_pool_destroy(pool);
        }
        return no_memory(result);
    }
    call = apr_pcalloc(pool, sizeof(*call));
    call->pool = pool;
    call->peer = peer;
    call->done = done;
    call->baton = baton;
    call->begun = apr_time_now();
    call->timeout = request->timeout ? request->timeout : peer->config.timeout;
    call->has_effect = request->has_effect;
    call->easy = curl_easy_init();
    if (request->body.length) {
        call->body = apr_pmemdup(pool, request->body.data, request->body.length);
        call->length = request->body.length;
    }
    apr_pool_cleanup_register(pool, call, wipe_call, apr_pool_cleanup_null);
    if (!call->easy || !set_headers(call, request)) {
        free_call(call);
        return no_memory(result);
    }
    set_method(call, request);
    set_options(call, request);
    http_tls_prepare(call);
    http_connections_prepare(call);
    if (peer->running >= peer->config.connections) {
        http_push_waiting(call);
    }
    else if (!run_call(call)) {
        free_call(call);
        return no_memory(result);
    }
    link_call(call);
    return APR_SUCCESS;
}

/* The end of a call */

static const char *words(const http_call_t *call, CURLcode code)
{
    return call->error[0] ? call->error : curl_easy_strerror(code);
}

static void judge(http_call_t *call, CURLcode code, http_answer_t *answer)
{
    const char *name = call->peer->config.name;

    answer->sent = call->length ? call->given > 0 : call->issued;
    if (code == CURLE_OK) {
        answer->outcome = HTTP_ANSWERED;
        return;
    }
    if (call->too_large) {
        answer->outcome = HTTP_UNKNOWN;
        gh_result_fail(&answer->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "http.answer",
                       "See what answers there.",
                       GHNO(0805) "%s: the answer has more than %lu bytes", name,
                       (unsigned long)call->peer->config.body_max);
        return;
    }
    answer->unwelcome = http_tls_refused(call);
    if (answer->unwelcome) {
        answer->sent = 0;
    }
    if (!answer->sent) {
        answer->outcome = HTTP_NOT_SENT;
        gh_result_fail(&answer->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "http.connect",
                       "See whether the server is up and reachable from here, whether its "
                       "certificate is trusted, and whether it accepts ours.",
                       GHNO(0803) "%s cannot be reached: %s", name, words(call, code));
        return;
    }
    answer->outcome = HTTP_UNKNOWN;
    gh_result_fail(&answer->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "http.answer",
                   "See whether the server is overloaded.",
                   GHNO(0804) "%s has not answered, or not to the end: %s", name,
                   words(call, code));
}

static void read_answer(http_call_t *call, http_answer_t *answer)
{
    curl_off_t seconds = 0;
    char *type = NULL;

    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, &type);
    curl_easy_getinfo(call->easy, CURLINFO_RETRY_AFTER, &seconds);
    answer->content_type = type;
    answer->date = http_date(call);
    answer->body.data = call->answer ? call->answer : (const unsigned char *)"";
    answer->body.length = call->answer_length;
    if (seconds > 0) {
        answer->retry_after = apr_time_now()
            + (seconds > apr_time_sec(RETRY_AFTER_MAX) ? RETRY_AFTER_MAX
                                                       : apr_time_from_sec(seconds));
    }
}

static void start_waiting(http_peer_t *peer);

static void end_call(http_call_t *call, CURLcode code, int stopped)
{
    http_peer_t *peer = call->peer;
    http_answer_t answer;

    memset(&answer, 0, sizeof(answer));
    gh_result_clear(&answer.result);
    answer.duration = apr_time_now() - call->begun;
    read_answer(call, &answer);
    judge(call, code, &answer);
    if (stopped) {
        answer.outcome = HTTP_STOPPED;
        gh_result_fail(&answer.result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "http.stop",
                       "None: it is taken up again.",
                       GHNO(0806) "%s: the call was given up, since this worker ends",
                       peer->config.name);
    }
    if (call->running) {
        curl_multi_remove_handle(peer->client->multi, call->easy);
        --peer->running;
    }
    unlink_call(call);
    ERR_clear_error();              /* this thread's next user of OpenSSL shall not find them */
    call->done(call->baton, &answer);
    free_call(call);
    if (!stopped) {
        start_waiting(peer);
    }
}

static void start_waiting(http_peer_t *peer)
{
    http_call_t *call;

    while (peer->running < peer->config.connections && (call = http_pop_waiting(peer)) != NULL) {
        if (http_is_late(call)) {
            end_call(call, CURLE_OPERATION_TIMEDOUT, 0);
        }
        else if (!run_call(call)) {
            end_call(call, CURLE_OUT_OF_MEMORY, 0);
            return;
        }
    }
}

/** Over a new connection, if nothing was sent over the old one. */
static int repeat_call(http_call_t *call)
{
    CURLM *multi = call->peer->client->multi;

    if (!call->surplus || call->given || call->peer->client->stopped) {
        return 0;
    }
    call->surplus = 0;
    call->issued = 0;
    call->error[0] = '\0';
    curl_multi_remove_handle(multi, call->easy);
    curl_easy_setopt(call->easy, CURLOPT_FRESH_CONNECT, 1L);
    return curl_multi_add_handle(multi, call->easy) == CURLM_OK;
}

static void end_late(http_client_t *client, apr_time_t now)
{
    http_call_t *call;

    if (client->looked && now - client->looked < LOOK_EVERY && now >= client->looked) {
        return;
    }
    client->looked = now;
    while ((call = http_find_late(client, now)) != NULL) {
        apr_cpystrn(call->error, "no connection to it has become free in time",
                    sizeof(call->error));
        http_drop_waiting(call);
        end_call(call, CURLE_OPERATION_TIMEDOUT, 0);
    }
}

void http_client_finish(http_client_t *client)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        http_call_t *call = NULL;

        if (message->msg == CURLMSG_DONE) {
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
            if (!repeat_call(call)) {
                end_call(call, code, 0);
            }
        }
    }
    end_late(client, apr_time_now());
}

int http_client_busy(const http_client_t *client)
{
    return client->busy;
}

void http_client_stop(http_client_t *client)
{
    client->stopped = 1;
    while (client->calls) {
        http_peer_t *peer = client->calls->peer;

        peer->first = peer->last = NULL;
        end_call(client->calls, CURLE_ABORTED_BY_CALLBACK, 1);
    }
}
