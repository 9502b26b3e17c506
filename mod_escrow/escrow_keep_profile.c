/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Skeletons, and the removal of credentials. */

#include <apr_strings.h>

#include "escrow/needs.h"
#include "escrow/sealed_profile.h"
#include "escrow_keep.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/jobs.h"

#define RULE "escrow.recipient"

typedef struct {
    const escrow_keep_t *keep;
    const char *device;
    const char *user;
    apr_interval_time_t patience;
    gh_audit_event_t *event;
    apr_pool_t *pool;
} removal_t;

static apr_status_t remove_work(gh_transaction_t *transaction, void *baton)
{
    const removal_t *removal = baton;
    apr_array_header_t *completes = apr_array_make(removal->pool, 2, sizeof(const char *));
    apr_int64_t count;
    apr_status_t rv;

    if ((rv = gh_escrow_take_turn(transaction, removal->user)) != APR_SUCCESS
        || (rv = gh_escrow_credential_remove_pair(transaction, removal->device, removal->user,
                                                  &count)) != APR_SUCCESS
        || (rv = gh_escrow_upload_remove_pair(transaction, removal->device, removal->user))
            != APR_SUCCESS) {
        return rv;
    }
    if (count == 0) {
        return APR_NOTFOUND;
    }
    rv = gh_escrow_advance(transaction, removal->keep->lives, removal->device, removal->user, 0,
                           removal->patience, removal->event->time, completes, removal->pool);
    return rv == APR_SUCCESS
        ? gh_audit_insert(transaction, removal->event,
                          gh_audit_line_keep(removal->event, removal->pool), 1) : rv;
}

apr_status_t escrow_keep_remove(const escrow_keep_t *keep, const char *device, const char *user,
                                apr_interval_time_t patience, gh_audit_event_t *event,
                                apr_pool_t *p, gh_result_t *result)
{
    removal_t removal = { keep, device, user, patience, event, p };
    apr_status_t rv;

    if (!event->time) {
        event->time = apr_time_now();
    }
    event->event = "remove";
    event->protocol = "escrow";
    event->subject = apr_psprintf(p, "device %s, user %s", device, user);
    event->result = "done";
    rv = gh_store_write(keep->store, remove_work, &removal, result);
    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, rv, GH_FAILURE_NOT_FOUND, "escrow.credential",
                              "Nothing, if they were removed before.",
                              GHNO(1219) "there are no credentials of this device and user");
    }
    return rv;
}

/* Skeletons */

typedef struct {
    const escrow_keep_t *keep;
    const escrow_skeleton_t *skeleton;
    const escrow_profile_options_t *options;
    gh_audit_event_t *event;
    escrow_identity_t identity;
    gh_escrow_recipient_record_t recipient;
    gh_escrow_profile_record_t *record;
    apr_array_header_t *missing;
    enum { REFUSED_NOT, REFUSED_UNKNOWN, REFUSED_OTHER_KEY } refused;
    apr_pool_t *pool;
} keeping_t;

static apr_status_t check_recipient(gh_transaction_t *transaction, keeping_t *keeping)
{
    apr_status_t rv = escrow_identity_check(transaction, &keeping->identity, keeping->pool);

    if (rv == GH_EREFUSED) {
        keeping->refused = REFUSED_UNKNOWN;
    }
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_recipient_bind(transaction, &keeping->recipient);
        if (rv == GH_EREFUSED) {
            keeping->refused = REFUSED_OTHER_KEY;
        }
    }
    return rv;
}

