/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The thread of a child that takes up what is new: indexes, changes in the store, signers. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <httpd.h>
#include <http_log.h>
#include <apr_atomic.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>

#include "log.h"
#include "mod_ocsp/ocsp_child.h"

APLOG_USE_MODULE(ocsp);

/** Between two rounds pass between INTERVAL and INTERVAL + JITTER milliseconds. */
#define INTERVAL 150
#define JITTER 100

/** The same failure is logged again after this time. */
#define SILENCE apr_time_from_sec(60)

/** How long the end of a process waits for the thread, which may be waiting for store or token.
 *  httpd's parent kills a child after nine seconds. */
#define PATIENCE apr_time_from_sec(7)

/** Of one authority. */
typedef struct {
    const ocsp_section_t *section;
    struct {
        int failing;
        apr_time_t reported;
    } view, signers;
} followed_t;

typedef struct {
    ocsp_child_t *child;
    apr_thread_t *thread;
    int wake[2];                    /* a byte in this pipe ends the pause between rounds */
    volatile apr_uint32_t stop;
    volatile apr_uint32_t ended;
    followed_t *followed;
    int count;
} follower_t;

static void report(const follower_t *follower, const followed_t *followed, int *failing,
                   apr_time_t *reported, const char *what, apr_status_t rv,
                   const gh_result_t *result, apr_pool_t *ptemp)
{
    server_rec *s = follower->child->server;
    apr_time_t now = apr_time_now();
    const char *text, *colon;
    int number;

    if (rv == APR_SUCCESS) {
        if (*failing) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, GHNO(0934) "authority %s: %s works again",
                         followed->section->name, what);
        }
        *failing = 0;
        return;
    }
    if (!*failing || now - *reported >= SILENCE || now < *reported) {
        text = ocsp_explain(result, rv, ptemp);
        colon = strstr(text, ": ");
        number = colon ? (int)(colon + 2 - text) : 0;
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "%.*sauthority %s: %s: %s", number, text,
                     followed->section->name, what, text + number);
        *reported = now;
    }
    *failing = 1;
}

static void follow_one(follower_t *follower, followed_t *followed, apr_pool_t *ptemp)
{
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = ocsp_follow_view(follower->child, followed->section, 1, ptemp, &result);
    report(follower, followed, &followed->view.failing, &followed->view.reported,
           "following its source", rv, &result, ptemp);
    apr_pool_clear(ptemp);
    gh_result_clear(&result);
    rv = ocsp_follow_signers(follower->child, followed->section, ptemp, &result);
    /* Signers tell what begins to fail and what works again, once they have a log. */
    if (!ocsp_gatehouse()->service()) {
        report(follower, followed, &followed->signers.failing, &followed->signers.reported,
               "having a signer", rv, &result, ptemp);
    }
    apr_pool_clear(ptemp);
}

static void *APR_THREAD_FUNC follow(apr_thread_t *thread, void *data)
{
    follower_t *follower = data;
    struct pollfd woken = { .fd = follower->wake[0], .events = POLLIN };
    char bytes[64];
    apr_pool_t *ptemp;
    int i;

    apr_pool_create(&ptemp, follower->child->pool);
    while (!apr_atomic_read32(&follower->stop)) {
        for (i = 0; i < follower->count && !apr_atomic_read32(&follower->stop); ++i) {
            follow_one(follower, &follower->followed[i], ptemp);
        }
        if (poll(&woken, 1, INTERVAL + (int)(apr_time_now() % JITTER)) > 0) {
            while (read(woken.fd, bytes, sizeof(bytes)) > 0) {
                continue;
            }
        }
    }
    apr_pool_destroy(ptemp);
    apr_atomic_set32(&follower->ended, 1);
    return NULL;
}

/* Runs before anything in the pool is closed, with prefork within a signal handler. A thread that
 * still waits for a store or token out of reach must not keep the process. */
static apr_status_t stop(void *data)
{
    follower_t *follower = data;
    apr_time_t begin = apr_time_now();
    apr_status_t rv;

    apr_atomic_set32(&follower->stop, 1);
    while (write(follower->wake[1], "", 1) < 0 && errno == EINTR) {
        continue;
    }
    while (!apr_atomic_read32(&follower->ended)) {
        if (apr_time_now() - begin > PATIENCE) {
            _exit(0);
        }
        apr_sleep(apr_time_from_msec(2));
    }
    apr_thread_join(&rv, follower->thread);
    close(follower->wake[0]);
    close(follower->wake[1]);
    return APR_SUCCESS;
}

apr_status_t ocsp_follower_start(ocsp_child_t *child)
{
    follower_t *follower = apr_pcalloc(child->pool, sizeof(*follower));
    apr_status_t rv;
    int i;

    follower->child = child;
    follower->count = child->config->sections->nelts;
    follower->followed = apr_pcalloc(child->pool, (apr_size_t)follower->count
                                     * sizeof(*follower->followed));
    for (i = 0; i < follower->count; ++i) {
        follower->followed[i].section = APR_ARRAY_IDX(child->config->sections, i,
                                                      ocsp_section_t *);
    }
    if (pipe2(follower->wake, O_CLOEXEC | O_NONBLOCK)) {
        return errno;
    }
    rv = apr_thread_create(&follower->thread, NULL, follow, follower, child->pool);
    if (rv != APR_SUCCESS) {
        close(follower->wake[0]);
        close(follower->wake[1]);
        return rv;
    }
    apr_pool_pre_cleanup_register(child->pool, follower, stop);
    return APR_SUCCESS;
}
