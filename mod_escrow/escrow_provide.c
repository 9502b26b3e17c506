/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_provide.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "status.h"
#include "store/escrow_credentials.h"

#define PURPOSES 3

/** Archived credentials of a user that are looked at: copies of the same ones, on all devices. */
#define ARCHIVED_READ 500

/** One that a device of the user is to have. */
typedef struct {
    const escrow_credential_t *credential;
    const char *enrolment;
    const escrow_kept_t *kept;          /* NULL: it is new */
} one_t;

typedef struct {
    const escrow_keep_t *keep;
    const gh_escrow_event_record_t *record;
    gh_provide_rule_t rule;
    gh_provide_spread_t spread;
    gh_bytes_t chain;
    one_t issued[PURPOSES];                         /* by gh_escrow_purpose_t */
    int archive;                                    /* the user's former keys are kept */
    apr_hash_t *uploads;                            /* escrow_upload_t by device */
    const char *reason;
    apr_pool_t *pool;
    gh_result_t *result;
} finish_t;

/* What is above the certificates, without a root. */

static void append(gh_bytes_t *chain, const unsigned char *der, apr_size_t length, apr_pool_t *p)
{
    unsigned char *longer = apr_palloc(p, chain->length + length);

    if (chain->length) {
        memcpy(longer, chain->data, chain->length);
    }
    memcpy(longer + chain->length, der, length);
    chain->data = longer;
    chain->length += length;
}

static void append_certificate(gh_bytes_t *chain, X509 *certificate, apr_pool_t *p)
{
    unsigned char *der = NULL;
    int length;

    if (!certificate || (X509_get_extension_flags(certificate) & EXFLAG_SS)) {
        return;
    }
    length = i2d_X509(certificate, &der);
    if (length > 0) {
        append(chain, der, (apr_size_t)length, p);
    }
    OPENSSL_free(der);
}

static void take_chain(gh_bytes_t *chain, gh_issuer_t *issuer, apr_pool_t *p)
{
    gh_bytes_t own = gh_issuer_certificate_der(issuer);
    const unsigned char *at = own.data;
    X509 *certificate = own.length ? d2i_X509(NULL, &at, (long)own.length) : NULL;
    const apr_array_header_t *above = gh_issuer_chain(issuer);
    int i;

    append_certificate(chain, certificate, p);
    X509_free(certificate);
    for (i = 0; above && i < above->nelts; ++i) {
        append_certificate(chain, APR_ARRAY_IDX(above, i, X509 *), p);
    }
}

/* What was issued */

static apr_status_t take_outcome(finish_t *finish, const gh_provide_outcome_t *outcome)
{
    escrow_credential_t *credential;
    apr_status_t rv;

    if (outcome->state != GH_ENROLMENT_ISSUED) {
        finish->reason = apr_psprintf(finish->pool, "%s: %s",
                                      gh_escrow_purpose_name(outcome->key->purpose),
                                      outcome->message ? outcome->message : "was refused");
        return APR_SUCCESS;
    }
    credential = apr_pcalloc(finish->pool, sizeof(*credential));
    rv = escrow_credential_describe(credential, NULL, outcome->certificate, finish->pool,
                                    finish->result);
    if (rv == APR_SUCCESS) {
        credential->chain = finish->chain;
        rv = gh_provide_open_key(&credential->key, finish->keep->vault, finish->record->id,
                                 outcome->key, finish->pool, finish->result);
    }
    finish->issued[outcome->key->purpose].credential = credential;
    finish->issued[outcome->key->purpose].enrolment = outcome->enrolment;
    return rv;
}

/* What the user has on another device */

typedef struct {
    const char *device;
    const char *user;
    int purpose;
    apr_array_header_t *records;
    apr_pool_t *pool;
} read_t;

static apr_status_t read_work(gh_transaction_t *transaction, void *baton)
{
    read_t *read = baton;

    return gh_escrow_credential_pair(transaction, read->device, read->user, read->purpose,
                                     &read->records, read->pool);
}

static int is_of_address(const finish_t *finish, const gh_escrow_credential_record_t *record)
{
    return record->email && !strcasecmp(record->email, finish->record->email);
}

/** The one that is valid longest, of the event's address. */
static const gh_escrow_credential_record_t *choose(const finish_t *finish,
                                                   const apr_array_header_t *records)
{
    const gh_escrow_credential_record_t *best = NULL;
    int i;

    for (i = 0; i < records->nelts; ++i) {
        const gh_escrow_credential_record_t *one =
            APR_ARRAY_IDX(records, i, gh_escrow_credential_record_t *);

        if (is_of_address(finish, one) && (!best || one->not_after > best->not_after)) {
            best = one;
        }
    }
    return best;
}

