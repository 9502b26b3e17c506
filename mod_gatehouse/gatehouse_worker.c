/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The parent's side of workers: starting them, starting them again, ending them. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <httpd.h>
#include <ap_mpm.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <apr_strings.h>
#include <apr_tables.h>
#include <apr_thread_proc.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <unixd.h>

#include "escrow/locked.h"
#include "gatehouse_private.h"
#include "gatehouse_worker.h"
#include "gatehouse_worker_run.h"
#include "log.h"
#include "status.h"
#include "worker.h"

APLOG_USE_MODULE(gatehouse);

/** A worker that has lived so long is not one that keeps dying. */
#define LONG_LIFE apr_time_from_sec(60)

/** Longest pause before one that keeps dying is started again, in seconds. */
#define DELAY_MAX 30

/** How long httpd's end waits for that of a worker before it is killed. httpd's own parent waits
 *  for its modules without a limit, and service managers usually for 90 s. */
#define PATIENCE GH_WORKER_HURRY

/** Locked memory comes in whole pages. */
#define LOCKED_MORE 8192

/** Below GatehouseRuntimeDirectory. */
#define FOLDER "gatehouse-workers"

/** Workers of former generations that are still at work, kept for longer than the configuration. */
#define KEPT "gatehouse-workers"
#define KEPT_MAX 64

typedef struct {
    pid_t pid[KEPT_MAX];
    int count;
} former_t;

/** One process. */
typedef struct {
    gatehouse_worker_t worker;      /* name NULL: of a former generation */
    const char *path;
    char *text;                     /* what it is told, JSON */
    server_rec *server;
    apr_pool_t *pconf;
    pid_t owner;                    /* the parent: a forked process may not act on it */
    apr_proc_t process;             /* pid 0: there is none */
    int ended;                      /* was asked to end */
    int finally;                    /* with httpd itself, as opposed to a restart */
    int deaths;                     /* in a row */
    apr_time_t started;
} supervised_t;

/* Of this generation; goes with pconf. */
static apr_array_header_t *registered;      /* supervised_t * */

static apr_status_t forget(void *data)
{
    registered = NULL;
    return APR_SUCCESS;
}

static apr_status_t start(supervised_t *one, int delay);

static int stopping(void)
{
    int state = AP_MPMQ_STARTING;

    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_STOPPING;
}

static former_t *former(void)
{
    former_t *kept = ap_retained_data_get(KEPT);

    return kept ? kept : ap_retained_data_create(KEPT, sizeof(*kept));
}

/* httpd ends: what does not follow in time is killed, so that nothing is left behind. */
static void wait_for_end(pid_t pid)
{
    apr_time_t end = apr_time_now() + PATIENCE;

    while (waitpid(pid, NULL, WNOHANG) == 0) {
        if (apr_time_now() > end) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            return;
        }
        apr_sleep(apr_time_from_msec(5));
    }
}

static void ask_to_end(supervised_t *one)
{
    /* one of a former generation was asked before, and is in a hurry now */
    if (one->process.pid && (!one->ended || one->finally)) {
        kill(one->process.pid, one->finally ? SIGINT : SIGTERM);
    }
    one->ended = 1;
}

/* The configuration goes away, with a restart or with httpd. */
static void let_go(supervised_t *one)
{
    pid_t pid = one->process.pid;
    former_t *kept;

    if (!pid) {
        return;
    }
    ask_to_end(one);
    one->process.pid = 0;
    /* the MPM cannot be asked any more when the configuration goes */
    if (one->finally) {
        wait_for_end(pid);
        return;
    }
    kept = former();
    if (kept->count < KEPT_MAX) {
        kept->pid[kept->count++] = pid;
    }
}

