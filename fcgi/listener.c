/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "log.h"
#include "text.h"

/** Threads that accept. Each reads one request at a time, which httpd sends in one piece. */
#define THREADS 2

/** Longest wait, in milliseconds. */
#define WAIT_MAX 600000L

/** For what httpd has to say besides, which is nothing; in seconds. */
#define BODY_WAIT 5

#define PATH_PREFIX "/enrolments/"

struct listener {
    const gh_worker_t *worker;
    pthread_mutex_t mutex;
    listener_request_t *first;
    listener_request_t *last;
    void (*wake)(void *baton);
    void *baton;
};

static int take_name(char *name, const char *text, apr_size_t length)
{
    if (length == 0 || length > LISTENER_NAME_MAX) {
        return 0;
    }
    memcpy(name, text, length);
    name[length] = '\0';
    return gh_name_valid(name);
}

static int take_queue(char *queue, const char *text, apr_size_t length)
{
    char name[LISTENER_NAME_MAX + 1];
    const char *colon = memchr(text, ':', length);
    apr_size_t first = colon ? (apr_size_t)(colon - text) : length;

    if (!take_name(name, text, first)
        || (colon && !take_name(name, colon + 1, length - first - 1))) {
        return 0;
    }
    memcpy(queue, text, length);
    queue[length] = '\0';
    return 1;
}

static int take_wait(listener_request_t *request, const char *text, apr_size_t length)
{
    long value = 0;
    apr_size_t i;

    for (i = 0; i < length; ++i) {
        if (text[i] < '0' || text[i] > '9' || value > WAIT_MAX) {
            return 0;
        }
        value = 10 * value + (text[i] - '0');
    }
    request->wait = apr_time_from_msec(value < WAIT_MAX ? value : WAIT_MAX);
    return length > 0;
}

int listener_parse(listener_request_t *request, const char *path, const char *query)
{
    request->wait = 0;
    request->queue[0] = '\0';
    if (!path || strncmp(path, PATH_PREFIX, strlen(PATH_PREFIX))
        || !take_name(request->id, path + strlen(PATH_PREFIX),
                      strlen(path + strlen(PATH_PREFIX)))) {
        return 0;
    }
    while (query && *query) {
        apr_size_t length = strcspn(query, "&");

        if (!strncmp(query, "wait=", 5)) {
            if (!take_wait(request, query + 5, length - 5)) {
                return 0;
            }
        }
        else if (length < 7 || strncmp(query, "issuer=", 7)
                 || !take_queue(request->queue, query + 7, length - 7)) {
            return 0;
        }
        query += length + (query[length] == '&');
    }
    return 1;
}

void listener_answer(listener_request_t *request, listener_answer_t answer)
{
    if (request->answered) {
        return;
    }
    request->answered = 1;
    FCGX_FPrintF(request->fcgi.out, "Status: %d\r\nContent-Type: text/plain\r\n\r\n", (int)answer);
    /* a connection is for one request: a thread would have to wait for the next one. Without
     * FCGX_Detach() the end of the connection is waited for. */
    request->fcgi.keepConnection = 0;
    FCGX_Detach(&request->fcgi);
    FCGX_Finish_r(&request->fcgi);
}

void listener_free(listener_request_t *request)
{
    free(request);
}

static void hand_over(listener_t *listener, listener_request_t *request)
{
    pthread_mutex_lock(&listener->mutex);
    request->next = NULL;
    if (listener->last) {
        listener->last->next = request;
    }
    else {
        listener->first = request;
    }
    listener->last = request;
    pthread_mutex_unlock(&listener->mutex);
    listener->wake(listener->baton);
}

listener_request_t *listener_next(listener_t *listener)
{
    listener_request_t *request;

    pthread_mutex_lock(&listener->mutex);
    request = listener->first;
    if (request) {
        listener->first = request->next;
        listener->last = listener->first ? listener->last : NULL;
        request->next = NULL;
    }
    pthread_mutex_unlock(&listener->mutex);
    return request;
}

