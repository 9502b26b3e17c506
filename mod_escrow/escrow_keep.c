/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow_keep.h"

#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "escrow_answer.h"
#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/jobs.h"

#define RULE "escrow.upload"

/** How often an upload is planned anew when others change the same pair meanwhile. */
#define ATTEMPTS 5

/** Of archived credentials that have ended, when there are no others. */
#define SHORTEST apr_time_from_sec(3 * 86400)

/** What an upload changes, as planned from what is stored. */
typedef struct {
    const escrow_keep_t *keep;
    const escrow_upload_t *upload;
    const escrow_upload_options_t *options;
    gh_audit_event_t *event;
    apr_time_t now;
    apr_pool_t *pool;

    apr_array_header_t *sealed;         /* gh_escrow_credential_record_t *: those uploaded */
    gh_escrow_upload_record_t row;

    gh_escrow_upload_record_t *before;  /* NULL: none */
    apr_array_header_t *stored;         /* gh_escrow_credential_record_t *: of the pair */
    apr_array_header_t *goes;           /* const char *: ids */
    apr_array_header_t *comes;          /* gh_escrow_credential_record_t * */
    apr_time_t newest;                  /* the last end of what is not archived then */

    int again;                          /* this is what was uploaded last */
    apr_array_header_t *completes;      /* const char * */
    int changed;                        /* 1: the pair is not as it was when this was planned */
} plan_t;

static int same_certificate(const gh_escrow_credential_record_t *a,
                            const gh_escrow_credential_record_t *b)
{
    return memcmp(a->sha256.data, b->sha256.data, 32) == 0;
}

/** @return one for this purpose with the same certificate; NULL if there is none */
static const gh_escrow_credential_record_t *find_same(const apr_array_header_t *records,
                                                      int purpose,
                                                      const gh_escrow_credential_record_t *wanted)
{
    int i;

    for (i = 0; i < records->nelts; ++i) {
        const gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(records, i, gh_escrow_credential_record_t *);

        if ((int)record->purpose == purpose && same_certificate(record, wanted)) {
            return record;
        }
    }
    return NULL;
}

/** The last end of what is uploaded. */
static apr_time_t last_end(const escrow_upload_t *upload, apr_time_t now)
{
    apr_time_t last = now + SHORTEST;
    int i;

    for (i = 0; i < upload->elements->nelts; ++i) {
        const escrow_element_t *element = &APR_ARRAY_IDX(upload->elements, i, escrow_element_t);

        if (element->credential->not_after > last) {
            last = element->credential->not_after;
        }
    }
    return last;
}

static apr_time_t later(apr_time_t one, apr_time_t other)
{
    return one > other ? one : other;
}

static apr_time_t expiry_of(const plan_t *plan, int purpose, apr_time_t not_after)
{
    if (plan->options->retention == ESCROW_RETAIN_DAYS) {
        return plan->now + plan->options->days;
    }
    return purpose == GH_ESCROW_ARCHIVED ? last_end(plan->upload, plan->now) : not_after;
}

static apr_status_t seal_element(const plan_t *plan, const escrow_element_t *element,
                                 gh_result_t *result)
{
    const escrow_credential_t *credential = element->credential;
    gh_escrow_credential_record_t *record = apr_pcalloc(plan->pool, sizeof(*record));
    const char *identity;
    gh_vaulted_t vaulted;
    apr_status_t rv;

    record->id = gh_ordered_id(plan->now, plan->pool);
    record->device = plan->upload->device;
    record->user = plan->upload->user;
    record->purpose = (gh_escrow_purpose_t)element->use;
    record->position = element->index;
    record->sha256.data = credential->sha256;
    record->sha256.length = sizeof(credential->sha256);
    record->serial = credential->serial;
    record->subject = credential->subject;
    record->email = credential->email;
    record->not_before = credential->not_before;
    record->not_after = credential->not_after;
    record->certificate = credential->certificate;
    record->chain = credential->chain;
    record->enrolment = element->enrolment;
    record->created = plan->now;
    if (element->kept) {
        record->origin = element->kept->origin;
        record->expires = element->kept->expires;
        record->consume = element->kept->consume;
    }
    else {
        record->origin = plan->options->origin;
        record->expires = expiry_of(plan, element->use, credential->not_after);
        record->consume = plan->options->retention == ESCROW_RETAIN_CONSUMPTION;
    }
    identity = gh_vault_identity(record->device, record->user, record->purpose,
                                 credential->sha256, plan->pool);
    rv = gh_vault_seal(&vaulted, plan->keep->vault, credential->key, identity, plan->pool, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    record->key_id = vaulted.key_id;
    record->wrapped = vaulted.wrapped;
    record->sealed = vaulted.sealed;
    APR_ARRAY_PUSH(plan->sealed, gh_escrow_credential_record_t *) = record;
    return record->id ? APR_SUCCESS : APR_EGENERAL;
}

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    plan_t *plan = baton;
    apr_status_t rv = gh_escrow_upload_of_pair(transaction, plan->row.device, plan->row.user,
                                               &plan->before, plan->pool);

    if (rv != APR_SUCCESS && rv != APR_NOTFOUND) {
        return rv;
    }
    return gh_escrow_credential_pair(transaction, plan->row.device, plan->row.user, 0,
                                     &plan->stored, plan->pool);
}

