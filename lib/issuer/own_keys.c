/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "issuer/own_keys_private.h"

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/key.h"

/** For who makes a key: how long others wait for one that was killed meanwhile. */
#define LEASE_INTERVAL apr_time_from_sec(5)

/** Between two attempts as long as there is a usable key. */
#define ATTEMPT_INTERVAL apr_time_from_sec(30)

typedef struct {
    const char *purpose;
    const char *issuer;
    apr_time_t now;
    apr_array_header_t *generations;
    apr_pool_t *p;
} list_baton_t;

/** @return APR_SUCCESS also for a certificate without status: then nobody has revoked it */
static apr_status_t find_status(gh_transaction_t *transaction, const list_baton_t *list,
                                gh_generation_t *generation)
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

    rv = gh_sealed_key_list(transaction, list->purpose, list->issuer, &records, list->p);
    list->generations = apr_array_make(list->p, 2, sizeof(gh_generation_t));
    for (i = 0; rv == APR_SUCCESS && i < records->nelts; ++i) {
        gh_generation_t *generation = apr_array_push(list->generations);

        generation->record = APR_ARRAY_IDX(records, i, const gh_sealed_key_record_t *);
        generation->withdrawn = 0;
        generation->usable = 0;
        if (list->now < generation->record->not_after) {
            rv = find_status(transaction, list, generation);
        }
    }
    return rv;
}

apr_status_t gh_generations_list(apr_array_header_t **generations, gh_store_t *store,
                                 const char *purpose, const char *issuer, apr_time_t now,
                                 apr_pool_t *p, gh_result_t *result)
{
    list_baton_t list = { purpose, issuer, now, NULL, p };
    apr_status_t rv = gh_store_read(store, list_work, &list, result);

    *generations = rv == APR_SUCCESS ? list.generations : NULL;
    return rv;
}

const gh_generation_t *gh_generation_at(const apr_array_header_t *generations, int i)
{
    return &APR_ARRAY_IDX(generations, i, gh_generation_t);
}

const apr_array_header_t *gh_generations_usable(const apr_array_header_t *generations,
                                                apr_pool_t *p)
{
    apr_array_header_t *numbers = apr_array_make(p, generations->nelts, sizeof(apr_int64_t));
    int i;

    for (i = 0; i < generations->nelts; ++i) {
        if (gh_generation_at(generations, i)->usable) {
            APR_ARRAY_PUSH(numbers, apr_int64_t) =
                gh_generation_at(generations, i)->record->generation;
        }
    }
    return numbers;
}

apr_time_t gh_generation_renewal(const gh_sealed_key_record_t *record)
{
    return record->not_before + (record->not_after - record->not_before) / 3 * 2;
}

/* Keys */

static const char *seal_context(const char *purpose, const char *issuer, apr_int64_t generation,
                                apr_pool_t *p)
{
    return apr_psprintf(p, "%s/%s/%" APR_INT64_T_FMT, purpose, issuer, generation);
}

apr_status_t gh_generation_unseal(gh_bytes_t *der, const gh_sealed_key_record_t *record,
                                  const gh_sealer_t *sealer, apr_pool_t *p, gh_result_t *result)
{
    return gh_unseal(der, sealer, record->sealed,
                     seal_context(record->purpose, record->issuer, record->generation, p), p,
                     result);
}

