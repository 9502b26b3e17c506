/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* The envelope of what a CA gateway answers: whether it did it, did not, or does not say. */

#include "fcgi/ca/cagw_private.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "mended_json.h"

#define CODE_MAX 64
#define MESSAGE_MAX 300
#define DETAILS_MAX 2000

static apr_status_t release(void *data)
{
    json_decref(data);
    return APR_SUCCESS;
}

const char *cagw_text(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    const char *text = json_string_value(member);

    return text && strlen(text) == json_string_length(member) ? text : NULL;
}

const char *cagw_printable(const char *text, apr_size_t max, apr_pool_t *p)
{
    char *copy = apr_pstrndup(p, text, max), *at;

    for (at = copy; *at; ++at) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) {
            *at = '?';
        }
    }
    return copy;
}

static const char *printable_text(const json_t *object, const char *name, apr_size_t max,
                                  apr_pool_t *p)
{
    const char *text = cagw_text(object, name);

    return text && *text ? cagw_printable(text, max, p) : NULL;
}

/** The gateway's own words; the details are for who looks for a fault in the gateway. */
static void read_error(cagw_reply_t *reply, apr_pool_t *p)
{
    const json_t *error = json_object_get(reply->json, CAGW_ERROR);
    char *details;

    if (!json_is_object(error)) {
        return;
    }
    reply->code = printable_text(error, CAGW_ERROR_CODE, CODE_MAX, p);
    reply->message = printable_text(error, CAGW_ERROR_MESSAGE, MESSAGE_MAX, p);
    if (json_object_get(error, CAGW_ERROR_DETAILS) || json_object_get(error, CAGW_ERROR_MORE)) {
        details = json_dumps(error, JSON_COMPACT);
        reply->details = details ? cagw_printable(details, DETAILS_MAX, p) : NULL;
        free(details);
    }
}

/**
 * Of those that say that something went wrong. One that asks to come again has done nothing (RFC
 * 9110 15.6.4), and neither has one that cannot do such things at all; any other may have. If the
 * gateway itself says so it has finished, unless it was its CA that it did not wait for; somebody
 * else knows nothing of what the gateway does yet.
 */
static cagw_verdict_t judge_fault(long status, int is_error, int retry_after)
{
    switch (status) {
    case 501:
        return CAGW_UNSUPPORTED;
    case 503:
        return retry_after ? CAGW_BUSY : is_error ? CAGW_UNTOLD : CAGW_BROKEN;
    case 408:
    case 502:
    case 504:
        return CAGW_BROKEN;
    default:
        return is_error ? CAGW_UNTOLD : CAGW_BROKEN;
    }
}

/**
 * A gateway says ErrorResponse, perhaps with status 200. Whatever else answers with 4xx stands
 * before the gateway, or is none: nothing was done, and devices are not to blame.
 */
static cagw_verdict_t judge(long status, int is_json, int is_error, int retry_after)
{
    if (status == 200 || status == 201 || status == 202) {
        return !is_json ? CAGW_UNTOLD : is_error ? CAGW_REFUSED : CAGW_DONE;
    }
    if (status == 429) {
        return CAGW_BUSY;
    }
    if (status == 401 || status == 403 || status == 407 || (status >= 300 && status < 400)) {
        return CAGW_MISCONFIGURED;
    }
    if (status >= 400 && status < 500 && status != 408) {
        return !is_error ? CAGW_MISCONFIGURED : status == 404 ? CAGW_MISSING : CAGW_REFUSED;
    }
    return judge_fault(status, is_error, retry_after);
}

