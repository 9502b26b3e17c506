/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow_json.h"

#include <ctype.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "log.h"

#define RULE "escrow.request"

#define UUID_LENGTH 36

#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

static void release_overwritten(void *memory)
{
    if (memory) {
        OPENSSL_cleanse(memory, malloc_usable_size(memory));
        free(memory);
    }
}

void escrow_json_protect(void)
{
    json_set_alloc_funcs(malloc, release_overwritten);
}

static apr_status_t release(void *data)
{
    json_decref(data);
    return APR_SUCCESS;
}

static const char *said_of(const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_stack_overflow:
        return "it is nested too deeply";
    case json_error_duplicate_key:
        return "an object has two members of one name";
    case json_error_invalid_utf8:
        return "it is not UTF-8";
    case json_error_premature_end_of_input:
        return "it ends too early";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "it has a NUL";
    case json_error_end_of_input_expected:
        return "something follows its end";
    default:
        return "it is not well-formed";
    }
}

apr_status_t escrow_json_read(const json_t **object, gh_bytes_t body, apr_pool_t *p,
                              gh_result_t *result)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)body.data, body.length, JSON_REJECT_DUPLICATES,
                              &error);

    *object = NULL;
    if (json == NULL) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send an object of JSON in UTF-8.",
                              GHNO(1197) "the body is not JSON: %s, line %d, column %d",
                              said_of(&error), error.line, error.column);
    }
    apr_pool_cleanup_register(p, json, release, apr_pool_cleanup_null);
    if (!json_is_object(json)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send an object of JSON.",
                              GHNO(1198) "the body is JSON, but no object");
    }
    *object = json;
    return APR_SUCCESS;
}

const char *escrow_uuid(const char *text, apr_pool_t *p)
{
    char *uuid = apr_pstrmemdup(p, text, strnlen(text, UUID_LENGTH + 1));
    int i;

    for (i = 0; i < UUID_LENGTH; ++i) {
        if (i == 8 || i == 13 || i == 18 || i == 23 ? uuid[i] != '-'
            : !isxdigit((unsigned char)uuid[i])) {
            return NULL;
        }
        uuid[i] = (char)tolower((unsigned char)uuid[i]);
    }
    return uuid[UUID_LENGTH] == '\0' ? uuid : NULL;
}

apr_status_t escrow_json_uuid(const char **uuid, const json_t *object, const char *name,
                              apr_pool_t *p, gh_result_t *result)
{
    const json_t *value = json_object_get(object, name);

    *uuid = json_is_string(value) ? escrow_uuid(json_string_value(value), p) : NULL;
    if (*uuid == NULL) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send it like 0b36f5c2-81d4-4c8e-9b0a-3f5e7d2c1a60.",
                              GHNO(1199) "%s: %s", name,
                              value ? "no UUID" : "is missing");
    }
    return APR_SUCCESS;
}

/** Without white space. @return NULL if there is anything but base64 with its padding */
static unsigned char *squeeze(const char *text, apr_size_t length, gh_locked_t *locked,
                              apr_size_t *squeezed, apr_pool_t *p)
{
    unsigned char *made = locked ? gh_locked_alloc(locked, length + 1, p)
        : apr_palloc(p, length + 1);
    apr_size_t size = 0, i, data;

    for (i = 0; made && i < length; ++i) {
        if (!isspace((unsigned char)text[i])) {
            made[size++] = (unsigned char)text[i];
        }
    }
    if (made == NULL || size == 0 || size % 4 != 0) {
        return NULL;
    }
    made[size] = '\0';
    data = strspn((const char *)made, BASE64);
    if (data < size && (data + 2 < size || made[size - 1] != '=' || made[data] != '=')) {
        return NULL;
    }
    *squeezed = size;
    return made;
}

apr_status_t escrow_json_base64(gh_bytes_t *bytes, const json_t *value, const char *where,
                                apr_size_t most, gh_locked_t *locked, apr_pool_t *p,
                                gh_result_t *result)
{
    apr_size_t length = json_string_length(value), size = 0;
    unsigned char *text, *decoded = NULL;
    int count = -1;

    bytes->data = NULL;
    bytes->length = 0;
    if (!json_is_string(value)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send a string of base64.",
                              GHNO(1200) "%s: %s", where, value ? "no string" : "is missing");
    }
    if (length / 4 * 3 > most + most / 32 + 64) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Send less.",
                              GHNO(1201) "%s: more than %" APR_SIZE_T_FMT " bytes", where, most);
    }
    text = squeeze(json_string_value(value), length, locked, &size, p);
    if (text) {
        decoded = locked ? gh_locked_alloc(locked, size / 4 * 3 + 1, p)
            : apr_palloc(p, size / 4 * 3 + 1);
    }
    if (decoded) {
        count = EVP_DecodeBlock(decoded, text, (int)size);
    }
    if (count < 0) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send base64 with its padding (RFC 4648 4).",
                              GHNO(1202) "%s: no base64", where);
    }
    count -= (text[size - 1] == '=') + (text[size - 2] == '=');
    bytes->data = decoded;
    bytes->length = (apr_size_t)count;
    return APR_SUCCESS;
}

apr_status_t escrow_json_only(const json_t *object, const char *const *names, const char *where,
                              gh_result_t *result)
{
    const char *key;
    json_t *value;
    int i;

    json_object_foreach((json_t *)object, key, value) {
        for (i = 0; names[i] && strcmp(names[i], key) != 0; ++i) {
            continue;
        }
        if (names[i] == NULL) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                                  "See /v1/openapi.json for the members that there are.",
                                  GHNO(1203) "%s: has a member that is not known", where);
        }
    }
    return APR_SUCCESS;
}
