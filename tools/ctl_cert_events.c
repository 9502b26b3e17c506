/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Taking up what a CA elsewhere tells of its certificates: cert events. */

#include "ctl_commands.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "ctl_file.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "issuer/events.h"
#include "status.h"
#include "x509/key.h"

#define RULE "events"

/* All input together; what is larger is given in parts. */
#define INPUT_MAX ((apr_size_t)1 << 30)

/* Single events that are taken up together. */
#define BATCH 100

#define BLANKS " \t\r\n"

const ctl_option_t ctl_cert_events_options[] = {
    { "issuer", 0, "NAME", "the <Issuer> whose CA the events are of" },
    { "serials-only", 0, NULL, "store serial numbers and status, not the certificates" },
    { "position", 0, NULL, "print where the feed goes on, and take nothing up" },
    { NULL, 0, NULL, NULL }
};

typedef struct {
    ctl_t *ctl;
    gh_events_feed_t feed;
    json_t *batch;              /* single events, an array */
    int events;                 /* of all input so far */
    int added;
    int changed;
    int unchanged;
    int skipped;
    apr_pool_t *p;              /* of a page */
} intake_t;

static void report_skipped(const intake_t *intake, int position, const char *serial,
                           const char *number, const char *message, const char *action)
{
    json_t *object;

    if (!intake->ctl->json) {
        fprintf(stderr, "gatehousectl: %s: event %d%s%s: %s\n  %s\n", number, position,
                serial != NULL ? ", serial " : "",
                serial != NULL ? ctl_text_printable(serial, intake->p) : "", message, action);
        return;
    }
    object = json_object();
    json_object_set_new(object, "event", json_integer(position));
    json_object_set_new(object, "serial", ctl_json_text(serial, intake->p));
    json_object_set_new(object, "result", json_string("skipped"));
    json_object_set_new(object, "gh", json_string(number));
    json_object_set_new(object, "message", ctl_json_text(message, intake->p));
    json_object_set_new(object, "action", ctl_json_text(action, intake->p));
    ctl_json_print(stdout, object);
}

static void report_page(intake_t *intake, const gh_events_outcome_t *outcome)
{
    int i;

    for (i = 0; i < outcome->skipped->nelts; i++) {
        const gh_events_skipped_t *one = APR_ARRAY_IDX(outcome->skipped, i,
                                                       const gh_events_skipped_t *);

        report_skipped(intake, intake->events + one->position, one->serial, one->number,
                       one->message, one->action);
    }
    intake->events += outcome->events;
    intake->added += outcome->added;
    intake->changed += outcome->changed;
    intake->unchanged += outcome->unchanged;
    intake->skipped += outcome->skipped->nelts;
}

static apr_status_t take_text(intake_t *intake, const char *text, apr_size_t length,
                              gh_result_t *result)
{
    gh_events_outcome_t outcome;
    apr_status_t rv = gh_events_take(intake->ctl->store, &intake->feed, text, length, &outcome,
                                     intake->p, result);

    if (rv == APR_SUCCESS) {
        report_page(intake, &outcome);
    }
    else if (rv == APR_EINVAL || rv == APR_ENOSPC) {
        report_skipped(intake, ++intake->events, NULL, result->number, result->message,
                       result->action);
        intake->skipped++;
        rv = APR_SUCCESS;
    }
    apr_pool_clear(intake->p);
    return rv;
}

static apr_status_t flush(intake_t *intake, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    json_t *page;
    char *text;

    if (json_array_size(intake->batch) > 0) {
        page = json_pack("{s:O}", "events", intake->batch);
        text = json_dumps(page, JSON_COMPACT);
        rv = text != NULL ? take_text(intake, text, strlen(text), result) : APR_ENOMEM;
        free(text);
        json_decref(page);
        json_array_clear(intake->batch);
    }
    return rv;
}

static apr_status_t add_event(intake_t *intake, json_t *event, gh_result_t *result)
{
    json_array_append(intake->batch, event);
    return json_array_size(intake->batch) >= BATCH ? flush(intake, result) : APR_SUCCESS;
}

/* A page, an array of events, or one event. */
static apr_status_t take_value(intake_t *intake, json_t *value, const char *text,
                               apr_size_t length, gh_result_t *result)
{
    apr_status_t rv = APR_SUCCESS;
    json_t *event;
    size_t i;

    if (json_object_get(value, "events") != NULL) {
        rv = flush(intake, result);
        return rv == APR_SUCCESS ? take_text(intake, text, length, result) : rv;
    }
    if (!json_is_array(value)) {
        return add_event(intake, value, result);
    }
    json_array_foreach(value, i, event) {
        if ((rv = add_event(intake, event, result)) != APR_SUCCESS) {
            break;
        }
    }
    return rv;
}

/* What is no JSON goes to the end of its line. */
static const char *skip_line(intake_t *intake, const char *at, const char *end,
                             const char *explanation)
{
    const char *line = memchr(at, '\n', (size_t)(end - at));
    gh_result_t failure;

    gh_result_clear(&failure);
    gh_result_fail(&failure, APR_EINVAL, GH_FAILURE_MALFORMED, RULE,
                   "Give pages as the CA's gateway sends them, or one event a line.",
                   GHNO(0713) "there is no JSON: %s", explanation);
    report_skipped(intake, ++intake->events, NULL, failure.number, failure.message,
                   failure.action);
    intake->skipped++;
    return line != NULL ? line + 1 : end;
}

