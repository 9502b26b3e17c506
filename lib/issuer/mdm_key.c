/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "issuer/mdm_key.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/x509.h>

#include "log.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/jobs.h"
#include "x509/csr.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/own.h"
#include "x509/pkcs12.h"

#define RULE "mdm.p12"

static const char *seal_context(const char *id, apr_pool_t *p)
{
    return apr_pstrcat(p, "mdm/", id, NULL);
}

/* Wanting one */

typedef struct {
    gh_mdm_request_record_t *record;
    gh_mdm_request_record_t *found;     /* of the same transaction */
    gh_audit_event_t *event;
    const char *line;
    apr_pool_t *pool;
} want_t;

static apr_status_t want_work(gh_transaction_t *transaction, void *baton)
{
    want_t *want = baton;
    gh_mdm_request_record_t *record = want->record;
    gh_job_record_t job = {
        .id = record->id, .kind = GH_MDM_KEY_KIND, .queue = GH_MDM_KEY_QUEUE,
        .subject = record->id, .created = record->created, .due = record->created,
        .deadline = record->expires
    };
    apr_status_t rv = APR_NOTFOUND;

    want->found = NULL;
    if (record->transaction) {
        rv = gh_mdm_request_find_transaction(transaction, record->tenant, record->requester,
                                             record->transaction, &want->found, want->pool);
    }
    if (rv != APR_NOTFOUND) {
        return rv;
    }
    rv = gh_mdm_request_insert(transaction, record);
    if (rv == APR_SUCCESS) {
        rv = gh_job_insert(transaction, &job);
    }
    return rv == APR_SUCCESS ? gh_audit_insert(transaction, want->event, want->line, 1) : rv;
}

static int same(const char *a, const char *b)
{
    return !strcmp(a ? a : "", b ? b : "");
}

apr_status_t gh_mdm_key_want(gh_store_t *store, gh_mdm_request_record_t **record,
                             gh_audit_event_t *event, int *added, apr_pool_t *p,
                             gh_result_t *result)
{
    want_t want = { .record = *record, .event = event, .pool = p };
    apr_status_t rv;

    *added = 0;
    want.record->created = apr_time_now();
    want.record->id = gh_ordered_id(want.record->created, p);
    if (!want.record->id) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(1021) "the random generator failed");
    }
    event->subject = want.record->subject;
    event->transaction = want.record->id;
    event->rule = RULE;
    event->result = "pending";
    event->message = apr_psprintf(p, "a key of %d bits is made", want.record->key_size);
    want.line = gh_audit_line_keep(event, p);
    rv = gh_store_write(store, want_work, &want, result);
    if (rv == GH_ECONFLICT || (rv == GH_EUNKNOWN && want.record->transaction)) {
        /* another connection was faster, or it was this one */
        rv = gh_store_write(store, want_work, &want, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!want.found) {
        *added = 1;
        return APR_SUCCESS;
    }
    if (!same(want.found->subject, want.record->subject)
        || !same(want.found->sans, want.record->sans)
        || !same(want.found->digital_id, want.record->digital_id)
        || !same(want.found->mode, want.record->mode)) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE,
                              "Use a transaction for one request only.",
                              GHNO(1022) "another request was made with this transaction (%s)",
                              want.found->id);
    }
    *record = want.found;
    return APR_SUCCESS;
}

/* Making it */

typedef struct {
    const char *id;
    const char *holder;
    gh_mdm_request_record_t *record;
    gh_bytes_t key_sha256;
    gh_bytes_t request;
    gh_bytes_t sealed;
    int done;
    apr_pool_t *pool;
} store_t;

static apr_status_t read_work(gh_transaction_t *transaction, void *baton)
{
    store_t *work = baton;
    apr_status_t rv = gh_mdm_request_find(transaction, work->id, &work->record, work->pool);

    return rv == APR_SUCCESS && work->record->request.length ? APR_NOTFOUND : rv;
}

apr_status_t gh_mdm_key_size(gh_store_t *store, const char *id, int *bits, apr_pool_t *p,
                             gh_result_t *result)
{
    store_t work = { .id = id, .pool = p };
    apr_status_t rv = gh_store_read(store, read_work, &work, result);

    *bits = rv == APR_SUCCESS ? work.record->key_size : 0;
    return rv;
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
                                 GHNO(1023) "the request for a device's key cannot be made");
    }
    *der = gh_own_bytes(p, encoded, (apr_size_t)length, 0);
    return APR_SUCCESS;
}