static void say_no(const cagw_reply_t *reply, const char *said, gh_result_t *result)
{
    switch (reply->verdict) {
    case CAGW_REFUSED:
        gh_result_fail(result, GH_EREFUSED, GH_FAILURE_REQUEST, CAGW_RULE,
                       "Look in the list of error codes of the gateway.",
                       GHNO(0822) "the CA gateway refuses: %s", said);
        break;
    case CAGW_MISSING:
        gh_result_fail(result, APR_NOTFOUND, GH_FAILURE_NOT_FOUND, CAGW_RULE,
                       "See whether CA and profile have these names there.",
                       GHNO(0823) "the CA gateway does not know what was asked for: %s", said);
        break;
    default:
        gh_result_fail(result, APR_ENOTIMPL, GH_FAILURE_REQUEST, CAGW_RULE,
                       "See what the CA behind the gateway can do.",
                       GHNO(0824) "the CA gateway cannot do that for this CA: %s", said);
    }
}

static void say_later(const cagw_reply_t *reply, long status, const char *said,
                      gh_result_t *result)
{
    if (reply->verdict == CAGW_BUSY) {
        gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, CAGW_RULE,
                       "Nothing, if it passes; otherwise lower the issuer's rate.",
                       GHNO(0825) "the CA gateway wants to be asked later: %s", said);
    }
    else if (reply->verdict == CAGW_BROKEN && (status == 408 || status == 502 || status == 504)) {
        gh_result_fail(result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, CAGW_RULE,
                       "See whether the gateway is overloaded, or what stands before it impatient.",
                       GHNO(0831) "what stands before the CA gateway has not waited for it: %s",
                       said);
    }
    else if (reply->verdict == CAGW_BROKEN || reply->verdict == CAGW_UNTOLD) {
        gh_result_fail(result, GH_EUNKNOWN, GH_FAILURE_UNAVAILABLE, CAGW_RULE,
                       "Look into the gateway's log.",
                       GHNO(0826) "the CA gateway's answer does not tell what it did: %s", said);
    }
    else if (status == 403) {
        gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, CAGW_RULE,
                       "Give the client of this credential the role integrator or "
                       "policy-override-tenant at the gateway, or send less.",
                       GHNO(0827) "the role of our credential is too weak at the CA gateway: %s",
                       said);
    }
    else {
        gh_result_fail(result, APR_EACCES, GH_FAILURE_UNAVAILABLE, CAGW_RULE,
                       "See that the issuer's URL is that of the gateway, and that the gateway "
                       "knows the subject of our credential.",
                       GHNO(0828) "no answer of a CA gateway that knows us: %s", said);
    }
}

void cagw_read_reply(cagw_reply_t *reply, long status, gh_bytes_t body, int retry_after,
                     apr_pool_t *p, gh_result_t *result)
{
    json_error_t error = { 0 };
    const char *type, *said;
    json_t *json = NULL;
    int is_error;

    memset(reply, 0, sizeof(*reply));
    if (body.length > 0 && body.length <= CAGW_ANSWER_MAX) {
        json = gh_mended_json(body.data, body.length, &error);
    }
    if (json) {
        apr_pool_cleanup_register(p, json, release, apr_pool_cleanup_null);
    }
    reply->json = json_is_object(json) ? json : NULL;
    type = cagw_text(reply->json, CAGW_TYPE);
    is_error = type && !strcasecmp(type, CAGW_TYPE_ERROR);
    if (is_error) {
        read_error(reply, p);
    }
    reply->verdict = judge(status, reply->json != NULL, is_error, retry_after);
    said = reply->code || reply->message
        ? apr_psprintf(p, "%s%s%s (HTTP %ld)", reply->code ? reply->code : "",
                       reply->code && reply->message ? ": " : "",
                       reply->message ? reply->message : "", status)
        : apr_psprintf(p, "HTTP %ld%s", status,
                       reply->verdict == CAGW_UNTOLD && status < 300 ? ", and no JSON" : "");
    if (reply->verdict == CAGW_REFUSED || reply->verdict == CAGW_MISSING
        || reply->verdict == CAGW_UNSUPPORTED) {
        say_no(reply, said, result);
    }
    else if (reply->verdict != CAGW_DONE) {
        say_later(reply, status, said, result);
    }
}
