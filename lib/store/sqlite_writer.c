/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/sqlite.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "log.h"

/*
 * One thread writes for all threads of the process: it locks the gate, begins a transaction, runs
 * what is queued, commits once, and only then tells the callers. More comes in while the disk
 * works, so that batches grow with the load.
 */

/* A batch ends so that callers of other processes do not wait long. */
#define BATCH_JOBS          512
#define BATCH_TIME          apr_time_from_msec(50)

/* Pages of the write-ahead log: to be copied back; and to be copied back even if readers have to be
 * waited for. */
#define CHECKPOINT_PAGES    1000
#define CHECKPOINT_INSIST   16000

typedef enum {
    JOB_QUEUED,
    JOB_BEGUN,
    JOB_DONE
} job_state_t;

typedef struct job job_t;

struct job {
    gh_store_work_fn *work;
    void *baton;
    gh_result_t *result;
    apr_status_t status;
    job_state_t state;
    pthread_cond_t done;
    job_t *next;
};

struct gh_writer {
    const char *path;
    const gh_log_t *log;
    int queue_max;
    apr_interval_time_t deadline;
    gh_gate_t *gate;
    gh_sqlite_t connection;
    pthread_t thread;

    pthread_mutex_t mutex;          /* guards what follows */
    pthread_cond_t wake;
    job_t *first, *last;
    int queued;
    int closing;
    int stopped;                    /* a flush failed in this process: for good */
};

static void append(gh_writer_t *writer, job_t *job)
{
    job->next = NULL;
    if (writer->last != NULL) {
        writer->last->next = job;
    }
    else {
        writer->first = job;
    }
    writer->last = job;
    writer->queued++;
}

static void cancel(gh_writer_t *writer, job_t *job)
{
    job_t *before = NULL, *at;

    for (at = writer->first; at != job; at = at->next) {
        before = at;
    }
    if (before != NULL) {
        before->next = job->next;
    }
    else {
        writer->first = job->next;
    }
    if (writer->last == job) {
        writer->last = before;
    }
    writer->queued--;
}

/** The next job, now begun; NULL if there is none. */
static job_t *take(gh_writer_t *writer)
{
    job_t *job;

    pthread_mutex_lock(&writer->mutex);
    job = writer->first;
    if (job != NULL) {
        cancel(writer, job);
        job->state = JOB_BEGUN;
        job->next = NULL;
    }
    pthread_mutex_unlock(&writer->mutex);
    return job;
}

/** Tells the callers of a list of jobs; a job is its caller's memory and gone afterwards. */
static void finish(gh_writer_t *writer, job_t *jobs)
{
    job_t *job;

    pthread_mutex_lock(&writer->mutex);
    while ((job = jobs) != NULL) {
        jobs = job->next;
        job->state = JOB_DONE;
        pthread_cond_signal(&job->done);
    }
    pthread_mutex_unlock(&writer->mutex);
}

/** Gives all jobs of a list the same failure. */
static void fail_all(job_t *jobs, apr_status_t status, const gh_result_t *error)
{
    for (; jobs != NULL; jobs = jobs->next) {
        jobs->status = status;
        if (jobs->result != NULL) {
            *jobs->result = *error;
        }
    }
}

static void fail_queued(gh_writer_t *writer, apr_status_t status, const gh_result_t *error)
{
    job_t *jobs, *job;

    pthread_mutex_lock(&writer->mutex);
    jobs = writer->first;
    writer->first = writer->last = NULL;
    writer->queued = 0;
    for (job = jobs; job != NULL; job = job->next) {
        job->state = JOB_BEGUN;
    }
    pthread_mutex_unlock(&writer->mutex);

    fail_all(jobs, status, error);
    finish(writer, jobs);
}

/**
 * A flush failed: the kernel may have dropped what it could not write and report success next time,
 * so nothing more is written until a start has copied the log back and checked that.
 */
