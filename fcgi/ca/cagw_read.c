/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What a CA gateway answers to an enrolment, about a certificate, and to an action. */

#include "fcgi/ca/cagw_private.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#include "store/certificates.h"
#include "x509/ca.h"
#include "x509/key.h"

#define CERTIFICATE_MAX ((apr_size_t)64 * 1024)
#define PKCS12_MAX ((apr_size_t)1024 * 1024)
#define PKCS12_ITERATIONS_MAX 1000000
#define CHAIN_MAX 16
#define ID_MAX 200
#define SERIAL_MAX 64
#define CURSOR_MAX 1024

apr_status_t cagw_malformed(gh_result_t *result, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, CAGW_RULE,
                          "Look into the gateway's log; compare its OpenAPI document with what "
                          "Gatehouse expects.",
                          GHNO(0829) "an answer of the CA gateway has no usable %s", what);
}

/** Nobody is asked for the passphrase of what comes over the network. */
static int no_passphrase(char *buffer, int size, int writing, void *baton)
{
    return -1;
}

X509 *cagw_certificate(const char *text, apr_pool_t *p)
{
    static const char begin[] = "-----BEGIN";
    X509 *certificate = NULL;
    const char *armour;
    BIO *bio;

    if (!text || strlen(text) > CERTIFICATE_MAX) {
        return NULL;
    }
    armour = strstr(text, begin);
    if (armour) {
        bio = BIO_new_mem_buf(armour, -1);
        certificate = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
        BIO_free(bio);
        gh_own_certificate(p, certificate);
    }
    else {
        certificate = gh_certificate_parse(gh_base64_decode(text, p), p);
    }
    if (certificate && !X509_get0_pubkey(certificate)) {
        certificate = NULL;
    }
    ERR_clear_error();
    return certificate;
}

apr_array_header_t *cagw_chain(const json_t *list, apr_pool_t *p)
{
    apr_array_header_t *chain = apr_array_make(p, 2, sizeof(X509 *));
    json_t *element;
    size_t i;

    if (json_array_size(list) > CHAIN_MAX) {
        return chain;
    }
    json_array_foreach(list, i, element) {
        const char *text = json_is_string(element) ? json_string_value(element)
            : cagw_text(element, CAGW_CERTIFICATE_DATA);
        X509 *certificate = cagw_certificate(text, p);

        if (!certificate) {
            apr_array_clear(chain);
            break;
        }
        APR_ARRAY_PUSH(chain, X509 *) = certificate;
    }
    return chain;
}

/** An id, which some write as a number. @return NULL if it is too long to be kept */
static const char *read_id(const json_t *object, apr_pool_t *p)
{
    const json_t *member = json_object_get(object, CAGW_ID);
    const char *text = cagw_text(object, CAGW_ID);

    if (json_is_integer(member)) {
        return apr_psprintf(p, "%" APR_INT64_T_FMT, (apr_int64_t)json_integer_value(member));
    }
    return text && *text && strlen(text) <= ID_MAX ? apr_pstrdup(p, text) : NULL;
}

/** The gateway's own spelling, if it is a serial number at all. */
static const char *read_serial(const json_t *object, apr_pool_t *p)
{
    const char *text = cagw_text(object, CAGW_SERIAL);
    gh_bytes_t serial;

    return text && *text && strlen(text) <= SERIAL_MAX
        && gh_serial_parse(&serial, text, p) == APR_SUCCESS ? apr_pstrdup(p, text) : NULL;
}

static apr_status_t read_body(cagw_enrolled_t *enrolled, const json_t *member,
                              cagw_format_t format, apr_pool_t *p, gh_result_t *result)
{
    const char *text = json_string_value(member);

    if (!text || strlen(text) != json_string_length(member)) {
        return cagw_malformed(result, "member \"" CAGW_BODY "\"");
    }
    if (format == CAGW_AS_PKCS12) {
        if (strlen(text) <= PKCS12_MAX) {
            enrolled->pkcs12 = gh_base64_decode(text, p);
        }
        return enrolled->pkcs12.length > 0 ? APR_SUCCESS : cagw_malformed(result, "PKCS#12");
    }
    enrolled->certificate = cagw_certificate(text, p);
    return enrolled->certificate ? APR_SUCCESS : cagw_malformed(result, "certificate");
}

