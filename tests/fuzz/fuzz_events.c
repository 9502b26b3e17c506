/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/*
 * A page of certificate events, of a CA "CN=Issuing" with the key p256-01 of the fixtures, so that
 * certificates in the corpus are its own. What is taken up has to satisfy the store's constraints.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "issuer/events_private.h"
#include "x509/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW apr_time_from_sec(1790000000)

static struct {
    apr_pool_t *pool;
    gh_events_feed_t feed;
} target;

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

static X509 *make_ca(void)
{
    FILE *file = fopen(TEST_SRCDIR "/tests/fixtures/keys/p256-01.pem", "r");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    X509_NAME *name = X509_NAME_new();
    X509 *certificate = X509_new();

    require(key && name && certificate
            && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                          (const unsigned char *)"Issuing", -1, -1, 0) == 1
            && X509_set_version(certificate, X509_VERSION_3) == 1
            && X509_set_subject_name(certificate, name) == 1
            && X509_set_issuer_name(certificate, name) == 1
            && ASN1_TIME_set(X509_getm_notBefore(certificate), 1700000000)
            && ASN1_TIME_set(X509_getm_notAfter(certificate), 1900000000)
            && X509_set_pubkey(certificate, key) == 1
            && X509_sign(certificate, key, EVP_sha256()) > 0);
    fclose(file);
    EVP_PKEY_free(key);
    X509_NAME_free(name);
    return certificate;
}

static void prepare(void)
{
    require(apr_initialize() == APR_SUCCESS
            && apr_pool_create(&target.pool, NULL) == APR_SUCCESS);
    target.feed.issuer = "issuing";
    target.feed.ca = gh_own_certificate(target.pool, make_ca());
}

static void check(const gh_event_t *event)
{
    const gh_certificate_record_t *record = &event->record;

    require(record->serial.length >= 1 && record->serial.length <= 20
            && record->der.length > 0 && record->sha256.length == 32
            && record->key_sha256.length == 32 && record->subject && record->sans
            && record->status >= GH_STATUS_GOOD && record->status <= GH_STATUS_HELD
            && record->reason >= GH_REASON_NONE && record->reason <= 10
            && (record->status == GH_STATUS_GOOD) == (record->revoked_at == 0)
            && event->time > 0 && event->time <= NOW
            && (!event->passing || record->status == GH_STATUS_HELD));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gh_events_page_t page;
    gh_result_t result;
    apr_pool_t *p;
    int i;

    if (!target.pool) {
        prepare();
    }
    apr_pool_create(&p, target.pool);
    gh_result_clear(&result);
    target.feed.serials_only = size % 2;
    if (gh_events_read(&page, &target.feed, (const char *)data, size, NOW, p, &result)
        == APR_SUCCESS) {
        require(page.events->nelts + page.skipped->nelts == page.count);
        for (i = 0; i < page.events->nelts; i++) {
            check(APR_ARRAY_IDX(page.events, i, const gh_event_t *));
        }
    }
    require(ERR_peek_error() == 0);
    apr_pool_destroy(p);
    return 0;
}