static void stop_writes(gh_writer_t *writer, const gh_result_t *error)
{
    apr_status_t rv;

    pthread_mutex_lock(&writer->mutex);
    writer->stopped = 1;
    pthread_mutex_unlock(&writer->mutex);

    rv = gh_gate_mark(writer->gate, 1);
    gh_log(writer->log, GH_LOG_ERROR, rv,
           GHNO(0066) "the store accepts no more writes on this machine: %s", error->message);
}

/**
 * @param undo set to 1 if the job failed after it had written, which the caller has to undo; NULL
 *             to have the job in a savepoint of its own
 * @return what ends the whole batch, or APR_SUCCESS, also where the job itself failed
 */
static apr_status_t run_job(gh_writer_t *writer, job_t *job, int *undo, gh_result_t *error)
{
    gh_sqlite_t *connection = &writer->connection;
    gh_transaction_t transaction;
    apr_status_t rv;

    if (undo == NULL
        && (rv = gh_sqlite_control(connection, "SAVEPOINT job", error)) != APR_SUCCESS) {
        return rv;
    }
    connection->wrote = 0;
    gh_transaction_begin(&transaction, &gh_store_sqlite, connection, 1);
    rv = job->work(&transaction, job->baton);
    gh_sqlite_end_queries(connection);
    job->status = gh_transaction_outcome(&transaction, rv, job->result);

    if (transaction.failed != APR_SUCCESS && transaction.failed != GH_ECONFLICT
        && transaction.failed != APR_EINVAL) {
        *error = transaction.error;
        return transaction.failed;
    }
    if (undo != NULL) {
        *undo = job->status != APR_SUCCESS && connection->wrote;
        return APR_SUCCESS;
    }
    if (job->status != APR_SUCCESS
        && (rv = gh_sqlite_control(connection, "ROLLBACK TO job", error)) != APR_SUCCESS) {
        return rv;
    }
    return gh_sqlite_control(connection, "RELEASE job", error);
}

/** Copies the log back into the database where it is time to. */
static void checkpoint(gh_writer_t *writer)
{
    gh_sqlite_t *connection = &writer->connection;
    gh_result_t error;
    int rc;

    if (connection->wal_pages < CHECKPOINT_PAGES) {
        return;
    }
    rc = sqlite3_wal_checkpoint_v2(connection->db, "main",
                                   connection->wal_pages < CHECKPOINT_INSIST
                                   ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_RESTART,
                                   NULL, NULL);
    if (rc != SQLITE_OK && gh_sqlite_failure(connection, rc, &error) == GH_ESTOPPED) {
        stop_writes(writer, &error);
    }
}

/** Undoes everything and begins a new transaction. */
static apr_status_t start_over(gh_writer_t *writer, gh_result_t *error)
{
    apr_status_t rv = gh_sqlite_control(&writer->connection, "ROLLBACK", error);

    return rv == APR_SUCCESS
        ? gh_sqlite_control(&writer->connection, "BEGIN IMMEDIATE", error) : rv;
}

/** Runs jobs again that have begun, after undoing all that they did. */
static apr_status_t run_again(gh_writer_t *writer, job_t *jobs, int *written, gh_result_t *error)
{
    apr_status_t rv = start_over(writer, error);

    *written = 0;
    for (; rv == APR_SUCCESS && jobs != NULL; jobs = jobs->next) {
        rv = run_job(writer, jobs, NULL, error);
        *written |= jobs->status == APR_SUCCESS;
    }
    return rv;
}

/**
 * Runs jobs in the open transaction. A savepoint costs a copy of every page that is changed, and
 * few jobs fail: only when one that failed has written, and others before it have too, is
 * everything undone, and from the first on each job gets a savepoint of its own.
 * @return the list of those that began, in *jobs
 */
