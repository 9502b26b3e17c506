/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_ra.h"

#include <string.h>

#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <openssl/err.h>

#include "mod_scep/scep_asn1.h"
#include "status.h"
#include "store/housekeeping.h"
#include "x509/ca.h"
#include "x509/key.h"

#define PURPOSE "scep-ra"
#define KEY_KIND "RSA-2048"
#define RETRY_INTERVAL apr_time_from_sec(1)

struct scep_ra {
    gh_issuer_t *issuer;
    const gh_profile_t *profile;
    const scep_services_t *services;
    scep_ra_keys_t *keys;           /* set once, read without lock */
    apr_thread_mutex_t *mutex;      /* guards what follows */
    apr_pool_t *pool;               /* of the keys, with an allocator of its own */
    apr_time_t retry_at;
    gh_result_t failure;
};

scep_ra_t *scep_ra_create(gh_issuer_t *issuer, const gh_profile_t *profile,
                          const scep_services_t *services, apr_pool_t *p)
{
    scep_ra_t *ra = apr_pcalloc(p, sizeof(*ra));
    apr_allocator_t *allocator;

    ra->issuer = issuer;
    ra->profile = profile;
    ra->services = services;
    if (apr_allocator_create(&allocator) != APR_SUCCESS) {
        return NULL;
    }
    if (apr_pool_create_ex(&ra->pool, p, NULL, allocator) != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return NULL;
    }
    apr_allocator_owner_set(allocator, ra->pool);
    apr_pool_tag(ra->pool, PURPOSE);
    if (apr_thread_mutex_create(&ra->mutex, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS) {
        return NULL;
    }
    return ra;
}

/* From parsed certificates to what the engine uses */

static apr_status_t make_decoy(gh_bytes_t *der, EVP_PKEY *key, apr_pool_t *p)
{
    X509_REQ *request = X509_REQ_new();
    X509_NAME *subject = X509_NAME_new();
    unsigned char *encoded = NULL;
    apr_status_t rv = APR_EGENERAL;
    int length;

    if (!request || !subject
        || !X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC,
                                       (const unsigned char *)PURPOSE, -1, -1, 0)
        || !X509_REQ_set_subject_name(request, subject) || !X509_REQ_set_pubkey(request, key)
        || !X509_REQ_sign(request, key, EVP_sha256())) {
        goto cleanup;
    }
    length = i2d_X509_REQ(request, &encoded);
    if (length > 0) {
        der->data = apr_pmemdup(p, encoded, (apr_size_t)length);
        der->length = (apr_size_t)length;
        rv = APR_SUCCESS;
    }

cleanup:
    OPENSSL_free(encoded);
    X509_NAME_free(subject);
    X509_REQ_free(request);
    return rv;
}

static const scep_recipient_t *choose_current(const apr_array_header_t *recipients, apr_time_t now)
{
    int i;

    for (i = 0; i < recipients->nelts; ++i) {
        const scep_recipient_t *one = &APR_ARRAY_IDX(recipients, i, scep_recipient_t);
        if (gh_certificate_not_before(one->certificate) <= now) {
            return one;
        }
    }
    return &APR_ARRAY_IDX(recipients, 0, scep_recipient_t);
}

