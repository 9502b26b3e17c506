/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Children take turns to open tokens, also those of one generation and the next: some PKCS#11
 * modules find no token while another process logs in. SoftHSM 2.6 empties a file of the token at
 * each login, gives back its lock, and only then writes the file again. */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <httpd.h>
#include <http_config.h>
#include <apr_atomic.h>
#include <apr_portable.h>
#include <apr_strings.h>

#include "gatehouse_private.h"
#include "x509/key.h"

/** A token that hangs in one child must not keep the others from trying. In this time many children
 *  have had their turn, also on a busy machine. */
#define PATIENCE apr_time_from_sec(20)

/** A descriptor that outlives the configuration, so that it is the same for all generations. */
#define KEPT "gatehouse-turn"

static int descriptor = -1;
static volatile apr_uint32_t on;
static int needed;

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
static apr_status_t make_file(apr_file_t **file, apr_pool_t *p)
{
    const char *directory;
    char *name;
    apr_status_t rv = apr_temp_dir_get(&directory, p);

    if (rv == APR_SUCCESS) {
        name = apr_pstrcat(p, directory, "/gatehouse-XXXXXX", NULL);
        rv = apr_file_mktemp(file, name, APR_FOPEN_CREATE | APR_FOPEN_READ | APR_FOPEN_WRITE
                             | APR_FOPEN_EXCL, p);
    }
    if (rv == APR_SUCCESS) {
        apr_file_remove(name, p);
    }
    return rv;
}

void gatehouse_turn_need(void)
{
    needed = 1;
}

apr_status_t gatehouse_turn_create(const gatehouse_settings_t *settings, server_rec *s)
{
    apr_file_t **kept = ap_retained_data_get(KEPT);
    apr_status_t rv = APR_SUCCESS;
    int none = !needed && !any_token(settings);

    descriptor = -1;
    needed = 0;
    if (none) {
        return APR_SUCCESS;
    }
    if (!kept) {
        kept = ap_retained_data_create(KEPT, sizeof(*kept));
    }
    if (!*kept) {
        rv = make_file(kept, s->process->pool);
    }
    return rv == APR_SUCCESS ? apr_os_file_get(&descriptor, *kept) : rv;
}

/* Locks of fcntl() belong to the process, also on an inherited descriptor, and end with it. */
static int set_lock(short type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

    return fcntl(descriptor, F_SETLK, &lock);
}

/* The lock does not hold off other threads of the same process. */
void gatehouse_turn_begin(void)
{
    apr_time_t deadline = apr_time_now() + PATIENCE;

    while (apr_atomic_cas32(&on, 1, 0) != 0 && apr_time_now() < deadline) {
        apr_sleep(apr_time_from_msec(5));
    }
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
    apr_atomic_set32(&on, 0);
}

int gatehouse_turn_is_on(void)
{
    return apr_atomic_read32(&on) != 0;
}