/* The job goes, whatever has become of the row. */
static apr_status_t store_work(gh_transaction_t *transaction, void *baton)
{
    store_t *work = baton;
    apr_status_t rv = gh_job_remove(transaction, work->id, work->holder);

    work->done = 0;
    if (rv == APR_SUCCESS && work->sealed.length) {
        rv = gh_mdm_request_set_key(transaction, work->id, work->key_sha256, work->request,
                                    work->sealed);
        work->done = rv == APR_SUCCESS;
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

apr_status_t gh_mdm_key_store(gh_store_t *store, const gh_sealer_t *sealer, const char *id,
                              const char *holder, EVP_PKEY *key, int *done, apr_pool_t *p,
                              gh_result_t *result)
{
    store_t work = { .id = id, .holder = holder, .pool = p };
    gh_bytes_t der;
    apr_status_t rv = gh_store_read(store, read_work, &work, result);

    *done = 0;
    work.key_sha256 = gh_key_sha256(key, p);
    if (rv == APR_SUCCESS) {
        rv = work.key_sha256.length != 32 ? APR_ENOMEM
            : make_request(&work.request, work.record->subject, key, p, result);
        if (rv == APR_SUCCESS) {
            rv = gh_key_encode(&der, key, p, result);
        }
        if (rv == APR_SUCCESS) {
            rv = gh_seal(&work.sealed, sealer, der, seal_context(id, p), p, result);
        }
    }
    if (rv != APR_SUCCESS && rv != APR_NOTFOUND) {
        return rv;
    }
    rv = gh_store_write(store, store_work, &work, result);
    *done = work.done;
    return rv;
}

/* Enrolling */

/** Grants what a row says, once: who has come here has been authorised by the web service. */
static apr_status_t consume(gh_transaction_t *transaction, void *baton, const char *enrolment,
                            apr_time_t now)
{
    return gh_mdm_request_bind(transaction, baton, enrolment);
}

static apr_status_t check(const gh_authoriser_t *authoriser, gh_store_t *store,
                          const gh_enrolment_request_t *request, gh_grant_t *grant, apr_pool_t *p,
                          gh_result_t *result)
{
    const gh_mdm_request_record_t *record = authoriser->data;

    if (record->enrolment || record->expires <= apr_time_now() || !record->sealed.length) {
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                              "Ask for a new one.",
                              GHNO(1024) "request %s has expired, or its key was handed out",
                              record->id);
    }
    grant->rule = RULE;
    grant->consume = consume;
    grant->consume_baton = (void *)record->id;
    return gh_names_given(&grant->given, record->subject, record->sans, p, result);
}

static void fill_request(gh_enrolment_request_t *request, const gh_mdm_key_services_t *services,
                         const gh_mdm_request_record_t *record, const gh_csr_t *csr)
{
    memset(request, 0, sizeof(*request));
    request->protocol = "mdm";
    request->location = services->location;
    request->tenant = record->tenant;
    request->issuer = services->issuer;
    request->profile = services->profile;
    request->transaction = record->id;
    request->signer_sha256 = gh_csr_key_sha256(csr);
    request->csr = csr;
    request->sealer = services->sealer;
    request->client = services->client;
    request->user = services->user;
    request->request_id = services->request_id;
    request->context = services->context;
}

apr_status_t gh_mdm_key_enrol(const gh_mdm_key_services_t *services,
                              const gh_mdm_request_record_t *record, gh_audit_event_t *event,
                              gh_enrolment_outcome_t *outcome, apr_pool_t *p, gh_result_t *result)
{
    gh_authoriser_t authoriser = { "p12", (void *)record, check };
    apr_array_header_t *authorisers = apr_array_make(p, 1, sizeof(gh_authoriser_t *));
    gh_authorisation_t *authorisation;
    gh_enrolment_request_t request;
    gh_csr_t *csr;
    apr_status_t rv;

    APR_ARRAY_PUSH(authorisers, gh_authoriser_t *) = &authoriser;
    memset(outcome, 0, sizeof(*outcome));
    event->transaction = record->id;
    event->subject = record->subject;
    rv = gh_csr_parse(&csr, record->request.data, record->request.length, services->decoding, p,
                      result);
    if (rv == APR_SUCCESS) {
        rv = gh_csr_verify(csr, 0, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    fill_request(&request, services, record, csr);
    rv = gh_ledger_repeat(services->ledger, &request, outcome, p, result);
    if (rv != APR_NOTFOUND) {
        return rv;
    }
    rv = gh_authorise(&authorisation, &request, authorisers, services->store, p, result);
    return rv == APR_SUCCESS
        ? gh_ledger_enrol(services->ledger, authorisation, &request, event, outcome, p, result)
        : rv;
}

/* Handing it out */

apr_status_t gh_mdm_key_pkcs12(gh_bytes_t *pkcs12, const gh_mdm_request_record_t *record,
                               const gh_sealer_t *sealer, gh_issuer_t *issuer,
                               gh_bytes_t certificate, const char *password, apr_pool_t *p,
                               gh_result_t *result)
{
    apr_array_header_t *chain = apr_array_make(p, 4, sizeof(X509 *));
    gh_bytes_t own = gh_issuer_certificate_der(issuer);
    const unsigned char *at = own.data;
    EVP_PKEY *key;
    gh_bytes_t der;
    apr_status_t rv;

    rv = gh_unseal(&der, sealer, record->sealed, seal_context(record->id, p), p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_key_decode(&key, der, p, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    APR_ARRAY_PUSH(chain, X509 *) = gh_own_certificate(p, d2i_X509(NULL, &at, (long)own.length));
    if (!APR_ARRAY_IDX(chain, 0, X509 *)) {
        apr_array_clear(chain);
    }
    apr_array_cat(chain, gh_issuer_chain(issuer));
    return gh_pkcs12_make(pkcs12, key, certificate, chain, record->device, password, p, result);
}
