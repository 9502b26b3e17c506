/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_ra.h"

#include <string.h>

#include <apr_allocator.h>
#include <apr_atomic.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>

#include "status.h"
#include "store/housekeeping.h"
#include "x509/ca.h"
#include "x509/key.h"

#define PURPOSE "scep-ra"
#define KEY_KIND "RSA-2048"
#define LOOK_INTERVAL apr_time_from_sec(3)      /* at other processes' generations */
#define RETRY_INTERVAL apr_time_from_sec(1)     /* without a key */
#define RENEW_INTERVAL apr_time_from_sec(30)    /* between attempts that fail, with a valid key */

/** Keys and who uses them; lives in a pool of its own, which ends with the last user. */
typedef struct scep_ra_set {
    scep_ra_keys_t *keys;
    volatile apr_uint32_t users;
    apr_pool_t *pool;
} scep_ra_set_t;

struct scep_ra {
    gh_issuer_t *issuer;
    const gh_profile_t *profile;
    const scep_services_t *services;
    apr_thread_mutex_t *mutex;      /* held for moments: guards the next two */
    scep_ra_set_t *set;
    apr_time_t look_at;
    apr_thread_mutex_t *work;       /* held by who reads or makes keys: guards the rest */
    apr_time_t issue_at;            /* not before that again, as long as there is a valid key */
    int issue_failed;
    int failing;                    /* what was reported last: 0, 1 with a valid key, 2 without */
    gh_result_t failure;
};

static apr_status_t make_set(scep_ra_set_t **set)
{
    apr_allocator_t *allocator;
    apr_pool_t *p;
    apr_status_t rv;

    rv = apr_allocator_create(&allocator);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = apr_pool_create_unmanaged_ex(&p, NULL, allocator);
    if (rv != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return rv;
    }
    apr_allocator_owner_set(allocator, p);
    apr_pool_tag(p, PURPOSE);
    *set = apr_pcalloc(p, sizeof(**set));
    (*set)->pool = p;
    (*set)->users = 1;
    return APR_SUCCESS;
}

static void release_set(scep_ra_set_t *set)
{
    if (set && apr_atomic_dec32(&set->users) == 0) {
        apr_pool_destroy(set->pool);
    }
}

void scep_ra_release(const scep_ra_keys_t *keys)
{
    if (keys) {
        release_set(keys->set);
    }
}

static apr_status_t forget_set(void *data)
{
    scep_ra_t *ra = data;

    release_set(ra->set);
    ra->set = NULL;
    return APR_SUCCESS;
}

scep_ra_t *scep_ra_create(gh_issuer_t *issuer, const gh_profile_t *profile,
                          const scep_services_t *services, apr_pool_t *p)
{
    scep_ra_t *ra = apr_pcalloc(p, sizeof(*ra));

    ra->issuer = issuer;
    ra->profile = profile;
    ra->services = services;
    if (apr_thread_mutex_create(&ra->mutex, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS
        || apr_thread_mutex_create(&ra->work, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS) {
        return NULL;
    }
    apr_pool_cleanup_register(p, ra, forget_set, apr_pool_cleanup_null);
    return ra;
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
                              GHNO(0208) "RA key %" APR_INT64_T_FMT " of issuer %s does not fit "
                                                                    "its certificate",
                              record->generation, gh_issuer_name(ra->issuer));
    }
    /* caches the extensions now rather than under the first requests */
    X509_check_purpose(recipient->certificate, -1, 0);
    return APR_SUCCESS;
}

static apr_time_t renewal_time(const gh_sealed_key_record_t *record)
{
    return record->not_before + (record->not_after - record->not_before) / 3 * 2;
}

/** Opens what can be opened and has not expired; fails if the newest cannot be opened, since others
 *  announce that one. @param records newest first, at least one that has not expired */
