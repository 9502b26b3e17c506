/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "issuer/crl_made.h"
#include "log.h"
#include "status.h"
#include "store/certificates.h"
#include "x509/crl_read.h"

typedef struct {
    gh_crl_record_t *record;
    gh_issuer_t *issuer;
    const gh_ca_t *ca;
    apr_time_t kept_after;
    gh_crl_builder_t *builder;
    apr_pool_t *pool;               /* a subpool, cleared when the work begins again */
    gh_result_t *result;
} make_t;

static apr_status_t add_entry(const gh_certificate_record_t *entry, void *baton)
{
    make_t *make = baton;

    ++make->record->entries;
    return gh_crl_add(make->builder, entry->serial, entry->revoked_at, entry->reason,
                      entry->invalid_from);
}

static apr_status_t make_work(gh_transaction_t *transaction, void *baton)
{
    make_t *make = baton;
    gh_crl_record_t *record = make->record;
    apr_status_t rv;

    apr_pool_clear(make->pool);
    record->entries = 0;
    rv = gh_certificate_last_change(transaction, record->issuer, &record->change);
    if (rv == APR_SUCCESS) {
        rv = gh_crl_begin(&make->builder, make->ca, record->number, record->this_update,
                          record->next_update, make->pool, make->result);
    }
    if (rv == APR_SUCCESS) {
        rv = gh_certificate_each_revoked(transaction, record->issuer, make->kept_after, add_entry,
                                         make);
    }
    return rv;
}

apr_status_t gh_crl_make(gh_crl_record_t *record, gh_issuer_t *issuer, gh_store_t *store,
                         apr_int64_t number, apr_time_t now, apr_pool_t *p, gh_result_t *result)
{
    const gh_issuer_config_t *config = gh_issuer_config(issuer);
    make_t make = { .record = record, .issuer = issuer, .result = result };
    apr_time_t end = gh_certificate_not_after(gh_issuer_certificate(issuer));
    apr_status_t rv;

    make.ca = gh_issuer_backend(issuer)->crl_signer(issuer);
    record->issuer = gh_issuer_name(issuer);
    record->number = number;
    record->this_update = now;
    record->next_update = now + config->crl_validity < end ? now + config->crl_validity : end;
    make.kept_after = now - 2 * config->crl_publish;
    apr_pool_create(&make.pool, p);
    rv = gh_store_read(store, make_work, &make, result);
    if (rv == APR_SUCCESS) {
        rv = gh_crl_finish(make.builder, &record->der, p, result);
        if (rv == GH_EUNAVAILABLE) {
            gh_issuer_suspect(issuer);
        }
    }
    apr_pool_destroy(make.pool);
    return rv;
}

apr_status_t gh_crl_read(gh_crl_record_t *record, X509 *ca, gh_result_t *result)
{
    const unsigned char *at = record->der.data;
    X509_CRL *crl = d2i_X509_CRL(NULL, &at, (long)record->der.length);
    ASN1_INTEGER *number = NULL;
    int64_t value = 0;
    apr_status_t rv = APR_SUCCESS;

    if (!crl || at != record->der.data + record->der.length
        || X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(ca))
        || X509_CRL_verify(crl, X509_get0_pubkey(ca)) != 1) {
        rv = gh_result_openssl(result, APR_EINVAL, GH_FAILURE_REQUEST, "issuer.crl",
                               "Put the DER form of a CRL of this CA into the file.",
                               GHNO(0042) "issuer %s: the CRL file is malformed or of another CA",
                               record->issuer);
        goto cleanup;
    }
    number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    if (number) {
        ASN1_INTEGER_get_int64(&value, number);
    }
    record->number = value;
    record->this_update = gh_asn1_time(X509_CRL_get0_lastUpdate(crl));
    record->next_update = gh_asn1_time(X509_CRL_get0_nextUpdate(crl));

cleanup:
    ASN1_INTEGER_free(number);
    X509_CRL_free(crl);
    return rv;
}

gh_bytes_t gh_crl_pem(gh_bytes_t der, apr_pool_t *p)
{
    gh_bytes_t pem = { NULL, 0 };
    BIO *memory = BIO_new(BIO_s_mem());
    char *data;
    long length;

    if (memory
        && PEM_write_bio(memory, PEM_STRING_X509_CRL, "", der.data, (long)der.length) > 0) {
        length = BIO_get_mem_data(memory, &data);
        pem.data = apr_pmemdup(p, data, (apr_size_t)length);
        pem.length = (apr_size_t)length;
    }
    BIO_free(memory);
    return pem;
}

const char *gh_crl_etag(gh_bytes_t der, apr_pool_t *p)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;

    if (EVP_Digest(der.data, der.length, digest, &length, EVP_sha256(), NULL) != 1) {
        return NULL;
    }
    return apr_pstrcat(p, "\"", gh_hex(p, digest, 16), "\"", NULL);
}
