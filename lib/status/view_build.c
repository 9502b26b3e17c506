/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The feeder's side of a view: making the next index of a store's issuer. */

#include "status/view.h"

#include <stdlib.h>
#include <string.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_strings.h>

#include "log.h"
#include "status.h"
#include "store/changes.h"

const char *gh_view_index_path(const char *folder, const char *name, apr_pool_t *p)
{
    return apr_pstrcat(p, folder, "/", name, ".index", NULL);
}

const char *gh_view_overlay_path(const char *folder, const char *name, apr_int64_t generation,
                                 apr_pool_t *p)
{
    return apr_psprintf(p, "%s/%s.%" APR_INT64_T_FMT ".overlay", folder, name, generation);
}

/** The generation in the name of an overlay of this authority; 0 for any other file. */
static apr_int64_t overlay_generation(const char *file, const char *name)
{
    apr_size_t length = strlen(name);
    apr_int64_t generation;
    char *end;

    if (strncmp(file, name, length) || file[length] != '.') {
        return 0;
    }
    generation = apr_strtoi64(file + length + 1, &end, 10);
    return generation > 0 && !strncmp(end, ".overlay", 8) ? generation : 0;
}

void gh_view_remove_overlays(const char *folder, const char *name, apr_int64_t before,
                             apr_pool_t *ptemp)
{
    apr_dir_t *directory;
    apr_finfo_t info;

    if (apr_dir_open(&directory, folder, ptemp) != APR_SUCCESS) {
        return;
    }
    while (apr_dir_read(&info, APR_FINFO_NAME, directory) == APR_SUCCESS) {
        apr_int64_t generation = overlay_generation(info.name, name);

        if (generation && generation < before) {
            apr_file_remove(apr_pstrcat(ptemp, folder, "/", info.name, NULL), ptemp);
        }
    }
    apr_dir_close(directory);
}

/** What an index is made from. */
typedef struct {
    const char *issuer;
    gh_index_builder_t *builder;
    gh_result_t *result;
    apr_int64_t count;
} build_t;

static apr_status_t count_certificates(gh_transaction_t *transaction, void *baton)
{
    build_t *build = baton;

    return gh_changes_count(transaction, &build->count);
}

static apr_status_t add_certificate(void *baton, const gh_known_certificate_t *certificate)
{
    build_t *build = baton;

    return gh_index_add(build->builder, certificate->serial, &certificate->known, build->result);
}

/* A reading transaction is never run again: nothing is added twice. */
static apr_status_t walk(gh_transaction_t *transaction, void *baton)
{
    build_t *build = baton;

    return gh_changes_walk(transaction, build->issuer, add_certificate, build,
                           &gh_index_builder_info(build->builder)->change);
}

static apr_status_t add_change(void *baton, gh_bytes_t serial, const gh_known_t *known)
{
    build_t *build = baton;

    return gh_index_add(build->builder, serial, known, build->result);
}

static apr_status_t build_whole(build_t *build, gh_store_t *store)
{
    gh_index_info_t *info = gh_index_builder_info(build->builder);

    info->synced_at = apr_time_now();
    return gh_store_read(store, walk, build, build->result);
}

static apr_status_t build_merged(build_t *build, const gh_index_t *index,
                                 const gh_overlay_t *overlay)
{
    gh_index_info_t *info = gh_index_builder_info(build->builder);
    gh_overlay_progress_t progress;
    apr_status_t rv = gh_index_add_index(build->builder, index, build->result);

    /* before the entries: none of those that it counts is missing then */
    gh_view_progress(index, overlay, &progress);
    info->change = progress.change;
    info->synced_at = progress.synced_at;
    return rv == APR_SUCCESS ? gh_overlay_each(overlay, add_change, build) : rv;
}

/** Index and overlay that are there. @return 0 if they cannot be used */
static int open_former(const char *folder, const char *name, const unsigned char authority[32],
                       gh_index_t **index, gh_overlay_t **overlay, apr_pool_t *p)
{
    return gh_index_open(index, gh_view_index_path(folder, name, p), authority, 1, p, NULL)
           == APR_SUCCESS
           && gh_overlay_open(overlay,
                              gh_view_overlay_path(folder, name,
                                                   gh_index_info(*index)->generation, p),
                              authority, gh_index_info(*index)->generation, p, NULL)
              == APR_SUCCESS;
}

apr_status_t gh_view_build_from_store(const char *folder, const char *name,
                                      const unsigned char authority[32], gh_store_t *store,
                                      const char *issuer, int whole, apr_pool_t *ptemp,
                                      gh_result_t *result)
{
    build_t build = { issuer, NULL, result, 0 };
    gh_overlay_t *overlay = NULL;
    gh_index_t *former = NULL;
    gh_index_info_t info;
    apr_int64_t before = 0;
    apr_pool_t *p;
    apr_status_t rv;

    apr_pool_create(&p, ptemp);
    if (open_former(folder, name, authority, &former, &overlay, p)) {
        before = gh_index_info(former)->generation;
    }
    else {
        whole = 1;
    }
    memset(&info, 0, sizeof(info));
    memcpy(info.authority, authority, sizeof(info.authority));
    /* one that was lost or damaged has had a lower one all the same */
    info.generation = before < apr_time_now() ? apr_time_now() : before + 1;
    info.complete = 1;
    if (whole && (rv = gh_store_read(store, count_certificates, &build, result)) != APR_SUCCESS) {
        goto cleanup;
    }
    rv = gh_index_begin(&build.builder, gh_view_index_path(folder, name, p), &info,
                        whole ? (apr_uint64_t)build.count : gh_index_info(former)->issued, p,
                        result);
    if (rv == APR_SUCCESS && former) {
        gh_index_together(build.builder);
    }
    if (rv == APR_SUCCESS) {
        rv = whole ? build_whole(&build, store) : build_merged(&build, former, overlay);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_index_finish(build.builder, result);
    }
    if (rv == APR_SUCCESS) {
        gh_view_remove_overlays(folder, name, before, p);
    }

cleanup:
    apr_pool_destroy(p);
    return rv;
}
