/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What the worker is told of a CMP server. */

#include <string.h>

#include <apr_strings.h>
#include <openssl/cmp.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>

#include "fcgi/cmp/cmp_private.h"
#include "log.h"
#include "x509/credential.h"
#include "x509/key.h"
#include "x509/name.h"
#include "x509/own.h"

/** As JSON has it. Members that are not there are NULL. */
typedef struct {
    const char *reference, *secret, *recipient, *sender, *trust, *message;
    int implicit, unprotected;
} settings_t;

static apr_status_t not_understood(gh_result_t *result, const char *name, const char *why)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "ca.worker",
                          "Reinstall Gatehouse, so that modules and workers are of one version.",
                          GHNO(1049) "the worker for CAs does not understand the CMP settings of "
                          "issuer %s: %s", name, why);
}

static apr_status_t overwrite(void *data)
{
    const gh_bytes_t *bytes = data;

    OPENSSL_cleanse((void *)bytes->data, bytes->length);
    return APR_SUCCESS;
}

static apr_status_t free_stack(void *data)
{
    sk_X509_pop_free(data, X509_free);
    return APR_SUCCESS;
}

static apr_status_t free_store(void *data)
{
    X509_STORE_free(data);
    return APR_SUCCESS;
}

static STACK_OF(X509) *make_stack(apr_pool_t *p)
{
    STACK_OF(X509) *stack = sk_X509_new_null();

    if (stack) {
        apr_pool_cleanup_register(p, stack, free_stack, apr_pool_cleanup_null);
    }
    return stack;
}

static int push(STACK_OF(X509) *stack, X509 *certificate)
{
    if (!stack || !certificate || X509_up_ref(certificate) != 1) {
        return 0;
    }
    if (!sk_X509_push(stack, certificate)) {
        X509_free(certificate);
        return 0;
    }
    return 1;
}

/** Certificates of a PEM text. */
static int read_certificates(STACK_OF(X509) *stack, const void *pem, apr_size_t length)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)length);
    X509 *certificate;
    int good = bio && stack;

    while (good && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        good = push(stack, certificate);
        X509_free(certificate);
    }
    BIO_free(bio);
    return good && sk_X509_num(stack) > 0;
}

static EVP_PKEY *read_key(gh_bytes_t pem, apr_pool_t *p)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.length);
    EVP_PKEY *key = bio ? gh_own_key(p, PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)) : NULL;

    BIO_free(bio);
    return key;
}

static apr_status_t take_credential(cmp_party_t *party, const cmp_described_t *said, apr_pool_t *p,
                                    gh_result_t *result)
{
    STACK_OF(X509) *all = make_stack(p);
    gh_credential_t *credential;
    apr_pool_t *ptemp;
    apr_status_t rv;

    apr_pool_create(&ptemp, p);
    rv = gh_credential_parse(&credential, said->credential, said->passphrase, said->alias, ptemp,
                             result);
    if (rv != APR_SUCCESS && http_peer_fault(said->peer)) {
        gh_result_clear(result);
        apr_pool_destroy(ptemp);
        return APR_SUCCESS;         /* no call is made: see begin() in cmp_calls.c */
    }
    if (rv == APR_SUCCESS) {
        party->key = read_key(credential->key, p);
        if (!party->key || !read_certificates(all, credential->certificate.data,
                                              credential->certificate.length)) {
            rv = not_understood(result, party->name, "its credential");
        }
    }
    if (rv == APR_SUCCESS) {
        party->certificate = sk_X509_value(all, 0);
        party->chain = all;
    }
    apr_pool_destroy(ptemp);
    return rv;
}

/** Answers are signed under certificates of the CA's own, unless others were named. */
static int take_trust(cmp_party_t *party, gh_issuer_t *issuer, const char *pem, apr_pool_t *p)
{
    const apr_array_header_t *chain = gh_issuer_chain(issuer);
    STACK_OF(X509) *trusted = make_stack(p);
    X509_STORE *store = X509_STORE_new();
    int good = store != NULL, i;

    if (store) {
        apr_pool_cleanup_register(p, store, free_store, apr_pool_cleanup_null);
    }
    party->known = make_stack(p);
    good = good && push(party->known, gh_issuer_certificate(issuer));
    for (i = 0; good && i < chain->nelts; ++i) {
        good = push(party->known, APR_ARRAY_IDX(chain, i, X509 *));
    }
    if (pem) {
        good = good && read_certificates(trusted, pem, strlen(pem));
    }
    else {
        trusted = party->known;
    }
    for (i = 0; good && i < sk_X509_num(trusted); ++i) {
        good = X509_STORE_add_cert(store, sk_X509_value(trusted, i));
    }
    party->trust = store;
    return good && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
}

