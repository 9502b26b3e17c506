/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "mod_ocsp/feeder/ocsp_fetch.h"

/** A file that was changed so shortly before it was looked at may have been changed once more
 *  since, within the same tick of its clock. */
#define FRESH 2

static void job_done(void *baton)
{
    ocsp_fetch_t *fetch = baton;

    fetch->done(fetch->baton);
}

void ocsp_fetch_begin(ocsp_fetch_t *fetch, CURLM *multi, gh_lane_t *lane)
{
    int ldap = !strncasecmp(fetch->url, "ldap", 4);
    apr_status_t rv;

    gh_result_clear(&fetch->result);
    ocsp_buffer_free(&fetch->bytes);
    fetch->status = APR_SUCCESS;
    fetch->unchanged = 0;
    if (!ldap && strncasecmp(fetch->url, "file:", 5)) {
        ocsp_fetch_http(fetch, multi);
        return;
    }
    fetch->job.work = ldap ? ocsp_fetch_ldap : ocsp_fetch_file;
    fetch->job.done = job_done;
    fetch->job.baton = fetch;
    /* from here on it belongs to the thread */
    rv = gh_lane_submit(lane, &fetch->job);
    if (rv != APR_SUCCESS) {
        fetch->status = rv;
        fetch->done(fetch->baton);
    }
}

void ocsp_fetch_forget(ocsp_fetch_t *fetch)
{
    fetch->etag[0] = '\0';
    fetch->modified[0] = '\0';
    memset(fetch->file, 0, sizeof(fetch->file));
}

static apr_status_t file_failed(ocsp_fetch_t *fetch, int error)
{
    return gh_result_fail(&fetch->result, error, GH_FAILURE_UNAVAILABLE, "ocsp.source",
                          "Check the path, and that the user of httpd's children may read it.",
                          GHNO(0673) "the file cannot be read: %s", strerror(error));
}

static apr_status_t read_all(ocsp_fetch_t *fetch, int descriptor)
{
    unsigned char piece[65536];
    apr_status_t rv = APR_SUCCESS;
    ssize_t count;

    do {
        count = read(descriptor, piece, sizeof(piece));
        if (count < 0 && errno != EINTR) {
            return file_failed(fetch, errno);
        }
        if (count > 0) {
            rv = ocsp_buffer_add(&fetch->bytes, piece, (apr_size_t)count);
        }
    } while (rv == APR_SUCCESS && count != 0);
    return rv;
}

void ocsp_fetch_file(void *baton)
{
    ocsp_fetch_t *fetch = baton;
    const char *path = fetch->url + 5;
    apr_int64_t file[4];
    struct stat info;
    int descriptor;

    path += !strncmp(path, "//", 2) ? 2 : 0;
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0 || fstat(descriptor, &info)) {
        fetch->status = file_failed(fetch, errno);
        goto cleanup;
    }
    if (!S_ISREG(info.st_mode)) {
        fetch->status = file_failed(fetch, EINVAL);
        goto cleanup;
    }
    file[0] = (apr_int64_t)info.st_dev;
    file[1] = (apr_int64_t)info.st_ino;
    file[2] = (apr_int64_t)info.st_size;
    file[3] = (apr_int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    if (fetch->file[3] && !memcmp(file, fetch->file, sizeof(file))) {
        fetch->unchanged = 1;
        goto cleanup;
    }
    fetch->status = read_all(fetch, descriptor);
    if (fetch->status == APR_ENOSPC) {
        ocsp_fetch_too_large(fetch);
    }
    memcpy(fetch->file, file, sizeof(file));
    if (info.st_mtim.tv_sec >= apr_time_sec(apr_time_now()) - FRESH) {
        fetch->file[3] = 0;
    }

cleanup:
    if (descriptor >= 0) {
        close(descriptor);
    }
}

void ocsp_fetch_too_large(ocsp_fetch_t *fetch)
{
    fetch->status = gh_result_fail(&fetch->result, APR_ENOSPC, GH_FAILURE_REQUEST, "ocsp.source",
                                   "See what is served there; max-size= allows more.",
                                   GHNO(0670) "it has more than %lu bytes",
                                   (unsigned long)fetch->bytes.limit);
}
