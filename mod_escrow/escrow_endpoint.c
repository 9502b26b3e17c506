/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_endpoint.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "log.h"
#include "mod_escrow/escrow_client.h"
#include "x509/name.h"

#define RULE        "endpoint"
#define CHAIN_MAX   16

struct escrow_endpoint {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) *above;
    gh_bytes_t chain;               /* DER of all */
    gh_bytes_t secret;              /* PKCS#8, or empty once it was opened */
};

static apr_status_t release(void *data)
{
    escrow_endpoint_t *endpoint = data;

    X509_free(endpoint->certificate);
    EVP_PKEY_free(endpoint->key);
    sk_X509_pop_free(endpoint->above, X509_free);
    return APR_SUCCESS;
}

/** @return 0 if it is not DER certificates, one behind the other */
static int read_chain(escrow_endpoint_t *endpoint, gh_bytes_t chain)
{
    const unsigned char *at = chain.data, *end = chain.data + chain.length;

    endpoint->above = sk_X509_new_null();
    endpoint->certificate = endpoint->above ? d2i_X509(NULL, &at, (long)(end - at)) : NULL;
    while (endpoint->certificate && at < end) {
        X509 *one = d2i_X509(NULL, &at, (long)(end - at));

        if (!one || sk_X509_num(endpoint->above) >= CHAIN_MAX
            || !sk_X509_push(endpoint->above, one)) {
            X509_free(one);
            return 0;
        }
    }
    return endpoint->certificate != NULL;
}

static EVP_PKEY *read_key(gh_bytes_t secret)
{
    const unsigned char *at = secret.data;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)secret.length);
    EVP_PKEY *key = info ? EVP_PKCS82PKEY(info) : NULL;

    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

static escrow_endpoint_t *make(gh_bytes_t chain, gh_bytes_t secret, apr_pool_t *p)
{
    escrow_endpoint_t *endpoint = apr_pcalloc(p, sizeof(*endpoint));

    apr_pool_cleanup_register(p, endpoint, release, apr_pool_cleanup_null);
    endpoint->chain.data = apr_pmemdup(p, chain.data, chain.length);
    endpoint->chain.length = chain.length;
    endpoint->key = read_key(secret);
    if (!read_chain(endpoint, chain) || !endpoint->key
        || X509_check_private_key(endpoint->certificate, endpoint->key) != 1) {
        ERR_clear_error();
        return NULL;
    }
    return endpoint;
}

/** Whether each certificate was signed by the next one. */
static int is_chain(const escrow_endpoint_t *endpoint)
{
    X509 *one = endpoint->certificate;
    int i, ok = 1;

    for (i = 0; ok && i < sk_X509_num(endpoint->above); ++i) {
        X509 *next = sk_X509_value(endpoint->above, i);

        ok = X509_verify(one, X509_get0_pubkey(next)) == 1;
        one = next;
    }
    ERR_clear_error();
    return ok;
}

static apr_status_t check(const escrow_endpoint_t *endpoint, const escrow_credential_t *credential,
                          apr_time_t now, gh_result_t *result)
{
    if (now < credential->not_before || now > credential->not_after) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Send a certificate that is valid now.",
                              GHNO(1173) "the certificate for the endpoint %s",
                              now < credential->not_before ? "is not valid yet" : "has expired");
    }
    if (X509_check_purpose(endpoint->certificate, X509_PURPOSE_SSL_SERVER, 0) != 1) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Send one whose extended key usage has serverAuth.",
                              GHNO(1174) "the certificate for the endpoint is not for TLS servers");
    }
    if ((!credential->rooted && !credential->chain.length) || !is_chain(endpoint)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Put the certificates of the CAs above it into the PKCS#12.",
                              GHNO(1175) "the chain of the certificate for the endpoint is not "
                                         "complete");
    }
    return APR_SUCCESS;
}

apr_status_t escrow_endpoint_read(escrow_endpoint_t **endpoint, const escrow_opener_t *opener,
                                  gh_bytes_t pkcs12, const char *password, apr_time_t now,
                                  apr_pool_t *p, gh_result_t *result)
{
    escrow_credential_t *credential;
    unsigned char *chain;
    gh_bytes_t all;
    apr_status_t rv;

    /* what archived credentials are spared are key usage and dates: TLS has its own */
    rv = escrow_pkcs12_open(&credential, opener, pkcs12, password, ESCROW_ARCHIVED, now, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    all.length = credential->certificate.length + credential->chain.length;
    all.data = chain = apr_palloc(p, all.length);
    memcpy(chain, credential->certificate.data, credential->certificate.length);
    memcpy(chain + credential->certificate.length, credential->chain.data,
           credential->chain.length);
    *endpoint = make(all, credential->key, p);
    if (!*endpoint) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Export key and certificate together.",
                              GHNO(1176) "key and certificate for the endpoint do not belong "
                                         "together");
    }
    (*endpoint)->secret = credential->key;
    return check(*endpoint, credential, now, result);
}

