/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_file_info.h>
#include <apr_strings.h>
#include <jansson.h>

#include "mod_ocsp/ocsp_state.h"
#include "text.h"

/** Larger than any that is written. */
#define STATE_MAX (8 * 1024 * 1024)

const char *ocsp_state_path(const char *folder, const char *name, apr_pool_t *p)
{
    return apr_pstrcat(p, folder, "/", name, ".state", NULL);
}

static const char *text_of(const json_t *object, const char *member, apr_pool_t *p)
{
    const char *text = json_string_value(json_object_get(object, member));

    return text ? apr_pstrdup(p, text) : NULL;
}

static apr_time_t time_of(const json_t *object, const char *member)
{
    const char *text = json_string_value(json_object_get(object, member));
    apr_time_t time;

    return text && gh_time_parse(&time, text) == APR_SUCCESS ? time : 0;
}

static apr_int64_t number_of(const json_t *object, const char *member)
{
    return json_integer_value(json_object_get(object, member));
}

static gh_bytes_t digest_of(const json_t *object, const char *member, apr_pool_t *p)
{
    const char *text = json_string_value(json_object_get(object, member));
    gh_bytes_t digest = { NULL, 0 }, none = { NULL, 0 };

    return text && gh_hex_parse(&digest, text, p) == APR_SUCCESS && digest.length == 32 ? digest
                                                                                        : none;
}

static void read_source(ocsp_source_state_t *source, const json_t *object, apr_pool_t *p)
{
    const json_t *error = json_object_get(object, "error");

    source->kind = text_of(object, "kind", p);
    source->kind = source->kind ? source->kind : "";
    source->url = text_of(object, "url", p);
    source->last_attempt = time_of(object, "last_attempt");
    source->last_success = time_of(object, "last_success");
    source->failures = (int)number_of(object, "failures");
    source->gh = text_of(error, "gh", p);
    source->message = text_of(error, "message", p);
    source->action = text_of(error, "action", p);
    source->number = text_of(object, "number", p);
    source->this_update = time_of(object, "this_update");
    source->next_update = time_of(object, "next_update");
    source->entries = number_of(object, "entries");
    source->warn = number_of(object, "warn") != 0;
    source->bytes = number_of(object, "bytes");
    source->sha256 = digest_of(object, "sha256", p);
    source->etag = text_of(object, "etag", p);
    source->modified = text_of(object, "modified", p);
}

static ocsp_state_t *read_state(const json_t *document, apr_pool_t *p)
{
    ocsp_state_t *state = apr_pcalloc(p, sizeof(*state));
    const json_t *error = json_object_get(document, "build_error");
    const json_t *sources = json_object_get(document, "sources");
    size_t count = json_array_size(sources), i;
    ocsp_source_state_t *all = apr_pcalloc(p, (count + 1) * sizeof(*all));

    for (i = 0; i < count; ++i) {
        read_source(&all[i], json_array_get(sources, i), p);
    }
    state->written = time_of(document, "written");
    state->generation = number_of(document, "generation");
    state->built = time_of(document, "built");
    state->built_whole = time_of(document, "built_whole");
    state->made_from = digest_of(document, "made_from", p);
    state->gh = text_of(error, "gh", p);
    state->message = text_of(error, "message", p);
    state->action = text_of(error, "action", p);
    state->count = (int)count;
    state->sources = all;
    return state;
}

apr_status_t ocsp_state_read(ocsp_state_t **state, const char *folder, const char *name,
                             const unsigned char *digest, apr_pool_t *p)
{
    const char *path = ocsp_state_path(folder, name, p);
    const char *of;
    apr_finfo_t info;
    json_t *document;
    apr_status_t rv = apr_stat(&info, path, APR_FINFO_TYPE | APR_FINFO_SIZE, p);

    if (rv != APR_SUCCESS) {
        return APR_STATUS_IS_ENOENT(rv) ? APR_ENOENT : rv;
    }
    if (info.filetype != APR_REG || info.size > STATE_MAX) {
        return APR_EINVAL;
    }
    document = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    of = json_string_value(json_object_get(document, "digest"));
    if (!of || number_of(document, "version") != 1) {
        rv = APR_EINVAL;
    }
    else if (strcmp(of, gh_hex(p, digest, 32))) {
        rv = APR_ENOENT;
    }
    else {
        *state = read_state(document, p);
    }
    json_decref(document);
    return rv;
}
