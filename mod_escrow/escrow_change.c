/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Reads what the configuration is to become. */

#include <string.h>

#include <apr_strings.h>
#include <jansson.h>
#include <openssl/crypto.h>

#include "log.h"
#include "mod_escrow/escrow_configuration.h"
#include "x509/thumbprint.h"

#define RULE "configuration"
#define LABEL_MAX 200

static apr_status_t bad(gh_result_t *result, const char *member, const char *what)
{
    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                          "See docs/mod_escrow.md for the members.",
                          GHNO(1190) "%s: %s", member, what);
}

static apr_status_t overwrite(void *data)
{
    OPENSSL_cleanse(data, strlen(data));
    return APR_SUCCESS;
}

/** A text without control characters, not too long. */
static const char *plain_text(const json_t *value, apr_size_t most, apr_pool_t *p)
{
    const char *text = json_string_value(value);
    apr_size_t i, length = json_string_length(value);

    for (i = 0; text && i < length; ++i) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return NULL;
        }
    }
    return text && length <= most ? apr_pstrmemdup(p, text, length) : NULL;
}

static apr_status_t read_thumbprint(gh_pin_record_t *pin, const json_t *value, const char *member,
                                    apr_pool_t *p, gh_result_t *result)
{
    gh_thumbprint_t thumbprint;

    if (!json_is_string(value)
        || gh_thumbprint_parse(&thumbprint, json_string_value(value), json_string_length(value),
                               NULL, NULL) != APR_SUCCESS) {
        return bad(result, member, "this is not the thumbprint of a certificate");
    }
    pin->thumbprint = gh_thumbprint_text(&thumbprint, p);
    return APR_SUCCESS;
}

/** An object with a role, so that each role may have an expiry of its own. */
static apr_status_t read_pin(gh_pin_record_t *pin, json_t *object, const char *member,
                             apr_pool_t *p, gh_result_t *result)
{
    const char *name, *text;
    apr_status_t rv = read_thumbprint(pin, json_object_get(object, "thumbprint"), member, p,
                                      result);
    json_t *value;

    json_object_foreach(object, name, value) {
        if (rv != APR_SUCCESS || !strcmp(name, "thumbprint")
            || (json_is_null(value) && strcmp(name, "role"))) {
            continue;
        }
        text = plain_text(value, LABEL_MAX, p);
        if (!text) {
            rv = bad(result, member, "a member has no text, or one that is too long");
        }
        else if (!strcmp(name, "role")) {
            pin->role = text;
            if (strcmp(text, "provider") && strcmp(text, "uem")) {
                rv = bad(result, member, "role is provider or uem; admin is given in files only");
            }
        }
        else if (!strcmp(name, "label")) {
            pin->label = text;
        }
        else if (!strcmp(name, "expires")) {
            rv = gh_time_parse(&pin->expires, text) == APR_SUCCESS
                     ? APR_SUCCESS : bad(result, member, "expires is not a time of RFC 3339");
        }
        else if (strcmp(name, "created") && strcmp(name, "created_by")
                 && strcmp(name, "last_used")) {
            rv = bad(result, member, "it has a member that is not known");
        }
    }
    return rv;
}

static apr_status_t read_pins(escrow_change_t *change, json_t *array, apr_pool_t *p,
                              gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    json_t *value;
    size_t i;

    if (!json_is_array(array) || json_array_size(array) > ESCROW_CHANGE_PINS_MAX) {
        return bad(result, "client_certificate_thumbprints",
                   "this is not an array, or has too many elements");
    }
    change->pins = apr_array_make(p, 16, sizeof(gh_pin_record_t *));
    json_array_foreach(array, i, value) {
        gh_pin_record_t *pin = apr_pcalloc(p, sizeof(*pin));
        const char *member = apr_psprintf(p, "client_certificate_thumbprints[%u]", (unsigned)i);

        rv = json_is_object(value) ? read_pin(pin, value, member, p, result)
                                   : read_thumbprint(pin, value, member, p, result);
        if (rv != APR_SUCCESS) {
            break;
        }
        APR_ARRAY_PUSH(change->pins, gh_pin_record_t *) = pin;
    }
    return rv;
}

static apr_status_t read_certificate(escrow_change_t *change, json_t *object, apr_pool_t *p,
                                     gh_result_t *result)
{
    static const char member[] = "server_certificate";
    const char *name, *text;
    json_t *value;

    if (!json_is_object(object)) {
        return bad(result, member, "this is not an object");
    }
    json_object_foreach(object, name, value) {
        text = json_string_value(value);
        if (!text || strlen(text) != json_string_length(value)) {
            return bad(result, member, "a member has no text");
        }
        if (!strcmp(name, "name")) {
            change->name = plain_text(value, 64, p);
        }
        else if (!strcmp(name, "pkcs12")) {
            change->pkcs12 = gh_base64_decode(text, p);
        }
        else if (!strcmp(name, "password")) {
            change->password = apr_pstrdup(p, text);
            apr_pool_cleanup_register(p, change->password, overwrite, apr_pool_cleanup_null);
            OPENSSL_cleanse((void *)text, strlen(text));
        }
        else {
            return bad(result, member, "it has a member that is not known");
        }
    }
    return change->pkcs12.length ? APR_SUCCESS
                                 : bad(result, "server_certificate.pkcs12",
                                       "this is not a PKCS#12 in base64");
}

apr_status_t escrow_change_parse(escrow_change_t **change, gh_bytes_t body, apr_pool_t *p,
                                 gh_result_t *result)
{
    json_error_t error;
    json_t *object = json_loadb((const char *)body.data, body.length,
                                JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    apr_status_t rv = APR_SUCCESS;
    const char *name;
    json_t *value;

    *change = apr_pcalloc(p, sizeof(**change));
    if (!json_is_object(object)) {
        rv = gh_result_fail(result, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                            "Send one JSON object, each member once.",
                            GHNO(1189) "the body is not a JSON object");
    }
    else {
        json_object_foreach(object, name, value) {
            if (rv != APR_SUCCESS) {
                break;
            }
            if (!strcmp(name, "client_certificate_thumbprints")) {
                rv = read_pins(*change, value, p, result);
            }
            else if (!strcmp(name, "server_certificate")) {
                rv = read_certificate(*change, value, p, result);
            }
            else {
                rv = bad(result, apr_psprintf(p, "\"%.64s\"", name), "this is not known here");
            }
        }
    }
    json_decref(object);
    return rv;
}
