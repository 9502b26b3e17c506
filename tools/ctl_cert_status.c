/* Licensed under the Apache License, Version 2.0. See LICENSE. */

/* Changing the status of certificates: cert revoke, cert hold, cert release. */

#include "ctl_cert.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "ctl_commands.h"
#include "ctl_output.h"
#include "ctl_text.h"
#include "issuer/ledger.h"
#include "status.h"
#include "x509/ca.h"

#define RULE "revocation"

/* certificateHold of RFC 5280 5.3.1 */
#define REASON_HOLD 6

/* Longest line of standard input. */
#define LINE_MAX_LENGTH 1024

#define REASONS "unspecified, keyCompromise, affiliationChanged, superseded, " \
                "cessationOfOperation or privilegeWithdrawn"

const ctl_option_t ctl_cert_revoke_options[] = {
    { "issuer", 0, "NAME", "whose serial it is, if several issuers have it" },
    { "reason", 0, "REASON", REASONS },
    { "invalid-from", 0, "TIME", "since when the key is suspect, such as 2026-11-20T15:04:05Z" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_cert_hold_options[] = {
    { "issuer", 0, "NAME", "whose serial it is, if several issuers have it" },
    { NULL, 0, NULL, NULL }
};

const ctl_option_t ctl_cert_release_options[] = {
    { "issuer", 0, "NAME", "whose serial it is, if several issuers have it" },
    { NULL, 0, NULL, NULL }
};

/* A change that was asked for. */
typedef struct {
    const char *event;          /* "revoke", "hold", "release" */
    const char *done;           /* "revoked", "held", "released" */
    gh_status_t status;
    int reason;
    apr_time_t invalid_from;
} change_t;

static apr_status_t parse_reason(int *reason, const char *name, gh_result_t *result)
{
    *reason = GH_REASON_NONE;
    if (name == NULL) {
        return APR_SUCCESS;
    }
    *reason = gh_reason_parse(name);
    if (*reason < 0) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Reasons are " REASONS ".",
                              GHNO(0353) "\"%s\" is not a reason for a revocation", name);
    }
    return APR_SUCCESS;
}

/*
 * Changes one certificate.
 * @param record set to what it is afterwards
 * @param changed set to 0 if it was like that before
 */
