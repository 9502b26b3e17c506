/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The path and query of a SCEP request, separated by the first question mark. What is decoded from
 * the query is read as a message too. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/evp.h>

#include "mod_scep/scep_digital.h"
#include "mod_scep/scep_message.h"
#include "mod_scep/scep_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *global;

/** The same bytes, written as a client should, are read as the same. */
static void check_decoded(gh_bytes_t bytes, apr_pool_t *p)
{
    static const char start[] = "operation=PKIOperation&message=";
    char *base64 = apr_palloc(p, (bytes.length + 2) / 3 * 4 + 1);
    char *query_text = apr_palloc(p, sizeof(start) + (bytes.length + 2) / 3 * 4 * 3);
    char *to = apr_cpystrn(query_text, start, sizeof(start));
    scep_query_t query;
    gh_bytes_t again;
    gh_result_t result;

    if (bytes.length > SCEP_MESSAGE_MAX) {
        return;
    }
    EVP_EncodeBlock((unsigned char *)base64, bytes.data, (int)bytes.length);
    for (; *base64; ++base64) {
        if (*base64 == '+') {
            to = apr_cpystrn(to, "%2B", 4);
        }
        else {
            *to++ = *base64;
        }
    }
    *to = '\0';
    if (scep_query_parse(&query, query_text, p, &result) != APR_SUCCESS
        || scep_query_message(&again, &query, p, &result) != APR_SUCCESS
        || again.length != bytes.length || memcmp(again.data, bytes.data, bytes.length) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    scep_message_t *message;
    scep_query_t query;
    scep_url_mdm_t mdm;
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
    if (scep_url_parse_mdm(&mdm, path, p) == APR_SUCCESS) {
        const char *plain = scep_digital_path(mdm.tenant, mdm.digital_id, p);

        if (!gh_name_valid(mdm.tenant) || !scep_digital_name_valid(mdm.digital_id)
            || strncmp(path, plain, strlen(plain))
            || scep_url_parse(&url, path, p) == APR_SUCCESS) {
            abort();
        }
    }
    if (scep_query_parse(&query, args, p, &result) == APR_SUCCESS
        && scep_query_message(&bytes, &query, p, &result) == APR_SUCCESS) {
        check_decoded(bytes, p);
        scep_message_read(&message, bytes, 0, NULL, p, &result);
    }
    apr_pool_destroy(p);
    return 0;
}
