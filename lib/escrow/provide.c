/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What events ask for, and the keys that are made for them. */

#include <string.h>

#include <apr_strings.h>
#include <jansson.h>
#include <openssl/x509.h>

#include "escrow/provide_private.h"
#include "log.h"
#include "status.h"
#include "store/jobs.h"
#include "x509/csr.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/own.h"

/* Rules */

const char *gh_provide_rule_text(const gh_provide_rule_t *rule, apr_pool_t *p)
{
    json_t *object = json_pack("{s:s, s:s, s:s*, s:s*, s:b, s:i, s:s}", "event", rule->event,
                               "issuer", rule->issuer, "signing", rule->signing, "encryption",
                               rule->encryption, "per_device", rule->signing_per_device, "bits",
                               rule->bits, "subject", rule->subject);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    const char *copy = apr_pstrdup(p, text);

    free(text);
    json_decref(object);
    return copy;
}

apr_status_t gh_provide_rule_read(gh_provide_rule_t *rule, const char *text, apr_pool_t *p,
                                  gh_result_t *result)
{
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const char *event, *issuer, *subject;
    const char *signing = NULL;
    const char *encryption = NULL;
    int bad;

    memset(rule, 0, sizeof(*rule));
    bad = json_unpack(object, "{s:s, s:s, s?:s, s?:s, s:b, s:i, s:s}", "event", &event, "issuer",
                      &issuer, "signing", &signing, "encryption", &encryption, "per_device",
                      &rule->signing_per_device, "bits", &rule->bits, "subject", &subject);
    if (!bad) {
        rule->event = apr_pstrdup(p, event);
        rule->issuer = apr_pstrdup(p, issuer);
        rule->subject = apr_pstrdup(p, subject);
        rule->signing = apr_pstrdup(p, signing);
        rule->encryption = apr_pstrdup(p, encryption);
    }
    json_decref(object);
    return bad ? gh_result_fail(result, GH_ECORRUPT, GH_FAILURE_INTERNAL, RULE,
                                "Restore the store from a backup, and send the event again.",
                                GHNO(1285) "what an event has asked for cannot be read")
               : APR_SUCCESS;
}

/* Wanting */

typedef struct {
    gh_escrow_event_record_t *record;
    gh_escrow_event_record_t *found;
    gh_audit_event_t *event;
    const char *line;
    int added;
    gh_result_t *result;
    apr_pool_t *pool;
} want_t;

static apr_status_t insert_job(gh_transaction_t *transaction, const char *id,
                               const gh_escrow_event_record_t *record)
{
    gh_job_record_t job = {
        .id = id, .kind = GH_PROVIDE_KIND, .queue = GH_PROVIDE_QUEUE,
        .subject = record->user, .created = record->updated, .due = record->updated
    };

    return gh_job_insert(transaction, &job);
}

apr_status_t gh_provide_insert(gh_transaction_t *transaction,
                               const gh_escrow_event_record_t *record)
{
    apr_status_t rv = gh_escrow_event_insert(transaction, record);

    return rv == APR_SUCCESS ? insert_job(transaction, record->id, record) : rv;
}

/* Also what the user has on another device has to get to this one. */
static apr_status_t device_lacks(gh_transaction_t *transaction,
                                 const gh_escrow_event_record_t *record,
                                 const gh_provide_rule_t *rule, int *lacks, apr_pool_t *p)
{
    const char *signing = NULL;
    const char *encryption = NULL;
    apr_time_t now = apr_time_now();
    apr_status_t rv = APR_SUCCESS;

    if (rule->signing) {
        rv = gh_escrow_event_has(transaction, record->user, record->device, GH_ESCROW_SIGNING,
                                 record->email, now, &signing, p);
    }
    if (rv == APR_SUCCESS && rule->encryption) {
        rv = gh_escrow_event_has(transaction, record->user, record->device, GH_ESCROW_ENCRYPTION,
                                 record->email, now, &encryption, p);
    }
    *lacks = (rule->signing && !signing) || (rule->encryption && !encryption);
    return rv;
}

