/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_SYS_PRCTL_H
#include <sys/prctl.h>
#endif

#include <apr_atomic.h>
#include <apr_strings.h>
#include <openssl/crypto.h>

#include "worker.h"
#include "worker_log.h"

/** How often the parent is looked for. With prctl() its end is told by a signal; without, and where
 *  it ended before that was arranged, this is what finds out. */
#define LOOK_EVERY 1

/** How often a lock that another process has is tried. */
#define LOCK_EVERY apr_time_from_msec(20)

struct gh_worker {
    const char *name;
    const char *folder;
    json_t *document;
    const json_t *configuration;
    pid_t parent;
    gh_log_t *log;
    apr_interval_time_t patience;
    volatile apr_uint32_t stopping;
    volatile apr_uint32_t hurried;
    apr_time_t end;                 /* of the process; once it was asked to end */
    int stop[2];                    /* a pipe: the end that is read, the end that is closed */
    sigset_t signals;
};

static apr_status_t not_understood(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "worker",
                          "Reinstall Gatehouse, so that modules and workers are of one version.",
                          GHNO(0656) "the worker does not understand its configuration: %s", what);
}

/* Reads what mod_gatehouse has left in a file without a name. */
static apr_status_t read_document(json_t **document, gh_result_t *result)
{
    json_error_t error;
    struct stat info;
    char *text = NULL;
    apr_pool_t *p = NULL;
    ssize_t count = 0;
    apr_status_t rv = APR_SUCCESS;

    if (fstat(GH_WORKER_DESCRIPTOR, &info) || !S_ISREG(info.st_mode) || info.st_size <= 0
        || info.st_size > GH_WORKER_CONFIGURATION_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "worker",
                              "Let httpd start it; it is not meant to be run by hand.",
                              GHNO(0655) "the worker was started without a configuration");
    }
    apr_pool_create(&p, NULL);
    text = apr_palloc(p, (apr_size_t)info.st_size);
    count = pread(GH_WORKER_DESCRIPTOR, text, (size_t)info.st_size, 0);
    if (count != info.st_size) {
        rv = not_understood(result, "it cannot be read");
        goto cleanup;
    }
    *document = json_loadb(text, (size_t)count, JSON_REJECT_DUPLICATES, &error);
    if (!*document) {
        rv = not_understood(result, error.text);
    }

cleanup:
    OPENSSL_cleanse(text, (size_t)info.st_size);
    apr_pool_destroy(p);
    close(GH_WORKER_DESCRIPTOR);
    return rv;
}

/* httpd starts workers with its own rights, so that programs and libraries are found where only
 * root may look. Nothing was done with them yet. */
static apr_status_t become(const char *user, uid_t uid, gid_t gid, gh_result_t *result)
{
    if (geteuid() == 0 && uid != 0
        && (setgid(gid) || initgroups(user, gid) || setuid(uid) || setuid(0) == 0)) {
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_INTERNAL, "worker",
                              "See User and Group of httpd, and limits on processes of that user.",
                              GHNO(0657) "the worker cannot become user %s (%ld)", user, (long)uid);
    }
#ifdef HAVE_SYS_PRCTL_H
    /* another process of this user reads neither its memory nor its environment */
    prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L);
#endif
    umask(027);
    return APR_SUCCESS;
}

/** @param patience to the end of the process; it is never put off */
static void ask_to_stop(gh_worker_t *worker, apr_interval_time_t patience)
{
    apr_time_t end = apr_time_now() + patience;

    if (!gh_worker_stopping(worker) || end < __atomic_load_n(&worker->end, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&worker->end, end, __ATOMIC_RELEASE);
    }
    if (apr_atomic_cas32(&worker->stopping, 1, 0) == 0) {
        close(worker->stop[1]);
    }
}

/* Signals are taken here and nowhere else: no handler interrupts anything. */
static void *watch(void *baton)
{
    gh_worker_t *worker = baton;

    for (;;) {
        struct timespec soon = { .tv_sec = LOOK_EVERY };
        int number = sigtimedwait(&worker->signals, NULL, &soon);

        if (getppid() != worker->parent && !gh_worker_stopping(worker)) {
            gh_log(worker->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0658) "%s ends, since the httpd "
                   "that started it has ended", worker->name);
            ask_to_stop(worker, __atomic_load_n(&worker->patience, __ATOMIC_ACQUIRE));
        }
        else if (number == SIGTERM && !gh_worker_stopping(worker)) {
            ask_to_stop(worker, __atomic_load_n(&worker->patience, __ATOMIC_ACQUIRE));
        }
        else if (number == SIGINT) {
            apr_atomic_set32(&worker->hurried, 1);
            ask_to_stop(worker, GH_WORKER_HURRY);
        }
        if (gh_worker_stopping(worker) && apr_time_now() >= worker->end) {
            _exit(0);
        }
    }
    return NULL;
}

