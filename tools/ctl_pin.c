/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Pins of the store: who may use the escrow, by the thumbprint of his certificate. */

#include "ctl_commands.h"

#include <string.h>

#include <apr_strings.h>

#include "ctl_output.h"
#include "status.h"
#include "store/housekeeping.h"
#include "store/pins.h"
#include "x509/thumbprint.h"

#define RULE        "pin"
#define LABEL_MAX   200

const ctl_option_t ctl_pin_add_options[] = {
    { "role", 0, "ROLE", "what for: provider or uem" },
    { "label", 0, "TEXT", "whose it is" },
    { "expires", 0, "TIME", "until when, such as 2027-12-31T00:00:00Z, or in 90d" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_pin_remove_options[] = {
    { "role", 0, "ROLE", "that role only" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    gh_pin_record_t record;
    gh_audit_event_t *event;
    const char *line;
    apr_array_header_t *records;
    apr_pool_t *p;
} baton_t;

static json_t *pin_json(const gh_pin_record_t *record, apr_pool_t *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "thumbprint", ctl_json_text(record->thumbprint, p));
    json_object_set_new(object, "role", ctl_json_text(record->role, p));
    json_object_set_new(object, "label", ctl_json_text(record->label, p));
    json_object_set_new(object, "created", ctl_json_time(record->created, p));
    json_object_set_new(object, "created_by", ctl_json_text(record->created_by, p));
    json_object_set_new(object, "expires", ctl_json_time(record->expires, p));
    json_object_set_new(object, "last_used", ctl_json_time(record->last_used, p));
    return object;
}

static int read_thumbprint(const ctl_t *ctl, const ctl_arguments_t *arguments,
                           const char **thumbprint)
{
    const char *text = ctl_operand(arguments, 0);
    gh_thumbprint_t parsed;
    gh_result_t result;

    gh_result_clear(&result);
    if (gh_thumbprint_parse(&parsed, text, strlen(text), NULL, &result) != APR_SUCCESS) {
        return ctl_fail_usage(&result);
    }
    *thumbprint = gh_thumbprint_text(&parsed, ctl->p);
    return CTL_OK;
}

/* Whoever has admin may change who else has what: that is decided where httpd is configured. */
static int read_role(const ctl_arguments_t *arguments, int required, const char **role)
{
    gh_result_t result;

    *role = ctl_option(arguments, "role");
    if (*role == NULL ? !required : !strcmp(*role, "provider") || !strcmp(*role, "uem")) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    if (*role != NULL && !strcmp(*role, "admin")) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Write the thumbprint into a file of EscrowPinFile.",
                       GHNO(1181) "the role admin is given in files of httpd's configuration only");
    }
    else {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give --role provider or --role uem.",
                       GHNO(1182) "a pin needs a role, provider or uem");
    }
    return ctl_fail_usage(&result);
}

static int read_expires(const ctl_arguments_t *arguments, apr_time_t *expires)
{
    const char *text = ctl_option(arguments, "expires");
    apr_interval_time_t in;
    gh_result_t result;

    *expires = 0;
    if (text == NULL) {
        return CTL_OK;
    }
    if (gh_duration_parse(&in, text) == APR_SUCCESS) {
        *expires = apr_time_now() + in;
    }
    else if (gh_time_parse(expires, text) != APR_SUCCESS) {
        *expires = 0;
    }
    if (*expires > apr_time_now()) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "Give a time to come, such as 2027-12-31T00:00:00Z, or how long, such as 90d.",
                   GHNO(1183) "--expires %s is no time to come", text);
    return ctl_fail_usage(&result);
}

static int read_label(const ctl_arguments_t *arguments, const char **label)
{
    const unsigned char *c;
    gh_result_t result;

    *label = ctl_option(arguments, "label");
    for (c = (const unsigned char *)*label; c != NULL && *c >= 0x20 && *c != 0x7f; ++c) {
    }
    if (*label == NULL || (*c == '\0' && strlen(*label) <= LABEL_MAX)) {
        return CTL_OK;
    }
    gh_result_clear(&result);
    gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                   "Give a shorter one, in one line.",
                   GHNO(1184) "a label has at most %d characters that can be printed", LABEL_MAX);
    return ctl_fail_usage(&result);
}

/** Who is told that it is done may rely on it, on every node. */
static void settle(void)
{
    apr_sleep(GH_PINS_SETTLED);
}

