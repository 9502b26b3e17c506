/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The loop, and what all authorities have in common. */

#include <string.h>

#include <apr_file_io.h>
#include <apr_strings.h>

#include "mod_ocsp/feeder/ocsp_feeder.h"
#include "mod_ocsp/feeder/ocsp_feeder_private.h"
#include "status.h"

/** The loop looks at everything at least so often. */
#define TURN apr_time_from_sec(1)

/** A failure that lasts is logged again after this. */
#define SILENCE apr_time_from_sec(60)

/** The file of an index is looked at so often. */
#define LOOK_EVERY apr_time_from_sec(1)

#define FILE_WANTED (APR_FINFO_INODE | APR_FINFO_DEV | APR_FINFO_SIZE | APR_FINFO_MTIME)

/** Most threads that fetch, each for one source at a time. */
#define FETCHING_MAX 64

/** Threads that read documents and make indexes of them. */
#define COMPUTING_MAX 2

/** Simultaneous connections of HTTP, and to one host; others wait for their turn. */
#define CONNECTIONS_MAX 64L
#define HOST_CONNECTIONS_MAX 8L

void feeder_no_thread(apr_status_t status, gh_result_t *result)
{
    gh_result_fail(result, status, GH_FAILURE_UNAVAILABLE, "ocsp.feeder",
                   "See whether the machine is short of memory or threads.",
                   GHNO(0681) "the feeder cannot have a thread");
}

void feeder_fail(feeder_authority_t *authority, feeder_failure_t *failure, const char *what,
                 const gh_result_t *result)
{
    apr_time_t now = apr_time_now();

    if (!failure->count++) {
        failure->since = now;
        failure->logged = 0;
    }
    failure->last = now;
    failure->result = *result;
    authority->state_changed = 1;
    if (failure->logged && now - failure->logged < SILENCE && now >= failure->logged) {
        return;
    }
    failure->logged = now;
    gh_log(authority->feeder->log, GH_LOG_ERROR, APR_SUCCESS, "%s: authority %s, %s: %s%s%s%s%s%s",
           result->number, authority->name, what, result->message,
           *result->cause ? ": " : "", result->cause, *result->action ? " (" : "", result->action,
           *result->action ? ")" : "");
}

void feeder_recover(feeder_authority_t *authority, feeder_failure_t *failure, const char *what)
{
    if (failure->count) {
        gh_log(authority->feeder->log, GH_LOG_NOTICE, APR_SUCCESS, GHNO(0675) "authority %s, %s: "
               "it works again after %d failures", authority->name, what, failure->count);
        failure->count = 0;
        gh_result_clear(&failure->result);
        authority->state_changed = 1;
    }
}

