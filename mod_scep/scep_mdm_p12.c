/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The web service for device management: keys that the server makes, as PKCS#12. */

#include "mod_scep/scep_mdm.h"

#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_main.h>
#include <http_protocol.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "issuer/mdm_key.h"
#include "log.h"
#include "status.h"

APLOG_USE_MODULE(scep);

/** How long a request waits for its key, and how many of this node do at a time. */
#define KEY_WAIT    apr_time_from_sec(5)
#define KEY_WAITING 16

#define PASSWORD_MIN    8
/** Bytes of one that is made here: 160 bits. */
#define PASSWORD_BYTES  20
/** What a client waits before it asks again. */
#define RETRY_AFTER     "2"

/** What mod_gatehouse offers. */
static struct {
    APR_OPTIONAL_FN_TYPE(gatehouse_await) *await;
    APR_OPTIONAL_FN_TYPE(gatehouse_expand) *expand;
} gatehouse;

void scep_mdm_need_worker(server_rec *main_server, apr_pool_t *pconf)
{
    APR_OPTIONAL_FN_TYPE(gatehouse_add_worker_section) *add
        = APR_RETRIEVE_OPTIONAL_FN(gatehouse_add_worker_section);
    gatehouse_worker_section_t section = {
        .section = GH_MDM_KEY_SECTION, .queue = GH_MDM_KEY_QUEUE, .wait = KEY_WAIT,
        .max_waiting = KEY_WAITING
    };
    const apr_array_header_t *all = scep_digitals(main_server);
    int i, small = 0, large = 0;

    gatehouse.await = APR_RETRIEVE_OPTIONAL_FN(gatehouse_await);
    gatehouse.expand = APR_RETRIEVE_OPTIONAL_FN(gatehouse_expand);
    for (i = 0; all && i < all->nelts; ++i) {
        const scep_digital_t *digital
            = &APR_ARRAY_IDX(all, i, scep_digital_section_t *)->digital;

        if (digital->modes & SCEP_DIGITAL_P12) {
            small |= digital->key_size == 2048;
            large |= digital->key_size == 3072;
        }
    }
    if (add && (small || large)) {
        section.json = apr_psprintf(pconf, "{\"sizes\":[%s%s%s]}", small ? "2048" : "",
                                    small && large ? "," : "", large ? "3072" : "");
        add(&section, pconf);
    }
}

/* Passwords */

static int bad_password(scep_mdm_t *m)
{
    gh_result_t result;

    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, "mdm.password",
                   "Send one of 8 to 256 bytes, or none: then one is made.",
                   GHNO(1025) "the password has fewer than %d bytes", PASSWORD_MIN);
    return scep_web_fail(&m->w, &result);
}

/** Others may use the digital ID, and make keys of their own. */
static int others(scep_mdm_t *m)
{
    gh_result_t result;

    gh_result_fail(&result, APR_EACCES, GH_FAILURE_DENIED, "mdm.requester",
                   "Ask as the account that had the key made, or have another one made.",
                   GHNO(1460) "the key was made for another account");
    return scep_web_fail(&m->w, &result);
}

static apr_status_t overwrite(void *text)
{
    OPENSSL_cleanse(text, strlen(text));
    return APR_SUCCESS;
}

/** @return NULL if the random generator failed */
static const char *make_password(apr_pool_t *p)
{
    unsigned char random[PASSWORD_BYTES];
    const char *text;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NULL;
    }
    text = gh_hex(p, random, sizeof(random));
    OPENSSL_cleanse(random, sizeof(random));
    apr_pool_cleanup_register(p, text, overwrite, apr_pool_cleanup_null);
    return text;
}

/* Answers */

static int send_later(scep_mdm_t *m, const gh_mdm_request_record_t *record, const char *state)
{
    apr_table_setn(m->w.r->headers_out, "Retry-After", RETRY_AFTER);
    return scep_web_json(m->w.r, HTTP_ACCEPTED, json_pack("{s:s, s:s, s:s}", "id", record->id,
                                                          "state", state, "subject",
                                                          record->subject));
}

