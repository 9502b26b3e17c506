/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_process.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_file_io.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>

typedef struct {
    int descriptor;
    char *data;
    apr_size_t length;
    apr_size_t size;
} stream_t;

static apr_status_t stream_free(void *data)
{
    stream_t *stream = data;

    free(stream->data);
    stream->data = NULL;
    return APR_SUCCESS;
}

static apr_status_t stream_begin(stream_t *stream, apr_file_t *file, apr_pool_t *p)
{
    stream->size = 8192;
    stream->length = 0;
    stream->data = malloc(stream->size);
    if (stream->data == NULL) {
        return APR_ENOMEM;
    }
    apr_pool_cleanup_register(p, stream, stream_free, apr_pool_cleanup_null);
    return apr_os_file_get(&stream->descriptor, file);
}

/* Reads what is there; a descriptor of -1 means that the stream has ended. */
static apr_status_t stream_read(stream_t *stream)
{
    char drop[4096];
    ssize_t got;

    if (stream->length + 1 == stream->size && stream->size < CTL_PROCESS_MAX) {
        char *larger = realloc(stream->data, stream->size * 2);

        if (larger == NULL) {
            return APR_ENOMEM;
        }
        stream->data = larger;
        stream->size *= 2;
    }
    do {
        if (stream->length + 1 == stream->size) {
            got = read(stream->descriptor, drop, sizeof(drop));
        }
        else {
            got = read(stream->descriptor, stream->data + stream->length,
                       stream->size - stream->length - 1);
            stream->length += got > 0 ? (apr_size_t)got : 0;
        }
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    if (got == 0) {
        stream->descriptor = -1;
    }
    return APR_SUCCESS;
}

static apr_status_t streams_read(stream_t *streams)
{
    struct pollfd polled[2];
    apr_status_t rv = APR_SUCCESS;
    int i;

    while (rv == APR_SUCCESS && (streams[0].descriptor >= 0 || streams[1].descriptor >= 0)) {
        for (i = 0; i < 2; i++) {
            polled[i].fd = streams[i].descriptor;
            polled[i].events = POLLIN;
            polled[i].revents = 0;
        }
        if (poll(polled, 2, -1) < 0) {
            if (errno == EINTR) {
                continue;
            }
            return APR_FROM_OS_ERROR(errno);
        }
        for (i = 0; i < 2 && rv == APR_SUCCESS; i++) {
            if (polled[i].revents != 0) {
                rv = stream_read(&streams[i]);
            }
        }
    }
    return rv;
}

apr_status_t ctl_process_run(const char *const *argv, const char **out, const char **errors,
                             int *status, apr_pool_t *p)
{
    apr_pool_t *ptemp;
    apr_procattr_t *attributes;
    apr_proc_t process;
    apr_exit_why_e why;
    apr_file_t *nothing;
    stream_t streams[2];
    apr_status_t rv;

    memset(streams, 0, sizeof(streams));
    apr_pool_create(&ptemp, p);
    rv = apr_procattr_create(&attributes, ptemp);
    if (rv == APR_SUCCESS) {
        rv = apr_procattr_io_set(attributes, APR_NO_PIPE, APR_FULL_BLOCK, APR_FULL_BLOCK);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_file_open(&nothing, "/dev/null", APR_FOPEN_READ, APR_FPROT_OS_DEFAULT, ptemp);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_procattr_child_in_set(attributes, nothing, NULL);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_procattr_cmdtype_set(attributes, APR_PROGRAM_PATH);
    }
    if (rv == APR_SUCCESS) {
        /* a program that is not there is our error, not the child's */
        rv = apr_procattr_error_check_set(attributes, 1);
    }
    if (rv != APR_SUCCESS) {
        goto cleanup;
    }
    rv = apr_proc_create(&process, argv[0], argv, NULL, attributes, ptemp);
    if (rv != APR_SUCCESS) {
        goto cleanup;
    }
    rv = stream_begin(&streams[0], process.out, ptemp);
    if (rv == APR_SUCCESS) {
        rv = stream_begin(&streams[1], process.err, ptemp);
    }
    if (rv == APR_SUCCESS) {
        rv = streams_read(streams);
    }
    if (rv == APR_SUCCESS) {
        *out = apr_pstrmemdup(p, streams[0].data, streams[0].length);
        *errors = apr_pstrmemdup(p, streams[1].data, streams[1].length);
    }
    apr_file_close(process.out);
    apr_file_close(process.err);
    if (apr_proc_wait(&process, status, &why, APR_WAIT) == APR_CHILD_DONE
        && !APR_PROC_CHECK_EXIT(why)) {
        *status += 128;
    }

cleanup:
    apr_pool_destroy(ptemp);
    return rv;
}
