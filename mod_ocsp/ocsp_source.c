/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include <ctype.h>
#include <string.h>

#include <apr_strings.h>
#include <apr_uri.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "log.h"
#include "mod_ocsp/ocsp_source.h"

#define RANGE_MAX apr_time_from_sec(365 * 86400)

static int has_kind(const apr_array_header_t *sources, ocsp_source_kind_t kind)
{
    int i;

    for (i = 0; i < sources->nelts; ++i) {
        if (APR_ARRAY_IDX(sources, i, ocsp_source_config_t).kind == kind) {
            return 1;
        }
    }
    return 0;
}

gh_source_t ocsp_sources_kind(const apr_array_header_t *sources)
{
    return has_kind(sources, OCSP_SOURCE_STORE) ? GH_SOURCE_STORE : GH_SOURCE_FILES;
}

int ocsp_sources_complete(const apr_array_header_t *sources)
{
    return has_kind(sources, OCSP_SOURCE_STORE) || has_kind(sources, OCSP_SOURCE_SERIALS)
        || has_kind(sources, OCSP_SOURCE_INDEX);
}

apr_status_t ocsp_authority_digest(unsigned char digest[32], X509 *certificate, const char *name,
                                   const apr_array_header_t *sources)
{
    X509_PUBKEY *key = X509_get_X509_PUBKEY(certificate);
    unsigned char *der = NULL;
    int length = key ? i2d_X509_PUBKEY(key, &der) : -1;
    unsigned char kind[2];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    apr_status_t rv = APR_EINVAL;

    kind[0] = (unsigned char)ocsp_sources_kind(sources);
    kind[1] = (unsigned char)ocsp_sources_complete(sources);
    /* the name's final NUL ends it */
    if (length > 0 && context && EVP_DigestInit_ex(context, EVP_sha256(), NULL)
        && EVP_DigestUpdate(context, name, strlen(name) + 1)
        && EVP_DigestUpdate(context, kind, sizeof(kind))
        && EVP_DigestUpdate(context, der, (size_t)length)
        && EVP_DigestFinal_ex(context, digest, NULL)) {
        rv = APR_SUCCESS;
    }
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return rv;
}

/* Which schemes go with what. */
static int scheme_is(const char *url, const char *schemes)
{
    const char *colon = url ? strchr(url, ':') : NULL;
    apr_size_t length = colon ? (apr_size_t)(colon - url) : 0;
    const char *at;

    for (at = schemes; length && *at; at += strcspn(at, " "), at += *at == ' ') {
        if (!strncasecmp(at, url, length) && (at[length] == ' ' || !at[length])) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t bad_url(const char *url, const char *what, gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.source",
                          "Write file:/PATH, http://HOST/PATH, https://HOST/PATH, ldap://HOST or "
                          "ldaps://HOST.", GHNO(0680) "%s %s", url, what);
}

static apr_status_t check_url(const char *url, apr_pool_t *p, gh_result_t *result)
{
    apr_uri_t uri;
    const char *at;

    for (at = url; *at; ++at) {
        if (!isgraph((unsigned char)*at)) {
            return bad_url(url, "has blanks or other characters that no URL has", result);
        }
    }
    if (apr_uri_parse(p, url, &uri) != APR_SUCCESS) {
        return bad_url(url, "is no URL", result);
    }
    if (uri.user || uri.password) {
        return bad_url(uri.hostname ? uri.hostname : "", "has a user or a password in its URL; for "
                       "LDAP there are bind= and password=", result);
    }
    if (scheme_is(url, "file")) {
        return uri.path && uri.path[0] == '/' && (!uri.hostname || !*uri.hostname)
            ? APR_SUCCESS : bad_url(url, "has no absolute path", result);
    }
    if (!uri.hostname || !*uri.hostname) {
        return bad_url(url, "names no host", result);
    }
    return APR_SUCCESS;
}

/* It would stand in the configuration of the feeder, where operators look. */
static apr_status_t check_proxy(const char *proxy, gh_result_t *result)
{
    return !proxy || !strchr(proxy, '@') ? APR_SUCCESS : gh_result_fail(
        result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.source",
        "Let the proxy admit this machine by its address, and leave them out.",
        GHNO(0771) "proxy= of OCSPSource has a user or a password in its URL");
}

static apr_status_t no_match(const char *option, const char *url, gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.source",
                          "Leave the option out, or correct the URL.",
                          GHNO(0682) "the option %s does not go with %s", option, url);
}

