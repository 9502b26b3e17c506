/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#ifndef fcgi_listener_h
#define fcgi_listener_h

#include <apr_pools.h>
#include <apr_time.h>
#include <fcgiapp.h>

#include "result.h"
#include "worker.h"

/*
 * FastCGI requests on standard input, which is a socket that listens. Threads accept and read them;
 * the loop gets and answers them, so that thousands may wait for an answer.
 *
 *     /enrolments/ID?wait=MS[&issuer=QUEUE]
 */

typedef struct listener listener_t;

#define LISTENER_NAME_MAX 64
/** Of a queue: two names with a colon between them, or one. */
#define LISTENER_QUEUE_MAX (2 * LISTENER_NAME_MAX + 1)

typedef struct listener_request listener_request_t;
struct listener_request {
    FCGX_Request fcgi;
    char id[LISTENER_NAME_MAX + 1];
    char queue[LISTENER_QUEUE_MAX + 1];     /* named by issuer=; empty: not said */
    apr_interval_time_t wait;
    int answered;
    void *owner;                    /* these are for whoever has it */
    listener_request_t *previous;
    listener_request_t *next;
};

/** HTTP statuses. */
typedef enum {
    LISTENER_OVER = 200,            /* something has come of it */
    LISTENER_LATER = 202,           /* the time has passed, or nothing comes of it soon */
    LISTENER_NOT_HERE = 404         /* this process does not work on it */
} listener_answer_t;

/**
 * Starts the threads, which end when the worker is asked to end.
 * @param wake called on them when there is a request
 * @param listener NULL if standard input is no socket that listens
 */
apr_status_t listener_start(listener_t **listener, const gh_worker_t *worker,
                            void (*wake)(void *baton), void *baton, apr_pool_t *p,
                            gh_result_t *result);

/** The next request, or NULL. */
listener_request_t *listener_next(listener_t *listener);

/** Answers; does not block. The request's memory stays until listener_free(). */
void listener_answer(listener_request_t *request, listener_answer_t answer);
void listener_free(listener_request_t *request);

/**
 * Takes apart path and query. @return 0 if they are no request to wait for a job
 */
int listener_parse(listener_request_t *request, const char *path, const char *query);

#endif /* fcgi_listener_h */
