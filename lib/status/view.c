/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "status/view.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <apr_strings.h>
#include <apr_thread_rwlock.h>

#include "log.h"
#include "pool.h"
#include "status.h"
#include "store/changes.h"

/** Changes that one transaction reads. */
#define BATCH 2000

/** Transactions of one round: a process that starts has more to read. */
#define BATCHES 100

/** What a clock may be ahead of another process's. */
#define CLOCK_SKEW apr_time_from_sec(1)

/*
 * On PostgreSQL the number of a new certificate may become visible after higher ones, up to
 * LATE_AFTER later, which is more than a transaction may take. So what was given out within that
 * time is read again every LATE_EVERY, and in the rounds between what was given out within
 * LATE_SOON, which is nearly all that comes late. The marks say which number was the last one when.
 */
#define LATE_AFTER apr_time_from_sec(20)
#define LATE_SOON apr_time_from_sec(1)
#define LATE_EVERY apr_time_from_sec(2)
#define MARK_EVERY apr_time_from_sec(1)
#define MARKS 32

/** Numbers that are read again in each round before there are such marks. */
#define LATE_FEW 1024

_Static_assert(MARKS * MARK_EVERY > LATE_AFTER + MARK_EVERY, "marks go back far enough");

/** An index with its overlay, in a pool of its own. */
typedef struct {
    gh_index_t *index;
    gh_overlay_t *overlay;
    apr_pool_t *pool;
    int begun;                      /* it was read for: the next are meaningful */
    gh_changes_place_t reached;     /* by this process */
    apr_int64_t start;              /* where it has begun, and when it has to do so once more */
    apr_time_t again_at;            /* by the clock that nobody sets; 0: it has not to */
    apr_time_t deep_at;             /* when all that may come late was read */
} pair_t;

typedef struct {
    apr_time_t at;                  /* by the clock that nobody sets */
    apr_int64_t number;
} mark_t;

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
    gh_result_t refused;            /* why that file is no use; its status is 0 if it is */
    mark_t marks[MARKS];            /* a ring: the newest is the last that was counted */
    unsigned int mark_count;
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

static apr_status_t make_pair(pair_t **pair)
{
    apr_pool_t *p;
    apr_status_t rv = gh_pool_create(&p, "gatehouse-status");

    if (rv == APR_SUCCESS) {
        *pair = apr_pcalloc(p, sizeof(**pair));
        (*pair)->pool = p;
    }
    return rv;
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

static apr_status_t refused(const gh_view_t *view, gh_result_t *result)
{
    if (view->refused.status != APR_SUCCESS && result != NULL) {
        *result = view->refused;
    }
    return view->refused.status;
}

/** Takes up a file that was not looked at yet. One that is damaged is looked at again once it is
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
                                           GHNO(0561) "there is no status index %s yet",
                                           view->path);
    }
    if (status.st_dev == view->device && status.st_ino == view->inode
        && status.st_mtim.tv_sec == view->changed.tv_sec
        && status.st_mtim.tv_nsec == view->changed.tv_nsec) {
        return refused(view, result);
    }
    gh_result_clear(&view->refused);
    rv = open_pair(view, &pair, &view->refused);
    if (rv == APR_SUCCESS || rv == GH_ECORRUPT) {
        view->device = status.st_dev;
        view->inode = status.st_ino;
        view->changed = status.st_mtim;
    }
    if (rv != APR_SUCCESS) {
        return refused(view, result);
    }
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

void gh_view_progress(const gh_index_t *index, const gh_overlay_t *overlay,
                      gh_overlay_progress_t *progress)
{
    const gh_index_info_t *info = gh_index_info(index);
    apr_time_t latest = apr_time_now() + CLOCK_SKEW;

    gh_overlay_progress(overlay, progress);
    if (info->change > progress->change) {
        progress->change = info->change;
    }
    if (progress->synced_at > latest) {
        progress->synced_at = 0;
    }
    if (info->synced_at > progress->synced_at && info->synced_at <= latest) {
        progress->synced_at = info->synced_at;
    }
}

typedef struct {
    const gh_view_t *view;
    const pair_t *pair;
    gh_changes_place_t after;
    gh_changes_place_t reached;
    int more;
    gh_result_t *result;
} reading_t;

/** @return 1 if the index says this or something newer: what is read again need not fill the
 *  overlay, and a store that lags behind (a standby) does not bring old states back */
static int index_has(const gh_index_t *index, const gh_known_certificate_t *certificate)
{
    gh_known_t known;

    gh_index_find(index, certificate->serial, &known);
    return known.state != GH_KNOWN_NOT
        && (!certificate->known.version || known.version >= certificate->known.version);
}

static apr_status_t put_change(void *baton, const gh_known_certificate_t *certificate)
{
    reading_t *reading = baton;

    return index_has(reading->pair->index, certificate)
               ? APR_SUCCESS
               : gh_overlay_put(reading->pair->overlay, certificate->serial, &certificate->known,
                                reading->result);
}

static apr_status_t read_changes(gh_transaction_t *transaction, void *baton)
{
    reading_t *reading = baton;

    return gh_changes_since(transaction, reading->view->issuer, &reading->after, BATCH, put_change,
                            reading, &reading->reached, &reading->more);
}

static apr_time_t monotonic_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return apr_time_from_sec(now.tv_sec) + now.tv_nsec / 1000;
}