static apr_status_t take_input(intake_t *intake, gh_bytes_t bytes, gh_result_t *result)
{
    const char *at = (const char *)bytes.data;
    const char *end = at + bytes.length;
    apr_status_t rv = APR_SUCCESS;
    json_error_t error;
    json_t *value;

    while (rv == APR_SUCCESS) {
        while (at < end && memchr(BLANKS, *at, sizeof(BLANKS) - 1) != NULL) {
            at++;
        }
        if (at == end) {
            break;
        }
        value = json_loadb(at, (size_t)(end - at), JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL,
                           &error);
        if (value == NULL) {
            if ((rv = flush(intake, result)) == APR_SUCCESS) {
                at = skip_line(intake, at, end, error.text);
            }
            continue;
        }
        rv = take_value(intake, value, at, (apr_size_t)error.position, result);
        at += error.position;
        json_decref(value);
    }
    return rv == APR_SUCCESS ? flush(intake, result) : rv;
}

static void print_summary(const intake_t *intake)
{
    json_t *object;

    if (!intake->ctl->json) {
        printf("%d added, %d changed, %d unchanged, %d skipped\n", intake->added, intake->changed,
               intake->unchanged, intake->skipped);
        return;
    }
    object = json_object();
    json_object_set_new(object, "issuer", json_string(intake->feed.issuer));
    json_object_set_new(object, "added", json_integer(intake->added));
    json_object_set_new(object, "changed", json_integer(intake->changed));
    json_object_set_new(object, "unchanged", json_integer(intake->unchanged));
    json_object_set_new(object, "skipped", json_integer(intake->skipped));
    ctl_json_print(stdout, object);
}

static int print_position(ctl_t *ctl, const char *issuer)
{
    gh_result_t result;
    const char *cursor;

    gh_result_clear(&result);
    if (gh_events_cursor(ctl->store, issuer, &cursor, ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        json_t *object = json_object();

        json_object_set_new(object, "issuer", json_string(issuer));
        json_object_set_new(object, "position", ctl_json_text(cursor, ctl->p));
        ctl_json_print(stdout, object);
    }
    else if (cursor != NULL) {
        puts(ctl_text_printable(cursor, ctl->p));
    }
    return cursor != NULL ? CTL_OK : CTL_NOT_FOUND;
}

static int take_all(ctl_t *ctl, const gh_events_feed_t *feed, gh_bytes_t bytes)
{
    intake_t intake;
    gh_result_t result;
    apr_status_t rv;

    memset(&intake, 0, sizeof(intake));
    intake.ctl = ctl;
    intake.feed = *feed;
    intake.feed.audit = ctl_event(ctl, "import", ctl->p);
    intake.batch = json_array();
    apr_pool_create(&intake.p, ctl->p);
    gh_result_clear(&result);
    rv = take_input(&intake, bytes, &result);
    json_decref(intake.batch);
    print_summary(&intake);
    if (rv != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    return intake.skipped > 0 ? CTL_FAILED : CTL_OK;
}

/* The command line as a whole. @return the path of the input, "" for --position; NULL: told */
static const char *input_of(const ctl_arguments_t *arguments)
{
    int position = ctl_option(arguments, "position") != NULL;
    gh_result_t result;

    gh_result_clear(&result);
    if (ctl_option(arguments, "issuer") == NULL) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Name the <Issuer> whose CA the events are of with --issuer.",
                       GHNO(0714) "cert events needs --issuer");
        ctl_fail_usage(&result);
        return NULL;
    }
    if (ctl_operands(arguments) != !position) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Name a file, or - for standard input; with --position neither.",
                       GHNO(0715) "cert events takes one file, or --position");
        ctl_fail_usage(&result);
        return NULL;
    }
    return position ? "" : ctl_operand(arguments, 0);
}

int ctl_cert_events(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const char *path = input_of(arguments);
    const ctl_issuer_t *issuer;
    gh_events_feed_t feed;
    gh_bytes_t bytes = { NULL, 0 };
    gh_result_t result;
    apr_status_t rv;
    int code;

    if (path == NULL) {
        return CTL_USAGE;
    }
    memset(&feed, 0, sizeof(feed));
    gh_result_clear(&result);
    code = ctl_configure(ctl);
    issuer = code == CTL_OK ? ctl_find_issuer(ctl, ctl_option(arguments, "issuer"), &code) : NULL;
    if (code != CTL_OK) {
        return code;
    }
    feed.issuer = issuer->name;
    feed.serials_only = ctl_option(arguments, "serials-only") != NULL;
    if (*path != '\0' && (rv = ctl_file_read(&bytes, path, INPUT_MAX, ctl->p)) != APR_SUCCESS) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_REQUEST, RULE,
                       "Check the path; give more than a gigabyte in parts.",
                       GHNO(0716) "%s cannot be read: %s", path, ctl_error_text(rv, ctl->p));
        return ctl_fail(&result);
    }
    if (gh_certificate_open(&feed.ca, issuer->certificate, issuer->passphrase, ctl->p, &result)
        != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    code = ctl_drop_privileges(ctl);
    if (code != CTL_OK) {
        return code;
    }
    if (ctl_open_store(ctl, &result) != APR_SUCCESS) {
        ctl_fail(&result);
        return CTL_UNAVAILABLE;
    }
    return *path == '\0' ? print_position(ctl, feed.issuer) : take_all(ctl, &feed, bytes);
}
