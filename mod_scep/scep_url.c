/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_url.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/evp.h>

#include "log.h"
#include "mod_scep/scep_digital.h"
#include "mod_scep/scep_message.h"

/* Base64 of the largest message, fully escaped and with line ends, fits. */
#define QUERY_MAX (SCEP_MESSAGE_MAX * 4)

#define NAMES 3

#define INTUNE "/intune"

static const char *const reserved[] = { "intune", SCEP_URL_MDM, NULL };

static const char *const programs[] = {
    "pkiclient.exe", "cgi-bin/pkiclient.exe", "mscep.dll/pkiclient.exe", NULL
};

static int listed(const char *const *list, const char *name, apr_size_t length)
{
    for (; *list; ++list) {
        if (strlen(*list) == length && memcmp(*list, name, length) == 0) {
            return 1;
        }
    }
    return 0;
}

int scep_url_reserved(const char *name)
{
    return listed(reserved, name, strlen(name));
}

/** @param tail what follows the profile, without the slash before it */
static int tail_absorbed(const char *tail)
{
    apr_size_t length = strlen(tail);

    if (length && tail[length - 1] == '/') {
        --length;
    }
    if (length >= 3 && memcmp(tail, "nop", 3) == 0 && (length == 3 || tail[3] == '/')) {
        if (length == 3) {
            return 1;
        }
        tail += 4;
        length -= 4;
    }
    return listed(programs, tail, length);
}

apr_status_t scep_url_parse(scep_url_t *url, const char *path, apr_pool_t *p)
{
    const char *names[NAMES];
    const char *at = path;
    int i;

    memset(url, 0, sizeof(*url));
    if (strncmp(at, SCEP_URL_ROOT "/", sizeof(SCEP_URL_ROOT)) != 0) {
        return APR_NOTFOUND;
    }
    at += sizeof(SCEP_URL_ROOT) - 1;
    for (i = 0; i < NAMES; ++i) {
        apr_size_t length;

        if (*at != '/') {
            return APR_NOTFOUND;
        }
        length = strcspn(++at, "/");
        names[i] = apr_pstrmemdup(p, at, length);
        if (!gh_name_valid(names[i])) {
            return APR_NOTFOUND;
        }
        at += length;
    }
    if (scep_url_reserved(names[2])) {
        return APR_NOTFOUND;
    }
    if (!strncmp(at, INTUNE, sizeof(INTUNE) - 1)
        && (at[sizeof(INTUNE) - 1] == '/' || !at[sizeof(INTUNE) - 1])) {
        url->intune = 1;
        at += sizeof(INTUNE) - 1;
    }
    if (at[0] == '/' && at[1] && !tail_absorbed(at + 1)) {
        return APR_NOTFOUND;
    }
    url->tenant = names[0];
    url->issuer = names[1];
    url->profile = names[2];
    return APR_SUCCESS;
}

apr_status_t scep_url_parse_mdm(scep_url_mdm_t *url, const char *path, apr_pool_t *p)
{
    static const apr_size_t mdm = sizeof(SCEP_URL_MDM) - 1;
    const char *at = path + sizeof(SCEP_URL_ROOT) - 1;
    apr_size_t length;

    memset(url, 0, sizeof(*url));
    if (strncmp(path, SCEP_URL_ROOT "/", sizeof(SCEP_URL_ROOT)) != 0) {
        return APR_NOTFOUND;
    }
    length = strcspn(++at, "/");
    url->tenant = apr_pstrmemdup(p, at, length);
    at += length;
    if (*at != '/' || !gh_name_valid(url->tenant)) {
        return APR_NOTFOUND;
    }
    length = strcspn(++at, "/");
    url->digital_id = apr_pstrmemdup(p, at, length);
    at += length;
    if (*at != '/' || !scep_digital_name_valid(url->digital_id)
        || strncmp(++at, SCEP_URL_MDM, mdm) != 0) {
        return APR_NOTFOUND;
    }
    at += mdm;
    return !*at || (*at == '/' && (!at[1] || tail_absorbed(at + 1))) ? APR_SUCCESS : APR_NOTFOUND;
}

const char *scep_url_path(const scep_url_t *url, apr_pool_t *p)
{
    return apr_pstrcat(p, SCEP_URL_ROOT "/", url->tenant, "/", url->issuer, "/", url->profile,
                       url->intune ? INTUNE : "", NULL);
}

/* The query */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/** Percent-decodes and nothing else. @return NULL for a bad escape or an escaped NUL */
static const char *percent_decode(const char *text, apr_size_t length, apr_pool_t *p)
{
    char *decoded = apr_palloc(p, length + 1);
    char *to = decoded;
    apr_size_t i;

    for (i = 0; i < length; ++i) {
        int high, low;

        if (text[i] != '%') {
            *to++ = text[i];
            continue;
        }
        high = i + 2 < length ? hex_value(text[i + 1]) : -1;
        low = i + 2 < length ? hex_value(text[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0)) {
            return NULL;
        }
        *to++ = (char)(high * 16 + low);
        i += 2;
    }
    *to = '\0';
    return decoded;
}