static apr_int64_t lower(apr_int64_t one, apr_int64_t other)
{
    return one < other ? one : other;
}

static apr_int64_t higher(apr_int64_t one, apr_int64_t other)
{
    return one > other ? one : other;
}

/** @return the newest mark that is so old; NULL if none is */
static const mark_t *mark_before(const gh_view_t *view, apr_time_t at)
{
    unsigned int i;

    for (i = 1; i <= MARKS && i <= view->mark_count; ++i) {
        const mark_t *mark = &view->marks[(view->mark_count - i) % MARKS];

        if (mark->at <= at) {
            return mark;
        }
    }
    return NULL;
}

static void set_mark(gh_view_t *view, apr_int64_t number, apr_time_t now)
{
    const mark_t *last = &view->marks[(view->mark_count + MARKS - 1) % MARKS];

    if (!view->mark_count || now - last->at >= MARK_EVERY) {
        view->marks[view->mark_count % MARKS] = (mark_t){ now, number };
        ++view->mark_count;
    }
}

/** Where to read from on PostgreSQL. @param deep set to 1 if that is all that may come late */
static void place_with_late(gh_view_t *view, pair_t *pair, apr_int64_t change, apr_time_t now,
                            gh_changes_place_t *after, int *deep)
{
    const mark_t *mark;

    *deep = 1;
    if (!pair->begun) {
        pair->start = higher(change - GH_CHANGES_LATE, 0);
        pair->again_at = mark_before(view, now - LATE_AFTER) ? 0 : now + LATE_AFTER;
        after->status = after->issued = pair->start;
        return;
    }
    *after = pair->reached;
    if (pair->again_at && now >= pair->again_at) {
        after->issued = lower(after->issued, pair->start);
        return;
    }
    *deep = now - pair->deep_at >= LATE_EVERY;
    mark = mark_before(view, now - (*deep ? LATE_AFTER : LATE_SOON));
    after->issued = lower(after->issued, mark ? mark->number
                                              : higher(pair->reached.issued - LATE_FEW, 0));
}

/** Reads what the store has and the pair does not. */
static apr_status_t catch_up(gh_view_t *view, pair_t *pair, gh_store_t *store,
                             gh_result_t *result)
{
    gh_overlay_progress_t progress;
    reading_t reading = { .view = view, .pair = pair, .more = 1, .result = result };
    int late = !strcmp(gh_store_kind(store), "pgsql"), deep = 0, batch;
    apr_time_t begun_at = monotonic_now();
    apr_status_t rv = APR_SUCCESS;

    gh_view_progress(pair->index, pair->overlay, &progress);
    if (late) {
        place_with_late(view, pair, progress.change, begun_at, &reading.after, &deep);
    }
    else {
        reading.after.status = higher(pair->reached.status, progress.change);
        reading.after.issued = higher(pair->reached.issued, progress.change);
    }
    for (batch = 0; rv == APR_SUCCESS && reading.more && batch < BATCHES; ++batch) {
        apr_time_t begin = apr_time_now();

        rv = gh_store_read(store, read_changes, &reading, result);
        if (rv == APR_SUCCESS) {
            reading.after = reading.reached;
            pair->reached = reading.reached;
            pair->begun = 1;
        }
        if (rv == APR_SUCCESS && !reading.more) {
            progress.change = higher(progress.change,
                                     higher(reading.reached.status, reading.reached.issued));
            progress.synced_at = begin;
            gh_overlay_advance(pair->overlay, &progress);
        }
    }
    if (rv != APR_SUCCESS || reading.more) {
        return rv == APR_SUCCESS ? GH_EBUSY : rv;
    }
    set_mark(view, pair->reached.issued, monotonic_now());
    if (deep) {
        pair->deep_at = begun_at;
    }
    if (deep && pair->again_at && begun_at >= pair->again_at) {
        pair->again_at = 0;
    }
    return APR_SUCCESS;
}

/** What is known may be older than what others have noted, and can be newer only by a clock that
 *  was set back. */
apr_status_t gh_view_follow(gh_view_t *view, gh_store_t *store, apr_pool_t *ptemp,
                            gh_result_t *result)
{
    apr_status_t rv = look_for_index(view, result), read;

    if (!view->pair || view->source == GH_SOURCE_FILES) {
        return rv;
    }
    if (!store) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.store",
                              "See the messages about the store.",
                              GHNO(0562) "the store is not open: changes of the status of %s are "
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
    gh_view_progress(pair->index, pair->overlay, &state->progress);
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
