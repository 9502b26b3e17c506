/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_ra.h"

#include <string.h>

#include <apr_atomic.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>

#include "mod_scep/scep_ra_store.h"
#include "pool.h"
#include "status.h"
#include "x509/ca.h"

#define LOOK_INTERVAL apr_time_from_sec(1)      /* at what others have made or revoked */
#define ASK_INTERVAL apr_time_from_msec(100)    /* between looks for messages that none opens */
#define RETRY_INTERVAL apr_time_from_sec(1)     /* without a key */

/** Keys and who uses them; lives in a pool of its own, which ends with the last user. */
typedef struct scep_ra_set {
    scep_ra_keys_t *keys;
    volatile apr_uint32_t users;
    apr_pool_t *pool;
} scep_ra_set_t;

struct scep_ra {
    scep_ra_owner_t owner;
    apr_thread_mutex_t *mutex;      /* held for moments: guards the next two */
    scep_ra_set_t *set;
    apr_time_t look_at;
    apr_thread_mutex_t *work;       /* held by who reads or makes keys: guards the rest */
    apr_time_t ask_at;              /* not before that for a message that none opens */
    gh_own_attempt_t attempt;
    int failing;                    /* what was reported last: 0, 1 with a valid key, 2 without */
    gh_result_t failure;
};

