/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The audit log: opened by the parent, written by children, one write per line. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <httpd.h>
#include <http_log.h>
#include <apr_atomic.h>
#include <apr_portable.h>
#include <apr_strings.h>

#include "gatehouse_private.h"
#include "log.h"

APLOG_USE_MODULE(gatehouse);

/** How long a line waits for a program that does not read, in milliseconds; once that was in vain,
 *  lines do not wait until it reads again. */
#define PATIENCE 1000

/** A failure is logged again after so many seconds. */
#define SILENCE 60

static struct {
    int descriptor;
    server_rec *server;
    const char *target;
    apr_uint32_t failed;        /* when a failure was logged, in seconds; 0: all is well */
    apr_uint32_t torn;          /* the last line was not written to its end */
} audit = { .descriptor = -1 };

static apr_status_t audit_close(void *data)
{
    audit.descriptor = -1;
    return APR_SUCCESS;
}

static apr_status_t open_target(apr_file_t **file, const char *target, server_rec *s,
                                apr_pool_t *pconf)
{
    piped_log *pipe;

    if (*target != '|') {
        return apr_file_open(file, target, APR_FOPEN_WRITE | APR_FOPEN_APPEND | APR_FOPEN_CREATE
                             | APR_FOPEN_LARGEFILE,
                             APR_FPROT_UREAD | APR_FPROT_UWRITE | APR_FPROT_GREAD, pconf);
    }
    pipe = ap_open_piped_log(pconf, target + 1 + strspn(target + 1, " \t"));
    if (!pipe) {
        return APR_EGENERAL;
    }
    *file = ap_piped_log_write_fd(pipe);
    return APR_SUCCESS;
}

apr_status_t gatehouse_audit_open(gatehouse_settings_t *settings, server_rec *s,
                                  apr_pool_t *pconf)
{
    apr_file_t *file = NULL;
    apr_os_file_t descriptor;
    apr_status_t rv;

    if (!settings->audit_log) {
        return APR_SUCCESS;
    }
    rv = open_target(&file, settings->audit_log, s, pconf);
    if (rv == APR_SUCCESS) {
        rv = apr_os_file_get(&descriptor, file);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, GHNO(0311) "GatehouseAuditLog: %s cannot be "
                     "opened; check its path and who may write there", settings->audit_log);
        return rv;
    }
    if (*settings->audit_log == '|') {
        /* a program that hangs must not hang the server: write() is to return, see write_line() */
        fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
    }
    audit.descriptor = descriptor;
    audit.server = s;
    audit.target = settings->audit_log;
    audit.failed = 0;
    audit.torn = 0;
    apr_pool_cleanup_register(pconf, NULL, audit_close, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

int gatehouse_audit_is_open(void)
{
    return audit.descriptor >= 0;
}

/* One write, so that lines of several processes do not mix: files are opened for appending, and a
 * line is never longer than what a pipe takes at once. */
static apr_status_t write_line(const char *line, apr_size_t length)
{
    struct pollfd writable = { .fd = audit.descriptor, .events = POLLOUT };
    int patience = apr_atomic_read32(&audit.failed) ? 0 : PATIENCE;
    ssize_t written;

    do {
        written = write(audit.descriptor, line, length);
        if (written == (ssize_t)length) {
            return APR_SUCCESS;
        }
        if (written >= 0) {
            apr_atomic_set32(&audit.torn, written > 0);
            return APR_ENOSPC;
        }
        if (errno == EAGAIN && poll(&writable, 1, patience) == 0) {
            return APR_TIMEUP;
        }
    } while (errno == EAGAIN || errno == EINTR);
    return errno;
}

void gatehouse_audit_write(const char *line)
{
    char torn[GH_AUDIT_LINE_MAX + 2];
    apr_size_t length = strlen(line);
    apr_uint32_t now = (apr_uint32_t)apr_time_sec(apr_time_now());
    apr_uint32_t failed;
    apr_status_t rv;

    if (audit.descriptor < 0) {
        return;
    }
    if (length <= GH_AUDIT_LINE_MAX && apr_atomic_xchg32(&audit.torn, 0)) {
        torn[0] = '\n';
        memcpy(torn + 1, line, length + 1);
        line = torn;
        ++length;
    }
    rv = write_line(line, length);
    failed = apr_atomic_read32(&audit.failed);
    if (rv == APR_SUCCESS) {
        if (failed && apr_atomic_cas32(&audit.failed, 0, failed) == failed) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, audit.server, GHNO(0312) "the audit log can "
                         "be written again");
        }
    }
    else if ((!failed || now - failed >= SILENCE)
             && apr_atomic_cas32(&audit.failed, now, failed) == failed) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, audit.server, GHNO(0313) "lines of the audit log "
                     "%s are lost: free its disk, or see to its program. Decisions that changed "
                     "something are in the store", audit.target);
    }
}

void gatehouse_audit(const gh_audit_event_t *event, apr_pool_t *p)
{
    if (audit.descriptor >= 0) {
        gatehouse_audit_write(gh_audit_line(event, p));
    }
}
