/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What is said to Intune. */

#include "fcgi/intune/intune_codec.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "config.h"

/** What Intune shows of us. */
#define CALLER "Gatehouse/" PACKAGE_VERSION

#define DESCRIPTION_MAX 255

static apr_status_t overwrite(void *data)
{
    const gh_bytes_t *bytes = data;

    OPENSSL_cleanse((void *)bytes->data, bytes->length);
    return APR_SUCCESS;
}

static void keep_secret(const char *text, apr_size_t length, apr_pool_t *p)
{
    gh_bytes_t bytes = { (const unsigned char *)text, length };

    apr_pool_cleanup_register(p, apr_pmemdup(p, &bytes, sizeof(bytes)), overwrite,
                              apr_pool_cleanup_null);
}

const char *intune_secret_text(const char *text, apr_size_t length, apr_pool_t *p)
{
    const char *copy = apr_pstrmemdup(p, text, length);

    keep_secret(copy, length, p);
    return copy;
}

const char *intune_base64(gh_bytes_t bytes, int url, apr_pool_t *p)
{
    apr_size_t size = (bytes.length + 2) / 3 * 4 + 1;
    char *text = apr_palloc(p, size), *at;

    EVP_EncodeBlock((unsigned char *)text, bytes.data, (int)bytes.length);
    keep_secret(text, size - 1, p);
    for (at = text; url && *at; ++at) {
        /* RFC 4648 5, without padding (RFC 7515 2) */
        *at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
        if (*at == '=') {
            *at = '\0';
            break;
        }
    }
    return text;
}

/** @param document taken over; NULL: it could not be made */
static apr_status_t write_document(gh_bytes_t *body, json_t *document, apr_pool_t *p)
{
    char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;

    json_decref(document);
    if (!text) {
        return APR_EINVAL;
    }
    body->length = strlen(text);
    body->data = (const unsigned char *)intune_secret_text(text, body->length, p);
    OPENSSL_cleanse(text, body->length);
    free(text);
    return APR_SUCCESS;
}

apr_status_t intune_write_validation(gh_bytes_t *body, const char *transaction, gh_bytes_t request,
                                     apr_pool_t *p)
{
    return write_document(body, json_pack("{s:{s:s, s:s, s:s}}", "request",
                                          "transactionId", transaction,
                                          "certificateRequest", intune_base64(request, 0, p),
                                          "callerInfo", CALLER), p);
}

apr_status_t intune_write_success(gh_bytes_t *body, const char *transaction, gh_bytes_t request,
                                  const intune_issued_t *issued, apr_pool_t *p)
{
    return write_document(body, json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:n, s:n}}",
                                          "notification", "transactionId", transaction,
                                          "certificateRequest", intune_base64(request, 0, p),
                                          "certificateThumbprint", issued->thumbprint,
                                          "certificateSerialNumber", issued->serial,
                                          "certificateExpirationDateUtc", issued->expires,
                                          "issuingCertificateAuthority", issued->issuer,
                                          "callerInfo", CALLER, "caConfiguration",
                                          "certificateAuthority"), p);
}

/** At most so many characters, and no half of one. */
static const char *cut(const char *text, int most, apr_pool_t *p)
{
    const char *at = text;

    for (; *at; ++at) {
        if (((unsigned char)*at & 0xc0) != 0x80 && !most--) {
            break;
        }
    }
    return apr_pstrmemdup(p, text, (apr_size_t)(at - text));
}

apr_status_t intune_write_failure(gh_bytes_t *body, const char *transaction, gh_bytes_t request,
                                  apr_int64_t hresult, const char *description, apr_pool_t *p)
{
    return write_document(body, json_pack("{s:{s:s, s:s, s:I, s:s, s:s}}", "notification",
                                          "transactionId", transaction,
                                          "certificateRequest", intune_base64(request, 0, p),
                                          "hResult", (json_int_t)hresult,
                                          "errorDescription", cut(description, DESCRIPTION_MAX, p),
                                          "callerInfo", CALLER), p);
}

apr_status_t intune_write_download(gh_bytes_t *body, int most, const char *issuer, apr_pool_t *p)
{
    return write_document(body, json_pack("{s:{s:i, s:s?}}", "downloadParameters", "maxRequests",
                                          most, "issuerName", issuer), p);
}

const char *intune_error_name(intune_error_t error)
{
    switch (error) {
    case INTUNE_REVOKED: return "None";
    case INTUNE_ERROR_DATA: return "DataSerializationError";
    case INTUNE_ERROR_PARAMETER: return "ParameterDataInvalidError";
    case INTUNE_ERROR_CRYPTOGRAPHY: return "CryptographyError";
    case INTUNE_ERROR_NOT_FOUND: return "CertificateNotFoundError";
    case INTUNE_ERROR_CONFLICT: return "ConflictError";
    case INTUNE_ERROR_NOT_SUPPORTED: return "NotSupportedError";
    case INTUNE_ERROR_TOO_LARGE: return "PayloadTooLargeError";
    case INTUNE_ERROR_RETRY: return "RetryableServiceException";
    case INTUNE_ERROR_UNAVAILABLE: return "ServiceUnavailableException";
    case INTUNE_ERROR_BUSY: return "ServiceTooBusyException";
    case INTUNE_ERROR_AUTHENTICATION: return "AuthenticationException";
    default: return "NonRetryableServiceException";
    }
}

apr_status_t intune_write_upload(gh_bytes_t *body, const apr_array_header_t *results,
                                 apr_pool_t *p)
{
    json_t *list = json_array();
    int i;

    for (i = 0; i < results->nelts; ++i) {
        const intune_result_t *one = &APR_ARRAY_IDX(results, i, intune_result_t);
        json_t *object = json_pack("{s:s, s:b, s:s, s:s?}", "requestContext", one->context,
                                   "succeeded", one->error == INTUNE_REVOKED, "errorCode",
                                   intune_error_name(one->error), "errorMessage",
                                   one->error == INTUNE_REVOKED ? NULL : one->message);

        if (!object || json_array_append_new(list, object)) {
            json_decref(list);
            return APR_EINVAL;
        }
    }
    return write_document(body, json_pack("{s:o}", "results", list), p);
}
