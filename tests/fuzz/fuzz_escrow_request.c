/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The body of a request: the first byte chooses an upload, a skeleton with its recipient, or a
 * change of the configuration. What is read holds what its limits promise, and what is refused says
 * which member was wrong. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/core_dispatch.h>
#include <jansson.h>

#include "escrow/needs.h"
#include "mod_escrow/escrow_configuration.h"
#include "mod_escrow/escrow_skeleton.h"
#include "mod_escrow/escrow_upload.h"
#include "x509/decoding.h"
#include "x509/thumbprint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CREDENTIALS 8

GH_DECODING_FILTER(decoding, gh_decoding_create_private)

static apr_pool_t *pool;
static gh_locked_t *locked;
static escrow_opener_t *opener;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static void prepare(void)
{
    gh_result_t result;

    gh_result_clear(&result);
    require(apr_initialize() == APR_SUCCESS && apr_pool_create(&pool, NULL) == APR_SUCCESS);
    require(gh_locked_create(&locked, 1024 * 1024, pool, &result) == APR_SUCCESS);
    require(escrow_opener_create(&opener, locked, decoding_context(pool), pool, &result)
            == APR_SUCCESS);
}

static apr_status_t read_upload(gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    escrow_upload_t *upload;
    gh_bytes_t digest;
    int i;
    apr_status_t rv = escrow_upload_read(&upload, body, CREDENTIALS, locked, p, result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    require(strlen(upload->device) == 36 && strlen(upload->user) == 36);
    require(upload->elements->nelts <= CREDENTIALS);
    for (i = 0; i < upload->elements->nelts; i++) {
        const escrow_element_t *element = &APR_ARRAY_IDX(upload->elements, i, escrow_element_t);

        require(upload->given[element->use] && element->pkcs12.data != NULL);
    }
    rv = escrow_upload_open(upload, opener, NULL, apr_time_now(), p, result);
    if (rv == APR_SUCCESS) {
        require(escrow_upload_digest(&digest, upload, p, result) == APR_SUCCESS
                && digest.length == 32);
    }
    return rv;
}

static apr_status_t read_skeleton(gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    static const int all[ESCROW_USES + 1]
        = { 0, ESCROW_POSITIONS, ESCROW_POSITIONS, ESCROW_POSITIONS };
    escrow_skeleton_t *skeleton;
    apr_status_t rv = escrow_skeleton_read(&skeleton, body, apr_time_now(), p, result);

    if (rv == APR_SUCCESS) {
        json_t *labels = skeleton->labels ? json_loads(skeleton->labels, 0, NULL) : NULL;

        require(strlen(skeleton->profile) == 36 && skeleton->skeleton.length > 0);
        require(gh_escrow_needs_missing(skeleton->needs, all, p)->nelts == 0);
        require(!skeleton->labels || json_object_size(labels) <= ESCROW_LABELS_MAX);
        require(escrow_recipient_certificate(skeleton->recipient).length > 0);
        json_decref(labels);
    }
    return rv;
}

static apr_status_t read_change(gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    escrow_change_t *change;
    int i;
    apr_status_t rv = escrow_change_parse(&change, body, p, result);

    for (i = 0; rv == APR_SUCCESS && change->pins && i < change->pins->nelts; i++) {
        const gh_pin_record_t *pin = APR_ARRAY_IDX(change->pins, i, const gh_pin_record_t *);

        require(!strncmp(pin->thumbprint, "sha1:", 5) || !strncmp(pin->thumbprint, "sha256:", 7));
        require(!pin->role || !strcmp(pin->role, "provider") || !strcmp(pin->role, "uem"));
    }
    return rv;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_status_t (*const readers[])(gh_bytes_t, apr_pool_t *, gh_result_t *) = {
        read_upload, read_skeleton, read_change
    };
    gh_result_t result;
    apr_pool_t *p;

    if (!pool) {
        prepare();
    }
    if (size == 0) {
        return 0;
    }
    apr_pool_create(&p, pool);
    gh_result_clear(&result);
    if (readers[data[0] % 3]((gh_bytes_t) { data + 1, size - 1 }, p, &result) != APR_SUCCESS) {
        require(result.number[0] != '\0' && result.message[0] != '\0');
    }
    apr_pool_destroy(p);
    return 0;
}
