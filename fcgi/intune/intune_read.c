/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* What Entra ID, Graph and Intune answer. */

#include "fcgi/intune/intune_codec.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <openssl/crypto.h>

#include "issuer/intune.h"
#include "log.h"
#include "status.h"

#define TOKEN_MAX 16384
#define URL_MAX 1024
#define SERVICES_MAX 1000
#define CONTEXT_MAX 8192
#define SERIAL_MAX 128
#define ISSUER_MAX 2048
#define CODE_MAX 63
#define SAID_MAX 160

/** Of what is said to be valid for longer nothing is believed. */
#define LIFETIME_MAX 86400

#define SCEP_SERVICE "ScepRequestValidationFEService"
#define REVOCATION_SERVICE "PkiConnectorFEService"

static apr_status_t release(void *data)
{
    json_decref(data);
    return APR_SUCCESS;
}

/** @return NULL if it is no object */
static const json_t *parse(gh_bytes_t body, apr_pool_t *p)
{
    json_error_t error;
    json_t *json = body.length > 0 && body.length <= INTUNE_ANSWER_MAX
        ? json_loadb((const char *)body.data, body.length, JSON_REJECT_DUPLICATES, &error) : NULL;

    if (json) {
        apr_pool_cleanup_register(p, json, release, apr_pool_cleanup_null);
    }
    return json_is_object(json) ? json : NULL;
}

/** Members are found in any case, as Microsoft's libraries do. */
static const json_t *member(const json_t *object, const char *name)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value) {
        if (!strcasecmp(key, name)) {
            return value;
        }
    }
    return NULL;
}

static const char *text_of(const json_t *object, const char *name, apr_size_t most)
{
    const json_t *value = member(object, name);

    return json_is_string(value) && json_string_length(value) > 0
        && json_string_length(value) <= most ? json_string_value(value) : NULL;
}

static const char *printable(const char *text, apr_size_t max, apr_pool_t *p)
{
    char *copy = apr_pstrndup(p, text ? text : "", max), *at;

    for (at = copy; *at; ++at) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) {
            *at = '?';
        }
    }
    return copy;
}

static intune_verdict_t malformed(const char *who, const char *what, gh_result_t *result)
{
    gh_result_fail(result, APR_EINVAL, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                   "Look whether something stands between that answers in its place.",
                   GHNO(0924) "an answer of %s has no usable %s", who, what);
    return INTUNE_UNAVAILABLE;
}

static int is_success(long status)
{
    return status >= 200 && status < 300;
}

/** Whatever is no success. */
static intune_verdict_t judge(const char *who, const char *permission, long status,
                              gh_result_t *result)
{
    switch (status) {
    case 401:
        gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Compare the endpoints of the connection with those of the cloud.",
                       GHNO(0925) "%s does not accept the token", who);
        return INTUNE_TOKEN;
    case 403:
        gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Give the application the permission, with the consent of an "
                       "administrator.",
                       GHNO(0926) "%s does not permit it: the application needs %s", who,
                       permission);
        return INTUNE_TOKEN;
    case 404:
    case 410:
        gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Nothing, if it passes: the service is looked for anew.",
                       GHNO(0927) "%s is not where it was said to be (HTTP %ld)", who, status);
        return INTUNE_MOVED;
    case 400:
    case 413:
    case 415:
    case 422:
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, INTUNE_RULE,
                       "Look for the call in the log of the service, by its client-request-id.",
                       GHNO(0928) "%s does not take the call (HTTP %ld)", who, status);
        return INTUNE_REFUSED;
    default:
        gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Nothing, if it passes; see the state of Microsoft's services.",
                       GHNO(0929) "%s is not available (HTTP %ld)", who, status);
        return INTUNE_UNAVAILABLE;
    }
}

/* Entra ID */

