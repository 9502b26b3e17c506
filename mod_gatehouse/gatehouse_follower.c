/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The thread of a child that follows the store: what operators and other processes have written
 * there takes effect here within a second. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <httpd.h>
#include <http_log.h>
#include <apr_atomic.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>

#include "escrow/flow.h"
#include "gatehouse_child.h"
#include "gatehouse_memory.h"
#include "gatehouse_remote.h"
#include "issuer/remote.h"
#include "issuer/renewal.h"
#include "log.h"
#include "status.h"
#include "store/challenges.h"
#include "store/mdm_requests.h"
#include "store/housekeeping.h"

APLOG_USE_MODULE(gatehouse);

/** Between two rounds pass between INTERVAL and INTERVAL + JITTER milliseconds. */
#define INTERVAL 150
#define JITTER 100

/** The same failure is logged again after this time. */
#define SILENCE apr_time_from_sec(60)

/** How long the end of a process waits for the thread, which may be waiting for the store. */
#define PATIENCE apr_time_from_sec(2)

/** The same while it opens a token: some modules write to the token then, and one left half written
 *  is lost. httpd's parent kills a child after nine seconds. */
#define PATIENCE_TOKEN apr_time_from_sec(7)

/** How often memory that is free goes back to the system. */
#define TRIM_INTERVAL apr_time_from_sec(30)

#define PURGE_INTERVAL apr_time_from_sec(60)

/** Challenges stay for a day after they have expired, so that one can see what became of them. */
#define CHALLENGE_KEPT apr_time_from_sec(86400)

/** What has expired of the escrow goes in rounds: rows of each, and how long one should take, as it
 *  keeps others from writing. */
#define CLEAN_MOST 500
#define CLEAN_LEAST 20
#define CLEAN_TIME apr_time_from_msec(100)

/** The thread has other things to do, too: after this time it comes back to it later. */
#define CLEAN_PASS apr_time_from_msec(500)

#define AUDIT_BATCH 100

typedef struct follower follower_t;

typedef struct {
    const char *what;
    apr_status_t (*run)(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result);
    int failing;
    apr_time_t reported;
} job_t;

/** What another module does in the thread. */
typedef struct {
    job_t job;
    gatehouse_round_fn *fn;
} round_t;

static apr_array_header_t *rounds;  /* round_t; lives in pconf */

enum {
    JOB_PREPARE, JOB_OPEN, JOB_READ,    /* while one of these fails, the others would fail too */
    JOB_ISSUERS,
    JOB_AUDIT,                          /* a decision is logged before what follows from it */
    JOB_APPROVED, JOB_RENEWALS, JOB_CRLS, JOB_COUNT, JOB_CREDENTIALS, JOB_PURGE, JOB_TRIM,
    JOBS
};

struct follower {
    gatehouse_child_t *child;
    apr_thread_t *thread;
    int wake[2];                    /* a byte in this pipe ends the pause between rounds */
    volatile apr_uint32_t stop;
    volatile apr_uint32_t ended;
    volatile apr_uint32_t lagging;  /* CRLs of other processes do not arrive here */
    apr_int64_t unlogged;           /* lines that wait for being logged */
    apr_time_t purge_next;
    int cleaning;                   /* there was more than one pass could do */
    int clean_limit;                /* rows of the next round of it */
    apr_time_t trim_next;
    job_t jobs[JOBS];
    apr_array_header_t *rounds;     /* round_t, of this process */
};

static apr_status_t forget_rounds(void *data)
{
    rounds = NULL;
    return APR_SUCCESS;
}

void gatehouse_register_round(const char *what, gatehouse_round_fn *fn, apr_pool_t *pconf)
{
    round_t *round;

    if (!rounds) {
        rounds = apr_array_make(pconf, 2, sizeof(round_t));
        apr_pool_cleanup_register(pconf, NULL, forget_rounds, apr_pool_cleanup_null);
    }
    round = apr_array_push(rounds);
    memset(round, 0, sizeof(*round));
    round->job.what = what;
    round->fn = fn;
}

static apr_status_t prepare_store(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    return gatehouse_child_prepare(follower->child, ptemp, result);
}

static follower_t *running;         /* of this process */

