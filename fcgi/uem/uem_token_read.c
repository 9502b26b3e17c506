/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/uem/uem_token.h"

#include <string.h>

#include <apr_cstr.h>
#include <apr_strings.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "log.h"
#include "status.h"

#define RULE "uem.token"

/** Life of a token whose server does not say it, and the longest that is believed. */
#define LIFETIME apr_time_from_sec(300)
#define LIFETIME_MAX apr_time_from_sec(24 * 3600)

static apr_status_t overwrite(void *text)
{
    OPENSSL_cleanse(text, strlen(text));
    return APR_SUCCESS;
}

/** RFC 6750 2.1: it stands in a header. */
static int is_token(const char *text)
{
    const char *at;

    for (at = text; *at > ' ' && *at < 0x7f; ++at) {
    }
    return *text && !*at;
}

apr_status_t uem_token_read(uem_token_t *token, long status, gh_bytes_t body, apr_pool_t *p,
                            gh_result_t *result)
{
    json_t *object = body.length && body.length <= UEM_TOKEN_MAX
        ? json_loadb((const char *)body.data, body.length, 0, NULL) : NULL;
    const char *text = json_string_value(json_object_get(object, "access_token"));
    const char *type = json_string_value(json_object_get(object, "token_type"));
    const char *error = json_string_value(json_object_get(object, "error"));
    const json_t *seconds = json_object_get(object, "expires_in");
    apr_status_t rv = APR_SUCCESS;

    memset(token, 0, sizeof(*token));
    if (status != 200 || !text || !is_token(text) || (type && apr_cstr_casecmp(type, "Bearer"))) {
        rv = gh_result_fail(result, GH_EUNAVAILABLE, GH_FAILURE_UNAVAILABLE, RULE,
                            "See whether client, secret and scope of UEMCredential oauth2 are "
                            "right, and the log of the server.",
                            GHNO(1245) "the token endpoint has given no token: HTTP status %ld%s"
                            "%.100s", status, error ? ", " : "", error ? error : "");
    }
    else {
        json_int_t lifetime = json_is_integer(seconds) ? json_integer_value(seconds) : 0;

        token->token = apr_pstrdup(p, text);
        apr_pool_cleanup_register(p, token->token, overwrite, apr_pool_cleanup_null);
        token->lifetime = lifetime <= 0 ? LIFETIME
            : lifetime > apr_time_sec(LIFETIME_MAX) ? LIFETIME_MAX : apr_time_from_sec(lifetime);
    }
    if (text) {
        OPENSSL_cleanse((void *)text, strlen(text));
    }
    json_decref(object);
    return rv;
}