static apr_status_t change_one(ctl_t *ctl, const change_t *change, const char *issuer,
                               gh_bytes_t serial, gh_certificate_record_t **record, int *changed,
                               apr_pool_t *p, gh_result_t *result)
{
    gh_certificate_record_t *before;
    gh_audit_event_t *event;
    apr_status_t rv;

    rv = ctl_certificate_find(ctl, issuer, serial, &before, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    event = ctl_event(ctl, change->event, p);
    event->issuer = before->issuer;
    event->profile = before->profile;
    event->subject = before->subject;
    event->serial = gh_hex(p, serial.data, serial.length);
    rv = gh_revocation_set(ctl->store, before->issuer, serial, change->status, change->reason,
                           change->invalid_from, event, 0, p, result);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = ctl_certificate_find(ctl, before->issuer, serial, record, p, result);
    if (rv == APR_SUCCESS) {
        *changed = (*record)->status != before->status || (*record)->reason != before->reason;
    }
    return rv;
}

static const char *described(const gh_certificate_record_t *record, const char *done, int changed,
                             apr_pool_t *p)
{
    const char *reason = record->status == GH_STATUS_REVOKED ? gh_reason_name(record->reason)
                                                             : NULL;

    return apr_psprintf(p, "%s %s %s%s%s%s  %s", changed ? done : "unchanged", record->issuer,
                        gh_hex(p, record->serial.data, record->serial.length),
                        reason != NULL ? " (" : "", reason != NULL ? reason : "",
                        reason != NULL ? ")" : "",
                        ctl_text_printable(record->subject != NULL ? record->subject : "", p));
}

static int change_operand(ctl_t *ctl, const ctl_arguments_t *arguments, const change_t *change)
{
    gh_certificate_record_t *record;
    gh_bytes_t serial;
    gh_result_t result;
    int changed;
    int code;

    code = ctl_serial(&serial, ctl_operand(arguments, 0), ctl->p);
    if (code == CTL_OK) {
        code = ctl_open(ctl);
    }
    if (code != CTL_OK) {
        return code;
    }
    gh_result_clear(&result);
    if (change_one(ctl, change, ctl_option(arguments, "issuer"), serial, &record, &changed,
                   ctl->p, &result) != APR_SUCCESS) {
        return ctl_fail(&result);
    }
    if (ctl->json) {
        ctl_json_print(stdout, ctl_certificate_json(record, apr_time_now(), ctl->p));
    }
    else {
        puts(described(record, change->done, changed, ctl->p));
        if (!changed && record->status == GH_STATUS_REVOKED) {
            const char *reason = gh_reason_name(record->reason);

            printf("It was revoked already, at %s, %s%s: that stays.\n",
                   gh_time_text(ctl->p, record->revoked_at),
                   reason != NULL ? "for the reason " : "without a reason",
                   reason != NULL ? reason : "");
        }
    }
    return CTL_OK;
}

int ctl_cert_hold(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const change_t change = { "hold", "held", GH_STATUS_HELD, REASON_HOLD, 0 };

    return change_operand(ctl, arguments, &change);
}

int ctl_cert_release(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    const change_t change = { "release", "released", GH_STATUS_GOOD, GH_REASON_NONE, 0 };

    return change_operand(ctl, arguments, &change);
}

/* Takes "issuer serial [reason]" apart and carries it out. */
static apr_status_t change_line(ctl_t *ctl, const change_t *defaults, char *line,
                                const char **issuer, const char **serial_text,
                                gh_certificate_record_t **record, int *changed, apr_pool_t *p,
                                gh_result_t *result)
{
    change_t change = *defaults;
    const char *reason;
    gh_bytes_t serial;
    char *last;

    *issuer = apr_strtok(line, " \t", &last);
    *serial_text = *issuer != NULL ? apr_strtok(NULL, " \t", &last) : NULL;
    reason = *serial_text != NULL ? apr_strtok(NULL, " \t", &last) : NULL;
    if (*serial_text == NULL || (reason != NULL && apr_strtok(NULL, " \t", &last) != NULL)) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Write the issuer's name, the serial number and perhaps a reason, "
                              "with blanks between.",
                              GHNO(0354) "the line does not have the form \"issuer serial "
                              "[reason]\"");
    }
    if (gh_serial_parse(&serial, *serial_text, p) != APR_SUCCESS) {
        return gh_result_fail(result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                              "Write hexadecimal digits, at most 20 bytes.",
                              GHNO(0355) "the line has no serial number in its second place");
    }
    if (reason != NULL && parse_reason(&change.reason, reason, result) != APR_SUCCESS) {
        return APR_EINVAL;
    }
    return change_one(ctl, &change, *issuer, serial, record, changed, p, result);
}

static void report_line(const ctl_t *ctl, int number, const char *issuer, const char *serial,
                        const gh_certificate_record_t *record, int changed,
                        const gh_result_t *result, apr_pool_t *p)
{
    json_t *object;

    if (!ctl->json) {
        if (record != NULL) {
            printf("line %d: %s\n", number, described(record, "revoked", changed, p));
        }
        else {
            printf("line %d: failed %s%s%s  %s: %s. %s\n", number,
                   ctl_text_printable(issuer != NULL ? issuer : "", p), issuer != NULL ? " " : "",
                   ctl_text_printable(serial != NULL ? serial : "", p), result->number,
                   result->message, result->action);
        }
        return;
    }
    object = json_object();
    json_object_set_new(object, "line", json_integer(number));
    json_object_set_new(object, "issuer", ctl_json_text(issuer, p));
    json_object_set_new(object, "serial", record != NULL
                        ? json_string(gh_hex(p, record->serial.data, record->serial.length))
                        : ctl_json_text(serial, p));
    json_object_set_new(object, "result", json_string(record == NULL ? "failed"
                                                      : changed ? "revoked" : "unchanged"));
    json_object_set_new(object, "reason", record == NULL ? json_null()
                        : ctl_json_text(gh_reason_name(record->reason), p));
    json_object_set_new(object, "gh", record != NULL ? json_null()
                        : ctl_json_text(result->number, p));
    json_object_set_new(object, "message", record != NULL ? json_null()
                        : ctl_json_text(result->message, p));
    ctl_json_print(stdout, object);
}