static int refuse(scep_mdm_t *m, const gh_mdm_request_record_t *record,
                  const gh_enrolment_outcome_t *outcome)
{
    gh_result_t result;

    gh_result_fail(&result, GH_EREFUSED, GH_FAILURE_CONFLICT, "mdm.refused",
                   "Change what is asked for, or ask the operator of the CA.",
                   GHNO(1026) "request %s was refused%s%s", record->id,
                   outcome->message ? ": " : "", outcome->message ? outcome->message : "");
    return scep_web_fail(&m->w, &result);
}

static int gone(scep_mdm_t *m, const gh_mdm_request_record_t *record)
{
    gh_result_t result;

    gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "mdm.gone",
                   "Ask for a new one, and revoke the certificate if nobody has its key.",
                   GHNO(1027) "the key of request %s was handed out, or has waited for too long",
                   record->id);
    return scep_web_fail(&m->w, &result);
}

/* Stages */

typedef struct {
    const char *id;
    gh_mdm_request_record_t *record;
    apr_time_t now;
    apr_status_t status;
    apr_pool_t *pool;
} look_t;

static apr_status_t find_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;

    return gh_mdm_request_find(transaction, look->id, &look->record, look->pool);
}

static apr_status_t erase_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;

    return gh_mdm_request_erase(transaction, look->id, look->now);
}

static apr_status_t release_work(gh_transaction_t *transaction, void *baton)
{
    const look_t *look = baton;

    return gh_mdm_request_release(transaction, look->id);
}

/* Success in any case but that of an error of the store. */
static apr_status_t claim_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;

    look->status = gh_mdm_request_claim(transaction, look->id);
    return look->status == GH_EBUSY || look->status == APR_NOTFOUND ? APR_SUCCESS : look->status;
}

static apr_status_t find(scep_mdm_t *m, const char *id, gh_mdm_request_record_t **record,
                         gh_result_t *result)
{
    look_t look = { .id = id, .pool = m->p };
    apr_status_t rv;

    scep_web_begin_work(&m->w);
    rv = gh_store_read(m->w.service->store, find_work, &look, result);
    scep_web_end_work();
    if (rv == APR_SUCCESS) {
        *record = look.record;
    }
    return rv;
}

/** The issuer is the one of when it was asked for, also if another has taken over since. */
static void fill_services(gh_mdm_key_services_t *services, const scep_mdm_t *m,
                          const gh_mdm_request_record_t *record)
{
    const gatehouse_service_t *service = m->w.service;
    const scep_digital_t *digital = m->w.digital;

    memset(services, 0, sizeof(*services));
    services->store = service->store;
    services->ledger = service->ledger;
    services->sealer = service->sealer;
    services->decoding = service->decoding;
    services->profile = digital->certificate_profile;
    services->issuer = gh_issuer_name(gh_issuer_at(digital->ca, record->created));
    services->location = apr_pstrcat(m->p, SCEP_MDM_ROOT "/", m->tenant, NULL);
    services->client = m->w.r->useragent_ip;
    services->user = m->w.user;
    services->request_id = scep_web_event((scep_web_request_t *)&m->w)->id;
    services->context.expand = gatehouse.expand;
    services->context.expand_baton = m->w.r;
}

static apr_status_t enrol(scep_mdm_t *m, const gh_mdm_request_record_t *record,
                          gh_enrolment_outcome_t *outcome, gh_result_t *result)
{
    gh_audit_event_t *event = scep_web_event(&m->w);
    gh_mdm_key_services_t services;
    apr_status_t rv;

    fill_services(&services, m, record);
    event->event = "enrol";
    scep_web_begin_work(&m->w);
    rv = gh_mdm_key_enrol(&services, record, event, outcome, m->p, result);
    if (rv == APR_SUCCESS && event->result) {
        scep_web_audit(&m->w, event);
    }
    scep_web_end_work();
    return rv;
}

/** Of several requests at once one is given the key. @return GH_EBUSY, APR_NOTFOUND, errors of
 *  gh_store_write() */
static apr_status_t claim(scep_mdm_t *m, const gh_mdm_request_record_t *record, gh_result_t *result)
{
    look_t look = { .id = record->id };
    apr_status_t rv;

    scep_web_begin_work(&m->w);
    rv = gh_store_write(m->w.service->store, claim_work, &look, result);
    scep_web_end_work();
    return rv == APR_SUCCESS ? look.status : rv;
}

