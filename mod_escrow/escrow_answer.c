/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "escrow_answer.h"

#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "status.h"

/** Releases the object. @return "{}" if there was no memory for it */
static const char *print(json_t *object, apr_pool_t *p)
{
    const size_t flags = JSON_COMPACT;
    size_t size = object ? json_dumpb(object, NULL, 0, flags) : 0;
    char *text = apr_pcalloc(p, size + 4);

    if (size) {
        json_dumpb(object, text, size, flags);
        text[size] = '\n';
    }
    else {
        apr_cpystrn(text, "{}\n", 4);
    }
    json_decref(object);
    return text;
}

static json_t *time_or_null(apr_time_t time, apr_pool_t *p)
{
    return time ? json_string(gh_time_text(p, time)) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

static json_t *hex_of(const unsigned char *data, apr_size_t length, apr_pool_t *p)
{
    return json_string(gh_hex(p, data, length));
}

static json_t *texts(const apr_array_header_t *array)
{
    json_t *json = json_array();
    int i;

    for (i = 0; array && i < array->nelts; ++i) {
        json_array_append_new(json, json_string(APR_ARRAY_IDX(array, i, const char *)));
    }
    return json;
}

const char *escrow_answer_receipt(const gh_escrow_upload_record_t *row,
                                  const escrow_upload_t *upload,
                                  const apr_array_header_t *completes, apr_pool_t *p)
{
    json_t *object = json_object(), *stored = json_array();
    int i;

    for (i = 0; i < upload->elements->nelts; ++i) {
        const escrow_element_t *element = &APR_ARRAY_IDX(upload->elements, i, escrow_element_t);
        const escrow_credential_t *credential = element->credential;

        json_array_append_new(stored, json_pack("{s:s, s:i, s:o, s:o, s:o}",
            "use", escrow_use_name(element->use), "index", element->index,
            "thumbprint_sha256", hex_of(credential->sha256, sizeof(credential->sha256), p),
            "serial", hex_of(credential->serial.data, credential->serial.length, p),
            "not_after", time_or_null(credential->not_after, p)));
    }
    json_object_set_new(object, "id", json_string(row->id));
    json_object_set_new(object, "device_uuid", json_string(row->device));
    json_object_set_new(object, "user_uuid", json_string(row->user));
    json_object_set_new(object, "stored", stored);
    json_object_set_new(object, "expires_at", time_or_null(row->expires, p));
    json_object_set_new(object, "completes", texts(completes));
    return print(object, p);
}

const char *escrow_answer_list(const char *device, const char *user,
                               const apr_array_header_t *records, apr_pool_t *p)
{
    json_t *object = json_object(), *array = json_array();
    int counts[GH_ESCROW_PURPOSES + 1] = { 0 }, i;

    for (i = 0; i < records->nelts; ++i) {
        const gh_escrow_credential_record_t *record
            = APR_ARRAY_IDX(records, i, gh_escrow_credential_record_t *);
        json_t *one = json_object();

        json_object_set_new(one, "use", json_string(gh_escrow_purpose_name(record->purpose)));
        json_object_set_new(one, "index", json_integer(counts[record->purpose]++));
        json_object_set_new(one, "thumbprint_sha256",
                            hex_of(record->sha256.data, record->sha256.length, p));
        json_object_set_new(one, "serial", hex_of(record->serial.data, record->serial.length, p));
        json_object_set_new(one, "subject", json_string(record->subject));
        json_object_set_new(one, "email", text_or_null(record->email));
        json_object_set_new(one, "not_before", time_or_null(record->not_before, p));
        json_object_set_new(one, "not_after", time_or_null(record->not_after, p));
        json_object_set_new(one, "stored_at", time_or_null(record->created, p));
        json_object_set_new(one, "expires_at", time_or_null(record->expires, p));
        json_array_append_new(array, one);
    }
    json_object_set_new(object, "device_uuid", json_string(device));
    json_object_set_new(object, "user_uuid", json_string(user));
    json_object_set_new(object, "credentials", array);
    return print(object, p);
}

const char *escrow_answer_status(const char *device, const char *user,
                                 const apr_array_header_t *records,
                                 const gh_escrow_upload_record_t *upload, apr_pool_t *p)
{
    json_t *object = json_object();
    int counts[GH_ESCROW_PURPOSES + 1] = { 0 }, i;

    for (i = 0; i < records->nelts; ++i) {
        ++counts[APR_ARRAY_IDX(records, i, gh_escrow_credential_record_t *)->purpose];
    }
    json_object_set_new(object, "device_uuid", json_string(device));
    json_object_set_new(object, "user_uuid", json_string(user));
    json_object_set_new(object, "available", json_boolean(counts[GH_ESCROW_SIGNING]
                                                          + counts[GH_ESCROW_ENCRYPTION] > 0));
    for (i = GH_ESCROW_SIGNING; i <= GH_ESCROW_ARCHIVED; ++i) {
        json_object_set_new(object, gh_escrow_purpose_name(i), json_integer(counts[i]));
    }
    json_object_set_new(object, "uploaded_at", time_or_null(upload ? upload->created : 0, p));
    return print(object, p);
}

static json_t *describe(const gh_escrow_profile_record_t *record,
                        const apr_array_header_t *missing)
{
    json_t *object = json_object();

    json_object_set_new(object, "id", json_string(record->id));
    json_object_set_new(object, "profile_uuid", json_string(record->profile));
    json_object_set_new(object, "device_uuid", json_string(record->device));
    json_object_set_new(object, "user_uuid", json_string(record->user));
    json_object_set_new(object, "status", json_string(gh_escrow_state_name(record->state)));
    json_object_set_new(object, "generation", json_integer(record->generation));
    json_object_set_new(object, "waiting_for", texts(missing));
    return object;
}

const char *escrow_answer_accepted(const gh_escrow_profile_record_t *record,
                                   const apr_array_header_t *missing, apr_pool_t *p)
{
    return print(describe(record, missing), p);
}

static json_t *history_of(const gh_escrow_profile_record_t *record, apr_pool_t *p)
{
    const char *history = record->history;
    gh_escrow_change_t change;
    json_t *array = json_array();

    while (gh_escrow_history_next(&history, &change)) {
        json_array_append_new(array, json_pack("{s:o, s:s, s:I}",
            "time", time_or_null(change.time, p), "status", gh_escrow_state_name(change.state),
            "generation", (json_int_t)change.generation));
    }
    return array;
}

static json_t *deliveries_of(const apr_array_header_t *deliveries, apr_pool_t *p)
{
    static const char *const states[] = { "none", "open", "delivered", "failed", "cancelled" };
    json_t *array = json_array();
    int i;

    for (i = 0; deliveries && i < deliveries->nelts; ++i) {
        const gh_delivery_record_t *delivery = APR_ARRAY_IDX(deliveries, i,
                                                             gh_delivery_record_t *);
        json_t *one = json_object();

        json_object_set_new(one, "id", json_string(delivery->id));
        json_object_set_new(one, "status", json_string(states[delivery->state]));
        json_object_set_new(one, "attempts", json_integer(delivery->attempts));
        json_object_set_new(one, "http_status", delivery->status
                            ? json_integer(delivery->status) : json_null());
        json_object_set_new(one, "gh", text_or_null(delivery->number));
        json_object_set_new(one, "message", text_or_null(delivery->message));
        json_object_set_new(one, "created_at", time_or_null(delivery->created, p));
        json_object_set_new(one, "updated_at", time_or_null(delivery->updated, p));
        json_array_append_new(array, one);
    }
    return array;
}

const char *escrow_answer_profile(const gh_escrow_profile_record_t *record,
                                  const apr_array_header_t *missing,
                                  const apr_array_header_t *deliveries, apr_pool_t *p)
{
    json_t *object = describe(record, missing);

    json_object_set_new(object, "format", json_string(record->format));
    json_object_set_new(object, "reason", text_or_null(record->reason));
    json_object_set_new(object, "labels", record->labels
                        ? json_loads(record->labels, 0, NULL) : json_object());
    json_object_set_new(object, "created_at", time_or_null(record->created, p));
    json_object_set_new(object, "updated_at", time_or_null(record->updated, p));
    json_object_set_new(object, "expires_at", record->state == GH_ESCROW_WAITING
                        ? time_or_null(record->expires, p) : json_null());
    json_object_set_new(object, "history", history_of(record, p));
    json_object_set_new(object, "deliveries", deliveries_of(deliveries, p));
    return print(object, p);
}
