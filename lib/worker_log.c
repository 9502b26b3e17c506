/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include <apr_errno.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "worker_log.h"

/** Longest line. */
#define LINE_MAX_LENGTH 4096

typedef struct {
    const char *name;
    int use_syslog;
} worker_log_t;

/* By GH_LOG_*, which are the numbers of syslog. */
static const char *const levels[] = {
    "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"
};

/* "(2)No such file or directory: "; a status of Gatehouse has no text, its message says all. */
static void status_text(apr_status_t status, char *text, apr_size_t size)
{
    char words[160];

    text[0] = '\0';
    if (status != APR_SUCCESS && (status < APR_OS_START_USERERR
                                  || status >= APR_OS_START_USERERR + APR_OS_ERRSPACE_SIZE)) {
        apr_strerror(status, words, sizeof(words));
        apr_snprintf(text, size, "(%d)%s: ", status, words);
    }
}

/* As httpd writes times: "Sun Nov 29 14:02:11.123456 2026". */
static void time_text(char *text, apr_size_t size)
{
    char date[APR_CTIME_LEN];
    apr_time_t now = apr_time_now();

    if (apr_ctime(date, now) != APR_SUCCESS) {
        apr_cpystrn(date, "Thu Jan 01 00:00:00 1970", sizeof(date));
    }
    apr_snprintf(text, size, "%.19s.%06d%s", date, (int)apr_time_usec(now), date + 19);
}

static void write_line(void *baton, int level, apr_status_t status, const char *message)
{
    const worker_log_t *log = baton;
    char line[LINE_MAX_LENGTH], when[48], what[192];
    const char *name = levels[level < 0 ? 0 : level > GH_LOG_DEBUG ? GH_LOG_DEBUG : level];
    int length;

    status_text(status, what, sizeof(what));
    if (log->use_syslog) {
        syslog(LOG_DAEMON | level, "[%s:%s] [pid %ld] %s%s", log->name, name, (long)getpid(), what,
               message);
        return;
    }
    time_text(when, sizeof(when));
    length = snprintf(line, sizeof(line) - 1, "[%s] [%s:%s] [pid %ld] %s%s", when, log->name, name,
                      (long)getpid(), what, message);
    if (length >= (int)sizeof(line) - 1) {
        length = (int)sizeof(line) - 2;
    }
    line[length++] = '\n';
    /* one write, so that lines of several processes do not mix; there is nobody to tell of a
     * failure */
    while (write(STDERR_FILENO, line, (size_t)length) < 0 && errno == EINTR) {
    }
}

gh_log_t *gh_worker_log_create(const char *name, int level, int use_syslog, apr_pool_t *p)
{
    worker_log_t *baton = apr_pcalloc(p, sizeof(*baton));
    gh_log_t *log = apr_pcalloc(p, sizeof(*log));

    baton->name = apr_pstrdup(p, name);
    baton->use_syslog = use_syslog;
    log->write = write_line;
    log->baton = baton;
    log->level = level;
    return log;
}
