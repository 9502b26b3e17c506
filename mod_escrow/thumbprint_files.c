/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Pins of files, in a child. A set is made anew when its file has changed, and put into the place
 * of the former one. */

#include "mod_escrow/thumbprint.h"

#include <string.h>

#include <apr_atomic.h>
#include <apr_thread_rwlock.h>
#include <http_log.h>

#include "log.h"

APLOG_USE_MODULE(escrow);

#define FILE_INTERVAL apr_time_from_sec(1)

/** A file as a child knows it. */
typedef struct {
    const escrow_file_t *file;
    volatile apr_uint32_t looking;  /* one thread does, the others go on */
    apr_time_t looked;              /* by the monotonic clock */
    apr_finfo_t info;               /* as of the last time that it was read, or tried */
    int failed;                     /* that it cannot be had was said */
    apr_pool_t *pool;               /* of pins */
    escrow_pins_t *pins;            /* NULL: none */
} watched_t;

static struct {
    server_rec *server;
    apr_pool_t *p;
    apr_thread_rwlock_t *lock;      /* for pins of files */
    watched_t *files;
    int count;
} child;

static void complain(watched_t *watched, apr_status_t rv, const gh_result_t *result)
{
    if (!watched->failed) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, child.server, GHNO(1160) "%s stays as it was: %s. "
                     "%s", watched->file->path,
                     result ? result->message : "it cannot be found", result ? result->action : "");
    }
    watched->failed = 1;
}

/** Who removes a file wants its pins to end. */
static void gone(watched_t *watched)
{
    apr_pool_t *former;

    ap_log_error(APLOG_MARK, APLOG_ERR, 0, child.server, GHNO(1341) "%s is gone, and with it the "
                 "%u pins that it had", watched->file->path, escrow_pins_count(watched->pins));
    apr_thread_rwlock_wrlock(child.lock);
    former = watched->pool;
    watched->pins = NULL;
    watched->pool = NULL;
    apr_thread_rwlock_unlock(child.lock);
    memset(&watched->info, 0, sizeof(watched->info));
    watched->failed = 1;
    if (former) {
        apr_pool_destroy(former);
    }
}

static int same(const apr_finfo_t *a, const apr_finfo_t *b)
{
    return a->mtime == b->mtime && a->size == b->size && a->inode == b->inode
           && a->device == b->device && a->ctime == b->ctime;
}

/** Lines that cannot be understood authorise nobody, and end nothing that the others say. */
static void tell_skipped(const watched_t *watched, const escrow_skipped_t *skipped)
{
    int i;

    for (i = 0; i < skipped->said->nelts; ++i) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, child.server, GHNO(1515) "%s; this line lets "
                     "nobody in, the others count",
                     APR_ARRAY_IDX(skipped->said, i, const char *));
    }
    if (skipped->count > skipped->said->nelts) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, child.server, GHNO(1516) "%d more lines of %s "
                     "cannot be understood, and let nobody in",
                     skipped->count - skipped->said->nelts, watched->file->path);
    }
}

/** Reads a file if it has changed. A file that cannot be read changes nothing: what was known
 *  stays, as it does while somebody writes it. */
static void look(watched_t *watched, int first)
{
    escrow_pins_t *pins = NULL;
    apr_pool_t *pool = NULL, *former;
    escrow_skipped_t skipped = { 0, NULL };
    apr_finfo_t info;
    gh_result_t result;
    apr_status_t rv;

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return;
    }
    rv = apr_stat(&info, watched->file->path,
                  APR_FINFO_MTIME | APR_FINFO_CTIME | APR_FINFO_SIZE | APR_FINFO_IDENT, pool);
    if (APR_STATUS_IS_ENOENT(rv) && watched->pins) {
        gone(watched);
    }
    else if (rv != APR_SUCCESS && rv != APR_INCOMPLETE) {
        complain(watched, rv, NULL);
    }
    else if (first || !same(&info, &watched->info)) {
        watched->info = info;
        gh_result_clear(&result);
        rv = escrow_pins_read(&pins, watched->file->path, watched->file->with_roles, NULL,
                              &skipped, pool, &result);
        if (rv != APR_SUCCESS) {
            pins = NULL;
            watched->failed = 0;
            complain(watched, 0, &result);
        }
    }
    if (!pins) {
        apr_pool_destroy(pool);
        return;
    }
    watched->failed = 0;
    tell_skipped(watched, &skipped);
    apr_thread_rwlock_wrlock(child.lock);
    former = watched->pool;
    watched->pins = pins;
    watched->pool = pool;
    apr_thread_rwlock_unlock(child.lock);
    if (former) {
        apr_pool_destroy(former);
    }
    if (!first) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, child.server, GHNO(1161) "%s was taken up: %u "
                     "pins", watched->file->path, escrow_pins_count(pins));
    }
}

void thumbprint_files_child_init(apr_pool_t *pchild, server_rec *s)
{
    const escrow_global_t *global = escrow_global_now();
    int i;

    child.count = 0;
    if (!global || !global->pin_files->nelts) {
        return;
    }
    child.server = s;
    child.p = pchild;
    if (apr_thread_rwlock_create(&child.lock, pchild) != APR_SUCCESS) {
        return;
    }
    child.count = global->pin_files->nelts;
    child.files = apr_pcalloc(pchild, sizeof(watched_t) * (apr_size_t)(child.count + 1));
    for (i = 0; i < child.count; ++i) {
        child.files[i].file = APR_ARRAY_IDX(global->pin_files, i, const escrow_file_t *);
        look(&child.files[i], 1);
        child.files[i].looked = thumbprint_clock();
    }
}

static void look_again(request_rec *r, watched_t *watched)
{
    apr_time_t now = thumbprint_clock();

    if (now - watched->looked < FILE_INTERVAL
        || apr_atomic_cas32(&watched->looking, 1, 0) != 0) {
        return;
    }
    escrow_gatehouse()->begin_work(r);
    look(watched, 0);
    watched->looked = thumbprint_clock();
    escrow_gatehouse()->end_work();
    apr_atomic_set32(&watched->looking, 0);
}

int thumbprint_in_file(request_rec *r, int index, const escrow_client_t *client, unsigned roles,
                       apr_time_t now)
{
    watched_t *watched;
    int found;

    if (index >= child.count) {
        return 0;
    }
    watched = &child.files[index];
    look_again(r, watched);
    apr_thread_rwlock_rdlock(child.lock);
    found = watched->pins && escrow_pins_find(watched->pins, client, roles, now);
    apr_thread_rwlock_unlock(child.lock);
    return found;
}

int thumbprint_in_pin_files(request_rec *r, const escrow_client_t *client, unsigned roles,
                            apr_time_t now)
{
    int i;

    for (i = 0; i < child.count; ++i) {
        if (child.files[i].file->with_roles && thumbprint_in_file(r, i, client, roles, now)) {
            return 1;
        }
    }
    return 0;
}
