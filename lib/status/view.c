/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "status/view.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <apr_allocator.h>
#include <apr_strings.h>
#include <apr_thread_rwlock.h>

#include "log.h"
#include "status.h"
#include "store/changes.h"

/** Changes that one transaction reads. */
#define BATCH 2000

/** Transactions of one round: a process that starts has more to read. */
#define BATCHES 100

/** For how long after a change numbers below it may become visible on PostgreSQL. */
#define UNSETTLED apr_time_from_sec(20)

/** Numbers that are read again in each round while that may be, and rounds between two in which all
 *  that may come late are. */
#define LATE_FEW 1024
#define LATE_ROUNDS 32

/** An index with its overlay, in a pool of its own. */
typedef struct {
    gh_index_t *index;
    gh_overlay_t *overlay;
    apr_pool_t *pool;
} pair_t;

struct gh_view {
    const char *name;
    const char *folder;
    const char *path;               /* of the index */
    const char *issuer;
    unsigned char authority[32];
    gh_source_t source;
    apr_pool_t *pool;

    apr_thread_rwlock_t *lock;      /* guards the next */
    pair_t *pair;                   /* NULL: none yet */

    /* of the thread that follows */
    pair_t *next;                   /* newer, and not caught up yet */
    dev_t device;                   /* of the file that was looked at last */
    ino_t inode;
    struct timespec changed;
    apr_int64_t moved_to;           /* last change that was seen, and when it was new */
    apr_time_t moved_at;
    unsigned int round;
};

static apr_status_t forget_pairs(void *data)
{
    gh_view_t *view = data;

    if (view->next) {
        apr_pool_destroy(view->next->pool);
        view->next = NULL;
    }
    if (view->pair) {
        apr_pool_destroy(view->pair->pool);
        view->pair = NULL;
    }
    return APR_SUCCESS;
}

gh_view_t *gh_view_create(const char *folder, const char *name,
                          const unsigned char authority[32], gh_source_t source,
                          const char *issuer, apr_pool_t *p)
{
    gh_view_t *view = apr_pcalloc(p, sizeof(*view));

    view->folder = folder;
    view->name = name;
    view->path = gh_view_index_path(folder, name, p);
    view->issuer = issuer;
    view->source = source;
    view->pool = p;
    memcpy(view->authority, authority, sizeof(view->authority));
    if (apr_thread_rwlock_create(&view->lock, p) != APR_SUCCESS) {
        return NULL;
    }
    apr_pool_cleanup_register(p, view, forget_pairs, apr_pool_cleanup_null);
    return view;
}

/** A pool that any thread may use, since it shares its memory with no other. */
static apr_status_t make_pair(pair_t **pair)
{
    apr_allocator_t *allocator;
    apr_pool_t *p;
    apr_status_t rv = apr_allocator_create(&allocator);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = apr_pool_create_unmanaged_ex(&p, NULL, allocator);
    if (rv != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return rv;
    }
    apr_allocator_owner_set(allocator, p);
    apr_pool_tag(p, "gatehouse-status");
    *pair = apr_pcalloc(p, sizeof(**pair));
    (*pair)->pool = p;
    return APR_SUCCESS;
}

static apr_status_t open_pair(gh_view_t *view, pair_t **pair, gh_result_t *result)
{
    apr_status_t rv = make_pair(pair);

    if (rv != APR_SUCCESS) {
        *pair = NULL;
        return rv;
    }
    rv = gh_index_open(&(*pair)->index, view->path, view->authority, 1, (*pair)->pool, result);
    if (rv == APR_SUCCESS) {
        rv = gh_overlay_open(&(*pair)->overlay,
                             gh_view_overlay_path(view->folder, view->name,
                                                  gh_index_info((*pair)->index)->generation,
                                                  (*pair)->pool),
                             view->authority, gh_index_info((*pair)->index)->generation,
                             (*pair)->pool, result);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy((*pair)->pool);
        *pair = NULL;
    }
    return rv;
}

static void use_pair(gh_view_t *view, pair_t *pair)
{
    pair_t *old;

    apr_thread_rwlock_wrlock(view->lock);
    old = view->pair;
    view->pair = pair;
    apr_thread_rwlock_unlock(view->lock);
    if (old) {
        apr_pool_destroy(old->pool);
    }
}

/** Takes up a file that was not looked at yet. One that is no use is looked at again once it is
 *  another. */