apr_status_t scep_ra_keys_make(scep_ra_keys_t **out, gh_issuer_t *issuer,
                               const apr_array_header_t *recipients, apr_pool_t *p,
                               gh_result_t *result)
{
    const apr_array_header_t *chain = gh_issuer_chain(issuer);
    apr_array_header_t *all = apr_array_make(p, 4, sizeof(gh_bytes_t));
    apr_array_header_t *above = apr_array_make(p, 4, sizeof(gh_bytes_t));
    apr_array_header_t *authorities = apr_array_make(p, 4, sizeof(X509 *));
    scep_ra_keys_t *keys = apr_pcalloc(p, sizeof(*keys));
    apr_status_t rv;
    int i;

    *out = NULL;
    keys->recipients = recipients;
    keys->current = choose_current(recipients, apr_time_now());
    keys->not_after = gh_certificate_not_after(keys->current->certificate);
    keys->issuer_certificate = gh_issuer_certificate_der(issuer);
    APR_ARRAY_PUSH(authorities, X509 *) = gh_issuer_certificate(issuer);
    for (i = 0; chain && i < chain->nelts; ++i) {
        APR_ARRAY_PUSH(above, gh_bytes_t) = gh_certificate_der(APR_ARRAY_IDX(chain, i, X509 *), p);
        APR_ARRAY_PUSH(authorities, X509 *) = APR_ARRAY_IDX(chain, i, X509 *);
    }
    keys->chain = above;
    keys->authorities = authorities;
    APR_ARRAY_PUSH(all, gh_bytes_t) = gh_certificate_der(keys->current->certificate, p);
    APR_ARRAY_PUSH(all, gh_bytes_t) = keys->issuer_certificate;
    apr_array_cat(all, above);
    rv = scep_certs_only(&keys->ca_certificates, all, p);
    if (rv == APR_SUCCESS) {
        rv = make_decoy(&keys->decoy, keys->current->key, p);
    }
    if (rv != APR_SUCCESS) {
        return gh_result_openssl(result, rv, GH_FAILURE_INTERNAL, "ra.prepare",
                                 "Report this with the log lines around it.",
                                 GHNO(0422) "the RA of issuer %s cannot be prepared",
                                 gh_issuer_name(issuer));
    }
    *out = keys;
    return APR_SUCCESS;
}

/* From the store */

typedef struct {
    const char *issuer;
    apr_array_header_t *records;
    apr_pool_t *p;
} list_baton_t;

static apr_status_t list_work(gh_transaction_t *transaction, void *baton)
{
    list_baton_t *list = baton;

    return gh_sealed_key_list(transaction, PURPOSE, list->issuer, &list->records, list->p);
}

static apr_status_t list_keys(const scep_ra_t *ra, apr_array_header_t **records, apr_pool_t *p,
                              gh_result_t *result)
{
    list_baton_t list = { gh_issuer_name(ra->issuer), NULL, p };
    apr_status_t rv = gh_store_read(ra->services->store, list_work, &list, result);

    *records = list.records;
    return rv;
}

static const char *seal_context(const scep_ra_t *ra, apr_int64_t generation, apr_pool_t *p)
{
    return apr_psprintf(p, "%s/%s/%" APR_INT64_T_FMT, PURPOSE, gh_issuer_name(ra->issuer),
                        generation);
}

static apr_status_t open_key(const scep_ra_t *ra, const gh_sealed_key_record_t *record,
                             scep_recipient_t *recipient, apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t der;
    apr_status_t rv;

    rv = gh_unseal(&der, ra->services->sealer, record->sealed,
                   seal_context(ra, record->generation, p), p, result);
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
                              GHNO(0423) "RA key %" APR_INT64_T_FMT " of issuer %s does not fit "
                                                                    "its certificate",
                              record->generation, gh_issuer_name(ra->issuer));
    }
    /* caches the extensions now rather than under the first requests */
    X509_check_purpose(recipient->certificate, -1, 0);
    return APR_SUCCESS;
}

/** Opens what can be opened; fails if the newest cannot, since others announce that one. */
static apr_status_t take_keys(const scep_ra_t *ra, const apr_array_header_t *records,
                              scep_ra_keys_t **keys, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *recipients = apr_array_make(p, records->nelts, sizeof(scep_recipient_t));
    apr_status_t rv;
    int i;

    for (i = 0; i < records->nelts; ++i) {
        scep_recipient_t recipient = { NULL, NULL };
        rv = open_key(ra, APR_ARRAY_IDX(records, i, gh_sealed_key_record_t *), &recipient, p,
                      result);
        if (rv == APR_SUCCESS) {
            APR_ARRAY_PUSH(recipients, scep_recipient_t) = recipient;
        }
        else if (i == 0) {
            return rv;
        }
    }
    rv = scep_ra_keys_make(keys, ra->issuer, recipients, p, result);
    if (rv == APR_SUCCESS) {
        (*keys)->generation =
            APR_ARRAY_IDX(records, 0, gh_sealed_key_record_t *)->generation;
    }
    return rv;
}

