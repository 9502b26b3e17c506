/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/intune/intune_assertion.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "fcgi/intune/intune_codec.h"
#include "log.h"
#include "x509/credential.h"
#include "x509/key.h"
#include "x509/own.h"

#define LIFETIME 600

/** A clock that is a little ahead of Entra ID's does no harm. */
#define SKEW 30

apr_status_t intune_credential_open(intune_credential_t *credential, gh_bytes_t pkcs12,
                                    gh_bytes_t passphrase, apr_pool_t *p, gh_result_t *result)
{
    gh_credential_t *parsed;
    apr_status_t rv = gh_credential_parse(&parsed, pkcs12, passphrase, NULL, p, result);
    BIO *certificate = NULL, *key = NULL;

    if (rv != APR_SUCCESS && result->failure == GH_FAILURE_TIME) {
        /* Entra ID says so, and other connections do not suffer */
        gh_result_clear(result);
        rv = APR_SUCCESS;
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    certificate = BIO_new_mem_buf(parsed->certificate.data, (int)parsed->certificate.length);
    key = BIO_new_mem_buf(parsed->key.data, (int)parsed->key.length);
    credential->certificate = gh_own_certificate(p, certificate
        ? PEM_read_bio_X509(certificate, NULL, NULL, NULL) : NULL);
    credential->key = gh_own_key(p, key ? PEM_read_bio_PrivateKey(key, NULL, NULL, NULL) : NULL);
    if (!credential->certificate || !credential->key
        || !EVP_PKEY_is_a(credential->key, "RSA")) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, INTUNE_RULE,
                            "Make a PKCS#12 with an RSA key of 2048 bits or more.",
                            GHNO(0937) "the key of the application's certificate is not RSA");
    }
    ERR_clear_error();
    BIO_free(key);
    BIO_free(certificate);
    return rv;
}

const char *intune_uuid(apr_pool_t *p)
{
    const char *id = gh_random_id(p);
    static const char variants[] = "89ab";

    return id ? apr_psprintf(p, "%.8s-%.4s-4%.3s-%c%.3s-%.12s", id, id + 8, id + 13,
                             variants[(unsigned char)id[16] & 3], id + 17, id + 20)
              : NULL;
}

/** A part of the JWT. @param object taken over */
static const char *part(json_t *object, apr_pool_t *p)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    gh_bytes_t bytes = { (const unsigned char *)text, text ? strlen(text) : 0 };
    const char *encoded = text ? intune_base64(bytes, 1, p) : NULL;

    free(text);
    json_decref(object);
    return encoded;
}

/** @return NULL without memory */
static const char *thumbprint(const X509 *certificate, const EVP_MD *digest, apr_pool_t *p)
{
    unsigned char value[EVP_MAX_MD_SIZE];
    unsigned int length;
    gh_bytes_t bytes = { value, 0 };

    if (X509_digest(certificate, digest, value, &length) != 1) {
        return NULL;
    }
    bytes.length = length;
    return intune_base64(bytes, 1, p);
}

static const char *sign(EVP_PKEY *key, const char *text, apr_pool_t *p)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options;
    unsigned char value[1024];
    size_t length = sizeof(value);
    gh_bytes_t bytes = { value, 0 };
    const char *encoded = NULL;

    if (context && EVP_DigestSignInit(context, &options, EVP_sha256(), NULL, key) == 1
        && EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1
        && EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1
        && EVP_DigestSign(context, value, &length, (const unsigned char *)text,
                          strlen(text)) == 1) {
        bytes.length = length;
        encoded = intune_base64(bytes, 1, p);
    }
    EVP_MD_CTX_free(context);
    return encoded;
}

apr_status_t intune_assertion_make(const char **jwt, const intune_credential_t *credential,
                                   const char *audience, const char *application, apr_time_t now,
                                   apr_pool_t *p, gh_result_t *result)
{
    json_int_t seconds = apr_time_sec(now);
    const char *header, *claims, *text, *signature;

    /* x5t is by SHA-1 (RFC 7515 4.1.7): it names the certificate and protects nothing */
    header = part(json_pack("{s:s, s:s, s:s, s:s}", "alg", "PS256", "typ", "JWT",
                            "x5t", thumbprint(credential->certificate, EVP_sha1(), p),
                            "x5t#S256", thumbprint(credential->certificate, EVP_sha256(), p)), p);
    claims = part(json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "aud", audience,
                            "iss", application, "sub", application, "jti", intune_uuid(p),
                            "iat", seconds - SKEW, "nbf", seconds - SKEW,
                            "exp", seconds - SKEW + LIFETIME), p);
    text = header && claims ? apr_pstrcat(p, header, ".", claims, NULL) : NULL;
    signature = text ? sign(credential->key, text, p) : NULL;
    if (!signature) {
        return gh_result_openssl(result, APR_EGENERAL, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                                 "Make a new certificate with an RSA key for the application.",
                                 GHNO(0938) "the assertion for Entra ID cannot be signed");
    }
    text = apr_pstrcat(p, text, ".", signature, NULL);
    *jwt = intune_secret_text(text, strlen(text), p);
    return APR_SUCCESS;
}
