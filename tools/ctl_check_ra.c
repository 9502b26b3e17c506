/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The parts of check that compare keys of the configuration with what the store has: the sealing
 * key, keys of CAs, RA certificates. */

#include "ctl_verdict.h"

#include <string.h>

#include <apr_strings.h>

#include "mod_scep/scep_ra_store.h"
#include "status.h"
#include "store/certificates.h"
#include "store/enrolments.h"
#include "store/housekeeping.h"
#include "x509/ca.h"
#include "x509/key.h"

#define RULE "check"

#define SEALING "sealing"

typedef struct {
    const char *issuer;
    gh_bytes_t key;
    apr_pool_t *p;
} baton_t;

typedef struct {
    const char *issuer;
    gh_key_request_record_t *request;
    gh_enrolment_record_t *enrolment;
    apr_pool_t *p;
} asked_t;

static apr_status_t key_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_issuer_key(transaction, baton->issuer, &baton->key, baton->p);
}

/* A file that only root may read: to be called before privileges go. */
void ctl_check_sealing(ctl_check_t *check)
{
    const ctl_config_t *config = check->ctl->config;
    gh_result_t result;

    gh_result_clear(&result);
    if (config->sealing_key != NULL) {
        if (gh_sealer_open(&check->sealer, config->sealing_key, check->p, &result)
            != APR_SUCCESS) {
            check->sealer = NULL;
            ctl_verdict(check, SEALING, CTL_VERDICT_ERROR, &result);
        }
    }
    else if (config->endpoints->nelts > 0) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Add GatehouseSealingKey file:PATH; ca init makes such a file.",
                       GHNO(0404) "SCEP keeps keys of its own in the store, but there is no "
                       "sealing key");
        ctl_verdict(check, SEALING, CTL_VERDICT_ERROR, &result);
    }
}

/* An issuer whose name belongs to another key signs nothing. */
static void check_name(ctl_check_t *check, const ctl_issuer_t *issuer)
{
    const char *name = apr_pstrcat(check->p, "issuer.", issuer->name, NULL);
    X509 *certificate = apr_hash_get(check->certificates, issuer->name, APR_HASH_KEY_STRING);
    baton_t baton = { issuer->name, { NULL, 0 }, check->p };
    gh_bytes_t key;
    gh_result_t result;
    apr_status_t rv;

    if (certificate == NULL) {
        return;
    }
    gh_result_clear(&result);
    rv = gh_store_read(check->ctl->store, key_work, &baton, &result);
    if (rv == APR_NOTFOUND) {
        return;
    }
    if (rv != APR_SUCCESS) {
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    key = gh_key_sha256(X509_get0_pubkey(certificate), check->p);
    if (key.length != baton.key.length || memcmp(key.data, baton.key.data, key.length) != 0) {
        gh_result_fail(&result, GH_ECONFLICT, GH_FAILURE_CONFLICT, RULE,
                       "Give a new CA a name of its own in <Issuer>, or restore the certificate "
                       "and the key.",
                       GHNO(0483) "issuer %s issues nothing: in the store this name belongs to "
                       "another CA key than that of %s", issuer->name, issuer->certificate);
        ctl_verdict(check, name, CTL_VERDICT_ERROR, &result);
        return;
    }
    ctl_verdict_ok(check, name, "in the store the name belongs to this CA");
}

/* @return the newest that is usable, else NULL */
static const gh_generation_t *newest_usable(const apr_array_header_t *generations)
{
    int i;

    for (i = 0; i < generations->nelts; i++) {
        if (gh_generation_at(generations, i)->usable) {
            return gh_generation_at(generations, i);
        }
    }
    return NULL;
}

static const char *serial_of(const gh_sealed_key_record_t *record, apr_pool_t *p)
{
    X509 *certificate = gh_certificate_parse(record->certificate, p);
    gh_bytes_t serial;

    if (certificate == NULL) {
        return "?";
    }
    serial = gh_certificate_serial(certificate, p);
    return gh_hex(p, serial.data, serial.length);
}

/* A revoked or expired one is replaced by a server that runs, when it is asked for. */
static void verdict_ra(ctl_check_t *check, const ctl_issuer_t *issuer,
                       const gh_generation_t *newest)
{
    const char *name = apr_pstrcat(check->p, "ra.", issuer->name, NULL);
    const char *serial = serial_of(newest->record, check->p);
    const char *end = gh_time_text(check->p, newest->record->not_after);
    gh_result_t result;

    gh_result_clear(&result);
    if (newest->usable) {
        ctl_verdict_ok(check, name, "certificate %s, generation %" APR_INT64_T_FMT
                       ", valid until %s", serial, newest->record->generation, end);
        return;
    }
    if (newest->withdrawn) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Start httpd: it makes another one when SCEP is asked; its error log says "
                       "why if it cannot.",
                       GHNO(0484) "the RA certificate %s is revoked or held", serial);
    }
    else {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_TIME, RULE,
                       "Start httpd: it makes another one when SCEP is asked; its error log says "
                       "why if it cannot.",
                       GHNO(0485) "the RA certificate %s has expired at %s", serial, end);
    }
    ctl_verdict(check, name, CTL_VERDICT_WARNING, &result);
}