apr_status_t escrow_endpoint_seal(gh_endpoint_record_t *record, const escrow_endpoint_t *endpoint,
                                  const gh_vault_t *vault, apr_pool_t *p, gh_result_t *result)
{
    gh_vaulted_t made;
    apr_status_t rv = gh_vault_seal(&made, vault, endpoint->secret,
                                    gh_vault_endpoint_identity(record->name, record->generation, p),
                                    p, result);

    if (rv == APR_SUCCESS) {
        record->chain = endpoint->chain;
        record->key_id = made.key_id;
        record->wrapped = made.wrapped;
        record->sealed = made.sealed;
    }
    return rv;
}

apr_status_t escrow_endpoint_open(escrow_endpoint_t **endpoint, const gh_endpoint_record_t *record,
                                  const gh_vault_t *vault, apr_pool_t *p, gh_result_t *result)
{
    const gh_vaulted_t row = { record->key_id, record->wrapped, record->sealed };
    gh_bytes_t secret;
    apr_status_t rv = gh_vault_open(&secret, vault, &row,
                                    gh_vault_endpoint_identity(record->name, record->generation, p),
                                    p, result);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    *endpoint = make(record->chain, secret, p);
    if (!*endpoint) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, RULE,
                              "Set the certificate again, by the configuration API.",
                              GHNO(1177) "the store's TLS certificate %s cannot be read",
                              record->name);
    }
    return APR_SUCCESS;
}

int escrow_endpoint_use(const escrow_endpoint_t *endpoint, SSL *ssl)
{
    int ok = SSL_use_cert_and_key(ssl, endpoint->certificate, endpoint->key, endpoint->above, 1)
             == 1;

    if (ok) {
        /* one of the files that has a key of another kind must not be chosen instead */
        SSL_certs_clear(ssl);
        ok = SSL_use_cert_and_key(ssl, endpoint->certificate, endpoint->key, endpoint->above, 1)
             == 1;
    }

    ERR_clear_error();
    return ok;
}

apr_status_t escrow_endpoint_of_context(gh_bytes_t *chain, SSL_CTX *context, apr_pool_t *p)
{
    X509 *certificate = SSL_CTX_get0_certificate(context);
    STACK_OF(X509) *above = NULL;
    unsigned char *data, *at;
    int length = certificate ? i2d_X509(certificate, NULL) : 0, i;

    SSL_CTX_get_extra_chain_certs(context, &above);
    if (length <= 0) {
        return APR_NOTFOUND;
    }
    for (i = 0; above && i < sk_X509_num(above); ++i) {
        length += i2d_X509(sk_X509_value(above, i), NULL);
    }
    data = at = apr_palloc(p, (apr_size_t)length);
    i2d_X509(certificate, &at);
    for (i = 0; above && i < sk_X509_num(above); ++i) {
        i2d_X509(sk_X509_value(above, i), &at);
    }
    chain->data = data;
    chain->length = (apr_size_t)(at - data);
    return APR_SUCCESS;
}

const char *escrow_endpoint_pem(gh_bytes_t chain, apr_pool_t *p)
{
    const unsigned char *at = chain.data, *end = chain.data + chain.length;
    BIO *out = BIO_new(BIO_s_mem());
    const char *text = NULL;
    X509 *one;
    char *data;
    long length;

    while (out && at < end && (one = d2i_X509(NULL, &at, (long)(end - at))) != NULL) {
        PEM_write_bio_X509(out, one);
        X509_free(one);
    }
    if (out && (length = BIO_get_mem_data(out, &data)) >= 0) {
        text = apr_pstrmemdup(p, data, (apr_size_t)length);
    }
    BIO_free(out);
    ERR_clear_error();
    return text ? text : "";
}

apr_status_t escrow_endpoint_describe(escrow_endpoint_facts_t *facts, gh_bytes_t chain,
                                      apr_pool_t *p)
{
    const unsigned char *at = chain.data;
    X509 *certificate = d2i_X509(NULL, &at, (long)chain.length);
    escrow_client_t client;
    int ok = certificate && escrow_client_of(&client, certificate);

    if (ok) {
        facts->subject = gh_name_text(X509_get_subject_name(certificate), p);
        facts->sha256 = gh_hex(p, client.sha256.digest, GH_SHA256_LENGTH);
        facts->not_before = client.not_before;
        facts->not_after = client.not_after;
    }
    X509_free(certificate);
    ERR_clear_error();
    return ok ? APR_SUCCESS : APR_EINVAL;
}
