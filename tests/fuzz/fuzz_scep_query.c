/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The path and query of a SCEP request, separated by the first question mark. What is decoded from
 * the query is read as a message too. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_scep/scep_message.h"
#include "mod_scep/scep_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *global;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scep_message_t *message;
    scep_query_t query;
    scep_url_t url;
    gh_bytes_t bytes;
    gh_result_t result;
    apr_pool_t *p;
    char *path, *args;

    if (!global) {
        apr_initialize();
        apr_pool_create(&global, NULL);
    }
    apr_pool_create(&p, global);
    path = apr_pstrmemdup(p, (const char *)data, size);
    args = strchr(path, '?');
    if (args) {
        *args++ = '\0';
    }
    if (scep_url_parse(&url, path, p) == APR_SUCCESS
        && (!gh_name_valid(url.tenant) || !gh_name_valid(url.issuer) || !gh_name_valid(url.profile)
            || strncmp(path, scep_url_path(&url, p), strlen(scep_url_path(&url, p))))) {
        abort();
    }
    if (scep_query_parse(&query, args, p, &result) == APR_SUCCESS
        && scep_query_message(&bytes, &query, p, &result) == APR_SUCCESS) {
        scep_message_read(&message, bytes, 0, NULL, p, &result);
    }
    apr_pool_destroy(p);
    return 0;
}
