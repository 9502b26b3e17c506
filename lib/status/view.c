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

/** For so long what was in use before is fed and asked beside what followed it. */
#define FORMER_KEPT apr_time_from_sec(1)

_Static_assert(MARKS * MARK_EVERY > LATE_AFTER + MARK_EVERY, "marks go back far enough");

/** An index with its overlay, in a pool of its own. */
typedef struct {
    gh_index_t *index;
    gh_overlay_t *overlay;
    apr_pool_t *pool;
    int ready;                      /* it may be used once its instant has come */
    apr_time_t until;               /* when it is forgotten, once another one is in use */
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

    apr_thread_rwlock_t *lock;      /* guards the next three; only the thread that follows sets
                                       them */
    pair_t *pair;                   /* NULL: none yet */
    pair_t *next;                   /* newer; not caught up yet, or waits for its instant */
    pair_t *former;                 /* of a store, what was in use before, for a while */

    /* of the thread that follows */
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
    pair_t **pairs[] = { &view->next, &view->pair, &view->former };
    apr_size_t i;

    for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); ++i) {
        if (*pairs[i]) {
            apr_pool_destroy((*pairs[i])->pool);
            *pairs[i] = NULL;
        }
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

apr_status_t gh_view_verify(const gh_index_t *index, gh_overlay_t *overlay, const char *path,
                            gh_result_t *result)
{
    const gh_index_file_t *file = gh_index_file(index);
    apr_status_t rv;

    if (gh_overlay_is_verified(overlay, file)) {
        return APR_SUCCESS;
    }
    rv = gh_index_verify(index, path, result);
    if (rv == APR_SUCCESS) {
        gh_overlay_set_verified(overlay, file);
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
    rv = gh_index_open(&(*pair)->index, view->path, view->authority, 0, (*pair)->pool, result);
    if (rv == APR_SUCCESS) {
        rv = gh_overlay_open(&(*pair)->overlay,
                             gh_view_overlay_path(view->folder, view->name,
                                                  gh_index_info((*pair)->index)->generation,
                                                  (*pair)->pool),
                             view->authority, gh_index_info((*pair)->index)->generation,
                             (*pair)->pool, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_view_verify((*pair)->index, (*pair)->overlay, view->path, result);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy((*pair)->pool);
        *pair = NULL;
    }
    return rv;
}

/** @param place one of the three of the view */
static void set_pair(gh_view_t *view, pair_t **place, pair_t *pair)
{
    pair_t *old;

    apr_thread_rwlock_wrlock(view->lock);
    old = *place;
    *place = pair;
    apr_thread_rwlock_unlock(view->lock);
    if (old) {
        apr_pool_destroy(old->pool);
    }
}

static void use_next(gh_view_t *view)
{
    int keep = view->source == GH_SOURCE_STORE;
    pair_t *old = keep ? view->former : view->pair;

    view->pair->until = gh_index_clock() + FORMER_KEPT;
    apr_thread_rwlock_wrlock(view->lock);
    view->former = keep ? view->pair : NULL;
    view->pair = view->next;
    view->next = NULL;
    apr_thread_rwlock_unlock(view->lock);
    if (old) {
        apr_pool_destroy(old->pool);
    }
}

/** What readers do by the clock already is made lasting. */
static void step_pairs(gh_view_t *view)
{
    if (view->next && view->next->ready && !gh_index_wait(view->next->index)) {
        use_next(view);
    }
    if (view->former && gh_index_clock() >= view->former->until) {
        set_pair(view, &view->former, NULL);
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

    if (view->next && gh_index_wait(view->next->index)) {
        /* whatever comes after it has its turn after it, as in all processes */
        return APR_SUCCESS;
    }
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
    if (view->pair) {
        pair->ready = view->source == GH_SOURCE_FILES;
        set_pair(view, &view->next, pair);
        step_pairs(view);
    }
    else {
        /* The others use the one before, which this process cannot have any more. */
        apr_sleep(gh_index_wait(pair->index));
        set_pair(view, &view->pair, pair);
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
    apr_time_t begun_at = gh_index_clock();
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
    set_mark(view, pair->reached.issued, gh_index_clock());
    if (deep) {
        pair->deep_at = begun_at;
    }
    if (deep && pair->again_at && begun_at >= pair->again_at) {
        pair->again_at = 0;
    }
    return APR_SUCCESS;
}

static void set_ready(gh_view_t *view)
{
    apr_thread_rwlock_wrlock(view->lock);
    view->next->ready = 1;
    apr_thread_rwlock_unlock(view->lock);
}

/**
 * The newer one is fed first: so it has all that the older one has been given, whichever process
 * did that, when the older one is not asked any more. Until the newer one has caught up for the
 * first time, which may take long, the other way round.
 */
static apr_status_t follow_store(gh_view_t *view, gh_store_t *store, gh_result_t *result)
{
    apr_status_t next = GH_EBUSY, read;

    if (view->next && view->next->ready) {
        next = catch_up(view, view->next, store, NULL);
    }
    read = catch_up(view, view->pair, store, result);
    if (view->former) {
        catch_up(view, view->former, store, NULL);
    }
    if (view->next && !view->next->ready) {
        next = catch_up(view, view->next, store, result);
        if (next == APR_SUCCESS) {
            set_ready(view);
            step_pairs(view);
        }
    }
    if (read == APR_SUCCESS || next != APR_SUCCESS) {
        return read;
    }
    /* an overlay that is full, or lost */
    if (view->next) {
        use_next(view);
    }
    return APR_SUCCESS;
}

/** What is known may be older than what others have noted, and can be newer only by a clock that
 *  was set back. */
apr_status_t gh_view_follow(gh_view_t *view, gh_store_t *store, apr_pool_t *ptemp,
                            gh_result_t *result)
{
    apr_status_t rv, read;

    step_pairs(view);
    rv = look_for_index(view, result);
    if (!view->pair || view->source == GH_SOURCE_FILES) {
        return rv;
    }
    if (!store) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ocsp.store",
                              "See the messages about the store.",
                              GHNO(0562) "the store is not open: changes of the status of %s are "
                              "not seen", view->name);
    }
    read = follow_store(view, store, result);
    return read != APR_SUCCESS ? read : rv;
}

/** What is to be asked now, by the lock's leave.
 *  @param beside set to what is to be asked too: some process may have told only that of a change
 *                when all began to use the newer one; NULL: nothing */
static const pair_t *current(const gh_view_t *view, const pair_t **beside)
{
    if (view->next && view->next->ready && !gh_index_wait(view->next->index)) {
        *beside = view->source == GH_SOURCE_STORE ? view->pair : NULL;
        return view->next;
    }
    *beside = view->former;
    return view->pair;
}

static void state_of(const pair_t *pair, const pair_t *beside, gh_view_state_t *state)
{
    gh_overlay_progress_t progress;

    if (!pair) {
        memset(state, 0, sizeof(*state));
        return;
    }
    state->there = 1;
    state->info = *gh_index_info(pair->index);
    gh_view_progress(pair->index, pair->overlay, &state->progress);
    if (beside) {
        gh_view_progress(beside->index, beside->overlay, &progress);
        state->progress.change = higher(state->progress.change, progress.change);
        state->progress.synced_at = higher(state->progress.synced_at, progress.synced_at);
    }
}

/** @return 0 if nothing can be told */
static int find(const pair_t *pair, gh_bytes_t serial, gh_known_t *known)
{
    int found = gh_overlay_find(pair->overlay, serial, known);

    if (!found) {
        gh_index_find(pair->index, serial, known);
    }
    return found >= 0;
}

static int find_beside(const pair_t *beside, gh_bytes_t serial, gh_known_t *known)
{
    gh_known_t other;

    if (!find(beside, serial, &other)) {
        return 0;
    }
    if (other.state != GH_KNOWN_NOT
        && (known->state == GH_KNOWN_NOT || other.version > known->version)) {
        *known = other;
    }
    return 1;
}

void gh_view_find(gh_view_t *view, gh_bytes_t serial, gh_known_t *known, gh_view_state_t *state)
{
    const pair_t *pair, *beside;

    apr_thread_rwlock_rdlock(view->lock);
    pair = current(view, &beside);
    if (state) {
        state_of(pair, beside, state);
    }
    if (!pair || !find(pair, serial, known)
        || (beside && !find_beside(beside, serial, known))) {
        memset(known, 0, sizeof(*known));
        if (state) {
            memset(state, 0, sizeof(*state));
        }
    }
    apr_thread_rwlock_unlock(view->lock);
}

void gh_view_state(gh_view_t *view, gh_view_state_t *state)
{
    const pair_t *pair, *beside;

    apr_thread_rwlock_rdlock(view->lock);
    pair = current(view, &beside);
    state_of(pair, beside, state);
    apr_thread_rwlock_unlock(view->lock);
}
