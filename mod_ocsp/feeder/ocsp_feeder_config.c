/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "mod_ocsp/feeder/ocsp_feeder_private.h"
#include "text.h"
#include "x509/ca.h"

#define SOURCES_MAX 4096

static apr_status_t not_understood(gh_result_t *result, const char *what, const char *why)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_INTERNAL, "ocsp.feeder",
                          "Reinstall Gatehouse, so that modules and workers are of one version.",
                          GHNO(0674) "the feeder does not understand its configuration: %s: %s",
                          what, why);
}

static const char *copy(apr_pool_t *p, const char *text)
{
    return text ? apr_pstrdup(p, text) : NULL;
}

static int parse_kind(const char *name, ocsp_source_kind_t *kind)
{
    static const char *const names[] = { "store", "crl", "serials", "index" };
    int i;

    for (i = 0; i < 4; ++i) {
        if (!strcmp(name, names[i])) {
            *kind = (ocsp_source_kind_t)i;
            return 1;
        }
    }
    return 0;
}

static apr_status_t read_config(ocsp_source_config_t *config, const json_t *object, apr_pool_t *p,
                                gh_result_t *result)
{
    const char *kind, *url = NULL, *delta = NULL, *ca_file = NULL, *proxy = NULL, *dn = NULL;
    const char *attribute = NULL, *bind = NULL, *password = NULL;
    json_int_t interval, timeout, retry, warn, max_size;
    json_error_t error;

    if (json_unpack_ex((json_t *)object, &error, 0,
                       "{s:s, s?s, s?s, s:I, s:I, s:I, s:I, s:b, s:b, s:i, s:I, s?s, s?s, s?s, "
                       "s?s, s?s, s?s, s:b}",
                       "kind", &kind, "url", &url, "delta", &delta, "interval", &interval,
                       "timeout", &timeout, "retry", &retry, "warn", &warn,
                       "serve_expired", &config->serve_expired, "whole", &config->whole,
                       "shrink", &config->shrink,
                       "max_size", &max_size, "ca_file", &ca_file, "proxy", &proxy, "dn", &dn,
                       "attribute", &attribute, "bind", &bind, "password", &password,
                       "starttls", &config->starttls)) {
        return not_understood(result, "a source", error.text);
    }
    if (!parse_kind(kind, &config->kind) || (config->kind != OCSP_SOURCE_STORE && !url)) {
        return not_understood(result, "a source", "its kind or URL");
    }
    config->url = copy(p, url);
    config->delta = copy(p, delta);
    config->interval = interval ? interval : config->kind == OCSP_SOURCE_INDEX
        ? apr_time_from_sec(5) : apr_time_from_sec(300);
    config->timeout = timeout ? timeout : OCSP_FETCH_TIMEOUT;
    config->retry = retry ? retry : apr_time_from_sec(5);
    config->warn = warn ? warn : apr_time_from_sec(4 * 3600);
    config->max_size = max_size ? (apr_size_t)max_size : OCSP_FETCH_SIZE;
    config->shrink = config->shrink ? config->shrink : 10;
    config->ca_file = copy(p, ca_file);
    config->proxy = copy(p, proxy);
    config->dn = copy(p, dn);
    config->attribute = copy(p, attribute);
    config->bind = copy(p, bind);
    config->password = copy(p, password);
    return APR_SUCCESS;
}

static void add_source(feeder_authority_t *authority, const ocsp_source_config_t *config,
                       int number, const char *url, ocsp_document_kind_t kind)
{
    feeder_source_t *source = &authority->sources[authority->source_count++];

    source->authority = authority;
    source->config = config;
    source->url = url;
    source->kind = kind;
    source->number = number;
    source->fetch.config = config;
    source->fetch.url = url;
    ocsp_buffer_init(&source->fetch.bytes, config->max_size);
}