/** A new generation, for everybody. @return GH_ECONFLICT if somebody else was faster */
static apr_status_t issue_key(const scep_ra_t *ra, apr_int64_t generation, apr_pool_t *p,
                              gh_result_t *result)
{
    const char *issuer = gh_issuer_name(ra->issuer);
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
    rv = gh_authorise_own(&authorisation, PURPOSE, issuer, ra->profile, key,
                          apr_psprintf(p, "CN=%s SCEP RA", issuer), p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_key_encode(&der, key, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = gh_seal(&sealed, ra->services->sealer, der, seal_context(ra, generation, p), p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    memset(&event, 0, sizeof(event));
    event.time = apr_time_now();
    event.id = gh_random_id(p);
    event.node = ra->services->node;
    event.event = "ra";
    event.protocol = "internal";
    event.issuer = issuer;
    event.profile = gh_profile_name(ra->profile);
    event.algorithms = KEY_KIND;
    rv = gh_ledger_issue_own(ra->services->ledger, authorisation, PURPOSE, generation,
                             gh_random_id(p), sealed, &event, &certificate, p, result);
    if (rv == GH_ECONFLICT) {
        return rv;
    }
    if (rv != APR_SUCCESS) {
        gh_audit_take_result(&event, result, p);
    }
    if (ra->services->audit) {
        ra->services->audit(&event, p);
    }
    return rv;
}

static apr_status_t provide(const scep_ra_t *ra, scep_ra_keys_t **keys, apr_pool_t *p,
                            gh_result_t *result)
{
    apr_array_header_t *records;
    apr_int64_t generation = 0;
    apr_time_t now = apr_time_now();
    apr_status_t rv;
    int round;

    /* Twice: what this process makes, or another one has made meanwhile, is read back. */
    for (round = 0; round < 2; ++round) {
        rv = list_keys(ra, &records, p, result);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (records->nelts) {
            const gh_sealed_key_record_t *newest =
                APR_ARRAY_IDX(records, 0, gh_sealed_key_record_t *);
            if (newest->not_after > now) {
                return take_keys(ra, records, keys, p, result);
            }
            generation = newest->generation;
        }
        rv = issue_key(ra, generation + 1, p, result);
        if (rv != APR_SUCCESS && rv != GH_ECONFLICT) {
            return rv;
        }
    }
    rv = list_keys(ra, &records, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (records->nelts == 0) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.lost",
                              "Look whether something else writes to the store.",
                              GHNO(0426) "the RA key of issuer %s was stored and is not there",
                              gh_issuer_name(ra->issuer));
    }
    return take_keys(ra, records, keys, p, result);
}

apr_status_t scep_ra_keys(scep_ra_t *ra, const scep_ra_keys_t **out, gh_result_t *result)
{
    scep_ra_keys_t *keys = __atomic_load_n(&ra->keys, __ATOMIC_ACQUIRE);
    apr_status_t rv = APR_SUCCESS;

    *out = keys;
    if (keys) {
        return APR_SUCCESS;
    }
    if (apr_thread_mutex_trylock(ra->mutex) != APR_SUCCESS) {
        return gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.busy",
                              "Try again in a second.",
                              GHNO(0424) "the RA key of issuer %s is being made",
                              gh_issuer_name(ra->issuer));
    }
    keys = __atomic_load_n(&ra->keys, __ATOMIC_ACQUIRE);
    if (!keys && apr_time_now() >= ra->retry_at) {
        apr_pool_clear(ra->pool);
        gh_result_clear(&ra->failure);
        rv = provide(ra, &keys, ra->pool, &ra->failure);
        if (rv == APR_SUCCESS) {
            __atomic_store_n(&ra->keys, keys, __ATOMIC_RELEASE);
        }
        else {
            ra->retry_at = apr_time_now() + RETRY_INTERVAL;
            keys = NULL;
            gh_log(ra->services->log, GH_LOG_ERROR, rv,
                   GHNO(0425) "issuer %s has no RA key, SCEP answers 503: %s: %s %s",
                   gh_issuer_name(ra->issuer), ra->failure.number, ra->failure.message,
                   ra->failure.action);
        }
    }
    if (!keys && result) {
        *result = ra->failure;
        rv = ra->failure.status != APR_SUCCESS ? ra->failure.status : GH_EUNAVAILABLE;
    }
    apr_thread_mutex_unlock(ra->mutex);
    *out = keys;
    return keys ? APR_SUCCESS : rv != APR_SUCCESS ? rv : GH_EUNAVAILABLE;
}