/* An event that is sent again is not worked on again, unless that has failed, or what was made is
 * gone or revoked: a device may have been set up anew, and not every UEM tells the times of
 * events. */
static apr_status_t begins_anew(gh_transaction_t *transaction, const want_t *want, int *anew)
{
    gh_provide_rule_t rule;
    apr_status_t rv;

    *anew = want->found->state == GH_ESCROW_EVENT_FAILED;
    if (want->found->state != GH_ESCROW_EVENT_DONE) {
        return APR_SUCCESS;
    }
    rv = gh_provide_rule_read(&rule, want->record->rule, want->pool, want->result);
    return rv == APR_SUCCESS
        ? device_lacks(transaction, want->record, &rule, anew, want->pool) : rv;
}

static apr_status_t want_work(gh_transaction_t *transaction, void *baton)
{
    want_t *want = baton;
    int anew = 0;
    apr_status_t rv;

    want->added = 0;
    rv = gh_escrow_event_find_key(transaction, want->record->key, &want->found, want->pool);
    if (rv == APR_NOTFOUND) {
        rv = gh_provide_insert(transaction, want->record);
    }
    else {
        if (rv == APR_SUCCESS) {
            rv = begins_anew(transaction, want, &anew);
        }
        if (rv != APR_SUCCESS || !anew) {
            return rv;
        }
        rv = gh_escrow_event_restart(transaction, want->found->id, want->record);
        if (rv == APR_SUCCESS) {
            rv = insert_job(transaction, want->found->id, want->record);
        }
        want->found->state = GH_ESCROW_EVENT_KEYS;
        want->found->reason = NULL;
    }
    want->added = 1;
    return rv == APR_SUCCESS ? gh_audit_insert(transaction, want->event, want->line, 1) : rv;
}

apr_status_t gh_provide_want(gh_store_t *store, gh_escrow_event_record_t **record,
                             gh_audit_event_t *event, int *added, apr_pool_t *p,
                             gh_result_t *result)
{
    want_t want = { .record = *record, .event = event, .result = result, .pool = p };
    apr_status_t rv;

    *added = 0;
    want.record->state = GH_ESCROW_EVENT_KEYS;
    want.record->created = want.record->updated = apr_time_now();
    want.record->id = gh_ordered_id(want.record->created, p);
    if (!want.record->id) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, RULE, NULL,
                                 GHNO(1286) "the random generator failed");
    }
    event->event = "provide";
    event->protocol = GH_PROVIDE_PROTOCOL;
    event->transaction = want.record->id;
    event->rule = RULE;
    event->result = "pending";
    event->message = apr_psprintf(p, "device %s, user %s, %s: credentials are made",
                                  want.record->device, want.record->user, want.record->email);
    want.line = gh_audit_line_keep(event, p);
    rv = gh_store_write(store, want_work, &want, result);
    if (rv == GH_ECONFLICT || rv == GH_EUNKNOWN) {
        /* another connection was faster, or it was this one */
        rv = gh_store_write(store, want_work, &want, result);
    }
    if (rv == APR_SUCCESS) {
        *added = want.added;
        *record = want.found ? want.found : want.record;
    }
    return rv;
}

/* What is lacking */

static apr_status_t has(gh_transaction_t *transaction, const gh_escrow_event_record_t *record,
                        const gh_provide_rule_t *rule, gh_escrow_purpose_t purpose,
                        const char **holder, apr_pool_t *p)
{
    int own = purpose == GH_ESCROW_SIGNING && rule->signing_per_device;

    return gh_escrow_event_has(transaction, record->user, own ? record->device : NULL, purpose,
                               record->email, apr_time_now(), holder, p);
}