static apr_status_t read_sources(feeder_authority_t *authority, const json_t *array,
                                 apr_pool_t *p, gh_result_t *result)
{
    static const ocsp_document_kind_t kinds[] = {
        OCSP_DOCUMENT_CRL, OCSP_DOCUMENT_CRL, OCSP_DOCUMENT_SERIALS, OCSP_DOCUMENT_INDEX
    };
    size_t count = json_array_size(array), i;
    ocsp_source_config_t *configs = apr_pcalloc(p, (count ? count : 1) * sizeof(*configs));

    authority->sources = apr_pcalloc(p, (2 * count + 1) * sizeof(*authority->sources));
    for (i = 0; i < count; ++i) {
        apr_status_t rv = read_config(&configs[i], json_array_get(array, i), p, result);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (configs[i].kind == OCSP_SOURCE_STORE) {
            authority->kind = GH_SOURCE_STORE;
            continue;
        }
        add_source(authority, &configs[i], (int)i, configs[i].url, kinds[configs[i].kind]);
        if (configs[i].delta) {
            add_source(authority, &configs[i], (int)i, configs[i].delta, OCSP_DOCUMENT_DELTA);
        }
    }
    if (count == 0 || count > SOURCES_MAX
        || (authority->kind == GH_SOURCE_STORE) != (authority->source_count == 0)
        || (authority->kind == GH_SOURCE_STORE && !authority->issuer)) {
        return not_understood(result, authority->name, "its sources");
    }
    return APR_SUCCESS;
}

static apr_status_t read_authority(ocsp_feeder_t *feeder, const json_t *object,
                                   gh_result_t *result)
{
    feeder_authority_t *authority = apr_pcalloc(feeder->pool, sizeof(*authority));
    const char *name, *issuer = NULL, *digest, *certificate;
    const json_t *sources;
    json_int_t retention;
    json_error_t error;
    gh_bytes_t bytes;

    if (json_unpack_ex((json_t *)object, &error, 0, "{s:s, s?s, s:s, s:s, s:I, s:b, s:o}", "name",
                       &name, "issuer", &issuer, "digest", &digest, "certificate", &certificate,
                       "retention", &retention, "serve_endless", &authority->reader.serve_endless,
                       "sources", &sources)) {
        return not_understood(result, "an authority", error.text);
    }
    authority->feeder = feeder;
    authority->name = copy(feeder->pool, name);
    authority->issuer = copy(feeder->pool, issuer);
    authority->kind = GH_SOURCE_FILES;
    authority->reader.name = authority->name;
    authority->reader.retention = retention;
    if (gh_hex_parse(&bytes, digest, feeder->pool) != APR_SUCCESS
        || bytes.length != sizeof(authority->reader.digest)) {
        return not_understood(result, name, "its digest");
    }
    memcpy(authority->reader.digest, bytes.data, bytes.length);
    if (gh_hex_parse(&bytes, certificate, feeder->pool) == APR_SUCCESS) {
        authority->reader.certificate = gh_certificate_parse(bytes, feeder->pool);
    }
    if (!authority->reader.certificate) {
        return not_understood(result, name, "its certificate");
    }
    APR_ARRAY_PUSH(feeder->authorities, feeder_authority_t *) = authority;
    return read_sources(authority, sources, feeder->pool, result);
}

apr_status_t feeder_configure(ocsp_feeder_t *feeder, const json_t *configuration,
                              gh_result_t *result)
{
    const char *folder, *store = NULL;
    const json_t *authorities;
    json_error_t error;
    apr_status_t rv = APR_SUCCESS;
    size_t i;

    if (json_unpack_ex((json_t *)configuration, &error, 0, "{s:s, s?s, s:o}", "folder", &folder,
                       "store", &store, "authorities", &authorities)) {
        return not_understood(result, "the whole", error.text);
    }
    feeder->folder = copy(feeder->pool, folder);
    feeder->store_uri = copy(feeder->pool, store);
    feeder->authorities = apr_array_make(feeder->pool, 8, sizeof(feeder_authority_t *));
    for (i = 0; rv == APR_SUCCESS && i < json_array_size(authorities); ++i) {
        rv = read_authority(feeder, json_array_get(authorities, i), result);
    }
    return rv;
}