apr_status_t feeder_open_index(feeder_authority_t *authority, int verify, gh_result_t *result)
{
    ocsp_feeder_t *feeder = authority->feeder;
    gh_overlay_t *overlay = NULL;
    gh_index_t *index = NULL;
    apr_finfo_t file;
    const char *path;
    apr_pool_t *p;
    apr_status_t rv;

    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    path = gh_view_index_path(feeder->folder, authority->name, p);
    if (apr_stat(&file, path, FILE_WANTED, p) != APR_SUCCESS) {
        memset(&file, 0, sizeof(file));
    }
    rv = gh_index_open(&index, path, authority->reader.digest, 0, p, result);
    if (rv == APR_SUCCESS) {
        apr_int64_t generation = gh_index_info(index)->generation;

        rv = gh_overlay_open(&overlay, gh_view_overlay_path(feeder->folder, authority->name,
                                                            generation, p),
                             authority->reader.digest, generation, p, result);
    }
    if (rv == APR_SUCCESS && verify) {
        rv = gh_view_verify(index, overlay, path, result);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    if (authority->pool) {
        apr_pool_destroy(authority->pool);
    }
    authority->pool = p;
    authority->index = index;
    authority->overlay = overlay;
    authority->file = file;
    authority->lost = 0;
    return APR_SUCCESS;
}

static int same_file(const apr_finfo_t *one, const apr_finfo_t *other)
{
    return one->inode == other->inode && one->device == other->device;
}

/* One that is there, of this authority and whole, is taken up as it is.
 * @return 1 if there is none */
static int is_lost(feeder_authority_t *authority, apr_pool_t *ptemp)
{
    const apr_finfo_t *known = &authority->file;
    gh_result_t result;
    apr_finfo_t now;
    int there = apr_stat(&now, gh_view_index_path(authority->feeder->folder, authority->name,
                                                  ptemp), FILE_WANTED, ptemp) == APR_SUCCESS;

    if (there && same_file(&now, known) && now.size == known->size && now.mtime == known->mtime) {
        return 0;
    }
    gh_result_clear(&result);
    if (there && feeder_open_index(authority, 1, &result) == APR_SUCCESS) {
        return 0;
    }
    if (there && same_file(&now, known)) {
        authority->index = NULL;        /* what is mapped is damaged, too */
    }
    return 1;
}

int feeder_index_lost(feeder_authority_t *authority, apr_time_t now)
{
    apr_pool_t *ptemp;

    if (!authority->index || authority->busy
        || (authority->looked <= now && now - authority->looked < LOOK_EVERY)) {
        return 0;
    }
    authority->looked = now;
    apr_pool_create_unmanaged_ex(&ptemp, NULL, NULL);
    if (!is_lost(authority, ptemp)) {
        authority->lost = 0;
    }
    else if (!authority->lost) {
        authority->lost = 1;
        authority->state_changed = 1;
        gh_log(authority->feeder->log, GH_LOG_ERROR, APR_SUCCESS, GHNO(0768) "authority %s: its "
               "index was removed or damaged, and is made again; see who writes to %s",
               authority->name, authority->feeder->folder);
    }
    apr_pool_destroy(ptemp);
    return authority->lost;
}

static void log_index(const feeder_authority_t *authority)
{
    const gh_index_info_t *info = gh_index_info(authority->index);

    gh_log(authority->feeder->log, GH_LOG_INFO, APR_SUCCESS, GHNO(0676) "authority %s: index %"
           APR_INT64_T_FMT " has %" APR_UINT64_T_FMT " certificates that are good and %"
           APR_UINT64_T_FMT " that are revoked", authority->name, info->generation, info->issued,
           info->revoked);
}

int feeder_take_index(feeder_authority_t *authority, const char *what, apr_interval_time_t retry)
{
    apr_time_t now = apr_time_now();
    apr_status_t rv = authority->status;

    authority->busy = 0;
    authority->state_changed = 1;
    if (rv == APR_SUCCESS) {
        rv = feeder_open_index(authority, 0, &authority->result);
    }
    if (rv != APR_SUCCESS) {
        authority->due = now + retry;
        feeder_fail(authority, &authority->failure, what, &authority->result);
        return 0;
    }
    authority->built = now;
    log_index(authority);
    feeder_recover(authority, &authority->failure, what);
    return 1;
}

void feeder_submit(feeder_authority_t *authority, gh_lane_t *lane, void (*work)(void *),
                   void (*done)(void *), const char *what, apr_interval_time_t retry)
{
    apr_status_t rv;

    authority->job.work = work;
    authority->job.done = done;
    authority->job.baton = authority;
    authority->busy = 1;
    rv = gh_lane_submit(lane, &authority->job);
    if (rv != APR_SUCCESS) {
        gh_result_t result;

        authority->busy = 0;
        authority->due = apr_time_now() + retry;
        gh_result_clear(&result);
        feeder_no_thread(rv, &result);
        feeder_fail(authority, &authority->failure, what, &result);
    }
}

/* What a former feeder has left. Whatever is wrong with it, a new index puts that right. */
static void take_up(feeder_authority_t *authority)
{
    apr_finfo_t info;
    gh_result_t result;
    const char *path = gh_view_index_path(authority->feeder->folder, authority->name,
                                          authority->feeder->pool);

    gh_result_clear(&result);
    if (feeder_open_index(authority, 1, &result) == APR_SUCCESS
        && apr_stat(&info, path, APR_FINFO_MTIME, authority->feeder->pool) == APR_SUCCESS) {
        authority->built = info.mtime;
    }
    feeder_state_read(authority);
    authority->state_changed = 1;
}

/* On threads of the lanes. */
static void wake(void *baton)
{
    ocsp_feeder_t *feeder = baton;

    curl_multi_wakeup(feeder->multi);
}

static int blocking_sources(const ocsp_feeder_t *feeder)
{
    int count = 0, i;

    for (i = 0; i < feeder->authorities->nelts; ++i) {
        count += APR_ARRAY_IDX(feeder->authorities, i, feeder_authority_t *)->source_count;
    }
    return count > FETCHING_MAX ? FETCHING_MAX : count ? count : 1;
}

static apr_status_t prepare(ocsp_feeder_t *feeder, gh_result_t *result)
{
    apr_status_t rv = APR_ENOMEM;

    feeder->multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
    if (feeder->multi) {
        curl_multi_setopt(feeder->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, CONNECTIONS_MAX);
        curl_multi_setopt(feeder->multi, CURLMOPT_MAX_HOST_CONNECTIONS, HOST_CONNECTIONS_MAX);
        rv = gh_lane_create(&feeder->fetching, blocking_sources(feeder), wake, feeder,
                              feeder->pool);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_lane_create(&feeder->computing, COMPUTING_MAX, wake, feeder, feeder->pool);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_lane_create(&feeder->storing, 1, wake, feeder, feeder->pool);
    }
    if (rv != APR_SUCCESS) {
        feeder_no_thread(rv, result);
    }
    return rv;
}

/* One look at everything. @return when the next is due */
static apr_time_t step(ocsp_feeder_t *feeder, apr_time_t now)
{
    apr_time_t next = now + TURN;
    int i;

    for (i = 0; i < feeder->authorities->nelts; ++i) {
        feeder_authority_t *authority
            = APR_ARRAY_IDX(feeder->authorities, i, feeder_authority_t *);
        apr_time_t due = authority->kind == GH_SOURCE_STORE ? feeder_store_step(authority, now)
                                                            : feeder_files_step(authority, now);
        apr_time_t written = feeder_state_step(authority, now);

        next = due < next ? due : next;
        next = written < next ? written : next;
    }
    return next;
}

/* What was due at a time is due now: by a clock that was set back, it would come much too late. */
static void make_due(ocsp_feeder_t *feeder)
{
    int i, k;

    for (i = 0; i < feeder->authorities->nelts; ++i) {
        feeder_authority_t *authority
            = APR_ARRAY_IDX(feeder->authorities, i, feeder_authority_t *);

        authority->due = 0;
        for (k = 0; k < authority->source_count; ++k) {
            authority->sources[k].due = 0;
        }
    }
}

static void run_loop(ocsp_feeder_t *feeder)
{
    struct curl_waitfd stop = {
        .fd = gh_worker_stop_descriptor(feeder->worker), .events = CURL_WAIT_POLLIN
    };
    apr_time_t last = 0, now, next;
    int running;

    while (!gh_worker_stopping(feeder->worker)) {
        now = apr_time_now();
        if (now < last) {
            make_due(feeder);
        }
        last = now;
        next = step(feeder, now);
        curl_multi_perform(feeder->multi, &running);
        ocsp_fetch_finish(feeder->multi);
        now = apr_time_now();
        if (next > now) {
            curl_multi_poll(feeder->multi, &stop, 1, (int)((next - now + 999) / 1000), NULL);
        }
        curl_multi_perform(feeder->multi, &running);
        ocsp_fetch_finish(feeder->multi);
        gh_lane_finish(feeder->fetching);
        gh_lane_finish(feeder->computing);
        gh_lane_finish(feeder->storing);
    }
}

apr_status_t ocsp_feeder_run(gh_worker_t *worker, apr_pool_t *p, gh_result_t *result)
{
    ocsp_feeder_t *feeder = apr_pcalloc(p, sizeof(*feeder));
    apr_status_t rv;
    int i;

    feeder->worker = worker;
    feeder->log = gh_worker_log(worker);
    feeder->pool = p;
    rv = feeder_configure(feeder, gh_worker_configuration(worker), result);
    if (rv == APR_SUCCESS) {
        rv = gh_worker_lock(worker, apr_pstrcat(p, feeder->folder, "/feeder.lock", NULL), result);
    }
    if (rv == APR_SUCCESS) {
        rv = prepare(feeder, result);
    }
    if (rv != APR_SUCCESS) {
        return rv == APR_EINTR ? APR_SUCCESS : rv;
    }
    for (i = 0; i < feeder->authorities->nelts; ++i) {
        take_up(APR_ARRAY_IDX(feeder->authorities, i, feeder_authority_t *));
    }
    gh_log(feeder->log, GH_LOG_INFO, APR_SUCCESS, GHNO(0679) "the feeder keeps the status of %d "
           "authorities in %s", feeder->authorities->nelts, feeder->folder);
    run_loop(feeder);
    return APR_SUCCESS;
}
