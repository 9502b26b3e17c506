/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "fcgi/uem/uem_template.h"

#include <stdlib.h>
#include <string.h>

#include <apr_escape.h>
#include <apr_strings.h>
#include <apr_tables.h>
#include <curl/curl.h>
#include <openssl/evp.h>

#include "log.h"

#define RULE "uem.template"

/** Most tokens of one. */
#define PARTS_MAX 1000

typedef enum {
    LITERAL, PROFILE, DEVICE, USER, DELIVERY, LABEL, DOCUMENT_BASE64, DOCUMENT_TYPE, DOCUMENT
} kind_t;

static const struct {
    const char *name;
    kind_t kind;
    int documents;
} tokens[] = {
    { "profile.uuid", PROFILE, 0 }, { "device.uuid", DEVICE, 0 }, { "user.uuid", USER, 0 },
    { "delivery.id", DELIVERY, 0 }, { "document.base64", DOCUMENT_BASE64, 1 },
    { "document.type", DOCUMENT_TYPE, 1 }, { "document", DOCUMENT, 1 }
};

typedef struct {
    kind_t kind;
    const char *text;               /* of a literal; the name of a label */
} part_t;

struct uem_template {
    uem_place_t place;
    apr_array_header_t *parts;      /* part_t */
};

uem_place_t uem_place_of_type(const char *type)
{
    apr_size_t length = strcspn(type, "; \t");

    if (length >= 4 && (!strncmp(type + length - 4, "json", 4))) {
        return UEM_IN_JSON;
    }
    return length >= 3 && !strncmp(type + length - 3, "xml", 3) ? UEM_IN_XML : UEM_IN_TEXT;
}

/* Reading */

/** What of a template itself may not stand in its place. @return its position, or -1 */
static long fault_of(const char *text, uem_place_t place)
{
    const char *at;

    for (at = text; *at && place <= UEM_IN_HEADER; ++at) {
        unsigned char byte = (unsigned char)*at;

        if (byte < ' ' || byte == 0x7f || (place == UEM_IN_URL && (byte == ' ' || byte > 0x7e))) {
            return at - text;
        }
    }
    return -1;
}

static int is_token(part_t *part, const char *name, apr_size_t length, uem_place_t place,
                    int documents, apr_pool_t *p)
{
    apr_size_t i;

    if (length > 7 && !strncmp(name, "labels.", 7)) {
        part->kind = LABEL;
        part->text = apr_pstrmemdup(p, name + 7, length - 7);
        return gh_name_valid(part->text);
    }
    for (i = 0; i < sizeof(tokens) / sizeof(tokens[0]); ++i) {
        if (strlen(tokens[i].name) == length && !strncmp(tokens[i].name, name, length)
            && (documents || !tokens[i].documents)
            && (tokens[i].kind != DOCUMENT || place >= UEM_IN_JSON)) {
            part->kind = tokens[i].kind;
            return 1;
        }
    }
    return 0;
}

static part_t *add_part(uem_template_t *one, kind_t kind, const char *text)
{
    part_t *part = apr_array_push(one->parts);

    part->kind = kind;
    part->text = text;
    return part;
}

static apr_status_t refuse(gh_result_t *result, const char *text, const char *at)
{
    apr_size_t length = strcspn(at, "}\r\n");

    return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                          "Use the tokens of the manual; {{document}} stands alone, in a body.",
                          GHNO(1242) "\"%.*s\" at character %ld is no token that can stand there",
                          (int)(length < 60 ? length + 2 : 60), at, (long)(at - text) + 1);
}

apr_status_t uem_template_parse(uem_template_t **out, const char *text, uem_place_t place,
                                int documents, apr_pool_t *p, gh_result_t *result)
{
    uem_template_t *one = apr_pcalloc(p, sizeof(*one));
    const char *rest = text, *begin, *end;
    long fault = fault_of(text, place);
    int alone = 0;

    *out = NULL;
    if (fault >= 0 || strlen(text) > UEM_TEMPLATE_MAX) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Write it in printable ASCII, without spaces in URLs, and not longer "
                              "than 64 KiB.",
                              GHNO(1243) "the template has something at character %ld that cannot "
                              "stand there, or is too long", fault + 1);
    }
    one->place = place;
    one->parts = apr_array_make(p, 8, sizeof(part_t));
    for (; (begin = strstr(rest, "{{")) != NULL; rest = end + 2) {
        part_t *part;

        if (begin > rest) {
            add_part(one, LITERAL, apr_pstrmemdup(p, rest, (apr_size_t)(begin - rest)));
        }
        end = strstr(begin, "}}");
        part = add_part(one, LITERAL, NULL);
        if (!end || one->parts->nelts > PARTS_MAX
            || !is_token(part, begin + 2, (apr_size_t)(end - begin) - 2, place, documents, p)) {
            return refuse(result, text, begin);
        }
        alone |= part->kind == DOCUMENT;
    }
    if (*rest) {
        add_part(one, LITERAL, apr_pstrdup(p, rest));
    }
    if (alone && one->parts->nelts != 1) {
        return refuse(result, text, strstr(text, "{{document}}"));
    }
    *out = one;
    return APR_SUCCESS;
}

