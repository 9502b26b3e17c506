/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mended_json.h"

#include <apr_pools.h>
#include <apr_strings.h>

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

/** @return 1 if the text is UTF-8, as jansson sees it */
static int is_utf8(const char *text, apr_size_t length)
{
    json_t *string = json_stringn(text, length);
    int valid = string != NULL;

    json_decref(string);
    return valid;
}

/** @return 1 if something was replaced */
static int mend(char *text, apr_size_t length)
{
    int valid = is_utf8(text, length), changed = 0;
    apr_size_t i;

    for (i = 0; i < length; ++i) {
        unsigned char byte = (unsigned char)text[i];

        if (byte < 0x20) {
            /* the ends of lines and tabs, too: between texts they are as good as spaces */
            text[i] = ' ';
            changed = 1;
        }
        else if (byte >= 0x80 && !valid) {
            text[i] = '?';
            changed = 1;
        }
    }
    return changed;
}

json_t *gh_mended_json(const void *data, apr_size_t length, json_error_t *error)
{
    json_t *json = json_loadb(data, length, FLAGS, error);
    apr_pool_t *pool;
    char *copy;

    if (json || length == 0) {
        return json;
    }
    apr_pool_create(&pool, NULL);
    copy = apr_pmemdup(pool, data, length);
    if (mend(copy, length)) {
        json = json_loadb(copy, length, FLAGS, NULL);
    }
    apr_pool_destroy(pool);
    return json;
}