/* What is archived and for encryption in one upload is stored for that. */
static int is_stored(const plan_t *plan, const gh_escrow_credential_record_t *record)
{
    return find_same(plan->stored, record->purpose, record)
        || (record->purpose == GH_ESCROW_ARCHIVED
            && find_same(plan->stored, GH_ESCROW_ENCRYPTION, record));
}

static int is_known(const plan_t *plan)
{
    return plan->before && plan->before->digest.length == plan->row.digest.length
        && !memcmp(plan->before->digest.data, plan->row.digest.data, plan->row.digest.length)
        && plan->before->expires > plan->now;
}

/* What was uploaded may have been delivered and removed since: then it is stored again, for
 * profiles that have not had it yet, as a receipt says that it is there. */
static int is_repetition(plan_t *plan)
{
    int i;

    plan->again = is_known(plan);
    if (!plan->again) {
        return 0;
    }
    for (i = 0; i < plan->sealed->nelts; ++i) {
        if (!is_stored(plan, APR_ARRAY_IDX(plan->sealed, i, gh_escrow_credential_record_t *))) {
            return 0;
        }
    }
    return 1;
}

/** A credential for encryption that is replaced becomes one that is archived. */
static apr_status_t archive(plan_t *plan, const gh_escrow_credential_record_t *former,
                            int position, gh_result_t *result)
{
    gh_escrow_credential_record_t *record = apr_pmemdup(plan->pool, former, sizeof(*former));
    gh_vaulted_t row = { former->key_id, former->wrapped, former->sealed };
    gh_vaulted_t made;
    gh_bytes_t key;
    apr_status_t rv;

    record->id = gh_ordered_id(plan->now, plan->pool);
    record->purpose = GH_ESCROW_ARCHIVED;
    record->position = position;
    record->expires = later(former->expires,
                            later(plan->newest, expiry_of(plan, GH_ESCROW_ARCHIVED, 0)));
    rv = gh_vault_open(&key, plan->keep->vault, &row,
                       gh_vault_identity(former->device, former->user, former->purpose,
                                         former->sha256.data, plan->pool), plan->pool, result);
    if (rv == APR_SUCCESS) {
        rv = gh_vault_seal(&made, plan->keep->vault, key,
                           gh_vault_identity(record->device, record->user, record->purpose,
                                             record->sha256.data, plan->pool), plan->pool,
                           result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    record->key_id = made.key_id;
    record->wrapped = made.wrapped;
    record->sealed = made.sealed;
    APR_ARRAY_PUSH(plan->comes, gh_escrow_credential_record_t *) = record;
    return record->id ? APR_SUCCESS : APR_EGENERAL;
}

/** Whether it is there, and not archived, once this was uploaded. */
static int remains(const plan_t *plan, const gh_escrow_credential_record_t *record)
{
    return record->purpose != GH_ESCROW_ARCHIVED && !plan->upload->given[record->purpose];
}

/* Archived credentials are there to read old mail with, as long as there is something newer. */
static void find_ends(plan_t *plan)
{
    int i;

    plan->newest = plan->row.expires = 0;
    for (i = 0; i < plan->stored->nelts; ++i) {
        const gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(plan->stored, i, gh_escrow_credential_record_t *);

        if (remains(plan, record)) {
            plan->newest = later(plan->newest, record->expires);
        }
    }
    for (i = 0; i < plan->sealed->nelts; ++i) {
        const gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(plan->sealed, i, gh_escrow_credential_record_t *);

        if (record->purpose != GH_ESCROW_ARCHIVED) {
            plan->newest = later(plan->newest, record->expires);
        }
    }
    for (i = 0; i < plan->sealed->nelts; ++i) {
        gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(plan->sealed, i, gh_escrow_credential_record_t *);

        if (record->purpose == GH_ESCROW_ARCHIVED) {
            record->expires = later(record->expires, plan->newest);
        }
        plan->row.expires = later(plan->row.expires, record->expires);
    }
}

/** Those uploaded take the places from 0 on; what is archived is put behind what there is. */
static void place_uploaded(plan_t *plan, int *archived, int *count)
{
    int i;

    for (i = 0; i < plan->sealed->nelts; ++i) {
        gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(plan->sealed, i, gh_escrow_credential_record_t *);

        if (record->purpose == GH_ESCROW_ARCHIVED) {
            if (find_same(plan->stored, GH_ESCROW_ARCHIVED, record)
                || find_same(plan->sealed, GH_ESCROW_ENCRYPTION, record)) {
                continue;
            }
            record->position = (*archived)++;
            ++*count;
        }
        APR_ARRAY_PUSH(plan->comes, gh_escrow_credential_record_t *) = record;
    }
}

static apr_status_t make_plan(plan_t *plan, gh_result_t *result)
{
    int archived = 0, count = 0, i;
    apr_status_t rv = APR_SUCCESS;

    plan->goes = apr_array_make(plan->pool, 4, sizeof(const char *));
    plan->comes = apr_array_make(plan->pool, 4, sizeof(gh_escrow_credential_record_t *));
    for (i = 0; i < plan->stored->nelts; ++i) {
        const gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(plan->stored, i, gh_escrow_credential_record_t *);

        if (record->purpose == GH_ESCROW_ARCHIVED) {
            archived = record->position + 1;
            ++count;
        }
    }
    find_ends(plan);
    place_uploaded(plan, &archived, &count);
    for (i = 0; rv == APR_SUCCESS && i < plan->stored->nelts; ++i) {
        const gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(plan->stored, i, gh_escrow_credential_record_t *);

        if (record->purpose == GH_ESCROW_ARCHIVED || remains(plan, record)) {
            continue;
        }
        APR_ARRAY_PUSH(plan->goes, const char *) = record->id;
        if (record->purpose == GH_ESCROW_ENCRYPTION && plan->options->archive
            && !find_same(plan->sealed, GH_ESCROW_ENCRYPTION, record)
            && !find_same(plan->stored, GH_ESCROW_ARCHIVED, record)
            && !find_same(plan->sealed, GH_ESCROW_ARCHIVED, record)) {
            rv = archive(plan, record, archived++, result);
            ++count;
        }
    }
    if (rv == APR_SUCCESS && count > ESCROW_ARCHIVED_MAX) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, RULE,
                              "DELETE what is stored of this device and user, and upload what is "
                              "still needed.",
                              GHNO(1217) "smime_certificates.archived: there would be more than "
                              "%d credentials of the pair", ESCROW_ARCHIVED_MAX);
    }
    return rv;
}