static void died(supervised_t *one, pid_t pid, int status)
{
    apr_interval_time_t lived = apr_time_now() - one->started;
    int delay = 0;
    apr_status_t rv;

    if (one->ended || stopping()) {
        return;
    }
    if (lived >= LONG_LIFE) {
        one->deaths = 0;
    }
    if (one->deaths > 0) {
        delay = one->deaths > 5 ? DELAY_MAX : 1 << (one->deaths - 1);
    }
    ++one->deaths;
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, one->server, GHNO(0663) "worker %s (pid %" APR_PID_T_FMT
                 ") has ended with exit status or signal %d after %" APR_TIME_T_FMT " s; it is "
                 "started again in %d s. See what it has logged before; 126 and 127 say that it "
                 "cannot be run", one->worker.name, pid, status, apr_time_sec(lived), delay);
    rv = start(one, delay);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, one->server, GHNO(0664) "worker %s cannot be "
                     "started again; see whether memory or processes are short, and restart httpd",
                     one->worker.name);
    }
}

/* Called by the MPM, on the parent's only thread. */
static void maintain(int reason, void *data, int status)
{
    supervised_t *one = data;

    if (one->owner != getpid()) {
        return;
    }
    switch (reason) {
    case APR_OC_REASON_DEATH:
    case APR_OC_REASON_LOST: {
        pid_t pid = one->process.pid;

        /* to unregister calls back, where the process must not be known any more: the number may
         * soon be another's */
        one->process.pid = 0;
        apr_proc_other_child_unregister(one);
        died(one, pid, status);
        break;
    }
    case APR_OC_REASON_RESTART:
        one->finally = stopping();
        ask_to_end(one);
        break;
    case APR_OC_REASON_UNREGISTER:
        let_go(one);
        break;
    default:
        break;
    }
}

static apr_status_t start(supervised_t *one, int delay)
{
    gatehouse_run_t run = {
        .path = one->path, .input = one->worker.input, .descriptors = one->worker.descriptors,
        .count = one->worker.count, .delay = delay
    };
    sigset_t all, before;
    pid_t pid;
    int error;

    run.configuration = gatehouse_worker_file(one->text);
    if (run.configuration < 0) {
        return errno;
    }
    /* a signal that comes before the child has its own dispositions would be taken by httpd's
     * handlers there, and be lost: a worker that was asked to end would stay */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0) {
        gatehouse_worker_run(&run);
    }
    error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(run.configuration);
    if (pid < 0) {
        return error;
    }
    one->started = apr_time_now();
    if (delay) {
        one->started += apr_time_from_sec(delay);
    }
    one->ended = 0;
    memset(&one->process, 0, sizeof(one->process));
    one->process.pid = pid;
    apr_proc_other_child_register(&one->process, maintain, one, NULL, one->pconf);
    return APR_SUCCESS;
}

/* So that they are waited for: httpd would call them lost children that come home. */
static void adopt_former(apr_pool_t *pconf, server_rec *s)
{
    former_t *kept = former();
    int i;

    for (i = 0; i < kept->count; ++i) {
        if (waitpid(kept->pid[i], NULL, WNOHANG) == 0) {
            supervised_t *one = apr_pcalloc(pconf, sizeof(*one));

            one->server = s;
            one->pconf = pconf;
            one->owner = getpid();
            one->process.pid = kept->pid[i];
            one->ended = 1;
            apr_proc_other_child_register(&one->process, maintain, one, NULL, pconf);
        }
    }
    kept->count = 0;
}

static apr_status_t cleanse(void *text)
{
    OPENSSL_cleanse(text, strlen(text));
    return APR_SUCCESS;
}

/** Room for a text with passwords and keys: locked if the process may, and not in its children.
 *  However it is, it is overwritten with the configuration. */
static char *secret_room(apr_size_t length, apr_pool_t *p)
{
    gh_locked_t *locked;
    char *text = NULL;

    if (gh_locked_create(&locked, length + LOCKED_MORE, p, NULL) == APR_SUCCESS) {
        text = gh_locked_alloc(locked, length + 1, p);
    }
    if (!text) {
        text = apr_pcalloc(p, length + 1);
        apr_pool_cleanup_register(p, text, cleanse, apr_pool_cleanup_null);
    }
    return text;
}

/** Passwords may be in them. */
static void forget_texts(supervised_t *one)
{
    cleanse((char *)one->worker.configuration);
    if (one->text) {
        cleanse(one->text);
    }
}

