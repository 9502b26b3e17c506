/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Signers from files, which the parent opens as root, and from tokens, which each child opens for
 * itself, and again after they were away. */

#include "mod_ocsp/ocsp_signers_private.h"

#include <apr_atomic.h>
#include <apr_strings.h>

#include "log.h"
#include "status.h"
#include "x509/ca.h"
#include "x509/key.h"

static void add_opened(ocsp_source_t *source, EVP_PKEY *key, apr_pool_t *pool)
{
    ocsp_opened_t *opened = apr_array_push(source->opened);

    opened->certificate = source->certificate;
    opened->key = key;
    opened->generation = 0;
    opened->not_after = gh_certificate_not_after(source->certificate);
    opened->pool = pool;
}

apr_status_t ocsp_files_load(ocsp_source_t *source, X509 *ca, apr_time_t now,
                             apr_array_header_t *warnings, apr_pool_t *p, gh_result_t *result)
{
    const ocsp_signer_config_t *config = source->config;
    const char *warning = NULL;
    apr_status_t rv;

    rv = gh_certificate_open(&source->certificate, config->certificate, config->passphrase, p,
                             result);
    if (rv == APR_SUCCESS && !ocsp_source_is_token(source)) {
        rv = gh_key_open(&source->key, config->key, config->passphrase, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = ocsp_signer_check(ca, source->certificate, source->key, now, &warning, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (warning) {
        APR_ARRAY_PUSH(warnings, const char *) =
            apr_psprintf(p, "%s: %s", config->certificate, warning);
    }
    if (source->key) {
        add_opened(source, source->key, NULL);
    }
    return APR_SUCCESS;
}

/** One process finds out for all that a PIN is refused: tokens count the failures. */
static apr_status_t open_token(ocsp_source_t *source, EVP_PKEY **key, apr_pool_t *p)
{
    apr_status_t rv;

    if (apr_atomic_read32(source->pin_refused)) {
        return gh_result_fail(&source->failure, GH_EREFUSED, GH_FAILURE_DENIED, "key.pin",
                              "see the failure that the other process has logged, then restart",
                              GHNO(0640) "the token refused the PIN when another process tried it");
    }
    rv = gh_key_open(key, source->config->key, source->config->passphrase, p, &source->failure);
    if (rv == GH_EREFUSED) {
        apr_atomic_set32(source->pin_refused, 1);
    }
    if (rv == APR_SUCCESS && !gh_key_matches(*key, source->certificate)) {
        rv = gh_result_fail(&source->failure, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.signer.key",
                            "Name the key that belongs to the certificate, then restart httpd "
                            "gracefully.",
                            GHNO(0641) "the key %s does not belong to the OCSP signing certificate "
                            "%s", source->config->key, source->config->certificate);
    }
    return rv;
}

int ocsp_files_follow(ocsp_source_t *source, const ocsp_round_t *round)
{
    const ocsp_signer_services_t *services = round->services;
    EVP_PKEY *key = NULL;
    apr_pool_t *pool;

    if (!ocsp_source_is_token(source) || source->opened->nelts || source->stopped
        || !ocsp_source_is_time(source->retry_at, OCSP_SOURCE_PAUSE_MAX, round->now)) {
        return 0;
    }
    pool = ocsp_source_pool();
    if (!pool) {
        return 0;
    }
    gh_result_clear(&source->failure);
    if (services && services->turn_begin) {
        services->turn_begin();
    }
    source->status = open_token(source, &key, pool);
    if (services && services->turn_end) {
        services->turn_end();
    }
    if (source->status == APR_SUCCESS) {
        source->since = round->now;
        add_opened(source, key, pool);
        return 1;
    }
    apr_pool_destroy(pool);
    source->stopped = source->status == GH_EREFUSED || source->status == APR_EINVAL;
    ocsp_source_postpone(source, round->now);
    return 0;
}