static apr_status_t look_for_index(gh_view_t *view, gh_result_t *result)
{
    struct stat status;
    pair_t *pair;
    apr_status_t rv;

    if (stat(view->path, &status) != 0) {
        return view->pair ? APR_SUCCESS
                          : gh_result_fail(result, APR_FROM_OS_ERROR(errno),
                                           GH_FAILURE_UNAVAILABLE, "ocsp.index",
                                           "It is being made; if this goes on, look whether "
                                           "gatehouse-ocsp-feeder runs, and what it says.",
                                           GHNO(0708) "there is no status index %s yet",
                                           view->path);
    }
    if (status.st_dev == view->device && status.st_ino == view->inode
        && status.st_mtim.tv_sec == view->changed.tv_sec
        && status.st_mtim.tv_nsec == view->changed.tv_nsec) {
        return APR_SUCCESS;
    }
    rv = open_pair(view, &pair, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    view->device = status.st_dev;
    view->inode = status.st_ino;
    view->changed = status.st_mtim;
    if (view->next) {
        apr_pool_destroy(view->next->pool);
        view->next = NULL;
    }
    if (view->pair && view->source == GH_SOURCE_STORE) {
        view->next = pair;
    }
    else {
        use_pair(view, pair);
    }
    return APR_SUCCESS;
}

static void progress_of(const pair_t *pair, gh_overlay_progress_t *progress)
{
    const gh_index_info_t *info = gh_index_info(pair->index);

    gh_overlay_progress(pair->overlay, progress);
    if (info->change > progress->change) {
        progress->change = info->change;
    }
    if (info->synced_at > progress->synced_at) {
        progress->synced_at = info->synced_at;
    }
}

typedef struct {
    const gh_view_t *view;
    gh_overlay_t *overlay;
    apr_int64_t after;
    apr_int64_t change;
    int more;
    apr_status_t put;               /* first failure of the overlay */
    gh_result_t *result;
} reading_t;

static apr_status_t put_change(void *baton, const gh_known_certificate_t *certificate)
{
    reading_t *reading = baton;

    reading->put = gh_overlay_put(reading->overlay, certificate->serial, &certificate->known,
                                  reading->result);
    return reading->put;
}

static apr_status_t read_changes(gh_transaction_t *transaction, void *baton)
{
    reading_t *reading = baton;

    return gh_changes_since(transaction, reading->view->issuer, reading->after, BATCH, put_change,
                            reading, &reading->change, &reading->more);
}

/** Where to read from: on PostgreSQL numbers may still become visible below the last one. */
static apr_int64_t start_of(gh_view_t *view, gh_store_t *store, apr_int64_t change, apr_time_t now)
{
    apr_int64_t late;

    if (strcmp(gh_store_kind(store), "pgsql")) {
        return change;
    }
    if (change != view->moved_to) {
        view->moved_to = change;
        view->moved_at = now;
    }
    if (now - view->moved_at > UNSETTLED || now < view->moved_at) {
        return change;
    }
    late = view->round % LATE_ROUNDS ? LATE_FEW : GH_CHANGES_LATE;
    return change > late ? change - late : 0;
}

/** Reads what the store has and the pair does not. */
static apr_status_t catch_up(gh_view_t *view, pair_t *pair, gh_store_t *store,
                             gh_result_t *result)
{
    gh_overlay_progress_t progress;
    reading_t reading = { view, pair->overlay, 0, 0, 1, APR_SUCCESS, result };
    apr_status_t rv = APR_SUCCESS;
    int batch;

    progress_of(pair, &progress);
    reading.after = start_of(view, store, progress.change, apr_time_now());
    for (batch = 0; rv == APR_SUCCESS && reading.more && batch < BATCHES; ++batch) {
        apr_time_t begin = apr_time_now();

        rv = gh_store_read(store, read_changes, &reading, result);
        if (rv == APR_SUCCESS) {
            progress.change = reading.change;
            progress.synced_at = reading.more ? 0 : begin;
            gh_overlay_advance(pair->overlay, &progress);
            reading.after = reading.change;
        }
    }
    return rv == APR_SUCCESS && reading.more ? GH_EBUSY : rv;
}

/** What is known may be older than what others have noted, and can be newer only by a clock that
 *  was set back. */
apr_status_t gh_view_follow(gh_view_t *view, gh_store_t *store, apr_pool_t *ptemp,
                            gh_result_t *result)
{
    apr_status_t rv = look_for_index(view, result), read;

    ++view->round;
    if (!view->pair || view->source == GH_SOURCE_FILES) {
        return rv;
    }
    if (!store) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.store",
                              "See the messages about the store.",
                              GHNO(0709) "the store is not open: changes of the status of %s are "
                              "not seen", view->name);
    }
    read = catch_up(view, view->pair, store, result);
    if (view->next && catch_up(view, view->next, store, result) == APR_SUCCESS) {
        pair_t *next = view->next;

        view->next = NULL;
        use_pair(view, next);
        read = APR_SUCCESS;
    }
    return read != APR_SUCCESS ? read : rv;
}

static void state_of(const pair_t *pair, gh_view_state_t *state)
{
    if (!pair) {
        memset(state, 0, sizeof(*state));
        return;
    }
    state->there = 1;
    state->info = *gh_index_info(pair->index);
    progress_of(pair, &state->progress);
}

void gh_view_find(gh_view_t *view, gh_bytes_t serial, gh_known_t *known, gh_view_state_t *state)
{
    apr_thread_rwlock_rdlock(view->lock);
    if (state) {
        state_of(view->pair, state);
    }
    if (!view->pair) {
        memset(known, 0, sizeof(*known));
    }
    else if (!gh_overlay_find(view->pair->overlay, serial, known)) {
        gh_index_find(view->pair->index, serial, known);
    }
    apr_thread_rwlock_unlock(view->lock);
}

void gh_view_state(gh_view_t *view, gh_view_state_t *state)
{
    apr_thread_rwlock_rdlock(view->lock);
    state_of(view->pair, state);
    apr_thread_rwlock_unlock(view->lock);
}
