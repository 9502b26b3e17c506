/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "issuer/renewal.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "issuer/issued.h"
#include "issuer/remote.h"
#include "status.h"
#include "store/certificates.h"
#include "store/housekeeping.h"
#include "store/renewals.h"
#include "x509/san.h"

/** How many certificates are revoked in one go. */
#define REVOKE_LIMIT 64

#define REFUSE(result, failure, rule, action, ...) \
    gh_result_fail(result, GH_EREFUSED, failure, rule, action, __VA_ARGS__)

static apr_status_t not_issued_here(gh_result_t *result)
{
    return REFUSE(result, GH_FAILURE_DENIED, "renewal.unknown",
                  "Sign the request with the certificate that is to be renewed, or enrol anew.",
                  GHNO(0428) "the certificate that signed the message was not issued here");
}

static apr_status_t find_old(gh_issued_t *old, const gh_enrolment_request_t *request,
                             const gh_renewal_policy_t *policy, apr_time_t now,
                             gh_store_t *store, apr_pool_t *p, gh_result_t *result)
{
    int i, others = policy->issuers ? policy->issuers->nelts : 0;
    apr_status_t rv;

    rv = gh_issued_find(old, request->signer, request->issuer, request->tenant, now, store, p,
                        result);
    for (i = 0; rv == APR_NOTFOUND && i < others; ++i) {
        rv = gh_issued_find(old, request->signer, APR_ARRAY_IDX(policy->issuers, i, const char *),
                            request->tenant, now, store, p, result);
    }
    return rv == APR_NOTFOUND ? not_issued_here(result) : rv;
}

/* Rules for the old certificate alone */