static apr_status_t start_watch(gh_worker_t *worker)
{
    static const int synchronous[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
    pthread_t thread;
    apr_size_t i;
    int error;

    sigfillset(&worker->signals);
    for (i = 0; i < sizeof(synchronous) / sizeof(synchronous[0]); ++i) {
        sigdelset(&worker->signals, synchronous[i]);
    }
    pthread_sigmask(SIG_SETMASK, &worker->signals, NULL);
    sigdelset(&worker->signals, SIGCHLD);
    if (pipe(worker->stop)) {
        return errno;
    }
    fcntl(worker->stop[0], F_SETFD, FD_CLOEXEC);
    fcntl(worker->stop[1], F_SETFD, FD_CLOEXEC);
    error = pthread_create(&thread, NULL, watch, worker);
    if (!error) {
        pthread_detach(thread);
    }
#ifdef HAVE_SYS_PRCTL_H
    /* after the change of user, which would undo it */
    prctl(PR_SET_PDEATHSIG, (long)SIGTERM, 0L, 0L, 0L);
#endif
    return error;
}

static apr_status_t release(void *data)
{
    gh_worker_t *worker = data;

    json_decref(worker->document);
    return APR_SUCCESS;
}

apr_status_t gh_worker_start(gh_worker_t **out, apr_interval_time_t patience, apr_pool_t *p,
                             gh_result_t *result)
{
    gh_worker_t *worker = apr_pcalloc(p, sizeof(*worker));
    const char *name, *user;
    json_int_t uid, gid, parent;
    int level, use_syslog;
    apr_status_t rv;

    rv = read_document(&worker->document, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_cleanup_register(p, worker, release, apr_pool_cleanup_null);
    if (json_unpack(worker->document, "{s:s, s:s, s:I, s:I, s:I, s:i, s:b, s:o}", "worker", &name,
                    "user", &user, "uid", &uid, "gid", &gid, "parent", &parent, "level", &level,
                    "syslog", &use_syslog, "configuration", &worker->configuration)
        || !json_is_object(worker->configuration)) {
        return not_understood(result, "a member is missing");
    }
    rv = become(user, (uid_t)uid, (gid_t)gid, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    worker->name = name;
    worker->folder = json_string_value(json_object_get(worker->document, "folder"));
    worker->parent = (pid_t)parent;
    worker->patience = patience ? patience : apr_time_from_sec(10);
    worker->log = gh_worker_log_create(name, level, use_syslog, p);
    rv = start_watch(worker);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "worker",
                              "See whether the machine is short of memory, threads or descriptors.",
                              GHNO(0659) "the worker cannot start its thread for signals");
    }
    *out = worker;
    return APR_SUCCESS;
}

int gh_worker_refuse(const char *program, const gh_result_t *result)
{
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    gh_log(gh_worker_log_create(program, GH_LOG_ERROR, 0, p), GH_LOG_ERROR, APR_SUCCESS,
           "%s: %s (%s)", result->number, result->message, result->action);
    apr_pool_destroy(p);
    return strcmp(result->number, "GH0655") ? GH_WORKER_EXIT_FAILED : GH_WORKER_EXIT_USAGE;
}

const json_t *gh_worker_configuration(const gh_worker_t *worker)
{
    return worker->configuration;
}

static apr_status_t overwrite(void *data)
{
    const gh_bytes_t *bytes = data;

    OPENSSL_cleanse((void *)bytes->data, bytes->length);
    return APR_SUCCESS;
}

int gh_worker_secret(gh_bytes_t *bytes, const char *hex, apr_pool_t *p)
{
    memset(bytes, 0, sizeof(*bytes));
    if (!hex || !*hex) {
        return 1;
    }
    if (gh_hex_parse(bytes, hex, p) != APR_SUCCESS) {
        return 0;
    }
    apr_pool_cleanup_register(p, apr_pmemdup(p, bytes, sizeof(*bytes)), overwrite,
                              apr_pool_cleanup_null);
    return 1;
}

const char *gh_worker_name(const gh_worker_t *worker)
{
    return worker->name;
}

const char *gh_worker_folder(const gh_worker_t *worker)
{
    return worker->folder;
}

const gh_log_t *gh_worker_log(const gh_worker_t *worker)
{
    return worker->log;
}

int gh_worker_stopping(const gh_worker_t *worker)
{
    return apr_atomic_read32((volatile apr_uint32_t *)&worker->stopping) != 0;
}

void gh_worker_need(gh_worker_t *worker, apr_interval_time_t patience)
{
    if (patience > __atomic_load_n(&worker->patience, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&worker->patience, patience, __ATOMIC_RELEASE);
    }
}

apr_interval_time_t gh_worker_left(const gh_worker_t *worker, int *hurried)
{
    *hurried = apr_atomic_read32((volatile apr_uint32_t *)&worker->hurried) != 0;
    return __atomic_load_n(&worker->end, __ATOMIC_ACQUIRE) - apr_time_now();
}

int gh_worker_stop_descriptor(const gh_worker_t *worker)
{
    return worker->stop[0];
}

void gh_worker_sleep(const gh_worker_t *worker, apr_interval_time_t time)
{
    struct pollfd stop = { .fd = worker->stop[0], .events = POLLIN };

    if (time > 0) {
        poll(&stop, 1, (int)((time + 999) / 1000));
    }
}

apr_status_t gh_worker_lock(gh_worker_t *worker, const char *path, gh_result_t *result)
{
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    apr_time_t tell = apr_time_now() + apr_time_from_sec(2);
    int error = descriptor < 0 ? errno : 0;

    while (!error && flock(descriptor, LOCK_EX | LOCK_NB)) {
        error = errno == EWOULDBLOCK || errno == EINTR ? 0 : errno;
        if (!error && gh_worker_stopping(worker)) {
            close(descriptor);
            return APR_EINTR;
        }
        if (tell && apr_time_now() > tell) {
            gh_log(worker->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0660) "%s waits for the end of "
                   "another that has the lock %s", worker->name, path);
            tell = 0;
        }
        gh_worker_sleep(worker, LOCK_EVERY);
    }
    if (error) {
        if (descriptor >= 0) {
            close(descriptor);
        }
        return gh_result_fail(result, error, GH_FAILURE_UNAVAILABLE, "worker",
                              "See whether the folder is there, and belongs to httpd's user.",
                              GHNO(0661) "%s cannot lock %s: %s", worker->name, path,
                              strerror(error));
    }
    return APR_SUCCESS;
}