static intune_verdict_t read_no_token(long status, const json_t *json, apr_pool_t *p,
                                      gh_result_t *result)
{
    const char *error = text_of(json, "error", CODE_MAX);
    const char *said = printable(text_of(json, "error_description", 4096), SAID_MAX, p);

    if (status == 429 || status >= 500 || !error) {
        gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Nothing, if it passes; see the state of Microsoft's services.",
                       GHNO(0930) "Entra ID gives no token (HTTP %ld)", status);
        return INTUNE_UNAVAILABLE;
    }
    if (!strcmp(error, "invalid_client") || !strcmp(error, "unauthorized_client")) {
        gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Make a new secret or certificate for the application, and configure it.",
                       GHNO(0931) "Entra ID does not accept the credential: %s", said);
        return INTUNE_CREDENTIAL;
    }
    gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                   "Compare IntuneTenant, IntuneApplication and IntuneEndpoints with what the "
                   "portal shows.",
                   GHNO(0932) "Entra ID gives no token: %s: %s", printable(error, CODE_MAX, p),
                   said);
    return !strcmp(error, "invalid_resource") || strstr(said, "AADSTS500011")
        || !strcmp(error, "invalid_scope") ? INTUNE_SCOPE : INTUNE_MISCONFIGURED;
}

/** Some send a number as a text. */
static json_int_t number_of(const json_t *value)
{
    return json_is_integer(value) ? json_integer_value(value)
        : json_is_string(value) ? strtol(json_string_value(value), NULL, 10) : 0;
}

/** RFC 6750 2.1. */
static int is_token(const char *text)
{
    return text && !text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                      "0123456789-._~+/=")];
}

intune_verdict_t intune_read_token(intune_token_t *token, long status, gh_bytes_t body,
                                   apr_pool_t *p, gh_result_t *result)
{
    const json_t *json = parse(body, p);
    const char *text = text_of(json, "access_token", TOKEN_MAX);
    json_int_t seconds = number_of(member(json, "expires_in"));

    memset(token, 0, sizeof(*token));
    if (!is_success(status)) {
        return read_no_token(status, json, p, result);
    }
    if (!is_token(text) || seconds < 1) {
        return malformed("Entra ID", "token", result);
    }
    token->token = intune_secret_text(text, strlen(text), p);
    token->lifetime = apr_time_from_sec(seconds < LIFETIME_MAX ? seconds : LIFETIME_MAX);
    OPENSSL_cleanse((void *)text, strlen(text));
    return INTUNE_DONE;
}

/* Graph */

/** A token goes there, so that nothing but TLS will do. */
static const char *read_url(const json_t *object, apr_pool_t *p)
{
    const char *text = text_of(object, "uri", URL_MAX);
    apr_size_t length = text ? strlen(text) : 0;

    if (!text || strncasecmp(text, "https://", 8) || strpbrk(text, "?#@ \"\\<>")
        || text[8] == '/' || !text[8] || strlen(printable(text, length, p)) != length
        || strchr(printable(text, length, p), '?')) {
        return NULL;
    }
    while (length > 9 && text[length - 1] == '/') {
        --length;
    }
    return apr_pstrmemdup(p, text, length);
}

intune_verdict_t intune_read_services(intune_services_t *services, long status, gh_bytes_t body,
                                      apr_pool_t *p, gh_result_t *result)
{
    const json_t *list = NULL;
    json_t *element;
    size_t i;

    memset(services, 0, sizeof(*services));
    if (!is_success(status)) {
        return judge("Microsoft Graph", "Application.Read.All of Microsoft Graph", status, result);
    }
    list = member(parse(body, p), "value");
    if (!json_is_array(list) || json_array_size(list) > SERVICES_MAX) {
        return malformed("Microsoft Graph", "list of services", result);
    }
    json_array_foreach((json_t *)list, i, element) {
        const char *name = text_of(element, "providerName", URL_MAX);

        name = name ? name : text_of(element, "serviceName", URL_MAX);
        if (name && !strcasecmp(name, SCEP_SERVICE)) {
            services->scep = read_url(element, p);
        }
        else if (name && !strcasecmp(name, REVOCATION_SERVICE)) {
            services->revocation = read_url(element, p);
        }
    }
    if (!services->scep) {
        gh_result_fail(result, APR_ENOENT, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                       "Give the application the permission scep_challenge_provider of Intune, "
                       "with the consent of an administrator; see that the tenant has Intune.",
                       GHNO(0933) "Microsoft Graph does not name the service %s", SCEP_SERVICE);
        return INTUNE_MISCONFIGURED;
    }
    return INTUNE_DONE;
}