/* Reads a line without its end. @return 0 at the end; too_long set to 1 if it was cut */
static int read_line(char *line, size_t size, int *too_long)
{
    size_t length = 0;
    int byte;

    *too_long = 0;
    while ((byte = getchar()) != EOF && byte != '\n') {
        if (length + 1 < size && byte != '\0') {
            line[length++] = (char)byte;
        }
        else {
            *too_long = 1;
        }
    }
    if (length > 0 && line[length - 1] == '\r') {
        length--;
    }
    line[length] = '\0';
    return byte != EOF || length > 0 || *too_long;
}

/* Whether it makes no sense to go on with the next line. */
static int is_over(apr_status_t rv)
{
    return rv != APR_SUCCESS && ctl_exit_code(rv) == CTL_UNAVAILABLE;
}

static int revoke_lines(ctl_t *ctl, const change_t *change)
{
    char line[LINE_MAX_LENGTH];
    apr_status_t rv = APR_SUCCESS;
    apr_pool_t *p;
    gh_result_t result;
    int number = 0;
    int failed = 0;
    int too_long;

    apr_pool_create(&p, ctl->p);
    while (!is_over(rv) && read_line(line, sizeof(line), &too_long)) {
        gh_certificate_record_t *record = NULL;
        const char *issuer = NULL;
        const char *serial = NULL;
        int changed = 0;

        apr_pool_clear(p);
        gh_result_clear(&result);
        number++;
        if (too_long) {
            rv = gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                                "Write the issuer's name, the serial number and perhaps a reason.",
                                GHNO(0356) "the line is too long or has a NUL byte");
        }
        else if (line[strspn(line, " \t")] == '\0' || line[strspn(line, " \t")] == '#') {
            continue;
        }
        else {
            rv = change_line(ctl, change, line, &issuer, &serial, &record, &changed, p, &result);
        }
        if (rv != APR_SUCCESS) {
            failed = 1;
            record = NULL;
        }
        report_line(ctl, number, issuer, serial, record, changed, &result, p);
    }
    if (is_over(rv)) {
        return ctl_fail(&result);
    }
    if (ferror(stdin)) {
        gh_result_fail(&result, APR_EGENERAL, GH_FAILURE_INTERNAL, RULE,
                       "Give the lines that were not reported again.",
                       GHNO(0357) "standard input could not be read to its end");
        return ctl_fail(&result);
    }
    return failed ? CTL_FAILED : CTL_OK;
}

int ctl_cert_revoke(ctl_t *ctl, const ctl_arguments_t *arguments)
{
    change_t change = { "revoke", "revoked", GH_STATUS_REVOKED, GH_REASON_NONE, 0 };
    const char *time = ctl_option(arguments, "invalid-from");
    gh_result_t result;
    int code;

    gh_result_clear(&result);
    if (parse_reason(&change.reason, ctl_option(arguments, "reason"), &result) != APR_SUCCESS) {
        return ctl_fail_usage(&result);
    }
    if (time != NULL && (gh_time_parse(&change.invalid_from, time) != APR_SUCCESS
                         || change.invalid_from <= 0 || change.invalid_from > apr_time_now())) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Give a time in the past in UTC, such as 2026-11-20T15:04:05Z.",
                       GHNO(0358) "--invalid-from %s is not a time in the past", time);
        return ctl_fail_usage(&result);
    }
    if (strcmp(ctl_operand(arguments, 0), "-") != 0) {
        return change_operand(ctl, arguments, &change);
    }
    if (ctl_option(arguments, "issuer") != NULL) {
        gh_result_fail(&result, APR_EINVAL, GH_FAILURE_REQUEST, RULE,
                       "Write the issuer at the beginning of each line.",
                       GHNO(0359) "--issuer does not go with standard input");
        return ctl_fail_usage(&result);
    }
    code = ctl_open(ctl);
    return code == CTL_OK ? revoke_lines(ctl, &change) : code;
}