static apr_status_t take_operation(scep_query_t *query, const char *name, gh_result_t *result)
{
    static const struct {
        const char *name;
        scep_operation_t operation;
    } operations[] = {
        { "GetCACaps", SCEP_GET_CA_CAPS },
        { "GetCACert", SCEP_GET_CA_CERT },
        { "GetNextCACert", SCEP_GET_NEXT_CA_CERT },
        { "PKIOperation", SCEP_PKI_OPERATION }
    };
    apr_size_t i;

    for (i = 0; name && i < sizeof(operations) / sizeof(operations[0]); ++i) {
        if (strcmp(operations[i].name, name) == 0) {
            query->operation = operations[i].operation;
            return APR_SUCCESS;
        }
    }
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "query.operation",
                          "Ask for GetCACaps, GetCACert, GetNextCACert or PKIOperation; case "
                          "matters.",
                          GHNO(0212) "unknown operation \"%.40s\"", name ? name : "");
}

apr_status_t scep_query_parse(scep_query_t *query, const char *args, apr_pool_t *p,
                              gh_result_t *result)
{
    static const char *const action = "Send operation once, and message at most once.";
    int operations = 0, messages = 0;
    apr_status_t rv;

    memset(query, 0, sizeof(*query));
    if (args && strlen(args) > QUERY_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "query.size", action,
                              GHNO(0213) "the query has more than %d bytes", QUERY_MAX);
    }
    while (args && *args) {
        apr_size_t length = strcspn(args, "&");

        if (length >= 10 && memcmp(args, "operation=", 10) == 0) {
            ++operations;
            rv = take_operation(query, percent_decode(args + 10, length - 10, p), result);
            if (rv != APR_SUCCESS) {
                return rv;
            }
        }
        else if (length >= 8 && memcmp(args, "message=", 8) == 0) {
            ++messages;
            query->message = apr_pstrmemdup(p, args + 8, length - 8);
        }
        args += length;
        if (*args) {
            ++args;
        }
    }
    if (operations != 1 || messages > 1) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "query.parameters", action,
                              GHNO(0214) "the query has %d operation and %d message parameters",
                              operations, messages);
    }
    return APR_SUCCESS;
}

/** Leaves base64 characters and padding only. @return NULL if there is anything else */
static char *clean_base64(const char *text, apr_pool_t *p)
{
    apr_size_t length = strlen(text);
    char *clean = apr_palloc(p, length + 4);
    char *to = clean;
    apr_size_t padding = 0;

    for (; *text; ++text) {
        char c = *text;

        if (c == ' ') {
            c = '+';
        }
        else if (c == '\r' || c == '\n' || c == '\t') {
            continue;
        }
        if (c == '=') {
            ++padding;
            continue;
        }
        if (padding || (!apr_isalnum(c) && c != '+' && c != '/') || (unsigned char)c > 0x7e) {
            return NULL;
        }
        *to++ = c;
    }
    length = (apr_size_t)(to - clean);
    if (length % 4 == 1 || padding > 2 || (padding && (length + padding) % 4 != 0)) {
        return NULL;
    }
    while ((to - clean) % 4 != 0) {
        *to++ = '=';
    }
    *to = '\0';
    return clean;
}

apr_status_t scep_query_message(gh_bytes_t *message, const scep_query_t *query, apr_pool_t *p,
                                gh_result_t *result)
{
    const char *decoded;
    const char *action = "Send the message as base64 with percent-encoding, or by POST.";
    char *clean;
    unsigned char *bytes;
    apr_size_t length;
    int count;

    memset(message, 0, sizeof(*message));
    if (!query->message || !*query->message) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "query.message", action,
                              GHNO(0215) "PKIOperation by GET without message parameter");
    }
    decoded = percent_decode(query->message, strlen(query->message), p);
    clean = decoded ? clean_base64(decoded, p) : NULL;
    if (!clean || !*clean) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "query.base64", action,
                              GHNO(0216) "the message parameter is not base64");
    }
    length = strlen(clean);
    bytes = apr_palloc(p, length / 4 * 3 + 1);
    count = EVP_DecodeBlock(bytes, (const unsigned char *)clean, (int)length);
    if (count < 0) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "query.decode", action,
                              GHNO(0217) "the message parameter cannot be decoded from base64");
    }
    /* EVP_DecodeBlock() counts the padding too */
    while (length && clean[length - 1] == '=') {
        --count;
        --length;
    }
    message->data = bytes;
    message->length = (apr_size_t)count;
    return APR_SUCCESS;
}
