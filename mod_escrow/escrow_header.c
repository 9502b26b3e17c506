/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_header.h"

#include <string.h>
#include <strings.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "log.h"

#define RULE "thumbprint.header"

static const struct {
    const char *name;
    escrow_header_format_t format;
} formats[] = {
    { "rfc9440", ESCROW_HEADER_RFC9440 },
    { "xfcc", ESCROW_HEADER_XFCC },
    { "nginx", ESCROW_HEADER_NGINX },
    { "haproxy", ESCROW_HEADER_HAPROXY },
    { "alb", ESCROW_HEADER_ALB }
};

escrow_header_format_t escrow_header_format(const char *name)
{
    apr_size_t i;

    for (i = 0; i < sizeof(formats) / sizeof(formats[0]); ++i) {
        if (!strcmp(name, formats[i].name)) {
            return formats[i].format;
        }
    }
    return ESCROW_HEADER_NONE;
}

static apr_status_t bad(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_DENIED, RULE,
                          "Have the proxy set the header in the form that ThumbprintSource names, "
                          "and remove what clients send under its name.",
                          GHNO(1152) "the proxy's header with the client's certificate %s", what);
}

static apr_status_t read_base64(escrow_client_t *client, const char *text, apr_size_t length,
                                apr_pool_t *p, gh_result_t *result)
{
    gh_bytes_t der = gh_base64_decode(apr_pstrmemdup(p, text, length), p);

    if (escrow_client_read(client, der) != APR_SUCCESS) {
        return bad(result, "has no certificate in it that can be read");
    }
    return APR_SUCCESS;
}

/** Undoes the escaping of URLs; '+' is a '+'. @return NULL if it is not well-formed */
static char *unescape(const char *text, apr_pool_t *p)
{
    char *out = apr_palloc(p, strlen(text) + 1);
    char *to = out;

    for (; *text; ++text) {
        if (*text == '%') {
            int high, low;

            if (!apr_isxdigit(text[1]) || !apr_isxdigit(text[2])) {
                return NULL;
            }
            high = apr_isdigit(text[1]) ? text[1] - '0' : (text[1] | 0x20) - 'a' + 10;
            low = apr_isdigit(text[2]) ? text[2] - '0' : (text[2] | 0x20) - 'a' + 10;
            if (!(high << 4 | low)) {
                return NULL;
            }
            *to++ = (char)(high << 4 | low);
            text += 2;
        }
        else {
            *to++ = *text;
        }
    }
    *to = '\0';
    return out;
}

/** The first certificate of PEM, whose line ends may have become blanks.
 *  @param chain others may follow */
static apr_status_t read_pem(escrow_client_t *client, const char *value, int chain, apr_pool_t *p,
                             gh_result_t *result)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----";
    static const char end[] = "-----END CERTIFICATE-----";
    const char *text = unescape(value, p);
    const char *first, *last, *rest;
    char *body, *to;

    if (!text) {
        return bad(result, "is not escaped as it should be");
    }
    while (apr_isspace(*text)) {
        ++text;
    }
    if (strncmp(text, begin, sizeof(begin) - 1)
        || !(last = strstr(text + sizeof(begin) - 1, end))) {
        return bad(result, "is not a certificate in PEM");
    }
    first = text + sizeof(begin) - 1;
    for (rest = last + sizeof(end) - 1; apr_isspace(*rest); ++rest) {
    }
    if (*rest && !chain) {
        return bad(result, "has something behind the certificate");
    }
    body = to = apr_palloc(p, (apr_size_t)(last - first) + 1);
    for (; first < last; ++first) {
        if (!apr_isspace(*first)) {
            *to++ = *first;
        }
    }
    return read_base64(client, body, (apr_size_t)(to - body), p, result);
}

static apr_status_t read_digest(escrow_client_t *client, const char *text, apr_size_t length)
{
    gh_thumbprint_t thumbprint;

    if ((length != 2 * GH_SHA1_LENGTH && length != 2 * GH_SHA256_LENGTH)
        || strspn(text, "0123456789abcdefABCDEF") < length
        || gh_thumbprint_parse(&thumbprint, text, length, NULL, NULL) != APR_SUCCESS) {
        return APR_EINVAL;
    }
    memset(client, 0, sizeof(*client));
    if (thumbprint.length == GH_SHA1_LENGTH) {
        client->sha1 = thumbprint;
    }
    else {
        client->sha256 = thumbprint;
    }
    return APR_SUCCESS;
}

/** Takes the next element or pair, up to a separator that is not quoted; quotes are taken off.
 *  @return NULL at a quote that does not end */