static apr_status_t open_store(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    return gatehouse_child_open(follower->child, result);
}

static apr_status_t count_lines(gh_transaction_t *transaction, void *baton)
{
    return gh_audit_count_unlogged(transaction, baton);
}

/* The one look at the store that every round has: is it there, and are there lines to be logged? */
static apr_status_t read_store(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    return gh_store_read(follower->child->service.store, count_lines, &follower->unlogged, result);
}

static apr_status_t start_issuers(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    return gatehouse_child_issuers(follower->child, result);
}

static apr_status_t count_jobs(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    return gatehouse_jobs_count(follower->child->service.store, ptemp, result);
}

static apr_status_t renew_credentials(follower_t *follower, apr_pool_t *ptemp,
                                      gh_result_t *result)
{
    return gatehouse_credentials_renew(follower->child, ptemp, result);
}

static apr_status_t issue_approved(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    apr_array_header_t *events = NULL;
    apr_status_t rv;
    int i;

    rv = gh_ledger_issue_approved(follower->child->service.ledger, &events, ptemp, result);
    for (i = 0; events && i < events->nelts; ++i) {
        gatehouse_audit(APR_ARRAY_IDX(events, i, gh_audit_event_t *), ptemp);
    }
    return rv;
}

/* Old certificates that renewals have replaced, once the time for it has come. */
static apr_status_t revoke_renewed(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    const gatehouse_service_t *service = &follower->child->service;
    apr_array_header_t *events = NULL;
    apr_status_t rv;
    int i;

    rv = gh_renewal_revoke_due(service->store, service->node, &events, ptemp, result);
    for (i = 0; rv == APR_SUCCESS && i < events->nelts; ++i) {
        const gh_audit_event_t *event = APR_ARRAY_IDX(events, i, gh_audit_event_t *);

        ap_log_error(APLOG_MARK, APLOG_INFO, 0, follower->child->server, GHNO(0438) "certificate "
                     "%s of issuer %s was revoked: %s", event->serial, event->issuer,
                     event->message);
        gatehouse_audit(event, ptemp);
    }
    return rv;
}

static apr_status_t publish_crls(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    return gh_publisher_run(follower->child->service.publisher, result);
}

typedef struct {
    apr_array_header_t *lines;
    apr_pool_t *pool;
} take_t;

static apr_status_t take_lines(gh_transaction_t *transaction, void *baton)
{
    take_t *take = baton;

    return gh_audit_take_unlogged(transaction, AUDIT_BATCH, &take->lines, take->pool);
}