/** It has not arrived; if this fails, too, it may be asked for again half a minute later. */
static void release(scep_mdm_t *m, const gh_mdm_request_record_t *record)
{
    look_t look = { .id = record->id };

    scep_web_begin_work(&m->w);
    gh_store_write(m->w.service->store, release_work, &look, NULL);
    scep_web_end_work();
}

/** The key goes once the client has it: whoever has got nothing may ask again. */
static void erase(scep_mdm_t *m, const gh_mdm_request_record_t *record)
{
    look_t look = { .id = record->id, .now = apr_time_now() };
    request_rec *r = m->w.r;
    gh_result_t result;
    apr_status_t rv;

    if (ap_rflush(r) < 0 || r->connection->aborted) {
        release(m, record);
        return;
    }
    gh_result_clear(&result);
    scep_web_begin_work(&m->w);
    rv = gh_store_write(m->w.service->store, erase_work, &look, &result);
    scep_web_end_work();
    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, rv, r, GHNO(1461) "the key of request %s, which "
                      "was handed out, stays in the store until it ends at %s: %s", record->id,
                      gh_time_text(m->p, record->expires), result.message);
    }
}

static int hand_out(scep_mdm_t *m, const gh_mdm_request_record_t *record,
                    const gh_enrolment_outcome_t *outcome, const char *password)
{
    const char *given = password ? NULL : make_password(m->p);
    gh_issuer_t *issuer;
    gh_result_t result;
    gh_bytes_t pkcs12;
    char *text;
    apr_status_t rv;
    int answered;

    gh_result_clear(&result);
    rv = claim(m, record, &result);
    if (rv != APR_SUCCESS) {
        return rv == GH_EBUSY ? send_later(m, record, "pending")
            : rv == APR_NOTFOUND ? gone(m, record) : scep_mdm_fail(m, rv, &result);
    }
    issuer = apr_hash_get(m->w.service->issuers,
                          gh_issuer_name(gh_issuer_at(m->w.digital->ca, record->created)),
                          APR_HASH_KEY_STRING);
    scep_web_begin_work(&m->w);
    rv = APR_EGENERAL;
    if (issuer && (password || given)) {
        rv = gh_mdm_key_pkcs12(&pkcs12, record, m->w.service->sealer, issuer,
                               outcome->certificate, password ? password : given, m->p, &result);
    }
    scep_web_end_work();
    if (rv != APR_SUCCESS) {
        release(m, record);
        return scep_mdm_fail(m, rv, &result);
    }
    text = apr_palloc(m->p, (apr_size_t)apr_base64_encode_len((int)pkcs12.length));
    apr_base64_encode_binary(text, pkcs12.data, (int)pkcs12.length);
    answered = scep_web_json(m->w.r, HTTP_OK,
                             json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*}", "id", record->id,
                                       "state", "issued", "subject", record->subject, "serial",
                                       gh_hex(m->p, outcome->serial.data, outcome->serial.length),
                                       "pkcs12", text, "password", given));
    OPENSSL_cleanse(text, strlen(text));
    erase(m, record);
    return answered;
}

/** From wherever a request stands to its end, or as far as it comes in the time that there is. */
static int proceed(scep_mdm_t *m, gh_mdm_request_record_t *record, const char *password)
{
    gh_enrolment_outcome_t outcome;
    gh_result_t result;
    apr_status_t rv;

    gh_result_clear(&result);
    if (!record->request.length && gatehouse.await) {
        gatehouse.await(m->w.r, GH_MDM_KEY_QUEUE, record->id);
        rv = find(m, record->id, &record, &result);
        if (rv != APR_SUCCESS) {
            return scep_mdm_fail(m, rv, &result);
        }
    }
    if (record->expires <= apr_time_now()
        || (record->request.length && !record->sealed.length)) {
        return gone(m, record);
    }
    if (!record->request.length) {
        return send_later(m, record, "waiting");
    }
    rv = enrol(m, record, &outcome, &result);
    if (rv == APR_SUCCESS && outcome.state == GH_ENROLMENT_SUBMITTED && gatehouse.await) {
        gatehouse.await(m->w.r, gh_issuer_name(gh_issuer_at(m->w.digital->ca, record->created)),
                        outcome.id);
        rv = enrol(m, record, &outcome, &result);
    }
    if (rv != APR_SUCCESS) {
        return scep_mdm_fail(m, rv, &result);
    }
    switch (outcome.state) {
    case GH_ENROLMENT_ISSUED:
        return hand_out(m, record, &outcome, password);
    case GH_ENROLMENT_DENIED:
    case GH_ENROLMENT_REJECTED:
        return refuse(m, record, &outcome);
    default:
        return send_later(m, record, "pending");
    }
}