static apr_status_t lack_work(gh_transaction_t *transaction, const gh_escrow_event_record_t *record,
                              const gh_provide_rule_t *rule, gh_provide_lack_t *lack, apr_pool_t *p)
{
    const char *holder = NULL;
    apr_status_t rv = APR_SUCCESS;

    memset(lack, 0, sizeof(*lack));
    lack->bits = rule->bits;
    if (rule->signing) {
        rv = has(transaction, record, rule, GH_ESCROW_SIGNING, &holder, p);
        lack->signing = !holder;
    }
    if (rv == APR_SUCCESS && rule->encryption) {
        rv = has(transaction, record, rule, GH_ESCROW_ENCRYPTION, &holder, p);
        lack->encryption = !holder;
    }
    return rv;
}

typedef struct {
    const char *id;
    gh_escrow_event_record_t *record;
    gh_provide_rule_t rule;
    gh_provide_lack_t *lack;
    gh_result_t *result;
    apr_pool_t *pool;
} lacks_t;

static apr_status_t read_wanted(gh_transaction_t *transaction, const char *id,
                                gh_escrow_event_record_t **record, gh_provide_rule_t *rule,
                                apr_pool_t *p, gh_result_t *result)
{
    apr_status_t rv = gh_escrow_event_find(transaction, id, record, p);

    if (rv == APR_SUCCESS && (*record)->state != GH_ESCROW_EVENT_KEYS) {
        rv = APR_NOTFOUND;
    }
    return rv == APR_SUCCESS ? gh_provide_rule_read(rule, (*record)->rule, p, result) : rv;
}

static apr_status_t lacks_work(gh_transaction_t *transaction, void *baton)
{
    lacks_t *lacks = baton;
    apr_status_t rv = read_wanted(transaction, lacks->id, &lacks->record, &lacks->rule, lacks->pool,
                                  lacks->result);

    return rv == APR_SUCCESS
        ? lack_work(transaction, lacks->record, &lacks->rule, lacks->lack, lacks->pool) : rv;
}

apr_status_t gh_provide_lacks(gh_store_t *store, const char *id, gh_provide_lack_t *lack,
                              apr_pool_t *p, gh_result_t *result)
{
    lacks_t lacks = { .id = id, .lack = lack, .result = result, .pool = p };

    return gh_store_read(store, lacks_work, &lacks, result);
}

/* Keys */

const char *gh_provide_identity(const char *event, gh_escrow_purpose_t purpose, apr_pool_t *p)
{
    return apr_psprintf(p, "escrow-event/%s/%d", event, (int)purpose);
}

/** Its subject is what the certificate will have, in case that the CA looks. */
static apr_status_t make_request(gh_bytes_t *der, const char *subject, EVP_PKEY *key,
                                 apr_pool_t *p, gh_result_t *result)
{
    X509_REQ *request = gh_own_request(p, X509_REQ_new());
    unsigned char *encoded = NULL;
    X509_NAME *name = NULL;
    int length = -1;

    if (gh_name_parse(&name, subject, p, NULL) == APR_SUCCESS && request
        && X509_REQ_set_version(request, X509_REQ_VERSION_1)
        && X509_REQ_set_subject_name(request, name) && X509_REQ_set_pubkey(request, key)
        && X509_REQ_sign(request, key, gh_key_digest(key)) > 0) {
        length = i2d_X509_REQ(request, &encoded);
    }
    if (length <= 0) {
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE, NULL,
                                 GHNO(1287) "the request for a credential cannot be made");
    }
    *der = gh_own_bytes(p, encoded, (apr_size_t)length, 0);
    return APR_SUCCESS;
}

