/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What stands in the ledger under the key of a request. */

#include <string.h>

#include <openssl/evp.h>

#include "issuer/ledger_private.h"
#include "log.h"
#include "status.h"
#include "store/jobs.h"

static int hash_part(EVP_MD_CTX *context, const void *data, apr_size_t length)
{
    unsigned char size[4] = {
        (unsigned char)(length >> 24), (unsigned char)(length >> 16),
        (unsigned char)(length >> 8), (unsigned char)length
    };

    return EVP_DigestUpdate(context, size, sizeof(size)) == 1
        && EVP_DigestUpdate(context, data, length) == 1;
}

/* Every part with its length before it, so that no two keys can be written the same way. */
static apr_status_t row_key(gh_bytes_t *key, const char *protocol, const char *tenant,
                            const char *issuer, const char *profile, const char *transaction,
                            gh_bytes_t signer, apr_pool_t *p, gh_result_t *result)
{
    const char *parts[] = { protocol, tenant, issuer, profile, transaction };
    unsigned char *digest = apr_palloc(p, EVP_MAX_MD_SIZE);
    unsigned int length = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int good = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    apr_size_t i;

    for (i = 0; good && i < sizeof(parts) / sizeof(parts[0]); ++i) {
        good = hash_part(context, parts[i], strlen(parts[i]));
    }
    good = good && hash_part(context, signer.data, signer.length)
        && EVP_DigestFinal_ex(context, digest, &length) == 1;
    EVP_MD_CTX_free(context);
    if (!good) {
        return gh_result_openssl(result, GH_EUNAVAILABLE, GH_FAILURE_INTERNAL, NULL, NULL,
                                 GHNO(0027) "the key of the enrolment cannot be computed");
    }
    key->data = digest;
    key->length = length;
    return APR_SUCCESS;
}

apr_status_t gh_ledger_key(gh_bytes_t *key, const gh_enrolment_request_t *request,
                           apr_pool_t *p, gh_result_t *result)
{
    return row_key(key, request->protocol, request->tenant, request->issuer,
                   gh_profile_name(request->profile), request->transaction,
                   request->signer_sha256, p, result);
}

static int bytes_equal(gh_bytes_t a, gh_bytes_t b)
{
    return a.length == b.length && a.length && !memcmp(a.data, b.data, a.length);
}

apr_status_t gh_ledger_read_certificate(gh_transaction_t *transaction,
                                        const gh_enrolment_record_t *record,
                                        gh_enrolment_outcome_t *outcome, apr_time_t *not_after,
                                        apr_pool_t *p)
{
    apr_array_header_t *found;
    apr_status_t rv;

    rv = gh_certificate_find(transaction, record->issuer, record->serial, &found, p);
    if (rv == APR_SUCCESS && found->nelts != 1) {
        rv = GH_ECORRUPT;
    }
    if (rv == APR_SUCCESS) {
        const gh_certificate_record_t *certificate =
            APR_ARRAY_IDX(found, 0, gh_certificate_record_t *);

        outcome->certificate = certificate->der;
        outcome->serial = certificate->serial;
        *not_after = certificate->not_after;
    }
    return rv;
}

/* Reading what stands under a key */

typedef struct {
    gh_bytes_t key;
    gh_enrolment_record_t *record;
    gh_enrolment_outcome_t *outcome;
    apr_time_t not_after;
    apr_pool_t *pool;
} look_t;

static int has_job(const gh_enrolment_record_t *record)
{
    return record->state == GH_ENROLMENT_SUBMITTED || record->state == GH_ENROLMENT_RETRY
        || record->state == GH_ENROLMENT_CONFIRMING;
}

/* With a question the job goes from one queue to another. */
static apr_status_t find_queue(gh_transaction_t *transaction, look_t *look)
{
    gh_job_record_t *job;
    apr_status_t rv;

    look->outcome->queue = look->record->issuer;
    if (!look->record->question) {
        return APR_SUCCESS;
    }
    rv = gh_job_find(transaction, look->record->id, &job, look->pool);
    if (rv == APR_SUCCESS) {
        look->outcome->queue = job->queue;
    }
    return rv == APR_NOTFOUND ? APR_SUCCESS : rv;
}

static apr_status_t look_work(gh_transaction_t *transaction, void *baton)
{
    look_t *look = baton;
    apr_status_t rv;

    memset(look->outcome, 0, sizeof(*look->outcome));
    rv = gh_enrolment_find_key(transaction, look->key, &look->record, look->pool);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    look->outcome->state = look->record->state;
    look->outcome->id = look->record->id;
    look->outcome->message = look->record->message;
    look->outcome->repeated = 1;
    if (has_job(look->record)) {
        rv = find_queue(transaction, look);
    }
    if (rv == APR_SUCCESS && look->record->state == GH_ENROLMENT_ISSUED) {
        rv = gh_ledger_read_certificate(transaction, look->record, look->outcome,
                                        &look->not_after, look->pool);
    }
    return rv;
}

static int is_final(gh_enrolment_state_t state)
{
    return state == GH_ENROLMENT_ISSUED || state == GH_ENROLMENT_DENIED
        || state == GH_ENROLMENT_REJECTED;
}

int gh_ledger_is_over(const gh_enrolment_record_t *record, apr_time_t not_after, apr_time_t now)
{
    return is_final(record->state)
        && (record->updated + GH_LEDGER_REPEAT <= now
            || (record->state == GH_ENROLMENT_ISSUED && not_after <= now));
}

apr_status_t gh_ledger_repeat(gh_ledger_t *ledger, const gh_enrolment_request_t *request,
                              gh_enrolment_outcome_t *outcome, apr_pool_t *p, gh_result_t *result)
{
    look_t look = { .outcome = outcome, .pool = p };
    apr_status_t rv;

    rv = gh_ledger_key(&look.key, request, p, result);
    if (rv == APR_SUCCESS) {
        rv = gh_store_read(ledger->store, look_work, &look, result);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (gh_ledger_is_over(look.record, look.not_after, apr_time_now())) {
        return APR_NOTFOUND;
    }
    if (!bytes_equal(look.record->request_sha256, gh_csr_info_sha256(request->csr))) {
        memset(outcome, 0, sizeof(*outcome));
        return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, "ledger.transaction",
                              "Use a new transaction ID for a new request.",
                              GHNO(0028) "another request was made with this transaction ID "
                              "(enrolment %s)", look.record->id);
    }
    return APR_SUCCESS;
}

apr_status_t gh_ledger_poll(gh_ledger_t *ledger, const char *protocol, const char *tenant,
                            const char *issuer, const char *profile, const char *transaction,
                            gh_bytes_t signer_sha256, gh_enrolment_outcome_t *outcome,
                            apr_pool_t *p, gh_result_t *result)
{
    look_t look = { .outcome = outcome, .pool = p };
    apr_status_t rv;

    rv = row_key(&look.key, protocol, tenant, issuer, profile, transaction, signer_sha256, p,
                 result);
    if (rv == APR_SUCCESS) {
        rv = gh_store_read(ledger->store, look_work, &look, result);
    }
    if (rv == APR_NOTFOUND) {
        return gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, "ledger.poll",
                              "Send the request again.",
                              GHNO(0029) "no enrolment of this client has this transaction ID");
    }
    return rv;
}
