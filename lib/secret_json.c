/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "secret_json.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <apr_tables.h>
#include <openssl/crypto.h>

/** Behind the mark that no text has by chance: the number of a secret, and this. */
#define END '.'

struct gh_secret_json {
    const char *mark;
    apr_array_header_t *secrets;    /* gh_bytes_t */
    apr_pool_t *pool;
};

gh_secret_json_t *gh_secret_json_create(apr_pool_t *p)
{
    gh_secret_json_t *secrets = apr_palloc(p, sizeof(*secrets));

    secrets->mark = gh_random_id(p);
    secrets->secrets = apr_array_make(p, 8, sizeof(gh_bytes_t));
    secrets->pool = p;
    return secrets->mark ? secrets : NULL;
}

json_t *gh_secret_json_add(gh_secret_json_t *secrets, gh_bytes_t bytes)
{
    if (!bytes.data) {
        return NULL;
    }
    APR_ARRAY_PUSH(secrets->secrets, gh_bytes_t) = bytes;
    return json_string(apr_psprintf(secrets->pool, "%s%d%c", secrets->mark,
                                    secrets->secrets->nelts - 1, END));
}

static apr_status_t overwrite(void *text)
{
    OPENSSL_cleanse(text, strlen(text));
    return APR_SUCCESS;
}

static char *add_hex(char *at, const gh_bytes_t *bytes)
{
    static const char digits[] = "0123456789abcdef";
    apr_size_t i;

    for (i = 0; i < bytes->length; ++i) {
        *at++ = digits[bytes->data[i] >> 4];
        *at++ = digits[bytes->data[i] & 15];
    }
    return at;
}

/** @param filled large enough */
static void fill(char *filled, const gh_secret_json_t *secrets, const char *text)
{
    const char *found;

    while ((found = strstr(text, secrets->mark)) != NULL) {
        long number = strtol(found + strlen(secrets->mark), NULL, 10);

        memcpy(filled, text, (size_t)(found - text));
        filled = add_hex(filled + (found - text),
                         &APR_ARRAY_IDX(secrets->secrets, number, gh_bytes_t));
        text = strchr(found, END) + 1;
    }
    memcpy(filled, text, strlen(text) + 1);
}

char *gh_secret_json_write(const gh_secret_json_t *secrets, const json_t *json, apr_pool_t *p)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL, *filled;
    apr_size_t size;
    int i;

    if (!text) {
        return NULL;
    }
    size = strlen(text) + 1;
    for (i = 0; i < secrets->secrets->nelts; ++i) {
        size += 2 * APR_ARRAY_IDX(secrets->secrets, i, gh_bytes_t).length;
    }
    filled = apr_pcalloc(p, size);
    apr_pool_cleanup_register(p, filled, overwrite, apr_pool_cleanup_null);
    fill(filled, secrets, text);
    free(text);
    return filled;
}
