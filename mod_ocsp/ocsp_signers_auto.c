/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Signers that are enrolled from the issuer, lie sealed in the store, and are renewed. */

#include "mod_ocsp/ocsp_signers_private.h"

#include <apr_strings.h>

#include "log.h"
#include "status.h"
#include "x509/ca.h"

/** At what others have made or revoked. */
#define LOOK_INTERVAL apr_time_from_sec(1)

const char *ocsp_signer_purpose(const char *kind, apr_pool_t *p)
{
    return apr_pstrcat(p, "ocsp-signer-", kind, NULL);
}

apr_status_t ocsp_auto_load(ocsp_source_t *source, gh_issuer_t *issuer, apr_pool_t *p,
                            gh_result_t *result)
{
    const ocsp_signer_config_t *config = source->config;

    if (!issuer || (gh_issuer_backend(issuer) != &gh_issuer_local
                    && !gh_issuer_backend(issuer)->by_worker)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.signer.auto",
                              "Name a certificate and a key with OCSPSigner.",
                              GHNO(0637) "authority %s: a signer can be enrolled only from an "
                              "<Issuer> of that name that signs here", source->authority);
    }
    if (!config->profile || !gh_profile_fits_ocsp(config->profile)
        || !gh_profile_allows_key(config->profile, config->kind)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.signer.profile",
                              "Use basic-ocsp, or a profile with ProfileExtendedKeyUsage "
                              "OCSPSigning, ProfileKeyUsage digitalSignature and this kind of key.",
                              GHNO(0638) "authority %s: profile %s does not fit OCSP signers with "
                              "keys %s", source->authority,
                              config->profile ? gh_profile_name(config->profile) : "(none)",
                              config->kind);
    }
    source->keys.purpose = ocsp_signer_purpose(config->kind, p);
    source->keys.kind = config->kind;
    source->keys.subject = apr_psprintf(p, "CN=%s OCSP %s", gh_issuer_name(issuer), config->kind);
    source->keys.issuer = issuer;
    source->keys.profile = config->profile;
    source->pending = 1;
    return APR_SUCCESS;
}

static int find_opened(const ocsp_source_t *source, apr_int64_t generation)
{
    int i;

    for (i = 0; i < source->opened->nelts; ++i) {
        if (APR_ARRAY_IDX(source->opened, i, ocsp_opened_t).generation == generation) {
            return i;
        }
    }
    return -1;
}

static int is_usable(const apr_array_header_t *generations, apr_int64_t number)
{
    int i;

    for (i = 0; i < generations->nelts; ++i) {
        const gh_generation_t *one = gh_generation_at(generations, i);

        if (one->record->generation == number) {
            return one->usable;
        }
    }
    return 0;
}

/** Those that were withdrawn, or have expired. */
static int drop_others(ocsp_source_t *source, const apr_array_header_t *generations)
{
    int i, changed = 0;

    for (i = source->opened->nelts - 1; i >= 0; --i) {
        if (!is_usable(generations,
                       APR_ARRAY_IDX(source->opened, i, ocsp_opened_t).generation)) {
            ocsp_source_drop(source, i);
            changed = 1;
        }
    }
    return changed;
}

/** Puts it where it belongs: the newest comes first. */
static void insert(ocsp_source_t *source, const ocsp_opened_t *opened)
{
    int i;

    apr_array_push(source->opened);
    for (i = source->opened->nelts - 1;
         i > 0 && APR_ARRAY_IDX(source->opened, i - 1, ocsp_opened_t).generation
                  < opened->generation; --i) {
        APR_ARRAY_IDX(source->opened, i, ocsp_opened_t) =
            APR_ARRAY_IDX(source->opened, i - 1, ocsp_opened_t);
    }
    APR_ARRAY_IDX(source->opened, i, ocsp_opened_t) = *opened;
}

static apr_status_t open_generation(ocsp_source_t *source, const ocsp_round_t *round,
                                    const gh_sealed_key_record_t *record)
{
    ocsp_opened_t opened = { .generation = record->generation, .not_after = record->not_after };
    const char *warning;
    apr_status_t rv;

    opened.pool = ocsp_source_pool();
    if (!opened.pool) {
        return APR_ENOMEM;
    }
    rv = gh_generation_open(&opened.key, &opened.certificate, record, round->services->sealer,
                            opened.pool, &source->failure);
    if (rv == APR_SUCCESS) {
        rv = ocsp_signer_check(round->signers->ca, opened.certificate, opened.key, round->now,
                               &warning, round->ptemp, &source->failure);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(opened.pool);
        return rv;
    }
    insert(source, &opened);
    return APR_SUCCESS;
}

/** Those that are new. */
static int open_others(ocsp_source_t *source, const ocsp_round_t *round,
                       const apr_array_header_t *generations)
{
    int i, changed = 0;

    for (i = 0; i < generations->nelts; ++i) {
        const gh_generation_t *one = gh_generation_at(generations, i);

        if (one->usable && find_opened(source, one->record->generation) < 0) {
            apr_status_t rv = open_generation(source, round, one->record);

            changed |= rv == APR_SUCCESS;
            source->status = rv != APR_SUCCESS ? rv : source->status;
        }
    }
    return changed;
}

static int take_up(ocsp_source_t *source, const ocsp_round_t *round,
                   const apr_array_header_t *generations)
{
    int i, changed = drop_others(source, generations);

    source->withdrawn = 0;
    for (i = generations->nelts - 1; i >= 0; --i) {
        const gh_generation_t *one = gh_generation_at(generations, i);

        if (one->withdrawn) {
            source->withdrawn = one->record->generation;
        }
    }
    return open_others(source, round, generations) | changed;
}

/** @param generations set to NULL if the store cannot be asked */
static apr_status_t provide(ocsp_source_t *source, const ocsp_round_t *round,
                            apr_array_header_t **generations)
{
    const ocsp_signer_services_t *has = round->services;
    gh_own_services_t services = { has->store, has->ledger, has->sealer, has->node, has->audit };
    gh_result_t failure;
    apr_status_t rv;

    *generations = NULL;
    gh_result_clear(&failure);
    source->asked = 0;
    if (!has->sealer) {
        rv = gh_result_fail(&failure, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.signer.sealing",
                            "Add GatehouseSealingKey file:PATH; ca init makes such a file.",
                            GHNO(0639) "authority %s: keys of OCSP signers that are enrolled lie "
                            "sealed in the store, and there is no sealing key",
                            source->authority);
    }
    else {
        rv = gh_own_keys_provide(generations, &source->keys, &services, &source->attempt,
                                 round->now, round->ptemp, &failure);
    }
    /* an attempt that has failed is not repeated on each look: its reason stays */
    if (*failure.number) {
        source->asked = rv == GH_EPENDING;
        source->failure = failure;
    }
    return rv == APR_SUCCESS && source->attempt.failed ? GH_EUNAVAILABLE : rv;
}

int ocsp_auto_follow(ocsp_source_t *source, const ocsp_round_t *round)
{
    apr_array_header_t *generations;
    apr_status_t rv;

    if (!ocsp_source_is_time(source->look_at, LOOK_INTERVAL, round->now)) {
        return 0;
    }
    rv = provide(source, round, &generations);
    source->pending = rv == GH_EPENDING;
    source->look_at = round->now + (source->pending && !source->asked ? 0 : LOOK_INTERVAL);
    source->status = source->pending ? APR_SUCCESS : rv;
    return generations ? take_up(source, round, generations) : 0;
}
