/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_scep/scep_capture.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "log.h"
#include "mod_scep/scep_url.h"

#define OPERATION   "operation="
#define MESSAGE     "message="
#define PEM_BEGIN   "-----BEGIN "

#define BLANKS      " \t\r\n"

static apr_status_t not_a_message(gh_result_t *result)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "capture",
                          "Give the body of a PKIOperation or of its reply, in DER, base64 or PEM, "
                          "or the URL of the request from an access log.",
                          GHNO(0420) "this is no SCEP message in any form that is understood");
}

/**
 * No text begins like this: a message has more than 127 bytes, so that the byte behind the tag says
 * how long its length is.
 */
static int begins_as_der(gh_bytes_t bytes)
{
    return bytes.length >= 2 && bytes.data[0] == (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED)
           && bytes.data[1] >= 0x80;
}

/** What was cut off, or has something behind it, is told from what is no message at all. */
static apr_status_t check_length(gh_bytes_t der, gh_result_t *result)
{
    const unsigned char *at = der.data;
    unsigned long says;
    long length = 0;
    int tag, class, form;

    if (!begins_as_der(der)) {
        return not_a_message(result);
    }
    if (der.data[1] == 0x80) {
        return APR_SUCCESS;             /* of indefinite length (X.690 8.1.3.6) */
    }
    form = ASN1_get_object(&at, &length, &tag, &class, (long)der.length);
    ERR_clear_error();
    /* the flag of an error is set if there is less than the length says, which is still told */
    if (at == der.data || length <= 0 || (form & 1)) {
        return not_a_message(result);
    }
    says = (unsigned long)(at - der.data) + (unsigned long)length;
    if (says != der.length) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "capture.length",
                              "Capture it whole and alone: logs and terminals cut long lines.",
                              GHNO(0423) "the message says that it has %lu bytes, and there are "
                                         "%lu",
                              says, (unsigned long)der.length);
    }
    return APR_SUCCESS;
}

/* PEM */