/* Carrying it out */

/** @return 1 if the pair has what it had when the plan was made */
static apr_status_t compare(gh_transaction_t *transaction, plan_t *plan)
{
    apr_array_header_t *records;
    apr_status_t rv;
    int i;

    rv = gh_escrow_credential_describe(transaction, plan->row.device, plan->row.user, &records,
                                       plan->pool);
    plan->changed = rv == APR_SUCCESS && records->nelts != plan->stored->nelts;
    for (i = 0; rv == APR_SUCCESS && !plan->changed && i < records->nelts; ++i) {
        plan->changed = strcmp(APR_ARRAY_IDX(records, i, gh_escrow_credential_record_t *)->id,
                               APR_ARRAY_IDX(plan->stored, i,
                                             gh_escrow_credential_record_t *)->id) != 0;
    }
    return rv == APR_SUCCESS && plan->changed ? GH_ECONFLICT : rv;
}

static apr_status_t replace(gh_transaction_t *transaction, plan_t *plan)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < plan->goes->nelts; ++i) {
        rv = gh_escrow_credential_remove(transaction, APR_ARRAY_IDX(plan->goes, i, const char *));
    }
    for (i = 0; rv == APR_SUCCESS && i < plan->comes->nelts; ++i) {
        rv = gh_escrow_credential_insert(transaction,
                                         APR_ARRAY_IDX(plan->comes, i,
                                                       gh_escrow_credential_record_t *));
    }
    return rv;
}

static apr_status_t announce(gh_transaction_t *transaction, const plan_t *plan)
{
    const apr_array_header_t *uems = plan->options->available;
    apr_status_t rv = APR_SUCCESS;
    int i;

    for (i = 0; rv == APR_SUCCESS && uems && i < uems->nelts; ++i) {
        const char *uem = APR_ARRAY_IDX(uems, i, const char *);
        gh_job_record_t job = {
            .id = gh_ordered_id(plan->now, plan->pool), .kind = GH_ESCROW_AVAILABLE,
            .queue = gh_escrow_queue(uem, plan->pool), .subject = plan->row.id,
            .created = plan->now, .due = plan->now,
            .deadline = plan->now + gh_escrow_life(plan->keep->lives, uem),
            .payload = { (const unsigned char *)"", 0 }
        };

        rv = job.id ? gh_job_insert(transaction, &job) : APR_EGENERAL;
    }
    return rv;
}

