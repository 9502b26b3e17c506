/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A security descriptor of the directory. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_tables.h>

#include "directory/descriptor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;
static apr_array_header_t *sids;

static void prepare(void)
{
    static const unsigned char own[] = { 1, 2, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0 };
    gh_bytes_t sid = { own, sizeof(own) };

    apr_initialize();
    apr_pool_create(&pool, NULL);
    sids = apr_array_make(pool, 1, sizeof(gh_bytes_t));
    APR_ARRAY_PUSH(sids, gh_bytes_t) = sid;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);    /* a block apart: reading past it shows */
    gh_bytes_t descriptor = { copy, size };

    if (!pool) {
        prepare();
    }
    if (!copy) {
        abort();
    }
    if (size) {
        memcpy(copy, data, size);
    }
    gh_directory_grants(descriptor, sids, GH_DIRECTORY_ENROLL);
    gh_directory_grants(descriptor, sids, GH_DIRECTORY_AUTOENROLL);
    gh_directory_grants(descriptor, NULL, GH_DIRECTORY_ENROLL);
    free(copy);
    return 0;
}
