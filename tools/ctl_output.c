/* Licensed under the Apache License, Version 2.0. See LICENSE. */

#include "ctl_output.h"

#include <stdlib.h>

#include <apr_strings.h>
#include <apr_tables.h>

#include "ctl_text.h"
#include "x509/ca.h"

/* Width of the labels of ctl_field_print(). */
#define LABEL_WIDTH 16

const char *ctl_certificate_status(const gh_certificate_record_t *record, apr_time_t now)
{
    if (record->status == GH_STATUS_REVOKED) {
        return "revoked";
    }
    if (record->not_after < now) {
        return "expired";
    }
    return record->status == GH_STATUS_HELD ? "held" : "good";
}

json_t *ctl_json_text(const char *text, apr_pool_t *p)
{
    json_t *value;

    if (text == NULL) {
        return json_null();
    }
    value = json_string(text);
    return value != NULL ? value : json_string(ctl_text_printable(text, p));
}

json_t *ctl_json_time(apr_time_t time, apr_pool_t *p)
{
    return time == 0 ? json_null() : json_string(gh_time_text(p, time));
}

static json_t *json_hex(gh_bytes_t bytes, apr_pool_t *p)
{
    return bytes.length == 0 ? json_null() : json_string(gh_hex(p, bytes.data, bytes.length));
}

/* What the store must have but nobody knows is zero. */
static json_t *json_digest(gh_bytes_t digest, apr_pool_t *p)
{
    apr_size_t i = 0;

    while (i < digest.length && digest.data[i] == 0) {
        i++;
    }
    return i == digest.length ? json_null() : json_hex(digest, p);
}

/* The names as the store keeps them, an array; an empty one for anything else. */
static json_t *json_sans(const char *sans)
{
    json_t *array = sans != NULL ? json_loads(sans, 0, NULL) : NULL;

    if (!json_is_array(array)) {
        json_decref(array);
        array = json_array();
    }
    return array;
}

const char *ctl_sans_text(const char *sans, apr_pool_t *p)
{
    json_t *array = sans != NULL ? json_loads(sans, 0, NULL) : NULL;
    const char *text = NULL;
    json_t *element;
    size_t i;

    json_array_foreach(array, i, element) {
        const char *name = json_string_value(element);

        if (name != NULL) {
            text = text == NULL ? apr_pstrdup(p, name) : apr_pstrcat(p, text, ", ", name, NULL);
        }
    }
    json_decref(array);
    return text;
}

json_t *ctl_certificate_json(const gh_certificate_record_t *record, apr_time_t now, apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "serial", json_hex(record->serial, p));
    json_object_set_new(object, "issuer", ctl_json_text(record->issuer, p));
    json_object_set_new(object, "subject", ctl_json_text(record->subject, p));
    json_object_set_new(object, "sans", json_sans(record->sans));
    json_object_set_new(object, "profile",
                        ctl_json_text(record->profile != NULL && *record->profile != '\0'
                                      ? record->profile : NULL, p));
    json_object_set_new(object, "status", json_string(ctl_certificate_status(record, now)));
    json_object_set_new(object, "reason", ctl_json_text(gh_reason_name(record->reason), p));
    json_object_set_new(object, "not_before", ctl_json_time(record->not_before, p));
    json_object_set_new(object, "not_after", ctl_json_time(record->not_after, p));
    json_object_set_new(object, "revoked_at", ctl_json_time(record->revoked_at, p));
    json_object_set_new(object, "sha256", json_digest(record->sha256, p));
    json_object_set_new(object, "enrolment", ctl_json_text(record->enrolment, p));
    return object;
}