apr_status_t gh_generation_open(EVP_PKEY **key, X509 **certificate,
                                const gh_sealed_key_record_t *record, const gh_sealer_t *sealer,
                                apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t der;
    apr_status_t rv;

    *key = NULL;
    *certificate = NULL;
    rv = gh_generation_unseal(&der, record, sealer, p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_key_decode(key, der, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *certificate = gh_certificate_parse(record->certificate, p);
    if (!*certificate || !gh_key_matches(*key, *certificate)) {
        return gh_result_fail(result, GH_ECORRUPT, GH_FAILURE_INTERNAL, "own.key",
                              "Restore the store from a backup, or remove that row of sealed_key.",
                              GHNO(0208) "key %" APR_INT64_T_FMT " for %s of issuer %s does not "
                              "fit its certificate", record->generation, record->purpose,
                              record->issuer);
    }
    /* caches the extensions now rather than under the first requests */
    X509_check_purpose(*certificate, -1, 0);
    return APR_SUCCESS;
}

/* Making them */

apr_status_t gh_own_make(gh_own_made_t *made, const gh_own_keys_t *keys,
                         const gh_own_services_t *services, apr_int64_t generation, apr_pool_t *p,
                         gh_result_t *result)
{
    const char *issuer = gh_issuer_name(keys->issuer);
    gh_bytes_t der;
    apr_status_t rv;

    rv = gh_key_generate(&made->key, keys->kind, p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_authorise_own(&made->authorisation, keys->purpose, issuer, keys->profile,
                              made->key, keys->subject, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_key_encode(&der, made->key, p, result);
    }
    return rv == APR_SUCCESS
        ? gh_seal(&made->sealed, services->sealer, der,
                  seal_context(keys->purpose, issuer, generation, p), p, result) : rv;
}

/** @return GH_ECONFLICT if somebody else was faster */
static apr_status_t issue(const gh_own_keys_t *keys, const gh_own_services_t *services,
                          apr_int64_t number, apr_pool_t *p, gh_result_t *result)
{
    gh_audit_event_t event;
    gh_own_made_t made;
    X509 *certificate;
    apr_status_t rv;

    rv = gh_own_make(&made, keys, services, number, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    memset(&event, 0, sizeof(event));
    event.id = gh_random_id(p);
    event.issuer = gh_issuer_name(keys->issuer);
    event.profile = gh_profile_name(keys->profile);
    event.algorithms = keys->kind;
    rv = gh_ledger_issue_own(services->ledger, made.authorisation, keys->purpose, number,
                             gh_random_id(p), made.sealed, &event, &certificate, p, result);
    if (rv == GH_ECONFLICT) {
        return rv;
    }
    if (rv != APR_SUCCESS) {
        gh_audit_take_result(&event, result, p);
    }
    if (services->audit) {
        services->audit(&event, p);
    }
    return rv;
}

typedef struct {
    const char *name;
    const char *holder;
} lease_baton_t;

static apr_status_t take_work(gh_transaction_t *transaction, void *baton)
{
    const lease_baton_t *lease = baton;

    return gh_lease_take(transaction, lease->name, lease->holder, LEASE_INTERVAL);
}

static apr_status_t release_work(gh_transaction_t *transaction, void *baton)
{
    const lease_baton_t *lease = baton;

    return gh_lease_release(transaction, lease->name, lease->holder);
}

/** What one call works with. */
typedef struct {
    const gh_own_keys_t *keys;
    const gh_own_services_t *services;
    gh_own_attempt_t *attempt;
    apr_time_t now;
    apr_array_header_t *generations;
    apr_pool_t *p;
    gh_result_t *result;
} provision_t;

static apr_status_t list(provision_t *provision)
{
    return gh_generations_list(&provision->generations, provision->services->store,
                               provision->keys->purpose, gh_issuer_name(provision->keys->issuer),
                               provision->now, provision->p, provision->result);
}

static const gh_generation_t *newest(const provision_t *provision)
{
    return provision->generations->nelts ? gh_generation_at(provision->generations, 0) : NULL;
}

static int any_usable(const provision_t *provision)
{
    int i;

    for (i = 0; i < provision->generations->nelts; ++i) {
        if (gh_generation_at(provision->generations, i)->usable) {
            return 1;
        }
    }
    return 0;
}

/** The newest one that is usable and whose time has come. */
static const gh_generation_t *current(const provision_t *provision)
{
    int i;

    for (i = 0; i < provision->generations->nelts; ++i) {
        const gh_generation_t *one = gh_generation_at(provision->generations, i);

        if (one->usable && one->record->not_before <= provision->now) {
            return one;
        }
    }
    return NULL;
}

/** Whether the next generation is to be made. One whose time has not come was made by a clock that
 *  is ahead, or was: it is waited for as long as there is another until then. A certificate that
 *  would end no later than this one, since the CA's own ends, is of no use. */
static int is_due(const provision_t *provision)
{
    const gh_generation_t *last = newest(provision), *now = last ? current(provision) : NULL;
    X509 *ca = gh_issuer_certificate(provision->keys->issuer);

    return !now || !last->usable
           || (provision->now >= gh_generation_renewal(now->record)
               && (last == now || last->record->not_before >= now->record->not_after)
               && gh_certificate_not_after(ca) > now->record->not_after);
}

static int by_worker(const provision_t *provision)
{
    return gh_issuer_backend(provision->keys->issuer)->by_worker;
}

/** @return APR_NOTFOUND unless a key waits for its certificate from elsewhere */
static apr_status_t look_at_request(provision_t *provision)
{
    return by_worker(provision)
        ? gh_own_request_look(provision->keys, provision->services, provision->now, provision->p,
                              provision->result) : APR_NOTFOUND;
}

/** Under the lease: what another process has made before that is seen now. */
static apr_status_t make_next(provision_t *provision)
{
    apr_int64_t number;
    apr_status_t rv = list(provision);

    if (rv != APR_SUCCESS || !is_due(provision)
        || (rv = look_at_request(provision)) != APR_NOTFOUND) {
        return rv;
    }
    number = newest(provision) ? newest(provision)->record->generation + 1 : 1;
    rv = by_worker(provision)
        ? gh_own_request_make(provision->keys, provision->services, number, provision->p,
                              provision->result)
        : issue(provision->keys, provision->services, number, provision->p, provision->result);
    if (rv == GH_ECONFLICT) {
        gh_result_clear(provision->result);
        rv = APR_SUCCESS;
    }
    return rv;
}

/** @return GH_EPENDING if another process is at it */
static apr_status_t make_next_alone(provision_t *provision)
{
    lease_baton_t lease;
    apr_status_t rv;

    lease.name = apr_psprintf(provision->p, "own:%s:%s", provision->keys->purpose,
                              gh_issuer_name(provision->keys->issuer));
    lease.holder = apr_psprintf(provision->p, "%s:%ld:%pp", provision->services->node,
                                (long)getpid(), (void *)provision->attempt);
    rv = gh_store_write(provision->services->store, take_work, &lease, provision->result);
    if (rv == GH_EREFUSED) {
        gh_result_clear(provision->result);
        return GH_EPENDING;
    }
    if (rv == APR_SUCCESS) {
        rv = make_next(provision);
        /* If that fails the lease ends by itself. */
        gh_store_write(provision->services->store, release_work, &lease, NULL);
    }
    return rv;
}

static void note_failure(provision_t *provision)
{
    provision->attempt->failed = 1;
    provision->attempt->again_at = provision->now + ATTEMPT_INTERVAL;
}

/** A key that is due again at once shows that two clocks differ: it is not made again and again. */
static void note_success(provision_t *provision)
{
    int again = provision->generations && is_due(provision);

    provision->attempt->failed = 0;
    provision->attempt->again_at = again ? provision->now + ATTEMPT_INTERVAL : provision->now;
}

/** Whether to try now, if there is a usable one. */
static int may_try(const provision_t *provision)
{
    apr_time_t at = provision->attempt->again_at;

    if (!newest(provision)->usable && !provision->attempt->failed) {
        return 1;
    }
    /* a clock that was set back must not stop this */
    return provision->now >= at || at - provision->now > ATTEMPT_INTERVAL;
}

static apr_status_t provide(provision_t *provision)
{
    apr_status_t rv = list(provision);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!is_due(provision)) {
        provision->attempt->failed = 0;
        return APR_SUCCESS;
    }
    if (any_usable(provision) && !may_try(provision)) {
        return APR_SUCCESS;
    }
    /* as long as the CA makes it there is nothing to do alone */
    rv = look_at_request(provision);
    if (rv == APR_NOTFOUND) {
        rv = make_next_alone(provision);
    }
    if (rv == APR_SUCCESS) {
        /* what was made, here or elsewhere, is read back */
        rv = list(provision);
        note_success(provision);
    }
    else if (rv != GH_EPENDING) {
        note_failure(provision);
    }
    if (!provision->generations) {
        return rv;
    }
    if (any_usable(provision)) {
        return APR_SUCCESS;
    }
    return rv != APR_SUCCESS ? rv
        : gh_result_fail(provision->result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "own.lost",
                         "Look whether something else writes to the store.",
                         GHNO(0211) "the key for %s of issuer %s was stored and is not there",
                         provision->keys->purpose, gh_issuer_name(provision->keys->issuer));
}

apr_status_t gh_own_keys_provide(apr_array_header_t **generations, const gh_own_keys_t *keys,
                                 const gh_own_services_t *services, gh_own_attempt_t *attempt,
                                 apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    provision_t provision = { keys, services, attempt, now, NULL, p, result };
    apr_status_t rv = provide(&provision);

    *generations = provision.generations;
    return rv;
}