/* Options that mean nothing for this URL would be taken for a protection that is not there. */
static apr_status_t check_options(const ocsp_source_config_t *source, gh_result_t *result)
{
    int ldap = scheme_is(source->url, "ldap ldaps");
    int tls = scheme_is(source->url, "https ldaps") || source->starttls
        || scheme_is(source->delta, "https ldaps");
    const struct {
        int given, fits;
        const char *name;
    } options[] = {
        { source->dn != NULL, ldap, "dn=" },
        { source->attribute != NULL, ldap, "attribute=" },
        { source->bind != NULL, ldap, "bind=" },
        { source->password != NULL, ldap && source->bind, "password=" },
        { source->starttls, scheme_is(source->url, "ldap"), "starttls=" },
        { source->ca_file != NULL, tls, "ca-file=" },
        { source->proxy != NULL, scheme_is(source->url, "http https"), "proxy=" },
        { source->delta != NULL, source->kind == OCSP_SOURCE_CRL, "delta=" },
        { source->warn != 0, source->kind == OCSP_SOURCE_CRL, "warn=" },
        { source->serve_expired, source->kind == OCSP_SOURCE_CRL, "expired=" },
        { source->whole, source->kind == OCSP_SOURCE_CRL, "partition=" },
        { source->shrink != 0, source->kind == OCSP_SOURCE_SERIALS, "shrink=" },
    };
    apr_size_t i;

    for (i = 0; i < sizeof(options) / sizeof(options[0]); ++i) {
        if (options[i].given && !options[i].fits) {
            return no_match(options[i].name, source->url, result);
        }
    }
    if (ldap && !source->dn && !strchr(source->url + strcspn(source->url, "/") + 2, '/')) {
        return bad_url(source->url, "has no entry: add dn=DN", result);
    }
    return APR_SUCCESS;
}

static apr_status_t check_ranges(const ocsp_source_config_t *source, gh_result_t *result)
{
    const struct {
        const char *name;
        apr_interval_time_t value, least;
    } times[] = {
        { "interval=", source->interval, apr_time_from_sec(1) },
        { "timeout=", source->timeout, apr_time_from_msec(100) },
        { "retry=", source->retry, apr_time_from_msec(100) },
        { "warn=", source->warn, apr_time_from_sec(1) },
    };
    apr_size_t i;

    for (i = 0; i < sizeof(times) / sizeof(times[0]); ++i) {
        if (times[i].value && (times[i].value < times[i].least || times[i].value > RANGE_MAX)) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.source",
                                  "Give at least 1s for interval and warn, 100ms for timeout and "
                                  "retry, and at most one year.",
                                  GHNO(0683) "%s of %s is out of range", times[i].name,
                                  source->url);
        }
    }
    if (source->shrink < 0 || source->shrink > 100) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, "ocsp.source",
                              "Give a number of percent from 0 to 100.",
                              GHNO(0684) "shrink= of %s is out of range", source->url);
    }
    return APR_SUCCESS;
}

apr_status_t ocsp_source_check(const ocsp_source_config_t *source, apr_pool_t *p,
                               gh_result_t *result)
{
    static const char *const schemes[] = {
        "", "file http https ldap ldaps", "file http https ldap ldaps", "file"
    };
    apr_status_t rv;

    if (source->kind == OCSP_SOURCE_STORE) {
        return APR_SUCCESS;
    }
    if (!scheme_is(source->url, schemes[source->kind])) {
        return bad_url(source->url ? source->url : "", "has a scheme that this source cannot have",
                       result);
    }
    rv = check_url(source->url, p, result);
    if (rv == APR_SUCCESS && source->delta) {
        rv = scheme_is(source->delta, schemes[source->kind])
            ? check_url(source->delta, p, result)
            : bad_url(source->delta, "has a scheme that this source cannot have", result);
    }
    if (rv == APR_SUCCESS) {
        rv = check_proxy(source->proxy, result);
    }
    if (rv == APR_SUCCESS) {
        rv = check_options(source, result);
    }
    return rv == APR_SUCCESS ? check_ranges(source, result) : rv;
}