static apr_status_t prepare_key(gh_escrow_event_key_record_t *made, const gh_vault_t *vault,
                                const char *id, const char *subject, gh_escrow_purpose_t purpose,
                                EVP_PKEY *key, apr_pool_t *p, gh_result_t *result)
{
    gh_vaulted_t vaulted;
    gh_bytes_t der;
    apr_status_t rv = make_request(&made->request, subject, key, p, result);

    if (rv == APR_SUCCESS) {
        rv = gh_key_encode(&der, key, p, result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_vault_seal(&vaulted, vault, der, gh_provide_identity(id, purpose, p), p, result);
    }
    if (rv == APR_SUCCESS) {
        made->purpose = purpose;
        made->key_id = vaulted.key_id;
        made->wrapped = vaulted.wrapped;
        made->sealed = vaulted.sealed;
    }
    return rv;
}

typedef struct {
    const char *id;
    const char *holder;
    const char *user;               /* NULL: the event is over */
    gh_escrow_event_key_record_t signing;       /* key_id NULL: was not made */
    gh_escrow_event_key_record_t encryption;
    gh_result_t *result;
    apr_pool_t *pool;
} keys_t;

/* Who has made it enrolling sees what the event before it, of the same user, has brought. */
static apr_status_t keys_work(gh_transaction_t *transaction, void *baton)
{
    keys_t *keys = baton;
    gh_escrow_event_record_t *record;
    gh_provide_rule_t rule;
    gh_provide_lack_t lack;
    apr_status_t rv = keys->user ? gh_escrow_take_turn(transaction, keys->user) : APR_SUCCESS;

    if (rv == APR_SUCCESS) {
        rv = gh_job_remove(transaction, keys->id, keys->holder);
    }
    if (rv == APR_SUCCESS) {
        rv = read_wanted(transaction, keys->id, &record, &rule, keys->pool, keys->result);
        if (rv == APR_NOTFOUND) {
            return APR_SUCCESS;
        }
    }
    if (rv == APR_SUCCESS) {
        rv = gh_escrow_event_move(transaction, keys->id, GH_ESCROW_EVENT_KEYS,
                                  GH_ESCROW_EVENT_ENROLLING, NULL, apr_time_now());
    }
    if (rv == APR_SUCCESS) {
        rv = lack_work(transaction, record, &rule, &lack, keys->pool);
    }
    if (rv == APR_SUCCESS && ((lack.signing && !keys->signing.key_id)
                              || (lack.encryption && !keys->encryption.key_id))) {
        rv = GH_EBUSY;
    }
    if (rv == APR_SUCCESS && lack.signing) {
        rv = gh_escrow_event_key_insert(transaction, keys->id, &keys->signing);
    }
    if (rv == APR_SUCCESS && lack.encryption) {
        rv = gh_escrow_event_key_insert(transaction, keys->id, &keys->encryption);
    }
    return rv;
}

apr_status_t gh_provide_keys(gh_store_t *store, const gh_vault_t *vault, const char *id,
                             const char *holder, EVP_PKEY *signing, EVP_PKEY *encryption,
                             apr_pool_t *p, gh_result_t *result)
{
    keys_t keys = { .id = id, .holder = holder, .result = result, .pool = p };
    gh_provide_lack_t lack;
    lacks_t lacks = { .id = id, .lack = &lack, .result = result, .pool = p };
    apr_status_t rv = gh_store_read(store, lacks_work, &lacks, result);

    if (rv == APR_SUCCESS && signing) {
        rv = prepare_key(&keys.signing, vault, id, lacks.rule.subject, GH_ESCROW_SIGNING, signing,
                         p, result);
    }
    if (rv == APR_SUCCESS && encryption) {
        rv = prepare_key(&keys.encryption, vault, id, lacks.rule.subject, GH_ESCROW_ENCRYPTION,
                         encryption, p, result);
    }
    if (rv != APR_SUCCESS && rv != APR_NOTFOUND) {
        return rv;
    }
    keys.user = rv == APR_SUCCESS ? lacks.record->user : NULL;
    rv = gh_store_write(store, keys_work, &keys, result);
    return rv == GH_ECONFLICT ? GH_EBUSY : rv;
}
