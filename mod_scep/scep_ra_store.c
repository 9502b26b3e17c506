/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Generations of RA keys: from the store to what the engine uses, and into the store. */

#include "mod_scep/scep_ra_store.h"

#include <string.h>

#include <apr_strings.h>

#include "status.h"
#include "store/certificates.h"
#include "store/housekeeping.h"
#include "x509/ca.h"
#include "x509/key.h"

#define PURPOSE "scep-ra"
#define KEY_KIND "RSA-2048"

typedef struct {
    const char *issuer;
    apr_time_t now;
    apr_array_header_t *generations;
    apr_pool_t *p;
} list_baton_t;

/** @return APR_SUCCESS also for a certificate without status: then nobody has revoked it */
static apr_status_t find_status(gh_transaction_t *transaction, const list_baton_t *list,
                                scep_generation_t *generation)
{
    X509 *certificate = gh_certificate_parse(generation->record->certificate, list->p);
    gh_status_t status = GH_STATUS_GOOD;
    apr_status_t rv = APR_NOTFOUND;

    if (certificate) {
        rv = gh_certificate_status(transaction, list->issuer,
                                   gh_certificate_serial(certificate, list->p), &status);
    }
    generation->withdrawn = status != GH_STATUS_GOOD;
    generation->usable = !generation->withdrawn;
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t list_work(gh_transaction_t *transaction, void *baton)
{
    list_baton_t *list = baton;
    apr_array_header_t *records;
    apr_status_t rv;
    int i;

    rv = gh_sealed_key_list(transaction, PURPOSE, list->issuer, &records, list->p);
    list->generations = apr_array_make(list->p, 2, sizeof(scep_generation_t));
    for (i = 0; rv == APR_SUCCESS && i < records->nelts; ++i) {
        scep_generation_t *generation = apr_array_push(list->generations);

        generation->record = APR_ARRAY_IDX(records, i, const gh_sealed_key_record_t *);
        generation->withdrawn = 0;
        generation->usable = 0;
        if (list->now < generation->record->not_after) {
            rv = find_status(transaction, list, generation);
        }
    }
    return rv;
}

apr_status_t scep_generations_list(apr_array_header_t **generations, gh_store_t *store,
                                   const char *issuer, apr_time_t now, apr_pool_t *p,
                                   gh_result_t *result)
{
    list_baton_t list = { issuer, now, NULL, p };
    apr_status_t rv = gh_store_read(store, list_work, &list, result);

    *generations = rv == APR_SUCCESS ? list.generations : NULL;
    return rv;
}

const scep_generation_t *scep_generation_at(const apr_array_header_t *generations, int i)
{
    return &APR_ARRAY_IDX(generations, i, scep_generation_t);
}

static const char *seal_context(const char *issuer, apr_int64_t generation, apr_pool_t *p)
{
    return apr_psprintf(p, "%s/%s/%" APR_INT64_T_FMT, PURPOSE, issuer, generation);
}

apr_status_t scep_generation_unseal(gh_bytes_t *der, const gh_sealed_key_record_t *record,
                                    const gh_sealer_t *sealer, apr_pool_t *p,
                                    gh_result_t *result)
{
    return gh_unseal(der, sealer, record->sealed,
                     seal_context(record->issuer, record->generation, p), p, result);
}

static apr_status_t open_key(const scep_ra_owner_t *owner, const gh_sealed_key_record_t *record,
                             scep_recipient_t *recipient, apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t der;
    apr_status_t rv;

    rv = scep_generation_unseal(&der, record, owner->services->sealer, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_key_decode(&recipient->key, der, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    recipient->certificate = gh_certificate_parse(record->certificate, p);
    if (!recipient->certificate || !gh_key_matches(recipient->key, recipient->certificate)) {
        return gh_result_fail(result, GH_ECORRUPT, GH_FAILURE_INTERNAL, "ra.key",
                              "Restore the store from a backup, or remove that row of sealed_key.",
                              GHNO(0208) "RA key %" APR_INT64_T_FMT " of issuer %s does not fit "
                                                                    "its certificate",
                              record->generation, gh_issuer_name(owner->issuer));
    }
    /* caches the extensions now rather than under the first requests */
    X509_check_purpose(recipient->certificate, -1, 0);
    return APR_SUCCESS;
}

apr_time_t scep_generation_renewal(const gh_sealed_key_record_t *record)
{
    return record->not_before + (record->not_after - record->not_before) / 3 * 2;
}

const apr_array_header_t *scep_generations_usable(const apr_array_header_t *generations,
                                                  apr_pool_t *p)
{
    apr_array_header_t *numbers = apr_array_make(p, generations->nelts, sizeof(apr_int64_t));
    int i;

    for (i = 0; i < generations->nelts; ++i) {
        if (scep_generation_at(generations, i)->usable) {
            APR_ARRAY_PUSH(numbers, apr_int64_t) =
                scep_generation_at(generations, i)->record->generation;
        }
    }
    return numbers;
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
        const gh_sealed_key_record_t *record = scep_generation_at(generations, i)->record;
        scep_recipient_t recipient = { NULL, NULL };

        if (!scep_generation_at(generations, i)->usable || record->not_after <= now) {
            continue;
        }
        rv = open_key(owner, record, &recipient, p, result);
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
        (*keys)->generations = scep_generations_usable(generations, p);
        (*keys)->renew_at =
            scep_generation_renewal(APR_ARRAY_IDX(taken, 0, const gh_sealed_key_record_t *));
    }
    return rv;
}

apr_status_t scep_generation_issue(const scep_ra_owner_t *owner, apr_int64_t number, apr_pool_t *p,
                                   gh_result_t *result)
{
    const char *issuer = gh_issuer_name(owner->issuer);
    gh_authorisation_t *authorisation;
    gh_audit_event_t event;
    gh_bytes_t der, sealed;
    EVP_PKEY *key;
    X509 *certificate;
    apr_status_t rv;

    rv = gh_key_generate(&key, KEY_KIND, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_authorise_own(&authorisation, PURPOSE, issuer, owner->profile, key,
                          apr_psprintf(p, "CN=%s SCEP RA", issuer), p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_key_encode(&der, key, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_seal(&sealed, owner->services->sealer, der, seal_context(issuer, number, p), p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    memset(&event, 0, sizeof(event));
    event.time = apr_time_now();
    event.id = gh_random_id(p);
    event.node = owner->services->node;
    event.event = "ra";
    event.protocol = "internal";
    event.issuer = issuer;
    event.profile = gh_profile_name(owner->profile);
    event.algorithms = KEY_KIND;
    rv = gh_ledger_issue_own(owner->services->ledger, authorisation, PURPOSE, number,
                             gh_random_id(p), sealed, &event, &certificate, p, result);
    if (rv == GH_ECONFLICT) {
        return rv;
    }
    if (rv != APR_SUCCESS) {
        gh_audit_take_result(&event, result, p);
    }
    if (owner->services->audit) {
        owner->services->audit(&event, p);
    }
    return rv;
}