static char *next_part(const char **text, char separator, int unquote, apr_pool_t *p)
{
    char *part = apr_palloc(p, strlen(*text) + 1);
    char *to = part;
    const char *at = *text;
    int quoted = 0;

    for (; *at && (quoted || *at != separator); ++at) {
        if (*at == '"') {
            quoted = !quoted;
            if (unquote) {
                continue;
            }
        }
        else if (quoted && *at == '\\' && at[1]) {
            if (!unquote) {
                *to++ = *at;
            }
            ++at;
        }
        *to++ = *at;
    }
    *to = '\0';
    *text = *at ? at + 1 : at;
    return quoted ? NULL : part;
}

/** The members of one element that say something of the certificate, each at most once. */
static apr_status_t read_members(const char *element, const char **hash, const char **certificate,
                                 apr_pool_t *p)
{
    while (*element) {
        char *pair = next_part(&element, ';', 1, p);
        char *value = pair ? strchr(pair, '=') : NULL;
        const char **member;

        if (!value) {
            return APR_EINVAL;
        }
        *value++ = '\0';
        member = !strcasecmp(pair, "Hash") ? hash : !strcasecmp(pair, "Cert") ? certificate : NULL;
        if (member && *member) {
            return APR_EINVAL;
        }
        if (member) {
            *member = value;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t read_xfcc(escrow_client_t *client, const char *value, apr_pool_t *p,
                              gh_result_t *result)
{
    const char *element = NULL, *hash = NULL, *certificate = NULL;
    escrow_client_t hashed;
    apr_status_t rv;

    while (*value) {
        /* Envoy puts no blank behind a comma; httpd does when it puts two headers together */
        if (element && *value == ' ') {
            return bad(result, "has come twice");
        }
        element = next_part(&value, ',', 0, p);
        if (!element) {
            return bad(result, "is not as Envoy writes it");
        }
    }
    if (!element || read_members(element, &hash, &certificate, p) != APR_SUCCESS
        || (!hash && !certificate)) {
        return bad(result, "has neither Hash nor Cert in its last element");
    }
    if (hash && read_digest(&hashed, hash, strlen(hash)) != APR_SUCCESS) {
        return bad(result, "has something in Hash that is no digest");
    }
    if (!certificate) {
        *client = hashed;
        return APR_SUCCESS;
    }
    rv = read_pem(client, certificate, 0, p, result);
    if (rv == APR_SUCCESS && hash
        && memcmp(hashed.sha256.length ? client->sha256.digest : client->sha1.digest,
                  hashed.sha256.length ? hashed.sha256.digest : hashed.sha1.digest,
                  hashed.sha256.length ? GH_SHA256_LENGTH : GH_SHA1_LENGTH)) {
        return bad(result, "has a Hash that is not that of Cert");
    }
    return rv;
}

static apr_status_t read_rfc9440(escrow_client_t *client, const char *value, apr_pool_t *p,
                                 gh_result_t *result)
{
    apr_size_t length = strlen(value);

    /* an item of RFC 8941 3.3.5, without parameters */
    if (length < 3 || value[0] != ':' || value[length - 1] != ':'
        || strspn(value + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
               != length - 2) {
        return bad(result, "is not one byte sequence as RFC 9440 has it");
    }
    return read_base64(client, value + 1, length - 2, p, result);
}

static apr_status_t read_haproxy(escrow_client_t *client, const char *value, apr_pool_t *p,
                                 gh_result_t *result)
{
    apr_size_t length = strlen(value);

    if (read_digest(client, value, length) == APR_SUCCESS) {
        return APR_SUCCESS;
    }
    return read_base64(client, value, length, p, result);
}

apr_status_t escrow_header_read(escrow_client_t *client, escrow_header_format_t format,
                                const char *value, apr_pool_t *p, gh_result_t *result)
{
    apr_size_t length = strlen(value);

    if (!length || !strcmp(value, "-") || !strcmp(value, "(null)")) {
        return APR_ENOENT;
    }
    if (length > ESCROW_HEADER_MAX) {
        return bad(result, "is too long");
    }
    if (format != ESCROW_HEADER_XFCC && strchr(value, ',')) {
        return bad(result, "has come twice");
    }
    switch (format) {
    case ESCROW_HEADER_RFC9440:
        return read_rfc9440(client, value, p, result);
    case ESCROW_HEADER_XFCC:
        return read_xfcc(client, value, p, result);
    case ESCROW_HEADER_NGINX:
        return read_pem(client, value, 0, p, result);
    case ESCROW_HEADER_HAPROXY:
        return read_haproxy(client, value, p, result);
    case ESCROW_HEADER_ALB:
        return read_pem(client, value, 1, p, result);
    default:
        return bad(result, "has no known form");
    }
}
