/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#define READ_SIZE 65536

apr_status_t ctl_file_read(gh_bytes_t *bytes, const char *path, apr_size_t most, apr_pool_t *p)
{
    apr_status_t rv = APR_SUCCESS;
    char *data = NULL;
    size_t length = 0;
    size_t size = 0;
    ssize_t got;
    int descriptor = 0;

    if (strcmp(path, "-") != 0) {
        descriptor = open(path, O_RDONLY | O_CLOEXEC);
        if (descriptor < 0) {
            return APR_FROM_OS_ERROR(errno);
        }
    }
    for (;;) {
        if (size - length < READ_SIZE) {
            char *larger = realloc(data, 2 * size + READ_SIZE);

            if (larger == NULL) {
                rv = APR_ENOMEM;
                break;
            }
            data = larger;
            size = 2 * size + READ_SIZE;
        }
        got = read(descriptor, data + length, size - length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            rv = got < 0 ? APR_FROM_OS_ERROR(errno) : APR_SUCCESS;
            break;
        }
        length += (size_t)got;
        if (length > most) {
            rv = APR_ENOSPC;
            break;
        }
    }
    if (rv == APR_SUCCESS) {
        bytes->data = apr_pmemdup(p, data, length);
        bytes->length = length;
    }
    free(data);
    if (descriptor != 0) {
        close(descriptor);
    }
    return rv;
}

static apr_status_t write_all(int descriptor, gh_bytes_t bytes, mode_t mode)
{
    size_t written = 0;
    ssize_t now;

    while (written < bytes.length) {
        now = write(descriptor, bytes.data + written, bytes.length - written);
        if (now < 0 && errno == EINTR) {
            continue;
        }
        if (now < 0) {
            return APR_FROM_OS_ERROR(errno);
        }
        written += (size_t)now;
    }
    /* whatever the umask: the mode is what the caller means */
    if (fchmod(descriptor, mode) != 0 || fsync(descriptor) != 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    return APR_SUCCESS;
}

apr_status_t ctl_file_create(const char *path, gh_bytes_t bytes, mode_t mode)
{
    apr_status_t rv;
    int descriptor;

    descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    rv = write_all(descriptor, bytes, mode);
    if (close(descriptor) != 0 && rv == APR_SUCCESS) {
        rv = APR_FROM_OS_ERROR(errno);
    }
    if (rv != APR_SUCCESS) {
        unlink(path);
    }
    return rv;
}

apr_status_t ctl_folder_sync(const char *path)
{
    apr_status_t rv = APR_SUCCESS;
    int descriptor;

    descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 || fsync(descriptor) != 0) {
        rv = APR_FROM_OS_ERROR(errno);
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
    return rv;
}

apr_status_t ctl_file_replace(const char *path, gh_bytes_t bytes, mode_t mode, apr_pool_t *ptemp)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? apr_pstrdup(ptemp, ".")
                 : apr_pstrmemdup(ptemp, path, slash == path ? 1 : (apr_size_t)(slash - path));
    char *temporary = apr_pstrcat(ptemp, path, ".XXXXXX", NULL);
    apr_status_t rv;
    int descriptor;

    descriptor = mkostemp(temporary, O_CLOEXEC);
    if (descriptor < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    rv = write_all(descriptor, bytes, mode);
    if (close(descriptor) != 0 && rv == APR_SUCCESS) {
        rv = APR_FROM_OS_ERROR(errno);
    }
    if (rv == APR_SUCCESS && rename(temporary, path) != 0) {
        rv = APR_FROM_OS_ERROR(errno);
    }
    if (rv != APR_SUCCESS) {
        unlink(temporary);
        return rv;
    }
    return ctl_folder_sync(folder);
}
