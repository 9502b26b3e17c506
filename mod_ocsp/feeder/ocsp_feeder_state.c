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

/* What a header field may have of it. */
static int is_validator(const char *text)
{
    const char *at = text;

    while (*at >= ' ' && *at <= '~') {
        ++at;
    }
    return *text && !*at;
}

static const char *validator(const char *text)
{
    return is_validator(text) ? text : NULL;
}

static json_t *source_object(const feeder_source_t *source, apr_time_t now, apr_pool_t *p)
{
    const ocsp_document_info_t *info = &source->info;
    const ocsp_fetch_t *fetch = source->fetched ? NULL : &source->fetch;
    int warn = info->next_update && info->next_update - now <= source->config->warn;

    return json_pack(
        "{s:s, s:s, s:o, s:o, s:i, s:o, s:s?, s:o, s:o, s:I, s:i, s:I, s:s?, s:s?, s:s?}",
        "kind", kind_name(source->kind), "url", source->url,
        "last_attempt", time_object(source->last_attempt, p),
        "last_success", time_object(source->last_success, p),
        "failures", source->failure.count, "error", failure_object(&source->failure, p),
        "number", info->number[0] ? info->number : NULL,
        "this_update", time_object(info->this_update, p),
        "next_update", time_object(info->next_update, p), "entries", (json_int_t)info->entries,
        "warn", warn, "bytes", (json_int_t)source->size, "sha256",
        source->has_info ? gh_hex(p, info->sha256, sizeof(info->sha256)) : NULL,
        /* what waits to be read is not what the digest is of */
        "etag", fetch ? validator(fetch->etag) : NULL,
        "modified", fetch ? validator(fetch->modified) : NULL);
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
        "{s:i, s:s, s:s, s:i, s:o, s:I, s:o, s:o, s:s?, s:o, s:o}", "version", 1, "authority",
        authority->name, "digest",
        gh_hex(p, authority->reader.digest, sizeof(authority->reader.digest)),
        "pid", (int)getpid(), "written", time_object(now, p), "generation",
        (json_int_t)(authority->index ? gh_index_info(authority->index)->generation : 0),
        "built", time_object(authority->built, p), "built_whole",
        time_object(authority->built_whole, p), "made_from", authority->has_made_from
        ? gh_hex(p, authority->made_from, sizeof(authority->made_from)) : NULL,
        "build_error", failure_object(&authority->failure, p), "sources", sources);
}

/* The folder has to be flushed too, for the name. */
static int flush_folder(const char *folder)
{
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed;

    if (descriptor < 0) {
        return -1;
    }
    failed = fsync(descriptor);
    return close(descriptor) || failed ? -1 : 0;
}

/* Only flushed where it tells which CRLs are too old: the rest is of this moment, and is written
 * again after a crash. */
static int write_file(const char *folder, const char *path, const json_t *object, int flush,
                      apr_pool_t *p)
{
    const char *temporary = apr_pstrcat(p, path, ".new", NULL);
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    int failed;

    if (descriptor < 0) {
        return -1;
    }
    failed = json_dumpfd(object, descriptor, JSON_INDENT(1));
    failed |= flush && fsync(descriptor);
    failed |= close(descriptor);
    if (failed || rename(temporary, path)) {
        return -1;
    }
    return flush ? flush_folder(folder) : 0;
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
    if (!object || write_file(feeder->folder, path, object, authority->state_unsafe, ptemp)) {
        gh_result_fail(&result, errno, GH_FAILURE_UNAVAILABLE, "ocsp.feeder",
                       "See whether its disk is full, and who may write there.",
                       GHNO(0678) "it cannot be written: %s", strerror(errno));
        feeder_fail(authority, &authority->state_failure, path, &result);
    }
    else {
        feeder_recover(authority, &authority->state_failure, path);
        authority->state_unsafe = 0;
    }
    authority->state_written = now;
    authority->state_changed = 0;
    json_decref(object);
    apr_pool_destroy(ptemp);
    return now + AT_LEAST;
}

void feeder_state_save(feeder_authority_t *authority, apr_time_t now)
{
    if (authority->state_unsafe) {
        authority->state_written = 0;
        feeder_state_step(authority, now);
    }
}

/* What older documents are told by. */
static void take_up_source(feeder_source_t *source, const ocsp_source_state_t *known)
{
    source->has_info = 1;
    source->info.this_update = known->this_update;
    source->info.next_update = known->next_update;
    source->info.entries = (apr_uint64_t)known->entries;
    source->size = (apr_size_t)known->bytes;
    source->last_success = known->last_success;
    if (known->number) {
        apr_cpystrn(source->info.number, known->number, sizeof(source->info.number));
    }
    if (known->sha256.length) {
        memcpy(source->info.sha256, known->sha256.data, sizeof(source->info.sha256));
    }
}

static const ocsp_source_state_t *find_source(const ocsp_state_t *state,
                                              const feeder_source_t *source)
{
    int i;

    for (i = 0; i < state->count; ++i) {
        const ocsp_source_state_t *known = &state->sources[i];

        if (known->url && !strcmp(known->url, source->url)
            && !strcmp(known->kind, kind_name(source->kind)) && known->last_success) {
            return known;
        }
    }
    return NULL;
}

/* An index of one document that is still the same needs no other: it is fetched when it is due, and
 * only if it has changed. Of several, a change of one needs all, also of those whose server may be
 * away by then: they are fetched again now. */
static void take_up_index(feeder_authority_t *authority, const ocsp_state_t *state, apr_time_t now)
{
    feeder_source_t *source = &authority->sources[0];
    const ocsp_source_state_t *known;
    unsigned char sha256[32];

    if (!authority->index || !state->made_from.length
        || state->generation != gh_index_info(authority->index)->generation) {
        return;
    }
    memcpy(authority->made_from, state->made_from.data, sizeof(authority->made_from));
    authority->has_made_from = 1;
    known = authority->source_count == 1 ? find_source(state, source) : NULL;
    if (!known || known->failures || known->last_success > now
        || !feeder_hash_documents(authority, sha256)
        || memcmp(sha256, authority->made_from, sizeof(sha256))) {
        return;
    }
    source->taken_up = 1;
    source->due = known->last_success + source->config->interval;
    if (known->etag && is_validator(known->etag)) {
        apr_cpystrn(source->fetch.etag, known->etag, sizeof(source->fetch.etag));
    }
    if (known->modified && is_validator(known->modified)) {
        apr_cpystrn(source->fetch.modified, known->modified, sizeof(source->fetch.modified));
    }
}

void feeder_state_read(feeder_authority_t *authority)
{
    ocsp_state_t *state;
    apr_pool_t *ptemp;
    int i;

    apr_pool_create_unmanaged_ex(&ptemp, NULL, NULL);
    if (ocsp_state_read(&state, authority->feeder->folder, authority->name,
                        authority->reader.digest, ptemp) == APR_SUCCESS) {
        for (i = 0; i < authority->source_count; ++i) {
            const ocsp_source_state_t *known = find_source(state, &authority->sources[i]);

            if (known) {
                take_up_source(&authority->sources[i], known);
            }
        }
        authority->built_whole = state->built_whole;
        if (authority->source_count) {
            take_up_index(authority, state, apr_time_now());
        }
    }
    apr_pool_destroy(ptemp);
}
