/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_identity.h"

#include <string.h>
#include <strings.h>

#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "store/enrolments.h"
#include "store/mdm_requests.h"
#include "store/renewals.h"

#define RULE "escrow.recipient"

/** Certificates that one may have renewed, one after another. */
#define RENEWALS_MAX 200

/* By what an enrolment was authorised (gh_enrolment_record_t.rule). Whoever sends skeletons may be
 * the management system that has made a challenge, or has put it into a profile, so that only these
 * count unless more is trusted. */
static const char *const safe_rules[] = { "challenge.device" };

/* Anybody can have asked with these, or nobody but us has the key. */
static const char *const never_rules[] = { "challenge.none", "mdm.p12", "own" };

static int is_one(const char *rule, const char *const *rules, apr_size_t count)
{
    apr_size_t i;

    for (i = 0; rule && i < count; ++i) {
        if (strcmp(rule, rules[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

#define IS_ONE(rule, rules) is_one(rule, rules, sizeof(rules) / sizeof(rules[0]))

void escrow_identity_begin(escrow_identity_t *identity, const escrow_trust_t *trust,
                           const escrow_recipient_t *recipient, const char *device,
                           apr_time_t now, apr_pool_t *p)
{
    memset(identity, 0, sizeof(*identity));
    identity->trust = trust;
    identity->recipient = recipient;
    identity->device = device;
    identity->now = now;
    gh_result_clear(&identity->untrusted);
    gh_result_clear(&identity->why);
    identity->trusted = trust->cas
        && escrow_recipient_check(recipient, trust->cas, device, NULL, now, p,
                                  &identity->untrusted) == APR_SUCCESS;
}

/* Refusals */

static apr_status_t refuse_status(escrow_identity_t *identity,
                                  const gh_certificate_record_t *record)
{
    return gh_result_fail(&identity->why, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                          "Send the certificate that the device has now.",
                          GHNO(1447) "recipient_certificate: it %s",
                          record->status == GH_STATUS_REVOKED ? "is revoked"
                          : record->status == GH_STATUS_HELD ? "is suspended" : "has expired");
}

static apr_status_t refuse_made(escrow_identity_t *identity)
{
    return gh_result_fail(&identity->why, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                          "Let the device make a key of its own, and send its certificate.",
                          GHNO(1448) "recipient_certificate: its key was made for a management "
                          "system, and is not that of device %.64s alone", identity->device);
}

static apr_status_t refuse_unknown(escrow_identity_t *identity,
                                   const gh_certificate_record_t *record, const char *rule)
{
    if (!record && identity->untrusted.number[0]) {
        identity->why = identity->untrusted;
        return GH_EREFUSED;
    }
    gh_result_fail(&identity->why, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                   "Name the CA of the devices with EscrowDeviceCA, or with issuer=NAME an "
                   "<Issuer> of this server; see there which certificates count.",
                   GHNO(1221) "recipient_certificate: nothing shows that it is that of device "
                   "%.64s", identity->device);
    if (record) {
        gh_result_cause(&identity->why, "issued by %s for profile %s, authorised by %s",
                        record->issuer, record->profile, rule ? rule : "nothing known");
    }
    return GH_EREFUSED;
}

/* What the store knows */

/**
 * How the first certificate was asked for of which this one is a renewal.
 * @param origin NULL: not known
 * @return GH_EREFUSED if one of the keys was made for a management system
 */
static apr_status_t find_origin(gh_transaction_t *transaction, escrow_identity_t *identity,
                                const gh_certificate_record_t *record,
                                gh_enrolment_record_t **origin, apr_pool_t *p)
{
    apr_array_header_t *found;
    const char *issuer;
    gh_bytes_t serial;
    apr_status_t rv;
    int made, step;

    *origin = NULL;
    for (step = 0; step < RENEWALS_MAX && record->enrolment; ++step) {
        rv = gh_mdm_request_made(transaction, record->key_sha256, &made);
        if (rv == APR_SUCCESS && made) {
            return refuse_made(identity);
        }
        if (rv == APR_SUCCESS) {
            rv = gh_enrolment_find(transaction, record->enrolment, origin, p);
        }
        if (rv != APR_SUCCESS) {
            *origin = NULL;
            return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
        }
        if ((*origin)->rule && strcmp((*origin)->rule, "mdm.p12") == 0) {
            return refuse_made(identity);
        }
        if (!(*origin)->rule || strcmp((*origin)->rule, "renewal") != 0) {
            return APR_SUCCESS;
        }
        *origin = NULL;
        rv = gh_renewal_of(transaction, record->enrolment, &issuer, &serial, p);
        if (rv == APR_SUCCESS) {
            rv = gh_certificate_find(transaction, issuer, serial, &found, p);
        }
        if (rv != APR_SUCCESS || found->nelts != 1) {
            return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
        }
        record = APR_ARRAY_IDX(found, 0, const gh_certificate_record_t *);
    }
    return APR_SUCCESS;
}

/** EscrowDeviceCA that lets it count; NULL: none does. */
static const escrow_device_issuer_t *find_grant(const escrow_trust_t *trust,
                                                const gh_certificate_record_t *record,
                                                const char *rule)
{
    int i, j;

    for (i = 0; trust->issuers && i < trust->issuers->nelts; ++i) {
        const escrow_device_issuer_t *one = APR_ARRAY_IDX(trust->issuers, i,
                                                          const escrow_device_issuer_t *);
        int fits = one->profiles->nelts == 0;

        for (j = 0; j < one->profiles->nelts; ++j) {
            fits |= strcmp(APR_ARRAY_IDX(one->profiles, j, const char *), record->profile) == 0;
        }
        if (fits && strcmp(one->issuer, record->issuer) == 0
            && (one->challenges || IS_ONE(rule, safe_rules))) {
            return one;
        }
    }
    return NULL;
}

/** By its names, or because it was asked under the device's name for a trusted challenge. */
static apr_status_t names_device(gh_transaction_t *transaction, const escrow_identity_t *identity,
                                 const escrow_device_issuer_t *grant, const char *enrolment,
                                 int *is, apr_pool_t *p)
{
    const char *mode, *name;
    apr_status_t rv;

    *is = escrow_recipient_names(identity->recipient, identity->device, NULL, p);
    if (*is || !grant->challenges) {
        return APR_SUCCESS;
    }
    rv = gh_mdm_request_of_enrolment(transaction, enrolment, &mode, &name, p);
    *is = rv == APR_SUCCESS && strcmp(mode, "scep") == 0 && name
        && strcasecmp(name, identity->device) == 0;
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t check_issued(gh_transaction_t *transaction, escrow_identity_t *identity,
                                 const gh_certificate_record_t *record, apr_pool_t *p)
{
    const escrow_device_issuer_t *grant = NULL;
    gh_enrolment_record_t *origin;
    const char *rule;
    apr_status_t rv = find_origin(transaction, identity, record, &origin, p);
    int is = 0;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rule = origin ? origin->rule : NULL;
    if (rule && !IS_ONE(rule, never_rules)) {
        grant = find_grant(identity->trust, record, rule);
    }
    if (grant) {
        rv = names_device(transaction, identity, grant, origin->id, &is, p);
    }
    if (rv != APR_SUCCESS || is || identity->trust->insecure) {
        return rv;
    }
    return refuse_unknown(identity, record, rule);
}

/* The certificate itself is compared, not only its serial number: another CA's may be the same. */
static apr_status_t find_known(gh_transaction_t *transaction, escrow_identity_t *identity,
                               const gh_certificate_record_t **issued, apr_pool_t *p)
{
    const unsigned char *sha256 = escrow_recipient_sha256(identity->recipient);
    apr_array_header_t *found;
    apr_status_t rv = gh_certificate_find(transaction, NULL,
                                          escrow_recipient_serial(identity->recipient), &found, p);
    int i;

    *issued = NULL;
    for (i = 0; rv == APR_SUCCESS && i < found->nelts; ++i) {
        const gh_certificate_record_t *record
            = APR_ARRAY_IDX(found, i, const gh_certificate_record_t *);

        if (record->sha256.length != 32 || memcmp(record->sha256.data, sha256, 32) != 0) {
            continue;
        }
        if (record->status != GH_STATUS_GOOD || record->not_after <= identity->now) {
            return refuse_status(identity, record);
        }
        if (record->enrolment) {
            *issued = record;
        }
    }
    return rv;
}

apr_status_t escrow_identity_check(gh_transaction_t *transaction, escrow_identity_t *identity,
                                   apr_pool_t *p)
{
    gh_bytes_t key = { escrow_recipient_key_sha256(identity->recipient), 32 };
    const gh_certificate_record_t *issued;
    apr_status_t rv;
    int made;

    if ((rv = gh_mdm_request_made(transaction, key, &made)) != APR_SUCCESS) {
        return rv;
    }
    if (made) {
        return refuse_made(identity);
    }
    if ((rv = find_known(transaction, identity, &issued, p)) != APR_SUCCESS) {
        return rv;
    }
    if (issued) {
        return check_issued(transaction, identity, issued, p);
    }
    return identity->trusted || identity->trust->insecure ? APR_SUCCESS
        : refuse_unknown(identity, NULL, NULL);
}
