/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The web service for device management: what has become of what was asked for, and the end of
 * certificates. */

#include "mod_scep/scep_mdm.h"

#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>
#include <http_log.h>
#include <http_main.h>

#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "store/enrolments.h"
#include "x509/ca.h"

APLOG_USE_MODULE(scep);

#define LIST_MAX 100

/** A request, and what came of it. */
typedef struct {
    gh_mdm_request_record_t *record;
    gh_enrolment_record_t *enrolment;       /* NULL: nobody has enrolled yet */
    gh_certificate_record_t *certificate;   /* NULL: there is none */
} outcome_t;

typedef struct {
    const scep_mdm_t *m;
    const char *device;             /* of a list */
    const char *subject;
    apr_array_header_t *found;      /* outcome_t */
} look_t;

static apr_status_t follow(gh_transaction_t *transaction, outcome_t *outcome, apr_pool_t *p)
{
    apr_array_header_t *found;
    apr_status_t rv;

    outcome->enrolment = NULL;
    outcome->certificate = NULL;
    if (!outcome->record->enrolment) {
        return APR_SUCCESS;
    }
    rv = gh_enrolment_find(transaction, outcome->record->enrolment, &outcome->enrolment, p);
    if (rv != APR_SUCCESS || !outcome->enrolment->serial.length) {
        return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
    }
    rv = gh_certificate_find(transaction, outcome->enrolment->issuer, outcome->enrolment->serial,
                             &found, p);
    if (rv == APR_SUCCESS && found->nelts) {
        outcome->certificate = APR_ARRAY_IDX(found, 0, gh_certificate_record_t *);
    }
    return rv;
}

static int permitted(const scep_mdm_t *m, const gh_mdm_request_record_t *record)
{
    const scep_digital_t *digital = scep_digital_find(ap_server_conf, m->tenant,
                                                      record->digital_id);

    return !strcmp(record->tenant, m->tenant) && digital && scep_mdm_permits(m, digital);
}

static apr_status_t find_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    outcome_t outcome;
    apr_status_t rv = gh_mdm_request_find(transaction, look->m->id, &outcome.record, look->m->p);

    apr_array_clear(look->found);
    if (rv == APR_SUCCESS) {
        rv = permitted(look->m, outcome.record) ? follow(transaction, &outcome, look->m->p)
                                                : APR_NOTFOUND;
    }
    if (rv == APR_SUCCESS) {
        APR_ARRAY_PUSH(look->found, outcome_t) = outcome;
    }
    return rv;
}

static apr_status_t list_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    apr_array_header_t *records;
    apr_status_t rv = gh_mdm_request_list(transaction, look->m->tenant, look->device,
                                          look->subject, LIST_MAX, &records, look->m->p);
    int i;

    apr_array_clear(look->found);
    for (i = 0; rv == APR_SUCCESS && i < records->nelts; ++i) {
        outcome_t outcome = { APR_ARRAY_IDX(records, i, gh_mdm_request_record_t *), NULL, NULL };

        if (permitted(look->m, outcome.record)) {
            rv = follow(transaction, &outcome, look->m->p);
            APR_ARRAY_PUSH(look->found, outcome_t) = outcome;
        }
    }
    return rv;
}

static apr_status_t look_up(scep_mdm_t *m, look_t *look, gh_store_work_fn *work,
                            gh_result_t *result)
{
    apr_status_t rv;

    gh_result_clear(result);
    look->m = m;
    look->found = apr_array_make(m->p, 1, sizeof(outcome_t));
    scep_web_begin_work(&m->w);
    rv = gh_store_read(m->w.service->store, work, look, result);
    scep_web_end_work();
    return rv;
}

/* What is told */

static const char *state_of(const outcome_t *outcome)
{
    if (outcome->enrolment) {
        switch (outcome->enrolment->state) {
        case GH_ENROLMENT_ISSUED:
            return "issued";
        case GH_ENROLMENT_DENIED:
        case GH_ENROLMENT_REJECTED:
            return "refused";
        default:
            return "pending";
        }
    }
    return outcome->record->expires <= apr_time_now() ? "expired" : "waiting";
}

static const char *status_of(const gh_certificate_record_t *certificate)
{
    return certificate->status == GH_STATUS_REVOKED ? "revoked"
           : certificate->status == GH_STATUS_HELD ? "held"
           : certificate->not_after <= apr_time_now() ? "expired" : "good";
}