apr_status_t cagw_read_enrolled(cagw_enrolled_t *enrolled, const cagw_reply_t *reply,
                                cagw_format_t format, apr_pool_t *p, gh_result_t *result)
{
    const json_t *object = json_object_get(reply->json, CAGW_ENROLLMENT);
    const json_t *body;
    const char *status;

    memset(enrolled, 0, sizeof(*enrolled));
    enrolled->chain = apr_array_make(p, 0, sizeof(X509 *));
    if (!json_is_object(object)) {
        /* the guides speak of the body alone */
        object = reply->json;
    }
    body = json_object_get(object, CAGW_BODY);
    status = cagw_text(object, CAGW_STATUS);
    enrolled->id = read_id(object, p);
    enrolled->serial = read_serial(object, p);
    enrolled->chain = cagw_chain(json_object_get(object, CAGW_CHAIN), p);
    if (body && !json_is_null(body) && *(json_is_string(body) ? json_string_value(body) : "?")) {
        return read_body(enrolled, body, format, p, result);
    }
    enrolled->refused = status && !strcasecmp(status, CAGW_ENROLLMENT_REFUSED);
    if (!enrolled->refused && !enrolled->id && !enrolled->serial) {
        return cagw_malformed(result, "certificate, and no id to ask for it");
    }
    return APR_SUCCESS;
}

/** The work that a PKCS#12 asks for before its password can be checked. */
static int is_reasonable(const PKCS12 *pkcs12)
{
    const ASN1_INTEGER *iterations = NULL;

    PKCS12_get0_mac(NULL, NULL, NULL, &iterations, pkcs12);
    return !iterations || (ASN1_INTEGER_get(iterations) > 0
                           && ASN1_INTEGER_get(iterations) <= PKCS12_ITERATIONS_MAX);
}

apr_status_t cagw_open_pkcs12(EVP_PKEY **key, X509 **certificate, apr_array_header_t **chain,
                              gh_bytes_t pkcs12, const char *password, apr_pool_t *p,
                              gh_result_t *result)
{
    const unsigned char *at = pkcs12.data;
    PKCS12 *parsed = d2i_PKCS12(NULL, &at, (long)pkcs12.length);
    STACK_OF(X509) *others = NULL;
    apr_status_t rv = APR_SUCCESS;
    int i;

    *key = NULL;
    *certificate = NULL;
    *chain = apr_array_make(p, 2, sizeof(X509 *));
    if (!parsed || at != pkcs12.data + pkcs12.length || !is_reasonable(parsed)) {
        rv = cagw_malformed(result, "PKCS#12");
    }
    else if (PKCS12_parse(parsed, password, key, certificate, &others) != 1 || !*key
             || !*certificate) {
        rv = cagw_malformed(result, "PKCS#12 that our password opens");
    }
    gh_own_key(p, *key);
    gh_own_certificate(p, *certificate);
    for (i = 0; i < sk_X509_num(others); ++i) {
        APR_ARRAY_PUSH(*chain, X509 *) = gh_own_certificate(p, sk_X509_value(others, i));
    }
    sk_X509_free(others);
    PKCS12_free(parsed);
    ERR_clear_error();
    return rv;
}

static cagw_status_t parse_status(const char *text)
{
    static const struct {
        const char *name;
        cagw_status_t status;
    } known[] = {
        { CAGW_STATUS_NORMAL, CAGW_STATUS_IS_NORMAL },
        { CAGW_STATUS_HELD, CAGW_STATUS_IS_HELD },
        { CAGW_STATUS_SUSPENDED, CAGW_STATUS_IS_HELD },
        { CAGW_STATUS_REVOKED, CAGW_STATUS_IS_REVOKED },
        { CAGW_STATUS_EXPIRED, CAGW_STATUS_IS_EXPIRED }
    };
    apr_size_t i;

    for (i = 0; text && i < sizeof(known) / sizeof(known[0]); ++i) {
        if (!strcasecmp(text, known[i].name)) {
            return known[i].status;
        }
    }
    return CAGW_STATUS_UNKNOWN;
}

apr_status_t cagw_read_certificate(cagw_certificate_t *certificate, const cagw_reply_t *reply,
                                   apr_pool_t *p, gh_result_t *result)
{
    const json_t *object = json_object_get(reply->json, CAGW_CERTIFICATE);
    const json_t *revocation = json_object_get(object, CAGW_REVOCATION);
    const char *revoked = cagw_text(revocation, CAGW_REVOCATION_DATE);
    const char *data = cagw_text(object, CAGW_CERTIFICATE_DATA);

    memset(certificate, 0, sizeof(*certificate));
    certificate->reason = cagw_reason_parse(cagw_text(revocation, CAGW_REASON));
    if (revoked && gh_time_parse(&certificate->revoked_at, revoked) != APR_SUCCESS) {
        certificate->revoked_at = 0;
    }
    certificate->serial = read_serial(object, p);
    certificate->status = parse_status(cagw_text(object, CAGW_STATUS));
    certificate->certificate = cagw_certificate(data, p);
    if (!json_is_object(object) || (data && *data && !certificate->certificate)) {
        return cagw_malformed(result, "certificate");
    }
    return APR_SUCCESS;
}