static apr_status_t upload_work(gh_transaction_t *transaction, void *baton)
{
    plan_t *plan = baton;
    apr_status_t rv;

    plan->changed = 0;
    plan->completes = apr_array_make(plan->pool, 2, sizeof(const char *));
    if ((rv = gh_escrow_take_turn(transaction, plan->row.user)) != APR_SUCCESS
        || (rv = gh_escrow_credential_purge_pair(transaction, plan->row.device, plan->row.user))
            != APR_SUCCESS
        || (rv = compare(transaction, plan)) != APR_SUCCESS
        || (rv = replace(transaction, plan)) != APR_SUCCESS
        || (rv = gh_escrow_credential_extend(transaction, plan->row.device, plan->row.user))
            != APR_SUCCESS
        || (rv = gh_escrow_advance(transaction, plan->keep->lives, plan->row.device,
                                   plan->row.user, plan->again, plan->keep->patience
                                   ? plan->keep->patience : ESCROW_PATIENCE, plan->now,
                                   plan->completes, plan->pool)) != APR_SUCCESS) {
        return rv;
    }
    plan->row.receipt = escrow_answer_receipt(&plan->row, plan->upload, plan->completes,
                                              plan->pool);
    if ((rv = gh_escrow_upload_put(transaction, &plan->row)) != APR_SUCCESS
        || (rv = announce(transaction, plan)) != APR_SUCCESS) {
        return rv;
    }
    return gh_audit_insert(transaction, plan->event,
                           gh_audit_line_keep(plan->event, plan->pool), 1);
}

static void describe_event(plan_t *plan)
{
    gh_audit_event_t *event = plan->event;

    event->event = "upload";
    event->protocol = "escrow";
    event->subject = apr_psprintf(plan->pool, "device %s, user %s", plan->row.device,
                                  plan->row.user);
    event->transaction = plan->row.id;
    event->result = "done";
}

static apr_status_t prepare(plan_t *plan, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    int i;

    plan->sealed = apr_array_make(plan->pool, 4, sizeof(gh_escrow_credential_record_t *));
    for (i = 0; rv == APR_SUCCESS && i < plan->upload->elements->nelts; ++i) {
        rv = seal_element(plan, &APR_ARRAY_IDX(plan->upload->elements, i, escrow_element_t),
                          result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    plan->row.id = gh_ordered_id(plan->now, plan->pool);
    plan->row.device = plan->upload->device;
    plan->row.user = plan->upload->user;
    plan->row.provider = plan->options->provider;
    plan->row.created = plan->now;
    describe_event(plan);
    return plan->row.id ? escrow_upload_digest(&plan->row.digest, plan->upload, plan->pool, result)
        : APR_EGENERAL;
}

apr_status_t escrow_keep_upload(escrow_stored_t *stored, const escrow_keep_t *keep,
                                const escrow_upload_t *upload,
                                const escrow_upload_options_t *options, gh_audit_event_t *event,
                                apr_pool_t *p, gh_result_t *result)
{
    plan_t plan = {
        .keep = keep, .upload = upload, .options = options, .event = event, .pool = p,
        .now = apr_time_now()
    };
    apr_status_t rv = prepare(&plan, result);
    int attempt;

    memset(stored, 0, sizeof(*stored));
    for (attempt = 0; rv == APR_SUCCESS && attempt < ATTEMPTS; ++attempt) {
        rv = gh_store_read(keep->store, look_work, &plan, result);
        if (rv == APR_SUCCESS && is_repetition(&plan)) {
            stored->id = plan.before->id;
            stored->receipt = plan.before->receipt;
            stored->repeated = 1;
            return APR_SUCCESS;
        }
        if (rv == APR_SUCCESS && (rv = make_plan(&plan, result)) == APR_SUCCESS) {
            rv = gh_store_write(keep->store, upload_work, &plan, result);
            if (rv == APR_SUCCESS) {
                stored->id = plan.row.id;
                stored->receipt = plan.row.receipt;
                stored->completes = plan.completes->nelts;
                return APR_SUCCESS;
            }
            rv = plan.changed ? APR_SUCCESS : rv;
        }
    }
    if (rv == APR_SUCCESS) {
        return gh_result_fail(result, GH_EBUSY, GH_FAILURE_UNAVAILABLE, RULE,
                              "Send it again.",
                              GHNO(1218) "the credentials of this device and user are being "
                              "changed by others");
    }
    return rv;
}