static json_t *describe(const scep_mdm_t *m, const outcome_t *outcome)
{
    const gh_mdm_request_record_t *record = outcome->record;
    const gh_certificate_record_t *certificate = outcome->certificate;
    const char *reason;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s*, s:s, s:o, s:s, s:s, s:s}", "id", record->id, "mode",
        record->mode, "digitalId", record->digital_id, "state", state_of(outcome), "device",
        record->device, "subject", record->subject, "subjectAltNames",
        scep_mdm_sans(record->sans), "created", gh_time_text(m->p, record->created), "expires",
        gh_time_text(m->p, record->expires), "requester", record->requester);

    if (object && outcome->enrolment) {
        json_object_set_new(object, "enrolment", json_string(outcome->enrolment->id));
        if (outcome->enrolment->message) {
            json_object_set_new(object, "message", json_string(outcome->enrolment->message));
        }
    }
    if (object && certificate) {
        json_object_update_new(object, json_pack(
            "{s:s, s:s, s:s, s:s, s:s}", "issuer", certificate->issuer, "serial",
            gh_hex(m->p, certificate->serial.data, certificate->serial.length), "status",
            status_of(certificate), "notBefore", gh_time_text(m->p, certificate->not_before),
            "notAfter", gh_time_text(m->p, certificate->not_after)));
        reason = certificate->status == GH_STATUS_REVOKED ? gh_reason_name(certificate->reason)
                                                          : NULL;
        if (reason) {
            json_object_set_new(object, "reason", json_string(reason));
        }
    }
    return object;
}

static json_t *base64(const scep_mdm_t *m, gh_bytes_t der)
{
    char *text = apr_palloc(m->p, (apr_size_t)apr_base64_encode_len((int)der.length));

    apr_base64_encode_binary(text, der.data, (int)der.length);
    return json_string(text);
}

static int no_certificate(scep_mdm_t *m)
{
    gh_result_t result;

    gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "mdm.certificate",
                   "Look at its state, and ask again later if that is \"waiting\" or \"pending\".",
                   GHNO(1015) "there is no certificate for request %.64s", m->id);
    return scep_web_fail(&m->w, &result);
}

/** With the issuer's certificate and what is above it. */
static int send_certificate(scep_mdm_t *m, const outcome_t *outcome)
{
    gh_issuer_t *issuer;
    json_t *chain = json_array();
    gh_bytes_t der;

    if (!outcome->certificate) {
        json_decref(chain);
        return no_certificate(m);
    }
    issuer = apr_hash_get(m->w.service->issuers, outcome->certificate->issuer,
                          APR_HASH_KEY_STRING);
    if (issuer) {
        const apr_array_header_t *above = gh_issuer_chain(issuer);
        int i;

        json_array_append_new(chain, base64(m, gh_issuer_certificate_der(issuer)));
        for (i = 0; i < above->nelts; ++i) {
            der = gh_certificate_der(APR_ARRAY_IDX(above, i, X509 *), m->p);
            json_array_append_new(chain, base64(m, der));
        }
    }
    return scep_web_json(m->w.r, HTTP_OK,
                         json_pack("{s:o, s:o}", "certificate",
                                   base64(m, outcome->certificate->der), "chain", chain));
}

/* Revocation */

static int bad_reason(scep_mdm_t *m, const char *reason)
{
    gh_result_t result;

    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, "mdm.reason",
                   "Use unspecified, keyCompromise, affiliationChanged, superseded, "
                   "cessationOfOperation or privilegeWithdrawn.",
                   GHNO(1016) "\"%.64s\" is no reason for a revocation", reason);
    return scep_web_fail(&m->w, &result);
}