void gatehouse_forget_workers(void)
{
    int i;

    for (i = 0; registered && i < registered->nelts; ++i) {
        supervised_t *one = APR_ARRAY_IDX(registered, i, supervised_t *);

        /* httpd -X serves in the parent, which starts it again */
        if (one->owner != getpid()) {
            forget_texts(one);
        }
    }
}

apr_status_t gatehouse_register_worker(const gatehouse_worker_t *worker, apr_pool_t *pconf)
{
    supervised_t *one = apr_pcalloc(pconf, sizeof(*one));
    apr_size_t length = strlen(worker->configuration);
    char *text = secret_room(length, pconf);

    if (!registered) {
        registered = apr_array_make(pconf, 2, sizeof(supervised_t *));
        apr_pool_cleanup_register(pconf, NULL, forget, apr_pool_cleanup_null);
    }
    one->worker = *worker;
    memcpy(text, worker->configuration, length + 1);
    one->worker.configuration = text;
    one->pconf = pconf;
    one->path = gatehouse_worker_program(worker->program, pconf);
    APR_ARRAY_PUSH(registered, supervised_t *) = one;
    return one->path ? APR_SUCCESS : APR_ENOENT;
}

/* What a worker is told before its own configuration, which goes behind that as it is: what parses
 * and writes JSON leaves copies of passwords about. @return 0 if it cannot be written */
static int write_text(supervised_t *one, const char *folder, server_rec *s)
{
    int root = geteuid() == 0;
    json_t *document = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:i, s:b, s:s*}", "worker", one->worker.name, "user",
        ap_unixd_config.user_name ? ap_unixd_config.user_name : "",
        "uid", (json_int_t)(root ? ap_unixd_config.user_id : geteuid()),
        "gid", (json_int_t)(root ? ap_unixd_config.group_id : getegid()),
        "parent", (json_int_t)getpid(),
        "level", ap_get_server_module_loglevel(s, APLOG_MODULE_INDEX),
        "syslog", s->error_log == NULL, "folder", folder);
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;

    if (text) {
        apr_size_t length = strlen(text) + strlen(one->worker.configuration) + 32;

        text[strlen(text) - 1] = '\0';
        one->text = secret_room(length, one->pconf);
        apr_snprintf(one->text, length, "%s,\"configuration\":%s}", text,
                     one->worker.configuration);
    }
    free(text);
    json_decref(document);
    return one->text != NULL;
}

/* Where workers of this node know from each other, see fcgi/holders.c; NULL: nowhere. */
static const char *open_folder(server_rec *s, apr_pool_t *p)
{
    const gatehouse_settings_t *settings = gatehouse_settings();
    const char *above = settings && settings->runtime ? settings->runtime
        : ap_runtime_dir_relative(p, "");
    const char *folder = apr_pstrcat(p, above, "/" FOLDER, NULL);
    int error = gatehouse_worker_folder(folder, ap_unixd_config.user_id, ap_unixd_config.group_id);

    if (error) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, error, s, GHNO(1098) "workers cannot have a folder "
                     "%s, by which they know of each other's end: what one that dies was at work "
                     "on waits for half a minute; name a folder with GatehouseRuntimeDirectory",
                     folder);
    }
    return error ? NULL : folder;
}

int gatehouse_start_workers(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    const char *folder = NULL;
    apr_status_t rv;
    int i;

    if (gatehouse_first_pass()) {
        return OK;
    }
    adopt_former(pconf, s);
    for (i = 0; registered && i < registered->nelts; ++i) {
        supervised_t *one = APR_ARRAY_IDX(registered, i, supervised_t *);

        one->server = s;
        one->owner = getpid();
        if (!one->path) {
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, GHNO(0665) "the program %s of worker %s is "
                         "neither beside the modules nor in %s; install it", one->worker.program,
                         one->worker.name, GATEHOUSE_PROGRAMS);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
        folder = folder ? folder : open_folder(s, ptemp);
        rv = write_text(one, folder, s) ? start(one, 0) : APR_EINVAL;
        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0662) "worker %s cannot be started; "
                         "see whether the machine is short of memory or processes",
                         one->worker.name);
            return HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    return OK;
}