/* Intune */

void intune_read_scep(intune_answer_t *answer, long status, gh_bytes_t body, apr_pool_t *p,
                      gh_result_t *result)
{
    const gh_intune_code_t *known;
    const char *code;

    memset(answer, 0, sizeof(*answer));
    if (!is_success(status)) {
        answer->verdict = judge("Intune", "scep_challenge_provider of Intune", status, result);
        answer->reason = answer->verdict == INTUNE_REFUSED ? result->message : NULL;
        return;
    }
    answer->json = parse(body, p);
    if (!answer->json) {
        answer->verdict = malformed("Intune", "JSON", result);
        return;
    }
    code = text_of(answer->json, "code", CODE_MAX);
    known = gh_intune_code(code);
    answer->code = code ? printable(code, CODE_MAX, p) : NULL;
    if (known && known->failure == GH_FAILURE_NONE) {
        answer->verdict = INTUNE_DONE;
        return;
    }
    answer->verdict = INTUNE_REFUSED;
    if (known) {
        answer->reason = apr_psprintf(p, GH_INTUNE_SAYS "%s: %s", known->name, known->text);
        gh_result_fail(result, GH_EREFUSED, known->failure, INTUNE_RULE,
                       "Look at the device and the SCEP profile in Intune.",
                       GHNO(0934) "%s", answer->reason);
    }
    else {
        /* whatever it is, it is no yes */
        answer->reason = apr_psprintf(p, GH_INTUNE_SAYS "%s: this code is not known",
                                      answer->code ? answer->code : "nothing");
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, INTUNE_RULE,
                       "Look at the device and the SCEP profile in Intune; report the code.",
                       GHNO(0935) "%s", answer->reason);
    }
}

intune_verdict_t intune_read_revocations(apr_array_header_t **list, int *skipped, long status,
                                         gh_bytes_t body, apr_pool_t *p, gh_result_t *result)
{
    const json_t *values = NULL;
    json_t *element;
    size_t i;

    *list = apr_array_make(p, 16, sizeof(intune_revocation_t));
    *skipped = 0;
    if (!is_success(status)) {
        return judge("Intune", "scep_challenge_provider of Intune", status, result);
    }
    values = member(parse(body, p), "value");
    if (!json_is_array(values) || json_array_size(values) > INTUNE_REVOCATIONS_MAX) {
        return malformed("Intune", "list of requests for revocation", result);
    }
    json_array_foreach((json_t *)values, i, element) {
        intune_revocation_t one = {
            text_of(element, "requestContext", CONTEXT_MAX),
            text_of(element, "serialNumber", SERIAL_MAX),
            text_of(element, "issuerName", ISSUER_MAX)
        };

        if (one.context) {
            one.serial = one.serial ? one.serial : "";
            APR_ARRAY_PUSH(*list, intune_revocation_t) = one;
        }
        else {
            ++*skipped;
        }
    }
    return INTUNE_DONE;
}

intune_verdict_t intune_read_recorded(long status, gh_bytes_t body, apr_pool_t *p,
                                      gh_result_t *result)
{
    const json_t *value;

    if (!is_success(status)) {
        return judge("Intune", "scep_challenge_provider of Intune", status, result);
    }
    value = member(parse(body, p), "value");
    if (json_is_true(value)
        || (json_is_string(value) && !strcasecmp(json_string_value(value), "true"))) {
        return INTUNE_DONE;
    }
    gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, INTUNE_RULE,
                   "Nothing, if it passes: they are sent again.",
                   GHNO(0936) "Intune has not recorded the results of revocations");
    return INTUNE_UNAVAILABLE;
}
