/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "log.h"
#include "mod_ocsp/ocsp_feed.h"
#include "text.h"
#include "x509/ca.h"

static const char *kind_name(ocsp_source_kind_t kind)
{
    switch (kind) {
    case OCSP_SOURCE_STORE: return "store";
    case OCSP_SOURCE_CRL: return "crl";
    case OCSP_SOURCE_SERIALS: return "serials";
    default: return "index";
    }
}

/* Members whose value is NULL are left out. */
static json_t *source_object(const ocsp_source_config_t *source, const char *password)
{
    return json_pack(
        "{s:s, s:s*, s:s*, s:I, s:I, s:I, s:I, s:b, s:b, s:i, s:I, s:s*, s:s*, s:s*, s:s*, s:s*, "
        "s:s*, s:b}",
        "kind", kind_name(source->kind), "url", source->url, "delta", source->delta,
        "interval", (json_int_t)source->interval, "timeout", (json_int_t)source->timeout,
        "retry", (json_int_t)source->retry, "warn", (json_int_t)source->warn,
        "serve_expired", source->serve_expired, "whole", source->whole, "shrink", source->shrink,
        "max_size", (json_int_t)source->max_size, "ca_file", source->ca_file,
        "proxy", source->proxy, "dn", source->dn, "attribute", source->attribute,
        "bind", source->bind, "password", password, "starttls", source->starttls);
}

static apr_status_t add_source(json_t *array, const ocsp_source_config_t *source,
                               gh_result_t *result)
{
    gh_bytes_t secret = { NULL, 0 };
    apr_pool_t *ptemp;
    apr_status_t rv = APR_SUCCESS;
    json_t *object;

    apr_pool_create(&ptemp, NULL);
    if (source->password) {
        rv = gh_secret_load(&secret, source->password, ptemp, result);
    }
    if (rv == APR_SUCCESS) {
        object = source_object(source, secret.data
                               ? apr_pstrmemdup(ptemp, (const char *)secret.data, secret.length)
                               : NULL);
        if (!object || json_array_append_new(array, object)) {
            rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.source",
                                "See that the password and the options of OCSPSource are UTF-8.",
                                GHNO(0666) "the source %s cannot be written as JSON", source->url
                                ? source->url : kind_name(source->kind));
        }
    }
    apr_pool_destroy(ptemp);
    return rv;
}

static apr_status_t add_authority(json_t *array, const ocsp_feed_authority_t *authority,
                                  apr_pool_t *ptemp, gh_result_t *result)
{
    gh_bytes_t der = gh_certificate_der(authority->certificate, ptemp);
    unsigned char digest[32];
    json_t *sources = json_array();
    json_t *object;
    apr_status_t rv;
    int i;

    rv = ocsp_authority_digest(digest, authority->certificate, authority->name,
                               authority->sources);
    object = rv == APR_SUCCESS ? json_pack(
        "{s:s, s:s*, s:s, s:s, s:I, s:b, s:O}",
        "name", authority->name, "issuer", authority->issuer,
        "digest", gh_hex(ptemp, digest, sizeof(digest)),
        "certificate", gh_hex(ptemp, der.data, der.length),
        "retention", (json_int_t)authority->retention,
        "serve_endless", authority->max_stale > 0, "sources", sources) : NULL;
    if (!object || json_array_append_new(array, object)) {
        json_decref(sources);
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.authority",
                              "See that the name is UTF-8 and the CA's key one that OpenSSL knows.",
                              GHNO(0667) "the authority %s cannot be written as JSON",
                              authority->name);
    }
    for (i = 0; rv == APR_SUCCESS && i < authority->sources->nelts; ++i) {
        rv = add_source(sources, &APR_ARRAY_IDX(authority->sources, i, ocsp_source_config_t),
                        result);
    }
    json_decref(sources);
    return rv;
}

/* jansson frees strings as they are. */
static void cleanse_passwords(const json_t *authorities)
{
    size_t i, k;

    for (i = 0; i < json_array_size(authorities); ++i) {
        const json_t *sources = json_object_get(json_array_get(authorities, i), "sources");

        for (k = 0; k < json_array_size(sources); ++k) {
            const json_t *password = json_object_get(json_array_get(sources, k), "password");

            OPENSSL_cleanse((char *)json_string_value(password), json_string_length(password));
        }
    }
}

static apr_status_t cleanse(void *data)
{
    OPENSSL_cleanse(data, strlen(data));
    return APR_SUCCESS;
}

apr_status_t ocsp_feed_write(const char **json, const char *folder, const char *store,
                             const apr_array_header_t *authorities, apr_pool_t *p,
                             gh_result_t *result)
{
    json_t *array = json_array();
    json_t *document = json_pack("{s:s, s:s*, s:O}", "folder", folder, "store", store,
                                 "authorities", array);
    apr_status_t rv = document ? APR_SUCCESS : APR_EINVAL;
    apr_pool_t *ptemp;
    char *text = NULL;
    int i;

    apr_pool_create(&ptemp, p);
    for (i = 0; rv == APR_SUCCESS && i < authorities->nelts; ++i) {
        rv = add_authority(array, &APR_ARRAY_IDX(authorities, i, ocsp_feed_authority_t), ptemp,
                           result);
    }
    if (rv == APR_SUCCESS) {
        apr_size_t size = json_dumpb(document, NULL, 0, JSON_COMPACT);

        text = apr_pcalloc(p, size + 1);
        json_dumpb(document, text, size, JSON_COMPACT);
        apr_pool_cleanup_register(p, text, cleanse, apr_pool_cleanup_null);
        *json = text;
    }
    cleanse_passwords(array);
    json_decref(array);
    json_decref(document);
    apr_pool_destroy(ptemp);
    return rv;
}