/* Waits for a connection or for the end. @return 0 at the end */
static int wait_for_connection(const listener_t *listener)
{
    struct pollfd both[2] = {
        { .fd = STDIN_FILENO, .events = POLLIN },
        { .fd = gh_worker_stop_descriptor(listener->worker), .events = POLLIN }
    };

    while (poll(both, 2, -1) < 0 && errno == EINTR) {
    }
    return !gh_worker_stopping(listener->worker);
}

/* mod_proxy_fcgi gives PATH_INFO where it was told to, and SCRIPT_NAME otherwise, with the path to
 * which the socket is mapped. */
static const char *path_of(const FCGX_Request *fcgi)
{
    const char *path = FCGX_GetParam("PATH_INFO", fcgi->envp);

    if (!path || !*path) {
        path = FCGX_GetParam("SCRIPT_NAME", fcgi->envp);
        path = path ? strstr(path, PATH_PREFIX) : NULL;
    }
    return path;
}

/* What has not been read when a socket is closed would have the other side lose the answer. Here,
 * since the loop must not wait for anybody; and whoever sends nothing is not waited for long. */
static void read_body(listener_request_t *request)
{
    struct timeval most = { .tv_sec = BODY_WAIT };
    char nothing[256];

    setsockopt(request->fcgi.ipcFd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
    while (FCGX_GetStr(nothing, (int)sizeof(nothing), request->fcgi.in) == (int)sizeof(nothing)) {
    }
}

static void *accept_requests(void *baton)
{
    listener_t *listener = baton;
    listener_request_t *request = NULL;

    while (wait_for_connection(listener)) {
        if (!request) {
            request = calloc(1, sizeof(*request));
        }
        if (!request || FCGX_InitRequest(&request->fcgi, STDIN_FILENO,
                                         FCGI_FAIL_ACCEPT_ON_INTR)) {
            gh_worker_sleep(listener->worker, apr_time_from_msec(100));
            continue;
        }
        /* another thread or process may have been faster; short of descriptors, too */
        if (FCGX_Accept_r(&request->fcgi) < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                gh_worker_sleep(listener->worker, apr_time_from_msec(10));
            }
            continue;
        }
        read_body(request);
        if (listener_parse(request, path_of(&request->fcgi),
                           FCGX_GetParam("QUERY_STRING", request->fcgi.envp))) {
            hand_over(listener, request);
            request = NULL;
        }
        else {
            listener_answer(request, LISTENER_NOT_HERE);
            memset(request, 0, sizeof(*request));
        }
    }
    free(request);
    return NULL;
}

static int is_listening(int descriptor)
{
    socklen_t length = sizeof(int);
    int listens = 0;

    return getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
}

apr_status_t listener_start(listener_t **out, const gh_worker_t *worker, void (*wake)(void *baton),
                            void *baton, apr_pool_t *p, gh_result_t *result)
{
    listener_t *listener = apr_pcalloc(p, sizeof(*listener));
    pthread_t thread;
    int error = 0, i;

    *out = NULL;
    if (!is_listening(STDIN_FILENO)) {
        return APR_SUCCESS;
    }
    listener->worker = worker;
    listener->wake = wake;
    listener->baton = baton;
    /* who is told of a connection that another has taken must not wait for the next one */
    if (FCGX_Init()
        || fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK) < 0) {
        error = errno ? errno : EINVAL;
    }
    if (!error) {
        error = pthread_mutex_init(&listener->mutex, NULL);
    }
    for (i = 0; !error && i < THREADS; ++i) {
        error = pthread_create(&thread, NULL, accept_requests, listener);
        if (!error) {
            pthread_detach(thread);
        }
    }
    if (error) {
        return gh_result_fail(result, error, GH_FAILURE_UNAVAILABLE, "worker",
                              "See whether the machine is short of memory or threads.",
                              GHNO(0809) "the worker cannot listen for what httpd tells it");
    }
    *out = listener;
    return APR_SUCCESS;
}
