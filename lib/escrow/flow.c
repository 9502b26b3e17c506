/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow/flow.h"

#include <string.h>

#include <apr_strings.h>

#include "escrow/needs.h"
#include "log.h"
#include "status.h"
#include "store/escrow_credentials.h"
#include "store/escrow_profiles.h"
#include "store/escrow_uploads.h"
#include "store/housekeeping.h"
#include "store/jobs.h"

#define RULE "escrow.profile"

/** Profiles that are forgotten at a time. */
#define FORGET_BATCH 500

/** Profiles that are over stay for so long, so that one can see what became of them. */
#define KEPT apr_time_from_sec(30 * 86400)

const char *gh_escrow_queue(const char *uem, apr_pool_t *p)
{
    return apr_pstrcat(p, "uem:", uem, NULL);
}

apr_interval_time_t gh_escrow_life(apr_hash_t *lives, const char *uem)
{
    const apr_interval_time_t *life = lives ? apr_hash_get(lives, uem, APR_HASH_KEY_STRING) : NULL;

    return life ? *life : GH_ESCROW_LIFE;
}

apr_status_t gh_escrow_add_job(gh_transaction_t *transaction, apr_hash_t *lives, const char *id,
                               const char *uem, apr_int64_t generation, apr_time_t now,
                               apr_pool_t *p)
{
    const char *payload = apr_psprintf(p, "%" APR_INT64_T_FMT, generation);
    gh_job_record_t job = {
        .id = gh_ordered_id(now, p), .kind = GH_ESCROW_DELIVER, .queue = gh_escrow_queue(uem, p),
        .subject = id, .payload = { (const unsigned char *)payload, strlen(payload) },
        .created = now, .due = now, .deadline = now + gh_escrow_life(lives, uem), .behind = 1
    };
    apr_status_t rv = job.id ? gh_job_drop(transaction, job.queue, id) : APR_EGENERAL;

    return rv == APR_SUCCESS ? gh_job_insert(transaction, &job) : rv;
}

static int is_open(const gh_escrow_profile_record_t *profile)
{
    return profile->state == GH_ESCROW_COMPLETING || profile->state == GH_ESCROW_QUEUED;
}

/* Of one that has failed the reason may be the credential that is replaced. */
static apr_status_t advance_one(gh_transaction_t *transaction, apr_hash_t *lives,
                                const gh_escrow_profile_record_t *profile, const int *counts,
                                apr_interval_time_t patience, apr_time_t now,
                                apr_array_header_t *completes, apr_pool_t *p)
{
    apr_int64_t generation;
    apr_status_t rv;

    if (profile->state == GH_ESCROW_EXPIRED || profile->state == GH_ESCROW_CANCELLED
        || profile->uem == NULL) {
        return APR_SUCCESS;
    }
    if (gh_escrow_needs_missing(profile->needs, counts, p)->nelts > 0) {
        if (!is_open(profile)) {
            return APR_SUCCESS;
        }
        rv = gh_escrow_profile_wait(transaction, profile->id, now + patience, now);
        return rv == APR_SUCCESS
            ? gh_job_drop(transaction, gh_escrow_queue(profile->uem, p), profile->id) : rv;
    }
    rv = gh_escrow_profile_begin(transaction, profile->id, &generation, now);
    if (rv == APR_SUCCESS) {
        APR_ARRAY_PUSH(completes, const char *) = profile->id;
        rv = gh_escrow_add_job(transaction, lives, profile->id, profile->uem, generation, now, p);
    }
    return rv;
}

apr_status_t gh_escrow_advance(gh_transaction_t *transaction, apr_hash_t *lives,
                               const char *device, const char *user, int again,
                               apr_interval_time_t patience, apr_time_t now,
                               apr_array_header_t *completes, apr_pool_t *p)
{
    int counts[GH_ESCROW_PURPOSES + 1];
    apr_array_header_t *profiles;
    apr_status_t rv;
    int i;

    rv = gh_escrow_profile_pair(transaction, device, user, &profiles, p);
    if (rv != APR_SUCCESS || profiles->nelts == 0) {
        return rv;
    }
    rv = gh_escrow_credential_count(transaction, device, user, counts);
    for (i = 0; rv == APR_SUCCESS && i < profiles->nelts; ++i) {
        const gh_escrow_profile_record_t *profile
            = APR_ARRAY_IDX(profiles, i, gh_escrow_profile_record_t *);

        if (!again || profile->state != GH_ESCROW_DELIVERED) {
            rv = advance_one(transaction, lives, profile, counts, patience, now, completes, p);
        }
    }
    return rv;
}

/* What was delivered and is kept for a profile that is not to have it any more goes then. */
static apr_status_t consume_for(gh_transaction_t *transaction,
                                const gh_escrow_profile_record_t *over, apr_pool_t *p)
{
    apr_array_header_t *profiles;
    apr_status_t rv = gh_escrow_profile_pair(transaction, over->device, over->user, &profiles, p);
    int i;

    for (i = 0; rv == APR_SUCCESS && i < profiles->nelts; ++i) {
        const gh_escrow_profile_record_t *profile
            = APR_ARRAY_IDX(profiles, i, gh_escrow_profile_record_t *);

        if (profile->state == GH_ESCROW_DELIVERED) {
            rv = gh_escrow_credential_consume(transaction, profile->device, profile->user,
                                              profile->needs, profile->id, profile->updated);
        }
    }
    return rv;
}

/* One profile, by its id */

typedef struct {
    const char *id;
    apr_hash_t *lives;
    gh_audit_event_t *event;
    int logged;
    apr_array_header_t *missing;
    apr_pool_t *pool;
} one_t;

