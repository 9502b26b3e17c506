/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Children that start together take turns to open tokens: PKCS#11 modules have been seen to find no
 * key while another process was opening the same token. */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <apr_portable.h>
#include <apr_strings.h>

#include "gatehouse_private.h"
#include "x509/key.h"

/** A token that hangs in one child must not keep the others from trying. */
#define PATIENCE apr_time_from_sec(5)

static int descriptor = -1;

static apr_status_t forget_descriptor(void *data)
{
    descriptor = -1;
    return APR_SUCCESS;
}

static int any_token(const gatehouse_settings_t *settings)
{
    int i;

    for (i = 0; i < settings->issuers->nelts; ++i) {
        const char *key
            = APR_ARRAY_IDX(settings->issuers, i, gatehouse_issuer_section_t *)->config.key;

        if (key && gh_key_is_token(key)) {
            return 1;
        }
    }
    return 0;
}

/* A file without a name: what counts is the lock on it. */
apr_status_t gatehouse_turn_create(const gatehouse_settings_t *settings, apr_pool_t *pconf)
{
    const char *directory;
    char *name;
    apr_file_t *file;
    apr_status_t rv;

    if (!any_token(settings)) {
        return APR_SUCCESS;
    }
    rv = apr_temp_dir_get(&directory, pconf);
    if (rv == APR_SUCCESS) {
        name = apr_pstrcat(pconf, directory, "/gatehouse-XXXXXX", NULL);
        rv = apr_file_mktemp(&file, name, APR_FOPEN_CREATE | APR_FOPEN_READ | APR_FOPEN_WRITE
                             | APR_FOPEN_EXCL, pconf);
    }
    if (rv == APR_SUCCESS) {
        apr_file_remove(name, pconf);
        rv = apr_os_file_get(&descriptor, file);
        apr_pool_cleanup_register(pconf, NULL, forget_descriptor, apr_pool_cleanup_null);
    }
    return rv;
}

/* Locks of fcntl() belong to the process, also on an inherited descriptor, and end with it. */
static int set_lock(short type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

    return fcntl(descriptor, F_SETLK, &lock);
}

void gatehouse_turn_begin(void)
{
    apr_time_t deadline = apr_time_now() + PATIENCE;

    while (descriptor >= 0 && set_lock(F_WRLCK) && (errno == EAGAIN || errno == EACCES)
           && apr_time_now() < deadline) {
        apr_sleep(apr_time_from_msec(5));
    }
}

void gatehouse_turn_end(void)
{
    if (descriptor >= 0) {
        set_lock(F_UNLCK);
    }
}
