/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The file that says how the sources of an authority are, see ocsp_state.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <jansson.h>

#include "mod_ocsp/feeder/ocsp_feeder_private.h"
#include "mod_ocsp/ocsp_state.h"

/** It is written at most, and at least, so often. */
#define AT_MOST apr_time_from_sec(1)
#define AT_LEAST apr_time_from_sec(30)

static const char *kind_name(ocsp_document_kind_t kind)
{
    switch (kind) {
    case OCSP_DOCUMENT_CRL: return "crl";
    case OCSP_DOCUMENT_DELTA: return "delta";
    case OCSP_DOCUMENT_SERIALS: return "serials";
    default: return "index";
    }
}

static json_t *time_object(apr_time_t time, apr_pool_t *p)
{
    return time ? json_string(gh_time_text(p, time)) : json_null();
}

static json_t *failure_object(const feeder_failure_t *failure, apr_pool_t *p)
{
    return failure->count ? json_pack("{s:o, s:o, s:s, s:s, s:s}", "since",
                                      time_object(failure->since, p),
                                      "last", time_object(failure->last, p),
                                      "gh", failure->result.number,
                                      "message", failure->result.message,
                                      "action", failure->result.action)
                          : json_null();
}

static json_t *source_object(const feeder_source_t *source, apr_time_t now, apr_pool_t *p)
{
    const ocsp_document_info_t *info = &source->info;
    int warn = info->next_update && info->next_update - now <= source->config->warn;

    return json_pack(
        "{s:s, s:s, s:o, s:o, s:i, s:o, s:s?, s:o, s:o, s:I, s:i, s:I, s:s?}",
        "kind", kind_name(source->kind), "url", source->url,
        "last_attempt", time_object(source->last_attempt, p),
        "last_success", time_object(source->last_success, p),
        "failures", source->failure.count, "error", failure_object(&source->failure, p),
        "number", info->number[0] ? info->number : NULL,
        "this_update", time_object(info->this_update, p),
        "next_update", time_object(info->next_update, p), "entries", (json_int_t)info->entries,
        "warn", warn, "bytes", (json_int_t)source->size, "sha256",
        source->has_info ? gh_hex(p, info->sha256, sizeof(info->sha256)) : NULL);
}

/* Of the store, whose changes the children follow themselves. */
static json_t *store_object(const feeder_authority_t *authority, apr_pool_t *p)
{
    return json_pack(
        "{s:s, s:n, s:o, s:o, s:i, s:o, s:n, s:n, s:n, s:I, s:i, s:i, s:n}",
        "kind", "store", "url", "last_attempt", time_object(authority->failure.count
        ? authority->failure.last : authority->built, p),
        "last_success", time_object(authority->built, p), "failures", authority->failure.count,
        "error", failure_object(&authority->failure, p), "number", "this_update", "next_update",
        "entries", (json_int_t)(authority->index ? gh_index_info(authority->index)->issued : 0),
        "warn", 0, "bytes", 0, "sha256");
}

static json_t *state_object(const feeder_authority_t *authority, apr_time_t now, apr_pool_t *p)
{
    json_t *sources = json_array();
    int i;

    if (authority->kind == GH_SOURCE_STORE) {
        json_array_append_new(sources, store_object(authority, p));
    }
    for (i = 0; i < authority->source_count; ++i) {
        json_array_append_new(sources, source_object(&authority->sources[i], now, p));
    }
    return json_pack(
        "{s:i, s:s, s:s, s:i, s:o, s:I, s:o, s:o, s:o}", "version", 1, "authority",
        authority->name, "digest",
        gh_hex(p, authority->reader.digest, sizeof(authority->reader.digest)),
        "pid", (int)getpid(), "written", time_object(now, p), "generation",
        (json_int_t)(authority->index ? gh_index_info(authority->index)->generation : 0),
        "built", time_object(authority->built, p),
        "build_error", failure_object(&authority->failure, p), "sources", sources);
}

/* Not flushed: what it says is of this moment, and is written again after a crash. */
static int write_file(const char *path, const json_t *object, apr_pool_t *p)
{
    const char *temporary = apr_pstrcat(p, path, ".new", NULL);
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    int failed;

    if (descriptor < 0) {
        return -1;
    }
    failed = json_dumpfd(object, descriptor, JSON_INDENT(1));
    failed |= close(descriptor);
    return failed ? -1 : rename(temporary, path);
}

apr_time_t feeder_state_step(feeder_authority_t *authority, apr_time_t now)
{
    ocsp_feeder_t *feeder = authority->feeder;
    apr_time_t due = authority->state_written + (authority->state_changed ? AT_MOST : AT_LEAST);
    gh_result_t result;
    json_t *object;
    apr_pool_t *ptemp;
    const char *path;

    if (due > now && authority->state_written <= now) {
        return due;
    }
    apr_pool_create_unmanaged_ex(&ptemp, NULL, NULL);
    object = state_object(authority, now, ptemp);
    path = ocsp_state_path(feeder->folder, authority->name, ptemp);
    gh_result_clear(&result);
    if (!object || write_file(path, object, ptemp)) {
        gh_result_fail(&result, errno, GH_FAILURE_UNAVAILABLE, "ocsp.feeder",
                       "See whether its disk is full, and who may write there.",
                       GHNO(0678) "it cannot be written: %s", strerror(errno));
        feeder_fail(authority, &authority->state_failure, path, &result);
    }
    else {
        feeder_recover(authority, &authority->state_failure, path);
    }
    authority->state_written = now;
    authority->state_changed = 0;
    json_decref(object);
    apr_pool_destroy(ptemp);
    return now + AT_LEAST;
}

/* What older documents are told by, for all sources that are the same as before. */
void feeder_state_read(feeder_authority_t *authority)
{
    ocsp_state_t *state;
    apr_pool_t *ptemp;
    int i, j;

    apr_pool_create_unmanaged_ex(&ptemp, NULL, NULL);
    if (ocsp_state_read(&state, authority->feeder->folder, authority->name,
                        authority->reader.digest, ptemp) == APR_SUCCESS) {
        for (i = 0; i < authority->source_count; ++i) {
            feeder_source_t *source = &authority->sources[i];

            for (j = 0; j < state->count; ++j) {
                const ocsp_source_state_t *known = &state->sources[j];

                if (!known->url || strcmp(known->url, source->url)
                    || strcmp(known->kind, kind_name(source->kind)) || !known->last_success) {
                    continue;
                }
                source->has_info = 1;
                source->info.this_update = known->this_update;
                source->info.next_update = known->next_update;
                source->info.entries = (apr_uint64_t)known->entries;
                source->last_success = known->last_success;
                if (known->number) {
                    apr_cpystrn(source->info.number, known->number, sizeof(source->info.number));
                }
            }
        }
    }
    apr_pool_destroy(ptemp);
}
