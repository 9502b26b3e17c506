/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * Workers of this node that have died. Each holds the lock of a file of its own as long as it
 * lives: whoever gets such a lock knows that its owner is gone, whatever number of a process has
 * been given to another since, and that a worker of the former generation, which still finishes
 * what it has begun, is not. What the dead one held is free at once then; what one of another node
 * held is when its time is over.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#include "fcgi/framework_private.h"
#include "store/housekeeping.h"

/** Between two looks. */
#define LOOK_EVERY apr_time_from_sec(1)

#define SUFFIX ".holder"
/** While a file is being made, nobody may find it without its lock. */
#define UNREADY ".new"

#define NAME_MAX_LENGTH 255
#define HOLDER_MAX 512

/** Of one look; more are for the next. */
#define DEAD_MAX 16

struct holders {
    framework_t *framework;
    const char *folder;
    const char *name;               /* of our own file */
    apr_time_t due;
    int busy;
};

typedef struct {
    holders_t *holders;
    apr_pool_t *pool;
    apr_array_header_t *dead;       /* dead_t */
    apr_status_t rv;
    gh_result_t result;
} release_t;

typedef struct {
    int descriptor;                 /* with the lock */
    const char *path;
    const char *holder;
} dead_t;

static const char *path_of(const holders_t *holders, const char *name, apr_pool_t *p)
{
    return apr_pstrcat(p, holders->folder, "/", name, NULL);
}

/* Ours */

/** @return an error of the system */
static int make_file(const holders_t *holders, apr_pool_t *p)
{
    const char *path = path_of(holders, holders->name, p);
    const char *unready = apr_pstrcat(p, path, UNREADY, NULL);
    const char *holder = holders->framework->holder;
    size_t length = strlen(holder);
    int descriptor = open(unready, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = 0;

    if (descriptor < 0) {
        return errno;
    }
    errno = ENOSPC;
    if (flock(descriptor, LOCK_EX | LOCK_NB) || write(descriptor, holder, length) != (ssize_t)length
        || rename(unready, path)) {
        error = errno;
        unlink(unready);
        close(descriptor);
    }
    return error;                   /* the descriptor is closed by the end of the process */
}

void holders_begin(framework_t *framework, const char *folder)
{
    holders_t *holders;
    int error;

    if (!folder) {
        return;
    }
    holders = apr_pcalloc(framework->pool, sizeof(*holders));
    holders->framework = framework;
    holders->folder = apr_pstrdup(framework->pool, folder);
    holders->name = apr_psprintf(framework->pool, "%s.%s" SUFFIX, gh_worker_name(framework->worker),
                                 gh_random_id(framework->pool));
    framework->holders = holders;
    error = make_file(holders, framework->pool);
    if (error) {
        gh_log(framework->log, GH_LOG_WARNING, error, GHNO(1096) "%s cannot make a file in %s, by "
               "which others would know of its end: what it holds then waits until its time is "
               "over", gh_worker_name(framework->worker), folder);
    }
}

void holders_end(framework_t *framework)
{
    if (framework->holders) {
        unlink(path_of(framework->holders, framework->holders->name, framework->pool));
    }
}

/* Those of others */

/** @return 1 if its owner is dead; the lock is ours then, and nobody else looks at it meanwhile */
static int take(dead_t *dead, const char *path, apr_pool_t *p)
{
    struct stat info;
    char text[HOLDER_MAX + 1];
    ssize_t length;
    int descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);

    if (descriptor < 0) {
        return 0;
    }
    if (fstat(descriptor, &info) || !S_ISREG(info.st_mode)
        || flock(descriptor, LOCK_EX | LOCK_NB)) {
        close(descriptor);
        return 0;
    }
    length = pread(descriptor, text, HOLDER_MAX, 0);
    dead->descriptor = descriptor;
    dead->path = apr_pstrdup(p, path);
    dead->holder = apr_pstrmemdup(p, text, length > 0 ? (apr_size_t)length : 0);
    return 1;
}

static apr_array_header_t *find_dead(const holders_t *holders, apr_pool_t *p)
{
    apr_array_header_t *found = apr_array_make(p, 2, sizeof(dead_t));
    DIR *folder = opendir(holders->folder);
    const struct dirent *entry;

    while (folder && found->nelts < DEAD_MAX && (entry = readdir(folder)) != NULL) {
        size_t length = strlen(entry->d_name);
        dead_t dead;

        if (length > sizeof(SUFFIX) && length <= NAME_MAX_LENGTH
            && !strcmp(entry->d_name + length - (sizeof(SUFFIX) - 1), SUFFIX)
            && strcmp(entry->d_name, holders->name)
            && take(&dead, path_of(holders, entry->d_name, p), p)) {
            APR_ARRAY_PUSH(found, dead_t) = dead;
        }
    }
    if (folder) {
        closedir(folder);
    }
    return found;
}

static apr_status_t release_work(gh_transaction_t *transaction, void *baton)
{
    const release_t *release = baton;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < release->dead->nelts; ++i) {
        const char *holder = APR_ARRAY_IDX(release->dead, i, dead_t).holder;

        rv = *holder ? gh_job_release(transaction, holder) : APR_SUCCESS;
        if (rv == APR_SUCCESS && *holder) {
            rv = gh_lease_release_all(transaction, holder);
        }
    }
    return rv;
}

static void release_blocking(void *baton)
{
    release_t *release = baton;

    release->rv = gh_store_write(release->holders->framework->store, release_work, release,
                                 &release->result);
}

static void release_done(void *baton)
{
    release_t *release = baton;
    framework_t *framework = release->holders->framework;
    int i;

    for (i = 0; i < release->dead->nelts; ++i) {
        const dead_t *dead = &APR_ARRAY_IDX(release->dead, i, dead_t);

        /* one that could not be released is found again */
        if (release->rv == APR_SUCCESS) {
            gh_log(framework->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(1097) "%s has died: what it "
                   "was at work on is taken up at once", dead->holder);
            unlink(dead->path);
        }
        close(dead->descriptor);
    }
    release->holders->busy = 0;
    framework->poll_due = 0;
    apr_pool_destroy(release->pool);
}

apr_time_t holders_step(framework_t *framework, apr_time_t now)
{
    holders_t *holders = framework->holders;
    release_t *release;
    apr_pool_t *pool;

    if (!holders || framework->stopping) {
        return now + LOOK_EVERY;
    }
    if (now < holders->due || holders->busy) {
        return holders->busy ? now + LOOK_EVERY : holders->due;
    }
    holders->due = now + LOOK_EVERY;
    apr_pool_create_unmanaged_ex(&pool, NULL, framework->allocator);
    release = apr_pcalloc(pool, sizeof(*release));
    release->holders = holders;
    release->pool = pool;
    release->dead = find_dead(holders, pool);
    if (release->dead->nelts) {
        holders->busy = 1;
        framework_blocking(framework, release_blocking, release_done, release);
    }
    else {
        apr_pool_destroy(pool);
    }
    return holders->due;
}