/* Writing */

static const char *in_json(const char *value, apr_pool_t *p)
{
    json_t *string = json_string(value);
    char *text = string ? json_dumps(string, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    const char *copy = text ? apr_pstrmemdup(p, text + 1, strlen(text) - 2) : NULL;

    free(text);
    json_decref(string);
    return copy;
}

static const char *in_url(const char *value, apr_pool_t *p)
{
    char *text = curl_easy_escape(NULL, value, (int)strlen(value));
    const char *copy = apr_pstrdup(p, text);

    curl_free(text);
    return copy;
}

static int has_controls(const char *value, const char *allowed)
{
    for (; *value; ++value) {
        unsigned char byte = (unsigned char)*value;

        if ((byte < ' ' && !strchr(allowed, byte)) || byte == 0x7f) {
            return 1;
        }
    }
    return 0;
}

/** @return NULL if it cannot stand there */
static const char *written(const char *value, uem_place_t place, apr_pool_t *p)
{
    switch (place) {
    case UEM_IN_URL:
        return in_url(value, p);
    case UEM_IN_HEADER:
        return has_controls(value, "") ? NULL : value;
    case UEM_IN_JSON:
        return in_json(value, p);
    case UEM_IN_XML:
        return has_controls(value, "\t\r\n") ? NULL : apr_pescape_entity(p, value, 0);
    default:
        return value;
    }
}

static const char *base64(gh_bytes_t bytes, apr_pool_t *p)
{
    unsigned char *text = apr_palloc(p, (bytes.length + 2) / 3 * 4 + 1);

    EVP_EncodeBlock(text, bytes.data, (int)bytes.length);
    return (const char *)text;
}

static const char *value_of(const part_t *part, const uem_values_t *values, apr_pool_t *p)
{
    switch (part->kind) {
    case PROFILE:
        return values->profile;
    case DEVICE:
        return values->device;
    case USER:
        return values->user;
    case DELIVERY:
        return values->delivery;
    case LABEL:
        return json_string_value(json_object_get(values->labels, part->text));
    case DOCUMENT_BASE64:
        return values->document.data ? base64(values->document, p) : NULL;
    case DOCUMENT_TYPE:
        return values->document_type;
    default:
        return NULL;
    }
}

static const char *name_of(const part_t *part, apr_pool_t *p)
{
    apr_size_t i;

    for (i = 0; i < sizeof(tokens) / sizeof(tokens[0]); ++i) {
        if (tokens[i].kind == part->kind) {
            return tokens[i].name;
        }
    }
    return apr_pstrcat(p, "labels.", part->text, NULL);
}

apr_status_t uem_template_expand(gh_bytes_t *text, const uem_template_t *one,
                                 const uem_values_t *values, apr_pool_t *p, gh_result_t *result)
{
    apr_array_header_t *pieces = apr_array_make(p, one->parts->nelts, sizeof(const char *));
    int i;

    for (i = 0; i < one->parts->nelts; ++i) {
        const part_t *part = &APR_ARRAY_IDX(one->parts, i, part_t);
        const char *value;

        if (part->kind == DOCUMENT) {
            *text = values->document;
            return APR_SUCCESS;
        }
        value = part->kind == LITERAL ? part->text : value_of(part, values, p);
        if (value && part->kind != LITERAL) {
            value = written(value, one->place, p);
        }
        if (!value) {
            return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                                  "Send the profile with the labels that the UEM's templates name, "
                                  "without control characters; then retry it.",
                                  GHNO(1244) "{{%s}} is not there, or has something in it that "
                                  "cannot stand where the template has it", name_of(part, p));
        }
        APR_ARRAY_PUSH(pieces, const char *) = value;
    }
    text->data = (const unsigned char *)apr_array_pstrcat(p, pieces, 0);
    text->length = strlen((const char *)text->data);
    return APR_SUCCESS;
}
