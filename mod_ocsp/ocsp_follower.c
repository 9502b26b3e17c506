/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The threads of a child that take up what is new: indexes, changes in the store, signers. Each of
 * these has one, so that a store or token that does not answer keeps nothing else from being known:
 * a CA that is known by its CRLs goes on to be, whatever becomes of the store. */

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
#include "status/view.h"

APLOG_USE_MODULE(ocsp);

/** Between two rounds pass between INTERVAL and INTERVAL + JITTER milliseconds. */
#define INTERVAL 150
#define JITTER 100

/** The same failure is logged again after this time. */
#define SILENCE apr_time_from_sec(60)

/** For so long nothing is said of an index that the feeder may still be making. */
#define GRACE apr_time_from_sec(10)

/** How long the end of a process waits for the thread, which may be waiting for store or token.
 *  httpd's parent kills a child after nine seconds. */
#define PATIENCE apr_time_from_sec(7)

typedef enum { WORK_FILES, WORK_STORE, WORK_SIGNERS } work_t;
#define WORKS 3

/** Of one authority. */
typedef struct {
    const ocsp_section_t *section;
    int failing;
    apr_time_t reported;
} followed_t;

typedef struct {
    ocsp_child_t *child;
    work_t work;
    apr_thread_t *thread;
    int wake[2];                    /* a byte in this pipe ends the pause between rounds */
    volatile apr_uint32_t stop;
    volatile apr_uint32_t ended;
    apr_time_t began;
    followed_t *followed;
    int count;
} follower_t;

typedef struct {
    follower_t each[WORKS];
    int count;                      /* of those that run */
} followers_t;

static void report(const follower_t *follower, followed_t *followed, apr_status_t rv,
                   const gh_result_t *result, apr_pool_t *ptemp)
{
    const char *what = follower->work == WORK_SIGNERS ? "having a signer"
        : "following its source";
    server_rec *s = follower->child->server;
    apr_time_t now = apr_time_now();
    const char *text, *colon;
    int number;

    if (rv == APR_SUCCESS) {
        if (followed->failing) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s, GHNO(0760) "authority %s: %s works again",
                         followed->section->name, what);
        }
        followed->failing = 0;
        return;
    }
    if (!followed->failing || now - followed->reported >= SILENCE || now < followed->reported) {
        text = ocsp_explain(result, rv, ptemp);
        colon = strstr(text, ": ");
        number = colon ? (int)(colon + 2 - text) : 0;
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "%.*sauthority %s: %s: %s", number, text,
                     followed->section->name, what, text + number);
        followed->reported = now;
    }
    followed->failing = 1;
}

/** What somebody else sees to, or says. */
static int is_nothing_to_report(const follower_t *follower, const followed_t *followed)
{
    apr_time_t now = apr_time_now();
    gh_view_state_t state;

    if (follower->work == WORK_SIGNERS) {
        /* Signers tell what begins to fail and what works again, once they have a log. */
        return ocsp_gatehouse()->service() != NULL;
    }
    gh_view_state(ocsp_authority_view(followed->section->authority), &state);
    return !state.there && now >= follower->began && now - follower->began < GRACE;
}

static void follow_one(follower_t *follower, followed_t *followed, apr_pool_t *ptemp)
{
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    rv = follower->work == WORK_SIGNERS
        ? ocsp_follow_signers(follower->child, followed->section, ptemp, &result)
        : ocsp_follow_view(follower->child, followed->section, follower->work == WORK_STORE, ptemp,
                           &result);
    if (rv == APR_SUCCESS || !is_nothing_to_report(follower, followed)) {
        report(follower, followed, rv, &result, ptemp);
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

static void close_pipe(const follower_t *follower)
{
    close(follower->wake[0]);
    close(follower->wake[1]);
}

/* Runs before anything in the pool is closed, with prefork within a signal handler. A thread that
 * still waits for a store or token out of reach must not keep the process. */
static apr_status_t stop(void *data)
{
    followers_t *followers = data;
    apr_time_t begin = apr_time_now();
    apr_status_t rv;
    int i;

    for (i = 0; i < followers->count; ++i) {
        apr_atomic_set32(&followers->each[i].stop, 1);
        while (write(followers->each[i].wake[1], "", 1) < 0 && errno == EINTR) {
            continue;
        }
    }
    for (i = 0; i < followers->count; ++i) {
        while (!apr_atomic_read32(&followers->each[i].ended)) {
            if (apr_time_now() - begin > PATIENCE) {
                _exit(0);
            }
            apr_sleep(apr_time_from_msec(2));
        }
        apr_thread_join(&rv, followers->each[i].thread);
        close_pipe(&followers->each[i]);
    }
    followers->count = 0;
    return APR_SUCCESS;
}

static int concerns(const ocsp_section_t *section, work_t work)
{
    return work == WORK_SIGNERS || (section->kind == GH_SOURCE_STORE) == (work == WORK_STORE);
}

/** Starts the thread of one kind of work, if there is any. */
static apr_status_t start(followers_t *followers, ocsp_child_t *child, work_t work)
{
    follower_t *follower = &followers->each[followers->count];
    apr_array_header_t *sections = child->config->sections;
    apr_status_t rv;
    int i;

    follower->child = child;
    follower->began = apr_time_now();
    follower->work = work;
    follower->count = 0;
    follower->followed = apr_pcalloc(child->pool, (apr_size_t)sections->nelts
                                     * sizeof(*follower->followed));
    for (i = 0; i < sections->nelts; ++i) {
        const ocsp_section_t *section = APR_ARRAY_IDX(sections, i, ocsp_section_t *);

        if (concerns(section, work)) {
            follower->followed[follower->count++].section = section;
        }
    }
    if (!follower->count) {
        return APR_SUCCESS;
    }
    if (pipe2(follower->wake, O_CLOEXEC | O_NONBLOCK)) {
        return errno;
    }
    rv = apr_thread_create(&follower->thread, NULL, follow, follower, child->pool);
    if (rv != APR_SUCCESS) {
        close_pipe(follower);
        return rv;
    }
    ++followers->count;
    return APR_SUCCESS;
}

apr_status_t ocsp_follower_start(ocsp_child_t *child)
{
    followers_t *followers = apr_pcalloc(child->pool, sizeof(*followers));
    apr_status_t rv = APR_SUCCESS;
    work_t work;

    apr_pool_pre_cleanup_register(child->pool, followers, stop);
    for (work = WORK_FILES; work < WORKS && rv == APR_SUCCESS; ++work) {
        rv = start(followers, child, work);
    }
    return rv;
}
