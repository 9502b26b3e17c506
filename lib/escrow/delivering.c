/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow/delivering.h"

#include <apr_strings.h>

#include "escrow/needs.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/jobs.h"

/** Deliveries that are kept of a profile, as its history. */
#define HISTORY 20

apr_status_t gh_delivering_read(gh_transaction_t *transaction, const char *id,
                                apr_int64_t generation, gh_escrow_profile_record_t **profile,
                                apr_array_header_t **credentials, apr_pool_t *p)
{
    apr_status_t rv = gh_escrow_profile_find(transaction, id, profile, p);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if ((*profile)->generation != generation) {
        return APR_NOTFOUND;
    }
    if ((*profile)->state == GH_ESCROW_COMPLETING) {
        return gh_escrow_credential_pair(transaction, (*profile)->device, (*profile)->user, 0,
                                         credentials, p);
    }
    return (*profile)->state == GH_ESCROW_QUEUED ? APR_SUCCESS : APR_NOTFOUND;
}

apr_status_t gh_delivering_completed(gh_transaction_t *transaction,
                                     const gh_escrow_profile_record_t *profile,
                                     const char *delivery, gh_bytes_t completed, apr_time_t now)
{
    gh_delivery_record_t record = {
        .id = delivery, .profile = profile->id, .kind = GH_DELIVERY_PROFILE, .uem = profile->uem,
        .created = now
    };
    apr_status_t rv = gh_escrow_profile_queue(transaction, profile->id, profile->generation,
                                              completed, delivery, now);

    if (rv == APR_SUCCESS) {
        rv = gh_delivery_cancel(transaction, profile->id, now);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_delivery_trim(transaction, profile->id, HISTORY);
    }
    return rv == APR_SUCCESS ? gh_delivery_insert(transaction, &record) : rv;
}

/* Ends */

static apr_status_t note(gh_transaction_t *transaction, const gh_escrow_profile_record_t *profile,
                         const gh_delivering_end_t *end, gh_delivery_state_t state, apr_time_t now)
{
    return profile->delivery
        ? gh_delivery_note(transaction, profile->delivery, state, end->attempts, end->status,
                           end->why, now) : APR_SUCCESS;
}

static apr_status_t finish(gh_transaction_t *transaction, const gh_delivering_end_t *end,
                           apr_pool_t *p)
{
    apr_status_t rv = end->event
        ? gh_audit_insert(transaction, end->event, gh_audit_line(end->event, p), 0) : APR_SUCCESS;

    return rv == APR_SUCCESS ? gh_job_remove(transaction, end->job, end->holder) : rv;
}

static apr_status_t forget(gh_transaction_t *transaction,
                           const gh_escrow_profile_record_t *profile)
{
    gh_query_t *query = gh_query(transaction, "UPDATE escrow_profile SET completed = NULL"
                                 " WHERE id = $1 AND generation = $2 AND state = 4");

    gh_bind_text(query, profile->id);
    gh_bind_int64(query, profile->generation);
    return gh_execute(query);
}

apr_status_t gh_delivering_delivered(gh_transaction_t *transaction,
                                     const gh_escrow_profile_record_t *profile,
                                     const gh_delivering_end_t *end, apr_pool_t *p)
{
    apr_time_t now = apr_time_now();
    apr_status_t rv = gh_escrow_take_turn(transaction, profile->user);

    if (rv == APR_SUCCESS) {
        rv = note(transaction, profile, end, GH_DELIVERY_DELIVERED, now);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_profile_move(transaction, profile->id, profile->generation,
                                    GH_ESCROW_QUEUED, GH_ESCROW_DELIVERED, NULL, now);
        if (rv == APR_NOTFOUND) {
            return finish(transaction, end, p);
        }
    }
    if (rv == APR_SUCCESS) {
        rv = forget(transaction, profile);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_credential_consume(transaction, profile->device, profile->user,
                                          profile->needs, profile->id, APR_INT64_MAX);
    }
    return rv == APR_SUCCESS ? finish(transaction, end, p) : rv;
}

apr_status_t gh_delivering_failed(gh_transaction_t *transaction,
                                  const gh_escrow_profile_record_t *profile,
                                  const gh_delivering_end_t *end, apr_pool_t *p)
{
    const char *reason = apr_pstrcat(p, end->why->number, ": ", end->why->message, NULL);
    apr_time_t now = apr_time_now();
    apr_status_t rv = note(transaction, profile, end, GH_DELIVERY_FAILED, now);

    if (rv == APR_SUCCESS) {
        rv = gh_escrow_profile_move(transaction, profile->id, profile->generation,
                                    profile->state, GH_ESCROW_FAILED, reason, now);
    }
    return rv == APR_SUCCESS || rv == APR_NOTFOUND ? finish(transaction, end, p) : rv;
}

apr_status_t gh_delivering_again(gh_transaction_t *transaction,
                                 const gh_escrow_profile_record_t *profile,
                                 const gh_delivering_end_t *end)
{
    apr_status_t rv = note(transaction, profile, end, GH_DELIVERY_OPEN, apr_time_now());

    return rv == APR_SUCCESS
        ? gh_job_again(transaction, end->job, end->holder, end->due, 0, NULL, end->why) : rv;
}

apr_status_t gh_delivering_wait(gh_transaction_t *transaction,
                                const gh_escrow_profile_record_t *profile,
                                apr_interval_time_t patience, const gh_delivering_end_t *end,
                                apr_pool_t *p)
{
    int counts[GH_ESCROW_PURPOSES + 1];
    gh_escrow_profile_record_t *now_there;
    apr_time_t now = apr_time_now();
    apr_status_t rv = gh_escrow_take_turn(transaction, profile->user);

    if (rv == APR_SUCCESS) {
        rv = gh_escrow_profile_find(transaction, profile->id, &now_there, p);
    }
    if (rv == APR_NOTFOUND || (rv == APR_SUCCESS && (now_there->state != GH_ESCROW_COMPLETING
                                                     || now_there->generation
                                                     != profile->generation))) {
        return finish(transaction, end, p);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_credential_count(transaction, profile->device, profile->user, counts);
    }
    if (rv == APR_SUCCESS && !gh_escrow_needs_missing(profile->needs, counts, p)->nelts) {
        /* jobs are due by the store's clock */
        rv = gh_store_now(transaction, &now);
        return rv == APR_SUCCESS
            ? gh_job_again(transaction, end->job, end->holder, now, 0, NULL, NULL) : rv;
    }
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_profile_wait(transaction, profile->id, now + patience, now);
    }
    return rv == APR_SUCCESS ? finish(transaction, end, p) : rv;
}