/** Asks for a key for the names of a record. */
static int want(scep_mdm_t *m, gh_mdm_request_record_t *record, const scep_mdm_wish_t *wish)
{
    const scep_digital_t *digital = m->w.digital;
    gh_audit_event_t *event = scep_web_event(&m->w);
    gh_result_t result;
    apr_status_t rv;
    int added;

    if (wish->password && strlen(wish->password) < PASSWORD_MIN) {
        return bad_password(m);
    }
    gh_result_clear(&result);
    record->mode = "p12";
    record->tenant = digital->tenant;
    record->digital_id = digital->name;
    record->requester = m->w.user;
    record->transaction = wish->transaction;
    record->expires = apr_time_now()
        + (digital->lifetime < GH_LEDGER_REPEAT ? digital->lifetime : GH_LEDGER_REPEAT);
    record->key_size = digital->key_size;
    scep_web_begin_work(&m->w);
    rv = gh_mdm_key_want(m->w.service->store, &record, event, &added, m->p, &result);
    if (rv == APR_SUCCESS && added) {
        scep_web_audit(&m->w, event);
    }
    scep_web_end_work();
    return rv == APR_SUCCESS ? proceed(m, record, wish->password) : scep_mdm_fail(m, rv, &result);
}

int scep_mdm_p12(scep_mdm_t *m)
{
    gh_mdm_request_record_t *record = apr_pcalloc(m->p, sizeof(*record));
    apr_array_header_t *sans;
    scep_mdm_wish_t wish;
    gh_result_t result;
    apr_status_t rv;
    int answered = scep_mdm_read(m, SCEP_MDM_DIGITAL_ID | SCEP_MDM_VARIABLES | SCEP_MDM_DEVICE
                                 | SCEP_MDM_TRANSACTION | SCEP_MDM_PASSWORD, &wish);

    if (answered == OK) {
        answered = scep_mdm_choose(m, wish.digital_id, SCEP_DIGITAL_P12);
    }
    if (answered != OK) {
        return answered;
    }
    gh_result_clear(&result);
    record->device = wish.device;
    rv = scep_digital_make(&record->subject, &sans, &record->sans, m->w.digital, wish.values, m->p,
                           &result);
    return rv == APR_SUCCESS ? want(m, record, &wish) : scep_mdm_fail(m, rv, &result);
}

int scep_mdm_renew_p12(scep_mdm_t *m, const gh_mdm_request_record_t *before)
{
    gh_mdm_request_record_t *record = apr_pcalloc(m->p, sizeof(*record));
    scep_mdm_wish_t wish;
    int answered = scep_mdm_read(m, SCEP_MDM_TRANSACTION | SCEP_MDM_PASSWORD, &wish);

    if (answered == OK) {
        answered = scep_mdm_choose(m, before->digital_id, SCEP_DIGITAL_P12);
    }
    if (answered != OK) {
        return answered;
    }
    record->subject = before->subject;
    record->sans = before->sans;
    record->device = before->device;
    return want(m, record, &wish);
}

int scep_mdm_fetch_p12(scep_mdm_t *m, gh_mdm_request_record_t *record)
{
    scep_mdm_wish_t wish;
    int answered = scep_mdm_read(m, SCEP_MDM_PASSWORD, &wish);

    if (answered == OK) {
        answered = scep_mdm_choose(m, record->digital_id, SCEP_DIGITAL_P12);
    }
    if (answered != OK) {
        return answered;
    }
    if (!record->requester || strcmp(record->requester, m->w.user)) {
        return others(m);
    }
    if (wish.password && strlen(wish.password) < PASSWORD_MIN) {
        return bad_password(m);
    }
    return proceed(m, record, wish.password);
}