static apr_status_t take_keys(const scep_ra_t *ra, const apr_array_header_t *records,
                              scep_ra_keys_t **keys, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *recipients = apr_array_make(p, records->nelts, sizeof(scep_recipient_t));
    apr_array_header_t *taken = apr_array_make(p, records->nelts, sizeof(records));
    apr_time_t now = apr_time_now();
    apr_status_t rv;
    int i;

    for (i = 0; i < records->nelts; ++i) {
        const gh_sealed_key_record_t *record = APR_ARRAY_IDX(records, i, gh_sealed_key_record_t *);
        scep_recipient_t recipient = { NULL, NULL };
        if (record->not_after <= now) {
            continue;
        }
        rv = open_key(ra, record, &recipient, p, result);
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
                              gh_issuer_name(ra->issuer));
    }
    rv = scep_ra_keys_make(keys, ra->issuer, recipients, ra->services->decoding, p, result);
    if (rv == APR_SUCCESS) {
        i = (int)((*keys)->current - (const scep_recipient_t *)recipients->elts);
        (*keys)->generation = APR_ARRAY_IDX(taken, i, const gh_sealed_key_record_t *)->generation;
        (*keys)->renew_at =
            renewal_time(APR_ARRAY_IDX(records, 0, const gh_sealed_key_record_t *));
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

/** Whether the next generation is to be made: a certificate that would end no later than this one,
 *  since the CA's own ends, is of no use. */
static int is_due(const scep_ra_t *ra, const gh_sealed_key_record_t *newest, apr_time_t now)
{
    return now >= newest->not_after
           || (now >= renewal_time(newest)
               && gh_certificate_not_after(gh_issuer_certificate(ra->issuer)) > newest->not_after);
}

static const gh_sealed_key_record_t *newest_of(const apr_array_header_t *records)
{
    return records->nelts ? APR_ARRAY_IDX(records, 0, const gh_sealed_key_record_t *) : NULL;
}

static int any_valid(const apr_array_header_t *records, apr_time_t now)
{
    int i;

    for (i = 0; i < records->nelts; ++i) {
        if (now < APR_ARRAY_IDX(records, i, gh_sealed_key_record_t *)->not_after) {
            return 1;
        }
    }
    return 0;
}

/**
 * The generations of now, of which the newest may have been made here.
 * @return a failure if there is none that is valid
 */
static apr_status_t provide(scep_ra_t *ra, apr_array_header_t **records, apr_pool_t *p)
{
    apr_time_t now = apr_time_now();
    const gh_sealed_key_record_t *newest;
    apr_status_t rv;
    int round, valid;

    for (round = 0; round < 3; ++round) {
        rv = list_keys(ra, records, p, &ra->failure);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        newest = newest_of(*records);
        valid = any_valid(*records, now);
        if (newest && !is_due(ra, newest, now)) {
            ra->issue_failed = 0;
            return APR_SUCCESS;
        }
        if (valid && ra->issue_failed && now < ra->issue_at) {
            return APR_SUCCESS;
        }
        if (round == 2) {
            break;
        }
        /* What this process makes, or another one has made meanwhile, is read back. */
        rv = issue_key(ra, newest ? newest->generation + 1 : 1, p, &ra->failure);
        if (rv == GH_ECONFLICT) {
            gh_result_clear(&ra->failure);
        }
        else if (rv != APR_SUCCESS) {
            ra->issue_failed = 1;
            ra->issue_at = apr_time_now() + RENEW_INTERVAL;
            return valid ? APR_SUCCESS : rv;
        }
    }
    return valid ? APR_SUCCESS
                 : gh_result_fail(&ra->failure, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.lost",
                                  "Look whether something else writes to the store.",
                                  GHNO(0211) "the RA key of issuer %s was stored and is not there",
                                  gh_issuer_name(ra->issuer));
}

/** Takes what is there now, and adds a user for the caller. */
static scep_ra_set_t *use_set(scep_ra_t *ra, int *due)
{
    apr_time_t now = apr_time_now();
    scep_ra_set_t *set;

    apr_thread_mutex_lock(ra->mutex);
    set = ra->set;
    *due = now >= ra->look_at;
    if (set && now < set->keys->not_after) {
        apr_atomic_inc32(&set->users);
    }
    else {
        set = NULL;
    }
    apr_thread_mutex_unlock(ra->mutex);
    return set;
}

/** @param set NULL: that of before stays; otherwise becomes the RA's */
static void publish(scep_ra_t *ra, scep_ra_set_t *set, apr_time_t look_at)
{
    scep_ra_set_t *old = NULL;

    apr_thread_mutex_lock(ra->mutex);
    if (set) {
        old = ra->set;
        ra->set = set;
    }
    ra->look_at = look_at;
    apr_thread_mutex_unlock(ra->mutex);
    release_set(old);
}

/** Looks at the store and makes what is missing. @param set in use; NULL if none is valid */
static apr_status_t refresh(scep_ra_t *ra, const scep_ra_set_t *set, scep_ra_set_t **made)
{
    apr_array_header_t *records;
    scep_ra_set_t *next;
    apr_status_t rv;

    *made = NULL;
    gh_result_clear(&ra->failure);
    rv = make_set(&next);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = provide(ra, &records, next->pool);
    if (rv == APR_SUCCESS
        && (!set || newest_of(records)->generation != set->keys->generation)) {
        gh_result_t result;

        gh_result_clear(&result);
        rv = take_keys(ra, records, &next->keys, next->pool, &result);
        if (rv == APR_SUCCESS) {
            next->keys->set = next;
            *made = next;
            return rv;
        }
        ra->failure = result;
    }
    release_set(next);
    return rv;
}

/** Once when it begins and once when it ends. */
static void report(scep_ra_t *ra, apr_status_t rv, int usable)
{
    const char *issuer = gh_issuer_name(ra->issuer);
    int failing = 0;

    if (rv != APR_SUCCESS || ra->issue_failed) {
        failing = usable ? 1 : 2;
    }
    if (failing == ra->failing) {
        return;
    }
    if (failing == 2) {
        gh_log(ra->services->log, GH_LOG_ERROR, rv,
               GHNO(0210) "issuer %s has no RA key, SCEP answers 503: %s: %s %s", issuer,
               ra->failure.number, ra->failure.message, ra->failure.action);
    }
    else if (failing == 1) {
        gh_log(ra->services->log, GH_LOG_ERROR, rv,
               GHNO(0268) "issuer %s goes on with the RA key it has, until that expires, since the "
                          "store cannot be asked or no new one be made: %s: %s %s",
               issuer, ra->failure.number, ra->failure.message, ra->failure.action);
    }
    else {
        gh_log(ra->services->log, GH_LOG_NOTICE, APR_SUCCESS,
               "the RA key of issuer %s is up to date again", issuer);
    }
    ra->failing = failing;
}

/** When to look again: at other processes' work, and when something of our own ends. */
static apr_time_t next_look(const scep_ra_set_t *set)
{
    apr_time_t now = apr_time_now();
    apr_time_t at = now + LOOK_INTERVAL;

    if (!set) {
        return now + RETRY_INTERVAL;
    }
    at = set->keys->not_after < at ? set->keys->not_after : at;
    return set->keys->renew_at > now && set->keys->renew_at < at ? set->keys->renew_at : at;
}

/** Under ra->work. @param set in use, or NULL; replaced if there is a newer one */
static apr_status_t update(scep_ra_t *ra, scep_ra_set_t **set)
{
    scep_ra_set_t *made;
    apr_status_t rv = refresh(ra, *set, &made);

    if (made) {
        apr_atomic_inc32(&made->users);
        release_set(*set);
        *set = made;
    }
    report(ra, rv, *set != NULL);
    publish(ra, made, next_look(*set));
    return rv;
}

apr_status_t scep_ra_acquire(scep_ra_t *ra, const scep_ra_keys_t **keys, gh_result_t *result)
{
    int due;
    scep_ra_set_t *set = use_set(ra, &due);
    apr_status_t rv = GH_EUNAVAILABLE;

    *keys = set ? set->keys : NULL;
    if (set && !due) {
        return APR_SUCCESS;
    }
    if (apr_thread_mutex_trylock(ra->work) != APR_SUCCESS) {
        return set ? APR_SUCCESS
                   : gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, "ra.busy",
                                    "Try again in a second.",
                                    GHNO(0209) "the RA key of issuer %s is being made",
                                    gh_issuer_name(ra->issuer));
    }
    release_set(set);
    /* another thread may have been faster */
    set = use_set(ra, &due);
    if (due) {
        rv = update(ra, &set);
    }
    if (!set && result) {
        *result = ra->failure;
    }
    apr_thread_mutex_unlock(ra->work);
    *keys = set ? set->keys : NULL;
    return set ? APR_SUCCESS : rv != APR_SUCCESS ? rv : GH_EUNAVAILABLE;
}
