/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow_skeleton.h"

#include <string.h>

#include <apr_strings.h>

#include "escrow_json.h"
#include "log.h"

#define RULE "escrow.skeleton"

#define CERTIFICATE_MAX 65536

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

static int label_permitted(const char *name, const json_t *value)
{
    apr_size_t length = strlen(name);

    return length > 0 && length <= ESCROW_LABEL_NAME_MAX
        && strspn(name, NAME_CHARACTERS) == length && json_is_string(value)
        && json_string_length(value) <= ESCROW_LABEL_VALUE_MAX;
}

static apr_status_t read_labels(const char **labels, const json_t *object, apr_pool_t *p,
                                gh_result_t *result)
{
    const char *name;
    json_t *value;
    apr_size_t size;
    char *text;

    *labels = NULL;
    if (object == NULL || json_is_null(object)) {
        return APR_SUCCESS;
    }
    if (!json_is_object(object) || json_object_size(object) > ESCROW_LABELS_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send an object of at most 32 strings.",
                              GHNO(1211) "labels: no object, or one of too many");
    }
    json_object_foreach((json_t *)object, name, value) {
        if (!label_permitted(name, value)) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                                  "Names have up to 64 of A-Z a-z 0-9 _ . -; values are strings "
                                  "of up to 1024 bytes.",
                                  GHNO(1212) "labels: one has a name or value that is not "
                                  "permitted");
        }
    }
    size = json_dumpb(object, NULL, 0, JSON_COMPACT | JSON_SORT_KEYS);
    text = apr_pcalloc(p, size + 1);
    json_dumpb(object, text, size, JSON_COMPACT | JSON_SORT_KEYS);
    *labels = text;
    return APR_SUCCESS;
}

/** What stands beside the UUIDs. */
static apr_status_t read_members(escrow_skeleton_t *skeleton, const json_t *object, apr_pool_t *p,
                                 gh_result_t *result)
{
    const json_t *format = json_object_get(object, "format");
    const json_t *sign = json_object_get(object, "sign");

    if (!json_is_string(format)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send mobileconfig, json, xml or text.",
                              GHNO(1213) "format: %s", format ? "no string" : "is missing");
    }
    if (sign && !json_is_boolean(sign) && !json_is_null(sign)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                              "Send true or false, or leave it out.",
                              GHNO(1214) "sign: neither true nor false");
    }
    skeleton->format = apr_pstrdup(p, json_string_value(format));
    skeleton->sign = json_is_true(sign);
    return read_labels(&skeleton->labels, json_object_get(object, "labels"), p, result);
}

apr_status_t escrow_skeleton_read(escrow_skeleton_t **made, gh_bytes_t body, apr_time_t now,
                                  apr_pool_t *p, gh_result_t *result)
{
    escrow_skeleton_t *skeleton = apr_pcalloc(p, sizeof(*skeleton));
    escrow_template_t *template;
    escrow_recipient_t *recipient;
    gh_bytes_t certificate;
    const json_t *object;
    apr_status_t rv;

    *made = NULL;
    if ((rv = escrow_json_read(&object, body, p, result)) != APR_SUCCESS
        || (rv = escrow_json_uuid(&skeleton->profile, object, "profile_uuid", p, result))
            != APR_SUCCESS
        || (rv = escrow_json_uuid(&skeleton->device, object, "device_uuid", p, result))
            != APR_SUCCESS
        || (rv = escrow_json_uuid(&skeleton->user, object, "user_uuid", p, result))
            != APR_SUCCESS
        || (rv = read_members(skeleton, object, p, result)) != APR_SUCCESS
        || (rv = escrow_json_base64(&skeleton->skeleton, json_object_get(object, "skeleton"),
                                    "skeleton", ESCROW_SKELETON_MAX, NULL, p, result))
            != APR_SUCCESS
        || (rv = escrow_template_read(&template, skeleton->format, skeleton->skeleton, p, result))
            != APR_SUCCESS
        || (rv = escrow_json_base64(&certificate, json_object_get(object, "recipient_certificate"),
                                    "recipient_certificate", CERTIFICATE_MAX, NULL, p, result))
            != APR_SUCCESS
        || (rv = escrow_recipient_read(&recipient, certificate, now, p, result)) != APR_SUCCESS) {
        return rv;
    }
    skeleton->needs = escrow_template_needs(template);
    skeleton->recipient = recipient;
    *made = skeleton;
    return APR_SUCCESS;
}