apr_status_t cagw_read_action(int *rejected, const cagw_reply_t *reply, gh_result_t *result)
{
    const json_t *object = json_object_get(reply->json, CAGW_ACTION);
    const char *status = cagw_text(object, CAGW_STATUS);

    *rejected = status && !strcasecmp(status, CAGW_ACTION_REJECTED);
    if (*rejected || (status && (!strcasecmp(status, CAGW_ACTION_COMPLETED)
                                 || !strcasecmp(status, CAGW_ACTION_ACCEPTED)))) {
        return APR_SUCCESS;
    }
    return cagw_malformed(result, "status of an action");
}

/** @return 0 if it cannot be told whose certificate it is; of a revocation that need not be */
static int read_event(cagw_events_t *page, cagw_event_t *event, const json_t *object,
                      apr_pool_t *p)
{
    const char *certificate = cagw_text(object, CAGW_CERTIFICATE);
    const char *date = cagw_text(object, CAGW_EVENT_DATE);
    const char *action = cagw_text(object, CAGW_ACTION);

    if (!json_is_object(object)) {
        return 0;
    }
    if (date && gh_time_parse(&event->time, date) != APR_SUCCESS) {
        event->time = 0;            /* whose certificate it is is told by that alone */
    }
    if (event->time > page->latest) {
        page->latest = event->time;
    }
    if (!json_object_get(object, CAGW_CERTIFICATE)
        || json_is_null(json_object_get(object, CAGW_CERTIFICATE))) {
        return action && !strcasecmp(action, CAGW_EVENT_REVOKED);
    }
    event->certificate = cagw_certificate(certificate, p);
    event->revoked = action && !strcasecmp(action, CAGW_EVENT_REVOKED);
    if (event->certificate) {
        APR_ARRAY_PUSH(page->events, cagw_event_t *) = event;
    }
    return event->certificate != NULL;
}

static void skip(cagw_events_t *page, apr_time_t time)
{
    if (!page->skipped++ || time < page->skipped_from) {
        page->skipped_from = time;
    }
    if (time > page->skipped_until) {
        page->skipped_until = time;
    }
}

apr_status_t cagw_read_events(cagw_events_t *page, const cagw_reply_t *reply, apr_pool_t *p,
                              gh_result_t *result)
{
    const json_t *list = json_object_get(reply->json, CAGW_EVENTS);
    const char *cursor = cagw_text(reply->json, CAGW_EVENTS_NEXT);
    json_t *element;
    size_t i;

    memset(page, 0, sizeof(*page));
    page->events = apr_array_make(p, 50, sizeof(cagw_event_t *));
    if (!json_is_array(list) || json_array_size(list) > CAGW_LIST_MAX
        || (cursor && strlen(cursor) > CURSOR_MAX)) {
        return cagw_malformed(result, "page of events");
    }
    json_array_foreach(list, i, element) {
        cagw_event_t *event = apr_pcalloc(p, sizeof(*event));

        if (!read_event(page, event, element, p)) {
            skip(page, event->time);
        }
    }
    if (page->skipped && !page->skipped_from) {
        page->skipped_until = page->latest;
    }
    page->cursor = cursor && *cursor ? apr_pstrdup(p, cursor) : NULL;
    page->more = page->cursor && json_is_true(json_object_get(reply->json, CAGW_EVENTS_MORE));
    return APR_SUCCESS;
}

apr_status_t cagw_interval_parse(apr_time_t *start, apr_time_t *end, const char *text)
{
    const char *slash = strchr(text, '/');
    char first[40];

    if (!slash || (apr_size_t)(slash - text) >= sizeof(first)) {
        return APR_EINVAL;
    }
    memcpy(first, text, (apr_size_t)(slash - text));
    first[slash - text] = '\0';
    if (gh_time_parse(start, first) != APR_SUCCESS || gh_time_parse(end, slash + 1) != APR_SUCCESS
        || *end <= *start) {
        return APR_EINVAL;
    }
    return APR_SUCCESS;
}