/** What is stored for one device, for another one. */
static apr_status_t open_record(one_t *one, const finish_t *finish,
                                const gh_escrow_credential_record_t *record)
{
    escrow_credential_t *credential = apr_pcalloc(finish->pool, sizeof(*credential));
    escrow_kept_t *kept = apr_palloc(finish->pool, sizeof(*kept));
    gh_vaulted_t vaulted = { record->key_id, record->wrapped, record->sealed };
    apr_status_t rv = escrow_credential_describe(credential, NULL, record->certificate,
                                                 finish->pool, finish->result);

    if (rv == APR_SUCCESS) {
        credential->chain = record->chain;
        rv = gh_vault_open(&credential->key, finish->keep->vault, &vaulted,
                           gh_vault_identity(record->device, record->user, record->purpose,
                                             record->sha256.data, finish->pool),
                           finish->pool, finish->result);
    }
    kept->origin = record->origin;
    kept->expires = record->expires;
    kept->consume = record->consume;
    one->credential = credential;
    one->enrolment = record->enrolment;
    one->kept = kept;
    return rv;
}

static apr_status_t take_shared(finish_t *finish, int purpose)
{
    read_t read = {
        .device = finish->spread.holder[purpose], .user = finish->record->user,
        .purpose = purpose, .pool = finish->pool
    };
    const gh_escrow_credential_record_t *record;
    apr_status_t rv = gh_store_read(finish->keep->store, read_work, &read, finish->result);

    record = rv == APR_SUCCESS ? choose(finish, read.records) : NULL;
    /* if it has gone meanwhile it is as if there were none */
    return record ? open_record(&finish->issued[purpose], finish, record) : rv;
}

/* Keys that the user has had for encryption: old mail is to be read on each of his devices */

typedef struct {
    const char *user;
    apr_array_header_t *archived;       /* gh_escrow_credential_record_t * */
    apr_array_header_t *current;
    apr_pool_t *pool;
} former_t;

static apr_status_t former_work(gh_transaction_t *transaction, void *baton)
{
    former_t *former = baton;
    apr_status_t rv = gh_escrow_credential_of_user(transaction, former->user, GH_ESCROW_ARCHIVED,
                                                   ARCHIVED_READ, &former->archived,
                                                   former->pool);

    return rv == APR_SUCCESS
        ? gh_escrow_credential_of_user(transaction, former->user, GH_ESCROW_ENCRYPTION,
                                       ARCHIVED_READ, &former->current, former->pool) : rv;
}

static int same_certificate(const gh_escrow_credential_record_t *one,
                            const gh_escrow_credential_record_t *other)
{
    return !memcmp(one->sha256.data, other->sha256.data, 32);
}

/** Those of the event's address, each once, but for the one that is current from now on. */
static void add_former(const finish_t *finish, apr_array_header_t *all,
                       const apr_array_header_t *records)
{
    const escrow_credential_t *now = finish->issued[GH_ESCROW_ENCRYPTION].credential;
    int i, j;

    for (i = 0; i < records->nelts; ++i) {
        const gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(records, i, const gh_escrow_credential_record_t *);

        for (j = 0; j < all->nelts; ++j) {
            if (same_certificate(record, APR_ARRAY_IDX(all, j,
                                                       const gh_escrow_credential_record_t *))) {
                break;
            }
        }
        if (j == all->nelts && is_of_address(finish, record)
            && memcmp(record->sha256.data, now->sha256, 32)) {
            APR_ARRAY_PUSH(all, const gh_escrow_credential_record_t *) = record;
        }
    }
}

static int compare(const void *one, const void *other)
{
    return memcmp((*(const gh_escrow_credential_record_t *const *)one)->sha256.data,
                  (*(const gh_escrow_credential_record_t *const *)other)->sha256.data, 32);
}

/** How many archived ones the event's device may have besides what it has of another address. */
static int room_for(const finish_t *finish, const apr_array_header_t *archived)
{
    int room = ESCROW_ARCHIVED_MAX - 1;
    int i;

    for (i = 0; i < archived->nelts; ++i) {
        const gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(archived, i, const gh_escrow_credential_record_t *);

        room -= !is_of_address(finish, record) && !strcmp(record->device, finish->record->device);
    }
    return room > 0 ? room : 0;
}

/* In an order of their own, so that who finishes the event after a crash uploads the same. */
static apr_status_t take_former(finish_t *finish, escrow_upload_t *upload)
{
    former_t former = { .user = finish->record->user, .pool = finish->pool };
    apr_array_header_t *all = apr_array_make(finish->pool, 4,
                                             sizeof(const gh_escrow_credential_record_t *));
    apr_status_t rv = gh_store_read(finish->keep->store, former_work, &former, finish->result);
    int i, room;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    add_former(finish, all, former.archived);
    if (finish->archive) {
        add_former(finish, all, former.current);
    }
    room = room_for(finish, former.archived);
    all->nelts = all->nelts > room ? room : all->nelts;
    qsort(all->elts, (size_t)all->nelts, sizeof(const gh_escrow_credential_record_t *), compare);
    for (i = 0; rv == APR_SUCCESS && i < all->nelts; ++i) {
        one_t one;

        rv = open_record(&one, finish, APR_ARRAY_IDX(all, i,
                                                     const gh_escrow_credential_record_t *));
        if (rv == APR_SUCCESS) {
            escrow_upload_add(upload, ESCROW_ARCHIVED, one.credential, one.enrolment, one.kept);
        }
    }
    return rv;
}

