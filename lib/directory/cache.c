/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>

#include "directory/directory_private.h"
#include "pool.h"

/* Two generations of answers: when the present one is old or full, the one before is dropped. */

#define ANSWERS_MAX 512

/** Most bytes of a generation, about. */
#define KEPT_BYTES_MAX (16 * 1024 * 1024)

typedef struct {
    apr_array_header_t *entries;
    apr_time_t made;
} answer_t;

static apr_array_header_t *copy_values(const apr_array_header_t *values, apr_pool_t *p)
{
    apr_array_header_t *copy = apr_array_make(p, values->nelts, sizeof(gh_bytes_t));
    int i;

    for (i = 0; i < values->nelts; ++i) {
        gh_bytes_t value = APR_ARRAY_IDX(values, i, gh_bytes_t);

        value.data = apr_pmemdup(p, value.data, value.length + 1);
        APR_ARRAY_PUSH(copy, gh_bytes_t) = value;
    }
    return copy;
}

static apr_array_header_t *copy_entries(const apr_array_header_t *entries, apr_pool_t *p)
{
    apr_array_header_t *copy = apr_array_make(p, entries->nelts, sizeof(gh_directory_entry_t *));
    int i, j;

    for (i = 0; i < entries->nelts; ++i) {
        const gh_directory_entry_t *entry = APR_ARRAY_IDX(entries, i, gh_directory_entry_t *);
        gh_directory_entry_t *made = apr_palloc(p, sizeof(*made));

        made->dn = apr_pstrdup(p, entry->dn);
        made->attributes = apr_array_make(p, entry->attributes->nelts, sizeof(attribute_t));
        for (j = 0; j < entry->attributes->nelts; ++j) {
            attribute_t attribute = APR_ARRAY_IDX(entry->attributes, j, attribute_t);

            attribute.name = apr_pstrdup(p, attribute.name);
            attribute.values = copy_values(attribute.values, p);
            APR_ARRAY_PUSH(made->attributes, attribute_t) = attribute;
        }
        APR_ARRAY_PUSH(copy, gh_directory_entry_t *) = made;
    }
    return copy;
}

static apr_size_t size_of(const apr_array_header_t *entries)
{
    apr_size_t size = 0;
    int i, j, k;

    for (i = 0; i < entries->nelts; ++i) {
        const gh_directory_entry_t *entry = APR_ARRAY_IDX(entries, i, gh_directory_entry_t *);

        size += sizeof(*entry) + strlen(entry->dn);
        for (j = 0; j < entry->attributes->nelts; ++j) {
            const apr_array_header_t *values = APR_ARRAY_IDX(entry->attributes, j,
                                                             attribute_t).values;

            size += sizeof(attribute_t) + sizeof(*values);
            for (k = 0; k < values->nelts; ++k) {
                size += sizeof(gh_bytes_t) + APR_ARRAY_IDX(values, k, gh_bytes_t).length;
            }
        }
    }
    return size;
}

const char *gh_directory_key(const gh_directory_query_t *query, apr_pool_t *p)
{
    const char *key = apr_psprintf(p, "%d\n%s\n%s", query->one, query->base ? query->base : "",
                                   query->filter);
    int i;

    for (i = 0; query->attributes[i]; ++i) {
        key = apr_pstrcat(p, key, "\n", query->attributes[i], NULL);
    }
    return key;
}

apr_array_header_t *gh_directory_kept(gh_directory_t *directory, const char *key, apr_time_t now,
                                      apr_pool_t *p)
{
    apr_array_header_t *entries = NULL;
    int i;

    if (!directory->config->keep) {
        return NULL;
    }
    apr_thread_mutex_lock(directory->mutex);
    for (i = 0; i < 2 && !entries; ++i) {
        const generation_t *generation = &directory->generations[i];
        const answer_t *answer = generation->pool
            ? apr_hash_get(generation->answers, key, APR_HASH_KEY_STRING) : NULL;

        if (answer && now >= answer->made && now - answer->made < directory->config->keep) {
            entries = copy_entries(answer->entries, p);
        }
    }
    apr_thread_mutex_unlock(directory->mutex);
    return entries;
}

/** With the mutex. @return 0 if there is no memory */
static int next_generation(gh_directory_t *directory, apr_time_t now)
{
    generation_t *generations = directory->generations;
    generation_t next = { .begun = now };

    if (generations[0].pool && now - generations[0].begun < directory->config->keep
        && apr_hash_count(generations[0].answers) < ANSWERS_MAX
        && generations[0].bytes < KEPT_BYTES_MAX) {
        return 1;
    }
    if (gh_pool_create(&next.pool, "directory.answers") != APR_SUCCESS) {
        return 0;
    }
    next.answers = apr_hash_make(next.pool);
    if (generations[1].pool) {
        apr_pool_destroy(generations[1].pool);
    }
    generations[1] = generations[0];
    generations[0] = next;
    return 1;
}

void gh_directory_keep(gh_directory_t *directory, const char *key,
                       const apr_array_header_t *entries, apr_time_t now)
{
    if (!directory->config->keep) {
        return;
    }
    apr_thread_mutex_lock(directory->mutex);
    if (next_generation(directory, now)) {
        generation_t *generation = &directory->generations[0];

        /* one that is there is kept: what it lies in is freed as a whole only */
        if (!apr_hash_get(generation->answers, key, APR_HASH_KEY_STRING)) {
            answer_t *answer = apr_palloc(generation->pool, sizeof(*answer));

            answer->entries = copy_entries(entries, generation->pool);
            answer->made = now;
            generation->bytes += size_of(entries);
            apr_hash_set(generation->answers, apr_pstrdup(generation->pool, key),
                         APR_HASH_KEY_STRING, answer);
        }
    }
    apr_thread_mutex_unlock(directory->mutex);
}
