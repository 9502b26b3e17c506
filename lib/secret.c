/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_poll.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <openssl/crypto.h>

#include "log.h"
#include "result.h"
#include "text.h"

#define SECRET_MAX          4096
#define SECRET_EXEC_WAIT    apr_time_from_sec(10)

typedef struct {
    unsigned char data[SECRET_MAX + 2];     /* one byte too many shows, one for the final NUL */
    apr_size_t length;
} secret_t;

static apr_status_t secret_cleanup(void *data)
{
    OPENSSL_cleanse(data, sizeof(secret_t));
    return APR_SUCCESS;
}

static apr_status_t read_file(secret_t *secret, const char *path, gh_result_t *result)
{
    struct stat info;
    ssize_t count = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0) {
        return gh_result_fail(result, errno, GH_FAILURE_UNAVAILABLE, "secret",
                              "Check the path and that the user who starts httpd may read it.",
                              GHNO(0001) "the secret file %s cannot be opened: %s", path,
                              strerror(errno));
    }
    if (fstat(fd, &info) || !S_ISREG(info.st_mode) || (info.st_mode & 077)) {
        close(fd);
        return gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, "secret",
                              "Make it a plain file that only its owner may read: chmod 600.",
                              GHNO(0002) "the secret file %s is accessible to group or others, "
                              "or is no plain file", path);
    }
    while (secret->length <= SECRET_MAX) {
        count = read(fd, secret->data + secret->length, SECRET_MAX + 1 - secret->length);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            break;
        }
        secret->length += (apr_size_t)count;
    }
    close(fd);
    if (count < 0) {
        return gh_result_fail(result, errno, GH_FAILURE_UNAVAILABLE, "secret", NULL,
                              GHNO(0003) "the secret file %s cannot be read: %s", path,
                              strerror(errno));
    }
    return APR_SUCCESS;
}

/* Reads until the program closes its output or the time is over. */
static apr_status_t read_pipe(secret_t *secret, apr_file_t *pipe)
{
    apr_time_t end = apr_time_now() + SECRET_EXEC_WAIT;
    apr_status_t rv = APR_SUCCESS;

    while (rv == APR_SUCCESS && secret->length <= SECRET_MAX) {
        apr_interval_time_t left = end - apr_time_now();
        apr_size_t count = SECRET_MAX + 1 - secret->length;

        if (left <= 0) {
            return APR_TIMEUP;
        }
        apr_file_pipe_timeout_set(pipe, left);
        rv = apr_file_read(pipe, secret->data + secret->length, &count);
        if (rv == APR_SUCCESS) {
            secret->length += count;
        }
    }
    return rv == APR_EOF || rv == APR_SUCCESS ? APR_SUCCESS : rv;
}

static apr_status_t run_program(secret_t *secret, const char *path, apr_pool_t *p,
                                gh_result_t *result)
{
    const char *argv[] = { path, NULL };
    apr_procattr_t *attributes;
    apr_exit_why_e why = APR_PROC_EXIT;
    apr_proc_t process;
    apr_pool_t *ptemp;
    apr_status_t rv;
    int code = -1;

    apr_pool_create(&ptemp, p);
    rv = apr_procattr_create(&attributes, ptemp);
    if (rv == APR_SUCCESS) {
        rv = apr_procattr_io_set(attributes, APR_NO_PIPE, APR_FULL_NONBLOCK, APR_NO_PIPE);
    }
    if (rv == APR_SUCCESS) {
        apr_procattr_cmdtype_set(attributes, APR_PROGRAM_ENV);
        apr_procattr_error_check_set(attributes, 1);
        rv = apr_proc_create(&process, path, argv, NULL, attributes, ptemp);
    }
    if (rv == APR_SUCCESS) {
        rv = read_pipe(secret, process.out);
        if (rv != APR_SUCCESS) {
            apr_proc_kill(&process, 9);
        }
        apr_file_close(process.out);
        apr_proc_wait(&process, &code, &why, APR_WAIT);
        if (rv == APR_SUCCESS && (code != 0 || why != APR_PROC_EXIT)) {
            rv = APR_EGENERAL;
        }
    }
    apr_pool_destroy(ptemp);
    if (rv != APR_SUCCESS) {
        return gh_result_fail(result, rv, GH_FAILURE_UNAVAILABLE, "secret",
                              "Run it by hand as the user who starts httpd: it must print the "
                              "secret and end with status 0 within ten seconds.",
                              GHNO(0004) "the program %s gave no secret (status %d)", path, code);
    }
    return APR_SUCCESS;
}

apr_status_t gh_secret_load(gh_bytes_t *bytes, const char *source, apr_pool_t *p,
                            gh_result_t *result)
{
    secret_t *secret = apr_pcalloc(p, sizeof(*secret));
    apr_status_t rv;

    bytes->data = NULL;
    bytes->length = 0;
    apr_pool_cleanup_register(p, secret, secret_cleanup, apr_pool_cleanup_null);
    if (!strncmp(source, "file:/", 6)) {
        rv = read_file(secret, source + 5, result);
    }
    else if (!strncmp(source, "exec:/", 6)) {
        rv = run_program(secret, source + 5, p, result);
    }
    else {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "secret",
                              "Write file:/absolute/path or exec:/absolute/path.",
                              GHNO(0005) "a secret is given by file: or exec: and an absolute "
                              "path, never inline");
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (secret->length > 0 && secret->length <= SECRET_MAX + 1
        && secret->data[secret->length - 1] == '\n') {
        --secret->length;
        if (secret->length > 0 && secret->data[secret->length - 1] == '\r') {
            --secret->length;
        }
    }
    if (secret->length == 0 || secret->length > SECRET_MAX
        || memchr(secret->data, 0, secret->length)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "secret",
                              "Give 1 to 4096 bytes without NUL.",
                              GHNO(0006) "the secret from %s is empty, too long or has a NUL byte",
                              source);
    }
    secret->data[secret->length] = '\0';
    bytes->data = secret->data;
    bytes->length = secret->length;
    return APR_SUCCESS;
}
