/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "mod_escrow/escrow_event.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "log.h"
#include "mod_escrow/escrow_json.h"
#include "status.h"
#include "x509/name.h"
#include "x509/san.h"
#include "x509/template.h"

#define RULE "escrow.event"

#define TEXT_MAX 128

#define HMAC_SIZE 32

/** A member that is a text of printable characters. @return NULL if it is none */
static const char *text_of(const json_t *object, const char *name, apr_pool_t *p)
{
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    apr_size_t length = json_string_length(value);
    apr_size_t i;

    if (!text || !length || length > GH_SAN_EMAIL_MAX || strlen(text) != length) {
        return NULL;
    }
    for (i = 0; i < length; ++i) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return NULL;
        }
    }
    return apr_pstrdup(p, text);
}

static const char *uuid_of(const json_t *object, const char *name, apr_pool_t *p)
{
    const char *text = text_of(object, name, p);

    return text ? escrow_uuid(text, p) : NULL;
}

static const char *id_of(const json_t *object, apr_pool_t *p)
{
    const json_t *value = json_object_get(object, "EventId");
    const char *text = text_of(object, "EventId", p);

    if (json_is_integer(value)) {
        return apr_psprintf(p, "%" APR_INT64_T_FMT, (apr_int64_t)json_integer_value(value));
    }
    return text && strlen(text) <= TEXT_MAX ? text : NULL;
}

/** The part before the '@' is its domain's own business, case included. */
static const char *mail_of(const json_t *object, apr_pool_t *p)
{
    const char *text = text_of(object, "EnrollmentEmailAddress", p);
    char *at;

    for (at = text ? strchr(text, '@') : NULL; at && *at; ++at) {
        *at = (char)tolower((unsigned char)*at);
    }
    return text;
}

apr_status_t escrow_event_read(escrow_event_t **event, gh_bytes_t body, apr_pool_t *p,
                               gh_result_t *result)
{
    const json_t *object;
    apr_status_t rv = escrow_json_read(&object, body, p, result);

    *event = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *event = apr_pcalloc(p, sizeof(**event));
    (*event)->id = id_of(object, p);
    (*event)->device = uuid_of(object, "DeviceUUID", p);
    (*event)->user = uuid_of(object, "EnrollmentUserUUID", p);
    (*event)->email = mail_of(object, p);
    (*event)->name = text_of(object, "EnrollmentUserName", p);
    (*event)->time = text_of(object, "EventTime", p);
    if ((*event)->time && strlen((*event)->time) > TEXT_MAX) {
        (*event)->time = NULL;
    }
    return APR_SUCCESS;
}

/* Addresses */

/** Dot-atoms of RFC 5322 3.2.3 on the left, letters, digits, '-' and '.' on the right: what every
 *  mail program shows as it is. */
static int is_address(const char *email)
{
    const char *at = strchr(email, '@');
    const char *c;

    if (!at || at == email || strlen(email) > GH_SAN_EMAIL_MAX || at - email > 64) {
        return 0;
    }
    for (c = email; c < at; ++c) {
        if (!isalnum((unsigned char)*c) && !strchr("!#$%&'*+-/=?^_`{|}~.", *c)) {
            return 0;
        }
    }
    for (c = at + 1; *c; ++c) {
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '.') {
            return 0;
        }
    }
    return !strstr(email, "..") && email[0] != '.' && at[-1] != '.' && at[1] && at[1] != '.'
        && c[-1] != '.';
}

static int is_of(const char *host, const char *domain)
{
    apr_size_t have = strlen(host);
    apr_size_t want;

    if (domain[0] != '*') {
        return !strcasecmp(host, domain);
    }
    want = strlen(domain + 1);
    return have > want && !strcasecmp(host + have - want, domain + 1);
}

apr_status_t escrow_event_check_mail(const char *email, const apr_array_header_t *domains,
                                     gh_result_t *result)
{
    int i;

    if (!email || !is_address(email)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Let the UEM know the user's mail address.",
                              GHNO(1289) "EnrollmentEmailAddress: %s",
                              email ? "no address that a certificate can have" : "is missing");
    }
    for (i = 0; domains && i < domains->nelts; ++i) {
        if (is_of(strchr(email, '@') + 1, APR_ARRAY_IDX(domains, i, const char *))) {
            return APR_SUCCESS;
        }
    }
    return gh_result_fail(result, GH_EREFUSED, GH_FAILURE_DENIED, RULE,
                          "Add the domain to EscrowMailDomains if its mail is yours.",
                          GHNO(1290) "%.200s is not of a domain that certificates are made for",
                          email);
}

apr_status_t escrow_event_check(const escrow_event_t *event, const apr_array_header_t *domains,
                                gh_result_t *result)
{
    if (!event->device || !event->user) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Have the UEM send it.",
                              GHNO(1291) "%s: is missing, or no UUID",
                              event->device ? "EnrollmentUserUUID" : "DeviceUUID");
    }
    return escrow_event_check_mail(event->email, domains, result);
}

const char *escrow_event_key(const escrow_event_t *event, apr_pool_t *p)
{
    return apr_pstrcat(p, event->id, "/", event->device, "/", event->user, "/",
                       event->time ? event->time : "-", NULL);
}

/* Rules */

static const char *placeholder(void *baton, const char *name, apr_pool_t *p)
{
    const escrow_event_t *event = baton;

    return !strcmp(name, "email") ? event->email
        : !strcmp(name, "user") ? event->name
        : !strcmp(name, "user-uuid") ? event->user
        : !strcmp(name, "device-uuid") ? event->device : NULL;
}

apr_status_t escrow_event_rule(gh_provide_rule_t *made, const gh_provide_rule_t *rule,
                               const escrow_event_t *event, apr_pool_t *p, gh_result_t *result)
{
    const char *failed = NULL;
    X509_NAME *name;

    *made = *rule;
    made->subject = gh_template_fill(rule->subject, placeholder, (void *)event, 1, &failed, p);
    if (!made->subject) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Have the UEM send it, or change subject= of EscrowProvide.",
                              GHNO(1292) "the subject of the certificates needs <%.64s>, which the "
                              "event does not say", failed ? failed : "");
    }
    if (gh_name_parse(&name, made->subject, p, NULL) != APR_SUCCESS) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Change subject= of EscrowProvide.",
                              GHNO(1293) "\"%.200s\" cannot be the subject of a certificate",
                              made->subject);
    }
    return APR_SUCCESS;
}

/* Authentication */

static gh_bytes_t digest_of(const char *header, apr_pool_t *p)
{
    gh_bytes_t digest = { NULL, 0 };

    if (!strncasecmp(header, "sha256=", 7)) {
        header += 7;
    }
    if (strlen(header) > 2 * HMAC_SIZE) {
        return digest;
    }
    if (strlen(header) != 2 * HMAC_SIZE || gh_hex_parse(&digest, header, p) != APR_SUCCESS) {
        digest = gh_base64_decode(header, p);
    }
    return digest;
}

int escrow_event_authentic(const char *header, gh_bytes_t body, gh_bytes_t secret, apr_pool_t *p)
{
    unsigned char right[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    gh_bytes_t said = digest_of(header, p);
    int good = secret.length
        && HMAC(EVP_sha256(), secret.data, (int)secret.length, body.data, body.length, right,
                &length)
        && gh_equal_secret(said.data ? said.data : right, said.length, right, length);

    OPENSSL_cleanse(right, sizeof(right));
    return good;
}