static json_t *job_json(const gh_job_record_t *job, apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "state",
                        json_string(job->state == GH_JOB_DOUBT ? "in-doubt" : "open"));
    json_object_set_new(object, "attempts", json_integer(job->attempts));
    json_object_set_new(object, "next", job->state == GH_JOB_DOUBT ? json_null()
                        : ctl_json_time(job->due, p));
    json_object_set_new(object, "deadline", ctl_json_time(job->deadline, p));
    json_object_set_new(object, "sent", ctl_json_time(job->sent, p));
    json_object_set_new(object, "reference", ctl_json_text(job->reference, p));
    json_object_set_new(object, "holder", ctl_json_text(job->holder, p));
    json_object_set_new(object, "gh", ctl_json_text(job->number, p));
    json_object_set_new(object, "message", ctl_json_text(job->message, p));
    return object;
}

json_t *ctl_enrolment_json(const gh_enrolment_record_t *record, const gh_job_record_t *job,
                           apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "id", ctl_json_text(record->id, p));
    json_object_set_new(object, "state", ctl_json_text(gh_enrolment_state_name(record->state), p));
    json_object_set_new(object, "protocol", ctl_json_text(record->protocol, p));
    json_object_set_new(object, "tenant", ctl_json_text(record->tenant, p));
    json_object_set_new(object, "issuer", ctl_json_text(record->issuer, p));
    json_object_set_new(object, "profile", ctl_json_text(record->profile, p));
    json_object_set_new(object, "transaction", ctl_json_text(record->transaction, p));
    json_object_set_new(object, "subject", ctl_json_text(record->subject, p));
    json_object_set_new(object, "created", ctl_json_time(record->created, p));
    json_object_set_new(object, "serial", json_hex(record->serial, p));
    if (job != NULL) {
        json_object_set_new(object, "job", job_json(job, p));
    }
    return object;
}

void ctl_json_print(FILE *file, json_t *object)
{
    json_dumpf(object, file, JSON_COMPACT);
    fputc('\n', file);
    json_decref(object);
}

struct ctl_table {
    apr_pool_t *rows_pool;
    apr_array_header_t *cells;      /* const char *, row by row */
    const char *const *headings;
    int columns;
    int width[CTL_TABLE_COLUMNS];
    int headed;
};

ctl_table_t *ctl_table_create(const char *const *headings, apr_pool_t *p)
{
    ctl_table_t *table = apr_pcalloc(p, sizeof(*table));

    apr_pool_create(&table->rows_pool, p);
    table->headings = headings;
    while (table->columns < CTL_TABLE_COLUMNS && headings[table->columns] != NULL) {
        table->width[table->columns] = ctl_text_width(headings[table->columns]);
        table->columns++;
    }
    table->cells = apr_array_make(table->rows_pool, 64, sizeof(const char *));
    return table;
}

void ctl_table_row(ctl_table_t *table, const char *const *texts)
{
    int i;

    for (i = 0; i < table->columns; i++) {
        const char *text = texts[i] != NULL ? ctl_text_printable(texts[i], table->rows_pool) : "-";
        int width = ctl_text_width(text);

        if (width > table->width[i]) {
            table->width[i] = width;
        }
        APR_ARRAY_PUSH(table->cells, const char *) = text;
    }
}

static void print_row(const ctl_table_t *table, const char *const *texts, FILE *file)
{
    int i;

    for (i = 0; i < table->columns; i++) {
        fputs(texts[i], file);
        if (i + 1 < table->columns) {
            fprintf(file, "%*s", table->width[i] - ctl_text_width(texts[i]) + 2, "");
        }
    }
    fputc('\n', file);
}

void ctl_table_print(ctl_table_t *table, FILE *file)
{
    int i;

    if (!table->headed && table->cells->nelts > 0) {
        print_row(table, table->headings, file);
        table->headed = 1;
    }
    for (i = 0; i + table->columns <= table->cells->nelts; i += table->columns) {
        print_row(table, &APR_ARRAY_IDX(table->cells, i, const char *), file);
    }
    apr_pool_clear(table->rows_pool);
    table->cells = apr_array_make(table->rows_pool, 64, sizeof(const char *));
}

void ctl_field_print(FILE *file, const char *label, const char *text, apr_pool_t *p)
{
    if (text != NULL && *text != '\0') {
        fprintf(file, "%-*s %s\n", LABEL_WIDTH, label, ctl_text_printable(text, p));
    }
}