static int take_name(const X509_NAME **name, const char *text, apr_pool_t *p)
{
    X509_NAME *parsed = NULL;
    gh_result_t result;

    gh_result_clear(&result);
    if (text && gh_name_parse(&parsed, text, p, &result) != APR_SUCCESS) {
        return 0;
    }
    *name = parsed;
    return 1;
}

static int take_secret(cmp_party_t *party, const settings_t *settings, apr_pool_t *p)
{
    if (!settings->secret || !settings->reference) {
        return !settings->secret;
    }
    party->reference.data = (const unsigned char *)apr_pstrdup(p, settings->reference);
    party->reference.length = strlen(settings->reference);
    if (gh_hex_parse(&party->secret, settings->secret, p) != APR_SUCCESS) {
        return 0;
    }
    apr_pool_cleanup_register(p, &party->secret, overwrite, apr_pool_cleanup_null);
    return 1;
}

static int take_message(cmp_party_t *party, const char *word)
{
    party->message = !strcmp(word, "ir") ? OSSL_CMP_IR : !strcmp(word, "cr") ? OSSL_CMP_CR
        : OSSL_CMP_P10CR;
    return party->message != OSSL_CMP_P10CR || !strcmp(word, "p10cr");
}

static apr_status_t take_settings(cmp_party_t *party, gh_issuer_t *issuer,
                                  const cmp_described_t *said, apr_pool_t *p, gh_result_t *result)
{
    settings_t settings;
    json_error_t error;

    memset(&settings, 0, sizeof(settings));
    if (json_unpack_ex((json_t *)said->settings, &error, 0,
                       "{s?s, s?s, s?s, s?s, s?s, s:s, s:b, s:b}",
                       "reference", &settings.reference, "secret", &settings.secret,
                       "recipient", &settings.recipient, "sender", &settings.sender,
                       "trust", &settings.trust, "message", &settings.message,
                       "implicit", &settings.implicit, "unprotected", &settings.unprotected)) {
        return not_understood(result, party->name, error.text);
    }
    party->implicit_confirm = settings.implicit;
    party->unprotected_errors = settings.unprotected;
    party->ca = gh_issuer_certificate(issuer);
    if (!take_name(&party->recipient, settings.recipient, p)
        || !take_name(&party->sender, settings.sender, p)
        || !take_message(party, settings.message)) {
        return not_understood(result, party->name, "a name or its message");
    }
    if (!take_secret(party, &settings, p)
        || (!party->secret.data && !take_trust(party, issuer, settings.trust, p))) {
        return not_understood(result, party->name, "what protects messages");
    }
    if (!party->secret.data && !party->sender) {
        party->sender = party->recipient ? party->recipient
            : X509_get_subject_name(party->ca);
    }
    return party->secret.data ? APR_SUCCESS : take_credential(party, said, p, result);
}

const char *cmp_base_url(const char *url, apr_pool_t *p)
{
    const char *host = strstr(url, "://");
    const char *path = host ? strchr(host + 3, '/') : NULL;

    return path ? apr_pstrmemdup(p, url, (apr_size_t)(path - url)) : apr_pstrdup(p, url);
}

apr_status_t cmp_service_create(cmp_service_t **out, framework_t *framework, gh_issuer_t *issuer,
                                const cmp_described_t *said, apr_pool_t *p, gh_result_t *result)
{
    cmp_service_t *service = apr_pcalloc(p, sizeof(*service));
    apr_status_t rv;

    service->framework = framework;
    service->peer = said->peer;
    service->path = apr_pstrdup(p, said->url + strlen(cmp_base_url(said->url, p)));
    service->party.name = gh_issuer_name(issuer);
    rv = take_settings(&service->party, issuer, said, p, result);
    if (rv == APR_SUCCESS) {
        /* two more, so that looks at the server, our own and gatehousectl's, never wait for those
         * that hang */
        rv = framework_add_lane(&service->lane, framework, said->threads + 2, result);
    }
    *out = service;
    return rv;
}