static apr_status_t asked_work(gh_transaction_t *transaction, void *data)
{
    asked_t *asked = data;
    apr_status_t rv = gh_key_request_find(transaction, SCEP_RA_PURPOSE, asked->issuer,
                                          &asked->request, asked->p);

    return rv == APR_SUCCESS
        ? gh_enrolment_find(transaction, asked->request->enrolment, &asked->enrolment, asked->p)
        : rv;
}

/* The first one may be on its way from a CA elsewhere. */
static void check_asked(ctl_check_t *check, const ctl_issuer_t *issuer)
{
    asked_t asked = { .issuer = issuer->name, .p = check->p };
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_store_read(check->ctl->store, asked_work, &asked, &result) != APR_SUCCESS) {
        return;
    }
    gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, RULE,
                   "Wait, or look at it with gatehousectl enrolment show.",
                   GHNO(0790) "SCEP answers 503: the CA has been asked for the RA certificate, "
                   "enrolment %s is %s", asked.enrolment->id,
                   gh_enrolment_state_name(asked.enrolment->state));
    ctl_verdict(check, apr_pstrcat(check->p, "ra.", issuer->name, NULL), CTL_VERDICT_WARNING,
                &result);
}

/* @return 1 if the sealing key does not open the issuer's RA key */
static int check_keys(ctl_check_t *check, const ctl_issuer_t *issuer)
{
    apr_array_header_t *generations;
    const gh_generation_t *generation;
    gh_bytes_t key;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_generations_list(&generations, check->ctl->store, SCEP_RA_PURPOSE, issuer->name,
                            apr_time_now(), check->p, &result) != APR_SUCCESS) {
        ctl_verdict(check, apr_pstrcat(check->p, "ra.", issuer->name, NULL), CTL_VERDICT_ERROR,
                    &result);
        return 0;
    }
    if (generations->nelts == 0) {
        check_asked(check, issuer);
        return 0;
    }
    verdict_ra(check, issuer, gh_generation_at(generations, 0));
    generation = newest_usable(generations);
    if (check->sealer == NULL || generation == NULL
        || gh_generation_unseal(&key, generation->record, check->sealer, check->p, &result)
           == APR_SUCCESS) {
        return 0;
    }
    gh_result_fail(&result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                   "Give GatehouseSealingKey the key of before, the same on every node. If it is "
                   "lost, revoke that certificate: a new one is made.",
                   GHNO(0482) "the RA key of issuer %s, with certificate %s, was sealed with "
                   "another sealing key: SCEP answers 503", issuer->name,
                   serial_of(generation->record, check->p));
    ctl_verdict(check, SEALING, CTL_VERDICT_ERROR, &result);
    return 1;
}

void ctl_check_ra(ctl_check_t *check)
{
    const apr_array_header_t *issuers = check->ctl->config->issuers;
    int i;

    for (i = 0; check->ctl->store != NULL && i < issuers->nelts; i++) {
        const ctl_issuer_t *issuer = APR_ARRAY_IDX(issuers, i, const ctl_issuer_t *);

        check_name(check, issuer);
        check->sealed_otherwise |= check_keys(check, issuer);
    }
    ctl_check_wstep_store(check);
    ctl_check_ocsp_store(check);
    if (check->sealer != NULL && !check->sealed_otherwise) {
        ctl_verdict_ok(check, SEALING, check->ctl->store != NULL
                       ? "the sealing key opens what is sealed in the store"
                       : "the sealing key can be read");
    }
}