/* Without an audit log the lines stay where they are, for one that is configured later. */
static apr_status_t log_decisions(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    take_t take = { NULL, ptemp };
    apr_status_t rv;
    int i;

    if (!gatehouse_audit_is_open() || follower->unlogged == 0) {
        return APR_SUCCESS;
    }
    rv = gh_store_write(follower->child->service.store, take_lines, &take, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (i = 0; i < take.lines->nelts; ++i) {
        const char *line = APR_ARRAY_IDX(take.lines, i, const char *);
        apr_size_t length = strlen(line);

        gatehouse_audit_write(length && line[length - 1] == '\n'
                              ? line : apr_pstrcat(ptemp, line, "\n", NULL));
    }
    return APR_SUCCESS;
}

typedef struct {
    const char *holder;
    apr_time_t before;
    apr_time_t now;
    int cleaning;
    int limit;
    int more;
    apr_pool_t *pool;
} purge_t;

/* One process of all nodes does it: the lease is not given back, so it lasts for the interval. */
static apr_status_t purge(gh_transaction_t *transaction, void *baton)
{
    const purge_t *purge = baton;
    apr_status_t rv;

    rv = gh_lease_take(transaction, "challenge-purge", purge->holder, PURGE_INTERVAL);
    if (rv != APR_SUCCESS || purge->cleaning) {
        return rv;
    }
    rv = gh_challenge_purge(transaction, purge->before, NULL);
    if (rv == APR_SUCCESS) {
        rv = gh_mdm_request_purge(transaction, purge->before, purge->now);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_remote_purge(transaction, purge->now, purge->pool);
    }
    return rv == APR_SUCCESS ? gh_escrow_forget(transaction, purge->now) : rv;
}

static apr_status_t clean(gh_transaction_t *transaction, void *baton)
{
    purge_t *purge = baton;

    return gh_escrow_clean(transaction, purge->now, purge->limit, &purge->more,
                           purge->pool);
}

static apr_time_t steady_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

/* Between two rounds others have as much time to write as one of them took. */
static apr_status_t clean_escrow(follower_t *follower, purge_t *purge, gh_result_t *result)
{
    apr_time_t begin = steady_now();
    apr_time_t last = begin;
    apr_status_t rv;

    do {
        apr_interval_time_t took;

        purge->limit = follower->clean_limit ? follower->clean_limit : CLEAN_MOST;
        purge->more = 0;
        rv = gh_store_write(follower->child->service.store, clean, purge, result);
        took = steady_now() - last;
        if (took > CLEAN_TIME) {
            follower->clean_limit = purge->limit / 2 > CLEAN_LEAST ? purge->limit / 2 : CLEAN_LEAST;
        }
        else {
            follower->clean_limit = purge->limit * 2 < CLEAN_MOST ? purge->limit * 2 : CLEAN_MOST;
        }
        if (rv == APR_SUCCESS && purge->more) {
            apr_sleep(took < CLEAN_TIME ? took : CLEAN_TIME);
        }
        last = steady_now();
    } while (rv == APR_SUCCESS && purge->more && last - begin < CLEAN_PASS
             && !apr_atomic_read32(&follower->stop));
    return rv;
}

static apr_status_t purge_expired(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    purge_t baton = {
        .before = now - CHALLENGE_KEPT, .now = now, .cleaning = follower->cleaning,
        .pool = ptemp
    };
    apr_status_t rv;

    /* a clock that was set back must not stop this */
    if (now < follower->purge_next && now > follower->purge_next - 2 * PURGE_INTERVAL) {
        return APR_SUCCESS;
    }
    baton.holder = apr_psprintf(ptemp, "%s:%ld", follower->child->service.node, (long)getpid());
    rv = gh_store_write(follower->child->service.store, purge, &baton, result);
    if (rv == APR_SUCCESS) {
        rv = clean_escrow(follower, &baton, result);
    }
    else if (rv == GH_EREFUSED) {
        gh_result_clear(result);
        rv = APR_SUCCESS;
    }
    if (rv == APR_SUCCESS) {
        follower->cleaning = baton.more;
        follower->purge_next = baton.more ? now : now + PURGE_INTERVAL;
    }
    return rv;
}

static apr_status_t trim_memory(follower_t *follower, apr_pool_t *ptemp, gh_result_t *result)
{
    apr_time_t now = apr_time_now();

    if (now >= follower->trim_next || now < follower->trim_next - 2 * TRIM_INTERVAL) {
        gatehouse_memory_trim();
        follower->trim_next = now + TRIM_INTERVAL;
    }
    return APR_SUCCESS;
}

static void report(follower_t *follower, job_t *job, apr_status_t rv, const gh_result_t *result,
                   apr_pool_t *ptemp)
{
    static const gatehouse_place_t nowhere = { NULL, 0 };
    apr_time_t now = apr_time_now();

    if (rv == APR_SUCCESS) {
        if (job->failing) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, follower->child->server, GHNO(0316) "%s: it "
                         "works again", job->what);
        }
        job->failing = 0;
        return;
    }
    if (!job->failing || now - job->reported >= SILENCE || now < job->reported) {
        gatehouse_log_problem(follower->child->server, nowhere, job->what,
                              gatehouse_explain(result, rv, ptemp));
        job->reported = now;
    }
    job->failing = 1;
}

static void run_jobs(follower_t *follower, apr_pool_t *ptemp)
{
    gh_result_t result;
    apr_status_t rv;
    int lagging = 0;
    int i;

    for (i = 0; i < JOBS && !apr_atomic_read32(&follower->stop); ++i) {
        gh_result_clear(&result);
        rv = follower->jobs[i].run(follower, ptemp, &result);
        report(follower, &follower->jobs[i], rv, &result, ptemp);
        apr_pool_clear(ptemp);
        if (rv != APR_SUCCESS && (i <= JOB_READ || i == JOB_CRLS)) {
            lagging = 1;
        }
        if (rv != APR_SUCCESS && i <= JOB_READ) {
            break;
        }
    }
    for (i = 0; !lagging && i < follower->rounds->nelts
         && !apr_atomic_read32(&follower->stop); ++i) {
        round_t *round = &APR_ARRAY_IDX(follower->rounds, i, round_t);

        gh_result_clear(&result);
        rv = round->fn(&follower->child->service, ptemp, &result);
        report(follower, &round->job, rv, &result, ptemp);
        apr_pool_clear(ptemp);
    }
    apr_atomic_set32(&follower->lagging, lagging);
}

