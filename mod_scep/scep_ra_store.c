/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Generations of RA keys: from the store to what the engine uses. */

#include "mod_scep/scep_ra_store.h"

#include <apr_strings.h>

#include "status.h"

#define KEY_KIND "RSA-2048"

/** How long to wait for who makes the first key, and between two looks. */
#define WAIT_MAX    apr_time_from_sec(10)
#define WAIT_PAUSE  apr_time_from_msec(50)

apr_status_t scep_generations_provide(apr_array_header_t **generations,
                                      const scep_ra_owner_t *owner, gh_own_attempt_t *attempt,
                                      apr_pool_t *p, gh_result_t *result)
{
    const scep_services_t *has = owner->services;
    const char *subject = gh_issuer_ra_subject(owner->issuer, p);
    gh_own_keys_t keys = { SCEP_RA_PURPOSE, KEY_KIND, subject, owner->issuer, owner->profile };
    gh_own_services_t services = { has->store, has->ledger, has->sealer, has->node, has->audit };
    apr_time_t begin = apr_time_now();
    apr_status_t rv;

    for (;;) {
        rv = gh_own_keys_provide(generations, &keys, &services, attempt, apr_time_now(), p,
                                 result);
        if (rv != GH_EPENDING) {
            return rv;
        }
        /* a CA elsewhere takes its time */
        if (*result->number) {
            return GH_EUNAVAILABLE;
        }
        if (apr_time_now() - begin >= WAIT_MAX) {
            return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.waiting",
                                  "Look whether the processes of other nodes run, and log why they "
                                  "make none.",
                                  GHNO(0636) "another process has been making the RA key of issuer "
                                  "%s for too long", gh_issuer_name(owner->issuer));
        }
        apr_sleep(WAIT_PAUSE);
    }
}

apr_status_t scep_generations_take(scep_ra_keys_t **keys, const scep_ra_owner_t *owner,
                                   const apr_array_header_t *generations, apr_pool_t *p,
                                   gh_result_t *result)
{
    apr_array_header_t *recipients = apr_array_make(p, 2, sizeof(scep_recipient_t));
    apr_array_header_t *taken = apr_array_make(p, 2, sizeof(const gh_sealed_key_record_t *));
    apr_time_t now = apr_time_now();
    apr_status_t rv;
    int i;

    for (i = 0; i < generations->nelts; ++i) {
        const gh_sealed_key_record_t *record = gh_generation_at(generations, i)->record;
        scep_recipient_t recipient = { NULL, NULL };

        if (!gh_generation_at(generations, i)->usable || record->not_after <= now) {
            continue;
        }
        rv = gh_generation_open(&recipient.key, &recipient.certificate, record,
                                owner->services->sealer, p, result);
        if (rv == APR_SUCCESS) {
            APR_ARRAY_PUSH(recipients, scep_recipient_t) = recipient;
            APR_ARRAY_PUSH(taken, const gh_sealed_key_record_t *) = record;
        }
        else if (recipients->nelts == 0) {
            return rv;
        }
    }
    if (recipients->nelts == 0) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.expired",
                              "Compare the clocks of the nodes, and the validity of the profile of "
                              "SCEPRAProfile.",
                              GHNO(0267) "all RA certificates of issuer %s have expired",
                              gh_issuer_name(owner->issuer));
    }
    rv = scep_ra_keys_make(keys, owner->issuer, recipients, owner->services->decoding, p, result);
    if (rv == APR_SUCCESS) {
        i = (int)((*keys)->current - (const scep_recipient_t *)recipients->elts);
        (*keys)->generation = APR_ARRAY_IDX(taken, i, const gh_sealed_key_record_t *)->generation;
        (*keys)->generations = gh_generations_usable(generations, p);
        (*keys)->renew_at =
            gh_generation_renewal(APR_ARRAY_IDX(taken, 0, const gh_sealed_key_record_t *));
    }
    return rv;
}
