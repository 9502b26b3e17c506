/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Profiles of the escrow: what became of them, and what an operator may do about it. */

#include "ctl_commands.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "ctl_output.h"
#include "escrow/flow.h"
#include "status.h"
#include "store/deliveries.h"
#include "store/escrow_profiles.h"
#include "store/housekeeping.h"

#define RULE            "escrow"
#define DELIVERIES_MAX  100
#define BATCH           500
#define PURGE_AFTER     apr_time_from_sec(30 * 86400)

const ctl_option_t ctl_escrow_list_options[] = {
    { "device", 0, "UUID", "those of that device" },
    { "user", 0, "UUID", "those of that user" },
    { "state", 0, "STATE", "waiting, completing, queued, delivered, failed, expired or cancelled" },
    { "limit", 0, "N", "at most so many; 1000" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_escrow_purge_options[] = {
    { "older-than", 0, "TIME", "how long they have been over; 30d" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_escrow_retry_options[] = {
    { "force", 0, NULL, "also one that was cancelled or has expired" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    gh_escrow_profile_filter_t filter;
    apr_array_header_t *records;
    const char *id;
    gh_escrow_profile_record_t *record;
    apr_array_header_t *deliveries;
    apr_time_t before;
    apr_int64_t count;
    gh_audit_event_t *event;
    const char *line;
    apr_pool_t *p;
} baton_t;

static json_t *profile_json(const gh_escrow_profile_record_t *record, apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "id", ctl_json_text(record->id, p));
    json_object_set_new(object, "profile_uuid", ctl_json_text(record->profile, p));
    json_object_set_new(object, "device_uuid", ctl_json_text(record->device, p));
    json_object_set_new(object, "user_uuid", ctl_json_text(record->user, p));
    json_object_set_new(object, "format", ctl_json_text(record->format, p));
    json_object_set_new(object, "status", ctl_json_text(gh_escrow_state_name(record->state), p));
    json_object_set_new(object, "reason", ctl_json_text(record->reason, p));
    json_object_set_new(object, "uem", ctl_json_text(record->uem, p));
    json_object_set_new(object, "generation", json_integer(record->generation));
    json_object_set_new(object, "created", ctl_json_time(record->created, p));
    json_object_set_new(object, "updated", ctl_json_time(record->updated, p));
    return object;
}

static const char *delivery_state(int state)
{
    static const char *const names[] = { "open", "delivered", "failed", "cancelled" };

    return state >= 1 && state <= 4 ? names[state - 1] : "unknown";
}

static json_t *delivery_json(const gh_delivery_record_t *record, apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "id", ctl_json_text(record->id, p));
    json_object_set_new(object, "uem", ctl_json_text(record->uem, p));
    json_object_set_new(object, "state", ctl_json_text(delivery_state(record->state), p));
    json_object_set_new(object, "attempts", json_integer(record->attempts));
    json_object_set_new(object, "status", json_integer(record->status));
    json_object_set_new(object, "gh", ctl_json_text(record->number, p));
    json_object_set_new(object, "message", ctl_json_text(record->message, p));
    json_object_set_new(object, "updated", ctl_json_time(record->updated, p));
    return object;
}

static apr_status_t list_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_escrow_profile_list(transaction, &baton->filter, &baton->records, baton->p);
}

/** @return an exit code; says what is wrong with a state or a limit */
static int read_filter(const ctl_arguments_t *arguments, gh_escrow_profile_filter_t *filter)
{
    const char *state = ctl_option(arguments, "state"), *limit = ctl_option(arguments, "limit");
    apr_int64_t count = limit != NULL ? apr_atoi64(limit) : 0;
    gh_result_t result;

    filter->device = ctl_option(arguments, "device");
    filter->user = ctl_option(arguments, "user");
    filter->state = state != NULL ? gh_escrow_state_parse(state) : 0;
    filter->limit = (int)count;
    if ((state == NULL || filter->state != 0)
        && (limit == NULL || (count > 0 && count <= 1000000))) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "States are waiting, completing, queued, delivered, failed, expired and "
                   "cancelled; a limit is a number from 1 to 1000000.",
                   GHNO(1313) "there is no such state, or no such limit");
    return ctl_fail_usage(&result);
}

int ctl_escrow_list(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    static const char *const headings[] = {
        "ID", "STATUS", "PROFILE", "DEVICE", "USER", "UEM", "UPDATED", "REASON", NULL
    };
    baton_t baton = { .p = ctl->p };
    ctl_table_t *table;
    gh_result_t result;
    int code = read_filter(arguments, &baton.filter), i;

    if (code != CTL_OK || (code = ctl_open(ctl)) != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_store_read(ctl->store, list_work, &baton, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    table = ctl_table_create(headings, ctl->p);
    for (i = 0; i < baton.records->nelts; i++) {
        const gh_escrow_profile_record_t *one =
            APR_ARRAY_IDX(baton.records, i, const gh_escrow_profile_record_t *);
        const char *const row[] = {
            one->id, gh_escrow_state_name(one->state), one->profile, one->device, one->user,
            one->uem, gh_time_text(ctl->p, one->updated), one->reason
        };

        if (ctl->json) {
            ctl_json_print(stdout, profile_json(one, ctl->p));
        }
        else {
            ctl_table_row(table, row);
        }
    }
    ctl_table_print(table, stdout);
    return CTL_OK;
}

static apr_status_t show_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv = gh_escrow_profile_find(transaction, baton->id, &baton->record, baton->p);

    return rv == APR_SUCCESS
        ? gh_delivery_list(transaction, baton->id, DELIVERIES_MAX, &baton->deliveries, baton->p)
        : rv;
}

static void show(const ctl_t *ctl, const baton_t *baton)
{
    json_t *object = profile_json(baton->record, ctl->p), *list = json_array();
    const char *name;
    json_t *value;
    int i;

    for (i = 0; i < baton->deliveries->nelts; i++) {
        json_array_append_new(list, delivery_json(APR_ARRAY_IDX(baton->deliveries, i,
                                                                const gh_delivery_record_t *),
                                                  ctl->p));
    }
    if (ctl->json) {
        json_object_set_new(object, "deliveries", list);
        ctl_json_print(stdout, object);
        return;
    }
    json_object_foreach(object, name, value) {
        if (json_is_string(value)) {
            printf("%s: %s\n", name, json_string_value(value));
        }
    }
    json_array_foreach(list, i, value) {
        const char *message = json_string_value(json_object_get(value, "message"));

        printf("delivery: %s %s, attempts %" JSON_INTEGER_FORMAT "%s%s\n",
               json_string_value(json_object_get(value, "id")),
               json_string_value(json_object_get(value, "state")),
               json_integer_value(json_object_get(value, "attempts")),
               message ? ", " : "", message ? message : "");
    }
    json_decref(object);
    json_decref(list);
}

int ctl_escrow_show(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    baton_t baton = { .p = ctl->p, .id = ctl_operand(arguments, 0) };
    gh_result_t result;
    apr_status_t rv;
    int code = ctl_open(ctl);

    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    rv = gh_store_read(ctl->store, show_work, &baton, &result);
    if (rv == APR_NOTFOUND) {
        gh_result_fail(&result, rv, GH_FAILURE_NOT_FOUND, RULE,
                       "gatehousectl escrow list shows which there are.",
                       GHNO(1314) "there is no profile %s", baton.id);
    }
    if (rv != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    show(ctl, &baton);
    return CTL_OK;
}

static apr_status_t find_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_escrow_profile_find(transaction, baton->id, &baton->record, baton->p);
}

/* A UEM has given up one that was cancelled; one that has expired, nobody may want any more. */
static int is_given_up(ctl_t *ctl, const char *id, gh_result_t *result)
{
    baton_t baton = { .p = ctl->p, .id = id };

    if (gh_store_read(ctl->store, find_work, &baton, result) != APR_SUCCESS
        || (baton.record->state != GH_ESCROW_CANCELLED
            && baton.record->state != GH_ESCROW_EXPIRED)) {
        return 0;
    }
    gh_result_fail(result, GH_EREFUSED, GH_FAILURE_CONFLICT, RULE,
                   "If the device is to have it all the same, give --force.",
                   GHNO(1339) "the profile %s is %s", id,
                   gh_escrow_state_name(baton.record->state));
    return 1;
}

int ctl_escrow_retry(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *id = ctl_operand(arguments, 0);
    gh_audit_event_t *event;
    gh_result_t result;
    int code = ctl_open(ctl);

    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (ctl_option(arguments, "force") == NULL && is_given_up(ctl, id, &result)) {
        return ctl_fail(&result);
    }
    gh_result_clear(&result);
    event = ctl_event(ctl, "escrow-retry", ctl->p);
    if (gh_escrow_again(ctl->store, ctl->config->uem_lives, id, event, 0, ctl->p, &result)
        != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (!ctl->json) {
        printf("%s is completed and delivered anew\n", id);
    }
    return CTL_OK;
}

static apr_status_t forget_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv = gh_escrow_recipient_remove(transaction, baton->id);

    return rv == APR_SUCCESS ? gh_audit_insert(transaction, baton->event, baton->line, 0) : rv;
}

int ctl_escrow_forget(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    baton_t baton = { .p = ctl->p };
    char *device = apr_pstrdup(ctl->p, ctl_operand(arguments, 0)), *c;
    gh_result_t result;
    apr_status_t rv;
    int code = ctl_open(ctl);

    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    for (c = device; *c; ++c) {
        *c = (char)apr_tolower(*c);
    }
    baton.id = device;
    baton.event = ctl_event(ctl, "escrow-forget", ctl->p);
    baton.event->subject = device;
    baton.event->rule = RULE;
    baton.event->result = "done";
    baton.line = gh_audit_line_keep(baton.event, ctl->p);
    rv = gh_store_write(ctl->store, forget_work, &baton, &result);
    if (rv == APR_NOTFOUND) {
        gh_result_fail(&result, rv, GH_FAILURE_NOT_FOUND, RULE,
                       "Give the UUID of a device that has sent a skeleton.",
                       GHNO(1315) "no key is known of the device %s", device);
    }
    if (rv != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (!ctl->json) {
        printf("the device %s may come with another key\n", device);
    }
    return CTL_OK;
}

static apr_status_t purge_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_escrow_profile_purge(transaction, baton->before, BATCH, &baton->count);
}

int ctl_escrow_purge(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *age = ctl_option(arguments, "older-than");
    apr_interval_time_t interval = PURGE_AFTER;
    baton_t baton = { .p = ctl->p };
    apr_int64_t sum = 0;
    gh_result_t result;
    int code;

    gh_result_clear(&result);
    if (age != NULL && gh_duration_parse(&interval, age) != APR_SUCCESS) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give a number with s, m, h, d or y, such as 30d.",
                       GHNO(1316) "--older-than %s is no time", age);
        return ctl_fail_usage(&result);
    }
    if ((code = ctl_open(ctl)) != CTL_OK) {
        return code;
    }
    baton.before = apr_time_now() - interval;
    do {
        if (gh_store_write(ctl->store, purge_work, &baton, &result) != APR_SUCCESS) {
            return ctl_fail(&result);
        }
        sum += baton.count;
    } while (baton.count >= BATCH);
    if (ctl->json) {
        ctl_json_print(stdout, json_pack("{s:I}", "purged", (json_int_t)sum));
    }
    else {
        printf("%" APR_INT64_T_FMT " profiles were removed\n", sum);
    }
    return CTL_OK;
}