static int revoke_certificate(scep_mdm_t *m, const outcome_t *outcome)
{
    gh_audit_event_t *event;
    scep_mdm_wish_t wish;
    gh_result_t result;
    int reason = GH_REASON_NONE;
    int answered = scep_mdm_read(m, SCEP_MDM_REASON, &wish);
    apr_status_t rv;

    if (answered != OK) {
        return answered;
    }
    if (!outcome->certificate) {
        return no_certificate(m);
    }
    if (wish.reason) {
        reason = gh_reason_parse(wish.reason);
        if (reason < 0) {
            return bad_reason(m, wish.reason);
        }
    }
    gh_result_clear(&result);
    event = scep_web_event(&m->w);
    event->tenant = m->tenant;
    event->transaction = outcome->record->id;
    event->rule = "mdm";
    scep_web_begin_work(&m->w);
    rv = gh_revocation_set(m->w.service->store, outcome->certificate->issuer,
                           outcome->certificate->serial, GH_STATUS_REVOKED, reason, 0, event, 1,
                           m->p, &result);
    if (rv == APR_SUCCESS) {
        scep_web_audit(&m->w, event);
    }
    scep_web_end_work();
    if (rv != APR_SUCCESS) {
        return scep_mdm_fail(m, rv, &result);
    }
    return scep_web_json(m->w.r, HTTP_OK, json_pack("{s:s, s:s}", "id", outcome->record->id,
                                                    "status", "revoked"));
}

/* One request, and lists */

static int no_request(scep_mdm_t *m)
{
    gh_result_t result;

    gh_result_fail(&result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "mdm.request",
                   "Use the id that was answered when it was made.",
                   GHNO(1017) "there is no request %.64s of this tenant for this user", m->id);
    return scep_web_fail(&m->w, &result);
}

int scep_mdm_request(scep_mdm_t *m)
{
    look_t look;
    gh_result_t result;
    const outcome_t *outcome;
    apr_status_t rv;

    memset(&look, 0, sizeof(look));
    rv = look_up(m, &look, find_work, &result);
    if (rv == APR_NOTFOUND) {
        return no_request(m);
    }
    if (rv != APR_SUCCESS) {
        return scep_mdm_fail(m, rv, &result);
    }
    outcome = &APR_ARRAY_IDX(look.found, 0, outcome_t);
    m->w.digital = scep_digital_find(ap_server_conf, m->tenant, outcome->record->digital_id);
    if (!m->verb) {
        return scep_web_json(m->w.r, HTTP_OK, describe(m, outcome));
    }
    if (!strcmp(m->verb, "certificate")) {
        return send_certificate(m, outcome);
    }
    if (!strcmp(m->verb, "revoke")) {
        return revoke_certificate(m, outcome);
    }
    if (!strcmp(m->verb, "p12") && !strcmp(outcome->record->mode, "p12")) {
        m->w.event = "enrol";
        return scep_mdm_fetch_p12(m, outcome->record);
    }
    if (!strcmp(m->verb, "renew")) {
        m->w.event = "challenge";
        return strcmp(outcome->record->mode, "p12") ? scep_mdm_renew(m, outcome->record)
                                                    : scep_mdm_renew_p12(m, outcome->record);
    }
    return no_request(m);
}

/** @return the value of a parameter, decoded; NULL if there is none */
static const char *parameter(const scep_mdm_t *m, const char *name)
{
    apr_size_t length = strlen(name);
    const char *args = m->w.r->args;
    char *value;

    while (args && *args) {
        apr_size_t size = strcspn(args, "&");

        if (size > length && !strncmp(args, name, length) && args[length] == '=') {
            value = apr_pstrmemdup(m->p, args + length + 1, size - length - 1);
            return ap_unescape_urlencoded(value) == OK && *value ? value : NULL;
        }
        args += size;
        args += *args ? 1 : 0;
    }
    return NULL;
}

int scep_mdm_certificates(scep_mdm_t *m)
{
    look_t look;
    gh_result_t result;
    json_t *array;
    apr_status_t rv;
    int i;

    memset(&look, 0, sizeof(look));
    look.device = parameter(m, "device");
    look.subject = look.device ? NULL : parameter(m, "subject");
    if (!look.device && !look.subject) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, "mdm.list",
                       "Say device=, as it was said when the certificate was asked for, or "
                       "subject=.",
                       GHNO(1018) "it is not said whose certificates are to be listed");
        return scep_web_fail(&m->w, &result);
    }
    rv = look_up(m, &look, list_work, &result);
    if (rv != APR_SUCCESS) {
        return scep_mdm_fail(m, rv, &result);
    }
    array = json_array();
    for (i = 0; i < look.found->nelts; ++i) {
        json_array_append_new(array, describe(m, &APR_ARRAY_IDX(look.found, i, outcome_t)));
    }
    return scep_web_json(m->w.r, HTTP_OK, json_pack("{s:o}", "requests", array));
}