static int lists(const apr_array_header_t *names, const char *name)
{
    int i;

    for (i = 0; names && i < names->nelts; ++i) {
        if (!strcmp(APR_ARRAY_IDX(names, i, const char *), name)) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t check_dates(const gh_certificate_record_t *record,
                                const gh_renewal_policy_t *policy, apr_time_t now, apr_pool_t *p,
                                gh_result_t *result)
{
    if (now < record->not_before || now > record->not_after + policy->grace) {
        return REFUSE(result, GH_FAILURE_TIME, "renewal.expired",
                      "Enrol the device anew, with a challenge.",
                      GHNO(0431) "the certificate that signed the message is valid from %s to %s",
                      gh_time_text(p, record->not_before), gh_time_text(p, record->not_after));
    }
    if (policy->window && now < record->not_after - policy->window) {
        return REFUSE(result, GH_FAILURE_TIME, "renewal.early", "Renew later.",
                      GHNO(0432) "the certificate can be renewed from %s on",
                      gh_time_text(p, record->not_after - policy->window));
    }
    return APR_SUCCESS;
}

int gh_renewal_may_replace(const gh_renewal_record_t *renewal)
{
    return renewal->state == GH_ENROLMENT_ISSUED && renewal->status == GH_STATUS_GOOD;
}

static apr_status_t check_successor(const gh_issued_t *old, const gh_renewal_policy_t *policy,
                                    apr_pool_t *p, gh_result_t *result)
{
    const gh_renewal_record_t *renewal = old->renewal;

    if (!renewal || !renewal->live || (policy->replace && gh_renewal_may_replace(renewal))) {
        return APR_SUCCESS;
    }
    return REFUSE(result, GH_FAILURE_CONFLICT, "renewal.successor",
                  "Use the successor; an administrator who revokes it lets the old one renew "
                  "again, and SCEPRenewal again=replace does without.",
                  GHNO(0435) "the certificate was renewed already, by %s (enrolment %s)",
                  renewal->successor.length
                      ? gh_hex(p, renewal->successor.data, renewal->successor.length)
                      : "one that is not issued yet",
                  renewal->enrolment);
}

static apr_status_t check_old(const gh_issued_t *old, const gh_enrolment_request_t *request,
                              const gh_renewal_policy_t *policy, apr_time_t now, apr_pool_t *p,
                              gh_result_t *result)
{
    const gh_certificate_record_t *record = old->certificate;
    const char *profile = gh_profile_name(request->profile);
    gh_bytes_t key = gh_csr_key_sha256(request->csr);
    apr_status_t rv;

    if (X509_check_ca(request->signer) != 0) {
        return REFUSE(result, GH_FAILURE_DENIED, "renewal.ca", NULL,
                      GHNO(0429) "a CA certificate cannot vouch for a request");
    }
    if (record->status != GH_STATUS_GOOD) {
        return REFUSE(result, GH_FAILURE_DENIED, "renewal.revoked",
                      "Enrol the device anew, with a challenge.",
                      GHNO(0430) "the certificate that signed the message is %s",
                      record->status == GH_STATUS_HELD ? "held" : "revoked");
    }
    rv = check_dates(record, policy, now, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (strcmp(record->profile, profile) && !lists(policy->profiles, record->profile)) {
        return REFUSE(result, GH_FAILURE_DENIED, "renewal.profile",
                      "Renew at the endpoint of the certificate's own profile.",
                      GHNO(0433) "the certificate has profile %s, which is not renewed as %s",
                      record->profile, profile);
    }
    if (!policy->same_key && record->key_sha256.length == key.length
        && !memcmp(record->key_sha256.data, key.data, key.length)) {
        return REFUSE(result, GH_FAILURE_REQUEST, "renewal.key", "Make a new key.",
                      GHNO(0434) "the request has the key of the old certificate");
    }
    return check_successor(old, policy, p, result);
}

apr_status_t gh_renewal_check(gh_renewed_t *renewed, const gh_enrolment_request_t *request,
                              const gh_renewal_policy_t *policy, gh_store_t *store, apr_pool_t *p,
                              gh_result_t *result)
{
    apr_time_t now = apr_time_now();
    gh_issued_t old;
    apr_status_t rv;

    memset(renewed, 0, sizeof(*renewed));
    rv = find_old(&old, request, policy, now, store, p, result);
    if (rv == APR_SUCCESS) {
        rv = check_old(&old, request, policy, now, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    renewed->issuer = old.certificate->issuer;
    renewed->serial = old.certificate->serial;
    renewed->subject = old.certificate->subject;
    renewed->sans = old.certificate->sans;
    renewed->certificate = request->signer;
    return APR_SUCCESS;
}

/* Names */

/** Whether each name of a list is in another. */
static int includes(const GENERAL_NAMES *names, const GENERAL_NAMES *others)
{
    int i, j;

    for (i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        for (j = 0; j < sk_GENERAL_NAME_num(others); ++j) {
            if (GENERAL_NAME_cmp(name, sk_GENERAL_NAME_value(others, j)) == 0) {
                break;
            }
        }
        if (j >= sk_GENERAL_NAME_num(others)) {
            return 0;
        }
    }
    return 1;
}

/** Alternative names, in any order, by all of what they say: as texts some are cut, and of other
 *  names there is the type only. */
static int same_names(const X509 *old, const gh_plan_t *plan)
{
    int critical;
    GENERAL_NAMES *before = X509_get_ext_d2i(old, NID_subject_alt_name, &critical, NULL);
    /* -1: there is none; -2: several */
    int same = before || critical == -1;
    GENERAL_NAMES *after = X509V3_get_d2i(gh_plan_extensions(plan), NID_subject_alt_name,
                                          &critical, NULL);

    same = same && (after || critical == -1)
        && (before ? sk_GENERAL_NAME_num(before) : 0) == (after ? sk_GENERAL_NAME_num(after) : 0)
        && (!before || (includes(before, after) && includes(after, before)));
    GENERAL_NAMES_free(before);
    GENERAL_NAMES_free(after);
    ERR_clear_error();
    return same;
}

/** The security identifier that Windows reads, or NULL. */
static const ASN1_OCTET_STRING *security_identifier(const STACK_OF(X509_EXTENSION) *extensions)
{
    ASN1_OBJECT *object = OBJ_txt2obj(GH_OID_SID, 1);
    int at = object ? X509v3_get_ext_by_OBJ(extensions, object, -1) : -1;

    ASN1_OBJECT_free(object);
    return at < 0 ? NULL : X509_EXTENSION_get_data(X509v3_get_ext(extensions, at));
}

/** It is a name as well; one that is left out gives nothing to anybody. */
static int same_identifier(const X509 *old, const gh_plan_t *plan)
{
    const ASN1_OCTET_STRING *before = security_identifier(X509_get0_extensions(old));
    const ASN1_OCTET_STRING *after = security_identifier(gh_plan_extensions(plan));

    return !after || (before && ASN1_OCTET_STRING_cmp(before, after) == 0);
}

apr_status_t gh_renewal_compare(const gh_renewed_t *renewed, const gh_plan_t *plan, apr_pool_t *p,
                                gh_result_t *result)
{
    if (X509_NAME_cmp(X509_get_subject_name(renewed->certificate), gh_plan_subject(plan)) != 0) {
        return REFUSE(result, GH_FAILURE_REQUEST, "renewal.subject",
                      "Ask for the subject of the old certificate, or enrol anew.",
                      GHNO(0436) "the new certificate would be for %.100s, the old one is for "
                      "%.100s", gh_plan_subject_text(plan), renewed->subject);
    }
    if (!same_names(renewed->certificate, plan)) {
        return REFUSE(result, GH_FAILURE_REQUEST, "renewal.san",
                      "Ask for the alternative names of the old certificate, all of them and no "
                      "more.",
                      GHNO(0437) "the new certificate would have the alternative names %.150s, "
                      "the old one has %.150s", gh_plan_sans(plan), renewed->sans);
    }
    if (!same_identifier(renewed->certificate, plan)) {
        return REFUSE(result, GH_FAILURE_REQUEST, "renewal.sid",
                      "Ask for the security identifier of the old certificate, or enrol anew.",
                      GHNO(0550) "the new certificate would have a security identifier that the "
                      "old one has not");
    }
    return APR_SUCCESS;
}

/* Old certificates whose time has come */

typedef struct {
    apr_time_t now;
    const char *node;
    apr_array_header_t *due;        /* gh_renewal_record_t * */
    apr_array_header_t *events;
    apr_pool_t *pool;
} revoke_t;

static apr_status_t due_work(gh_transaction_t *transaction, void *baton)
{
    revoke_t *revoke = baton;

    return gh_renewal_due(transaction, revoke->now, REVOKE_LIMIT, &revoke->due, revoke->pool);
}

static apr_status_t note_revoked(gh_transaction_t *transaction, revoke_t *revoke,
                                 const gh_renewal_record_t *renewal)
{
    gh_audit_event_t *event = apr_pcalloc(revoke->pool, sizeof(*event));

    event->time = revoke->now;
    event->id = gh_random_id(revoke->pool);
    event->node = revoke->node;
    event->event = "revoke";
    event->protocol = "internal";
    event->issuer = renewal->issuer;
    event->serial = gh_hex(revoke->pool, renewal->serial.data, renewal->serial.length);
    event->rule = "renewal.superseded";
    event->result = "done";
    event->message = apr_pstrcat(revoke->pool, "superseded by ",
                                 gh_hex(revoke->pool, renewal->successor.data,
                                        renewal->successor.length), NULL);
    APR_ARRAY_PUSH(revoke->events, gh_audit_event_t *) = event;
    return gh_audit_insert(transaction, event, gh_audit_line(event, revoke->pool), 1);
}

/** Only what a valid successor has replaced is revoked: a device is not to be left without. */
static apr_status_t revoke_one(gh_transaction_t *transaction, revoke_t *revoke,
                               const gh_renewal_record_t *renewal)
{
    int changed = 0;
    apr_status_t rv;

    if (renewal->live && renewal->state != GH_ENROLMENT_ISSUED) {
        return APR_SUCCESS;
    }
    if (renewal->live) {
        rv = gh_remote_set_status(transaction, renewal->issuer, renewal->serial,
                                  GH_STATUS_REVOKED, GH_REASON_SUPERSEDED, 0, revoke->now,
                                  &changed, revoke->pool);
        /* revoked or expired meanwhile, or gone */
        if (rv != APR_SUCCESS && rv != GH_EREFUSED && rv != APR_NOTFOUND) {
            return rv;
        }
        if (changed && (rv = note_revoked(transaction, revoke, renewal)) != APR_SUCCESS) {
            return rv;
        }
    }
    return gh_renewal_settle(transaction, renewal->issuer, renewal->serial);
}

static apr_status_t revoke_work(gh_transaction_t *transaction, void *baton)
{
    revoke_t *revoke = baton;
    apr_status_t rv = due_work(transaction, revoke);
    int i;

    apr_array_clear(revoke->events);
    for (i = 0; rv == APR_SUCCESS && i < revoke->due->nelts; ++i) {
        rv = revoke_one(transaction, revoke,
                        APR_ARRAY_IDX(revoke->due, i, gh_renewal_record_t *));
    }
    return rv;
}

apr_status_t gh_renewal_revoke_due(gh_store_t *store, const char *node,
                                   apr_array_header_t **events, apr_pool_t *p,
                                   gh_result_t *result)
{
    revoke_t revoke = { .now = apr_time_now(), .node = node, .pool = p };
    apr_status_t rv;

    *events = apr_array_make(p, 4, sizeof(gh_audit_event_t *));
    revoke.events = *events;
    rv = gh_store_read(store, due_work, &revoke, result);
    if (rv != APR_SUCCESS || revoke.due->nelts == 0) {
        return rv;
    }
    return gh_store_write(store, revoke_work, &revoke, result);
}
