/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Thumbprints as they are pasted, headers with certificates, files of pins: the first byte
 * chooses. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "mod_escrow/escrow_header.h"
#include "mod_escrow/escrow_pins.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *global;

/** What was understood is understood again, written in the one form there is. */
static void check_thumbprint(const gh_thumbprint_t *thumbprint, apr_pool_t *p)
{
    const char *text = gh_thumbprint_text(thumbprint, p);
    gh_thumbprint_t again;
    int bare;

    if (gh_thumbprint_parse(&again, text, strlen(text), &bare, NULL) != APR_SUCCESS || bare
        || again.length != thumbprint->length
        || memcmp(again.digest, thumbprint->digest, (size_t)again.length) != 0) {
        abort();
    }
}

static void try_header(int format, gh_bytes_t value, apr_pool_t *p)
{
    escrow_client_t client;
    gh_result_t result;

    if (escrow_header_read(&client, (escrow_header_format_t)format,
                           apr_pstrmemdup(p, (const char *)value.data, value.length), p, &result)
        != APR_SUCCESS) {
        return;
    }
    check_thumbprint(escrow_client_thumbprint(&client), p);
    escrow_client_time(&client, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    escrow_skipped_t skipped;
    escrow_pins_t *pins;
    gh_thumbprint_t thumbprint;
    gh_result_t result;
    gh_bytes_t rest;
    apr_pool_t *p;

    if (!global) {
        apr_initialize();
        apr_pool_create(&global, NULL);
    }
    if (size < 1) {
        return 0;
    }
    apr_pool_create(&p, global);
    rest.data = apr_pmemdup(p, data + 1, size - 1);
    rest.length = size - 1;
    if (*data >= '1' && *data <= '5') {
        try_header(*data - '0', rest, p);
    }
    else if (*data == 'f' || *data == 'r') {
        escrow_pins_parse(&pins, rest, "file", *data == 'r', NULL, size % 2 ? &skipped : NULL, p,
                          &result);
    }
    else if (gh_thumbprint_parse(&thumbprint, (const char *)rest.data, rest.length, NULL, &result)
             == APR_SUCCESS) {
        check_thumbprint(&thumbprint, p);
    }
    apr_pool_destroy(p);
    return 0;
}