static apr_status_t put(gh_transaction_t *transaction, keeping_t *keeping,
                        gh_escrow_profile_record_t *record)
{
    gh_escrow_profile_record_t *before;
    apr_status_t rv;

    rv = gh_escrow_profile_of(transaction, record->profile, record->device, record->user, &before,
                              keeping->pool);
    if (rv == APR_NOTFOUND) {
        record->generation = 1;
        return gh_escrow_profile_insert(transaction, record);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    record->id = before->id;
    record->created = before->created;
    record->generation = before->generation + 1;
    if (before->uem) {
        rv = gh_job_drop(transaction, gh_escrow_queue(before->uem, keeping->pool), record->id);
    }
    return rv == APR_SUCCESS ? gh_escrow_profile_replace(transaction, record) : rv;
}

static apr_status_t keep_work(gh_transaction_t *transaction, void *baton)
{
    keeping_t *keeping = baton;
    gh_escrow_profile_record_t *record = keeping->record;
    gh_audit_event_t *event = keeping->event;
    int counts[GH_ESCROW_PURPOSES + 1];
    apr_status_t rv;

    keeping->refused = REFUSED_NOT;
    if ((rv = gh_escrow_take_turn(transaction, record->user)) != APR_SUCCESS
        || (rv = check_recipient(transaction, keeping)) != APR_SUCCESS
        || (rv = gh_escrow_credential_count(transaction, record->device, record->user, counts))
            != APR_SUCCESS) {
        return rv;
    }
    keeping->missing = gh_escrow_needs_missing(record->needs, counts, keeping->pool);
    record->state = keeping->missing->nelts ? GH_ESCROW_WAITING : GH_ESCROW_COMPLETING;
    if ((rv = put(transaction, keeping, record)) != APR_SUCCESS) {
        return rv;
    }
    if (record->state == GH_ESCROW_COMPLETING
        && (rv = gh_escrow_add_job(transaction, keeping->keep->lives, record->id, record->uem,
                                   record->generation, record->updated, keeping->pool))
            != APR_SUCCESS) {
        return rv;
    }
    event->transaction = record->id;
    return gh_audit_insert(transaction, event, gh_audit_line_keep(event, keeping->pool), 1);
}

static apr_status_t refuse(const keeping_t *keeping, gh_result_t *result)
{
    if (keeping->refused == REFUSED_OTHER_KEY) {
        return gh_result_fail(result, GH_ECONFLICT, GH_FAILURE_CONFLICT, RULE,
                              "If the device was set up anew, let an operator forget its key: "
                              "gatehousectl escrow forget DEVICE. Otherwise look who sends this.",
                              GHNO(1220) "recipient_certificate: device %s is known by another "
                              "key", keeping->skeleton->device);
    }
    *result = keeping->identity.why;
    return GH_EREFUSED;
}

static gh_escrow_profile_record_t *record_of(const escrow_skeleton_t *skeleton,
                                             const escrow_profile_options_t *options,
                                             apr_time_t now, apr_pool_t *p)
{
    gh_escrow_profile_record_t *record = apr_pcalloc(p, sizeof(*record));

    record->id = gh_ordered_id(now, p);
    record->profile = skeleton->profile;
    record->device = skeleton->device;
    record->user = skeleton->user;
    record->format = skeleton->format;
    record->needs = skeleton->needs;
    record->skeleton = skeleton->skeleton;
    record->recipient = escrow_recipient_certificate(skeleton->recipient);
    record->sign = skeleton->sign;
    record->labels = skeleton->labels;
    record->uem = options->uem;
    record->provider = options->provider;
    record->created = now;
    record->updated = now;
    record->expires = now + (options->patience ? options->patience : ESCROW_PATIENCE);
    return record;
}

apr_status_t escrow_keep_skeleton(gh_escrow_profile_record_t **record,
                                  apr_array_header_t **missing, const escrow_keep_t *keep,
                                  const escrow_skeleton_t *skeleton,
                                  const escrow_profile_options_t *options,
                                  gh_audit_event_t *event, apr_pool_t *p, gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    keeping_t keeping = {
        .keep = keep, .skeleton = skeleton, .options = options, .event = event, .pool = p,
        .recipient = {
            .device = skeleton->device,
            .spki_sha256 = { escrow_recipient_key_sha256(skeleton->recipient), 32 },
            .sha256 = { escrow_recipient_sha256(skeleton->recipient), 32 },
            .bound = now, .bound_by = options->provider
        },
        .record = record_of(skeleton, options, now, p)
    };
    apr_status_t rv;

    event->event = "profile";
    event->protocol = "escrow";
    event->subject = apr_psprintf(p, "device %s, user %s", skeleton->device, skeleton->user);
    event->result = "done";
    escrow_identity_begin(&keeping.identity, &options->trust, skeleton->recipient,
                          skeleton->device, now, p);
    rv = keeping.record->id ? gh_escrow_profile_seal(keeping.record, keep->vault, p, result)
        : APR_EGENERAL;
    if (rv == APR_SUCCESS) {
        rv = gh_store_write(keep->store, keep_work, &keeping, result);
    }
    if (rv == GH_EREFUSED && keeping.refused != REFUSED_NOT) {
        return refuse(&keeping, result);
    }
    *record = keeping.record;
    *missing = keeping.missing;
    return rv;
}