static apr_status_t run_jobs(gh_writer_t *writer, job_t **jobs, int *written, gh_result_t *error)
{
    apr_time_t until = gh_monotonic_now() + BATCH_TIME;
    job_t **end = jobs, *job;
    apr_status_t rv = APR_SUCCESS;
    int count = 0, savepoints = 0, undo = 0;

    *written = 0;
    while (rv == APR_SUCCESS && count++ < BATCH_JOBS && gh_monotonic_now() < until
           && (job = take(writer)) != NULL) {
        *end = job;
        end = &job->next;
        rv = run_job(writer, job, savepoints ? NULL : &undo, error);
        if (rv == APR_SUCCESS && undo) {
            undo = 0;
            savepoints = *written;
            rv = savepoints ? run_again(writer, *jobs, written, error)
                            : start_over(writer, error);
        }
        else if (job->status == APR_SUCCESS) {
            *written = 1;
        }
    }
    return rv;
}

/** One transaction, with the gate locked. */
static void run_batch(gh_writer_t *writer)
{
    gh_sqlite_t *connection = &writer->connection;
    job_t *jobs = NULL;
    gh_result_t error, ignored;
    apr_status_t rv;
    int written;

    if (connection->broken || connection->db == NULL) {
        gh_sqlite_close(connection, 0);
        rv = gh_sqlite_open(connection, writer->path, GH_SQLITE_WRITER, &error);
        if (rv != APR_SUCCESS) {
            fail_queued(writer, rv, &error);
            return;
        }
    }
    rv = gh_sqlite_control(connection, "BEGIN IMMEDIATE", &error);
    if (rv == GH_EBUSY) {
        return;             /* tried again until the callers' deadlines */
    }
    if (rv != APR_SUCCESS) {
        if (rv == GH_ESTOPPED) {
            stop_writes(writer, &error);
        }
        fail_queued(writer, rv, &error);
        return;
    }
    rv = run_jobs(writer, &jobs, &written, &error);
    if (rv == APR_SUCCESS && written) {
        rv = gh_sqlite_control(connection, "COMMIT", &error);
    }
    if (!sqlite3_get_autocommit(connection->db)) {
        gh_sqlite_control(connection, "ROLLBACK", &ignored);
    }
    if (rv == GH_ESTOPPED) {
        stop_writes(writer, &error);
    }
    if (rv != APR_SUCCESS) {
        /* also those that were refused: they may have been because of what is now undone */
        fail_all(jobs, rv, &error);
    }
    finish(writer, jobs);
    if (rv == APR_SUCCESS) {
        checkpoint(writer);
    }
}

static int wait_for_jobs(gh_writer_t *writer)
{
    int any;

    pthread_mutex_lock(&writer->mutex);
    while (writer->first == NULL && !writer->closing) {
        pthread_cond_wait(&writer->wake, &writer->mutex);
    }
    any = writer->first != NULL;
    pthread_mutex_unlock(&writer->mutex);
    return any;
}

static void *writer_main(void *data)
{
    gh_writer_t *writer = data;
    gh_result_t error;
    apr_status_t rv;

    while (wait_for_jobs(writer)) {
        if ((rv = gh_gate_lock(writer->gate, &error)) != APR_SUCCESS) {
            fail_queued(writer, rv, &error);
            continue;
        }
        if (gh_writer_stopped(writer)) {
            rv = gh_gate_refuse(&error);
            fail_queued(writer, rv, &error);
        }
        else {
            run_batch(writer);
        }
        gh_gate_unlock(writer->gate);
    }
    return NULL;
}

int gh_writer_stopped(gh_writer_t *writer)
{
    int stopped;

    pthread_mutex_lock(&writer->mutex);
    stopped = writer->stopped;
    pthread_mutex_unlock(&writer->mutex);
    return stopped || gh_gate_stopped(writer->gate);
}

/** Signals are for the threads of whoever owns the process. */
static int start_thread(gh_writer_t *writer)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&writer->thread, NULL, writer_main, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