/* Into escrow */

static escrow_upload_t *upload_for(finish_t *finish, const char *device)
{
    escrow_upload_t *upload = apr_hash_get(finish->uploads, device, APR_HASH_KEY_STRING);

    if (!upload) {
        upload = escrow_upload_create(device, finish->record->user, finish->pool);
        apr_hash_set(finish->uploads, device, APR_HASH_KEY_STRING, upload);
    }
    return upload;
}

static void add(finish_t *finish, const char *device, int purpose)
{
    escrow_upload_t *upload = upload_for(finish, device);
    const one_t *one = &finish->issued[purpose];

    if (!upload->given[purpose]) {
        escrow_upload_add(upload, (escrow_use_t)purpose, one->credential, one->enrolment,
                          one->kept);
    }
}

static apr_status_t collect(finish_t *finish)
{
    const char *device = finish->record->device;
    apr_status_t rv = APR_SUCCESS;
    int purpose, i;

    for (purpose = GH_ESCROW_SIGNING; purpose < PURPOSES; ++purpose) {
        int fresh = finish->issued[purpose].credential != NULL;

        if (!fresh && finish->spread.holder[purpose]) {
            rv = take_shared(finish, purpose);
        }
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (finish->issued[purpose].credential) {
            add(finish, device, purpose);
        }
        for (i = 0; fresh && i < finish->spread.others[purpose]->nelts; ++i) {
            add(finish, APR_ARRAY_IDX(finish->spread.others[purpose], i, const char *), purpose);
        }
    }
    return finish->issued[GH_ESCROW_ENCRYPTION].credential
        ? take_former(finish, upload_for(finish, device)) : APR_SUCCESS;
}

static gh_audit_event_t *begin_event(const char *node, apr_pool_t *p)
{
    gh_audit_event_t *event = apr_pcalloc(p, sizeof(*event));

    event->time = apr_time_now();
    event->id = gh_random_id(p);
    event->node = node;
    return event;
}

static apr_status_t store_all(finish_t *finish, const escrow_upload_options_t *options,
                              const char *node, apr_array_header_t *events)
{
    apr_hash_index_t *hi;
    apr_status_t rv = APR_SUCCESS;

    for (hi = apr_hash_first(finish->pool, finish->uploads); rv == APR_SUCCESS && hi;
         hi = apr_hash_next(hi)) {
        gh_audit_event_t *event = begin_event(node, finish->pool);
        escrow_stored_t stored = {0};

        event->user = finish->record->provider;
        rv = escrow_keep_upload(&stored, finish->keep, apr_hash_this_val(hi), options, event,
                                finish->pool, finish->result);
        if (rv == APR_SUCCESS && !stored.repeated) {
            APR_ARRAY_PUSH(events, gh_audit_event_t *) = event;
        }
    }
    return rv;
}

apr_status_t escrow_provide_finish(const escrow_keep_t *keep,
                                   const gh_escrow_event_record_t *record,
                                   const apr_array_header_t *outcomes, gh_issuer_t *issuer,
                                   const escrow_upload_options_t *options, const char *node,
                                   apr_array_header_t *events, const char **reason, apr_pool_t *p,
                                   gh_result_t *result)
{
    finish_t finish = {
        .keep = keep, .record = record, .archive = options->archive,
        .uploads = apr_hash_make(p), .pool = p, .result = result
    };
    gh_audit_event_t *event = begin_event(node, p);
    apr_status_t rv = gh_provide_rule_read(&finish.rule, record->rule, p, result);
    int i;

    if (rv == APR_SUCCESS) {
        rv = gh_provide_spread(keep->store, record, &finish.rule, &finish.spread, p, result);
    }
    if (rv == APR_SUCCESS && issuer) {
        take_chain(&finish.chain, issuer, p);
    }
    for (i = 0; rv == APR_SUCCESS && i < outcomes->nelts; ++i) {
        rv = take_outcome(&finish, &APR_ARRAY_IDX(outcomes, i, gh_provide_outcome_t));
    }
    if (rv == APR_SUCCESS) {
        rv = collect(&finish);
    }
    if (rv == APR_SUCCESS) {
        rv = store_all(&finish, options, node, events);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_provide_over(keep->store, record, finish.reason, event, p, result);
    }
    if (rv == APR_SUCCESS) {
        APR_ARRAY_PUSH(events, gh_audit_event_t *) = event;
    }
    *reason = finish.reason;
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}