static gh_audit_event_t *begin_event(const ctl_t *ctl, const char *name, const baton_t *baton)
{
    gh_audit_event_t *event = ctl_event(ctl, name, ctl->p);

    event->subject = baton->record.thumbprint;
    event->profile = baton->record.role;
    event->message = baton->record.label;
    event->rule = RULE;
    event->result = "done";
    return event;
}

static apr_status_t add_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv = gh_pin_put(transaction, &baton->record);

    return rv == APR_SUCCESS ? gh_audit_insert(transaction, baton->event, baton->line, 0) : rv;
}

static apr_status_t remove_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;
    apr_status_t rv = gh_pin_remove(transaction, baton->record.thumbprint, baton->record.role);

    return rv == APR_SUCCESS ? gh_audit_insert(transaction, baton->event, baton->line, 0) : rv;
}

static apr_status_t list_work(gh_transaction_t *transaction, void *data)
{
    baton_t *baton = data;

    return gh_pin_list(transaction, &baton->records, baton->p);
}

int ctl_pin_add(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    baton_t baton = { .p = ctl->p };
    gh_pin_record_t *record = &baton.record;
    gh_result_t result;
    int code = read_thumbprint(ctl, arguments, &record->thumbprint);

    if (code != CTL_OK || (code = read_role(arguments, 1, &record->role)) != CTL_OK
        || (code = read_expires(arguments, &record->expires)) != CTL_OK
        || (code = read_label(arguments, &record->label)) != CTL_OK
        || (code = ctl_open(ctl)) != CTL_OK) {
        return code;
    }
    record->created = apr_time_now();
    record->created_by = ctl->actor;
    baton.event = begin_event(ctl, "pin", &baton);
    baton.line = gh_audit_line_keep(baton.event, ctl->p);
    gh_result_clear(&result);
    if (gh_store_write(ctl->store, add_work, &baton, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    settle();
    if (ctl->json) {
        ctl_json_print(stdout, pin_json(record, ctl->p));
    }
    else {
        printf("pinned %s as %s\n", record->thumbprint, record->role);
    }
    return CTL_OK;
}

int ctl_pin_remove(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    baton_t baton = { .p = ctl->p };
    gh_result_t result;
    apr_status_t rv;
    int code = read_thumbprint(ctl, arguments, &baton.record.thumbprint);

    if (code != CTL_OK || (code = read_role(arguments, 0, &baton.record.role)) != CTL_OK
        || (code = ctl_open(ctl)) != CTL_OK) {
        return code;
    }
    baton.event = begin_event(ctl, "unpin", &baton);
    baton.line = gh_audit_line_keep(baton.event, ctl->p);
    gh_result_clear(&result);
    rv = gh_store_write(ctl->store, remove_work, &baton, &result);
    if (rv == APR_NOTFOUND) {
        gh_result_fail(&result, rv, GH_FAILURE_NOT_FOUND, RULE,
                       "gatehousectl pin list shows what is pinned; pins of files are in these.",
                       GHNO(1185) "%s is not pinned in the store%s%s", baton.record.thumbprint,
                       baton.record.role != NULL ? " as " : "",
                       baton.record.role != NULL ? baton.record.role : "");
    }
    if (rv != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    settle();
    if (!ctl->json) {
        printf("%s is not pinned any more\n", baton.record.thumbprint);
    }
    return CTL_OK;
}

int ctl_pin_list(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    static const char *const headings[] = {
        "THUMBPRINT", "ROLE", "LABEL", "CREATED BY", "EXPIRES", "LAST USED", NULL
    };
    baton_t baton = { .p = ctl->p };
    ctl_table_t *table;
    gh_result_t result;
    int code = ctl_open(ctl), i;

    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (gh_store_read(ctl->store, list_work, &baton, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    table = ctl_table_create(headings, ctl->p);
    for (i = 0; i < baton.records->nelts; i++) {
        const gh_pin_record_t *one = APR_ARRAY_IDX(baton.records, i, const gh_pin_record_t *);
        const char *const row[] = {
            one->thumbprint, one->role, one->label, one->created_by,
            one->expires ? gh_time_text(ctl->p, one->expires) : NULL,
            one->last_used ? gh_time_text(ctl->p, one->last_used) : NULL
        };

        if (ctl->json) {
            ctl_json_print(stdout, pin_json(one, ctl->p));
        }
        else {
            ctl_table_row(table, row);
        }
    }
    ctl_table_print(table, stdout);
    return CTL_OK;
}