/** The profile, with its user's turn taken. */
static apr_status_t take(gh_transaction_t *transaction, const one_t *one,
                         gh_escrow_profile_record_t **profile)
{
    apr_status_t rv = gh_escrow_profile_find(transaction, one->id, profile, one->pool);

    if (rv == APR_SUCCESS
        && (rv = gh_escrow_take_turn(transaction, (*profile)->user)) == APR_SUCCESS) {
        rv = gh_escrow_profile_find(transaction, one->id, profile, one->pool);
    }
    return rv;
}

static apr_status_t note(gh_transaction_t *transaction, const one_t *one, const char *event,
                         const gh_escrow_profile_record_t *profile)
{
    one->event->event = event;
    one->event->protocol = "escrow";
    one->event->transaction = one->id;
    one->event->subject = apr_psprintf(one->pool, "device %s, user %s", profile->device,
                                       profile->user);
    one->event->result = "done";
    return gh_audit_insert(transaction, one->event,
                           gh_audit_line_keep(one->event, one->pool), one->logged);
}

static apr_status_t cancel_work(gh_transaction_t *transaction, void *baton)
{
    const one_t *one = baton;
    gh_escrow_profile_record_t *profile;
    apr_status_t rv = take(transaction, one, &profile);

    if (rv != APR_SUCCESS || profile->state == GH_ESCROW_CANCELLED) {
        return rv;
    }
    if ((rv = gh_escrow_profile_cancel(transaction, one->id, one->event->time)) != APR_SUCCESS) {
        return rv;
    }
    if (profile->uem
        && (rv = gh_job_drop(transaction, gh_escrow_queue(profile->uem, one->pool), one->id))
            != APR_SUCCESS) {
        return rv;
    }
    if ((rv = consume_for(transaction, profile, one->pool)) != APR_SUCCESS) {
        return rv;
    }
    return note(transaction, one, "cancel", profile);
}

static apr_status_t not_there(apr_status_t rv, gh_result_t *result)
{
    if (rv != APR_NOTFOUND) {
        return rv;
    }
    return gh_result_fail(result, rv, GH_FAILURE_NOT_FOUND, RULE,
                          "See gatehousectl escrow list.",
                          GHNO(1215) "there is no such profile");
}

apr_status_t gh_escrow_cancel(gh_store_t *store, const char *id, gh_audit_event_t *event,
                              int logged, apr_pool_t *p, gh_result_t *result)
{
    one_t one = { .id = id, .event = event, .logged = logged, .pool = p };

    if (!event->time) {
        event->time = apr_time_now();
    }
    return not_there(gh_store_write(store, cancel_work, &one, result), result);
}

static apr_status_t again_work(gh_transaction_t *transaction, void *baton)
{
    one_t *one = baton;
    int counts[GH_ESCROW_PURPOSES + 1];
    gh_escrow_profile_record_t *profile;
    apr_int64_t generation;
    apr_status_t rv = take(transaction, one, &profile);

    one->missing = NULL;
    if (rv != APR_SUCCESS || profile->uem == NULL) {
        return rv != APR_SUCCESS ? rv : GH_EREFUSED;
    }
    rv = gh_escrow_credential_count(transaction, profile->device, profile->user, counts);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    one->missing = gh_escrow_needs_missing(profile->needs, counts, one->pool);
    if (one->missing->nelts > 0) {
        return GH_EREFUSED;
    }
    rv = gh_escrow_profile_begin(transaction, one->id, &generation, one->event->time);
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_add_job(transaction, one->lives, one->id, profile->uem, generation,
                               one->event->time, one->pool);
    }
    return rv == APR_SUCCESS ? note(transaction, one, "retry", profile) : rv;
}

apr_status_t gh_escrow_again(gh_store_t *store, apr_hash_t *lives, const char *id,
                             gh_audit_event_t *event, int logged, apr_pool_t *p,
                             gh_result_t *result)
{
    one_t one = { .id = id, .lives = lives, .event = event, .logged = logged, .pool = p };
    apr_status_t rv;

    if (!event->time) {
        event->time = apr_time_now();
    }
    rv = gh_store_write(store, again_work, &one, result);
    if (rv == GH_EREFUSED) {
        return gh_result_fail(result, rv, GH_FAILURE_CONFLICT, RULE,
                              "Have the provider upload what is missing.",
                              GHNO(1216) "the profile cannot be completed: %s",
                              one.missing && one.missing->nelts > 0
                              ? apr_pstrcat(p, "there is no ",
                                            apr_array_pstrcat(p, one.missing, ','), NULL)
                              : "it goes to no UEM");
    }
    return not_there(rv, result);
}

/* Cleaning */

apr_status_t gh_escrow_clean(gh_transaction_t *transaction, apr_time_t now, int limit, int *more,
                             apr_pool_t *p)
{
    apr_array_header_t *profiles;
    apr_int64_t credentials, uploads;
    apr_status_t rv;
    int i;

    *more = 0;
    if ((rv = gh_escrow_credential_purge(transaction, now, limit, &credentials)) != APR_SUCCESS
        || (rv = gh_escrow_upload_purge(transaction, now, limit, &uploads)) != APR_SUCCESS
        || (rv = gh_escrow_profile_expire(transaction, now, limit, &profiles, p))
            != APR_SUCCESS) {
        return rv;
    }
    for (i = 0; rv == APR_SUCCESS && i < profiles->nelts; ++i) {
        rv = consume_for(transaction, APR_ARRAY_IDX(profiles, i, gh_escrow_profile_record_t *), p);
    }
    *more = credentials >= limit || uploads >= limit || profiles->nelts >= limit;
    return rv;
}

apr_status_t gh_escrow_forget(gh_transaction_t *transaction, apr_time_t now)
{
    apr_int64_t count;

    return gh_escrow_profile_purge(transaction, now - KEPT, FORGET_BATCH, &count);
}