static int pem_carries(const char *name)
{
    static const char *const names[] = {
        PEM_STRING_PKCS7, PEM_STRING_CMS, PEM_STRING_X509, PEM_STRING_X509_REQ,
        PEM_STRING_X509_REQ_OLD, PEM_STRING_PKCS7_SIGNED, NULL
    };
    int i;

    for (i = 0; names[i]; ++i) {
        if (strcmp(names[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t take_pem(scep_capture_t *capture, gh_bytes_t input, apr_pool_t *p,
                             gh_result_t *result)
{
    BIO *in = BIO_new_mem_buf(input.data, (int)input.length);
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long length = 0;
    apr_status_t rv = APR_SUCCESS;

    if (!in || PEM_read_bio(in, &name, &header, &data, &length) != 1) {
        rv = not_a_message(result);
    }
    else if (!pem_carries(name)) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "capture.pem",
                            "Give a message, a request for a certificate, or certificates.",
                            GHNO(0421) "this is PEM of another kind (%.40s)", name);
    }
    else {
        capture->form = "PEM";
        capture->der.data = apr_pmemdup(p, data, (apr_size_t)length);
        capture->der.length = (apr_size_t)length;
    }
    ERR_clear_error();
    OPENSSL_free(name);
    OPENSSL_free(header);
    /* it may have been a key */
    OPENSSL_clear_free(data, length > 0 ? (size_t)length : 0);
    BIO_free(in);
    return rv;
}

/* URLs */

/** A parameter of that name, where one may begin. */
static const char *find_parameter(const char *text, const char *name)
{
    const char *at;

    for (at = strstr(text, name); at; at = strstr(at + 1, name)) {
        if (at == text || strchr("?&\"'" BLANKS, at[-1])) {
            return at;
        }
    }
    return NULL;
}

/** The path before a query, without scheme and host. @param mark the question mark */
static const char *path_before(const char *text, const char *mark, apr_pool_t *p)
{
    const char *begin = mark;
    const char *path, *host;
    scep_url_t url;

    while (begin > text && !strchr("\"'" BLANKS, begin[-1])) {
        --begin;
    }
    path = apr_pstrmemdup(p, begin, (apr_size_t)(mark - begin));
    host = strstr(path, "://");
    if (host) {
        path = strchr(host + 3, '/');
    }
    if (!path || scep_url_parse(&url, path, p) != APR_SUCCESS) {
        return NULL;
    }
    return scep_url_path(&url, p);
}

/** Cuts a query off where the URL ends: at a quotation mark, at the protocol of a request line. */
static const char *cut_query(const char *text, apr_pool_t *p)
{
    const char *protocol = strstr(text, " HTTP/");
    apr_size_t length = strcspn(text, "\"'#");

    if (protocol && (apr_size_t)(protocol - text) < length) {
        length = (apr_size_t)(protocol - text);
    }
    while (length && strchr(BLANKS, text[length - 1])) {
        --length;
    }
    return apr_pstrmemdup(p, text, length);
}

static apr_status_t decode_query(scep_capture_t *capture, const char *args, apr_pool_t *p,
                                 gh_result_t *result)
{
    scep_query_t query;
    apr_status_t rv;

    /* somebody has copied the parameter alone */
    if (!find_parameter(args, OPERATION)) {
        args = apr_pstrcat(p, OPERATION "PKIOperation&", args, NULL);
    }
    rv = scep_query_parse(&query, args, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (query.operation != SCEP_PKI_OPERATION) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, "capture.operation",
                              "Give the URL of a PKIOperation; for other operations, what the "
                              "server has answered.",
                              GHNO(0422) "the request in the URL carries no message");
    }
    rv = scep_query_message(&capture->der, &query, p, result);
    return rv == APR_SUCCESS ? check_length(capture->der, result) : rv;
}

/** @param first where the first of the parameters begins */
static apr_status_t take_url(scep_capture_t *capture, const char *text, const char *first,
                             apr_pool_t *p, gh_result_t *result)
{
    const char *mark = first;
    const char *args;
    gh_result_t shorter;
    apr_status_t rv;

    capture->form = "URL";
    while (mark > text && *mark != '?' && !strchr("\"'" BLANKS, *mark)) {
        --mark;
    }
    if (*mark == '?') {
        capture->path = path_before(text, mark, p);
        first = mark + 1;
    }
    args = cut_query(first, p);
    rv = decode_query(capture, args, p, result);
    if (rv != APR_SUCCESS && strpbrk(args, BLANKS)) {
        /* a blank may be a plus sign that was decoded, or the end of the URL in a log of its own
           format */
        gh_result_clear(&shorter);
        args = apr_pstrmemdup(p, args, strcspn(args, BLANKS));
        if (decode_query(capture, args, p, &shorter) == APR_SUCCESS) {
            gh_result_clear(result);
            rv = APR_SUCCESS;
        }
    }
    return rv;
}

/* Base64 */

/** Without the blanks around lines, which would stand for plus signs. */
static const char *trim_lines(const char *text, apr_pool_t *p)
{
    char *trimmed = apr_palloc(p, strlen(text) + 1);
    char *to = trimmed;

    while (*text) {
        apr_size_t length;

        text += strspn(text, BLANKS);
        length = strcspn(text, "\r\n");
        memcpy(to, text, length);
        to += length;
        text += length;
        while (to > trimmed && (to[-1] == ' ' || to[-1] == '\t')) {
            --to;
        }
    }
    *to = '\0';
    return trimmed;
}

static apr_status_t take_base64(scep_capture_t *capture, const char *text, apr_pool_t *p,
                                gh_result_t *result)
{
    scep_query_t query = { SCEP_PKI_OPERATION, trim_lines(text, p) };

    capture->form = "base64";
    if (scep_query_message(&capture->der, &query, p, NULL) != APR_SUCCESS) {
        return not_a_message(result);
    }
    return check_length(capture->der, result);
}

apr_status_t scep_capture_read(scep_capture_t *capture, gh_bytes_t input, apr_pool_t *p,
                               gh_result_t *result)
{
    const char *text, *operation, *message;

    memset(capture, 0, sizeof(*capture));
    if (input.length > SCEP_CAPTURE_MAX) {
        return not_a_message(result);
    }
    if (begins_as_der(input)) {
        capture->form = "DER";
        capture->der = input;
        return check_length(input, result);
    }
    if (input.length == 0 || memchr(input.data, '\0', input.length)) {
        return not_a_message(result);
    }
    text = apr_pstrmemdup(p, (const char *)input.data, input.length);
    if (strstr(text, PEM_BEGIN)) {
        apr_status_t rv = take_pem(capture, input, p, result);
        return rv == APR_SUCCESS ? check_length(capture->der, result) : rv;
    }
    operation = find_parameter(text, OPERATION);
    message = find_parameter(text, MESSAGE);
    if (operation || message) {
        return take_url(capture, text,
                        !message || (operation && operation < message) ? operation : message, p,
                        result);
    }
    return take_base64(capture, text, p, result);
}