static apr_status_t make_set(scep_ra_set_t **set)
{
    apr_pool_t *p;
    apr_status_t rv = gh_pool_create(&p, "scep-ra");

    if (rv == APR_SUCCESS) {
        *set = apr_pcalloc(p, sizeof(**set));
        (*set)->pool = p;
        (*set)->users = 1;
    }
    return rv;
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

    ra->owner.issuer = issuer;
    ra->owner.profile = profile;
    ra->owner.services = services;
    if (apr_thread_mutex_create(&ra->mutex, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS
        || apr_thread_mutex_create(&ra->work, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS) {
        return NULL;
    }
    apr_pool_cleanup_register(p, ra, forget_set, apr_pool_cleanup_null);
    return ra;
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

/** @param set takes the place of the RA's, which may be none from now on */
static void replace_set(scep_ra_t *ra, scep_ra_set_t *set)
{
    scep_ra_set_t *old;

    apr_thread_mutex_lock(ra->mutex);
    old = ra->set;
    ra->set = set;
    apr_thread_mutex_unlock(ra->mutex);
    release_set(old);
}

static void look_again(scep_ra_t *ra, apr_time_t at)
{
    apr_thread_mutex_lock(ra->mutex);
    ra->look_at = at;
    apr_thread_mutex_unlock(ra->mutex);
}

static int has_number(const apr_array_header_t *numbers, apr_int64_t number)
{
    int i;

    for (i = 0; i < numbers->nelts && APR_ARRAY_IDX(numbers, i, apr_int64_t) != number; ++i) {
        continue;
    }
    return i < numbers->nelts;
}

/** Whether somebody has revoked or held a certificate of these keys since they were read. */
static int withdrawn(const scep_ra_keys_t *keys, const apr_array_header_t *generations)
{
    int i;

    for (i = 0; i < generations->nelts; ++i) {
        const gh_generation_t *one = gh_generation_at(generations, i);

        if (one->withdrawn && has_number(keys->generations, one->record->generation)) {
            return 1;
        }
    }
    return 0;
}

/** Whether keys are what the store has, but for those that have expired since. */
static int up_to_date(const scep_ra_keys_t *keys, const apr_array_header_t *generations,
                      apr_pool_t *p)
{
    const apr_array_header_t *numbers = gh_generations_usable(generations, p);
    int i;

    for (i = 0; i < numbers->nelts; ++i) {
        if (!has_number(keys->generations, APR_ARRAY_IDX(numbers, i, apr_int64_t))) {
            return 0;
        }
    }
    return keys->generation == APR_ARRAY_IDX(numbers, 0, apr_int64_t)
           && !withdrawn(keys, generations);
}

/**
 * Looks at the store and makes what is missing.
 * @param set in use; NULL if none is valid
 * @param made set to newer keys, or NULL
 * @param over set to 1 if those in use must not be used any more
 */
static apr_status_t refresh(scep_ra_t *ra, const scep_ra_set_t *set, scep_ra_set_t **made,
                            int *over)
{
    apr_array_header_t *generations;
    scep_ra_set_t *next;
    apr_status_t rv;

    *made = NULL;
    *over = 0;
    gh_result_clear(&ra->failure);
    rv = make_set(&next);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = scep_generations_provide(&generations, &ra->owner, &ra->attempt, next->pool,
                                  &ra->failure);
    *over = set && generations && withdrawn(set->keys, generations);
    if (rv == APR_SUCCESS && (!set || !up_to_date(set->keys, generations, next->pool))) {
        gh_result_t result;

        gh_result_clear(&result);
        rv = scep_generations_take(&next->keys, &ra->owner, generations, next->pool, &result);
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

static const char *before_action(const gh_result_t *result)
{
    return *result->action ? ". " : "";
}

/** Once when it begins and once when it ends. */
static void report(scep_ra_t *ra, apr_status_t rv, int usable)
{
    const char *issuer = gh_issuer_name(ra->owner.issuer);
    int failing = 0;
    int level = ra->failure.rule && !strcmp(ra->failure.rule, GH_RULE_OWN_ASKED)
        ? GH_LOG_WARNING : GH_LOG_ERROR;

    if (rv != APR_SUCCESS || ra->attempt.failed) {
        failing = usable ? 1 : 2;
    }
    if (failing == ra->failing) {
        return;
    }
    if (failing == 2) {
        gh_log(ra->owner.services->log, level, rv,
               GHNO(0210) "issuer %s has no RA key, SCEP answers 503: %s: %s%s%s", issuer,
               ra->failure.number, ra->failure.message, before_action(&ra->failure),
               ra->failure.action);
    }
    else if (failing == 1) {
        gh_log(ra->owner.services->log, GH_LOG_ERROR, rv,
               GHNO(0268) "issuer %s goes on with the RA key it has, until that expires, since the "
                          "store cannot be asked or no new one be made: %s: %s%s%s",
               issuer, ra->failure.number, ra->failure.message, before_action(&ra->failure),
               ra->failure.action);
    }
    else {
        gh_log(ra->owner.services->log, GH_LOG_NOTICE, APR_SUCCESS,
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

/** Under ra->work. @param set in use, or NULL; replaced if there is a newer one, set to NULL if it
 *  must not be used any more */
static apr_status_t update(scep_ra_t *ra, scep_ra_set_t **set)
{
    scep_ra_set_t *made;
    int over;
    apr_status_t rv = refresh(ra, *set, &made, &over);

    if (made || over) {
        if (made) {
            apr_atomic_inc32(&made->users);
        }
        release_set(*set);
        *set = made;
        replace_set(ra, made);
    }
    report(ra, rv, *set != NULL);
    look_again(ra, next_look(*set));
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
                                    gh_issuer_name(ra->owner.issuer));
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

int scep_ra_renew(scep_ra_t *ra, const scep_ra_keys_t **keys)
{
    apr_time_t now = apr_time_now();
    scep_ra_set_t *set;
    int due;

    /* waits for a look that another thread is taking: it may be the one that helps */
    apr_thread_mutex_lock(ra->work);
    set = use_set(ra, &due);
    if ((!set || set->keys == *keys)
        && (now >= ra->ask_at || ra->ask_at - now > ASK_INTERVAL)) {
        ra->ask_at = now + ASK_INTERVAL;
        update(ra, &set);
    }
    apr_thread_mutex_unlock(ra->work);
    if (!set || set->keys == *keys) {
        release_set(set);
        return 0;
    }
    scep_ra_release(*keys);
    *keys = set->keys;
    return 1;
}