apr_status_t gh_writer_start(gh_writer_t **writer, const char *path, gh_store_t *store,
                             gh_result_t *result)
{
    gh_writer_t *made = apr_pcalloc(store->pool, sizeof(*made));
    gh_result_t error;
    gh_transaction_t transaction;
    apr_status_t rv;
    int rc;

    made->path = path;
    made->log = store->options.log;
    made->queue_max = store->options.queue;
    made->deadline = store->options.deadline;
    if ((rv = gh_gate_open(&made->gate, path, store->pool, result)) != APR_SUCCESS
        || (rv = gh_sqlite_open(&made->connection, path, GH_SQLITE_WRITER,
                                &error)) != APR_SUCCESS) {
        goto cleanup;
    }
    gh_transaction_begin(&transaction, &gh_store_sqlite, &made->connection, 0);
    rv = gh_migrations_check(&transaction, &gh_migrations, &error);
    rv = gh_transaction_outcome(&transaction, rv, &error);
    if (rv != APR_SUCCESS) {
        goto cleanup;
    }

    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->wake, NULL);
    if ((rc = start_thread(made)) != 0) {
        rv = gh_result_fail(&error, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                            "Raise the limit of processes and threads.",
                            GHNO(0067) "the writer's thread cannot be started: %s", strerror(rc));
        pthread_cond_destroy(&made->wake);
        pthread_mutex_destroy(&made->mutex);
        goto cleanup;
    }
    *writer = made;
    return APR_SUCCESS;

cleanup:
    if (made->gate != NULL && result != NULL) {
        *result = error;
    }
    gh_sqlite_close(&made->connection, 0);
    return rv;
}

void gh_writer_stop(gh_writer_t *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->closing = 1;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);

    gh_sqlite_close(&writer->connection, !gh_writer_stopped(writer));
    pthread_cond_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->mutex);
}

/** Why a job cannot even be queued; with the mutex. */
static apr_status_t refusal(gh_writer_t *writer, gh_result_t *result)
{
    if (writer->stopped) {
        return gh_gate_refuse(result);
    }
    if (writer->closing || pthread_equal(pthread_self(), writer->thread)) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL, NULL,
                              GHNO(0068) "the store is being closed");
    }
    if (writer->queued >= writer->queue_max) {
        return gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, NULL,
                              "Try again; if it happens often, the disk is too slow for the load.",
                              GHNO(0069) "%d writes are waiting for the store already",
                              writer->queued);
    }
    return APR_SUCCESS;
}

apr_status_t gh_writer_run(gh_writer_t *writer, gh_store_work_fn *work, void *baton,
                           gh_result_t *result)
{
    job_t job = { .work = work, .baton = baton, .result = result, .state = JOB_QUEUED };
    apr_time_t deadline = gh_monotonic_now() + writer->deadline;
    pthread_condattr_t attributes;
    struct timespec until;
    apr_status_t rv;

    until.tv_sec = apr_time_sec(deadline);
    until.tv_nsec = apr_time_usec(deadline) * 1000;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&job.done, &attributes);
    pthread_condattr_destroy(&attributes);

    pthread_mutex_lock(&writer->mutex);
    if ((rv = refusal(writer, result)) != APR_SUCCESS) {
        goto cleanup;
    }
    append(writer, &job);
    if (writer->first == &job) {
        pthread_cond_signal(&writer->wake);
    }
    while (job.state != JOB_DONE) {
        if (job.state == JOB_BEGUN) {
            pthread_cond_wait(&job.done, &writer->mutex);
        }
        else if (pthread_cond_timedwait(&job.done, &writer->mutex, &until) == ETIMEDOUT
                 && job.state == JOB_QUEUED) {
            cancel(writer, &job);
            job.status = gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, NULL,
                                        "Try again; if it happens often, the disk is too slow for "
                                        "the load, or another program keeps the database locked.",
                                        GHNO(0070) "the write did not get its turn in time");
            break;
        }
    }
    rv = job.status;

cleanup:
    pthread_mutex_unlock(&writer->mutex);
    pthread_cond_destroy(&job.done);
    return rv;
}
