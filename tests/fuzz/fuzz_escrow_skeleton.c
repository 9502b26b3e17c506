/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* A skeleton: the first byte chooses its format. What is read can be completed with all that it
 * needs, and never says that it needs what cannot be. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "escrow/needs.h"
#include "mod_escrow/escrow_fill.h"
#include "mod_escrow/escrow_opener.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;
static escrow_set_t set;
static escrow_output_t output;
static escrow_credential_t credential;
static escrow_opener_t opener;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

/* Credentials without keys: secrets are left out, as making each would take milliseconds. */
static void prepare(void)
{
    int use, i;

    require(apr_initialize() == APR_SUCCESS && apr_pool_create(&pool, NULL) == APR_SUCCESS);
    require(gh_locked_create(&opener.locked, 64 * 1024, pool, NULL) == APR_SUCCESS);
    credential.certificate = (gh_bytes_t) { (const unsigned char *)"certificate", 11 };
    credential.subject = "CN=\"<&>'\\";
    credential.email = "a@example.com";
    for (use = 1; use <= ESCROW_USES; use++) {
        for (i = 0; i < 2; i++) {
            escrow_set_add(&set, (escrow_use_t)use, &credential, pool);
        }
    }
    output.opener = &opener;
    output.profile = "profile";
    output.generation = 1;
}

static apr_status_t fill_as(const char *format, gh_bytes_t skeleton, gh_bytes_t *out,
                            escrow_fill_t *fill)
{
    escrow_plist_t plist;
    apr_status_t rv;

    if (strcmp(format, "json") == 0) {
        return escrow_json_fill(out, skeleton, fill);
    }
    if (strcmp(format, "xml") == 0) {
        return escrow_xml_fill(out, skeleton, fill);
    }
    if (strcmp(format, "text") == 0) {
        return escrow_text_fill(out, skeleton, fill);
    }
    rv = escrow_plist_fill(&plist, skeleton, fill);
    if (rv == APR_SUCCESS) {
        rv = escrow_plist_finish(out, &plist, plist.payloads, fill);
        require(rv == APR_SUCCESS && out->length > 0);
    }
    return rv;
}

static void complete(const char *format, gh_bytes_t skeleton, apr_pool_t *p)
{
    escrow_fill_t *fill;
    gh_result_t result;
    gh_bytes_t out, document;

    gh_result_clear(&result);
    require(escrow_fill_create(&fill, &set, &output, p, &result) == APR_SUCCESS);
    if (fill_as(format, skeleton, &out, fill) == APR_SUCCESS) {
        require(escrow_fill_secrets(fill, out, &document) == APR_SUCCESS);
    }
    else {
        require(result.number[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = { "mobileconfig", "json", "xml", "text" };
    static const int none[ESCROW_USES + 1], all[ESCROW_USES + 1] = { 0, 64, 64, 64 };
    escrow_template_t *template;
    gh_result_t result;
    gh_bytes_t skeleton;
    apr_pool_t *p;

    if (!pool) {
        prepare();
    }
    if (size == 0) {
        return 0;
    }
    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    skeleton = (gh_bytes_t) { data + 1, size - 1 };
    if (escrow_template_read(&template, formats[data[0] & 3], skeleton, p, &result)
        == APR_SUCCESS) {
        const char *needs = escrow_template_needs(template);

        require(gh_escrow_needs_missing(needs, all, p)->nelts == 0);
        require(*needs == '\0' || gh_escrow_needs_missing(needs, none, p)->nelts > 0);
        complete(escrow_template_format(template), skeleton, p);
    }
    else {
        require(template == NULL && result.number[0] != '\0');
    }
    apr_pool_destroy(p);
    return 0;
}
