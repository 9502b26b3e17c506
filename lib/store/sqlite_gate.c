/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <apr_strings.h>

struct gh_gate {
    const char *path;
    int descriptor;
};

/* Both of one length, so that the mark needs no space on a full disk. */
static const char mark_open[] = "open   \n";
static const char mark_stopped[] = "stopped\n";

#define MARK_LENGTH (sizeof(mark_open) - 1)
#define LOCK_SLEEP  5000

static apr_status_t gate_close(void *data)
{
    gh_gate_t *gate = data;

    close(gate->descriptor);
    return APR_SUCCESS;
}

apr_status_t gh_gate_open(gh_gate_t **gate, const char *path, apr_pool_t *p, gh_result_t *result)
{
    gh_gate_t *made = apr_palloc(p, sizeof(*made));
    char buffer[120];
    int rc;

    made->path = apr_pstrcat(p, path, ".gate", NULL);
    made->descriptor = open(made->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (made->descriptor < 0) {
        rc = errno;
        return gh_result_fail(result, rc, GH_FAILURE_UNAVAILABLE, NULL,
                              "Give this file and its folder to the user httpd runs as.",
                              GHNO(0062) "%s cannot be opened: %s", made->path,
                              apr_strerror(rc, buffer, sizeof(buffer)));
    }
    apr_pool_cleanup_register(p, made, gate_close, apr_pool_cleanup_null);
    *gate = made;
    return APR_SUCCESS;
}

static apr_status_t lock_failed(gh_gate_t *gate, int rc, gh_result_t *result)
{
    char buffer[120];

    return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, NULL,
                          "Keep the database on a local file system.",
                          GHNO(0063) "%s cannot be locked: %s", gate->path,
                          apr_strerror(rc, buffer, sizeof(buffer)));
}

apr_status_t gh_gate_lock(gh_gate_t *gate, gh_result_t *result)
{
    while (flock(gate->descriptor, LOCK_EX) != 0) {
        if (errno != EINTR) {
            return lock_failed(gate, errno, result);
        }
    }
    return APR_SUCCESS;
}

apr_status_t gh_gate_lock_until(gh_gate_t *gate, apr_time_t deadline, gh_result_t *result)
{
    while (flock(gate->descriptor, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EINTR && errno != EWOULDBLOCK) {
            return lock_failed(gate, errno, result);
        }
        if (gh_monotonic_now() >= deadline) {
            return gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, NULL,
                                  "Find the process that holds this file (lsof) and end it.",
                                  GHNO(0064) "another process has held %s for too long",
                                  gate->path);
        }
        usleep(LOCK_SLEEP);
    }
    return APR_SUCCESS;
}

void gh_gate_unlock(gh_gate_t *gate)
{
    flock(gate->descriptor, LOCK_UN);
}

int gh_gate_stopped(gh_gate_t *gate)
{
    char mark;

    return pread(gate->descriptor, &mark, 1, 0) == 1 && mark == mark_stopped[0];
}

apr_status_t gh_gate_mark(gh_gate_t *gate, int stopped)
{
    const char *mark = stopped ? mark_stopped : mark_open;

    if (pwrite(gate->descriptor, mark, MARK_LENGTH, 0) != (ssize_t)MARK_LENGTH) {
        return errno ? errno : APR_EGENERAL;
    }
    return APR_SUCCESS;
}

apr_status_t gh_gate_refuse(gh_result_t *result)
{
    return gh_result_fail(result, GH_ESTOPPED, GH_FAILURE_UNAVAILABLE, NULL,
                          "Check the disk and the system's log, then stop and start httpd.",
                          GHNO(0065) "the store accepts no writes since a flush to disk failed");
}