static void *APR_THREAD_FUNC follow(apr_thread_t *thread, void *data)
{
    follower_t *follower = data;
    struct pollfd woken = { .fd = follower->wake[0], .events = POLLIN };
    char bytes[64];
    apr_pool_t *ptemp;

    apr_pool_create(&ptemp, follower->child->pool);
    while (!apr_atomic_read32(&follower->stop)) {
        run_jobs(follower, ptemp);
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

static void wake(follower_t *follower)
{
    while (write(follower->wake[1], "", 1) < 0 && errno == EINTR) {
        continue;
    }
}

void gatehouse_follower_wake(void)
{
    if (running) {
        wake(running);
    }
}

int gatehouse_follower_keeps_up(void)
{
    return running && !apr_atomic_read32(&running->lagging);
}

/* Runs before anything in the pool is closed, with prefork within a signal handler. A thread that
 * still waits for a store out of reach must not keep the process: what was acknowledged is durable,
 * so it may end at once. */
static apr_status_t stop(void *data)
{
    follower_t *follower = data;
    apr_time_t begin = apr_time_now();
    apr_status_t rv;

    running = NULL;
    apr_atomic_set32(&follower->stop, 1);
    wake(follower);
    while (!apr_atomic_read32(&follower->ended)) {
        if (apr_time_now() - begin > (gatehouse_turn_is_on() ? PATIENCE_TOKEN : PATIENCE)) {
            _exit(0);
        }
        apr_sleep(apr_time_from_msec(2));
    }
    apr_thread_join(&rv, follower->thread);
    close(follower->wake[0]);
    close(follower->wake[1]);
    return APR_SUCCESS;
}

apr_status_t gatehouse_follower_start(gatehouse_child_t *child)
{
    static const job_t jobs[JOBS] = {
        [JOB_PREPARE] = { .what = "making the store ready", .run = prepare_store },
        [JOB_OPEN] = { .what = "opening the store", .run = open_store },
        [JOB_READ] = { .what = "following the store", .run = read_store },
        [JOB_ISSUERS] = { .what = "registering the issuers", .run = start_issuers },
        [JOB_AUDIT] = { .what = "copying decisions to the audit log", .run = log_decisions },
        [JOB_APPROVED] = { .what = "issuing what was approved", .run = issue_approved },
        [JOB_RENEWALS] = { .what = "revoking what was renewed", .run = revoke_renewed },
        [JOB_CRLS] = { .what = "publishing CRLs", .run = publish_crls },
        [JOB_COUNT] = { .what = "counting what waits for CAs", .run = count_jobs },
        [JOB_CREDENTIALS] = { .what = "enrolling our credentials", .run = renew_credentials },
        [JOB_PURGE] = { .what = "removing what has expired", .run = purge_expired },
        [JOB_TRIM] = { .what = "giving memory back", .run = trim_memory },
    };
    follower_t *follower = apr_pcalloc(child->pool, sizeof(*follower));
    apr_status_t rv;

    follower->child = child;
    memcpy(follower->jobs, jobs, sizeof(jobs));
    follower->rounds = rounds ? apr_array_copy(child->pool, rounds)
                              : apr_array_make(child->pool, 0, sizeof(round_t));
    if (pipe2(follower->wake, O_CLOEXEC | O_NONBLOCK)) {
        return errno;
    }
    rv = apr_thread_create(&follower->thread, NULL, follow, follower, child->pool);
    if (rv != APR_SUCCESS) {
        close(follower->wake[0]);
        close(follower->wake[1]);
        return rv;
    }
    running = follower;
    apr_pool_pre_cleanup_register(child->pool, follower, stop);
    return APR_SUCCESS;
}
